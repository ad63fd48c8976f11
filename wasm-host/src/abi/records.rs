//! `observe`: records of 16 bytes, rewritten in place.
//!
//! ```text
//!  0 base_ms u64 | 8 count u32 | 12 zero u32 | 16 records: topic u64, weight u32, offset_ms i32
//! ```

use super::{Fault, low32};
use crate::limits::RECORDS_PER_CALL_MAX;
use trendsrv_proto::limits::WEIGHT_MAX;
use trendsrv_proto::{EventRecord, TenantId, TopicId};

/// Records that fit into one call.
pub(crate) fn room(cap: usize) -> usize {
    ((cap - HEAD_BYTES) / RECORD_BYTES).min(RECORDS_PER_CALL_MAX)
}

/// Writes records; the buffer holds them ([`room`]).
#[inline]
pub(crate) fn write(buffer: &mut [u8], base_ms: u64, records: &[EventRecord]) {
    buffer[..8].copy_from_slice(&base_ms.to_le_bytes());
    buffer[8..12].copy_from_slice(&low32(records.len()).to_le_bytes());
    buffer[12..HEAD_BYTES].fill(0);
    let cells = buffer[HEAD_BYTES..].as_chunks_mut::<RECORD_BYTES>().0;
    for (cell, record) in cells.iter_mut().zip(records) {
        cell[..8].copy_from_slice(&record.topic().0.to_le_bytes());
        cell[8..12].copy_from_slice(&record.weight().to_le_bytes());
        cell[12..].copy_from_slice(&record.offset_ms().to_le_bytes());
    }
}

/// Reads what is to be counted.
///
/// # Errors
/// With a count, a weight or a time that cannot be; nothing is appended then.
#[inline]
pub(crate) fn read(
    buffer: &[u8],
    returned: i32,
    given: &[EventRecord],
    out: &mut Vec<EventRecord>,
) -> Result<(), Fault> {
    let count = returned.cast_unsigned();
    if count as usize > given.len() {
        return Err(Fault::Count { call: CALL, got: count, max: given.len() });
    }
    let cells = buffer[HEAD_BYTES..].as_chunks::<RECORD_BYTES>().0;
    let fields = |cell: &[u8; RECORD_BYTES]| {
        let number =
            |at: usize| u32::from_le_bytes([cell[at], cell[at + 1], cell[at + 2], cell[at + 3]]);
        let topic = u64::from(number(0)) | u64::from(number(4)) << 32;
        (TopicId(topic), number(8), number(12).cast_signed())
    };
    take(cells.iter().take(count as usize).map(fields), given, out)
}

/// Takes what is to be counted: topic, weight and time of each.
///
/// # Errors
/// With a count, a weight or a time that cannot be; nothing is appended then.
#[inline]
pub(crate) fn take(
    events: impl ExactSizeIterator<Item = (TopicId, u32, i32)>,
    given: &[EventRecord],
    out: &mut Vec<EventRecord>,
) -> Result<(), Fault> {
    if events.len() > given.len() {
        return Err(Fault::Count { call: CALL, got: low32(events.len()), max: given.len() });
    }
    let Some(first) = given.first() else { return Ok(()) };
    let tenant: TenantId = first.tenant();
    let (mut least, mut most) = (first.offset_ms(), first.offset_ms());
    for record in given {
        least = least.min(record.offset_ms());
        most = most.max(record.offset_ms());
    }
    let begun = out.len();
    for (entry, (topic, weight, offset_ms)) in events.enumerate() {
        let wrong = if weight > WEIGHT_MAX {
            Some(("weight", i64::from(weight)))
        } else if !(least..=most).contains(&offset_ms) {
            Some(("offset_ms", i64::from(offset_ms)))
        } else {
            None
        };
        if let Some((what, got)) = wrong {
            out.truncate(begun);
            return Err(Fault::Field { call: CALL, what, entry, got });
        }
        if weight > 0 {
            out.push(EventRecord::new(tenant, topic, weight, offset_ms));
        }
    }
    Ok(())
}

const CALL: &str = "observe";
const HEAD_BYTES: usize = 16;
const RECORD_BYTES: usize = 16;
