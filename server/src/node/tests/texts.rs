//! Texts on their way: cut anywhere, over two shards, again, with gaps, and refused by an owner.

use super::net::{AMPLE, Got, Net, Room, acked, events, query, tenant_of, texts};
use trendsrv_proto::limits::{CREDIT_INITIAL, HEADER_BYTES};
use trendsrv_proto::{Kind, NameKind, Refusal, TenantId};

/// Refusals as (seq, expected_seq, code, kind).
fn refusals(got: &[Got]) -> Vec<(u64, u64, Refusal, u8)> {
    let refusal = |got: &Got| match *got {
        Got::Refuse { seq, expected_seq, code, kind, .. } => Some((seq, expected_seq, code, kind)),
        _ => None,
    };
    got.iter().filter_map(refusal).collect()
}

/// The topics of a tenant by count, asked through a connection.
fn topics(net: &mut Net, conn: super::net::Conn, tenant: &str) -> (u64, Vec<String>) {
    net.send(conn, &query(tenant, 5));
    net.settle();
    let got = net.take(conn);
    let answer = got.into_iter().find_map(|got| match got {
        Got::Summary { tag: 5, total, names } => Some((total, names)),
        _ => None,
    });
    answer.expect("a summary")
}

const TEXT: u8 = Kind::Text as u8;

#[test]
fn topics_of_texts_are_counted_by_their_owners_however_bytes_are_cut() {
    for step in [1, 7, 16, 40, 53, 1 << 20] {
        let mut net = Net::new(2, AMPLE, 1);
        let (conn, _) = net.open(0, 7);
        let [ours, theirs] = [tenant_of(0, 2, 0), tenant_of(1, 2, 0)];
        let now_ms = net.now_ms;
        let list = [
            (&*theirs, "#mars\nrover #space", 3, 0),
            (&*ours, "naïve #café", 2, -1),
            (&*theirs, "nothing to see", 1, 0),
            (&*theirs, "#mars again", 4, 0),
        ];
        let mut bytes = texts(1, now_ms, &list);
        bytes.extend(texts(2, now_ms, &[]));
        bytes.extend(events(3, now_ms, &[(&ours, "#café", 5, 0)]));
        bytes.chunks(step).for_each(|chunk| net.send(conn, chunk));
        net.settle();
        let got = net.take(conn);
        assert_eq!((refusals(&got), acked(&got)), (vec![], Some(3)), "cut every {step}");
        let want = (10, vec!["#mars".to_owned(), "#space".to_owned()]);
        assert_eq!(topics(&mut net, conn, &theirs), want);
        assert_eq!(topics(&mut net, conn, &ours), (7, vec!["#café".to_owned()]));
        let forwarded = net.nodes[0].stats().events_forwarded;
        assert_eq!(forwarded, 3, "the texts of the other shard's tenant");
    }
}

#[test]
fn texts_sent_again_count_once_and_gaps_are_refused() {
    let mut net = Net::new(2, AMPLE, 1);
    let (conn, _) = net.open(0, 7);
    let [ours, theirs] = [tenant_of(0, 2, 0), tenant_of(1, 2, 0)];
    let now_ms = net.now_ms;
    let frame = texts(1, now_ms, &[(&ours, "#a", 1, 0), (&theirs, "#a", 1, 0)]);
    for attempt in 0..3 {
        net.send(conn, &frame);
        net.settle();
        let got = net.take(conn);
        assert_eq!((refusals(&got), acked(&got)), (vec![], Some(1)), "attempt {attempt}");
    }
    net.send(conn, &texts(3, now_ms, &[(&ours, "#a", 1, 0)]));
    net.settle();
    assert_eq!(refusals(&net.take(conn)), [(3, 2, Refusal::SeqGap, TEXT)]);
    // Over another connection of the same producer, to the other shard, it is known as well.
    net.close(conn);
    let (again, welcome) = net.open(1, 7);
    assert_eq!(welcome.next_seq, 2);
    net.send(again, &frame);
    net.settle();
    for tenant in [&ours, &theirs] {
        assert_eq!(net.total(again, TenantId::of(tenant)), Some(1), "{tenant}");
    }
}

