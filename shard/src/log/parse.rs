//! Reading records back: bytes of a disk, which may be anything.

use super::record::{
    CRC_AT, Expect, HEAD_BYTES, HeadBytes, LoggedNames, LoggedPart, LoggedTexts, NAMED, NAMES,
    NamesHead, PART, PartHead, RECORD_ALIGN, RECORD_BYTES_MAX, Record, RecordHead, read_name,
    read_text,
};
use crate::limits::SEQ_MAX;
use thiserror::Error;
use trendsrv_proto::limits::{TIME_MS_MAX, WEIGHT_MAX};
use trendsrv_proto::{EventRecord, Span, check_name, check_text};
use zerocopy::FromBytes;

/// What lies where the next record should be.
#[derive(Clone, Copy, Debug)]
pub enum Parsed<'a> {
    /// The record.
    Record(RecordHead, Record<'a>),
    /// A length of zero, or no bytes: the rest of the block is padding.
    Padding,
    /// Something else.
    Bad(BadRecord),
}

/// Why bytes are not the record that should be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BadRecord {
    /// The bytes end within the record.
    #[error("the record needs {need} bytes and {have} are left")]
    Short {
        /// Bytes of the record.
        need: usize,
        /// Bytes there are.
        have: usize,
    },
    /// A length that no record has.
    #[error(
        "length {0}; {HEAD_BYTES} to {RECORD_BYTES_MAX} in steps of {RECORD_ALIGN} are possible"
    )]
    Length(u32),
    /// The bytes are not those that were written.
    #[error("the record's checksum is {stored:#010x}, its bytes give {computed:#010x}")]
    Crc {
        /// The checksum it carries.
        stored: u32,
        /// The checksum of its bytes.
        computed: u32,
    },
    /// A sound record of another generation of the vnode map.
    #[error("the record is of generation {got}, not {want}")]
    Generation {
        /// Its generation.
        got: u32,
        /// The log's.
        want: u32,
    },
    /// A sound record with another number.
    #[error("the record is number {got}, not {want}")]
    Lsn {
        /// Its number.
        got: u64,
        /// The number expected.
        want: u64,
    },
    /// A sound record behind another one than the record before.
    #[error("the record follows one with checksum {got:#010x}, the one before has {want:#010x}")]
    Chain {
        /// The checksum of its forerunner.
        got: u32,
        /// The checksum of the record before.
        want: u32,
    },
    /// A sound checksum over what no version of this format writes.
    #[error("the record's {0} is not what this version writes")]
    Payload(&'static str),
}

/// Reads the record at the start of `bytes`, which must be the one expected.
#[must_use]
pub fn parse<'a>(bytes: &'a [u8], expect: &Expect) -> Parsed<'a> {
    match first_len(bytes) {
        Ok(0) => return Parsed::Padding,
        Ok(_) => {}
        Err(bad) => return Parsed::Bad(bad),
    }
    let read = read_head(bytes).and_then(|head| {
        follows(&head, expect)?;
        let payload = &bytes[HEAD_BYTES..head.len];
        let record = match head.kind {
            PART => Record::Part(read_part(payload)?),
            NAMES => Record::Names(read_names(payload)?),
            _ => return Err(BadRecord::Payload("kind")),
        };
        Ok((head, record))
    });
    match read {
        Ok((head, record)) => Parsed::Record(head, record),
        Err(bad) => Parsed::Bad(bad),
    }
}

/// The head of a sound record of this generation at the start of `bytes`, whatever its number.
#[must_use]
pub fn peek(bytes: &[u8], generation: u32) -> Option<RecordHead> {
    read_head(bytes).ok().filter(|head| head.generation == generation)
}

/// The length that stands first, 0 where nothing does.
fn first_len(bytes: &[u8]) -> Result<u32, BadRecord> {
    match bytes.first_chunk::<4>() {
        Some(len) => Ok(u32::from_le_bytes(*len)),
        None if bytes.is_empty() => Ok(0),
        None => Err(BadRecord::Short { need: HEAD_BYTES, have: bytes.len() }),
    }
}

