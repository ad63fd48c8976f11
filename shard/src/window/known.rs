//! The way of nearly every event: an exact window of the smallest tier, a topic that it holds.
//!
//! Owns one addition to a header, a slot and a row whose shapes are known when this is compiled.
//! Never touches: anything that needs more than that; [`super::table`] does all of it, and gives
//! the same window (a third of the instructions are left, see decision 020).
//!
//! ```text
//! words  0 header 8 | 8 slots 16, 12 in use | 24 rows of 4: weight u32, events u32, 12 x u16
//! ```

use super::header::{EVENTS, Header, PANE, TAGS_HIGH, TAGS_LOW, TOTAL, WATERMARK};
use super::layout::HEADER_WORDS;
#[cfg(test)]
use super::layout::Layout;
use super::table::{Event, TopicHash, tag_of};
use super::windows::{Block, Windows};
use crate::grid::PaneRow;
use crate::limits::TIER_SLOTS;
use crate::memory::Memory;
use bytemuck::cast;
use wide::u8x16;

/// The class of the smallest exact blocks with narrow cells.
pub(super) const CLASS: u8 = 0;

/// A block of [`CLASS`].
pub(crate) struct Known<'a> {
    head: &'a mut [u64; HEADER_WORDS],
    slots: &'a mut [u64; SLOTS_WORDS],
    rows: &'a mut [u64],
    hasher: TopicHash,
    panes: u32,
}

impl<'a> Known<'a> {
    /// `None` when these are not the words of such a block.
    #[inline]
    pub(super) fn of(words: &'a mut [u64], hasher: TopicHash, panes: u32) -> Option<Self> {
        let (head, rest) = words.split_first_chunk_mut()?;
        let (slots, rows) = rest.split_first_chunk_mut()?;
        Some(Self { head, slots, rows, hasher, panes })
    }

    /// The window's current pane.
    #[inline]
    pub(super) fn pane(&self) -> u64 {
        self.head[PANE]
    }

    /// Counts an event; `false`, and no change, when that takes more than adding up.
    #[inline]
    pub(crate) fn count(&mut self, event: &Event) -> bool {
        // Neither ahead of the window nor behind it.
        if self.pane().wrapping_sub(event.at.pane) >= u64::from(self.panes) {
            return false;
        }
        let weight = u64::from(event.weight);
        let Some(slot) = self.slot_of(event.topic.0) else { return false };
        let row_at = event.at.row as usize * ROW_WORDS;
        let Some(row) = self.rows.get_mut(row_at..row_at + ROW_WORDS) else { return false };
        let (word, shift) = (HEAD_WORDS + slot / 4, slot % 4 * 16);
        let Some(total) = self.head[TOTAL].checked_add(weight) else { return false };
        let fits = (row[word] >> shift & CELL) + weight <= CELL
            && (row[0] & LOW) + weight <= LOW
            && row[0] >> 32 < LOW;
        if !fits {
            return false;
        }
        row[0] += weight | 1 << 32;
        row[word] += weight << shift;
        self.head[TOTAL] = total;
        self.head[EVENTS] += 1;
        self.head[WATERMARK] = self.head[WATERMARK].max(event.ts_ms);
        true
    }

    /// The slot of a topic. A second topic with the same tag is left to the general search.
    #[inline]
    fn slot_of(&self, key: u64) -> Option<usize> {
        let slot = slot_tagged(self.head, self.hasher.of(key));
        let is_it = slot < Header(self.head).used() && *self.slots.get(slot)? == key;
        is_it.then_some(slot)
    }
}

impl<M: Memory> Windows<M> {
    /// The window as one that most events can be counted into at once; `None` when it is not of
    /// that kind, or stands at another pane than `now`.
    #[inline]
    pub(crate) fn known(&mut self, block: Block, now: Option<PaneRow>) -> Option<Known<'_>> {
        if block.class != CLASS {
            return None;
        }
        let (hasher, panes) = (self.hasher, self.grid.panes());
        let window = Known::of(self.arena.block_mut(block.line, self.known_words), hasher, panes)?;
        match now {
            Some(now) if now.pane != window.pane() => None,
            Some(_) | None => Some(window),
        }
    }
}

