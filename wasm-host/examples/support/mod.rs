//! What the benchmarks of programs share: a view of twelve topics, and the clock of the thread.
#![allow(unsafe_code, reason = "the clock of the thread")]
#![allow(dead_code, reason = "each benchmark uses its part")]
#![allow(unreachable_pub, reason = "a module of examples")]

use std::hint::black_box;
use trendsrv_proto::{Rank, TopicId};
use trendsrv_shard::{
    Event, Grid, HeapMemory, Programs, Slot, Summary, Told, TopicSink, View, WindowConfig, Windows,
};
use trendsrv_wasm_host::Host;

pub const NOW_MS: u64 = 1_442_016_000_000;

pub fn summarise(host: &mut Host, now_ms: u64, slot: Slot, view: &View, told: &mut Told) {
    let name = |id: TopicId| NAMES[usize::try_from(id.0).unwrap_or(0) % NAMES.len()];
    let ask = Summary {
        now_ms,
        slot,
        as_of_ms: now_ms,
        view: black_box(view),
        shown: 10,
        name: &name,
        sample: &|_| "",
        asked: false,
    };
    host.summarise(&ask, told);
}

/// A view of twelve topics, ranked by score.
pub fn twelve_topics() -> View {
    struct Nobody;
    impl TopicSink for Nobody {
        fn opened(&mut self, _topic: TopicId) {}
        fn closed(&mut self, _topic: TopicId) {}
    }
    let grid = Grid::new(60_000, 1_000).expect("a grid");
    let config = WindowConfig {
        grid,
        hash_secret: [1, 2],
        tiers_max: 3,
        tenants_max: 1,
        chunk_bytes_min: 1 << 16,
    };
    let bytes = usize::try_from(config.memory_bytes(1 << 22)).expect("fits");
    let memory = HeapMemory::new(bytes / 8);
    let mut windows = Windows::new(&config, memory).expect("windows");
    let pane = grid.pane_of(NOW_MS);
    let mut block = windows.open(0, pane - 59).expect("room");
    for second in 0..60_u64 {
        let ts_ms = NOW_MS - (59 - second) * 1_000;
        let at = grid.place(grid.pane_of(ts_ms));
        let event = |i: u64| Event {
            at,
            topic: TopicId(i),
            weight: 1 + u32::try_from((i * second) % 5).unwrap_or(0),
            ts_ms,
        };
        windows.add(&mut block, (0..12).map(event), &mut Nobody);
    }
    let mut view = View::new();
    windows.view(block, pane, &mut view);
    view.rank(Rank::Score, 10, |_| b"");
    view
}

pub fn cpu_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a clock that every Linux has, written into a live struct.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    time.tv_sec.cast_unsigned() * 1_000_000_000 + time.tv_nsec.cast_unsigned()
}

pub fn per(ns: u64, count: u32) -> u64 {
    ns / u64::from(count.max(1))
}

pub fn ms(ns: u64) -> f64 {
    ns as f64 / 1e6
}

pub fn resident_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages = text.split(' ').nth(1).and_then(|n| n.parse::<u64>().ok());
    pages.expect("a number of pages") * 4_096
}

pub fn mappings() -> usize {
    std::fs::read_to_string("/proc/self/maps").map_or(0, |text| text.lines().count())
}

pub const NAMES: [&str; 12] = [
    "mars rover",
    "eclipse",
    "budget vote",
    "rain",
    "strike",
    "final",
    "election",
    "launch",
    "storm",
    "merger",
    "festival",
    "recall",
];
