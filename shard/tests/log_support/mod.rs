//! Random lives of a shard with a log, and lives again from what is left of them.
#![allow(dead_code, reason = "each test binary uses its part")]
#![allow(unreachable_pub, reason = "a module of test binaries")]
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use crate::shard_support::*;
use proptest::prelude::*;
use std::collections::BTreeMap;
use trendsrv_proto::{Clock, EventRecord, NameKind, Rank, Span, TenantId, TopicId};
use trendsrv_shard::log::{
    Expect, LogStart, Parsed, Record, RecordHead, ReplayScope, Replayed, parse,
};
use trendsrv_shard::{
    Ask, Effect, Effects, HeapMemory, Lane, Observed, Origin, Part, Programs, Sequence, Shard,
    ShardConfig, Slot, Summary, Text, TextPart, Texts, Told, Trending,
};

pub const TENANTS: u64 = 5;
pub const LOG: LogStart = LogStart { generation: 3, next_lsn: 1, prev_crc: 77 };

/// One thing that happens to a shard.
#[derive(Clone, Debug)]
pub struct Deed {
    pub ahead_ms: u64,
    pub kind: u8,
    pub lane: usize,
    /// Whether the lane sends its last number again.
    pub again: bool,
    /// Tenant, topic, weight, offset.
    pub batch: Vec<(u64, u64, u32, i64)>,
}

/// Deeds with events up to `ahead_ms_max` ahead of them.
pub fn deeds(ahead_ms_max: i64, len: usize) -> impl Strategy<Value = Vec<Deed>> {
    let more = prop::collection::vec((0_u8..7, 0_usize..4, prop::bool::weighted(0.1)), len);
    (steps(ahead_ms_max, len), more).prop_map(|(steps, more)| {
        let deed = |(step, (kind, lane, again)): (Step, (u8, usize, bool))| {
            let Step { ahead_ms, batch } = step;
            Deed { ahead_ms, kind, lane, again, batch }
        };
        steps.into_iter().zip(more).map(deed).collect()
    })
}

/// A shard, the time, and the producers that send to it.
pub struct Life<P> {
    pub shard: Shard<P, HeapMemory>,
    pub now_ms: u64,
    next: [u64; 4],
    /// What was logged.
    pub log: Vec<u8>,
}

pub fn lane(index: usize) -> Option<Lane> {
    let producer = index as u64;
    (index > 0).then_some(Lane { producer, lane: 1, anonymous: index == 1 })
}

impl<P: Programs> Life<P> {
    pub fn new(shard: Shard<P, HeapMemory>) -> Self {
        Self { shard, now_ms: START_MS, next: [1; 4], log: Vec::new() }
    }

    /// A life that goes on with a shard where this one stands.
    pub fn other<Q>(&self, shard: Shard<Q, HeapMemory>) -> Life<Q> {
        Life { shard, now_ms: self.now_ms, next: self.next, log: Vec::new() }
    }

    /// Time passes as it does for a shard that runs: it turns at least once in every slide that
    /// early events may wait for.
    pub fn pass(&mut self, ahead_ms: u64) {
        let until_ms = self.now_ms + ahead_ms;
        for _ in 0..24 {
            let slide_ms = (self.now_ms / SLIDE_MS + 1) * SLIDE_MS;
            if slide_ms < until_ms {
                self.now_ms = slide_ms;
                turn(&mut self.shard, slide_ms);
            }
        }
        self.now_ms = until_ms;
        turn(&mut self.shard, until_ms);
    }

