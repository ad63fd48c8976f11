//! Sockets and the peers behind them: what the ring says goes to the node, what the node writes
//! goes to the sockets.
//!
//! Invariant: a socket whose conversation is over is shut for writing and kept until the peer has
//! closed too, or a second has passed: closing it with unread bytes would destroy the last answer.

use crate::node::{Node, Output, PeerId};
use crate::ring::{ConnId, Connections, RingEvent, SendOutcome};
use std::time::{Duration, Instant};
use trendsrv_shard::{Memory, Programs};

/// The shard's sockets by table slot.
#[derive(Debug, Default)]
pub(crate) struct Links {
    open: Vec<Option<Link>>,
    lingering: Vec<(ConnId, Instant)>,
    broken: Vec<PeerId>,
    /// Bytes sent.
    pub(crate) sent_bytes: u64,
    /// Sends that found a full socket.
    pub(crate) blocked: u64,
}

#[derive(Clone, Copy, Debug)]
struct Link {
    conn: ConnId,
    half_closed: bool,
}

impl Links {
    /// One thing that happened on the ring.
    pub(crate) fn on_event<P: Programs, M: Memory>(
        &mut self,
        node: &mut Node<P, M>,
        connections: &mut Connections,
        event: RingEvent<'_>,
    ) {
        match event {
            RingEvent::Accepted { conn, .. } => {
                if self.open.len() <= conn.index() {
                    self.open.resize(conn.index() + 1, None);
                }
                self.open[conn.index()] = Some(Link { conn, half_closed: false });
                node.on_accept(peer(conn));
            }
            RingEvent::Received { conn, bytes } => {
                if self.link(conn).is_some() {
                    node.on_bytes(peer(conn), bytes);
                }
            }
            RingEvent::HalfClosed { conn } => match self.link(conn) {
                Some(link) => {
                    link.half_closed = true;
                    node.on_half_close(peer(conn));
                }
                None => self.release(connections, conn),
            },
            RingEvent::Closed { conn, .. } => {
                if self.link(conn).is_some() {
                    self.open[conn.index()] = None;
                    node.on_close(peer(conn));
                }
                self.lingering.retain(|(lingering, _)| *lingering != conn);
            }
            RingEvent::Writable { conn } => node.on_writable(peer(conn)),
            // The log's write is no socket's.
            RingEvent::TurnedAway { .. } => {}
            RingEvent::AcceptFailed { errno, retry_ms, .. } => {
                let error = std::io::Error::from_raw_os_error(errno);
                tracing::warn!("accepting failed: {error}; tried again in {retry_ms} ms");
            }
        }
    }

    /// Sends what the node has written, one send a connection.
    pub(crate) fn flush<P: Programs, M: Memory>(
        &mut self,
        node: &mut Node<P, M>,
        connections: &mut Connections,
    ) {
        node.end_turn(|output| self.send(connections, output));
        while let Some(id) = self.broken.pop() {
            node.on_close(id);
        }
        if !self.lingering.is_empty() {
            let now = Instant::now();
            let over = |since: Instant| now.duration_since(since) > LINGER_MAX;
            self.lingering.retain(|&(conn, since)| {
                if over(since) {
                    connections.close(conn);
                }
                !over(since)
            });
        }
    }

    /// Whether nothing is open or lingering.
    pub(crate) fn is_empty(&self) -> bool {
        self.lingering.is_empty() && self.open.iter().all(Option::is_none)
    }

    fn send(&mut self, connections: &mut Connections, output: Output<'_>) {
        let Output { id, bytes, ends, pause } = output;
        let Some(Some(link)) = self.open.get(id.index as usize).copied() else { return };
        let conn = link.conn;
        if !bytes.is_empty() {
            match connections.send(conn, bytes) {
                SendOutcome::Sent(count) => {
                    self.sent_bytes += count as u64;
                    bytes.drain(..count);
                }
                SendOutcome::WouldBlock => self.blocked += 1,
                SendOutcome::Broken(_) | SendOutcome::Unknown => {
                    self.open[id.index as usize] = None;
                    connections.close(conn);
                    self.broken.push(id);
                    return;
                }
            }
            if !bytes.is_empty() {
                connections.want_writable(conn);
            }
        }
        match pause {
            Some(true) => connections.pause(conn),
            Some(false) => connections.resume(conn),
            None => {}
        }
        if ends && bytes.is_empty() {
            self.open[id.index as usize] = None;
            self.broken.push(id);
            if link.half_closed {
                connections.close(conn);
            } else {
                connections.shutdown_write(conn);
                connections.resume(conn);
                self.lingering.push((conn, Instant::now()));
            }
        }
    }

    fn release(&mut self, connections: &mut Connections, conn: ConnId) {
        self.lingering.retain(|(lingering, _)| *lingering != conn);
        connections.close(conn);
    }

    fn link(&mut self, conn: ConnId) -> Option<&mut Link> {
        let link = self.open.get_mut(conn.index())?.as_mut()?;
        (link.conn == conn).then_some(link)
    }
}

fn peer(conn: ConnId) -> PeerId {
    let index = u32::try_from(conn.index()).expect("the ring numbers connections in 24 bits");
    PeerId { index, generation: conn.generation() }
}

/// How long a socket waits for its peer to close too.
const LINGER_MAX: Duration = Duration::from_secs(1);
