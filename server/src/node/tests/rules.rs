//! The protocol's rules beside events: credit, duplicates, time, the end of connections, readers.

use super::net::{
    AMPLE, Got, Net, Room, START_MS, acked, codes, define, events, query, subscribe, tenant_of,
};
use trendsrv_proto::limits::CREDIT_INITIAL;
use trendsrv_proto::{Kind, NameKind, Ping, Refusal, TenantId, TopicId};

#[test]
fn acknowledgements_are_cumulative_and_in_order() {
    let mut net = Net::new(3, AMPLE, 5);
    let (conn, _) = net.open(0, 0);
    let now_ms = net.now_ms;
    let tenants = [0, 1, 2].map(|shard| tenant_of(shard, 3, 0));
    for seq in 1..=60_u64 {
        let tenant = &tenants[usize::try_from(seq % 3).unwrap()];
        net.send(conn, &events(seq, now_ms, &[(tenant, "t", 1, 0), (&tenants[0], "t", 1, 0)]));
    }
    let mut last = 0;
    for _ in 0..1_000 {
        net.turn();
        for got in net.take(conn) {
            let Got::Ack { seq, .. } = got else { continue };
            assert!(seq > last, "{seq} after {last}");
            last = seq;
        }
        if !net.deliver() {
            break;
        }
    }
    net.settle();
    assert_eq!(acked(&net.take(conn)).unwrap_or(last), 60);
}

#[test]
fn a_duplicate_alone_is_acknowledged() {
    let mut net = Net::new(2, AMPLE, 1);
    let (conn, _) = net.open(0, 7);
    // Two frames at once use most of the credit: with twice as much, none is due for a small one.
    let list = vec![("tenant", "t", 1, 0); 300];
    (1..=2).for_each(|seq| net.send(conn, &events(seq, START_MS, &list)));
    net.settle();
    let theirs = tenant_of(1, 2, 0);
    let frame = events(3, net.now_ms, &[(&theirs, "topic", 1, 0)]);
    for attempt in 0..3 {
        net.send(conn, &frame);
        net.settle();
        assert_eq!(acked(&net.take(conn)), Some(3), "attempt {attempt}");
    }
    assert_eq!(net.total(conn, TenantId::of(&theirs)), Some(1));
}

#[test]
fn credit_grows_for_those_who_use_it_and_is_not_passed() {
    let mut net = Net::new(1, AMPLE, 1);
    let (conn, welcome) = net.open(0, 7);
    assert_eq!(welcome.credit_until, CREDIT_INITIAL);
    let list = vec![("tenant", "t", 1, 0); 300];
    let (now_ms, mut credit, mut sent, mut seq) = (net.now_ms, CREDIT_INITIAL, 0, 1);
    for _ in 0..50 {
        loop {
            let frame = events(seq, now_ms, &list);
            if sent + frame.len() as u64 > credit {
                break;
            }
            sent += frame.len() as u64;
            net.send(conn, &frame);
            seq += 1;
        }
        net.settle();
        for got in net.take(conn) {
            let Got::Ack { credit_until, .. } = got else { continue };
            assert!(credit_until >= credit && credit_until >= sent + CREDIT_INITIAL);
            credit = credit_until;
        }
    }
    assert!(credit > sent + 16 * CREDIT_INITIAL, "{credit} after {sent}");
    // Past it: refused, and the connection goes on.
    while sent <= credit {
        let frame = events(seq, now_ms, &list);
        sent += frame.len() as u64;
        net.send(conn, &frame);
        seq += 1;
    }
    net.settle();
    let got = net.take(conn);
    assert_eq!((codes(&got), acked(&got)), (vec![Refusal::CreditExceeded], Some(seq - 2)));
    net.send(conn, &events(seq - 1, now_ms, &list));
    net.settle();
    assert_eq!(acked(&net.take(conn)), Some(seq - 1));
}

