//! Reads a file front to back in large pieces.

use super::disk::Disk;
use super::error::StoreError;
use super::limits::READ_BYTES;

/// A place in a file, with bytes from there on.
#[derive(Debug)]
pub(super) struct ChunkReader<D> {
    disk: D,
    path: String,
    /// Of the whole file.
    bytes: u64,
    /// Where `buffer[start]` stands in it.
    offset: u64,
    buffer: Vec<u8>,
    start: usize,
}

impl<D: Disk> ChunkReader<D> {
    pub(super) fn open(disk: &D, path: &str) -> Result<Self, StoreError> {
        let bytes = disk.len(path).map_err(StoreError::io("read", path))?;
        let (disk, path) = (disk.clone(), path.to_owned());
        Ok(Self { disk, path, bytes, offset: 0, buffer: Vec::new(), start: 0 })
    }

    /// At least `count` bytes from here on; fewer only where the file ends.
    pub(super) fn fill(&mut self, count: usize) -> Result<&[u8], StoreError> {
        let have = self.buffer.len() - self.start;
        if have < count {
            self.buffer.drain(..self.start);
            self.start = 0;
            let left = self.bytes.saturating_sub(self.offset + have as u64);
            let left = usize::try_from(left).unwrap_or(usize::MAX);
            self.buffer.resize(have + left.min((count - have).max(READ_BYTES)), 0);
            let at = self.offset + have as u64;
            let read = self.disk.read_at(&self.path, at, &mut self.buffer[have..]);
            let read = read.map_err(StoreError::io("read", &self.path))?;
            self.buffer.truncate(have + read);
        }
        Ok(&self.buffer[self.start..])
    }

    /// The bytes that [`Self::fill`] has brought, from here on.
    pub(super) fn filled(&self) -> &[u8] {
        &self.buffer[self.start..]
    }

    /// Goes on behind this many bytes.
    pub(super) fn skip(&mut self, count: u64) {
        let have = self.buffer.len() - self.start;
        self.offset += count;
        match usize::try_from(count) {
            Ok(count) if count <= have => self.start += count,
            _ => {
                self.buffer.clear();
                self.start = 0;
            }
        }
    }

    pub(super) const fn offset(&self) -> u64 {
        self.offset
    }

    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }
}
