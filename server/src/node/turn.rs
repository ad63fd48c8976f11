//! The end of a turn: what is due by time, acknowledgements, and what the driver must do.

use super::peer::Life;
use super::{MESH_BATCH_MAX, MeshMail, Node, PeerId};
use trendsrv_proto::{GoAway, Kind, Refusal};
use trendsrv_shard::{Memory, Programs};

/// What the driver does for one connection.
#[derive(Debug)]
pub struct Output<'a> {
    /// Which.
    pub id: PeerId,
    /// Bytes to send; the driver removes those that were sent.
    pub bytes: &'a mut Vec<u8>,
    /// Whether to close it once all is sent.
    pub ends: bool,
    /// Whether reading should stop (or go on) from now on, when that changes.
    pub pause: Option<bool>,
}

impl<P: Programs, M: Memory> Node<P, M> {
    /// One turn's slice of what is due by time. Returns whether more is due at once.
    pub fn on_turn(&mut self) -> bool {
        let more = self.shard.on_turn(self.now_ms, &mut self.fx);
        self.run_effects();
        self.go_on();
        if self.is_congested() || self.is_log_congested() {
            self.deaf_ms = self.now_ms;
        }
        if self.now_ms >= self.scanned_ms + SCAN_MS {
            self.scanned_ms = self.now_ms;
            self.cut_silent();
        }
        more
    }

    /// Acknowledges, then hands out every connection with something to do.
    pub fn end_turn(&mut self, mut send: impl FnMut(Output<'_>)) {
        let mut touched = std::mem::take(&mut self.touched);
        for index in touched.drain(..) {
            let Some(Some(peer)) = self.peers.get_mut(index as usize) else { continue };
            peer.touched = false;
            if peer.greeted
                && let Some(ack) = peer.ledger.acknowledge(&mut self.credit)
            {
                ack.encode(&mut peer.out);
                self.counts.acks += 1;
            }
            peer.pour_updates();
            let before = peer.out.len();
            let ends = peer.is_done();
            let id = peer.id;
            loop {
                send(Output { id, bytes: &mut peer.out, ends, pause: None });
                if ends || !peer.out.is_empty() || peer.updates.is_empty() {
                    break;
                }
                // No writable socket will call for these: they would wait for the next change.
                peer.pour_updates();
            }
            // Judged by what is left: nobody comes back to a peer whose answers have all been sent.
            let choked = peer.is_choked();
            if !choked && peer.inbox.is_held() {
                self.held.push(id);
            }
            let pause = choked || peer.inbox.is_held();
            if pause != peer.paused {
                peer.paused = pause;
                send(Output { id, bytes: &mut peer.out, ends: false, pause: Some(pause) });
            }
            if peer.out.is_empty() {
                peer.stuck_since_ms = None;
                if peer.out.capacity() > OUT_KEEP_BYTES {
                    peer.out = Vec::new();
                }
            } else if peer.out.len() < before || peer.stuck_since_ms.is_none() {
                peer.stuck_since_ms = Some(self.now_ms);
            }
        }
        self.touched = touched;
    }

    /// Whether frames wait here that the next turn takes up.
    #[must_use]
    pub const fn has_held(&self) -> bool {
        !self.held.is_empty()
    }

    /// Takes up frames of peers that were choked and are not any more.
    fn go_on(&mut self) {
        let mut held = std::mem::take(&mut self.held);
        for id in held.drain(..) {
            self.on_bytes(id, &[]);
        }
        self.held = held;
    }

    /// The socket takes bytes again.
    pub fn on_writable(&mut self, id: PeerId) {
        if self.peer(id).is_some() {
            self.touch(id.index);
        }
    }

    /// The next batch for another shard, oldest first.
    pub fn take_batch(&mut self, shard: u16) -> Option<Vec<MeshMail>> {
        let outbox = &mut self.outbox[usize::from(shard)];
        let count = outbox.len().min(MESH_BATCH_MAX);
        (count > 0).then(|| outbox.drain(..count).collect())
    }

    /// Puts a batch back that the channel had no room for.
    pub fn put_back(&mut self, shard: u16, batch: Vec<MeshMail>) {
        let outbox = &mut self.outbox[usize::from(shard)];
        for mail in batch.into_iter().rev() {
            outbox.push_front(mail);
        }
    }

    /// Whether mail waits for other shards.
    #[must_use]
    pub fn has_mail(&self) -> bool {
        self.outbox.iter().any(|mails| !mails.is_empty())
    }

    pub(super) fn say_goodbye(&mut self, index: u32) {
        if let Some(Some(peer)) = self.peers.get_mut(index as usize) {
            let goodbye = GoAway { drain_ms: DRAIN_MS, message: "the server is shutting down" };
            goodbye.encode(&mut peer.out);
            self.touch(index);
        }
    }

    /// Ends connections whose answers have all been sent; called while draining.
    pub fn end_idle(&mut self) {
        for index in 0..self.peers.len() {
            if let Some(peer) = self.peers[index].as_deref_mut() {
                peer.life = Life::Ending;
                self.touch(u32::try_from(index).unwrap_or(u32::MAX));
            }
        }
    }

    /// Ends connections that keep the server waiting.
    fn cut_silent(&mut self) {
        let (now_ms, deaf_ms) = (self.now_ms, self.deaf_ms);
        let late = |since_ms: u64, max_ms: u64| now_ms > since_ms + max_ms;
        let silent = |since_ms: u64, max_ms: u64| late(since_ms.max(deaf_ms), max_ms);
        for index in 0..self.peers.len() {
            let Some(peer) = self.peers[index].as_deref_mut() else { continue };
            if peer.life == Life::Ending {
                continue;
            }
            let greets = !peer.greeted;
            let message = if greets && silent(peer.accepted_ms, HELLO_MS) {
                format!("no HELLO within {HELLO_MS} ms")
            } else if peer.inbox.partial_since_ms().is_some_and(|ms| silent(ms, FRAME_MS)) {
                format!("a frame was not complete within {FRAME_MS} ms")
            } else if peer.stuck_since_ms.is_some_and(|ms| late(ms, STUCK_MS)) {
                format!("answers were not read for {STUCK_MS} ms")
            } else {
                continue;
            };
            let why = super::frames::refusal(Refusal::Overloaded, message);
            peer.refuse((Kind::Hello as u8, 0), 0, &why);
            peer.life = Life::Ending;
            self.counts.timed_out += 1;
            self.touch(u32::try_from(index).unwrap_or(u32::MAX));
        }
    }
}

/// How often connections are looked at for silence.
const SCAN_MS: u64 = 100;
/// Time to say HELLO.
const HELLO_MS: u64 = 2_000;
/// Time to complete a frame.
const FRAME_MS: u64 = 5_000;
/// Time to read an answer.
const STUCK_MS: u64 = 30_000;
/// Time that GOAWAY gives.
const DRAIN_MS: u32 = 1_000;
/// Memory for answers that an idle connection keeps.
const OUT_KEEP_BYTES: usize = 16 << 10;
