//! QUERY, SUMMARY, SUBSCRIBE and UPDATE: what readers ask and get.
//!
//! ```text
//! QUERY      16 tenant u64 | 24 at_ms u64 (0: now) | 32 k u16 | 34 rank u8 | 35 zero u8[5]
//! SUBSCRIBE  16 tenant u64 | 24 k u16 | 26 rank u8 | 27 on u8 | 28 zero u32
//! SUMMARY    16 tenant u64 | 24 as_of_ms u64 | 32 version u64 | 40 total u64 | 48 events u64
//!            56 distinct u64 | 64 error_bound u64 | 72 late u64 | 80 dropped u64 | 88 shed u64
//!            96 window_ms u32 | 100 slide_ms u32 | 104 flags u32 | 108 topic_count u16
//!           110 tldr_len u16 | 112 program_len u16 | 114 zero u8[6] | 120 tldr | program | topics
//! topic       0 topic u64 | 8 count u64 | 16 low u64 | 24 high u64 | 32 velocity_milli i64
//!            40 score_milli i64 | 48 trend u8 | 49 name_len u8 | 50 sample_len u16 | 52 zero u32
//!            56 name | sample
//! UPDATE     as SUMMARY, with the tag of its SUBSCRIBE
//! ```

use crate::cursor::Cursor;
use crate::header::{FrameWriter, Kind};
use crate::id::{TenantId, TopicId};
use crate::limits::{NAME_BYTES_MAX, TEXT_BYTES_MAX, TIME_MS_MAX, TLDR_BYTES_MAX, TOP_K_MAX};
use crate::malformed::Malformed;
use zerocopy::little_endian::{I64, U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// What an answer is ordered by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Rank {
    /// Trend score, then count, then topic bytes ascending.
    #[default]
    Score = 0,
    /// Count, then topic bytes ascending.
    Count = 1,
}

impl Rank {
    /// The order with this number.
    #[must_use]
    pub const fn from_u8(n: u8) -> Option<Self> {
        match n {
            0 => Some(Self::Score),
            1 => Some(Self::Count),
            _ => None,
        }
    }
}

/// What a topic is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum Trend {
    /// As much as expected.
    #[default]
    Steady = 0,
    /// Not seen in the window before the last 10 s.
    New = 1,
    /// Well above its expectation.
    Rising = 2,
    /// Well below its expectation.
    Falling = 3,
}

impl Trend {
    /// The trend with this number.
    #[must_use]
    pub const fn from_u8(n: u8) -> Option<Self> {
        match n {
            0 => Some(Self::Steady),
            1 => Some(Self::New),
            2 => Some(Self::Rising),
            3 => Some(Self::Falling),
            _ => None,
        }
    }

    /// The word used in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Steady => "steady",
            Self::New => "new",
            Self::Rising => "rising",
            Self::Falling => "falling",
        }
    }
}

/// Asks for a tenant's answer.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct Query {
    tenant: U64,
    at_ms: U64,
    k: U16,
    rank: u8,
    zero: [u8; 5],
}

impl Query {
    /// A query; `at_ms` `None` asks for now.
    #[must_use]
    pub fn new(tenant: TenantId, at_ms: Option<u64>, k: u16, rank: Rank) -> Self {
        Self {
            tenant: U64::new(tenant.0),
            at_ms: U64::new(at_ms.unwrap_or(0)),
            k: U16::new(k),
            rank: rank as u8,
            zero: [0; 5],
        }
    }

    pub(crate) fn parse(body: &[u8]) -> Result<&Self, Malformed> {
        let mut cursor = Cursor::new(body);
        let query: &Self = cursor.view("QUERY")?;
        cursor.end()?;
        check_ask(query.k.get(), query.rank)?;
        range("at_ms", query.at_ms.get(), 0, TIME_MS_MAX)?;
        range("reserved", u64::from(query.zero.iter().fold(0, |all, b| all | b)), 0, 0)?;
        Ok(query)
    }

    /// Whose answer.
    #[must_use]
    pub const fn tenant(&self) -> TenantId {
        TenantId(self.tenant.get())
    }

