//! Answers as they change. Windows move by event time here, so that nothing changes by itself, and
//! slides are short, so that silence is soon told.

use crate::harness::{Event, Peer, Server, named_frame};
use std::collections::BTreeMap;
use std::time::Duration;
use trendsrv_client::Answer;
use trendsrv_client::proto::{Frame, Kind, Ping, Rank, Refusal as Code, Subscribe, TenantId};

const T: u64 = 1_442_016_000_000;
/// Several slides of these servers.
const SILENCE: Duration = Duration::from_millis(600);

fn server(shards: &str) -> Server {
    let window = ["--window", "6s", "--slide", "100ms"];
    Server::start(&[&["--clock", "event", "--shards", shards], &window[..]].concat())
}

fn subscribe(peer: &mut Peer, tag: u32, tenant: &str, on: bool) {
    let mut frame = Vec::new();
    Subscribe::new(TenantId::of(tenant), 100, Rank::Count, on).encode(&mut frame, tag);
    peer.send(&frame);
}

/// The next UPDATE and its tag.
fn update(peer: &mut Peer) -> (u32, Answer) {
    peer.until("UPDATE", |frame, header| match frame {
        Frame::Update(summary) => Some((header.tag(), Answer::of(summary))),
        Frame::Refuse(refuse) => panic!("{refuse:?}"),
        _ => None,
    })
}

/// A producer that numbers its frames.
struct Producer(Peer, u64);

