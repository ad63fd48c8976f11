//! Times at the beginning of a line, which loggers put there and which say nothing about its kind.
//!
//! ```text
//! 2015-09-12T10:00:01.123Z   2015/09/12 10:00:01,5   12/Sep/2015:10:00:01 +0000   10:00:01
//! Sep 12 10:00:01   Sat, 12 Sep 2015 10:00:01   1442016000.5   each in [ ] or not; <34> before it
//! ```

use crate::bytes::{DIGIT, LETTER, SPACE, TOKEN, bits, run_end};

/// Where the line begins behind its times.
pub(crate) fn end(line: &[u8]) -> usize {
    let mut at = priority_end(line, run_end(line, 0, SPACE));
    // A date, a time and a zone, each perhaps in its own token, and one repetition.
    for _ in 0..PARTS_MAX {
        match part_end(line, at) {
            Some(end) => at = run_end(line, end, SPACE),
            None => break,
        }
    }
    at
}

/// The `<34>` of syslog, with the version that may follow.
fn priority_end(line: &[u8], at: usize) -> usize {
    let digits = run_end(line, at + 1, DIGIT);
    let is_priority = line.get(at) == Some(&b'<')
        && (2..=4).contains(&(digits - at))
        && line.get(digits) == Some(&b'>');
    if !is_priority {
        return at;
    }
    let version = run_end(line, digits + 1, DIGIT);
    if line.get(version) == Some(&b' ') { version + 1 } else { digits + 1 }
}

/// The end of one part of a time: a token of it, with its brackets and what follows it.
fn part_end(line: &[u8], at: usize) -> Option<usize> {
    let open = usize::from(line.get(at) == Some(&b'['));
    let mut end = at + open;
    if open == 1 {
        // A bracket holds a time altogether or not at all.
        while line.get(end) != Some(&b']') {
            end = run_end(line, token_end(line, end)?, SPACE);
        }
        return Some(end + 1);
    }
    end = token_end(line, end)?;
    let is_end = end == line.len() || bits(line, end) & SPACE != 0;
    let is_comma = line.get(end) == Some(&b',') && bits(line, end + 1) & SPACE != 0;
    (is_end || is_comma).then_some(end + usize::from(is_comma))
}

/// The end of a token that only times have.
fn token_end(line: &[u8], at: usize) -> Option<usize> {
    if bits(line, at) & LETTER != 0 {
        return named_end(line, at);
    }
    let signed = at + usize::from(matches!(line.get(at), Some(b'+' | b'-')));
    let first = run_end(line, signed, DIGIT);
    if signed > at {
        // A zone: +0000, +00:00.
        let colon = usize::from(line.get(first) == Some(&b':'));
        let end = run_end(line, first + colon, DIGIT);
        return (end - signed - colon == 4).then_some(end);
    }
    match (first - at, line.get(first)) {
        (1 | 2, Some(b':')) => clock_end(line, at),
        (4, Some(b'-' | b'/')) | (1 | 2, Some(b'/' | b'-' | b'.')) => date_end(line, at),
        (1 | 2, Some(b' ')) => day_first_end(line, first + 1),
        // Seconds or milliseconds since 1970.
        (10..=19, _) => Some(fraction_end(line, first)),
        _ => None,
    }
}

/// The end of a month and a year behind a day: `12 Sep 2015`.
fn day_first_end(line: &[u8], month: usize) -> Option<usize> {
    let year = month + 4;
    let end = run_end(line, year, DIGIT);
    let is_date = is_one_of(line.get(month..month + 3)?, MONTHS)
        && bits(line, month + 3) & SPACE != 0
        && end - year == 4;
    is_date.then_some(end)
}

/// The end of `Sat`, `Sat,`, `Sep 12`, `Sep 12 2015`, `Sep 12 10:00:01 2015`, `UTC`.
fn named_end(line: &[u8], at: usize) -> Option<usize> {
    let end = run_end(line, at, TOKEN);
    let name = line.get(at..end)?;
    if name == b"UTC" || name == b"GMT" {
        return Some(end);
    }
    let digits = run_end(line, end, SPACE);
    if is_one_of(name, MONTHS) {
        let day = run_end(line, digits, DIGIT);
        let next = run_end(line, day, SPACE);
        let clock = clock_end(line, next).unwrap_or(day);
        return (1..=2).contains(&(day - digits)).then(|| year_end(line, clock));
    }
    // The name of a day needs a date behind it: "Sun" begins sentences, too.
    let comma = usize::from(line.get(end) == Some(&b','));
    let next = run_end(line, end + comma, SPACE);
    let has_date = bits(line, next) & DIGIT != 0 || is_one_of(line.get(next..next + 3)?, MONTHS);
    (is_one_of(name, DAYS) && has_date).then_some(end + comma)
}

/// The end of a year behind a day or a clock.
fn year_end(line: &[u8], before: usize) -> usize {
    let start = run_end(line, before, SPACE);
    let end = run_end(line, start, DIGIT);
    let is_year = start > before && end - start == 4 && bits(line, end) & !SPACE == 0;
    if is_year { end } else { before }
}

/// The end of `10:00`, `10:00:01`, `10:00:01.123`, with a zone or without.
fn clock_end(line: &[u8], at: usize) -> Option<usize> {
    let mut end = run_end(line, at, DIGIT);
    let mut parts = 0;
    while line.get(end) == Some(&b':') && run_end(line, end + 1, DIGIT) == end + 3 {
        end += 3;
        parts += 1;
    }
    if !(1..=2).contains(&parts) {
        return None;
    }
    end = fraction_end(line, end);
    match line.get(end) {
        Some(b'Z') => Some(end + 1),
        Some(b'+' | b'-') => token_end(line, end),
        Some(b':') => None,
        _ => Some(end),
    }
}

/// The end of `2015-09-12`, `2015/09/12`, `12/Sep/2015`, `12.09.2015`, and of a clock joined to it.
fn date_end(line: &[u8], at: usize) -> Option<usize> {
    let joint = *line.get(run_end(line, at, DIGIT))?;
    let mut end = at;
    for part in 0..3 {
        let start = end;
        end = run_end(line, start, DIGIT);
        if end == start && part == 1 {
            end = run_end(line, start, LETTER);
            if !is_one_of(line.get(start..end)?, MONTHS) {
                return None;
            }
        }
        if !matches!(end - start, 1..=4) {
            return None;
        }
        if part < 2 {
            if line.get(end) != Some(&joint) {
                return None;
            }
            end += 1;
        }
    }
    match line.get(end) {
        Some(b'T' | b't' | b':' | b'_') if bits(line, end + 1) & DIGIT != 0 => {
            clock_end(line, end + 1)
        }
        Some(b'.' | b'-' | b'/') => None,
        _ => Some(end),
    }
}

/// The end of a fraction of a second, if one begins here.
fn fraction_end(line: &[u8], at: usize) -> usize {
    let digits = run_end(line, at + 1, DIGIT);
    let is_fraction = matches!(line.get(at), Some(b'.' | b',')) && digits > at + 1;
    if is_fraction { digits } else { at }
}

/// Whether a name is one of the three-letter names, which are written one behind the other.
fn is_one_of(name: &[u8], names: &[u8]) -> bool {
    name.len() == 3 && names.chunks_exact(3).any(|one| one.eq_ignore_ascii_case(name))
}

/// Most parts of the times of a line.
const PARTS_MAX: usize = 4;

const MONTHS: &[u8] = b"JanFebMarAprMayJunJulAugSepOctNovDec";

const DAYS: &[u8] = b"MonTueWedThuFriSatSun";
