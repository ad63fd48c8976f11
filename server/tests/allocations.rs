//! Once a shard runs, events of known tenants and topics are counted and acknowledged without one
//! allocation.
//!
//! Owns the counting allocator of this test binary. It counts by thread, so that tests beside each
//! other do not meet.
#![allow(unsafe_code, reason = "a global allocator is unsafe to write; it only counts")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use trendsrv_proto::{
    AckMode, Clock, EventRecord, EventsHead, Frame, Hello, NameKind, ShardAddress, Span, Split,
    TenantId, TopicId, encode_define, encode_events, split,
};
use trendsrv_server::node::{Node, NodeConfig, PeerId, Vnodes};
use trendsrv_shard::log::LogStart;
use trendsrv_shard::{
    Effect, Effects, Grid, HeapMemory, Lane, Observed, Origin, Part, Programs, ReplyTo, Sequence,
    Shard, ShardConfig, Slot, Summary, Texts, Told, Trending, WindowConfig, index_words,
    topics_words,
};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system's allocator unchanged; the counter neither allocates nor
// has a destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promise is passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const START_MS: u64 = 1_442_016_000_000;
const WINDOW_MS: u64 = 10_000;
const TENANTS: usize = 2_000;
const TOPICS: usize = 12;
const FRAME_EVENTS: usize = 512;
/// Time from frame to frame: five frames a slide.
const STEP_MS: u64 = 200;
/// More than a window, so that panes expire and every table has its size.
const WARM_UP_FRAMES: u64 = 400;
const MEASURED_FRAMES: u64 = 100;

fn allocations() -> u64 {
    ALLOCATIONS.with(Cell::get)
}

fn shard<P: Programs>(programs: P) -> Shard<P, HeapMemory> {
    let grid = Grid::new(WINDOW_MS, 1_000).expect("a grid");
    let config = ShardConfig {
        grid,
        clock: Clock::Wall,
        tenants_max: TENANTS,
        topics_max: 1_024,
        producers_max: 8,
        early_max: 65_536,
        subscriptions_max: 8,
        sample_bytes_max: trendsrv_shard::SAMPLE_BYTES_MAX_DEFAULT,
        secret: [3, 5],
    };
    let tenants_max = u32::try_from(TENANTS).expect("few");
    let windows = WindowConfig { tenants_max, ..WindowConfig::new(grid, [7, 11]) };
    let bytes = windows.memory_bytes(8 << 20);
    let memory = HeapMemory::new(usize::try_from(bytes).expect("small") / 8);
    let index = HeapMemory::new(index_words(TENANTS));
    let names = HeapMemory::new(topics_words(config.topics_max));
    Shard::new(config, &windows, memory, index, names, programs).expect("the memory fits")
}

const TRENDING: Trending = Trending { recent_ms: 10_000, window_ms: WINDOW_MS };

/// A program of every stage: it leaves out what weighs 2, and writes a line in each tick.
struct Busy;

impl Programs for Busy {
    const EAGER: bool = true;

    fn admit(&mut self, _now_ms: u64, _slot: Slot, _tenant: TenantId) {}

    fn retire(&mut self, _slot: Slot) {}

    fn observes_any(&self) -> bool {
        true
    }

    fn observes(&self, slot: Slot) -> bool {
        slot.0.is_multiple_of(2)
    }

    fn edition(&self, _slot: Slot) -> u64 {
        // Every ranking is a new one, so that no call is spared.
        CALLS.with(|calls| calls.replace(calls.get() + 1))
    }

    fn observe(&mut self, run: &Observed<'_>, out: &mut Vec<EventRecord>) {
        out.extend(run.records.iter().filter(|record| record.weight() != 2));
    }

    fn find_topics(&mut self, _run: &Texts<'_>, _found: &mut dyn FnMut(usize, u32, &str)) {}

    fn summarise(&mut self, ask: &Summary<'_>, told: &mut Told) {
        told.tldr.clear();
        let topics = ask.view.topics().iter().take(ask.shown.min(3));
        topics.for_each(|row| told.tldr.push_str((ask.name)(row.topic)));
    }

    fn name_of(&self, _slot: Slot) -> &str {
        "busy"
    }
}

thread_local! {
    static CALLS: Cell<u64> = const { Cell::new(0) };
}

fn topic(n: usize) -> String {
    format!("topic {n}")
}

fn tenant(n: usize) -> String {
    format!("tenant {n}")
}

/// Every frame's records: all tenants in turn, a topic each, every 16th event ahead of the clock,
/// every 14th of weight 2.
struct Load {
    tenants: Vec<TenantId>,
    topics: Vec<TopicId>,
}

impl Load {
    fn new() -> Self {
        let tenants = (0..TENANTS).map(|n| TenantId::of(&tenant(n))).collect();
        Self { tenants, topics: (0..TOPICS).map(|n| TopicId::of(&topic(n))).collect() }
    }

