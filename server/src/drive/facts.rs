//! What a shard's driver reports about itself.

use super::links::Links;
use crate::desk::answer::{Counter, Level};
use crate::desk::clerk::ShardFacts;
use crate::node::{MESH_OUTBOX_MAX, NodeStats};
use crate::ring::Ring;
use std::net::SocketAddr;

/// What does not change while the shard runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FixedFacts {
    pub(crate) shard: usize,
    pub(crate) address: SocketAddr,
    pub(crate) core: Option<usize>,
    pub(crate) vnodes: usize,
}

impl FixedFacts {
    /// A report of this moment.
    pub(crate) fn report(
        &self,
        turns: u64,
        node: &NodeStats,
        ring: &Ring,
        links: &Links,
    ) -> ShardFacts {
        ShardFacts {
            shard: self.shard,
            address: Some(self.address),
            core: self.core,
            vnodes: self.vnodes,
            counters: counters(turns, node, ring, links),
            levels: levels(node, ring),
        }
    }
}

fn counters(turns: u64, node: &NodeStats, ring: &Ring, links: &Links) -> Vec<Counter> {
    let ring = ring.stats();
    [
        ("turns", "Turns of the shard's loop", turns),
        ("frames", "Frames received whole", node.frames),
        ("frames_refused", "Frames refused", node.frames_refused),
        ("framing_lost", "Connections ended because framing was lost", node.framing_lost),
        ("connections_timed_out", "Connections ended for being silent or slow", node.timed_out),
        ("acks", "Acknowledgements written", node.acks),
        ("events_forwarded", "Events sent on to the shard of their tenant", node.events_forwarded),
        ("received_bytes", "Bytes received", ring.received_bytes),
        ("receives", "Completions that carried bytes", ring.receives),
        ("receives_starved", "Receives that waited for a buffer", ring.starved),
        ("ring_enters", "io_uring_enter calls", ring.enters),
        ("connections_accepted", "Connections accepted", ring.accepted),
        ("connections_turned_away", "Connections closed for want of room", ring.turned_away),
        ("accept_failures", "Accepts that failed", ring.accept_failures),
        ("sent_bytes", "Bytes sent", links.sent_bytes),
        ("sends_blocked", "Sends that found a full socket", links.blocked),
    ]
    .map(|(name, help, value)| Counter { name, help, value })
    .into()
}

fn levels(node: &NodeStats, ring: &Ring) -> Vec<Level> {
    let connections = ring.connections();
    let (credit, credit_high, credit_max) = node.credit;
    [
        (
            "connections",
            "Connections open",
            connections.open() as u64,
            connections.open_high() as u64,
            connections.connections_max() as u64,
        ),
        (
            "mesh_outbox",
            "Mails waiting for the slowest other shard",
            node.outbox_now,
            node.outbox_high,
            MESH_OUTBOX_MAX as u64,
        ),
        ("credit_bytes", "Credit granted beyond the initial one", credit, credit_high, credit_max),
        (
            "buffered_bytes",
            "Partial frames and unsent answers",
            node.buffered_bytes,
            node.buffered_high,
            node.buffered_max,
        ),
    ]
    .map(|(name, help, now, high_water, max)| Level { name, help, now, max, high_water })
    .into()
}
