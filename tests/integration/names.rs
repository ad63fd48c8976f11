//! What ids are called: asked for by the server, told by whoever sent them.

use crate::harness::{Event, Http, Peer, Server, events_frame};
use std::collections::BTreeSet;
use trendsrv_client::proto::{Frame, Kind, NameKind, Ping, TenantId, encode_define};

const T: u64 = 1_442_016_000_000;

/// Reads until the server has asked for all of these ids.
fn wait_for_needs(peer: &mut Peer, wanted: &BTreeSet<(u8, u64)>) {
    loop {
        let asked: BTreeSet<_> = peer.needed.iter().map(|n| (n.kind() as u8, n.id())).collect();
        if wanted.is_subset(&asked) {
            return;
        }
        peer.until("NEED", |frame, _| matches!(frame, Frame::Need(_)).then_some(()));
    }
}

fn ids(events: &[Event<'_>]) -> BTreeSet<(u8, u64)> {
    let of = |&(tenant, topic, ..): &Event<'_>| {
        let id = |name| TenantId::of(name).0;
        [(NameKind::Tenant as u8, id(tenant)), (NameKind::Topic as u8, id(topic))]
    };
    events.iter().flat_map(of).collect()
}

fn define(peer: &mut Peer, events: &[Event<'_>]) {
    let names = events
        .iter()
        .flat_map(|&(tenant, topic, ..)| [(NameKind::Tenant, tenant), (NameKind::Topic, topic)]);
    let mut frame = Vec::new();
    encode_define(&mut frame, names);
    peer.send(&frame);
}

/// Sends a PING and waits for its answer: what was sent before has been read by then.
fn settle(peer: &mut Peer) {
    let mut frame = Vec::new();
    Ping::new(1).encode(&mut frame, Kind::Ping, 9);
    peer.send(&frame);
    peer.until("PONG", |frame, _| matches!(frame, Frame::Pong(_)).then_some(()));
}

#[test]
fn names_are_asked_for_told_and_shown() {
    let server = Server::start(&["--clock", "event", "--shards", "1"]);
    let mut peer = Peer::greeted(server.tcp);
    let events = [("acme", "mars rover", 2, T), ("acme", "éclipse", 1, T)];
    peer.send(&events_frame(1, &events));
    wait_for_needs(&mut peer, &ids(&events));
    // Events count before their names are known.
    let answer = peer.query("acme", None).unwrap();
    assert_eq!((answer.head.total, answer.topics[0].name.as_str()), (3, ""));
    let json = Http(server.http).get("/v1/tenants/acme/trending?rank=count").body;
    let id = format!("id:{:016x}", TenantId::of("mars rover").0);
    assert_eq!(json["topics"][0]["topic"], id.as_str(), "{json}");
    define(&mut peer, &events);
    let answer = peer.query("acme", None).unwrap();
    let names: Vec<&str> = answer.topics.iter().map(|topic| topic.name.as_str()).collect();
    assert_eq!(names, ["mars rover", "éclipse"]);
    let json = Http(server.http).get("/v1/tenants").body;
    assert_eq!(json["tenants"][0]["tenant"], "acme", "{json}");
    drop(peer);
    server.stop();
}

#[test]
fn names_of_forwarded_events_are_asked_of_the_connection_that_sent_them() {
    let server = Server::start(&["--clock", "event", "--shards", "3"]);
    let (mut sender, mut other) = (Peer::greeted(server.tcp), Peer::greeted(server.tcp));
    let names: Vec<(String, String)> =
        (0..60).map(|n| (format!("tenant {n}"), format!("topic {n}"))).collect();
    let events: Vec<Event<'_>> =
        names.iter().map(|(tenant, topic)| (tenant.as_str(), topic.as_str(), 1, T)).collect();
    sender.send(&events_frame(1, &events));
    sender.acked(1);
    wait_for_needs(&mut sender, &ids(&events));
    define(&mut sender, &events);
    settle(&mut sender);
    for (tenant, topic) in &names {
        // Another shard hears of a name when its mail comes round.
        loop {
            let answer = sender.query(tenant, None).unwrap();
            if answer.topics[0].name == *topic {
                break;
            }
            assert_eq!(answer.topics[0].name, "");
        }
    }
    settle(&mut other);
    assert!(other.needed.is_empty(), "who sent no events is not asked: {:?}", other.needed);
    let json = Http(server.http).get("/v1/tenants?limit=100").body;
    assert_eq!(json["tenants"].as_array().unwrap().len(), 60, "{json}");
    drop((sender, other));
    server.stop();
}

#[test]
fn a_name_that_was_not_told_is_asked_for_again() {
    let server = Server::start(&["--clock", "event", "--shards", "2"]);
    let mut peer = Peer::greeted(server.tcp);
    let events = [("acme", "mars rover", 1, T), ("zeta", "eclipse", 1, T)];
    peer.send(&events_frame(1, &events));
    for _ in 0..2 {
        wait_for_needs(&mut peer, &ids(&events));
        peer.needed.clear();
    }
    define(&mut peer, &events);
    settle(&mut peer);
    drop(peer);
    server.stop();
}
