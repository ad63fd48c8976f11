//! The convenient lane in a shard: components rank, write, filter and find, beside core modules;
//! hostile ones cost nobody but themselves.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use support::components::{EXAMPLE, WIT, core, line, ranking, wrap, wrap_beside};
use support::*;
use trendsrv_proto::TenantId;
use trendsrv_shard::{Programs, Slot};
use trendsrv_wasm_host::limits::COMPONENT_INSTANCES_MAX;
use trendsrv_wasm_host::{Host, HostConfig, ProgramState, Rejection, TenantProgram, compile};

/// A world in which "odd" runs a component and "even" the default.
fn world_with(wasm: &[u8]) -> World {
    let mut world = World::new();
    world.install("mine", wasm);
    world.host().assign(TenantId::of("odd"), Some("mine")).unwrap();
    world
}

fn status(world: &mut World) -> TenantProgram {
    world.host().status(TenantId::of("odd"))
}

fn ask(world: &mut World) -> (String, String) {
    world.tldr("odd")
}

#[test]
fn the_contract_parses_and_its_worlds_hold_what_they_say() {
    let mut resolve = wit_parser::Resolve::default();
    let package = resolve.push_str("trend-program.wit", WIT).unwrap();
    let exports = |name: &str| {
        let world = resolve.select_world(&[package], Some(name)).unwrap();
        assert_eq!(resolve.worlds[world].imports.len(), 0, "{name} needs nothing of ours");
        resolve.worlds[world].exports.len()
    };
    let worlds = ["program", "event-program", "text-program", "full-program"];
    assert_eq!(worlds.map(exports), [1, 2, 2, 4]);
}

#[test]
fn the_example_ranks_writes_caps_and_finds() {
    let mut world = world_with(EXAMPLE);
    world.send(&[("odd", "mars rover", 5_000), ("odd", "rain", 30), ("even", "mars rover", 5_000)]);
    world.say(&[("odd", "look: #eclipse, and #eclipse again"), ("odd", "#eclipse!")]);
    world.pass(1_000);
    let (said, program) = ask(&mut world);
    assert_eq!(program, "mine");
    let state = status(&mut world);
    assert_eq!((state.state, state.faults), (ProgramState::Running, 0), "{state:?}");
    assert!(said.contains("\"mars rover\" moves at 100"), "capped at 100: {said}");
    assert!(said.contains("\"eclipse\" moves at 2"), "found twice, once a text: {said}");
    assert!(said.ends_with("; busiest window so far"), "{said}");
    let (said, program) = world.tldr("even");
    assert_eq!(program, "trending");
    assert!(said.contains("5,000"), "the neighbour's events are as they were: {said}");
    assert!(status(&mut world).fuel_used > 0);
}

#[test]
fn the_private_state_survives_the_instance() {
    let mut world = world_with(EXAMPLE);
    world.send(&[("odd", "a", 90)]);
    world.pass(1_000);
    assert!(ask(&mut world).0.ends_with("busiest window so far"));
    // The same bytes under the same name: a new version, and so a fresh instance.
    world.install("mine", EXAMPLE);
    world.settle();
    // The window empties, and the tenant gives its seat back.
    world.pass(WINDOW_MS + 1_000);
    world.pass(WINDOW_MS + 1_000);
    world.send(&[("odd", "a", 30)]);
    assert_eq!(ask(&mut world), ("\"a\" moves at 30".to_owned(), "mine".to_owned()));
    assert_eq!(world.host().stats().instantiated, 3);
    world.send(&[("odd", "b", 60)]);
    world.pass(1_000);
    assert!(ask(&mut world).0.ends_with("busiest window so far"), "90 again");
}

#[test]
fn a_component_and_a_core_module_take_turns_under_one_name() {
    let mut world = world_with(&wrap("program", &core(&line("component"), "")));
    for (wasm, said) in [
        (module(&say(b"core"), ""), "core"),
        (wrap("program", &core(&line("again"), "")), "again"),
        (module(&say(b"and core"), ""), "and core"),
    ] {
        world.send(&[("odd", "a", 1), ("even", "a", 1)]);
        world.settle();
        world.install("mine", &wasm);
        world.send(&[("odd", "a", 1)]);
        // The old instance may answer until the turn that makes the new one.
        assert_eq!(ask(&mut world).1, "mine");
        world.pass(1_000);
        world.send(&[("odd", "a", 1)]);
        assert_eq!(ask(&mut world), (said.to_owned(), "mine".to_owned()));
        assert_eq!(status(&mut world).faults, 0);
    }
}

