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
use super::text_batch::TextBatch;
use crate::limits::{EVENTS_HEAD_BYTES, RECORD_BYTES, TEXT_FRAME_BYTES_MAX};
use std::collections::VecDeque;
use trendsrv_proto::{EventRecord, EventsHead, TenantId, TextEvent, TopicId, encode_events};

/// A frame that is not acknowledged yet.
#[derive(Debug)]
struct Pending {
    seq: u64,
    base_ms: u64,
    /// Set when first sent, and kept.
    generation: Option<u32>,
    load: Load,
}

impl Pending {
    const fn bytes(&self) -> usize {
        EVENTS_HEAD_BYTES + self.load.bytes()
    }
}

/// What a frame carries: topics and texts never share one.
#[derive(Debug)]
enum Load {
    Records(Vec<EventRecord>),
    Texts(TextBatch),
}

impl Load {
    /// Events in it.
    const fn len(&self) -> usize {
        match self {
            Self::Records(records) => records.len(),
            Self::Texts(texts) => texts.len(),
        }
    }

    const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes it takes in a frame behind the head.
    const fn bytes(&self) -> usize {
        match self {
            Self::Records(records) => records.len() * RECORD_BYTES,
            Self::Texts(texts) => texts.frame_bytes(),
        }
    }
}

/// How the queue agreed with a server's next sequence number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Settled {
    /// Frames go on from the oldest that is not acknowledged; an anonymous producer has given up
    /// this many events that may or may not have counted.
    GoOn {
        /// See above.
        uncertain: u64,
    },
    /// Nobody knows the producer, as after a restart without a log: frames begin at 1 again.
    Forgotten,
    /// The server may have given up what it knew: what was sent may or may not have counted.
    Unknown,
    /// The server is ahead of all that this producer ever sent.
    Foreign,
}

#[derive(Debug)]
pub(super) struct Queue {
    batch: Load,
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
            batch: Load::Records(Vec::with_capacity(config.batch_events)),
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

    /// Whether one more event of this size has room.
    pub(super) const fn has_room(&self, bytes: usize) -> bool {
        self.bytes + EVENTS_HEAD_BYTES + bytes <= self.bytes_max
    }

    /// Appends an event; the caller has checked `has_room`. A full batch becomes a frame.
    pub(super) fn push(
        &mut self,
        now_ms: u64,
        (tenant, topic): (TenantId, TopicId),
        weight: u32,
        ts_ms: u64,
    ) {
        if matches!(self.batch, Load::Texts(_)) {
            self.seal();
        }
        let offset_ms = self.enter(now_ms, ts_ms);
        if let Load::Records(records) = &mut self.batch {
            records.push(EventRecord::new(tenant, topic, weight, offset_ms));
        }
        self.entered(RECORD_BYTES);
    }

    /// As [`Self::push`], for a text whose tenant's name and message were checked.
    pub(super) fn push_text(
        &mut self,
        now_ms: u64,
        (tenant, text): (&str, &str),
        weight: u32,
        ts_ms: u64,
    ) {
        let mut event = TextEvent { tenant, text, weight, offset_ms: 0 };
        let grown = EVENTS_HEAD_BYTES + self.batch.bytes() + event.bytes();
        if matches!(self.batch, Load::Records(_)) || grown > TEXT_FRAME_BYTES_MAX {
            self.seal();
        }
        event.offset_ms = self.enter(now_ms, ts_ms);
        match &mut self.batch {
            Load::Texts(texts) => texts.push(&event),
            // An empty batch is of no kind yet.
            Load::Records(records) => {
                let records = std::mem::take(records);
                self.keep(records);
                let mut texts = TextBatch::default();
                texts.push(&event);
                self.batch = Load::Texts(texts);
            }
        }
        self.entered(event.bytes());
    }

    /// Makes room in the batch for an event of this time. Returns its offset.
    fn enter(&mut self, now_ms: u64, ts_ms: u64) -> i32 {
        if self.offset_of(ts_ms).is_none() {
            self.seal();
        }
        if self.batch.is_empty() {
            (self.batch_base_ms, self.batch_since_ms) = (ts_ms, now_ms);
            self.bytes += EVENTS_HEAD_BYTES;
        }
        self.offset_of(ts_ms).unwrap_or(0)
    }

