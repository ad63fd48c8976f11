//! One block while it is counted into: the hot path.
//!
//! An event of a tenant of tier 0 touches three cache lines: the header (pane, totals, tags), the
//! line of its topic's slot, and the row of its pane. Nothing here allocates.

use super::cell::{Cell, RowHead};
use super::header::{
    EVENTS, Header, PANE, TAGS_HIGH, TAGS_LOW, TOTAL, WATERMARK, set_calm, set_used,
};
use super::layout::{HEADER_WORDS, Layout};
use crate::grid::PaneRow;
use trendsrv_proto::TopicId;

/// One event of a tenant.
#[derive(Clone, Copy, Debug)]
pub struct Event {
    /// The pane it lies in.
    pub at: PaneRow,
    /// Its topic.
    pub topic: TopicId,
    /// Its weight, `1..=WEIGHT_MAX`.
    pub weight: u32,
    /// Its time, for the watermark.
    pub ts_ms: u64,
}

/// What became of the events of one call. Every event is in exactly one of the counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Added {
    /// Events counted.
    pub applied: u64,
    /// Events older than the window, not counted.
    pub late: u64,
    /// Events not counted because a cell was full and no memory was left to widen it.
    pub dropped: u64,
}

/// Hears which topics have a slot: the name table counts references.
pub trait TopicSink {
    /// A window has begun to track `topic`.
    fn opened(&mut self, topic: TopicId);
    /// A window has stopped tracking `topic`.
    fn closed(&mut self, topic: TopicId);
}

/// Why `apply` came back.
pub(super) enum Stop {
    /// No more events.
    Done,
    /// This event lies in a later pane.
    Advance(Event),
    /// This event's topic is new and every slot is used.
    Room(Event),
    /// A cell or row is too narrow for this event.
    Wider(Event),
}

/// The parts of a block.
pub(super) struct Parts<'a> {
    pub(super) head: &'a mut [u64],
    pub(super) index: &'a mut [u16],
    pub(super) slots: &'a mut [u64],
    pub(super) rows: &'a mut [u64],
}

/// Mixes topic ids with a secret, so that nobody outside can aim at a bucket.
#[derive(Clone, Copy, Debug)]
pub(super) struct TopicHash {
    pub(super) secret: [u64; 2],
}

impl TopicHash {
    /// One folded 64 x 64 -> 128 bit product.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "folds both halves of the product")]
    pub(super) fn of(self, topic: u64) -> u64 {
        let product = u128::from(topic ^ self.secret[0]) * u128::from(self.secret[1] | 1);
        (product >> 64) as u64 ^ product as u64
    }
}

impl<'a> Parts<'a> {
    #[inline]
    pub(super) fn of(words: &'a mut [u64], layout: &Layout) -> Self {
        let (head, rest) = words.split_at_mut(HEADER_WORDS);
        let (index, rest) = rest.split_at_mut(layout.index_words);
        let (slots, rows) = rest.split_at_mut(layout.slots_words);
        Self { head, index: bytemuck::cast_slice_mut(index), slots, rows }
    }

    /// The slot of `key`.
    #[inline]
    fn find<const TAGGED: bool>(&self, layout: &Layout, key: u64, hash: u64) -> Option<usize> {
        if TAGGED {
            let mut matches = tag_matches(self.head, hash);
            let used = Header(self.head).used();
            while matches != 0 {
                let slot = (matches.trailing_zeros() / 8) as usize;
                if slot < used && self.slots[slot * layout.slot_words] == key {
                    return Some(slot);
                }
                matches &= matches - 1;
            }
            return None;
        }
        let (mask, slot_mask) = index_masks(layout);
        let tag = index_tag(hash, slot_mask);
        let mut place = low_bits(hash, mask);
        loop {
            let entry = self.index[place];
            if entry == 0 {
                return None;
            }
            if entry & !slot_mask == tag {
                let slot = usize::from(entry & slot_mask) - 1;
                if self.slots[slot * layout.slot_words] == key {
                    return Some(slot);
                }
            }
            place = (place + 1) & mask;
        }
    }

