//! What each thread of some processes did, as the scheduler counts it.
//!
//! ```text
//! /proc/PID/task/TID/sched      switches of both kinds, migrations between cores
//! /proc/PID/task/TID/schedstat  running ns, waiting-to-run ns, time slices
//! ```
//!
//! Threads are compared one by one: a thread that began in between counts from nothing, and one
//! that ended takes what it did since the first look with it. Sums over all threads would lose the
//! ended thread's whole life instead, and could shrink.

use super::field;
use anyhow::Context as _;
use std::collections::HashMap;

/// The counts of one thread since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Thread {
    /// Switches because the thread waited for something.
    pub(super) voluntary: u64,
    /// Switches because another thread was to run.
    pub(super) involuntary: u64,
    /// Moves from one core to another; not told by every kernel.
    pub(super) migrations: Option<u64>,
    /// Time in the run queue, ready and not running; not told by every kernel.
    pub(super) run_delay_ns: Option<u64>,
}

/// The threads of some processes, by thread id.
#[derive(Clone, Debug, Default)]
pub(super) struct Threads(HashMap<u32, Thread>);

/// What the threads did between two looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) of: Thread,
    /// Threads that ended in between.
    pub(super) ended: usize,
}

impl Threads {
    /// Looks at the living threads of some processes.
    pub(super) fn read(pids: &[u32]) -> anyhow::Result<Self> {
        let mut threads = HashMap::new();
        for tid in Self::ids(pids)? {
            // A thread may end between the listing and the reading.
            if let Some(thread) = read(tid) {
                threads.insert(tid, thread);
            }
        }
        Ok(Self(threads))
    }

    /// The ids of the living threads of some processes.
    pub(super) fn ids(pids: &[u32]) -> anyhow::Result<Vec<u32>> {
        let mut ids = Vec::new();
        for pid in pids {
            let tasks = format!("/proc/{pid}/task");
            for task in std::fs::read_dir(&tasks).with_context(|| format!("cannot read {tasks}"))? {
                ids.extend(task?.file_name().to_str().and_then(|id| id.parse::<u32>().ok()));
            }
        }
        Ok(ids)
    }

    /// What they did since an earlier look.
    pub(super) fn since(&self, earlier: &Self) -> Change {
        let none = Thread { migrations: Some(0), run_delay_ns: Some(0), ..Thread::default() };
        let of = self.0.iter().fold(none, |sum, (tid, now)| {
            sum.plus(earlier.0.get(tid).map_or(*now, |before| now.since(before)))
        });
        Change { of, ended: earlier.0.keys().filter(|tid| !self.0.contains_key(tid)).count() }
    }
}

impl Thread {
    /// An id can be given to another thread; its counts begin anew, so that they are smaller.
    fn since(&self, before: &Self) -> Self {
        let change = || {
            Some(Self {
                voluntary: self.voluntary.checked_sub(before.voluntary)?,
                involuntary: self.involuntary.checked_sub(before.involuntary)?,
                migrations: self
                    .migrations
                    .zip(before.migrations)
                    .map(|(a, b)| a.saturating_sub(b)),
                run_delay_ns: match (self.run_delay_ns, before.run_delay_ns) {
                    (Some(now), Some(before)) => Some(now.checked_sub(before)?),
                    _ => None,
                },
            })
        };
        change().unwrap_or(*self)
    }

    fn plus(self, other: Self) -> Self {
        let both = |one: Option<u64>, two: Option<u64>| Some(one? + two?);
        Self {
            voluntary: self.voluntary + other.voluntary,
            involuntary: self.involuntary + other.involuntary,
            migrations: both(self.migrations, other.migrations),
            run_delay_ns: both(self.run_delay_ns, other.run_delay_ns),
        }
    }
}

/// `/proc/TID` leads to a thread, too, though no listing of `/proc` shows it.
fn read(tid: u32) -> Option<Thread> {
    let text = |name| std::fs::read_to_string(format!("/proc/{tid}/task/{tid}/{name}")).ok();
    let thread = match text("sched") {
        Some(sched) => parse_sched(&sched)?,
        None => parse_status(&text("status")?)?,
    };
    Some(Thread { run_delay_ns: text("schedstat").and_then(|s| parse_schedstat(&s)), ..thread })
}