/// Checks that a program of "odd" fails so, that the default answers for it, and that its
/// neighbours, a component among them, do not notice.
#[track_caller]
fn check_fault(wasm: &[u8], fault: &str) {
    let mut world = world_with(wasm);
    world.install("honest", &wrap("program", &core(&line("honest"), "")));
    world.host().assign(TenantId::of("fair"), Some("honest")).unwrap();
    for _ in 0..3 {
        world.send(&[("odd", "x", 7), ("odd", "y", 3), ("even", "x", 7), ("even", "y", 3)]);
        world.send(&[("fair", "x", 7)]);
        world.pass(1_000);
        assert_eq!(world.tldr("fair"), ("honest".to_owned(), "honest".to_owned()));
        assert_eq!(ask(&mut world), world.tldr("even"), "the default answers");
    }
    let state = status(&mut world);
    assert_eq!(state.state, ProgramState::Failed, "{state:?}");
    let message = state.last_error.unwrap();
    assert!(message.contains(fault), "{message}");
    assert!(state.faults >= 1 && state.retry_at_ms.is_some());
}

#[test]
fn an_endless_loop_runs_out_of_fuel() {
    check_fault(&wrap("program", &core("(loop (br 0)) (unreachable)", "")), "all fuel consumed");
}

#[test]
fn a_trap_costs_the_tenant_its_store_only() {
    check_fault(&wrap("program", &core("(unreachable)", "")), "summarise trapped");
}

#[test]
fn a_deep_recursion_is_stopped() {
    let more = "(func $deep (param i64) (result i64)
        (i64.add (call $deep (local.get 0)) (i64.const 1)))";
    let module = core("(drop (call $deep (i64.const 0))) (unreachable)", more);
    check_fault(&wrap("program", &module), "call stack exhausted");
}

#[test]
fn memory_grows_to_its_limit_and_no_further() {
    let grow = format!(
        "(block $full (loop $more
           (br_if $full (i32.eq (memory.grow (i32.const 1)) (i32.const -1)))
           (br $more)))
         (if (i32.ne (memory.size) (i32.const 32)) (then (unreachable)))
         {}",
        line("2 MiB")
    );
    let mut world = world_with(&wrap("program", &core(&grow, "")));
    world.send(&[("odd", "x", 1)]);
    assert_eq!(ask(&mut world), ("2 MiB".to_owned(), "mine".to_owned()));
}

#[test]
fn a_fresh_instance_follows_a_fault() {
    let picky = format!(
        "(if (i32.eq (local.get $distinct) (i32.const 2)) (then (unreachable))) {}",
        line("fine")
    );
    let mut world = world_with(&wrap("program", &core(&picky, "")));
    world.send(&[("odd", "x", 1)]);
    assert_eq!(ask(&mut world).0, "fine");
    world.send(&[("odd", "y", 1)]);
    assert_eq!(ask(&mut world).1, "trending");
    world.send(&[("odd", "z", 1)]);
    assert_eq!(ask(&mut world).1, "trending", "it waits a second");
    world.pass(1_000);
    world.send(&[("odd", "z", 1)]);
    assert_eq!(ask(&mut world), ("fine".to_owned(), "mine".to_owned()));
    assert_eq!(status(&mut world).faults, 1);
}

#[test]
fn places_that_cannot_be_are_refused() {
    let store = |index: u16| format!("(i32.store16 (i32.const 512) (i32.const {index}))");
    let ranked = |index| format!("{} {}", store(index), ranking(512, 1));
    let fault = "summarise, entry 0: index is 2, which is not allowed";
    check_fault(&wrap("program", &core(&ranked(2), "")), fault);
    let twice = format!("(i32.store (i32.const 512) (i32.const 0)) {}", ranking(512, 2));
    let fault = "summarise, entry 1: index is 0, which is not allowed";
    check_fault(&wrap("program", &core(&twice, "")), fault);
    let fault = "summarise returned 3; at most 2 can be";
    check_fault(&wrap("program", &core(&ranking(512, 3), "")), fault);
}

#[test]
fn output_outside_memory_or_beyond_measure_is_refused() {
    check_fault(&wrap("program", &core(&ranking(65_000, 9_999), "")), "out of bounds");
    check_fault(&wrap("program", &core(&ranking(0, 0x7fff_ffff), "")), "out of bounds");
    let large = format!("(drop (memory.grow (i32.const 31))) {}", ranking(0, 1_000_000));
    check_fault(&wrap("program", &core(&large, "")), "too much data");
}

