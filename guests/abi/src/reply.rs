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
        // 20 digits and 6 commas.
        let mut digits = [0; 26];
        let mut left = number;
        let mut len = 0;
        for digit in digits.iter_mut().rev() {
            len += 1;
            if grouped && len % 4 == 0 {
                *digit = b',';
                continue;
            }
            *digit = b'0' + last_digit(&mut left);
            if left == 0 {
                break;
            }
        }
        self.text(part(&digits, digits.len() - len, len));
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

/// Takes the last decimal digit off a number. 32-bit division is what most numbers need, and the
/// cheaper one.
fn last_digit(number: &mut u64) -> u8 {
    let digit = match u32::try_from(*number) {
        Ok(narrow) => {
            *number = u64::from(narrow / 10);
            u64::from(narrow % 10)
        }
        Err(_) => {
            let digit = *number % 10;
            *number /= 10;
            digit
        }
    };
    low_u8(digit)
}
