//! Decides when a snapshot is taken, and which piece of it comes next.
//!
//! Never touches a file, a clock or a thread: pieces go to whoever does the blocking work.
//!
//! ```text
//!   Idle ─(interval, or much log)─▶ Taking: vnode 0, 1, … 4095, marks ─▶ Waiting: for its log, its name
//!     ▲                   some pieces a turn                   │
//!     └──────────────────── published, or given up ────────────┘
//! ```
//!
//! Invariant: at most [`SNAPSHOT_PARTS_MAX`] pieces wait for the disk; their memory comes back.

use super::chore::{Section, SectionOf, SnapshotPart};
use super::limits::{SNAPSHOT_LOG_BYTES, SNAPSHOT_MEMORY_KEPT_BYTES, SNAPSHOT_PARTS_MAX};
use trendsrv_proto::limits::VNODES;
use trendsrv_shard::{Memory, Programs, Shard};

/// Whoever takes the pieces.
pub trait SnapshotTaker {
    /// Takes a piece, or gives it back for want of room.
    ///
    /// # Errors
    /// The piece itself.
    fn take(&mut self, part: SnapshotPart) -> Result<(), SnapshotPart>;
    /// Whether this turn has time for another piece.
    fn has_time(&mut self) -> bool;
}

/// How far the clock and the log are.
#[derive(Clone, Copy, Debug)]
pub struct Reach {
    /// Microseconds since some moment of the past.
    pub now_us: u64,
    /// The last durable record.
    pub durable: u64,
    /// Bytes of log written since the server began.
    pub log_bytes: u64,
}

/// See the module header.
#[derive(Debug)]
pub struct SnapshotPace {
    every_us: u64,
    next_us: u64,
    /// Bytes of log that make the next one due before that.
    next_log_bytes: u64,
    stage: Stage,
    /// Pieces on their way.
    parts: usize,
    memory: Vec<Vec<u8>>,
    /// What the log held, and the parts it does not, when the last one began.
    begun: (u64, u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Idle,
    Vnode(usize),
    End,
    Waiting,
}

impl SnapshotPace {
    /// One every so many microseconds, the first after as many from time 0.
    #[must_use]
    pub const fn new(every_us: u64) -> Self {
        Self {
            every_us,
            next_us: every_us,
            next_log_bytes: SNAPSHOT_LOG_BYTES,
            stage: Stage::Idle,
            parts: 0,
            memory: Vec::new(),
            begun: (0, 0),
        }
    }

    /// The time from one to the next, microseconds.
    #[must_use]
    pub const fn every_us(&self) -> u64 {
        self.every_us
    }

    /// Takes the next pieces, if a snapshot is due. Returns whether more could be taken at once.
    pub fn turn<P: Programs, M: Memory>(
        &mut self,
        shard: &mut Shard<P, M>,
        reach: Reach,
        taker: &mut impl SnapshotTaker,
    ) -> bool {
        let due = reach.now_us >= self.next_us || reach.log_bytes >= self.next_log_bytes;
        if self.stage == Stage::Idle && due {
            self.begin(shard, reach, taker);
        }
        while self.has_more() && self.step(shard, reach.durable, taker) && taker.has_time() {}
        self.has_more()
    }

    /// A piece has been taken by the disk; here is its memory.
    pub fn on_part_done(&mut self, memory: Vec<u8>) {
        self.parts = self.parts.saturating_sub(1);
        if memory.capacity() > 0 && memory.capacity() <= SNAPSHOT_MEMORY_KEPT_BYTES {
            self.memory.push(memory);
        }
    }

    /// One is published. Returns how many unlogged parts it keeps.
    pub const fn on_published(&mut self) -> u64 {
        self.stage = Stage::Idle;
        self.begun.1
    }

    /// One was given up: there was no room.
    pub const fn on_failed(&mut self) {
        self.stage = Stage::Idle;
        // Nothing is known to be kept since.
        self.begun = (u64::MAX, u64::MAX);
    }

    /// No more pieces: the server ends.
    pub fn stop(&mut self, taker: &mut impl SnapshotTaker) {
        if self.is_taking() {
            // The temporary file goes with the next start if there is no room for this.
            let _ = taker.take(SnapshotPart::Abandon);
        }
        self.stage = Stage::Waiting;
    }

    const fn is_taking(&self) -> bool {
        matches!(self.stage, Stage::Vnode(_) | Stage::End)
    }

    const fn has_more(&self) -> bool {
        self.is_taking() && self.parts < SNAPSHOT_PARTS_MAX
    }

    fn begin<P: Programs, M: Memory>(
        &mut self,
        shard: &mut Shard<P, M>,
        reach: Reach,
        taker: &mut impl SnapshotTaker,
    ) {
        let lsn = shard.last_lsn();
        let begun = (lsn, shard.stats().log_unlogged_parts);
        self.next_us = reach.now_us + self.every_us;
        self.next_log_bytes = reach.log_bytes + SNAPSHOT_LOG_BYTES;
        if begun == self.begun || begun == (0, 0) {
            // Nothing has come in since the last one.
            return;
        }
        if taker.take(SnapshotPart::Begin { lsn }).is_ok() {
            self.parts += 1;
            (self.begun, self.stage) = (begun, Stage::Vnode(0));
        }
    }

    /// Takes one piece; returns whether it could be handed over.
    fn step<P: Programs, M: Memory>(
        &mut self,
        shard: &mut Shard<P, M>,
        durable: u64,
        taker: &mut impl SnapshotTaker,
    ) -> bool {
        let mut bytes = self.memory.pop().unwrap_or_default();
        let (of, lsn, next) = match self.stage {
            Stage::Idle | Stage::Waiting => (None, 0, self.stage),
            Stage::End => {
                self.memory.push(bytes);
                return self.hand_over(SnapshotPart::End { durable }, Stage::Waiting, taker);
            }
            // Last: a part that is applied meanwhile and not logged must not be in a vnode's section
            // and missing in that of the marks.
            Stage::Vnode(VNODES) => {
                let lsn = shard.snapshot_marks(&mut bytes);
                (Some(SectionOf::Marks), lsn, Stage::End)
            }
            Stage::Vnode(vnode) => {
                let number = u16::try_from(vnode).unwrap_or(u16::MAX);
                let lsn = shard.snapshot_vnode(number, &mut bytes);
                let of = lsn.map(|_| SectionOf::Vnode(number));
                (of, lsn.unwrap_or(0), Stage::Vnode(vnode + 1))
            }
        };
        if let Some(of) = of {
            return self.hand_over(SnapshotPart::Section(Section { of, lsn, bytes }), next, taker);
        }
        self.memory.push(bytes);
        self.stage = next;
        true
    }

    fn hand_over(
        &mut self,
        part: SnapshotPart,
        next: Stage,
        taker: &mut impl SnapshotTaker,
    ) -> bool {
        match taker.take(part) {
            Ok(()) => {
                self.parts += 1;
                self.stage = next;
                true
            }
            Err(part) => {
                // Taken again when there is room; by then a section may hold more.
                if let SnapshotPart::Section(Section { mut bytes, .. }) = part {
                    bytes.clear();
                    self.memory.push(bytes);
                }
                false
            }
        }
    }
}