#[test]
fn a_line_that_is_too_long_or_controls_is_refused() {
    let fault = "summarise: the TL;DR holds a control character";
    check_fault(&wrap("program", &core(&line("a\u{7}b"), "")), fault);
    let fault = "summarise: the TL;DR is longer than 512 bytes";
    check_fault(&wrap("program", &core(&line(&"x".repeat(513)), "")), fault);
}

#[test]
fn what_wasi_offers_elsewhere_is_a_fault_with_a_name() {
    let more = r#"(import "wasi:clocks/monotonic-clock@0.2.6" "now" (func $now (result i64)))"#;
    let module = core("(drop (call $now)) (unreachable)", more);
    let fault = "wasi:clocks/monotonic-clock is not available to programs (now)";
    check_fault(&wrap_beside(WASI, "with-wasi", &module), fault);
}

#[test]
fn a_loop_of_outside_calls_runs_out_of_fuel_too() {
    let more = r#"(import "wasi:random/random@0.2.6" "get-random-u64" (func $any (result i64)))"#;
    let module = core("(loop (drop (call $any)) (br 0)) (unreachable)", more);
    let wasm = wrap_beside(WASI, "with-wasi", &module);
    check_fault(&wasm, "all fuel consumed");
    let mut world = world_with(&wasm);
    world.send(&[("odd", "x", 1)]);
    ask(&mut world);
    assert!(status(&mut world).fuel_used <= 100_000);
}

#[test]
fn random_numbers_are_the_same_in_every_instance() {
    let more = r#"(import "wasi:random/random@0.2.6" "get-random-u64" (func $any (result i64)))"#;
    let body = "(i64.store (i32.const 2048) (i64.or (i64.const 0x4040404040404040)
          (i64.and (call $any) (i64.const 0x0f0f0f0f0f0f0f0f))))
        (i32.store8 (i32.const 1024) (i32.const 0))
        (i32.store (i32.const 1036) (i32.const 2048))
        (i32.store (i32.const 1040) (i32.const 8))
        (i32.const 1024)";
    let wasm = wrap_beside(WASI, "with-wasi", &core(body, more));
    let first = |topic| {
        let mut world = world_with(&wasm);
        world.send(&[("odd", topic, 1)]);
        let said = ask(&mut world).0;
        world.send(&[("odd", topic, 1)]);
        (said, ask(&mut world).0)
    };
    let (a, b) = (first("a"), first("b"));
    assert_eq!(a, b);
    assert!(a.0 != a.1, "they are not all one number");
}

#[test]
fn a_panic_in_rust_is_told_in_its_own_words() {
    // The stand-in keeps what goes to standard error; a module that writes and then traps.
    let more = r#"
      (import "wasi:cli/stderr@0.2.6" "get-stderr" (func $stderr (result i32)))
      (import "wasi:io/streams@0.2.6" "[method]output-stream.blocking-write-and-flush"
        (func $write (param i32 i32 i32 i32)))
      (data (i32.const 3000) "panicked at lib.rs:7: no rows\n")"#;
    let module = core(
        "(call $write (call $stderr) (i32.const 3000) (i32.const 30) (i32.const 3100))
         (unreachable)",
        more,
    );
    check_fault(
        &wrap_beside(WASI, "with-wasi", &module),
        "summarise trapped: panicked at lib.rs:7: no rows (wasm trap: wasm `unreachable` instruction executed)",
    );
}

#[test]
fn handles_are_bounded() {
    let more = r#"(import "wasi:cli/stderr@0.2.6" "get-stderr" (func $stderr (result i32)))"#;
    let module = core("(loop (drop (call $stderr)) (br 0)) (unreachable)", more);
    check_fault(&wrap_beside(WASI, "with-wasi", &module), "handle");
}

#[test]
fn only_wasi_may_be_imported() {
    let more = r#"(import "acme:thing/api" "call" (func $call))"#;
    let wit = "package acme:thing; interface api { call: func(); }
        world w { include trend:program/program@1.0.0; import api; }";
    let wasm = wrap_beside(wit, "w", &core("(call $call) (unreachable)", more));
    assert_eq!(compile(&wasm).unwrap_err(), Rejection::ComponentImport("acme:thing/api".into()));
}

#[test]
fn a_component_without_a_summariser_is_refused() {
    let wasm = wat::parse_str("(component)").unwrap();
    assert_eq!(compile(&wasm).unwrap_err(), Rejection::NoSummariser);
}

