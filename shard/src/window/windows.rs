//! All windows of a shard: blocks that grow and shrink over one arena.
//!
//! Owns: the arena, and when a window changes its class. Never touches: who a window belongs to.
//!
//! ```text
//!            a 13th topic                  too many topics, no memory
//! tier 0 --------------------> tier 1 … --------------------------------> lossy, purges in place
//!    ^   a window of fitting     |                                          |
//!    '---------------------------'<-----------------------------------------'
//!                                   nothing lost among the live panes
//! ```

use super::cell::Width;
use super::header::{EVENTS, Header, PANE, set_calm, set_used, set_user};
use super::known;
use super::layout::{HEADER_WORDS, Layout};
use super::purge;
use super::relayout::{Source, close_all, copy_header, relayout};
use super::table::{Added, Event, Stop, TopicHash, TopicSink, apply, expire};
use super::view::View;
use crate::arena::{Arena, SizeUse};
use crate::grid::{Grid, PaneRow};
use crate::limits::{ARENA_BYTES_MAX, CHUNK_BYTES_MIN, SLOTS_MAX, TIERS_MAX};
use crate::memory::{LINE_WORDS, Memory};
use trendsrv_proto::TopicId;

/// What all windows of a shard share.
#[derive(Clone, Copy, Debug)]
pub struct WindowConfig {
    /// Panes of every window.
    pub grid: Grid,
    /// Drawn once a process: topic ids are mixed with it, so that nobody can aim at a bucket.
    pub hash_secret: [u64; 2],
    /// Tiers a window may grow through, `1..=TIERS_MAX`.
    pub tiers_max: usize,
    /// Smallest blocks nobody else can take: one for each tenant the table may hold.
    pub tenants_max: u32,
    /// Smallest chunk the arena hands to a block size, in bytes; rounded up to a power of two that
    /// holds the largest block.
    pub chunk_bytes_min: usize,
}

/// Why windows cannot start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WindowError {
    /// The number of tiers is out of range.
    #[error("{tiers_max} tiers of windows are outside 1..={TIERS_MAX}")]
    Tiers {
        /// The tiers asked for.
        tiers_max: usize,
    },
    /// The memory does not hold the smallest block of every tenant.
    #[error("window memory of {bytes} bytes is less than the {needed} bytes its tenants need")]
    MemoryTooSmall {
        /// The memory given.
        bytes: u64,
        /// The least that works.
        needed: u64,
    },
    /// The memory is larger than block numbers reach.
    #[error("window memory of {bytes} bytes is more than {ARENA_BYTES_MAX}")]
    MemoryTooLarge {
        /// The memory given.
        bytes: u64,
    },
}

/// A window's place in the arena. Operations that move the window change it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    pub(crate) line: u32,
    pub(crate) class: u8,
}

/// Bytes of window memory, by size and in all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowUse {
    /// Bytes in blocks handed out.
    pub used_bytes: u64,
    /// Most bytes ever in blocks handed out.
    pub used_bytes_high: u64,
    /// Bytes there are.
    pub capacity_bytes: u64,
}

/// See the module header.
#[derive(Debug)]
pub struct Windows<M> {
    pub(super) grid: Grid,
    pub(super) hasher: TopicHash,
    pub(super) tiers_max: usize,
    pub(super) layouts: Vec<Layout>,
    /// Words of a block of the class that nearly all windows have.
    pub(super) known_words: usize,
    pub(super) arena: Arena<M>,
    /// One block of the largest size: a block that is rewritten in place is copied here first.
    scratch: Vec<u64>,
    credits: Vec<u64>,
}

impl WindowConfig {
    /// The defaults for a grid: all tiers, no tenant promised a block.
    #[must_use]
    pub const fn new(grid: Grid, hash_secret: [u64; 2]) -> Self {
        Self {
            grid,
            hash_secret,
            tiers_max: TIERS_MAX,
            tenants_max: 0,
            chunk_bytes_min: CHUNK_BYTES_MIN,
        }
    }

    /// Bytes of the smallest block: what a tenant of up to 12 topics takes.
    #[must_use]
    pub fn base_block_bytes(&self) -> u64 {
        Layout::all(self.grid.panes() as usize)[0].words as u64 * 8
    }

    /// Bytes of one chunk.
    #[must_use]
    pub fn chunk_bytes(&self) -> u64 {
        let sizes = self.block_words();
        let largest = sizes.iter().copied().max().unwrap_or(LINE_WORDS) * 8;
        largest.max(self.chunk_bytes_min).next_power_of_two() as u64
    }

