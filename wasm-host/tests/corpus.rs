//! Replays the inputs of the fuzz targets `program_upload` and `program_abi` (tests/fuzz): what a
//! fuzzer once found, or a seed shows, is held by a plain test.
//!
//! The seeds are written by `WRITE_SEEDS=1 cargo test -p trendsrv-wasm-host --test corpus`.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeMap;
use std::path::PathBuf;
use trendsrv_wasm_host::fuzzing::{
    check_abi, check_records, check_summary, check_texts, check_upload,
};

#[test]
fn every_upload_of_the_corpus_is_refused_with_a_sentence_or_loaded() {
    let mut accepted = 0;
    for (name, bytes) in corpus("program_upload", &uploads()) {
        let outcome = check_upload(&bytes);
        println!("{name}: {outcome:?}");
        if let Some(word) = name.strip_prefix("ok-") {
            assert_eq!(outcome, Ok(()), "{word}");
        }
        if name.starts_with("bad-") {
            assert!(outcome.is_err(), "{name}");
        }
        accepted += u32::from(outcome.is_ok());
    }
    assert!(accepted >= 4, "{accepted} programs");
}

#[test]
fn every_call_of_the_corpus_ends_in_a_result_or_a_fault() {
    let inputs = corpus("program_abi", &calls());
    assert!(inputs.len() >= 12, "{} inputs", inputs.len());
    for (name, input) in inputs {
        println!("{name}");
        check_abi(&input);
    }
}

#[test]
fn the_seeds_reach_results_and_faults_of_every_stage() {
    let mut buffer = vec![0; 8_192];
    buffer[16..24].copy_from_slice(&9_u64.to_le_bytes());
    buffer[24..28].copy_from_slice(&5_u32.to_le_bytes());
    for at in [28, 44] {
        buffer[at..at + 4].copy_from_slice(&(-93_i32).to_le_bytes());
    }
    assert_eq!(check_records(&buffer, 1, 3), Ok(1));
    assert_eq!(check_records(&buffer, 2, 3), Ok(1), "a weight of zero leaves out");
    check_records(&buffer, 4, 3).unwrap_err();
    buffer[28..32].copy_from_slice(&1_000_000_i32.to_le_bytes());
    check_records(&buffer, 1, 3).unwrap_err();

    let mut buffer = vec![0; 1_024];
    buffer[104..112].copy_from_slice(&[2, 0, 2, 0, 1, 0, 0, 0]);
    buffer[112..114].copy_from_slice(b"hi");
    let told = check_summary(&buffer, 0, 2, 104).unwrap();
    assert_eq!((told.tldr.as_str(), told.ranking), ("hi", Some(vec![1, 0])));
    check_summary(&buffer, 1, 2, 104).unwrap_err();
    check_summary(&buffer, 0, 1, 104).unwrap_err();
    buffer[1_022] = 1;
    check_summary(&buffer, 0, 2, 1_020).unwrap_err();
    buffer[112] = 0xff;
    check_summary(&buffer, 0, 2, 104).unwrap_err();

    let text = "some words";
    let out = 16 + 16 + 16;
    let mut buffer = vec![0; 8_192];
    for at in [out, out + 16] {
        buffer[at..at + 8].copy_from_slice(&[0, 0, 2, 0, 1, 0, 0, 0]);
        buffer[at + 8..at + 10].copy_from_slice(b"ab");
    }
    assert_eq!(check_texts(&buffer, 2, &[text]), Ok(1), "the same name twice is told once");
    check_texts(&buffer, 3, &[text]).unwrap_err();
    check_texts(&buffer, 2, &[]).unwrap_err();
}

/// The inputs of a target by name; the seeds are among them.
fn corpus(target: &str, seeds: &BTreeMap<String, Vec<u8>>) -> BTreeMap<String, Vec<u8>> {
    let folder =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/corpus").join(target);
    if std::env::var_os("WRITE_SEEDS").is_some() {
        std::fs::create_dir_all(&folder).unwrap();
        for (name, bytes) in seeds {
            std::fs::write(folder.join(name), bytes).unwrap();
        }
    }
    let entries = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let read = |path: PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        (name, std::fs::read(path).unwrap())
    };
    let inputs: BTreeMap<_, _> = entries.map(read).collect();
    for (name, bytes) in seeds {
        assert!(inputs.get(name) == Some(bytes), "{target}/{name}: write the seeds anew");
    }
    inputs
}

