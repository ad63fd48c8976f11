//! Writing records: a buffer that the outside empties batch by batch.
//!
//! ```text
//! part, names -> open batch -(full)-> sealed batches -> take() -> a file
//!                                      give_back() <- the batch's memory, to be filled again
//! ```
//!
//! Invariants
//! - a batch holds whole records, at least one, in their order, and batches follow each other;
//! - what waits is as much as the outside lets it be: it stops bringing parts when
//!   [`Writer::backlog_bytes`] is above its limit.

use super::record::{
    CRC_AT, HEAD_BYTES, HeadBytes, NAMED, NAMES, NameHead, NamesHead, PART, PartHead, RECORD_ALIGN,
    RECORD_BYTES_MAX, TextHead, VNODES_EXACT_MAX,
};
use crate::marks::Sequence;
use crate::shard::{Part, TextPart};
use std::collections::VecDeque;
use trendsrv_proto::limits::{NAME_BYTES_MAX, VNODES};
use trendsrv_proto::{NameKind, Span, TenantId};
use zerocopy::IntoBytes;
use zerocopy::little_endian::{I32, U16, U32, U64};

/// Where a log goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogStart {
    /// The generation of the vnode map.
    pub generation: u32,
    /// The number of the next record, at least 1.
    pub next_lsn: u64,
    /// The checksum of the record before.
    pub prev_crc: u32,
}

/// How much room there is for the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogSpace {
    /// Enough.
    #[default]
    Plenty,
    /// What is left is kept: durable parts are refused.
    Low,
    /// Nothing: parts are applied without being logged, and counted.
    None,
}

/// Records to be written, one behind the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Their bytes.
    pub bytes: Vec<u8>,
    /// The number of the first one.
    pub first_lsn: u64,
    /// The number of the last one.
    pub last_lsn: u64,
    /// The checksum of the last one.
    pub last_crc: u32,
}

/// The log of a shard on its way to the disk.
#[derive(Debug)]
pub struct Writer {
    generation: u32,
    last_lsn: u64,
    last_crc: u32,
    durable: u64,
    /// When the last part or turn was.
    now_ms: u64,
    open: Batch,
    sealed: VecDeque<Batch>,
    sealed_bytes: usize,
    spare: Vec<Vec<u8>>,
    /// New names that no record holds yet, and how many.
    names: Vec<u8>,
    names_count: u32,
    /// The vnodes of the tenants among them.
    names_vnodes: (u16, u16),
}

impl Writer {
    pub(crate) fn new(start: &LogStart) -> Self {
        assert!(start.next_lsn > 0, "log sequence numbers begin at 1");
        let last_lsn = start.next_lsn - 1;
        Self {
            generation: start.generation,
            last_lsn,
            last_crc: start.prev_crc,
            // What a log goes on from has been read back from the disk.
            durable: last_lsn,
            now_ms: 0,
            open: Batch::default(),
            sealed: VecDeque::new(),
            sealed_bytes: 0,
            spare: Vec::new(),
            names: Vec::new(),
            names_count: 0,
            names_vnodes: NO_VNODE,
        }
    }

    /// Takes the oldest records: as many as `bytes_max` allows, but at least one.
    pub fn take(&mut self, bytes_max: usize) -> Option<Batch> {
        if self.sealed.is_empty() {
            self.seal();
        }
        let batch = self.sealed.front_mut()?;
        if batch.bytes.len() <= bytes_max || first_len(&batch.bytes) == batch.bytes.len() {
            let batch = self.sealed.pop_front()?;
            self.sealed_bytes -= batch.bytes.len();
            return Some(batch);
        }
        let (mut cut, mut first) = (first_len(&batch.bytes), Batch::default());
        (first.first_lsn, first.last_lsn) = (batch.first_lsn, batch.first_lsn);
        let mut last = 0;
        while cut + first_len(&batch.bytes[cut..]) <= bytes_max {
            (last, cut) = (cut, cut + first_len(&batch.bytes[cut..]));
            first.last_lsn += 1;
        }
        first.bytes = self.spare.pop().unwrap_or_default();
        first.bytes.extend(batch.bytes.drain(..cut));
        first.last_crc = crc_in(&first.bytes[last..]);
        batch.first_lsn = first.last_lsn + 1;
        self.sealed_bytes -= cut;
        Some(first)
    }

    /// Takes a batch's memory back, to be filled again.
    pub fn give_back(&mut self, mut bytes: Vec<u8>) {
        bytes.clear();
        if self.spare.len() < SPARE_MAX && bytes.capacity() <= SPARE_BYTES_MAX {
            self.spare.push(bytes);
        }
    }

    /// Bytes that wait to be taken.
    #[must_use]
    pub const fn backlog_bytes(&self) -> usize {
        self.sealed_bytes + self.open.bytes.len()
    }

