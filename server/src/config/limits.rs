//! The bounds of the server that no setting changes, and the range of each setting.
//!
//! Those of names, weights and times are `trendsrv_proto::limits`, those of windows
//! `trendsrv_shard::limits`.

/// Largest `tenants_max`: a shard numbers its tenants in 24 bits.
pub const TENANTS_MAX_MAX: u64 = 16_000_000;
/// Largest `topics_max`.
pub const TOPICS_MAX_MAX: u64 = 1 << 30;
/// Largest `producers_max`.
pub const PRODUCERS_MAX_MAX: u64 = 1 << 24;
/// Largest `connections_max`.
pub const CONNECTIONS_MAX_MAX: u64 = 1_000_000;

/// Shortest time between two snapshots.
pub const SNAPSHOT_INTERVAL_MS_MIN: u64 = 1_000;
/// Longest time between two snapshots (one day): the log grows meanwhile.
pub const SNAPSHOT_INTERVAL_MS_MAX: u64 = 86_400_000;
/// Smallest file of the log: several of the largest commits.
pub const LOG_SEGMENT_BYTES_MIN: u64 = 8 << 20;
/// Largest file of the log.
pub const LOG_SEGMENT_BYTES_MAX: u64 = 4 << 30;

/// Mails waiting for one shard from the front desk; full: the caller gets OVERLOADED.
pub const DESK_MAIL_MAX: usize = 256;
/// Time a shard has to answer a mail; later: the caller gets OVERLOADED.
pub const DESK_ANSWER_MS_MAX: u64 = 2_000;
/// Time a shard has to answer a mail that waits for the disk; later: the outcome is unknown.
pub const DESK_DURABLE_MS_MAX: u64 = 10_000;
/// Threads beside the front desk that load programs and write their journal; more work waits.
pub const DESK_HELPERS_MAX: usize = 4;
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
/// Lines of a request's body: one shard may have to count them all in one turn.
pub const HTTP_LINES_MAX: usize = 16_384;
/// Rejected lines described in one reply; the rest are only counted.
pub const REJECTED_LINES_MAX: usize = 1_000;
/// Tenants of one page of the tenant list: each costs its shard the reading of a window.
pub const TENANT_PAGE_MAX: usize = 250;

/// CPU time that compiling one program may take.
pub const COMPILE_CPU_SECONDS_MAX: u64 = 10;
/// Address space of a process that compiles a program.
pub const COMPILE_MEMORY_BYTES_MAX: u64 = 1 << 30;
/// Time from the start to the end of a process that compiles a program.
pub const COMPILE_MS_MAX: u64 = 20_000;
/// Programs being compiled at a time; more wait.
pub const COMPILES_AT_ONCE_MAX: usize = 2;
/// Programs that wait or are being compiled; more: OVERLOADED.
pub const COMPILES_WAITING_MAX: usize = 16;
/// Bytes of one program's artefact.
pub const ARTEFACT_BYTES_MAX: usize = 16 << 20;
/// Bytes of all artefacts that a server runs; more: TOO_LARGE.
pub const CODE_BYTES_MAX: usize = 64 << 20;
/// Bytes of all artefacts in the cache; more: the oldest leave.
pub const CACHE_BYTES_MAX: u64 = 256 << 20;
/// Uploaded programs; more: TOO_LARGE.
pub const PROGRAMS_MAX: usize = 256;
/// Tenants with a program of their own, over all shards; more: TOO_LARGE.
pub const ASSIGNMENTS_MAX: usize = 1 << 20;
/// Bytes of the journal of programs.
pub const JOURNAL_BYTES_MAX: u64 = 1 << 30;

const _: () = assert!(CODE_BYTES_MAX >= ARTEFACT_BYTES_MAX);
const _: () = assert!(COMPILES_WAITING_MAX >= COMPILES_AT_ONCE_MAX);
const _: () = assert!(COMPILE_MS_MAX > COMPILE_CPU_SECONDS_MAX * 1_000);
const _: () = assert!(PROGRAMS_MAX + 8 <= trendsrv_wasm_host::limits::PROGRAMS_MAX);
const _: () = assert!(HTTP_BODY_BYTES_MAX >= trendsrv_wasm_host::limits::PROGRAM_BYTES_MAX);
const _: () = assert!(HTTP_BODY_BYTES_MAX >= HTTP_HEAD_BYTES_MAX);
const _: () = assert!(DESK_ANSWER_MS_MAX < DESK_DURABLE_MS_MAX);
const _: () = assert!(DESK_DURABLE_MS_MAX < HTTP_STALL_MS_MAX);
