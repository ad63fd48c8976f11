//! Segments that are ready to be used: made ahead, or used before.
//!
//! ```text
//!   made: created, zeros written and synced piece by piece ─▶ spare-N.log ─▶ seg-….log
//!                                            recycled: seg-….log ─▶ spare-N.log
//! ```
//!
//! Invariants:
//! - every byte of a spare was written once, so that a commit changes no metadata of the file
//!   system;
//! - a segment's header is safe before it has a segment's name, and its name is safe before
//!   anything is written behind the header.

use super::block::Identity;
use super::chore::Segment;
use super::chores::KeptSegment;
use super::disk::Disk;
use super::error::StoreError;
use super::layout::{ShardFile, TEMPORARY, segment_name, spare_name};
use super::limits::{SPARES_MAX, SPARES_RECYCLED_MAX, SYNC_BYTES};
use super::segment::SegmentHeader;

/// See the module header.
#[derive(Debug)]
pub(super) struct Spares<D> {
    disk: D,
    dir: String,
    identity: Identity,
    segment_bytes: u64,
    ready: Vec<u64>,
    next: u64,
    making: Option<Making>,
}

#[derive(Debug)]
struct Making {
    path: String,
    number: u64,
    offset: u64,
}

impl<D: Disk> Spares<D> {
    /// Takes over the spares of the directory; those of another size are removed.
    pub(super) fn open(
        disk: &D,
        dir: &str,
        identity: Identity,
        segment_bytes: u64,
    ) -> Result<Self, StoreError> {
        let mut spares = Self {
            disk: disk.clone(),
            dir: dir.to_owned(),
            identity,
            segment_bytes,
            ready: Vec::new(),
            next: 1,
            making: None,
        };
        for name in disk.list(dir).map_err(StoreError::io("list", dir))? {
            let ShardFile::Spare(number) = ShardFile::of(&name) else { continue };
            let path = format!("{dir}/{name}");
            let len = disk.len(&path).map_err(StoreError::io("read", &path))?;
            if len == segment_bytes && spares.ready.len() < SPARES_RECYCLED_MAX {
                spares.ready.push(number);
            } else {
                disk.remove(&path).map_err(StoreError::io("remove", &path))?;
            }
            spares.next = spares.next.max(number + 1);
        }
        Ok(spares)
    }

    /// Makes a segment of a spare; `None` when there is none.
    pub(super) fn activate(
        &mut self,
        header: &SegmentHeader,
    ) -> Result<Option<Segment>, StoreError> {
        let Some(&number) = self.ready.first() else { return Ok(None) };
        let spare = format!("{}/{}", self.dir, spare_name(number));
        let path = format!("{}/{}", self.dir, segment_name(header.first_lsn));
        let written = self.disk.write_at(&spare, 0, &header.encode(&self.identity));
        written.map_err(StoreError::io("write", &spare))?;
        self.disk.sync(&spare).map_err(StoreError::sync(&spare))?;
        self.disk.rename(&spare, &path).map_err(StoreError::io("rename", &spare))?;
        self.ready.remove(0);
        self.disk.sync_dir(&self.dir).map_err(StoreError::sync(&self.dir))?;
        let (number, first_lsn) = (header.number, header.first_lsn);
        Ok(Some(Segment { path: path.into(), number, first_lsn, bytes: self.segment_bytes }))
    }

    /// Makes spares, a piece at a time; returns whether more is to be done.
    pub(super) fn make_piece(&mut self) -> Result<bool, StoreError> {
        if self.making.is_none() {
            if self.ready.len() >= SPARES_MAX {
                return Ok(false);
            }
            let number = self.next;
            let path = format!("{}/{}{TEMPORARY}", self.dir, spare_name(number));
            self.next += 1;
            self.disk.create(&path, 0).map_err(StoreError::io("make", &path))?;
            self.making = Some(Making { path, number, offset: 0 });
        }
        let Some(mut making) = self.making.take() else { return Ok(false) };
        match self.grow(&mut making) {
            Ok(true) => self.ready.push(making.number),
            Ok(false) => self.making = Some(making),
            Err(error) => {
                // Whatever is there of it is room that something else needs.
                let _ = self.disk.remove(&making.path);
                return Err(error);
            }
        }
        Ok(self.making.is_some() || self.ready.len() < SPARES_MAX)
    }

    /// Makes spares of segments that are no longer needed. As many stay as were needless now, as
    /// that is how many the time between two snapshots takes; the others are removed. The caller
    /// syncs the directory.
    pub(super) fn recycle(
        &mut self,
        segments: impl ExactSizeIterator<Item = KeptSegment>,
    ) -> Result<u64, StoreError> {
        let keep = segments.len().clamp(SPARES_MAX, SPARES_RECYCLED_MAX);
        let freed = segments.len() as u64;
        for KeptSegment { path, bytes, .. } in segments {
            if self.ready.len() >= keep || bytes != self.segment_bytes {
                self.disk.remove(&path).map_err(StoreError::io("remove", &path))?;
                continue;
            }
            let number = self.next;
            let spare = format!("{}/{}", self.dir, spare_name(number));
            self.disk.rename(&path, &spare).map_err(StoreError::io("rename", &path))?;
            self.next += 1;
            self.ready.push(number);
        }
        while self.ready.len() > keep
            && let Some(number) = self.ready.pop()
        {
            let spare = format!("{}/{}", self.dir, spare_name(number));
            self.disk.remove(&spare).map_err(StoreError::io("remove", &spare))?;
        }
        Ok(freed)
    }

    /// How many there are.
    pub(super) const fn count(&self) -> usize {
        self.ready.len()
    }

    /// Writes the next zeros; returns whether the spare is ready, under its name.
    fn grow(&self, making: &mut Making) -> Result<bool, StoreError> {
        let (disk, path) = (&self.disk, &making.path);
        let piece = SYNC_BYTES.min(self.segment_bytes - making.offset);
        let end = making.offset + piece;
        while making.offset < end {
            let zeros = ZEROS.len().min(usize::try_from(end - making.offset).unwrap_or(usize::MAX));
            let written = disk.write_at(path, making.offset, &ZEROS[..zeros]);
            written.map_err(StoreError::io("make", path))?;
            making.offset += zeros as u64;
        }
        // Synced piece by piece, so that the log's own flushes never wait for many of them.
        disk.sync(path).map_err(StoreError::io("make", path))?;
        if making.offset < self.segment_bytes {
            return Ok(false);
        }
        let spare = format!("{}/{}", self.dir, spare_name(making.number));
        let named = disk.rename(path, &spare).and_then(|()| disk.sync_dir(&self.dir));
        named.map_err(StoreError::io("make", &spare))?;
        Ok(true)
    }
}

/// Zeros written at once: few enough to stay in the processor's caches.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
