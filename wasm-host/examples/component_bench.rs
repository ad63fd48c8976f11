//! What the convenient lane costs beside the core lane: the same questions, asked of programs that
//! do nothing (the lane alone) and of programs that do something.
//!
//! `cargo run --profile fast -p trendsrv-wasm-host --example component_bench [-- tenants]`
//!
//! Processor time of the thread, median of nine rounds over all tenants in slot order; "hot" is one
//! tenant again and again. The lanes take turns within a round, so that both see the same machine.

mod support;

use support::*;
use trendsrv_proto::{EventRecord, TenantId, TopicId};
use trendsrv_shard::{Observed, Programs, Slot, Told, View};
use trendsrv_wasm_host::limits::{COMPONENT_INSTANCES_MAX, COMPONENT_MEMORY_BYTES_MAX};
use trendsrv_wasm_host::{Host, HostConfig, Program, SHIPPED, ShardEngine, compile};

/// Keeps the ranking, says nothing, passes every record on.
const IDLE_CORE: &str = r#"(module (memory (export "memory") 1 1)
  (func (export "trend_abi") (result i32) i32.const 1)
  (func (export "buf") (result i32) i32.const 1024)
  (func (export "cap") (result i32) i32.const 8192)
  (func (export "summarise") (param i32) (result i32) i32.const 0)
  (func (export "observe") (param i32) (result i32) local.get 0))"#;

/// The same as a component, its allocator a pointer that starts anew with every call.
const IDLE_COMPONENT: &str = r#"(module (memory (export "memory") 1)
  (global $free (mut i32) (i32.const 8192))
  (func (export "cabi_realloc") (param i32 i32 i32) (param $size i32) (result i32)
    (global.set $free (i32.and (i32.add (global.get $free) (i32.const 7)) (i32.const -8)))
    (global.get $free)
    (global.set $free (i32.add (global.get $free) (local.get $size))))
  (func (export "trend:program/summariser@1.0.0#summarise")
    (param i64 i64 i64 i32 i32 i32 i32 i32 i32 i32) (result i32) i32.const 1024)
  (func (export "cabi_post_trend:program/summariser@1.0.0#summarise") (param i32)
    (global.set $free (i32.const 8192)))
  (func (export "trend:program/observer@1.0.0#observe")
    (param i64 i32 i32) (result i32)
    (i32.store (i32.const 1040) (local.get 1))
    (i32.store (i32.const 1044) (local.get 2))
    i32.const 1040)
  (func (export "cabi_post_trend:program/observer@1.0.0#observe") (param i32)
    (global.set $free (i32.const 8192))))"#;

const EXAMPLE: &[u8] = include_bytes!("../../guests/wasm/examples/component.wasm");
const WIT: &str = include_str!("../wit/trend-program.wit");
const ROUNDS: usize = 9;
const AHEAD: u32 = 4;

/// One lane's program in all tenants.
struct Lane {
    name: &'static str,
    host: Host,
    bytes_each: u64,
    admit_ns: u64,
}

fn main() {
    let most = u32::try_from(COMPONENT_INSTANCES_MAX).expect("a small constant");
    let tenants = std::env::args().nth(1).map_or(1_000, |n| n.parse().expect("a number")).min(most);
    let view = twelve_topics();
    let trending = SHIPPED.iter().find(|(name, _)| *name == "trending").expect("shipped").1;
    let idle = wat::parse_str(IDLE_CORE).expect("a module");
    let mut lanes = [
        Lane::new("core, idle", tenants, &idle),
        Lane::new("component, idle", tenants, &idle_component()),
        Lane::new("core, trending", tenants, trending),
        Lane::new("component, example", tenants, EXAMPLE),
    ];
    println!("{tenants} tenants in each lane; twelve topics known, ten shown");
    summaries(&mut lanes, tenants, &view);
    println!("{:20} {:>10} {:>12} {:>12}", "", "start ns", "KiB each", "fuel a call");
    for lane in &mut lanes {
        let stats = lane.host.stats().clone();
        assert_eq!((stats.instances, stats.faults), (u64::from(tenants), 0), "{}", lane.name);
        println!(
            "{:20} {:10} {:12.1} {:12}",
            lane.name,
            lane.admit_ns,
            lane.bytes_each as f64 / 1_024.0,
            stats.fuel_used / stats.calls.max(1)
        );
    }
    for run in [1, 16, 64] {
        events(&mut lanes, tenants, run);
    }
    capacity();
}

impl Lane {
    fn new(name: &'static str, tenants: u32, wasm: &[u8]) -> Self {
        let mut host = host(tenants, wasm);
        let before = resident_bytes();
        let begun = cpu_ns();
        for slot in 0..tenants {
            host.admit(NOW_MS, Slot(slot), TenantId(u64::from(slot) + 1));
        }
        while host.on_turn(NOW_MS) {}
        let admit_ns = per(cpu_ns() - begun, tenants);
        let view = twelve_topics();
        let mut told = Told::default();
        for slot in 0..tenants {
            summarise(&mut host, NOW_MS, Slot(slot), &view, &mut told);
        }
        let bytes_each = resident_bytes().saturating_sub(before) / u64::from(tenants);
        Self { name, host, bytes_each, admit_ns }
    }
}

