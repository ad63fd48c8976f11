//! One shard's way back: from what an earlier server left, or from nothing.
//!
//! ```text
//!   same number of shards:  own snapshot ─▶ own log
//!   another number:         every old snapshot ─▶ every old log, by the time of the records;
//!                           of all that, the vnodes that are this shard's now
//! ```
//!
//! Invariants:
//! - [`ShardRecovery::recover`] only reads: what [`Recovered::begin`] writes comes after every
//!   shard has read all it needs;
//! - what was read is made safe before anything follows it: a record that was only in the disk's
//!   cache is otherwise lost after others have been acknowledged.

use super::begin::Recovered;
use super::chore::SectionOf;
use super::disk::Disk;
use super::error::StoreError;
use super::log_reader::LogReader;
use super::manifest::Manifest;
use super::old_log::{OldLog, SnapshotLsns};
use trendsrv_proto::TenantId;
use trendsrv_proto::limits::VNODES;
use trendsrv_shard::log::{ReplayScope, Replayed};
use trendsrv_shard::{Memory, OldOwner, Programs, Shard};

/// What one shard needs to find its way back.
#[derive(Debug)]
pub struct ShardRecovery<D> {
    pub(super) disk: D,
    pub(super) shard: u16,
    pub(super) shards: u16,
    pub(super) segment_bytes: u64,
    /// What the directory says now.
    pub(super) manifest: Manifest,
}

/// How far a shard is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Which shard.
    pub shard: u16,
    /// What it reads.
    pub phase: RecoveryPhase,
    /// Bytes of that which lie behind.
    pub bytes: u64,
    /// All bytes of it.
    pub bytes_all: u64,
    /// Records applied again so far.
    pub records: u64,
    /// Events and texts in them.
    pub events: u64,
}

/// What is being read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecoveryPhase {
    /// Snapshots.
    Snapshot,
    /// Logs.
    Log,
}

/// What a recovery has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecoveryFacts {
    /// Which shard.
    pub shard: u16,
    /// Sections restored, and bytes of the files they are in.
    pub sections: u64,
    /// Bytes of snapshots.
    pub snapshot_bytes: u64,
    /// Records of the log that were applied again.
    pub records: u64,
    /// Events and texts in them.
    pub events: u64,
    /// Bytes of all records that were read.
    pub log_bytes: u64,
    /// What became of the events.
    pub replayed: Replayed,
    /// The last record of this shard's own log; 0 with another number of shards.
    pub last_lsn: u64,
    /// Tails that were cut, damage that was healed, things left out: for the operator.
    pub notes: Vec<String>,
}

impl<D: Disk> ShardRecovery<D> {
    /// Which shard.
    #[must_use]
    pub const fn shard(&self) -> u16 {
        self.shard
    }

    /// Whether there is nothing to come back to.
    #[must_use]
    pub const fn is_new(&self) -> bool {
        self.manifest.generation == 0
    }

    /// Reads snapshots and logs into an empty shard, whose log has not been started. `progress`
    /// is told about once a MiB.
    ///
    /// # Errors
    /// What keeps the server from starting. Nothing was written.
    pub fn recover<P: Programs, M: Memory>(
        self,
        shard: &mut Shard<P, M>,
        now_ms: u64,
        progress: &mut dyn FnMut(&Progress),
    ) -> Result<Recovered<D>, StoreError> {
        let mut facts = RecoveryFacts { shard: self.shard, ..RecoveryFacts::default() };
        let mut logs = Vec::new();
        for old in self.old_shards() {
            logs.push(self.restore(old, shard, &mut facts, progress)?);
        }
        self.replay(&mut logs, shard, &mut facts, progress)?;
        shard.end_replay(now_ms);
        for (_, log) in &logs {
            let counts = log.reader.counts();
            facts.log_bytes += counts.bytes;
            facts.notes.extend(log.reader.notes().iter().cloned());
            facts.notes.extend(log.reader.torn().map(ToString::to_string));
        }
        let own = logs.pop().filter(|_| self.keeps_generation());
        Ok(Recovered::new(self, facts, own.map(|(old, log)| (old, log.reader))))
    }

    pub(super) fn keeps_generation(&self) -> bool {
        self.manifest.generation != 0 && self.manifest.shards == self.shards
    }

    /// Shards of the old generation that may hold something of this one.
    fn old_shards(&self) -> std::ops::Range<u16> {
        if self.is_new() {
            0..0
        } else if self.keeps_generation() {
            self.shard..self.shard + 1
        } else {
            0..self.manifest.shards
        }
    }

    fn owns(&self, tenant: TenantId) -> bool {
        tenant.vnode() % usize::from(self.shards) == usize::from(self.shard)
    }

    fn old_owner(&self, shard: u16) -> Option<OldOwner> {
        let shards = self.manifest.shards;
        (!self.keeps_generation()).then_some(OldOwner { shards, shard })
    }

