//! One shard's side of every conversation, without IO: bytes and mail go in, bytes and mail come
//! out.
//!
//! Owns the protocol state of the shard's connections, the way of events to their owners, and the
//! shard itself. Never touches a socket, a clock, a thread or the runtime: `drive` does.
//!
//! ```text
//!   on_bytes ─▶ inbox ─▶ frames ─▶ events ──┬─▶ shard (own tenants) ─▶ effects ─▶ peers' out
//!                                           └─▶ outbox (others')   ─▶ mesh
//!   on_durable ─▶ answers that waited for the disk ─▶ peers, outbox
//!   on_mail  ─▶ mail ─────────────────────────▶ shard, peers
//!   end_turn ─▶ acknowledgements, then whatever lies in `out` is the driver's to send
//! ```
//!
//! Invariants:
//! - nothing of a frame with an error is applied; its connection lives on unless framing is lost;
//! - every queue here is bounded: `out` and `updates` a connection, `outbox` a shard;
//! - a connection that has ended is never answered: its generation has passed.

mod durable;
mod events;
mod frames;
mod greet;
mod inbox;
mod ledger;
mod mail;
mod mesh;
mod peer;
mod peer_ref;
#[cfg(test)]
mod tests;
mod texts;
mod turn;
mod vnodes;

pub(crate) use durable::latencies;
pub use durable::{DURABLE_WAITERS_MAX, LOG_BACKLOG_BYTES_MAX};
pub use mesh::{
    AskMail, MESH_BATCH_MAX, MESH_BATCHES_MAX, MESH_OUTBOX_MAX, MeshMail, PartMail, TextMail,
};
pub use peer::Life;
pub use peer_ref::PeerId;
pub use turn::Output;
pub use vnodes::Vnodes;

use crate::desk::clerk::{ShardFacts, answer_mail, ingest_mail};
use crate::desk::host::DeskPrograms;
use crate::desk::mail::DeskMail;
use durable::{Held, Waiters};
use greet::Departures;
use ledger::CreditBudget;
use peer::Peer;
use peer_ref::reply_to;
use std::collections::VecDeque;
use trendsrv_proto::{Clock, EventRecord, ShardAddress};
use trendsrv_shard::{Effects, Lane, Memory, Programs, ReplyTo, Shard};

/// What a node knows of the process around it.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// This shard's number.
    pub shard: u16,
    /// Which shard owns what.
    pub vnodes: Vnodes,
    /// Where each shard listens for its own tenants' producers.
    pub addresses: Vec<ShardAddress>,
    /// Credit beyond the initial one that all connections may share, bytes.
    pub credit_bytes_max: u64,
}

/// See the module header.
#[derive(Debug)]
pub struct Node<P, M> {
    config: NodeConfig,
    clock: Clock,
    shard: Shard<P, M>,
    now_ms: u64,
    peers: Vec<Option<Box<Peer>>>,
    /// Peers with something to send or to acknowledge.
    touched: Vec<u32>,
    outbox: Vec<VecDeque<MeshMail>>,
    fx: Effects,
    credit: CreditBudget,
    counts: NodeStats,
    /// Records of a frame, by owner; empty between frames.
    routed: Vec<Vec<EventRecord>>,
    spare: Vec<Vec<EventRecord>>,
    departures: Departures,
    /// Peers with frames held back that may go on.
    held: Vec<PeerId>,
    /// Answers that wait for the disk.
    waiters: Waiters,
    now_us: u64,
    draining: bool,
    next_anonymous: u64,
    scanned_ms: u64,
    /// Until when nothing was read: silence before it is not the peers' own.
    deaf_ms: u64,
}

/// What a node counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeStats {
    /// Frames received whole.
    pub frames: u64,
    /// Frames refused before a shard saw them.
    pub frames_refused: u64,
    /// Connections ended because framing was lost.
    pub framing_lost: u64,
    /// Connections ended because they were silent or slow.
    pub timed_out: u64,
    /// Acknowledgements written.
    pub acks: u64,
    /// Events sent to other shards.
    pub events_forwarded: u64,
    /// Mails waiting for the slowest other shard.
    pub outbox_now: u64,
    /// Most mails that ever waited for one other shard.
    pub outbox_high: u64,
    /// Connections now.
    pub peers: u64,
    /// Bytes of partial frames and unsent answers now.
    pub buffered_bytes: u64,
    /// Most of them when anyone asked.
    pub buffered_high: u64,
    /// The most they can be with the connections there are.
    pub buffered_max: u64,
    /// Answers that wait for the disk now.
    pub durable_waiters: u64,
    /// Most of them ever.
    pub durable_waiters_high: u64,
    /// Credit granted beyond the initial one: now, most, limit.
    pub credit: (u64, u64, u64),
}

impl<P: Programs, M: Memory> Node<P, M> {
    /// A node around a shard, at this time.
    pub fn new(config: NodeConfig, mut shard: Shard<P, M>, now_ms: u64) -> Self {
        let shards = usize::from(config.vnodes.shards());
        Self {
            clock: shard.config().clock,
            waiters: Waiters::new(shard.log().as_deref()),
            now_us: 0,
            shard,
            now_ms,
            peers: Vec::new(),
            touched: Vec::new(),
            outbox: (0..shards).map(|_| VecDeque::new()).collect(),
            fx: Effects::default(),
            credit: CreditBudget::new(config.credit_bytes_max),
            counts: NodeStats::default(),
            routed: vec![Vec::new(); shards],
            spare: Vec::new(),
            departures: Departures::default(),
            held: Vec::new(),
            draining: false,
            next_anonymous: 1,
            scanned_ms: now_ms,
            deaf_ms: 0,
            config,
        }
    }

