//! The bounds of the server that no setting changes, and the range of each setting.

/// Shards of one process.
pub const SHARDS_MAX: usize = 256;
/// Panes of a window: a pane mask must fit a 64-bit word.
pub const PANES_MAX: u64 = 64;
/// Panes of a window: with one there would be nothing to slide.
pub const PANES_MIN: u64 = 2;
/// Shortest slide.
pub const SLIDE_MS_MIN: u64 = 100;
/// Longest slide, so that the longest window is 64 days.
pub const SLIDE_MS_MAX: u64 = 86_400_000;
/// Largest `tenants_max`.
pub const TENANTS_MAX_MAX: u64 = 16_000_000;
/// Largest `topics_max`.
pub const TOPICS_MAX_MAX: u64 = 1 << 30;
/// Largest `producers_max`.
pub const PRODUCERS_MAX_MAX: u64 = 1 << 24;
/// Largest `connections_max`.
pub const CONNECTIONS_MAX_MAX: u64 = 1_000_000;
/// Smallest window memory of a shard: a few chunks of the arena.
pub const WINDOW_BYTES_PER_SHARD_MIN: u64 = 8 << 20;
/// Largest window memory of a shard: block handles count 64-byte lines in 32 bits.
pub const WINDOW_BYTES_PER_SHARD_MAX: u64 = 64 * (u32::MAX as u64);

/// Mails waiting for one shard from the front desk; full: the caller gets OVERLOADED.
pub const DESK_MAIL_MAX: usize = 256;
/// Time a shard has to answer a mail; later: the caller gets OVERLOADED.
pub const DESK_ANSWER_MS_MAX: u64 = 2_000;
/// Open HTTP connections; more: accepted, told 503, closed.
pub const HTTP_CONNECTIONS_MAX: usize = 1_024;
/// Time an HTTP client has to send a request's head, also the first one.
pub const HTTP_HEAD_MS_MAX: u64 = 10_000;
/// Time an HTTP client has to send a request's body.
pub const HTTP_BODY_MS_MAX: u64 = 20_000;
/// Time an HTTP client may leave a reply unread before it is cut.
pub const HTTP_STALL_MS_MAX: u64 = 20_000;
/// Bytes of a request's head.
pub const HTTP_HEAD_BYTES_MAX: usize = 16 << 10;
/// Bytes of a request's body.
pub const HTTP_BODY_BYTES_MAX: usize = 1 << 20;
/// Request bodies being read and parsed at a time; more: OVERLOADED.
pub const HTTP_BODIES_MAX: usize = 32;
/// Rejected lines described in one reply; the rest are only counted.
pub const REJECTED_LINES_MAX: usize = 1_000;
/// Topics of one answer.
pub const ANSWER_TOPICS_MAX: usize = 100;
/// Tenants of one page of the tenant list.
pub const TENANT_PAGE_MAX: usize = 1_000;
/// Bytes of a name.
pub const NAME_BYTES_MAX: usize = 255;
/// Weight of one event.
pub const WEIGHT_MAX: u32 = 1_000_000_000;
/// How far an event may lie ahead of wall time.
pub const FUTURE_MS_MAX: u64 = 5_000;
/// Largest timestamp: the end of the year 9999.
pub const TS_MS_MAX: u64 = 253_402_300_799_999;

const _: () = assert!(HTTP_BODY_BYTES_MAX >= HTTP_HEAD_BYTES_MAX);
const _: () = assert!(DESK_ANSWER_MS_MAX < HTTP_STALL_MS_MAX);