impl Producer {
    fn send(&mut self, events: &[Event<'_>]) {
        self.1 += 1;
        self.0.send(&named_frame(self.1, events));
        self.0.acked(self.1);
    }
}

#[test]
fn an_update_comes_once_a_change_from_every_shard() {
    let server = server("3");
    let mut producer = Producer(Peer::greeted(server.tcp), 0);
    let mut reader = Peer::greeted(server.tcp);
    let tenants: Vec<String> = (0..12).map(|n| format!("tenant {n}")).collect();
    for (tag, tenant) in (0..).zip(&tenants) {
        subscribe(&mut reader, tag, tenant, true);
    }
    // Nobody knows these tenants yet.
    assert!(reader.next_within(SILENCE).is_none());
    let mut versions: BTreeMap<u32, u64> = BTreeMap::new();
    for round in 1..=3 {
        let events: Vec<Event<'_>> = tenants.iter().map(|t| (t.as_str(), "a", 1, T)).collect();
        producer.send(&events);
        let mut seen = BTreeMap::new();
        while seen.len() < tenants.len() {
            let (tag, answer) = update(&mut reader);
            assert_eq!(answer.head.tenant, TenantId::of(&tenants[tag as usize]));
            assert_eq!((answer.head.total, answer.topics[0].count), (round, round));
            assert!(answer.head.version > versions.get(&tag).copied().unwrap_or(0));
            assert!(seen.insert(tag, answer.head.version).is_none(), "told twice: {tag}");
        }
        versions = seen;
        // Nothing changes, so nothing is said, over several slides.
        assert!(reader.next_within(SILENCE).is_none(), "an update without a change");
    }
    for (tag, tenant) in (0_u32..).zip(&tenants) {
        for _ in 0..2 {
            let answer = reader.query(tenant, None).unwrap();
            assert_eq!(answer.head.version, versions[&tag], "unchanged, so the same version");
        }
    }
    drop((producer, reader));
    server.stop();
}

#[test]
fn an_ended_subscription_says_nothing_more() {
    let server = server("2");
    let mut producer = Producer(Peer::greeted(server.tcp), 0);
    let mut reader = Peer::greeted(server.tcp);
    producer.send(&[("left", "a", 1, T), ("kept", "a", 1, T), ("new", "a", 1, T)]);
    subscribe(&mut reader, 1, "left", true);
    subscribe(&mut reader, 2, "kept", true);
    let first = [update(&mut reader).0, update(&mut reader).0];
    assert!(first == [1, 2] || first == [2, 1], "{first:?}");
    subscribe(&mut reader, 1, "left", false);
    let mut frame = Vec::new();
    Ping::new(5).encode(&mut frame, Kind::Ping, 0);
    reader.send(&frame);
    reader.until("PONG", |frame, _| matches!(frame, Frame::Pong(_)).then_some(()));
    producer.send(&[("left", "a", 1, T), ("kept", "a", 1, T)]);
    let (tag, answer) = update(&mut reader);
    assert_eq!((tag, answer.head.total), (2, 2));
    assert!(reader.next_within(SILENCE).is_none(), "an update of an ended subscription");
    // A tag in use takes another tenant.
    subscribe(&mut reader, 2, "new", true);
    assert_eq!(update(&mut reader).1.head.tenant, TenantId::of("new"));
    producer.send(&[("kept", "a", 1, T)]);
    assert!(reader.next_within(SILENCE).is_none(), "an update of a replaced subscription");
    drop((producer, reader));
    server.stop();
}

#[test]
fn the_sixty_fifth_subscription_is_refused() {
    let server = server("2");
    let mut reader = Peer::greeted(server.tcp);
    for tag in 0..65 {
        subscribe(&mut reader, tag, &format!("tenant {tag}"), true);
    }
    let refused = reader.refused();
    assert_eq!((refused.code, refused.tag), (Code::TooLarge, 64), "{refused:?}");
    assert_eq!(refused.kind, Kind::Subscribe as u8);
    subscribe(&mut reader, 3, "tenant 3", false);
    subscribe(&mut reader, 64, "tenant 64", true);
    let mut producer = Producer(Peer::greeted(server.tcp), 0);
    producer.send(&[("tenant 64", "a", 1, T)]);
    assert_eq!(update(&mut reader).0, 64);
    drop((reader, producer));
    server.stop();
}

#[test]
fn a_reader_that_does_not_read_gets_the_newest_and_holds_up_nobody() {
    const ROUNDS: u64 = 24;
    let server = server("2");
    let mut producer = Producer(Peer::greeted(server.tcp), 0);
    let (mut sleeper, mut pace) = (Peer::with_small_buffer(server.tcp), Peer::greeted(server.tcp));
    let tenants: Vec<String> = (0..64).map(|n| format!("tenant {n}")).collect();
    let topics: Vec<String> = (0..90).map(|n| format!("{n:0>200}")).collect();
    for tenant in &tenants {
        // About 23 KB an answer.
        for some in topics.chunks(30) {
            let events: Vec<Event<'_>> =
                some.iter().map(|topic| (tenant.as_str(), topic.as_str(), 1, T)).collect();
            producer.send(&events);
        }
    }
    for (tag, tenant) in (0..).zip(&tenants) {
        subscribe(&mut sleeper, tag, tenant, true);
    }
    subscribe(&mut pace, 0, &tenants[0], true);
    let first = update(&mut pace).1.head.version;
    for _ in 0..ROUNDS {
        let events: Vec<Event<'_>> = tenants.iter().map(|t| (t.as_str(), "a", 1, T)).collect();
        producer.send(&events);
        // The other reader is told every time: that is a slide.
        update(&mut pace);
    }
    let newest: Vec<u64> =
        tenants.iter().map(|tenant| pace.query(tenant, None).unwrap().head.version).collect();
    assert!(newest[0] >= first + ROUNDS);
    let (mut told, mut count) = (vec![0; tenants.len()], 0);
    while told != newest {
        let (tag, answer) = update(&mut sleeper);
        let before = &mut told[tag as usize];
        assert!(answer.head.version > *before, "{tag}: {} after {before}", answer.head.version);
        *before = answer.head.version;
        count += 1;
    }
    let changes = (ROUNDS + 1) * tenants.len() as u64;
    assert!(count < changes / 2, "{count} updates of {changes} changes: nothing was conflated");
    drop((producer, sleeper, pace));
    server.stop();
}
