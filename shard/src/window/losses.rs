//! What purges among the live panes may hide.
//!
//! Owns: the sums of lost weight, by pane. Never touches: the block they come from.

use super::plan::index_of;
use crate::limits::PANES_MAX;
use crate::trend::WEIGHTS;

/// Lost weight of the live panes, added up from the oldest.
#[derive(Debug)]
pub(super) struct Losses {
    /// First live pane, and how many were pushed.
    first: u64,
    count: usize,
    /// Live panes of the recent span start here.
    recent_first: u64,
    /// `lost` of the live panes before `first + i`, plain and as a baseline would weigh it.
    lost: [u64; PANES_MAX as usize + 1],
    lost_weighted: [u128; PANES_MAX as usize + 1],
}

/// Weight of a topic that may be hidden: in the window, in the recent span, in the baseline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Hidden {
    pub(super) weight: u64,
    pub(super) recent: u64,
    pub(super) baseline: u128,
}

impl Losses {
    /// Forgets all; the next pane pushed is `first`.
    pub(super) fn begin(&mut self, first: u64, recent_first: u64) {
        (self.first, self.recent_first, self.count) = (first, recent_first, 0);
    }

    /// The next live pane.
    pub(super) fn push(&mut self, lost: u64) {
        let at = self.first + self.count as u64;
        let age = self.recent_first.checked_sub(at + 1);
        // Weight lost in the recent span may have come before it: the newest baseline pane
        // weighs most.
        let q = WEIGHTS[age.map_or(0, index_of)];
        let i = self.count;
        self.lost[i + 1] = self.lost[i].saturating_add(lost);
        self.lost_weighted[i + 1] = self.lost_weighted[i] + u128::from(lost) * u128::from(q);
        self.count += 1;
    }

    /// The most weight a topic without a slot can have.
    pub(super) const fn bound(&self) -> u64 {
        self.lost[self.count]
    }

    /// What live purges before pane `from` may hide of a topic. With the suffix bound of
    /// `purge.rs`: weight hidden in the recent span was lost in it, weight hidden in a baseline
    /// pane was lost then or later.
    pub(super) fn hidden(&self, from: u64) -> Hidden {
        let within = |pane: u64| index_of(pane.saturating_sub(self.first)).min(self.count);
        let upto = within(from);
        let before_recent = within(self.recent_first).min(upto);
        Hidden {
            weight: self.lost[upto],
            recent: self.lost[upto] - self.lost[before_recent],
            baseline: self.lost_weighted[upto],
        }
    }
}

impl Default for Losses {
    fn default() -> Self {
        Self {
            first: 0,
            count: 0,
            recent_first: 0,
            lost: [0; PANES_MAX as usize + 1],
            lost_weighted: [0; PANES_MAX as usize + 1],
        }
    }
}
