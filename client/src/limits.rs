//! Every limit of the client, in one place. Sizes are bytes, times milliseconds.

use trendsrv_proto::limits::{CREDIT_INITIAL, NAME_BYTES_MAX, TEXT_BYTES_MAX};

/// Bytes of an EVENTS frame before its records.
pub const EVENTS_HEAD_BYTES: usize = 40;
/// Bytes of one record.
pub const RECORD_BYTES: usize = 24;
/// Events in one frame at most: a new connection's first frame must fit its initial credit.
pub const BATCH_EVENTS_MAX: usize = 680;
/// Bytes of a text event before its tenant's name and its message.
pub const TEXT_HEAD_BYTES: usize = 12;
/// Bytes of one text event in a frame at most.
pub const TEXT_EVENT_BYTES_MAX: usize = TEXT_HEAD_BYTES + NAME_BYTES_MAX + TEXT_BYTES_MAX;
/// Bytes of a TEXT frame: as for [`BATCH_EVENTS_MAX`].
pub const TEXT_FRAME_BYTES_MAX: usize = 16 << 10;
/// Events in one frame unless configured otherwise; larger frames are not faster.
pub const BATCH_EVENTS: usize = 512;
/// Bytes of unacknowledged frames a session holds unless configured otherwise.
pub const IN_FLIGHT_BYTES_MAX: usize = 4 << 20;
/// Names a dictionary holds unless configured otherwise.
pub const NAMES_MAX: usize = 1 << 20;
/// Queries of one session that wait for their answer.
pub const QUERIES_MAX: usize = 1_024;
/// Bytes that one call of `poll_transmit` gathers before it stops adding frames.
pub const TRANSMIT_BYTES_MAX: usize = 256 << 10;
/// How long a batch waits for more events.
pub const LINGER_MS: u64 = 5;
/// How long HELLO_OK may take.
pub const GREETING_MS_MAX: u64 = 5_000;
/// How long a peer may be silent while it owes an answer.
pub const SILENCE_MS_MAX: u64 = 30_000;
/// First wait before a connection is tried again.
pub const BACKOFF_MS_MIN: u64 = 50;
/// Longest wait, before a retry and before a reconnection.
pub const BACKOFF_MS_MAX: u64 = 30_000;
/// Reports of refused events kept for the caller; older ones are only counted.
pub const REPORTS_MAX: usize = 256;
/// Updates of subscriptions kept for the caller; beyond it the oldest goes, as newer ones say more.
pub const UPDATES_MAX: usize = 1_024;

const _: () = assert!(
    (EVENTS_HEAD_BYTES + BATCH_EVENTS_MAX * RECORD_BYTES) as u64 <= CREDIT_INITIAL,
    "a first frame must fit the credit a connection starts with"
);
const _: () = assert!(TEXT_FRAME_BYTES_MAX as u64 <= CREDIT_INITIAL);
const _: () = assert!(EVENTS_HEAD_BYTES + TEXT_EVENT_BYTES_MAX <= TEXT_FRAME_BYTES_MAX);
const _: () = assert!(BATCH_EVENTS <= BATCH_EVENTS_MAX);
const _: () = assert!(BACKOFF_MS_MIN < BACKOFF_MS_MAX);