    /// The end of the window asked for; `None` is now.
    #[must_use]
    pub const fn at_ms(&self) -> Option<u64> {
        match self.at_ms.get() {
            0 => None,
            at => Some(at),
        }
    }

    /// How many topics.
    #[must_use]
    pub const fn k(&self) -> u16 {
        self.k.get()
    }

    /// Ordered by what.
    #[must_use]
    pub fn rank(&self) -> Rank {
        Rank::from_u8(self.rank).unwrap_or_default()
    }

    /// Writes the frame.
    pub fn encode(&self, out: &mut Vec<u8>, tag: u32) -> usize {
        let mut frame = FrameWriter::new(out, Kind::Query, tag);
        frame.put(self);
        frame.finish()
    }
}

/// Asks for a tenant's answers as they change, or to stop that.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct Subscribe {
    tenant: U64,
    k: U16,
    rank: u8,
    on: u8,
    zero: U32,
}

impl Subscribe {
    /// Starts (`on`) or ends the subscription known by the frame's tag.
    #[must_use]
    pub fn new(tenant: TenantId, k: u16, rank: Rank, on: bool) -> Self {
        Self {
            tenant: U64::new(tenant.0),
            k: U16::new(k),
            rank: rank as u8,
            on: u8::from(on),
            zero: U32::ZERO,
        }
    }

    pub(crate) fn parse(body: &[u8]) -> Result<&Self, Malformed> {
        let mut cursor = Cursor::new(body);
        let subscribe: &Self = cursor.view("SUBSCRIBE")?;
        cursor.end()?;
        check_ask(subscribe.k.get(), subscribe.rank)?;
        range("on", u64::from(subscribe.on), 0, 1)?;
        range("reserved", u64::from(subscribe.zero.get()), 0, 0)?;
        Ok(subscribe)
    }

    /// Whose answers.
    #[must_use]
    pub const fn tenant(&self) -> TenantId {
        TenantId(self.tenant.get())
    }

    /// How many topics.
    #[must_use]
    pub const fn k(&self) -> u16 {
        self.k.get()
    }

    /// Ordered by what.
    #[must_use]
    pub fn rank(&self) -> Rank {
        Rank::from_u8(self.rank).unwrap_or_default()
    }

    /// Whether it starts.
    #[must_use]
    pub const fn on(&self) -> bool {
        self.on == 1
    }

    /// Writes the frame.
    pub fn encode(&self, out: &mut Vec<u8>, tag: u32) -> usize {
        let mut frame = FrameWriter::new(out, Kind::Subscribe, tag);
        frame.put(self);
        frame.finish()
    }
}

fn check_ask(k: u16, rank: u8) -> Result<(), Malformed> {
    range("k", u64::from(k), 1, TOP_K_MAX as u64)?;
    range("rank", u64::from(rank), 0, 1)
}

fn range(what: &'static str, got: u64, min: u64, max: u64) -> Result<(), Malformed> {
    if (min..=max).contains(&got) { Ok(()) } else { Err(Malformed::Range { what, got, min, max }) }
}

/// How good an answer is, yes or no.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SummaryFlags {
    /// The tenant is known; otherwise everything is 0.
    pub known: bool,
    /// Every count is exact.
    pub exact: bool,
    /// The number of distinct topics is exact.
    pub distinct_exact: bool,
    /// No topic outside the answer can belong inside.
    pub certified: bool,
}

impl SummaryFlags {
    const fn bits(self) -> u32 {
        (self.known as u32)
            | (self.exact as u32) << 1
            | (self.distinct_exact as u32) << 2
            | (self.certified as u32) << 3
    }

    const fn from_bits(bits: u32) -> Self {
        Self {
            known: bits & 1 != 0,
            exact: bits & 2 != 0,
            distinct_exact: bits & 4 != 0,
            certified: bits & 8 != 0,
        }
    }
}

