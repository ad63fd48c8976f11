//! Answers that wait for the disk: who waits, for what, and who does not.

use super::net::{AMPLE, Conn, Got, Net, acked, codes, events, named, tenant_of, texts};
use crate::desk::clerk::ShardFacts;
use crate::node::LOG_BACKLOG_BYTES_MAX;
use trendsrv_proto::{AckMode, Refusal, TenantId};
use trendsrv_shard::log::LogSpace;

fn open(net: &mut Net, node: usize, producer: u64, ack: AckMode) -> Conn {
    let conn = net.greet_for(node, producer, 1, ack);
    net.settle();
    let got = net.take(conn);
    assert!(matches!(got[..], [Got::HelloOk(_)]), "{got:?}");
    conn
}

#[test]
fn a_durable_frame_is_acknowledged_once_its_record_is_on_the_disk() {
    let mut net = Net::with_logs(1, AMPLE, 1);
    let conn = open(&mut net, 0, 7, AckMode::Durable);
    let other = open(&mut net, 0, 8, AckMode::Applied);
    let now_ms = net.now_ms;
    net.send(conn, &events(1, now_ms, &[("tenant", "t", 1, 0)]));
    net.send(other, &events(1, now_ms, &[("tenant", "t", 10, 0)]));
    net.settle();
    assert_eq!(acked(&net.take(conn)), None);
    assert_eq!(acked(&net.take(other)), Some(1), "applied waits for nothing");
    assert_eq!(net.total(other, TenantId::of("tenant")), Some(11), "counted all the same");
    assert!(net.nodes[0].has_durable_waiters());
    let batch = net.nodes[0].take_log_batch(1 << 20).unwrap();
    net.settle();
    assert_eq!(acked(&net.take(conn)), None, "written is not durable");
    net.nodes[0].on_durable(batch.last_lsn);
    net.settle();
    assert_eq!(acked(&net.take(conn)), Some(1));
    assert!(!net.nodes[0].has_durable_waiters());
}

#[test]
fn a_frame_of_several_owners_waits_for_all_their_disks() {
    let mut net = Net::with_logs(3, AMPLE, 1);
    let conn = open(&mut net, 0, 7, AckMode::Durable);
    let [a, b, c] = [0, 1, 2].map(|shard| tenant_of(shard, 3, 0));
    let now_ms = net.now_ms;
    net.send(conn, &named(1, now_ms, &[(&a, "t", 1, 0), (&b, "t", 1, 0)]));
    net.send(conn, &texts(2, now_ms, &[(&a, "#x", 1, 0), (&c, "#y", 1, 0)]));
    net.settle();
    for (node, told) in [(1, None), (0, Some(1)), (2, Some(2))] {
        assert!(net.nodes[node].has_durable_waiters(), "node {node}");
        net.sync(node);
        net.settle();
        assert_eq!(acked(&net.take(conn)), told, "after node {node}");
    }
}

#[test]
fn a_duplicate_is_as_durable_as_its_original() {
    let mut net = Net::with_logs(2, AMPLE, 1);
    let theirs = tenant_of(1, 2, 0);
    let conn = open(&mut net, 0, 7, AckMode::Applied);
    let frame = events(1, net.now_ms, &[(&theirs, "t", 5, 0)]);
    net.send(conn, &frame);
    net.settle();
    assert_eq!(acked(&net.take(conn)), Some(1));
    net.close(conn);
    let again = open(&mut net, 0, 7, AckMode::Durable);
    net.send(again, &frame);
    net.settle();
    assert_eq!(acked(&net.take(again)), None, "the original is not on the disk yet");
    net.sync(1);
    net.settle();
    assert_eq!(acked(&net.take(again)), Some(1));
    net.close(again);
    let third = open(&mut net, 0, 7, AckMode::Durable);
    net.send(third, &frame);
    net.settle();
    assert_eq!(acked(&net.take(third)), Some(1), "it is by now");
    assert_eq!(net.total(third, TenantId::of(&theirs)), Some(5));
}

#[test]
fn a_connection_that_ends_is_let_go_once_it_has_its_answer() {
    let mut net = Net::with_logs(1, AMPLE, 1);
    let now_ms = net.now_ms;
    let [stays, leaves] = [7, 8].map(|producer| open(&mut net, 0, producer, AckMode::Durable));
    for conn in [stays, leaves] {
        net.send(conn, &events(1, now_ms, &[("tenant", "t", 1, 0)]));
    }
    net.nodes[0].on_half_close(stays.id);
    net.close(leaves);
    net.settle();
    assert!(!net.ended(stays), "its answer waits for the disk");
    net.sync(0);
    net.settle();
    assert_eq!(acked(&net.take(stays)), Some(1));
    assert!(net.ended(stays));
}

#[test]
fn a_full_disk_refuses_durable_frames_alone() {
    let mut net = Net::with_logs(2, AMPLE, 1);
    let durable = open(&mut net, 0, 7, AckMode::Durable);
    let applied = open(&mut net, 0, 8, AckMode::Applied);
    let theirs = tenant_of(1, 2, 0);
    net.nodes[1].set_log_space(LogSpace::Low);
    let frame = events(1, net.now_ms, &[(&theirs, "t", 1, 0)]);
    net.send(durable, &frame);
    net.send(applied, &frame);
    net.settle();
    assert_eq!(codes(&net.take(durable)), [Refusal::DiskFull]);
    assert_eq!(acked(&net.take(applied)), Some(1));
    net.nodes[1].set_log_space(LogSpace::Plenty);
    net.send(durable, &frame);
    net.sync(1);
    net.settle();
    net.sync(1);
    net.settle();
    assert_eq!(acked(&net.take(durable)), Some(1));
    assert_eq!(net.total(applied, TenantId::of(&theirs)), Some(2));
}

