//! Nanoseconds an event of the whole way through a shard, wire and sockets apart.
//!
//! `cargo run --release -p trendsrv-server --example shard_bench [tenants] [seconds]`, 0 seconds for
//! the tick alone: 100,000 tenants, 12 topics each drawn by Zipf, frames of 512 records, runs of 1,
//! 16 and 64 events of one tenant.
//! Afterwards ten minutes pass without a turn, and a burst follows: the longest turn of
//! 16,384 events shows what catching up costs at a time. Then the same with an event stage that
//! copies, and the tick of all tenants with programs that do nothing: what the shard itself adds.
//! Medians are of frames and of turns: on a busy machine they say more than means.

use std::time::{Duration, Instant};
use trendsrv_proto::{Clock, EventRecord, Span, TenantId, TopicId, fmix64};
use trendsrv_server::runtime::HugeMemory;
use trendsrv_shard::{
    Effects, Grid, Origin, Part, Programs, ReplyTo, Shard, ShardConfig, Slot, Summary, Texts, Told,
    Trending, WindowConfig, index_words, topics_words,
};

const FRAME: usize = 512;
const TOPICS: u64 = 12;
/// Tenants that the tick visits in one turn.
const TENANTS_A_TURN: f64 = 256.0;
const START_MS: u64 = 1_700_000_000_000;

fn main() {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<u64>());
    let tenants = arguments.next().and_then(Result::ok).unwrap_or(100_000);
    let seconds = arguments.next().and_then(Result::ok).unwrap_or(2);
    if seconds == 0 {
        return tick(tenants);
    }
    println!("no programs");
    count(tenants, seconds, || Trending { recent_ms: 10_000, window_ms: 60_000 });
    println!("an event stage that copies");
    count(tenants, seconds, || Idle { observes: true, ..Idle::default() });
    tick(tenants);
}

/// Programs that do nothing.
#[derive(Debug, Default)]
struct Idle {
    observes: bool,
    edition: u64,
}

impl Programs for Idle {
    const EAGER: bool = true;

    fn admit(&mut self, _now_ms: u64, _slot: Slot, _tenant: TenantId) {}

    fn retire(&mut self, _slot: Slot) {}

    fn observes_any(&self) -> bool {
        self.observes
    }

    fn observes(&self, _slot: Slot) -> bool {
        self.observes
    }

    fn ticks(&self, _slot: Slot) -> bool {
        !self.observes
    }

    fn edition(&self, _slot: Slot) -> u64 {
        self.edition
    }

