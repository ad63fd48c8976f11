//! One form for all cases of a word.
//!
//! Folds ASCII, Latin (Latin-1, Extended-A, the paired letters of Extended-B, Extended Additional),
//! Greek (final sigma as sigma, accented capitals of Greek Extended), Cyrillic, Armenian and the
//! Latin letters of full width. Letters of other scripts have one case, or stay as they are
//! (Georgian, Cherokee, Deseret, …). Nothing is normalised: an accent written as a letter of its
//! own stays one.
//!
//! Two letters keep their capitals, because their small forms take other numbers of bytes: `İ`, `ẞ`.
//!
//! Invariant: the folded form is as long as what it was made of.

use crate::scan::eight;

/// Writes the folded form of `name` at `to`, with up to 7 bytes of anything behind it.
pub(crate) fn write(name: &[u8], out: &mut [u8], to: usize) {
    let mut wide = 0;
    let mut at = 0;
    while at < name.len() {
        let bytes = eight(name, at);
        wide |= bytes;
        if let Some(chunk) = out.get_mut(to + at..).and_then(|rest| rest.first_chunk_mut()) {
            *chunk = lower_ascii(bytes).to_le_bytes();
        }
        at += 8;
    }
    if wide & HIGH != 0
        && let Some(written) = out.get_mut(to..to + name.len())
    {
        fold_wide(written);
    }
}

/// Folds what is not ASCII.
fn fold_wide(bytes: &mut [u8]) {
    let mut at = 0;
    while let Some(first) = bytes.get(at) {
        match *first {
            0xc3..=0xd5 => {
                if let Some(pair) = bytes.get_mut(at..).and_then(|rest| rest.first_chunk_mut()) {
                    let place = usize::from(pair[0] - 0xc3) << 6 | usize::from(pair[1] & 0x3f);
                    *pair = PAIRS.get(place).copied().unwrap_or(*pair);
                }
                at += 2;
            }
            0xe1 | 0xef => {
                if let Some(three) = bytes.get_mut(at..).and_then(|rest| rest.first_chunk_mut()) {
                    *three = fold_three(*three);
                }
                at += 3;
            }
            0xd6..=0xdf => at += 2,
            0xe0..=0xee => at += 3,
            0xf0..=0xff => at += 4,
            _ => at += 1,
        }
    }
}

fn fold_three([first, second, third]: [u8; 3]) -> [u8; 3] {
    let [one, two, three] = [first & 0xf, second & 0x3f, third & 0x3f].map(u32::from);
    let c = fold(one << 12 | two << 6 | three);
    let low = |bits: u32| bits.to_le_bytes()[0] & 0x3f;
    [0xe0 | low(c >> 12), 0x80 | low(c >> 6), 0x80 | low(c)]
}

/// The folded forms of `U+00C0` to `U+057F` in UTF-8.
static PAIRS: [[u8; 2]; 0x580 - 0xc0] = {
    let mut pairs = [[0; 2]; 0x580 - 0xc0];
    let mut c = 0xc0;
    while c < 0x580 {
        let folded = fold(c);
        let (high, low) = ((folded >> 6).to_le_bytes(), (folded & 0x3f).to_le_bytes());
        pairs[(c - 0xc0) as usize] = [0xc0 | high[0], 0x80 | low[0]];
        c += 1;
    }
    pairs
};

/// Eight bytes with the capitals of ASCII made small.
#[inline]
fn lower_ascii(bytes: u64) -> u64 {
    let low = bytes & !HIGH;
    let from_a = low + ONES * (0x80 - 0x41);
    let after_z = low + ONES * (0x7f - 0x5a);
    bytes | ((from_a & !after_z & !bytes & HIGH) >> 2)
}

