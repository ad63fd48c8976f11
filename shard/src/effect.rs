//! The closed list of what a shard asks the outside to do.

use trendsrv_proto::{NameKind, Refusal, TenantId};

/// Whom an effect is for: the server's own number for a connection or request. The shard only
/// carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ReplyTo(pub u64);

/// Why something was refused, with what a person and a client need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The code.
    pub code: Refusal,
    /// Index of the record at fault.
    pub index: Option<u32>,
    /// How long to wait, where waiting helps; the server adds jitter.
    pub retry_after_ms: u32,
    /// The sequence number to send next, where the shard knows better than the connection.
    pub expected_seq: Option<u64>,
    /// What is wrong and what to do.
    pub message: String,
}

impl Refused {
    pub(crate) fn new(code: Refusal, message: String) -> Self {
        Self { code, index: None, retry_after_ms: 0, expected_seq: None, message }
    }
}

/// What became of the events of a part. Each is in exactly one of the counts.
///
/// Of a part of texts it counts texts: one is applied when any of its topics was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Events counted in a window.
    pub applied: u64,
    /// Events that wait for their pane to open.
    pub early: u64,
    /// Events older than their tenant's window.
    pub late: u64,
    /// Events that no memory was left to count.
    pub dropped: u64,
    /// Events that their tenant's program left out, and texts it found no topic in.
    pub filtered: u64,
    /// Events that an earlier owner of their tenant had counted before.
    pub duplicate: u64,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// A part with this sequence number is applied, or was before.
    Accepted {
        /// Who sent it.
        to: ReplyTo,
        /// Its frame's number.
        seq: u64,
        /// What became of its events; nothing for a duplicate.
        counted: Counted,
        /// Whether it had been applied before.
        duplicate: bool,
        /// The record of the log after which it is durable; 0 without a log.
        lsn: u64,
    },
    /// A part is refused; nothing of it was applied.
    Refused {
        /// Who sent it.
        to: ReplyTo,
        /// Its frame's number.
        seq: u64,
        /// Why.
        why: Refused,
    },
    /// The name of an id is missing; `to` has used it.
    Need {
        /// Whom to ask; `None`: any producer.
        to: Option<ReplyTo>,
        /// What the id names.
        kind: NameKind,
        /// The id.
        id: u64,
    },
    /// A subscribed answer has changed: an UPDATE frame lies in [`Effects::bytes`].
    Publish {
        /// The subscriber.
        to: ReplyTo,
        /// Its tag of the subscription.
        tag: u32,
        /// Whose answer.
        tenant: TenantId,
        /// Where the frame starts.
        start: usize,
        /// Its length.
        len: usize,
    },
}

/// Effects in their order, with the bytes of those that carry frames. Reused from turn to turn.
#[derive(Debug, Default)]
pub struct Effects {
    /// What to do.
    pub list: Vec<Effect>,
    /// Frames to publish.
    pub bytes: Vec<u8>,
}

impl Effects {
    /// Forgets everything; the memory stays.
    pub fn clear(&mut self) {
        self.list.clear();
        self.bytes.clear();
    }
}
