//! Every limit of the load generator, in one place. Sizes are bytes, times milliseconds.

use trendsrv_client::limits::{EVENTS_HEAD_BYTES, RECORD_BYTES};
use trendsrv_proto::limits::CREDIT_INITIAL;

/// Tenants of a scenario.
pub(crate) const TENANTS_MAX: u32 = 10_000_000;
/// Topics of one tenant.
pub(crate) const TOPICS_PER_TENANT_MAX: u32 = 4_096;
/// Connections of a scenario.
pub(crate) const CONNECTIONS_MAX: usize = 4_096;
/// Events in a generated frame: a new connection's first frame must fit its initial credit.
pub(crate) const FRAME_EVENTS_MAX: usize = 680;
/// Bytes of generated frames.
pub(crate) const POOL_BYTES_MAX: usize = 4 << 30;
/// Tenants counted exactly and checked at the end.
pub(crate) const SAMPLE_MAX: usize = 10_000;
/// Longest latency a histogram holds, nanoseconds; longer ones are counted as over range.
pub(crate) const LATENCY_NS_MAX: u64 = 120_000_000_000;
/// How long the last acknowledgements may take.
pub(crate) const DRAIN_MS_MAX: u64 = 30_000;
/// How long a spawned server may take to be ready, and to end.
pub(crate) const SERVER_MS_MAX: u64 = 60_000;
/// Bytes of one line of a recorded file.
pub(crate) const LINE_BYTES_MAX: usize = 64 << 10;
/// How long the tenants' programs may take to live, beyond the warm-up.
pub(crate) const PROGRAMS_MS_MAX: u64 = 60_000;
/// Between two looks at whether they do.
pub(crate) const WATCH_MS: u64 = 50;
/// Tenants of a run that get a hostile program.
pub(crate) const HOSTILE_MAX: usize = 100_000;
/// Hostile programs of a scenario.
pub(crate) const HOSTILE_PROGRAMS_MAX: usize = 16;
/// How long a GET may take.
pub(crate) const GET_MS_MAX: u64 = 5_000;
/// How long a PUT may take: a program is compiled meanwhile.
pub(crate) const PUT_MS_MAX: u64 = 60_000;
/// Bytes of a program, as the server takes it.
pub(crate) const PROGRAM_BYTES_MAX: u64 = 1 << 20;
/// Bytes of one HTTP reply.
pub(crate) const REPLY_BYTES_MAX: u64 = 16 << 20;
/// Kills of one crash test.
pub(crate) const CRASH_CYCLES_MAX: u64 = 1_000_000;
/// Tenants of a crash test.
pub(crate) const CRASH_TENANTS_MAX: i64 = 10_000;
/// Producers of a crash test: a window of few topics is exact.
pub(crate) const CRASH_PRODUCERS_MAX: i64 = 12;
/// Events of one producer of a crash test without an acknowledgement.
pub(crate) const CRASH_IN_FLIGHT_MAX: u64 = 20_000;
/// Threads of a system whose events perf counts: with more, counting would slow their switches.
pub(crate) const PERF_THREADS_MAX: usize = 256;
/// Mismatches explained in full; all are counted.
pub(crate) const EXPLAINED_MAX: usize = 10;
/// Bytes that wait for a socket besides event frames.
pub(crate) const CONTROL_BYTES_MAX: usize = 8 << 20;

const _: () = assert!(
    (EVENTS_HEAD_BYTES + FRAME_EVENTS_MAX * RECORD_BYTES) as u64 <= CREDIT_INITIAL,
    "a first frame must fit the credit a connection starts with"
);
