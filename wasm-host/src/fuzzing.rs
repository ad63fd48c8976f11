//! What fuzzers and the tests that replay their inputs check of this crate.
//!
//! Owns facts about untrusted bytes: a program that is uploaded, and everything that a program may
//! leave in its buffer. Each function panics when a fact does not hold.
//!
//! ```text
//! any bytes ─▶ check_upload    refused with a sentence, or compiled, loaded and probed
//! any buffer, any number returned ─▶ check_records, check_summary, check_texts
//! ```
//!
//! No part of the interface: only tests use it.

use crate::abi::{Fault, records, summary, texts};
use crate::engine::{ShardEngine, compile};
use crate::limits::{
    BUFFER_BYTES_MIN, MEMORY_BYTES, RECORDS_PER_CALL_MAX, TEXT_BUFFER_BYTES_MIN,
    TEXTS_PER_CALL_MAX, TOPICS_PER_TEXT_MAX,
};
use crate::program::{Program, Rejection};
use crate::text_desk::deliver;
use std::collections::HashSet;
use std::sync::LazyLock;
use trendsrv_proto::limits::{TLDR_BYTES_MAX, WEIGHT_MAX};
use trendsrv_proto::{EventRecord, TenantId, TopicId, check_name};
use trendsrv_shard::{Text, Told};

/// Uploads any bytes. Nothing of them is run but the functions that tell constants, with fuel.
///
/// # Errors
/// Why they are none.
pub fn check_upload(bytes: &[u8]) -> Result<(), Rejection> {
    static ENGINE: LazyLock<ShardEngine> =
        LazyLock::new(|| ShardEngine::new(1).expect("an engine for one instance"));
    let loaded = compile(bytes)
        .and_then(|artefact| Program::load(&ENGINE, "fuzz", [0; 32], &artefact).map(drop));
    if let Err(rejection) = &loaded {
        let sentence = rejection.to_string();
        assert!(!sentence.is_empty() && sentence.len() < SENTENCE_BYTES_MAX, "{sentence:?}");
    }
    loaded
}

/// Reads what an event stage left: any buffer, after a call with `given` records.
///
/// # Errors
/// What the program did wrong.
pub fn check_records(buffer: &[u8], returned: i32, given: usize) -> Result<usize, Fault> {
    let buffer = sized(buffer, BUFFER_BYTES_MIN);
    let given = given % (records::room(buffer.len()) + 1);
    assert!(given <= RECORDS_PER_CALL_MAX);
    let tenant = TenantId::of("fuzz");
    let record = |index: usize| {
        let offset_ms = i32::try_from(index).unwrap_or(0) * 7 - 100;
        EventRecord::new(tenant, TopicId(index as u64), 1, offset_ms)
    };
    let given: Vec<EventRecord> = (0..given).map(record).collect();
    let before = EventRecord::new(TenantId(1), TopicId(2), 3, 4);
    let mut out = vec![before];
    let read = records::read(&buffer, returned, &given, &mut out);
    assert_eq!(out[0], before, "what was there stays");
    if let Err(fault) = read {
        assert_eq!(out.len(), 1, "a fault leaves nothing: {fault}");
        return Err(fault);
    }
    assert!(out.len() - 1 <= given.len() && out.len() - 1 <= returned.cast_unsigned() as usize);
    let times = given.iter().map(EventRecord::offset_ms);
    let (least, most) = (times.clone().min(), times.max());
    for record in &out[1..] {
        assert_eq!(record.tenant(), tenant);
        assert!((1..=WEIGHT_MAX).contains(&record.weight()), "{record:?}");
        assert!(Some(record.offset_ms()) >= least && Some(record.offset_ms()) <= most);
    }
    Ok(out.len() - 1)
}

