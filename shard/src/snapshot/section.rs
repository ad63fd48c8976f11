//! The bytes of a section: a head laid by hand, and an rkyv archive of flat tables behind it.
//!
//! Owns the shape. Never touches what the numbers mean: `check.rs` believes none of them.
//!
//! ```text
//! | magic "TSNP" | format u16 | kind u16 | archive (root at the end) |
//!
//! tenants   | id, version, …, window: class, used, rows | …          one row a tenant
//! words     | slots, rows of the first window | of the second | …    in the order of tenants
//! samples   | topic, weight, messages | …     messages | pane, hash, length | …
//! topics    | id, length of its name | …      early    | record, time | …
//! texts     names of programs, names of tenants each with its messages, names of topics
//! ```
//!
//! Invariants
//! - the head has the same place in every format, so that a newer one is recognised;
//! - tables refer to each other by order and length only: no offset can point elsewhere;
//! - everything is little endian and needs no alignment.

use super::{FORMAT, SnapshotError};
use rkyv::api::low::to_bytes_in_with_alloc;
use rkyv::rancor::{Error, Strategy};
use rkyv::ser::Serializer;
use rkyv::ser::allocator::SubAllocator;
use rkyv::{Archive, Portable, Serialize};

/// What a section is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Marks = 1,
    Vnode = 2,
}

/// A vnode as it is written; its buffers are reused from section to section.
#[derive(Archive, Serialize, Debug, Default)]
pub(super) struct Section {
    pub(super) lsn: u64,
    pub(super) slide_ms: u64,
    /// Of the shard: the largest version of a tenant that left, and the latest event time.
    pub(super) version_floor: u64,
    pub(super) event_time_max_ms: u64,
    pub(super) panes: u32,
    pub(super) vnode: u16,
    pub(super) clock: u8,
    pub(super) tenants: Vec<TenantRow>,
    pub(super) words: Vec<u64>,
    pub(super) samples: Vec<SampleRow>,
    pub(super) messages: Vec<MessageRow>,
    pub(super) topics: Vec<TopicRow>,
    pub(super) early: Vec<EarlyRow>,
    pub(super) states: Vec<StateRow>,
    pub(super) texts: Vec<u8>,
    pub(super) state_bytes: Vec<u8>,
}

/// A tenant. The fields of its window are 0 when it has none.
#[derive(Archive, Serialize, Clone, Copy, Debug, Default)]
pub(super) struct TenantRow {
    pub(super) id: u64,
    pub(super) version: u64,
    pub(super) fingerprint: u64,
    pub(super) late: u64,
    pub(super) dropped: u64,
    pub(super) shed: u64,
    pub(super) pane: u64,
    pub(super) watermark_ms: u64,
    pub(super) total: u64,
    pub(super) events: u64,
    /// Which rows follow, by bits.
    pub(super) rows: u64,
    pub(super) sample_current: u64,
    pub(super) used: u16,
    pub(super) calm: u16,
    pub(super) calm_peak: u16,
    /// 0: nobody has told its name.
    pub(super) name_len: u16,
    pub(super) sample_topics: u16,
    pub(super) class: u8,
    /// One of [`NO_WINDOW`], [`LIVE`], [`PARKED`].
    pub(super) window: u8,
}

/// A topic that a tenant has samples of.
#[derive(Archive, Serialize, Clone, Copy, Debug)]
pub(super) struct SampleRow {
    pub(super) topic: u64,
    pub(super) weight: u64,
    pub(super) messages: u16,
}

/// A message about the topic.
#[derive(Archive, Serialize, Clone, Copy, Debug)]
pub(super) struct MessageRow {
    pub(super) pane: u64,
    pub(super) hash: u64,
    pub(super) len: u16,
}

/// A topic of the section's tenants.
#[derive(Archive, Serialize, Clone, Copy, Debug)]
pub(super) struct TopicRow {
    pub(super) id: u64,
    /// 0: nobody has told its name.
    pub(super) name_len: u16,
}

