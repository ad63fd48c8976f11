//! Records and texts of one request: together under one mark, or not at all.

mod shard_support;

use shard_support::*;
use trendsrv_proto::{Clock, NameKind, Rank, Refusal, Span};
use trendsrv_shard::{
    Ask, Counted, Effect, Effects, HeapMemory, Part, Refused, Sequence, Shard, Text, TextPart,
    Trending,
};

type Said = (u64, &'static str, u32);

/// Sends both; the outcome, and whether it was a duplicate.
fn send_mixed(
    shard: &mut Shard<Trending, HeapMemory>,
    now_ms: u64,
    sequence: Option<Sequence>,
    events: &[Event],
    said: &[Said],
) -> Result<(Counted, bool), Refused> {
    let (records, span) = records(now_ms, events);
    let part = Part { base_ms: now_ms, span, records: &records };
    let text = |&(tenant, text, weight): &Said| Text {
        tenant: tenant_id(tenant),
        text,
        weight,
        offset_ms: 0,
    };
    let texts: Vec<Text<'_>> = said.iter().map(text).collect();
    let span = Span { min_ms: now_ms, max_ms: now_ms };
    let texts = TextPart { base_ms: now_ms, span, texts: &texts };
    let mut fx = Effects::default();
    shard.on_mixed(now_ms, &origin(sequence), &part, &texts, &mut fx);
    match fx.list.remove(0) {
        Effect::Accepted { counted, duplicate, .. } => Ok((counted, duplicate)),
        Effect::Refused { why, .. } => Err(why),
        Effect::Need { .. } | Effect::Publish { .. } => panic!("an answer comes first"),
    }
}

fn total(shard: &mut Shard<Trending, HeapMemory>, now_ms: u64, tenant: u64) -> Option<u64> {
    let ask = Ask { rank: Rank::Count, ..ask_of(tenant, None) };
    shard.ask(now_ms, &ask).ok().map(|answer| answer.head.total)
}

#[test]
fn both_count_once_under_one_mark() {
    let mut shard = shard(Clock::Wall, 8);
    let events = [(1, 1, 5, START_MS), (2, 1, 1, START_MS), (1, 1, 1, START_MS - 60_000)];
    let said = [(2, "#a and #b", 10), (3, "nothing", 1), (1, "#a", 100)];
    for attempt in 0..3 {
        let (counted, duplicate) =
            send_mixed(&mut shard, START_MS, Some(at(1)), &events, &said).unwrap();
        assert_eq!(duplicate, attempt > 0);
        let want = Counted { applied: 4, late: 1, filtered: 1, ..Counted::default() };
        assert_eq!(counted, if duplicate { Counted::default() } else { want });
    }
    let totals = [1, 2, 3].map(|tenant| total(&mut shard, START_MS, tenant));
    assert_eq!(totals, [Some(105), Some(21), Some(0)]);
    let stats = shard.stats();
    assert_eq!((stats.parts_applied, stats.parts_duplicate), (1, 2));
    assert_eq!((stats.texts, stats.texts_without_topics), (3, 1));
}

#[test]
fn a_tenant_of_the_texts_that_finds_no_place_refuses_the_records_too() {
    let mut shard = shard(Clock::Wall, 2);
    let events = [(1, 1, 5, START_MS)];
    let said = [(2, "#a", 1), (3, "#a", 1)];
    let why = send_mixed(&mut shard, START_MS, Some(at(1)), &events, &said).unwrap_err();
    assert_eq!((why.code, why.index), (Refusal::TenantsFull, Some(2)));
    assert_eq!(total(&mut shard, START_MS, 1), None, "nobody stays of it");
    // The mark has not moved: what fits counts under the same number.
    let done = send_mixed(&mut shard, START_MS, Some(at(1)), &events, &said[..1]).unwrap();
    assert_eq!(done, (Counted { applied: 2, ..Counted::default() }, false));
    assert_eq!([1, 2].map(|tenant| total(&mut shard, START_MS, tenant)), [Some(5), Some(1)]);
}

#[test]
fn texts_alone_and_records_alone_are_requests_as_well() {
    let mut shard = shard(Clock::Wall, 4);
    send_mixed(&mut shard, START_MS, Some(at(1)), &[], &[(1, "#a", 2)]).unwrap();
    send_mixed(&mut shard, START_MS, Some(at(2)), &[(1, 1, 3, START_MS)], &[]).unwrap();
    send_mixed(&mut shard, START_MS, Some(at(3)), &[], &[]).unwrap();
    assert_eq!(total(&mut shard, START_MS, 1), Some(5));
    let gap = send_mixed(&mut shard, START_MS, Some(at(3)), &[(1, 1, 3, START_MS)], &[]);
    assert!(gap.unwrap().1, "a number used before");
    let tenant = [(NameKind::Tenant, tenant_id(1).0, "tenant 1")];
    assert!(shard.check_names(tenant.into_iter()).is_ok());
}

#[test]
fn what_is_early_needs_room_for_both() {
    let config = trendsrv_shard::ShardConfig { early_max: 1, ..config(Clock::Wall, 4) };
    let programs = Trending { recent_ms: 10_000, window_ms: WINDOW_MS };
    let mut shard = shard_with(config, programs);
    let ahead = [(1, 1, 1, START_MS + 1_000), (1, 2, 1, START_MS + 1_000)];
    let why = send_mixed(&mut shard, START_MS, Some(at(1)), &ahead, &[(1, "#a", 1)]).unwrap_err();
    assert_eq!(why.code, Refusal::Overloaded);
    let (counted, _) =
        send_mixed(&mut shard, START_MS, Some(at(1)), &ahead[..1], &[(1, "#a", 1)]).unwrap();
    assert_eq!((counted.early, counted.applied), (1, 1));
}
