//! Texts on their way to become topics: what `observe_text` reads and writes.

use crate::bytes::{copy, low_u16, part, put, size_at, split_mut, u32_at, u64_at};
use crate::limits::NAME_BYTES_MAX;

/// A run of the tenant's texts.
#[derive(Clone, Copy)]
pub struct Texts<'a> {
    bytes: &'a [u8],
}

/// One text.
#[derive(Clone, Copy)]
pub struct Text<'a> {
    /// Its place in the run.
    pub index: u16,
    /// How much it counts.
    pub weight: u32,
    /// Milliseconds from [`Texts::base_ms`].
    pub offset_ms: i32,
    /// UTF-8.
    pub bytes: &'a [u8],
}

/// The topics found.
pub struct Topics<'a> {
    out: &'a mut [u8],
    at: usize,
    len: u32,
}

impl<'a> Texts<'a> {
    /// The texts in a buffer, and the place for their topics.
    #[must_use]
    pub fn split(buffer: &'a mut [u8]) -> (Self, Topics<'a>) {
        let out = size_at(buffer, 12);
        let (bytes, out) = split_mut(buffer, out);
        (Self { bytes }, Topics { out, at: 0, len: 0 })
    }

    /// Does the work of the export.
    pub fn run(buffer: &mut [u8], observe: impl FnOnce(&Texts<'_>, &mut Topics<'_>)) -> u32 {
        let (texts, mut topics) = Texts::split(buffer);
        observe(&texts, &mut topics);
        topics.len
    }

    /// What offsets count from.
    #[must_use]
    pub fn base_ms(&self) -> u64 {
        u64_at(self.bytes, 0)
    }

    /// The texts in their order.
    pub fn iter(&self) -> impl Iterator<Item = Text<'a>> + use<'a> {
        let bytes = self.bytes;
        let mut at = HEADER_BYTES;
        (0..u32_at(bytes, 8)).map(move |index| {
            let len = size_at(bytes, at);
            let text = Text {
                index: low_u16(index as usize),
                weight: u32_at(bytes, at + 4),
                offset_ms: u32_at(bytes, at + 8).cast_signed(),
                bytes: part(bytes, at + TEXT_BYTES, len),
            };
            at += (TEXT_BYTES + len).next_multiple_of(8);
            text
        })
    }
}

impl Topics<'_> {
    /// Adds a topic of a text, in UTF-8 without control characters. Returns false and adds nothing
    /// when the name is empty or longer than a name may be, or when the buffer is full.
    #[must_use = "a topic may not fit"]
    pub fn add(&mut self, text: &Text<'_>, name: &[u8]) -> bool {
        self.add_weighted(text, text.weight, name)
    }

    /// As [`Self::add`], with a weight of 1 to 1,000,000,000 of its own.
    #[must_use = "a topic may not fit"]
    pub fn add_weighted(&mut self, text: &Text<'_>, weight: u32, name: &[u8]) -> bool {
        let size = (TOPIC_BYTES + name.len()).next_multiple_of(8);
        if name.is_empty() || name.len() > NAME_BYTES_MAX || size > self.out.len() - self.at {
            return false;
        }
        put(self.out, self.at, text.index.to_le_bytes());
        put(self.out, self.at + 2, low_u16(name.len()).to_le_bytes());
        put(self.out, self.at + 4, weight.to_le_bytes());
        copy(self.out, self.at + TOPIC_BYTES, name);
        self.at += size;
        self.len += 1;
        true
    }

    /// How many there are so far.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.len
    }

    /// Whether there are none so far.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// Bytes before the first text.
const HEADER_BYTES: usize = 16;

/// Bytes of a text before its letters.
const TEXT_BYTES: usize = 16;

/// Bytes of a topic before its name.
const TOPIC_BYTES: usize = 8;