#[test]
fn refused_frames_give_their_credit_back() {
    let mut net = Net::new(1, AMPLE, 1);
    let (conn, _) = net.open(0, 7);
    let future = vec![("tenant", "t", 1, 60_000); 250];
    let (mut sent, mut credit) = (0, CREDIT_INITIAL);
    for round in 0..20 {
        let frame = events(1, net.now_ms, &future);
        sent += frame.len() as u64;
        assert!(sent <= credit, "round {round}: a client would wait for ever");
        net.send(conn, &frame);
        net.settle();
        let got = net.take(conn);
        assert_eq!(codes(&got), [Refusal::Future]);
        for got in got {
            if let Got::Ack { seq, credit_until } = got {
                assert_eq!(seq, 0);
                credit = credit_until;
            }
        }
        assert!(credit >= sent + CREDIT_INITIAL, "round {round}");
    }
}

#[test]
fn who_does_not_greet_within_two_seconds_is_refused_and_let_go() {
    let mut net = Net::new(1, AMPLE, 1);
    let silent = net.connect(0);
    let (greeted, _) = net.open(0, 0);
    net.pass(2_000);
    assert!(!net.ended(silent));
    net.pass(200);
    assert_eq!(codes(&net.take(silent)), [Refusal::Overloaded]);
    net.pass(60_000);
    assert!(net.ended(silent) && !net.ended(greeted), "between frames silence is fine");
}

#[test]
fn a_frame_begun_must_be_complete_within_five_seconds() {
    let mut net = Net::new(1, AMPLE, 1);
    let (slow, _) = net.open(0, 0);
    let (steady, _) = net.open(0, 0);
    let frame = query("tenant", 1);
    net.send(slow, &frame[..20]);
    for part in frame.chunks(8) {
        net.send(steady, part);
        net.pass(900);
    }
    assert!(!net.ended(slow) && !net.ended(steady));
    net.pass(700);
    assert_eq!(codes(&net.take(slow)), [Refusal::Overloaded]);
    assert!(net.ended(slow) && !net.ended(steady));
    assert_eq!(codes(&net.take(steady)), [Refusal::UnknownTenant], "its frame was answered");
}

#[test]
fn who_does_not_read_for_thirty_seconds_is_let_go() {
    let mut net = Net::new(1, AMPLE, 1);
    let (stuck, _) = net.open(0, 0);
    net.set_stuck(stuck, true);
    net.send(stuck, &query("tenant", 1));
    net.settle();
    net.pass(30_000);
    net.pass(200);
    net.set_stuck(stuck, false);
    net.settle();
    assert_eq!(codes(&net.take(stuck)), [Refusal::UnknownTenant, Refusal::Overloaded]);
    assert!(net.ended(stuck));
}

#[test]
fn a_drained_node_says_goodbye_answers_and_lets_go() {
    let mut net = Net::new(2, AMPLE, 1);
    let (conn, _) = net.open(0, 7);
    let theirs = tenant_of(1, 2, 0);
    net.send(conn, &events(1, net.now_ms, &[(&theirs, "t", 1, 0)]));
    net.turn();
    net.nodes[0].drain();
    net.nodes[0].end_idle();
    net.turn();
    assert!(!net.ended(conn), "its frame is not answered yet");
    net.settle();
    let got = net.take(conn);
    assert!(got.contains(&Got::GoAway) && acked(&got) == Some(1), "{got:?}");
    assert!(net.ended(conn));
    assert_eq!(net.nodes[0].peers(), 0);
    let late = net.connect(0);
    net.turn();
    assert_eq!(net.take(late), [Got::GoAway]);
}

