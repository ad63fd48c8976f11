//! What programs cost: instances a second, bytes an instance, nanoseconds a call.
//!
//! `cargo run --profile fast -p trendsrv-wasm-host --example host_bench [-- tenants]`
//!
//! Processor time of the thread is measured. Tenants are visited in slot order with their memory
//! asked for ahead, as a shard does; "hot" is one tenant again and again.

mod support;

use support::*;
use trendsrv_proto::{EventRecord, TenantId, TopicId};
use trendsrv_shard::{Observed, Programs, Slot, Told, View};
use trendsrv_wasm_host::{Host, HostConfig, Program, SHIPPED, ShardEngine, compile};

const AHEAD: u32 = 4;

/// Passes every record on: the stage alone.
const PASS: &str = r#"(module (memory (export "memory") 1 1)
  (func (export "trend_abi") (result i32) i32.const 1)
  (func (export "buf") (result i32) i32.const 1024)
  (func (export "cap") (result i32) i32.const 3072)
  (func (export "summarise") (param i32) (result i32) i32.const 0)
  (func (export "observe") (param i32) (result i32) local.get 0))"#;

const LOOP: &str = r#"(module (memory (export "memory") 1 1)
  (func (export "trend_abi") (result i32) i32.const 1)
  (func (export "buf") (result i32) i32.const 1024)
  (func (export "cap") (result i32) i32.const 3072)
  (func (export "summarise") (param i32) (result i32) (loop (br 0)) i32.const 0))"#;

/// Loads that each wait for the one before, all over the memory: the slowest honest fuel.
const CHASE: &str = r#"(module (memory (export "memory") 1 1)
  (func (export "trend_abi") (result i32) i32.const 1)
  (func (export "buf") (result i32) i32.const 1024)
  (func (export "cap") (result i32) i32.const 3072)
  (func (export "summarise") (param i32) (result i32) (local $x i64)
    (local.set $x (i64.const 0x9e3779b97f4a7c15))
    (loop
      (local.set $x (i64.div_u (i64.const -3) (i64.or (local.get $x) (i64.const 1))))
      (br 0))
    i32.const 0))"#;

/// Fills its memory again and again.
const FILL: &str = r#"(module (memory (export "memory") 1 1)
  (func (export "trend_abi") (result i32) i32.const 1)
  (func (export "buf") (result i32) i32.const 1024)
  (func (export "cap") (result i32) i32.const 3072)
  (func (export "summarise") (param i32) (result i32)
    (loop (memory.fill (i32.const 0) (i32.const 7) (i32.const 60000)) (br 0))
    i32.const 0))"#;

fn main() {
    let tenants = std::env::args().nth(1).map_or(100_000, |n| n.parse().expect("a number"));
    let view = twelve_topics();
    let trending = SHIPPED.iter().find(|(name, _)| *name == "trending").expect("shipped").1;
    bench_ticks(tenants, trending, &view);
    for run in [1, 16, 64] {
        bench_observe(tenants, run);
    }
    for (name, wat) in [("a tight loop", LOOP), ("divisions", CHASE), ("memory.fill", FILL)] {
        bench_endless(name, wat, &view);
    }
}

