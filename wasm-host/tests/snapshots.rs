//! Private states of programs go through a snapshot into another process.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use support::components::EXAMPLE;
use support::*;
use trendsrv_proto::TenantId;
use trendsrv_proto::limits::VNODES;
use trendsrv_shard::snapshot::Restored;
use trendsrv_wasm_host::ProgramState;
use trendsrv_wasm_host::limits::STATE_BYTES_MAX;

/// Says how often it was called, kept in `state_len` bytes of private state.
fn counter(state_len: usize, more: &str) -> Vec<u8> {
    module(
        "(local $out i32)
         (i32.store (i32.const 32768) (i32.add (i32.load (i32.const 32768)) (i32.const 1)))
         (local.set $out (i32.add (i32.const 4096) (i32.load (i32.const 4140))))
         (i32.store16 (local.get $out) (i32.const 0xffff))
         (i32.store16 offset=2 (local.get $out) (i32.const 1))
         (i32.store8 offset=4 (local.get $out)
           (i32.add (i32.const 48) (i32.load (i32.const 32768))))
         (i32.const 0)",
        &format!(
            r#"(func (export "state") (result i32) (i32.const 32768))
               (func (export "state_len") (result i32) (i32.const {state_len})) {more}"#
        ),
    )
}

/// Leaves every record as it is, but has to be there before the first one.
const OBSERVES: &str = r#"(func (export "observe") (param i32) (result i32) (local.get 0))"#;

fn id(name: &str) -> TenantId {
    TenantId::of(name)
}

/// What another process makes of a world.
fn restarted(old: &mut World, programs: &[(&str, &[u8])], assigned: &[(&str, &str)]) -> World {
    let mut new = World::new();
    for (name, wasm) in programs {
        new.install(name, wasm);
    }
    for (tenant, name) in assigned {
        new.host().assign(id(tenant), Some(name)).unwrap();
    }
    new.now_ms = old.now_ms;
    for restored in take_in(old, &mut new) {
        assert_eq!(restored.states_left_out, 0, "{restored:?}");
    }
    new
}

fn take_in(old: &mut World, new: &mut World) -> Vec<Restored> {
    let mut all = Vec::new();
    for vnode in 0..u16::try_from(VNODES).unwrap() {
        let mut section = Vec::new();
        if old.shard.snapshot_vnode(vnode, &mut section).is_some() {
            all.push(new.shard.restore_vnode(&section).unwrap());
        }
    }
    all
}

#[test]
fn a_count_goes_on_whether_its_tenant_was_busy_or_idle() {
    let (plain, observing) = (counter(16, ""), counter(16, OBSERVES));
    let programs: [(&str, &[u8]); 2] = [("count", &plain), ("look", &observing)];
    let assigned = [("busy", "count"), ("idle", "count"), ("looked", "look")];
    let mut old = World::new();
    for (name, wasm) in programs {
        old.install(name, wasm);
    }
    for (tenant, name) in assigned {
        old.host().assign(id(tenant), Some(name)).unwrap();
        old.send(&[(tenant, "x", 1)]);
    }
    old.settle();
    let said = |world: &mut World, tenant: &str| world.tldr(tenant).0.parse::<u8>().unwrap();
    let counts = assigned.map(|(tenant, _)| said(&mut old, tenant));
    for _ in 0..3 {
        old.pass(10_000);
        old.send(&[("busy", "x", 1), ("looked", "x", 1)]);
    }
    assert_eq!(old.host().status(id("idle")).state, ProgramState::Idle);
    let mut new = restarted(&mut old, &programs, &assigned);
    assert_eq!(new.host().stats().parked_state_bytes, 16, "only the idle one's state waits");
    assert_eq!(new.host().status(id("looked")).state, ProgramState::Running);
    new.send(&[("idle", "x", 1)]);
    // Had the old process gone on, it would say the same.
    old.send(&[("idle", "x", 1)]);
    for ((tenant, _), before) in assigned.iter().zip(counts) {
        let now = said(&mut new, tenant);
        assert!(now > before && now == said(&mut old, tenant), "{tenant}: {before}, {now}");
    }
}

#[test]
fn a_components_state_goes_through_its_own_words() {
    let mut old = World::new();
    old.install("mine", EXAMPLE);
    old.host().assign(id("odd"), Some("mine")).unwrap();
    old.send(&[("odd", "a", 90)]);
    old.pass(1_000);
    assert!(old.tldr("odd").0.ends_with("busiest window so far"));
    let mut new = restarted(&mut old, &[("mine", EXAMPLE)], &[("odd", "mine")]);
    for world in [&mut old, &mut new] {
        // The window of 90 is over; one of 30 is not the busiest so far.
        world.pass(WINDOW_MS + 1_000);
        world.send(&[("odd", "a", 30)]);
        assert_eq!(world.tldr("odd").0, "\"a\" moves at 30");
    }
    assert_eq!(old.host().status(id("odd")).faults + new.host().status(id("odd")).faults, 0);
}

#[test]
fn a_state_of_a_program_that_is_gone_is_left_out_and_counted() {
    let mut old = World::new();
    old.install("count", &counter(16, ""));
    old.host().assign(id("a"), Some("count")).unwrap();
    old.send(&[("a", "x", 1)]);
    old.settle();
    let mut new = World::new();
    let restored = take_in(&mut old, &mut new);
    assert_eq!(restored.iter().map(|restored| restored.states_left_out).sum::<usize>(), 1);
    assert_eq!(new.tldr("a").1, "trending");
}

#[test]
fn restored_states_of_live_tenants_do_not_wait() {
    let program = counter(STATE_BYTES_MAX, "");
    let names: Vec<String> = (0..200).map(|tenant| format!("tenant {tenant}")).collect();
    let assigned: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "count")).collect();
    let mut old = World::new();
    old.install("count", &program);
    for name in &names {
        old.host().assign(id(name), Some("count")).unwrap();
        old.send(&[(name, "x", 1)]);
    }
    old.settle();
    let mut new = restarted(&mut old, &[("count", &program)], &assigned);
    let stats = new.host().stats();
    assert_eq!((stats.instances, stats.parked_state_bytes), (200, 0));
    for name in &names {
        assert_eq!(new.tldr(name), old.tldr(name));
    }
}
