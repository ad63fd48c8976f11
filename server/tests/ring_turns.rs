//! One ring polled by hand: what a single turn does, and when the doorbell rings.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod ring_support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use ring_support::{DEADLINE, connect, expect};
use trendsrv_server::ring::{
    ConnId, Connections, Ring, RingConfig, RingError, RingEvent, SendOutcome, Turn, WakeBy,
};
use trendsrv_server::runtime::Doorbell;
use trendsrv_server::socket::{listen, local_address};

struct Bench {
    ring: Ring,
    doorbell: Doorbell,
    address: SocketAddr,
}

fn bench(config: RingConfig) -> Bench {
    let socket = listen("127.0.0.1:0".parse().unwrap(), "--listen").unwrap();
    let address = local_address(&socket).unwrap();
    let doorbell = Doorbell::new().unwrap();
    let mut ring = Ring::new(config, &doorbell).unwrap();
    ring.add_listener(socket).unwrap();
    Bench { ring, doorbell, address }
}

fn small() -> RingConfig {
    RingConfig { connections_max: 64, ..RingConfig::default() }
}

/// Everything a test wants to remember of the events.
#[derive(Default)]
struct Seen {
    accepted: Vec<ConnId>,
    turned_away: usize,
    bytes: Vec<u8>,
    half_closed: Vec<ConnId>,
    closed: Vec<(ConnId, i32)>,
    writable: Vec<ConnId>,
    accept_errors: Vec<(i32, u32)>,
}

impl Seen {
    fn note(&mut self, event: RingEvent<'_>) {
        match event {
            RingEvent::Accepted { conn, .. } => self.accepted.push(conn),
            RingEvent::TurnedAway { .. } => self.turned_away += 1,
            RingEvent::Received { bytes, .. } => self.bytes.extend_from_slice(bytes),
            RingEvent::HalfClosed { conn } => self.half_closed.push(conn),
            RingEvent::Closed { conn, errno } => self.closed.push((conn, errno)),
            RingEvent::Writable { conn } => self.writable.push(conn),
            RingEvent::AcceptFailed { errno, retry_ms, .. } => {
                self.accept_errors.push((errno, retry_ms));
            }
        }
    }
}

