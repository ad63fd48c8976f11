//! A block of fixed fields: what segment headers and superblocks are made of.
//!
//! ```text
//!    0 magic [8] | 8 version u32 | 12 generation u32 | 16 uuid u128 | 32 shard u16 | 34 fields …
//! 4092 CRC32C of all bytes before, u32
//! ```
//!
//! Invariant: little endian; a block of which any bit changed is not read.

use super::limits::BLOCK_BYTES;

/// Bytes of a block, for arrays.
pub(super) const BLOCK: usize = 4_096;
const _: () = assert!(BLOCK as u64 == BLOCK_BYTES);

/// To which log a file belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Of the data directory.
    pub uuid: u128,
    /// Of the map of shards.
    pub generation: u32,
    /// Whose log it is.
    pub shard: u16,
}

/// Why a block is not read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BlockError {
    #[error("the file ends inside the block")]
    Short,
    #[error("it does not begin as it should")]
    Magic,
    #[error("its checksum is {found:#010x} and should be {expected:#010x}")]
    Checksum { expected: u32, found: u32 },
    #[error("its format version is {found}")]
    Newer { found: u32 },
    #[error("it belongs to another {0}")]
    Other(&'static str),
}

/// Puts fields into a block.
pub(super) struct BlockWriter {
    bytes: [u8; BLOCK],
    at: usize,
}

impl BlockWriter {
    pub(super) fn new(magic: &[u8; 8], version: u32, identity: &Identity) -> Self {
        let mut writer = Self { bytes: [0; BLOCK], at: 0 };
        writer.put(magic);
        writer.put(&version.to_le_bytes());
        writer.put(&identity.generation.to_le_bytes());
        writer.put(&identity.uuid.to_le_bytes());
        writer.put(&identity.shard.to_le_bytes());
        writer
    }

    pub(super) fn put(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes[self.at..self.at + bytes.len()].copy_from_slice(bytes);
        self.at += bytes.len();
        self
    }

    pub(super) fn seal(mut self) -> [u8; BLOCK] {
        let crc = crc32c::crc32c(&self.bytes[..CRC_AT]);
        self.bytes[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        self.bytes
    }
}

/// Reads fields of a block in the order they were put.
#[derive(Debug)]
pub(super) struct BlockReader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> BlockReader<'a> {
    /// Checks the block and that it belongs here.
    pub(super) fn open(
        bytes: &'a [u8],
        magic: &[u8; 8],
        version: u32,
        identity: &Identity,
    ) -> Result<Self, BlockError> {
        let bytes = bytes.get(..BLOCK).ok_or(BlockError::Short)?;
        if bytes[..8] != *magic {
            return Err(BlockError::Magic);
        }
        let mut reader = Self { bytes, at: CRC_AT };
        let (expected, found) = (crc32c::crc32c(&bytes[..CRC_AT]), reader.u32());
        if expected != found {
            return Err(BlockError::Checksum { expected, found });
        }
        reader.at = 8;
        let found = reader.u32();
        if found != version {
            return Err(BlockError::Newer { found });
        }
        if reader.u32() != identity.generation {
            return Err(BlockError::Other("generation"));
        }
        if u128::from_le_bytes(reader.take()) != identity.uuid {
            return Err(BlockError::Other("data directory"));
        }
        if reader.u16() != identity.shard {
            return Err(BlockError::Other("shard"));
        }
        Ok(reader)
    }

    pub(super) fn u8(&mut self) -> u8 {
        self.take::<1>()[0]
    }

    pub(super) fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.take())
    }

    pub(super) fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take())
    }

    pub(super) fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.take())
    }

    /// A block is longer than all its fields: the reader's own code decides how many there are.
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let mut field = [0; N];
        field.copy_from_slice(&self.bytes[self.at..self.at + N]);
        self.at += N;
        field
    }
}

const CRC_AT: usize = BLOCK - 4;
