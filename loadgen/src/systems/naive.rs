//! The foil as a system under test: a thread per tenant, with the futex table that the kernel
//! gives it and with a large one.
//!
//! ```text
//! fit:  the scenario's tenants ─does not start─▶ bisection ─▶ a short load ─▶ the largest that holds
//! ```
//!
//! Never told without its fair twin: with the small table of recent kernels most of its time goes
//! into one slot's list of waiters, which says more about the kernel than about the design.

use super::{About, Attempt, Cores, Fit, System};
use crate::programs::Folder;
use crate::run::{self, Done};
use crate::scenario::Scenario;
use crate::server::{Server, ServerArgs};
use anyhow::{Context as _, bail};
use std::path::{Path, PathBuf};
use trendsrv_client::limits::{EVENTS_HEAD_BYTES, RECORD_BYTES};

/// The foil, with a futex table of so many slots or of the kernel's own choice.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Naive {
    futex_slots: Option<u32>,
}

impl Naive {
    /// With the table that the kernel gives it.
    pub(crate) const DEFAULT: Self = Self { futex_slots: None };
    /// With a slot for each thread and some: the fair one.
    pub(crate) const FUTEX: Self = Self { futex_slots: Some(131_072) };

    /// What starts a foil; its words go into a file of `folder`.
    fn server(self, tenants: u32, cores: &Cores, folder: &Path) -> anyhow::Result<ServerArgs> {
        let mut args = ServerArgs::spawned(&cores.server, &cores.loadgen);
        args.server = Some(std::env::current_exe().context("where is this program?")?);
        args.prefix = vec!["naive".to_owned()];
        args.server_arg = vec!["--tenants".to_owned(), tenants.to_string()];
        if let Some(slots) = self.futex_slots {
            args.server_arg.extend(["--futex-slots".to_owned(), slots.to_string()]);
        }
        args.words = Some(words(folder));
        Ok(args)
    }

    /// Starts it and stops it again.
    fn starts(self, tenants: u32, cores: &Cores) -> anyhow::Result<()> {
        let folder = Folder::new()?;
        let server = Server::open(&self.server(tenants, cores, folder.path())?)?;
        let live = server.census()?.tenants_live;
        server.stop()?;
        if live != u64::from(tenants) {
            bail!("{live} threads of {tenants} tenants run");
        }
        Ok(())
    }
}

impl System for Naive {
    fn name(&self) -> &'static str {
        if self.futex_slots.is_some() { "naive-futex" } else { "naive" }
    }

    fn about(&self) -> anyhow::Result<About> {
        let futex = match self.futex_slots {
            Some(slots) => {
                format!("--futex-slots {slots}: a slot for each thread, so that wake-ups are short")
            }
            None => "futex slots: the kernel's default, 16 on a small machine from Linux 6.16 on; \
                     naive-futex is the fair row"
                .to_owned(),
        };
        let settings = [
            "one OS thread per tenant, all started before the load: the design itself",
            "stacks of 64 KiB: less address space, the same memory as with the usual 8 MiB",
            "a bounded channel per tenant; events in a row for a tenant travel as one message",
            "a thread per connection with blocking sockets; maps behind mutexes",
            "two frames in flight a connection: its thread applies one at a time, more would queue",
            "windows of 60 s in panes of 1 s, exact, no log, no programs",
        ];
        let settings = settings.map(str::to_owned).into_iter().chain([futex]).collect();
        Ok(About {
            version: format!("loadgen naive {}", env!("CARGO_PKG_VERSION")),
            asked: "Count each event in its tenant's 60-s window, in steps of 1 s, acknowledge a \
                    frame when queries see it, and answer the top 10 topics of any tenant with \
                    exact counts."
                .to_owned(),
            settings,
        })
    }

    fn fit(&self, scenario: &Scenario, cores: &Cores) -> anyhow::Result<Fit> {
        let mut attempts = Vec::new();
        let starts = |tenants| self.starts(tenants, cores);
        let mut tenants = largest(scenario, starts, &mut attempts)?;
        // Connections need threads, too, and so does the load: what starts alone may be too much.
        let short = |tenants| {
            let short = short(scenario, tenants);
            self.load(&short, cores).and_then(|done| done.right)
        };
        for _ in 0..SHORT_LOADS_MAX {
            let told = short(tenants);
            let held = told.is_ok();
            attempts.push(attempt(scenario, tenants, told, "finishes a short load"));
            if held {
                return Ok(Fit { tenants, rate: scenario.rate, attempts });
            }
            tenants -= (tenants / BISECTION_PARTS).max(1);
        }
        let last = attempts.last().map_or("", |attempt| attempt.why.as_str());
        bail!("the naive server finishes no short load with about {tenants} tenants: {last}")
    }

    fn load(&self, scenario: &Scenario, cores: &Cores) -> anyhow::Result<Done> {
        let folder = Folder::new()?;
        let args = self.server(scenario.tenants, cores, folder.path())?;
        let done = run::load_with(&args, self.name(), &two_in_flight(scenario));
        // Its words tell more than the load that it left.
        let said = std::fs::read_to_string(words(folder.path())).unwrap_or_default();
        match done {
            Err(error) if !said.trim().is_empty() => {
                Err(error.context(format!("the naive server said: {}", said.trim())))
            }
            done => done,
        }
    }
}

