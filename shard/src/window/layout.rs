//! Where the parts of a block lie, for every class of block.
//!
//! Owns: the arithmetic of block sizes. Never touches: a block.
//!
//! ```text
//! word 0       8            slots_at                rows_at                       words
//!      | header | index      | slots                 | rows[panes]                 |
//!      | 1 line | u16 …      | tier 0: key           | head, [lost], cell[slot] …  |
//!      |        | (tier > 0) | above: key total      |                             |
//!      |        |            | lossy: + credit from  |                             |
//! ```
//!
//! A class is (tier, width, lossy). The lossy class of a tier and width has the size of the exact
//! one and fewer slots, so that a window can begin to purge in place when no memory is left:
//!
//! | 60 panes, 16-bit cells | bytes | exact slots | lossy slots |
//! |---|---|---|---|
//! | tier 0 | 2,112 | 12 | 4 |
//! | tier 1 | 8,960 | 60 | 48 |
//! | tier 2 | 35,840 | 252 | 220 |
//!
//! Tier 0 keeps no total of a topic: its few rows are summed when somebody asks. An event then only
//! reads the line of its slot, and a pane that passes touches no slot at all.
//!
//! Invariants
//! - every part starts on a word, slots and rows of the exact 16-bit classes on a cache line;
//! - index entries are a power of two above `2 * slots`: probing always ends, and half of them
//!   less one is a mask that holds `slot + 1`.

use super::cell::{Cell, Width};
use crate::limits::{TIER_SLOTS, TIERS_MAX};
use crate::memory::LINE_WORDS;

/// Words of a block's header: one cache line.
pub(crate) const HEADER_WORDS: usize = LINE_WORDS;

/// Number of classes.
pub(crate) const CLASSES: usize = TIERS_MAX * WIDTHS * 2;

/// Shape of one class of block. All measures are in words unless said otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) tier: usize,
    pub(crate) width: Width,
    pub(crate) lossy: bool,
    pub(crate) panes: usize,
    /// Number of slots.
    pub(crate) slots: usize,
    pub(crate) slot_words: usize,
    pub(crate) index_words: usize,
    pub(crate) slots_words: usize,
    /// Weight, events and, when lossy, lost weight.
    pub(crate) head_words: usize,
    pub(crate) row_words: usize,
    /// The whole block.
    pub(crate) words: usize,
}

impl Layout {
    /// The layouts of all classes for a ring of `panes`, by class.
    pub(crate) fn all(panes: usize) -> Vec<Self> {
        let mut layouts = Vec::with_capacity(CLASSES);
        for (tier, &slots) in TIER_SLOTS.iter().enumerate() {
            for width in Width::ALL {
                let exact = Self::with(tier, width, false, slots, panes);
                let lossy = (1..=slots)
                    .rev()
                    .map(|slots| Self::with(tier, width, true, slots, panes))
                    .find(|lossy| lossy.words <= exact.words);
                // One slot and its rows always fit where twelve without credit did.
                let lossy = lossy.unwrap_or(exact);
                layouts.push(exact);
                layouts.push(Self { words: exact.words, ..lossy });
            }
        }
        layouts
    }

    /// The class with these properties.
    pub(crate) fn class(tier: usize, width: Width, lossy: bool) -> u8 {
        let class = (tier * WIDTHS + width as usize) * 2 + usize::from(lossy);
        u8::try_from(class).unwrap_or(u8::MAX)
    }

    /// The arena's size number of a class: exact and lossy twins share it.
    pub(crate) fn size_of(class: u8) -> usize {
        usize::from(class / 2)
    }

    /// Whether slots hold the topic only, and its total is the sum of its cells.
    pub(crate) const fn keys_only(&self) -> bool {
        self.slot_words == 1
    }

    /// Whether the topics are found through tags in the header (else through the index).
    pub(crate) const fn tagged(&self) -> bool {
        self.index_words == 0
    }

    /// First word of the slots.
    pub(crate) const fn slots_at(&self) -> usize {
        HEADER_WORDS + self.index_words
    }

    /// First word of the rows.
    pub(crate) const fn rows_at(&self) -> usize {
        self.slots_at() + self.slots_words
    }