    /// Bytes to give for the promised tenants and `budget_bytes` of growth, in whole chunks.
    #[must_use]
    pub fn memory_bytes(&self, budget_bytes: u64) -> u64 {
        let chunk = self.chunk_bytes();
        let in_chunk = chunk / self.base_block_bytes();
        let base = u64::from(self.tenants_max).div_ceil(in_chunk);
        (base + budget_bytes.div_ceil(chunk)) * chunk
    }

    /// Words of the block sizes in use, in the arena's order.
    fn block_words(&self) -> Vec<usize> {
        let layouts = Layout::all(self.grid.panes() as usize);
        let in_use = layouts.iter().step_by(2).filter(|layout| layout.tier < self.tiers_max);
        in_use.map(|layout| layout.words).collect()
    }
}

impl<M: Memory> Windows<M> {
    /// Windows over `memory`, none of them open.
    ///
    /// # Errors
    /// When the tiers are out of range or the memory is too small or too large.
    pub fn new(config: &WindowConfig, memory: M) -> Result<Self, WindowError> {
        if !(1..=TIERS_MAX).contains(&config.tiers_max) {
            return Err(WindowError::Tiers { tiers_max: config.tiers_max });
        }
        let bytes = memory.words().len() as u64 * 8;
        let needed = config.memory_bytes(0).max(config.chunk_bytes());
        if bytes < needed {
            return Err(WindowError::MemoryTooSmall { bytes, needed });
        }
        if bytes > ARENA_BYTES_MAX {
            return Err(WindowError::MemoryTooLarge { bytes });
        }
        let sizes = config.block_words();
        let chunk_words = usize::try_from(config.chunk_bytes() / 8).unwrap_or(usize::MAX);
        Ok(Self {
            grid: config.grid,
            hasher: TopicHash { secret: config.hash_secret },
            tiers_max: config.tiers_max,
            layouts: Layout::all(config.grid.panes() as usize),
            scratch: vec![0; sizes.iter().copied().max().unwrap_or(0)],
            credits: Vec::with_capacity(SLOTS_MAX),
            known_words: sizes[0],
            arena: Arena::new(memory, chunk_words, &sizes, config.tenants_max),
        })
    }

    /// Opens an empty window in the smallest block; `None` when there is none left.
    ///
    /// `user` is the caller's word: it comes back from [`Self::user`].
    #[must_use]
    pub fn open(&mut self, user: u32, pane: u64) -> Option<Block> {
        let line = self.arena.alloc(0)?;
        let block = Block { line, class: 0 };
        let words = self.words_mut(block);
        words[PANE] = pane;
        set_user(words, user);
        Some(block)
    }

    /// Gives a window's block back.
    pub fn close(&mut self, block: Block, sink: &mut impl TopicSink) {
        close_all(self.source(block), sink);
        self.arena.free(Layout::size_of(block.class), block.line);
    }

    /// Counts events of one window, in order.
    ///
    /// An event in a later pane than the window's moves the window there first.
    #[inline]
    pub fn add(
        &mut self,
        block: &mut Block,
        events: impl IntoIterator<Item = Event>,
        sink: &mut impl TopicSink,
    ) -> Added {
        let mut events = events.into_iter();
        let mut added = Added::default();
        let mut held = None;
        loop {
            match self.run(*block, held, &mut events, &mut added, sink) {
                Stop::Done => break,
                Stop::Advance(event) => {
                    self.advance(block, event.at, sink);
                    held = Some(event);
                }
                Stop::Room(event) => {
                    self.make_room(block, &event, sink);
                    held = Some(event);
                }
                Stop::Wider(event) => {
                    let wider = self.widen(block, sink);
                    added.dropped += u64::from(!wider);
                    held = wider.then_some(event);
                }
            }
        }
        added
    }

    /// Moves a window forward to `at`; earlier panes change nothing.
    #[inline]
    pub fn advance(&mut self, block: &mut Block, at: PaneRow, sink: &mut impl TopicSink) {
        if at.pane > self.pane(*block) {
            self.advance_to(block, at, sink);
        }
    }

