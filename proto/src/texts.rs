//! TEXT: messages in which the tenant's program finds the topics.
//!
//! ```text
//! TEXT   the head of EVENTS, then per text
//!         0 tenant_len u8 | 1 zero u8 | 2 text_len u16 | 4 weight u32 | 8 offset_ms i32
//!        12 tenant | text
//! ```
//!
//! Invariants:
//! - a text is 1 to 4,096 bytes of UTF-8; control characters may stand in it, NUL may not;
//! - a frame is checked whole before one of its texts is handed out.

use crate::cursor::Cursor;
use crate::events::{EventsHead, Span, check_event};
use crate::header::{FrameWriter, Kind};
use crate::id::check_name;
use crate::limits::TEXT_BYTES_MAX;
use crate::malformed::Malformed;
use thiserror::Error;
use zerocopy::little_endian::{I32, U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Why bytes are not a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum TextError {
    /// No bytes at all.
    #[error("text is empty; 1 to {TEXT_BYTES_MAX} bytes of UTF-8 are allowed")]
    Empty,
    /// Too many bytes.
    #[error("text has {0} bytes; at most {TEXT_BYTES_MAX} are allowed: cut it")]
    TooLong(usize),
    /// Not UTF-8.
    #[error("text is not UTF-8 at byte {0}")]
    NotUtf8(usize),
    /// A NUL, which programs in other languages take for the end.
    #[error("text has a NUL at byte {0}; other control characters are allowed")]
    Nul(usize),
}

/// Checks the rule for texts: 1 to [`TEXT_BYTES_MAX`] bytes of UTF-8 without NUL.
///
/// # Errors
/// Says which part of the rule is broken, and where.
pub fn check_text(bytes: &[u8]) -> Result<&str, TextError> {
    if bytes.is_empty() {
        return Err(TextError::Empty);
    }
    if bytes.len() > TEXT_BYTES_MAX {
        return Err(TextError::TooLong(bytes.len()));
    }
    let text = std::str::from_utf8(bytes).map_err(|e| TextError::NotUtf8(e.valid_up_to()))?;
    match bytes.iter().position(|byte| *byte == 0) {
        Some(at) => Err(TextError::Nul(at)),
        None => Ok(text),
    }
}

/// One text event with its tenant's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextEvent<'a> {
    /// Whose event.
    pub tenant: &'a str,
    /// What was said.
    pub text: &'a str,
    /// How much it counts.
    pub weight: u32,
    /// Milliseconds from the frame's `base_ms`.
    pub offset_ms: i32,
}

impl TextEvent<'_> {
    /// Bytes it takes in a frame.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        size_of::<TextHead>() + self.tenant.len() + self.text.len()
    }
}

/// A frame of text events, all checked.
#[derive(Clone, Copy, Debug)]
pub struct TextEvents<'a> {
    /// Sequence, base time, generation.
    pub head: &'a EventsHead,
    /// Their times.
    pub span: Span,
    entries: &'a [u8],
}

impl<'a> TextEvents<'a> {
    pub(crate) fn parse(body: &'a [u8]) -> Result<Self, Malformed> {
        let mut cursor = Cursor::new(body);
        let head = EventsHead::parse(&mut cursor)?;
        let entries = cursor.rest();
        let mut span: Option<Span> = None;
        for index in 0..head.count() {
            let (_, time_ms) = read_text(&mut cursor, index, head.base_ms())?;
            span = Some(Span::around(span, time_ms));
        }
        cursor.end()?;
        let base = Span { min_ms: head.base_ms(), max_ms: head.base_ms() };
        Ok(Self { head, span: span.unwrap_or(base), entries })
    }

