//! The host's side of the ABI (docs/programs.md): what is written into a program's buffer, and what
//! is believed of what comes back.
//!
//! Owns the byte layouts. Never touches an engine: every function works on plain slices, so that a
//! fuzzer can put anything into them.
//!
//! Invariant: whatever lies in the buffer, reading it ends in a result or a [`Fault`], never in a
//! panic, and costs at most what the buffer holds.

pub(crate) mod records;
pub(crate) mod summary;
pub(crate) mod texts;

use trendsrv_proto::NameError;

/// What a program did wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It trapped, or ran out of fuel.
    #[error("{call} trapped: {message}")]
    Trap {
        /// In which call.
        call: &'static str,
        /// How.
        message: String,
    },
    /// It reported a fault of its own.
    #[error("{call} returned {code}, a fault of its own")]
    Reported {
        /// In which call.
        call: &'static str,
        /// Its number.
        code: i32,
    },
    /// It returned more than there can be.
    #[error("{call} returned {got}; at most {max} can be")]
    Count {
        /// In which call.
        call: &'static str,
        /// What it returned, unsigned.
        got: u32,
        /// The most.
        max: usize,
    },
    /// Its output reaches past its buffer.
    #[error("the output of {call} reaches past the buffer at entry {entry}")]
    Outside {
        /// In which call.
        call: &'static str,
        /// At which entry.
        entry: usize,
    },
    /// A field holds what it must not.
    #[error("{call}, entry {entry}: {what} is {got}, which is not allowed")]
    Field {
        /// In which call.
        call: &'static str,
        /// Which field.
        what: &'static str,
        /// At which entry.
        entry: usize,
        /// What it holds.
        got: i64,
    },
    /// A topic's name breaks the rule for names.
    #[error("observe_text, topic {entry}: {source}")]
    Name {
        /// Which topic.
        entry: usize,
        /// The rule.
        source: NameError,
    },
    /// The TL;DR is not text.
    #[error("summarise: the TL;DR {0}")]
    Tldr(&'static str),
    /// No instance could be made.
    #[error("no instance: {0}")]
    NoInstance(String),
}

/// Bytes at a place, if they are there.
fn at(buffer: &[u8], start: usize, len: usize) -> Option<&[u8]> {
    buffer.get(start..start.checked_add(len)?)
}

fn u16_at(buffer: &[u8], start: usize) -> Option<u16> {
    at(buffer, start, 2)?.first_chunk().map(|bytes| u16::from_le_bytes(*bytes))
}

fn u32_at(buffer: &[u8], start: usize) -> Option<u32> {
    at(buffer, start, 4)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
}

/// Writes fields one behind the other into a buffer that was checked to hold them.
struct Pen<'a> {
    buffer: &'a mut [u8],
    at: usize,
}

impl Pen<'_> {
    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        self.buffer[self.at..self.at + bytes.len()].copy_from_slice(bytes);
        self.at += bytes.len();
    }

    /// Zeros up to a multiple of eight.
    fn pad(&mut self) {
        let end = self.at.next_multiple_of(8);
        self.buffer[self.at..end].fill(0);
        self.at = end;
    }
}

fn low32(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
