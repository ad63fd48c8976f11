//! Events on their way: the open batch, then frames in the order of their sequence numbers.
//!
//! ```text
//! push -> batch -> | seal | -> frames: [ sent, unacknowledged ... | not sent yet ... ]
//!                              ^ front                            ^ unsent
//! ```
//!
//! Invariants: sequence numbers of `frames` are dense and end just below `next_seq`; frames
//! before `unsent` were sent on this connection; `bytes` is the size of all frames and the batch
//! and never passes `bytes_max`.

use super::SessionConfig;
use crate::limits::{EVENTS_HEAD_BYTES, RECORD_BYTES};
use std::collections::VecDeque;
use trendsrv_proto::{EventRecord, EventsHead, TenantId, TopicId, encode_events};

/// A frame that is not acknowledged yet.
#[derive(Debug)]
struct Pending {
    seq: u64,
    base_ms: u64,
    /// Set when first sent, and kept.
    generation: Option<u32>,
    records: Vec<EventRecord>,
}

impl Pending {
    const fn bytes(&self) -> usize {
        EVENTS_HEAD_BYTES + self.records.len() * RECORD_BYTES
    }
}

/// How the queue agreed with a server's next sequence number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Settled {
    /// Events that turned out to be acknowledged.
    pub(super) acked: u64,
    /// Events sent before that may or may not have counted; they are not sent again.
    pub(super) uncertain: u64,
    /// The server has lost the producer's mark, as a restart without a log does.
    pub(super) forgotten: bool,
}

/// The server names a sequence number that this producer never used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ForeignSequence;

#[derive(Debug)]
pub(super) struct Queue {
    batch: Vec<EventRecord>,
    batch_base_ms: u64,
    batch_since_ms: u64,
    frames: VecDeque<Pending>,
    unsent: usize,
    next_seq: u64,
    sent_high: u64,
    bytes: usize,
    bytes_max: usize,
    batch_events_max: usize,
    spare: Vec<Vec<EventRecord>>,
}

impl Queue {
    pub(super) fn new(config: &SessionConfig) -> Self {
        Self {
            batch: Vec::with_capacity(config.batch_events),
            batch_base_ms: 0,
            batch_since_ms: 0,
            frames: VecDeque::new(),
            unsent: 0,
            next_seq: 1,
            sent_high: 0,
            bytes: 0,
            bytes_max: config.in_flight_bytes_max,
            batch_events_max: config.batch_events,
            spare: Vec::new(),
        }
    }

    /// Whether one more event has room.
    pub(super) const fn has_room(&self) -> bool {
        self.bytes + EVENTS_HEAD_BYTES + RECORD_BYTES <= self.bytes_max
    }

    /// Appends an event; the caller has checked `has_room`. A full batch becomes a frame.
    pub(super) fn push(
        &mut self,
        now_ms: u64,
        (tenant, topic): (TenantId, TopicId),
        weight: u32,
        ts_ms: u64,
    ) {
        if self.offset_of(ts_ms).is_none() {
            self.seal();
        }
        if self.batch.is_empty() {
            (self.batch_base_ms, self.batch_since_ms) = (ts_ms, now_ms);
            self.bytes += EVENTS_HEAD_BYTES;
        }
        let offset_ms = self.offset_of(ts_ms).unwrap_or(0);
        self.batch.push(EventRecord::new(tenant, topic, weight, offset_ms));
        self.bytes += RECORD_BYTES;
        if self.batch.len() >= self.batch_events_max {
            self.seal();
        }
    }

    /// Distance from the batch's base; none when it does not fit the wire's 32 bits.
    fn offset_of(&self, ts_ms: u64) -> Option<i32> {
        if self.batch.is_empty() {
            return Some(0);
        }
        let offset = i128::from(ts_ms) - i128::from(self.batch_base_ms);
        i32::try_from(offset).ok()
    }

    /// Makes the batch a frame.
    pub(super) fn seal(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        let fresh = self.spare.pop().unwrap_or_default();
        let records = std::mem::replace(&mut self.batch, fresh);
        let (seq, base_ms) = (self.next_seq, self.batch_base_ms);
        self.frames.push_back(Pending { seq, base_ms, generation: None, records });
        self.next_seq += 1;
    }

    /// When the open batch began.
    pub(super) fn batch_since_ms(&self) -> Option<u64> {
        (!self.batch.is_empty()).then_some(self.batch_since_ms)
    }

    /// Nothing is waiting for an acknowledgement or to be sent.
    pub(super) fn is_empty(&self) -> bool {
        self.batch.is_empty() && self.frames.is_empty()
    }

    /// Frames sent on this connection and not acknowledged.
    pub(super) const fn in_flight(&self) -> usize {
        self.unsent
    }