    /// The texts in their order.
    pub fn iter(&self) -> impl Iterator<Item = TextEvent<'a>> + Clone + use<'a> {
        let mut cursor = Cursor::new(self.entries);
        let base_ms = self.head.base_ms();
        // The parse has read every entry once, so reading them again cannot fail.
        (0..self.head.count()).map_while(move |index| {
            read_text(&mut cursor, index, base_ms).ok().map(|(text, _)| text)
        })
    }
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct TextHead {
    tenant_len: u8,
    zero: u8,
    text_len: U16,
    weight: U32,
    offset_ms: I32,
}

fn read_text<'a>(
    cursor: &mut Cursor<'a>,
    index: u32,
    base_ms: u64,
) -> Result<(TextEvent<'a>, u64), Malformed> {
    let head: &TextHead = cursor.view("a text event")?;
    if head.zero != 0 {
        let got = u64::from(head.zero);
        return Err(Malformed::Entry { what: "reserved", index, got, min: 0, max: 0 });
    }
    let time_ms = check_event(index, base_ms, head.weight.get(), head.offset_ms.get())?;
    let tenant = check_name(cursor.bytes(usize::from(head.tenant_len), "a tenant name")?)
        .map_err(|source| Malformed::Name { index, source })?;
    let text = check_text(cursor.bytes(usize::from(head.text_len.get()), "a text")?)
        .map_err(|source| Malformed::Text { index, source })?;
    let (weight, offset_ms) = (head.weight.get(), head.offset_ms.get());
    Ok((TextEvent { tenant, text, weight, offset_ms }, time_ms))
}

/// Writes a TEXT frame text by text.
#[derive(Debug)]
pub struct TextWriter<'a> {
    frame: FrameWriter<'a>,
    count: u32,
}

impl<'a> TextWriter<'a> {
    /// Starts the frame.
    pub fn new(out: &'a mut Vec<u8>, head: EventsHead) -> Self {
        let mut frame = FrameWriter::new(out, Kind::Text, 0);
        frame.put(&head);
        Self { frame, count: 0 }
    }

    /// Appends one text; the weight and the time are the caller's to keep within their limits.
    ///
    /// # Errors
    /// When the tenant's name or the text breaks its rule.
    pub fn push(&mut self, event: TextEvent<'_>) -> Result<(), Malformed> {
        let index = self.count;
        check_name(event.tenant.as_bytes()).map_err(|source| Malformed::Name { index, source })?;
        check_text(event.text.as_bytes()).map_err(|source| Malformed::Text { index, source })?;
        let head = TextHead {
            tenant_len: u8::try_from(event.tenant.len()).unwrap_or(u8::MAX),
            zero: 0,
            text_len: U16::new(u16::try_from(event.text.len()).unwrap_or(u16::MAX)),
            weight: U32::new(event.weight),
            offset_ms: I32::new(event.offset_ms),
        };
        self.frame.put(&head).put(event.tenant.as_bytes()).put(event.text.as_bytes());
        self.count += 1;
        Ok(())
    }

    /// Bytes of the frame so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.frame.len()
    }

    /// Whether no text is in it yet.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Completes the frame. Returns its length in bytes.
    ///
    /// # Panics
    /// When the frame is over its limit of bytes: the caller's bug, [`Self::len`] tells.
    pub fn finish(mut self) -> usize {
        EventsHead::set_count(self.frame.body_mut(), self.count);
        self.frame.finish()
    }
}

const _: () = assert!(size_of::<TextHead>() == 12);
const _: () = assert!(TEXT_BYTES_MAX <= u16::MAX as usize);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_checked_with_a_place() {
        assert_eq!(check_text(b""), Err(TextError::Empty));
        assert_eq!(check_text(&[b'a'; 4_097]), Err(TextError::TooLong(4_097)));
        assert_eq!(check_text(b"ab\xff"), Err(TextError::NotUtf8(2)));
        assert_eq!(check_text("é\0".as_bytes()), Err(TextError::Nul(2)));
        assert_eq!(check_text(b"two\nlines\t\x1b[0m"), Ok("two\nlines\t\x1b[0m"));
        let longest = "é".repeat(2_048);
        assert_eq!(check_text(longest.as_bytes()), Ok(&*longest));
    }

    #[test]
    fn a_text_knows_its_size_in_a_frame() {
        let mut out = Vec::new();
        let mut writer = TextWriter::new(&mut out, EventsHead::new(1, 0, 1));
        let event = TextEvent { tenant: "acme", text: "hello\nworld", weight: 1, offset_ms: 0 };
        let before = writer.len();
        writer.push(event).unwrap();
        assert_eq!(writer.len() - before, event.bytes());
        assert!(writer.push(TextEvent { text: "", ..event }).is_err());
        assert!(writer.push(TextEvent { tenant: "", ..event }).is_err());
        assert_eq!(writer.finish(), before + event.bytes(), "what was refused left nothing");
    }
}
