//! The data directory: the files of log and snapshots, and how a server finds its way back.
//!
//! Owns every byte below `--data-dir` but the programs' journal. Never touches what a record or a
//! section means (the shard does), nor a ring, a thread or a clock.
//!
//! ```text
//!   Store::open ─▶ ShardRecovery::recover, a shard each: reads only
//!     all of them went well ─▶ Store::prepare ─▶ Recovered::begin, a shard each
//!       all of them ─▶ Store::finish: the generation of shards is this one from here on
//!   then a shard each: Committer (what to write next, what is safe) and Chores (blocking work)
//! ```
//!
//! Invariants:
//! - nothing is written before everything that will be believed was checked;
//! - nothing that was acknowledged is rewritten, or removed before what replaces it is safe;
//! - a crash between any two operations of the disk leaves a directory that opens.

mod begin;
mod block;
mod chore;
mod chores;
mod chunk;
mod command;
mod commit;
mod committer;
mod disk;
mod error;
mod findings;
mod inspect;
pub mod layout;
pub mod limits;
mod log_reader;
mod manifest;
mod old_log;
mod open;
mod recover;
mod segment;
mod snapshot_file;
mod snapshot_pace;
mod spares;
mod superblock;

pub use begin::{Opened, Recovered};
pub use block::Identity;
pub use chore::{
    Chore, Done, Mark, Published, Section, SectionOf, Segment, SegmentStart, SnapshotPart,
};
pub use chores::Chores;
pub use command::inspect_command;
pub use committer::{BatchSource, Committer, CommitterStart, Write};
pub use disk::{Disk, RealDisk, is_full};
pub use error::{Damage, StoreError};
pub use findings::{Findings, LogFindings, SegmentFindings, ShardFindings, SnapshotFindings};
pub use inspect::inspect;
pub use log_reader::TornTail;
pub use manifest::{Manifest, Settings, ShardManifest};
pub use open::Store;
pub use recover::{Progress, RecoveryFacts, RecoveryPhase, ShardRecovery};
pub use snapshot_pace::{Reach, SnapshotPace, SnapshotTaker};

#[cfg(test)]
mod tests;
