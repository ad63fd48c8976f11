//! Every limit of the wire, in one place. Sizes are bytes, times milliseconds.

/// Bytes of a whole frame, header included.
pub const FRAME_BYTES_MAX: usize = 1 << 20;
/// Bytes of the frame header.
pub const HEADER_BYTES: usize = 16;
/// Events in one EVENTS, EVENTS_NAMED or TEXT frame.
pub const FRAME_EVENTS_MAX: usize = 4_096;
/// Bytes of a tenant or topic name.
pub const NAME_BYTES_MAX: usize = 255;
/// Bytes of a text event and of a sample.
pub const TEXT_BYTES_MAX: usize = 4_096;
/// Entries in one DEFINE or NEED frame.
pub const NAMES_PER_FRAME_MAX: usize = 4_096;
/// Subscriptions of one connection.
pub const SUBSCRIPTIONS_MAX: usize = 64;
/// Topics in one answer.
pub const TOP_K_MAX: usize = 100;
/// Weight of one event; the least is 1.
pub const WEIGHT_MAX: u32 = 1_000_000_000;
/// Largest event time, the last millisecond of the year 9999.
pub const TIME_MS_MAX: u64 = 253_402_300_799_999;
/// How far ahead of the server's clock an event may be.
pub const FUTURE_MS_MAX: u64 = 5_000;
/// Bytes of a message in REFUSE and GOAWAY.
pub const MESSAGE_BYTES_MAX: usize = 512;
/// Bytes of the software name in HELLO.
pub const SOFTWARE_BYTES_MAX: usize = 64;
/// Bytes of a one-line summary.
pub const TLDR_BYTES_MAX: usize = 512;
/// Virtual nodes: the unit in which shards own tenants.
pub const VNODES: usize = 4_096;
/// Shards of one process.
pub const SHARDS_MAX: usize = 256;
/// Credit in bytes of EVENTS frames that a connection starts with.
pub const CREDIT_INITIAL: u64 = 16 << 10;

const _: () = assert!(VNODES.is_power_of_two());
const _: () = assert!(FRAME_EVENTS_MAX * 24 + 40 <= FRAME_BYTES_MAX);
const _: () = assert!(NAMES_PER_FRAME_MAX * 16 + 24 <= FRAME_BYTES_MAX);
const _: () = assert!(TOP_K_MAX * (56 + NAME_BYTES_MAX + TEXT_BYTES_MAX) <= FRAME_BYTES_MAX);