/// The numbers of an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SummaryHead {
    /// Whose answer.
    pub tenant: TenantId,
    /// The window ends here, milliseconds since the epoch.
    pub as_of_ms: u64,
    /// Grows when the answer has changed.
    pub version: u64,
    /// Weight of all events in the window.
    pub total: u64,
    /// Events in the window.
    pub events: u64,
    /// Distinct topics in the window.
    pub distinct: u64,
    /// No count is short by more than this.
    pub error_bound: u64,
    /// Events that came after their window had passed, ever.
    pub late: u64,
    /// Events that could not be counted, ever.
    pub dropped: u64,
    /// Events refused under overload, ever.
    pub shed: u64,
    /// Length of the window.
    pub window_ms: u32,
    /// How far it moves at a time.
    pub slide_ms: u32,
    /// How good the answer is.
    pub flags: SummaryFlags,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct WireHead {
    tenant: U64,
    as_of_ms: U64,
    version: U64,
    total: U64,
    events: U64,
    distinct: U64,
    error_bound: U64,
    late: U64,
    dropped: U64,
    shed: U64,
    window_ms: U32,
    slide_ms: U32,
    flags: U32,
    topic_count: U16,
    tldr_len: U16,
    program_len: U16,
    zero: [u8; 6],
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct WireTopic {
    topic: U64,
    count: U64,
    low: U64,
    high: U64,
    velocity_milli: I64,
    score_milli: I64,
    trend: u8,
    name_len: u8,
    sample_len: U16,
    zero: U32,
}

/// One topic of an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TopicRow<'a> {
    /// The topic.
    pub topic: TopicId,
    /// Its weight in the window, the best estimate.
    pub count: u64,
    /// The true weight is at least this.
    pub low: u64,
    /// The true weight is at most this.
    pub high: u64,
    /// Rate of the last 10 s less the rate of the window, thousandths of weight per second.
    pub velocity_milli: i64,
    /// Trend score in thousandths.
    pub score_milli: i64,
    /// What it is doing.
    pub trend: Trend,
    /// Its name; empty when no producer has told it yet.
    pub name: &'a str,
    /// A sample message, or empty.
    pub sample: &'a str,
}

/// An answer, borrowed from the received bytes.
#[derive(Clone, Copy, Debug)]
pub struct Summary<'a> {
    /// The numbers.
    pub head: SummaryHead,
    /// The one-line summary.
    pub tldr: &'a str,
    /// The program that wrote it.
    pub program: &'a str,
    topic_count: u16,
    topics: &'a [u8],
}

impl<'a> Summary<'a> {
    pub(crate) fn parse(body: &'a [u8]) -> Result<Self, Malformed> {
        let mut cursor = Cursor::new(body);
        let wire: &WireHead = cursor.view("SUMMARY")?;
        range("topic_count", u64::from(wire.topic_count.get()), 0, TOP_K_MAX as u64)?;
        range("tldr_len", u64::from(wire.tldr_len.get()), 0, TLDR_BYTES_MAX as u64)?;
        range("program_len", u64::from(wire.program_len.get()), 0, NAME_BYTES_MAX as u64)?;
        let tldr = cursor.text(usize::from(wire.tldr_len.get()), "the one-line summary")?;
        let program = cursor.text(usize::from(wire.program_len.get()), "the program name")?;
        let topics = cursor.rest();
        for index in 0..u32::from(wire.topic_count.get()) {
            read_topic(&mut cursor, index)?;
        }
        cursor.end()?;
        let head = SummaryHead {
            tenant: TenantId(wire.tenant.get()),
            as_of_ms: wire.as_of_ms.get(),
            version: wire.version.get(),
            total: wire.total.get(),
            events: wire.events.get(),
            distinct: wire.distinct.get(),
            error_bound: wire.error_bound.get(),
            late: wire.late.get(),
            dropped: wire.dropped.get(),
            shed: wire.shed.get(),
            window_ms: wire.window_ms.get(),
            slide_ms: wire.slide_ms.get(),
            flags: SummaryFlags::from_bits(wire.flags.get()),
        };
        Ok(Self { head, tldr, program, topic_count: wire.topic_count.get(), topics })
    }

    /// The topics in their order.
    pub fn topics(&self) -> impl Iterator<Item = TopicRow<'a>> + use<'a> {
        let mut cursor = Cursor::new(self.topics);
        // The parse has read every topic once, so reading them again cannot fail.
        (0..u32::from(self.topic_count)).map_while(move |i| read_topic(&mut cursor, i).ok())
    }
}