/// An event that waits for its pane.
#[derive(Archive, Serialize, Clone, Copy, Debug)]
pub(super) struct EarlyRow {
    pub(super) tenant: u64,
    pub(super) topic: u64,
    pub(super) ts_ms: u64,
    pub(super) weight: u32,
    pub(super) offset_ms: i32,
}

/// A private state of a program.
#[derive(Archive, Serialize, Clone, Copy, Debug)]
pub(super) struct StateRow {
    pub(super) tenant: u64,
    pub(super) len: u32,
    pub(super) program_len: u16,
}

pub(super) const NO_WINDOW: u8 = 0;
pub(super) const LIVE: u8 = 1;
/// Event clock: the window of an emptied tenant.
pub(super) const PARKED: u8 = 2;

pub(super) const CLOCK_WALL: u8 = 0;
pub(super) const CLOCK_EVENT: u8 = 1;

impl Section {
    /// Forgets everything; the memory stays, unless one large vnode took a lot of it.
    pub(super) fn clear(&mut self) {
        (self.lsn, self.slide_ms, self.version_floor, self.event_time_max_ms) = (0, 0, 0, 0);
        (self.panes, self.vnode, self.clock) = (0, 0, 0);
        self.tenants.clear();
        self.words.clear();
        self.words.shrink_to(KEPT_WORDS_MAX);
        self.samples.clear();
        self.messages.clear();
        self.topics.clear();
        self.early.clear();
        self.states.clear();
        self.texts.clear();
        self.texts.shrink_to(KEPT_BYTES_MAX);
        self.state_bytes.clear();
        self.state_bytes.shrink_to(KEPT_BYTES_MAX);
    }
}

/// Appends a section: its head and the archive of its body.
pub(super) fn write<B>(kind: Kind, body: &B, out: &mut Vec<u8>)
where
    B: for<'o, 'a> Serialize<Strategy<Serializer<&'o mut Vec<u8>, SubAllocator<'a>, ()>, Error>>,
{
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&FORMAT.to_le_bytes());
    out.extend_from_slice(&(kind as u16).to_le_bytes());
    // Rows of numbers need no room beside the output; the root has a few words of it.
    let mut room = [const { std::mem::MaybeUninit::uninit() }; SCRATCH_BYTES];
    let written = to_bytes_in_with_alloc::<_, _, Error>(body, out, SubAllocator::new(&mut room));
    written.expect("flat tables always serialise: offsets are 64 bits and vectors grow");
}

/// The archive of a section of this kind, its shape checked.
pub(super) fn open<'a, A>(kind: Kind, bytes: &'a [u8]) -> Result<&'a A, SnapshotError>
where
    A: Portable + for<'b> rkyv::bytecheck::CheckBytes<rkyv::api::low::LowValidator<'b, Error>>,
{
    let not_a_section = || SnapshotError::NotASection { kind: kind.name() };
    let (head, archive) = bytes.split_first_chunk::<HEAD_BYTES>().ok_or_else(not_a_section)?;
    let [a, b, c, d, format @ .., kind_low, kind_high] = *head;
    if [a, b, c, d] != MAGIC {
        return Err(not_a_section());
    }
    let format = u16::from_le_bytes(format);
    if format > FORMAT {
        return Err(SnapshotError::Newer { got: format });
    }
    if format == 0 || u16::from_le_bytes([kind_low, kind_high]) != kind as u16 {
        return Err(not_a_section());
    }
    rkyv::api::low::access::<A, Error>(archive)
        .map_err(|error| SnapshotError::Shape(error.to_string()))
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Marks => "marks",
            Self::Vnode => "a vnode",
        }
    }
}

const MAGIC: [u8; 4] = *b"TSNP";
/// Bytes before the archive.
pub(super) const HEAD_BYTES: usize = 8;
const SCRATCH_BYTES: usize = 1_024;
/// Memory kept from section to section: some ten times what a usual vnode needs.
const KEPT_WORDS_MAX: usize = 128 << 10;
const KEPT_BYTES_MAX: usize = 1 << 20;