#[test]
fn texts_ahead_of_the_clock_or_beyond_the_credit_are_refused() {
    let mut net = Net::new(2, AMPLE, 1);
    let (conn, _) = net.open(0, 7);
    let [ours, theirs] = [tenant_of(0, 2, 0), tenant_of(1, 2, 0)];
    let now_ms = net.now_ms;
    net.send(conn, &texts(1, now_ms, &[(&ours, "#a", 1, 0), (&theirs, "#a", 1, 5_001)]));
    net.settle();
    assert_eq!(refusals(&net.take(conn)), [(1, 1, Refusal::Future, TEXT)]);
    let long = "x".repeat(4_000);
    let list: Vec<_> = (0..10).map(|_| (&*theirs, &*long, 1, 0)).collect();
    let large = texts(1, now_ms, &list);
    assert!(large.len() as u64 > CREDIT_INITIAL);
    net.send(conn, &large);
    net.settle();
    assert_eq!(refusals(&net.take(conn)), [(1, 1, Refusal::CreditExceeded, TEXT)]);
    assert_eq!(net.total(conn, TenantId::of(&ours)), None, "nothing was applied");
}

#[test]
fn malformed_texts_cost_their_frame_and_tell_the_entry() {
    let mut net = Net::new(2, AMPLE, 1);
    let (conn, _) = net.open(0, 7);
    let ours = tenant_of(0, 2, 0);
    let good = texts(1, net.now_ms, &[(&ours, "#a", 1, 0), (&ours, "#b", 1, 0)]);
    let mut bad = good.clone();
    let last = bad.len() - 1;
    bad[last] = 0;
    let mut sealed = Vec::new();
    let mut writer = trendsrv_proto::FrameWriter::new(&mut sealed, Kind::Text, 0);
    writer.put(&bad[HEADER_BYTES..]);
    writer.finish();
    // Once with right checksums, which tell its number, and once without.
    net.send(conn, &sealed);
    net.send(conn, &bad);
    net.settle();
    let malformed = |seq| (seq, 1, Refusal::Malformed, TEXT);
    assert_eq!(refusals(&net.take(conn)), [malformed(1), malformed(0)]);
    net.send(conn, &good);
    net.settle();
    assert_eq!(acked(&net.take(conn)), Some(1));
    assert_eq!(net.total(conn, TenantId::of(&ours)), Some(2));
}

#[test]
fn texts_refused_by_one_owner_come_again_or_are_replaced() {
    let mut net = Net::new(2, Room { tenants_max: 1, ..AMPLE }, 1);
    let (conn, _) = net.open(0, 7);
    let [ours, full, new] = [(0, 0), (1, 0), (1, 1)].map(|(shard, nth)| tenant_of(shard, 2, nth));
    let now_ms = net.now_ms;
    net.send(conn, &texts(1, now_ms, &[(&full, "#a", 1, 0)]));
    net.settle();
    assert_eq!(acked(&net.take(conn)), Some(1));
    let frame = texts(2, now_ms, &[(&ours, "#a", 10, 0), (&new, "#a", 10, 0)]);
    for attempt in 0..2 {
        net.send(conn, &frame);
        net.settle();
        let got = net.take(conn);
        let codes: Vec<_> = refusals(&got).iter().map(|r| (r.0, r.1, r.2)).collect();
        assert_eq!(codes, [(2, 2, Refusal::TenantsFull)], "attempt {attempt}");
        assert_eq!(acked(&got), None, "attempt {attempt}");
    }
    // A filler of the same kind takes its place: the owner that refused goes on.
    net.send(conn, &texts(2, now_ms, &[]));
    net.send(conn, &texts(3, now_ms, &[(&full, "#a", 7, 0)]));
    net.settle();
    let got = net.take(conn);
    assert_eq!((refusals(&got), acked(&got)), (vec![], Some(3)));
    assert_eq!(net.total(conn, TenantId::of(&full)), Some(8));
    assert_eq!(net.total(conn, TenantId::of(&ours)), Some(10), "its part counted once");
}

#[test]
fn a_tenant_of_another_name_with_the_same_id_refuses_the_texts() {
    let mut net = Net::new(2, AMPLE, 1);
    let (conn, _) = net.open(0, 7);
    let theirs = tenant_of(1, 2, 0);
    let now_ms = net.now_ms;
    net.send(conn, &events(1, now_ms, &[(&theirs, "t", 1, 0)]));
    net.settle();
    let id = TenantId::of(&theirs).0;
    net.nodes[1].shard.define(std::iter::once((NameKind::Tenant, id, "another name")));
    net.send(conn, &texts(2, now_ms, &[(&theirs, "#a", 1, 0)]));
    net.settle();
    let got = net.take(conn);
    let codes: Vec<_> = refusals(&got).iter().map(|r| (r.0, r.2)).collect();
    assert_eq!(codes, [(2, Refusal::IdCollision)]);
    assert_eq!(net.total(conn, TenantId::of(&theirs)), Some(1));
}
