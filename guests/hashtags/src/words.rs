//! Significant words, for texts without tags.
//!
//! - A word is a run of letters and digits: 3 letters at least (2 of Hangul), one of them not a
//!   digit, and no stop word. Katakana counts by the run, from 2.
//! - Han has no spaces: runs of 2 to 4 characters are taken whole, longer ones as pairs that
//!   overlap. Hiragana, Thai, Lao, Khmer and Burmese separate: cutting them takes a dictionary.
//! - No words: links (`https://…`, `www.…`), addresses (`a@b.org`), tags and entities of HTML,
//!   namespaces (`[[User:`) and names of templates (`{{cite`) of wikis.

use crate::scan::{Kind, MARK, WIDE, WORD, bits, eight, unit, wide_unit};
use crate::stop_words;
use crate::topics::Found;

/// Adds the significant words of a text.
pub(crate) fn find(text: &[u8], found: &mut Found, add: &mut impl FnMut(&[u8]) -> bool) {
    let mut marks = Marks { none_before: [0; 2] };
    let mut at = 0;
    while at < text.len() {
        let start = at;
        let of = bits(text, at);
        if of & WORD != 0 {
            at = letters_end(text, at + 1);
        } else if of & WIDE != 0 {
            let (kind, size) = wide_unit(text, at);
            at += size;
            match kind {
                Kind::Gap => continue,
                Kind::Letter => at = letters_end(text, at),
                Kind::Katakana | Kind::Han | Kind::Joined => {
                    at = run_end(text, at, kind);
                    if !add_joined(text.get(start..at).unwrap_or_default(), kind, found, add) {
                        return;
                    }
                    continue;
                }
            }
        } else {
            at = if of & MARK != 0 { marks.end(text, at) } else { at + 1 };
            continue;
        }
        match noise_end(text, start, at) {
            Some(end) => at = end,
            None => {
                if !add_word(text, start, at, found, add) {
                    return;
                }
            }
        }
    }
}

/// The end of the letters and digits that go on here.
#[inline]
fn letters_end(text: &[u8], mut at: usize) -> usize {
    loop {
        let of = bits(text, at);
        if of & WORD != 0 {
            at += 1;
        } else if of & WIDE != 0 {
            match wide_unit(text, at) {
                (Kind::Letter, size) => at += size,
                _ => return at,
            }
        } else {
            return at;
        }
    }
}

/// The end of the run of one kind that goes on here.
fn run_end(text: &[u8], mut at: usize, kind: Kind) -> usize {
    loop {
        match unit(text, at) {
            (next, size) if next == kind => at += size,
            _ => return at,
        }
    }
}

/// Tags and entities of HTML.
struct Marks {
    /// No `>`, no `;` stands between the last mark looked at and these places.
    none_before: [usize; 2],
}

impl Marks {
    /// The end of the mark that begins here, or of its first byte when it is none. Each byte is
    /// looked at once for each way that a mark may end.
    fn end(&mut self, text: &[u8], at: usize) -> usize {
        let (close, none_before) = match text.get(at) {
            Some(b'<') => (b'>', &mut self.none_before[0]),
            _ => (b';', &mut self.none_before[1]),
        };
        let next = text.get(at + 1).copied().unwrap_or(0);
        if !matches!(next, b'/' | b'!' | b'#' | b'a'..=b'z') {
            return at + 1;
        }
        let end = text.len().min(at + MARK_BYTES_MAX);
        let mut inside = (at + 1).max(*none_before);
        while inside < end {
            if text.get(inside) == Some(&close) {
                return inside + 1;
            }
            inside += 1;
        }
        *none_before = inside;
        at + 1
    }
}

/// The end of a link or an address whose first word this is.
#[inline]
fn noise_end(text: &[u8], start: usize, end: usize) -> Option<usize> {
    let is_link = match text.get(end) {
        Some(b':') => text.get(end + 1..end + 3) == Some(b"//"),
        Some(b'@') => true,
        Some(b'.') => end - start == 3 && eight(text, start) & 0xdf_dfdf == 0x57_5757,
        _ => false,
    };
    is_link.then(|| {
        let rest = text.get(end..).unwrap_or_default();
        let ends = |byte: &u8| {
            *byte <= b' ' || matches!(byte, b']' | b'|' | b'<' | b'>' | b'"' | b'{' | b'}')
        };
        rest.iter().position(ends).map_or(text.len(), |len| end + len)
    })
}

/// Adds a word if it says something. Returns whether there is room for more.
#[inline]
fn add_word(
    text: &[u8],
    start: usize,
    end: usize,
    found: &mut Found,
    add: &mut impl FnMut(&[u8]) -> bool,
) -> bool {
    let len = end - start;
    if len < 3 {
        return true;
    }
    let first = eight(text, start);
    if len > 8 {
        let Some(word) = text.get(start..end) else { return true };
        let has_letter = first & NO_DIGIT != 0 || word.iter().any(|byte| byte & 0xc0 != 0);
        return !has_letter || is_markup(text, start, end) || found.add(None, word, add);
    }
    let key = first & u64::MAX >> (64 - 8 * len);
    if key & NO_DIGIT == 0 || stop_words::has(key) || is_markup(text, start, end) {
        return true;
    }
    if key & HIGH == 0 {
        return found.add_short(stop_words::small(key), len, add);
    }
    let inside = (key >> 7 & !(key >> 6) & ONES).count_ones() as usize;
    let is_hangul = (0xea..=0xed).contains(&(key & 0xff));
    let is_long = len - inside >= if is_hangul { 2 } else { 3 };
    !is_long || found.add(None, text.get(start..end).unwrap_or_default(), add)
}

/// Whether a word is a namespace or the name of a template.
#[inline]
fn is_markup(text: &[u8], start: usize, end: usize) -> bool {
    match start.checked_sub(2).and_then(|before| text.get(before..start)) {
        Some(b"{{") => true,
        Some(b"[[") => text.get(end) == Some(&b':'),
        _ => false,
    }
}

/// Adds what a run of a script without spaces holds.
fn add_joined(
    run: &[u8],
    kind: Kind,
    found: &mut Found,
    add: &mut impl FnMut(&[u8]) -> bool,
) -> bool {
    let chars = run.iter().filter(|byte| **byte & 0xc0 != 0x80).take(5).count();
    match (kind, chars) {
        (Kind::Gap | Kind::Letter | Kind::Joined, _) | (_, 0 | 1) => return true,
        (Kind::Katakana, _) | (Kind::Han, 2..=4) => return found.add(None, run, add),
        (Kind::Han, _) => {}
    }
    let mut at = 0;
    loop {
        let middle = at + unit(run, at).1;
        let end = middle + unit(run, middle).1;
        let Some(pair) = run.get(at..end) else { return true };
        if !found.add(None, pair, add) {
            return false;
        }
        at = middle;
    }
}

/// Longest tag or entity of HTML that is skipped as one.
const MARK_BYTES_MAX: usize = 64;

const ONES: u64 = 0x0101_0101_0101_0101;

const HIGH: u64 = ONES << 7;

/// Some of it is set in every byte that is not a digit.
const NO_DIGIT: u64 = ONES * 0xc0;