    /// Does it; the effect that answers.
    pub fn live(&mut self, deed: &Deed) -> Option<Effect> {
        self.pass(deed.ahead_ms);
        let now_ms = self.now_ms;
        let step = Step { ahead_ms: 0, batch: deed.batch.clone() };
        let events = placed(&step, now_ms);
        let (all, span) = records(now_ms, &events);
        // A lane that ends with its connection knows its past only there.
        let again = u64::from(deed.again && deed.lane > 1);
        let seq = self.next[deed.lane].max(2) - again;
        self.next[deed.lane] = seq + 1;
        let sequence = lane(deed.lane).map(|lane| Sequence { lane, epoch: 1, seq });
        let from = Origin { ask_names: deed.kind == 0, ..origin(sequence) };
        let texts = texts_of(&events, now_ms);
        let texts: Vec<Text<'_>> = texts
            .iter()
            .map(|(text, weight, offset_ms, tenant)| Text {
                tenant: *tenant,
                text,
                weight: *weight,
                offset_ms: *offset_ms,
            })
            .collect();
        let names = names_of(&events);
        let names = names.iter().map(|(kind, id, name)| (*kind, *id, name.as_str()));
        let mut fx = Effects::default();
        let part = |records| Part { base_ms: now_ms, span, records };
        let said = TextPart { base_ms: now_ms, span, texts: &texts };
        let shard = &mut self.shard;
        match deed.kind {
            0 | 1 => shard.on_events(now_ms, &from, &part(&all), &mut fx),
            2 => shard.on_events_named(now_ms, &from, &part(&all), names, &mut fx),
            3 => {
                let names = names.filter(|name| name.0 == NameKind::Tenant);
                shard.on_texts(now_ms, &from, &said, names, &mut fx);
            }
            4 => shard.on_mixed(now_ms, &from, &part(&all), &said, &mut fx),
            5 => shard.on_events(now_ms, &from, &filler(now_ms), &mut fx),
            _ => shard.define(names),
        }
        self.keep_log();
        (!fx.list.is_empty()).then(|| fx.list.remove(0))
    }

    /// Keeps what was logged since; all of it is durable then.
    pub fn keep_log(&mut self) {
        let Some(log) = self.shard.log() else { return };
        while let Some(batch) = log.take(1 << 20) {
            self.log.extend_from_slice(&batch.bytes);
            log.give_back(batch.bytes);
        }
        let last = log.last_lsn();
        self.shard.on_durable(last);
    }

    /// Everything that readers are told, version apart.
    pub fn told(&mut self) -> Vec<String> {
        let mut told = Vec::new();
        for tenant in 0..TENANTS {
            for (rank, ahead_ms) in [(Rank::Count, 0), (Rank::Score, 0), (Rank::Count, 5_000)] {
                let at_ms = (ahead_ms > 0).then_some(self.now_ms + 40_000 + ahead_ms);
                let ask = Ask { rank, ..ask_of(tenant, at_ms) };
                told.push(match self.shard.ask(self.now_ms, &ask) {
                    Ok(answer) => {
                        let rows: Vec<_> = answer.topics().collect();
                        let head = trendsrv_proto::SummaryHead { version: 0, ..answer.head };
                        format!("{head:?} {:?} {rows:?}", answer.tldr)
                    }
                    Err(why) => format!("{:?}", why.code),
                });
            }
        }
        told.extend(self.shard.list(self.now_ms, "", None, 100).iter().map(|l| format!("{l:?}")));
        told
    }

    /// Where the named lanes stand.
    pub fn standings(&mut self) -> Vec<u64> {
        let mut standing = |index| self.shard.on_greet(lane(index).unwrap(), 1).unwrap();
        vec![standing(2).next, standing(3).next]
    }
}

pub fn filler(now_ms: u64) -> Part<'static> {
    Part { base_ms: now_ms, span: Span { min_ms: now_ms, max_ms: now_ms }, records: &[] }
}

/// Text, weight, offset, tenant: topics by their tags.
fn texts_of(events: &[Event], now_ms: u64) -> Vec<(String, u32, i32, TenantId)> {
    let text = |&(tenant, topic, weight, ts_ms): &Event| {
        let offset = i64::try_from(ts_ms).unwrap() - i64::try_from(now_ms).unwrap();
        let text = match topic % 4 {
            0 => format!("nothing about {topic}"),
            _ => format!("#t{topic} beside @t{}", topic / 2),
        };
        (text, weight, i32::try_from(offset).unwrap(), tenant_id(tenant))
    };
    events.iter().map(text).collect()
}

