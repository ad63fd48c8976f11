//! Flink: a SQL query over an embedded cluster, fed with the same events.
//!
//! ```text
//! Pool ──file of events──▶ source ─▶ HOP window, SUM ─▶ ROW_NUMBER <= 10 ─▶ sink
//!                          └──────── one Java process on the server's cores ────────┘
//! loadgen: figures of the process, exact windows == answers of the sampled tenants?
//! ```
//!
//! Owns: the query, its settings, the Java process. Never touches: the wire; the generator runs
//! inside Flink's process, and what it costs there is little beside the windows.

mod events;
mod fit;
mod home;
mod job;
mod pace;
mod session;
mod settings;
mod windows;

use super::{About, Cores, Fit, System};
use crate::run::Done;
use crate::scenario::Scenario;
use home::Home;
use job::Query;
use session::Session;

/// Flink, with a window of 60 s.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flink {
    /// Seconds from one answer to the next.
    pub(crate) slide_s: u32,
}

impl Flink {
    const fn query(self) -> Query {
        Query { window_s: 60, slide_s: self.slide_s }
    }
}

impl System for Flink {
    fn name(&self) -> &'static str {
        match self.slide_s {
            1 => "flink-1s",
            10 => "flink-10s",
            _ => "flink",
        }
    }

    fn about(&self) -> anyhow::Result<About> {
        Ok(settings::about(&Home::find()?, self.query()))
    }

    /// Whether it keeps up shows when its windows are full: every attempt lasts longer than one.
    fn fit(&self, scenario: &Scenario, cores: &Cores) -> anyhow::Result<Fit> {
        let home = Home::find()?;
        fit::search(scenario.tenants, scenario.rate, |tenants, rate| {
            let sample = scenario.sample.min(tenants.saturating_sub(1) as usize).max(1);
            let scenario = Scenario { tenants, rate, sample, ..scenario.clone() };
            let session = Session::open(&home, self.query(), &scenario, cores);
            fit::attempt(session, (tenants, rate))
        })
    }

    fn load(&self, scenario: &Scenario, cores: &Cores) -> anyhow::Result<Done> {
        Session::open(&Home::find()?, self.query(), scenario, cores)?.load()
    }
}

#[cfg(all(test, feature = "peers"))]
mod tests {
    use super::*;

    /// Needs Flink and Java; see the lane `peers` of ci.sh.
    #[test]
    fn flink_answers_a_small_load_exactly() {
        let scenario = Scenario {
            tenants: 20,
            connections: 2,
            frame_events: 64,
            pool_bytes: 1 << 16,
            rate: 5_000,
            seconds: 4,
            warmup_seconds: 1,
            sample: 10,
            ..Scenario::default()
        };
        let cores = Cores { server: vec![0], loadgen: vec![0] };
        let query = Query { window_s: 3, slide_s: 1 };
        let home = Home::find().unwrap();
        let done = Session::open(&home, query, &scenario, &cores).unwrap().load().unwrap();
        done.right.unwrap();
        let run = &done.run;
        assert_eq!((run.check.tenants_checked, run.check.mismatches), (10, 0));
        assert!(run.check.topics_checked >= 3 * 10 * 5, "{:?}", run.check);
        assert!(run.events_acked > 0 && run.server.ns_cpu_per_event > 0.0);
        assert!(run.latency_us.visible.count >= 30, "{:?}", run.latency_us.visible);
        let refresh = run.refresh.as_ref().unwrap();
        assert_eq!(refresh.tenants, 19, "every tenant but the probe's");
        assert!(refresh.rounds >= 3);
    }
}
