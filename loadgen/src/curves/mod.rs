//! `loadgen curves`: how throughput, cost and memory change with one dimension of the load.
//!
//! Owns: which points are measured, curves.json and curves.html. Never touches: how a load is made.
//!
//! ```text
//! for each round: for each dimension: for each value:
//!     scenario of the point -> server made for it -> saturated load -> its run, or why it failed
//!                                                          -> curves.json after every point
//! all rounds -> medians -> curves.html
//! ```
//!
//! A point that fails is a result: it is kept with its reason, and the next one is measured.

mod dimension;
mod show;

use crate::report::{self, Run};
use crate::run::{self, Done};
use crate::scenario::Scenario;
use crate::server::ServerArgs;
use anyhow::{Context as _, bail};
use dimension::{DIMENSIONS, Dimension, Sweep};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Measures how throughput and cost change with tenants, topics, connections, run length, shards
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct CurvesArgs {
    /// Folder for curves.json and curves.html
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Dimensions to measure [default: all]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    only: Vec<Dimension>,
    /// Other values for a dimension; may be repeated
    #[arg(long, value_name = "DIMENSION=LIST")]
    points: Vec<Sweep>,
    /// Tenants of the other dimensions' points
    #[arg(long, value_name = "N")]
    tenants: Option<u32>,
    /// Length of the measurement of a point
    #[arg(long, value_name = "N", default_value_t = 10)]
    seconds: u64,
    /// Load before the measurement of a point
    #[arg(long, value_name = "N", default_value_t = 5)]
    warmup_seconds: u64,
    /// How often each point is measured; a point is shown with its median
    #[arg(long, value_name = "N", default_value_t = 1,
        value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Cores of the server, one shard each; a point with one shard takes the first
    #[arg(long, value_name = "LIST", default_value = "0", value_delimiter = ',')]
    server_cores: Vec<usize>,
    /// Cores to pin this program to
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    cores: Vec<usize>,
    /// The program to start [default: `trendsrv` beside this program]
    #[arg(long, value_name = "PATH")]
    server: Option<PathBuf>,
    /// What every tenant runs, as for `loadgen run`
    #[arg(long, value_name = "NAME|FILE.wasm")]
    program: Option<String>,
    /// Another argument for each server; may be repeated
    #[arg(long, value_name = "ARG", allow_hyphen_values = true)]
    server_arg: Vec<String>,
}

/// curves.json.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Curves {
    pub(crate) points: Vec<Point>,
}

/// One measurement.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Point {
    pub(crate) dimension: Dimension,
    pub(crate) value: u32,
    /// Counts from 1.
    pub(crate) round: u32,
    /// Topics of a tenant that its events name, on average.
    pub(crate) topics_named: f64,
    pub(crate) server_args: Vec<String>,
    /// What was measured, unless it failed before.
    pub(crate) run: Option<Run>,
    /// Why it does not count.
    pub(crate) failed: Option<String>,
}

/// Measures every point.
///
/// # Errors
/// When nothing can be written, and when a point failed; all others were measured then.
pub(crate) fn curves(args: &CurvesArgs) -> anyhow::Result<()> {
    let sweeps = args.sweeps()?;
    let count = sweeps.iter().map(|sweep| sweep.values.len()).sum::<usize>();
    let count = count * args.rounds as usize;
    let mut curves = Curves::default();
    for round in 1..=args.rounds {
        for (dimension, value) in sweeps.iter().flat_map(Sweep::points) {
            let number = curves.points.len() + 1;
            println!("point {number} of {count}: {} {value}, round {round}", dimension.name());
            let point = args.measure(dimension, value, round);
            println!("{}", point.line());
            curves.points.push(point);
            // After each point: what was measured survives an interruption.
            let json = serde_json::to_string_pretty(&curves)?;
            report::put(&args.out, "curves.json", json + "\n")?;
        }
    }
    show::page(&curves).write(&args.out.join("curves.html"))?;
    println!("written to {}", args.out.display());
    let failed = curves.points.iter().filter(|point| point.failed.is_some()).count();
    if failed > 0 {
        bail!("{failed} of {count} points failed; curves.html says why");
    }
    Ok(())
}

impl CurvesArgs {
    /// The dimensions asked for, with their values.
    fn sweeps(&self) -> anyhow::Result<Vec<Sweep>> {
        if let Some(extra) = self.points.iter().find(|sweep| !self.wants(sweep.dimension)) {
            bail!("--points names {}, which --only leaves out", extra.dimension.name());
        }
        let sweep = |dimension: Dimension| {
            let other = self.points.iter().find(|sweep| sweep.dimension == dimension);
            other.cloned().unwrap_or_else(|| dimension.sweep())
        };
        Ok(DIMENSIONS.into_iter().filter(|d| self.wants(*d)).map(sweep).collect())
    }

    fn wants(&self, dimension: Dimension) -> bool {
        self.only.is_empty() || self.only.contains(&dimension)
    }