    #[inline(never)]
    fn advance_to(&mut self, block: &mut Block, at: PaneRow, sink: &mut impl TopicSink) {
        let layout = self.layouts[usize::from(block.class)];
        let words = self.words_mut(*block);
        let gap = at.pane - words[PANE];
        if words[EVENTS] == 0 {
            words[PANE] = at.pane;
            return;
        }
        match usize::try_from(gap) {
            Ok(gap) if gap < layout.panes => match layout.width {
                Width::Narrow => expire::<u16>(words, &layout, at, gap),
                Width::Middle => expire::<u32>(words, &layout, at, gap),
                Width::Wide => expire::<u64>(words, &layout, at, gap),
            },
            Ok(_) | Err(_) => {
                words[PANE] = at.pane;
                words[EVENTS] = 0;
            }
        }
        if words[EVENTS] == 0 {
            self.reset(block, sink);
        } else if Header(words).calm().0 >= layout.panes as u64 {
            self.judge(block, sink);
        }
    }

    /// Asks for a window's header ahead of its use.
    #[inline]
    pub fn prefetch_head(&self, block: Block) {
        self.arena.prefetch(block.line as usize);
    }

    /// Asks for the row, and for tier 0 all slots, that an event in `row` may touch.
    ///
    /// For callers that do not know the topic yet; [`Self::prefetch_event`] asks for less.
    #[inline]
    pub fn prefetch_row(&self, block: Block, row: u32) {
        let layout = &self.layouts[usize::from(block.class)];
        let line = block.line as usize;
        let row_at = layout.rows_at() + row as usize * layout.row_words;
        self.arena.prefetch(line + row_at / LINE_WORDS);
        let slot_lines = if layout.tagged() { layout.slots_words / LINE_WORDS } else { 1 };
        for slot_line in 0..slot_lines {
            self.arena.prefetch(line + 1 + slot_line);
        }
    }

    /// Asks for all of a small window ahead of [`Self::view`], and for the start of a larger one.
    #[inline]
    pub fn prefetch_block(&self, block: Block) {
        let layout = &self.layouts[usize::from(block.class)];
        let line = block.line as usize;
        for ahead in 0..(layout.words / LINE_WORDS).min(PREFETCH_LINES_MAX) {
            self.arena.prefetch(line + ahead);
        }
    }

    /// Asks for the slot and the row that an event will touch, some time after
    /// [`Self::prefetch_head`]: the header says which slot, so it should have arrived.
    ///
    /// Call it in tight loops over six windows or so (see `count.rs` for the measurement).
    #[inline]
    pub fn prefetch_event(&self, block: Block, at: PaneRow, topic: TopicId) {
        let (line, hash) = (block.line as usize, self.hasher.of(topic.0));
        let ask = |word: usize| self.arena.prefetch(line + word / LINE_WORDS);
        if block.class == known::CLASS
            && let Some(head) = self.header(block).0.first_chunk()
        {
            ask(known::row_at(at.row));
            return ask(known::slot_at(known::slot_tagged(head, hash)));
        }
        let layout = &self.layouts[usize::from(block.class)];
        ask(layout.rows_at() + at.row as usize * layout.row_words);
        if layout.tagged() {
            let slot = super::table::tagged_slot(self.header(block).0, hash);
            ask(layout.slots_at() + slot * layout.slot_words);
        } else {
            // The slot is known only after the index has arrived.
            ask(HEADER_WORDS + super::table::index_place(layout, hash) / 4);
        }
    }

    /// The window's current pane.
    #[inline]
    #[must_use]
    pub fn pane(&self, block: Block) -> u64 {
        self.header(block).pane()
    }

    /// Weight in the window, at its current pane.
    #[must_use]
    pub fn total(&self, block: Block) -> u64 {
        self.header(block).total()
    }

    /// Events in the window, at its current pane.
    #[must_use]
    pub fn events(&self, block: Block) -> u64 {
        self.header(block).events()
    }

    /// The largest event time counted so far, in milliseconds; 0 before the first.
    #[must_use]
    pub fn watermark_ms(&self, block: Block) -> u64 {
        self.header(block).watermark_ms()
    }

    /// Topics with a slot (some may have lost all their weight since).
    #[must_use]
    pub fn slots_used(&self, block: Block) -> usize {
        self.header(block).used()
    }

    /// The caller's word.
    #[must_use]
    pub fn user(&self, block: Block) -> u32 {
        self.header(block).user()
    }

    /// Changes the caller's word.
    pub fn set_user(&mut self, block: Block, user: u32) {
        set_user(self.words_mut(block), user);
    }

    /// Whether no event is left in the window that ends with `pane`.
    #[must_use]
    pub fn is_empty_at(&self, block: Block, pane: u64) -> bool {
        super::view::is_empty_at(&self.grid, self.source(block), pane)
    }

