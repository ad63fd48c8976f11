//! What a shard asks of whoever does its blocking work, and what it hears back.
//!
//! ```text
//!   shard's thread: Committer ──Chore──▶ Chores: a helper's thread, or inline in the simulator
//!                             ◀──Done──
//! ```
//!
//! Invariant: each [`Chore`] is closed by one [`Done`] of its name, a segment's maybe much later,
//! when there is room again; [`Done::Space`] and [`Done::SnapshotFailed`] come besides.

use std::sync::Arc;
use trendsrv_shard::log::LogSpace;

/// One piece of blocking work.
#[derive(Debug, PartialEq, Eq)]
pub enum Chore {
    /// A segment for the records from an LSN on.
    Segment(SegmentStart),
    /// Keep the mark.
    Superblock(Mark),
    /// A piece of a snapshot.
    Snapshot(SnapshotPart),
    /// Whatever is due: spares, a snapshot that waits for its log. About once a second.
    Tick {
        /// Records up to here are safe.
        durable: u64,
    },
}

/// Where a segment begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentStart {
    /// Its first record.
    pub first_lsn: u64,
    /// The checksum of the record before that.
    pub prev_crc: u32,
}

/// What a superblock says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Records up to here are safe.
    pub durable: u64,
    /// The server ended in good order, and no record follows.
    pub clean: bool,
}

/// A snapshot, piece by piece.
#[derive(Debug, PartialEq, Eq)]
pub enum SnapshotPart {
    /// It begins: records up to `lsn` are in whatever follows.
    Begin {
        /// The last record appended.
        lsn: u64,
    },
    /// One vnode, or the marks.
    Section(Section),
    /// It is complete: published as soon as the log holds all that is in it.
    End {
        /// Records up to here are safe.
        durable: u64,
    },
    /// It will not be completed.
    Abandon,
}

/// A section of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// Of what.
    pub of: SectionOf,
    /// Records up to here are in it.
    pub lsn: u64,
    /// What the shard wrote.
    pub bytes: Vec<u8>,
}

/// What a section is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SectionOf {
    /// The producers' marks.
    Marks,
    /// The tenants of a vnode.
    Vnode(u16),
}

/// Work that was done.
#[derive(Debug, PartialEq, Eq)]
pub enum Done {
    /// The segment that was asked for.
    Segment(Segment),
    /// The mark is kept.
    Superblock(Mark),
    /// A piece of a snapshot was taken; here is its memory.
    Snapshot(Vec<u8>),
    /// A snapshot is published.
    Published(Published),
    /// A snapshot was given up; the one before still holds.
    SnapshotFailed(String),
    /// The tick is over.
    Ticked {
        /// Spare segments there are.
        spares: usize,
    },
    /// There is more or less room than before.
    Space(LogSpace),
}

/// A segment to be written to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Its file.
    pub path: Arc<str>,
    /// The how-many-th of its log it is.
    pub number: u64,
    /// Its first record.
    pub first_lsn: u64,
    /// Its bytes, the header's block included.
    pub bytes: u64,
}

/// A snapshot that is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    /// Its number.
    pub round: u64,
    /// Its sections.
    pub sections: u64,
    /// Its bytes.
    pub bytes: u64,
    /// The log is needed from here on.
    pub replay_from: u64,
    /// Segments that are no longer needed and were recycled or removed.
    pub segments_freed: u64,
}
