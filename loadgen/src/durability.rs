//! What durability costs: the same load with each kind of acknowledgement, beside the disk's own
//! speed, and a single event on an idle server.
//!
//! Owns the comparison. Never touches the servers' data.
//!
//! ```text
//! no-log     applied, --no-log           received, applied, durable     with a log, each on an
//!                                                                        empty directory
//!            -> run.json {sides, verdict}, latency-SIDE.hgrm
//! ```

use crate::disk::{self, WriteLatency};
use crate::lone::{self, LoneLatency};
use crate::process::float;
use crate::programs::Folder;
use crate::run::{Done, RunArgs};
use crate::scenario::{Ack, Scenario};
use crate::sides::{Verdict, publish, side};
use anyhow::bail;

/// Makes the load of a scenario once a side; returns whether the verdict holds.
pub(crate) fn run(args: &RunArgs, scenario: &Scenario) -> anyhow::Result<bool> {
    if !args.server.spawn {
        bail!("this scenario compares servers, started in turn: it needs --spawn");
    }
    let folder = match &args.data_dir {
        Some(parent) => {
            std::fs::create_dir_all(parent)?;
            Folder::within(parent)?
        }
        None => Folder::new()?,
    };
    let disk = disk::write_latency(folder.path())?;
    println!("{}", disk.line());
    let mut done = Vec::with_capacity(SIDES.len());
    for (name, ack, logs) in SIDES {
        let data = folder.path().join(name);
        let mut args = args.clone();
        let words = if logs {
            vec!["--data-dir".to_owned(), data.display().to_string()]
        } else {
            vec!["--no-log".to_owned()]
        };
        args.server.server_arg.extend(words);
        let scenario = Scenario { ack, ..scenario.clone() };
        done.push((name, side(name, &args, &scenario, None)?));
        if logs {
            std::fs::remove_dir_all(&data)?;
        }
    }
    let data = folder.path().join("lone");
    let mut alone = args.server.clone();
    alone.server_arg.extend(["--data-dir".to_owned(), data.display().to_string()]);
    let lone = lone::latency(&alone)?;
    println!("{}", lone.line());
    let verdict = verdict(&done, &disk, &lone);
    let mut config = serde_json::to_value(scenario)?;
    config["disk_write_us"] = serde_json::to_value(disk)?;
    config["lone_durable_us"] = serde_json::to_value(lone)?;
    publish(args, scenario, config, done, verdict)
}

fn verdict(sides: &[(&str, Done)], disk: &WriteLatency, lone: &LoneLatency) -> Verdict {
    let mut verdict = Verdict::new();
    for (name, done) in sides {
        let what = match &done.right {
            Ok(()) => format!("{name}: every answer right, nothing lost"),
            Err(error) => format!("{name}: every answer right, nothing lost: {error:#}"),
        };
        verdict.note(done.right.is_ok(), what);
    }
    let of = |wanted: &str| sides.iter().find(|(name, _)| *name == wanted).map(|(_, done)| done);
    let (Some(bare), Some(applied), Some(durable)) = (of("no-log"), of("applied"), of("durable"))
    else {
        verdict.note(false, "a side is missing".to_owned());
        return verdict;
    };
    let (bare_ns, with_ns) =
        (bare.run.server.ns_cpu_per_event, applied.run.server.ns_cpu_per_event);
    let percent = 100.0 * (with_ns / bare_ns.max(1e-9) - 1.0);
    verdict.note(
        percent <= float(LOG_PERCENT_MAX),
        format!(
            "the log adds {percent:.1} % CPU to applied: {bare_ns:.1} to {with_ns:.1} ns an event \
             (at most {LOG_PERCENT_MAX} %)"
        ),
    );
    let p50 = durable.run.latency_us.ack.p50;
    let limit = float(COMMIT_WAIT_US) + 3.0 * disk.block_p50_us;
    verdict.note(
        p50 <= limit,
        format!(
            "durable p50 {p50:.0} us, at most {limit:.0}: the group commit's {COMMIT_WAIT_US} and \
             three times the disk's {:.0}",
            disk.block_p50_us
        ),
    );
    verdict.note(
        lone.p50_us < float(COMMIT_WAIT_US),
        format!(
            "a lone durable event on an idle server takes {:.0} us: it does not wait for more to come \
             ({COMMIT_WAIT_US} us)",
            lone.p50_us
        ),
    );
    verdict
}

/// Name, acknowledgement, and whether there is a log.
const SIDES: [(&str, Ack, bool); 4] = [
    ("no-log", Ack::Applied, false),
    ("received", Ack::Received, true),
    ("applied", Ack::Applied, true),
    ("durable", Ack::Durable, true),
];
/// What the log may add to the CPU time of an event.
const LOG_PERCENT_MAX: u64 = 40;
/// How long a commit waits for more, microseconds.
const COMMIT_WAIT_US: u64 = 2_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Histograms, Run};

    fn done(ns: f64, p50: f64) -> Done {
        let mut run = Run::empty();
        run.server.ns_cpu_per_event = ns;
        run.latency_us.ack.p50 = p50;
        Done { run, histograms: Histograms::new().unwrap(), notes: Vec::new(), right: Ok(()) }
    }

    const DISK: WriteLatency =
        WriteLatency { block_p50_us: 100.0, block_p99_us: 200.0, large_p50_us: 500.0 };
    const LONE: LoneLatency = LoneLatency { p50_us: 300.0, p99_us: 900.0 };

    fn passes(applied_ns: f64, durable_p50: f64, lone_p50_us: f64) -> bool {
        let sides = [
            ("no-log", done(100.0, 600.0)),
            ("received", done(110.0, 600.0)),
            ("applied", done(applied_ns, 600.0)),
            ("durable", done(150.0, durable_p50)),
        ];
        verdict(&sides, &DISK, &LoneLatency { p50_us: lone_p50_us, ..LONE }).passed
    }

    #[test]
    fn the_log_may_cost_forty_percent_and_a_commit_its_wait_and_three_writes() {
        assert!(passes(140.0, 2_300.0, 300.0));
        assert!(!passes(141.0, 2_300.0, 300.0));
        assert!(!passes(140.0, 2_301.0, 300.0));
    }

    #[test]
    fn a_lone_event_must_not_wait_for_others() {
        assert!(!passes(140.0, 2_300.0, 2_000.0));
    }

    #[test]
    fn a_side_that_is_missing_or_wrong_fails_the_verdict() {
        assert!(!verdict(&[("no-log", done(1.0, 1.0))], &DISK, &LONE).passed);
    }
}
