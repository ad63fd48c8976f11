//! What can be wrong with one frame's body: a closed list, each with what and where.

use crate::refusal::Refusal;
use thiserror::Error;

/// One frame's body breaks the layout or a rule; the next frame can still be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Malformed {
    /// The body's checksum is wrong.
    #[error("body CRC32C is {got:#010x}, should be {want:#010x}")]
    Crc {
        /// The checksum in the header.
        got: u32,
        /// The checksum computed over the body.
        want: u32,
    },
    /// Nobody knows this kind.
    #[error("unknown frame kind {0}")]
    Kind(u8),
    /// Flags are reserved.
    #[error("frame flags are {0:#04x}, must be 0")]
    Flags(u8),
    /// The body ends too early.
    #[error("frame ends inside {what}, which starts at byte {at}")]
    Short {
        /// The part that is cut.
        what: &'static str,
        /// Offset in the frame.
        at: usize,
    },
    /// Bytes after the end.
    #[error("{bytes} bytes too many from byte {at}")]
    Trailing {
        /// How many.
        bytes: usize,
        /// Offset in the frame.
        at: usize,
    },
    /// Text that is not UTF-8.
    #[error("{what} is not UTF-8 at byte {at}")]
    NotUtf8 {
        /// The part.
        what: &'static str,
        /// Offset in the frame.
        at: usize,
    },
    /// A name breaks the rule for names.
    #[error("entry {index}: {source}")]
    Name {
        /// Index of the entry in the frame.
        index: u32,
        /// The rule.
        source: crate::NameError,
    },
    /// A text breaks the rule for texts.
    #[error("entry {index}: {source}")]
    Text {
        /// Index of the entry in the frame.
        index: u32,
        /// The rule.
        source: crate::TextError,
    },
    /// A name does not hash to the id it came with.
    #[error("entry {index}: name hashes to {want:#018x}, not to the id {got:#018x} it came with")]
    WrongId {
        /// Index of the entry in the frame.
        index: u32,
        /// The id in the frame.
        got: u64,
        /// The id of the name.
        want: u64,
    },
    /// A number outside its range.
    #[error("{what} is {got}, must be {min} to {max}")]
    Range {
        /// The field.
        what: &'static str,
        /// Its value.
        got: u64,
        /// Least allowed.
        min: u64,
        /// Most allowed.
        max: u64,
    },
    /// A number of one event or entry outside its range.
    #[error("entry {index}: {what} is {got}, must be {min} to {max}")]
    Entry {
        /// The field.
        what: &'static str,
        /// Index of the entry in the frame.
        index: u32,
        /// Its value.
        got: u64,
        /// Least allowed.
        min: u64,
        /// Most allowed.
        max: u64,
    },
    /// More entries than one frame may hold.
    #[error("{what} is {got}; one frame holds at most {max}")]
    TooMany {
        /// The field.
        what: &'static str,
        /// Its value.
        got: u64,
        /// Most allowed.
        max: u64,
    },
    /// The peer speaks another protocol.
    #[error("magic is {0:#010x}, must be 0x444e5254 (\"TRND\")")]
    Magic(u32),
    /// The peer speaks another version.
    #[error("protocol version {0} is not spoken here; version 1 is")]
    Version(u16),
}

impl Malformed {
    /// Index of the entry at fault, where there is one.
    #[must_use]
    pub const fn index(&self) -> Option<u32> {
        match *self {
            Self::Name { index, .. }
            | Self::Text { index, .. }
            | Self::WrongId { index, .. }
            | Self::Entry { index, .. } => Some(index),
            Self::Crc { .. }
            | Self::Kind(_)
            | Self::Flags(_)
            | Self::Short { .. }
            | Self::Trailing { .. }
            | Self::NotUtf8 { .. }
            | Self::Range { .. }
            | Self::TooMany { .. }
            | Self::Magic(_)
            | Self::Version(_) => None,
        }
    }

    /// The refusal that answers it.
    #[must_use]
    pub const fn refusal(&self) -> Refusal {
        match self {
            Self::Version(_) => Refusal::Unsupported,
            Self::TooMany { .. } => Refusal::TooLarge,
            Self::Crc { .. }
            | Self::Kind(_)
            | Self::Flags(_)
            | Self::Short { .. }
            | Self::Trailing { .. }
            | Self::NotUtf8 { .. }
            | Self::Name { .. }
            | Self::Text { .. }
            | Self::WrongId { .. }
            | Self::Range { .. }
            | Self::Entry { .. }
            | Self::Magic(_) => Refusal::Malformed,
        }
    }
}
