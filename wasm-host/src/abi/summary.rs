//! `summarise`: a view in, a ranking and a line of text out behind it.
//!
//! ```text
//!  0 as_of_ms u64 | 8 total u64 | 16 events u64 | 24 distinct u32 | 28 count u32
//! 32 window_ms u32 | 36 recent_ms u32 | 40 flags u32 | 44 out u32 | 48 rows
//! out ranked u16 | tldr_len u16 | ranked x index u16 | tldr
//! ```

use super::{Fault, Pen, at, low32, u16_at};
use trendsrv_proto::find_control;
use trendsrv_proto::limits::TLDR_BYTES_MAX;
use trendsrv_shard::{Summary, Told};

/// Spans that a program is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spans {
    pub(crate) window_ms: u32,
    pub(crate) recent_ms: u32,
}

/// What was written: how many rows, and where the output begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Written {
    pub(crate) rows: usize,
    pub(crate) out: usize,
}

/// Writes as many rows as fit beside the largest output.
pub(crate) fn write(buffer: &mut [u8], ask: &Summary<'_>, spans: Spans) -> Written {
    let view = ask.view;
    let shown = ask.shown.min(view.ranked()).min(SHOWN_MAX);
    let end = buffer.len() - OUTPUT_BYTES_MIN.min(buffer.len() / 2);
    let mut pen = Pen { buffer, at: HEAD_BYTES };
    let mut rows = 0;
    // One behind the other the misses of a large table of names overlap; between the rows each
    // would be waited for alone.
    let mut names = [""; SHOWN_MAX];
    for (name, topic) in names.iter_mut().zip(view.topics().iter().take(shown)) {
        *name = (ask.name)(topic.topic);
    }
    for (topic, name) in view.topics().iter().zip(names).take(shown) {
        let sample = (ask.sample)(topic.topic);
        let bare = ROW_BYTES + name.len();
        let sample = &sample[..sample.floor_char_boundary(SAMPLE_BYTES_MAX)];
        let sample = if pen.at + bare + sample.len() + 8 <= end { sample } else { "" };
        let size = (bare + sample.len()).next_multiple_of(8);
        if pen.at + size + 2 * (rows + 1) > end {
            break;
        }
        let mut row = [0_u8; ROW_BYTES];
        row[..8].copy_from_slice(&topic.topic.0.to_le_bytes());
        row[8..16].copy_from_slice(&topic.total.to_le_bytes());
        row[16..24].copy_from_slice(&topic.high.to_le_bytes());
        row[24..32].copy_from_slice(&topic.recent.to_le_bytes());
        row[32..40].copy_from_slice(&topic.velocity_milli.to_le_bytes());
        row[40..48].copy_from_slice(&topic.score_milli.to_le_bytes());
        row[48] = topic.trend as u8;
        row[49] = u8::try_from(name.len()).unwrap_or(u8::MAX);
        row[50..52].copy_from_slice(&u16::try_from(sample.len()).unwrap_or(0).to_le_bytes());
        row[52..56].copy_from_slice(&low32(size).to_le_bytes());
        pen.put(&row);
        pen.put(name.as_bytes());
        pen.put(sample.as_bytes());
        pen.pad();
        rows += 1;
    }
    let out = pen.at;
    let flags = u32::from(view.exact()) | u32::from(ask.asked) << 1;
    pen.at = 0;
    pen.put(&ask.as_of_ms.to_le_bytes());
    pen.put(&view.total().to_le_bytes());
    pen.put(&view.events().to_le_bytes());
    for field in [low32(view.distinct()), low32(rows), spans.window_ms, spans.recent_ms, flags] {
        pen.put(&field.to_le_bytes());
    }
    pen.put(&low32(out).to_le_bytes());
    // What the last call left must not pass for an output of this one.
    pen.at = out;
    pen.put(&[0xff, 0xff, 0, 0]);
    Written { rows, out }
}

/// Reads the ranking and the line.
///
/// # Errors
/// With an output that cannot be; `told` may be half filled then.
pub(crate) fn read(
    buffer: &[u8],
    returned: i32,
    written: Written,
    told: &mut Told,
) -> Result<(), Fault> {
    if returned != 0 {
        return Err(Fault::Reported { call: CALL, code: returned });
    }
    let outside = || Fault::Outside { call: CALL, entry: 0 };
    let ranked = u16_at(buffer, written.out).ok_or_else(outside)?;
    let tldr_len = usize::from(u16_at(buffer, written.out + 2).ok_or_else(outside)?);
    let mut start = written.out + 4;
    if ranked == AS_GIVEN {
        told.ranking = None;
    } else {
        if usize::from(ranked) > written.rows {
            return Err(Fault::Count { call: CALL, got: u32::from(ranked), max: written.rows });
        }
        let order = told.ranking.get_or_insert_default();
        order.clear();
        for entry in 0..usize::from(ranked) {
            let index = u16_at(buffer, start).ok_or(Fault::Outside { call: CALL, entry })?;
            check_place(order, entry, index, written.rows)?;
            order.push(index);
            start += 2;
        }
    }
    if tldr_len > TLDR_BYTES_MAX {
        return Err(TLDR_TOO_LONG);
    }
    let bytes = at(buffer, start, tldr_len).ok_or_else(outside)?;
    let text = core::str::from_utf8(bytes).map_err(|_| Fault::Tldr("is not UTF-8"))?;
    check_line(text)?;
    told.tldr.clear();
    told.tldr.push_str(text);
    Ok(())
}

/// Checks a whole ranking of so many rows.
///
/// # Errors
/// With the first place that cannot be.
pub(crate) fn check_ranking(ranking: &[u16], rows: usize) -> Result<(), Fault> {
    if ranking.len() > rows {
        return Err(Fault::Count { call: CALL, got: low32(ranking.len()), max: rows });
    }
    for (entry, &index) in ranking.iter().enumerate() {
        check_place(&ranking[..entry], entry, index, rows)?;
    }
    Ok(())
}

/// Checks the TL;DR.
///
/// # Errors
/// When it is too long or holds what a line must not.
pub(crate) fn check_line(text: &str) -> Result<(), Fault> {
    if text.len() > TLDR_BYTES_MAX {
        return Err(TLDR_TOO_LONG);
    }
    if find_control(text).is_some() {
        return Err(Fault::Tldr("holds a control character"));
    }
    Ok(())
}

fn check_place(before: &[u16], entry: usize, index: u16, rows: usize) -> Result<(), Fault> {
    if usize::from(index) >= rows || before.contains(&index) {
        return Err(Fault::Field { call: CALL, what: "index", entry, got: i64::from(index) });
    }
    Ok(())
}

const TLDR_TOO_LONG: Fault = Fault::Tldr("is longer than 512 bytes");

const CALL: &str = "summarise";
const AS_GIVEN: u16 = 0xffff;
const HEAD_BYTES: usize = 48;
const ROW_BYTES: usize = 56;
/// Bytes of a message shown.
pub(crate) const SAMPLE_BYTES_MAX: usize = 160;
const SHOWN_MAX: usize = trendsrv_shard::limits::PROGRAM_TOPICS_MAX;
/// Room kept for the output: the longest line, and its head.
const OUTPUT_BYTES_MIN: usize = 4 + TLDR_BYTES_MAX;