fn text(more: &str) -> String {
    format!(
        r#"(module
             (memory (export "memory") 1 1)
             (func (export "trend_abi") (result i32) i32.const 1)
             (func (export "buf") (result i32) i32.const 1024)
             (func (export "cap") (result i32) i32.const 8192)
             (func (export "summarise") (param i32) (result i32) i32.const 0)
             {more})"#
    )
}

/// Programs and what is none; `ok-` is taken, `bad-` is refused.
fn uploads() -> BTreeMap<String, Vec<u8>> {
    let long = "x".repeat(5_000);
    let function = |name: &str, params: &str, body: &str| {
        format!("(func (export \"{name}\") {params} (result i32) {body})")
    };
    let more = [
        ("ok-least", String::new()),
        ("ok-observes", function("observe", "(param i32)", "local.get 0")),
        ("ok-texts", function("observe_text", "(param i32)", "i32.const 0")),
        (
            "ok-state",
            function("state", "", "i32.const 512") + &function("state_len", "", "i32.const 64"),
        ),
        (
            "ok-indirect",
            "(type $t (func (param i32) (result i32))) (table 2 funcref)
             (elem (i32.const 0) func 3 3) (global (mut i64) (i64.const 5))
             (func (param i32) (result i32)
               (call_indirect (type $t) (i32.const 7) (i32.and (local.get 0) (i32.const 1))))"
                .to_owned(),
        ),
        (
            "ok-vectors-and-floats",
            "(func (param f64) (result f64) (f64.sqrt (f64.div (local.get 0) (f64.const 0))))
             (func (param v128) (result v128) (f32x4.add (local.get 0) (local.get 0)))
             (data (i32.const 60000) \"data\") (func (memory.fill (i32.const 0) (i32.const 1)
               (i32.const 2)) (memory.copy (i32.const 0) (i32.const 1) (i32.const 2)))"
                .to_owned(),
        ),
        ("ok-nested", format!("(func {}{})", "block ".repeat(200), "end ".repeat(200))),
        ("bad-start", "(func $s) (start $s)".to_owned()),
        ("bad-table", "(table 4000000000 funcref)".to_owned()),
        ("bad-nested", format!("(func {}{})", "loop ".repeat(300), "end ".repeat(300))),
        ("bad-observe", function("observe", "(param i64)", "i32.const 0")),
        ("bad-state", function("state", "", "i32.const 512")),
        ("bad-name-long", format!("(func (export \"{long}\")) (func (export \"{long}\"))")),
    ];
    let mut seeds: BTreeMap<String, Vec<u8>> =
        more.iter().map(|(name, more)| ((*name).to_owned(), wat(&text(more)))).collect();
    let whole = [
        ("bad-import", "(module (import \"a\" \"b\" (func)))".to_owned()),
        ("bad-import-long", format!("(module (import \"{long}\" \"{long}\" (func)))")),
        ("bad-no-memory", "(module)".to_owned()),
        ("bad-two-pages", text("").replace("1 1)", "2 2)")),
        ("bad-shared", "(module (memory (export \"memory\") 1 1 shared))".to_owned()),
        ("bad-memory64", "(module (memory (export \"memory\") i64 1 1))".to_owned()),
        ("bad-abi", text("").replace("i32.const 1)", "i32.const 2)")),
        ("bad-buf-outside", text("").replace("i32.const 1024", "i32.const -8")),
        ("bad-buf-loops", text("").replace("i32.const 1024", "(loop (br 0)) i32.const 1024")),
        ("bad-cap-traps", text("").replace("i32.const 8192", "unreachable")),
        ("bad-cap-small", text("").replace("i32.const 8192", "i32.const 8")),
        ("bad-component", "(component)".to_owned()),
        ("bad-component-import", "(component (import \"a:b/c\" (instance)))".to_owned()),
    ];
    seeds.extend(whole.iter().map(|(name, whole)| ((*name).to_owned(), wat(whole))));
    let least = seeds["ok-least"].clone();
    seeds.insert("bad-cut".to_owned(), least[..least.len() / 2].to_vec());
    seeds.insert("bad-nothing".to_owned(), Vec::new());
    seeds.insert("bad-text".to_owned(), b"not wasm at all".to_vec());
    seeds
}

