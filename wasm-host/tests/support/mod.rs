//! A shard with tenants and their programs, for the tests of the host.
#![allow(dead_code, reason = "each test binary uses its part")]
#![allow(unreachable_pub, reason = "a module of test binaries")]
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

pub mod components;

use std::sync::Arc;
use trendsrv_proto::{Clock, EventRecord, Kind, NameKind, Rank, Span, TenantId, TopicId};
use trendsrv_shard::{
    Ask, Effect, Effects, Grid, HeapMemory, Origin, Part, Programs, ReplyTo, Shard, ShardConfig,
    Text, TextPart, Trending, WindowConfig, index_words, topics_words,
};
use trendsrv_wasm_host::{Host, HostConfig, Program, SHIPPED, ShardEngine, compile};

/// Start of every test: a millisecond in the middle of a pane.
pub const START_MS: u64 = 1_442_016_000_500;
pub const WINDOW_MS: u64 = 10_000;
pub const RECENT_MS: u64 = 10_000;

/// What every program of a test exports, with `summarise` as given and more behind it.
pub fn module(summarise: &str, more: &str) -> Vec<u8> {
    let text = format!(
        r#"(module
          (memory (export "memory") 1 1)
          (func (export "trend_abi") (result i32) (i32.const 1))
          (func (export "buf") (result i32) (i32.const 4096))
          (func (export "cap") (result i32) (i32.const 16384))
          (func (export "summarise") (param $n i32) (result i32) {summarise})
          {more})"#
    );
    wat::parse_str(&text).unwrap()
}

/// Instructions that write a TL;DR of these bytes and keep the ranking.
pub fn say(text: &[u8]) -> String {
    let store = |(i, byte): (usize, &u8)| {
        format!("(i32.store8 (i32.add (local.get $out) (i32.const {})) (i32.const {byte}))", i + 4)
    };
    let bytes: String = text.iter().enumerate().map(store).collect();
    format!(
        "(local $out i32)
         (local.set $out (i32.add (i32.const 4096) (i32.load (i32.const 4140))))
         (i32.store16 (local.get $out) (i32.const 0xffff))
         (i32.store16 offset=2 (local.get $out) (i32.const {}))
         {bytes} (i32.const 0)",
        text.len()
    )
}

pub fn program(engine: &ShardEngine, name: &str, wasm: &[u8]) -> Arc<Program> {
    let artefact = compile(wasm).unwrap();
    Program::load(engine, name, [0; 32], &artefact).unwrap()
}

pub fn shipped(engine: &ShardEngine, name: &str) -> Arc<Program> {
    let (_, wasm) = SHIPPED.iter().find(|(shipped, _)| *shipped == name).unwrap();
    program(engine, name, wasm)
}

/// A shard with programs, and the engine to load more.
pub struct World {
    pub engine: ShardEngine,
    pub shard: Shard<Host, HeapMemory>,
    pub now_ms: u64,
}

impl World {
    pub fn new() -> Self {
        let engine = ShardEngine::new(256).unwrap();
        let config = HostConfig {
            tenants_max: 256,
            window_ms: WINDOW_MS,
            recent_ms: RECENT_MS,
            default_program: Some(shipped(&engine, "trending")),
            text_program: None,
        };
        let host = Host::new(engine.clone(), config).unwrap();
        Self { shard: shard_with(host), engine, now_ms: START_MS }
    }

    pub fn install(&mut self, name: &str, wasm: &[u8]) {
        let program = program(&self.engine, name, wasm);
        self.host().install(program).unwrap();
    }

    pub fn host(&mut self) -> &mut Host {
        self.shard.programs_mut()
    }

    pub fn send(&mut self, events: &[(&str, &str, u32)]) {
        send(&mut self.shard, self.now_ms, events);
    }

