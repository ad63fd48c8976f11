//! What is logged and what is not, and what there is room for.

mod log_support;
mod shard_support;

use log_support::*;
use shard_support::*;
use trendsrv_proto::{Clock, NameKind, Refusal};
use trendsrv_shard::limits::{LOG_BACKLOG_BYTES_MAX, SEQ_MAX};
use trendsrv_shard::log::{LogSpace, Record};
use trendsrv_shard::{
    Effect, Effects, HeapMemory, Lane, Origin, Part, Refused, Sequence, Shard, ShardConfig, Text,
    TextPart, Trending,
};

fn logging(tenants_max: usize) -> Shard<Trending, HeapMemory> {
    let mut shard = shard(Clock::Wall, tenants_max);
    shard.start_log(LOG);
    shard
}

/// Sends events; the record after which they are durable, and whether they are duplicates.
fn say(
    shard: &mut Shard<Trending, HeapMemory>,
    sequence: Option<Sequence>,
    durable: bool,
    events: &[Event],
) -> Result<(u64, bool), Refused> {
    let (records, span) = records(START_MS, events);
    let part = Part { base_ms: START_MS, span, records: &records };
    let mut fx = Effects::default();
    let from = Origin { durable, ..origin(sequence) };
    shard.on_events(START_MS, &from, &part, &mut fx);
    match fx.list.remove(0) {
        Effect::Accepted { lsn, duplicate, .. } => Ok((lsn, duplicate)),
        Effect::Refused { why, .. } => Err(why),
        Effect::Need { .. } | Effect::Publish { .. } => panic!("an answer comes first"),
    }
}

fn code(result: Result<(u64, bool), Refused>) -> Refusal {
    result.expect_err("a refusal").code
}

const EVENT: Event = (1, 1, 5, START_MS);

/// Every record of what is logged and not taken: 'p' with its events, 'n' with its names.
fn logged(shard: &mut Shard<Trending, HeapMemory>) -> Vec<(char, u64)> {
    let mut bytes = Vec::new();
    while let Some(batch) = shard.log().and_then(|log| log.take(1 << 20)) {
        bytes.extend_from_slice(&batch.bytes);
    }
    let mut records = Vec::new();
    each_record(&bytes, &LOG, |_, record| {
        records.push(match record {
            Record::Part(_) => ('p', record.events()),
            Record::Names(names) => ('n', u64::from(names.count())),
        });
    });
    records
}

#[test]
fn what_is_applied_is_logged_once_and_nothing_else() {
    let mut shard = logging(2);
    assert_eq!(say(&mut shard, Some(at(1)), false, &[EVENT, EVENT]), Ok((1, false)));
    assert_eq!(say(&mut shard, Some(at(1)), false, &[EVENT, EVENT]), Ok((1, true)));
    assert_eq!(say(&mut shard, Some(at(2)), false, &[]), Ok((2, false)), "a filler");
    let three = [(5, 1, 1, START_MS), (6, 1, 1, START_MS), (7, 1, 1, START_MS)];
    assert_eq!(code(say(&mut shard, Some(at(3)), false, &three)), Refusal::TenantsFull);
    assert_eq!(code(say(&mut shard, Some(at(4)), false, &[EVENT])), Refusal::SeqGap);
    let old = Sequence { epoch: 0, ..at(9) };
    assert_eq!(code(say(&mut shard, Some(old), false, &[EVENT])), Refusal::Fenced);
    assert_eq!(say(&mut shard, None, false, &[EVENT]), Ok((3, false)));
    assert_eq!(shard.last_lsn(), 3);
    assert_eq!(logged(&mut shard), [('p', 2), ('p', 0), ('p', 1)]);
}

#[test]
fn names_are_logged_behind_their_events_and_only_when_new() {
    let mut shard = logging(8);
    let named = |shard: &mut Shard<Trending, HeapMemory>, event: Event| {
        send_named(shard, START_MS, None, &[event]).unwrap();
        shard.last_lsn()
    };
    assert_eq!(named(&mut shard, (1, 1, 5, START_MS)), 2);
    assert_eq!(named(&mut shard, (1, 1, 5, START_MS)), 3, "nothing new");
    assert_eq!(named(&mut shard, (1, 2, 5, START_MS)), 5);
    let nobody = tenant_name(77);
    shard.define(std::iter::once((NameKind::Tenant, tenant_id(77).0, &*nobody)));
    assert_eq!(shard.last_lsn(), 5, "a tenant that is not here takes no name");
    let topic = topic_name(9);
    shard.define(std::iter::once((NameKind::Topic, topic_id(9).0, &*topic)));
    let records = [('p', 1), ('n', 2), ('p', 1), ('p', 1), ('n', 1), ('n', 1)];
    assert_eq!(logged(&mut shard), records);
}

