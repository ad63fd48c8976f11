//! Moving a window into a block of another class: growing, widening, shrinking, purging.
//!
//! Owns: the one routine that rewrites a whole block. Never touches: the arena.
//!
//! Invariants
//! - a topic comes along if and only if its credit is above `theta` (for an exact block the credit
//!   is the total); those left behind are reported closed;
//! - the order of slots is kept, and they are dense afterwards.

use super::cell::{Cell, RowHead, Width};
use super::header::{CALM, EVENTS, Header, PACKED, PANE, TOTAL, WATERMARK, set_calm, set_used};
use super::layout::{Layout, sum_of_cells};
use super::table::{Parts, TopicHash, TopicSink};
use crate::limits::SLOTS_MAX;
use trendsrv_proto::TopicId;

/// A block to read and its layout.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) words: &'a [u64],
    pub(super) layout: &'a Layout,
}

impl Source<'_> {
    pub(super) fn header(&self) -> Header<'_> {
        Header(self.words)
    }

    pub(super) fn slot(&self, slot: usize) -> &[u64] {
        let at = self.layout.slots_at() + slot * self.layout.slot_words;
        &self.words[at..at + self.layout.slot_words]
    }

    /// The topics of all used slots.
    pub(super) fn slots(&self) -> impl Iterator<Item = TopicId> {
        let slots = self.words[self.layout.slots_at()..].chunks(self.layout.slot_words);
        slots.take(self.header().used()).map(|slot| TopicId(slot[0]))
    }

    /// Weight of the topic of `slot` in the ring, at the window's current pane.
    pub(super) fn total(&self, slot: usize) -> u64 {
        if self.layout.keys_only() {
            sum_of_cells(&self.words[self.layout.rows_at()..], self.layout, slot)
        } else {
            self.slot(slot)[1]
        }
    }

    /// The weight a purge may take from the topic of `slot` before it is dropped.
    pub(super) fn credit(&self, slot: usize) -> u64 {
        if self.layout.lossy { self.slot(slot)[2] } else { self.total(slot) }
    }

    /// The first pane whose purges cannot have hidden weight of the topic of `slot`.
    pub(super) fn lossy_from(&self, slot: usize) -> u64 {
        if self.layout.lossy { self.slot(slot)[3] } else { 0 }
    }

    pub(super) fn row(&self, row: usize) -> &[u64] {
        &self.words[self.layout.rows_at() + row * self.layout.row_words..][..self.layout.row_words]
    }

    /// Events of the tenant in the pane of `row`.
    pub(super) fn row_events(&self, row: usize) -> u64 {
        let row = self.row(row);
        match self.layout.width {
            Width::Narrow => u16::head(row).events,
            Width::Middle => u32::head(row).events,
            Width::Wide => u64::head(row).events,
        }
    }

    /// How many of `count` rows from `first` on, round the ring, precede one with events.
    pub(super) fn empty_rows(&self, first: usize, count: usize) -> usize {
        match self.layout.width {
            Width::Narrow => self.empty_rows_as::<u16>(first, count),
            Width::Middle => self.empty_rows_as::<u32>(first, count),
            Width::Wide => self.empty_rows_as::<u64>(first, count),
        }
    }

    fn empty_rows_as<C: Cell>(&self, first: usize, count: usize) -> usize {
        let Layout { panes, row_words, .. } = *self.layout;
        let rows = self.words[self.layout.rows_at()..][..panes * row_words].chunks_exact(row_words);
        let round = rows.clone().skip(first).chain(rows).take(count);
        round.take_while(|row| C::head(row).events == 0).count()
    }

    /// Weight lost to purges in the pane of `row`.
    pub(super) fn lost(&self, row: usize) -> u64 {
        if self.layout.lossy { self.row(row)[self.layout.width.head_words()] } else { 0 }
    }

    /// Weight lost to purges in the live panes.
    pub(super) fn lost_total(&self) -> u64 {
        let rows = 0..self.layout.panes;
        rows.fold(0, |sum: u64, row| sum.saturating_add(self.lost(row)))
    }

    /// The largest cell and the largest weight or event count of a row.
    pub(super) fn maxima(&self) -> (u64, u64) {
        match self.layout.width {
            Width::Narrow => self.maxima_of::<u16>(),
            Width::Middle => self.maxima_of::<u32>(),
            Width::Wide => self.maxima_of::<u64>(),
        }
    }

    fn maxima_of<C: Cell>(&self) -> (u64, u64) {
        let used = self.header().used();
        let (mut cell_max, mut row_max) = (0, 0);
        for row in 0..self.layout.panes {
            let row = self.row(row);
            let head = C::head(row);
            row_max = row_max.max(head.weight).max(head.events);
            let cells = &bytemuck::cast_slice::<u64, C>(&row[self.layout.head_words..])[..used];
            cell_max = cells.iter().fold(cell_max, |max: u64, &cell| max.max(cell.into()));
        }
        (cell_max, row_max)
    }
}

