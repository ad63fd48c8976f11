//! Does a shard's blocking work: segments, superblock, snapshots, and the removal of what they
//! have made needless.
//!
//! Owns the shard's directory while a server runs, but for what is written into its current
//! segment. Never touches a thread: a helper calls [`Chores::run`] for each [`Chore`] and
//! [`Chores::spend`] when there is none.
//!
//! ```text
//!   snapshot: sections ─▶ temporary file, synced ─▶ (the log holds all of it) ─▶ name, manifest
//!                                                    ─▶ older segments are recycled
//! ```
//!
//! Invariants:
//! - a snapshot is published only when the log holds every record that is in it: otherwise those
//!   numbers could come again with other records, and be taken for known;
//! - a segment or a snapshot is removed only when the manifest that makes it needless is safe;
//! - a full disk is waited out; any other failure ends the server.

use super::block::Identity;
use super::chore::{Chore, Done, Published, SegmentStart, SnapshotPart};
use super::disk::Disk;
use super::error::StoreError;
use super::layout::{ShardFile, snapshot_name};
use super::limits::SPARES_MAX;
use super::manifest::ShardManifest;
use super::segment::SegmentHeader;
use super::snapshot_file::{SealedSnapshot, SnapshotWriter};
use super::spares::Spares;
use super::superblock::Superblock;
use trendsrv_shard::log::LogSpace;

/// See the module header.
#[derive(Debug)]
pub struct Chores<D> {
    disk: D,
    dir: String,
    identity: Identity,
    superblock: Superblock,
    manifest: ShardManifest,
    /// The largest number any snapshot has had.
    round: u64,
    spares: Spares<D>,
    /// Every segment there is, oldest first.
    segments: Vec<KeptSegment>,
    /// The number of the newest segment.
    number: u64,
    waiting: Option<SegmentStart>,
    /// The last attempt to make a spare found no room; the next tick tries again.
    full: bool,
    space: LogSpace,
    durable: u64,
    writing: Option<SnapshotWriter>,
    sealed: Option<SealedSnapshot>,
}

/// A segment that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KeptSegment {
    pub(super) path: String,
    pub(super) first_lsn: u64,
    pub(super) bytes: u64,
}

/// What chores begin with.
#[derive(Debug)]
pub(super) struct ChoresStart<D> {
    pub(super) disk: D,
    pub(super) dir: String,
    pub(super) identity: Identity,
    pub(super) superblock: Superblock,
    pub(super) manifest: ShardManifest,
    pub(super) round: u64,
    pub(super) spares: Spares<D>,
    pub(super) segments: Vec<KeptSegment>,
    pub(super) number: u64,
    pub(super) durable: u64,
}

impl<D: Disk> Chores<D> {
    pub(super) fn new(start: ChoresStart<D>) -> Self {
        Self {
            disk: start.disk,
            dir: start.dir,
            identity: start.identity,
            superblock: start.superblock,
            manifest: start.manifest,
            round: start.round,
            spares: start.spares,
            segments: start.segments,
            number: start.number,
            waiting: None,
            full: false,
            space: LogSpace::Plenty,
            durable: start.durable,
            writing: None,
            sealed: None,
        }
    }

    /// Does one chore.
    ///
    /// # Errors
    /// What ends the server.
    pub fn run(&mut self, chore: Chore, done: &mut Vec<Done>) -> Result<(), StoreError> {
        match chore {
            Chore::Segment(start) => {
                self.waiting = Some(start);
                self.serve_segment(done)?;
            }
            Chore::Superblock(mark) => {
                self.durable = self.durable.max(mark.durable);
                match self.superblock.write(&self.disk, mark) {
                    // The next one tries again; until then the old mark holds.
                    Err(error) if error.is_full() && !mark.clean => {}
                    written => written?,
                }
                done.push(Done::Superblock(self.superblock.mark()));
                self.publish(done)?;
            }
            Chore::Snapshot(part) => self.snapshot(part, done)?,
            Chore::Tick { durable } => {
                self.durable = self.durable.max(durable);
                self.full = false;
                self.serve_segment(done)?;
                self.publish(done)?;
                done.push(Done::Ticked { spares: self.spares.count() });
            }
        }
        Ok(())
    }

    /// Works ahead, a piece at a time, when no chore waits; returns whether more is to be done.
    ///
    /// # Errors
    /// What ends the server.
    pub fn spend(&mut self, done: &mut Vec<Done>) -> Result<bool, StoreError> {
        if self.full {
            return Ok(false);
        }
        let more = self.make_piece()?;
        if self.waiting.is_some() {
            self.serve_segment(done)?;
        }
        self.tell_space(done);
        Ok(more)
    }

    /// Spare segments there are.
    #[must_use]
    pub const fn spares(&self) -> usize {
        self.spares.count()
    }

    /// The directory's own name, and which log in it this is.
    #[must_use]
    pub const fn identity(&self) -> Identity {
        self.identity
    }

    /// Gives the committer the segment it waits for, if that can be.
    fn serve_segment(&mut self, done: &mut Vec<Done>) -> Result<(), StoreError> {
        let Some(start) = self.waiting else { return Ok(()) };
        while self.spares.count() == 0 && !self.full {
            self.make_piece()?;
        }
        let SegmentStart { first_lsn, prev_crc } = start;
        let header = SegmentHeader { number: self.number + 1, first_lsn, prev_crc };
        let segment = match self.spares.activate(&header) {
            Err(error) if error.is_full() => None,
            activated => activated?,
        };
        if let Some(segment) = segment {
            self.number += 1;
            self.waiting = None;
            let (path, bytes) = (segment.path.to_string(), segment.bytes);
            self.segments.push(KeptSegment { path, first_lsn, bytes });
            done.push(Done::Segment(segment));
        }
        self.tell_space(done);
        Ok(())
    }

