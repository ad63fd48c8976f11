//! Bugs put into a world on purpose, at the seams between the store and what it stands on: the
//! product's code has no switch for any of them.

use crate::disk::SimDisk;
use crate::plan::Planted;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use trendsrv_server::store::Disk;

/// The disk, with the bug of whoever believes in it.
#[derive(Clone, Debug)]
pub(crate) struct PlantedDisk {
    disk: SimDisk,
    planted: Option<Planted>,
    /// A rename of a shard's manifest that the order of things has put off.
    late: Arc<Mutex<Option<(String, String)>>>,
}

impl PlantedDisk {
    pub(crate) fn new(disk: SimDisk, planted: Option<Planted>) -> Self {
        Self { disk, planted, late: Arc::default() }
    }

    pub(crate) fn write_durable(&self, path: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.disk.write_durable(path, offset, bytes)
    }

    pub(crate) fn write_plain(&self, path: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.disk.write_at(path, offset, bytes)
    }

    /// Writes, then syncs; when that fails, syncs again.
    pub(crate) fn write_and_sync_twice(
        &self,
        path: &str,
        offset: u64,
        bytes: &[u8],
    ) -> io::Result<()> {
        self.disk.write_at(path, offset, bytes)?;
        self.disk.sync(path).or_else(|_| {
            self.disk.heal();
            self.disk.sync(path)
        })
    }

    /// Does what was put off.
    fn catch_up(&self) -> io::Result<()> {
        let late = self.late.lock().unwrap_or_else(PoisonError::into_inner).take();
        late.map_or(Ok(()), |(from, to)| self.disk.rename(&from, &to))
    }
}

impl Disk for PlantedDisk {
    fn create_dir(&self, path: &str) -> io::Result<()> {
        self.disk.create_dir(path)
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        self.disk.list(dir)
    }

    fn len(&self, path: &str) -> io::Result<u64> {
        self.disk.len(path)
    }

    fn read_at(&self, path: &str, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        self.disk.read_at(path, offset, into)
    }

    fn create(&self, path: &str, len: u64) -> io::Result<()> {
        self.disk.create(path, len)
    }

    fn write_at(&self, path: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if path.ends_with("/superblock") {
            self.catch_up()?;
            if self.planted == Some(Planted::MarkIgnored) {
                // Whoever reads the log later knows no mark but the one of the start.
                return Ok(());
            }
        }
        self.disk.write_at(path, offset, bytes)
    }

    fn sync(&self, path: &str) -> io::Result<()> {
        self.disk.sync(path)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let replaces = to.ends_with("/manifest") && self.disk.len(to).is_ok();
        if replaces && self.planted == Some(Planted::LogBeforeManifest) {
            self.catch_up()?;
            let late = (from.to_owned(), to.to_owned());
            *self.late.lock().unwrap_or_else(PoisonError::into_inner) = Some(late);
            return Ok(());
        }
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        self.disk.remove(path)
    }

    fn remove_dir(&self, path: &str) -> io::Result<()> {
        self.disk.remove_dir(path)
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        self.disk.sync_dir(dir)
    }
}
