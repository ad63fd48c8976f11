//! HELLO: what each owner knows of a producer, gathered into where it goes on.
//!
//! ```text
//!   HELLO ─▶ Settle to every shard ─▶ Settled        no part of the lane is on its way any more
//!         ─▶ Greet to every owner  ─▶ Greeted        next and refused frame there
//!         ─▶ HELLO_OK next_seq
//! ```
//!
//! Invariant: owners are asked only once nothing of the lane's earlier connections is on its way to
//! any of them. A part that arrived behind a later one would be taken for a duplicate, and one that
//! is refused after its owner was asked would not come again.

use super::frames::refusal;
use super::ledger::{Ledger, Start};
use super::peer::Life;
use super::peer_ref::peer_of;
use super::{MeshMail, Node, PeerId};
use std::collections::BTreeMap;
use trendsrv_proto::{AckMode, Hello, Kind, Refusal, Welcome};
use trendsrv_shard::{Lane, Memory, Programs, ReplyTo, Standing, fenced};

/// Parts of named lanes on their way to other shards, and the connections that wait for them.
/// Bounded by what is on its way and by the connections of the process.
#[derive(Debug, Default)]
pub(super) struct Departures {
    parts: BTreeMap<(u64, u16), u32>,
    waiting: Vec<(Lane, ReplyTo)>,
}

impl Departures {
    /// A part leaves.
    pub(super) fn leaves(&mut self, lane: Lane) {
        if !lane.anonymous {
            *self.parts.entry((lane.producer, lane.lane)).or_default() += 1;
        }
    }

    /// A part was answered; returns the connections that waited for it.
    fn returns(&mut self, lane: Lane) -> Vec<ReplyTo> {
        let key = (lane.producer, lane.lane);
        let last = match self.parts.get_mut(&key).filter(|_| !lane.anonymous) {
            Some(count) => {
                *count -= 1;
                *count == 0
            }
            None => false,
        };
        if !last {
            return Vec::new();
        }
        self.parts.remove(&key);
        self.waiting.extract_if(.., |(waiting, _)| *waiting == lane).map(|(_, to)| to).collect()
    }

    fn has(&self, lane: Lane) -> bool {
        self.parts.contains_key(&(lane.producer, lane.lane))
    }
}

impl<P: Programs, M: Memory> Node<P, M> {
    pub(super) fn on_hello(&mut self, id: PeerId, which: (u8, u32), hello: &Hello<'_>) {
        if hello.ack == AckMode::Durable && self.shard.log().is_none() {
            let message = "acknowledgement mode durable needs a log, and this server has none: \
                           use applied, or start it with --data-dir and without --no-log"
                .to_owned();
            return self.end(id, which, &refusal(Refusal::Unsupported, message));
        }
        let from = self.reply_to(id);
        let shards = self.config.vnodes.shards();
        let Some(peer) = self.peer(id) else { return };
        peer.ack = hello.ack;
        peer.epoch = hello.epoch;
        peer.ledger = Ledger::new(hello.ack != AckMode::None);
        if hello.producer == 0 {
            return self.welcome(id);
        }
        let lane = Lane { producer: hello.producer, lane: hello.lane, anonymous: false };
        peer.lane = lane;
        peer.life = Life::Settling(shards);
        self.tell_others(|| MeshMail::Settle { from, lane });
        self.on_settle(from, lane);
    }

    /// A producer is back: its connection hears of it once no part of its lane is on its way.
    pub(super) fn on_settle(&mut self, from: ReplyTo, lane: Lane) {
        if self.departures.has(lane) {
            self.departures.waiting.push((lane, from));
        } else {
            self.tell_settled(from);
        }
    }

    /// A part of this lane has been answered by its owner.
    pub(super) fn on_return(&mut self, lane: Lane) {
        for to in self.departures.returns(lane) {
            self.tell_settled(to);
        }
    }

    fn tell_settled(&mut self, to: ReplyTo) {
        let (shard, id) = peer_of(to);
        if shard == self.config.shard {
            self.on_settled(id);
        } else {
            self.post(shard, MeshMail::Settled { to });
        }
    }

    /// One shard has nothing of the lane on its way.
    pub(super) fn on_settled(&mut self, id: PeerId) {
        let shards = self.config.vnodes.shards();
        let (from, owner) = (self.reply_to(id), self.config.shard);
        let Some(peer) = self.peer(id) else { return };
        let Life::Settling(missing) = peer.life else { return };
        if missing > 1 {
            peer.life = Life::Settling(missing - 1);
            return;
        }
        peer.life = Life::Greeting(shards);
        let (lane, epoch) = (peer.lane, peer.epoch);
        self.tell_others(|| MeshMail::Greet { from, lane, epoch });
        let standing = self.shard.on_greet(lane, epoch);
        self.on_greeted(id, owner, standing);
    }

    /// A producer has said hello at another shard.
    pub(super) fn on_greet(&mut self, from: ReplyTo, lane: Lane, epoch: u32) {
        let standing = self.shard.on_greet(lane, epoch);
        let owner = self.config.shard;
        self.post(peer_of(from).0, MeshMail::Greeted { to: from, owner, standing });
    }

    /// One owner has told where the producer stands with it.
    pub(super) fn on_greeted(&mut self, id: PeerId, owner: u16, standing: Result<Standing, u32>) {
        let Some(peer) = self.peer(id) else { return };
        let Life::Greeting(missing) = peer.life else { return };
        match standing {
            Ok(standing) => {
                peer.standing = peer.standing.and(standing);
                if let Some((_, last)) = standing.refused {
                    peer.refused_by.push((owner, last));
                }
                peer.life = Life::Greeting(missing - 1);
                if missing == 1 {
                    peer.ledger.await_first(start_of(&peer.standing));
                    self.welcome(id);
                }
            }
            Err(epoch) => self.end(id, (Kind::Hello as u8, 0), &fenced(epoch)),
        }
        self.touch(id.index);
    }

    fn welcome(&mut self, id: PeerId) {
        let (clock, grid) = (self.clock, self.shard.config().grid);
        let (shard, now_ms) = (self.config.shard, self.now_ms);
        let generation = self.config.vnodes.generation;
        let Some(Some(peer)) = self.peers.get_mut(id.index as usize) else { return };
        peer.life = Life::Open;
        peer.greeted = true;
        let welcome = Welcome {
            ack: peer.ack,
            clock,
            generation,
            server_time_ms: now_ms,
            credit_until: peer.ledger.credit_until(),
            next_seq: peer.ledger.next_seq(),
            slide_ms: u32::try_from(grid.slide_ms()).unwrap_or(u32::MAX),
            panes: grid.panes(),
            shard,
        };
        welcome.encode(&mut peer.out, self.config.vnodes.owners(), &self.config.addresses);
    }
}

fn start_of(standing: &Standing) -> Start {
    let Standing { known, recovered, .. } = *standing;
    Start { next: standing.next_seq(), known, recovered }
}
