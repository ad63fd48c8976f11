//! Reading a window: the answer for one pane, with what is known of its errors.
//!
//! Owns: the arithmetic from rows to an answer, and the buffers for it. Never touches: the block it
//! reads, topics' names beyond comparing them.
//!
//! Invariants
//! - reading changes nothing, and a later pane is answered by leaving expired rows out;
//! - an answer is a function of the events alone (as long as nothing was lost): ties are broken by
//!   name;
//! - once its buffers have grown to the largest window read, a view allocates nothing.

use super::cell::{Cell, RowHead, Width};
use super::relayout::Source;
use crate::grid::Grid;
use crate::limits::PANES_MAX;
use crate::trend::{self, Evidence, WEIGHTS};
use std::cmp::Ordering;
use trendsrv_proto::{Rank, TopicId, Trend};

/// The answer of one window at one pane. Reuse it: it keeps its buffers.
#[derive(Debug, Default)]
pub struct View {
    total: u64,
    events: u64,
    error_bound: u64,
    topics: Vec<Topic>,
    ranked: Option<(Rank, usize)>,
    rows: Rows,
    recent: Vec<u64>,
    baseline: Vec<u64>,
    baseline_high: Vec<u64>,
}

/// One topic of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Topic {
    /// The topic.
    pub topic: TopicId,
    /// Its weight in the window as far as the ring knows it.
    pub total: u64,
    /// The true weight is at least this.
    pub low: u64,
    /// The true weight is at most this.
    pub high: u64,
    /// Weight of the recent span, as far as the ring knows it.
    pub recent: u64,
    /// Expectation for the recent span from the panes before it, in 1/65,536.
    pub expected_q16: u128,
    /// Rate of the recent span less the rate of the window, thousandths of weight a second.
    pub velocity_milli: i64,
    /// Trend score in thousandths.
    pub score_milli: i64,
    /// What it is doing.
    pub trend: Trend,
}

/// What the rows say of the tenant: which panes are live, and what was lost in them.
#[derive(Debug)]
struct Rows {
    /// First live pane that still has a row, and how many there are.
    first: u64,
    count: usize,
    /// Live panes of the recent span start here.
    recent_first: u64,
    /// Baseline panes since the tenant's oldest event.
    baseline_panes: usize,
    /// Sum of `q * weight` of the tenant.
    baseline: u128,
    /// `lost` of the live panes before `first + i`, plain and as a baseline would weigh it.
    lost: [u64; PANES_MAX as usize + 1],
    lost_weighted: [u128; PANES_MAX as usize + 1],
}

