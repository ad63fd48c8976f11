//! Blocks of a few sizes from one flat region, with a hard cap.
//!
//! Owns: which part of the memory is handed out. Never touches: what a block holds, and any page
//! that was never handed out.
//!
//! ```text
//! memory  | chunk 0        | chunk 1        | chunk 2        | …        equal chunks (2^n bytes)
//! size    | 2,112 B blocks | free           | 8,960 B blocks |          assigned on demand
//! blocks  |u|u|f|u|f|.|.|.|                                             used, freed, fresh
//!              ^-----'  freed blocks link each other through their first word
//! ```
//!
//! Invariants
//! - a block lies in one chunk, starts on a cache line and is zero when handed out;
//! - the chunk tables are sized once; handing out and taking back allocate nothing;
//! - a chunk whose last block comes back belongs to no size again;
//! - the first size keeps a reserve: other sizes cannot take the chunks it was promised.

use crate::memory::{LINE_WORDS, Memory};

/// See the module header.
#[derive(Debug)]
pub(crate) struct Arena<M> {
    memory: M,
    chunk_lines_log2: u32,
    chunks: Vec<Chunk>,
    free_chunks: Vec<u32>,
    sizes: Vec<Size>,
    reserved_chunks: u32,
    used_bytes_high: u64,
    used_bytes: u64,
}

/// Use of one block size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SizeUse {
    /// Bytes of one block.
    pub block_bytes: u64,
    /// Blocks handed out.
    pub blocks: u64,
    /// Most blocks handed out at a time.
    pub blocks_high: u64,
    /// Chunks assigned to this size.
    pub chunks: u32,
}

#[derive(Debug)]
struct Size {
    block_lines: u32,
    blocks_in_chunk: u32,
    /// First chunk of this size with room, or `NONE`.
    partial: u32,
    counts: SizeUse,
}

/// One chunk: `fresh` blocks were ever handed out, of which `used` are and the rest are linked.
#[derive(Clone, Debug)]
struct Chunk {
    size: u8,
    used: u32,
    fresh: u32,
    /// First freed block + 1; 0 for none.
    freed: u32,
    previous: u32,
    next: u32,
}

impl<M: Memory> Arena<M> {
    /// An arena of whole chunks of `chunk_words` (a power of two) over `memory`, for blocks of
    /// `sizes` words each (whole lines). Chunks for `reserved` blocks of the first size are its own.
    pub(crate) fn new(memory: M, chunk_words: usize, sizes: &[usize], reserved: u32) -> Self {
        assert!(chunk_words.is_power_of_two() && chunk_words >= LINE_WORDS);
        assert!(!sizes.is_empty() && sizes.len() < usize::from(NO_SIZE));
        let count = memory.words().len() / chunk_words;
        let lines_log2 = (chunk_words / LINE_WORDS).trailing_zeros();
        assert!((count as u64) << lines_log2 <= u64::from(u32::MAX), "arena over its limit");
        let sizes: Vec<Size> = sizes.iter().map(|&words| Size::new(words, chunk_words)).collect();
        let chunks = u32::try_from(count).unwrap_or(u32::MAX);
        Self {
            memory,
            chunk_lines_log2: lines_log2,
            chunks: vec![Chunk::FREE; count],
            free_chunks: (0..chunks).rev().collect(),
            reserved_chunks: reserved.div_ceil(sizes[0].blocks_in_chunk).min(chunks),
            sizes,
            used_bytes_high: 0,
            used_bytes: 0,
        }
    }

    /// A zeroed block of the given size, as the number of its first line; `None` at the cap.
    pub(crate) fn alloc(&mut self, size: usize) -> Option<u32> {
        if self.sizes[size].partial == NONE && !self.assign_chunk(size) {
            return None;
        }
        let entry = &mut self.sizes[size];
        let number = entry.partial;
        let block_lines = entry.block_lines;
        let chunk = &mut self.chunks[number as usize];
        let base = number << self.chunk_lines_log2;
        let line = if chunk.freed == 0 {
            chunk.fresh += 1;
            base + (chunk.fresh - 1) * block_lines
        } else {
            let line = base + (chunk.freed - 1) * block_lines;
            let link = self.memory.words()[line as usize * LINE_WORDS];
            chunk.freed = u32::try_from(link).unwrap_or(0);
            line
        };
        chunk.used += 1;
        let full = chunk.used == entry.blocks_in_chunk;
        entry.counts.blocks += 1;
        entry.counts.blocks_high = entry.counts.blocks_high.max(entry.counts.blocks);
        self.used_bytes += entry.counts.block_bytes;
        self.used_bytes_high = self.used_bytes_high.max(self.used_bytes);
        if full {
            self.unlink(number);
        }
        let start = line as usize * LINE_WORDS;
        self.memory.words_mut()[start..start + block_lines as usize * LINE_WORDS].fill(0);
        Some(line)
    }

