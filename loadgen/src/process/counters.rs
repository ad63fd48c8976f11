//! What a process cost besides CPU time.

use super::perf::Counted;
use super::threads::Change;
use super::{Stat, float};
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

    /// With what perf counted.
    pub(super) fn with(mut self, counted: Counted) -> Self {
        self.context_switches = counted.switches;
        self.dtlb_misses = counted.tlb_misses;
        self.llc_misses = counted.cache_misses;
        self.unavailable.extend(counted.unavailable);
        self
    }

    /// What it cost a second, in a line for a person; what is missing on lines of their own.
    pub(crate) fn line(&self, seconds: f64, events: u64) -> String {
        let a_second = |count: u64| float(count) / seconds.max(1e-9);
        let mut line = format!(
            "  counters    {:.1} migrations/s, {:.1} page faults/s, {:.1} of them from disk, run queue \
             {:.2} % of a core",
            a_second(self.cpu_migrations),
            a_second(self.minor_faults + self.major_faults),
            a_second(self.major_faults),
            a_second(self.run_delay_ns) / 1e7,
        );
        for (misses, name) in [(self.dtlb_misses, "TLB"), (self.llc_misses, "cache")] {
            if let Some(misses) = misses {
                let each = float(misses) / float(events.max(1));
                line.push_str(&format!(", {each:.3} {name} misses/event"));
            }
        }
        line.push('\n');
        for missing in &self.unavailable {
            line.push_str(&format!("              not counted: {missing}\n"));
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_what_was_counted_and_what_was_not() {
        let counters = Counters {
            cpu_migrations: 6,
            minor_faults: 3,
            major_faults: 1,
            run_delay_ns: 42_000_000,
            dtlb_misses: Some(500),
            unavailable: vec!["cache misses: no counters".to_owned()],
            ..Counters::default()
        };
        let line = counters.line(2.0, 1_000);
        assert_eq!(
            line,
            "  counters    3.0 migrations/s, 2.0 page faults/s, 0.5 of them from disk, run queue \
             2.10 % of a core, 0.500 TLB misses/event\n              not counted: cache misses: no \
             counters\n"
        );
    }

    #[test]
    fn threads_that_ended_and_kernels_that_do_not_tell_are_named() {
        let counters = Counters::new(&Stat::default(), &Change { ended: 3, ..Change::default() });
        assert_eq!(counters.unavailable.len(), 3, "{counters:?}");
        assert!(counters.unavailable[2].contains("3 threads that ended"), "{counters:?}");
    }
}