    /// Makes `slot` findable.
    #[inline]
    pub(super) fn enter(&mut self, layout: &Layout, slot: usize, hash: u64) {
        if layout.tagged() {
            let (word, shift) = (TAGS_LOW + slot / 8, slot % 8 * 8);
            self.head[word] = self.head[word] & !(0xff << shift) | u64::from(tag_of(hash)) << shift;
            return;
        }
        let (mask, slot_mask) = index_masks(layout);
        let mut place = low_bits(hash, mask);
        while self.index[place] != 0 {
            place = (place + 1) & mask;
        }
        let number = u16::try_from(slot + 1).unwrap_or(slot_mask);
        self.index[place] = index_tag(hash, slot_mask) | number;
    }

    /// Writes a new topic into `slot`, without weight.
    #[inline]
    fn open(&mut self, layout: &Layout, slot: usize, key: u64, hash: u64) {
        let at = slot * layout.slot_words;
        self.slots[at] = key;
        if !layout.keys_only() {
            self.slots[at + 1] = 0;
        }
        if layout.lossy {
            // `lost` of this pane and earlier ones may hide weight of this topic.
            (self.slots[at + 2], self.slots[at + 3]) = (0, self.head[PANE] + 1);
        }
        self.enter(layout, slot, hash);
    }

    /// Reuses a slot of tier 0 whose topic has no weight left. Its cells are zero already.
    pub(super) fn reuse(&mut self, layout: &Layout, event: &Event, hash: u64) -> Option<TopicId> {
        let used = Header(self.head).used();
        let words = &*self.rows;
        let slot = (0..used).find(|&slot| match layout.keys_only() {
            true => super::layout::sum_of_cells(words, layout, slot) == 0,
            false => self.slots[slot * layout.slot_words + 1] == 0,
        })?;
        let old = TopicId(self.slots[slot * layout.slot_words]);
        self.open(layout, slot, event.topic.0, hash);
        Some(old)
    }
}

/// Counts events until one needs something this block cannot give.
#[inline]
pub(super) fn apply<C: Cell, const TAGGED: bool>(
    words: &mut [u64],
    layout: &Layout,
    hasher: TopicHash,
    held: Option<Event>,
    events: &mut impl Iterator<Item = Event>,
    added: &mut Added,
    sink: &mut impl TopicSink,
) -> Stop {
    let mut parts = Parts::of(words, layout);
    let mut next = match held {
        Some(event) => Some(event),
        None => events.next(),
    };
    while let Some(event) = next {
        let now = parts.head[PANE];
        if event.at.pane != now {
            if event.at.pane > now {
                return Stop::Advance(event);
            }
            if event.at.pane + layout.panes as u64 <= now {
                added.late += 1;
                next = events.next();
                continue;
            }
        }
        match count::<C, TAGGED>(&mut parts, layout, hasher, &event, sink) {
            Counted::Yes => {
                added.applied += 1;
            }
            Counted::Overflow => added.dropped += 1,
            Counted::Room => return Stop::Room(event),
            Counted::Wider => return Stop::Wider(event),
        }
        next = events.next();
    }
    Stop::Done
}

enum Counted {
    Yes,
    /// The window's total would pass 64 bits.
    Overflow,
    Room,
    Wider,
}

#[inline]
fn count<C: Cell, const TAGGED: bool>(
    parts: &mut Parts<'_>,
    layout: &Layout,
    hasher: TopicHash,
    event: &Event,
    sink: &mut impl TopicSink,
) -> Counted {
    let weight = u64::from(event.weight);
    let Some(total) = parts.head[TOTAL].checked_add(weight) else { return Counted::Overflow };
    let row_at = event.at.row as usize * layout.row_words;
    let head = C::head(&parts.rows[row_at..]);
    // No larger than the total, so these sums cannot overflow.
    let head = RowHead { weight: head.weight + weight, events: head.events + 1 };
    let key = event.topic.0;
    let hash = hasher.of(key);
    let found = parts.find::<TAGGED>(layout, key, hash);
    let used = Header(parts.head).used();
    let slot = match found {
        Some(slot) => slot,
        None if used == layout.slots => return Counted::Room,
        None => used,
    };
    let row = &mut parts.rows[row_at..row_at + layout.row_words];
    let (row_head, cells) = row.split_at_mut(layout.head_words);
    let cell = &mut bytemuck::cast_slice_mut::<u64, C>(cells)[slot];
    let Some(sum) = cell.plus(event.weight) else { return Counted::Wider };
    if !C::set_head(row_head, head) {
        return Counted::Wider;
    }
    *cell = sum;
    if found.is_none() {
        parts.open(layout, slot, key, hash);
        set_used(parts.head, used + 1);
        sink.opened(event.topic);
    }
    let at = slot * layout.slot_words;
    if !layout.keys_only() {
        parts.slots[at + 1] += weight;
    }
    if layout.lossy {
        parts.slots[at + 2] += weight;
    }
    parts.head[TOTAL] = total;
    parts.head[EVENTS] += 1;
    parts.head[WATERMARK] = parts.head[WATERMARK].max(event.ts_ms);
    Counted::Yes
}