    /// Time has come this far, milliseconds since the epoch; it never goes back.
    pub fn set_now(&mut self, now_ms: u64) {
        self.now_ms = self.now_ms.max(now_ms);
    }

    /// A connection has come in.
    pub fn on_accept(&mut self, id: PeerId) {
        let index = id.index as usize;
        if self.peers.len() <= index {
            self.peers.resize_with(index + 1, || None);
        }
        let producer = self.next_anonymous << 8 | u64::from(self.config.shard);
        self.next_anonymous += 1;
        let lane = Lane { producer, lane: 0, anonymous: true };
        self.peers[index] = Some(Box::new(Peer::new(id, lane, self.now_ms)));
        self.counts.peers += 1;
        if self.draining {
            self.say_goodbye(id.index);
        }
    }

    /// A connection has gone.
    pub fn on_close(&mut self, id: PeerId) {
        if self.peer(id).is_none() {
            return;
        }
        let Some(peer) = self.peers[id.index as usize].take() else { return };
        self.counts.peers -= 1;
        self.credit.give_back(peer.ledger.borrowed());
        let from = self.reply_to(id);
        for (&tag, reading) in &peer.subscriptions {
            self.unsubscribe(from, tag, reading.tenant);
        }
        if peer.lane.anonymous && peer.produces {
            self.shard.on_forget(peer.lane);
            if peer.forwards {
                self.tell_others(|| MeshMail::Forget(peer.lane));
            }
        }
    }

    /// The peer has sent all it will: it is answered, then let go.
    pub fn on_half_close(&mut self, id: PeerId) {
        if let Some(peer) = self.peer(id) {
            if peer.inbox.is_held() {
                peer.half_closed = true;
            } else {
                peer.life = Life::Ending;
            }
            self.touch(id.index);
        }
    }

    /// Starts to drain: connections are told, and ended once they have been answered.
    pub fn drain(&mut self) {
        self.draining = true;
        for index in 0..self.peers.len() {
            if self.peers[index].is_some() {
                self.say_goodbye(u32::try_from(index).unwrap_or(u32::MAX));
            }
        }
    }

    /// Whether another shard's mail has piled up: read nothing until it has gone.
    #[must_use]
    pub fn is_congested(&self) -> bool {
        self.outbox.iter().any(|mails| mails.len() >= MESH_OUTBOX_MAX)
    }

    /// Connections now.
    #[must_use]
    pub const fn peers(&self) -> u64 {
        self.counts.peers
    }

    /// A request of the front desk; `facts` is what the driver knows for a report.
    pub fn on_desk_mail(&mut self, mail: DeskMail, facts: impl FnOnce() -> ShardFacts)
    where
        P: DeskPrograms,
    {
        if let DeskMail::Ingest(ingest) = mail {
            if self.is_log_congested() {
                return ingest.refuse_for_the_log();
            }
            let parked = ingest_mail(&mut self.shard, self.now_ms, ingest);
            match parked.lsn() {
                Some(lsn) if lsn > self.waiters.durable => {
                    self.hold_back(lsn, Held::Desk(parked));
                }
                Some(_) | None => parked.answer(),
            }
            return;
        }
        answer_mail(&mut self.shard, self.now_ms, mail, facts);
    }

    /// The shard itself, for what has nothing to do with connections.
    pub const fn shard_mut(&mut self) -> &mut Shard<P, M> {
        &mut self.shard
    }

    /// What was counted.
    pub fn stats(&mut self) -> NodeStats {
        let bytes: usize = self.peers.iter().flatten().map(|peer| peer.buffered_bytes()).sum();
        let counts = &mut self.counts;
        counts.buffered_bytes = bytes as u64;
        counts.buffered_high = counts.buffered_high.max(counts.buffered_bytes);
        counts.buffered_max = counts.peers * peer::BUFFERED_BYTES_MAX as u64;
        counts.outbox_now = self.outbox.iter().map(VecDeque::len).max().unwrap_or(0) as u64;
        counts.durable_waiters = self.waiters.len() as u64;
        counts.durable_waiters_high = self.waiters.high;
        counts.credit = (self.credit.used, self.credit.used_high, self.credit.credit_bytes_max);
        *counts
    }

    fn peer(&mut self, id: PeerId) -> Option<&mut Peer> {
        let peer = self.peers.get_mut(id.index as usize)?.as_deref_mut()?;
        (peer.id == id).then_some(peer)
    }

    fn reply_to(&self, id: PeerId) -> ReplyTo {
        reply_to(self.config.shard, id)
    }

    fn touch(&mut self, index: u32) {
        if let Some(Some(peer)) = self.peers.get_mut(index as usize)
            && !peer.touched
        {
            peer.touched = true;
            self.touched.push(index);
        }
    }

    fn post(&mut self, shard: u16, mail: MeshMail) {
        assert_ne!(shard, self.config.shard, "nobody carries mail from a shard to itself");
        let box_of = &mut self.outbox[usize::from(shard)];
        box_of.push_back(mail);
        self.counts.outbox_high = self.counts.outbox_high.max(box_of.len() as u64);
    }

    fn tell_others(&mut self, mail: impl Fn() -> MeshMail) {
        for shard in 0..self.config.vnodes.shards() {
            if shard != self.config.shard {
                self.post(shard, mail());
            }
        }
    }

    const fn is_alone(&self) -> bool {
        self.config.vnodes.shards() == 1
    }
}