#[test]
fn a_peer_that_has_sent_all_is_answered_before_it_is_let_go() {
    let mut net = Net::new(2, AMPLE, 1);
    let (conn, _) = net.open(0, 0);
    let theirs = tenant_of(1, 2, 0);
    net.send(conn, &events(1, net.now_ms, &[(&theirs, "t", 4, 0)]));
    net.send(conn, &query(&theirs, 5));
    net.nodes[0].on_half_close(conn.id);
    net.turn();
    assert!(!net.ended(conn), "two answers are missing");
    net.settle();
    let got = net.take(conn);
    assert!(
        matches!(
            got.iter().find(|g| matches!(g, Got::Summary { .. })),
            Some(Got::Summary { tag: 5, total: 4, .. })
        ),
        "{got:?}"
    );
    assert!(acked(&got) == Some(1) && net.ended(conn));
}

#[test]
fn pipelined_questions_are_all_answered_within_bounds() {
    for (shards, owner) in [(1, 0), (2, 0), (2, 1)] {
        let mut net = Net::new(shards, AMPLE, 1);
        let (conn, _) = net.open(0, 0);
        let tenant = tenant_of(owner, shards, 0);
        let topics: Vec<String> = (0..100).map(|n| format!("{n} {}", "long ".repeat(40))).collect();
        for (seq, topics) in (1..).zip(topics.chunks(20)) {
            let list: Vec<_> = topics.iter().map(|t| (tenant.as_str(), t.as_str(), 1, 0)).collect();
            net.send(conn, &super::net::named(seq, net.now_ms, &list));
            net.settle();
        }
        assert_eq!(acked(&net.take(conn)), Some(5));
        // 1,600 questions in one read: 40 MB of answers, if they were all written at once.
        let read: Vec<u8> = (0..1_600).flat_map(|tag| query(&tenant, tag)).collect();
        net.set_stuck(conn, true);
        net.send(conn, &read);
        net.settle();
        assert!(net.paused(conn), "nothing more is read");
        net.nodes[0].on_half_close(conn.id);
        let stats = net.nodes[0].stats();
        assert!(stats.buffered_bytes <= stats.buffered_max && stats.buffered_bytes < 4 << 20);
        net.set_stuck(conn, false);
        net.settle();
        let tags = net.take(conn).into_iter().map(|got| match got {
            Got::Summary { tag, names, .. } => {
                assert!(names.len() == 100 && names.iter().all(|name| !name.is_empty()));
                tag
            }
            other => panic!("{other:?}"),
        });
        let mut tags: Vec<u32> = tags.collect();
        tags.sort_unstable();
        assert_eq!(tags, (0..1_600).collect::<Vec<u32>>(), "{shards} shards, owner {owner}");
        assert!(net.ended(conn), "it had closed its side");
    }
}

#[test]
fn reading_goes_on_after_answers_that_were_sent_at_once() {
    let mut net = Net::new(1, AMPLE, 1);
    let (conn, _) = net.open(0, 0);
    let list = vec![("tenant", "t", 1, 0)];
    net.send(conn, &events(1, net.now_ms, &list));
    let read: Vec<u8> = (0..4_000).flat_map(|tag| query("tenant", tag)).collect();
    net.send(conn, &read);
    net.settle();
    assert!(!net.paused(conn));
    let mut ping = Vec::new();
    Ping::new(77).encode(&mut ping, Kind::Ping, 0);
    net.send(conn, &ping);
    net.settle();
    assert_eq!(net.take(conn).last(), Some(&Got::Pong(77)));
}

