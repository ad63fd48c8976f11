//! The name of a connection anywhere in the process.

use trendsrv_shard::ReplyTo;

/// A connection's table index and generation within its shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PeerId {
    /// The table slot, reused by later connections.
    pub index: u32,
    /// Which of the connections that had the slot one after another.
    pub generation: u32,
}

/// Packs shard (8 bits), index (24 bits) and generation (32 bits).
pub(crate) fn reply_to(shard: u16, peer: PeerId) -> ReplyTo {
    assert!(shard < 1 << 8 && peer.index < 1 << 24, "{shard}/{peer:?} cannot be named");
    ReplyTo(u64::from(shard) << 56 | u64::from(peer.index) << 32 | u64::from(peer.generation))
}

/// The shard and connection a [`ReplyTo`] names.
#[expect(clippy::cast_possible_truncation, reason = "each part is cut to its own width")]
pub(crate) const fn peer_of(to: ReplyTo) -> (u16, PeerId) {
    let index = (to.0 >> 32) as u32 & 0xff_ffff;
    ((to.0 >> 56) as u16, PeerId { index, generation: to.0 as u32 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packing_loses_nothing() {
        let peer = PeerId { index: 0xff_fffe, generation: u32::MAX };
        assert_eq!(peer_of(reply_to(255, peer)), (255, peer));
    }
}
