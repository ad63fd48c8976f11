//! Frames that one of several owners refuses, and greetings that gather what owners know.

use super::net::{AMPLE, Got, Net, Room, acked, events, named, tenant_of};
use trendsrv_proto::{NameKind, Refusal, TenantId};

/// Refusals as (seq, expected_seq, code).
fn refusals(got: &[Got]) -> Vec<(u64, u64, Refusal)> {
    let refusal = |got: &Got| match *got {
        Got::Refuse { seq, expected_seq, code, .. } => Some((seq, expected_seq, code)),
        _ => None,
    };
    got.iter().filter_map(refusal).collect()
}

#[test]
fn a_part_refused_by_one_owner_rewinds_and_the_resend_counts_once() {
    let room = Room { tenants_max: 2, ..AMPLE };
    let mut net = Net::new(3, room, 1);
    let (conn, _) = net.open(0, 7);
    let [a, b, c] = [0, 1, 2].map(|shard| tenant_of(shard, 3, 0));
    let new = tenant_of(1, 3, 9);
    let now_ms = net.now_ms;
    // Shard 1 is full: its second place is taken by a tenant that stays.
    let other = tenant_of(1, 3, 1);
    net.send(conn, &events(1, now_ms, &[(&b, "t", 1, 0), (&other, "t", 1, 0)]));
    net.settle();
    assert_eq!(acked(&net.take(conn)), Some(1));
    let frames = [
        events(2, now_ms, &[(&a, "t", 10, 0), (&new, "t", 10, 0), (&c, "t", 10, 0)]),
        events(3, now_ms, &[(&a, "t", 100, 0), (&b, "t", 100, 0), (&c, "t", 100, 0)]),
        events(4, now_ms, &[(&c, "t", 1_000, 0)]),
    ];
    for attempt in 0..3 {
        frames.iter().for_each(|frame| net.send(conn, frame));
        net.settle();
        let got = net.take(conn);
        assert_eq!(refusals(&got), [(2, 2, Refusal::TenantsFull)], "attempt {attempt}");
        assert_eq!(acked(&got), None, "attempt {attempt}");
    }
    // A window later the two others have gone, and the same bytes pass.
    net.pass(400_000);
    frames.iter().for_each(|frame| net.send(conn, frame));
    net.settle();
    let got = net.take(conn);
    assert_eq!((refusals(&got), acked(&got)), (vec![], Some(4)));
    let stats: Vec<_> = net.nodes.iter_mut().map(|node| node.shard.stats().clone()).collect();
    let taken = |shard: usize| stats[shard].events_applied + stats[shard].events_late;
    assert_eq!([taken(0), taken(1), taken(2)], [2, 2 + 2, 3], "each event once");
}

#[test]
fn answers_to_an_earlier_attempt_acknowledge_nothing() {
    let mut net = Net::new(3, Room { tenants_max: 1, ..AMPLE }, 1);
    let (conn, _) = net.open(0, 7);
    let [full, new, c] = [(1, 0), (1, 1), (2, 0)].map(|(shard, nth)| tenant_of(shard, 3, nth));
    let now_ms = net.now_ms;
    net.send(conn, &events(1, now_ms, &[(&full, "t", 1, 0)]));
    net.settle();
    net.take(conn);
    let frame = events(2, now_ms, &[(&new, "t", 1, 0), (&c, "t", 1, 0)]);
    net.send(conn, &frame);
    net.turn();
    // Shard 1 refuses at once; shard 2 is slow.
    assert!(net.deliver_from((0, 1)));
    net.turn();
    while net.deliver_from((1, 0)) {}
    net.turn();
    assert_eq!(refusals(&net.take(conn)), [], "told once shard 2 has answered");
    // A client that is impatient sends again; nothing comes of it.
    net.send(conn, &frame);
    net.settle();
    assert_eq!(refusals(&net.take(conn)), [(2, 2, Refusal::TenantsFull)]);
    net.send(conn, &frame);
    net.settle();
    let got = net.take(conn);
    assert_eq!((refusals(&got), acked(&got)), (vec![(2, 2, Refusal::TenantsFull)], None));
}