    /// Reads the window that ends with `pane` into `view`; changes nothing.
    ///
    /// # Panics
    /// When `pane` lies before the window's current pane: those counts are gone.
    pub fn view(&self, block: Block, pane: u64, view: &mut View) {
        view.read(&self.grid, self.source(block), pane);
    }

    /// The grid of these windows.
    #[must_use]
    pub const fn grid(&self) -> &Grid {
        &self.grid
    }

    /// Memory in use.
    #[must_use]
    pub fn memory_use(&self) -> WindowUse {
        let (used_bytes, used_bytes_high) = self.arena.used_bytes();
        WindowUse { used_bytes, used_bytes_high, capacity_bytes: self.arena.capacity_bytes() }
    }

    /// Use of each block size: tiers from small to large, three cell widths each.
    pub fn sizes(&self) -> impl Iterator<Item = SizeUse> + '_ {
        self.arena.sizes()
    }

    #[inline]
    fn run(
        &mut self,
        block: Block,
        held: Option<Event>,
        events: &mut impl Iterator<Item = Event>,
        added: &mut Added,
        sink: &mut impl TopicSink,
    ) -> Stop {
        let layout = &self.layouts[usize::from(block.class)];
        let words = self.arena.block_mut(block.line, layout.words);
        let hasher = self.hasher;
        match (layout.width, layout.tagged()) {
            (Width::Narrow, true) => {
                apply::<u16, true>(words, layout, hasher, held, events, added, sink)
            }
            (Width::Narrow, false) => {
                apply::<u16, false>(words, layout, hasher, held, events, added, sink)
            }
            (Width::Middle, true) => {
                apply::<u32, true>(words, layout, hasher, held, events, added, sink)
            }
            (Width::Middle, false) => {
                apply::<u32, false>(words, layout, hasher, held, events, added, sink)
            }
            (Width::Wide, true) => {
                apply::<u64, true>(words, layout, hasher, held, events, added, sink)
            }
            (Width::Wide, false) => {
                apply::<u64, false>(words, layout, hasher, held, events, added, sink)
            }
        }
    }

    /// Frees at least one slot for the topic of `event`.
    #[cold]
    #[inline(never)]
    fn make_room(&mut self, block: &mut Block, event: &Event, sink: &mut impl TopicSink) {
        let layout = self.layouts[usize::from(block.class)];
        let hash = self.hasher.of(event.topic.0);
        if layout.tagged() {
            let words = self.words_mut(*block);
            let mut parts = super::table::Parts::of(words, &layout);
            if let Some(old) = parts.reuse(&layout, event, hash) {
                sink.closed(old);
                sink.opened(event.topic);
                return;
            }
        } else {
            let source = self.source(*block);
            if (0..layout.slots).any(|slot| source.credit(slot) == 0) {
                return self.rewrite(block, block.class, 0, sink);
            }
        }
        let lossy = layout.lossy && self.source(*block).lost_total() > 0;
        if layout.lossy && !lossy {
            // Nothing lost is live any more: the exact twin of this block has more slots.
            return self.rewrite(block, block.class - 1, 0, sink);
        }
        if layout.tier + 1 < self.tiers_max
            && self.change(block, Layout::class(layout.tier + 1, layout.width, lossy), sink)
        {
            return;
        }
        self.purge(block, sink);
    }

    /// Takes credit from every topic so that some slots become free.
    fn purge(&mut self, block: &mut Block, sink: &mut impl TopicSink) {
        let layout = self.layouts[usize::from(block.class)];
        let class = Layout::class(layout.tier, layout.width, true);
        let slots = self.layouts[usize::from(class)].slots;
        // The first purge also moves to fewer slots: it leaves a quarter of them free, not half.
        let keep = if layout.lossy { slots / 2 } else { slots - slots.div_ceil(4) };
        let mut credits = std::mem::take(&mut self.credits);
        let source = self.source(*block);
        let theta = purge::theta(source, Header(source.words).used(), keep, &mut credits);
        self.credits = credits;
        self.rewrite(block, class, theta, sink);
        let layout = self.layouts[usize::from(class)];
        let row = self.grid.place(self.pane(*block)).row as usize;
        let lost_at = layout.rows_at() + row * layout.row_words + layout.width.head_words();
        let lost = &mut self.words_mut(*block)[lost_at];
        *lost = lost.saturating_add(theta);
    }

    /// Doubles the cells' width; `false` when no memory is left for it.
    #[cold]
    #[inline(never)]
    fn widen(&mut self, block: &mut Block, sink: &mut impl TopicSink) -> bool {
        let layout = self.layouts[usize::from(block.class)];
        let Some(width) = layout.width.wider() else { return false };
        self.change(block, Layout::class(layout.tier, width, layout.lossy), sink)
    }

    /// Moves a window into a block of another size; `false`, and no change, without memory.
    fn change(&mut self, block: &mut Block, class: u8, sink: &mut impl TopicSink) -> bool {
        let Some(line) = self.arena.alloc(Layout::size_of(class)) else { return false };
        let (old, new) =
            (&self.layouts[usize::from(block.class)], &self.layouts[usize::from(class)]);
        let (from, to) = self.arena.pair((block.line, old.words), (line, new.words));
        relayout(Source { words: from, layout: old }, (to, new), 0, self.hasher, sink);
        self.arena.free(Layout::size_of(block.class), block.line);
        *block = Block { line, class };
        true
    }

    /// Rewrites a window within its block, as the same class or its twin.
    fn rewrite(&mut self, block: &mut Block, class: u8, theta: u64, sink: &mut impl TopicSink) {
        assert!(Layout::size_of(class) == Layout::size_of(block.class), "another size of block");
        let (old, new) =
            (&self.layouts[usize::from(block.class)], &self.layouts[usize::from(class)]);
        let words = self.arena.block_mut(block.line, old.words);
        let copy = &mut self.scratch[..old.words];
        copy.copy_from_slice(words);
        words.fill(0);
        relayout(Source { words: copy, layout: old }, (words, new), theta, self.hasher, sink);
        block.class = class;
    }

    /// Makes a window whose events are all gone as good as new, in the smallest block.
    #[cold]
    #[inline(never)]
    fn reset(&mut self, block: &mut Block, sink: &mut impl TopicSink) {
        close_all(self.source(*block), sink);
        let mut header = [0; HEADER_WORDS];
        copy_header(self.words_mut(*block), &mut header);
        header[super::header::TOTAL] = 0;
        set_used(&mut header, 0);
        set_calm(&mut header, 0, 0);
        if Layout::size_of(block.class) != 0
            && let Some(line) = self.arena.alloc(0)
        {
            self.arena.free(Layout::size_of(block.class), block.line);
            *block = Block { line, class: 0 };
        }
        let layout = self.layouts[usize::from(block.class)];
        block.class = Layout::class(layout.tier, layout.width, false);
        let words = self.words_mut(*block);
        words.fill(0);
        words[..HEADER_WORDS].copy_from_slice(&header);
    }

    /// After a whole window: one tier down if it would have fitted, the narrowest cells that hold
    /// it, and exact if nothing lost is live.
    #[cold]
    #[inline(never)]
    fn judge(&mut self, block: &mut Block, sink: &mut impl TopicSink) {
        let layout = self.layouts[usize::from(block.class)];
        let source = self.source(*block);
        let (_, peak) = Header(source.words).calm();
        let lossy = layout.lossy && source.lost_total() > 0;
        let (cell_max, row_max) = source.maxima();
        // A quarter of the slots stays free, so that it does not grow again at once.
        let fits = |tier, width| {
            let class = Layout::class(tier, width, lossy);
            peak * 4 <= self.layouts[usize::from(class)].slots as u64 * 3
        };
        let narrow = Width::with_room(cell_max, row_max).min(layout.width);
        let width = if !lossy || fits(layout.tier, narrow) { narrow } else { layout.width };
        let tier = match layout.tier.checked_sub(1) {
            Some(below) if fits(below, width) => below,
            Some(_) | None => layout.tier,
        };
        let class = Layout::class(tier, width, lossy);
        set_calm(self.words_mut(*block), 0, 0);
        if class == block.class {
            return;
        }
        if Layout::size_of(class) == Layout::size_of(block.class) {
            self.rewrite(block, class, 0, sink);
        } else {
            // Without memory for the smaller block the larger one stays: nothing is lost.
            let _ = self.change(block, class, sink);
        }
    }

    #[inline]
    fn words_mut(&mut self, block: Block) -> &mut [u64] {
        self.arena.block_mut(block.line, self.layouts[usize::from(block.class)].words)
    }

    #[inline]
    pub(super) fn source(&self, block: Block) -> Source<'_> {
        let layout = &self.layouts[usize::from(block.class)];
        Source { words: self.arena.block(block.line, layout.words), layout }
    }

    #[inline]
    fn header(&self, block: Block) -> Header<'_> {
        Header(self.arena.block(block.line, HEADER_WORDS))
    }
}

/// Lines of a window that are asked for at once: a small one of 60 panes.
const PREFETCH_LINES_MAX: usize = 33;
