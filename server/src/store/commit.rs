//! The head of a commit: what one write put into a segment.
//!
//! ```text
//!   segment  = header block | commit | commit | … | blocks of zeros, or of what it held before
//!   commit   = head (64 bytes) | records | zeros up to a block's boundary
//!   head     = 0 magic u32 | 4 crc u32 | 8 segment u64 | 16 first_lsn u64 | 24 last_lsn u64
//!              32 bytes u64 (of the records) | 40 prev_crc u32 | 44 last_crc u32 | 48 zero [16]
//! ```
//!
//! One write is in flight at most, so a head also says that all records before its first were
//! durable when it was written: this is what tells damage from a torn tail.
//!
//! Invariants:
//! - `crc` covers the head and, before it, what names the log: directory, generation and shard. No
//!   bytes that a producer sent, nor those of another log, are taken for a head;
//! - the segment's number in it tells a commit from one that a recycled file held before.

use super::block::Identity;

/// See the module header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CommitHead {
    pub(super) segment: u64,
    pub(super) first_lsn: u64,
    pub(super) last_lsn: u64,
    pub(super) bytes: u64,
    pub(super) prev_crc: u32,
    pub(super) last_crc: u32,
}

impl CommitHead {
    pub(super) fn encode(&self, identity: &Identity) -> [u8; HEAD] {
        let mut head = [0; HEAD];
        head[..4].copy_from_slice(MAGIC);
        head[8..16].copy_from_slice(&self.segment.to_le_bytes());
        head[16..24].copy_from_slice(&self.first_lsn.to_le_bytes());
        head[24..32].copy_from_slice(&self.last_lsn.to_le_bytes());
        head[32..40].copy_from_slice(&self.bytes.to_le_bytes());
        head[40..44].copy_from_slice(&self.prev_crc.to_le_bytes());
        head[44..48].copy_from_slice(&self.last_crc.to_le_bytes());
        let crc = crc_of(&head, identity);
        head[4..8].copy_from_slice(&crc.to_le_bytes());
        head
    }

    /// The head at the start of these bytes, if there is one of this log, of whatever segment.
    pub(super) fn decode(bytes: &[u8], identity: &Identity) -> Option<Self> {
        let head = bytes.first_chunk::<HEAD>()?;
        if head[..4] != *MAGIC || u32_at(head, 4) != crc_of(head, identity) {
            return None;
        }
        Some(Self {
            segment: u64_at(head, 8),
            first_lsn: u64_at(head, 16),
            last_lsn: u64_at(head, 24),
            bytes: u64_at(head, 32),
            prev_crc: u32_at(head, 40),
            last_crc: u32_at(head, 44),
        })
    }
}

fn crc_of(head: &[u8; HEAD], identity: &Identity) -> u32 {
    let mut crc = crc32c::crc32c(&identity.uuid.to_le_bytes());
    crc = crc32c::crc32c_append(crc, &identity.generation.to_le_bytes());
    crc = crc32c::crc32c_append(crc, &identity.shard.to_le_bytes());
    crc = crc32c::crc32c_append(crc, &head[..4]);
    crc32c::crc32c_append(crc, &head[8..])
}

fn u64_at(head: &[u8; HEAD], at: usize) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&head[at..at + 8]);
    u64::from_le_bytes(bytes)
}

fn u32_at(head: &[u8; HEAD], at: usize) -> u32 {
    let mut bytes = [0; 4];
    bytes.copy_from_slice(&head[at..at + 4]);
    u32::from_le_bytes(bytes)
}

/// Bytes of a head. Records behind it stay on their 8-byte boundaries.
pub(super) const HEAD: usize = 64;
const MAGIC: &[u8; 4] = b"TSCM";

#[cfg(test)]
mod tests {
    use super::*;

    const IDENTITY: Identity = Identity { uuid: 77, generation: 3, shard: 1 };
    const COMMIT: CommitHead = CommitHead {
        segment: 4,
        first_lsn: 1_000,
        last_lsn: 1_041,
        bytes: 9_192,
        prev_crc: 0x1122_3344,
        last_crc: 0x5566_7788,
    };

    #[test]
    fn is_read_back_and_no_changed_bit_goes_unseen() {
        let head = COMMIT.encode(&IDENTITY);
        assert_eq!(CommitHead::decode(&head, &IDENTITY), Some(COMMIT));
        for bit in 0..HEAD * 8 {
            let mut changed = head;
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(CommitHead::decode(&changed, &IDENTITY), None, "bit {bit}");
        }
        assert_eq!(CommitHead::decode(&head[..HEAD - 1], &IDENTITY), None);
    }

    #[test]
    fn another_logs_head_is_none() {
        let head = COMMIT.encode(&IDENTITY);
        for other in [
            Identity { uuid: 78, ..IDENTITY },
            Identity { generation: 4, ..IDENTITY },
            Identity { shard: 2, ..IDENTITY },
        ] {
            assert_eq!(CommitHead::decode(&head, &other), None);
        }
    }
}
