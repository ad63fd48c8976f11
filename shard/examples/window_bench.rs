//! Nanoseconds per event of the window core alone: 100,000 tenants of 12 topics by Zipf's law.
//!
//! `cargo run --profile fast -p trendsrv-shard --example window_bench [-- panes]`
//!
//! Processor time of the thread is measured, events are drawn before, a pane lasts 4.2 million.

mod bench_bed;

use bench_bed::{HugePages, cpu_ns};
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use trendsrv_proto::{Rank, TopicId};
use trendsrv_shard::{Block, Event, Grid, TopicSink, View};
use trendsrv_shard::{WindowConfig, Windows};

const TENANTS: usize = 100_000;
const TOPICS: usize = 12;
const EVENTS: usize = 1 << 22;
const PANE_EVENTS: usize = 4_200_000;
/// Windows asked for in one loop, and how many windows ahead.
const GROUP: usize = 8;
const AHEAD: usize = 16;

struct Quiet(u64);

impl TopicSink for Quiet {
    fn opened(&mut self, _: TopicId) {
        self.0 += 1;
    }

    fn closed(&mut self, _: TopicId) {
        self.0 -= 1;
    }
}

#[derive(Clone, Copy)]
struct Sent {
    tenant: u32,
    topic: u64,
}

struct Bench {
    grid: Grid,
    windows: Windows<HugePages>,
    blocks: Vec<Block>,
    sink: Quiet,
    pane: u64,
    until_next: usize,
}

fn main() {
    let panes: u64 = std::env::args().nth(1).map_or(60, |text| text.parse().expect("panes"));
    let grid = Grid::new(60_000, 60_000 / panes).expect("panes divide 60 s");
    for run in [1, 16, 64] {
        let mut bench = Bench::new(grid);
        let events = draw(run);
        // A whole ring, so that every row was touched and expiry is at work.
        bench.rounds(&events, run, true);
        bench.fill_ring(&events, run);
        let best = |bench: &mut Bench, prefetch| {
            let times = (0..5).map(|_| bench.rounds(&events, run, prefetch));
            times.fold(f64::MAX, f64::min)
        };
        let with = best(&mut bench, true);
        let without = best(&mut bench, false);
        println!("runs of {run:2}: {with:5.1} ns/event, {without:5.1} without prefetch");
        if run == 1 {
            bench.views();
        }
    }
    warm(grid);
}

impl Bench {
    fn new(grid: Grid) -> Self {
        let config = WindowConfig {
            tenants_max: u32::try_from(TENANTS).expect("fits"),
            ..WindowConfig::new(grid, [0x1234_5678_9abc_def1, 0xfedc_ba98_7654_3211])
        };
        let words = usize::try_from(config.memory_bytes(64 << 20) / 8).expect("64 bits");
        let memory = HugePages::new(words);
        let mut windows = Windows::new(&config, memory).expect("memory for all");
        let pane = 1_000;
        let open = |user| windows.open(user, pane).expect("a block each");
        let blocks = (0..config.tenants_max).map(open).collect();
        Self { grid, windows, blocks, sink: Quiet(0), pane, until_next: PANE_EVENTS }
    }

    /// Counts all events once; ns per event.
    ///
    /// Lines are asked for in tight loops over a few windows: asked for one by one between the
    /// updates, each request waits alone for its address translation (57 ns instead of 36).
    /// Larger groups ask for more lines than a core can wait for, and requests are dropped.
    fn rounds(&mut self, events: &[Sent], run: usize, prefetch: bool) -> f64 {
        let count = events.len() / run;
        let mut parts = events.chunks_exact(run);
        let start = cpu_ns();
        for first in (0..count).step_by(GROUP) {
            let at = self.grid.place(self.pane);
            if prefetch {
                for part in runs_from(events, run, first + 2 * AHEAD) {
                    self.windows.prefetch_head(self.blocks[part[0].tenant as usize]);
                }
                for part in runs_from(events, run, first + AHEAD) {
                    let block = self.blocks[part[0].tenant as usize];
                    self.windows.prefetch_event(block, at, TopicId(part[0].topic));
                }
            }
            let ts_ms = self.grid.start_ms(self.pane);
            for part in parts.by_ref().take(GROUP) {
                let block = &mut self.blocks[part[0].tenant as usize];
                let event =
                    |sent: &Sent| Event { at, topic: TopicId(sent.topic), weight: 1, ts_ms };
                self.windows.advance(block, at, &mut self.sink);
                let added = self.windows.add(block, part.iter().map(event), &mut self.sink);
                assert!(added.applied == run as u64);
            }
            self.until_next = self.until_next.saturating_sub(run * GROUP);
            if self.until_next == 0 {
                self.until_next = PANE_EVENTS;
                self.pane += 1;
            }
        }
        (cpu_ns() - start) as f64 / events.len() as f64
    }

    /// Gives every row of every tenant some events.
    fn fill_ring(&mut self, events: &[Sent], run: usize) {
        for _ in 0..self.grid.panes() {
            self.pane += 1;
            self.rounds(&events[..TENANTS * 4 / run * run], run, true);
        }
    }

    /// Reads every tenant's answer once.
    fn views(&self) {
        let mut view = View::new();
        let start = cpu_ns();
        let mut score = 0;
        for &block in &self.blocks {
            self.windows.view(block, self.pane, &mut view);
            score += view.rank(Rank::Score, 10, |_| b"").iter().map(|t| t.score_milli).sum::<i64>();
        }
        let each = (cpu_ns() - start) as f64 / self.blocks.len() as f64;
        println!("view and rank: {each:.0} ns a tenant (scores {score})");
    }
}

/// A group of runs, starting with run number `first`.
fn runs_from(events: &[Sent], run: usize, first: usize) -> impl Iterator<Item = &[Sent]> {
    let rest = events.get(first * run..).unwrap_or_default();
    rest.chunks_exact(run).take(GROUP)
}

/// One tenant again and again: everything in the first cache.
fn warm(grid: Grid) {
    let mut bench = Bench::new(grid);
    let mut events = draw(64);
    events.iter_mut().for_each(|sent| {
        sent.topic -= u64::from(sent.tenant);
        sent.tenant = 0;
    });
    for run in [1, 64] {
        let best = (0..5).map(|_| bench.rounds(&events, run, false)).fold(f64::MAX, f64::min);
        println!("one tenant, runs of {run:2}: {best:.1} ns/event");
    }
}

/// Runs of events of random tenants, topics by Zipf's law.
fn draw(run: usize) -> Vec<Sent> {
    let mut random = SmallRng::seed_from_u64(42);
    let mut zipf: Vec<u64> = Vec::new();
    for topic in 0..TOPICS {
        zipf.extend(std::iter::repeat_n(topic as u64, 2_520 / (topic + 1)));
    }
    zipf.shuffle(&mut random);
    let mut events = Vec::with_capacity(EVENTS);
    while events.len() < EVENTS {
        let tenant = random.random_range(0..TENANTS);
        for _ in 0..run {
            let topic = zipf[random.random_range(0..zipf.len())] << 40;
            let topic = topic + tenant as u64;
            events.push(Sent { tenant: u32::try_from(tenant).expect("fits"), topic });
        }
    }
    events
}
