//! What an inspection has found, in words and for JSON.

use super::log_reader::TornTail;
use super::manifest::Manifest;
use serde::Serialize;
use std::fmt;

/// Of a data directory.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Findings {
    /// Whether a server was at work there: what it was writing may look like an unfinished write.
    pub in_use: bool,
    /// Whether everything that was acknowledged can be read.
    pub sound: bool,
    /// What the directory says of itself.
    pub manifest: Option<Manifest>,
    /// Its shards.
    pub shards: Vec<ShardFindings>,
    /// Names in the directory that are no part of it; a start removes those of other generations.
    pub leftovers: Vec<String>,
    /// What is damaged, besides what is of a shard.
    pub damage: Vec<String>,
}

/// Of a shard.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ShardFindings {
    /// Which.
    pub shard: u16,
    /// Records up to here are marked as durable.
    pub durable: u64,
    /// The server ended in good order.
    pub clean: bool,
    /// The first record that a start reads.
    pub replay_from: u64,
    /// The snapshot that holds.
    pub snapshot: Option<SnapshotFindings>,
    /// The log behind it.
    pub log: Option<LogFindings>,
    /// Spare segments.
    pub spares: u64,
    /// An end that a crash explains.
    pub torn: Option<TornTail>,
    /// Acknowledged records that are lost, first to last.
    pub lost_lsns: Option<(u64, u64)>,
    /// What is damaged.
    pub damage: Vec<String>,
    /// What is strange and harmless.
    pub notes: Vec<String>,
}

/// Of a snapshot.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct SnapshotFindings {
    /// Its number.
    pub round: u64,
    /// Bytes of its file.
    pub bytes: u64,
    /// Sections, that of the marks included.
    pub sections: u64,
    /// Producers' marks.
    pub marks: u64,
    /// Tenants.
    pub tenants: u64,
    /// Those of them with a window.
    pub windows: u64,
    /// Events in the windows.
    pub events: u64,
    /// Private states of programs.
    pub states: u64,
    /// The newest record that is in it.
    pub lsn_max: u64,
}

/// Of a log.
#[derive(Clone, Debug, Default, Serialize)]
pub struct LogFindings {
    /// The first record that is there.
    pub first_lsn: u64,
    /// The last one.
    pub last_lsn: u64,
    /// Commits that were read.
    pub commits: u64,
    /// Records that were read.
    pub records: u64,
    /// Events and texts in them.
    pub events: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Its segments.
    pub segments: Vec<SegmentFindings>,
}

/// Of a segment.
#[derive(Clone, Debug, Serialize)]
pub struct SegmentFindings {
    /// Its file.
    pub path: String,
    /// The how-many-th it is.
    pub number: u64,
    /// Its first record.
    pub first_lsn: u64,
    /// Its last record; the one before the first when it has none.
    pub last_lsn: u64,
    /// Bytes of its file.
    pub bytes: u64,
}

impl Findings {
    /// Whether nothing is damaged.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.damage.is_empty() && self.shards.iter().all(|shard| shard.damage.is_empty())
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.in_use {
            writeln!(f, "in use by a server: its last writes may look unfinished")?;
        }
        if let Some(manifest) = &self.manifest {
            let Manifest { version, generation, shards, window_ms, slide_ms, clock, .. } = manifest;
            writeln!(
                f,
                "format {version}, generation {generation}, {shards} shards, --window \
                 {window_ms}ms --slide {slide_ms}ms --clock {clock}"
            )?;
        }
        for shard in &self.shards {
            write!(f, "{shard}")?;
        }
        for name in &self.leftovers {
            writeln!(f, "note: {name} is no part of it")?;
        }
        for damage in &self.damage {
            writeln!(f, "DAMAGED: {damage}")?;
        }
        let sound = if self.is_sound() { "sound" } else { "damaged" };
        writeln!(f, "{sound}")
    }
}

impl fmt::Display for ShardFindings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { shard, durable, spares, .. } = self;
        let end = if self.clean { ", ended in good order" } else { "" };
        writeln!(f, "shard {shard}: durable up to LSN {durable}{end}; {spares} spare segments")?;
        if let Some(snapshot) = &self.snapshot {
            let SnapshotFindings { round, sections, bytes, tenants, events, marks, .. } = snapshot;
            writeln!(
                f,
                "  snapshot {round}: {sections} sections, {bytes} bytes, {tenants} tenants, \
                 {events} events, {marks} producers' marks, up to LSN {}",
                snapshot.lsn_max
            )?;
        }
        if let Some(log) = &self.log {
            let LogFindings { first_lsn, last_lsn, commits, records, events, bytes, .. } = log;
            if *records == 0 {
                writeln!(f, "  log: no records")?;
            } else {
                writeln!(
                    f,
                    "  log: LSN {first_lsn} to {last_lsn}, {commits} commits, {records} records, \
                     {events} events, {bytes} bytes; a start replays from LSN {}",
                    self.replay_from
                )?;
            }
            for segment in &log.segments {
                let SegmentFindings { path, first_lsn, last_lsn, .. } = segment;
                if last_lsn < first_lsn {
                    writeln!(f, "    {path}: empty")?;
                } else {
                    writeln!(f, "    {path}: LSN {first_lsn} to {last_lsn}")?;
                }
            }
        }
        if let Some(torn) = &self.torn {
            writeln!(f, "  torn tail: {torn}")?;
        }
        for note in &self.notes {
            writeln!(f, "  note: {note}")?;
        }
        for damage in &self.damage {
            writeln!(f, "  DAMAGED: {damage}")?;
        }
        Ok(())
    }
}