#[test]
fn a_log_that_is_behind_stops_what_comes_in() {
    let mut net = Net::with_logs(1, AMPLE, 1);
    let conn = open(&mut net, 0, 7, AckMode::None);
    let list = vec![("tenant", "topic", 1, 0); 4_000];
    let mut seq = 0;
    while !net.nodes[0].is_log_congested() {
        seq += 1;
        net.send(conn, &events(seq, net.now_ms, &list));
        assert!(seq < 1_000);
    }
    let most = LOG_BACKLOG_BYTES_MAX / (4_000 * 24) + 1;
    assert!(seq <= most as u64, "{seq} frames");
    let (answer, _) = ingest(&mut net);
    assert_eq!(answer.unwrap().unwrap_err().code, Refusal::Overloaded);
    net.sync(0);
    assert!(!net.nodes[0].is_log_congested());
}

#[test]
fn peers_are_not_cut_for_a_silence_that_is_the_servers_own() {
    let mut net = Net::with_logs(1, AMPLE, 1);
    let conn = open(&mut net, 0, 7, AckMode::None);
    let list = vec![("tenant", "topic", 1, 0); 4_000];
    (1..=45).for_each(|seq| net.send(conn, &events(seq, net.now_ms, &list)));
    assert!(net.nodes[0].is_log_congested());
    let greets_late = net.connect(0);
    for _ in 0..20 {
        net.pass(500);
    }
    net.sync(0);
    net.pass(1_500);
    assert!(!net.ended(greets_late), "its HELLO may lie unread");
    net.pass(1_500);
    assert!(net.ended(greets_late));
}

#[test]
fn after_a_recovery_a_first_frame_may_lie_beyond_what_is_left() {
    let mut net = Net::with_logs(2, AMPLE, 1);
    let conn = open(&mut net, 0, 7, AckMode::Applied);
    let theirs = tenant_of(1, 2, 0);
    let frame = |net: &Net, seq| events(seq, net.now_ms, &[(&theirs, "t", 1, 0)]);
    for seq in 1..=3 {
        let bytes = frame(&net, seq);
        net.send(conn, &bytes);
    }
    net.settle();
    let mut marks = Vec::new();
    net.nodes[1].shard_mut().snapshot_marks(&mut marks);
    // The next server has the marks, and nothing of frames 4 to 6.
    let mut net = Net::with_logs(2, AMPLE, 2);
    assert_eq!(net.nodes[1].shard_mut().restore_marks(&marks, None).unwrap(), 1);
    let conn = net.greet(0, 7, 1);
    net.settle();
    let [Got::HelloOk(welcome)] = net.take(conn)[..] else { panic!("no welcome") };
    assert_eq!(welcome.next_seq, 4);
    let bytes = frame(&net, 7);
    net.send(conn, &bytes);
    net.settle();
    let got = net.take(conn);
    assert_eq!((codes(&got), acked(&got)), (vec![], Some(7)));
    assert_eq!(net.total(conn, TenantId::of(&theirs)), Some(1));
}

#[test]
fn a_request_of_the_front_desk_waits_for_the_disk_too() {
    let mut net = Net::with_logs(1, AMPLE, 1);
    let (answer, later) = ingest(&mut net);
    assert_eq!(answer, None);
    net.sync(0);
    let mut later = later.unwrap();
    assert_eq!(later.try_recv().unwrap().map(|ingested| ingested.accepted), Ok(1));
}

#[test]
fn without_a_log_nothing_is_durable() {
    let mut net = Net::new(1, AMPLE, 1);
    let conn = net.greet_for(0, 7, 1, AckMode::Durable);
    net.settle();
    assert_eq!(codes(&net.take(conn)), [Refusal::Unsupported]);
    assert!(net.ended(conn));
    let (answer, _) = ingest(&mut net);
    assert_eq!(answer.unwrap().unwrap_err().code, Refusal::Unsupported);
}

type Told = Result<crate::desk::mail::Ingested, crate::desk::mail::Refused>;

/// A durable request of one event: its answer, or where it will come.
fn ingest(net: &mut Net) -> (Option<Told>, Option<tokio::sync::oneshot::Receiver<Told>>) {
    use crate::desk::mail::{DeskMail, Grant, IngestMail};
    use trendsrv_proto::{EventRecord, Span, TopicId};
    let (reply, mut answer) = tokio::sync::oneshot::channel();
    let base_ms = net.now_ms;
    let mail = DeskMail::Ingest(IngestMail {
        base_ms,
        span: Span { min_ms: base_ms, max_ms: base_ms },
        records: vec![EventRecord::new(TenantId::of("tenant"), TopicId::of("t"), 1, 0)],
        lines: vec![1],
        texts: Vec::new(),
        names: Vec::new(),
        mark: None,
        durable: true,
        grant: Grant::default(),
        reply,
    });
    net.nodes[0].on_desk_mail(mail, ShardFacts::default);
    match answer.try_recv() {
        Ok(told) => (Some(told), None),
        Err(_) => (None, Some(answer)),
    }
}
