//! The shapes of records; see the drawing in the module header.

use crate::marks::{Lane, Sequence};
use crate::programs::Text;
use trendsrv_proto::{EventRecord, NameKind, Span, TenantId};
use zerocopy::little_endian::{I32, U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The head of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHead {
    /// Bytes of the whole record.
    pub len: usize,
    /// What it holds: 1 a part, 2 names.
    pub kind: u8,
    /// The least and the largest vnode it concerns; the least is above the largest when it
    /// concerns none.
    pub vnodes: (u16, u16),
    /// The generation of the vnode map it was written under.
    pub generation: u32,
    /// Its number in the log.
    pub lsn: u64,
    /// When it was applied.
    pub ingest_ms: u64,
    /// The largest LSN known durable when it was written.
    pub durable: u64,
    /// The checksum of the record before.
    pub prev_crc: u32,
    /// Its checksum.
    pub crc: u32,
}

/// What the next record of a log must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expect {
    /// The generation of the vnode map.
    pub generation: u32,
    /// The number in the log.
    pub lsn: u64,
    /// The checksum of the record before.
    pub prev_crc: u32,
}

impl Expect {
    /// What must follow a record.
    #[must_use]
    pub const fn after(head: &RecordHead) -> Self {
        Self { generation: head.generation, lsn: head.lsn + 1, prev_crc: head.crc }
    }
}

/// What a record holds.
#[derive(Clone, Copy, Debug)]
pub enum Record<'a> {
    /// Events and texts of one frame.
    Part(LoggedPart<'a>),
    /// Names that were new.
    Names(LoggedNames<'a>),
}

impl Record<'_> {
    /// Events and texts in it.
    #[must_use]
    pub fn events(&self) -> u64 {
        match self {
            Self::Part(part) => part.records.len() as u64 + u64::from(part.texts.count),
            Self::Names(_) => 0,
        }
    }
}

/// A part as it was received.
#[derive(Clone, Copy, Debug)]
pub struct LoggedPart<'a> {
    /// Its place in the producer's sequence; `None` for one whose sequence ended with its
    /// connection.
    pub sequence: Option<Sequence>,
    /// What offsets count from.
    pub base_ms: u64,
    /// The times of the whole frame.
    pub span: Span,
    /// The events.
    pub records: &'a [EventRecord],
    /// The texts.
    pub texts: LoggedTexts<'a>,
}

/// The texts of a part.
#[derive(Clone, Copy, Debug, Default)]
pub struct LoggedTexts<'a> {
    pub(crate) count: u32,
    pub(crate) entries: &'a [u8],
}

impl<'a> LoggedTexts<'a> {
    /// How many.
    #[must_use]
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// The texts in their order.
    pub fn iter(&self) -> impl Iterator<Item = Text<'a>> + Clone + use<'a> {
        let mut rest = self.entries;
        // The parse has read every entry once, so reading them again cannot fail.
        (0..self.count).map_while(move |_| {
            let (text, behind) = read_text(rest)?;
            rest = behind;
            Some(text)
        })
    }
}

/// Names that were new to the shard.
#[derive(Clone, Copy, Debug)]
pub struct LoggedNames<'a> {
    pub(crate) count: u32,
    pub(crate) entries: &'a [u8],
}

impl<'a> LoggedNames<'a> {
    /// How many.
    #[must_use]
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// Kind, id and name of each, in their order.
    pub fn iter(&self) -> impl Iterator<Item = (NameKind, u64, &'a str)> + Clone + use<'a> {
        let mut rest = self.entries;
        // The parse has read every entry once, so reading them again cannot fail.
        (0..self.count).map_while(move |_| {
            let (name, behind) = read_name(rest)?;
            rest = behind;
            Some(name)
        })
    }
}

/// Reads the first text and what lies behind it.
pub(super) fn read_text(bytes: &[u8]) -> Option<(Text<'_>, &[u8])> {
    let (head, rest) = TextHead::ref_from_prefix(bytes).ok()?;
    let (text, rest) = rest.split_at_checked(usize::from(head.len.get()))?;
    let text = Text {
        tenant: TenantId(head.tenant.get()),
        text: std::str::from_utf8(text).ok()?,
        weight: head.weight.get(),
        offset_ms: head.offset_ms.get(),
    };
    Some((text, rest))
}

/// What a name names, of which id, and the name.
type Name<'a> = (NameKind, u64, &'a str);

