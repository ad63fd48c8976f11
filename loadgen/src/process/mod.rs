//! What the server process has used, read from the outside.

mod counters;
mod machine;
mod meter;
mod perf;
mod threads;

pub(crate) use counters::Counters;
pub(crate) use machine::Machine;
pub(crate) use meter::Meter;

use crate::os;
use anyhow::Context as _;
use std::time::Instant;
use threads::{Change, Threads};

/// The figures of one moment, of one process or of several that make up one system.
#[derive(Clone, Debug)]
pub(crate) struct Figures {
    moment: Moment,
    threads: Threads,
}

/// What was used between two moments.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Used {
    pub(crate) seconds: f64,
    pub(crate) cpu_ns: u64,
    pub(crate) user_s: f64,
    pub(crate) system_s: f64,
    pub(crate) voluntary: u64,
    pub(crate) involuntary: u64,
    pub(crate) rss_bytes_max: u64,
    pub(crate) counters: Counters,
}

impl Figures {
    /// Reads the figures of a process.
    pub(crate) fn read(pid: u32) -> anyhow::Result<Self> {
        Self::read_all(&[pid])
    }

    /// Reads the figures of several processes, summed up.
    pub(crate) fn read_all(pids: &[u32]) -> anyhow::Result<Self> {
        Ok(Self { moment: Moment::read(pids)?, threads: Threads::read(pids)? })
    }

    /// What was used since `earlier`.
    pub(crate) fn since(&self, earlier: &Self) -> Used {
        self.moment.since(&earlier.moment, &self.threads.since(&earlier.threads))
    }
}

/// What can be read at once, whatever the number of threads.
#[derive(Clone, Copy, Debug)]
struct Moment {
    at: Instant,
    /// CPU time of all threads, ended ones too, nanoseconds.
    cpu_ns: u64,
    stat: Stat,
    /// Most memory ever resident, bytes.
    rss_bytes_max: u64,
}

impl Moment {
    fn read(pids: &[u32]) -> anyhow::Result<Self> {
        let mut sum =
            Self { at: Instant::now(), cpu_ns: 0, stat: Stat::default(), rss_bytes_max: 0 };
        for &pid in pids {
            let read = |name: &str| {
                let path = format!("/proc/{pid}/{name}");
                std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))
            };
            sum.cpu_ns += os::process_cpu_ns(pid)?;
            let stat = Stat::parse(&read("stat")?);
            sum.stat = sum.stat.plus(stat.with_context(|| {
                format!("/proc/{pid}/stat is not laid out as Linux lays it out")
            })?);
            let resident = field(&read("status")?, "VmHWM");
            sum.rss_bytes_max +=
                resident.with_context(|| format!("no VmHWM in /proc/{pid}/status"))? * 1024;
        }
        Ok(sum)
    }

    /// The clock ticks say how the time splits between user space and kernel; its amount comes
    /// from the finer CPU clock.
    fn since(&self, earlier: &Self, threads: &Change) -> Used {
        let cpu_ns = self.cpu_ns.saturating_sub(earlier.cpu_ns);
        let stat = self.stat.since(&earlier.stat);
        let share = float(stat.user_ticks) / float((stat.user_ticks + stat.system_ticks).max(1));
        let cpu_s = float(cpu_ns) / 1e9;
        Used {
            seconds: self.at.duration_since(earlier.at).as_secs_f64(),
            cpu_ns,
            user_s: cpu_s * share,
            system_s: cpu_s * (1.0 - share),
            voluntary: threads.of.voluntary,
            involuntary: threads.of.involuntary,
            rss_bytes_max: self.rss_bytes_max,
            counters: Counters::new(&stat, threads),
        }
    }
}

/// What `/proc/PID/stat` counts; ended threads are among it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Stat {
    minor_faults: u64,
    major_faults: u64,
    user_ticks: u64,
    system_ticks: u64,
}

impl Stat {
    fn parse(stat: &str) -> Option<Self> {
        // The name in brackets may hold spaces; fields are counted from behind it.
        let (_, rest) = stat.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let field = |index: usize| fields.get(index)?.parse().ok();
        Some(Self {
            minor_faults: field(7)?,
            major_faults: field(9)?,
            user_ticks: field(11)?,
            system_ticks: field(12)?,
        })
    }

    const fn plus(self, other: Self) -> Self {
        Self {
            minor_faults: self.minor_faults + other.minor_faults,
            major_faults: self.major_faults + other.major_faults,
            user_ticks: self.user_ticks + other.user_ticks,
            system_ticks: self.system_ticks + other.system_ticks,
        }
    }

    const fn since(&self, earlier: &Self) -> Self {
        Self {
            minor_faults: self.minor_faults.saturating_sub(earlier.minor_faults),
            major_faults: self.major_faults.saturating_sub(earlier.major_faults),
            user_ticks: self.user_ticks.saturating_sub(earlier.user_ticks),
            system_ticks: self.system_ticks.saturating_sub(earlier.system_ticks),
        }
    }
}

/// A count as a float; counts of this program are far below 2^53.
#[expect(clippy::cast_precision_loss, reason = "counts here are far below 2^53")]
pub(crate) const fn float(n: u64) -> f64 {
    n as f64
}

fn field(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_its_own_figures() {
        let before = Figures::read(std::process::id()).unwrap();
        let used = Figures::read(std::process::id()).unwrap().since(&before);
        assert!(used.rss_bytes_max > 100_000 && used.cpu_ns > 0, "{used:?}");
        assert!((used.user_s + used.system_s) * 1e9 <= float(used.cpu_ns) + 1.0);
    }

    #[test]
    fn stat_is_read_behind_a_name_with_brackets_and_spaces() {
        let stat = Stat::parse("12 (a b) c) S 1 2 3 4 5 6 70 8 90 10 111 222 0");
        let want = Stat { minor_faults: 70, major_faults: 90, user_ticks: 111, system_ticks: 222 };
        assert_eq!(stat, Some(want));
        assert_eq!(Stat::parse("12 (a) S 1 2 3"), None);
        assert_eq!(field("VmHWM:\t  12 kB\nvoluntary_ctxt_switches:\t3", "VmHWM"), Some(12));
    }
}
