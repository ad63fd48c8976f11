//! Answers by the plainest arithmetic: what a view must agree with, bit for bit.
//!
//! Owns: a loop per topic over the live panes, in 128 bits, and random windows to try it on.

use super::cell::{Cell, Width};
use super::relayout::Source;
use super::view::{Topic, View};
use super::{Block, Event, TopicSink, WindowConfig, Windows};
use crate::grid::Grid;
use crate::memory::HeapMemory;
use crate::trend::{self, Evidence, WEIGHTS};
use proptest::prelude::*;
use trendsrv_proto::{Rank, TopicId};

/// What a view shows; topics in the order of their slots.
#[derive(Debug, Default, PartialEq, Eq)]
struct Answer {
    total: u64,
    events: u64,
    error_bound: u64,
    topics: Vec<Topic>,
}

/// A live pane: how old it is for a baseline (none in the recent span), and its row.
struct Live {
    pane: u64,
    age: Option<usize>,
    weight: u64,
    events: u64,
    lost: u64,
    cells: Vec<u64>,
}

impl Live {
    fn q(&self) -> u128 {
        WEIGHTS[self.age.unwrap_or(0)].into()
    }
}

fn live<C: Cell>(grid: &Grid, source: Source<'_>, pane: u64) -> Vec<Live> {
    let first = (pane + 1).saturating_sub(grid.panes().into());
    let recent_first = (pane + 1).saturating_sub(grid.recent_panes().into());
    let row_of = |at: u64| {
        let row = grid.place(at).row() as usize;
        let words = source.row(row);
        let head = C::head(words);
        let cells = bytemuck::cast_slice::<u64, C>(&words[source.layout.head_words..]);
        let age = recent_first.checked_sub(at + 1).map(|age| usize::try_from(age).unwrap());
        Live {
            pane: at,
            age,
            weight: head.weight,
            events: head.events,
            lost: source.lost(row),
            cells: cells[..source.header().used()].iter().map(|&cell| cell.into()).collect(),
        }
    };
    (first..=source.header().pane()).map(row_of).collect()
}

fn answer(grid: &Grid, source: Source<'_>, pane: u64) -> Answer {
    if source.header().events() == 0 {
        return Answer::default();
    }
    let panes = match source.layout.width {
        Width::Narrow => live::<u16>(grid, source, pane),
        Width::Middle => live::<u32>(grid, source, pane),
        Width::Wide => live::<u64>(grid, source, pane),
    };
    let baseline = |of: &dyn Fn(&Live) -> u64| -> u128 {
        let older = panes.iter().filter(|live| live.age.is_some());
        older.map(|live| live.q() * u128::from(of(live))).sum()
    };
    let reach = panes.iter().filter(|live| live.events > 0).filter_map(|live| live.age).max();
    let weights: u128 =
        reach.map_or(0, |reach| WEIGHTS[..=reach].iter().map(|&q| u128::from(q)).sum());
    let expected = |sum: u128| {
        let scaled = (sum * u128::from(grid.recent_panes())) << trend::EXPECTED_BITS;
        scaled.checked_div(weights).unwrap_or(0)
    };
    let total = |slot: usize| panes.iter().map(|live| live.cells[slot]).sum::<u64>();
    let slots = || (0..source.header().used()).filter(|&slot| total(slot) > 0);
    let newcomer = expected(baseline(&|live| live.weight)) / (slots().count() as u128 + 1);
    let topic = |slot: usize| {
        let hiding = || panes.iter().filter(|live| live.pane < source.lossy_from(slot));
        let lost_recently = hiding().filter(|live| live.age.is_none()).map(|live| live.lost);
        let hidden: u64 = hiding().map(|live| live.lost).sum();
        let hidden_baseline: u128 = hiding().map(|live| live.q() * u128::from(live.lost)).sum();
        let is_recent = panes.iter().filter(|live| live.age.is_none());
        let recent: u64 = is_recent.map(|live| live.cells[slot]).sum();
        let sum = baseline(&|live| live.cells[slot]);
        let (score_milli, trend) = trend::judge(&Evidence {
            recent: (recent, recent + lost_recently.sum::<u64>()),
            expected: (expected(sum), expected(sum + hidden_baseline)),
            newcomer,
            hidden: hidden > 0,
        });
        Topic {
            topic: TopicId(source.slot(slot)[0]),
            total: total(slot),
            low: total(slot),
            high: total(slot) + hidden,
            recent,
            expected_q16: expected(sum),
            velocity_milli: velocity(grid, recent, total(slot)),
            score_milli,
            trend,
        }
    };
    Answer {
        total: panes.iter().map(|live| live.weight).sum(),
        events: panes.iter().map(|live| live.events).sum(),
        error_bound: panes.iter().map(|live| live.lost).sum(),
        topics: slots().map(topic).collect(),
    }
}

