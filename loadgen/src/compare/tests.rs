//! Comparisons of systems that are made up.

use super::cell::Cell;
use super::figures::Metric;
use super::plan::Key;
use super::*;
use crate::report::{Histograms, Refresh, Run};
use crate::run::Done;
use crate::systems::{About, Fit};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// A folder of its own, removed at the end.
pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("loadgen-compare-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

/// A plan of 100,000 tenants for systems that finish all of it.
pub(super) fn plan(systems: &[&str], rounds: u32) -> Plan {
    let entrant = |name: &&str| Entrant {
        name: (*name).to_owned(),
        about: Some(About { version: format!("{name} 1"), ..About::default() }),
        fit: Some(Fit { tenants: 100_000, ..Fit::default() }),
        not_run: None,
    };
    Plan {
        scenario_name: "100k".to_owned(),
        scenario: Scenario { seconds: 10, ..Scenario::default() },
        rate: RATE,
        rounds,
        loads: Load::ALL.to_vec(),
        cores: Cores { server: vec![0], loadgen: vec![1] },
        commit: "c".to_owned(),
        entrants: systems.iter().map(entrant).collect(),
    }
}

fn run(rate: f64, ns: f64, seconds: f64) -> Run {
    static EMPTY: OnceLock<Run> = OnceLock::new();
    let mut run = Run { seconds, rate_acked: rate, ..EMPTY.get_or_init(Run::empty).clone() };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a test's count")]
    let events = (rate * seconds) as u64;
    run.events_acked = events;
    run.server.ns_cpu_per_event = ns;
    run.server.cpu_user_s = rate * seconds * ns / 1e9;
    run.server.context_switches_voluntary = 100;
    run
}

/// All tenants asked for so often.
fn refreshed(rounds: u64) -> Option<Refresh> {
    Some(Refresh { rounds, seconds_p50: 0.9, ..Refresh::default() })
}

/// The same load, where all tenants were asked for so often.
pub(super) fn behind(mut cell: Cell, rounds: u64) -> Cell {
    cell.run.as_mut().unwrap().refresh = refreshed(rounds);
    cell
}

/// A load that went well.
pub(super) fn cell(system: &str, load: Load, round: u32, rate: f64, ns: f64) -> Cell {
    let key = Key {
        system: system.to_owned(),
        load,
        round,
        tenants: 100_000,
        rate: 0,
        refresh_ms: load.refresh_ms(),
    };
    let nothing = crate::latency::Shape::default();
    let mut run = run(rate, ns, 10.0);
    run.refresh = refreshed(10).filter(|_| load.refresh_ms() > 0);
    Cell {
        key,
        run: Some(run),
        failed: None,
        notes: Vec::new(),
        ack: nothing.clone(),
        visible: nothing,
    }
}

/// What was asked of all systems, in its order.
type Diary = Rc<RefCell<Vec<(String, Scenario)>>>;

/// A system that takes a given time an event, and fails when it is told to.
struct Fake {
    name: &'static str,
    ns: f64,
    tenants_max: u32,
    /// So many it can ask for in a second.
    refreshed_max: u32,
    /// The load that it does not survive, counted from 1.
    dies_at: Option<usize>,
    diary: Diary,
}

impl System for Fake {
    fn name(&self) -> &'static str {
        self.name
    }

    fn about(&self) -> anyhow::Result<About> {
        if self.tenants_max == 0 {
            bail!("{} is not installed: apt install it", self.name);
        }
        Ok(About { version: format!("{} 1", self.name), ..About::default() })
    }

    fn fit(&self, scenario: &Scenario, _cores: &Cores) -> anyhow::Result<Fit> {
        Ok(Fit { tenants: scenario.tenants.min(self.tenants_max), ..Fit::default() })
    }

    fn load(&self, scenario: &Scenario, _cores: &Cores) -> anyhow::Result<Done> {
        self.diary.borrow_mut().push((self.name.to_owned(), scenario.clone()));
        let mine = self.diary.borrow().iter().filter(|(name, _)| name == self.name).count();
        if self.dies_at == Some(mine) {
            bail!("it ended with signal 9");
        }
        let most = 1e9 / self.ns;
        let rate = if scenario.rate > 0 { most.min(scenario.rate as f64) } else { most };
        let mut histograms = Histograms::new()?;
        (1..=1_000).for_each(|n| histograms.ack.record(n * 1_000));
        let mut run = run(rate, self.ns, scenario.seconds as f64);
        run.latency_us = histograms.percentiles();
        let period_ms = u64::from(scenario.refresh_ms);
        let slow = u64::from(scenario.tenants.div_ceil(self.refreshed_max));
        run.refresh = (scenario.seconds * 1_000).checked_div(period_ms * slow).and_then(refreshed);
        Ok(Done { run, histograms, notes: vec!["a <note>".to_owned()], right: Ok(()) })
    }
}

