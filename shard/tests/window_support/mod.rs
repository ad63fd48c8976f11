//! A naive window that keeps every event, and helpers shared by the window tests.
#![allow(dead_code, reason = "each test binary uses its part")]
#![allow(unreachable_pub, reason = "a module of test binaries")]

use proptest::prelude::*;
use std::collections::BTreeMap;
use trendsrv_proto::TopicId;
use trendsrv_shard::{
    Added, Block, Event, Grid, HeapMemory, TopicSink, View, WindowConfig, Windows,
};

/// Counts what is open, and fails on a topic opened or closed twice.
#[derive(Debug, Default)]
pub struct Names(pub BTreeMap<u64, u64>);

impl TopicSink for Names {
    fn opened(&mut self, topic: TopicId) {
        *self.0.entry(topic.0).or_default() += 1;
    }

    fn closed(&mut self, topic: TopicId) {
        let count = self.0.get_mut(&topic.0).expect("closed but not open");
        *count -= 1;
        if *count == 0 {
            self.0.remove(&topic.0);
        }
    }
}

/// Every event ever counted.
#[derive(Clone, Debug, Default)]
pub struct Model {
    pub panes: u64,
    pub current: u64,
    pub events: Vec<(u64, u64, u64)>,
}

impl Model {
    pub fn new(grid: &Grid, pane: u64) -> Self {
        Self { panes: u64::from(grid.panes()), current: pane, events: Vec::new() }
    }

    /// Whether the event was in time.
    pub fn add(&mut self, pane: u64, topic: u64, weight: u32) -> bool {
        self.current = self.current.max(pane);
        let in_time = pane + self.panes > self.current;
        if in_time {
            self.events.push((pane, topic, u64::from(weight)));
        }
        in_time
    }

    pub fn live(&self, pane: u64) -> impl Iterator<Item = &(u64, u64, u64)> {
        let panes = self.panes;
        self.events.iter().filter(move |event| event.0 + panes > pane && event.0 <= pane)
    }

    pub fn totals(&self, pane: u64) -> BTreeMap<u64, u64> {
        let mut totals = BTreeMap::new();
        for &(_, topic, weight) in self.live(pane) {
            *totals.entry(topic).or_default() += weight;
        }
        totals
    }

    /// Score as floating point would have it, and whether the topic has a past.
    pub fn score(&self, grid: &Grid, pane: u64, topic: u64) -> (f64, bool) {
        let recent_panes = u64::from(grid.recent_panes());
        let live: Vec<_> = self.live(pane).copied().collect();
        let oldest = live.iter().map(|event| event.0).min().unwrap_or(pane);
        let is_recent = |at: u64| at + recent_panes > pane;
        let sum = |of: Option<u64>| -> f64 {
            let past = live.iter().filter(|event| !is_recent(event.0));
            let past = past.filter(|event| of.is_none_or(|topic| event.1 == topic));
            past.map(|event| event.2 as f64 * decay(pane - recent_panes - event.0)).sum()
        };
        let weights: f64 = if is_recent(oldest) {
            0.0
        } else {
            (0..=pane - recent_panes - oldest).map(decay).sum()
        };
        let mean = |sum: f64| if weights == 0.0 { 0.0 } else { sum / weights };
        let recent = live.iter().filter(|event| is_recent(event.0) && event.1 == topic);
        let recent: u64 = recent.map(|event| event.2).sum();
        let past = sum(Some(topic));
        let distinct = self.totals(pane).len() as f64;
        let expected = if past > 0.0 {
            mean(past) * recent_panes as f64
        } else if recent < 5 {
            return (0.0, false);
        } else {
            mean(sum(None)) * recent_panes as f64 / (distinct + 1.0)
        };
        let root = |weight: f64| (weight + 0.375).sqrt();
        (2.0 * (root(recent as f64) - root(expected)), past > 0.0)
    }
}

/// How far a score may be from that of floating point: its own rounding, and that of the weights of
/// the baseline. Those are whole numbers above 2^18, half a unit off at most; a root halves that.
pub fn score_slack(total: u64) -> f64 {
    // An expectation is at most that of all the weight in the newest of 63 recent panes.
    0.01 + 2.0 * (total as f64 * 63.0).sqrt() / f64::from(1 << 20)
}

fn decay(age: u64) -> f64 {
    (15.0_f64 / 16.0).powi(i32::try_from(age).expect("a sound test"))
}

/// One window and its model.
pub struct Pair {
    pub grid: Grid,
    pub windows: Windows<HeapMemory>,
    pub block: Block,
    pub model: Model,
    pub names: Names,
    pub view: View,
}

impl Pair {
    pub fn new(grid: Grid, tiers_max: usize, chunks: usize, pane: u64) -> Self {
        let config = config(grid, tiers_max);
        let chunk_words = usize::try_from(config.chunk_bytes() / 8).expect("a sound test");
        let mut windows =
            Windows::new(&config, HeapMemory::new(chunks * chunk_words)).expect("a sound test");
        let block = windows.open(7, pane).expect("a sound test");
        let model = Model::new(&grid, pane);
        Self { grid, windows, block, model, names: Names::default(), view: View::new() }
    }