    /// The number of the newest record; 0 before the first.
    #[must_use]
    pub const fn last_lsn(&self) -> u64 {
        self.last_lsn
    }

    /// The largest number known durable.
    #[must_use]
    pub const fn durable(&self) -> u64 {
        self.durable
    }

    /// The generation that records are written under.
    #[must_use]
    pub const fn generation(&self) -> u32 {
        self.generation
    }

    pub(crate) fn on_durable(&mut self, lsn: u64) {
        assert!(lsn <= self.last_lsn, "{lsn} durable of {} written", self.last_lsn);
        self.durable = self.durable.max(lsn);
    }

    pub(crate) fn on_time(&mut self, now_ms: u64) {
        self.now_ms = now_ms;
    }

    /// Appends a part that was applied.
    pub(crate) fn part(
        &mut self,
        now_ms: u64,
        sequence: Option<Sequence>,
        part: &Part<'_>,
        texts: &TextPart<'_>,
    ) {
        self.now_ms = now_ms;
        let named = sequence.filter(|at| !at.lane.anonymous);
        let (flags, producer, lane) =
            named.map_or((0, 0, 0), |at| (NAMED, at.lane.producer, at.lane.lane));
        let (base_ms, span) = times(part, texts);
        let head = PartHead {
            producer: U64::new(producer),
            seq: U64::new(named.map_or(0, |at| at.seq)),
            epoch: U32::new(named.map_or(0, |at| at.epoch)),
            lane: U16::new(lane),
            flags: U16::new(flags),
            base_ms: U64::new(base_ms),
            span_min_ms: U64::new(span.min_ms),
            span_max_ms: U64::new(span.max_ms),
            records: U32::new(u32::try_from(part.records.len()).unwrap_or(u32::MAX)),
            texts: U32::new(u32::try_from(texts.texts.len()).unwrap_or(u32::MAX)),
        };
        let vnodes = if part.records.len() + texts.texts.len() > VNODES_EXACT_MAX {
            ALL_VNODES
        } else {
            let owners = part.records.iter().map(|record| record.tenant());
            let owners = owners.chain(texts.texts.iter().map(|text| text.tenant));
            owners.fold(NO_VNODE, with_vnode)
        };
        let start = self.begin(PART, vnodes, part_bytes(part, texts));
        let bytes = &mut self.open.bytes;
        bytes.extend_from_slice(head.as_bytes());
        bytes.extend_from_slice(part.records.as_bytes());
        for text in texts.texts {
            let head = TextHead {
                tenant: U64::new(text.tenant.0),
                weight: U32::new(text.weight),
                offset_ms: I32::new(text.offset_ms),
                len: U16::new(u16::try_from(text.text.len()).unwrap_or(u16::MAX)),
            };
            bytes.extend_from_slice(head.as_bytes());
            bytes.extend_from_slice(text.text.as_bytes());
        }
        self.end(start);
    }

    /// Notes a name that was new; [`Self::flush_names`] appends those noted.
    pub(crate) fn name(&mut self, kind: NameKind, id: u64, name: &str) {
        let len = u8::try_from(name.len()).unwrap_or(u8::MAX);
        let head = NameHead { id: U64::new(id), kind: kind as u8, len };
        self.names.extend_from_slice(head.as_bytes());
        self.names.extend_from_slice(name.as_bytes());
        self.names_count += 1;
        if kind == NameKind::Tenant {
            self.names_vnodes = with_vnode(self.names_vnodes, TenantId(id));
        }
        if self.names.len() >= NAMES_BYTES {
            self.flush_names();
        }
    }

    /// Appends the names noted, if any.
    pub(crate) fn flush_names(&mut self) {
        if self.names_count == 0 {
            return;
        }
        let names = std::mem::take(&mut self.names);
        let vnodes = std::mem::replace(&mut self.names_vnodes, NO_VNODE);
        let entries = U32::new(std::mem::take(&mut self.names_count));
        let head = NamesHead { entries, zero: U32::ZERO };
        let start = self.begin(NAMES, vnodes, size_of::<NamesHead>() + names.len());
        self.open.bytes.extend_from_slice(head.as_bytes());
        self.open.bytes.extend_from_slice(&names);
        self.end(start);
        self.names = names;
        self.names.clear();
    }