fn velocity(grid: &Grid, recent: u64, total: u64) -> i64 {
    let (recent_panes, panes) = (i128::from(grid.recent_panes()), i128::from(grid.panes()));
    let over = i128::from(recent) * panes - i128::from(total) * recent_panes;
    i64::try_from(over * 1_000_000 / (recent_panes * panes * i128::from(grid.slide_ms()))).unwrap()
}

fn seen(view: &View) -> Answer {
    Answer {
        total: view.total(),
        events: view.events(),
        error_bound: view.error_bound(),
        topics: view.topics().to_vec(),
    }
}

/// The first `k` by the order as it is promised, after sorting all.
fn ranked(topics: &[Topic], by: Rank, k: usize) -> Vec<Topic> {
    let mut topics = topics.to_vec();
    topics.sort_by_key(|topic| {
        let score = if by == Rank::Score { topic.score_milli } else { 0 };
        (std::cmp::Reverse((score, topic.total)), name(topic.topic))
    });
    topics.truncate(k);
    topics
}

/// A name whose order is not that of the ids.
fn name(topic: TopicId) -> &'static [u8] {
    &NAMES[usize::try_from(topic.0 * 37 % 256).unwrap()]
}

static NAMES: [[u8; 1]; 256] = {
    let mut names = [[0]; 256];
    let mut at = 0;
    while at < 256 {
        names[at] = [at.to_le_bytes()[0]];
        at += 1;
    }
    names
};

struct Quiet;

impl TopicSink for Quiet {
    fn opened(&mut self, _: TopicId) {}
    fn closed(&mut self, _: TopicId) {}
}

/// A random history: panes to go forward, panes to go back for the event, topic, weight.
type History = Vec<(u64, u64, u64, u32)>;

struct Trial {
    grid: Grid,
    windows: Windows<HeapMemory>,
    block: Block,
    pane: u64,
    view: View,
}

impl Trial {
    fn new(grid: Grid, tiers_max: usize, chunks: usize, pane: u64) -> Self {
        let config = WindowConfig {
            tiers_max,
            chunk_bytes_min: 4_096,
            ..WindowConfig::new(grid, [0x9e37_79b9_7f4a_7c15, 0xc2b2_ae3d_27d4_eb4f])
        };
        let words = chunks * usize::try_from(config.chunk_bytes() / 8).unwrap();
        let mut windows = Windows::new(&config, HeapMemory::new(words)).unwrap();
        let block = windows.open(0, pane).unwrap();
        Self { grid, windows, block, pane, view: View::new() }
    }

    fn add(&mut self, back: u64, topic: u64, weight: u32) {
        let at = self.grid.place(self.pane.saturating_sub(back));
        let ts_ms = self.grid.start_ms(at.pane());
        let event = Event { at, topic: TopicId(topic), weight, ts_ms };
        self.windows.add(&mut self.block, [event], &mut Quiet);
    }

    /// Compares the view with the model, now and later.
    fn check(&mut self) {
        let current = self.windows.pane(self.block);
        let panes = u64::from(self.grid.panes());
        // The last pane of the recent span is the newest of the baseline a moment later.
        let past = u64::from(self.grid.recent_panes());
        for later in [0, 1, past, panes / 2, panes - 1, panes, 3 * panes] {
            self.windows.view(self.block, current + later, &mut self.view);
            let wanted = answer(&self.grid, self.windows.source(self.block), current + later);
            assert_eq!(seen(&self.view), wanted, "at {current} + {later}");
            for (by, k) in [(Rank::Score, 10), (Rank::Count, 3), (Rank::Score, 1_000)] {
                let first = self.view.rank(by, k, name).to_vec();
                assert_eq!(first, ranked(&wanted.topics, by, k), "ranked at {current} + {later}");
                let mut all = self.view.topics().to_vec();
                all.sort_by_key(|topic| topic.topic.0);
                let mut unranked = wanted.topics.clone();
                unranked.sort_by_key(|topic| topic.topic.0);
                assert_eq!(all, unranked, "a topic went missing");
            }
        }
    }

