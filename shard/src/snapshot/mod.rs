//! Snapshots: what a shard knows, as bytes that another process can go on from.
//!
//! Owns the bytes of a snapshot's sections, one a vnode and one of the marks. Never touches files,
//! checksums or the log: they come in and go out as arguments.
//!
//! ```text
//! | magic 4 | format u16 | kind u16 |  rkyv archive: flat tables of the vnode's tenants, … |
//! ```

mod check;
mod error;
mod marks;
mod restore;
mod section;
mod versions;
mod write;

use trendsrv_proto::Clock;

pub use check::check_vnode;
pub use error::SnapshotError;
pub use marks::check_marks;
pub(crate) use write::Draft;

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

#[cfg(test)]
mod tests;
