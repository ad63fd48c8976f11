//! A window outside its block: what has to be kept to build the same window elsewhere.
//!
//! Owns the words of a frozen window and the rules they keep. Never touches where they are stored.
//!
//! ```text
//! words   | key [credit from] per used slot | head [lost] cells per row that is not empty | …
//! ```
//!
//! Tags and index are left out: they depend on the secret of the process, and are made anew. So
//! are totals of topics, which are sums of cells.
//!
//! Invariant: a frozen window that [`check`] passes is one that events could have made, as far as
//! sums go: whatever is done with it later neither overflows nor underflows.

use super::cell::{Cell, RowHead, Width};
use super::header::{EVENTS, PANE, TOTAL, WATERMARK, set_calm, set_used, set_user};
use super::layout::{CLASSES, Layout};
use super::table::{Parts, TopicHash, TopicSink};
use super::windows::{Block, Windows};
use crate::grid::Grid;
use crate::memory::Memory;
use trendsrv_proto::TopicId;
use trendsrv_proto::limits::TIME_MS_MAX;

/// A window's numbers beside its words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Frozen {
    pub(crate) class: u8,
    pub(crate) used: u16,
    pub(crate) calm: u16,
    pub(crate) calm_peak: u16,
    pub(crate) pane: u64,
    pub(crate) watermark_ms: u64,
    pub(crate) total: u64,
    pub(crate) events: u64,
    /// Rows that follow, by bits.
    pub(crate) rows: u64,
}

/// Why a window is not built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotThawed {
    /// Its tier is above those of this shard.
    Tier { tier: usize, tiers_max: usize },
    /// No block of its size is left.
    Memory { needed: u64, capacity: u64 },
}

/// Rules for the windows of one grid. Reuse it: it keeps its buffers.
#[derive(Debug)]
pub(crate) struct Thawer {
    layouts: Vec<Layout>,
    grid: Grid,
    keys: Vec<u64>,
    totals: Vec<u64>,
}

impl Frozen {
    /// How many words belong to it.
    fn words(&self, layout: &Layout) -> usize {
        let slots = usize::from(self.used) * slot_words(layout);
        slots + self.rows.count_ones() as usize * self.row_words(layout)
    }

    /// Words of one row.
    fn row_words(&self, layout: &Layout) -> usize {
        layout.head_words + (usize::from(self.used) * layout.width.bytes()).div_ceil(8)
    }
}

impl<M: Memory> Windows<M> {
    /// The topics that have a slot.
    pub(crate) fn topics(&self, block: Block) -> impl Iterator<Item = TopicId> {
        let source = self.source(block);
        (0..source.header().used()).map(move |slot| TopicId(source.slot(slot)[0]))
    }

    /// Appends the words of a window.
    pub(crate) fn freeze(&self, block: Block, words: &mut Vec<u64>) -> Frozen {
        let source = self.source(block);
        let (header, layout) = (source.header(), source.layout);
        let (calm, calm_peak) = header.calm();
        let short = |value: u64| u16::try_from(value).unwrap_or(u16::MAX);
        let mut frozen = Frozen {
            class: block.class,
            used: short(header.used() as u64),
            calm: short(calm),
            calm_peak: short(calm_peak),
            pane: header.pane(),
            watermark_ms: header.watermark_ms(),
            total: header.total(),
            events: header.events(),
            rows: 0,
        };
        for slot in 0..header.used() {
            let slot = source.slot(slot);
            words.push(slot[0]);
            if layout.lossy {
                words.extend_from_slice(&slot[2..4]);
            }
        }
        let row_words = frozen.row_words(layout);
        for number in 0..layout.panes {
            let row = source.row(number);
            if row[..layout.head_words].iter().any(|&word| word != 0) {
                frozen.rows |= 1 << number;
                words.extend_from_slice(&row[..row_words]);
            }
        }
        frozen
    }