/// A head whose record has the checksum it carries.
fn read_head(bytes: &[u8]) -> Result<RecordHead, BadRecord> {
    let (have, announced) = (bytes.len(), first_len(bytes)?);
    let need = announced as usize;
    if !(HEAD_BYTES..=RECORD_BYTES_MAX).contains(&need) || !need.is_multiple_of(RECORD_ALIGN) {
        return Err(BadRecord::Length(announced));
    }
    let Some(whole) = bytes.get(..need) else { return Err(BadRecord::Short { need, have }) };
    let Ok((head, _)) = HeadBytes::ref_from_prefix(whole) else {
        return Err(BadRecord::Short { need, have });
    };
    let (stored, computed) = (head.crc.get(), crc_of(whole));
    if stored != computed {
        return Err(BadRecord::Crc { stored, computed });
    }
    if head.zero != 0 || head.zero_too.get() != 0 {
        return Err(BadRecord::Payload("reserved field"));
    }
    if head.ingest_ms.get() > TIME_MS_MAX {
        return Err(BadRecord::Payload("ingest time"));
    }
    Ok(RecordHead {
        len: need,
        kind: head.kind,
        vnodes: (head.vnode_low.get(), head.vnode_high.get()),
        generation: head.generation.get(),
        lsn: head.lsn.get(),
        ingest_ms: head.ingest_ms.get(),
        durable: head.durable.get(),
        prev_crc: head.prev_crc.get(),
        crc: stored,
    })
}

/// The checksum of a record, with its own field as zero.
fn crc_of(record: &[u8]) -> u32 {
    let (before, rest) = record.split_at(CRC_AT);
    let crc = crc32c::crc32c_append(crc32c::crc32c(before), &[0; 4]);
    crc32c::crc32c_append(crc, &rest[4..])
}

fn follows(head: &RecordHead, expect: &Expect) -> Result<(), BadRecord> {
    if head.generation != expect.generation {
        return Err(BadRecord::Generation { got: head.generation, want: expect.generation });
    }
    if head.lsn != expect.lsn {
        return Err(BadRecord::Lsn { got: head.lsn, want: expect.lsn });
    }
    if head.prev_crc != expect.prev_crc {
        return Err(BadRecord::Chain { got: head.prev_crc, want: expect.prev_crc });
    }
    Ok(())
}

fn read_part(payload: &[u8]) -> Result<LoggedPart<'_>, BadRecord> {
    let bad = BadRecord::Payload;
    let (head, rest) = PartHead::ref_from_prefix(payload).map_err(|_| bad("length"))?;
    if head.flags.get() & !NAMED != 0 {
        return Err(bad("set of flags"));
    }
    let base_ms = head.base_ms.get();
    let span = Span { min_ms: head.span_min_ms.get(), max_ms: head.span_max_ms.get() };
    if base_ms > TIME_MS_MAX || span.max_ms > TIME_MS_MAX || span.min_ms > span.max_ms {
        return Err(bad("time"));
    }
    let sequence = head.sequence();
    if sequence.is_some_and(|at| !(1..=SEQ_MAX).contains(&at.seq)) {
        return Err(bad("frame number"));
    }
    let (records, rest) =
        <[EventRecord]>::ref_from_prefix_with_elems(rest, head.records.get() as usize)
            .map_err(|_| bad("count of events"))?;
    let fits = |weight: u32, offset_ms: i32| {
        let time_ms = base_ms.checked_add_signed(i64::from(offset_ms));
        weight.wrapping_sub(1) < WEIGHT_MAX
            && time_ms.is_some_and(|ms| (span.min_ms..=span.max_ms).contains(&ms))
    };
    if !records.iter().all(|record| fits(record.weight(), record.offset_ms())) {
        return Err(bad("event"));
    }
    let (count, mut behind) = (head.texts.get(), rest);
    for _ in 0..count {
        let (text, next) = read_text(behind).ok_or(bad("text"))?;
        if check_text(text.text.as_bytes()).is_err() || !fits(text.weight, text.offset_ms) {
            return Err(bad("text"));
        }
        behind = next;
    }
    padding(behind)?;
    let texts = LoggedTexts { count, entries: &rest[..rest.len() - behind.len()] };
    Ok(LoggedPart { sequence, base_ms, span, records, texts })
}

fn read_names(payload: &[u8]) -> Result<LoggedNames<'_>, BadRecord> {
    let bad = BadRecord::Payload;
    let (head, rest) = NamesHead::ref_from_prefix(payload).map_err(|_| bad("length"))?;
    if head.zero.get() != 0 {
        return Err(bad("reserved field"));
    }
    let (count, mut behind) = (head.entries.get(), rest);
    for _ in 0..count {
        let ((_, _, name), next) = read_name(behind).ok_or(bad("name"))?;
        check_name(name.as_bytes()).map_err(|_| bad("name"))?;
        behind = next;
    }
    padding(behind)?;
    Ok(LoggedNames { count, entries: &rest[..rest.len() - behind.len()] })
}

fn padding(behind: &[u8]) -> Result<(), BadRecord> {
    let sound = behind.len() < RECORD_ALIGN && behind.iter().all(|byte| *byte == 0);
    if sound { Ok(()) } else { Err(BadRecord::Payload("length")) }
}