#[test]
fn a_filler_in_place_of_a_refused_frame_frees_the_owner_that_refused() {
    let mut net = Net::new(2, AMPLE, 1);
    let (conn, _) = net.open(0, 7);
    let theirs = tenant_of(1, 2, 0);
    let now_ms = net.now_ms;
    // The id of topic "x" belongs to another name already, known to shard 1 only.
    let id = TenantId::of("x").0;
    net.nodes[1].shard.define(std::iter::once((NameKind::Topic, id, "another name")));
    net.send(conn, &named(1, now_ms, &[(&theirs, "x", 5, 0)]));
    net.send(conn, &named(2, now_ms, &[(&theirs, "y", 7, 0)]));
    net.settle();
    let got = net.take(conn);
    assert_eq!(refusals(&got), [(1, 1, Refusal::IdCollision)]);
    // The class is Never: a filler takes its place, and the next frame counts.
    net.send(conn, &events(1, now_ms, &[]));
    net.send(conn, &named(2, now_ms, &[(&theirs, "y", 7, 0)]));
    net.settle();
    let got = net.take(conn);
    assert_eq!((refusals(&got), acked(&got)), (vec![], Some(2)));
    assert_eq!(net.total(conn, TenantId::of(&theirs)), Some(7));
}

#[test]
fn a_filler_after_a_reconnect_frees_the_owner_too() {
    let mut net = Net::new(3, AMPLE, 1);
    let (conn, _) = net.open(0, 7);
    let [ours, theirs] = [tenant_of(0, 3, 0), tenant_of(1, 3, 0)];
    let now_ms = net.now_ms;
    let id = TenantId::of("x").0;
    net.nodes[1].shard.define(std::iter::once((NameKind::Topic, id, "another name")));
    net.send(conn, &named(1, now_ms, &[(&ours, "x", 5, 0), (&theirs, "x", 5, 0)]));
    net.settle();
    assert_eq!(refusals(&net.take(conn)), [(1, 1, Refusal::IdCollision)]);
    net.close(conn);
    // Shard 0 has applied its part, yet the frame must come again, or another in its place.
    let (again, welcome) = net.open(2, 7);
    assert_eq!(welcome.next_seq, 1);
    net.send(again, &events(1, now_ms, &[]));
    net.send(again, &named(2, now_ms, &[(&theirs, "y", 7, 0)]));
    net.settle();
    let got = net.take(again);
    assert_eq!((refusals(&got), acked(&got)), (vec![], Some(2)));
    assert_eq!(net.total(again, TenantId::of(&theirs)), Some(7));
}

#[test]
fn a_greeting_returns_the_largest_mark_of_all_owners() {
    let mut net = Net::new(3, AMPLE, 1);
    let (conn, welcome) = net.open(0, 7);
    assert_eq!(welcome.next_seq, 1);
    let now_ms = net.now_ms;
    for (seq, shard) in [(1, 2), (2, 1), (3, 2), (4, 0)] {
        net.send(conn, &events(seq, now_ms, &[(&tenant_of(shard, 3, 0), "t", 1, 0)]));
    }
    net.settle();
    assert_eq!(acked(&net.take(conn)), Some(4));
    net.close(conn);
    for node in 0..3 {
        let (again, welcome) = net.open(node, 7);
        assert_eq!((welcome.next_seq, usize::from(welcome.shard)), (5, node));
        net.close(again);
    }
    assert_eq!(net.open(1, 8).1.next_seq, 1, "another producer");
}

#[test]
fn the_first_frame_may_lie_behind_what_owners_have_counted_and_not_before_it() {
    let mut net = Net::new(3, AMPLE, 1);
    let (conn, _) = net.open(0, 7);
    let now_ms = net.now_ms;
    let [a, b] = [0, 1].map(|shard| tenant_of(shard, 3, 0));
    let frame = |seq| events(seq, now_ms, &[(&a, "t", 1, 0), (&b, "t", 10, 0)]);
    (1..=4).for_each(|seq| net.send(conn, &frame(seq)));
    net.settle();
    net.close(conn);
    // Its acknowledgement was lost: all comes again, and one more.
    let (again, welcome) = net.open(1, 7);
    assert_eq!(welcome.next_seq, 5);
    (2..=5).for_each(|seq| net.send(again, &frame(seq)));
    net.settle();
    let got = net.take(again);
    assert_eq!((refusals(&got), acked(&got)), (vec![], Some(5)));
    assert_eq!(net.total(again, TenantId::of(&b)), Some(50), "each counted once");
    net.close(again);
    let (beyond, _) = net.open(2, 7);
    net.send(beyond, &frame(7));
    net.settle();
    assert_eq!(refusals(&net.take(beyond)), [(7, 6, Refusal::SeqGap)]);
    net.send(beyond, &frame(6));
    net.settle();
    assert_eq!(acked(&net.take(beyond)), Some(6));
}

