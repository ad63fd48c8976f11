//! Every limit of the store, in one place. Sizes are bytes, times microseconds.

/// A block: what a disk writes whole, or so we ask of it. Commits begin on one.
pub const BLOCK_BYTES: u64 = 4_096;
/// Bytes of one commit.
pub const COMMIT_BYTES_MAX: usize = 1 << 20;
/// Pending bytes that are written without waiting for more.
pub const COMMIT_FULL_BYTES: usize = 256 << 10;
/// How long the oldest pending record waits for more, when nobody waits for it.
pub const COMMIT_WAIT_US_MAX: u64 = 2_000;
/// Between two superblocks.
pub const SUPERBLOCK_EVERY_US: u64 = 100_000;
/// Between two looks at spares that could not be made.
pub const TICK_EVERY_US: u64 = 1_000_000;
/// Spare segments that stay when a busy time has used them between two snapshots: the next one
/// will, too.
pub const SPARES_RECYCLED_MAX: usize = 256;
/// Bytes of a new spare or a snapshot that are written before they are synced: as long as this
/// takes, a segment that is wanted waits.
pub const SYNC_BYTES: u64 = 4 << 20;
/// Spare segments that are made ahead.
pub const SPARES_MAX: usize = 2;
/// A segment, unless the settings say otherwise.
pub const SEGMENT_BYTES_DEFAULT: u64 = 64 << 20;
/// The least a segment may have.
pub const SEGMENT_BYTES_MIN: u64 = 4 * BLOCK_BYTES;
/// Bytes of a manifest.
pub const MANIFEST_BYTES_MAX: u64 = 64 << 10;
/// Bytes of one section of a snapshot.
pub const SECTION_BYTES_MAX: u64 = 1 << 30;
/// Log since the last snapshot that makes the next one due: what a start has to read, and the disk to
/// hold. The segments it frees are used again, which spares the zeros of new ones.
pub const SNAPSHOT_LOG_BYTES: u64 = 1 << 30;
/// Pieces of a snapshot that wait for the disk.
pub const SNAPSHOT_PARTS_MAX: usize = 4;
/// Memory of a piece that is kept for the next ones.
pub const SNAPSHOT_MEMORY_KEPT_BYTES: usize = 1 << 20;
/// Bytes read from a file at once.
pub const READ_BYTES: usize = 1 << 20;
/// Names of tenants that a report of damage tells.
pub const TENANTS_TOLD_MAX: usize = 16;

const _: () = assert!(COMMIT_FULL_BYTES <= COMMIT_BYTES_MAX);
const _: () = assert!(COMMIT_BYTES_MAX.is_multiple_of(4_096));
