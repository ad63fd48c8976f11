//! Names of files and directories of a data directory.
//!
//! ```text
//!   lock
//!   MANIFEST
//!   programs/
//!   gen-0001/shard-000/superblock
//!                      manifest
//!                      seg-00000000000000000001.log     named by the first LSN in it
//!                      spare-3.log
//!                      snap-00000007.snap               named by the round
//! ```
//!
//! Invariant: a name that is read back is one that was written: no other spelling is taken.

/// The manifest of the directory.
pub const MANIFEST: &str = "MANIFEST";
/// The file that the process holds.
pub const LOCK: &str = "lock";
/// The programs' journal.
pub const PROGRAMS: &str = "programs";
/// The two copies of a shard's marks.
pub const SUPERBLOCK: &str = "superblock";
/// A shard's manifest.
pub const SHARD_MANIFEST: &str = "manifest";
/// What a file is called while it is written.
pub const TEMPORARY: &str = ".new";

/// The directory of a generation.
#[must_use]
pub fn generation_dir(generation: u32) -> String {
    format!("gen-{generation:04}")
}

/// The directory of a shard.
#[must_use]
pub fn shard_dir(generation: u32, shard: u16) -> String {
    format!("gen-{generation:04}/shard-{shard:03}")
}

/// A segment's name.
#[must_use]
pub fn segment_name(first_lsn: u64) -> String {
    format!("seg-{first_lsn:020}.log")
}

/// A spare's name.
#[must_use]
pub fn spare_name(number: u64) -> String {
    format!("spare-{number}.log")
}

/// A snapshot's name.
#[must_use]
pub fn snapshot_name(round: u64) -> String {
    format!("snap-{round:08}.snap")
}

/// What a name in a shard's directory says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShardFile {
    /// The superblock.
    Superblock,
    /// The manifest.
    Manifest,
    /// A segment with its first LSN.
    Segment(u64),
    /// A spare with its number.
    Spare(u64),
    /// A snapshot with its round.
    Snapshot(u64),
    /// Something that was being written when the process ended.
    Temporary,
    /// None of ours.
    Foreign,
}

impl ShardFile {
    /// Reads a name.
    #[must_use]
    pub fn of(name: &str) -> Self {
        let number = |start: &str, end: &str, again: fn(u64) -> String| {
            let digits = name.strip_prefix(start)?.strip_suffix(end)?;
            let number = digits.parse().ok()?;
            (again(number) == name).then_some(number)
        };
        if name == SUPERBLOCK {
            Self::Superblock
        } else if name == SHARD_MANIFEST {
            Self::Manifest
        } else if name.ends_with(TEMPORARY) {
            Self::Temporary
        } else if let Some(first_lsn) = number("seg-", ".log", segment_name) {
            Self::Segment(first_lsn)
        } else if let Some(spare) = number("spare-", ".log", spare_name) {
            Self::Spare(spare)
        } else if let Some(round) = number("snap-", ".snap", snapshot_name) {
            Self::Snapshot(round)
        } else {
            Self::Foreign
        }
    }
}

/// The generation whose directory has this name.
#[must_use]
pub fn generation_of(name: &str) -> Option<u32> {
    let generation = name.strip_prefix("gen-")?.parse().ok()?;
    (generation_dir(generation) == name).then_some(generation)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_back_as_it_was_written_and_in_no_other_spelling() {
        assert_eq!(ShardFile::of(&segment_name(17)), ShardFile::Segment(17));
        assert_eq!(ShardFile::of(&segment_name(u64::MAX)), ShardFile::Segment(u64::MAX));
        assert_eq!(ShardFile::of(&spare_name(3)), ShardFile::Spare(3));
        assert_eq!(ShardFile::of(&snapshot_name(7)), ShardFile::Snapshot(7));
        assert_eq!(ShardFile::of("superblock"), ShardFile::Superblock);
        assert_eq!(ShardFile::of("manifest"), ShardFile::Manifest);
        assert_eq!(ShardFile::of("spare-3.log.new"), ShardFile::Temporary);
        for foreign in ["seg-1.log", "spare-03.log", "spare-.log", "snap-7.snap", "notes", ""] {
            assert_eq!(ShardFile::of(foreign), ShardFile::Foreign, "{foreign}");
        }
        assert_eq!(generation_of("gen-0001"), Some(1));
        assert_eq!(generation_of("gen-12345"), Some(12_345));
        assert_eq!(generation_of("gen-1"), None);
        assert_eq!(shard_dir(1, 7), "gen-0001/shard-007");
    }
}
