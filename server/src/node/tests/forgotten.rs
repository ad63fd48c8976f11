//! Producers whose marks some owner gave up to make room: nothing of theirs is ever guessed.

use super::net::{AMPLE, Conn, Got, Net, acked, events, tenant_of};
use trendsrv_proto::Refusal;

/// More producers than an owner has marks for say hello.
fn crowd(net: &mut Net, mut between: impl FnMut(&mut Net)) {
    for producer in 1_000..1_080 {
        let (conn, _) = net.open(1, producer);
        net.close(conn);
        between(net);
    }
}

fn send(net: &mut Net, conn: Conn, seq: u64, tenant: &str) -> Vec<Got> {
    net.send(conn, &events(seq, net.now_ms, &[(tenant, "t", 1, 0)]));
    net.settle();
    net.take(conn)
}

fn is_unknown(got: &[Got]) -> bool {
    got.iter().any(|got| matches!(got, Got::Refuse { code: Refusal::ProducerUnknown, .. }))
}

#[test]
fn a_producer_given_up_by_all_begins_a_new_epoch() {
    let mut net = Net::new(2, AMPLE, 1);
    let tenant = tenant_of(0, 2, 0);
    let (conn, _) = net.open(0, 7);
    assert_eq!(acked(&send(&mut net, conn, 1, &tenant)), Some(1));
    net.close(conn);
    crowd(&mut net, |_| {});
    let (conn, welcome) = net.open(0, 7);
    assert_eq!(welcome.next_seq, 0, "nobody can say");
    assert!(is_unknown(&send(&mut net, conn, 2, &tenant)));
    let conn = net.greet(0, 7, 2);
    net.settle();
    let [Got::HelloOk(welcome)] = net.take(conn)[..] else { panic!("no welcome") };
    assert_eq!(welcome.next_seq, 1);
    assert_eq!(acked(&send(&mut net, conn, 1, &tenant)), Some(1));
    assert_eq!(net.nodes[0].shard.stats().events_applied, 2, "frame 2 was not");
}

#[test]
fn one_that_begins_is_known_over_connections_to_owners_that_it_has_no_events_for() {
    let mut net = Net::new(2, AMPLE, 1);
    let (conn, _) = net.open(0, 7);
    net.close(conn);
    crowd(&mut net, |_| {});
    assert_eq!(net.open(0, 8).1.next_seq, 1, "one that was never here is known to be new");
    let tenant = tenant_of(0, 2, 0);
    let (conn, welcome) = net.open(0, 7);
    assert_eq!(welcome.next_seq, 0, "it was here, and may have sent something");
    assert_eq!(acked(&send(&mut net, conn, 1, &tenant)), Some(1));
    net.close(conn);
    let (conn, welcome) = net.open(0, 7);
    assert_eq!(welcome.next_seq, 2, "the other owner knows that it has begun");
    assert_eq!(acked(&send(&mut net, conn, 2, &tenant)), Some(2));
}

#[test]
fn a_producer_given_up_by_one_owner_does_not_begin_at_its_first_frame_again() {
    let mut net = Net::new(2, AMPLE, 1);
    let tenant = tenant_of(0, 2, 0);
    let (conn, _) = net.open(0, 7);
    let mut seq = 0;
    crowd(&mut net, |net| {
        seq += 1;
        assert_eq!(acked(&send(net, conn, seq, &tenant)), Some(seq));
    });
    net.close(conn);
    let (conn, welcome) = net.open(0, 7);
    assert_eq!(welcome.next_seq, 0);
    assert!(is_unknown(&send(&mut net, conn, 1, &tenant)), "its events there may have counted");
}