/// One call a tenant for a summary of ten topics.
fn summaries(lanes: &mut [Lane], tenants: u32, view: &View) {
    let mut told = Told::default();
    let measured = rounds(lanes, |host, second| {
        let begun = cpu_ns();
        for slot in 0..tenants {
            host.prefetch(Slot(slot + AHEAD));
            summarise(host, NOW_MS + second * 1_000, Slot(slot), view, &mut told);
        }
        let in_order = per(cpu_ns() - begun, tenants);
        let begun = cpu_ns();
        for i in 0..1_000 {
            // A second for each call: no budget runs out.
            summarise(host, NOW_MS + (second * 1_000 + i) * 1_000, Slot(0), view, &mut told);
        }
        (in_order, per(cpu_ns() - begun, 1_000))
    });
    print("summarise", lanes, &measured);
}

/// One call a tenant with a run of records.
fn events(lanes: &mut [Lane], tenants: u32, run: u64) {
    let records: Vec<_> =
        (0..run).map(|i| EventRecord::new(TenantId(1), TopicId(i), 1, 0)).collect();
    let mut out = Vec::with_capacity(records.len());
    let mut show = |host: &mut Host, now_ms, slot| {
        out.clear();
        host.observe(&Observed { now_ms, slot, base_ms: now_ms, records: &records }, &mut out);
        assert_eq!(out.len(), records.len());
    };
    let measured = rounds(lanes, |host, second| {
        if !host.observes_any() {
            return (0, 0);
        }
        let begun = cpu_ns();
        for slot in 0..tenants {
            host.prefetch(Slot(slot + AHEAD));
            show(host, NOW_MS + second * 1_000, Slot(slot));
        }
        let in_order = per(cpu_ns() - begun, tenants);
        let begun = cpu_ns();
        for i in 0..1_000 {
            show(host, NOW_MS + (second * 1_000 + i) * 1_000, Slot(0));
        }
        (in_order, per(cpu_ns() - begun, 1_000))
    });
    print(&format!("observe {run}"), lanes, &measured);
}

/// How many components a shard takes, and what happens to the tenants beyond them.
fn capacity() {
    let beyond = 64;
    let tenants = u32::try_from(COMPONENT_INSTANCES_MAX).expect("a small constant") + beyond;
    let before = resident_bytes();
    let mut host = host(tenants, EXAMPLE);
    for slot in 0..tenants {
        host.admit(NOW_MS, Slot(slot), TenantId(u64::from(slot) + 1));
    }
    while host.on_turn(NOW_MS) {}
    let stats = host.stats();
    println!(
        "a shard holds {} components of {} tenants that want one ({} faults), {} MiB resident, \
         {} MiB at most, {} mappings",
        stats.instances,
        tenants,
        stats.faults,
        resident_bytes().saturating_sub(before) >> 20,
        (COMPONENT_INSTANCES_MAX * COMPONENT_MEMORY_BYTES_MAX) >> 20,
        mappings()
    );
}

/// Medians, lane by lane, of rounds in which the lanes take turns.
fn rounds(
    lanes: &mut [Lane],
    mut measure: impl FnMut(&mut Host, u64) -> (u64, u64),
) -> Vec<(u64, u64)> {
    let mut all: Vec<(Vec<u64>, Vec<u64>)> = vec![Default::default(); lanes.len()];
    for round in 0..=ROUNDS as u64 {
        for (lane, (in_order, hot)) in lanes.iter_mut().zip(&mut all) {
            let (a, b) = measure(&mut lane.host, round + 1);
            // The first round warms up.
            if round > 0 {
                in_order.push(a);
                hot.push(b);
            }
        }
    }
    let median = |mut of: Vec<u64>| {
        of.sort_unstable();
        of[of.len() / 2]
    };
    all.into_iter().map(|(in_order, hot)| (median(in_order), median(hot))).collect()
}

fn print(what: &str, lanes: &[Lane], measured: &[(u64, u64)]) {
    for (lane, (in_order, hot)) in lanes.iter().zip(measured).filter(|(_, (ns, _))| *ns > 0) {
        println!("{what:12} {:20} {in_order:8} ns in slot order {hot:8} ns hot", lane.name);
    }
}

fn host(tenants: u32, wasm: &[u8]) -> Host {
    let engine = ShardEngine::new(tenants as usize).expect("an engine");
    let artefact = compile(wasm).expect("compiles");
    let program = Program::load(&engine, "measured", [0; 32], &artefact).expect("loads");
    let config = HostConfig {
        tenants_max: tenants as usize,
        window_ms: 60_000,
        recent_ms: 10_000,
        default_program: Some(program),
        text_program: None,
    };
    Host::new(engine, config).expect("a host")
}

fn idle_component() -> Vec<u8> {
    let mut resolve = wit_parser::Resolve::default();
    let package = resolve.push_str("trend-program.wit", WIT).expect("the contract parses");
    let world = resolve.select_world(&[package], Some("event-program")).expect("a world");
    let mut module = wat::parse_str(IDLE_COMPONENT).expect("a module");
    let encoding = wit_component::StringEncoding::UTF8;
    wit_component::embed_component_metadata(&mut module, &resolve, world, encoding)
        .expect("room for a section");
    let encoder = wit_component::ComponentEncoder::default().module(&module);
    encoder.and_then(|mut encoder| encoder.encode()).expect("a component")
}
