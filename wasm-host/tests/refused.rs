//! Modules that are refused at the door, each with a sentence that says what and where.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use support::*;
use trendsrv_wasm_host::{Program, Rejection, ShardEngine, compile};

#[track_caller]
fn check(wasm: &[u8], words: &str) {
    let why = refusal(wasm).expect("it must be refused").to_string();
    assert!(why.contains(words), "{why}");
}

fn refusal(wasm: &[u8]) -> Option<Rejection> {
    let engine = ShardEngine::new(1).unwrap();
    let loaded = compile(wasm).and_then(|artefact| Program::load(&engine, "p", [0; 32], &artefact));
    loaded.err()
}

fn text(wat: &str) -> Vec<u8> {
    wat::parse_str(wat).unwrap()
}

#[test]
fn a_good_program_passes() {
    assert_eq!(refusal(&module("(i32.const 0)", "")), None);
}

#[test]
fn what_is_not_wasm() {
    check(b"", "not a valid WebAssembly");
    check(b"hello", "not a valid WebAssembly");
    check(&vec![0; (1 << 20) + 1], "at most 1048576");
    let mut cut = module("(i32.const 0)", "");
    cut.truncate(cut.len() - 5);
    check(&cut, "not a valid WebAssembly");
}

#[test]
fn imports_and_start_functions() {
    check(&text(r#"(module (import "env" "f" (func)))"#), "imports \"env\" \"f\"");
    check(&text(r#"(module (import "a" "m" (memory 1 1)))"#), "no imports at all");
    check(&module("(i32.const 0)", "(func $s) (start $s)"), "start function");
}

#[test]
fn memories_and_tables_beyond_the_limits() {
    check(&text(r#"(module (memory (export "memory") 1 2))"#), "exactly one");
    check(&text(r#"(module (memory (export "memory") 1))"#), "exactly one");
    check(&text(r#"(module (memory (export "memory") 0 1))"#), "exactly one");
    check(&module("(i32.const 0)", "(table 5000 funcref)"), "5000 elements of the table");
    check(&module("(i32.const 0)", "(table 1 funcref) (table 1 funcref)"), "2 tables");
}

#[test]
fn features_that_are_not_allowed() {
    let not_valid = "not a valid WebAssembly";
    check(&text(r#"(module (memory (export "memory") 1 1 shared))"#), not_valid);
    check(&text(r#"(module (memory (export "memory") i64 1 1))"#), not_valid);
    check(&module("(i32.const 0)", "(type (struct))"), not_valid);
    check(&module("(return_call $f)", "(func $f (result i32) (i32.const 0))"), not_valid);
    let relaxed = "(drop (i8x16.relaxed_swizzle (v128.const i64x2 0 0) (v128.const i64x2 0 0)))
                   (i32.const 0)";
    check(&module(relaxed, ""), not_valid);
    check(&module("(memory.atomic.notify (i32.const 0) (i32.const 0))", ""), not_valid);
    check(&module("(i32.const 0)", "(memory 1 1)"), "memories");
    check(&module("(i32.const 0)", "(tag)"), not_valid);
}

#[test]
fn exports_that_are_missing_or_not_as_they_should_be() {
    check(&text("(module)"), "\"memory\"");
    check(&text(r#"(module (memory (export "memory") 1 1))"#), "\"trend_abi\"");
    let observe = r#"(func (export "observe") (param i64) (result i32) (i32.const 0))"#;
    check(&module("(i32.const 0)", observe), "\"observe\" is not a function of 1 i32");
    let state = r#"(func (export "state") (result i32) (i32.const 0))"#;
    check(&module("(i32.const 0)", state), "state_len");
}

#[test]
fn constants_that_cannot_be() {
    let with = |abi: i32, buf: i32, cap: i32, more: &str| {
        text(&format!(
            r#"(module (memory (export "memory") 1 1)
            (func (export "trend_abi") (result i32) (i32.const {abi}))
            (func (export "buf") (result i32) (i32.const {buf}))
            (func (export "cap") (result i32) (i32.const {cap}))
            (func (export "summarise") (param i32) (result i32) (i32.const 0)) {more})"#
        ))
    };
    check(&with(2, 0, 1_024, ""), "speaks version 1");
    check(&with(1, 4, 1_024, ""), "multiple of 8");
    check(&with(1, 0, 1_000, ""), "cap() says 1000");
    check(&with(1, 65_000, 1_024, ""), "within the 65,536");
    check(&with(1, -8, 1_024, ""), "within the 65,536");
    check(&with(1, 0, -1, ""), "cap() says");
    let text = r#"(func (export "observe_text") (param i32) (result i32) (i32.const 0))"#;
    check(&with(1, 0, 4_096, text), "cap() says 4096");
    let state = r#"(func (export "state") (result i32) (i32.const 0))
                   (func (export "state_len") (result i32) (i32.const 4096))"#;
    check(&with(1, 8_192, 8_192, state), "state_len() says 4096");
    let trap = r#"(func (export "state") (result i32) unreachable)
                  (func (export "state_len") (result i32) (i32.const 0))"#;
    check(&with(1, 0, 8_192, trap), "state() failed");
    let endless = r#"(func (export "state") (result i32) (loop (br 0)) unreachable)
                  (func (export "state_len") (result i32) (i32.const 0))"#;
    check(&with(1, 0, 8_192, endless), "fuel");
}

#[test]
fn what_would_compile_for_ever() {
    let nested = format!("{} (i32.const 0) {}", "(block ".repeat(300), ")".repeat(300));
    let nested = nested.replace("(i32.const 0)", "");
    check(&module(&format!("{nested} (i32.const 0)"), ""), "nests blocks deeper than 256");
    let long = "(drop (i32.const 7))".repeat(60_000);
    check(&module(&format!("{long} (i32.const 0)"), ""), "at most 131072");
    let many: String = "(func)".repeat(5_000);
    check(&module("(i32.const 0)", &many), "functions; at most 4096");
}

#[test]
fn an_artefact_that_is_not_ours_is_not_loaded() {
    let engine = ShardEngine::new(1).unwrap();
    let why = Program::load(&engine, "p", [0; 32], b"not an artefact").unwrap_err();
    assert!(matches!(why, Rejection::NotLoaded(_)), "{why}");
}
