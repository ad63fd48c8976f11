//! What tests of several modules need.

use std::path::PathBuf;

/// A directory's path, of this process alone; whatever is there is gone at the end.
pub(crate) struct Folder(pub PathBuf);

impl Folder {
    /// Nothing is there yet.
    pub(crate) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("trendsrv-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
