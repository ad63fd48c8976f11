//! One hostile tenant among honest ones: its program costs it the default's answer and a counted
//! fault, and costs the others nothing that shows.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use support::*;
use trendsrv_wasm_host::ProgramState;

const HONEST: usize = 100;
const HOSTILE: &str = "hostile";

/// What became of a run.
struct Outcome {
    /// The honest tenants' answers.
    honest: Vec<Vec<u8>>,
    /// The hostile one's, with whether its program had failed by then.
    hostile: Vec<(bool, Vec<u8>)>,
    world: World,
}

/// A few seconds of traffic.
fn run(wasm: Option<&[u8]>) -> Outcome {
    let mut world = World::new();
    if let Some(wasm) = wasm {
        world.install("hostile", wasm);
        world.host().assign(trendsrv_proto::TenantId::of(HOSTILE), Some("hostile")).unwrap();
    }
    let names: Vec<String> = (0..HONEST).map(|i| format!("honest {i}")).collect();
    let (mut honest, mut hostile) = (Vec::new(), Vec::new());
    for second in 0..8_u32 {
        for (i, name) in (0_u32..).zip(&names) {
            let topic = ["x", "y", "z"][(i + second) as usize % 3];
            // The hostile tenant sends between the others: its slot lies in their group.
            world.send(&[(name, topic, i + second + 1), (HOSTILE, topic, 1), (HOSTILE, "w", 2)]);
        }
        world.say(&[(HOSTILE, "so #much to say"), (HOSTILE, "and #more")]);
        world.pass(1_000);
        honest.extend(names.iter().map(|name| world.answer(name)));
        let answer = world.answer(HOSTILE);
        let status = world.host().status(trendsrv_proto::TenantId::of(HOSTILE));
        hostile.push((status.state == ProgramState::Failed, answer));
    }
    Outcome { honest, hostile, world }
}

/// Checks one hostile program: what its fault says, and that nobody else notices.
#[track_caller]
fn check(what: &str, wasm: &[u8], fault: &str) {
    let calm = run(None);
    let Outcome { honest, hostile, mut world } = run(Some(wasm));
    assert!(honest == calm.honest, "{what}: honest answers differ");
    let failed = hostile.iter().zip(&calm.hostile).filter(|((failed, _), _)| *failed);
    assert!(failed.clone().count() > 2, "{what}: it failed");
    for ((_, answer), (_, default)) in failed {
        assert!(answer == default, "{what}: the default answers for the hostile tenant");
    }
    let status = world.host().status(trendsrv_proto::TenantId::of(HOSTILE));
    assert_eq!(status.state, ProgramState::Failed, "{what}: {status:?}");
    assert!(status.faults > 0 && status.retry_at_ms.is_some(), "{what}: {status:?}");
    let message = status.last_error.unwrap_or_default();
    assert!(message.contains(fault), "{what}: {message}");
    assert_eq!(world.host().stats().instances, HONEST as u64, "{what}: all others live");
    // 1 s, 2 s, 4 s: a program that fails each time is tried three times in eight seconds.
    assert!(status.faults <= 4, "{what}: {} faults", status.faults);
}

#[test]
fn an_endless_loop() {
    check("summarise", &module("(loop (br 0)) unreachable", ""), "fuel");
    let observe = "(func (export \"observe\") (param i32) (result i32) (loop (br 0)) unreachable)";
    check("observe", &module("(i32.const 0)", observe), "fuel");
    let text =
        "(func (export \"observe_text\") (param i32) (result i32) (loop (br 0)) unreachable)";
    check("observe_text", &module("(i32.const 0)", text), "fuel");
}

#[test]
fn a_bomb_of_memory_growth() {
    let grow = "(loop (drop (memory.grow (i32.const 1))) (br 0)) unreachable";
    check("grow", &module(grow, ""), "fuel");
    let table = "(loop (drop (table.grow $t (ref.null func) (i32.const 1000))) (br 0)) unreachable";
    check("table.grow", &module(table, "(table $t 1 funcref)"), "fuel");
}

#[test]
fn a_stack_overflow() {
    check("recursion", &module("(call $f)", "(func $f (result i32) (call $f))"), "stack");
}

#[test]
fn an_access_out_of_bounds() {
    check("load", &module("(i32.load (i32.const 65533))", ""), "out of bounds");
    check("far load", &module("(i32.load offset=4294967295 (i32.const -1))", ""), "out of bounds");
    check(
        "fill",
        &module("(memory.fill (i32.const 0) (i32.const 1) (i32.const 65537)) (i32.const 0)", ""),
        "out of bounds",
    );
    check(
        "table",
        &module("(call_indirect (result i32) (i32.const 9))", "(table 1 funcref)"),
        "undefined element",
    );
}