/// Writes the window of `from` into the zeroed block `to`, less `theta` of every topic's credit.
///
/// # Panics
/// When a cell, or the topics that come along, do not fit: the caller checked.
pub(super) fn relayout(
    from: Source<'_>,
    to: (&mut [u64], &Layout),
    theta: u64,
    hasher: TopicHash,
    sink: &mut impl TopicSink,
) {
    assert!(theta == 0 || to.1.lossy, "an exact block cannot lose weight");
    move_slots(from, (&mut *to.0, to.1), theta, hasher, sink);
    match from.layout.width {
        Width::Narrow => move_rows_from::<u16>(from, to, theta),
        Width::Middle => move_rows_from::<u32>(from, to, theta),
        Width::Wide => move_rows_from::<u64>(from, to, theta),
    }
}

/// Reports every topic of a block closed.
pub(super) fn close_all(from: Source<'_>, sink: &mut impl TopicSink) {
    for slot in 0..from.header().used() {
        sink.closed(TopicId(from.slot(slot)[0]));
    }
}

/// Copies what a header keeps when its window moves or begins anew.
pub(super) fn copy_header(from: &[u64], to: &mut [u64]) {
    for word in [PANE, TOTAL, EVENTS, WATERMARK, PACKED, CALM] {
        to[word] = from[word];
    }
}

fn move_slots(
    from: Source<'_>,
    (words, layout): (&mut [u64], &Layout),
    theta: u64,
    hasher: TopicHash,
    sink: &mut impl TopicSink,
) {
    copy_header(from.words, words);
    let mut parts = Parts::of(words, layout);
    let mut kept = 0;
    for slot in 0..from.header().used() {
        let old = from.slot(slot);
        let credit = from.credit(slot);
        if credit <= theta {
            sink.closed(TopicId(old[0]));
            continue;
        }
        let new = &mut parts.slots[kept * layout.slot_words..][..layout.slot_words];
        new[0] = old[0];
        if !layout.keys_only() {
            new[1] = from.total(slot);
        }
        if layout.lossy {
            // Nothing was lost before the first purge: `from` 0 precedes every lost pane.
            (new[2], new[3]) = (credit - theta, if from.layout.lossy { old[3] } else { 0 });
        }
        parts.enter(layout, kept, hasher.of(old[0]));
        kept += 1;
    }
    set_used(parts.head, kept);
    set_calm(parts.head, 0, kept as u64);
}

fn move_rows_from<S: Cell>(from: Source<'_>, to: (&mut [u64], &Layout), theta: u64) {
    match to.1.width {
        Width::Narrow => move_rows::<S, u16>(from, to, theta),
        Width::Middle => move_rows::<S, u32>(from, to, theta),
        Width::Wide => move_rows::<S, u64>(from, to, theta),
    }
}

fn move_rows<S: Cell, D: Cell>(
    from: Source<'_>,
    (words, layout): (&mut [u64], &Layout),
    theta: u64,
) {
    let used = from.header().used();
    let mut kept = [0_u64; SLOTS_MAX.div_ceil(64)];
    for slot in 0..used {
        kept[slot / 64] |= u64::from(from.credit(slot) > theta) << (slot % 64);
    }
    let rows = &mut words[layout.rows_at()..];
    for number in 0..layout.panes {
        let old = from.row(number);
        let new = &mut rows[number * layout.row_words..][..layout.row_words];
        if layout.lossy {
            new[D::WIDTH.head_words()] = from.lost(number);
        }
        let head = S::head(old);
        if head == RowHead::default() {
            continue;
        }
        let (new_head, new_cells) = new.split_at_mut(layout.head_words);
        assert!(D::set_head(new_head, head), "row head too large for its new width");
        let old_cells = &bytemuck::cast_slice::<u64, S>(&old[from.layout.head_words..])[..used];
        let mut new_cells = bytemuck::cast_slice_mut::<u64, D>(new_cells).iter_mut();
        for (slot, &cell) in old_cells.iter().enumerate() {
            if kept[slot / 64] >> (slot % 64) & 1 == 1 {
                let place = new_cells.next().expect("more topics than slots");
                *place = D::narrow(cell.into()).expect("cell too large for its new width");
            }
        }
    }
}