/// Reads what a summary left: any buffer, after a call with `rows` rows and the output at `out`.
///
/// # Errors
/// What the program did wrong.
pub fn check_summary(buffer: &[u8], returned: i32, rows: usize, out: usize) -> Result<Told, Fault> {
    let buffer = sized(buffer, BUFFER_BYTES_MIN);
    let rows = rows % (ROWS_MAX + 1);
    // The host leaves at least the head of the output.
    let written = summary::Written { rows, out: out % (buffer.len() - 3) };
    let mut told = Told { tldr: "before".to_owned(), ..Told::default() };
    summary::read(&buffer, returned, written, &mut told)?;
    assert_eq!(returned, 0);
    assert!(told.tldr.len() <= TLDR_BYTES_MAX && !told.tldr.chars().any(char::is_control));
    if let Some(ranking) = &told.ranking {
        let different: HashSet<_> = ranking.iter().collect();
        assert_eq!(different.len(), ranking.len(), "a row is listed once: {ranking:?}");
        assert!(ranking.iter().all(|row| usize::from(*row) < rows), "{ranking:?} of {rows}");
    }
    Ok(told)
}

/// Reads what a finder of topics left: any buffer behind the texts that were written into it.
/// Returns how many topics were found.
///
/// # Errors
/// What the program did wrong.
pub fn check_texts(buffer: &[u8], returned: i32, all: &[&str]) -> Result<usize, Fault> {
    let mut buffer = sized(buffer, TEXT_BUFFER_BYTES_MIN);
    let text = |text| Text { tenant: TenantId(1), text, weight: 1, offset_ms: 0 };
    let all: Vec<Text<'_>> = all.iter().map(|t| text(*t)).collect();
    let left = buffer.clone();
    let written = texts::write(&mut buffer, 7, &all);
    assert!(written.texts <= all.len().min(TEXTS_PER_CALL_MAX));
    assert!(written.texts > 0 || all.is_empty(), "a call makes progress");
    let (out, half) = (written.out, buffer.len() / 2);
    assert!(out.is_multiple_of(8) && out <= half, "{out} of {half}");
    assert!(buffer[out..] == left[out..], "the host writes its half only");
    let mut found = HashSet::new();
    let told = deliver(&buffer, returned, written, &mut |index, weight, name| {
        assert!(index < written.texts && (1..=WEIGHT_MAX).contains(&weight));
        assert!(check_name(name.as_bytes()).is_ok(), "{name:?}");
        assert!(found.insert((index, name.to_owned())), "{name:?} is told once for a text");
    });
    if let Err(fault) = told {
        assert!(found.is_empty(), "a fault tells nothing: {fault}");
        return Err(fault);
    }
    assert!(found.len() <= written.texts * TOPICS_PER_TEXT_MAX);
    Ok(found.len())
}

/// Draws a call from a fuzzer's input and checks it:
///
/// ```text
/// stage u8 | returned i32 | first u16 | second u16 | buffer, zeros up to the least size
/// ```
pub fn check_abi(input: &[u8]) {
    let Some((head, buffer)) = input.split_first_chunk::<9>() else { return };
    let [stage, r0, r1, r2, r3, a0, a1, b0, b1] = *head;
    let returned = i32::from_le_bytes([r0, r1, r2, r3]);
    let first = usize::from(u16::from_le_bytes([a0, a1]));
    let second = usize::from(u16::from_le_bytes([b0, b1]));
    // Faults are outcomes like others; what may not be is checked inside.
    match stage % 3 {
        0 => drop(check_records(buffer, returned, first)),
        1 => drop(check_summary(buffer, returned, first, second)),
        _ => {
            let sizes = (0..first % (TEXTS_PER_CALL_MAX + 2)).map(|n| second * (n + 1) % 4_097);
            let texts: Vec<String> = sizes.map(|size| "ä#t ".repeat(size / 5 + 1)).collect();
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            drop(check_texts(buffer, returned, &texts));
        }
    }
}

/// The buffer of a program: these bytes, with zeros up to the least size, and no more than memory.
fn sized(bytes: &[u8], least: usize) -> Vec<u8> {
    let mut buffer = bytes[..bytes.len().min(MEMORY_BYTES)].to_vec();
    buffer.resize(buffer.len().max(least), 0);
    buffer
}

/// Rows that a program is shown.
const ROWS_MAX: usize = 32;
/// A sentence that a person reads.
const SENTENCE_BYTES_MAX: usize = 3_000;