impl View {
    /// An empty view.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts the first `k` topics of the order to the front and returns them.
    ///
    /// By count: count descending, then name bytes ascending. By score: score descending, then
    /// count, then name. Fewer than `k` topics are all returned.
    pub fn rank<'n>(
        &mut self,
        by: Rank,
        k: usize,
        names: impl Fn(TopicId) -> &'n [u8],
    ) -> &[Topic] {
        let k = k.min(self.topics.len());
        let order = |a: &Topic, b: &Topic| {
            let by_score = match by {
                Rank::Score => b.score_milli.cmp(&a.score_milli),
                Rank::Count => Ordering::Equal,
            };
            let by_count = by_score.then(b.total.cmp(&a.total));
            by_count.then_with(|| names(a.topic).cmp(names(b.topic)))
        };
        if k > 0 && k < self.topics.len() {
            self.topics.select_nth_unstable_by(k - 1, order);
        }
        self.topics[..k].sort_unstable_by(order);
        self.ranked = Some((by, k));
        &self.topics[..k]
    }

    /// Whether the set returned by the last [`Self::rank`] is certain to be the right one.
    ///
    /// By count: the last one's `low` reaches every other topic's `high` and the error bound of
    /// topics not tracked. By score, and where fewer topics are tracked than asked for: nothing was
    /// lost.
    #[must_use]
    pub fn certified(&self) -> bool {
        if self.error_bound == 0 {
            return true;
        }
        let Some((Rank::Count, k)) = self.ranked else { return false };
        let (first, rest) = self.topics.split_at(k);
        let Some(last) = first.last() else { return false };
        last.low >= self.error_bound && rest.iter().all(|topic| last.low >= topic.high)
    }

    /// How many topics the last [`Self::rank`] put to the front; all before the first.
    #[must_use]
    pub fn ranked(&self) -> usize {
        self.ranked.map_or(self.topics.len(), |(_, k)| k)
    }

    /// The answer of a tenant without a window.
    pub fn clear(&mut self) {
        (self.total, self.events, self.error_bound, self.ranked) = (0, 0, 0, None);
        self.topics.clear();
    }

    /// Weight of all events in the window.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.total
    }

    /// Events in the window.
    #[must_use]
    pub const fn events(&self) -> u64 {
        self.events
    }

    /// Topics in the window: at least this many, and exactly so when [`Self::exact`].
    #[must_use]
    pub fn distinct(&self) -> usize {
        self.topics.len()
    }

    /// Whether nothing was lost among the live panes.
    #[must_use]
    pub const fn exact(&self) -> bool {
        self.error_bound == 0
    }

    /// The most weight a topic that is not listed can have, and any listed one can have hidden.
    #[must_use]
    pub const fn error_bound(&self) -> u64 {
        self.error_bound
    }

    /// All topics with weight; the ranked ones first.
    #[must_use]
    pub fn topics(&self) -> &[Topic] {
        &self.topics
    }

    pub(super) fn read(&mut self, grid: &Grid, source: Source<'_>, pane: u64) {
        match source.layout.width {
            Width::Narrow => self.read_of::<u16>(grid, source, pane),
            Width::Middle => self.read_of::<u32>(grid, source, pane),
            Width::Wide => self.read_of::<u64>(grid, source, pane),
        }
    }

    fn read_of<C: Cell>(&mut self, grid: &Grid, source: Source<'_>, pane: u64) {
        let current = source.header().pane();
        assert!(pane >= current, "pane {pane} is before the window's pane {current}");
        (self.total, self.events, self.error_bound, self.ranked) = (0, 0, 0, None);
        self.topics.clear();
        let first = (pane + 1).saturating_sub(u64::from(grid.panes()));
        if source.header().events() == 0 || first > current {
            return;
        }
        self.sum_rows::<C>(grid, source, pane, first);
        self.error_bound = self.rows.lost[self.rows.count];
        self.judge(grid, source);
    }

    /// Sums the live rows: totals into `topics`, one a slot, the rest into the buffers.
    fn sum_rows<C: Cell>(&mut self, grid: &Grid, source: Source<'_>, pane: u64, first: u64) {
        let used = source.header().used();
        for sums in [&mut self.recent, &mut self.baseline, &mut self.baseline_high] {
            sums.clear();
            sums.resize(used, 0);
        }
        let keys_only = source.layout.keys_only();
        let stored = |slot| if keys_only { 0 } else { source.total(slot) };
        let topic = |slot| Topic::of(TopicId(source.slot(slot)[0]), stored(slot));
        self.topics.extend((0..used).map(topic));
        let current = source.header().pane();
        let recent_first = (pane + 1).saturating_sub(u64::from(grid.recent_panes()));
        self.rows.begin(first, recent_first);
        let stored_first = (current + 1).saturating_sub(u64::from(grid.panes()));
        let mut row = grid.place(stored_first).row() as usize;
        for at in stored_first..=current {
            let words = source.row(row);
            let head = C::head(words);
            let cells = &bytemuck::cast_slice::<u64, C>(&words[source.layout.head_words..])[..used];
            if at < first {
                if !keys_only {
                    for (topic, &cell) in self.topics.iter_mut().zip(cells) {
                        topic.total -= cell.into();
                    }
                }
            } else {
                self.rows.push(at, source.lost(row), head);
                if head.events > 0 {
                    self.total += head.weight;
                    self.events += head.events;
                    if keys_only {
                        for (topic, &cell) in self.topics.iter_mut().zip(cells) {
                            topic.total += cell.into();
                        }
                    }
                    self.add_cells(cells, recent_first.checked_sub(at + 1));
                }
            }
            row = if row + 1 == source.layout.panes { 0 } else { row + 1 };
        }
    }

    /// Adds a row to the recent span (no age) or, by its age, to the baseline.
    fn add_cells<C: Cell>(&mut self, cells: &[C], age: Option<u64>) {
        let Some(age) = age else {
            for (sum, &cell) in self.recent.iter_mut().zip(cells) {
                *sum += cell.into();
            }
            return;
        };
        // 24 bits of weight, 32 bits of cell and 64 rows fit a word; wide cells are cut in two.
        let q = weight_of(age);
        for (sum, &cell) in self.baseline.iter_mut().zip(cells) {
            *sum += q * (cell.into() & u64::from(u32::MAX));
        }
        if C::WIDTH == Width::Wide {
            for (sum, &cell) in self.baseline_high.iter_mut().zip(cells) {
                *sum += q * (cell.into() >> 32);
            }
        }
    }

    /// Completes the topics that have weight and removes the others.
    fn judge(&mut self, grid: &Grid, source: Source<'_>) {
        let (recent_panes, panes) = (grid.recent_panes(), grid.panes());
        let baseline_panes = self.rows.baseline_panes;
        let expected = |sum| trend::expected(sum, baseline_panes, recent_panes);
        let distinct = self.topics.iter().filter(|topic| topic.total > 0).count();
        let newcomer = expected(self.rows.baseline) / (distinct as u128 + 1);
        let mut kept = 0;
        for slot in 0..self.topics.len() {
            let mut topic = self.topics[slot];
            if topic.total == 0 {
                continue;
            }
            let hidden = self.rows.hidden(source.lossy_from(slot));
            let recent = self.recent[slot];
            let sum =
                u128::from(self.baseline[slot]) + (u128::from(self.baseline_high[slot]) << 32);
            topic.low = topic.total;
            topic.high = topic.total.saturating_add(hidden.weight);
            topic.recent = recent;
            topic.expected_q16 = expected(sum);
            topic.velocity_milli = trend::velocity_milli(
                (recent, recent_panes),
                (topic.total, panes),
                grid.slide_ms(),
            );
            let expected_most = match hidden.weight {
                0 => topic.expected_q16,
                _ => expected(sum + hidden.baseline),
            };
            (topic.score_milli, topic.trend) = trend::judge(&Evidence {
                recent: (recent, recent.saturating_add(hidden.recent)),
                expected: (topic.expected_q16, expected_most),
                newcomer,
                hidden: hidden.weight > 0,
            });
            self.topics[kept] = topic;
            kept += 1;
        }
        self.topics.truncate(kept);
    }
}

