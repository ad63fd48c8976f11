//! Snapshots: what a shard knows, as bytes that another process can go on from.
//!
//! Owns the bytes of a snapshot's sections, one a vnode and one of the marks. Never touches files,
//! checksums or the log: they come in and go out as arguments.
//!
//! ```text
//! | magic 4 | format u16 | kind u16 |  rkyv archive: flat tables of the vnode's tenants, … |
//! ```

mod error;

use crate::marks::OldOwner;
use crate::memory::Memory;
use crate::programs::Programs;
use crate::shard::Shard;
use trendsrv_proto::Clock;

pub use error::SnapshotError;

/// The format this program writes, and the newest that it reads.
pub const FORMAT: u16 = 1;

/// What a section of a vnode holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VnodeFacts {
    /// The vnode.
    pub vnode: u16,
    /// Everything logged up to here is in it, and nothing after.
    pub lsn: u64,
    /// Length of its windows.
    pub window_ms: u64,
    /// Length of their panes.
    pub slide_ms: u64,
    /// What moves them.
    pub clock: Clock,
    /// Tenants.
    pub tenants: usize,
    /// Those of them with a window.
    pub windows: usize,
    /// Events in the windows.
    pub events: u64,
    /// Topics in the windows, once for each.
    pub topics: usize,
    /// Events that wait for their pane.
    pub early: usize,
    /// Private states of programs.
    pub states: usize,
}

/// What a section of marks holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MarksFacts {
    /// Everything logged up to here is in it, and nothing after.
    pub lsn: u64,
    /// Marks.
    pub marks: usize,
}

/// What became of a vnode's section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restored {
    /// What it holds.
    pub facts: VnodeFacts,
    /// Sample messages left out because their memory was spent.
    pub samples_left_out: usize,
    /// Private states left out because no program of their name is known here.
    pub states_left_out: usize,
}

/// Checks a vnode's section and says what it holds.
///
/// # Errors
/// When it is damaged, or newer than this program.
pub fn check_vnode(_bytes: &[u8]) -> Result<VnodeFacts, SnapshotError> {
    Err(SnapshotError::NotASection { kind: "a vnode" })
}

/// Checks a section of marks and says what it holds.
///
/// # Errors
/// When it is damaged, or newer than this program.
pub fn check_marks(_bytes: &[u8]) -> Result<MarksFacts, SnapshotError> {
    Err(SnapshotError::NotASection { kind: "marks" })
}

impl<P: Programs, M: Memory> Shard<P, M> {
    /// Appends the section of a vnode to `out` and returns the LSN it is of: everything logged up
    /// to there is in it. `None`, and nothing appended, when nobody of the vnode is here.
    pub fn snapshot_vnode(&mut self, _vnode: u16, _out: &mut Vec<u8>) -> Option<u64> {
        None
    }

    /// Appends the section of marks to `out` and returns the LSN it is of.
    pub fn snapshot_marks(&self, _out: &mut Vec<u8>) -> u64 {
        0
    }

    /// Takes a vnode's section in. Its programs should be known before, and the shard should hold
    /// none of the vnode's tenants.
    ///
    /// # Errors
    /// When the section is damaged, newer than this program, or does not fit this shard. Where it
    /// does not fit, part of it may be restored: such a shard is not to be used.
    pub fn restore_vnode(&mut self, _bytes: &[u8]) -> Result<Restored, SnapshotError> {
        Err(SnapshotError::NotASection { kind: "a vnode" })
    }

    /// Takes a section of marks in: this shard's own, or those of an old owner that this shard
    /// has taken tenants from. Returns how many there were.
    ///
    /// # Errors
    /// When the section is damaged or newer than this program.
    pub fn restore_marks(
        &mut self,
        _bytes: &[u8],
        _from: Option<OldOwner>,
    ) -> Result<usize, SnapshotError> {
        Err(SnapshotError::NotASection { kind: "marks" })
    }
}
