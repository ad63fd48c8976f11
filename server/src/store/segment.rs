//! The first block of a segment: which records may stand in it.
//!
//! ```text
//!   block head | zero u16 | prev_crc u32 | number u64 | first_lsn u64 | … | crc
//! ```

use super::block::{BLOCK, BlockError, BlockReader, BlockWriter, Identity};

/// See the module header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    /// The how-many-th segment of its log it is, from 1.
    pub(super) number: u64,
    /// Its first record.
    pub(super) first_lsn: u64,
    /// The checksum of the record before that.
    pub(super) prev_crc: u32,
}

impl SegmentHeader {
    pub(super) fn encode(&self, identity: &Identity) -> [u8; BLOCK] {
        let mut writer = BlockWriter::new(MAGIC, VERSION, identity);
        writer.put(&[0; 2]);
        writer.put(&self.prev_crc.to_le_bytes());
        writer.put(&self.number.to_le_bytes());
        writer.put(&self.first_lsn.to_le_bytes());
        writer.seal()
    }

    pub(super) fn decode(bytes: &[u8], identity: &Identity) -> Result<Self, BlockError> {
        let mut reader = BlockReader::open(bytes, MAGIC, VERSION, identity)?;
        reader.u16();
        let prev_crc = reader.u32();
        Ok(Self { prev_crc, number: reader.u64(), first_lsn: reader.u64() })
    }
}

/// The format version of segments, and so of the records in them.
pub(super) const VERSION: u32 = 1;
const MAGIC: &[u8; 8] = b"TSRVSEGM";