fn bench_ticks(tenants: u32, wasm: &[u8], view: &View) {
    let before = resident_bytes();
    let begun = cpu_ns();
    let (engine, mut host) = host(tenants, wasm);
    println!("compile and engine     {:8.2} ms", ms(cpu_ns() - begun));
    let begun = cpu_ns();
    for slot in 0..tenants {
        host.admit(NOW_MS, Slot(slot), TenantId(u64::from(slot) + 1));
    }
    while host.on_turn(NOW_MS) {}
    let spent = cpu_ns() - begun;
    println!("admit {tenants} tenants   {:8.2} ms, {} ns each", ms(spent), per(spent, tenants));
    let mut told = Told::default();
    for round in 0..4_u64 {
        let begun = cpu_ns();
        for slot in 0..tenants {
            host.prefetch(Slot(slot + AHEAD));
            summarise(&mut host, NOW_MS + round * 1_000, Slot(slot), view, &mut told);
        }
        println!("summarise, slot order  {:8} ns", per(cpu_ns() - begun, tenants));
    }
    let begun = cpu_ns();
    for i in 0..10_000_u64 {
        summarise(&mut host, NOW_MS + i * 1_000, Slot(0), view, &mut told);
    }
    println!("summarise, hot         {:8} ns", per(cpu_ns() - begun, 10_000));
    println!("said                   {} ({})", told.tldr, told.program);
    let stats = host.stats().clone();
    println!("fuel a call            {:8}", stats.fuel_used / stats.calls.max(1));
    let bytes = resident_bytes().saturating_sub(before);
    let each = bytes / u64::from(tenants);
    println!("resident               {each:8} bytes a tenant, {} live", stats.instances);
    println!("mappings               {:8}", mappings());
    let begun = cpu_ns();
    host.install(program(&engine, wasm)).expect("room for a program");
    let (mut turns, mut longest) = (0, 0);
    loop {
        let turn = cpu_ns();
        let more = host.on_turn(NOW_MS);
        longest = longest.max(cpu_ns() - turn);
        turns += 1;
        if !more {
            break;
        }
    }
    println!(
        "replace all            {:8.2} ms in {turns} turns, the longest {:.2} ms",
        ms(cpu_ns() - begun),
        ms(longest)
    );
}

fn bench_observe(tenants: u32, run: usize) {
    let (_, mut host) = host(tenants, PASS.as_bytes());
    for slot in 0..tenants {
        host.admit(NOW_MS, Slot(slot), TenantId(u64::from(slot) + 1));
    }
    let record = |i| EventRecord::new(TenantId(1), TopicId(i), 1, 0);
    let records: Vec<_> = (0..run as u64).map(record).collect();
    let mut out = Vec::with_capacity(run);
    let mut measure = |order: &dyn Fn(u32) -> u32, second: u64| {
        let now_ms = NOW_MS + second * 1_000;
        let begun = cpu_ns();
        for i in 0..tenants {
            host.prefetch(Slot(order(i + AHEAD)));
            let slot = Slot(order(i));
            out.clear();
            let run = Observed { now_ms, slot, base_ms: now_ms, records: &records };
            host.observe(&run, &mut out);
            assert_eq!(out.len(), records.len());
        }
        per(cpu_ns() - begun, tenants)
    };
    let _ = measure(&|i| i, 0);
    let in_order = measure(&|i| i, 1);
    let shuffled = measure(&|i| (i * 7_919) % tenants, 2);
    println!("observe {run:3} records    {in_order:8} ns in slot order, {shuffled} scattered");
}

fn bench_endless(name: &str, wat: &str, view: &View) {
    let mut spent: Vec<u64> = Vec::new();
    for _ in 0..20 {
        let (_, mut host) = host(1, wat.as_bytes());
        host.admit(NOW_MS, Slot(0), TenantId(1));
        host.on_turn(NOW_MS);
        let mut told = Told::default();
        let begun = cpu_ns();
        summarise(&mut host, NOW_MS, Slot(0), view, &mut told);
        spent.push(cpu_ns() - begun);
        assert_eq!(host.stats().faults, 1);
    }
    spent.sort_unstable();
    println!("endless: {name:12} {:8.1} us until stopped, median of 20", spent[10] as f64 / 1e3);
}

fn program(engine: &ShardEngine, wasm: &[u8]) -> std::sync::Arc<Program> {
    let wasm = wat::parse_bytes(wasm).expect("a module");
    let artefact = compile(&wasm).expect("compiles");
    Program::load(engine, "trending", [0; 32], &artefact).expect("loads")
}

fn host(tenants: u32, wasm: &[u8]) -> (ShardEngine, Host) {
    let engine = ShardEngine::new(tenants as usize).expect("an engine");
    let config = HostConfig {
        tenants_max: tenants as usize,
        window_ms: 60_000,
        recent_ms: 10_000,
        default_program: Some(program(&engine, wasm)),
        text_program: None,
    };
    let host = Host::new(engine.clone(), config).expect("a host");
    (engine, host)
}
