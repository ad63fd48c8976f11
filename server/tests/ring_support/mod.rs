//! An echo server over a shard's ring, for the ring's tests and its example.

#![allow(clippy::unwrap_used, reason = "test code, also compiled into an example")]
#![allow(dead_code, reason = "each test target uses its own part of this module")]
#![allow(unreachable_pub, reason = "shared between targets by path")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use socket2::Socket;
use trendsrv_server::ring::{
    ConnId, Connections, Ring, RingConfig, RingEvent, RingEvents, RingStats, SendOutcome, WakeBy,
};
use trendsrv_server::runtime::{
    Doorbell, DoorbellListener, DoorbellRinger, Placement, ShardRuntime, ShardThread, Woken,
    run_shard,
};

/// No wait for a fact in these tests may take longer.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// What an echo server did, known when it has ended.
#[derive(Debug, Clone, Copy)]
pub struct Report {
    pub stats: RingStats,
    pub closed: u64,
    pub outbox_high: usize,
    pub open_high: usize,
    pub turns: u64,
    pub sleeps: u64,
}

/// How an echo server sleeps when it has nothing to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sleep {
    /// Until the doorbell rings, always.
    Doorbell,
    /// By turns: a timer of 1 ms, then the doorbell.
    Alternate,
}

/// A running echo server of one shard.
pub struct EchoServer {
    thread: ShardThread<Report>,
    ringer: DoorbellRinger,
    stop: Arc<AtomicBool>,
}

impl EchoServer {
    pub fn start(
        placement: Placement,
        name: &str,
        config: RingConfig,
        listener: Socket,
    ) -> EchoServer {
        EchoServer::start_sleeping(placement, name, config, listener, Sleep::Doorbell)
    }

    pub fn start_sleeping(
        placement: Placement,
        name: &str,
        config: RingConfig,
        listener: Socket,
        sleep: Sleep,
    ) -> EchoServer {
        let doorbell = Doorbell::new().unwrap();
        let ringer = doorbell.ringer();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = run_shard(placement, name, move |runtime| {
            serve(runtime, config, listener, doorbell, stopped, sleep)
        })
        .unwrap();
        EchoServer { thread, ringer, stop }
    }

    /// Stops it once every connection is gone, and returns what it did.
    pub fn finish(self) -> Report {
        self.stop.store(true, Ordering::SeqCst);
        self.ringer.ring_always();
        self.thread.join().unwrap()
    }
}

async fn serve(
    runtime: ShardRuntime,
    config: RingConfig,
    listener: Socket,
    doorbell: Doorbell,
    stop: Arc<AtomicBool>,
    sleep: Sleep,
) -> Report {
    let bell = DoorbellListener::new(&doorbell);
    let mut ring = Ring::new(config, &doorbell).unwrap();
    ring.add_listener(listener).unwrap();
    let mut echo = Echo::new(config.connections_max);
    let (mut turns, mut sleeps) = (0, 0);
    let mut stopping: Option<Instant> = None;
    loop {
        let turn = ring.poll(&mut echo).unwrap();
        turns += 1;
        if stop.load(Ordering::SeqCst) {
            let since = *stopping.get_or_insert_with(Instant::now);
            if ring.connections().used() == 0 {
                break;
            }
            assert!(since.elapsed() < DEADLINE, "connections left: {ring:?}");
        }
        if turn.more {
            continue;
        }
        if sleep == Sleep::Alternate && turns % 2 == 0 {
            if ring.prepare_sleep(WakeBy::Timer).unwrap() {
                sleeps += 1;
                runtime.sleep(Duration::from_millis(1)).await;
            }
            continue;
        }
        bell.arm();
        if ring.prepare_sleep(WakeBy::Doorbell).unwrap() && !stop.load(Ordering::SeqCst) {
            sleeps += 1;
            // Every wait ends by a ring: a time-out would be a wake-up lost.
            assert_eq!(bell.wait_or(DEADLINE).unwrap(), Woken::Rung);
        } else {
            bell.disarm();
        }
    }
    Report {
        stats: ring.stats(),
        closed: echo.closed,
        outbox_high: echo.outbox_high,
        open_high: ring.connections().open_high(),
        turns,
        sleeps,
    }
}

/// Sends back what it receives; a peer that does not read is not received from.
pub struct Echo {
    outboxes: Vec<Outbox>,
    pub closed: u64,
    pub outbox_high: usize,
}

#[derive(Default, Clone)]
struct Outbox {
    bytes: Vec<u8>,
    sent: usize,
    ends: bool,
}

impl Echo {
    pub fn new(connections_max: u32) -> Echo {
        Echo {
            outboxes: vec![Outbox::default(); connections_max as usize],
            closed: 0,
            outbox_high: 0,
        }
    }

    fn flush(&mut self, connections: &mut Connections, conn: ConnId) {
        let outbox = &mut self.outboxes[conn.index()];
        while outbox.sent < outbox.bytes.len() {
            match connections.send(conn, &outbox.bytes[outbox.sent..]) {
                SendOutcome::Sent(count) => outbox.sent += count,
                SendOutcome::WouldBlock => {
                    connections.pause(conn);
                    connections.want_writable(conn);
                    return;
                }
                SendOutcome::Broken(_) | SendOutcome::Unknown => {
                    connections.close(conn);
                    self.closed += 1;
                    return;
                }
            }
        }
        outbox.bytes.clear();
        outbox.sent = 0;
        if outbox.ends {
            connections.close(conn);
            self.closed += 1;
        } else {
            connections.resume(conn);
        }
    }
}

impl RingEvents for Echo {
    fn on_event(&mut self, connections: &mut Connections, event: RingEvent<'_>) {
        match event {
            RingEvent::Accepted { conn, .. } => self.outboxes[conn.index()] = Outbox::default(),
            RingEvent::Received { conn, bytes } => {
                let outbox = &mut self.outboxes[conn.index()];
                outbox.bytes.extend_from_slice(bytes);
                self.outbox_high = self.outbox_high.max(outbox.bytes.len() - outbox.sent);
                self.flush(connections, conn);
            }
            RingEvent::Writable { conn } => self.flush(connections, conn),
            RingEvent::HalfClosed { conn } => {
                self.outboxes[conn.index()].ends = true;
                self.flush(connections, conn);
            }
            RingEvent::Closed { .. } => self.closed += 1,
            RingEvent::TurnedAway { .. } | RingEvent::AcceptFailed { .. } => {}
        }
    }
}

/// A client with a deadline on each read and write.
pub fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.set_write_timeout(Some(DEADLINE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// Sends `bytes` and expects them back.
pub fn echo(stream: &mut TcpStream, bytes: &[u8]) {
    stream.write_all(bytes).unwrap();
    expect(stream, bytes);
}

/// Reads exactly `bytes`.
pub fn expect(stream: &mut TcpStream, bytes: &[u8]) {
    let mut got = vec![0; bytes.len()];
    stream.read_exact(&mut got).unwrap();
    assert!(got == bytes, "other bytes came back");
}
