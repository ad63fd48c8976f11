//! Programs come, are replaced, fail, wait and go, while their tenants' windows stay.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use support::*;
use trendsrv_proto::TenantId;
use trendsrv_wasm_host::limits::{
    FUEL_CALL_MAX, FUEL_SECOND_MAX, GROUP_DEAD_MAX, GROUP_SLOTS, INSTANCES_PER_TURN,
};
use trendsrv_wasm_host::{AssignError, ProgramState, RemoveError};

/// Says one letter in front of a count of its calls, kept in its private state.
fn counter(letter: u8) -> Vec<u8> {
    module(
        &format!(
            "(local $out i32)
             (i32.store (i32.const 32768) (i32.add (i32.load (i32.const 32768)) (i32.const 1)))
             (local.set $out (i32.add (i32.const 4096) (i32.load (i32.const 4140))))
             (i32.store16 (local.get $out) (i32.const 0xffff))
             (i32.store16 offset=2 (local.get $out) (i32.const 2))
             (i32.store8 offset=4 (local.get $out) (i32.const {letter}))
             (i32.store8 offset=5 (local.get $out)
               (i32.add (i32.const 48) (i32.load (i32.const 32768))))
             (i32.const 0)"
        ),
        r#"(func (export "state") (result i32) (i32.const 32768))
           (func (export "state_len") (result i32) (i32.const 16))"#,
    )
}

/// A program that fails once its state says so: it traps in every `summarise` with topics.
const TRAP: &str = "(if (local.get $n) (then unreachable)) (i32.const 0)";

fn id(name: &str) -> TenantId {
    TenantId::of(name)
}

#[test]
fn a_tenant_may_be_assigned_before_it_is_there() {
    let mut world = World::new();
    world.install("say", &module(&say(b"hello"), ""));
    world.host().assign(id("a"), Some("say")).unwrap();
    assert_eq!(world.host().status(id("a")).state, ProgramState::Idle);
    world.send(&[("a", "x", 1), ("b", "x", 1)]);
    assert_eq!(world.host().status(id("a")).state, ProgramState::Starting);
    world.settle();
    assert_eq!(world.host().status(id("a")).state, ProgramState::Running);
    assert_eq!(world.tldr("a"), ("hello".to_owned(), "say".to_owned()));
    assert_eq!(world.tldr("b").1, "trending");
    world.host().assign(id("a"), None).unwrap();
    world.settle();
    assert_eq!(world.tldr("a"), world.tldr("b"));
}

#[test]
fn programs_are_unknown_in_use_or_the_default() {
    let mut world = World::new();
    world.install("say", &module(&say(b"hello"), ""));
    let unknown = world.host().assign(id("a"), Some("nothing"));
    assert_eq!(unknown, Err(AssignError::Unknown("nothing".into())));
    world.host().assign(id("a"), Some("say")).unwrap();
    let in_use = RemoveError::InUse { name: "say".into(), assigned: 1 };
    assert_eq!(world.host().remove("say"), Err(in_use));
    assert_eq!(world.host().remove("trending"), Err(RemoveError::Default("trending".into())));
    world.host().assign(id("a"), None).unwrap();
    world.host().remove("say").unwrap();
    assert_eq!(world.host().remove("say"), Err(RemoveError::Unknown("say".into())));
    assert_eq!(world.host().list().len(), 1);
    world.install("say", &module(&say(b"again"), ""));
    assert_eq!(world.host().list().len(), 2);
}

#[test]
fn a_replacement_keeps_windows_and_state_and_takes_a_bounded_slice_a_turn() {
    let mut world = World::new();
    world.install("count", &counter(b'a'));
    let names: Vec<String> = (0..200).map(|i| format!("tenant {i}")).collect();
    for name in &names {
        world.host().assign(id(name), Some("count")).unwrap();
        world.send(&[(name, "x", 3)]);
    }
    world.settle();
    let before: Vec<String> = names.iter().map(|name| world.tldr(name).0).collect();
    assert!(before.iter().all(|said| said == "a1"), "{before:?}");
    world.install("count", &counter(b'b'));
    let mut fx = trendsrv_shard::Effects::default();
    let mut turns = 0;
    loop {
        let made = world.host().stats().instantiated;
        let more = world.shard.on_turn(world.now_ms, &mut fx);
        let slice = world.host().stats().instantiated - made;
        assert!(slice <= (INSTANCES_PER_TURN + GROUP_SLOTS) as u64, "{slice} in one turn");
        turns += 1;
        if !more {
            break;
        }
    }
    assert!(turns > 1, "200 tenants are more than one turn's slice");
    for name in &names {
        assert_eq!(world.tldr(name).0, "b2", "the count went on in the new version");
    }
    assert_eq!(world.host().stats().instances, 200);
}

