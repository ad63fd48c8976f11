//! Every limit of the load generator, in one place. Sizes are bytes, times milliseconds.

use trendsrv_client::limits::{EVENTS_HEAD_BYTES, RECORD_BYTES};
use trendsrv_proto::limits::CREDIT_INITIAL;

/// Tenants of a scenario.
pub(crate) const TENANTS_MAX: u32 = 10_000_000;
/// Topics of one tenant.
pub(crate) const TOPICS_PER_TENANT_MAX: u32 = 4_096;
/// Connections of a scenario.
pub(crate) const CONNECTIONS_MAX: usize = 16_384;
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
/// How long Flink may take to say how far it is; a full collection of its heap fits in.
pub(crate) const FLINK_REPLY_MS_MAX: u64 = 30_000;
/// How long Flink may take until events flow: a Java process that starts on a busy core is slow.
pub(crate) const FLINK_START_MS_MAX: u64 = 180_000;
/// Bytes of one line of a recorded file.
pub(crate) const LINE_BYTES_MAX: usize = 64 << 10;
/// How long the tenants' programs may take to live, beyond the warm-up; longer for more than
/// 300,000 tenants.
pub(crate) const PROGRAMS_MS_MAX: u64 = 60_000;
/// Between two looks at whether they do.
pub(crate) const WATCH_MS: u64 = 50;
/// Tenants of a run that get a hostile program.
pub(crate) const HOSTILE_MAX: usize = 100_000;
/// Hostile programs of a scenario.
pub(crate) const HOSTILE_PROGRAMS_MAX: usize = 16;
/// How often the removal of a folder is tried, and the pause between two attempts.
pub(crate) const REMOVALS_MAX: u32 = 50;
pub(crate) const REMOVAL_PAUSE_MS: u64 = 10;
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
/// Questions without an answer on each connection that refreshes all tenants.
pub(crate) const REFRESH_IN_FLIGHT_MAX: usize = 1_024;
/// So many may wait for an answer although events go on; more when there are many tenants.
pub(crate) const REFRESH_WAITING_MIN: usize = 64;
/// They leave in steps of so many nanoseconds: a frame a write would cost the server more to
/// receive than to answer.
pub(crate) const REFRESH_STEP_NS: u64 = 1_000_000;
/// Threads of a system whose events perf counts: with more, counting would slow their switches.
pub(crate) const PERF_THREADS_MAX: usize = 256;
/// Mismatches explained in full; all are counted.
pub(crate) const EXPLAINED_MAX: usize = 10;
/// Bytes that wait for a socket besides event frames.
pub(crate) const CONTROL_BYTES_MAX: usize = 8 << 20;
/// Messages that wait for a tenant's thread of the foil; then its senders wait.
pub(crate) const NAIVE_QUEUE_MAX: usize = 32;
/// Names of topics that the foil keeps.
pub(crate) const NAIVE_NAMES_MAX: usize = 1 << 22;
/// Lanes of producers that the foil remembers.
pub(crate) const NAIVE_LANES_MAX: usize = 1 << 16;
/// Bytes of event frames that a client of the foil may be ahead, as trendsrv grants at most.
pub(crate) const NAIVE_CREDIT_BYTES: u64 = 512 << 10;
/// Smallest stack of a tenant's thread.
pub(crate) const NAIVE_STACK_BYTES_MIN: usize = 32 << 10;
/// How long the foil waits for HELLO.
pub(crate) const NAIVE_HELLO_MS_MAX: u64 = 2_000;
/// How long for the rest of a frame.
pub(crate) const NAIVE_FRAME_MS_MAX: u64 = 5_000;
/// How long for a client to read its answers.
pub(crate) const NAIVE_WRITE_MS_MAX: u64 = 30_000;

const _: () = assert!(
    (EVENTS_HEAD_BYTES + FRAME_EVENTS_MAX * RECORD_BYTES) as u64 <= CREDIT_INITIAL,
    "a first frame must fit the credit a connection starts with"
);