    /// Bytes of everything not acknowledged.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes of the frame that is sent next.
    pub(super) fn next_bytes(&self) -> Option<usize> {
        self.frames.get(self.unsent).map(Pending::bytes)
    }

    /// Writes the next frame behind what `out` holds.
    pub(super) fn send_next(&mut self, generation: u32, out: &mut Vec<u8>) {
        let Some(frame) = self.frames.get_mut(self.unsent) else { return };
        let generation = *frame.generation.get_or_insert(generation);
        let head = EventsHead::new(frame.seq, frame.base_ms, generation);
        encode_events(out, head, &frame.records);
        self.sent_high = self.sent_high.max(frame.seq);
        self.unsent += 1;
    }

    /// Takes out every frame up to `seq` and counts its events; none when one of them was not
    /// sent on this connection.
    pub(super) fn ack(&mut self, seq: u64) -> Option<u64> {
        let front = self.frames.front().map_or(self.next_seq, |frame| frame.seq);
        let through = usize::try_from(seq.saturating_add(1).saturating_sub(front)).ok()?;
        if through > self.unsent {
            return None;
        }
        self.unsent -= through;
        Some((0..through).map(|_| self.take_front()).sum())
    }

    fn take_front(&mut self) -> u64 {
        let Some(mut frame) = self.frames.pop_front() else { return 0 };
        self.bytes -= frame.bytes();
        let events = frame.records.len() as u64;
        frame.records.clear();
        if self.spare.len() < SPARE_MAX {
            self.spare.push(frame.records);
        }
        events
    }

    /// Empties the frame with this number, so that its filler keeps the sequence dense. Returns
    /// the events taken out; none when it is not in the queue.
    pub(super) fn make_filler(&mut self, seq: u64) -> Option<u64> {
        let front = self.frames.front()?.seq;
        let index = usize::try_from(seq.checked_sub(front)?).ok()?;
        let frame = self.frames.get_mut(index)?;
        let events = frame.records.len() as u64;
        self.bytes -= frame.records.len() * RECORD_BYTES;
        frame.records.clear();
        Some(events)
    }

    /// Frames from `seq` on are sent again.
    pub(super) fn rewind(&mut self, seq: u64) {
        let front = self.frames.front().map_or(self.next_seq, |frame| frame.seq);
        let index = usize::try_from(seq.saturating_sub(front)).unwrap_or(usize::MAX);
        self.unsent = self.unsent.min(index);
    }

    /// The connection is gone: nothing counts as sent on it.
    pub(super) const fn disconnect(&mut self) {
        self.unsent = 0;
    }

    /// Agrees with the number that the server expects next on a new connection.
    ///
    /// An anonymous producer has no mark that outlives a connection: frames it had sent may have
    /// counted, so they are given up rather than counted twice.
    pub(super) fn settle(
        &mut self,
        next_seq: u64,
        anonymous: bool,
    ) -> Result<Settled, ForeignSequence> {
        self.unsent = 0;
        if anonymous {
            let uncertain = self.drop_sent();
            self.renumber(next_seq);
            return Ok(Settled { uncertain, ..Settled::default() });
        }
        let front = self.frames.front().map_or(self.next_seq, |frame| frame.seq);
        if self.sent_high == 0 {
            self.renumber(next_seq);
            return Ok(Settled::default());
        }
        if next_seq < front {
            self.renumber(next_seq);
            return Ok(Settled { forgotten: true, ..Settled::default() });
        }
        if next_seq > self.sent_high + 1 {
            return Err(ForeignSequence);
        }
        let acked = (front..next_seq).map(|_| self.take_front()).sum();
        Ok(Settled { acked, ..Settled::default() })
    }

    /// Gives up every frame that was ever sent. Returns its events.
    pub(super) fn drop_sent(&mut self) -> u64 {
        self.unsent = 0;
        let mut events = 0;
        while self.frames.front().is_some_and(|frame| frame.generation.is_some()) {
            events += self.take_front();
        }
        events
    }

    /// A new epoch: nothing was ever sent under it.
    pub(super) fn restart(&mut self) {
        self.renumber(1);
        self.sent_high = 0;
    }

    /// Gives up everything. Returns its events.
    pub(super) fn drop_all(&mut self) -> u64 {
        self.seal();
        self.unsent = 0;
        let frames = self.frames.len();
        (0..frames).map(|_| self.take_front()).sum()
    }

    fn renumber(&mut self, first: u64) {
        for (seq, frame) in (first..).zip(&mut self.frames) {
            frame.seq = seq;
            frame.generation = None;
        }
        self.next_seq = first + self.frames.len() as u64;
        self.sent_high = first.saturating_sub(1);
    }
}

/// Emptied record buffers kept for the next batches.
const SPARE_MAX: usize = 64;