/// Reads the first name and what lies behind it.
pub(super) fn read_name(bytes: &[u8]) -> Option<(Name<'_>, &[u8])> {
    let (head, rest) = NameHead::ref_from_prefix(bytes).ok()?;
    let kind = match head.kind {
        1 => NameKind::Tenant,
        2 => NameKind::Topic,
        _ => return None,
    };
    let (name, rest) = rest.split_at_checked(usize::from(head.len))?;
    Some(((kind, head.id.get(), std::str::from_utf8(name).ok()?), rest))
}

/// The head as it lies in the log.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct HeadBytes {
    pub(super) len: U32,
    pub(super) kind: u8,
    pub(super) zero: u8,
    pub(super) vnode_low: U16,
    pub(super) vnode_high: U16,
    pub(super) zero_too: U16,
    pub(super) generation: U32,
    pub(super) lsn: U64,
    pub(super) ingest_ms: U64,
    pub(super) durable: U64,
    pub(super) prev_crc: U32,
    pub(super) crc: U32,
}

/// The head of a part's payload.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct PartHead {
    pub(super) producer: U64,
    pub(super) seq: U64,
    pub(super) epoch: U32,
    pub(super) lane: U16,
    pub(super) flags: U16,
    pub(super) base_ms: U64,
    pub(super) span_min_ms: U64,
    pub(super) span_max_ms: U64,
    pub(super) records: U32,
    pub(super) texts: U32,
}

impl PartHead {
    /// The place in a sequence that outlives its connection.
    pub(super) fn sequence(&self) -> Option<Sequence> {
        let lane = Lane { producer: self.producer.get(), lane: self.lane.get(), anonymous: false };
        let at = Sequence { lane, epoch: self.epoch.get(), seq: self.seq.get() };
        (self.flags.get() & NAMED != 0).then_some(at)
    }
}

/// The head of a text.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct TextHead {
    pub(super) tenant: U64,
    pub(super) weight: U32,
    pub(super) offset_ms: I32,
    pub(super) len: U16,
}

/// The head of the payload of names.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct NamesHead {
    pub(super) entries: U32,
    pub(super) zero: U32,
}

/// The head of a name.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct NameHead {
    pub(super) id: U64,
    pub(super) kind: u8,
    pub(super) len: u8,
}

/// Bytes of a record's head.
pub const HEAD_BYTES: usize = size_of::<HeadBytes>();
/// Records begin at multiples of this many bytes.
pub const RECORD_ALIGN: usize = 8;
/// Bytes of the longest record: a request of the largest size, with what the log adds to each
/// of its texts.
pub const RECORD_BYTES_MAX: usize = 5 << 18;
/// Events of a record up to which its range of vnodes is exact.
pub const VNODES_EXACT_MAX: usize = 64;

/// Kind of a part.
pub(super) const PART: u8 = 1;
/// Kind of names.
pub(super) const NAMES: u8 = 2;
/// Flag of a part whose sequence outlives its connection.
pub(super) const NAMED: u16 = 1;
/// Where the checksum lies in a record, behind everything else of the head.
pub(super) const CRC_AT: usize = HEAD_BYTES - 4;

const _: () = assert!(HEAD_BYTES == 48);
const _: () = assert!(size_of::<PartHead>() == 56);
const _: () = assert!(size_of::<TextHead>() == 18);
const _: () = assert!(size_of::<NamesHead>() == 8);
const _: () = assert!(size_of::<NameHead>() == 10);
const _: () = assert!(RECORD_BYTES_MAX.is_multiple_of(RECORD_ALIGN));