    /// Builds a window that [`Thawer::check`] has passed, in a block of the class it had.
    pub(crate) fn thaw(
        &mut self,
        frozen: &Frozen,
        words: &[u64],
        user: u32,
        sink: &mut impl TopicSink,
    ) -> Result<Block, NotThawed> {
        let layout = &self.layouts[usize::from(frozen.class)];
        if layout.tier >= self.tiers_max {
            return Err(NotThawed::Tier { tier: layout.tier, tiers_max: self.tiers_max });
        }
        let Some(line) = self.arena.alloc(Layout::size_of(frozen.class)) else {
            let (needed, capacity) = (layout.words as u64 * 8, self.arena.capacity_bytes());
            return Err(NotThawed::Memory { needed, capacity });
        };
        let block_words = self.arena.block_mut(line, layout.words);
        block_words[PANE] = frozen.pane;
        block_words[TOTAL] = frozen.total;
        block_words[EVENTS] = frozen.events;
        block_words[WATERMARK] = frozen.watermark_ms;
        set_user(block_words, user);
        set_used(block_words, usize::from(frozen.used));
        set_calm(block_words, frozen.calm.into(), frozen.calm_peak.into());
        let (slots, rows) = words.split_at(usize::from(frozen.used) * slot_words(layout));
        thaw_rows(frozen, rows, block_words, layout);
        thaw_slots(slots, block_words, layout, self.hasher, sink);
        Ok(Block { line, class: frozen.class })
    }
}

fn thaw_rows(frozen: &Frozen, rows: &[u64], block: &mut [u64], layout: &Layout) {
    let row_words = frozen.row_words(layout);
    let numbers = (0..layout.panes).filter(|number| frozen.rows >> number & 1 == 1);
    for (number, row) in numbers.zip(rows.chunks_exact(row_words)) {
        let at = layout.rows_at() + number * layout.row_words;
        block[at..at + row_words].copy_from_slice(row);
    }
}

fn thaw_slots(
    slots: &[u64],
    block: &mut [u64],
    layout: &Layout,
    hasher: TopicHash,
    sink: &mut impl TopicSink,
) {
    for (slot, words) in slots.chunks_exact(slot_words(layout)).enumerate() {
        let key = words[0];
        let at = layout.slots_at() + slot * layout.slot_words;
        block[at] = key;
        if !layout.keys_only() {
            block[at + 1] = super::layout::sum_of_cells(&block[layout.rows_at()..], layout, slot);
        }
        if layout.lossy {
            block[at + 2..at + 4].copy_from_slice(&words[1..3]);
        }
        Parts::of(block, layout).enter(layout, slot, hasher.of(key));
        sink.opened(TopicId(key));
    }
}

impl Thawer {
    pub(crate) fn new(grid: Grid) -> Self {
        let layouts = Layout::all(grid.panes() as usize);
        Self { layouts, grid, keys: Vec::new(), totals: Vec::new() }
    }