/// The folded form of a character.
const fn fold(c: u32) -> u32 {
    match c {
        0x430..=0x45f => c,
        0x410..=0x42f => c + 32,
        0x400..=0x40f => c + 80,
        0xc0..=0xde if c != 0xd7 => c + 32,
        0xdf..=0xff => c,
        0x130 => c,
        0x178 => 0xff,
        0x100..=0x137 | 0x14a..=0x177 | 0x1a0..=0x1a5 | 0x1de..=0x1ef => even(c),
        0x1f8..=0x21f | 0x222..=0x233 | 0x246..=0x24f => even(c),
        0x139..=0x148 | 0x179..=0x17e | 0x1cd..=0x1dc => odd(c),
        0x386 => 0x3ac,
        0x388..=0x38a => c + 37,
        0x38c => 0x3cc,
        0x38e | 0x38f => c + 63,
        0x391..=0x3ab if c != 0x3a2 => c + 32,
        0x3c2 => 0x3c3,
        0x3d8..=0x3ef | 0x460..=0x481 | 0x48a..=0x4bf | 0x4d0..=0x52f => even(c),
        0x4c0 => 0x4cf,
        0x4c1..=0x4ce => odd(c),
        0x531..=0x556 => c + 48,
        0x1e00..=0x1e95 | 0x1ea0..=0x1eff => even(c),
        0x1f00..=0x1f6f => greek_extended(c),
        0xff21..=0xff3a => c + 32,
        _ => c,
    }
}

/// Capitals are the even ones of pairs.
const fn even(c: u32) -> u32 {
    c | 1
}

/// Capitals are the odd ones of pairs.
const fn odd(c: u32) -> u32 {
    c + (c & 1)
}

/// Rows of eight small letters, each followed by its capitals.
const fn greek_extended(c: u32) -> u32 {
    let is_letter = match c {
        0x1f58..=0x1f5f => c & 1 == 1,
        0x1f18..=0x1f1f | 0x1f48..=0x1f4f => c & 7 < 6,
        _ => true,
    };
    if c & 8 != 0 && is_letter { c - 8 } else { c }
}

const ONES: u64 = 0x0101_0101_0101_0101;

const HIGH: u64 = ONES << 7;

#[cfg(test)]
mod tests {
    use super::*;

    fn folded(c: char) -> char {
        let mut name = [0; 4];
        let name = c.encode_utf8(&mut name).as_bytes();
        let mut out = [0; 12];
        write(name, &mut out, 0);
        let text = core::str::from_utf8(&out[..name.len()]).unwrap();
        text.chars().next().unwrap()
    }

    /// The small form, if it is one character of as many bytes.
    fn small_form(c: char) -> Option<char> {
        let mut small = c.to_lowercase();
        small.next().filter(|small| small.len_utf8() == c.len_utf8())
    }

    #[test]
    fn covered_letters_fold_as_unicode_says() {
        for c in COVERED.into_iter().flatten().filter(|c| *c != 'ς') {
            assert_eq!(folded(c), small_form(c).unwrap_or(c), "U+{:04X}", u32::from(c));
        }
        assert_eq!(folded('ς'), 'σ');
    }

    #[test]
    fn other_letters_fold_as_unicode_says_or_stay() {
        for c in ('\0'..=char::MAX).filter(|c| *c != 'ς') {
            let folded = folded(c);
            assert!(folded == c || Some(folded) == small_form(c), "U+{:04X}", u32::from(c));
        }
    }

    /// Latin, Greek, Cyrillic, Armenian, and the forms of full width.
    const COVERED: [core::ops::RangeInclusive<char>; 12] = [
        '\0'..='\u{17f}',
        '\u{1cd}'..='\u{1ef}',
        '\u{1f8}'..='\u{21f}',
        '\u{222}'..='\u{233}',
        '\u{246}'..='\u{24f}',
        '\u{377}'..='\u{37e}',
        '\u{384}'..='\u{3ce}',
        '\u{3d8}'..='\u{3ef}',
        '\u{400}'..='\u{530}',
        '\u{531}'..='\u{556}',
        '\u{1e00}'..='\u{1f6f}',
        '\u{ff21}'..='\u{ff3a}',
    ];
}
