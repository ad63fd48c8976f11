//! What only shows inside: that the tables beside the windows are as full as before.

use crate::effect::{Effects, ReplyTo};
use crate::grid::Grid;
use crate::memory::HeapMemory;
use crate::shard::{Origin, Part, Shard};
use crate::tenants::{Slot, index_words};
use crate::topics::topics_words;
use crate::trending::Trending;
use crate::window::WindowConfig;
use crate::{ShardConfig, TextPart};
use trendsrv_proto::limits::VNODES;
use trendsrv_proto::{Clock, EventRecord, NameKind, Span, TenantId, TopicId};

const START_MS: u64 = 1_442_016_000_500;
const ORIGIN: Origin =
    Origin { to: ReplyTo(7), seq: 0, sequence: None, ask_names: true, durable: false };

fn shard(secret: u64) -> Shard<Trending, HeapMemory> {
    let grid = Grid::new(10_000, 1_000).unwrap();
    let config = ShardConfig {
        grid,
        clock: Clock::Wall,
        tenants_max: 64,
        topics_max: 4_096,
        producers_max: 64,
        early_max: 64,
        subscriptions_max: 64,
        sample_bytes_max: 1 << 20,
        secret: [secret, 5],
    };
    let windows = WindowConfig {
        tenants_max: 64,
        chunk_bytes_min: 4 << 10,
        ..WindowConfig::new(grid, [secret, 11])
    };
    let bytes = windows.memory_bytes(32 * windows.chunk_bytes());
    let memory = HeapMemory::new(usize::try_from(bytes).unwrap() / 8);
    let programs = Trending { recent_ms: 10_000, window_ms: 10_000 };
    let index = HeapMemory::new(index_words(64));
    let names = HeapMemory::new(topics_words(config.topics_max));
    Shard::new(config, &windows, memory, index, names, programs).unwrap()
}

/// Topics of three kinds in windows of many tenants: named, nameless, and found in texts.
fn busy() -> Shard<Trending, HeapMemory> {
    let mut shard = shard(3);
    let names: Vec<String> = (0..30).map(|i| format!("name {i}")).collect();
    let records: Vec<EventRecord> = (0..600_u64)
        .map(|i| {
            let topic = match i % 3 {
                0 => TopicId(i / 7),
                _ => TopicId::of(&names[usize::try_from(i % 30).unwrap()]),
            };
            let ahead_ms = if i % 11 == 0 { 2_000 } else { 0 };
            EventRecord::new(
                TenantId::of(&names[usize::try_from(i % 20).unwrap()]),
                topic,
                1,
                ahead_ms,
            )
        })
        .collect();
    let span = Span { min_ms: START_MS, max_ms: START_MS + 2_000 };
    let part = Part { base_ms: START_MS, span, records: &records };
    let told = names.iter().take(25).flat_map(|name| {
        let (tenant, topic) = (TenantId::of(name).0, TopicId::of(name).0);
        [(NameKind::Tenant, tenant, name.as_str()), (NameKind::Topic, topic, name.as_str())]
    });
    let mut fx = Effects::default();
    shard.on_events_named(START_MS, &ORIGIN, &part, told, &mut fx);
    let text = |tenant: usize| crate::Text {
        tenant: TenantId::of(&names[tenant]),
        text: "rain over #paris tonight",
        weight: 3,
        offset_ms: 0,
    };
    let texts: Vec<_> = (0..20).map(text).collect();
    let part = TextPart { base_ms: START_MS, span, texts: &texts };
    shard.on_texts(START_MS, &ORIGIN, &part, std::iter::empty(), &mut fx);
    shard
}

fn copy(old: &mut Shard<Trending, HeapMemory>) -> Shard<Trending, HeapMemory> {
    let mut new = shard(1 << 50);
    for vnode in 0..u16::try_from(VNODES).unwrap() {
        let mut section = Vec::new();
        if old.snapshot_vnode(vnode, &mut section).is_some() {
            new.restore_vnode(&section).unwrap();
        }
    }
    new
}

#[test]
fn topics_are_held_by_as_many_windows_as_before_and_by_none_in_the_end() {
    let mut old = busy();
    let mut new = copy(&mut old);
    let held = old.topics.held();
    assert!(held.len() > 50 && held.values().any(|(_, name)| name.is_empty()));
    assert_eq!(new.topics.held(), held);
    assert_eq!(new.early.len(), old.early.len());
    assert!(new.early.len() > 50);
    let mut fx = Effects::default();
    for at_ms in (START_MS..).step_by(5_000).take(12) {
        while new.on_turn(at_ms, &mut fx) {}
    }
    assert_eq!((new.topics.held().len(), new.windows.memory_use().used_bytes), (0, 0));
    assert_eq!(new.early.len(), 0);
}

#[test]
fn samples_tables_and_levels_are_as_before() {
    let mut old = busy();
    let mut new = copy(&mut old);
    assert_eq!(new.stats().tenants.now, old.stats().tenants.now);
    assert_eq!(new.stats().window_bytes.now, old.stats().window_bytes.now);
    assert_eq!(new.tenants.counts(), old.tenants.counts());
    for slot in (0..old.tenants.slots()).map(Slot) {
        let id = old.tenants.id_at(slot).unwrap();
        let copied = new.tenants.at(new.tenants.find(id).unwrap()).0;
        assert_eq!(new.samples.of_tenant(copied), old.samples.of_tenant(slot));
        let names = [old.tenants.record(slot), new.tenants.record(copied)];
        assert_eq!(names[0].name, names[1].name);
        let listed = new.tenants.of_vnode(id.vnode()).map(|slot| new.tenants.record(slot).id);
        let before = old.tenants.of_vnode(id.vnode()).map(|slot| old.tenants.record(slot).id);
        assert!(listed.eq(before), "a vnode's tenants keep their order");
    }
    assert!(old.samples.level().now > 0 && new.samples.level().now > 0);
}

#[test]
fn the_nameless_are_asked_for_after_a_restart() {
    let mut old = busy();
    let mut new = copy(&mut old);
    let mut fx = Effects::default();
    while new.on_turn(START_MS + 1_000, &mut fx) {}
    let asked = fx
        .list
        .iter()
        .filter(|effect| matches!(effect, crate::Effect::Need { kind: NameKind::Topic, .. }));
    let nameless = old.topics.held().values().filter(|(_, name)| name.is_empty()).count();
    assert!(nameless > 10);
    assert_eq!(asked.count(), nameless);
}
