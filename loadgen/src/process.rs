//! What the server process has used, read from the outside.

use crate::os;
use anyhow::Context as _;
use std::time::Instant;

/// The figures of one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figures {
    /// When they were read.
    pub(crate) at: Instant,
    /// CPU time of all threads, nanoseconds.
    pub(crate) cpu_ns: u64,
    /// Of it in user space, clock ticks.
    user_ticks: u64,
    /// Of it in the kernel, clock ticks.
    system_ticks: u64,
    /// Context switches of all living threads.
    pub(crate) voluntary: u64,
    /// As above, preempted.
    pub(crate) involuntary: u64,
    /// Most memory ever resident, bytes.
    pub(crate) rss_bytes_max: u64,
}

/// What was used between two moments.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Used {
    pub(crate) seconds: f64,
    pub(crate) cpu_ns: u64,
    pub(crate) user_s: f64,
    pub(crate) system_s: f64,
    pub(crate) voluntary: u64,
    pub(crate) involuntary: u64,
    pub(crate) rss_bytes_max: u64,
}

impl Figures {
    /// Reads the figures of a process.
    pub(crate) fn read(pid: u32) -> anyhow::Result<Self> {
        let at = Instant::now();
        let cpu_ns = os::process_cpu_ns(pid)?;
        let read = |path: String| {
            std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))
        };
        let (user_ticks, system_ticks) =
            ticks(&read(format!("/proc/{pid}/stat"))?).context("/proc/PID/stat is unreadable")?;
        let (mut voluntary, mut involuntary) = (0, 0);
        let tasks = format!("/proc/{pid}/task");
        for task in std::fs::read_dir(&tasks).with_context(|| format!("cannot read {tasks}"))? {
            let path = task?.path().join("status");
            // A thread may end between the listing and the reading.
            let Ok(status) = std::fs::read_to_string(path) else { continue };
            voluntary += field(&status, "voluntary_ctxt_switches").unwrap_or(0);
            involuntary += field(&status, "nonvoluntary_ctxt_switches").unwrap_or(0);
        }
        let status = read(format!("/proc/{pid}/status"))?;
        let rss_bytes_max = field(&status, "VmHWM").context("no VmHWM in /proc/PID/status")? * 1024;
        Ok(Self { at, cpu_ns, user_ticks, system_ticks, voluntary, involuntary, rss_bytes_max })
    }

    /// What was used since `earlier`. The clock ticks say how the time splits between user space
    /// and kernel; its amount comes from the finer CPU clock.
    pub(crate) fn since(&self, earlier: &Self) -> Used {
        let cpu_ns = self.cpu_ns.saturating_sub(earlier.cpu_ns);
        let user = self.user_ticks.saturating_sub(earlier.user_ticks);
        let system = self.system_ticks.saturating_sub(earlier.system_ticks);
        let share = float(user) / float((user + system).max(1));
        let cpu_s = float(cpu_ns) / 1e9;
        Used {
            seconds: self.at.duration_since(earlier.at).as_secs_f64(),
            cpu_ns,
            user_s: cpu_s * share,
            system_s: cpu_s * (1.0 - share),
            voluntary: self.voluntary.saturating_sub(earlier.voluntary),
            involuntary: self.involuntary.saturating_sub(earlier.involuntary),
            rss_bytes_max: self.rss_bytes_max,
        }
    }
}

/// A count as a float; counts of this program are far below 2^53.
#[expect(clippy::cast_precision_loss, reason = "counts here are far below 2^53")]
pub(crate) const fn float(n: u64) -> f64 {
    n as f64
}

fn ticks(stat: &str) -> Option<(u64, u64)> {
    // The name in brackets may hold spaces; fields are counted from behind it.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

fn field(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The machine, as the reports name it.
#[derive(Default, Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Machine {
    pub(crate) cpu: String,
    pub(crate) cores: u64,
    pub(crate) kernel: String,
    pub(crate) memory_bytes: u64,
}

impl Machine {
    /// This machine.
    pub(crate) fn read() -> Self {
        let text = |path| std::fs::read_to_string(path).unwrap_or_default();
        let cpuinfo = text("/proc/cpuinfo");
        let model = cpuinfo.lines().find(|line| line.starts_with("model name"));
        let cpu = model.and_then(|line| line.split_once(':')).map_or("unknown", |(_, m)| m.trim());
        let cores = cpuinfo.lines().filter(|line| line.starts_with("processor")).count();
        Self {
            cpu: cpu.to_owned(),
            cores: cores as u64,
            kernel: text("/proc/sys/kernel/osrelease").trim().to_owned(),
            memory_bytes: field(&text("/proc/meminfo"), "MemTotal").unwrap_or(0) * 1024,
        }
    }
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
        assert!(Machine::read().cores > 0);
    }

    #[test]
    fn stat_is_read_behind_a_name_with_brackets_and_spaces() {
        let stat = "12 (a b) c) S 1 2 3 4 5 6 7 8 9 10 111 222 0";
        assert_eq!(ticks(stat), Some((111, 222)));
        assert_eq!(field("VmHWM:\t  12 kB\nvoluntary_ctxt_switches:\t3", "VmHWM"), Some(12));
    }
}