fn fakes(diary: &Diary, dies_at: Option<usize>) -> Vec<Box<dyn System>> {
    fakes_with(diary, dies_at, u32::MAX)
}

/// The same, where each refreshes so many tenants a second.
fn fakes_with(diary: &Diary, dies_at: Option<usize>, refreshed_max: u32) -> Vec<Box<dyn System>> {
    let fake = |name, ns, tenants_max, dies_at| -> Box<dyn System> {
        let refreshed_max = if name == "trendsrv" { u32::MAX } else { refreshed_max };
        let diary = Rc::clone(diary);
        Box::new(Fake { name, ns, tenants_max, refreshed_max, dies_at, diary })
    };
    vec![
        fake("trendsrv", 50.0, u32::MAX, None),
        fake("naive-futex", 10_000.0, 32_000, None),
        fake("redis", 2_500.0, u32::MAX, dies_at),
    ]
}

/// A plan whose systems were not asked yet.
fn unmet(rounds: u32) -> Plan {
    let mut plan = plan(&["trendsrv", "naive-futex", "redis"], rounds);
    for entrant in &mut plan.entrants {
        *entrant = Entrant { name: entrant.name.clone(), ..Entrant::default() };
    }
    plan
}

fn made(plan: &Plan, systems: &[Box<dyn System>], folder: &Path) -> Comparison {
    let mut journal = Journal::open(folder).unwrap();
    rounds::run(plan, systems, folder, &mut journal).unwrap();
    Comparison::new(plan.clone(), journal.cells().to_vec())
}

#[test]
fn systems_take_turns_and_ours_stands_beside_each_at_its_size() {
    let (folder, diary) = (Folder::new(), Diary::default());
    let systems = fakes(&diary, None);
    let plan = ready(unmet(2), &systems, &[], folder.path()).unwrap();
    made(&plan, &systems, folder.path());
    let diary = diary.borrow();
    let saturated = |(_, one): &&(String, Scenario)| {
        one.rate == 0 && one.run_length == 1 && one.refresh_ms == 0
    };
    let order: Vec<_> =
        diary.iter().filter(saturated).map(|(name, one)| (name.as_str(), one.tenants)).collect();
    let ours = ("trendsrv", 100_000);
    let naive = [("naive-futex", 32_000), ("trendsrv", 32_000)];
    let redis = ("redis", 100_000);
    // Round 1 begins with the second, round 2 with the third; ours at the size of redis is ours.
    assert_eq!(order[..4], [naive[0], naive[1], redis, ours]);
    assert_eq!(order[4..], [ours, redis, naive[1], naive[0]]);
    let paced: Vec<_> = diary.iter().filter(|(_, one)| one.rate == 80_000).collect();
    assert!(paced.len() == 4 && paced.iter().all(|(_, one)| one.tenants == 32_000));
}

#[test]
fn ratios_and_verdict_follow_from_the_loads() {
    let (folder, diary) = (Folder::new(), Diary::default());
    let systems = fakes(&diary, None);
    let plan = ready(unmet(3), &systems, &[], folder.path()).unwrap();
    let comparison = made(&plan, &systems, folder.path());
    let ratio = |peer: &str, load, metric| {
        let is_it = |one: &&super::figures::Ratio| {
            one.peer == peer && one.load == load && one.metric == metric
        };
        comparison.ratios.iter().find(is_it).unwrap().spread.median
    };
    let times = ratio("redis", Load::Saturated, Metric::EventsPerCpuSecond);
    assert!((times - 50.0).abs() < 0.01, "{times}");
    let times = ratio("naive-futex", Load::Paced, Metric::EventsPerSecond);
    assert!((times - 1.0).abs() < 1e-9, "the same rate: {times}");
    // 50x of redis is enough at runs of 1, and not when every tenant is asked for.
    let text = table::table(&comparison);
    assert!(text.contains("holds: 50.0x the events of a CPU-second of redis, saturated ("));
    assert!(text.contains("does not hold: 50.0x the events of a CPU-second of redis, refreshed"));
    assert!(!comparison.passed && text.contains("\nverdict: failed, "), "{text}");
}

