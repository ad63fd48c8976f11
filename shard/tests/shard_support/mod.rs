//! A shard beside a naive model that keeps every event, and helpers shared by the shard's tests.
#![allow(dead_code, reason = "each test binary uses its part")]
#![allow(unreachable_pub, reason = "a module of test binaries")]
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use proptest::prelude::*;
use std::collections::BTreeMap;
use trendsrv_proto::{Clock, EventRecord, NameKind, Rank, Span, TenantId, TopicId};
use trendsrv_shard::{
    Ask, Counted, Effect, Effects, Grid, HeapMemory, Lane, Origin, Part, Programs, Refused,
    ReplyTo, Sequence, Shard, ShardConfig, Trending, WindowConfig, index_words, topics_words,
};

/// Start of every test: a millisecond in the middle of a pane.
pub const START_MS: u64 = 1_442_016_000_500;
pub const WINDOW_MS: u64 = 10_000;
pub const SLIDE_MS: u64 = 1_000;
/// Whom effects are for.
pub const TO: ReplyTo = ReplyTo(7);

/// One event: tenant, topic, weight, time.
pub type Event = (u64, u64, u32, u64);

pub fn tenant_name(tenant: u64) -> String {
    format!("tenant {tenant}")
}

pub fn topic_name(topic: u64) -> String {
    format!("topic {topic}")
}

pub fn tenant_id(tenant: u64) -> TenantId {
    TenantId::of(&tenant_name(tenant))
}

pub fn topic_id(topic: u64) -> TopicId {
    TopicId::of(&topic_name(topic))
}

pub fn grid() -> Grid {
    Grid::new(WINDOW_MS, SLIDE_MS).unwrap()
}

pub fn config(clock: Clock, tenants_max: usize) -> ShardConfig {
    ShardConfig {
        grid: grid(),
        clock,
        tenants_max,
        topics_max: 4_096,
        producers_max: 64,
        early_max: 4_096,
        subscriptions_max: 256,
        sample_bytes_max: 1 << 20,
        secret: [3, 5],
    }
}

/// A shard with room for `tenants_max` tenants of many topics each.
pub fn shard_with<P: Programs>(config: ShardConfig, programs: P) -> Shard<P, HeapMemory> {
    let windows = WindowConfig {
        tenants_max: u32::try_from(config.tenants_max).unwrap(),
        chunk_bytes_min: 4 << 10,
        ..WindowConfig::new(config.grid, [7, 11])
    };
    let bytes = windows.memory_bytes(32 * windows.chunk_bytes());
    let memory = HeapMemory::new(usize::try_from(bytes).unwrap() / 8);
    let index = HeapMemory::new(index_words(config.tenants_max));
    let names = HeapMemory::new(topics_words(config.topics_max));
    Shard::new(config, &windows, memory, index, names, programs).unwrap()
}

pub fn shard(clock: Clock, tenants_max: usize) -> Shard<Trending, HeapMemory> {
    let programs = Trending { recent_ms: 10_000, window_ms: WINDOW_MS };
    shard_with(config(clock, tenants_max), programs)
}

/// Records over a base time, and their span.
pub fn records(base_ms: u64, events: &[Event]) -> (Vec<EventRecord>, Span) {
    let record = |&(tenant, topic, weight, ts_ms): &Event| {
        let offset = i64::try_from(ts_ms).unwrap() - i64::try_from(base_ms).unwrap();
        let offset = i32::try_from(offset).unwrap();
        EventRecord::new(tenant_id(tenant), topic_id(topic), weight, offset)
    };
    let times = || events.iter().map(|event| event.3);
    let span =
        Span { min_ms: times().min().unwrap_or(base_ms), max_ms: times().max().unwrap_or(base_ms) };
    (events.iter().map(record).collect(), span)
}

pub fn origin(sequence: Option<Sequence>) -> Origin {
    Origin {
        to: TO,
        seq: sequence.map_or(0, |at| at.seq),
        sequence,
        ask_names: true,
        durable: false,
    }
}

pub fn at(seq: u64) -> Sequence {
    let lane = Lane { producer: 9, lane: 0, anonymous: false };
    Sequence { lane, epoch: 1, seq }
}

/// Sends a frame of ids and returns what became of it, with the effects behind the answer.
pub fn send<P: Programs>(
    shard: &mut Shard<P, HeapMemory>,
    now_ms: u64,
    sequence: Option<Sequence>,
    events: &[Event],
) -> (Result<Counted, Refused>, Vec<Effect>) {
    let (records, span) = records(now_ms, events);
    let part = Part { base_ms: now_ms, span, records: &records };
    let mut fx = Effects::default();
    shard.on_events(now_ms, &origin(sequence), &part, &mut fx);
    outcome(fx)
}

