//! What a byte of UTF-8 begins: enough of Unicode to tell letters from what is between them.
//!
//! Owns three tables, made from the ranges below when this is compiled:
//!
//! ```text
//! 1 byte   256 x bits: of a word, before no tag, begins a mark of HTML, not ASCII, …
//! 2 bytes   32 x 64 bits: a letter or not, by first byte and second
//! 3 bytes 1024 x kind of the 64 characters that share two bytes, or "mixed": then the ranges decide
//! ```
//!
//! Invariant: [`unit`] never reaches beyond the text and always makes progress.

/// What a character is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Between words.
    Gap,
    /// Of a script that puts spaces between words; digits too.
    Letter,
    /// Of a script without spaces whose runs are words: Katakana.
    Katakana,
    /// Of a script where two characters are mostly a word.
    Han,
    /// Of a script without spaces that says little by itself: Hiragana, Thai, Lao, Khmer, Burmese.
    Joined,
}

/// A letter or digit of ASCII.
pub(crate) const WORD: u8 = 1;
/// What stands before a sign that begins no tag: links, addresses and entities are made of it.
pub(crate) const NO_TAG: u8 = 2;
/// What may begin a tag or an entity of HTML.
pub(crate) const MARK: u8 = 4;
/// Not ASCII.
pub(crate) const WIDE: u8 = 8;
/// An underscore.
pub(crate) const UNDERSCORE: u8 = 16;
/// A digit.
pub(crate) const DIGIT: u8 = 32;

/// Which of the bits above a byte has; none at the end of the text.
#[inline]
pub(crate) fn bits(text: &[u8], at: usize) -> u8 {
    text.get(at).map_or(0, |byte| BITS[usize::from(*byte)])
}

/// The character at a place: what it is for, and its bytes.
#[inline]
pub(crate) fn unit(text: &[u8], at: usize) -> (Kind, usize) {
    match bits(text, at) {
        WIDE => wide_unit(text, at),
        bits if bits & WORD != 0 => (Kind::Letter, 1),
        _ => (Kind::Gap, 1),
    }
}

/// The character at a place where a byte above ASCII is.
#[inline]
pub(crate) fn wide_unit(text: &[u8], at: usize) -> (Kind, usize) {
    let byte = |n: usize| text.get(at + n).copied().unwrap_or(0);
    let (first, second, third) = (byte(0), byte(1), byte(2));
    let low = usize::from(second & 0x3f);
    match first {
        _ if !is_inside(second) => (Kind::Gap, 1),
        0xc2..=0xdf => {
            let is_letter = TWO[usize::from(first & 0x1f)] >> low & 1 == 1;
            (if is_letter { Kind::Letter } else { Kind::Gap }, 2)
        }
        0xe0..=0xef if is_inside(third) => match THREE[usize::from(first & 0xf) * 64 + low] {
            Some(kind) => (kind, 3),
            None => (three_bytes(decode(first & 0xf, second, third)), 3),
        },
        0xf0..=0xf4 if is_inside(third) && is_inside(byte(3)) => {
            (four_bytes(decode(first & 7, second, third)), 4)
        }
        _ => (Kind::Gap, 1),
    }
}

/// The bytes at a place, and zeros beyond the end.
#[inline]
pub(crate) fn eight(text: &[u8], at: usize) -> u64 {
    match text.get(at..).and_then(|rest| rest.first_chunk()) {
        Some(bytes) => u64::from_le_bytes(*bytes),
        None => last_bytes(text, at),
    }
}

#[inline(never)]
fn last_bytes(text: &[u8], at: usize) -> u64 {
    let rest = text.get(at..).unwrap_or_default();
    rest.iter().take(8).rev().fold(0, |word, byte| word << 8 | u64::from(*byte))
}

/// Whether a byte continues a character.
#[inline]
fn is_inside(byte: u8) -> bool {
    byte & 0xc0 == 0x80
}

/// Six bits a byte; of four bytes the upper three.
#[inline]
fn decode(first: u8, second: u8, third: u8) -> u32 {
    u32::from(first) << 12 | u32::from(second & 0x3f) << 6 | u32::from(third & 0x3f)
}