fn wat(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap()
}

/// Calls: stage, what it returned, two numbers and the buffer it left.
fn calls() -> BTreeMap<String, Vec<u8>> {
    let call = |stage: u8, returned: i32, first: u16, second: u16, buffer: &[u8]| {
        let mut input = vec![stage];
        input.extend(returned.to_le_bytes());
        input.extend(first.to_le_bytes());
        input.extend(second.to_le_bytes());
        input.extend(buffer);
        input
    };
    let record = |weight: u32, offset_ms: i32| {
        let mut buffer = vec![0; 16];
        buffer.extend(9_u64.to_le_bytes());
        buffer.extend(weight.to_le_bytes());
        buffer.extend(offset_ms.to_le_bytes());
        buffer
    };
    let output = |ranked: u16, tldr_len: u16, rest: &[u8]| {
        let mut buffer = ranked.to_le_bytes().to_vec();
        buffer.extend(tldr_len.to_le_bytes());
        buffer.extend(rest);
        buffer
    };
    // A text of five bytes takes 24 bytes behind the head of 16.
    let topic = |index: u16, len: u16, weight: u32, name: &[u8]| {
        let mut buffer = vec![0; 40];
        buffer.extend(index.to_le_bytes());
        buffer.extend(len.to_le_bytes());
        buffer.extend(weight.to_le_bytes());
        buffer.extend(name);
        buffer
    };
    [
        ("records-all", call(0, 1, 3, 0, &record(5, -93))),
        ("records-none", call(0, 0, 3, 0, &[])),
        ("records-more-than-came", call(0, 4, 3, 0, &record(5, -93))),
        ("records-negative", call(0, -1, 256, 0, &[])),
        ("records-weight", call(0, 1, 3, 0, &record(u32::MAX, -93))),
        ("records-time", call(0, 1, 3, 0, &record(5, i32::MAX))),
        ("summary-as-given", call(1, 0, 3, 0, &output(0xffff, 2, b"hi"))),
        ("summary-ranked", call(1, 0, 3, 0, &output(2, 2, b"\x02\0\0\0hi"))),
        ("summary-twice", call(1, 0, 3, 0, &output(2, 0, b"\x01\0\x01\0"))),
        ("summary-no-row", call(1, 0, 3, 0, &output(1, 0, b"\x03\0"))),
        ("summary-long", call(1, 0, 3, 0, &output(0xffff, 0xffff, &[]))),
        ("summary-outside", call(1, 0, 32, 1_020, &[0xff; 1_024])),
        ("summary-not-text", call(1, 0, 3, 0, &output(0xffff, 1, &[0xff]))),
        ("summary-control", call(1, 0, 3, 0, &output(0xffff, 1, b"\n"))),
        ("summary-fault", call(1, 7, 3, 0, &[])),
        ("texts-one", call(2, 1, 1, 0, &topic(0, 2, 1, b"ab"))),
        ("texts-none", call(2, 0, 1, 0, &[])),
        ("texts-no-text", call(2, 1, 0, 0, &topic(0, 2, 1, b"ab"))),
        ("texts-index", call(2, 1, 1, 0, &topic(1, 2, 1, b"ab"))),
        ("texts-weight", call(2, 1, 1, 0, &topic(0, 2, 0, b"ab"))),
        ("texts-name", call(2, 1, 1, 0, &topic(0, 2, 1, b"a\n"))),
        ("texts-outside", call(2, 32, 65, 4_096, &[1; 9_000])),
        ("texts-many", call(2, i32::MAX, 65, 100, &[])),
    ]
    .map(|(name, input)| (name.to_owned(), input))
    .into()
}