    /// Reads the snapshot of an old shard, and opens its log.
    fn restore<P: Programs, M: Memory>(
        &self,
        old: u16,
        shard: &mut Shard<P, M>,
        facts: &mut RecoveryFacts,
        progress: &mut dyn FnMut(&Progress),
    ) -> Result<(OldLog<D>, OpenLog<D>), StoreError> {
        let files = OldLog::open(&self.disk, &self.manifest, old)?;
        let old_owner = self.old_owner(old);
        let mut left_out = (0, 0);
        let mut told = 0;
        let lsns = files.read_snapshot(&mut |section| {
            let (bytes, bytes_all) = section.progress;
            if bytes - told >= PROGRESS_BYTES {
                told = bytes;
                let (shard, phase) = (self.shard, RecoveryPhase::Snapshot);
                let (records, events) = (0, 0);
                progress(&Progress { shard, phase, bytes, bytes_all, records, events });
            }
            match section.of {
                SectionOf::Marks => {
                    let restored = shard.restore_marks(section.body, old_owner);
                    restored.map(|_| ()).map_err(|error| error.to_string())
                }
                SectionOf::Vnode(vnode)
                    if usize::from(vnode) % usize::from(self.shards) == usize::from(self.shard) =>
                {
                    let restored = shard.restore_vnode(section.body);
                    let restored = restored.map_err(|error| error.to_string())?;
                    if restored.facts.vnode != vnode {
                        return Err(format!("its bytes are of vnode {}", restored.facts.vnode));
                    }
                    left_out.0 += restored.samples_left_out;
                    left_out.1 += restored.states_left_out;
                    Ok(())
                }
                // Another shard's: its checksum is good.
                SectionOf::Vnode(_) => Ok(()),
            }
        })?;
        facts.sections += lsns.sections;
        facts.snapshot_bytes += lsns.bytes;
        facts.notes.extend(files.notes.iter().cloned());
        note_left_out(left_out, facts);
        let (reader, replay_from) = (files.log(&lsns)?, files.manifest.replay_from);
        Ok((files, OpenLog { reader, lsns, replay_from, old_owner }))
    }

    /// Applies the records of all logs again, in the order of their times.
    fn replay<P: Programs, M: Memory>(
        &self,
        logs: &mut [(OldLog<D>, OpenLog<D>)],
        shard: &mut Shard<P, M>,
        facts: &mut RecoveryFacts,
        progress: &mut dyn FnMut(&Progress),
    ) -> Result<(), StoreError> {
        for (_, log) in logs.iter_mut() {
            log.reader.advance()?;
        }
        let owns = |tenant| self.owns(tenant);
        let mut told = 0;
        while let Some(log) = earliest(logs) {
            let Some((head, record)) = log.reader.record() else { break };
            // Those before are in every section: the first segment begins earlier than is needed.
            if head.lsn >= log.replay_from {
                let above = |tenant, lsn| log.lsns.is_above(tenant, lsn);
                let marks = log.lsns.is_above_marks(head.lsn);
                let (owns, above, old_owner) = (&owns, &above, log.old_owner);
                let scope = ReplayScope { owns, above, marks, old_owner };
                facts.replayed = facts.replayed.plus(shard.replay(&head, &record, &scope));
                facts.records += 1;
                facts.events += record.events();
            }
            told += head.len as u64;
            log.reader.advance()?;
            if told >= PROGRESS_BYTES {
                told = 0;
                progress(&self.log_progress(logs, facts));
            }
        }
        progress(&self.log_progress(logs, facts));
        Ok(())
    }

    fn log_progress(&self, logs: &[(OldLog<D>, OpenLog<D>)], facts: &RecoveryFacts) -> Progress {
        let add = |(behind, all), (more_behind, more)| (behind + more_behind, all + more);
        let places = logs.iter().map(|(_, log)| log.reader.progress());
        let (bytes, bytes_all) = places.fold((0, 0), add);
        let (shard, phase) = (self.shard, RecoveryPhase::Log);
        let RecoveryFacts { records, events, .. } = *facts;
        Progress { shard, phase, bytes, bytes_all, records, events }
    }
}

/// A log on its way into the shard.
#[derive(Debug)]
struct OpenLog<D> {
    reader: LogReader<D>,
    lsns: SnapshotLsns,
    replay_from: u64,
    old_owner: Option<OldOwner>,
}

/// The log whose next record is the oldest; of several, the first.
fn earliest<D: Disk>(logs: &mut [(OldLog<D>, OpenLog<D>)]) -> Option<&mut OpenLog<D>> {
    let waiting = logs.iter_mut().filter(|(_, log)| log.reader.head().is_some());
    let earliest = waiting.min_by_key(|(_, log)| log.reader.head().map(|head| head.ingest_ms));
    earliest.map(|(_, log)| log)
}

fn note_left_out((samples, states): (usize, usize), facts: &mut RecoveryFacts) {
    if samples > 0 {
        facts.notes.push(format!("{samples} sample messages found no room and were left out"));
    }
    if states > 0 {
        facts.notes.push(format!(
            "{states} states of programs were left out: no program of their name is known"
        ));
    }
}

/// Between two words about progress.
const PROGRESS_BYTES: u64 = 1 << 20;
const _: () = assert!(VNODES <= 1 << 16);
