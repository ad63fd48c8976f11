//! A line's template.
//!
//! - Times at the beginning are dropped, runs of spaces and control characters become one space.
//! - `"…"` and `'…'` become `<str>`, when they are closed and not within a word (`don't`).
//! - Between spaces, brackets, slashes and the like stand tokens; [`token`] masks them. What is
//!   between them stays, so a path keeps its shape: `/users/12345` is `/users/<n>`.

use crate::bytes::{LETTER, SIGN, SPACE, TOKEN, bits, run_end};
use crate::token::HEX_BYTES_MIN;
use crate::{times, token};
use trend_guest::limits::NAME_BYTES_MAX;

/// The place where templates are put together.
pub struct Template {
    bytes: [u8; NAME_BYTES_MAX],
    len: usize,
    /// Something did not fit: nothing may follow.
    is_full: bool,
}

impl Template {
    /// Nothing yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { bytes: [0; NAME_BYTES_MAX], len: 0, is_full: false }
    }

    /// The template of a line.
    pub fn of(&mut self, line: &[u8]) -> &[u8] {
        self.len = 0;
        self.is_full = false;
        let mut quotes = Quotes { unclosed: [false; 2] };
        let mut at = times::end(line);
        while at < line.len() && !self.is_full {
            at = self.next(line, at, &mut quotes);
        }
        let text = self.bytes.get(..self.len).unwrap_or_default();
        text.strip_suffix(b" ").unwrap_or(text)
    }

    /// Writes what begins here; returns its end.
    fn next(&mut self, line: &[u8], at: usize, quotes: &mut Quotes) -> usize {
        let of = bits(line, at);
        if of & TOKEN != 0 {
            let mut end = run_end(line, at, LETTER);
            let is_word = bits(line, end) & TOKEN == 0;
            if !is_word {
                end = run_end(line, end, TOKEN);
            }
            match line.get(at..end) {
                Some(word) if is_word && word.len() < HEX_BYTES_MIN => self.text(word),
                Some(token) => token::write(token, self),
                None => {}
            }
            return end;
        }
        if of & SPACE != 0 {
            self.space();
            return run_end(line, at, SPACE);
        }
        if let Some(end) = quotes.end(line, at) {
            self.text(b"<str>");
            return end;
        }
        let end = at + 1 + usize::from(of & SIGN != 0);
        match line.get(at..end) {
            Some([_, 0x80..0xa0]) => self.space(),
            Some(other) => self.text(other),
            None => {}
        }
        end
    }

    /// Appends UTF-8, cut at a character's end when it does not fit.
    pub(crate) fn text(&mut self, text: &[u8]) {
        if self.is_full {
            return;
        }
        let mut len = text.len().min(NAME_BYTES_MAX - self.len);
        if len < text.len() {
            self.is_full = true;
            while len > 0 && text.get(len).is_some_and(|byte| byte & 0xc0 == 0x80) {
                len -= 1;
            }
        }
        trend_guest::copy(&mut self.bytes, self.len, text.get(..len).unwrap_or(text));
        self.len += len;
    }

    /// Whether nothing more fits.
    pub(crate) fn is_full(&self) -> bool {
        self.is_full
    }

    /// Appends a space, unless it would be the first or the second.
    pub(crate) fn space(&mut self) {
        if self.len > 0 && self.bytes.get(self.len - 1) != Some(&b' ') {
            self.text(b" ");
        }
    }
}

impl Default for Template {
    fn default() -> Self {
        Self::new()
    }
}

/// Quoted strings: `"` and `'`.
struct Quotes {
    /// No such quote closes in the rest of the line, so none needs to be looked for again.
    unclosed: [bool; 2],
}

impl Quotes {
    /// The end of the string that begins here, if one does.
    fn end(&mut self, line: &[u8], at: usize) -> Option<usize> {
        let quote = *line.get(at)?;
        let unclosed = match quote {
            b'"' => &mut self.unclosed[0],
            b'\'' if at == 0 || bits(line, at - 1) & TOKEN == 0 => &mut self.unclosed[1],
            _ => return None,
        };
        if *unclosed {
            return None;
        }
        let mut end = at + 1;
        while let Some(byte) = line.get(end) {
            let closes = *byte == quote && (quote == b'"' || bits(line, end + 1) & TOKEN == 0);
            if closes {
                return Some(end + 1);
            }
            end += if *byte == b'\\' { 2 } else { 1 };
        }
        *unclosed = true;
        None
    }
}
