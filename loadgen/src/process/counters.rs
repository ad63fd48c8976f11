//! What a process cost besides CPU time.

use super::Stat;
use super::threads::Change;
use serde::{Deserialize, Serialize};

/// Counts over a measurement, of all processes of the system measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Counters {
    /// Moves of threads from one core to another.
    pub(crate) cpu_migrations: u64,
    /// Page faults served without a disk.
    pub(crate) minor_faults: u64,
    /// Page faults that waited for a disk.
    pub(crate) major_faults: u64,
    /// Time that threads were ready and did not run, summed over all threads.
    pub(crate) run_delay_ns: u64,
    /// Context switches as perf counts them: threads that ended in between are among them.
    pub(crate) context_switches: Option<u64>,
    /// Loads whose page was not in the data TLB.
    pub(crate) dtlb_misses: Option<u64>,
    /// Accesses that the last level of cache did not hold.
    pub(crate) llc_misses: Option<u64>,
    /// Each counter that is missing, and why.
    pub(crate) unavailable: Vec<String>,
}

impl Counters {
    pub(super) fn new(stat: &Stat, threads: &Change) -> Self {
        let mut unavailable = Vec::new();
        let mut or_zero = |count: Option<u64>, missing: &str| {
            if count.is_none() {
                unavailable.push(missing.to_owned());
            }
            count.unwrap_or(0)
        };
        let cpu_migrations = or_zero(
            threads.of.migrations,
            "migrations: this kernel has no /proc/PID/task/TID/sched",
        );
        let run_delay_ns = or_zero(
            threads.of.run_delay_ns,
            "run queue: this kernel has no /proc/PID/task/TID/schedstat",
        );
        if threads.ended > 0 {
            unavailable.push(format!(
                "switches, migrations and run queue of {} threads that ended while it was measured",
                threads.ended
            ));
        }
        Self {
            cpu_migrations,
            minor_faults: stat.minor_faults,
            major_faults: stat.major_faults,
            run_delay_ns,
            unavailable,
            ..Self::default()
        }
    }
}