#[test]
fn an_answer_waits_for_the_names_that_came_along() {
    let mut shard = logging(8);
    let (tenant, topic) = (tenant_name(1), topic_name(1));
    let names = [
        (NameKind::Tenant, tenant_id(1).0, tenant.as_str()),
        (NameKind::Topic, topic_id(1).0, topic.as_str()),
    ];
    let (records, span) = records(START_MS, &[EVENT]);
    let part = Part { base_ms: START_MS, span, records: &records };
    let mut fx = Effects::default();
    let names = names.iter().copied();
    shard.on_events_named(START_MS, &origin(None), &part, names, &mut fx);
    assert!(matches!(fx.list[0], Effect::Accepted { lsn: 2, .. }), "{fx:?}");
}

#[test]
fn texts_are_logged_as_they_came() {
    let mut shard = logging(8);
    let said = ["#a and @b", "no topic at all"];
    let text = |text| Text { tenant: tenant_id(1), text, weight: 3, offset_ms: -4 };
    let texts = said.map(text);
    let span = trendsrv_proto::Span { min_ms: START_MS - 4, max_ms: START_MS };
    let part = TextPart { base_ms: START_MS, span, texts: &texts };
    let mut fx = Effects::default();
    shard.on_texts(START_MS, &origin(Some(at(1))), &part, std::iter::empty(), &mut fx);
    let (events, span) = records(START_MS, &[EVENT]);
    let records = Part { base_ms: START_MS, span, records: &events };
    shard.on_mixed(START_MS, &origin(Some(at(2))), &records, &part, &mut fx);
    let batch = shard.log().unwrap().take(1 << 20).unwrap();
    let mut seen = Vec::new();
    each_record(&batch.bytes, &LOG, |_, record| {
        let Record::Part(part) = record else { panic!("no names were told") };
        let texts: Vec<_> = part.texts.iter().collect();
        seen.push((part.sequence, part.records.to_vec(), texts.len()));
        assert_eq!(texts, said.map(text));
    });
    assert_eq!(seen, [(Some(at(1)), vec![], 2), (Some(at(2)), events, 2)]);
}

#[test]
fn durable_parts_are_refused_while_there_is_little_room() {
    let mut shard = logging(8);
    say(&mut shard, Some(at(1)), true, &[EVENT]).unwrap();
    shard.set_log_space(LogSpace::Low);
    let why = say(&mut shard, Some(at(2)), true, &[EVENT]).unwrap_err();
    assert_eq!((why.code, why.retry_after_ms), (Refusal::DiskFull, 1_000));
    assert_eq!(say(&mut shard, Some(at(1)), true, &[EVENT]), Ok((1, true)), "a duplicate");
    assert_eq!(say(&mut shard, None, false, &[EVENT]), Ok((2, false)), "the others go on");
    assert_eq!(code(say(&mut shard, Some(at(3)), false, &[EVENT])), Refusal::SeqGap);
    shard.set_log_space(LogSpace::Plenty);
    assert_eq!(say(&mut shard, Some(at(2)), true, &[EVENT]), Ok((3, false)));
    assert_eq!(total(&mut shard, START_MS, 1), Some(15));
    assert_eq!(shard.stats().refused[Refusal::DiskFull as usize], 1);
}

#[test]
fn without_room_parts_are_applied_and_counted_but_never_called_durable() {
    let mut shard = logging(8);
    shard.set_log_space(LogSpace::None);
    assert_eq!(say(&mut shard, Some(at(1)), false, &[EVENT]), Ok((0, false)));
    assert_eq!(code(say(&mut shard, Some(at(2)), true, &[EVENT])), Refusal::DiskFull);
    send_named(&mut shard, START_MS, None, &[EVENT]).unwrap();
    shard.set_log_space(LogSpace::Plenty);
    assert_eq!(shard.stats().log_unlogged_parts, 2);
    assert_eq!(say(&mut shard, Some(at(2)), true, &[EVENT]), Ok((1, false)));
    assert_eq!(logged(&mut shard), [('p', 1)]);
    assert_eq!(total(&mut shard, START_MS, 1), Some(15));
    // The first frame again, to be durable this time: no record holds it.
    assert_eq!(code(say(&mut shard, Some(at(1)), true, &[EVENT])), Refusal::DiskFull);
    assert_eq!(say(&mut shard, Some(at(1)), false, &[EVENT]), Ok((1, true)));
    assert_eq!(say(&mut shard, Some(at(2)), true, &[EVENT]), Ok((1, true)), "this one is logged");
    shard.on_snapshot_durable(1);
    assert_eq!(say(&mut shard, Some(at(1)), true, &[EVENT]), Ok((1, true)), "a snapshot holds it");
}

#[test]
fn nothing_can_be_durable_without_a_log() {
    let mut shard = shard(Clock::Wall, 8);
    assert_eq!(code(say(&mut shard, Some(at(1)), true, &[EVENT])), Refusal::Unsupported);
    assert_eq!(say(&mut shard, Some(at(1)), false, &[EVENT]), Ok((0, false)));
    assert_eq!(code(say(&mut shard, Some(at(1)), true, &[EVENT])), Refusal::Unsupported);
}

