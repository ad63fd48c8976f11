//! The flat memory an arena cuts into blocks.
//!
//! Owns: the seam between the arena and whoever maps memory. Never touches: the operating system
//! (the server implements [`Memory`] over huge pages, with a real prefetch instruction).
//!
//! Invariants
//! - the region is zero when handed over, and may be touched lazily: nobody reads or writes all of
//!   it at start;
//! - its first word lies on a 64-byte boundary, so that line numbers are cache lines;
//! - its length never changes.

/// A fixed, zero-filled region of 64-bit words.
pub trait Memory {
    /// All words.
    fn words(&self) -> &[u64];
    /// All words, to change.
    fn words_mut(&mut self) -> &mut [u64];
    /// Asks for the cache line of `word` ahead of its use. A hint: any index is allowed.
    fn prefetch(&self, word: usize) {
        let _ = word;
    }
    /// Asks for the cache line where a value begins ahead of its use, whatever memory it is in.
    fn ask_for<T>(value: &T) {
        let _ = value;
    }
}

/// Memory from the global allocator: for tests and the simulator.
#[derive(Debug)]
pub struct HeapMemory {
    words: Vec<u64>,
    start: usize,
    len: usize,
}

impl HeapMemory {
    /// `len` zero words on a 64-byte boundary. Pages are touched when they are first used.
    #[must_use]
    pub fn new(len: usize) -> Self {
        let words = vec![0_u64; len + LINE_WORDS - 1];
        let start = words.as_ptr().align_offset(64).min(LINE_WORDS - 1);
        Self { words, start, len }
    }
}

impl Memory for HeapMemory {
    #[inline]
    fn words(&self) -> &[u64] {
        &self.words[self.start..self.start + self.len]
    }

    #[inline]
    fn words_mut(&mut self) -> &mut [u64] {
        &mut self.words[self.start..self.start + self.len]
    }
}

/// Words in a 64-byte cache line.
pub(crate) const LINE_WORDS: usize = 8;
