//! The same load on several sides, and what must hold between them.
//!
//! Owns the comparison. Never touches a server: each side is a run of its own.
//!
//! ```text
//! calm:     server, load, check, stop        every tenant honest
//! pressed:  server, load, check, stop        some tenants with a hostile program
//!           -> run.json {sides, verdict}, latency-calm.hgrm, latency-pressed.hgrm
//! ```
//!
//! A side's load is drawn from the same seed and offered to a server started in the same way, on
//! the same cores.

use crate::hostile::Hostile;
use crate::latency::Percentiles;
use crate::process::{Machine, float};
use crate::report::{self, Histograms, Run};
use crate::run::{Done, RunArgs, load};
use crate::sample::Sample;
use crate::scenario::Scenario;
use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

/// A run.json of several sides, `calm` and `pressed` or what the scenario calls them. The field
/// names are a contract.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Compared {
    pub(crate) scenario: String,
    pub(crate) commit: String,
    pub(crate) rustc: String,
    pub(crate) machine: Machine,
    pub(crate) config: serde_json::Value,
    pub(crate) seed: u64,
    pub(crate) sides: Sides,
    pub(crate) verdict: Verdict,
}

/// The run of each side by its name, in the order of the names.
pub(crate) type Sides = BTreeMap<String, Run>;

/// Whether everything holds that must, fact by fact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Verdict {
    pub(crate) passed: bool,
    pub(crate) why: Vec<String>,
}

impl Verdict {
    pub(crate) fn new() -> Self {
        Self { passed: true, why: Vec::new() }
    }

    pub(crate) fn note(&mut self, holds: bool, what: String) {
        self.passed &= holds;
        self.why.push(if holds { what } else { format!("does not hold: {what}") });
    }
}

/// Makes the load of a scenario with hostile tenants on both sides; returns whether the verdict
/// holds. Fails when an answer is wrong or an event is lost.
pub(crate) fn run(args: &RunArgs, scenario: &Scenario) -> anyhow::Result<bool> {
    if !args.server.spawn {
        bail!("this scenario compares two servers, started in turn: it needs --spawn");
    }
    let hostile = Hostile::draw(scenario, &Sample::new(scenario))?;
    let calm = side("calm", args, scenario, None)?;
    let pressed = side("pressed", args, scenario, Some(&hostile))?;
    let mut config = serde_json::to_value(scenario)?;
    config["hostile_tenants"] = hostile.count().into();
    let verdict = verdict(&calm, &pressed, hostile.count());
    publish(args, scenario, config, vec![("calm", calm), ("pressed", pressed)], verdict)
}

/// Writes and shows what was compared; returns whether the verdict holds. Fails when a side does.
pub(crate) fn publish(
    args: &RunArgs,
    scenario: &Scenario,
    config: serde_json::Value,
    sides: Vec<(&str, Done)>,
    verdict: Verdict,
) -> anyhow::Result<bool> {
    let runs = sides.iter().map(|(name, done)| ((*name).to_owned(), done.run.clone()));
    let compared = Compared {
        scenario: args.scenario.clone(),
        commit: report::commit(),
        rustc: report::RUSTC.to_owned(),
        machine: sides.first().map(|(_, done)| done.run.machine.clone()).unwrap_or_default(),
        config,
        seed: scenario.seed,
        sides: runs.collect(),
        verdict,
    };
    let folder = args.out.clone().unwrap_or_else(report::default_folder);
    let histograms = sides.iter().map(|(name, done)| (*name, &done.histograms));
    write(&folder, &compared, histograms)?;
    print!("{}", beside(&sides));
    println!("  written to  {}", folder.display());
    for line in &compared.verdict.why {
        println!("  {line}");
    }
    println!("verdict: {}", if compared.verdict.passed { "passed" } else { "failed" });
    for (name, done) in sides {
        done.right.with_context(|| name.to_owned())?;
    }
    Ok(compared.verdict.passed)
}

pub(crate) fn side(
    name: &str,
    args: &RunArgs,
    scenario: &Scenario,
    hostile: Option<&Hostile>,
) -> anyhow::Result<Done> {
    let done = load(args, scenario, hostile).with_context(|| format!("the {name} side"))?;
    println!("{name}: {}", report::table(&done.run).trim_end());
    for note in &done.notes {
        println!("  {note}");
    }
    Ok(done)
}

fn verdict(calm: &Done, pressed: &Done, hostile: u64) -> Verdict {
    let mut verdict = Verdict::new();
    for (name, done) in [("calm", calm), ("pressed", pressed)] {
        let check = &done.run.check;
        let what = match &done.right {
            Ok(()) => format!(
                "{name}: the answers of {} honest tenants are exact ({} topics)",
                check.tenants_checked, check.topics_checked
            ),
            Err(error) => format!("{name}: every answer right, nothing lost: {error:#}"),
        };
        verdict.note(done.right.is_ok(), what);
    }
    let (calm, pressed) = (&calm.run, &pressed.run);
    let percent = throughput_percent(calm, pressed);
    verdict.note(
        percent >= f64::from(THROUGHPUT_PERCENT_MIN),
        format!(
            "the others get {percent:.1} % of the calm throughput per CPU second (at least \
             {THROUGHPUT_PERCENT_MIN} %)"
        ),
    );
    let server = &pressed.server;
    let stopped = server.program_faults + server.program_throttled;
    verdict.note(
        stopped >= hostile,
        format!(
            "{hostile} hostile tenants were stopped {} times by a fault and {} times by their \
             budget",
            server.program_faults, server.program_throttled
        ),
    );
    verdict
}