/// Moves a window that has events forward by `gap` panes, fewer than a ring, to `at`.
pub(super) fn expire<C: Cell>(words: &mut [u64], layout: &Layout, at: PaneRow, gap: usize) {
    let parts = Parts::of(words, layout);
    let used = Header(parts.head).used();
    let judged = layout.tier > 0 || layout.width > super::cell::Width::Narrow || layout.lossy;
    if judged {
        let alive = match layout.keys_only() {
            // The smallest tier has none below it that fewer topics would fit.
            true => used,
            false => (0..used).filter(|s| parts.slots[s * layout.slot_words + 1] > 0).count(),
        };
        let (calm, peak) = Header(parts.head).calm();
        set_calm(parts.head, calm + gap as u64, peak.max(alive as u64));
    }
    for back in (0..gap).rev() {
        let row = (at.row as usize + layout.panes - back) % layout.panes;
        let row = &mut parts.rows[row * layout.row_words..][..layout.row_words];
        let head = C::head(row);
        if head.events > 0 {
            parts.head[TOTAL] -= head.weight;
            parts.head[EVENTS] -= head.events;
            if !layout.keys_only() {
                let cells = &bytemuck::cast_slice::<u64, C>(&row[layout.head_words..])[..used];
                for (slot, &cell) in parts.slots.chunks_exact_mut(layout.slot_words).zip(cells) {
                    slot[1] -= cell.into();
                }
            }
            row.fill(0);
        } else if layout.lossy {
            row.fill(0);
        }
    }
    if layout.lossy {
        for slot in parts.slots.chunks_exact_mut(layout.slot_words).take(used) {
            slot[2] = slot[2].min(slot[1]);
        }
    }
    parts.head[PANE] = at.pane;
}

/// Marks the top bit of every byte of the tags that matches. The lowest mark is a true one; higher
/// ones may be false, and a tag may be another topic's: the key decides.
#[inline]
fn tag_matches(head: &[u64], hash: u64) -> u128 {
    let tags = u128::from(head[TAGS_LOW]) | u128::from(head[TAGS_HIGH]) << 64;
    let differ = tags ^ (u128::from(tag_of(hash)) * ONES);
    differ.wrapping_sub(ONES) & !differ & (ONES << 7)
}

/// The slot a topic most likely has, judged by the header alone; slot 0 for a new one.
#[inline]
pub(super) fn tagged_slot(head: &[u64], hash: u64) -> usize {
    (tag_matches(head, hash).trailing_zeros() / 8 % 16) as usize
}

/// Where probing for a topic begins.
#[inline]
pub(super) fn index_place(layout: &Layout, hash: u64) -> usize {
    low_bits(hash, index_masks(layout).0)
}

/// Number of places less one, and the bits of an entry that hold `slot + 1`.
#[inline]
fn index_masks(layout: &Layout) -> (usize, u16) {
    let places = layout.index_words * 4;
    let slot_mask = u16::try_from(places - 1).unwrap_or(u16::MAX) >> 1;
    (places - 1, slot_mask)
}

#[inline]
#[expect(clippy::cast_possible_truncation, reason = "only low bits are asked for")]
fn low_bits(hash: u64, mask: usize) -> usize {
    hash as usize & mask
}

#[inline]
fn index_tag(hash: u64, slot_mask: u16) -> u16 {
    (hash >> 48) as u16 & !slot_mask
}

/// One byte, never 0.
#[inline]
pub(super) fn tag_of(hash: u64) -> u8 {
    ((hash >> 56) as u8).max(1)
}

const ONES: u128 = u128::MAX / 0xff;