fn parse_sched(sched: &str) -> Option<Thread> {
    let value = |name: &str| {
        let line = sched.lines().find(|line| line.split([' ', ':']).next() == Some(name))?;
        line.rsplit_once(':')?.1.trim().parse::<u64>().ok()
    };
    Some(Thread {
        voluntary: value("nr_voluntary_switches")?,
        involuntary: value("nr_involuntary_switches")?,
        migrations: value("se.nr_migrations"),
        run_delay_ns: None,
    })
}

fn parse_status(status: &str) -> Option<Thread> {
    Some(Thread {
        voluntary: field(status, "voluntary_ctxt_switches")?,
        involuntary: field(status, "nonvoluntary_ctxt_switches")?,
        ..Thread::default()
    })
}

fn parse_schedstat(schedstat: &str) -> Option<u64> {
    schedstat.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHED: &str = "cat (29120, #threads: 1)\n\
        -------------------------------------------------------------------\n\
        se.sum_exec_runtime                          :             0.000000\n\
        se.nr_migrations                             :                    7\n\
        nr_switches                                  :                   12\n\
        nr_voluntary_switches                        :                    9\n\
        nr_involuntary_switches                      :                    3\n";

    #[test]
    fn the_kernels_words_are_read() {
        let thread =
            Thread { voluntary: 9, involuntary: 3, migrations: Some(7), run_delay_ns: None };
        assert_eq!(parse_sched(SCHED), Some(thread));
        assert_eq!(parse_sched("nr_switches : 12"), None);
        let status = "voluntary_ctxt_switches:\t9\nnonvoluntary_ctxt_switches:\t3\n";
        assert_eq!(parse_status(status), Some(Thread { migrations: None, ..thread }));
        assert_eq!(parse_schedstat("166467 48623 1\n"), Some(48_623));
        assert_eq!(parse_schedstat("0\n"), None);
    }

    #[test]
    fn threads_are_compared_one_by_one() {
        let thread = |voluntary, run_delay_ns| Thread {
            voluntary,
            migrations: Some(1),
            run_delay_ns: Some(run_delay_ns),
            ..Thread::default()
        };
        let threads = |all: &[(u32, Thread)]| Threads(all.iter().copied().collect());
        // 1 went on, 2 ended, 3 began, 4 is another thread than it was.
        let before = [(1, thread(10, 100)), (2, thread(5_000, 9)), (4, thread(70, 7))];
        let after = [(1, thread(15, 140)), (3, thread(3, 6)), (4, thread(2, 5))];
        let change = threads(&after).since(&threads(&before));
        assert_eq!((change.of.voluntary, change.ended), (5 + 3 + 2, 1));
        assert_eq!((change.of.run_delay_ns, change.of.migrations), (Some(40 + 6 + 5), Some(2)));
    }

    #[test]
    fn what_one_thread_does_not_tell_is_not_told_of_all() {
        let threads = |migrations| {
            let thread = |migrations| Thread { migrations, ..Thread::default() };
            Threads([(1, thread(Some(1))), (2, thread(migrations))].into_iter().collect())
        };
        assert_eq!(threads(Some(3)).since(&threads(Some(1))).of.migrations, Some(2));
        assert_eq!(threads(None).since(&threads(Some(1))).of.migrations, None);
    }

    #[test]
    fn the_switches_of_a_thread_of_our_own_are_counted() {
        let (pause, waits) = std::sync::mpsc::sync_channel::<()>(0);
        let pids = [std::process::id()];
        let other = std::thread::Builder::new().spawn(move || while waits.recv().is_ok() {});
        let before = Threads::read(&pids).unwrap();
        assert!(before.0.len() >= 2, "{before:?}");
        for _ in 0..200 {
            pause.send(()).unwrap();
        }
        let change = Threads::read(&pids).unwrap().since(&before);
        // Each hand-over waits for one of the two.
        assert!(change.of.voluntary + change.of.involuntary > 100, "{change:?}");
        drop(pause);
        other.unwrap().join().unwrap();
    }
}