fn words(folder: &Path) -> PathBuf {
    folder.join("words.txt")
}

/// The largest number of tenants up to the scenario's that starts, to within a fiftieth.
fn largest(
    scenario: &Scenario,
    starts: impl Fn(u32) -> anyhow::Result<()>,
    attempts: &mut Vec<Attempt>,
) -> anyhow::Result<u32> {
    let mut tries = |tenants: u32| {
        let told = starts(tenants);
        let held = told.is_ok();
        attempts.push(attempt(scenario, tenants, told, "starts"));
        held
    };
    if tries(scenario.tenants) {
        return Ok(scenario.tenants);
    }
    let (mut holds, mut fails) = (0, scenario.tenants);
    while fails - holds > (fails / BISECTION_PARTS).max(1) {
        let middle = holds.midpoint(fails).max(TENANTS_MIN);
        if middle == fails {
            break;
        }
        if tries(middle) {
            holds = middle;
        } else {
            fails = middle;
        }
    }
    if holds == 0 {
        let last = attempts.last().map_or("", |attempt| attempt.why.as_str());
        bail!("the naive server does not start with {TENANTS_MIN} tenants either: {last}");
    }
    Ok(holds)
}

fn attempt(
    scenario: &Scenario,
    tenants: u32,
    told: anyhow::Result<()>,
    well: &'static str,
) -> Attempt {
    let held = told.is_ok();
    let why = told.map_or_else(|error| format!("{error:#}"), |()| well.to_owned());
    Attempt { tenants, rate: scenario.rate, held, why }
}

/// The same load with two frames in flight a connection. A connection's thread applies one at a
/// time and more would only queue, for longer than the load waits at its end.
fn two_in_flight(scenario: &Scenario) -> Scenario {
    let two = 2 * (EVENTS_HEAD_BYTES + RECORD_BYTES * scenario.frame_events);
    Scenario { in_flight_bytes_max: scenario.in_flight_bytes_max.min(two), ..scenario.clone() }
}

/// The same load, over soon.
fn short(scenario: &Scenario, tenants: u32) -> Scenario {
    Scenario {
        tenants,
        seconds: scenario.seconds.min(2),
        warmup_seconds: scenario.warmup_seconds.min(1),
        sample: scenario.sample.min(tenants.saturating_sub(1) as usize).max(1),
        ..scenario.clone()
    }
}

/// The bisection ends when the step is this part of the number.
const BISECTION_PARTS: u32 = 50;
/// Fewer tenants make no load.
const TENANTS_MIN: u32 = 2;
/// Sizes that are tried with a load, each a fiftieth smaller.
const SHORT_LOADS_MAX: u32 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    fn search(tenants: u32, limit: u32) -> (anyhow::Result<u32>, Vec<Attempt>) {
        let scenario = Scenario { tenants, rate: 7, ..Scenario::default() };
        let mut attempts = Vec::new();
        let starts = |tenants| {
            if tenants > limit {
                bail!("no thread beyond {limit} tenants");
            }
            Ok(())
        };
        let found = largest(&scenario, starts, &mut attempts);
        (found, attempts)
    }

    #[test]
    fn the_whole_scenario_is_tried_first_and_taken_when_it_starts() {
        let (found, attempts) = search(100_000, 100_000);
        assert_eq!(found.unwrap(), 100_000);
        assert_eq!(attempts.len(), 1);
        assert!(attempts[0].held && attempts[0].rate == 7);
    }

    #[test]
    fn bisection_comes_within_a_fiftieth_from_below() {
        for limit in [2, 9, 800, 16_366, 32_300, 99_999] {
            let (found, attempts) = search(100_000, limit);
            let found = found.unwrap();
            assert!(found <= limit && limit - found <= (limit / 49).max(1), "{found} of {limit}");
            assert!(attempts.len() < 25, "{} attempts", attempts.len());
            assert!(!attempts[0].held && attempts[0].why.contains("beyond"), "{attempts:?}");
            for attempt in attempts {
                assert_eq!(attempt.held, attempt.tenants <= limit);
            }
        }
    }

    #[test]
    fn a_machine_on_which_nothing_starts_is_an_error_with_its_reason() {
        let error = search(100_000, 1).0.unwrap_err().to_string();
        assert!(error.contains("no thread beyond 1 tenants"), "{error}");
    }

    #[test]
    fn a_short_load_has_no_larger_sample_than_tenants() {
        let short = short(&Scenario::default(), 50);
        short.check().unwrap();
        assert_eq!((short.tenants, short.sample, short.seconds), (50, 49, 2));
    }

    #[test]
    fn two_frames_are_in_flight_and_never_more_than_the_scenario_has() {
        two_in_flight(&Scenario::default()).check().unwrap();
        assert_eq!(two_in_flight(&Scenario::default()).in_flight_bytes_max, 2 * (40 + 24 * 512));
        let narrow = Scenario { in_flight_bytes_max: 13_000, ..Scenario::default() };
        assert_eq!(two_in_flight(&narrow).in_flight_bytes_max, 13_000);
    }
}
