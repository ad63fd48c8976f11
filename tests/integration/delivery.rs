//! Each event counts once, over lost connections, other shards and the server's end.

use crate::harness::{DEADLINE, Event, Peer, Server, events_frame, named_frame};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use std::collections::BTreeMap;
use std::time::Instant;
use trendsrv_client::proto::{Frame, Refusal as Code, RetryClass};

const T: u64 = 1_442_016_000_000;
const TENANTS: usize = 40;

/// A frame of some random events: tenant, weight.
type Batch = Vec<(usize, u32)>;

fn batches(rng: &mut StdRng, count: usize) -> Vec<Batch> {
    let batch = |rng: &mut StdRng| {
        let events = rng.random_range(1..=30);
        (0..events).map(|_| (rng.random_range(0..TENANTS), rng.random_range(1..=9))).collect()
    };
    (0..count).map(|_| batch(rng)).collect()
}

fn frame_of(seq: u64, batch: &Batch, names: &[String]) -> Vec<u8> {
    let events: Vec<Event<'_>> =
        batch.iter().map(|&(tenant, weight)| (names[tenant].as_str(), "t", weight, T)).collect();
    if seq.is_multiple_of(2) { named_frame(seq, &events) } else { events_frame(seq, &events) }
}

/// Sends every batch once or more, over connections that are cut anywhere, until all are
/// acknowledged. Returns how many connections that took.
fn send_over_cuts(server: &Server, rng: &mut StdRng, batches: &[Batch], names: &[String]) -> u32 {
    let until = Instant::now() + DEADLINE;
    for connection in 1.. {
        assert!(Instant::now() < until, "not done after {connection} connections");
        let (mut peer, welcome) = Peer::producer(server.tcp, 77, 1);
        let first = welcome.next_seq;
        if first > batches.len() as u64 {
            return connection;
        }
        let mut bytes = Vec::new();
        for seq in first..=batches.len() as u64 {
            let frame = frame_of(seq, &batches[usize::try_from(seq - 1).unwrap()], names);
            if (bytes.len() + frame.len()) as u64 > welcome.credit_until {
                break;
            }
            bytes.extend(frame);
        }
        let cut = rng.random_range(0..=bytes.len());
        peer.send(&bytes[..cut]);
        if rng.random_bool(0.3) && cut == bytes.len() {
            // Now and then an acknowledgement is read; else it is lost with the connection.
            peer.acked(first);
        }
    }
    unreachable!("connections are counted up to the deadline");
}

fn every_event_counts_once(shards: &str, seed: u64) {
    println!("seed {seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let server = Server::start(&["--clock", "event", "--shards", shards]);
    let names: Vec<String> = (0..TENANTS).map(|n| format!("tenant {n}")).collect();
    let batches = batches(&mut rng, 400);
    let connections = send_over_cuts(&server, &mut rng, &batches, &names);
    assert!(connections > 20, "only {connections} connections");
    let mut truth: BTreeMap<usize, u64> = BTreeMap::new();
    for &(tenant, weight) in batches.iter().flatten() {
        *truth.entry(tenant).or_default() += u64::from(weight);
    }
    let mut reader = Peer::greeted(server.tcp);
    for (&tenant, &weight) in &truth {
        let total = reader.settled_total(&names[tenant], weight);
        assert_eq!(total, weight, "{} over {connections} connections", names[tenant]);
    }
    drop(reader);
    server.stop();
}

#[test]
fn every_event_counts_once_over_cut_connections_to_one_shard() {
    every_event_counts_once("1", 0x5eed_0001);
}

#[test]
fn every_event_counts_once_over_cut_connections_to_three_shards() {
    for seed in [0x5eed_0002, 0x5eed_0003, rand::random()] {
        every_event_counts_once("3", seed);
    }
}

#[test]
fn a_newer_epoch_fences_the_older() {
    for shards in ["1", "3"] {
        let server = Server::start(&["--clock", "event", "--shards", shards]);
        let (mut old, welcome) = Peer::producer(server.tcp, 5, 1);
        assert_eq!(welcome.next_seq, 1);
        let names: Vec<String> = (0..8).map(|n| format!("tenant {n}")).collect();
        let events: Vec<Event<'_>> = names.iter().map(|n| (n.as_str(), "t", 1, T)).collect();
        old.send(&named_frame(1, &events));
        old.acked(1);
        let (mut new, welcome) = Peer::producer(server.tcp, 5, 2);
        assert_eq!(welcome.next_seq, 1, "a new epoch begins anew");
        new.send(&named_frame(1, &events));
        new.acked(1);
        old.send(&named_frame(2, &events));
        let refused = old.refused();
        assert_eq!((refused.code, refused.class), (Code::Fenced, RetryClass::Never), "{refused:?}");
        let mut late = Peer::silent(server.tcp);
        late.send(&crate::harness::hello(5, 1, trendsrv_client::proto::AckMode::Applied));
        assert_eq!(late.refused().code, Code::Fenced);
        late.closed();
        for name in &names {
            assert_eq!(new.total(name), 2, "{name} over {shards} shards");
        }
        drop((late, old, new));
        server.stop();
    }
}

#[test]
fn a_terminated_server_says_goodbye_answers_what_came_and_exits_with_0() {
    let server = Server::start(&["--clock", "event", "--shards", "2"]);
    let (mut busy, welcome) = Peer::producer(server.tcp, 9, 0);
    let mut idle = Peer::greeted(server.tcp);
    let names: Vec<String> = (0..20).map(|n| format!("tenant {n}")).collect();
    let events: Vec<Event<'_>> = names.iter().map(|n| (n.as_str(), "t", 1, T)).collect();
    let mut bytes = Vec::new();
    let mut last = 0;
    while bytes.len() + 1_024 < usize::try_from(welcome.credit_until).unwrap() {
        last += 1;
        bytes.extend(named_frame(last, &events));
    }
    busy.send(&bytes);
    server.terminate();
    for (what, peer, sent) in [("busy", &mut busy, last), ("idle", &mut idle, 0)] {
        let (mut acked, mut goodbyes) = (0, 0);
        while let Some(got) = peer.next() {
            match got.frame() {
                Frame::Ack(ack) => acked = ack.seq(),
                Frame::GoAway(goodbye) => {
                    assert!(goodbye.drain_ms > 0 && !goodbye.message.is_empty());
                    goodbyes += 1;
                }
                Frame::Refuse(refuse) => panic!("{what}: {refuse:?}"),
                _ => {}
            }
        }
        assert_eq!((acked, goodbyes), (sent, 1), "{what}");
    }
    server.ended();
}