/// Sends a frame of names.
pub fn send_named<P: Programs>(
    shard: &mut Shard<P, HeapMemory>,
    now_ms: u64,
    sequence: Option<Sequence>,
    events: &[Event],
) -> Result<Counted, Refused> {
    let (records, span) = records(now_ms, events);
    let part = Part { base_ms: now_ms, span, records: &records };
    let names: Vec<(NameKind, u64, String)> = events
        .iter()
        .flat_map(|event| {
            let (tenant, topic) = (tenant_name(event.0), topic_name(event.1));
            let tenant = (NameKind::Tenant, TenantId::of(&tenant).0, tenant);
            [tenant, (NameKind::Topic, TopicId::of(&topic).0, topic)]
        })
        .collect();
    let names = names.iter().map(|(kind, id, name)| (*kind, *id, name.as_str()));
    let mut fx = Effects::default();
    let from = Origin { ask_names: false, ..origin(sequence) };
    shard.on_events_named(now_ms, &from, &part, names, &mut fx);
    outcome(fx).0
}

fn outcome(mut fx: Effects) -> (Result<Counted, Refused>, Vec<Effect>) {
    let first = fx.list.remove(0);
    let outcome = match first {
        Effect::Accepted { counted, .. } => Ok(counted),
        Effect::Refused { why, .. } => Err(why),
        Effect::Need { .. } | Effect::Publish { .. } => panic!("an answer comes first"),
    };
    (outcome, fx.list)
}

/// Turns until nothing more is due.
pub fn turn<P: Programs>(shard: &mut Shard<P, HeapMemory>, now_ms: u64) -> Effects {
    let mut fx = Effects::default();
    while shard.on_turn(now_ms, &mut fx) {}
    fx
}

/// What a reader sees of an exact answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub as_of_ms: u64,
    pub total: u64,
    pub events: u64,
    pub distinct: u64,
    pub late: u64,
    /// Name and count, the largest first.
    pub topics: Vec<(String, u64)>,
}

pub fn ask_of(tenant: u64, at_ms: Option<u64>) -> Ask<'static> {
    Ask { tenant: tenant_id(tenant), name: None, at_ms, k: 100, rank: Rank::Count }
}

pub fn ask<P: Programs>(
    shard: &mut Shard<P, HeapMemory>,
    now_ms: u64,
    tenant: u64,
    at_ms: Option<u64>,
) -> Result<(Seen, u64), Refused> {
    let answer = shard.ask(now_ms, &ask_of(tenant, at_ms))?;
    let head = answer.head;
    assert!(head.flags.exact && head.flags.certified && head.error_bound == 0);
    assert_eq!((head.dropped, head.shed), (0, 0));
    let topics: Vec<_> = answer.topics().map(|row| (row.name.to_owned(), row.count)).collect();
    let seen = Seen {
        as_of_ms: head.as_of_ms,
        total: head.total,
        events: head.events,
        distinct: head.distinct,
        late: head.late,
        topics,
    };
    Ok((seen, head.version))
}

/// The total of a tenant now; `None` for one that is not held.
pub fn total<P: Programs>(
    shard: &mut Shard<P, HeapMemory>,
    now_ms: u64,
    tenant: u64,
) -> Option<u64> {
    ask(shard, now_ms, tenant, None).ok().map(|(seen, _)| seen.total)
}

/// Every event ever sent, by tenant, and the rules in their plainest form.
#[derive(Clone, Debug)]
pub struct Model {
    clock: Clock,
    tenants: BTreeMap<u64, TenantModel>,
    early: Vec<Event>,
}

#[derive(Clone, Debug, Default)]
struct TenantModel {
    events: Vec<Event>,
    current: u64,
    watermark_ms: u64,
    late: u64,
}

impl Model {
    pub const fn new(clock: Clock) -> Self {
        Self { clock, tenants: BTreeMap::new(), early: Vec::new() }
    }