    fn with(tier: usize, width: Width, lossy: bool, slots: usize, panes: usize) -> Self {
        let index_words = if tier == 0 { 0 } else { (slots * 2 + 1).next_power_of_two() / 4 };
        let slot_words = match (lossy, tier) {
            (true, _) => 4,
            (false, 0) => 1,
            (false, _) => 2,
        };
        let slots_words = (slots * slot_words).next_multiple_of(LINE_WORDS);
        let head_words = width.head_words() + usize::from(lossy);
        let row_words = head_words + (slots * width.bytes()).div_ceil(8);
        let words = HEADER_WORDS + index_words + slots_words + row_words * panes;
        let words = words.next_multiple_of(LINE_WORDS);
        Self {
            tier,
            width,
            lossy,
            panes,
            slots,
            slot_words,
            index_words,
            slots_words,
            head_words,
            row_words,
            words,
        }
    }
}

/// Sum of the cells of one slot over all rows; rows that are not live are zero.
pub(super) fn sum_of_cells(rows: &[u64], layout: &Layout, slot: usize) -> u64 {
    match layout.width {
        Width::Narrow => sum_of_cells_as::<u16>(rows, layout, slot),
        Width::Middle => sum_of_cells_as::<u32>(rows, layout, slot),
        Width::Wide => sum_of_cells_as::<u64>(rows, layout, slot),
    }
}

fn sum_of_cells_as<C: Cell>(rows: &[u64], layout: &Layout, slot: usize) -> u64 {
    let rows = rows.chunks_exact(layout.row_words).take(layout.panes);
    // No larger than the window's total, so the sum cannot overflow.
    rows.map(|row| bytemuck::cast_slice::<u64, C>(&row[layout.head_words..])[slot].into()).sum()
}

const WIDTHS: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_at_sixty_panes_are_the_published_ones() {
        let layouts = Layout::all(60);
        let of = |tier, lossy| layouts[usize::from(Layout::class(tier, Width::Narrow, lossy))];
        assert_eq!((of(0, false).words * 8, of(0, false).row_words * 8), (2_112, 32));
        assert_eq!((of(1, false).words * 8, of(1, false).row_words * 8), (8_960, 128));
        assert_eq!((of(2, false).words * 8, of(2, false).row_words * 8), (35_840, 512));
        assert_eq!((of(0, true).slots, of(1, true).slots, of(2, true).slots), (4, 48, 220));
        for tier in 0..3 {
            assert!(of(tier, false).slots_at().is_multiple_of(LINE_WORDS));
            assert!(of(tier, false).rows_at().is_multiple_of(LINE_WORDS));
        }
    }

    #[test]
    fn a_lossy_window_finds_room_in_every_larger_class() {
        for panes in 2..=64 {
            let layouts = Layout::all(panes);
            for layout in layouts.iter().filter(|layout| layout.lossy) {
                let slots = |tier, width| {
                    let class = usize::from(Layout::class(tier, width, true));
                    layouts.get(class).map_or(usize::MAX, |layout| layout.slots)
                };
                assert!(slots(layout.tier + 1, layout.width) > layout.slots);
                if let Some(wider) = layout.width.wider() {
                    assert!(slots(layout.tier, wider) >= layout.slots, "{layout:?}");
                }
            }
        }
    }

    #[test]
    fn every_class_fits_its_block_and_its_index_ends_probing() {
        for panes in 2..=64 {
            let layouts = Layout::all(panes);
            assert_eq!(layouts.len(), CLASSES);
            for (number, layout) in layouts.iter().enumerate() {
                let class = Layout::class(layout.tier, layout.width, layout.lossy);
                assert_eq!(usize::from(class), number);
                assert_eq!(layout.lossy, number % 2 == 1, "no lossy twin fits {layout:?}");
                assert!(layout.rows_at() + panes * layout.row_words <= layout.words);
                assert!(layout.slots >= 1 && layout.words.is_multiple_of(LINE_WORDS));
                assert!(layout.tagged() || layout.index_words * 4 > 2 * layout.slots);
                assert_eq!(layout.words, layouts[number & !1].words);
            }
        }
    }
}