    /// Takes back the block of the given size at `line`.
    pub(crate) fn free(&mut self, size: usize, line: u32) {
        let number = line >> self.chunk_lines_log2;
        let entry = &mut self.sizes[size];
        let chunk = &mut self.chunks[number as usize];
        let within = line - (number << self.chunk_lines_log2);
        assert!(usize::from(chunk.size) == size && chunk.used > 0, "block freed twice");
        assert!(within.is_multiple_of(entry.block_lines), "not a block");
        self.memory.words_mut()[line as usize * LINE_WORDS] = u64::from(chunk.freed);
        chunk.freed = within / entry.block_lines + 1;
        let was_full = chunk.used == entry.blocks_in_chunk;
        chunk.used -= 1;
        let empty = chunk.used == 0;
        entry.counts.blocks -= 1;
        self.used_bytes -= entry.counts.block_bytes;
        if was_full {
            self.link(number, size);
        }
        if empty {
            self.unlink(number);
            self.sizes[size].counts.chunks -= 1;
            self.chunks[number as usize] = Chunk::FREE;
            self.free_chunks.push(number);
        }
    }

    /// Words of the block at `line`.
    #[inline]
    pub(crate) fn block(&self, line: u32, words: usize) -> &[u64] {
        &self.memory.words()[line as usize * LINE_WORDS..][..words]
    }

    /// Words of the block at `line`, to change.
    #[inline]
    pub(crate) fn block_mut(&mut self, line: u32, words: usize) -> &mut [u64] {
        &mut self.memory.words_mut()[line as usize * LINE_WORDS..][..words]
    }

    /// Two different blocks at once: the first to read, the second to write.
    pub(crate) fn pair(&mut self, from: (u32, usize), to: (u32, usize)) -> (&[u64], &mut [u64]) {
        let (from_at, to_at) = (from.0 as usize * LINE_WORDS, to.0 as usize * LINE_WORDS);
        let words = self.memory.words_mut();
        if from_at < to_at {
            let (low, high) = words.split_at_mut(to_at);
            (&low[from_at..][..from.1], &mut high[..to.1])
        } else {
            let (low, high) = words.split_at_mut(from_at);
            (&high[..from.1], &mut low[to_at..][..to.1])
        }
    }

    /// Asks for one line ahead of its use.
    #[inline]
    pub(crate) fn prefetch(&self, line: usize) {
        self.memory.prefetch(line * LINE_WORDS);
    }

    /// Use of each size, in the order they were given.
    pub(crate) fn sizes(&self) -> impl Iterator<Item = SizeUse> + '_ {
        self.sizes.iter().map(|size| size.counts)
    }

    /// Bytes handed out, and the most ever handed out at a time.
    pub(crate) fn used_bytes(&self) -> (u64, u64) {
        (self.used_bytes, self.used_bytes_high)
    }

    /// Bytes in whole chunks: the hard cap.
    pub(crate) fn capacity_bytes(&self) -> u64 {
        (self.chunks.len() as u64) << self.chunk_lines_log2 << 6
    }

    fn assign_chunk(&mut self, size: usize) -> bool {
        let owed = self.reserved_chunks.saturating_sub(self.sizes[0].counts.chunks);
        if size != 0 && self.free_chunks.len() <= owed as usize {
            return false;
        }
        let Some(number) = self.free_chunks.pop() else { return false };
        let id = u8::try_from(size).unwrap_or(NO_SIZE);
        self.chunks[number as usize] = Chunk { size: id, ..Chunk::FREE };
        self.sizes[size].counts.chunks += 1;
        self.link(number, size);
        true
    }

    fn link(&mut self, number: u32, size: usize) {
        let first = std::mem::replace(&mut self.sizes[size].partial, number);
        let chunk = &mut self.chunks[number as usize];
        (chunk.previous, chunk.next) = (NONE, first);
        if first != NONE {
            self.chunks[first as usize].previous = number;
        }
    }

    fn unlink(&mut self, number: u32) {
        let Chunk { size, previous, next, .. } = self.chunks[number as usize];
        if previous == NONE {
            self.sizes[usize::from(size)].partial = next;
        } else {
            self.chunks[previous as usize].next = next;
        }
        if next != NONE {
            self.chunks[next as usize].previous = previous;
        }
    }
}