    /// How many words belong to a window.
    pub(crate) fn words(&self, frozen: &Frozen) -> Result<usize, &'static str> {
        Ok(frozen.words(self.layout(frozen)?))
    }

    /// Checks a window before it is built.
    pub(crate) fn check(&mut self, frozen: &Frozen, words: &[u64]) -> Result<(), &'static str> {
        let layout = *self.layout(frozen)?;
        let pane_max = self.grid.pane_of(TIME_MS_MAX);
        if frozen.pane > pane_max || self.grid.pane_of(frozen.watermark_ms) > frozen.pane {
            return Err("its window stands at a time that cannot be");
        }
        // Before the ring has filled for the first time, its later rows hold nothing.
        let live = (frozen.pane + 1).min(layout.panes as u64);
        let past = if live < u64::BITS.into() { frozen.rows >> live } else { 0 };
        if past != 0 || words.len() != frozen.words(&layout) {
            return Err("its window has rows outside the ring");
        }
        let (slots, rows) = words.split_at(usize::from(frozen.used) * slot_words(&layout));
        match layout.width {
            Width::Narrow => self.check_rows::<u16>(frozen, &layout, rows)?,
            Width::Middle => self.check_rows::<u32>(frozen, &layout, rows)?,
            Width::Wide => self.check_rows::<u64>(frozen, &layout, rows)?,
        }
        self.check_slots(frozen, &layout, slots)
    }

    fn layout(&self, frozen: &Frozen) -> Result<&Layout, &'static str> {
        if usize::from(frozen.class) >= CLASSES {
            return Err("its window is of a class that there is not");
        }
        let layout = &self.layouts[usize::from(frozen.class)];
        match usize::from(frozen.used) <= layout.slots {
            true => Ok(layout),
            false => Err("its window has more topics than slots"),
        }
    }

    /// Leaves the sum of each slot's cells in `totals`.
    fn check_rows<C: Cell>(
        &mut self,
        frozen: &Frozen,
        layout: &Layout,
        rows: &[u64],
    ) -> Result<(), &'static str> {
        let used = usize::from(frozen.used);
        self.totals.clear();
        self.totals.resize(used, 0);
        let mut window = RowHead::default();
        let mut lost_sum = 0_u64;
        for row in rows.chunks_exact(frozen.row_words(layout)) {
            let head = C::head(row);
            let lost = if layout.lossy { row[layout.width.head_words()] } else { 0 };
            let cells = bytemuck::cast_slice::<u64, C>(&row[layout.head_words..]);
            let (cells, beyond) = cells.split_at(used);
            let mut sum = 0_u64;
            for (total, &cell) in self.totals.iter_mut().zip(cells) {
                let cell: u64 = cell.into();
                sum = sum.checked_add(cell).ok_or(TOO_LARGE)?;
                *total = total.checked_add(cell).ok_or(TOO_LARGE)?;
            }
            let short = if layout.lossy { sum > head.weight } else { sum != head.weight };
            if short || head.weight < head.events || (head.events == 0 && head.weight > 0) {
                return Err("a row of its window does not add up");
            }
            if beyond.iter().any(|&cell| cell.into() != 0) || (head.events == 0 && lost == 0) {
                return Err("a row of its window holds what it should not");
            }
            window.weight = window.weight.checked_add(head.weight).ok_or(TOO_LARGE)?;
            window.events = window.events.checked_add(head.events).ok_or(TOO_LARGE)?;
            lost_sum = lost_sum.checked_add(lost).ok_or(TOO_LARGE)?;
        }
        // What was lost is added to a topic's weight for its upper bound.
        lost_sum.checked_add(window.weight).ok_or(TOO_LARGE)?;
        match window == (RowHead { weight: frozen.total, events: frozen.events }) {
            true => Ok(()),
            false => Err("the rows of its window do not add up to its total"),
        }
    }

    fn check_slots(
        &mut self,
        frozen: &Frozen,
        layout: &Layout,
        slots: &[u64],
    ) -> Result<(), &'static str> {
        self.keys.clear();
        for (words, &total) in slots.chunks_exact(slot_words(layout)).zip(&self.totals) {
            self.keys.push(words[0]);
            if layout.lossy && (words[1] > total || words[2] > frozen.pane + 1) {
                return Err("a topic of its window has credit that it cannot have");
            }
        }
        self.keys.sort_unstable();
        match self.keys.windows(2).any(|two| two[0] == two[1]) {
            true => Err("its window has a topic twice"),
            false => Ok(()),
        }
    }
}

/// Words kept of a used slot.
const fn slot_words(layout: &Layout) -> usize {
    if layout.lossy { 3 } else { 1 }
}

