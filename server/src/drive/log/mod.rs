//! One shard's log on its way to the disk: commits by a thread of their own, everything
//! else by a helper.
//!
//! Owns the segment at hand, the helper's thread and the snapshots. Never decides when a commit is
//! due or what is durable: [`Committer`] does.
//!
//! ```text
//!   hear:  the write has ended ─▶ Committer ─▶ node.on_durable ─▶ acknowledgements
//!   turn:  helper's Dones ─▶ Committer, room, snapshots
//!          Committer.next_chore ─▶ helper        Committer.next_write ─▶ writer
//! ```
//!
//! Invariant: after a write or a chore that failed, the shard ends with an error, and nothing more
//! is acknowledged.

mod commit_writer;
mod helper;
mod snapshots;

use super::DriveError;
use crate::desk::answer::{Counter, Level};
use crate::node::{DURABLE_WAITERS_MAX, Node, NodeStats, latencies};
use crate::runtime::Doorbell;
use crate::store::limits::COMMIT_BYTES_MAX;
use crate::store::{Committer, Done, Opened, Reach, RealDisk, StoreError};
use commit_writer::CommitWriter;
use hdrhistogram::Histogram;
use helper::Helper;
use snapshots::Snapshots;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use trendsrv_shard::log::{LogSpace, RECORD_BYTES_MAX};
use trendsrv_shard::{Memory, Programs};

/// See the module header.
#[derive(Debug)]
pub(super) struct LogDrive {
    disk: RealDisk,
    writer: CommitWriter,
    committer: Committer,
    helper: Helper,
    snapshots: Snapshots,
    /// The segment that was written last.
    segment: Option<(Arc<str>, Arc<File>)>,
    began: Instant,
    write_began_us: u64,
    /// It was said that the page cache cannot be passed by here.
    told_of_cache: bool,
    /// From the submission of a commit to the turn that saw it done, microseconds.
    commits: Histogram<u64>,
    counts: LogCounts,
}

#[derive(Clone, Copy, Debug, Default)]
struct LogCounts {
    commit_bytes: u64,
    commits_failed: u64,
    spares: u64,
    space: LogSpace,
}

/// What the log wants of the shard's sleep.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LogTurn {
    /// There is more to do at once.
    pub(super) more: bool,
    /// Something is due after this long.
    pub(super) within: Option<Duration>,
}

impl LogDrive {
    /// A log that was opened, with its helper.
    pub(super) fn start(
        shard: u16,
        folder: &Path,
        opened: Opened<RealDisk>,
        snapshot_interval: Duration,
        doorbell: &Doorbell,
    ) -> Result<Self, DriveError> {
        let Opened { committer, chores, .. } = opened;
        let spares = chores.spares() as u64;
        let helper = Helper::start(shard, chores, doorbell.ringer()).map_err(DriveError::Helper)?;
        let writer = CommitWriter::start(shard, WRITE_BYTES_MAX, doorbell.ringer());
        let writer = writer.map_err(DriveError::Helper)?;
        let began = Instant::now();
        Ok(Self {
            disk: RealDisk::new(folder),
            writer,
            committer,
            helper,
            snapshots: Snapshots::new(snapshot_interval),
            segment: None,
            began,
            write_began_us: 0,
            told_of_cache: false,
            commits: latencies(),
            counts: LogCounts { spares, ..LogCounts::default() },
        })
    }