    pub fn tenants(&self) -> impl Iterator<Item = u64> + use<'_> {
        self.tenants.keys().copied()
    }

    pub fn send(&mut self, now_ms: u64, events: &[Event]) -> Counted {
        let mut counted = Counted::default();
        for &event in events {
            let tenant = self.tenants.entry(event.0).or_default();
            if self.clock == Clock::Wall && event.3 / SLIDE_MS > now_ms / SLIDE_MS {
                self.early.push(event);
                counted.early += 1;
            } else if tenant.count(self.clock, now_ms, event) {
                counted.applied += 1;
            } else {
                counted.late += 1;
            }
        }
        counted
    }

    pub fn turn(&mut self, now_ms: u64) {
        let due = |event: &mut Event| event.3 / SLIDE_MS <= now_ms / SLIDE_MS;
        for event in self.early.extract_if(.., due) {
            self.tenants.entry(event.0).or_default().count(self.clock, now_ms, event);
        }
    }

    /// The earliest end of a window that may be asked for.
    pub fn earliest_ms(&self, now_ms: u64, tenant: u64) -> u64 {
        self.watermark_ms(now_ms, tenant) / SLIDE_MS * SLIDE_MS
    }

    pub fn watermark_ms(&self, now_ms: u64, tenant: u64) -> u64 {
        match self.clock {
            Clock::Wall => now_ms,
            Clock::Event => self.tenants[&tenant].watermark_ms,
        }
    }

    pub fn ask(&self, now_ms: u64, tenant: u64, at_ms: Option<u64>) -> Seen {
        let held = &self.tenants[&tenant];
        let watermark_ms = self.watermark_ms(now_ms, tenant);
        let as_of_ms = at_ms.unwrap_or(watermark_ms).max(watermark_ms);
        let pane = as_of_ms / SLIDE_MS;
        let live = |event: &&Event| {
            event.3 / SLIDE_MS <= pane && event.3 / SLIDE_MS + WINDOW_MS / SLIDE_MS > pane
        };
        let mut totals: BTreeMap<String, u64> = BTreeMap::new();
        let mut events = 0;
        for event in held.events.iter().filter(live) {
            events += 1;
            *totals.entry(topic_name(event.1)).or_default() += u64::from(event.2);
        }
        let mut topics: Vec<_> = totals.into_iter().collect();
        topics.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        Seen {
            as_of_ms,
            total: topics.iter().map(|topic| topic.1).sum(),
            events,
            distinct: topics.len() as u64,
            late: held.late,
            topics,
        }
    }
}

impl TenantModel {
    /// Whether the event was in time.
    fn count(&mut self, clock: Clock, now_ms: u64, event: Event) -> bool {
        let pane = event.3 / SLIDE_MS;
        self.current = self.current.max(match clock {
            Clock::Wall => now_ms / SLIDE_MS,
            Clock::Event => pane,
        });
        let in_time = pane + WINDOW_MS / SLIDE_MS > self.current;
        if in_time {
            self.watermark_ms = self.watermark_ms.max(event.3);
            self.events.push(event);
        } else {
            self.late += 1;
        }
        in_time
    }
}

/// A step of a random history: how far time moves, and events around then.
#[derive(Clone, Debug)]
pub struct Step {
    pub ahead_ms: u64,
    /// Tenant, topic, weight, offset from then.
    pub batch: Vec<(u64, u64, u32, i64)>,
}

/// Steps with pauses and jumps; events up to `ahead_ms_max` ahead of their step.
pub fn steps(ahead_ms_max: i64, len: usize) -> impl Strategy<Value = Vec<Step>> {
    let ahead = prop_oneof![
        3 => Just(0_u64),
        6 => 1_u64..1_500,
        2 => 2_000_u64..30_000,
        1 => 100_000_u64..10_000_000,
    ];
    let offset = prop_oneof![
        4 => Just(0_i64),
        6 => -3_000_i64..=0,
        2 => -15_000_i64..=0,
        3 => 0..=ahead_ms_max,
        1 => prop::sample::select(vec![-10_001_i64, -10_000, -9_999, -501, -500, 499, 500]),
    ];
    let weight = prop_oneof![5 => 1_u32..9, 1 => 65_000_u32..66_000, 1 => Just(1_000_000_000_u32)];
    let batch = prop::collection::vec((0_u64..5, 0_u64..20, weight, offset), 0..30);
    let step = (ahead, batch).prop_map(|(ahead_ms, batch)| Step { ahead_ms, batch });
    prop::collection::vec(step, 1..len)
}

/// The events of a step at its time.
pub fn placed(step: &Step, now_ms: u64) -> Vec<Event> {
    let place = |&(tenant, topic, weight, offset): &(u64, u64, u32, i64)| {
        (tenant, topic, weight, now_ms.checked_add_signed(offset).unwrap())
    };
    step.batch.iter().map(place).collect()
}