    /// Adds to both and compares what they say of each event.
    pub fn add(&mut self, batch: &[(u64, u64, u32)]) -> Added {
        let added = self.windows.add(&mut self.block, events(&self.grid, batch), &mut self.names);
        let in_time = batch.iter().filter(|e| self.model.add(e.0, e.1, e.2)).count() as u64;
        assert_eq!(added.late, batch.len() as u64 - in_time, "late events");
        assert_eq!(added.applied + added.dropped, in_time, "events in time");
        added
    }

    pub fn advance(&mut self, pane: u64) {
        self.windows.advance(&mut self.block, self.grid.place(pane), &mut self.names);
        self.model.current = self.model.current.max(pane);
    }

    /// Compares an exact answer at a pane, no earlier than the current one.
    pub fn check_exact(&mut self, pane: u64) {
        self.windows.view(self.block, pane, &mut self.view);
        let totals = self.model.totals(pane);
        let view = &self.view;
        assert!(view.exact() && view.error_bound() == 0 && view.distinct() == totals.len());
        assert_eq!(view.total(), totals.values().sum::<u64>(), "total at {pane}");
        assert_eq!(view.events(), self.model.live(pane).count() as u64, "events at {pane}");
        assert_eq!(self.windows.is_empty_at(self.block, pane), totals.is_empty());
        if pane == self.windows.pane(self.block) {
            assert_eq!(self.windows.total(self.block), view.total(), "the header's total");
            assert_eq!(self.windows.events(self.block), view.events(), "the header's events");
        }
        for topic in view.topics() {
            let wanted = totals.get(&topic.topic.0).copied();
            assert_eq!(Some(topic.total), wanted, "topic {:?} at {pane}", topic.topic);
            assert_eq!((topic.low, topic.high), (topic.total, topic.total));
            let (score, _) = self.model.score(&self.grid, pane, topic.topic.0);
            let milli = topic.score_milli as f64 / 1_000.0;
            let slack = score_slack(view.total());
            assert!((milli - score).abs() < slack, "score {milli} for {score} at {pane}");
        }
        let open: u64 = self.names.0.values().sum();
        assert_eq!(open, self.windows.slots_used(self.block) as u64, "slots and names differ");
        assert!(self.names.0.values().all(|&count| count == 1), "a topic with two slots");
    }

    /// Closes the window: no topic may stay open.
    pub fn close(mut self) {
        self.windows.close(self.block, &mut self.names);
        assert!(self.names.0.is_empty(), "left open: {:?}", self.names);
        assert_eq!(self.windows.memory_use().used_bytes, 0);
    }
}

pub fn config(grid: Grid, tiers_max: usize) -> WindowConfig {
    let secret = [0x9e37_79b9_7f4a_7c15, 0xc2b2_ae3d_27d4_eb4f];
    WindowConfig { tiers_max, chunk_bytes_min: 4_096, ..WindowConfig::new(grid, secret) }
}

pub fn events<'a>(grid: &'a Grid, batch: &'a [(u64, u64, u32)]) -> impl Iterator<Item = Event> {
    batch.iter().map(|&(pane, topic, weight)| Event {
        at: grid.place(pane),
        topic: TopicId(topic),
        weight,
        ts_ms: grid.start_ms(pane),
    })
}

pub fn grids() -> impl Strategy<Value = Grid> {
    let shapes = [(60_000, 1_000), (60_000, 5_000), (3_600_000, 60_000), (2_000, 1_000)];
    proptest::sample::select(shapes.to_vec())
        .prop_map(|(window, slide)| Grid::new(window, slide).expect("a sound test"))
}

/// Weights: small, around the edges of the narrow widths, and as large as they come.
pub fn weights() -> impl Strategy<Value = u32> {
    prop_oneof![
        6 => Just(1_u32),
        4 => 1_u32..50,
        1 => 65_530_u32..65_540,
        1 => 999_999_990_u32..=1_000_000_000,
    ]
}

/// A step of a random history: how far the time moves, and events some panes before it.
#[derive(Clone, Debug)]
pub struct Step {
    pub ahead: u64,
    pub batch: Vec<(u64, u64, u32)>,
}

/// Steps over `topics` topics: mostly within a pane or two, sometimes a pause or a jump.
pub fn steps(topics: u64, len: usize) -> impl Strategy<Value = Vec<Step>> {
    let ahead = prop_oneof![6 => Just(0_u64), 6 => 1_u64..3, 2 => 3_u64..70, 1 => 100_u64..100_000];
    let back = prop_oneof![8 => Just(0_u64), 3 => 1_u64..4, 1 => 4_u64..130];
    let event = (back, 0..topics, weights());
    let step = (ahead, prop::collection::vec(event, 0..40));
    prop::collection::vec(step.prop_map(|(ahead, batch)| Step { ahead, batch }), 1..len)
}

/// The events of a step that has moved to `now`.
pub fn placed(step: &Step, now: u64) -> Vec<(u64, u64, u32)> {
    let place = |&(back, topic, weight): &(u64, u64, u32)| (now - back.min(now), topic, weight);
    step.batch.iter().map(place).collect()
}

/// Number of cases: `TREND_BOUNDS` when set.
pub fn cases(default: u32) -> u32 {
    std::env::var("TREND_BOUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}