/// Polls until `fact` holds; the turns it took.
fn poll_until(ring: &mut Ring, seen: &mut Seen, fact: impl Fn(&Ring, &Seen) -> bool) -> Vec<Turn> {
    let since = Instant::now();
    let mut turns = Vec::new();
    while !fact(ring, seen) {
        assert!(since.elapsed() < DEADLINE, "{ring:?}");
        let turn = ring.poll(&mut |_: &mut Connections, event: RingEvent<'_>| seen.note(event));
        turns.push(turn.unwrap());
        std::thread::yield_now();
    }
    turns
}

fn connected(bench: &mut Bench, count: usize) -> (Vec<TcpStream>, Seen) {
    let clients: Vec<TcpStream> = (0..count).map(|_| connect(bench.address)).collect();
    let mut seen = Seen::default();
    poll_until(&mut bench.ring, &mut seen, |_, seen| seen.accepted.len() == count);
    (clients, seen)
}

/// Whether the doorbell has rung, without taking the ring away.
fn rung(doorbell: &Doorbell) -> bool {
    use std::os::fd::AsRawFd;
    let text = format!("/proc/self/fdinfo/{}", doorbell.as_fd().as_raw_fd());
    let info = std::fs::read_to_string(text).unwrap();
    let count = info.lines().find_map(|line| line.strip_prefix("eventfd-count:")).unwrap();
    u64::from_str_radix(count.trim(), 16).unwrap() > 0
}

#[test]
fn a_turn_hands_out_no_more_bytes_than_it_may() {
    let config = RingConfig { buffer_bytes: 1_000, bytes_per_turn_max: 3_000, ..small() };
    let mut bench = bench(config);
    let (mut clients, mut seen) = connected(&mut bench, 1);
    clients[0].write_all(&[7; 50_000]).unwrap();
    let turns = poll_until(&mut bench.ring, &mut seen, |_, seen| seen.bytes.len() == 50_000);
    assert!(turns.iter().all(|turn| turn.received_bytes <= 3_000), "{turns:?}");
    assert!(turns.iter().any(|turn| turn.received_bytes == 3_000 && turn.more), "{turns:?}");
}

#[test]
fn a_turn_hands_out_no_more_connections_than_it_may() {
    let mut bench = bench(RingConfig { accepts_per_turn_max: 2, ..small() });
    let clients: Vec<TcpStream> = (0..50).map(|_| connect(bench.address)).collect();
    let mut seen = Seen::default();
    let turns = poll_until(&mut bench.ring, &mut seen, |_, seen| seen.accepted.len() == 50);
    assert!(turns.iter().all(|turn| turn.accepted <= 2), "{turns:?}");
    assert_eq!(seen.turned_away, 0);
    // Held and released on the way, it still accepts.
    let late = connect(bench.address);
    poll_until(&mut bench.ring, &mut seen, |_, seen| seen.accepted.len() == 51);
    drop((clients, late));
}

#[test]
fn peers_beyond_the_table_are_turned_away_at_once() {
    let mut bench = bench(RingConfig { connections_max: 3, ..small() });
    let mut clients: Vec<TcpStream> = (0..5).map(|_| connect(bench.address)).collect();
    let mut seen = Seen::default();
    poll_until(&mut bench.ring, &mut seen, |_, seen| {
        seen.accepted.len() == 3 && seen.turned_away == 2
    });
    let ended = clients.iter_mut().skip(3).map(|client| client.read(&mut [0]).unwrap());
    assert_eq!(ended.collect::<Vec<_>>(), [0, 0]);
    bench.ring.connections_mut().close(seen.accepted[0]);
    let _next = connect(bench.address);
    poll_until(&mut bench.ring, &mut seen, |_, seen| seen.accepted.len() == 4);
    assert_eq!(bench.ring.connections().open(), 3);
    assert_eq!(bench.ring.stats().turned_away, 2);
}

#[test]
fn what_is_put_off_comes_later_in_its_order() {
    let config = RingConfig { buffer_bytes: 1_000, buffers: 4, ..small() };
    let mut bench = bench(config);
    let (mut clients, mut seen) = connected(&mut bench, 1);
    let sent: Vec<u8> = (0..20_000_u32).map(|n| n.to_le_bytes()[1]).collect();
    clients[0].write_all(&sent).unwrap();
    clients[0].shutdown(std::net::Shutdown::Write).unwrap();
    let since = Instant::now();
    while !bench.ring.has_put_off() {
        assert!(since.elapsed() < DEADLINE, "{:?}", bench.ring);
        let mut note = |_: &mut Connections, event: RingEvent<'_>| seen.note(event);
        bench.ring.poll_without_receiving(&mut note).unwrap();
    }
    assert_eq!((seen.bytes.len(), seen.half_closed.len()), (0, 0));
    // Nothing is left to do until somebody wants bytes again: the shard may sleep.
    let mut more = true;
    while more {
        assert!(since.elapsed() < DEADLINE, "{:?}", bench.ring);
        let mut note = |_: &mut Connections, event: RingEvent<'_>| seen.note(event);
        more = bench.ring.poll_without_receiving(&mut note).unwrap().more;
        more |= !bench.ring.prepare_sleep(WakeBy::Doorbell).unwrap();
    }
    poll_until(&mut bench.ring, &mut seen, |_, seen| !seen.half_closed.is_empty());
    assert_eq!(seen.bytes, sent);
    assert!(!bench.ring.has_put_off());
}

#[test]
fn an_idle_poll_makes_no_system_call() {
    let mut bench = bench(small());
    let (_clients, mut seen) = connected(&mut bench, 3);
    let mut polls = 0;
    poll_until(&mut bench.ring, &mut seen, |ring, _| ring.connections().open() == 3);
    // Submits the receives of the last accept.
    while !bench.ring.prepare_sleep(WakeBy::Timer).unwrap() {
        bench.ring.poll(&mut |_: &mut Connections, _: RingEvent<'_>| {}).unwrap();
    }
    let before = bench.ring.stats().enters;
    while polls < 1_000 {
        let turn = bench.ring.poll(&mut |_: &mut Connections, _: RingEvent<'_>| {}).unwrap();
        assert_eq!(turn, Turn::default());
        polls += 1;
    }
    assert_eq!(bench.ring.stats().enters, before);
}

#[test]
fn a_paused_peer_waits_in_its_own_socket_and_goes_on_after_resume() {
    let mut bench = bench(small());
    let (mut clients, mut seen) = connected(&mut bench, 2);
    let first = seen.accepted[0];
    let other_address = bench.ring.connections().socket(seen.accepted[1]).map(peer).unwrap();
    let index = usize::from(clients[0].local_addr().unwrap() == other_address);
    clients[index].write_all(b"before").unwrap();
    poll_until(&mut bench.ring, &mut seen, |_, seen| seen.bytes == b"before");
    bench.ring.connections_mut().pause(first);
    // Sent after the pause was submitted; the other's bytes are the fact that turns went by.
    assert!(bench.ring.prepare_sleep(WakeBy::Timer).is_ok());
    clients[index].write_all(b"while paused").unwrap();
    clients[1 - index].write_all(b"|other|").unwrap();
    poll_until(&mut bench.ring, &mut seen, |_, seen| seen.bytes.ends_with(b"|other|"));
    assert_eq!(seen.bytes, b"before|other|");
    bench.ring.connections_mut().resume(first);
    poll_until(&mut bench.ring, &mut seen, |_, seen| seen.bytes.ends_with(b"while paused"));
    // Pause and resume within one turn leave the receive as it was.
    bench.ring.connections_mut().pause(first);
    bench.ring.connections_mut().resume(first);
    clients[index].write_all(b"!").unwrap();
    poll_until(&mut bench.ring, &mut seen, |_, seen| seen.bytes.ends_with(b"!"));
}

fn peer(socket: std::os::fd::BorrowedFd<'_>) -> SocketAddr {
    socket2::SockRef::from(&socket).peer_addr().unwrap().as_socket().unwrap()
}

#[test]
fn says_when_a_full_socket_takes_bytes_again() {
    let mut bench = bench(small());
    let (mut clients, mut seen) = connected(&mut bench, 1);
    let conn = seen.accepted[0];
    let block = vec![5; 1 << 20];
    let mut sent = 0;
    loop {
        match bench.ring.connections_mut().send(conn, &block) {
            SendOutcome::Sent(count) => sent += count,
            SendOutcome::WouldBlock => break,
            outcome => panic!("{outcome:?}"),
        }
    }
    bench.ring.connections_mut().want_writable(conn);
    let mut got = vec![0; sent];
    clients[0].read_exact(&mut got).unwrap();
    poll_until(&mut bench.ring, &mut seen, |_, seen| seen.writable == [conn]);
    assert!(matches!(bench.ring.connections_mut().send(conn, b"more"), SendOutcome::Sent(4)));
    expect(&mut clients[0], b"more");
}

#[test]
fn a_last_message_reaches_a_peer_that_keeps_sending() {
    let mut bench = bench(small());
    let (mut clients, mut seen) = connected(&mut bench, 1);
    let conn = seen.accepted[0];
    clients[0].write_all(&[1; 100_000]).unwrap();
    let sent = bench.ring.connections_mut().send(conn, b"refused");
    assert_eq!(sent, SendOutcome::Sent(7));
    bench.ring.connections_mut().shutdown_write(conn);
    clients[0].write_all(&[1; 100_000]).unwrap();
    let mut got = Vec::new();
    clients[0].read_to_end(&mut got).unwrap();
    assert_eq!(got, b"refused");
    clients.clear();
    poll_until(&mut bench.ring, &mut seen, |_, seen| seen.half_closed == [conn]);
    bench.ring.connections_mut().close(conn);
    assert_eq!(bench.ring.connections().used(), 0);
}

#[test]
fn a_broken_connection_is_closed_and_says_why() {
    let mut bench = bench(small());
    let (mut clients, mut seen) = connected(&mut bench, 1);
    let conn = seen.accepted[0];
    let client = clients.remove(0);
    socket2::SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
    drop(client);
    poll_until(&mut bench.ring, &mut seen, |_, seen| !seen.closed.is_empty());
    assert_eq!(seen.closed, [(conn, libc::ECONNRESET)]);
    assert!(!bench.ring.connections().is_open(conn));
    assert_eq!(bench.ring.connections_mut().send(conn, b"x"), SendOutcome::Unknown);
}

#[test]
fn a_closed_connection_is_silent_even_with_completions_waiting() {
    let config = RingConfig { buffer_bytes: 1_000, ..small() };
    let mut bench = bench(config);
    let (mut clients, mut seen) = connected(&mut bench, 1);
    let conn = seen.accepted[0];
    clients[0].write_all(&[1; 10_000]).unwrap();
    let since = Instant::now();
    let mut events = 0;
    while bench.ring.connections().used() > 0 {
        assert!(since.elapsed() < DEADLINE);
        let mut close_at_first = |connections: &mut Connections, event: RingEvent<'_>| {
            assert!(matches!(event, RingEvent::Received { .. }), "{event:?}");
            events += 1;
            connections.close(conn);
        };
        bench.ring.poll(&mut close_at_first).unwrap();
    }
    assert_eq!(events, 1);
    // All buffers are back: a newcomer gets more bytes than they hold together.
    clients.push(connect(bench.address));
    clients[1].write_all(&[2; 50_000]).unwrap();
    poll_until(&mut bench.ring, &mut seen, |_, seen| seen.bytes.len() == 50_000);
    assert_eq!(bench.ring.stats().stray, 0);
}

#[test]
fn the_doorbell_rings_for_a_sleeper_and_is_silent_for_a_timer() {
    let mut bench = bench(small());
    let (mut clients, mut seen) = connected(&mut bench, 1);
    let settle = |ring: &mut Ring, wake| {
        while !ring.prepare_sleep(wake).unwrap() {
            ring.poll(&mut |_: &mut Connections, _: RingEvent<'_>| {}).unwrap();
        }
    };
    settle(&mut bench.ring, WakeBy::Timer);
    assert!(!rung(&bench.doorbell));
    clients[0].write_all(b"timer").unwrap();
    let since = Instant::now();
    // Data has come when the ring would not sleep any more.
    while bench.ring.prepare_sleep(WakeBy::Timer).unwrap() {
        assert!(since.elapsed() < DEADLINE);
    }
    assert!(!rung(&bench.doorbell), "silent until asked");
    poll_until(&mut bench.ring, &mut seen, |_, seen| seen.bytes == b"timer");
    settle(&mut bench.ring, WakeBy::Doorbell);
    assert!(!rung(&bench.doorbell));
    clients[0].write_all(b"bell").unwrap();
    let since = Instant::now();
    while !rung(&bench.doorbell) {
        assert!(since.elapsed() < DEADLINE);
        std::thread::yield_now();
    }
    poll_until(&mut bench.ring, &mut seen, |_, seen| seen.bytes == b"timerbell");
}

#[test]
fn a_removed_listener_takes_nobody_in_and_frees_its_port() {
    let mut bench = bench(small());
    let second = listen("127.0.0.1:0".parse().unwrap(), "--listen").unwrap();
    let second_address = local_address(&second).unwrap();
    let listener = bench.ring.add_listener(second).unwrap();
    assert_eq!(listener.index(), 1);
    let (_clients, mut seen) = connected(&mut bench, 2);
    let _direct = connect(second_address);
    poll_until(&mut bench.ring, &mut seen, |_, seen| seen.accepted.len() == 3);
    bench.ring.remove_listener(listener);
    let since = Instant::now();
    while TcpStream::connect(second_address).is_ok() {
        assert!(since.elapsed() < DEADLINE, "the port is still open");
        poll_until(&mut bench.ring, &mut seen, |_, _| true);
        bench.ring.poll(&mut |_: &mut Connections, _: RingEvent<'_>| {}).unwrap();
    }
    listen(second_address, "--listen").unwrap();
    assert!(bench.ring.connections().is_open(seen.accepted[0]));
}

#[test]
fn refuses_sizes_that_break_their_rule() {
    let doorbell = Doorbell::new().unwrap();
    let wrong = [
        RingConfig { buffers: 3, ..small() },
        RingConfig { buffer_bytes: 0, ..small() },
        RingConfig { connections_max: 1 << 24, ..small() },
        RingConfig { completions: 128, ..small() },
    ];
    for config in wrong {
        let error = Ring::new(config, &doorbell).unwrap_err();
        assert!(matches!(error, RingError::Config { .. }), "{error}");
    }
    let mut ring = Ring::new(RingConfig { listeners_max: 1, ..small() }, &doorbell).unwrap();
    let any = "127.0.0.1:0".parse().unwrap();
    ring.add_listener(listen(any, "--listen").unwrap()).unwrap();
    let error = ring.add_listener(listen(any, "--listen").unwrap()).unwrap_err();
    assert!(matches!(error, RingError::ListenersFull { listeners_max: 1 }), "{error}");
}
