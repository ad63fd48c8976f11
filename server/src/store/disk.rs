//! The disk as the store sees it: few operations, all of them blocking, each of which may fail.
//!
//! Owns nothing but the way to files of one directory. Never touches what their bytes mean.
//! [`RealDisk`] is a directory of the file system; the simulator and the tests bring their own.
//!
//! Invariants:
//! - paths are relative to the data directory, with `/` between their parts; `""` is itself;
//! - what was written is safe after [`Disk::sync`] of the file, and a file that was made, renamed
//!   or removed is so for good after [`Disk::sync_dir`] of its directory; until then a crash may
//!   keep all, some or none of it.

use std::cell::RefCell;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// See the module header.
pub trait Disk: Clone {
    /// Makes a directory; that it is there already is no error.
    ///
    /// # Errors
    /// When the disk refuses.
    fn create_dir(&self, path: &str) -> io::Result<()>;

    /// The names in a directory, sorted.
    ///
    /// # Errors
    /// When it is not there, or the disk refuses.
    fn list(&self, dir: &str) -> io::Result<Vec<String>>;

    /// Bytes of a file.
    ///
    /// # Errors
    /// When it is not there, or the disk refuses.
    fn len(&self, path: &str) -> io::Result<u64>;

    /// Reads from an offset until `into` is full or the file ends; returns how many bytes.
    ///
    /// # Errors
    /// When it is not there, or the disk refuses.
    fn read_at(&self, path: &str, offset: u64, into: &mut [u8]) -> io::Result<usize>;

    /// Makes a file of `len` zero bytes, each of them written; one of that name is emptied first.
    ///
    /// # Errors
    /// When the disk refuses; part of the file may be there then.
    fn create(&self, path: &str, len: u64) -> io::Result<()>;

    /// Writes all of `bytes` at an offset of a file that is there; the file grows when needed.
    ///
    /// # Errors
    /// When it is not there, or the disk refuses; part of it may be written then.
    fn write_at(&self, path: &str, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Makes what was written to a file safe.
    ///
    /// # Errors
    /// When the disk refuses: what the file holds is not known then.
    fn sync(&self, path: &str) -> io::Result<()>;

    /// Gives a file another name, in place of any file that has it.
    ///
    /// # Errors
    /// When the disk refuses.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// When the disk refuses.
    fn remove(&self, path: &str) -> io::Result<()>;

    /// Removes an empty directory.
    ///
    /// # Errors
    /// When the disk refuses.
    fn remove_dir(&self, path: &str) -> io::Result<()>;

    /// Makes the names of a directory safe.
    ///
    /// # Errors
    /// When the disk refuses.
    fn sync_dir(&self, dir: &str) -> io::Result<()>;
}

/// Whether an error says that there is no room left; it may pass.
#[must_use]
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// A directory of the file system.
#[derive(Debug)]
pub struct RealDisk {
    root: PathBuf,
    /// The file written last. Its sync goes through the descriptor that wrote, so that the kernel
    /// cannot have told another one of an error.
    written: RefCell<Option<(String, File)>>,
}

impl RealDisk {
    /// The directory is made by the first [`Disk::create_dir`] of `""`, if it is not there.
    #[must_use]
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), written: RefCell::new(None) }
    }

    /// Where a file really is.
    #[must_use]
    pub fn path(&self, path: &str) -> PathBuf {
        if path.is_empty() { self.root.clone() } else { self.root.join(path) }
    }

    fn with_written<T>(
        &self,
        path: &str,
        run: impl FnOnce(&File) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut written = self.written.borrow_mut();
        if let Some((open, file)) = &*written
            && open == path
        {
            return run(file);
        }
        let file = OpenOptions::new().read(true).write(true).open(self.path(path))?;
        let (_, file) = written.insert((path.to_owned(), file));
        run(file)
    }

    fn forget_written(&self) {
        *self.written.borrow_mut() = None;
    }
}

impl Clone for RealDisk {
    fn clone(&self) -> Self {
        Self::new(&self.root)
    }
}

impl Disk for RealDisk {
    fn create_dir(&self, path: &str) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(self.path(path))
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(self.path(dir))? {
            // A name that is no text is none of ours; it is shown, and so never taken for one.
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort_unstable();
        Ok(names)
    }

    fn len(&self, path: &str) -> io::Result<u64> {
        Ok(std::fs::metadata(self.path(path))?.len())
    }

    fn read_at(&self, path: &str, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        let file = File::open(self.path(path))?;
        let mut filled = 0;
        while filled < into.len() {
            match file.read_at(&mut into[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn create(&self, path: &str, len: u64) -> io::Result<()> {
        self.forget_written();
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(true).mode(0o600);
        let file = options.open(self.path(path))?;
        let zeros = vec![0; usize::try_from(len).unwrap_or(usize::MAX).min(CHUNK_BYTES)];
        let mut offset = 0;
        while offset < len {
            let chunk = usize::try_from(len - offset).unwrap_or(usize::MAX).min(zeros.len());
            file.write_all_at(&zeros[..chunk], offset)?;
            offset += chunk as u64;
        }
        *self.written.borrow_mut() = Some((path.to_owned(), file));
        Ok(())
    }

    fn write_at(&self, path: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.with_written(path, |file| file.write_all_at(bytes, offset))
    }

    fn sync(&self, path: &str) -> io::Result<()> {
        self.with_written(path, File::sync_all)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.forget_written();
        std::fs::rename(self.path(from), self.path(to))
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        self.forget_written();
        std::fs::remove_file(self.path(path))
    }

    fn remove_dir(&self, path: &str) -> io::Result<()> {
        std::fs::remove_dir(self.path(path))
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        let path = self.path(dir);
        File::open(&path)?.sync_all()?;
        // The root may be new itself. One that may not be looked into was not made by us.
        let parent = path.parent().filter(|_| dir.is_empty());
        match parent.map(|parent| File::open(if parent == "" { Path::new(".") } else { parent })) {
            Some(Err(error)) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
            Some(parent) => parent?.sync_all(),
            None => Ok(()),
        }
    }
}

/// Zeros written at once.
const CHUNK_BYTES: usize = 1 << 20;
