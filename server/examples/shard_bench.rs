//! Nanoseconds an event of the whole way through a shard, wire and sockets apart.
//!
//! `cargo run --release -p trendsrv-server --example shard_bench [tenants] [seconds]`: 100,000 tenants,
//! 12 topics each drawn by Zipf, frames of 512 records, runs of 1, 16 and 64 events of one tenant.
//! Afterwards ten minutes pass without a turn, and a burst follows: the longest turn of
//! 16,384 events shows what catching up costs at a time.

use std::time::{Duration, Instant};
use trendsrv_proto::{Clock, EventRecord, Span, TenantId, TopicId, fmix64};
use trendsrv_server::runtime::HugeMemory;
use trendsrv_shard::{
    Effects, Grid, Origin, Part, ReplyTo, Shard, ShardConfig, Trending, WindowConfig, index_words,
};

const FRAME: usize = 512;
const TOPICS: u64 = 12;
const START_MS: u64 = 1_700_000_000_000;

fn main() {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<u64>());
    let tenants = arguments.next().and_then(Result::ok).unwrap_or(100_000);
    let seconds = arguments.next().and_then(Result::ok).unwrap_or(2);
    for run in [1, 16, 64] {
        let frames = frames(tenants, run);
        let mut shard = shard(tenants);
        let mut effects = Effects::default();
        let (mut now_ms, mut events) = (START_MS, 0_u64);
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_secs(seconds) {
            for records in &frames {
                let span = Span { min_ms: now_ms, max_ms: now_ms };
                let part = Part { base_ms: now_ms, span, records };
                let origin = Origin { to: ReplyTo(0), seq: 0, sequence: None, ask_names: false };
                shard.on_events(now_ms, &origin, &part, &mut effects);
                effects.clear();
                events += records.len() as u64;
                // 4.2 million events a second of window time.
                now_ms = START_MS + events / 4_200;
                if events.is_multiple_of(4_096) {
                    shard.on_turn(now_ms, &mut effects);
                }
            }
        }
        let each = begin.elapsed().as_secs_f64() * 1e9 / events as f64;
        println!("runs of {run:>2}: {each:6.1} ns/event, {:6.2} M events/s", 1e3 / each);
        let longest = burst_after_a_pause(&mut shard, &frames, now_ms);
        println!("            longest turn after a pause of 10 minutes: {longest:.2?}");
    }
}

/// The longest turn when every tenant has been idle for ten minutes and all come back at once.
fn burst_after_a_pause(
    shard: &mut Shard<Trending, HugeMemory>,
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
            let origin = Origin { to: ReplyTo(0), seq: 0, sequence: None, ask_names: false };
            shard.on_events(now_ms, &origin, &part, &mut effects);
        }
        shard.on_turn(now_ms, &mut effects);
        effects.clear();
        begin.elapsed()
    };
    frames.chunks(16_384 / FRAME).map(turn).max().unwrap_or_default()
}

fn shard(tenants: u64) -> Shard<Trending, HugeMemory> {
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
    let programs = Trending { recent_ms: 10_000, window_ms: 60_000 };
    Shard::new(config, &windows, HugeMemory::new(bytes).expect("memory"), index, programs)
        .expect("a shard")
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
            let tenant = TenantId(fmix64(next() % tenants + 1));
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
