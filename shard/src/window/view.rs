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

use super::lanes::{CellSum, Lanes, Sum};
use super::losses::{Hidden, Losses};
use super::order::Order;
use super::plan::{Moment, recent_first};
use super::relayout::Source;
use crate::grid::Grid;
use crate::trend::{self, Evidence, Past, Rates};
use trendsrv_proto::{Rank, TopicId, Trend};

/// The answer of one window at one pane. Reuse it: it keeps its buffers.
#[derive(Debug, Default)]
pub struct View {
    total: u64,
    events: u64,
    error_bound: u64,
    topics: Vec<Topic>,
    ranked: Option<(Rank, usize)>,
    lanes: Lanes,
    losses: Losses,
    order: Order,
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
        if k > 0 {
            self.order.front(&mut self.topics, by, k, names);
        }
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

    /// Gives the answer to another view and keeps the buffers for reading: they are hot.
    pub(crate) fn hand_over(&mut self, to: &mut Self) {
        (to.total, to.events) = (self.total, self.events);
        (to.error_bound, to.ranked) = (self.error_bound, self.ranked);
        std::mem::swap(&mut to.topics, &mut self.topics);
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
        let current = source.header().pane();
        assert!(pane >= current, "pane {pane} is before the window's pane {current}");
        self.clear();
        let first = (pane + 1).saturating_sub(u64::from(grid.panes()));
        if source.header().events() == 0 || first > current {
            return;
        }
        let moment = Moment::new(grid, source.layout, (first, current, pane));
        let small = self.lanes.sum(source, moment);
        (self.total, self.events) = (self.lanes.weight().0, self.lanes.events());
        let past = Past::new(baseline_panes(source, &moment), grid.recent_panes());
        if source.layout.lossy {
            self.losses.begin(first, recent_first(grid, pane));
            let mut row = moment.row;
            for _ in 0..moment.older + moment.recent {
                self.losses.push(source.lost(row));
                row = moment.next(row);
            }
            self.error_bound = self.losses.bound();
            self.judge(&Rates::new(grid), past, source);
        } else if small {
            self.judge_small(&Rates::new(grid), past, source);
        } else {
            self.judge(&Rates::new(grid), past, source);
        }
    }

    /// Makes topics of the sums.
    fn judge(&mut self, rates: &Rates, past: Past, source: Source<'_>) {
        let used = source.header().used();
        let distinct = (0..used).filter(|&slot| self.lanes.cell(slot).total > 0).count();
        let newcomer = past.expected(self.lanes.weight().1) / (distinct as u128 + 1);
        for slot in 0..used {
            let CellSum { total, recent, weighted } = self.lanes.cell(slot);
            if total == 0 {
                continue;
            }
            let hidden = if self.error_bound > 0 {
                self.losses.hidden(source.lossy_from(slot))
            } else {
                Hidden::default()
            };
            let expected_q16 = past.expected(weighted);
            let expected_most = match hidden.weight {
                0 => expected_q16,
                _ => past.expected(weighted + hidden.baseline),
            };
            let (score_milli, trend) = trend::judge(&Evidence {
                recent: (recent, recent.saturating_add(hidden.recent)),
                expected: (expected_q16, expected_most),
                newcomer,
                hidden: hidden.weight > 0,
            });
            self.topics.push(Topic {
                topic: TopicId(source.slot(slot)[0]),
                total,
                low: total,
                high: total.saturating_add(hidden.weight),
                recent,
                expected_q16,
                velocity_milli: rates.velocity_milli(recent, total),
                score_milli,
                trend,
            });
        }
    }

    /// The same for a small window without losses, one kind of arithmetic at a time: the roots of
    /// many topics are then under way at once, instead of one waiting for the sums of the next.
    fn judge_small(&mut self, rates: &Rates, past: Past, source: Source<'_>) {
        let cells = &self.lanes.cells()[..source.header().used()];
        let distinct = cells.iter().map(|cell| u64::from(cell.total > 0)).sum::<u64>();
        let newcomer = past.expected_small(self.lanes.baseline_small()) / (distinct + 1);
        let mut topics = source.slots();
        let (mut expected, mut scores) = ([0; TOGETHER], [0; TOGETHER]);
        for cells in cells.chunks(TOGETHER) {
            for (expected, cell) in expected.iter_mut().zip(cells) {
                *expected = past.expected_small(cell.weighted);
            }
            for ((score, &expected), cell) in scores.iter_mut().zip(&expected).zip(cells) {
                let against = if expected == 0 { newcomer } else { expected };
                *score = trend::score_milli_small(cell.recent, against);
            }
            let judged = expected.iter().zip(&scores);
            for ((cell, topic), (&expected, &score)) in cells.iter().zip(&mut topics).zip(judged) {
                let Sum { total, recent, .. } = *cell;
                if total == 0 {
                    continue;
                }
                let (score_milli, trend) = trend::judge_small(recent, expected, score);
                self.topics.push(Topic {
                    topic,
                    total,
                    low: total,
                    high: total,
                    recent,
                    expected_q16: expected.into(),
                    velocity_milli: rates.velocity_milli_small(recent, total),
                    score_milli,
                    trend,
                });
            }
        }
    }
}

/// Baseline panes since the tenant's oldest event.
fn baseline_panes(source: Source<'_>, moment: &Moment) -> usize {
    match source.empty_rows(moment.row, moment.older) {
        empty if empty == moment.older => 0,
        empty => moment.age + moment.older - empty,
    }
}

/// Whether the window that ends with `pane` has no event.
pub(super) fn is_empty_at(grid: &Grid, source: Source<'_>, pane: u64) -> bool {
    let header = source.header();
    let first = (pane + 1).saturating_sub(u64::from(grid.panes()));
    if header.events() == 0 || first > header.pane() {
        return true;
    }
    let has_events = |at| source.row_events(grid.place(at).row() as usize) > 0;
    !(first..=header.pane()).rev().any(has_events)
}

/// Topics judged together.
const TOGETHER: usize = 16;