const fn is_letter_of_two_bytes(c: u32) -> bool {
    !matches!(c,
        0x80..=0xa9 | 0xab..=0xb4 | 0xb6..=0xb9 | 0xbb..=0xbf | 0xd7 | 0xf7
        | 0x2c2..=0x2c5 | 0x2d2..=0x2df | 0x375 | 0x37e | 0x384 | 0x385 | 0x387 | 0x3f6
        | 0x482 | 0x55a..=0x55f | 0x589..=0x58f | 0x5be | 0x5c0 | 0x5c3 | 0x5c6
        | 0x5f3 | 0x5f4 | 0x600..=0x60f | 0x61b..=0x61f | 0x66a..=0x66d | 0x6d4
        | 0x700..=0x70f | 0x7f6..=0x7f9)
}

const fn three_bytes(c: u32) -> Kind {
    match c {
        0x3005..=0x3007 | 0x3400..=0x4dbf | 0x4e00..=0x9fff | 0xf900..=0xfaff => Kind::Han,
        0x3041..=0x309f => Kind::Joined,
        0x30a1..=0x30fa | 0x30fc..=0x30ff | 0x31f0..=0x31ff | 0xff66..=0xff9f => Kind::Katakana,
        // Zero-width joiners stand inside of words.
        0x200c | 0x200d => Kind::Letter,
        0x2000..=0x2bff | 0x2e00..=0x30fb | 0x3190..=0x31ef | 0x3200..=0x4dff => Kind::Gap,
        0x964 | 0x965 | 0x970 | 0xdf4 | 0xe2f | 0xe3f | 0xe4f | 0xe5a | 0xe5b => Kind::Gap,
        0xe00..=0xeff | 0x1000..=0x109f | 0x1780..=0x17d3 => Kind::Joined,
        0xf00..=0xf14 | 0x10fb | 0x1360..=0x1368 | 0x166d | 0x166e | 0x1680 => Kind::Gap,
        0x17d4..=0x17db | 0x1800..=0x180e | 0xa4fe | 0xa4ff | 0xa60d..=0xa60f => Kind::Gap,
        0xff10..=0xff19 | 0xff21..=0xff3a | 0xff41..=0xff5a => Kind::Letter,
        0xd7a4..=0xf8ff | 0xfe00..=0xfe6f | 0xfeff..=0xffff => Kind::Gap,
        _ => Kind::Letter,
    }
}

/// By all but the last six bits of a character of four bytes.
fn four_bytes(c: u32) -> Kind {
    match c << 6 {
        0x2_0000..=0x3_ffff => Kind::Han,
        0x1_0000..=0x1_cfff | 0x1_e000..=0x1_efff => Kind::Letter,
        _ => Kind::Gap,
    }
}

static BITS: [u8; 256] = {
    let mut bits = [0; 256];
    let mut byte = 0_u8;
    while byte < 128 {
        bits[byte as usize] = match byte {
            b'0'..=b'9' => WORD | DIGIT | NO_TAG,
            b'A'..=b'Z' | b'a'..=b'z' => WORD | NO_TAG,
            b'_' => UNDERSCORE | NO_TAG,
            b'&' => NO_TAG | MARK,
            b'<' => MARK,
            b'/' | b'#' | b'@' | b'=' | b'?' | b'%' | b'.' | b'-' | b'+' | b'{' => NO_TAG,
            b'\\' | b'~' => NO_TAG,
            _ => 0,
        };
        byte += 1;
    }
    let mut byte = 128;
    while byte < 256 {
        bits[byte] = WIDE;
        byte += 1;
    }
    bits
};

static TWO: [u64; 32] = {
    let mut table = [0; 32];
    let mut c = 0x80;
    while c < 0x800 {
        if is_letter_of_two_bytes(c) {
            table[(c >> 6) as usize] |= 1 << (c & 0x3f);
        }
        c += 1;
    }
    table
};

static THREE: [Option<Kind>; 1024] = {
    let mut table = [None; 1024];
    let mut block = 0;
    while block < 1024 {
        let first = three_bytes(block * 64);
        let mut same = 1;
        while same < 64 && three_bytes(block * 64 + same) as u8 == first as u8 {
            same += 1;
        }
        if same == 64 {
            table[block as usize] = Some(first);
        }
        block += 1;
    }
    table
};