#[test]
fn a_system_that_fails_is_told_and_the_others_go_on() {
    let (folder, diary) = (Folder::new(), Diary::default());
    let systems = fakes(&diary, Some(1));
    let plan = ready(unmet(2), &systems, &[], folder.path()).unwrap();
    let comparison = made(&plan, &systems, folder.path());
    let failed: Vec<_> = comparison.cells.iter().filter(|cell| cell.failed.is_some()).collect();
    assert_eq!(failed.len(), 1);
    assert_eq!((failed[0].key.system.as_str(), failed[0].key.round), ("redis", 1));
    let row = comparison.own("redis", Load::Saturated).unwrap();
    assert_eq!(row.get(Metric::EventsPerSecond).unwrap().rounds, 1);
    assert!(table::table(&comparison).contains("redis saturated failed in round 1: it ended"));
    assert!(comparison.ratios.iter().any(|ratio| ratio.peer == "redis"));
}

#[test]
fn a_comparison_that_was_interrupted_goes_on_and_makes_no_load_twice() {
    let (folder, diary) = (Folder::new(), Diary::default());
    let systems = fakes(&diary, None);
    let plan = ready(unmet(2), &systems, &[], folder.path()).unwrap();
    let whole = made(&plan, &systems, folder.path());
    let path = folder.path().join("cells.jsonl");
    let text = std::fs::read_to_string(&path).unwrap();
    let begun: String = text.split_inclusive('\n').take(7).collect();
    std::fs::write(&path, begun + "{\"key\":").unwrap();
    diary.borrow_mut().clear();
    let resumed = made(&plan, &systems, folder.path());
    assert_eq!(diary.borrow().len(), whole.cells.len() - 7);
    let keys = |of: &Comparison| of.cells.iter().map(|cell| cell.key.clone()).collect::<Vec<_>>();
    assert_eq!(keys(&resumed), keys(&whole));
    assert_eq!(resumed.goals, whole.goals);
    diary.borrow_mut().clear();
    made(&plan, &systems, folder.path());
    assert!(diary.borrow().is_empty());
}

#[test]
fn the_largest_size_that_a_system_refreshes_is_found_and_told() {
    let (folder, diary) = (Folder::new(), Diary::default());
    let systems = fakes_with(&diary, None, 40_000);
    let mut plan = unmet(2);
    plan.loads = vec![Load::Refreshed];
    let plan = ready(plan, &systems, &[], folder.path()).unwrap();
    let comparison = made(&plan, &systems, folder.path());
    let of_redis = |one: &&(String, Scenario)| one.0 == "redis";
    let sizes: Vec<_> = diary.borrow().iter().filter(of_redis).map(|one| one.1.tenants).collect();
    assert_eq!(sizes, [100_000, 35_000, 35_000]);
    let ratios = comparison.ratios.iter().filter(|one| one.peer == "redis");
    assert!(ratios.clone().count() > 0 && { ratios }.all(|one| one.tenants == 35_000));
    let text = table::table(&comparison);
    for part in [
        "refreshed       tenants                     100000         32000         35000",
        "redis refreshed at 100000 tenants does not hold it in round 1: asked all tenants 3 times of 10",
        "redis, refreshed (goal: 100x), at 35000 tenants: every tenant's top 10",
    ] {
        assert!(text.contains(part), "{text}");
    }
    comparison.write(folder.path()).unwrap();
    let html = std::fs::read_to_string(folder.path().join("compare.html")).unwrap();
    assert!(html.contains("redis, 35") && html.contains("round 1: asked all tenants 3 times"));
    // Interrupted while it looked for the size, it goes on to the same one.
    let path = folder.path().join("cells.jsonl");
    let cells = std::fs::read_to_string(&path).unwrap();
    let begun: String = cells.split_inclusive('\n').take(3).collect();
    std::fs::write(&path, begun).unwrap();
    assert_eq!(made(&plan, &systems, folder.path()).goals, comparison.goals);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), cells);
}

