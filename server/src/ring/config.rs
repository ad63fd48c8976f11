//! The sizes of one shard's ring; every limit of the `ring` module is here.

use super::RingError;

/// How large a shard's ring, tables and turns are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RingConfig {
    /// Connections open at a time, those that are still being closed included.
    pub connections_max: u32,
    /// Listeners of this shard.
    pub listeners_max: u32,
    /// Receive buffers; a power of two. 16 of 64 KiB suit batches, 256 of 4 KiB small messages.
    pub buffers: u16,
    /// The size of one receive buffer in bytes.
    pub buffer_bytes: u32,
    /// Entries of the submission queue; a power of two. A full queue costs one more system call.
    pub submissions: u32,
    /// Entries of the completion queue; a power of two.
    pub completions: u32,
    /// Connections handed to the consumer in one poll.
    pub accepts_per_turn_max: u32,
    /// Accepted connections that wait for their turn; those beyond are closed.
    pub accept_backlog_max: u32,
    /// A poll stops handing out bytes once it has handed out this many.
    pub bytes_per_turn_max: usize,
    /// The first pause of a listener that ran out of descriptors; it doubles up to the maximum.
    pub accept_retry_ms_min: u32,
    /// The longest pause of a listener that ran out of descriptors.
    pub accept_retry_ms_max: u32,
}

impl Default for RingConfig {
    fn default() -> Self {
        Self {
            connections_max: 10_064,
            listeners_max: 4,
            buffers: 16,
            buffer_bytes: 64 << 10,
            submissions: 256,
            completions: 8_192,
            accepts_per_turn_max: 64,
            accept_backlog_max: 4_096,
            // 16k records of 24 bytes.
            bytes_per_turn_max: 384 << 10,
            accept_retry_ms_min: 10,
            accept_retry_ms_max: 1_000,
        }
    }
}

impl RingConfig {
    /// Memory the ring's buffers and tables take, in bytes.
    pub fn memory_bytes(&self) -> usize {
        let buffers = usize::from(self.buffers) * (self.buffer_bytes as usize + BUFFER_ENTRY_BYTES);
        let queues = self.submissions as usize * 64 + self.completions as usize * 16;
        let table = self.connections_max as usize * CONNECTION_BYTES;
        let waiting = self.accept_backlog_max as usize * ACCEPTED_BYTES;
        buffers + queues + table + waiting
    }

    /// Refuses sizes the kernel or the tokens cannot express.
    pub(super) fn check(&self) -> Result<(), RingError> {
        let rules = [
            (self.buffers.is_power_of_two() && self.buffers >= 2, "buffers", "a power of two >= 2"),
            (self.buffers <= 1 << 15, "buffers", "at most 32768"),
            (self.buffer_bytes >= 64, "buffer_bytes", "at least 64"),
            (self.buffer_bytes <= 1 << 24, "buffer_bytes", "at most 16 MiB"),
            (self.submissions.is_power_of_two(), "submissions", "a power of two"),
            (self.submissions >= 4, "submissions", "at least 4"),
            (self.completions.is_power_of_two(), "completions", "a power of two"),
            (self.completions > self.submissions, "completions", "more than submissions"),
            (self.connections_max <= INDEX_MAX, "connections_max", "at most 16777215"),
            (self.connections_max > 0, "connections_max", "at least 1"),
            (self.listeners_max <= INDEX_MAX, "listeners_max", "at most 16777215"),
            (self.accepts_per_turn_max > 0, "accepts_per_turn_max", "at least 1"),
            (self.accept_backlog_max > 0, "accept_backlog_max", "at least 1"),
            (self.bytes_per_turn_max > 0, "bytes_per_turn_max", "at least 1"),
            (self.accept_retry_ms_min > 0, "accept_retry_ms_min", "at least 1"),
            (
                self.accept_retry_ms_min <= self.accept_retry_ms_max,
                "accept_retry_ms_min",
                "at most accept_retry_ms_max",
            ),
        ];
        match rules.iter().find(|(kept, ..)| !kept) {
            None => Ok(()),
            Some(&(_, field, rule)) => Err(RingError::Config { field, rule }),
        }
    }
}

/// Indexes travel in 24 bits of a completion's token.
pub(super) const INDEX_MAX: u32 = (1 << 24) - 1;

const BUFFER_ENTRY_BYTES: usize = 16;
/// A table slot, its free-list entry, its places in the two work queues, a completion put off.
const CONNECTION_BYTES: usize = 48;
const ACCEPTED_BYTES: usize = 16;
