//! The program, called as the server calls it, without WebAssembly.

use my_program::{UNWANTED, observe, observe_text, summarise};
use trend_guest::{Events, Texts, View};
use trend_harness as host;

/// A buffer with an input, and zeros for the output.
fn buffer(input: &[u8]) -> Vec<u8> {
    let mut buffer = input.to_vec();
    buffer.resize(input.len() + 2_048, 0);
    buffer
}

#[test]
fn fresh_events_count_double_and_spam_does_not_count() {
    let event = |topic, offset_ms| host::Event { topic, weight: 3, offset_ms };
    let mut buffer = buffer(&host::events(0, &[event(UNWANTED, 0), event(7, 5), event(8, -5)]));
    let left = Events::run(&mut buffer, |events| observe(&mut [0; 2], events));
    assert_eq!(left, 2);
    assert_eq!(buffer[16..24], 7_u64.to_le_bytes());
    assert_eq!(buffer[24..28], 6_u32.to_le_bytes());
    assert_eq!(buffer[32..40], 8_u64.to_le_bytes());
    assert_eq!(buffer[40..44], 3_u32.to_le_bytes());
}

#[test]
fn long_words_are_topics() {
    let mut buffer = buffer(&host::texts(&["the mars rover has landed"]));
    let found = Texts::run(&mut buffer, |texts, topics| observe_text(&mut [0; 2], texts, topics));
    assert_eq!(found, 2);
}

#[test]
fn rising_topics_come_first() {
    let row =
        |name: &str, trend| host::Row { trend, count: 5, name: name.into(), ..<_>::default() };
    let view = host::View { rows: vec![row("old", 2), row("new", 1)], ..<_>::default() };
    let input = view.bytes();
    let mut buffer = buffer(&input);
    let mut state = [0; 2];
    let code = View::run(&mut buffer, |view, reply| summarise(&mut state, view, reply));
    assert_eq!(code, 0);
    let out = &buffer[input.len()..];
    assert_eq!(out[..2], [2, 0], "both are ranked");
    assert_eq!(out[4..8], [1, 0, 0, 0], "the rising one first");
    let line = b"new leads for 1 summaries, 5 of 10";
    assert_eq!(out[8..8 + line.len()], *line);
}
