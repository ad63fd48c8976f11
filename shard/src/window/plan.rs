//! Which rows of a ring count for what when a window is read at one pane.
//!
//! Owns: the weight of every row. Never touches: a row.
//!
//! ```text
//! row      0   1   2   3   4   5   6   7   8   9        panes = 10
//! pane    30  31  32  33  24  25  26  27  28  29        read at 33, two panes recent
//! weight  q1  q0   -   -  q7  q6  q5  q4  q3  q2        - stands for 0
//! ```
//!
//! A tick reads thousands of windows at one pane, so the plan is kept from one to the next.

use super::layout::Layout;
use crate::grid::Grid;
use crate::limits::PANES_MAX;
use crate::trend::WEIGHTS;
use bytemuck::cast;
use wide::{i16x8, u32x4};

/// The weights of the rows, and the rows without one.
#[derive(Debug)]
pub(super) struct Plan {
    moment: Moment,
    /// Weight of each row: 0 outside the baseline.
    pub(super) weights: [u32; PANES_MAX as usize],
    /// The same by rows `2i` and `2i + 1`, side by side in four 32-bit lanes: the low
    /// [`LOW_BITS`] bits of the weights, and the bits above them.
    pub(super) pairs: [[i16x8; 2]; PANES_MAX as usize / 2],
    /// Runs of rows of the recent span.
    pub(super) recent: [Run; 2],
    /// Runs of rows that hold panes before the window.
    pub(super) expired: [Run; 2],
}

/// What a plan depends on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Moment {
    /// Rows of the ring.
    panes: usize,
    /// Row of the oldest live pane.
    pub(super) row: usize,
    /// Live panes of the baseline, up to the window's current one.
    pub(super) older: usize,
    /// Live panes of the recent span, likewise.
    pub(super) recent: usize,
    /// Age of the newest of the baseline.
    pub(super) age: usize,
}

/// Rows that follow each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) row: usize,
    pub(super) count: usize,
}

impl Plan {
    /// Makes the plan that of `moment`.
    #[inline]
    pub(super) fn turn_to(&mut self, moment: Moment) {
        if self.moment != moment {
            self.change(moment);
        }
    }

    #[cold]
    #[inline(never)]
    fn change(&mut self, moment: Moment) {
        let Moment { panes, row, older, recent, age } = moment;
        self.moment = moment;
        self.weights.fill(0);
        for older_by in 0..older {
            self.weights[wrapped(row + older - 1 - older_by, panes)] = WEIGHTS[age + older_by];
        }
        for (pair, weights) in self.pairs.iter_mut().zip(self.weights.as_chunks().0) {
            *pair = side_by_side(*weights);
        }
        let newer = wrapped(row + older, panes);
        self.recent = runs(newer, recent, panes);
        self.expired = runs(wrapped(newer + recent, panes), panes - older - recent, panes);
    }
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            moment: Moment::default(),
            weights: [0; PANES_MAX as usize],
            pairs: [[i16x8::ZERO; 2]; PANES_MAX as usize / 2],
            recent: [Run::default(); 2],
            expired: [Run::default(); 2],
        }
    }
}

impl Moment {
    /// Reading at `pane` a window whose current pane is `current`, and whose oldest live pane is
    /// `first`.
    #[inline]
    pub(super) fn new(
        grid: &Grid,
        layout: &Layout,
        (first, current, pane): (u64, u64, u64),
    ) -> Self {
        let recent_first = recent_first(grid, pane);
        let end = current + 1;
        Self {
            panes: layout.panes,
            row: grid.place(first).row() as usize,
            older: index_of(recent_first.min(end).saturating_sub(first)),
            recent: index_of(end.saturating_sub(recent_first.max(first))),
            age: index_of(recent_first.saturating_sub(end)),
        }
    }

    /// The row after `row`.
    #[inline]
    pub(super) const fn next(&self, row: usize) -> usize {
        wrapped(row + 1, self.panes)
    }
}

/// First pane of the recent span of a window that ends with `pane`.
#[inline]
pub(super) fn recent_first(grid: &Grid, pane: u64) -> u64 {
    (pane + 1).saturating_sub(u64::from(grid.recent_panes()))
}

/// A difference of panes as an index; far ones end up past every table.
#[inline]
pub(super) fn index_of(panes: u64) -> usize {
    usize::try_from(panes).unwrap_or(usize::MAX)
}

const fn wrapped(row: usize, panes: usize) -> usize {
    if row >= panes { row - panes } else { row }
}

/// At most `panes` rows from `row` on.
fn runs(row: usize, count: usize, panes: usize) -> [Run; 2] {
    let before = count.min(panes - row);
    [Run { row, count: before }, Run { row: 0, count: count - before }]
}

fn side_by_side(weights: [u32; 2]) -> [i16x8; 2] {
    let [low, high] = [weights.map(|q| q & LOW), weights.map(|q| q >> LOW_BITS)];
    [low, high].map(|[first, second]| cast(u32x4::splat(first | second << 16)))
}

/// A weight has 25 bits: 12 below and 13 above, both positive as signed 16-bit numbers.
pub(super) const LOW_BITS: u32 = 12;
const LOW: u32 = (1 << LOW_BITS) - 1;
const _: () = assert!(WEIGHTS[0] >> LOW_BITS <= i16::MAX as u32);
