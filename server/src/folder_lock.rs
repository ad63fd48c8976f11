//! A directory that one process holds for itself, by an advisory lock on the file `lock` in it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Held until dropped, or until the process is gone however it ends.
#[derive(Debug)]
pub struct FolderLock {
    file: File,
}

impl FolderLock {
    /// Takes the directory; `None` when another process, or another lock of this one, has it.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn take(folder: &Path) -> io::Result<Option<Self>> {
        let mut options = OpenOptions::new();
        let file = options.append(true).create(true).mode(0o600).open(folder.join("lock"))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self { file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// Whether someone has the directory. Takes it for a moment, together with any who also ask.
    ///
    /// # Errors
    /// When the file system refuses, or nobody ever had it.
    pub fn is_taken(folder: &Path) -> io::Result<bool> {
        match File::open(folder.join("lock"))?.try_lock_shared() {
            Ok(()) => Ok(false),
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

impl Drop for FolderLock {
    fn drop(&mut self) {
        // Closing is not enough: a child process that is being started has a copy of the file
        // until its program begins, and the lock belongs to all copies together.
        let _ = self.file.unlock();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Folder;

    #[test]
    fn is_free_again_at_once_though_a_child_still_has_a_copy() {
        let folder = Folder::new("folder-lock");
        std::fs::create_dir(&folder.0).unwrap();
        let lock = FolderLock::take(&folder.0).unwrap().unwrap();
        assert!(FolderLock::take(&folder.0).unwrap().is_none());
        assert!(FolderLock::is_taken(&folder.0).unwrap());
        let copy = lock.file.try_clone().unwrap();
        drop(lock);
        assert!(!FolderLock::is_taken(&folder.0).unwrap());
        assert!(FolderLock::take(&folder.0).unwrap().is_some());
        drop(copy);
    }
}