    /// Makes a piece of a spare; a full disk is noted.
    fn make_piece(&mut self) -> Result<bool, StoreError> {
        match self.spares.make_piece() {
            Err(error) if error.is_full() => {
                self.full = true;
                Ok(false)
            }
            made => made,
        }
    }

    fn tell_space(&mut self, done: &mut Vec<Done>) {
        let space = if self.waiting.is_some() {
            LogSpace::None
        } else if self.full {
            LogSpace::Low
        } else if self.spares.count() >= SPARES_MAX {
            LogSpace::Plenty
        } else {
            // Being made: whether there is room for all will be known when they are.
            match self.space {
                LogSpace::Plenty => LogSpace::Plenty,
                LogSpace::Low | LogSpace::None => LogSpace::Low,
            }
        };
        if space != self.space {
            self.space = space;
            done.push(Done::Space(space));
        }
    }

    fn snapshot(&mut self, part: SnapshotPart, done: &mut Vec<Done>) -> Result<(), StoreError> {
        let mut memory = Vec::new();
        let result = match part {
            SnapshotPart::Begin { lsn } => {
                self.abandon();
                self.round += 1;
                let (disk, dir, identity) = (&self.disk, &self.dir, &self.identity);
                SnapshotWriter::start(disk, dir, identity, self.round, lsn)
                    .map(|writer| self.writing = Some(writer))
            }
            SnapshotPart::Section(mut section) => {
                let disk = &self.disk;
                let written = self.writing.as_mut().map(|writer| writer.section(disk, &section));
                memory = std::mem::take(&mut section.bytes);
                written.unwrap_or(Ok(()))
            }
            SnapshotPart::End { durable } => {
                self.durable = self.durable.max(durable);
                let finished = self.writing.take().map(|writer| writer.finish(&self.disk));
                finished.transpose().map(|sealed| self.sealed = sealed)
            }
            SnapshotPart::Abandon => {
                self.abandon();
                Ok(())
            }
        };
        self.pass_full(result, done)?;
        memory.clear();
        done.push(Done::Snapshot(memory));
        self.publish(done)
    }

    /// Publishes the snapshot that is complete, once the log holds all that is in it.
    fn publish(&mut self, done: &mut Vec<Done>) -> Result<(), StoreError> {
        if self.sealed.as_ref().is_none_or(|sealed| sealed.lsn_max > self.durable) {
            return Ok(());
        }
        let Some(sealed) = self.sealed.take() else { return Ok(()) };
        let published = self.name_and_note(&sealed).and_then(|()| self.remove_needless());
        let published = published.map(|segments_freed| Published {
            round: sealed.round,
            sections: sealed.sections,
            bytes: sealed.bytes,
            replay_from: self.manifest.replay_from,
            segments_freed,
        });
        let published = published.map(|published| done.push(Done::Published(published)));
        self.pass_full(published, done)?;
        self.tell_space(done);
        Ok(())
    }

    fn name_and_note(&mut self, sealed: &SealedSnapshot) -> Result<(), StoreError> {
        let path = format!("{}/{}", self.dir, snapshot_name(sealed.round));
        let renamed = self.disk.rename(&sealed.path, &path);
        renamed.map_err(StoreError::io("rename", &sealed.path))?;
        self.disk.sync_dir(&self.dir).map_err(StoreError::sync(&self.dir))?;
        let manifest = ShardManifest::new(&self.identity, sealed.round, sealed.begin_lsn + 1);
        manifest.write(&self.disk, &self.dir)?;
        self.manifest = manifest;
        Ok(())
    }

    /// Removes what the manifest makes needless; returns how many segments.
    fn remove_needless(&mut self) -> Result<u64, StoreError> {
        let needed = self
            .segments
            .iter()
            .rposition(|segment| segment.first_lsn <= self.manifest.replay_from);
        let needless = self.segments.drain(..needed.unwrap_or(0));
        let freed = self.spares.recycle(needless)?;
        for name in self.disk.list(&self.dir).map_err(StoreError::io("list", &self.dir))? {
            if let ShardFile::Snapshot(round) = ShardFile::of(&name)
                && round != self.manifest.round
            {
                let path = format!("{}/{name}", self.dir);
                self.disk.remove(&path).map_err(StoreError::io("remove", &path))?;
            }
        }
        self.disk.sync_dir(&self.dir).map_err(StoreError::sync(&self.dir))?;
        Ok(freed)
    }

    /// A full disk costs the snapshot only.
    fn pass_full(
        &mut self,
        result: Result<(), StoreError>,
        done: &mut Vec<Done>,
    ) -> Result<(), StoreError> {
        match result {
            Err(error) if error.is_full() => {
                self.abandon();
                done.push(Done::SnapshotFailed(error.to_string()));
                Ok(())
            }
            other => other,
        }
    }

    /// Gives up the snapshot at hand, and the room it takes.
    fn abandon(&mut self) {
        let writing = self.writing.take().map(|writer| writer.path().to_owned());
        let sealed = self.sealed.take().map(|sealed| sealed.path);
        for path in writing.into_iter().chain(sealed) {
            // It is a temporary file: the next start removes it, too.
            let _ = self.disk.remove(&path);
        }
    }
}
