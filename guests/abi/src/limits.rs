//! What the host accepts of a program.

/// Longest line about a window, in bytes.
pub const TLDR_BYTES_MAX: usize = 512;

/// Longest name of a topic, in bytes.
pub const NAME_BYTES_MAX: usize = 255;

/// Most topics of one text.
pub const TOPICS_PER_TEXT_MAX: usize = 32;

/// Smallest buffer, in bytes.
pub const BUFFER_BYTES_MIN: usize = 1_024;

/// Largest buffer, in bytes.
pub const BUFFER_BYTES_MAX: usize = 65_536;

/// Most bytes of private state.
pub const STATE_BYTES_MAX: usize = 2_048;