    fn records(&self, frame: u64) -> Vec<EventRecord> {
        let first = usize::try_from(frame).expect("few") * FRAME_EVENTS;
        let record = |n: usize| {
            let (tenant, topic) = (self.tenants[n % TENANTS], self.topics[n / TENANTS % TOPICS]);
            let weight = if n.is_multiple_of(14) { 2 } else { 1 };
            EventRecord::new(tenant, topic, weight, if n.is_multiple_of(16) { 2_500 } else { 0 })
        };
        (first..first + FRAME_EVENTS).map(record).collect()
    }

    fn names() -> Vec<(NameKind, String)> {
        let tenants = (0..TENANTS).map(|n| (NameKind::Tenant, tenant(n)));
        tenants.chain((0..TOPICS).map(|n| (NameKind::Topic, topic(n)))).collect()
    }
}

#[test]
fn a_running_shard_counts_without_allocating() {
    counts_without_allocating(TRENDING, false, false);
}

#[test]
fn a_running_shard_with_a_log_allocates_nothing() {
    counts_without_allocating(TRENDING, false, true);
}

#[test]
fn a_running_shard_with_programs_in_every_stage_allocates_nothing() {
    counts_without_allocating(Busy, true, false);
}

fn counts_without_allocating<P: Programs>(programs: P, filters: bool, logs: bool) {
    let (mut shard, load, mut fx) = (shard(programs), Load::new(), Effects::default());
    if logs {
        shard.start_log(LogStart { generation: 1, next_lsn: 1, prev_crc: 0 });
    }
    let lane = Lane { producer: 1, lane: 0, anonymous: false };
    let names = Load::names();
    for frame in 0..WARM_UP_FRAMES + MEASURED_FRAMES {
        let now_ms = START_MS + frame * STEP_MS;
        let records = load.records(frame);
        let seq = frame + 1;
        let sequence = Some(Sequence { lane, epoch: 0, seq });
        let origin = Origin { to: ReplyTo(1), seq, sequence, ask_names: true, durable: false };
        let span = Span { min_ms: now_ms, max_ms: now_ms + 2_500 };
        let part = Part { base_ms: now_ms, span, records: &records };
        let before = allocations();
        shard.on_events(now_ms, &origin, &part, &mut fx);
        while shard.on_turn(now_ms, &mut fx) {}
        let written = shard.log().and_then(|log| {
            let batch = log.take(1 << 20)?;
            log.give_back(batch.bytes);
            Some(batch.last_lsn)
        });
        written.into_iter().for_each(|lsn| shard.on_durable(lsn));
        let made = allocations() - before;
        assert_eq!(written.is_some(), logs);
        let Some(Effect::Accepted { counted, .. }) = fx.list.first() else { panic!("{fx:?}") };
        let all = counted.applied + counted.early + counted.filtered;
        assert_eq!((all, counted.filtered > 0), (FRAME_EVENTS as u64, filters));
        if frame >= WARM_UP_FRAMES {
            assert!(counted.early > 0, "the early queue is at work");
            assert_eq!((made, fx.list.len()), (0, 1), "frame {frame}");
        }
        fx.clear();
        if frame == 100 {
            let id = |name: &String| TenantId::of(name).0;
            shard.define(names.iter().map(|(kind, name)| (*kind, id(name), name.as_str())));
        }
    }
    assert_eq!(shard.stats().ticks > 0, P::EAGER, "{:?}", shard.stats());
}

#[test]
fn a_running_node_takes_frames_and_acknowledges_them_without_allocating() {
    let address = ShardAddress::new(([127, 0, 0, 1], 7_171).into());
    let config = NodeConfig {
        shard: 0,
        vnodes: Vnodes::even(1),
        addresses: vec![address],
        credit_bytes_max: 64 << 20,
    };
    let mut node = Node::new(config, shard(TRENDING), START_MS);
    let (load, id) = (Load::new(), PeerId { index: 0, generation: 0 });
    node.on_accept(id);
    let mut bytes = Vec::new();
    let hello = Hello {
        ack: AckMode::Applied,
        features: 0,
        producer: 5,
        epoch: 0,
        lane: 0,
        software: "allocations",
    };
    hello.encode(&mut bytes);
    node.on_bytes(id, &bytes);
    let mut received = Vec::with_capacity(1 << 20);
    for frame in 0..WARM_UP_FRAMES + MEASURED_FRAMES {
        let now_ms = START_MS + frame * STEP_MS;
        bytes.clear();
        encode_events(&mut bytes, EventsHead::new(frame + 1, now_ms, 1), &load.records(frame));
        received.clear();
        let before = allocations();
        node.set_now(now_ms);
        node.on_bytes(id, &bytes);
        while node.on_turn() {}
        node.end_turn(|output| received.append(output.bytes));
        let made = allocations() - before;
        if frame >= WARM_UP_FRAMES {
            assert_eq!(made, 0, "frame {frame}");
            let Split::Frame(header, body) = split(&received) else { panic!("no answer") };
            let answer = Frame::parse(header, body).expect("a frame");
            assert!(matches!(answer, Frame::Ack(ack) if ack.seq() == frame + 1), "{answer:?}");
        } else if frame == 100 {
            let names = Load::names();
            bytes.clear();
            encode_define(&mut bytes, names.iter().map(|(kind, name)| (*kind, name.as_str())));
            node.on_bytes(id, &bytes);
        }
    }
}
