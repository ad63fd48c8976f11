//! Answers that wait until what they tell of is on the disk.
//!
//! ```text
//!   part applied, its record appended ──▶ Waiter { lsn } ──▶ on_durable(lsn) ──▶ answered
//! ```
//!
//! Only parts of those who asked for `durable` come here; all others are answered at once.
//!
//! Invariants:
//! - waiters stand in the order of their records, so the front is always the next one answered;
//! - there are at most [`DURABLE_WAITERS_MAX`] and the parts of one turn: past it nothing new is
//!   read from sockets and other shards;
//! - who has gone since is not found, and nothing is undone.

use super::peer_ref::peer_of;
use super::{MeshMail, Node, PeerId};
use crate::desk::clerk::Parked;
use hdrhistogram::Histogram;
use std::collections::VecDeque;
use trendsrv_proto::AckMode;
use trendsrv_shard::log::{Batch, LogSpace, Writer};
use trendsrv_shard::{Lane, Memory, Programs, ReplyTo};

/// One answer held back.
#[derive(Debug)]
struct Waiter {
    lsn: u64,
    since_us: u64,
    answer: Held,
}

/// Whose it is.
#[derive(Debug)]
pub(super) enum Held {
    /// A frame of a connection here.
    Frame { id: PeerId, seq: u64 },
    /// A part that another shard sent.
    Part { to: ReplyTo, lane: Lane, seq: u64 },
    /// A request of the front desk.
    Desk(Parked),
}

/// All of them; see the module header.
#[derive(Debug)]
pub(super) struct Waiters {
    queue: VecDeque<Waiter>,
    pub(super) high: u64,
    /// Everything up to here is durable.
    pub(super) durable: u64,
    /// How long they waited, microseconds; there once there is a log.
    waits: Option<Histogram<u64>>,
}

impl Waiters {
    pub(super) fn new(log: Option<&Writer>) -> Self {
        Self {
            queue: VecDeque::new(),
            high: 0,
            durable: log.map_or(0, Writer::durable),
            waits: log.map(|_| latencies()),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    fn push(&mut self, lsn: u64, since_us: u64, answer: Held) {
        assert!(
            self.queue.back().is_none_or(|last| last.lsn <= lsn),
            "records are numbered densely"
        );
        self.queue.push_back(Waiter { lsn, since_us, answer });
        self.high = self.high.max(self.queue.len() as u64);
    }

    fn pop(&mut self, now_us: u64) -> Option<Held> {
        if self.queue.front()?.lsn > self.durable {
            return None;
        }
        let waiter = self.queue.pop_front()?;
        if let Some(waits) = &mut self.waits {
            waits.saturating_record(now_us.saturating_sub(waiter.since_us));
        }
        Some(waiter.answer)
    }
}

impl<P: Programs, M: Memory> Node<P, M> {
    /// The log of the shard, to be written by the driver; `None` without one.
    pub const fn log(&mut self) -> Option<&mut Writer> {
        self.shard.log()
    }

    /// The oldest records that were not taken yet: as many as `bytes_max` allows, but at least one.
    pub fn take_log_batch(&mut self, bytes_max: usize) -> Option<Batch> {
        self.shard.log()?.take(bytes_max)
    }

    /// Everything up to this record is on the disk: those who waited for it are answered.
    pub fn on_durable(&mut self, lsn: u64) {
        self.shard.on_durable(lsn);
        self.waiters.durable = self.waiters.durable.max(lsn);
        let (mine, now_us) = (self.config.shard, self.now_us);
        while let Some(held) = self.waiters.pop(now_us) {
            match held {
                Held::Frame { id, seq } => self.on_part_done(id, mine, seq, Ok(())),
                Held::Part { to, lane, seq } => {
                    let (owner, outcome, records) = (mine, Ok(()), Vec::new());
                    let done = MeshMail::PartDone { to, lane, owner, seq, outcome, records };
                    self.post(peer_of(to).0, done);
                }
                Held::Desk(parked) => parked.answer(),
            }
        }
    }

    /// Whether someone waits for what is not durable yet.
    #[must_use]
    pub fn has_durable_waiters(&self) -> bool {
        self.waiters.len() > 0
    }

    /// Whether the log is behind by so much that nothing new is taken until it has caught up.
    #[must_use]
    pub fn is_log_congested(&mut self) -> bool {
        let backlog = self.shard.log().map_or(0, |log| log.backlog_bytes());
        backlog >= LOG_BACKLOG_BYTES_MAX || self.waiters.len() >= DURABLE_WAITERS_MAX
    }

    /// How much room there is for the log.
    pub fn set_log_space(&mut self, space: LogSpace) {
        self.shard.set_log_space(space);
    }

    /// The time that waits are measured by, microseconds from any start; it never goes back.
    pub const fn set_now_us(&mut self, now_us: u64) {
        self.now_us = now_us;
    }

    /// How long answers waited for the disk, microseconds; `None` without a log.
    #[must_use]
    pub const fn durable_waits(&self) -> Option<&Histogram<u64>> {
        self.waiters.waits.as_ref()
    }

    /// Whether a record still has to reach the disk before this connection hears of it.
    pub(super) fn must_wait(&mut self, id: PeerId, lsn: u64) -> bool {
        lsn > self.waiters.durable && self.asks_durable(id)
    }

    /// Whether a connection is acknowledged only what is durable.
    pub(super) fn asks_durable(&mut self, id: PeerId) -> bool {
        self.peer(id).is_some_and(|peer| peer.ack == AckMode::Durable)
    }

    /// Holds an answer back until `lsn` is durable.
    pub(super) fn hold_back(&mut self, lsn: u64, answer: Held) {
        self.waiters.push(lsn, self.now_us, answer);
    }
}

/// A histogram of microseconds, with its memory from the start.
pub(crate) fn latencies() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_US_MAX, 3).expect("constant bounds that make sense")
}

/// Records that wait to be written, in bytes; past it the shard reads nothing new.
pub const LOG_BACKLOG_BYTES_MAX: usize = 4 << 20;
/// Answers that wait for the disk; past it the shard reads nothing new.
pub const DURABLE_WAITERS_MAX: usize = 65_536;
/// Longer waits count as this long.
const LATENCY_US_MAX: u64 = 600_000_000;
