//! Which events count when: by the server's clock, and by each tenant's own.

use crate::harness::{Peer, Server, named_frame};
use trendsrv_client::proto::{Frame, Rank, Refusal as Code, Subscribe, TenantId};

const T: u64 = 1_442_016_000_000;

#[test]
fn wall_clock_an_event_ahead_waits_for_its_pane_and_an_old_one_is_late() {
    let server = Server::start(&["--shards", "2"]);
    let (mut peer, welcome) = Peer::producer(server.tcp, 0, 0);
    let now_ms = welcome.server_time_ms;
    let ahead_ms = now_ms + 1_500;
    let events = [("acme", "now", 1, now_ms), ("acme", "ahead", 7, ahead_ms)];
    peer.send(&named_frame(1, &events));
    peer.acked(1);
    peer.send(&named_frame(2, &[("acme", "old", 1, now_ms - 61_000)]));
    peer.acked(2);
    let answer = peer.query("acme", None).unwrap();
    assert_eq!(answer.head.late, 1);
    let mut frame = Vec::new();
    Subscribe::new(TenantId::of("acme"), 10, Rank::Count, true).encode(&mut frame, 1);
    peer.send(&frame);
    let opened_ms = peer.until("the pane", |frame, _| match frame {
        Frame::Update(update) if update.head.total == 8 => Some(update.head.as_of_ms),
        _ => None,
    });
    assert!(opened_ms / 1_000 >= ahead_ms / 1_000, "{opened_ms} counts an event of {ahead_ms}");
    drop(peer);
    server.stop();
}

#[test]
fn event_clock_the_largest_time_of_a_tenant_ends_its_window() {
    let server = Server::start(&["--clock", "event", "--shards", "2"]);
    let mut peer = Peer::greeted(server.tcp);
    let events = [("acme", "a", 1, T + 30_500), ("acme", "b", 1, T), ("zeta", "a", 1, T + 90_000)];
    peer.send(&named_frame(1, &events));
    peer.acked(1);
    // Another tenant's time is its own.
    let answer = peer.query("acme", None).unwrap();
    assert_eq!((answer.head.as_of_ms, answer.head.total), (T + 30_500, 2));
    for (at_ms, as_of_ms, total) in [
        (T + 30_000, T + 30_500, 2),
        (T + 59_999, T + 59_999, 2),
        (T + 60_000, T + 60_000, 1),
        (T + 90_000, T + 90_000, 0),
        (T + 59_999, T + 59_999, 2),
    ] {
        let answer = peer.query("acme", Some(at_ms)).unwrap();
        assert_eq!((answer.head.as_of_ms, answer.head.total), (as_of_ms, total), "at {at_ms}");
    }
    let refused = peer.query("acme", Some(T + 29_999)).unwrap_err();
    assert_eq!(refused.code, Code::Malformed, "{refused:?}");
    assert!(refused.message.contains(&format!("{}", T + 30_000)), "{}", refused.message);
    // Time moves on, and what is older than the window is late.
    peer.send(&named_frame(2, &[("acme", "a", 1, T + 60_000), ("acme", "b", 5, T)]));
    peer.acked(2);
    let answer = peer.query("acme", None).unwrap();
    assert_eq!((answer.head.as_of_ms, answer.head.total, answer.head.late), (T + 60_000, 2, 1));
    drop(peer);
    server.stop();
}