/// The first slot whose tag is that of a hash; past all slots when there is none.
#[inline]
pub(super) fn slot_tagged(head: &[u64; HEADER_WORDS], hash: u64) -> usize {
    let tags: u8x16 = cast([head[TAGS_LOW], head[TAGS_HIGH]]);
    let equal = tags.simd_eq(u8x16::splat(tag_of(hash)));
    equal.to_bitmask().trailing_zeros() as usize
}

/// The row of a block, as the first of its words.
#[inline]
pub(super) const fn row_at(row: u32) -> usize {
    HEADER_WORDS + SLOTS_WORDS + row as usize * ROW_WORDS
}

/// The slot of a block, likewise.
#[inline]
pub(super) const fn slot_at(slot: usize) -> usize {
    HEADER_WORDS + slot
}

/// Whether a layout is the one that this file knows.
#[cfg(test)]
pub(super) fn is_known(layout: &Layout) -> bool {
    let shape = (layout.slots_at(), layout.slot_words, layout.rows_at(), layout.row_words);
    shape == (slot_at(0), 1, row_at(0), ROW_WORDS) && layout.tagged() && !layout.lossy
}

const SLOTS_WORDS: usize = TIER_SLOTS[0].next_multiple_of(8);
const HEAD_WORDS: usize = 1;
const ROW_WORDS: usize = HEAD_WORDS + TIER_SLOTS[0].div_ceil(4);
const CELL: u64 = u16::MAX as u64;
const LOW: u64 = u32::MAX as u64;

#[cfg(test)]
mod tests {
    use super::super::table::{Added, Stop, TopicSink, apply};
    use super::*;
    use crate::grid::Grid;
    use trendsrv_proto::{TopicId, fmix64};

    struct Deaf;

    impl TopicSink for Deaf {
        fn opened(&mut self, _: TopicId) {}
        fn closed(&mut self, _: TopicId) {}
    }

    #[test]
    fn the_smallest_class_is_the_known_one_for_every_grid() {
        for panes in 2..=64 {
            let layouts = Layout::all(panes);
            assert!(is_known(&layouts[usize::from(CLASS)]), "{panes} panes");
            assert!(layouts[1..].iter().all(|other| !is_known(other)));
        }
    }

    /// Every event is either counted as the general way does, or left alone.
    #[test]
    fn counts_what_the_general_way_counts_or_nothing() {
        let (grid, panes) = (Grid::new(6_000, 100).unwrap(), 60);
        let layout = Layout::all(panes)[usize::from(CLASS)];
        let hasher = TopicHash { secret: [fmix64(7), fmix64(9)] };
        let mut block = vec![0; layout.words];
        block[PANE] = 1_000;
        let (mut alone, mut together) = (0, 0);
        for i in 0..60_000_u64 {
            let random = fmix64(i);
            // A few events ahead or too old, a few topics too many, and some that fill a cell.
            let pane = 1_001 - random % 63;
            let weight = if random >> 60 == 0 { 60_000 } else { 1 + (random >> 32) as u32 % 9 };
            let event = Event {
                at: grid.place(pane),
                topic: TopicId((random >> 8) % 13),
                weight,
                ts_ms: pane * 100 + random % 100,
            };
            let mut general = block.clone();
            let (mut added, mut none) = (Added::default(), std::iter::empty());
            let held = Some(event);
            let stop = apply::<u16, true>(
                &mut general,
                &layout,
                hasher,
                held,
                &mut none,
                &mut added,
                &mut Deaf,
            );
            let mut known = block.clone();
            let counted = Known::of(&mut known, hasher, 60).unwrap().count(&event);
            if counted {
                assert!(matches!(stop, Stop::Done) && added.applied == 1);
                assert_eq!(known, general);
                together += 1;
            } else {
                assert_eq!(known, block, "left alone");
                alone += 1;
            }
            match stop {
                Stop::Done => block = general,
                // A full cell: on with an empty window.
                Stop::Wider(_) => {
                    block.fill(0);
                    block[PANE] = 1_000;
                }
                Stop::Advance(_) | Stop::Room(_) => {}
            }
        }
        assert!(together > 20_000 && alone > 1_000, "{together} and {alone}");
    }
}
