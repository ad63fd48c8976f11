//! The same load on two sides, and what must hold between them.
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
use std::path::Path;

/// A run.json of two sides. The field names are a contract.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct TwoSides {
    pub(crate) scenario: String,
    pub(crate) commit: String,
    pub(crate) rustc: String,
    pub(crate) machine: Machine,
    pub(crate) config: serde_json::Value,
    pub(crate) seed: u64,
    pub(crate) sides: Sides,
    pub(crate) verdict: Verdict,
}

/// The two runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sides {
    pub(crate) calm: Run,
    pub(crate) pressed: Run,
}

/// Whether everything holds that must, fact by fact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Verdict {
    pub(crate) passed: bool,
    pub(crate) why: Vec<String>,
}

impl Verdict {
    fn new() -> Self {
        Self { passed: true, why: Vec::new() }
    }

    fn note(&mut self, holds: bool, what: String) {
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
    let both = TwoSides {
        scenario: args.scenario.clone(),
        commit: report::commit(),
        rustc: report::RUSTC.to_owned(),
        machine: calm.run.machine.clone(),
        config,
        seed: scenario.seed,
        sides: Sides { calm: calm.run, pressed: pressed.run },
        verdict,
    };
    let folder = args.out.clone().unwrap_or_else(report::default_folder);
    write(&folder, &both, [("calm", &calm.histograms), ("pressed", &pressed.histograms)])?;
    print!("{}", beside(&both.sides));
    println!("  written to  {}", folder.display());
    for line in &both.verdict.why {
        println!("  {line}");
    }
    println!("verdict: {}", if both.verdict.passed { "passed" } else { "failed" });
    calm.right.context("calm")?;
    pressed.right.context("pressed")?;
    Ok(both.verdict.passed)
}

fn side(
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

fn write(
    folder: &Path,
    both: &TwoSides,
    histograms: [(&str, &Histograms); 2],
) -> anyhow::Result<()> {
    report::put(folder, "run.json", serde_json::to_string_pretty(both)? + "\n")?;
    for (side, histograms) in histograms {
        report::put(folder, &format!("latency-{side}.hgrm"), histograms.ack.hgrm())?;
        report::put(folder, &format!("latency-{side}.visible.hgrm"), histograms.visible.hgrm())?;
        report::put(folder, &format!("latency-{side}.query.hgrm"), histograms.query.hgrm())?;
    }
    Ok(())
}

/// The sides' figures beside each other.
fn beside(sides: &Sides) -> String {
    let Sides { calm, pressed } = sides;
    let mut text = format!("  {:<24} {:>14} {:>14}\n", "", "calm", "pressed");
    let mut row = |name: &str, of: &dyn Fn(&Run) -> f64| {
        text.push_str(&format!("  {name:<24} {:>14.1} {:>14.1}\n", of(calm), of(pressed)));
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
        let both = TwoSides {
            scenario: "hostile".to_owned(),
            commit: "c".to_owned(),
            rustc: "r".to_owned(),
            machine: calm.run.machine.clone(),
            config: serde_json::json!({}),
            seed: 1,
            verdict: verdict(&calm, &pressed, 10),
            sides: Sides { calm: calm.run, pressed: pressed.run },
        };
        let folder = std::env::temp_dir().join(format!("loadgen-sides-{}", std::process::id()));
        let histograms = [("calm", &calm.histograms), ("pressed", &pressed.histograms)];
        write(&folder, &both, histograms).unwrap();
        assert!(folder.join("latency-calm.hgrm").exists());
        assert!(folder.join("latency-pressed.query.hgrm").exists());
        let shown = report::compare(std::slice::from_ref(&folder)).unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        assert!(shown.contains("/calm") && shown.contains("/pressed"), "{shown}");
        assert!(beside(&both.sides).contains("query us p99.9"));
    }
}