#[test]
fn a_system_that_cannot_run_is_listed_unless_it_is_required() {
    let (folder, diary) = (Folder::new(), Diary::default());
    let mut systems = fakes(&diary, None);
    systems[2] = Box::new(Fake {
        name: "redis",
        ns: 1.0,
        tenants_max: 0,
        refreshed_max: u32::MAX,
        dies_at: None,
        diary: Rc::clone(&diary),
    });
    let required = ["redis".to_owned()];
    let error = ready(unmet(1), &systems, &required, folder.path()).unwrap_err();
    let error = format!("{error:#}");
    assert!(error.contains("required") && error.contains("apt install"), "{error}");
    let plan = ready(unmet(1), &systems, &[], folder.path()).unwrap();
    let comparison = made(&plan, &systems, folder.path());
    assert!(table::table(&comparison).contains("redis was not run: redis is not installed"));
    assert!(comparison.cells.iter().all(|cell| cell.key.system != "redis"));
}

#[test]
fn what_is_written_is_read_back_and_shown() {
    let (folder, diary) = (Folder::new(), Diary::default());
    let systems = fakes(&diary, None);
    let plan = ready(unmet(2), &systems, &[], folder.path()).unwrap();
    let comparison = made(&plan, &systems, folder.path());
    comparison.write(folder.path()).unwrap();
    let read = Comparison::read(folder.path()).unwrap().unwrap();
    assert_eq!((read.cells.len(), &read.plan), (comparison.cells.len(), &comparison.plan));
    assert_eq!((&read.goals, &read.left_out), (&comparison.goals, &comparison.left_out));
    assert_eq!(Comparison::new(read.plan.clone(), read.cells).goals, comparison.goals);
    let html = std::fs::read_to_string(folder.path().join("compare.html")).unwrap();
    for part in ["naive-futex", "does not hold", "32,000", "a &lt;note&gt;", "percentile"] {
        assert!(html.contains(part), "{part}");
    }
    let histograms = std::fs::read_dir(folder.path().join("histograms")).unwrap().count();
    assert_eq!(histograms, comparison.cells.len(), "the latencies of each load");
    let shown = report::compare(&[folder.path().to_owned()]).unwrap();
    assert!(shown.contains("redis/refreshed"), "{shown}");
    assert_eq!(Comparison::read(&folder.path().join("histograms")).unwrap(), None);
}

#[test]
fn flags_that_cannot_be_are_refused() {
    #[derive(Debug, clap::Parser)]
    struct Cli {
        #[command(flatten)]
        args: CompareArgs,
    }
    let plan = |words: &[&str]| {
        let words = ["compare"].iter().chain(words);
        let cli = <Cli as clap::Parser>::try_parse_from(words).map_err(|e| e.to_string())?;
        cli.args.plan().map_err(|error| format!("{error:#}"))
    };
    let whole = plan(&[]).unwrap();
    assert_eq!((whole.rate, whole.rounds, whole.loads.len()), (RATE, 3, 6));
    assert_eq!(whole.entrants.len(), registry::NAMES.len());
    let some = plan(&["--loads", "paced,saturated", "--tenants", "10"]).unwrap();
    assert_eq!(some.loads, [Load::Saturated, Load::Paced]);
    assert_eq!((some.scenario.tenants, some.scenario.sample), (10, 9));
    for (words, part) in [
        (vec!["--systems", "mysql"], "no system \"mysql\""),
        (vec!["--loads", "all"], "no load \"all\""),
        (vec!["--server-cores", "1"], "core 1 is in"),
        (vec!["--systems", "trendsrv", "--require", "redis"], "not among"),
        (vec!["--scenario", "durability"], "sides of its own"),
        (vec!["--resume", "d", "--rounds", "2"], "cannot be used with"),
    ] {
        let error = plan(&words).unwrap_err();
        assert!(error.contains(part), "{error}");
    }
}