#[test]
fn subscriptions_find_the_owner_and_updates_the_reader() {
    let mut net = Net::new(2, Room { subscriptions_max: 2, ..AMPLE }, 1);
    let (reader, _) = net.open(0, 0);
    let (producer, _) = net.open(1, 0);
    let tenants = [tenant_of(0, 2, 0), tenant_of(1, 2, 0)];
    for (tag, tenant) in (1..).zip(&tenants) {
        net.send(reader, &subscribe(tenant, tag, true));
    }
    net.settle();
    let mut seq = 0;
    let mut next = |net: &mut Net, weight: u32| {
        seq += 1;
        let list = tenants.each_ref().map(|tenant| (tenant.as_str(), "t", weight, 0));
        net.send(producer, &events(seq, net.now_ms, &list));
        net.settle();
        net.pass(5_000);
        let mut updates: Vec<(u32, u64)> = net
            .take(reader)
            .into_iter()
            .filter_map(|got| match got {
                Got::Update { tag, total, .. } => Some((tag, total)),
                _ => None,
            })
            .collect();
        updates.sort_unstable();
        updates
    };
    assert_eq!(next(&mut net, 1), [(1, 1), (2, 1)]);
    assert_eq!(next(&mut net, 2), [(1, 3), (2, 3)]);
    net.send(reader, &subscribe(&tenants[1], 2, false));
    net.settle();
    assert_eq!(next(&mut net, 3), [(1, 6)]);
    // Another tenant under the tag of the first takes its place.
    net.send(reader, &subscribe(&tenants[1], 1, true));
    net.settle();
    assert_eq!(next(&mut net, 4), [(1, 10)]);
    net.close(reader);
    net.settle();
    assert_eq!(net.nodes[0].shard.stats().subscriptions.now, 0);
    assert_eq!(net.nodes[1].shard.stats().subscriptions.now, 0, "they leave with their reader");
}

#[test]
fn a_subscription_refused_elsewhere_is_no_answer_to_a_question() {
    let mut net = Net::new(2, Room { subscriptions_max: 1, ..AMPLE }, 1);
    let (reader, _) = net.open(0, 0);
    let theirs = tenant_of(1, 2, 0);
    net.send(reader, &subscribe(&theirs, 1, true));
    net.send(reader, &subscribe(&theirs, 2, true));
    net.settle();
    assert_eq!(codes(&net.take(reader)), [Refusal::Overloaded]);
    net.send(reader, &query(&theirs, 3));
    net.nodes[0].on_half_close(reader.id);
    net.turn();
    assert!(!net.ended(reader), "the question is still out");
    net.settle();
    assert_eq!(codes(&net.take(reader)), [Refusal::UnknownTenant]);
    assert!(net.ended(reader));
}

#[test]
fn names_are_asked_of_who_sent_the_events_and_reach_their_owner() {
    let mut net = Net::new(2, AMPLE, 1);
    let (other, _) = net.open(1, 0);
    let (conn, _) = net.open(0, 0);
    let theirs = tenant_of(1, 2, 0);
    net.send(conn, &events(1, net.now_ms, &[(&theirs, "a topic", 1, 0)]));
    net.settle();
    let mut asked: Vec<(u8, u64)> = Vec::new();
    for got in net.take(conn) {
        if let Got::Need(needs) = got {
            asked.extend(needs.iter().map(|(kind, id)| (*kind as u8, *id)));
        }
    }
    asked.sort_unstable();
    let tenant = (NameKind::Tenant as u8, TenantId::of(&theirs).0);
    assert_eq!(asked, [tenant, (NameKind::Topic as u8, TopicId::of("a topic").0)]);
    assert_eq!(net.take(other), [], "nobody else is asked");
    net.send(conn, &define(&[(NameKind::Tenant, &theirs), (NameKind::Topic, "a topic")]));
    net.settle();
    net.send(other, &query(&theirs, 1));
    net.settle();
    let got = net.take(other);
    let wanted = Got::Summary { tag: 1, total: 1, names: vec!["a topic".to_owned()] };
    assert_eq!(got, [wanted]);
}

#[test]
fn events_before_the_welcome_are_refused_and_nothing_is_acknowledged() {
    let mut net = Net::new(2, AMPLE, 1);
    let conn = net.greet(0, 7, 1);
    net.send(conn, &events(1, START_MS, &[("tenant", "t", 1, 0)]));
    net.turn();
    assert_eq!(codes(&net.take(conn)), [Refusal::SeqGap]);
    net.settle();
    let got = net.take(conn);
    assert!(matches!(got.first(), Some(Got::HelloOk(_))), "{got:?}");
}
