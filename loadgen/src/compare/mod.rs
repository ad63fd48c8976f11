//! `loadgen compare`: several systems under the same loads, in turn on the same cores.
//!
//! Owns: which loads are made, in which order, the ratios between them, the report. Never touches
//! a server: each system starts and stops its own.
//!
//! ```text
//! flags -> about, fit of each system -> plan.json -> rounds -> cells.jsonl, histograms/
//!                                                           -> compare.json, compare.html, table
//! ```

mod cell;
mod environment;
mod figures;
mod goals;
mod load;
mod plan;
mod registry;
mod rounds;
mod show;
mod summary;
mod table;

pub(crate) use summary::Comparison;
pub(crate) use table::lines;

use crate::report;
use crate::scenario::Scenario;
use crate::systems::{Cores, System, trendsrv};
use anyhow::{Context as _, bail};
use cell::Journal;
use load::Load;
use plan::{Entrant, Plan};
use std::path::{Path, PathBuf};

/// Runs systems side by side under the same loads and writes one report
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct CompareArgs {
    /// Name of a scenario, or a .toml file with its fields
    #[arg(long, value_name = "NAME|FILE.toml", default_value = "100k")]
    scenario: String,
    /// How often each load is made; the systems take turns within a round
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Systems to run
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_values = registry::NAMES)]
    systems: Vec<String>,
    /// Loads to make
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_values_t = Load::ALL.map(Shown))]
    loads: Vec<Shown>,
    /// Systems that must run; the others may be missing
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    require: Vec<String>,
    /// Cores of the system under test
    #[arg(long, value_name = "LIST", default_value = "0", value_delimiter = ',')]
    server_cores: Vec<usize>,
    /// Cores of the generator
    #[arg(long, value_name = "LIST", default_value = "1", value_delimiter = ',')]
    cores: Vec<usize>,
    /// Events a second of trendsrv's paced loads [default: the scenario's, or 4200000]
    #[arg(long, value_name = "N")]
    rate: Option<u64>,
    /// Tenants
    #[arg(long, value_name = "N")]
    tenants: Option<u32>,
    /// Length of each measurement
    #[arg(long, value_name = "N")]
    seconds: Option<u64>,
    /// Load before each measurement
    #[arg(long, value_name = "N")]
    warmup_seconds: Option<u64>,
    /// Folder of the report [default: bench-results/run-UNIXTIME]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Goes on with the comparison of a folder that was interrupted, as it began
    #[arg(long, value_name = "DIR", exclusive = true)]
    resume: Option<PathBuf>,
}

/// A load as a flag shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shown(Load);

impl std::fmt::Display for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0.name())
    }
}

impl std::str::FromStr for Shown {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let load = Load::ALL.into_iter().find(|load| load.name() == text);
        load.map(Self).ok_or_else(|| {
            let names = Load::ALL.map(Load::name).join(", ");
            format!("no load {text:?}; there are {names}")
        })
    }
}

/// The paced rate when the scenario is not paced: that of the published claim.
const RATE: u64 = 4_200_000;

/// Runs the comparison; returns whether no goal is missed.
///
/// # Errors
/// When a required system cannot run, or a file cannot be written. What a system does wrong under
/// load is no error but a result.
pub(crate) fn compare(args: &CompareArgs) -> anyhow::Result<bool> {
    let (folder, plan) = match &args.resume {
        Some(folder) => (folder.clone(), resumed(folder)?),
        None => (args.out.clone().unwrap_or_else(report::default_folder), args.plan()?),
    };
    let systems: Vec<_> =
        plan.entrants.iter().map(|one| registry::named(&one.name)).collect::<Result<_, _>>()?;
    let plan = ready(plan, &systems, &args.require, &folder)?;
    let mut journal = Journal::open(&folder)?;
    rounds::run(&plan, &systems, &folder, &mut journal)?;
    let comparison = Comparison::new(plan, journal.cells().to_vec());
    comparison.write(&folder)?;
    print!("{}", table::table(&comparison));
    println!("written to {}", folder.display());
    Ok(comparison.passed)
}

