//! One connection as the protocol sees it.
//!
//! ```text
//!   accepted ──HELLO──▶ Settling ─▶ Greeting ──all owners' marks──▶ Open ──lost framing──▶ Ending
//!       │                   └── one shard, or anonymous: at once
//!       └── no HELLO within 2 s, or a bad one ─────────────────────────────────────▶ Ending
//! ```
//!
//! Invariants:
//! - answers wait in `out`, bounded by `OUT_BYTES_MAX`: past it no frame is taken, and the
//!   connection is not read;
//! - an UPDATE that finds `out` long waits in `updates`, where a newer one takes its place.

use super::frames::write_refusal;
use super::inbox::Inbox;
use super::ledger::Ledger;
use super::peer_ref::PeerId;
use std::collections::BTreeMap;
use trendsrv_proto::limits::{FRAME_BYTES_MAX, SUBSCRIPTIONS_MAX};
use trendsrv_proto::{AckMode, Rank, TenantId};
use trendsrv_shard::{Lane, Refused, Standing};

/// Where a connection is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// Nothing but HELLO may come.
    Accepted,
    /// Parts of earlier connections come to rest; this many shards have not said so.
    Settling(u16),
    /// The owners' marks are being gathered; this many answers are missing.
    Greeting(u16),
    /// Everything may come.
    Open,
    /// What is in `out` is still sent; nothing more is read.
    Ending,
}

/// One subscription of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading {
    pub(crate) tenant: TenantId,
    pub(crate) rank: Rank,
    pub(crate) k: u16,
}

/// See the module header.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) id: PeerId,
    pub(crate) life: Life,
    pub(crate) accepted_ms: u64,
    pub(crate) inbox: Inbox,
    pub(crate) ledger: Ledger,
    pub(crate) lane: Lane,
    pub(crate) epoch: u32,
    /// What the owners have said of the lane so far.
    pub(crate) standing: Standing,
    /// Owners that turned frames away, and the last of those: they hear of every frame up to it
    /// again, whatever is in it then.
    pub(crate) refused_by: Vec<(u16, u64)>,
    /// Why the first refused frame was, while parts are on their way.
    pub(crate) refusal: Option<Refused>,
    /// HELLO_OK has been sent: before that nothing is acknowledged.
    pub(crate) greeted: bool,
    /// The peer has sent all it will; frames it sent are still held back.
    pub(crate) half_closed: bool,
    pub(crate) ack: AckMode,
    /// Has sent events: it can be asked for names.
    pub(crate) produces: bool,
    /// Has sent events of tenants of other shards: its names go to all of them.
    pub(crate) forwards: bool,
    pub(crate) subscriptions: BTreeMap<u32, Reading>,
    pub(crate) updates: BTreeMap<u32, Vec<u8>>,
    pub(crate) out: Vec<u8>,
    /// Questions other shards have not answered yet.
    pub(crate) asked: u32,
    /// In the list of those with something to send this turn.
    pub(crate) touched: bool,
    /// Since when `out` has not moved.
    pub(crate) stuck_since_ms: Option<u64>,
    pub(crate) paused: bool,
}

impl Peer {
    pub(crate) fn new(id: PeerId, lane: Lane, now_ms: u64) -> Self {
        Self {
            id,
            life: Life::Accepted,
            accepted_ms: now_ms,
            inbox: Inbox::default(),
            ledger: Ledger::new(true),
            lane,
            epoch: 0,
            standing: Standing::NEW,
            refused_by: Vec::new(),
            refusal: None,
            greeted: false,
            half_closed: false,
            ack: AckMode::None,
            produces: false,
            forwards: false,
            subscriptions: BTreeMap::new(),
            updates: BTreeMap::new(),
            out: Vec::new(),
            asked: 0,
            touched: false,
            stuck_since_ms: None,
            paused: false,
        }
    }

    /// Whether answers have piled up so that it should not be read for now.
    pub(crate) const fn is_choked(&self) -> bool {
        self.out.len() > OUT_BYTES_MAX || self.asked >= ASKED_MAX
    }

    /// Whether all that came in before its end has been answered.
    pub(crate) fn is_done(&self) -> bool {
        self.life == Life::Ending && self.asked == 0 && self.ledger.is_settled()
    }

    /// Bytes held for this connection.
    pub(crate) fn buffered_bytes(&self) -> usize {
        let updates: usize = self.updates.values().map(Vec::len).sum();
        self.inbox.capacity() + self.out.capacity() + updates
    }

    /// Writes a refusal of the frame `kind` with `seq`.
    pub(crate) fn refuse(&mut self, which: (u8, u32), seq: u64, why: &Refused) {
        let expected_seq = why.expected_seq.unwrap_or_else(|| self.ledger.next());
        write_refusal(&mut self.out, which, (seq, expected_seq), why);
    }

    /// Takes an UPDATE: at once while the peer keeps up, otherwise in place of an older one.
    pub(crate) fn update(&mut self, tag: u32, frame: &[u8]) {
        if self.out.len() < OUT_UPDATE_MAX && !self.updates.contains_key(&tag) {
            self.out.extend_from_slice(frame);
        } else {
            self.updates.insert(tag, frame.to_vec());
        }
    }

    /// Moves waiting UPDATEs behind what has been sent.
    pub(crate) fn pour_updates(&mut self) {
        while self.out.len() < OUT_UPDATE_MAX {
            let Some((_, frame)) = self.updates.pop_first() else { return };
            self.out.extend_from_slice(&frame);
        }
    }
}

/// The most one connection can hold: a partial frame, answers, those that other shards are asked
/// for, and an UPDATE for each subscription. Memory that grows is taken twice at most.
pub(crate) const BUFFERED_BYTES_MAX: usize = 2 * FRAME_BYTES_MAX
    + 2 * (OUT_BYTES_MAX + (ASKED_MAX as usize + 1) * ANSWER_BYTES_MAX)
    + SUBSCRIPTIONS_MAX * ANSWER_BYTES_MAX;
/// The largest answer: 100 topics with names of 255 bytes, the head, the one line.
const ANSWER_BYTES_MAX: usize = 32 << 10;
/// Questions to other shards without an answer, past which the connection is not read.
const ASKED_MAX: u32 = 16;
/// Answers beyond this stop reading from the connection.
pub(crate) const OUT_BYTES_MAX: usize = 256 << 10;
/// UPDATEs beyond this wait, one a subscription.
const OUT_UPDATE_MAX: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_update_never_comes_behind_a_newer_one() {
        let lane = Lane { producer: 1, lane: 0, anonymous: true };
        let mut peer = Peer::new(PeerId { index: 0, generation: 0 }, lane, 0);
        peer.out = vec![0; OUT_UPDATE_MAX];
        peer.update(1, b"old");
        peer.update(2, b"other");
        // The peer has read, and before the turn ends there is news.
        peer.out.clear();
        peer.update(1, b"new");
        peer.pour_updates();
        assert_eq!(peer.out, b"newother");
    }
}
