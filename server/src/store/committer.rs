//! Decides what of the log is written next, and knows what is safe.
//!
//! Owns the policy of group commit and the place in the segment. Never touches a file, a clock or
//! a thread: one thread writes what [`Committer::next_write`] says, another does its chores.
//!
//! ```text
//!   Writer ─batches─▶ next_write ─▶ (one write with O_DSYNC) ─▶ on_written ─▶ durable
//!                        │  the segment is full
//!                        └▶ next_chore: Segment ─▶ (helper) ─▶ on_done ─▶ next_write goes on
//! ```
//!
//! Invariants:
//! - one write is in flight at most;
//! - a write starts on a fresh block, so no block that was acknowledged is written again;
//! - nothing is durable before its write and all writes before it have succeeded;
//! - after one that failed, nothing is written any more.

use super::block::{BLOCK, Identity};
use super::chore::{Chore, Done, Mark, Segment, SegmentStart};
use super::commit::{CommitHead, HEAD};
use super::error::StoreError;
use super::limits::{
    BLOCK_BYTES, COMMIT_BYTES_MAX, COMMIT_FULL_BYTES, COMMIT_WAIT_US_MAX, SUPERBLOCK_EVERY_US,
    TICK_EVERY_US,
};
use std::io;
use std::sync::Arc;
use trendsrv_shard::log::{Batch, LogSpace, Writer};

/// Where batches of records come from.
pub trait BatchSource {
    /// Bytes of records that were not taken yet.
    fn backlog_bytes(&self) -> usize;
    /// Takes whole records of at most so many bytes, but at least one record.
    fn take(&mut self, bytes_max: usize) -> Option<Batch>;
    /// Gives a batch's memory back.
    fn give_back(&mut self, bytes: Vec<u8>);
}

impl BatchSource for Writer {
    fn backlog_bytes(&self) -> usize {
        Self::backlog_bytes(self)
    }

    fn take(&mut self, bytes_max: usize) -> Option<Batch> {
        Self::take(self, bytes_max)
    }

    fn give_back(&mut self, bytes: Vec<u8>) {
        Self::give_back(self, bytes);
    }
}

/// A write that is due: head, records and zeros behind them, all at one place, through to the disk.
#[derive(Clone, Copy, Debug)]
pub struct Write<'a> {
    /// The segment.
    pub file: &'a Arc<str>,
    /// Where in it, on a block's boundary.
    pub offset: u64,
    /// What comes first.
    pub head: &'a [u8],
    /// What follows.
    pub records: &'a [u8],
}

impl Write<'_> {
    /// Bytes of the whole write, a multiple of [`BLOCK_BYTES`].
    #[must_use]
    pub const fn len(&self) -> usize {
        blocks(self.records.len())
    }

    /// A write is never empty.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        false
    }

    /// Puts all of it into memory of [`Self::len`] bytes.
    ///
    /// # Panics
    /// When the memory has another length.
    pub fn copy_to(&self, into: &mut [u8]) {
        assert_eq!(into.len(), self.len(), "the write's memory");
        let (head, rest) = into.split_at_mut(self.head.len());
        let (records, zeros) = rest.split_at_mut(self.records.len());
        head.copy_from_slice(self.head);
        records.copy_from_slice(self.records);
        zeros.fill(0);
    }
}

/// Where the log stands when a server begins to write it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitterStart {
    /// The segment to begin with; nothing is in it.
    pub segment: Segment,
    /// The record before the first one to be written: its checksum is the segment's chain value.
    pub last_lsn: u64,
    /// Its checksum.
    pub last_crc: u32,
    /// Bytes of a segment that is yet to be made.
    pub segment_bytes: u64,
    /// Whose log it is.
    pub identity: Identity,
}

/// See the module header.
#[derive(Debug)]
pub struct Committer {
    identity: Identity,
    place: Place,
    segment_bytes: u64,
    commit_bytes_max: usize,
    flight: Option<Flight>,
    held: Option<Batch>,
    /// The last record taken.
    last_lsn: u64,
    last_crc: u32,
    /// The checksum of the last record of which a write has begun.
    written_crc: u32,
    durable: u64,
    pending_since_us: Option<u64>,
    mark: Cadence<Mark>,
    tick: Cadence<()>,
    broken: bool,
}

/// Where the next write goes.
#[derive(Debug)]
enum Place {
    In { segment: Segment, offset: u64 },
    Want(SegmentStart),
    Asked(SegmentStart),
}

#[derive(Debug)]
struct Flight {
    file: Arc<str>,
    offset: u64,
    head: [u8; HEAD],
    batch: Batch,
}