    /// Time since the log was opened.
    pub(super) fn now_us(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Hears what became of the commit on its way; returns whether it has come to its end.
    pub(super) fn hear<P: Programs, M: Memory>(
        &mut self,
        node: &mut Node<P, M>,
    ) -> Result<bool, DriveError> {
        let Some(result) = self.writer.ended() else { return Ok(false) };
        let Some(log) = node.log() else { return Ok(false) };
        self.counts.commit_bytes += *result.as_ref().unwrap_or(&0) as u64;
        let durable = self.committer.on_written(result, log).inspect_err(|_| {
            self.counts.commits_failed += 1;
        })?;
        self.commits.saturating_record(self.now_us().saturating_sub(self.write_began_us));
        node.on_durable(durable);
        Ok(true)
    }

    /// Whether a commit is on its way.
    pub(super) const fn is_writing(&self) -> bool {
        self.writer.is_busy()
    }

    /// The end of a turn: what the helper has done, what it is asked for, and the next commit.
    pub(super) fn turn<P: Programs, M: Memory>(
        &mut self,
        node: &mut Node<P, M>,
        awaited: bool,
    ) -> Result<LogTurn, DriveError> {
        while let Some(done) = self.helper.next_done() {
            self.on_done(node, done?);
        }
        let now_us = self.now_us();
        while let Some(chore) = self.committer.next_chore(now_us) {
            if self.helper.ask(chore).is_err() {
                return Err(self.why_gone());
            }
        }
        self.write(node, now_us, awaited)?;
        let (durable, log_bytes) = (self.committer.durable(), self.counts.commit_bytes);
        let reach = Reach { now_us, durable, log_bytes };
        let more = self.snapshots.turn(node.shard_mut(), &self.helper, reach);
        let due_us = self.committer.due_us();
        let within = due_us.map(|due_us| Duration::from_micros(due_us.saturating_sub(now_us)));
        Ok(LogTurn { more, within })
    }

    /// Whether the helper or the disk has done something that nobody has looked at.
    pub(super) fn has_done(&mut self) -> bool {
        self.helper.has_done() || self.writer.has_ended()
    }

    /// No more snapshots: the server ends.
    pub(super) fn stop_snapshots(&mut self) {
        self.snapshots.stop(&self.helper);
    }

    /// Whether everything that was logged is on the disk.
    pub(super) fn is_written<P: Programs, M: Memory>(&self, node: &mut Node<P, M>) -> bool {
        self.committer.is_idle() && node.log().is_none_or(|log| log.backlog_bytes() == 0)
    }

    /// Notes in the superblock that nothing follows, and ends the helper.
    pub(super) fn close(self) -> Result<(), DriveError> {
        if self.helper.ask(self.committer.last_chore()).is_err() {
            return Err(self.why_gone());
        }
        Ok(self.helper.finish()?)
    }

    /// How long commits took, microseconds.
    pub(super) const fn commits(&self) -> &Histogram<u64> {
        &self.commits
    }

    pub(super) fn counters(&self) -> Vec<Counter> {
        let snapshots = &self.snapshots.counts;
        [
            ("commits", "Commits of the log", self.commits.len()),
            ("commit_bytes", "Bytes of commits, padding included", self.counts.commit_bytes),
            ("snapshots", "Snapshots published", snapshots.published),
            ("snapshot_bytes", "Bytes of snapshots published", snapshots.bytes),
            ("snapshots_failed", "Snapshots given up for want of room", snapshots.failed),
        ]
        .map(|(name, help, value)| Counter { name, help, value })
        .into()
    }

    pub(super) fn levels(&self, node: &NodeStats) -> Vec<Level> {
        let published = self.snapshots.counts.published_at;
        let age_ms = published.unwrap_or(self.began).elapsed().as_millis();
        let level = |name, help, now, high_water, max| Level { name, help, now, max, high_water };
        let age_ms = u64::try_from(age_ms).unwrap_or(u64::MAX);
        vec![
            level(
                "durable_waiters",
                "Answers that wait for the disk",
                node.durable_waiters,
                node.durable_waiters_high,
                DURABLE_WAITERS_MAX as u64,
            ),
            level(
                "spare_segments",
                "Files of the log that are ready",
                self.counts.spares,
                self.counts.spares,
                crate::store::limits::SPARES_MAX as u64,
            ),
            level(
                "snapshot_age_ms",
                "Since the newest snapshot was published, or the server began",
                age_ms,
                age_ms,
                self.snapshots.pace.every_us() / 1_000,
            ),
        ]
    }

    /// Why the helper takes no work.
    fn why_gone(&self) -> DriveError {
        let last = std::iter::from_fn(|| self.helper.next_done()).find_map(Result::err);
        last.map_or(DriveError::HelperGone, DriveError::Store)
    }

    fn on_done<P: Programs, M: Memory>(&mut self, node: &mut Node<P, M>, done: Done) {
        self.committer.on_done(&done);
        match done {
            Done::Segment(_) | Done::Superblock(_) => {}
            Done::Ticked { spares } => self.counts.spares = spares as u64,
            Done::Snapshot(memory) => self.snapshots.pace.on_part_done(memory),
            Done::Published(published) => {
                let unlogged_kept = self.snapshots.on_published(&published);
                node.shard_mut().on_snapshot_durable(unlogged_kept);
            }
            Done::SnapshotFailed(why) => {
                self.snapshots.on_failed();
                tracing::warn!("a snapshot was given up, the one before still holds: {why}");
            }
            Done::Space(space) => {
                let words = match space {
                    LogSpace::Plenty => "there is room for the log again",
                    LogSpace::Low => "the disk is full: durable events are refused (DISK_FULL)",
                    LogSpace::None => "the disk is full: nothing is logged until there is room",
                };
                if space == LogSpace::Plenty {
                    tracing::info!("{words}");
                } else {
                    tracing::warn!("{words}");
                }
                self.counts.space = space;
                node.set_log_space(space);
            }
        }
    }

    fn write<P: Programs, M: Memory>(
        &mut self,
        node: &mut Node<P, M>,
        now_us: u64,
        awaited: bool,
    ) -> Result<(), DriveError> {
        let Some(log) = node.log() else { return Ok(()) };
        let Some(write) = self.committer.next_write(now_us, awaited, log)? else { return Ok(()) };
        let known = self.segment.as_ref().filter(|(path, _)| path == write.file);
        let file = match known {
            Some((_, file)) => file.clone(),
            None => {
                let (file, direct) = open_segment(&self.disk.path(write.file))?;
                if !direct && !std::mem::replace(&mut self.told_of_cache, true) {
                    tracing::info!("this file system has no O_DIRECT: commits pass its page cache");
                }
                let file = Arc::new(file);
                self.segment = Some((write.file.clone(), file.clone()));
                file
            }
        };
        self.writer.write(file, write.offset, write.len(), |memory| write.copy_to(memory));
        self.write_began_us = now_us;
        Ok(())
    }
}

/// Opens a segment past the page cache, where the file system can; returns whether it can.
fn open_segment(path: &Path) -> Result<(File, bool), DriveError> {
    let mut options = OpenOptions::new();
    options.write(true);
    options.custom_flags(libc::O_DSYNC);
    let direct = options.clone().custom_flags(libc::O_DSYNC | libc::O_DIRECT).open(path);
    let opened = match direct {
        // tmpfs and some network file systems: O_DSYNC makes the write safe all the same.
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            options.open(path).map(|file| (file, false))
        }
        opened => opened.map(|file| (file, true)),
    };
    opened.map_err(|source| {
        let path = path.display().to_string();
        DriveError::Store(StoreError::Io { what: "open", path, source })
    })
}

/// The largest commit: a batch of records and its padding.
const WRITE_BYTES_MAX: usize = 2 * COMMIT_BYTES_MAX;
const _: () = assert!(RECORD_BYTES_MAX + 2 * 4_096 <= 2 * COMMIT_BYTES_MAX);
