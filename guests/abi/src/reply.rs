//! What `summarise` writes: a ranking and a line.

use crate::bytes::{copy, low_u8, low_u16, part, put};
use crate::limits::TLDR_BYTES_MAX;

/// The place for a reply: the ranking comes first, then the line.
pub struct Reply<'a> {
    out: &'a mut [u8],
}

/// The line, written from left to right. What is too much is cut at a character's end.
pub struct Line<'a> {
    out: &'a mut [u8],
    /// Where the line begins.
    start: usize,
    /// Where the next byte goes.
    at: usize,
    /// The first byte that may not be written.
    end: usize,
}

/// A reply that is complete.
#[must_use]
pub struct Told(u32);

impl<'a> Reply<'a> {
    pub(crate) fn new(out: &'a mut [u8]) -> Self {
        Self { out }
    }

    /// Keeps the order of the view's rows.
    #[must_use]
    pub fn keep_order(self) -> Line<'a> {
        put(self.out, 0, KEEP.to_le_bytes());
        Line::new(self.out, 4)
    }

    /// Ranks the rows with these places in the view, each given once, and hides the others.
    #[must_use]
    pub fn rank(self, places: impl IntoIterator<Item = u16>) -> Line<'a> {
        let mut start = 4;
        for place in places {
            put(self.out, start, place.to_le_bytes());
            start += 2;
        }
        put(self.out, 0, low_u16((start - 4) / 2).to_le_bytes());
        Line::new(self.out, start)
    }
}

impl<'a> Line<'a> {
    fn new(out: &'a mut [u8], start: usize) -> Self {
        let end = out.len().min(start + TLDR_BYTES_MAX);
        Self { out, start, at: start, end }
    }

    /// Appends UTF-8.
    pub fn text(&mut self, text: &[u8]) {
        let mut fits = text;
        let room = self.end.saturating_sub(self.at);
        if text.len() > room {
            fits = cut(text, room);
            // Nothing may follow what was cut.
            self.end = self.at + fits.len();
        }
        copy(self.out, self.at, fits);
        self.at += fits.len();
    }

    /// Appends up to eight bytes of ASCII.
    pub fn short<const N: usize>(&mut self, text: &[u8; N]) {
        const { assert!(N <= 8, "eight bytes at most") };
        let mut bytes = [0; 8];
        for (to, from) in bytes.iter_mut().zip(text) {
            *to = *from;
        }
        self.ascii(u64::from_le_bytes(bytes), N);
    }

    /// Appends a decimal number.
    pub fn number(&mut self, number: u64) {
        self.digits(number, false);
    }

    /// Appends a decimal number, its digits in threes: 1,204.
    pub fn grouped(&mut self, number: u64) {
        self.digits(number, true);
    }

    /// Appends 16 hex digits.
    pub fn hex(&mut self, number: u64) {
        let mut digits = [0; 16];
        for (digit, shift) in digits.iter_mut().zip((0..16).rev()) {
            *digit = match number >> (4 * shift) & 15 {
                low @ 0..10 => b'0' + low_u8(low),
                high => b'a' - 10 + low_u8(high),
            };
        }
        self.text(&digits);
    }

    /// The reply is complete.
    pub fn finish(self) -> Told {
        put(self.out, 2, low_u16(self.at - self.start).to_le_bytes());
        Told(0)
    }

    fn digits(&mut self, number: u64, grouped: bool) {
        let (mut scale, mut group) = (1, number);
        while group >= 1_000 {
            scale *= 1_000;
            group /= 1_000;
        }
        let (leading, digits) = match group {
            0..10 => (2, 1),
            10..100 => (1, 2),
            _ => (0, 3),
        };
        self.ascii(three_digits(group) >> (8 * leading), digits);
        let mut left = number;
        while scale > 1 {
            left -= group * scale;
            scale /= 1_000;
            group = left / scale;
            if grouped {
                self.ascii(u64::from(b',') | (three_digits(group) << 8), 4);
            } else {
                self.ascii(three_digits(group), 3);
            }
        }
    }

    /// Appends the first `len` bytes of eight, low byte first.
    fn ascii(&mut self, bytes: u64, len: usize) {
        let room = self.end.saturating_sub(self.at);
        match self.out.get_mut(self.at..).and_then(|rest| rest.first_chunk_mut()) {
            // What is written behind the text is written over later, or never read.
            Some(eight) if len <= room => {
                *eight = bytes.to_le_bytes();
                self.at += len;
            }
            _ => self.text(part(&bytes.to_le_bytes(), 0, len)),
        }
    }
}

impl Told {
    /// A fault with a number of the program's own; the tenant gets the default program's line.
    pub fn fault(code: core::num::NonZeroU32) -> Self {
        Self(code.get())
    }

    pub(crate) fn code(&self) -> u32 {
        self.0
    }
}

/// A ranking of this length keeps the order of the rows.
const KEEP: u16 = 0xffff;

/// The longest beginning of at most `len` bytes that ends where a character does.
fn cut(text: &[u8], mut len: usize) -> &[u8] {
    while len > 0 && text.get(len).is_some_and(|byte| byte & 0xc0 == 0x80) {
        len -= 1;
    }
    text.get(..len).unwrap_or(text)
}

/// The three digits of a number below 1,000 in ASCII, the first in the low byte.
fn three_digits(number: u64) -> u64 {
    // Multiplications in place of divisions, exact below 1,000.
    let hundreds = (number * 41) >> 12;
    let rest = number - 100 * hundreds;
    let tens = (rest * 205) >> 11;
    let ones = rest - 10 * tens;
    u64::from_le_bytes(*b"000\0\0\0\0\0") + (hundreds | (tens << 8) | (ones << 16))
}
