//! Measures some processes over an interval, without making anyone wait.
//!
//! ```text
//! prepare ──thread: attach perf, look at every thread──▶ begin: clock, CPU time
//!                        … the measurement …
//! end: clock, CPU time ──thread: look at every thread, read perf──▶ used
//! ```
//!
//! A process with 30,000 threads takes half a second to look at, in which the caller goes on with
//! its load; the two long looks lie outside of the interval by as much.

use super::perf::{Counted, Perf};
use super::threads::Threads;
use super::{Moment, Used};
use anyhow::{Context as _, bail};
use std::thread::{Builder, JoinHandle};

/// A measurement, prepared or under way.
pub(crate) struct Meter {
    pids: Vec<u32>,
    state: State,
}

enum State {
    Preparing(JoinHandle<anyhow::Result<(Threads, Perf)>>),
    Measuring(Moment, Threads, Perf),
    Ending(Moment, Moment, Threads, JoinHandle<anyhow::Result<(Threads, Counted)>>),
    /// It failed half-way.
    Broken,
}

impl Meter {
    /// Gets ready to measure some processes that make up one system.
    pub(crate) fn prepare(pids: &[u32]) -> anyhow::Result<Self> {
        let pids = pids.to_vec();
        let of = pids.clone();
        let look = move || {
            let perf = Perf::attach(&of)?;
            Ok((Threads::read(&of)?, perf))
        };
        Ok(Self { pids, state: State::Preparing(spawn(look)?) })
    }

    /// Whether [`Self::begin`] would not wait.
    pub(crate) fn is_ready(&self) -> bool {
        match &self.state {
            State::Preparing(look) => look.is_finished(),
            State::Measuring(..) | State::Ending(..) | State::Broken => true,
        }
    }

    /// Begins the measurement.
    pub(crate) fn begin(&mut self) -> anyhow::Result<()> {
        let State::Preparing(look) = std::mem::replace(&mut self.state, State::Broken) else {
            bail!("a measurement can begin once only");
        };
        let (threads, perf) = join(look)?;
        self.state = State::Measuring(Moment::read(&self.pids)?, threads, perf);
        Ok(())
    }

    /// Ends it.
    pub(crate) fn end(&mut self) -> anyhow::Result<()> {
        let State::Measuring(before, threads, perf) =
            std::mem::replace(&mut self.state, State::Broken)
        else {
            bail!("a measurement that has not begun cannot end");
        };
        let after = Moment::read(&self.pids)?;
        let of = self.pids.clone();
        // Read first: what perf counts is exact, and counting costs.
        let look = move || {
            let counted = perf.read();
            Ok((Threads::read(&of)?, counted))
        };
        self.state = State::Ending(before, after, threads, spawn(look)?);
        Ok(())
    }

    /// What was used between beginning and end.
    pub(crate) fn used(self) -> anyhow::Result<Used> {
        let State::Ending(before, after, threads, look) = self.state else {
            bail!("the measurement never ended");
        };
        let (threads_after, counted) = join(look)?;
        let mut used = after.since(&before, &threads_after.since(&threads));
        used.counters = used.counters.with(counted);
        Ok(used)
    }
}

fn spawn<T: Send + 'static>(
    look: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
) -> anyhow::Result<JoinHandle<anyhow::Result<T>>> {
    Builder::new()
        .name("meter".to_owned())
        .spawn(look)
        .context("cannot start the thread that looks at the server's threads")
}

fn join<T>(look: JoinHandle<anyhow::Result<T>>) -> anyhow::Result<T> {
    let Ok(done) = look.join() else { bail!("looking at the server's threads panicked") };
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measures_its_own_process() {
        let mut meter = Meter::prepare(&[std::process::id()]).unwrap();
        meter.begin().unwrap();
        // Fresh memory: each page is a fault when it is touched first.
        let pages = std::hint::black_box(vec![1_u8; 8 << 20]);
        meter.end().unwrap();
        let used = meter.used().unwrap();
        // Pages may be as large as 2 MiB.
        assert!(used.counters.minor_faults >= 2 && pages.len() == 8 << 20, "{used:?}");
        assert!(used.cpu_ns > 0 && used.seconds > 0.0, "{used:?}");
        let said = used.counters.unavailable.join("\n");
        assert_eq!(used.counters.dtlb_misses.is_none(), said.contains("TLB misses: "), "{said}");
    }

    #[test]
    fn a_measurement_goes_through_its_states_in_order_only() {
        let meter = || Meter::prepare(&[std::process::id()]).unwrap();
        assert!(meter().end().is_err());
        assert!(meter().used().is_err());
        let mut begun = meter();
        begun.begin().unwrap();
        assert!(begun.is_ready() && begun.begin().is_err());
        let gone = Meter::prepare(&[u32::MAX >> 1]).and_then(|mut meter| meter.begin());
        assert!(format!("{:#}", gone.unwrap_err()).contains("/proc/2147483647/task"));
    }
}