#[test]
fn a_greeting_waits_for_parts_of_the_connection_before() {
    let mut net = Net::new(3, AMPLE, 1);
    let (conn, _) = net.open(0, 7);
    let [ours, theirs] = [tenant_of(0, 3, 0), tenant_of(1, 3, 0)];
    let now_ms = net.now_ms;
    for seq in 1..=3 {
        net.send(conn, &events(seq, now_ms, &[(&ours, "t", 1, 0), (&theirs, "t", 1, 0)]));
    }
    net.turn();
    net.close(conn);
    // The parts for shard 1 are on their way while the producer is back at shard 2.
    let again = net.greet(2, 7, 1);
    net.turn();
    for _ in 0..5 {
        for pair in [(2, 0), (2, 1), (0, 2), (1, 2)] {
            while net.deliver_from(pair) {}
        }
        net.turn();
    }
    assert_eq!(net.take(again), [], "shard 0 does not answer yet");
    net.settle();
    let got = net.take(again);
    assert!(matches!(got[..], [Got::HelloOk(welcome)] if welcome.next_seq == 4), "{got:?}");
    net.send(again, &events(4, now_ms, &[(&theirs, "t", 1, 0)]));
    net.settle();
    assert_eq!(net.total(again, TenantId::of(&theirs)), Some(4));
}

#[test]
fn a_newer_epoch_fences_the_older_at_every_owner() {
    let mut net = Net::new(2, AMPLE, 1);
    let (old, _) = net.open(0, 7);
    let now_ms = net.now_ms;
    let theirs = tenant_of(1, 2, 0);
    net.send(old, &events(1, now_ms, &[(&theirs, "t", 1, 0)]));
    net.settle();
    net.take(old);
    let new = net.greet(1, 7, 2);
    net.settle();
    let got = net.take(new);
    assert!(matches!(got[..], [Got::HelloOk(welcome)] if welcome.next_seq == 1), "{got:?}");
    net.send(old, &events(2, now_ms, &[(&theirs, "t", 1, 0)]));
    net.settle();
    assert_eq!(refusals(&net.take(old)), [(2, 2, Refusal::Fenced)]);
    let late = net.greet(0, 7, 1);
    net.settle();
    assert_eq!(refusals(&net.take(late)).first().map(|refusal| refusal.2), Some(Refusal::Fenced));
    assert!(net.ended(late) && !net.ended(old));
    net.send(new, &events(1, now_ms, &[(&theirs, "t", 1, 0)]));
    net.settle();
    assert_eq!(acked(&net.take(new)), Some(1));
    assert_eq!(net.total(new, TenantId::of(&theirs)), Some(2));
}

#[test]
fn a_number_used_for_two_frames_is_refused_and_counted_once() {
    let mut net = Net::new(1, AMPLE, 1);
    let (conn, _) = net.open(0, 7);
    let tenant = tenant_of(0, 1, 0);
    let now_ms = net.now_ms;
    let first = events(1, now_ms, &[(&tenant, "t", 1, 0)]);
    net.send(conn, &first);
    net.settle();
    assert_eq!(acked(&net.take(conn)), Some(1));
    net.send(conn, &first);
    net.settle();
    let got = net.take(conn);
    assert_eq!((refusals(&got), acked(&got)), (vec![], Some(1)), "the same bytes");
    net.send(conn, &events(1, now_ms, &[(&tenant, "t", 5, 0)]));
    net.settle();
    assert_eq!(refusals(&net.take(conn)), [(1, 2, Refusal::SeqReused)]);
    assert_eq!(net.nodes[0].shard.stats().events_applied, 1);
}