const TOO_LARGE: &str = "its window holds more than 64 bits count";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::TIER_SLOTS;
    use crate::memory::HeapMemory;
    use crate::window::{Event, View, WindowConfig};
    use std::collections::BTreeSet;
    use trendsrv_proto::Rank;

    #[derive(Default)]
    struct Opened(Vec<TopicId>);

    impl TopicSink for Opened {
        fn opened(&mut self, topic: TopicId) {
            self.0.push(topic);
        }

        fn closed(&mut self, topic: TopicId) {
            let at = self.0.iter().position(|open| *open == topic);
            self.0.swap_remove(at.expect("closed, so it was open"));
        }
    }

    fn windows(tiers_max: usize, secret: u64) -> Windows<HeapMemory> {
        let grid = Grid::new(8_000, 1_000).unwrap();
        let config = WindowConfig { tiers_max, ..WindowConfig::new(grid, [secret, secret + 1]) };
        let bytes = usize::try_from(config.memory_bytes(8 * config.chunk_bytes())).unwrap();
        Windows::new(&config, HeapMemory::new(bytes / 8)).unwrap()
    }

    fn event(grid: &Grid, topic: u64, weight: u32, pane: u64) -> Event {
        let ts_ms = grid.start_ms(pane) + 3;
        Event { at: grid.place(pane), topic: TopicId(topic), weight, ts_ms }
    }

    fn view(windows: &Windows<HeapMemory>, block: Block, pane: u64) -> String {
        let mut view = View::new();
        windows.view(block, pane, &mut view);
        view.rank(Rank::Count, 5_000, |_| b"");
        let mut topics: Vec<_> = view.topics().iter().map(|row| format!("{row:?}")).collect();
        topics.sort_unstable();
        format!("{} {} {} {topics:?}", view.total(), view.events(), view.error_bound())
    }

    /// Fills a window with so many topics, thaws it elsewhere, and has both go on.
    fn check(tiers_max: usize, topics: u64, weight: u32) -> u8 {
        let (mut old, mut new) = (windows(tiers_max, 3), windows(tiers_max, 99));
        let (grid, first) = (*old.grid(), 100);
        let (mut sink, mut opened) = (Opened::default(), Opened::default());
        let mut block = old.open(7, first).unwrap();
        for pane in first..first + 5 {
            for topic in 0..topics {
                let times = if topic == 1 { 5 } else { 1 };
                let events = std::iter::repeat_n(event(&grid, topic, weight, pane), times);
                old.add(&mut block, events, &mut sink);
            }
        }
        let mut words = Vec::new();
        let frozen = old.freeze(block, &mut words);
        let mut thawer = Thawer::new(grid);
        assert_eq!(thawer.words(&frozen), Ok(words.len()));
        assert_eq!(thawer.check(&frozen, &words), Ok(()), "{frozen:?}");
        let class = block.class;
        let mut copy = new.thaw(&frozen, &words, 8, &mut opened).unwrap();
        assert_eq!((copy.class, new.user(copy)), (class, 8));
        let topics_of = |sink: &Opened| sink.0.iter().copied().collect::<BTreeSet<_>>();
        assert_eq!(topics_of(&opened), topics_of(&sink));
        let mut again = Vec::new();
        assert_eq!((new.freeze(copy, &mut again), &again), (frozen, &words));
        for pane in first + 5..first + 20 {
            assert_eq!(view(&new, copy, pane), view(&old, block, pane), "at {pane}");
            let events = || [(pane + 1) % 7, pane].map(|topic| event(&grid, topic, 2, pane));
            old.add(&mut block, events(), &mut sink);
            new.add(&mut copy, events(), &mut opened);
        }
        assert_eq!(topics_of(&opened), topics_of(&sink));
        class
    }

    #[test]
    fn a_window_of_any_class_is_built_again_and_goes_on_alike() {
        let mut classes = BTreeSet::new();
        for (tier, slots) in TIER_SLOTS.into_iter().enumerate() {
            for weight in [3, 30_000, 1_000_000_000] {
                classes.insert(check(tier + 1, slots as u64, weight));
                classes.insert(check(tier + 1, slots as u64 + 1, weight));
            }
        }
        assert_eq!(classes.len(), CLASSES, "{classes:?}");
    }

    #[test]
    fn a_tier_or_memory_that_is_not_there_is_told() {
        let mut old = windows(2, 3);
        let grid = *old.grid();
        let (mut block, mut words) = (old.open(7, 100).unwrap(), Vec::new());
        let events = (0..13).map(|topic| event(&grid, topic, 1, 100));
        old.add(&mut block, events, &mut Opened::default());
        let frozen = old.freeze(block, &mut words);
        let mut new = windows(1, 3);
        let refused = new.thaw(&frozen, &words, 8, &mut Opened::default());
        assert_eq!(refused, Err(NotThawed::Tier { tier: 1, tiers_max: 1 }));
        let mut new = windows(2, 3);
        let full = loop {
            if let Err(why) = new.thaw(&frozen, &words, 8, &mut Opened::default()) {
                break why;
            }
        };
        assert!(matches!(full, NotThawed::Memory { .. }), "{full:?}");
    }
}