impl CompareArgs {
    fn plan(&self) -> anyhow::Result<Plan> {
        let mut scenario = Scenario::load(&self.scenario)?;
        if scenario.durability || scenario.hostile_per_mille > 0 {
            bail!("scenario {} compares sides of its own: use `loadgen run`", self.scenario);
        }
        let rate = self.rate.unwrap_or(if scenario.rate > 0 { scenario.rate } else { RATE });
        // Each load sets its own.
        scenario.rate = 0;
        scenario.tenants = self.tenants.unwrap_or(scenario.tenants);
        scenario.sample = scenario.sample.min(scenario.tenants.saturating_sub(1) as usize).max(1);
        scenario.seconds = self.seconds.unwrap_or(scenario.seconds);
        scenario.warmup_seconds = self.warmup_seconds.unwrap_or(scenario.warmup_seconds);
        scenario.check().with_context(|| format!("scenario {}", self.scenario))?;
        let mut entrants: Vec<Entrant> = Vec::new();
        for name in &self.systems {
            registry::named(name)?;
            if entrants.iter().all(|one| one.name != *name) {
                entrants.push(Entrant { name: name.clone(), ..Entrant::default() });
            }
        }
        if let Some(name) = self.require.iter().find(|name| !self.systems.contains(name)) {
            bail!("--require {name}: it is not among --systems {}", self.systems.join(","));
        }
        if let Some(core) = self.cores.iter().find(|core| self.server_cores.contains(core)) {
            bail!(
                "core {core} is in --server-cores and in --cores: the generator would be measured"
            );
        }
        let loads = Load::ALL.into_iter().filter(|load| self.loads.contains(&Shown(*load)));
        Ok(Plan {
            scenario_name: self.scenario.clone(),
            scenario,
            rate,
            rounds: self.rounds,
            loads: loads.collect(),
            cores: Cores { server: self.server_cores.clone(), loadgen: self.cores.clone() },
            commit: report::commit(),
            entrants,
        })
    }
}

/// The plan of a folder, when this program may go on with it.
fn resumed(folder: &Path) -> anyhow::Result<Plan> {
    let path = folder.join("plan.json");
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("cannot read {}: is it a comparison's folder?", path.display()))?;
    let plan: Plan = serde_json::from_str(&text)
        .with_context(|| format!("{} is not the plan of a comparison", path.display()))?;
    let commit = report::commit();
    // The folder itself may be what is not committed.
    let clean = |commit: &str| commit.trim_end_matches("-dirty").to_owned();
    if clean(&plan.commit) != clean(&commit) {
        bail!(
            "{} was begun at commit {}, this is {commit}: a comparison is of one commit; begin \
             anew with another --out",
            folder.display(),
            plan.commit
        );
    }
    Ok(plan)
}

/// Asks each system what it is and how much it finishes, and writes the plan down after each.
fn ready(
    mut plan: Plan,
    systems: &[Box<dyn System>],
    require: &[String],
    folder: &Path,
) -> anyhow::Result<Plan> {
    let write = |plan: &Plan| -> anyhow::Result<()> {
        report::put(folder, "plan.json", serde_json::to_string_pretty(plan)? + "\n")
    };
    for (index, system) in systems.iter().enumerate() {
        let entrant = &plan.entrants[index];
        if entrant.fit.is_some() || entrant.not_run.is_some() {
            continue;
        }
        println!("{}: what it is, and how much of the scenario it finishes", system.name());
        let met = meet(system.as_ref(), &plan);
        let entrant = &mut plan.entrants[index];
        match met {
            Ok(met) => *entrant = met,
            Err(error) if require.iter().any(|name| name == system.name()) => {
                return Err(error.context(format!("{} is required and cannot run", system.name())));
            }
            Err(error) => {
                println!("  not run: {error:#}");
                entrant.not_run = Some(format!("{error:#}"));
            }
        }
        write(&plan)?;
    }
    if plan.entrants.iter().all(|one| one.fit.is_none()) {
        bail!("none of the systems can run; {} says why", folder.join("plan.json").display());
    }
    if !plan.has_ours() {
        println!("without {} there are no ratios", trendsrv::NAME);
    }
    write(&plan)?;
    Ok(plan)
}

/// One system, before its first load.
fn meet(system: &dyn System, plan: &Plan) -> anyhow::Result<Entrant> {
    let about = system.about()?;
    println!("  {}", about.version);
    let fit =
        system.fit(&plan.scenario, &plan.cores).context("not even a small part of it runs")?;
    for attempt in &fit.attempts {
        let held = if attempt.held { "held" } else { "did not hold" };
        println!("  {} tenants {held}: {}", attempt.tenants, attempt.why);
    }
    println!("  {} of {} tenants", fit.tenants, plan.scenario.tenants);
    let name = system.name().to_owned();
    Ok(Entrant { name, about: Some(about), fit: Some(fit), not_run: None })
}

#[cfg(test)]
mod tests;