/// Something that is done at most once in a while, and once at a time.
#[derive(Debug)]
struct Cadence<T> {
    last_us: u64,
    busy: bool,
    done: T,
}

impl Committer {
    /// Begins in a fresh segment.
    #[must_use]
    pub fn new(start: CommitterStart) -> Self {
        let CommitterStart { segment, last_lsn, last_crc, segment_bytes, identity } = start;
        let quarter = usize::try_from(segment_bytes / 4).unwrap_or(usize::MAX);
        Self {
            identity,
            place: Place::In { segment, offset: BLOCK_BYTES },
            segment_bytes,
            commit_bytes_max: COMMIT_BYTES_MAX.min(quarter),
            flight: None,
            held: None,
            last_lsn,
            last_crc,
            written_crc: last_crc,
            durable: last_lsn,
            pending_since_us: None,
            mark: Cadence {
                last_us: 0,
                busy: false,
                done: Mark { durable: last_lsn, clean: false },
            },
            tick: Cadence { last_us: 0, busy: false, done: () },
            broken: false,
        }
    }

    /// The write that is due now, if any. `awaited` says whether someone waits for what is not
    /// durable yet. Whoever gets one tells [`Self::on_written`] what became of it.
    ///
    /// # Errors
    /// When a write failed before, or a record does not fit any segment.
    pub fn next_write(
        &mut self,
        now_us: u64,
        awaited: bool,
        source: &mut impl BatchSource,
    ) -> Result<Option<Write<'_>>, StoreError> {
        if self.broken {
            return Err(StoreError::Broken);
        }
        if self.flight.is_some() || !self.has_batch(now_us, awaited, source)? {
            return Ok(None);
        }
        let Place::In { segment, offset } = &mut self.place else { return Ok(None) };
        let Some(batch) = self.held.take() else { return Ok(None) };
        let head = CommitHead {
            segment: segment.number,
            first_lsn: batch.first_lsn,
            last_lsn: batch.last_lsn,
            bytes: batch.bytes.len() as u64,
            prev_crc: self.written_crc,
            last_crc: batch.last_crc,
        };
        let (head, at, file) = (head.encode(&self.identity), *offset, segment.path.clone());
        self.written_crc = batch.last_crc;
        *offset += blocks(batch.bytes.len()) as u64;
        if segment.bytes - *offset < blocks(self.commit_bytes_max) as u64 {
            // Asked for while this write is on its way, so that the next one waits less.
            self.want_segment();
        }
        let flight = self.flight.insert(Flight { file, offset: at, head, batch });
        let Flight { file, offset, head, batch } = &*flight;
        Ok(Some(Write { file, offset: *offset, head, records: &batch.bytes }))
    }

    /// A write has come to its end, with so many bytes written; returns up to where the log is
    /// durable now.
    ///
    /// # Errors
    /// When it failed. The process must end: nothing that follows may be acknowledged.
    ///
    /// # Panics
    /// When no write is in flight.
    pub fn on_written(
        &mut self,
        result: io::Result<usize>,
        source: &mut impl BatchSource,
    ) -> Result<u64, StoreError> {
        let Flight { file, offset, batch, .. } = self.flight.take().expect("a write is in flight");
        let all = blocks(batch.bytes.len());
        let wrong = match result {
            Ok(count) if count == all => None,
            Ok(count) => {
                Some(io::Error::other(format!("only {count} of {all} bytes were written")))
            }
            Err(error) => Some(error),
        };
        if let Some(error) = wrong {
            self.broken = true;
            let path = file.as_ref().to_owned();
            let (first_lsn, last_lsn) = (batch.first_lsn, batch.last_lsn);
            return Err(StoreError::LogWrite { path, offset, first_lsn, last_lsn, source: error });
        }
        self.durable = batch.last_lsn;
        source.give_back(batch.bytes);
        Ok(self.durable)
    }

    /// The chore that is due now, if any; asked until there is none.
    pub fn next_chore(&mut self, now_us: u64) -> Option<Chore> {
        if let Place::Want(start) = self.place {
            self.place = Place::Asked(start);
            return Some(Chore::Segment(start));
        }
        let mark = Mark { durable: self.durable, clean: false };
        if mark != self.mark.done && self.mark.is_due(now_us, SUPERBLOCK_EVERY_US) {
            return Some(Chore::Superblock(mark));
        }
        self.tick.is_due(now_us, TICK_EVERY_US).then_some(Chore::Tick { durable: self.durable })
    }

    /// The chore at a clean end, once everything is written.
    ///
    /// # Panics
    /// When something is not.
    #[must_use]
    pub fn last_chore(&self) -> Chore {
        assert!(self.is_idle(), "the log ends while a write is due or in flight");
        Chore::Superblock(Mark { durable: self.durable, clean: true })
    }

    /// A chore is done. What is not the committer's is passed over.
    pub fn on_done(&mut self, done: &Done) {
        match done {
            Done::Segment(segment) => {
                if let Place::Asked(start) = self.place
                    && start.first_lsn == segment.first_lsn
                {
                    self.place = Place::In { segment: segment.clone(), offset: BLOCK_BYTES };
                }
            }
            Done::Superblock(mark) => {
                self.mark.busy = false;
                self.mark.done = *mark;
            }
            Done::Ticked { .. } => self.tick.busy = false,
            Done::Snapshot(_)
            | Done::Published(_)
            | Done::SnapshotFailed(_)
            | Done::Space(LogSpace::Plenty | LogSpace::Low | LogSpace::None) => {}
        }
    }

    /// Records up to here are safe.
    #[must_use]
    pub const fn durable(&self) -> u64 {
        self.durable
    }

    /// The last record that was taken for writing, durable or not.
    #[must_use]
    pub const fn taken(&self) -> u64 {
        self.last_lsn
    }

    /// Whether nothing is in flight and nothing taken waits; records that were not taken are not
    /// known here.
    #[must_use]
    pub const fn is_idle(&self) -> bool {
        self.flight.is_none() && self.held.is_none()
    }

    /// Whether a write is in flight.
    #[must_use]
    pub const fn in_flight(&self) -> bool {
        self.flight.is_some()
    }

    /// When something is due by time alone, if nothing else happens: the oldest pending record,
    /// or the mark.
    #[must_use]
    pub fn due_us(&self) -> Option<u64> {
        let written = self.flight.is_none() && matches!(self.place, Place::In { .. });
        let commit = self.pending_since_us.filter(|_| written).map(|at| at + COMMIT_WAIT_US_MAX);
        let moved = self.mark.done.durable != self.durable && !self.mark.busy;
        let mark = moved.then_some(self.mark.last_us + SUPERBLOCK_EVERY_US);
        let tick = (!self.tick.busy).then_some(self.tick.last_us + TICK_EVERY_US);
        [commit, mark, tick].into_iter().flatten().min()
    }

    /// Whether a batch is held that may be written now; takes one when it is due.
    fn has_batch(
        &mut self,
        now_us: u64,
        awaited: bool,
        source: &mut impl BatchSource,
    ) -> Result<bool, StoreError> {
        if self.held.is_some() {
            return Ok(matches!(self.place, Place::In { .. }));
        }
        let pending = source.backlog_bytes();
        if pending == 0 {
            self.pending_since_us = None;
            return Ok(false);
        }
        let since_us = *self.pending_since_us.get_or_insert(now_us);
        let waited = now_us.saturating_sub(since_us) >= COMMIT_WAIT_US_MAX;
        let due = awaited || waited || pending >= COMMIT_FULL_BYTES.min(self.commit_bytes_max);
        if !due || !matches!(self.place, Place::In { .. }) {
            return Ok(false);
        }
        let Some(batch) = source.take(self.commit_bytes_max) else { return Ok(false) };
        // What stays behind begins to wait now; it is at most one turn older than this says.
        self.pending_since_us = (source.backlog_bytes() > 0).then_some(now_us);
        let (bytes, holds) = (blocks(batch.bytes.len()) as u64, self.segment_bytes - BLOCK_BYTES);
        if bytes > holds {
            let last_lsn = batch.last_lsn;
            return Err(StoreError::RecordTooLarge { last_lsn, bytes, segment_bytes: holds });
        }
        let fits = match &self.place {
            Place::In { segment, offset } => bytes <= segment.bytes - offset,
            Place::Want(_) | Place::Asked(_) => false,
        };
        if !fits {
            self.want_segment();
        }
        (self.last_lsn, self.last_crc) = (batch.last_lsn, batch.last_crc);
        self.held = Some(batch);
        Ok(fits)
    }

    /// The segment is closed: what comes after the last record taken goes to another.
    fn want_segment(&mut self) {
        let (first_lsn, prev_crc) = (self.last_lsn + 1, self.last_crc);
        self.place = Place::Want(SegmentStart { first_lsn, prev_crc });
    }
}

impl<T> Cadence<T> {
    fn is_due(&mut self, now_us: u64, every_us: u64) -> bool {
        let due = !self.busy && now_us.saturating_sub(self.last_us) >= every_us;
        if due {
            self.busy = true;
            self.last_us = now_us;
        }
        due
    }
}

/// Bytes of a commit with so many bytes of records: head and zeros included.
const fn blocks(records: usize) -> usize {
    (HEAD + records).next_multiple_of(BLOCK)
}