    pub fn say<'a>(&mut self, texts: &[(&str, &'a str)]) {
        let make = |&(tenant, text): &(&str, &'a str)| Text {
            tenant: TenantId::of(tenant),
            text,
            weight: 1,
            offset_ms: 0,
        };
        let made: Vec<Text<'_>> = texts.iter().map(make).collect();
        let span = Span { min_ms: self.now_ms, max_ms: self.now_ms };
        let part = TextPart { base_ms: self.now_ms, span, texts: &made };
        let names =
            texts.iter().map(|(tenant, _)| (NameKind::Tenant, TenantId::of(tenant).0, *tenant));
        let mut fx = Effects::default();
        self.shard.on_texts(self.now_ms, &ORIGIN, &part, names, &mut fx);
        assert!(matches!(fx.list[0], Effect::Accepted { .. }), "{:?}", fx.list);
    }

    /// Turns until nothing is due at once.
    pub fn settle(&mut self) {
        let mut fx = Effects::default();
        for _ in 0..100 {
            if !self.shard.on_turn(self.now_ms, &mut fx) {
                return;
            }
        }
        panic!("a hundred turns are not enough");
    }

    pub fn pass(&mut self, ms: u64) {
        self.now_ms += ms;
        self.settle();
    }

    pub fn answer(&mut self, tenant: &str) -> Vec<u8> {
        answer(&mut self.shard, self.now_ms, tenant, Rank::Score)
    }

    pub fn tldr(&mut self, tenant: &str) -> (String, String) {
        tldr(&mut self.shard, self.now_ms, tenant)
    }
}

pub fn shard_with<P: Programs>(programs: P) -> Shard<P, HeapMemory> {
    let grid = Grid::new(WINDOW_MS, 1_000).unwrap();
    let config = ShardConfig {
        grid,
        clock: Clock::Wall,
        tenants_max: 256,
        topics_max: 4_096,
        producers_max: 64,
        early_max: 4_096,
        subscriptions_max: 256,
        sample_bytes_max: 1 << 20,
        secret: [3, 5],
    };
    let windows = WindowConfig {
        tenants_max: 256,
        chunk_bytes_min: 4 << 10,
        ..WindowConfig::new(grid, [7, 11])
    };
    let bytes = windows.memory_bytes(32 * windows.chunk_bytes());
    let memory = HeapMemory::new(usize::try_from(bytes).unwrap() / 8);
    let index = HeapMemory::new(index_words(256));
    let names = HeapMemory::new(topics_words(config.topics_max));
    Shard::new(config, &windows, memory, index, names, programs).unwrap()
}

pub fn twin() -> Shard<Trending, HeapMemory> {
    shard_with(Trending { recent_ms: RECENT_MS, window_ms: WINDOW_MS })
}

pub fn send<P: Programs>(
    shard: &mut Shard<P, HeapMemory>,
    now_ms: u64,
    events: &[(&str, &str, u32)],
) {
    let record = |&(tenant, topic, weight): &(&str, &str, u32)| {
        EventRecord::new(TenantId::of(tenant), TopicId::of(topic), weight, 0)
    };
    let records: Vec<_> = events.iter().map(record).collect();
    let names = events.iter().flat_map(|&(tenant, topic, _)| {
        // Topics that begin so are never told by name.
        let topic_name = (!topic.starts_with("nameless")).then_some((
            NameKind::Topic,
            TopicId::of(topic).0,
            topic,
        ));
        [Some((NameKind::Tenant, TenantId::of(tenant).0, tenant)), topic_name].into_iter().flatten()
    });
    let span = Span { min_ms: now_ms, max_ms: now_ms };
    let part = Part { base_ms: now_ms, span, records: &records };
    let mut fx = Effects::default();
    shard.on_events_named(now_ms, &ORIGIN, &part, names, &mut fx);
    assert!(matches!(fx.list[0], Effect::Accepted { .. }), "{:?}", fx.list);
}

/// The answer as it goes over the wire.
pub fn answer<P: Programs>(
    shard: &mut Shard<P, HeapMemory>,
    now_ms: u64,
    tenant: &str,
    rank: Rank,
) -> Vec<u8> {
    let ask = Ask { tenant: TenantId::of(tenant), name: Some(tenant), at_ms: None, k: 10, rank };
    let mut bytes = Vec::new();
    shard.ask(now_ms, &ask).unwrap().encode(&mut bytes, Kind::Summary, 0);
    bytes
}

/// The line of an answer, and who wrote it.
pub fn tldr<P: Programs>(
    shard: &mut Shard<P, HeapMemory>,
    now_ms: u64,
    tenant: &str,
) -> (String, String) {
    let rank = Rank::Score;
    let ask = Ask { tenant: TenantId::of(tenant), name: Some(tenant), at_ms: None, k: 10, rank };
    let answer = shard.ask(now_ms, &ask).unwrap();
    (answer.tldr.to_owned(), answer.program.to_owned())
}

const ORIGIN: Origin =
    Origin { to: ReplyTo(7), seq: 0, sequence: None, ask_names: false, durable: false };
