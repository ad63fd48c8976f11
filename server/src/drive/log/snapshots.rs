//! Snapshots, taken in slices beside everything else.
//!
//! ```text
//!   Idle ─(interval, or much log)─▶ Taking: vnode 0, 1, … 4095, marks ─▶ Waiting: for its log, its name
//!     ▲                   a slice of SLICE a turn              │
//!     └──────────────────── published, or given up ────────────┘
//! ```
//!
//! Invariant: at most [`PARTS_MAX`] pieces wait for the disk; their memory comes back.

use super::helper::{CHORES_MAX, Helper};
use crate::node::Node;
use crate::store::{Chore, Published, Section, SectionOf, SnapshotPart};
use std::time::{Duration, Instant};
use trendsrv_proto::limits::VNODES;
use trendsrv_shard::{Memory, Programs};

/// See the module header.
#[derive(Debug)]
pub(super) struct Snapshots {
    /// Time from one to the next.
    pub(super) every: Duration,
    next_at: Instant,
    /// Bytes of log that make the next one due before that.
    next_log_bytes: u64,
    stage: Stage,
    /// Pieces on their way.
    parts: usize,
    memory: Vec<Vec<u8>>,
    /// What the log held, and the parts it does not, when the last one began.
    begun: (u64, u64),
    pub(super) counts: SnapshotCounts,
}

/// What became of snapshots.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SnapshotCounts {
    pub(super) published: u64,
    pub(super) failed: u64,
    /// Bytes of those.
    pub(super) bytes: u64,
    pub(super) published_at: Option<Instant>,
}

/// How far the log is.
#[derive(Clone, Copy, Debug)]
pub(super) struct LogReach {
    /// The last durable record.
    pub(super) durable: u64,
    /// Bytes written since the server began.
    pub(super) bytes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Idle,
    Vnode(usize),
    End,
    Waiting,
}

impl Snapshots {
    pub(super) fn new(every: Duration, now: Instant) -> Self {
        Self {
            every,
            next_at: now + every,
            next_log_bytes: LOG_BYTES,
            stage: Stage::Idle,
            parts: 0,
            memory: Vec::new(),
            begun: (0, 0),
            counts: SnapshotCounts::default(),
        }
    }

    /// Takes the next slice, if one is due. Returns whether another one could be taken at once.
    pub(super) fn turn<P: Programs, M: Memory>(
        &mut self,
        node: &mut Node<P, M>,
        helper: &Helper,
        now: Instant,
        log: LogReach,
    ) -> bool {
        let due = now >= self.next_at || log.bytes >= self.next_log_bytes;
        if self.stage == Stage::Idle && due {
            self.next_log_bytes = log.bytes + LOG_BYTES;
            self.begin(node, helper, now);
        }
        let until = Instant::now() + SLICE;
        while self.is_taking() && self.parts < PARTS_MAX {
            if !self.step(node, helper, log.durable) || Instant::now() >= until {
                break;
            }
        }
        self.is_taking() && self.parts < PARTS_MAX
    }

    /// A piece has been taken by the disk; here is its memory.
    pub(super) fn on_part_done(&mut self, memory: Vec<u8>) {
        self.parts = self.parts.saturating_sub(1);
        if memory.capacity() > 0 && memory.capacity() <= MEMORY_KEPT_BYTES {
            self.memory.push(memory);
        }
    }

    /// One is published. Returns how many unlogged parts it keeps.
    pub(super) fn on_published(&mut self, published: &Published, now: Instant) -> u64 {
        self.stage = Stage::Idle;
        self.counts.published += 1;
        self.counts.bytes += published.bytes;
        self.counts.published_at = Some(now);
        self.begun.1
    }

    /// One was given up: there was no room.
    pub(super) fn on_failed(&mut self) {
        self.stage = Stage::Idle;
        self.counts.failed += 1;
        // Nothing is known to be kept since.
        self.begun = (u64::MAX, u64::MAX);
    }

    /// No more slices: the server ends.
    pub(super) fn stop(&mut self, helper: &Helper) {
        if self.is_taking() {
            // The temporary file goes with the next start if the helper has no room for this.
            let _ = helper.ask(Chore::Snapshot(SnapshotPart::Abandon));
        }
        self.stage = Stage::Waiting;
    }

    fn is_taking(&self) -> bool {
        matches!(self.stage, Stage::Vnode(_) | Stage::End)
    }

    fn begin<P: Programs, M: Memory>(
        &mut self,
        node: &mut Node<P, M>,
        helper: &Helper,
        now: Instant,
    ) {
        let shard = node.shard_mut();
        let lsn = shard.last_lsn();
        let begun = (lsn, shard.stats().log_unlogged_parts);
        self.next_at = now + self.every;
        if begun == self.begun || begun == (0, 0) {
            // Nothing has come in since the last one.
            return;
        }
        if helper.ask(Chore::Snapshot(SnapshotPart::Begin { lsn })).is_ok() {
            self.parts += 1;
            (self.begun, self.stage) = (begun, Stage::Vnode(0));
        }
    }

    /// Takes one piece; returns whether it could be handed over.
    fn step<P: Programs, M: Memory>(
        &mut self,
        node: &mut Node<P, M>,
        helper: &Helper,
        durable: u64,
    ) -> bool {
        let mut bytes = self.memory.pop().unwrap_or_default();
        let shard = node.shard_mut();
        let (section, next) = match self.stage {
            Stage::Idle | Stage::Waiting => return false,
            Stage::End => {
                self.memory.push(bytes);
                let end = Chore::Snapshot(SnapshotPart::End { durable });
                let asked = helper.ask(end).is_ok();
                if asked {
                    self.parts += 1;
                    self.stage = Stage::Waiting;
                }
                return asked;
            }
            // Last: a part that is applied meanwhile and not logged must not be in a vnode's section
            // and missing in that of the marks.
            Stage::Vnode(VNODES) => {
                let lsn = shard.snapshot_marks(&mut bytes);
                (Some(Section { of: SectionOf::Marks, lsn, bytes }), Stage::End)
            }
            Stage::Vnode(vnode) => {
                let number = u16::try_from(vnode).unwrap_or(u16::MAX);
                let next = Stage::Vnode(vnode + 1);
                match shard.snapshot_vnode(number, &mut bytes) {
                    Some(lsn) => (Some(Section { of: SectionOf::Vnode(number), lsn, bytes }), next),
                    None => {
                        self.memory.push(bytes);
                        (None, next)
                    }
                }
            }
        };
        let Some(section) = section else {
            self.stage = next;
            return true;
        };
        match helper.ask(Chore::Snapshot(SnapshotPart::Section(section))) {
            Ok(()) => {
                self.parts += 1;
                self.stage = next;
                true
            }
            Err(Chore::Snapshot(SnapshotPart::Section(section))) => {
                // Taken again when there is room; by then it may hold more.
                let mut bytes = section.bytes;
                bytes.clear();
                self.memory.push(bytes);
                false
            }
            Err(_) => false,
        }
    }
}

/// Log since the last snapshot that makes the next one due: what a start has to read, and the disk to
/// hold. The segments it frees are used again, which spares the zeros of new ones.
const LOG_BYTES: u64 = 1 << 30;
/// Time of one turn that a snapshot may take, unless a single piece takes longer.
const SLICE: Duration = Duration::from_micros(100);
/// Pieces that wait for the disk.
const PARTS_MAX: usize = 4;
const _: () = assert!(PARTS_MAX + 4 <= CHORES_MAX);
/// Memory of a piece that is kept for the next ones.
const MEMORY_KEPT_BYTES: usize = 1 << 20;