#[test]
fn a_trap_in_every_call() {
    check("unreachable", &module("unreachable", ""), "unreachable");
    check("division", &module("(i32.div_u (i32.const 1) (i32.const 0))", ""), "divide by zero");
    check("its own word", &module("(i32.const -7)", ""), "returned -7");
}

#[test]
fn an_enormous_output() {
    let len = "(i32.store16 offset=2 (i32.add (i32.const 4096) (i32.load (i32.const 4140)))
               (i32.const 60000)) (i32.const 0)";
    check("tldr", &module(len, ""), "longer than 512");
    let ranked = "(i32.store16 (i32.add (i32.const 4096) (i32.load (i32.const 4140)))
                  (i32.const 60000)) (i32.const 0)";
    check("ranking", &module(ranked, ""), "returned 60000");
    let observe = "(func (export \"observe\") (param i32) (result i32) (i32.const 2000000000))";
    check("observe", &module("(i32.const 0)", observe), "returned 2000000000");
    let text = "(func (export \"observe_text\") (param i32) (result i32) (i32.const -1))";
    check("observe_text", &module("(i32.const 0)", text), "returned 4294967295");
}

#[test]
fn an_output_that_is_no_text() {
    check("utf-8", &module(&say(b"\xff\xfe"), ""), "not UTF-8");
    check("control", &module(&say(b"a\nb"), ""), "control character");
    let name = "(func (export \"observe_text\") (param i32) (result i32) (local $out i32)
        (local.set $out (i32.add (i32.const 4096) (i32.load (i32.const 4108))))
        (i64.store (local.get $out) (i64.const 0x1_0003_0000))
        (i32.store offset=8 (local.get $out) (i32.const 0x00ff4141)) (i32.const 1))";
    check("a topic's name", &module("(i32.const 0)", name), "UTF-8");
}

#[test]
fn an_output_that_points_elsewhere() {
    let index = "(local $out i32)
        (local.set $out (i32.add (i32.const 4096) (i32.load (i32.const 4140))))
        (i32.store (local.get $out) (i32.const 1)) (i32.store16 offset=4 (local.get $out)
        (i32.const 999)) (i32.const 0)";
    check("a row that is not there", &module(index, ""), "index is 999");
    let text = "(func (export \"observe_text\") (param i32) (result i32) (local $out i32)
        (local.set $out (i32.add (i32.const 4096) (i32.load (i32.const 4108))))
        (i64.store (local.get $out) (i64.const 0x1_fff0_0000)) (i32.const 1))";
    check("a name past the buffer", &module("(i32.const 0)", text), "past the buffer");
    let time = "(func (export \"observe\") (param i32) (result i32)
        (i32.store offset=28 (i32.const 4096) (i32.const 999999)) (i32.const 1))";
    check("another time", &module("(i32.const 0)", time), "offset_ms is 999999");
    let weight = "(func (export \"observe\") (param i32) (result i32)
        (i32.store offset=24 (i32.const 4096) (i32.const -1)) (i32.const 1))";
    check("too much weight", &module("(i32.const 0)", weight), "weight is");
}

#[test]
fn what_the_previous_owner_of_the_slot_left_is_not_there() {
    // Says in its TL;DR what lies in its memory and its global, then leaves a mark in both.
    let spy = module(
        "(local $out i32)
         (local.set $out (i32.add (i32.const 4096) (i32.load (i32.const 4140))))
         (i32.store16 (local.get $out) (i32.const 0xffff))
         (i32.store16 offset=2 (local.get $out) (i32.const 2))
         (i32.store8 offset=4 (local.get $out)
            (i32.add (i32.const 65) (i32.load8_u (i32.const 40000))))
         (i32.store8 offset=5 (local.get $out) (i32.add (i32.const 65) (global.get $g)))
         (i32.store8 (i32.const 40000) (i32.const 1))
         (global.set $g (i32.const 1))
         (i32.const 0)",
        "(global $g (mut i32) (i32.const 0))",
    );
    let mut world = World::new();
    world.install("spy", &spy);
    for i in 0..200 {
        let name = format!("tenant {i}");
        world.host().assign(trendsrv_proto::TenantId::of(&name), Some("spy")).unwrap();
        world.send(&[(&name, "x", 1)]);
        world.settle();
        assert_eq!(world.tldr(&name), ("AA".to_owned(), "spy".to_owned()), "{name}");
        assert_eq!(world.tldr(&name).0, "BB", "it finds its own mark");
        // The window empties, and the slot goes to the next tenant.
        for _ in 0..3 {
            world.pass(10_000);
        }
    }
    assert_eq!(world.host().stats().faults, 0);
}
