//! Names: asked for when they are missing, kept while they are used, never merged.

mod shard_support;

use shard_support::*;
use trendsrv_proto::{Clock, NameKind, Refusal, TenantId, TopicId};
use trendsrv_shard::{Effect, Effects, Origin, Part, ReplyTo, ShardConfig, Trending};

/// Kind and id of every name asked for, and of whom.
fn needs(effects: &[Effect]) -> Vec<(Option<ReplyTo>, NameKind, u64)> {
    let need = |effect: &Effect| match *effect {
        Effect::Need { to, kind, id } => Some((to, kind, id)),
        Effect::Accepted { .. } | Effect::Refused { .. } | Effect::Publish { .. } => None,
    };
    effects.iter().filter_map(need).collect()
}

#[test]
fn missing_names_are_asked_of_the_sender_and_known_ones_never() {
    let mut shard = shard(Clock::Wall, 4);
    let (_, effects) =
        send(&mut shard, START_MS, None, &[(1, 1, 1, START_MS), (1, 2, 1, START_MS)]);
    let mut asked = needs(&effects);
    asked.sort_by_key(|need| need.2);
    let mut wanted = vec![
        (Some(TO), NameKind::Topic, topic_id(1).0),
        (Some(TO), NameKind::Topic, topic_id(2).0),
        (Some(TO), NameKind::Tenant, tenant_id(1).0),
    ];
    wanted.sort_by_key(|need| need.2);
    assert_eq!(asked, wanted);
    let (_, effects) = send(&mut shard, START_MS, None, &[(1, 1, 1, START_MS)]);
    assert_eq!(needs(&effects), [], "asked for already");
    // Told with the events: nobody is asked.
    send_named(&mut shard, START_MS, None, &[(2, 3, 1, START_MS)]).unwrap();
    let (_, effects) = send(&mut shard, START_MS, None, &[(2, 3, 1, START_MS)]);
    assert_eq!(needs(&effects), []);
}

#[test]
fn names_that_stay_missing_are_asked_of_anyone_after_a_second_until_they_are_told() {
    let mut shard = shard(Clock::Wall, 4);
    send(&mut shard, START_MS, None, &[(1, 1, 1, START_MS)]).0.unwrap();
    for second in 1..4 {
        let fx = turn(&mut shard, START_MS + second * 1_000);
        let mut asked = needs(&fx.list);
        asked.sort_by_key(|need| need.1 as u8);
        let tenant = (None, NameKind::Tenant, tenant_id(1).0);
        assert_eq!(asked, [tenant, (None, NameKind::Topic, topic_id(1).0)], "second {second}");
        let again = turn(&mut shard, START_MS + second * 1_000 + 300);
        assert_eq!(needs(&again.list), [], "once a second");
    }
    let names = [(NameKind::Tenant, tenant_name(1)), (NameKind::Topic, topic_name(1))];
    shard.define(names.iter().map(|(kind, name)| (*kind, TenantId::of(name).0, name.as_str())));
    let fx = turn(&mut shard, START_MS + 5_000);
    assert_eq!(needs(&fx.list), []);
    let seen = ask(&mut shard, START_MS + 5_000, 1, None).unwrap().0;
    assert_eq!(seen.topics, [(topic_name(1), 1)]);
}

#[test]
fn names_in_use_are_kept_however_many_others_come_and_go() {
    let tight = ShardConfig { topics_max: 64, ..config(Clock::Wall, 4) };
    let mut shard = shard_with(tight, Trending { recent_ms: 1, window_ms: 2 });
    for second in 0..60_u64 {
        let now_ms = START_MS + second * 1_000;
        turn(&mut shard, now_ms);
        let events =
            [(1, 1_000, 1, now_ms), (1, second * 2, 1, now_ms), (1, second * 2 + 1, 1, now_ms)];
        send_named(&mut shard, now_ms, None, &events).unwrap();
        // Names of topics nobody uses take no place from those in use.
        for unused in 0..20 {
            let name = format!("unused {second} {unused}");
            shard.define(std::iter::once((NameKind::Topic, TopicId::of(&name).0, &*name)));
        }
        let (seen, _) = ask(&mut shard, now_ms, 1, None).unwrap();
        assert!(seen.topics.iter().all(|(name, _)| name.starts_with("topic ")), "{seen:?}");
        assert!(shard.stats().topics.now <= 64);
    }
    assert_eq!(shard.stats().topics_unnamed_full, 0);
}

