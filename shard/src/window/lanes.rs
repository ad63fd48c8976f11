//! Sums of a ring's rows, lane by lane.
//!
//! Owns: what a lane of a row stands for, and the sums. Never touches: trends.
//!
//! ```text
//! 16-bit cells  | w w e e | lost… | cell | cell | …     lanes of 16 bits
//! 32-bit cells  | w w e e | lost… | cell | cell | …     lanes of 32 bits
//! 64-bit cells  | w w e e | lost… | c c  | c c  | …     lanes of 32 bits, low half first
//! ```
//!
//! Weight and events of a row are two lanes each: they are summed with the cells, and without a
//! look at the head of any row. All rows are read from the first to the last, whatever pane they
//! hold: a straight run through a block is what the processor fetches ahead by itself.
//!
//! Invariants
//! - no sum overflows: there are at most 64 rows, and the weights of all ages add up to less than
//!   2^28;
//! - sums of lanes that nobody asked for (lost weight, unused slots) may be anything.

use super::cell::Width;
use super::layout::Layout;
use super::plan::{Moment, Plan, Run};
use super::relayout::Source;
use super::small;
use bytemuck::Pod;

/// The sums of one window. Reuse it: it keeps its buffers.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    plan: Plan,
    sums: Vec<Sum>,
    lane_bits: u32,
    cells_at: usize,
    cell_lanes: usize,
}

/// Sums of one lane.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sum {
    /// Over all live rows.
    pub(super) total: u64,
    /// Over the rows of the recent span.
    pub(super) recent: u64,
    /// Over the rows before it, each times its weight.
    pub(super) weighted: u64,
}

/// Sums of one topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CellSum {
    pub(super) total: u64,
    pub(super) recent: u64,
    pub(super) weighted: u128,
}

impl Lanes {
    /// Sums the rows at `moment`. Returns whether the window is [small](small).
    #[inline]
    pub(super) fn sum(&mut self, source: Source<'_>, moment: Moment) -> bool {
        self.plan.turn_to(moment);
        let (layout, header) = (source.layout, source.header());
        (self.lane_bits, self.cell_lanes) = match layout.width {
            Width::Narrow => (16, 1),
            Width::Middle => (32, 1),
            Width::Wide => (32, 2),
        };
        let word_lanes = (u64::BITS / self.lane_bits) as usize;
        self.cells_at = layout.head_words * word_lanes;
        let words = (self.cells_at + header.used() * self.cell_lanes).div_ceil(word_lanes);
        if self.sums.len() < layout.row_words * word_lanes {
            self.sums.resize(layout.row_words * word_lanes, Sum::default());
        }
        let rows = &source.words[layout.rows_at()..][..layout.panes * layout.row_words];
        let small = layout.width == Width::Narrow
            && header.total().max(header.events()) <= small::TOTAL_MAX;
        match layout.width {
            Width::Narrow if small => small::sum(&mut self.sums, rows, layout, &self.plan, words),
            Width::Narrow => self.sum_lanes::<u16, 8>(rows, layout, words),
            Width::Middle | Width::Wide => self.sum_lanes::<u32, 4>(rows, layout, words),
        }
        small
    }

    /// Weight of the tenant: in the window, and in the baseline.
    pub(super) fn weight(&self) -> (u64, u128) {
        let [low, high] = [self.sums[0], self.sums[1]];
        let total = low.total + (high.total << self.lane_bits);
        (total, u128::from(low.weighted) + (u128::from(high.weighted) << self.lane_bits))
    }

    /// Weight of the tenant in the baseline of a small window.
    pub(super) fn baseline_small(&self) -> u64 {
        self.sums[0].weighted
    }

    /// Events of the tenant in the window.
    pub(super) fn events(&self) -> u64 {
        self.sums[2].total + (self.sums[3].total << self.lane_bits)
    }

    /// Sums of the topic of `slot`.
    pub(super) fn cell(&self, slot: usize) -> CellSum {
        let at = self.cells_at + slot * self.cell_lanes;
        let low = self.sums[at];
        let high = if self.cell_lanes == 2 { self.sums[at + 1] } else { Sum::default() };
        CellSum {
            total: low.total + (high.total << 32),
            recent: low.recent + (high.recent << 32),
            weighted: u128::from(low.weighted) + (u128::from(high.weighted) << 32),
        }
    }

    /// Sums of the topics by slot, where a cell is one lane.
    pub(super) fn cells(&self) -> &[Sum] {
        &self.sums[self.cells_at..]
    }

    /// `N` is the number of lanes in two words.
    fn sum_lanes<L: Pod + Into<u64>, const N: usize>(
        &mut self,
        rows: &[u64],
        layout: &Layout,
        words: usize,
    ) {
        let rows =
            Rows { lanes: bytemuck::cast_slice::<u64, L>(rows), stride: layout.row_words * N / 2 };
        for at in (0..words).step_by(2) {
            // The last group may sum a word again that the one before it has.
            let at = at.min(layout.row_words - 2) * N / 2;
            self.sums[at..at + N].copy_from_slice(&rows.sums::<N>(&self.plan, at));
        }
    }
}

/// Rows as lanes.
struct Rows<'a, L> {
    lanes: &'a [L],
    stride: usize,
}

impl<L: Pod + Into<u64>> Rows<'_, L> {
    fn sums<const N: usize>(&self, plan: &Plan, at: usize) -> [Sum; N] {
        let (mut total, mut weighted) = ([0_u64; N], [0_u64; N]);
        for (row, &q) in self.lanes.chunks_exact(self.stride).zip(&plan.weights) {
            for (lane, &cell) in row[at..at + N].iter().enumerate() {
                total[lane] += cell.into();
                weighted[lane] += u64::from(q) * cell.into();
            }
        }
        let recent = self.plain::<N>(plan.recent, at);
        let expired = self.plain::<N>(plan.expired, at);
        std::array::from_fn(|lane| Sum {
            total: total[lane] - expired[lane],
            recent: recent[lane],
            weighted: weighted[lane],
        })
    }

    fn plain<const N: usize>(&self, runs: [Run; 2], at: usize) -> [u64; N] {
        let mut sums = [0_u64; N];
        for Run { row, count } in runs {
            for row in self.lanes.chunks_exact(self.stride).skip(row).take(count) {
                for (lane, &cell) in row[at..at + N].iter().enumerate() {
                    sums[lane] += cell.into();
                }
            }
        }
        sums
    }
}

/// The two halves of a head's weight and events follow each other, low half first.
const _: () = assert!(cfg!(target_endian = "little"), "rows are read as lanes");
