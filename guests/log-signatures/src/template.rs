//! A line's template.
//!
//! - Times at the beginning are dropped, runs of spaces and control characters become one space.
//! - `"…"` and `'…'` become `<str>`, when they are closed and not within a word (`don't`).
//! - Between spaces, brackets, slashes and the like stand tokens; [`token`] masks them. What is
//!   between them stays, so a path keeps its shape: `/users/12345` is `/users/<n>`.

use crate::bytes::{LETTER, SIGN, SPACE, TOKEN, bits, run_end};
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

    /// The template of a line. What is not masked is copied in stretches as long as may be.
    pub fn of(&mut self, line: &[u8]) -> &[u8] {
        self.len = 0;
        self.is_full = false;
        let mut quotes = Quotes { unclosed: [false; 2] };
        let mut at = times::end(line);
        let mut plain = at;
        while at < line.len() && !self.is_full {
            let start = at;
            let part = next(line, at, plain, &mut quotes);
            at = part.end;
            if let Kind::Plain = part.kind
                && at - plain <= NAME_BYTES_MAX
            {
                continue;
            }
            self.text(line.get(plain..start).unwrap_or_default());
            plain = at;
            match part.kind {
                Kind::Plain => plain = start,
                Kind::Space => self.space(),
                Kind::Quoted => self.text(b"<str>"),
                Kind::Token => token::write(line.get(start..at).unwrap_or_default(), self),
            }
        }
        self.text(line.get(plain..at).unwrap_or_default());
        let text = self.bytes.get(..self.len).unwrap_or_default();
        text.strip_suffix(b" ").unwrap_or(text)
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

/// A part of a line.
struct Part {
    kind: Kind,
    end: usize,
}

/// What becomes of a part.
enum Kind {
    /// It stays.
    Plain,
    /// It becomes one space.
    Space,
    /// It becomes `<str>`.
    Quoted,
    /// What it is decides.
    Token,
}

/// The part that begins here, behind a plain stretch from `plain` on.
#[inline]
fn next(line: &[u8], at: usize, plain: usize, quotes: &mut Quotes) -> Part {
    let of = bits(line, at);
    if of & TOKEN != 0 {
        let letters = run_end(line, at, LETTER);
        if bits(line, letters) & TOKEN == 0 {
            // Every mask needs a digit or a colon.
            return Part { kind: Kind::Plain, end: letters };
        }
        return Part { kind: Kind::Token, end: run_end(line, letters, TOKEN) };
    }
    if of & SPACE != 0 {
        let end = run_end(line, at + 1, SPACE);
        // One space behind a plain character is as it should be.
        let is_plain = end == at + 1 && at > plain && line.get(at) == Some(&b' ');
        return Part { kind: if is_plain { Kind::Plain } else { Kind::Space }, end };
    }
    if of & SIGN != 0 {
        let is_control = line.get(at + 1).is_some_and(|byte| (0x80..0xa0).contains(byte));
        let kind = if is_control { Kind::Space } else { Kind::Plain };
        return Part { kind, end: line.len().min(at + 2) };
    }
    match quotes.end(line, at) {
        Some(end) => Part { kind: Kind::Quoted, end },
        None => Part { kind: Kind::Plain, end: at + 1 },
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