#[test]
fn a_name_of_another_id_is_refused_and_holds_back_what_is_behind_it() {
    let mut shard = shard(Clock::Wall, 4);
    send_named(&mut shard, START_MS, Some(at(1)), &[(1, 1, 1, START_MS)]).unwrap();
    let other = "not the name of this id";
    for (kind, id) in [(NameKind::Tenant, tenant_id(1).0), (NameKind::Topic, topic_id(1).0)] {
        let known = (NameKind::Topic, topic_id(9).0, "topic 9");
        let why = shard.check_names([known, (kind, id, other)].into_iter()).unwrap_err();
        assert_eq!((why.code, why.index), (Refusal::IdCollision, Some(1)));
    }
    // As a part of a frame: refused whole, and its mark says so.
    let (records, span) = records(START_MS, &[(1, 1, 5, START_MS)]);
    let part = Part { base_ms: START_MS, span, records: &records };
    let named = || std::iter::once((NameKind::Topic, topic_id(1).0, other));
    let mut fx = Effects::default();
    shard.on_events_named(START_MS, &origin(Some(at(2))), &part, named(), &mut fx);
    assert!(matches!(&fx.list[0], Effect::Refused { why, .. } if why.code == Refusal::IdCollision));
    let behind = [(1, 1, 7, START_MS)];
    let why = send_named(&mut shard, START_MS, Some(at(3)), &behind).unwrap_err();
    assert_eq!((why.code, why.expected_seq), (Refusal::SeqGap, Some(2)));
    assert_eq!(total(&mut shard, START_MS, 1), Some(1), "neither was counted");
    // Mended, it counts, and so does the one behind it.
    send_named(&mut shard, START_MS, Some(at(2)), &[(1, 1, 5, START_MS)]).unwrap();
    send_named(&mut shard, START_MS, Some(at(3)), &behind).unwrap();
    assert_eq!(total(&mut shard, START_MS, 1), Some(13));
    // A reader who asks by a name that is not the tenant's is not answered with another's numbers.
    let asked = trendsrv_shard::Ask { name: Some(other), ..ask_of(1, None) };
    assert_eq!(shard.ask(START_MS, &asked).unwrap_err().code, Refusal::IdCollision);
}

#[test]
fn a_newer_epoch_fences_the_older_one() {
    let mut shard = shard(Clock::Wall, 4);
    send(&mut shard, START_MS, Some(at(4)), &[(1, 1, 1, START_MS)]).0.unwrap();
    assert_eq!(shard.on_greet(at(1).lane, 1).unwrap().next_seq(), 5);
    assert_eq!(shard.on_greet(at(1).lane, 2).unwrap().next_seq(), 1);
    let why = send(&mut shard, START_MS, Some(at(5)), &[(1, 1, 1, START_MS)]).0.unwrap_err();
    assert_eq!(why.code, Refusal::Fenced);
    assert_eq!(shard.on_greet(at(1).lane, 1), Err(2));
    assert_eq!(total(&mut shard, START_MS, 1), Some(1));
}

#[test]
fn subscribers_hear_of_each_change_once() {
    let mut shard = shard(Clock::Event, 4);
    let published = |fx: &Effects| -> Vec<(u64, u32)> {
        let one = |effect: &Effect| match effect {
            Effect::Publish { to, tag, tenant, start, len } => {
                assert_eq!(*tenant, tenant_id(1));
                assert!(fx.bytes[*start..start + len].len() > 100);
                Some((to.0, *tag))
            }
            Effect::Accepted { .. } | Effect::Refused { .. } | Effect::Need { .. } => None,
        };
        fx.list.iter().filter_map(one).collect()
    };
    shard.subscribe(ReplyTo(1), 11, &ask_of(1, None)).unwrap();
    shard.subscribe(ReplyTo(2), 22, &ask_of(1, None)).unwrap();
    let mut now_ms = START_MS;
    let mut next_slide = |shard: &mut _| {
        now_ms += 1_000;
        let fx = turn(shard, now_ms);
        assert_eq!(published(&turn(shard, now_ms + 100)), [], "at most once a slide");
        published(&fx)
    };
    assert_eq!(next_slide(&mut shard), [], "the tenant is not known yet");
    send_named(&mut shard, START_MS, None, &[(1, 1, 1, START_MS)]).unwrap();
    assert_eq!(next_slide(&mut shard), [(1, 11), (2, 22)]);
    assert_eq!(next_slide(&mut shard), [], "nothing has changed");
    for _ in 0..3 {
        send_named(&mut shard, START_MS, None, &[(1, 1, 1, START_MS)]).unwrap();
    }
    shard.unsubscribe(ReplyTo(2), 22, tenant_id(1));
    assert_eq!(next_slide(&mut shard), [(1, 11)]);
    shard.subscribe(ReplyTo(2), 22, &ask_of(1, None)).unwrap();
    assert_eq!(next_slide(&mut shard), [(2, 22)], "the newcomer, and nobody else");
}

#[test]
fn the_last_of_many_subscribers_has_its_turn_in_a_round_longer_than_a_slide() {
    let mut shard = shard(Clock::Event, 4);
    send_named(&mut shard, START_MS, None, &[(1, 1, 1, START_MS)]).unwrap();
    for reader in 0..256 {
        shard.subscribe(ReplyTo(reader), 1, &ask_of(1, None)).unwrap();
    }
    let full = shard.subscribe(ReplyTo(256), 1, &ask_of(1, None)).unwrap_err();
    assert_eq!(full.code, Refusal::Overloaded);
    // One turn a slide is too few for all of them in one.
    let mut told = std::collections::BTreeSet::new();
    for second in 1..=16 {
        let mut fx = Effects::default();
        shard.on_turn(START_MS + second * 1_000, &mut fx);
        for effect in &fx.list {
            if let Effect::Publish { to, .. } = effect {
                told.insert(to.0);
            }
        }
    }
    assert_eq!(told.len(), 256);
}

#[test]
fn a_part_without_a_sequence_is_always_applied() {
    let mut shard = shard(Clock::Wall, 4);
    let from = Origin { seq: 5, ..origin(None) };
    let (records, span) = records(START_MS, &[(1, 1, 1, START_MS)]);
    let part = Part { base_ms: START_MS, span, records: &records };
    for _ in 0..3 {
        shard.on_events(START_MS, &from, &part, &mut Effects::default());
    }
    assert_eq!(total(&mut shard, START_MS, 1), Some(3));
}