fn names_of(events: &[Event]) -> Vec<(NameKind, u64, String)> {
    let names = |event: &Event| {
        let (tenant, topic) = (tenant_name(event.0), topic_name(event.1));
        let tenant = (NameKind::Tenant, TenantId::of(&tenant).0, tenant);
        [tenant, (NameKind::Topic, TopicId::of(&topic).0, topic)]
    };
    events.iter().flat_map(names).collect()
}

/// Every record of a log.
pub fn each_record(
    mut bytes: &[u8],
    start: &LogStart,
    mut then: impl FnMut(&RecordHead, &Record<'_>),
) {
    let LogStart { generation, next_lsn, prev_crc } = *start;
    let mut expect = Expect { generation, lsn: next_lsn, prev_crc };
    loop {
        match parse(bytes, &expect) {
            Parsed::Record(head, record) => {
                then(&head, &record);
                expect = Expect::after(&head);
                bytes = &bytes[head.len..];
            }
            Parsed::Padding => return,
            Parsed::Bad(bad) => panic!("{bad}"),
        }
    }
}

/// Everything of a log, to be applied again.
pub const ALL: ReplayScope<'static> =
    ReplayScope { owns: &|_| true, above: &|_, _| true, marks: true, old_owner: None };

/// Applies a log again; what became of it all.
pub fn replay<P: Programs>(
    shard: &mut Shard<P, HeapMemory>,
    log: &[u8],
    scope: &ReplayScope<'_>,
) -> Replayed {
    let mut all = Replayed::default();
    each_record(log, &LOG, |head, record| {
        let replayed = shard.replay(head, record, scope);
        assert_eq!(replayed.total(), record.events(), "none without an account");
        all = all.plus(replayed);
    });
    all
}

/// Another process's settings of the same server.
pub fn elsewhere(config: ShardConfig) -> ShardConfig {
    ShardConfig { secret: [0x5eed, 0xc0de], ..config }
}

/// Leaves out every third event of each tenant: what it has seen is its private state.
#[derive(Clone, Debug)]
pub struct Sieve {
    seats: BTreeMap<Slot, TenantId>,
    seen: BTreeMap<TenantId, u64>,
}

impl Sieve {
    pub const fn new() -> Self {
        Self { seats: BTreeMap::new(), seen: BTreeMap::new() }
    }
}

impl Programs for Sieve {
    const EAGER: bool = false;

    fn admit(&mut self, _now_ms: u64, slot: Slot, tenant: TenantId) {
        self.seats.insert(slot, tenant);
    }

    fn retire(&mut self, slot: Slot) {
        self.seats.remove(&slot);
    }

    fn observes_any(&self) -> bool {
        true
    }

    fn observes(&self, _slot: Slot) -> bool {
        true
    }

    fn observe(&mut self, run: &Observed<'_>, out: &mut Vec<EventRecord>) {
        let seen = self.seen.entry(self.seats[&run.slot]).or_default();
        for record in run.records {
            *seen += 1;
            if !seen.is_multiple_of(3) {
                out.push(*record);
            }
        }
    }

    fn find_topics(&mut self, run: &Texts<'_>, found: &mut dyn FnMut(usize, u32, &str)) {
        *self.seen.entry(self.seats[&run.slot]).or_default() += run.texts.len() as u64;
        let mut plain = TRENDING;
        plain.find_topics(run, found);
    }

    fn summarise(&mut self, ask: &Summary<'_>, told: &mut Told) {
        let mut plain = TRENDING;
        plain.summarise(ask, told);
    }

    fn name_of(&self, _slot: Slot) -> &str {
        "sieve"
    }
}

pub const TRENDING: Trending = Trending { recent_ms: 10_000, window_ms: WINDOW_MS };

/// The settings of these lives: no tenant has to leave.
pub fn settings(clock: Clock) -> ShardConfig {
    config(clock, 16)
}
