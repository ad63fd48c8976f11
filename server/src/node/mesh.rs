//! The mail between shards of one process.
//!
//! Closed list; every variant owns what it carries. A mail that answers another names the
//! connection it is for, so that a connection that has ended since is simply not found.

use trendsrv_proto::{EventRecord, Kind, NameKind, NeedEntry, Rank, Span, TenantId};
use trendsrv_shard::{Lane, Refused, ReplyTo, Sequence, Standing};

/// One message from shard to shard.
#[derive(Debug)]
pub enum MeshMail {
    /// A producer that some owner may have given up begins its sequence anew.
    Begin {
        /// Its lane.
        lane: Lane,
        /// Its epoch.
        epoch: u32,
    },
    /// A producer is back elsewhere: are parts of its lane on their way from here?
    Settle {
        /// Its connection.
        from: ReplyTo,
        /// Its lane.
        lane: Lane,
    },
    /// None are.
    Settled {
        /// The connection.
        to: ReplyTo,
    },
    /// A producer has said hello elsewhere.
    Greet {
        /// Its connection.
        from: ReplyTo,
        /// Its lane.
        lane: Lane,
        /// Its epoch.
        epoch: u32,
    },
    /// Where the producer stands with an owner, or the epoch that fences it.
    Greeted {
        /// The connection.
        to: ReplyTo,
        /// The owner.
        owner: u16,
        /// See above.
        standing: Result<Standing, u32>,
    },
    /// Records of a frame for tenants of the receiving shard.
    Part(Box<PartMail>),
    /// Texts of a frame for tenants of the receiving shard.
    Texts(Box<TextMail>),
    /// What became of a part.
    PartDone {
        /// The connection.
        to: ReplyTo,
        /// Its lane.
        lane: Lane,
        /// The owner.
        owner: u16,
        /// The frame.
        seq: u64,
        /// Applied, or why not.
        outcome: Result<(), Refused>,
        /// The part's memory, for the next one; nothing of a part of texts.
        records: Vec<EventRecord>,
    },
    /// An anonymous lane has ended.
    Forget(Lane),
    /// Names told to another shard.
    Define(Vec<(NameKind, Box<str>)>),
    /// Names asked of one connection.
    Need {
        /// The connection.
        to: ReplyTo,
        /// The ids.
        entries: Vec<NeedEntry>,
    },
    /// Names asked of any producer.
    NeedAny(Vec<NeedEntry>),
    /// A reader elsewhere asks for an answer.
    Ask(AskMail),
    /// A reader elsewhere wants answers as they change.
    Subscribe(AskMail),
    /// A reader elsewhere has had enough.
    Unsubscribe {
        /// The connection.
        from: ReplyTo,
        /// The subscription's tag.
        tag: u32,
        /// Whose answers.
        tenant: TenantId,
    },
    /// A frame for a connection: SUMMARY or REFUSE.
    Frame {
        /// The connection.
        to: ReplyTo,
        /// What it answers.
        answers: Kind,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// An UPDATE for a connection.
    Update {
        /// The connection.
        to: ReplyTo,
        /// The subscription's tag.
        tag: u32,
        /// The bytes.
        bytes: Vec<u8>,
    },
}

/// Records of one frame for one owner.
#[derive(Debug)]
pub struct PartMail {
    /// The connection.
    pub from: ReplyTo,
    /// The frame.
    pub seq: u64,
    /// Its place in the producer's sequence.
    pub sequence: Sequence,
    /// What offsets count from.
    pub base_ms: u64,
    /// The times of the whole frame.
    pub span: Span,
    /// The records.
    pub records: Vec<EventRecord>,
    /// Answer only once it is on the disk.
    pub durable: bool,
    /// Names that came with the events; empty when they came as ids.
    pub names: Vec<(NameKind, Box<str>)>,
}

/// Texts of one frame for one owner.
#[derive(Debug)]
pub struct TextMail {
    /// The connection.
    pub from: ReplyTo,
    /// The frame's place in the producer's sequence.
    pub sequence: Sequence,
    /// The times of the whole frame.
    pub span: Span,
    /// Answer only once it is on the disk.
    pub durable: bool,
    /// The owner's texts as a TEXT frame of their own.
    pub frame: Vec<u8>,
}

/// What a reader asks.
#[derive(Clone, Copy, Debug)]
pub struct AskMail {
    /// The connection.
    pub from: ReplyTo,
    /// The frame's tag.
    pub tag: u32,
    /// Whose answer.
    pub tenant: TenantId,
    /// The end of the window.
    pub at_ms: Option<u64>,
    /// How many topics.
    pub k: u16,
    /// Ordered by what.
    pub rank: Rank,
}

/// Messages in one batch between shards.
pub const MESH_BATCH_MAX: usize = 64;
/// Batches waiting between two shards.
pub const MESH_BATCHES_MAX: usize = 64;
/// Messages a shard keeps for another whose channel is full; past this it stops reading.
pub const MESH_OUTBOX_MAX: usize = 1_024;
