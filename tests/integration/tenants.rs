//! Tenants come and go in a table that holds a fraction of them.

use crate::harness::{Event, Http, Peer, Server, named_frame};
use trendsrv_client::proto::{Refusal as Code, RetryClass};

const T: u64 = 1_442_016_000_000;
const FLAGS: [&str; 6] = ["--clock", "event", "--shards", "1", "--tenants-max", "200"];

#[test]
fn a_thousand_tenants_a_hundred_at_a_time_run_in_a_table_of_two_hundred() {
    let server = Server::start(&FLAGS);
    let mut peer = Peer::greeted(server.tcp);
    let mut seq = 0;
    // Ten crowds, each in a window of its own.
    for crowd in 0..10 {
        let names: Vec<String> = (0..100).map(|n| format!("tenant {crowd}/{n}")).collect();
        for round in 0..3 {
            let ts_ms = T + crowd * 61_000 + round * 100;
            let events: Vec<Event<'_>> =
                names.iter().map(|n| (n.as_str(), "t", 1, ts_ms)).collect();
            seq += 1;
            peer.send(&named_frame(seq, &events));
            peer.acked(seq);
        }
        for name in &names {
            assert_eq!(peer.total(name), 3, "{name}");
        }
    }
    let shards = Http(server.http).get("/v1/shards").body;
    let level = &shards["shards"][0]["levels"]["tenants"];
    assert!(level["high_water"].as_u64().unwrap() <= 200, "{level}");
    assert_eq!(shards["shards"][0]["counters"]["events_applied"], 3_000);
    drop(peer);
    server.stop();
}

#[test]
fn a_full_table_of_live_tenants_refuses_a_new_one_and_no_other() {
    let server = Server::start(&FLAGS);
    let mut peer = Peer::greeted(server.tcp);
    let names: Vec<String> = (0..200).map(|n| format!("tenant {n}")).collect();
    let events: Vec<Event<'_>> = names.iter().map(|n| (n.as_str(), "t", 1, T)).collect();
    peer.send(&named_frame(1, &events));
    peer.acked(1);
    let mixed = [("tenant 0", "t", 1, T), ("one too many", "t", 1, T)];
    peer.send(&named_frame(2, &mixed));
    let refused = peer.refused();
    assert_eq!((refused.code, refused.class), (Code::TenantsFull, RetryClass::Later));
    assert_eq!((refused.seq, refused.expected_seq, refused.index), (2, 2, Some(1)), "{refused:?}");
    assert!(refused.retry_after_ms > 0, "{refused:?}");
    assert_eq!((peer.total("tenant 0"), peer.total("one too many")), (1, 0));
    let line = format!("{{\"topic\":\"t\",\"ts\":{T}}}");
    let reply = Http(server.http).post("/v1/tenants/another/events", &[], line.as_bytes());
    assert_eq!((reply.status, &reply.body["code"]), (503, &"TENANTS_FULL".into()), "{reply:?}");
    assert!(reply.head.contains("\r\nretry-after: 1"), "{reply:?}");
    peer.send(&named_frame(2, &[("tenant 0", "t", 1, T), ("tenant 199", "t", 1, T)]));
    peer.acked(2);
    assert_eq!((peer.total("tenant 0"), peer.total("tenant 199")), (2, 2));
    // One tenant's time moves on by a window: the others have emptied and make room.
    peer.send(&named_frame(3, &[("tenant 0", "t", 1, T + 60_000)]));
    peer.acked(3);
    peer.send(&named_frame(4, &[("one too many", "t", 1, T + 60_000)]));
    peer.acked(4);
    assert_eq!((peer.total("tenant 0"), peer.total("one too many")), (1, 1));
    drop(peer);
    server.stop();
}