    /// Writes the head of a record with this much payload, its checksum left out.
    fn begin(&mut self, kind: u8, vnodes: (u16, u16), payload: usize) -> usize {
        let len = record_bytes(payload);
        assert!(len <= RECORD_BYTES_MAX, "a record of {len} bytes");
        if self.open.bytes.len() + len > BATCH_BYTES {
            self.seal();
        }
        self.last_lsn += 1;
        let head = HeadBytes {
            len: U32::new(u32::try_from(len).unwrap_or(u32::MAX)),
            kind,
            zero: 0,
            vnode_low: U16::new(vnodes.0),
            vnode_high: U16::new(vnodes.1),
            zero_too: U16::ZERO,
            generation: U32::new(self.generation),
            lsn: U64::new(self.last_lsn),
            ingest_ms: U64::new(self.now_ms),
            durable: U64::new(self.durable),
            prev_crc: U32::new(self.last_crc),
            crc: U32::ZERO,
        };
        if self.open.bytes.is_empty() {
            self.open.first_lsn = self.last_lsn;
        }
        let start = self.open.bytes.len();
        self.open.bytes.extend_from_slice(head.as_bytes());
        start
    }

    /// Pads the record that began at `start` and writes its checksum.
    fn end(&mut self, start: usize) {
        let bytes = &mut self.open.bytes;
        bytes.resize(start + record_bytes(bytes.len() - start - HEAD_BYTES), 0);
        let crc = crc32c::crc32c(&bytes[start..]);
        bytes[start + CRC_AT..start + HEAD_BYTES].copy_from_slice(&crc.to_le_bytes());
        self.last_crc = crc;
        (self.open.last_lsn, self.open.last_crc) = (self.last_lsn, crc);
    }

    /// Closes the open batch, if anything is in it.
    fn seal(&mut self) {
        if self.open.bytes.is_empty() {
            return;
        }
        let bytes = self.spare.pop().unwrap_or_default();
        let batch = std::mem::replace(&mut self.open, Batch { bytes, ..Batch::default() });
        self.sealed_bytes += batch.bytes.len();
        self.sealed.push_back(batch);
    }
}

/// Whether a part can be logged at all.
pub(crate) fn fits(part: &Part<'_>, texts: &TextPart<'_>) -> bool {
    record_bytes(part_bytes(part, texts)) <= RECORD_BYTES_MAX
}

/// Bytes of a part's payload.
fn part_bytes(part: &Part<'_>, texts: &TextPart<'_>) -> usize {
    let texts = texts.texts.iter().map(|text| size_of::<TextHead>() + text.text.len());
    size_of::<PartHead>() + size_of_val(part.records) + texts.sum::<usize>()
}

/// Bytes of a record with this much payload.
const fn record_bytes(payload: usize) -> usize {
    (HEAD_BYTES + payload).next_multiple_of(RECORD_ALIGN)
}

/// The base time and the times of a part's records and texts together.
fn times(part: &Part<'_>, texts: &TextPart<'_>) -> (u64, Span) {
    if texts.texts.is_empty() {
        return (part.base_ms, part.span);
    }
    if part.records.is_empty() {
        return (texts.base_ms, texts.span);
    }
    assert_eq!(part.base_ms, texts.base_ms, "records and texts of one frame share its base time");
    let min_ms = part.span.min_ms.min(texts.span.min_ms);
    (part.base_ms, Span { min_ms, max_ms: part.span.max_ms.max(texts.span.max_ms) })
}

/// The length of the record at the start of `bytes`.
fn first_len(bytes: &[u8]) -> usize {
    bytes.first_chunk::<4>().map_or(0, |len| u32::from_le_bytes(*len) as usize)
}

/// The checksum of the record at the start of `bytes`.
fn crc_in(bytes: &[u8]) -> u32 {
    let at = bytes.get(CRC_AT..).and_then(<[u8]>::first_chunk::<4>);
    at.map_or(0, |crc| u32::from_le_bytes(*crc))
}

fn with_vnode((low, high): (u16, u16), tenant: TenantId) -> (u16, u16) {
    let vnode = u16::try_from(tenant.vnode()).unwrap_or(u16::MAX);
    (low.min(vnode), high.max(vnode))
}

/// Bytes that a batch holds, unless it is a single record; also the most of one commit.
pub const BATCH_BYTES: usize = 1 << 20;
/// New names that go into one record, in bytes; it may pass that by one name.
const NAMES_BYTES: usize = 64 << 10;
/// Batches' memory kept for reuse.
const SPARE_MAX: usize = 4;
/// The largest memory that is kept: a batch's, as a growing buffer gets it.
const SPARE_BYTES_MAX: usize = 2 * RECORD_BYTES_MAX;
/// The range of no vnode: the largest for the least, so that it narrows.
const NO_VNODE: (u16, u16) = (u16::MAX, 0);
/// The range of all vnodes.
#[expect(clippy::cast_possible_truncation, reason = "4,096 vnodes, asserted below")]
const ALL_VNODES: (u16, u16) = (0, (VNODES - 1) as u16);

const _: () = assert!(VNODES <= 1 << 12);
const _: () = assert!(NAMES_BYTES + NAME_BYTES_MAX + HEAD_BYTES + 64 <= RECORD_BYTES_MAX);