    /// The scenario around which all dimensions are swept.
    fn base(&self) -> Scenario {
        let base = Scenario::default();
        Scenario {
            tenants: self.tenants.unwrap_or(base.tenants),
            rate: 0,
            seconds: self.seconds,
            warmup_seconds: self.warmup_seconds,
            ..base
        }
    }

    fn measure(&self, dimension: Dimension, value: u32, round: u32) -> Point {
        let scenario = dimension.scenario(&self.base(), value);
        let server_args = dimension::server_args(&scenario, &self.server_arg);
        let named = dimension::topics_named(&scenario);
        let (run, failed) = match self.load(dimension, value, &scenario, &server_args) {
            Ok(Done { run, right, .. }) => (Some(run), right.err()),
            Err(error) => (None, Some(error)),
        };
        let failed = failed.map(|error| format!("{error:#}"));
        Point { dimension, value, round, topics_named: named, server_args, run, failed }
    }

    fn load(
        &self,
        dimension: Dimension,
        value: u32,
        scenario: &Scenario,
        server_args: &[String],
    ) -> anyhow::Result<Done> {
        scenario.check()?;
        // Its folder must be there.
        report::put(&self.out, WORDS, String::new())?;
        let shards = dimension.shards(value);
        let cores = self.server_cores.get(..shards).with_context(|| {
            let there = self.server_cores.len();
            format!("{shards} shards need as many --server-cores, and {there} are given")
        })?;
        let server = ServerArgs {
            server: self.server.clone(),
            server_arg: server_args.to_vec(),
            program: self.program.clone(),
            words: Some(self.out.join(WORDS)),
            ..ServerArgs::spawned(cores, &self.cores)
        };
        run::load_with(&server, &format!("{}-{value}", dimension.name()), scenario)
    }
}

/// What the server of the last point said on its standard error.
const WORDS: &str = "server.txt";

impl Sweep {
    fn points(&self) -> impl Iterator<Item = (Dimension, u32)> + '_ {
        self.values.iter().map(|value| (self.dimension, *value))
    }
}

impl Point {
    /// The point in a line for a person.
    fn line(&self) -> String {
        let measured = self.run.as_ref().map(|run| {
            format!(
                "  {:.3} M events/s, {:.1} ns CPU/event, {:.0} bytes of memory a tenant",
                run.rate_acked / 1e6,
                run.server.ns_cpu_per_event,
                show::bytes_per_tenant(run)
            )
        });
        let failed = self.failed.as_ref().map(|why| format!("  failed: {why}"));
        measured.into_iter().chain(failed).collect::<Vec<_>>().join("\n")
    }
}

/// Reads a curves.json.
#[cfg(test)]
fn read(path: &std::path::Path) -> anyhow::Result<Curves> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is not a curves.json", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: CurvesArgs,
    }

    fn args(words: &[&str]) -> CurvesArgs {
        let words = ["curves", "--out"].iter().chain(words);
        Line::try_parse_from(words).unwrap_or_else(|e| panic!("{e}")).args
    }

    #[test]
    fn the_command_line_chooses_dimensions_and_values() {
        let all = args(&["x"]).sweeps().unwrap();
        assert_eq!(all, DIMENSIONS.map(Dimension::sweep));
        let some = args(&["x", "--only", "shards,tenants", "--points", "tenants=5,6"]);
        let some = some.sweeps().unwrap();
        assert_eq!(some[0], Sweep { dimension: Dimension::Tenants, values: vec![5, 6] });
        assert_eq!((some.len(), &some[1]), (2, &Dimension::Shards.sweep()));
        let odd = args(&["x", "--only", "shards", "--points", "topics=5"]).sweeps();
        assert!(odd.unwrap_err().to_string().contains("topics"));
    }

    #[test]
    fn a_point_that_fails_is_kept_with_its_reason_and_the_next_is_tried() {
        let folder = std::env::temp_dir().join(format!("loadgen-curves-{}", std::process::id()));
        let out = folder.to_str().unwrap();
        let nobody = args(&[out, "--server", "/nowhere", "--points", "shards=1,3"]);
        let nobody = CurvesArgs { only: vec![Dimension::Shards], rounds: 2, ..nobody };
        let error = curves(&nobody).unwrap_err().to_string();
        assert_eq!(error, "4 of 4 points failed; curves.html says why");
        let kept = read(&folder.join("curves.json")).unwrap();
        let html = std::fs::read_to_string(folder.join("curves.html")).unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        let points: Vec<_> = kept.points.iter().map(|point| (point.value, point.round)).collect();
        assert_eq!(points, [(1, 1), (3, 1), (1, 2), (3, 2)]);
        let why: Vec<_> = kept.points.iter().map(|point| point.failed.as_deref()).collect();
        assert!(why[0].is_some_and(|why| why.contains("cannot start /nowhere")), "{why:?}");
        assert!(why[1].is_some_and(|why| why.contains("3 shards need")), "{why:?}");
        assert!(html.contains("3 shards need"), "a reader sees it");
    }
}
