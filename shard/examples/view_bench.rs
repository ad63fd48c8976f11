//! Nanoseconds to read a window: 100,000 tenants of 12 topics, every pane full.
//!
//! `cargo run --profile fast -p trendsrv-shard --example view_bench [-- tenants [rounds]]`
//!
//! Processor time of the thread is measured; the median of the rounds is printed. Cold reads visit
//! all tenants: in slot order, as the tick does, where blocks follow each other in memory; and in
//! random order, as it would be after much coming and going. Hot ones stay with a few tenants: one,
//! whose branches the core learns by heart, or 64, whose blocks lie in the second cache.

mod bench_bed;

use bench_bed::{HugePages, cpu_ns};
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use std::hint::black_box;
use trendsrv_proto::{Rank, TopicId};
use trendsrv_shard::{Block, Event, Grid, TopicSink, View, WindowConfig, Windows};

const TENANTS: u32 = 100_000;
const ROUNDS: usize = 9;
const TOPICS: u64 = 12;
/// Topics ranked, as for the tick.
const RANKED: usize = 10;

struct Quiet;

impl TopicSink for Quiet {
    fn opened(&mut self, _: TopicId) {}
    fn closed(&mut self, _: TopicId) {}
}

struct Bench {
    windows: Windows<HugePages>,
    blocks: Vec<Block>,
    pane: u64,
    rounds: usize,
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let tenants = arguments.next().map_or(TENANTS, |text| text.parse().expect("tenants"));
    let rounds = arguments.next().map_or(ROUNDS, |text| text.parse().expect("rounds"));
    assert!(tenants >= 1 && rounds >= 1, "nothing to measure");
    let bench = Bench::new(tenants, rounds);
    let mut blocks = bench.blocks.clone();
    bench.report("slot order", &blocks, false);
    bench.report("slot order, prefetched", &blocks, true);
    bench.report("64 tenants", &blocks[..blocks.len().min(64)], false);
    bench.report("one tenant", &blocks[..1], false);
    blocks.shuffle(&mut SmallRng::seed_from_u64(43));
    bench.report("random order", &blocks, false);
    bench.report("random order, prefetched", &blocks, true);
}

impl Bench {
    /// Windows with weight in every cell: 1 to 8, now and then a hundred.
    fn new(tenants: u32, rounds: usize) -> Self {
        let grid = Grid::new(60_000, 1_000).expect("panes divide a minute");
        let config = WindowConfig {
            tenants_max: tenants,
            ..WindowConfig::new(grid, [0x1234_5678_9abc_def1, 0xfedc_ba98_7654_3211])
        };
        let words = usize::try_from(config.memory_bytes(0) / 8).expect("64 bits");
        let mut windows = Windows::new(&config, HugePages::new(words)).expect("memory for all");
        let mut random = SmallRng::seed_from_u64(42);
        let first = 1_000;
        let pane = first + u64::from(grid.panes()) - 1;
        let mut blocks = Vec::with_capacity(tenants as usize);
        for tenant in 0..tenants {
            let mut block = windows.open(tenant, first).expect("a block each");
            for at in (first..=pane).map(|pane| grid.place(pane)) {
                let ts_ms = grid.start_ms(at.pane());
                let events = (0..TOPICS).map(|topic| Event {
                    at,
                    topic: TopicId(topic << 40 | u64::from(tenant)),
                    weight: match random.random_range(0..100) {
                        0 => 100,
                        draw => 1 + draw % 8,
                    },
                    ts_ms,
                });
                windows.add(&mut block, events, &mut Quiet);
            }
            assert!(windows.events(block) == TOPICS * u64::from(grid.panes()), "not full");
            blocks.push(block);
        }
        Self { windows, blocks, pane, rounds }
    }

    /// One line: reading alone, and with the ranking.
    fn report(&self, what: &str, blocks: &[Block], prefetch: bool) {
        let view = self.median(blocks, prefetch, false);
        let both = self.median(blocks, prefetch, true);
        println!("{what:24}: view {view:6.1} ns, view and rank {both:6.1} ns");
    }

    fn median(&self, blocks: &[Block], prefetch: bool, rank: bool) -> f64 {
        let rounds = (0..self.rounds).map(|_| self.round(blocks, prefetch, rank));
        let mut times: Vec<f64> = rounds.collect();
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    }

    /// Reads the windows in turn, again and again if there are few; ns for each.
    fn round(&self, blocks: &[Block], prefetch: bool, rank: bool) -> f64 {
        let mut view = View::new();
        let repeats = self.blocks.len() / blocks.len();
        let start = cpu_ns();
        for _ in 0..repeats {
            for (number, &block) in blocks.iter().enumerate() {
                if prefetch && let Some(&next) = blocks.get(number + 1) {
                    self.windows.prefetch_block(next);
                }
                self.windows.view(block, self.pane, &mut view);
                if rank {
                    view.rank(Rank::Score, RANKED, |_| b"");
                }
                black_box(view.topics());
            }
        }
        (cpu_ns() - start) as f64 / (repeats * blocks.len()) as f64
    }
}
