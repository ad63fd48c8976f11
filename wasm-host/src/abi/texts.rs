//! `observe_text`: texts in, topics out behind them.
//!
//! ```text
//!  0 base_ms u64 | 8 count u32 | 12 out u32 | 16 texts: len u32, weight u32, offset_ms i32, zero u32, text
//!  out           topics: index u16, len u16, weight u32, name                    (each padded to 8)
//! ```

use super::{Fault, Pen, at, low32, u16_at, u32_at};
use crate::limits::{
    FUEL_CALL_MAX, FUEL_TEXT_BYTE, TEXT_OUTPUT_BYTES, TEXTS_PER_CALL_MAX, TOPICS_PER_TEXT_MAX,
};
use trendsrv_proto::check_name;
use trendsrv_proto::limits::WEIGHT_MAX;
use trendsrv_shard::Text;

/// What was written: how many texts, and where the output begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Written {
    pub(crate) texts: usize,
    pub(crate) out: usize,
}

impl Written {
    /// The fuel of a call with these texts.
    pub(crate) const fn fuel(self) -> u64 {
        FUEL_CALL_MAX + self.out as u64 * FUEL_TEXT_BYTE
    }
}

/// Writes as many texts as half of the buffer holds and leave room for their topics, at least one;
/// one too long for half of the buffer is cut.
pub(crate) fn write(buffer: &mut [u8], base_ms: u64, texts: &[Text<'_>]) -> Written {
    let half = buffer.len() / 2 / 8 * 8;
    let mut pen = Pen { buffer, at: HEAD_BYTES };
    let mut count = 0;
    for text in texts.iter().take(TEXTS_PER_CALL_MAX) {
        let room = (half - pen.at).saturating_sub(TEXT_HEAD_BYTES);
        let behind = (pen.at + TEXT_HEAD_BYTES + text.text.len()).next_multiple_of(8);
        let topics = (count + 1) * TEXT_OUTPUT_BYTES;
        if count > 0 && (text.text.len() > room || behind + topics > pen.buffer.len()) {
            break;
        }
        let bytes = &text.text.as_bytes()[..text.text.floor_char_boundary(room)];
        pen.put(&low32(bytes.len()).to_le_bytes());
        pen.put(&text.weight.to_le_bytes());
        pen.put(&text.offset_ms.to_le_bytes());
        pen.put(&[0; 4]);
        pen.put(bytes);
        pen.pad();
        count += 1;
        if half - pen.at < TEXT_HEAD_BYTES {
            break;
        }
    }
    let out = pen.at;
    pen.at = 0;
    pen.put(&base_ms.to_le_bytes());
    pen.put(&low32(count).to_le_bytes());
    pen.put(&low32(out).to_le_bytes());
    Written { texts: count, out }
}

/// Reads the topics found: `found(index, weight, name)`, everything checked.
///
/// # Errors
/// With an entry that cannot be; topics before it have been told, so call it with a first pass that
/// only checks.
pub(crate) fn read<'a>(
    buffer: &'a [u8],
    returned: i32,
    written: Written,
    mut found: impl FnMut(usize, u32, &'a str),
) -> Result<(), Fault> {
    let count = returned.cast_unsigned();
    let mut checks = Checks::new(written.texts, count as usize)?;
    let mut start = written.out;
    for entry in 0..count as usize {
        let outside = || Fault::Outside { call: CALL, entry };
        let index = u16_at(buffer, start).ok_or_else(outside)?;
        let len = usize::from(u16_at(buffer, start + 2).ok_or_else(outside)?);
        let weight = u32_at(buffer, start + 4).ok_or_else(outside)?;
        let name = at(buffer, start + 8, len).ok_or_else(outside)?;
        let name = checks.entry(entry, index, weight, name)?;
        found(usize::from(index), weight, name);
        start = (start + 8 + len).next_multiple_of(8);
    }
    Ok(())
}

/// The checks of the topics of one call.
pub(crate) struct Checks {
    texts: usize,
    per_text: [usize; TEXTS_PER_CALL_MAX],
}

impl Checks {
    /// Checks of so many topics of so many texts.
    ///
    /// # Errors
    /// When there are too many.
    pub(crate) fn new(texts: usize, count: usize) -> Result<Self, Fault> {
        let max = texts * TOPICS_PER_TEXT_MAX;
        if count > max {
            return Err(Fault::Count { call: CALL, got: low32(count), max });
        }
        Ok(Self { texts, per_text: [0; TEXTS_PER_CALL_MAX] })
    }

    /// Checks the next topic; returns its name.
    ///
    /// # Errors
    /// With the field that cannot be.
    pub(crate) fn entry<'a>(
        &mut self,
        entry: usize,
        index: u16,
        weight: u32,
        name: &'a [u8],
    ) -> Result<&'a str, Fault> {
        let field = |what, got| Fault::Field { call: CALL, what, entry, got };
        if usize::from(index) >= self.texts {
            return Err(field("index", i64::from(index)));
        }
        if !(1..=WEIGHT_MAX).contains(&weight) {
            return Err(field("weight", i64::from(weight)));
        }
        let of_text = &mut self.per_text[usize::from(index)];
        *of_text += 1;
        if *of_text > TOPICS_PER_TEXT_MAX {
            return Err(field("index", i64::from(index)));
        }
        check_name(name).map_err(|source| Fault::Name { entry, source })
    }
}

const CALL: &str = "observe_text";
const HEAD_BYTES: usize = 16;
const TEXT_HEAD_BYTES: usize = 16;