impl Size {
    fn new(words: usize, chunk_words: usize) -> Self {
        assert!(words >= LINE_WORDS && words.is_multiple_of(LINE_WORDS) && words <= chunk_words);
        let lines = |words: usize| u32::try_from(words / LINE_WORDS).unwrap_or(u32::MAX);
        let block_lines = lines(words);
        let counts = SizeUse { block_bytes: words as u64 * 8, ..SizeUse::default() };
        let blocks_in_chunk = lines(chunk_words) / block_lines;
        Self { block_lines, blocks_in_chunk, partial: NONE, counts }
    }
}

impl Chunk {
    const FREE: Self =
        Self { size: NO_SIZE, used: 0, fresh: 0, freed: 0, previous: NONE, next: NONE };
}

const NONE: u32 = u32::MAX;
const NO_SIZE: u8 = u8::MAX;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::HeapMemory;

    fn arena(chunks: usize, reserved: u32) -> Arena<HeapMemory> {
        Arena::new(HeapMemory::new(64 * chunks + 5), 64, &[16, 24, 64], reserved)
    }

    #[test]
    fn hands_out_zeroed_blocks_that_do_not_overlap_until_the_cap() {
        let mut arena = arena(3, 0);
        let mut taken = Vec::new();
        while let Some(line) = arena.alloc(0) {
            let block = arena.block_mut(line, 16);
            assert!(block.iter().all(|&word| word == 0));
            block.fill(u64::from(line) + 1);
            taken.push(line);
        }
        assert_eq!(taken.len(), 12);
        assert_eq!(arena.used_bytes(), (12 * 128, 12 * 128));
        assert_eq!(arena.capacity_bytes(), 3 * 64 * 8);
        for &line in &taken {
            assert!(arena.block(line, 16).iter().all(|&word| word == u64::from(line) + 1));
        }
        assert_eq!(arena.alloc(1), None);
    }

    #[test]
    fn an_empty_chunk_serves_another_size() {
        let mut arena = arena(1, 0);
        let small: Vec<u32> = (0..4).map(|_| arena.alloc(0).unwrap()).collect();
        assert_eq!(arena.alloc(2), None);
        for line in small {
            arena.block_mut(line, 16).fill(7);
            arena.free(0, line);
        }
        let large = arena.alloc(2).unwrap();
        assert!(arena.block(large, 64).iter().all(|&word| word == 0));
        let chunks: Vec<u32> = arena.sizes().map(|size| size.chunks).collect();
        assert_eq!(chunks, [0, 0, 1]);
    }

    #[test]
    fn the_first_size_keeps_its_reserve() {
        let mut arena = arena(3, 5);
        assert!(arena.alloc(2).is_some());
        assert_eq!(arena.alloc(2), None);
        for _ in 0..8 {
            assert!(arena.alloc(0).is_some());
        }
        assert_eq!(arena.alloc(0), None);
    }

    #[test]
    fn blocks_come_and_go_in_any_order() {
        let mut arena = arena(4, 0);
        let mut live: Vec<(usize, u32)> = Vec::new();
        let mut seed = 1_u64;
        for _ in 0..20_000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let draw = usize::try_from(seed >> 40).unwrap();
            if draw.is_multiple_of(2) && !live.is_empty() {
                let (size, line) = live.swap_remove(draw / 2 % live.len());
                let words = [16, 24, 64][size];
                let mark = u64::from(line) + 1;
                assert!(arena.block(line, words).iter().all(|&word| word == mark));
                arena.free(size, line);
            } else if let Some(line) = arena.alloc(draw / 2 % 3) {
                let size = draw / 2 % 3;
                arena.block_mut(line, [16, 24, 64][size]).fill(u64::from(line) + 1);
                live.push((size, line));
            }
        }
        let bytes: u64 = live.iter().map(|&(size, _)| [128, 192, 512][size]).sum();
        assert_eq!(arena.used_bytes().0, bytes);
    }

    #[test]
    #[should_panic(expected = "block freed twice")]
    fn notices_a_block_freed_twice() {
        let mut arena = arena(1, 0);
        let line = arena.alloc(0).unwrap();
        arena.free(0, line);
        arena.free(0, line);
    }
}
