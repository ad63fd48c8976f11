//! The ring inside a shard's executor, seen through sockets: nothing is lost, mixed up or leaked.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod ring_support;

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

use rand::rngs::StdRng;
use rand::{Rng, RngCore, SeedableRng};
use ring_support::{EchoServer, Sleep, connect, echo, expect};
use socket2::Socket;
use trendsrv_server::ring::RingConfig;
use trendsrv_server::runtime::Placement;
use trendsrv_server::socket::{listen, listen_shared, local_address};

fn listener() -> (Socket, SocketAddr) {
    let socket = listen("127.0.0.1:0".parse().unwrap(), "--listen").unwrap();
    let address = local_address(&socket).unwrap();
    (socket, address)
}

fn start(config: RingConfig) -> (EchoServer, SocketAddr) {
    let (socket, address) = listener();
    (EchoServer::start(Placement::Floating, "echo", config, socket), address)
}

fn small() -> RingConfig {
    RingConfig { connections_max: 512, ..RingConfig::default() }
}

fn seeded() -> StdRng {
    let seed = std::env::var("SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(7);
    println!("SEED={seed}");
    StdRng::seed_from_u64(seed)
}

fn random_bytes(random: &mut StdRng, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    random.fill_bytes(&mut bytes);
    bytes
}

#[test]
fn echoes_two_hundred_connections_split_anywhere() {
    let (server, address) = start(small());
    let mut random = seeded();
    let mut clients: Vec<TcpStream> = (0..200).map(|_| connect(address)).collect();
    for _ in 0..5 {
        let sent: Vec<Vec<u8>> = clients
            .iter()
            .map(|_| {
                let len = random.random_range(1..20_000);
                random_bytes(&mut random, len)
            })
            .collect();
        let mut left: Vec<usize> = vec![0; clients.len()];
        // Pieces of all connections interleave.
        while left.iter().zip(&sent).any(|(&at, bytes)| at < bytes.len()) {
            for ((client, bytes), at) in clients.iter_mut().zip(&sent).zip(&mut left) {
                let end = (*at + random.random_range(1..5_000)).min(bytes.len());
                client.write_all(&bytes[*at..end]).unwrap();
                *at = end;
            }
        }
        for (client, bytes) in clients.iter_mut().zip(&sent) {
            expect(client, bytes);
        }
    }
    drop(clients);
    let report = server.finish();
    assert_eq!((report.stats.accepted, report.closed, report.stats.stray), (200, 200, 0));
    assert_eq!(report.open_high, 200);
}

#[test]
fn a_slow_reader_holds_up_nobody_and_loses_nothing() {
    let config = small();
    let (server, address) = start(config);
    let mut random = seeded();
    let sent = random_bytes(&mut random, 24 << 20);
    let mut slow = connect(address);
    let mut slow_writer = slow.try_clone().unwrap();
    let to_send = sent.clone();
    let writer = std::thread::Builder::new()
        .spawn(move || {
            slow_writer.write_all(&to_send).unwrap();
            slow_writer.shutdown(Shutdown::Write).unwrap();
        })
        .unwrap();
    let mut other = connect(address);
    for _ in 0..200 {
        let bytes = random_bytes(&mut random, 3_000);
        echo(&mut other, &bytes);
    }
    let mut got = Vec::new();
    slow.read_to_end(&mut got).unwrap();
    writer.join().unwrap();
    assert!(got == sent, "{} of {} bytes", got.len(), sent.len());
    drop((slow, other));
    let report = server.finish();
    // A pause takes effect at the next submission: what had completed before still arrives.
    let in_flight_max = 2 * usize::from(config.buffers) * config.buffer_bytes as usize;
    assert!(report.outbox_high <= in_flight_max, "{}", report.outbox_high);
    assert_eq!(report.stats.stray, 0);
}

#[test]
fn a_half_closed_peer_still_gets_its_answer() {
    let (server, address) = start(small());
    let bytes = random_bytes(&mut seeded(), 100_000);
    for _ in 0..50 {
        let mut client = connect(address);
        client.write_all(&bytes).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut got = Vec::new();
        client.read_to_end(&mut got).unwrap();
        assert!(got == bytes);
    }
    assert_eq!(server.finish().closed, 50);
}

#[test]
fn peers_that_vanish_with_data_in_flight_leave_nothing_behind() {
    let (server, address) = start(small());
    let bytes = random_bytes(&mut seeded(), 200_000);
    let mut steady = connect(address);
    for _ in 0..100 {
        let mut client = connect(address);
        client.set_nonblocking(true).unwrap();
        // Whatever fits: the echo that nobody reads turns the close into a reset.
        let _ = client.write(&bytes);
        drop(client);
        echo(&mut steady, &bytes[..1_000]);
    }
    drop(steady);
    let report = server.finish();
    assert_eq!((report.stats.accepted, report.closed, report.stats.stray), (101, 101, 0));
}

#[test]
fn out_of_buffers_loses_nothing() {
    let config = RingConfig { buffers: 2, buffer_bytes: 64, ..small() };
    let (socket, address) = listener();
    let mut random = seeded();
    let mut clients: Vec<TcpStream> = (0..50).map(|_| connect(address)).collect();
    let sent: Vec<Vec<u8>> = clients.iter().map(|_| random_bytes(&mut random, 10_000)).collect();
    for (client, bytes) in clients.iter_mut().zip(&sent) {
        client.write_all(bytes).unwrap();
    }
    // All data is there before the first receive: 50 connections compete for 2 buffers.
    let server = EchoServer::start(Placement::Floating, "echo", config, socket);
    for (client, bytes) in clients.iter_mut().zip(&sent) {
        expect(client, bytes);
    }
    drop(clients);
    let report = server.finish();
    assert!(report.stats.starved > 0, "{report:?}");
    assert_eq!(report.stats.received_bytes, 500_000);
    assert_eq!((report.closed, report.stats.stray), (50, 0));
}

#[test]
fn a_reused_descriptor_never_gets_an_older_connections_bytes() {
    let config = RingConfig { connections_max: 4, ..RingConfig::default() };
    let (server, address) = start(config);
    for round in 0..500u32 {
        // One leaves with unread data while the next takes over its descriptor and slot.
        let mut leaving = connect(address);
        leaving.write_all(&[b'x'; 4_000]).unwrap();
        drop(leaving);
        // The table of 4 may still be full of leaving ones: a peer turned away tries again.
        let mark = round.to_le_bytes();
        let mut got = [0; 4];
        loop {
            let mut client = connect(address);
            if client.write_all(&mark).is_ok() && client.read_exact(&mut got).is_ok() {
                break;
            }
        }
        assert_eq!(got, mark);
    }
    let report = server.finish();
    assert_eq!(report.stats.stray, 0);
    assert!(report.open_high <= 4);
}

#[test]
fn four_shards_run_on_two_cores() {
    let sockets = listen_shared("127.0.0.1:0".parse().unwrap(), 4, "--listen").unwrap();
    let address = local_address(&sockets[0]).unwrap();
    let servers: Vec<EchoServer> = (0..)
        .zip(sockets)
        .map(|(index, socket)| {
            EchoServer::start(Placement::Floating, &format!("shard-{index}"), small(), socket)
        })
        .collect();
    let mut random = seeded();
    let mut clients: Vec<TcpStream> = (0..100).map(|_| connect(address)).collect();
    for _ in 0..20 {
        let bytes = random_bytes(&mut random, 2_000);
        for client in &mut clients {
            echo(client, &bytes);
        }
    }
    drop(clients);
    let accepted: Vec<u64> =
        servers.into_iter().map(|server| server.finish().stats.accepted).collect();
    assert_eq!(accepted.iter().sum::<u64>(), 100);
    assert!(accepted.iter().all(|&count| count > 0), "{accepted:?}");
}

#[test]
fn changing_between_timer_and_doorbell_loses_no_wake_up() {
    let (socket, address) = listener();
    let placement = Placement::Floating;
    let server = EchoServer::start_sleeping(placement, "echo", small(), socket, Sleep::Alternate);
    let mut random = seeded();
    let mut clients: Vec<TcpStream> = (0..4).map(|_| connect(address)).collect();
    for _ in 0..200 {
        for client in &mut clients {
            let len = random.random_range(1..3_000);
            let bytes = random_bytes(&mut random, len);
            echo(client, &bytes);
        }
    }
    drop(clients);
    let report = server.finish();
    assert!(report.sleeps > 0, "{report:?}");
    assert_eq!((report.closed, report.stats.stray), (4, 0));
}
