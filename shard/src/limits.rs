//! Every bound of the shard, in one place.
//!
//! Bounds that depend on each other are tied by the assertions at the end of this file.

/// Fewest panes a window may have: one that fills while another is still counted.
pub const PANES_MIN: u32 = 2;
/// Most panes a window may have.
pub const PANES_MAX: u32 = 64;
/// Shortest slide, in milliseconds: below it expiry would cost more than counting.
pub const SLIDE_MS_MIN: u64 = 100;
/// Longest slide, in milliseconds (one day): keeps `panes * slide` far from overflow.
pub const SLIDE_MS_MAX: u64 = 86_400_000;
/// Largest weight of one event. The smallest is 1.
pub const WEIGHT_MAX: u32 = trendsrv_proto::limits::WEIGHT_MAX;
/// The recent span of a trend, in milliseconds (at least one pane, and fewer than all of them).
pub const RECENT_MS: u64 = 10_000;
/// Topics a window of each tier can hold exactly.
///
/// The sizes are chosen so that a row (8 bytes of head and one 16-bit cell a topic) is 32, 128,
/// 512 … bytes and never straddles a cache line needlessly.
pub const TIER_SLOTS: [usize; TIERS_MAX] = [12, 60, 252, 508, 1020, 2044, 4092];
/// Number of tiers.
pub const TIERS_MAX: usize = 7;
/// Most topics any window tracks at a time.
pub const SLOTS_MAX: usize = TIER_SLOTS[TIERS_MAX - 1];
/// Smallest arena chunk, in bytes: one huge page.
pub const CHUNK_BYTES_MIN: usize = 2 << 20;
/// Largest arena, in bytes: a block's place is a 32-bit number of 64-byte lines.
pub const ARENA_BYTES_MAX: u64 = (u32::MAX as u64) << 6;
/// Most topics one answer ranks.
pub const RANK_MAX: usize = SLOTS_MAX;
/// Topics that are ranked for a program at least, however few a reader asks for.
pub const PROGRAM_TOPICS_MIN: usize = 10;
/// Topics that a program is shown at most.
pub const PROGRAM_TOPICS_MAX: usize = 32;
/// Topics of one text.
pub const TEXT_TOPICS_MAX: usize = 32;
/// Topics of a tenant that have sample messages.
pub const SAMPLE_TOPICS_MAX: usize = 16;
/// Messages kept of one topic: the sample, and those that become it when it expires.
pub const SAMPLES_PER_TOPIC_MAX: usize = 8;
/// Bytes of a sample message.
pub const SAMPLE_TEXT_BYTES_MAX: usize = 160;
/// Largest number of a frame in its producer's sequence; the smallest is 1.
pub const SEQ_MAX: u64 = (1 << 62) - 1;
/// Bytes of the log that may wait to be written before parts are refused: far more than a server
/// lets wait that reads its sockets only while the disk keeps up.
pub const LOG_BACKLOG_BYTES_MAX: usize = 64 << 20;

const _: () = {
    assert!(PANES_MIN >= 2 && PANES_MIN <= PANES_MAX);
    // The header of the first tier holds 16 one-byte tags.
    assert!(TIER_SLOTS[0] <= 16);
    // An index entry is 16 bits and keeps `slot + 1` in at most 12 of them.
    assert!(SLOTS_MAX < 1 << 12);
    assert!(PROGRAM_TOPICS_MIN <= PROGRAM_TOPICS_MAX);
    assert!(SAMPLE_TEXT_BYTES_MAX <= trendsrv_proto::limits::TEXT_BYTES_MAX);
    // One that reigns now, one that was offered last, and one between them to give up.
    assert!(SAMPLES_PER_TOPIC_MAX >= 3);
    assert!((SLIDE_MS_MAX as u128) * (PANES_MAX as u128) < 1 << 40);
};