#[test]
fn state_survives_an_empty_window() {
    let mut world = World::new();
    world.install("count", &counter(b'c'));
    world.host().assign(id("a"), Some("count")).unwrap();
    let mut last = b'0';
    for _ in 0..3 {
        world.send(&[("a", "x", 1)]);
        world.settle();
        let said = world.tldr("a").0;
        // The tick counts, too, when a slide has begun.
        assert!(said.starts_with('c') && said.as_bytes()[1] > last, "{said} after {last}");
        last = said.as_bytes()[1];
        for _ in 0..3 {
            world.pass(10_000);
        }
        assert_eq!(world.host().status(id("a")).state, ProgramState::Idle);
        assert_eq!(world.host().stats().instances, 0);
    }
}

#[test]
fn a_failing_program_is_tried_again_after_one_two_four_seconds() {
    let mut world = World::new();
    world.install("trap", &module(TRAP, ""));
    world.host().assign(id("a"), Some("trap")).unwrap();
    let mut failed_at = Vec::new();
    let start_ms = world.now_ms;
    for _ in 0..400 {
        world.send(&[("a", "x", 1)]);
        let before = world.host().status(id("a")).faults;
        assert_eq!(world.tldr("a").1, "trending", "the default answers");
        if world.host().status(id("a")).faults > before {
            failed_at.push(world.now_ms - start_ms);
        }
        world.pass(250);
    }
    let waits: Vec<u64> = failed_at.windows(2).map(|two| two[1] - two[0]).collect();
    assert_eq!(waits, [1_000, 2_000, 4_000, 8_000, 16_000, 32_000]);
}

#[test]
fn a_new_version_of_a_failing_program_is_tried_at_once() {
    let mut world = World::new();
    world.install("p", &module("unreachable", ""));
    world.host().assign(id("a"), Some("p")).unwrap();
    world.send(&[("a", "x", 1)]);
    world.settle();
    assert_eq!(world.tldr("a").1, "trending");
    world.install("p", &module(&say(b"mended"), ""));
    world.settle();
    assert_eq!(world.tldr("a"), ("mended".to_owned(), "p".to_owned()));
    let status = world.host().status(id("a"));
    assert_eq!((status.state, status.faults), (ProgramState::Running, 1));
}

#[test]
fn a_program_that_uses_its_second_waits_for_the_next() {
    // Burns nearly all fuel of a call, without a fault.
    let burn = format!(
        "(local $i i32) (local.set $i (i32.const {}))
         (loop (br_if 0 (local.tee $i (i32.sub (local.get $i) (i32.const 1)))))
         {}",
        FUEL_CALL_MAX / 6,
        say(b"warm").replacen("(local $out i32)", "", 1)
    )
    .replacen("(local $i i32)", "(local $i i32) (local $out i32)", 1);
    let mut world = World::new();
    world.install("burn", &module(&burn, ""));
    world.host().assign(id("a"), Some("burn")).unwrap();
    world.send(&[("a", "x", 1)]);
    world.settle();
    let told: Vec<String> = (0..200).map(|_| world.tldr("a").0).collect();
    let warm = told.iter().take_while(|said| *said == "warm").count();
    let fuel = world.host().status(id("a")).fuel_used;
    assert!(warm > 3 && warm < 200, "{warm} calls");
    assert!(told[warm..].iter().all(|said| said != "warm"), "then the default answers");
    assert!(
        fuel >= u64::from(FUEL_SECOND_MAX) && fuel < u64::from(FUEL_SECOND_MAX) + FUEL_CALL_MAX
    );
    assert!(world.host().stats().throttled > 0);
    assert_eq!(world.host().status(id("a")).faults, 0, "no fault, only a wait");
    world.pass(1_000);
    assert_eq!(world.tldr("a").0, "warm");
}

#[test]
fn dead_instances_are_bounded_while_tenants_come_and_go() {
    let mut world = World::new();
    for round in 0..40 {
        for i in 0..20 {
            world.send(&[(&format!("tenant {round} {i}"), "x", 1), ("stays", "x", 1)]);
        }
        world.settle();
        assert_eq!(world.tldr("stays").1, "trending");
        world.pass(10_000);
        world.pass(1_000);
    }
    let stats = world.host().stats().clone();
    assert_eq!(stats.faults, 0, "the pool never ran out");
    assert!(stats.rebuilds > 0 && stats.instantiated > 10 * GROUP_DEAD_MAX as u64, "{stats:?}");
}

