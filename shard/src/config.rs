//! What a shard is told at start.

use crate::grid::Grid;
use trendsrv_proto::Clock;

/// Settings of one shard. Memory follows from them: see the size functions beside each table.
#[derive(Clone, Copy, Debug)]
pub struct ShardConfig {
    /// Window and slide.
    pub grid: Grid,
    /// What moves windows.
    pub clock: Clock,
    /// Tenants this shard may hold.
    pub tenants_max: usize,
    /// Topic names this shard may hold.
    pub topics_max: usize,
    /// Producer lanes whose marks this shard may hold.
    pub producers_max: usize,
    /// Events that may wait for their pane to open.
    pub early_max: usize,
    /// Subscriptions this shard may hold.
    pub subscriptions_max: usize,
    /// Bytes that the sample messages of this shard may take.
    pub sample_bytes_max: usize,
    /// Secret of the process that ids are mixed with, so that nobody can aim at a bucket.
    pub secret: [u64; 2],
}

/// Fewest events that may wait for their pane.
pub const EARLY_MAX_DEFAULT: usize = 65_536;
/// Bytes of sample messages a shard takes when nobody says otherwise: some 8,000 busy tenants'.
pub const SAMPLE_BYTES_MAX_DEFAULT: usize = 64 << 20;