/// Whether the window that ends with `pane` has no event.
pub(super) fn is_empty_at(grid: &Grid, source: Source<'_>, pane: u64) -> bool {
    let header = source.header();
    let first = (pane + 1).saturating_sub(u64::from(grid.panes()));
    if header.events() == 0 || first > header.pane() {
        return true;
    }
    let has_events = |at| {
        let row = source.row(grid.place(at).row() as usize);
        match source.layout.width {
            Width::Narrow => u16::head(row).events > 0,
            Width::Middle => u32::head(row).events > 0,
            Width::Wide => u64::head(row).events > 0,
        }
    };
    !(first..=header.pane()).rev().any(has_events)
}

impl Topic {
    fn of(topic: TopicId, total: u64) -> Self {
        Self {
            topic,
            total,
            low: 0,
            high: 0,
            recent: 0,
            expected_q16: 0,
            velocity_milli: 0,
            score_milli: 0,
            trend: Trend::Steady,
        }
    }
}

/// Weight of a topic that may be hidden: in the window, in the recent span, in the baseline.
struct Hidden {
    weight: u64,
    recent: u64,
    baseline: u128,
}

impl Rows {
    fn begin(&mut self, first: u64, recent_first: u64) {
        (self.first, self.recent_first) = (first, recent_first);
        (self.count, self.baseline_panes, self.baseline) = (0, 0, 0);
    }

    /// The next live row, in order of panes.
    fn push(&mut self, at: u64, lost: u64, head: RowHead) {
        let age = self.recent_first.checked_sub(at + 1);
        // Weight lost in the recent span may have come before it: the newest baseline pane
        // weighs most.
        let q = weight_of(age.unwrap_or(0));
        let i = self.count;
        self.lost[i + 1] = self.lost[i].saturating_add(lost);
        self.lost_weighted[i + 1] = self.lost_weighted[i] + u128::from(lost) * u128::from(q);
        self.count += 1;
        if let Some(age) = age
            && head.events > 0
        {
            self.baseline_panes = self.baseline_panes.max(index_of(age) + 1);
            self.baseline += u128::from(head.weight) * u128::from(q);
        }
    }

    /// What live purges before pane `from` may hide of a topic. With the suffix bound of
    /// `purge.rs`: weight hidden in the recent span was lost in it, weight hidden in a baseline
    /// pane was lost then or later.
    fn hidden(&self, from: u64) -> Hidden {
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

impl Default for Rows {
    fn default() -> Self {
        Self {
            first: 0,
            count: 0,
            recent_first: 0,
            baseline_panes: 0,
            baseline: 0,
            lost: [0; PANES_MAX as usize + 1],
            lost_weighted: [0; PANES_MAX as usize + 1],
        }
    }
}

fn weight_of(age: u64) -> u64 {
    WEIGHTS[index_of(age)]
}

/// A difference of panes as an index; far ones end up past every table.
fn index_of(panes: u64) -> usize {
    usize::try_from(panes).unwrap_or(usize::MAX)
}