    fn run(&mut self, history: &History) {
        for (step, &(ahead, back, topic, weight)) in history.iter().enumerate() {
            self.pane += ahead;
            self.add(back, topic, weight);
            if ahead > 1 || step % 32 == 0 {
                self.check();
            }
        }
        self.check();
    }
}

fn grids() -> impl Strategy<Value = Grid> {
    // Even and odd numbers of panes, few and as many as there may be.
    let slides =
        [(60_000, 1_000), (64_000, 1_000), (59_000, 1_000), (2_000, 1_000), (3_000, 1_000)];
    let others = [(60_000, 5_000), (6_400, 100), (5_529_600_000, 86_400_000)];
    let all: Vec<_> = slides.into_iter().chain(others).collect();
    prop::sample::select(all).prop_map(|(window, slide)| Grid::new(window, slide).unwrap())
}

/// Events over `topics` topics whose weights stay below `2^bits`, mostly small.
fn histories(topics: u64, bits: u32) -> impl Strategy<Value = History> {
    let ahead = prop_oneof![12 => Just(0_u64), 6 => Just(1), 2 => 2_u64..20, 1 => 20_u64..130];
    let back = prop_oneof![4 => Just(0_u64), 1 => 0_u64..64];
    let weight = prop_oneof![6 => 1_u32..8, 1 => (0..bits).prop_map(|bit| 1 << bit)];
    prop::collection::vec((ahead, back, 0..topics, weight), 1..400)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn small_windows_agree_with_plain_arithmetic(
        grid in grids(), history in histories(12, 10), start in 0_u64..200,
    ) {
        Trial::new(grid, 1, 4, start).run(&history);
    }

    #[test]
    fn windows_of_many_topics_agree_with_plain_arithmetic(
        grid in grids(), history in histories(200, 12), start in 0_u64..200,
    ) {
        Trial::new(grid, 3, 40, start).run(&history);
    }

    #[test]
    fn windows_of_every_cell_width_agree_with_plain_arithmetic(
        grid in grids(), history in histories(40, 30), start in 0_u64..200,
    ) {
        Trial::new(grid, 3, 40, start).run(&history);
    }

    #[test]
    fn windows_that_purge_agree_with_plain_arithmetic(
        grid in grids(), history in histories(120, 30), start in 0_u64..200, tiers in 1_usize..3,
        bits in 1_u32..30,
    ) {
        let capped = history.iter().map(|&(a, b, t, w)| (a, b, t, w.min(1 << bits))).collect();
        Trial::new(grid, tiers, 4, start).run(&capped);
    }
}

/// Wide cells need more weight in a pane than any one event has.
#[test]
fn wide_cells_agree_with_plain_arithmetic() {
    let grid = Grid::new(60_000, 1_000).unwrap();
    let mut trial = Trial::new(grid, 2, 40, 1_000);
    for _ in 0..70 {
        for topic in 0..20 {
            for _ in 0..=topic % 6 {
                trial.add(0, topic, 1_000_000_000);
            }
        }
        trial.pane += 1;
        trial.check();
    }
    assert_eq!(trial.windows.source(trial.block).layout.width, Width::Wide);
}

/// The edge between the two ways of summing: 2^15 in all.
#[test]
fn both_sides_of_a_small_total_agree_with_plain_arithmetic() {
    let grid = Grid::new(60_000, 1_000).unwrap();
    let mut trial = Trial::new(grid, 1, 4, 1_000);
    // All the weight of a window in one cell.
    trial.add(0, 1, 32_766);
    for total in 32_767..32_770 {
        trial.add(0, 1, 1);
        assert_eq!(trial.windows.total(trial.block), total);
        trial.check();
    }
}