fn read_topic<'a>(cursor: &mut Cursor<'a>, index: u32) -> Result<TopicRow<'a>, Malformed> {
    let wire: &WireTopic = cursor.view("a topic")?;
    let got = u64::from(wire.trend);
    let bad = Malformed::Entry { what: "trend", index, got, min: 0, max: 3 };
    let sample_len = u64::from(wire.sample_len.get());
    if sample_len > TEXT_BYTES_MAX as u64 {
        let (got, max) = (sample_len, TEXT_BYTES_MAX as u64);
        return Err(Malformed::Entry { what: "sample_len", index, got, min: 0, max });
    }
    Ok(TopicRow {
        topic: TopicId(wire.topic.get()),
        count: wire.count.get(),
        low: wire.low.get(),
        high: wire.high.get(),
        velocity_milli: wire.velocity_milli.get(),
        score_milli: wire.score_milli.get(),
        trend: Trend::from_u8(wire.trend).ok_or(bad)?,
        name: cursor.text(usize::from(wire.name_len), "a topic name")?,
        sample: cursor.text(usize::from(wire.sample_len.get()), "a sample")?,
    })
}

/// Writes SUMMARY or UPDATE; at most [`TOP_K_MAX`] topics, texts cut at their limits.
pub fn encode_summary<'t>(
    out: &mut Vec<u8>,
    kind: Kind,
    tag: u32,
    head: &SummaryHead,
    (tldr, program): (&str, &str),
    topics: impl IntoIterator<Item = TopicRow<'t>>,
) -> usize {
    let tldr = &tldr[..tldr.floor_char_boundary(TLDR_BYTES_MAX)];
    let program = &program[..program.floor_char_boundary(NAME_BYTES_MAX)];
    let len = |n: usize| U16::new(u16::try_from(n).unwrap_or(u16::MAX));
    let mut frame = FrameWriter::new(out, kind, tag);
    frame.put(&WireHead {
        tenant: U64::new(head.tenant.0),
        as_of_ms: U64::new(head.as_of_ms),
        version: U64::new(head.version),
        total: U64::new(head.total),
        events: U64::new(head.events),
        distinct: U64::new(head.distinct),
        error_bound: U64::new(head.error_bound),
        late: U64::new(head.late),
        dropped: U64::new(head.dropped),
        shed: U64::new(head.shed),
        window_ms: U32::new(head.window_ms),
        slide_ms: U32::new(head.slide_ms),
        flags: U32::new(head.flags.bits()),
        topic_count: U16::ZERO,
        tldr_len: len(tldr.len()),
        program_len: len(program.len()),
        zero: [0; 6],
    });
    frame.put(tldr.as_bytes()).put(program.as_bytes());
    let mut count = 0_u16;
    for row in topics.into_iter().take(TOP_K_MAX) {
        put_topic(&mut frame, &row);
        count += 1;
    }
    frame.body_mut()[92..94].copy_from_slice(&count.to_le_bytes());
    frame.finish()
}

fn put_topic(frame: &mut FrameWriter<'_>, row: &TopicRow<'_>) {
    let name = &row.name[..row.name.floor_char_boundary(NAME_BYTES_MAX)];
    let sample = &row.sample[..row.sample.floor_char_boundary(TEXT_BYTES_MAX)];
    frame.put(&WireTopic {
        topic: U64::new(row.topic.0),
        count: U64::new(row.count),
        low: U64::new(row.low),
        high: U64::new(row.high),
        velocity_milli: I64::new(row.velocity_milli),
        score_milli: I64::new(row.score_milli),
        trend: row.trend as u8,
        name_len: u8::try_from(name.len()).unwrap_or(u8::MAX),
        sample_len: U16::new(u16::try_from(sample.len()).unwrap_or(u16::MAX)),
        zero: U32::ZERO,
    });
    frame.put(name.as_bytes()).put(sample.as_bytes());
}

const _: () = assert!(size_of::<Query>() == 24);
const _: () = assert!(size_of::<Subscribe>() == 16);
const _: () = assert!(size_of::<WireHead>() == 104);
const _: () = assert!(size_of::<WireTopic>() == 56);