    fn find_topics(&mut self, _run: &Texts<'_>, _found: &mut dyn FnMut(usize, u32, &str)) {}

    fn summarise(&mut self, _ask: &Summary<'_>, _told: &mut Told) {}

    fn name_of(&self, _slot: Slot) -> &str {
        "idle"
    }
}

/// The tick of all tenants, each with 12 topics in all 60 panes: called, and spared.
fn tick(tenants: u64) {
    let mut shard = shard(tenants, Idle::default());
    let mut effects = Effects::default();
    for slide in 0..66_u64 {
        let now_ms = START_MS + slide * 1_000;
        let topics = if slide < 60 { TOPICS } else { 1 };
        for topic in 0..topics {
            // No two topics weigh the same: where they do, names are compared.
            let weight = u32::try_from(topic + 1).expect("fits");
            let record = |n| EventRecord::new(tenant(n), TopicId(fmix64(topic + 77)), weight, 0);
            let step = if slide < 64 { 1 } else { 7 };
            let records: Vec<EventRecord> = (0..tenants).step_by(step).map(record).collect();
            for records in records.chunks(FRAME) {
                let span = Span { min_ms: now_ms, max_ms: now_ms };
                let part = Part { base_ms: now_ms, span, records };
                shard.on_events(now_ms, &ORIGIN, &part, &mut effects);
                effects.clear();
            }
        }
        let kind = if slide % 2 == 0 { "called" } else { "spared" };
        shard.programs_mut().edition += u64::from(slide % 2 == 0);
        let begin = Instant::now();
        let mut turns = Vec::new();
        let mut more = true;
        while more {
            let turn = Instant::now();
            more = shard.on_turn(now_ms + 1_000, &mut effects);
            turns.push(turn.elapsed());
        }
        if slide >= 62 {
            let each = begin.elapsed().as_secs_f64() * 1e9 / tenants as f64;
            let kind = if slide < 64 { kind } else { "every 7th called" };
            let median = median_ns(&mut turns) / TENANTS_A_TURN;
            let longest = turns.last().copied().unwrap_or_default();
            println!(
                "tick, {kind}: {each:6.1} ns/tenant (median {median:.1}), longest turn {longest:.2?}"
            );
        }
    }
}

fn count<P: Programs>(tenants: u64, seconds: u64, programs: impl Fn() -> P) {
    for run in [1, 16, 64] {
        let frames = frames(tenants, run);
        let mut shard = shard(tenants, programs());
        let mut effects = Effects::default();
        let (mut now_ms, mut events) = (START_MS, 0_u64);
        let begin = Instant::now();
        let mut times = Vec::new();
        while begin.elapsed() < Duration::from_secs(seconds) {
            for records in &frames {
                let span = Span { min_ms: now_ms, max_ms: now_ms };
                let part = Part { base_ms: now_ms, span, records };
                let frame = Instant::now();
                shard.on_events(now_ms, &ORIGIN, &part, &mut effects);
                effects.clear();
                times.push(frame.elapsed());
                events += records.len() as u64;
                // 4.2 million events a second of window time.
                now_ms = START_MS + events / 4_200;
                if events.is_multiple_of(4_096) {
                    shard.on_turn(now_ms, &mut effects);
                }
            }
        }
        let each = begin.elapsed().as_secs_f64() * 1e9 / events as f64;
        let median = median_ns(&mut times) / FRAME as f64;
        println!(
            "runs of {run:>2}: {each:6.1} ns/event (median {median:.1}), {:6.2} M events/s",
            1e3 / each
        );
        let longest = burst_after_a_pause(&mut shard, &frames, now_ms);
        println!("            longest turn after a pause of 10 minutes: {longest:.2?}");
    }
}

/// Sorts them, too.
fn median_ns(times: &mut [Duration]) -> f64 {
    times.sort_unstable();
    times.get(times.len() / 2).map_or(0.0, |time| time.as_secs_f64() * 1e9)
}

/// The longest turn when every tenant has been idle for ten minutes and all come back at once.
fn burst_after_a_pause<P: Programs>(
    shard: &mut Shard<P, HugeMemory>,
    frames: &[Vec<EventRecord>],
    before_ms: u64,
) -> Duration {
    let now_ms = before_ms + 600_000;
    let mut effects = Effects::default();
    let turn = |frames: &[Vec<EventRecord>]| {
        let begin = Instant::now();
        for records in frames {
            let span = Span { min_ms: now_ms, max_ms: now_ms };
            let part = Part { base_ms: now_ms, span, records };
            shard.on_events(now_ms, &ORIGIN, &part, &mut effects);
        }
        shard.on_turn(now_ms, &mut effects);
        effects.clear();
        begin.elapsed()
    };
    frames.chunks(16_384 / FRAME).map(turn).max().unwrap_or_default()
}

fn shard<P: Programs>(tenants: u64, programs: P) -> Shard<P, HugeMemory> {
    let grid = Grid::new(60_000, 1_000).expect("a good grid");
    let tenants_max = usize::try_from(tenants).expect("fits");
    let config = ShardConfig {
        grid,
        clock: Clock::Wall,
        tenants_max,
        topics_max: 1 << 16,
        producers_max: 64,
        early_max: 1 << 16,
        subscriptions_max: 16,
        sample_bytes_max: trendsrv_shard::SAMPLE_BYTES_MAX_DEFAULT,
        secret: [1, 2],
    };
    let tenants_max = u32::try_from(tenants).expect("fits");
    let windows = WindowConfig { tenants_max, ..WindowConfig::new(grid, [3, 4]) };
    let bytes = usize::try_from(windows.memory_bytes(64 << 20)).expect("fits");
    let index = HugeMemory::new(index_words(config.tenants_max) * 8).expect("memory");
    let names = HugeMemory::new(topics_words(config.topics_max) * 8).expect("memory");
    Shard::new(config, &windows, HugeMemory::new(bytes).expect("memory"), index, names, programs)
        .expect("a shard")
}

fn tenant(number: u64) -> TenantId {
    TenantId(fmix64(number + 1))
}

/// Frames that name every tenant several times.
fn frames(tenants: u64, run: usize) -> Vec<Vec<EventRecord>> {
    let count = usize::try_from(tenants * 4).expect("fits") / FRAME;
    let mut draw = 0_u64;
    let mut next = move || {
        draw += 1;
        fmix64(draw)
    };
    let mut frame = || {
        let mut records = Vec::with_capacity(FRAME);
        while records.len() < FRAME {
            let tenant = tenant(next() % tenants);
            for _ in 0..run {
                // Zipf with exponent 1 over 12 topics, by squaring a uniform draw.
                let uniform = next() % 1_000;
                let rank = (TOPICS * uniform * uniform) / 1_000_000;
                records.push(EventRecord::new(tenant, TopicId(fmix64(rank + 77)), 1, 0));
            }
        }
        records
    };
    (0..count.max(1)).map(|_| frame()).collect()
}

/// Who sends: nobody who waits.
const ORIGIN: Origin =
    Origin { to: ReplyTo(0), seq: 0, sequence: None, ask_names: false, durable: false };
