//! The log of a shard, as bytes: what was applied, in its order, so that a restart applies it
//! again.
//!
//! Owns the layout of records, the chain of their checksums, and how a record is applied again.
//! Never touches a file, a block or a flush: the outside takes batches of bytes and says what is
//! durable.
//!
//! ```text
//! head (48 bytes)   0 len u32 | 4 kind u8 | 5 zero u8 | 6 vnode_low u16 | 8 vnode_high u16
//!                  10 zero u16 | 12 generation u32 | 16 lsn u64 | 24 ingest_ms u64
//!                  32 durable u64 | 40 prev_crc u32 | 44 crc u32
//! part (kind 1)    48 producer u64 | 56 seq u64 | 64 epoch u32 | 68 lane u16 | 70 flags u16
//!                  72 base_ms u64 | 80 span_min_ms u64 | 88 span_max_ms u64
//!                  96 records u32 | 100 texts u32 | 104 records (24 bytes each), then texts:
//!                  tenant u64 | weight u32 | offset_ms i32 | len u16 | bytes
//! names (kind 2)   48 entries u32 | 52 zero u32 | 56 per entry: id u64 | kind u8 | len u8 | name
//! ```
//!
//! Integers are little-endian; a record is padded with zeros to 8 bytes and `len` counts them.
//! `crc` is CRC32C over the whole record with `crc` as 0; `prev_crc` is that of the record before.
//! The range of vnodes is exact for at most [`VNODES_EXACT_MAX`] events, empty (low above high)
//! for none, and everything otherwise.
//!
//! Invariants
//! - log sequence numbers (LSN) are dense and begin at 1; 0 means nothing;
//! - what was applied is logged as it was received, before programs saw it; what was refused or
//!   counted before is not;
//! - bytes that are not the record expected never panic and are never taken for one.

mod append;
mod parse;
mod record;
mod replay;
#[cfg(test)]
mod tests;
mod writer;

pub(crate) use append::Log;
pub use parse::{BadRecord, Parsed, parse, peek};
pub use record::{
    Expect, HEAD_BYTES, LoggedNames, LoggedPart, LoggedTexts, RECORD_ALIGN, RECORD_BYTES_MAX,
    Record, RecordHead, VNODES_EXACT_MAX,
};
pub use replay::{ReplayScope, Replayed};
pub use writer::{BATCH_BYTES, Batch, LogSpace, LogStart, Writer};