#[test]
fn without_a_default_the_twin_answers_and_nothing_is_instantiated() {
    let engine = trendsrv_wasm_host::ShardEngine::new(8).unwrap();
    let config = trendsrv_wasm_host::HostConfig {
        tenants_max: 8,
        window_ms: WINDOW_MS,
        recent_ms: RECENT_MS,
        default_program: None,
        text_program: Some(shipped(&engine, "hashtags")),
    };
    let host = trendsrv_wasm_host::Host::new(engine.clone(), config).unwrap();
    let mut world = World { shard: shard_with(host), engine, now_ms: START_MS };
    world.say(&[("a", "the #eclipse is here"), ("a", "look: #Eclipse")]);
    world.settle();
    assert!(world.tldr("a").0.contains("#eclipse"), "{}", world.tldr("a").0);
    assert_eq!(world.host().status(id("a")).state, ProgramState::Native);
    let stats = world.host().stats().clone();
    assert_eq!((stats.instances, stats.texts_by_default, stats.text_faults), (0, 2, 0));
}

#[test]
fn a_program_ranks_and_filters() {
    // Ranks the rows backwards and hides the first; counts only even weights, doubled.
    let rank = "(local $out i32) (local $i i32)
        (local.set $out (i32.add (i32.const 4096) (i32.load (i32.const 4140))))
        (i32.store16 (local.get $out) (i32.sub (local.get $n) (i32.const 1)))
        (i32.store16 offset=2 (local.get $out) (i32.const 0))
        (local.set $i (i32.const 0))
        (loop
          (i32.store16 offset=4 (i32.add (local.get $out) (i32.mul (local.get $i) (i32.const 2)))
            (i32.sub (i32.sub (local.get $n) (i32.const 1)) (local.get $i)))
          (br_if 0 (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1)))
            (i32.sub (local.get $n) (i32.const 1)))))
        (i32.const 0)";
    let observe = r#"(func (export "observe") (param $n i32) (result i32)
        (local $at i32) (local $end i32) (local $w i32)
        (local.set $at (i32.const 4112))
        (local.set $end (i32.add (local.get $at) (i32.mul (local.get $n) (i32.const 16))))
        (loop
          (local.set $w (i32.load offset=8 (local.get $at)))
          (i32.store offset=8 (local.get $at) (select (i32.const 0)
            (i32.mul (local.get $w) (i32.const 2)) (i32.and (local.get $w) (i32.const 1))))
          (br_if 0 (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 16)))
            (local.get $end))))
        (local.get $n))"#;
    let mut world = World::new();
    world.install("p", &module(rank, observe));
    world.host().assign(id("a"), Some("p")).unwrap();
    world.send(&[("a", "x", 2), ("a", "odd", 3), ("a", "y", 4), ("a", "z", 6)]);
    world.settle();
    let ask = |rank| trendsrv_shard::Ask { tenant: id("a"), name: None, at_ms: None, k: 10, rank };
    let rows = |world: &mut World, rank| -> Vec<(String, u64)> {
        let answer = world.shard.ask(world.now_ms, &ask(rank)).unwrap();
        answer.topics().map(|row| (row.name.to_owned(), row.count)).collect()
    };
    let by_count = rows(&mut world, trendsrv_proto::Rank::Count);
    let row = |name: &str, count| (name.to_owned(), count);
    assert_eq!(by_count, [row("z", 12), row("y", 8), row("x", 4)]);
    let by_score = rows(&mut world, trendsrv_proto::Rank::Score);
    assert_eq!(by_score, [row("x", 4), row("y", 8)], "backwards, and the first is hidden");
    assert_eq!(world.host().stats().faults, 0);
}

#[test]
fn shipped_text_programs_have_fuel_for_any_text() {
    let long: String =
        "Überraschung ähnlich wörtlich #Tag @name 12.5 10.0.0.1:80 [[wiki|link]] ".repeat(60);
    let many: Vec<String> =
        (0..200).map(|i| format!("ordinary message number {i} about #rain")).collect();
    for name in ["hashtags", "log-signatures"] {
        let mut world = World::new();
        let program = shipped(&world.engine, name);
        world.host().install(program).unwrap();
        world.host().assign(id("a"), Some(name)).unwrap();
        let cut = |len| &long[..long.floor_char_boundary(len)];
        world.say(&[("a", cut(4_096)), ("a", cut(4_000)), ("a", cut(100)), ("a", "x")]);
        let texts: Vec<(&str, &str)> = many.iter().map(|text| ("a", text.as_str())).collect();
        world.say(&texts);
        world.say(&[("a", &"\u{1d538}".repeat(1_024)), ("a", &"0x".repeat(2_000))]);
        world.settle();
        let status = world.host().status(id("a"));
        assert_eq!((status.faults, status.last_error), (0, None), "{name}");
        assert!(status.calls > 5, "{name}: {} calls", status.calls);
        assert_eq!(world.host().stats().texts_by_default, 0, "{name} found all topics itself");
    }
}