#[test]
fn interfaces_of_our_name_that_we_do_not_have_are_refused() {
    let wit = "package trend:other; interface dreamer { dream: func(); }
        world w { include trend:program/program@1.0.0; export dreamer; }";
    let more = r#"(func (export "trend:other/dreamer#dream"))"#;
    let module =
        core("(unreachable)", "").replace("(global $free", &format!("{more} (global $free"));
    let wasm = wrap_beside(wit, "w", &module);
    let name = "trend:other/dreamer".to_owned();
    assert_eq!(compile(&wasm).unwrap_err(), Rejection::UnknownInterface(name));
}

#[test]
fn functions_of_another_type_are_refused() {
    let wit = "package trend:program@1.0.0;
        interface summariser { summarise: func() -> string; }
        world program { export summariser; }";
    let mut resolve = wit_parser::Resolve::default();
    let package = resolve.push_str("other.wit", wit).unwrap();
    let world = resolve.select_world(&[package], Some("program")).unwrap();
    let mut module = wat::parse_str(
        r#"(module (memory (export "memory") 1)
          (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (unreachable))
          (func (export "trend:program/summariser@1.0.0#summarise") (result i32) (unreachable)))"#,
    )
    .unwrap();
    let encoding = wit_component::StringEncoding::UTF8;
    wit_component::embed_component_metadata(&mut module, &resolve, world, encoding).unwrap();
    let encoder = wit_component::ComponentEncoder::default().module(&module).unwrap();
    let artefact = compile(&{ encoder }.encode().unwrap()).unwrap();
    let engine = trendsrv_wasm_host::ShardEngine::new(1).unwrap();
    let refused = trendsrv_wasm_host::Program::load(&engine, "x", [0; 32], &artefact).unwrap_err();
    assert!(matches!(refused, Rejection::WrongInterface { name: "summarise", .. }), "{refused}");
}

#[test]
fn components_too_large_in_memory_or_number_are_refused() {
    let large = core("(unreachable)", "").replace("\"memory\") 1", "\"memory\") 33");
    let refused = compile(&wrap("program", &large)).unwrap_err();
    assert_eq!(refused.to_string(), "33 pages of memory at first; at most 32");
    let modules = "(core module)".repeat(9);
    let refused = compile(&wat::parse_str(format!("(component {modules})")).unwrap()).unwrap_err();
    assert_eq!(refused.to_string(), "9 core modules; at most 8");
    let deep = wat::parse_str("(component (component (component)))").unwrap();
    assert_eq!(compile(&deep).unwrap_err().to_string(), "3 levels of components; at most 2");
}

#[test]
fn a_shard_holds_so_many_components_and_says_so_to_the_next_tenant() {
    let engine = trendsrv_wasm_host::ShardEngine::new(16).unwrap();
    let tiny = program(&engine, "tiny", &wrap("program", &core(&line("hello"), "")));
    let config = HostConfig {
        tenants_max: COMPONENT_INSTANCES_MAX + 1,
        window_ms: WINDOW_MS,
        recent_ms: RECENT_MS,
        default_program: Some(tiny),
        text_program: None,
    };
    let mut host = Host::new(engine, config).unwrap();
    let most = u32::try_from(COMPONENT_INSTANCES_MAX).unwrap();
    for slot in 0..=most {
        host.admit(START_MS, Slot(slot), TenantId(u64::from(slot) + 1));
    }
    while host.on_turn(START_MS) {}
    assert_eq!(host.stats().instances, COMPONENT_INSTANCES_MAX as u64);
    let last = host.status(TenantId(u64::from(most) + 1));
    assert_eq!(last.state, ProgramState::Failed);
    assert!(last.last_error.unwrap().contains("1024 components, which is the most"));
    host.retire(Slot(0));
    while host.on_turn(START_MS + 1_000) {}
    assert_eq!(host.status(TenantId(u64::from(most) + 1)).state, ProgramState::Running);
}

/// A world with some of WASI.
const WASI: &str = "package test:wasi;
world with-wasi {
  include trend:program/program@1.0.0;
  import wasi:clocks/monotonic-clock@0.2.6;
  import wasi:random/random@0.2.6;
  import wasi:cli/stderr@0.2.6;
}
package wasi:clocks@0.2.6 { interface monotonic-clock { now: func() -> u64; } }
package wasi:random@0.2.6 { interface random { get-random-u64: func() -> u64; } }
package wasi:io@0.2.6 {
  interface streams {
    variant stream-error { closed }
    resource output-stream {
      blocking-write-and-flush: func(contents: list<u8>) -> result<_, stream-error>;
    }
  }
}
package wasi:cli@0.2.6 {
  interface stderr {
    use wasi:io/streams@0.2.6.{output-stream};
    get-stderr: func() -> output-stream;
  }
}
";
