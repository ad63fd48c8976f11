//! Nanoseconds per event of the window core alone: 100,000 tenants of 12 topics by Zipf's law.
//!
//! `cargo run --profile fast -p trendsrv-shard --example window_bench [-- panes]`
//!
//! Processor time of the thread is measured, events are drawn before, a pane lasts 4.2 million.
#![allow(unsafe_code, reason = "huge pages and the prefetch instruction")]

use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use trendsrv_proto::{Rank, TopicId};
use trendsrv_shard::{Block, Event, Grid, Memory, TopicSink, View};
use trendsrv_shard::{WindowConfig, Windows};

const TENANTS: usize = 100_000;
const TOPICS: usize = 12;
const EVENTS: usize = 1 << 22;
const PANE_EVENTS: usize = 4_200_000;
/// Windows asked for in one loop, and how many windows ahead.
const GROUP: usize = 8;
const AHEAD: usize = 16;

/// Huge pages and a real prefetch: what the server gives a shard.
struct HugePages {
    words: &'static mut [u64],
}

impl HugePages {
    fn new(words: usize) -> Self {
        let start = std::ptr::null_mut();
        let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE);
        let bytes = words * 8 + (2 << 20);
        // SAFETY: a new anonymous mapping, advised and cut within its length, never unmapped.
        unsafe {
            let mapped = libc::mmap(start, bytes, access, kind | libc::MAP_ANONYMOUS, -1, 0);
            assert!(mapped != libc::MAP_FAILED, "no memory");
            let aligned = mapped.byte_add(mapped.align_offset(2 << 20));
            libc::madvise(aligned, words * 8, libc::MADV_HUGEPAGE);
            Self { words: std::slice::from_raw_parts_mut(aligned.cast(), words) }
        }
    }
}

impl Memory for HugePages {
    fn words(&self) -> &[u64] {
        self.words
    }

    fn words_mut(&mut self) -> &mut [u64] {
        self.words
    }

    #[inline]
    fn prefetch(&self, word: usize) {
        #[cfg(target_arch = "x86_64")]
        if let Some(word) = self.words.get(word) {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            // SAFETY: a prefetch reads nothing, and the address is that of a live reference.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(word).cast()) };
        }
    }
}

/// Processor time of this thread, so that a busy machine disturbs less.
fn cpu_ns() -> u64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").expect("a Linux kernel");
    stat.split(' ').next().and_then(|text| text.parse().ok()).expect("nanoseconds on a core")
}

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
