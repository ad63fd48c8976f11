//! What only the kernel's performance events count: switches of threads that end, misses of the
//! TLB and of the last level of cache.
//!
//! A counter is attached to every thread that lives at the beginning and inherited by the threads
//! that those start later; what a thread counted is kept when it ends. So the count of switches is
//! complete, where `/proc` forgets an ended thread.
//!
//! Each counter makes every switch of its thread a little slower. A system with thousands of
//! threads would be measured worse than it is: it gets none, and the report says so.

use super::threads::Threads;
use crate::limits::PERF_THREADS_MAX;
use perf_event::events::{Cache, CacheOp, CacheResult, Hardware, Software, WhichCache};
use perf_event::{Builder, Counter};
use std::io;

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    Switches,
    TlbMisses,
    CacheMisses,
}

/// The counters of all threads.
#[derive(Default)]
pub(super) struct Perf {
    counters: Vec<(Event, Vec<Counter>)>,
    /// Each event that is not counted, and why.
    unavailable: Vec<String>,
}

/// Counts since the counters were attached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Counted {
    pub(super) switches: Option<u64>,
    pub(super) tlb_misses: Option<u64>,
    pub(super) cache_misses: Option<u64>,
    pub(super) unavailable: Vec<String>,
}

impl Perf {
    /// Attaches to the threads of some processes, as far as the machine lets it.
    pub(super) fn attach(pids: &[u32]) -> anyhow::Result<Self> {
        let tids = Threads::ids(pids)?;
        let mut perf = Self::default();
        if tids.len() > PERF_THREADS_MAX {
            perf.unavailable.push(format!(
                "TLB and cache misses: {} threads, and perf counters on more than \
                 {PERF_THREADS_MAX} would slow their switches",
                tids.len()
            ));
            return Ok(perf);
        }
        for event in [Event::Switches, Event::TlbMisses, Event::CacheMisses] {
            match attach(event, &tids) {
                Ok(counters) => perf.counters.push((event, counters)),
                Err(error) => perf.unavailable.push(format!("{}: {}", event.name(), why(&error))),
            }
        }
        Ok(perf)
    }

    /// What they counted.
    pub(super) fn read(mut self) -> Counted {
        let mut counted = Counted::default();
        for (event, counters) in &mut self.counters {
            match counters.iter_mut().map(count).sum::<io::Result<u64>>() {
                Ok(sum) => *event.place(&mut counted) = Some(sum),
                Err(error) => self.unavailable.push(format!("{}: {error}", event.name())),
            }
        }
        counted.unavailable = self.unavailable;
        counted
    }
}

impl Event {
    const fn name(self) -> &'static str {
        match self {
            Self::Switches => "switches of ended threads",
            Self::TlbMisses => "TLB misses",
            Self::CacheMisses => "cache misses",
        }
    }

    const fn place(self, counted: &mut Counted) -> &mut Option<u64> {
        match self {
            Self::Switches => &mut counted.switches,
            Self::TlbMisses => &mut counted.tlb_misses,
            Self::CacheMisses => &mut counted.cache_misses,
        }
    }

    fn builder<'a>(self) -> Builder<'a> {
        match self {
            Self::Switches => Builder::new().kind(Software::CONTEXT_SWITCHES),
            Self::TlbMisses => Builder::new().kind(Cache {
                which: WhichCache::DTLB,
                operation: CacheOp::READ,
                result: CacheResult::MISS,
            }),
            Self::CacheMisses => Builder::new().kind(Hardware::CACHE_MISSES),
        }
    }
}

/// One counter a thread; threads that end meanwhile get none.
fn attach(event: Event, tids: &[u32]) -> io::Result<Vec<Counter>> {
    let mut counters = Vec::with_capacity(tids.len());
    for &tid in tids {
        let tid = libc::pid_t::try_from(tid).map_err(io::Error::other)?;
        let mut builder = event.builder().observe_pid(tid).any_cpu();
        // A switch happens in the kernel, and the kernel's part of a server misses caches, too.
        builder.inherit(true).include_kernel().enabled(true);
        match builder.build() {
            Ok(counter) => counters.push(counter),
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(counters)
}

/// The count, scaled up when the hardware had to count in turns.
fn count(counter: &mut Counter) -> io::Result<u64> {
    let read = counter.read_count_and_time()?;
    if read.time_running == 0 || read.time_running == read.time_enabled {
        return Ok(read.count);
    }
    let (running, enabled) = (u128::from(read.time_running), u128::from(read.time_enabled));
    u64::try_from(u128::from(read.count) * enabled / running).map_err(io::Error::other)
}

/// Why an event cannot be counted, in words that say what to do.
fn why(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::ENOENT | libc::ENODEV | libc::EOPNOTSUPP) => {
            format!("this machine has no hardware counters ({})", errno_name(error))
        }
        Some(libc::EACCES | libc::EPERM) => {
            let path = "/proc/sys/kernel/perf_event_paranoid";
            let level = std::fs::read_to_string(path).unwrap_or_default();
            format!("perf_event_paranoid is {}: needs CAP_PERFMON, or 1", level.trim())
        }
        Some(libc::ENOSYS) => "this kernel has no perf events (ENOSYS)".to_owned(),
        _ => error.to_string(),
    }
}

fn errno_name(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::ENOENT) => "ENOENT",
        Some(libc::ENODEV) => "ENODEV",
        _ => "EOPNOTSUPP",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::sync_channel;

    /// Two threads that wake each other so often: each waits for the other, which is a switch,
    /// whether they share a core or not.
    fn ping_pong(times: u64) {
        let (to_other, from_us) = sync_channel::<()>(0);
        let (to_us, from_other) = sync_channel::<()>(0);
        let other = std::thread::Builder::new().spawn(move || {
            while from_us.recv().is_ok() {
                to_us.send(()).unwrap();
            }
        });
        for _ in 0..times {
            to_other.send(()).unwrap();
            from_other.recv().unwrap();
        }
        drop(to_other);
        other.unwrap().join().unwrap();
    }

    #[test]
    fn what_threads_did_that_have_ended_is_counted_or_the_reason_is_told() {
        let perf = Perf::attach(&[std::process::id()]).unwrap();
        ping_pong(2_000);
        let counted = perf.read();
        match counted.switches {
            Some(switches) => assert!(switches >= 2_000, "{switches} switches"),
            None => assert!(counted.unavailable[0].contains("perf"), "{counted:?}"),
        }
        let told = |name: &str| counted.unavailable.iter().any(|line| line.starts_with(name));
        assert_eq!(counted.tlb_misses.is_none(), told("TLB misses: "), "{counted:?}");
        assert_eq!(counted.cache_misses.is_none(), told("cache misses: "), "{counted:?}");
    }

    #[test]
    fn an_event_that_cannot_be_counted_is_explained() {
        let of = |errno| why(&io::Error::from_raw_os_error(errno));
        assert_eq!(of(libc::ENOENT), "this machine has no hardware counters (ENOENT)");
        assert!(of(libc::EACCES).starts_with("perf_event_paranoid is "));
        assert!(of(libc::EMFILE).contains("open files"));
    }
}