/// Both sides offer the hostile tenants the same share of the events, so the ratio of all events is
/// that of the others' events.
fn throughput_percent(calm: &Run, pressed: &Run) -> f64 {
    100.0 * calm.server.ns_cpu_per_event / pressed.server.ns_cpu_per_event.max(1e-9)
}

fn write<'a>(
    folder: &Path,
    compared: &Compared,
    histograms: impl Iterator<Item = (&'a str, &'a Histograms)>,
) -> anyhow::Result<()> {
    report::put(folder, "run.json", serde_json::to_string_pretty(compared)? + "\n")?;
    for (side, histograms) in histograms {
        report::put(folder, &format!("latency-{side}.hgrm"), histograms.ack.hgrm())?;
        report::put(folder, &format!("latency-{side}.visible.hgrm"), histograms.visible.hgrm())?;
        report::put(folder, &format!("latency-{side}.query.hgrm"), histograms.query.hgrm())?;
    }
    Ok(())
}

/// The sides' figures beside each other.
fn beside(sides: &[(&str, Done)]) -> String {
    let mut text = format!("  {:<24}", "");
    for (name, _) in sides {
        let _ = write!(text, " {name:>14}");
    }
    let mut row = |name: &str, of: &dyn Fn(&Run) -> f64| {
        let _ = write!(text, "\n  {name:<24}");
        for (_, done) in sides {
            let _ = write!(text, " {:>14.1}", of(&done.run));
        }
    };
    row("1,000 events/s", &|run| run.rate_acked / 1e3);
    row("server ns CPU/event", &|run| run.server.ns_cpu_per_event);
    row("program faults", &|run| float(run.server.program_faults));
    row("calls throttled", &|run| float(run.server.program_throttled));
    type Of = fn(&Run) -> &Percentiles;
    let latencies: [(&str, Of); 3] = [
        ("ack", |run| &run.latency_us.ack),
        ("visible", |run| &run.latency_us.visible),
        ("query", |run| &run.latency_us.query),
    ];
    for (name, of) in latencies {
        row(&format!("{name} us p50"), &|run| of(run).p50);
        row(&format!("{name} us p99"), &|run| of(run).p99);
        row(&format!("{name} us p99.9"), &|run| of(run).p999);
        row(&format!("{name} us max"), &|run| of(run).max);
    }
    text.push('\n');
    text
}

/// Least share of the calm throughput per CPU that the others must keep.
const THROUGHPUT_PERCENT_MIN: u32 = 95;

#[cfg(test)]
mod tests {
    use super::*;

    fn done(ns: f64, faults: u64) -> Done {
        let mut run = Run::empty();
        run.server.ns_cpu_per_event = ns;
        run.server.program_faults = faults;
        let histograms = Histograms::new().unwrap();
        Done { run, histograms, notes: Vec::new(), right: Ok(()) }
    }

    #[test]
    fn the_verdict_holds_at_95_percent_and_not_below() {
        let holds = verdict(&done(95.0, 0), &done(100.0, 10), 10);
        assert!(holds.passed, "{holds:?}");
        let slower = verdict(&done(94.0, 0), &done(100.0, 10), 10);
        assert!(!slower.passed);
        let why = slower.why.iter().filter(|line| line.starts_with("does not hold")).count();
        assert_eq!(why, 1, "{slower:?}");
    }

    #[test]
    fn hostile_programs_that_nobody_stopped_and_wrong_answers_fail_the_verdict() {
        assert!(!verdict(&done(95.0, 0), &done(95.0, 9), 10).passed);
        let wrong = Done { right: Err(anyhow::anyhow!("1 mismatch")), ..done(95.0, 10) };
        let verdict = verdict(&done(95.0, 0), &wrong, 10);
        assert!(!verdict.passed && verdict.why[1].contains("1 mismatch"), "{verdict:?}");
    }

    #[test]
    fn both_sides_are_written_and_read_back() {
        let (calm, pressed) = (done(95.0, 0), done(100.0, 10));
        let verdict = verdict(&calm, &pressed, 10);
        let both = [("calm", calm), ("pressed", pressed)];
        let compared = Compared {
            scenario: "hostile".to_owned(),
            commit: "c".to_owned(),
            rustc: "r".to_owned(),
            machine: both[0].1.run.machine.clone(),
            config: serde_json::json!({}),
            seed: 1,
            verdict,
            sides: both.iter().map(|(name, side)| ((*name).to_owned(), side.run.clone())).collect(),
        };
        let folder = std::env::temp_dir().join(format!("loadgen-sides-{}", std::process::id()));
        let histograms = both.iter().map(|(name, side)| (*name, &side.histograms));
        write(&folder, &compared, histograms).unwrap();
        assert!(folder.join("latency-calm.hgrm").exists());
        assert!(folder.join("latency-pressed.query.hgrm").exists());
        let shown = report::compare(std::slice::from_ref(&folder)).unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        assert!(shown.contains("/calm") && shown.contains("/pressed"), "{shown}");
        assert!(beside(&both).contains("query us p99.9"));
    }
}