#[test]
fn a_part_that_no_record_holds_is_refused_whole() {
    let mut shard = logging(8);
    let text = "a".repeat(4_096);
    let texts = vec![Text { tenant: tenant_id(1), text: &text, weight: 1, offset_ms: 0 }; 400];
    let span = trendsrv_proto::Span { min_ms: START_MS, max_ms: START_MS };
    let part = TextPart { base_ms: START_MS, span, texts: &texts };
    let mut fx = Effects::default();
    shard.on_texts(START_MS, &origin(None), &part, std::iter::empty(), &mut fx);
    let Effect::Refused { why, .. } = &fx.list[0] else { panic!("{fx:?}") };
    assert_eq!((why.code, shard.last_lsn()), (Refusal::TooLarge, 0));
    assert_eq!(total(&mut shard, START_MS, 1), None);
}

#[test]
fn parts_wait_outside_when_too_much_of_the_log_does() {
    let mut shard = logging(8);
    let events = vec![EVENT; 4_096];
    let mut parts = 0;
    let why = loop {
        match say(&mut shard, Some(at(parts + 1)), false, &events) {
            Ok(_) => parts += 1,
            Err(why) => break why,
        }
    };
    assert_eq!((why.code, why.retry_after_ms), (Refusal::Overloaded, 100));
    let bytes = parts * (104 + 4_096 * 24);
    assert_eq!(shard.stats().log_backlog_bytes.now, bytes);
    let beyond = bytes - LOG_BACKLOG_BYTES_MAX as u64;
    assert!(beyond < bytes / parts, "one part may pass the limit");
    assert!(shard.log().is_some_and(|log| log.take(1 << 20).is_some()));
    assert_eq!(say(&mut shard, Some(at(parts + 1)), false, &events), Ok((parts + 1, false)));
}

#[test]
fn a_number_that_no_sequence_reaches_changes_nothing() {
    let mut shard = logging(8);
    for seq in [0, SEQ_MAX + 1, u64::MAX] {
        assert_eq!(code(say(&mut shard, Some(at(seq)), false, &[EVENT])), Refusal::Malformed);
    }
    assert_eq!(say(&mut shard, Some(at(SEQ_MAX)), false, &[EVENT]), Ok((1, false)));
    assert_eq!(say(&mut shard, Some(at(SEQ_MAX)), false, &[EVENT]), Ok((1, true)));
}

#[test]
fn a_producer_that_was_given_up_is_told_to_begin_anew() {
    let settings = ShardConfig { producers_max: 8, ..config(Clock::Wall, 8) };
    let mut shard = shard_with(settings, TRENDING);
    assert_eq!(say(&mut shard, Some(at(1)), false, &[EVENT]), Ok((0, false)));
    for producer in 100..120 {
        let lane = Lane { producer, ..at(1).lane };
        let sequence = Sequence { lane, ..at(1) };
        assert_eq!(say(&mut shard, Some(sequence), false, &[EVENT]), Ok((0, false)));
    }
    assert!(shard.stats().marks_evicted > 0);
    // Whether this is the first frame again or the second cannot be said.
    assert_eq!(code(say(&mut shard, Some(at(2)), false, &[EVENT])), Refusal::ProducerUnknown);
    assert_eq!(total(&mut shard, START_MS, 1), Some(21 * 5), "it changed nothing");
    let anew = Sequence { epoch: 2, ..at(1) };
    assert!(shard.on_greet(anew.lane, anew.epoch).is_ok_and(|standing| !standing.known));
    assert_eq!(say(&mut shard, Some(anew), false, &[EVENT]), Ok((0, false)));
    assert!(shard.on_greet(anew.lane, anew.epoch).is_ok_and(|standing| standing.known));
}

#[test]
fn stats_tell_how_far_the_log_is() {
    let mut shard = logging(8);
    say(&mut shard, None, false, &[EVENT]).unwrap();
    say(&mut shard, None, false, &[EVENT]).unwrap();
    let bytes = 2 * (104 + 24);
    let stats = shard.stats();
    assert_eq!((stats.log_backlog_bytes.now, stats.log_lsn, stats.log_durable_lsn), (bytes, 2, 0));
    let batch = shard.log().unwrap().take(1 << 20).unwrap();
    shard.on_durable(batch.last_lsn);
    let stats = shard.stats();
    assert_eq!((stats.log_backlog_bytes.now, stats.log_durable_lsn), (0, 2));
    assert_eq!(stats.log_backlog_bytes.high, bytes);
    say(&mut shard, None, false, &[EVENT]).unwrap();
    let batch = shard.log().unwrap().take(1 << 20).unwrap();
    assert_eq!(trendsrv_shard::log::peek(&batch.bytes, LOG.generation).unwrap().durable, 2);
}