    /// Counts an event of the batch; a full batch becomes a frame.
    fn entered(&mut self, bytes: usize) {
        self.bytes += bytes;
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
        let fresh = Load::Records(self.spare.pop().unwrap_or_default());
        let load = std::mem::replace(&mut self.batch, fresh);
        let (seq, base_ms) = (self.next_seq, self.batch_base_ms);
        self.frames.push_back(Pending { seq, base_ms, generation: None, load });
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
        match &frame.load {
            Load::Records(records) => {
                encode_events(out, head, records);
            }
            Load::Texts(texts) => texts.encode(out, head),
        }
        self.sent_high = self.sent_high.max(frame.seq);
        self.unsent += 1;
    }

    /// Takes out every frame up to `seq` and counts its events; none when one of them was not
    /// sent on this connection.
    pub(super) fn ack(&mut self, seq: u64) -> Option<u64> {
        let front = self.front_seq();
        let through = usize::try_from(seq.saturating_add(1).saturating_sub(front)).ok()?;
        if through > self.unsent {
            return None;
        }
        self.unsent -= through;
        Some((0..through).map(|_| self.take_front()).sum())
    }

    fn take_front(&mut self) -> u64 {
        let Some(frame) = self.frames.pop_front() else { return 0 };
        self.bytes -= frame.bytes();
        let events = frame.load.len() as u64;
        if let Load::Records(records) = frame.load {
            self.keep(records);
        }
        events
    }

    /// Keeps a frame's memory for a later batch.
    fn keep(&mut self, mut records: Vec<EventRecord>) {
        records.clear();
        if self.spare.len() < SPARE_MAX {
            self.spare.push(records);
        }
    }

    /// Empties the frame with this number, so that its filler keeps the sequence dense. Returns
    /// the events taken out; none when it is not in the queue.
    pub(super) fn make_filler(&mut self, seq: u64) -> Option<u64> {
        let front = self.frames.front()?.seq;
        let index = usize::try_from(seq.checked_sub(front)?).ok()?;
        let frame = self.frames.get_mut(index)?;
        let events = frame.load.len() as u64;
        self.bytes -= frame.load.bytes();
        // Of the oldest kind: a server that does not know TEXT would refuse such a filler, too.
        frame.load = Load::Records(Vec::new());
        Some(events)
    }

    /// Frames from `seq` on are sent again.
    pub(super) fn rewind(&mut self, seq: u64) {
        let front = self.front_seq();
        let index = usize::try_from(seq.saturating_sub(front)).unwrap_or(usize::MAX);
        self.unsent = self.unsent.min(index);
    }

    /// The connection is gone: nothing counts as sent on it.
    pub(super) const fn disconnect(&mut self) {
        self.unsent = 0;
    }

    /// Agrees with the number that a new connection's HELLO_OK tells.
    ///
    /// It says what some owner has counted, not what all have: after a crash one of them may lack
    /// its part of a frame that another kept. So it acknowledges nothing, and every frame that is
    /// not acknowledged is sent again under its number.
    ///
    /// An anonymous producer has no mark that outlives a connection: frames it had sent may have
    /// counted, so they are given up rather than counted twice.
    pub(super) fn settle(&mut self, next_seq: u64, anonymous: bool) -> Settled {
        self.unsent = 0;
        let fresh = self.sent_high == 0;
        if anonymous {
            let uncertain = self.drop_sent();
            self.renumber(1);
            return Settled::GoOn { uncertain };
        }
        match next_seq {
            // Under a new epoch every owner knows the lane from its first frame on.
            0 => return Settled::Unknown,
            _ if fresh => self.renumber(next_seq),
            1 if self.front_seq() > 1 => {
                self.renumber(1);
                return Settled::Forgotten;
            }
            _ if next_seq > self.sent_high + 1 => return Settled::Foreign,
            _ => {}
        }
        Settled::GoOn { uncertain: 0 }
    }

    /// The number of the oldest frame that is not acknowledged, or of the next one.
    pub(super) fn front_seq(&self) -> u64 {
        self.frames.front().map_or(self.next_seq, |frame| frame.seq)
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
