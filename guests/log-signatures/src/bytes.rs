//! What a byte of a log line is for.

/// A letter of ASCII, or a part of a character above it.
pub(crate) const LETTER: u8 = 1;
/// A digit.
pub(crate) const DIGIT: u8 = 2;
/// A hex digit that is a letter.
pub(crate) const HEX: u8 = 4;
/// Holds parts of a token together.
pub(crate) const JOINT: u8 = 8;
/// A space or a control character.
pub(crate) const SPACE: u8 = 16;

/// The first byte of the control characters above ASCII, and of the signs of Latin-1.
pub(crate) const SIGN: u8 = 32;

/// Everything that tokens are made of.
pub(crate) const TOKEN: u8 = LETTER | DIGIT | JOINT;

/// The bits of the byte at a place; none at the end.
#[inline]
pub(crate) fn bits(text: &[u8], at: usize) -> u8 {
    text.get(at).map_or(0, |byte| BITS[usize::from(*byte)])
}

/// The end of the bytes from `at` on that have one of `any`.
#[inline]
pub(crate) fn run_end(text: &[u8], mut at: usize, any: u8) -> usize {
    while bits(text, at) & any != 0 {
        at += 1;
    }
    at
}

pub(crate) static BITS: [u8; 256] = {
    let mut bits = [LETTER; 256];
    let mut byte = 0_u8;
    while byte < 128 {
        bits[byte as usize] = match byte {
            0..=b' ' | 0x7f => SPACE,
            b'0'..=b'9' => DIGIT,
            b'a'..=b'f' | b'A'..=b'F' => LETTER | HEX,
            b'a'..=b'z' | b'A'..=b'Z' => LETTER,
            b'.' | b':' | b'-' | b'_' => JOINT,
            _ => 0,
        };
        byte += 1;
    }
    bits[0xc2] = SIGN;
    bits
};
