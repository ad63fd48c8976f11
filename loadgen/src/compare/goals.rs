//! The goals that a comparison is judged by.
//!
//! Owns: each limit, and the load that shows it. A goal of 100,000 tenants is not judged by a
//! smaller scenario, and none by a load that failed.

use super::cell::Cell;
use super::figures::{Metric, Row, Spread, ratio, rows};
use super::load::Load;
use super::plan::{Key, Plan};
use crate::page::Outcome;
use crate::process::float;
use crate::systems::trendsrv;
use serde::{Deserialize, Serialize};

/// One goal and what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Goal {
    pub(crate) outcome: Outcome,
    /// What was found, and what was asked for.
    pub(crate) what: String,
    /// The spread, the size, the load; or why it was not measured.
    pub(crate) detail: String,
}

/// The goals are those of this many tenants and paced events a second.
const TENANTS: u32 = 100_000;
const RATE: u64 = 4_200_000;

/// Loads of ours and their limits: cores used at the goal's rate, which are 18 and 12 % of two.
const CORES: [(Load, &str, f64); 2] =
    [(Load::Paced, "every event for another tenant", 0.36), (Load::PacedRun16, "runs of 16", 0.24)];
/// The longest p99 of acknowledgements at the goal's rate.
const ACK_P99_US: f64 = 3_000.0;
/// Nanoseconds of CPU time of an event: 1.3 times what a prototype with ticking programs took.
const NS_PER_EVENT: [(Load, &str, f64); 2] =
    [(Load::Saturated, "runs of 1", 71.5), (Load::SaturatedRun16, "runs of 16", 45.5)];

/// How many times what another system does, and at which load.
const RATIOS: [(&str, Load, Metric, f64); 7] = [
    ("naive-futex", Load::Saturated, Metric::EventsPerCpuSecond, 100.0),
    ("naive-futex", Load::Saturated, Metric::SwitchesPerMillionEvents, 1_000.0),
    ("redis", Load::Saturated, Metric::EventsPerCpuSecond, 30.0),
    ("redis", Load::SaturatedRun16, Metric::EventsPerCpuSecond, 50.0),
    ("redis", Load::Refreshed, Metric::EventsPerCpuSecond, 100.0),
    ("flink-10s", Load::Saturated, Metric::EventsPerCpuSecond, 100.0),
    ("flink-1s", Load::Saturated, Metric::EventsPerCpuSecond, 100.0),
];

/// Judges all of them by the cells.
pub(crate) fn goals(plan: &Plan, cells: &[Cell]) -> Vec<Goal> {
    let rows = rows(plan, cells);
    let ours = |load: Load| rows.iter().find(|row| row.is_ours(load));
    let mut goals = vec![right(cells)];
    for (load, what, limit) in CORES {
        let (row, percent) = (ours(load), limit * 50.0);
        let rate = float(RATE) / 1e6;
        let figure =
            |metric| plan.judges_rate(load, row).map(|()| row.and_then(|row| row.get(metric)));
        let mut goal = at_most(limit, figure(Metric::CoresUsed), "of a core", |cores| {
            let found = shown(cores, 1.0, 3);
            format!(
                "{found} of a core at {rate:.1} M events/s, {what} (goal: at most {limit}, \
                 {percent:.0} % of two)"
            )
        });
        goal.detail += &programs_live(plan, load, cells);
        goals.push(goal);
        goals.push(at_most(ACK_P99_US, figure(Metric::AckP99Us), "us", |us| {
            let (found, most) = (shown(us, 1e3, 2), ACK_P99_US / 1e3);
            format!(
                "{found} ms for 99 % of acknowledgements at {rate:.1} M events/s, {what} \
                 (goal: under {most} ms)"
            )
        }));
    }
    for (load, what, limit) in NS_PER_EVENT {
        let figure = ours(load).and_then(|row| row.get(Metric::NsCpuPerEvent));
        goals.push(at_most(limit, plan.judges(load).map(|()| figure), "ns", |ns| {
            let found = shown(ns, 1.0, 1);
            format!(
                "{found} ns of CPU an event saturated, {what}, a program ticking in every tenant \
                 (goal: at most {limit}, 1.3 times the prototype)"
            )
        }));
    }
    goals.extend(
        RATIOS.iter().filter(|goal| plan.entrants.iter().any(|one| one.name == goal.0)).map(
            |(peer, load, metric, limit)| ratio_goal(plan, cells, (peer, *load, *metric), *limit),
        ),
    );
    goals
}

/// Whether no goal is missed.
pub(crate) fn passed(goals: &[Goal]) -> bool {
    goals.iter().all(|goal| goal.outcome != Outcome::DoesNotHold)
}

impl Plan {
    /// Whether the goals of 100,000 tenants are judged by this comparison.
    fn judges(&self, load: Load) -> Result<(), Unjudged> {
        if !self.loads.contains(&load) {
            let why = format!("the load {} was not asked for", load.name());
            return Err((Outcome::NotMeasured, why));
        }
        if self.scenario.tenants < TENANTS {
            let here = self.scenario.tenants;
            let why = format!("the goal is one of {TENANTS} tenants, here are {here}");
            return Err((Outcome::NotMeasured, why));
        }
        Ok(())
    }

    /// The same for goals of a paced load, which has to reach its rate.
    fn judges_rate(&self, load: Load, row: Option<&Row>) -> Result<(), Unjudged> {
        self.judges(load)?;
        if self.rate < RATE {
            let why = format!("the goal is one of {RATE} events/s, here are {}", self.rate);
            return Err((Outcome::NotMeasured, why));
        }
        match row.and_then(|row| row.get(Metric::EventsPerSecond)) {
            Some(rate) if rate.median < 0.99 * float(RATE) => {
                let why = format!("the rate was not reached: {:.2} M events/s", rate.median / 1e6);
                Err((Outcome::DoesNotHold, why))
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// What comes of a goal whose figure is not looked at, and why it is not.
type Unjudged = (Outcome, String);

impl Row {
    fn is_ours(&self, load: Load) -> bool {
        self.system == trendsrv::NAME && self.load == load && self.own
    }
}

/// Ours gave no wrong answer, and lost nothing.
fn right(cells: &[Cell]) -> Goal {
    let ours: Vec<_> = cells.iter().filter(|cell| cell.key.system == trendsrv::NAME).collect();
    let wrong: Vec<_> = ours.iter().filter_map(|cell| cell.failed.as_deref()).collect();
    let checked: u64 =
        ours.iter().filter_map(|cell| Some(cell.good()?.check.tenants_checked)).sum();
    let outcome = match (ours.is_empty(), wrong.is_empty()) {
        (true, _) => Outcome::NotMeasured,
        (false, true) => Outcome::Holds,
        (false, false) => Outcome::DoesNotHold,
    };
    let what = format!(
        "every answer of {} was exact and no event was lost, in {} of {} runs",
        trendsrv::NAME,
        ours.len() - wrong.len(),
        ours.len()
    );
    let detail = match wrong.first() {
        Some(why) => (*why).to_owned(),
        None => format!("{checked} answers checked against exact counts"),
    };
    Goal { outcome, what, detail }
}

/// A figure with a most; `what` says it in words.
fn at_most(
    limit: f64,
    found: Result<Option<Spread>, Unjudged>,
    unit: &str,
    what: impl Fn(Option<Spread>) -> String,
) -> Goal {
    let (outcome, detail) = match &found {
        Ok(Some(spread)) if spread.median <= limit => (Outcome::Holds, over_rounds(spread, unit)),
        Ok(Some(spread)) => (Outcome::DoesNotHold, over_rounds(spread, unit)),
        Ok(None) => {
            (Outcome::NotMeasured, "no round of this load was made without a failure".to_owned())
        }
        Err((outcome, why)) => (*outcome, why.clone()),
    };
    Goal { outcome, what: what(found.ok().flatten()), detail }
}

/// A median in units of `unit`, or that there is none.
fn shown(found: Option<Spread>, unit: f64, digits: usize) -> String {
    found.map_or_else(|| "–".to_owned(), |spread| format!("{:.digits$}", spread.median / unit))
}

fn ratio_goal(
    plan: &Plan,
    cells: &[Cell],
    (peer, load, metric): (&str, Load, Metric),
    limit: f64,
) -> Goal {
    let counted = match metric {
        Metric::SwitchesPerMillionEvents => "fewer context switches an event than",
        _ => "the events of a CPU-second of",
    };
    let asked = format!("{counted} {peer}, {} (goal: {limit:.0}x)", load.name());
    let answers_first = load == Load::Refreshed;
    let open = |detail: String| Goal {
        outcome: Outcome::NotMeasured,
        what: format!("–x {asked}{}", if answers_first { ANSWERS_FIRST } else { "" }),
        detail,
    };
    if let Err((_, why)) = plan.judges(load) {
        return open(why);
    }
    let entrant = plan.entrants.iter().find(|one| one.name == peer);
    if let Some(why) = entrant.and_then(|one| one.not_run.as_ref()) {
        return open(format!("not run: {why}"));
    }
    let behind = if answers_first { behind(peer, cells) } else { String::new() };
    let Some(found) = ratio(plan, (peer, load, metric), cells) else {
        let mut goal = open(format!("no round was made without a failure on both sides{behind}"));
        if answers_first && is_beaten(plan, peer, cells) {
            goal.outcome = Outcome::DoesNotHold;
        }
        return goal;
    };
    let times = found.spread.median;
    let outcome = if times >= limit { Outcome::Holds } else { Outcome::DoesNotHold };
    let mut what = format!("{times:.*}x {asked}", usize::from(times < 99.95));
    if answers_first {
        what += &format!(", at {} tenants{ANSWERS_FIRST}", found.tenants);
    }
    let over = over_rounds(&found.spread, "x");
    Goal { outcome, what, detail: format!("{over}, {} tenants each{behind}", found.tenants) }
}

/// What the load with a refresh asks of both sides.
const ANSWERS_FIRST: &str = ": every tenant's top 10 once a second, and events wait whenever the \
                             answers are behind; where a system cannot refresh all, the largest \
                             size it can";

/// How many programs were live at least, where rounds tell.
fn programs_live(plan: &Plan, load: Load, cells: &[Cell]) -> String {
    let is_it = |cell: &&Cell| {
        let key = &cell.key;
        key.system == trendsrv::NAME && key.load == load && key.rate == plan.rate
    };
    let live =
        cells.iter().filter(is_it).filter_map(|cell| Some(cell.good()?.server.programs_live));
    live.min().map_or_else(String::new, |live| format!("; {live} programs live"))
}

/// What a peer, or ours beside it, does not refresh in time; none of it is in a ratio.
fn behind(peer: &str, cells: &[Cell]) -> String {
    let mut told = String::new();
    let refreshed = || cells.iter().filter(|cell| cell.key.load == Load::Refreshed);
    for cell in refreshed().filter(|cell| !cell.is_held()) {
        let Key { system, tenants, round, .. } = &cell.key;
        let beside =
            || refreshed().any(|one| one.key.system == peer && one.key.tenants == *tenants);
        if system == peer || system == trendsrv::NAME && beside() {
            let what = match (cell.rounds(), &cell.failed) {
                (Some(rounds), _) => rounds.to_string(),
                (None, Some(why)) => format!("failed: {why}"),
                (None, None) => "told nothing of a refresh".to_owned(),
            };
            told += &format!("; {system} at {tenants} tenants in round {round} {what}");
        }
    }
    told
}

/// Whether a peer refreshes so many tenants in time that ours does not, or fails with.
fn is_beaten(plan: &Plan, peer: &str, cells: &[Cell]) -> bool {
    let is_it = |cell: &&Cell| cell.key.system == peer && cell.key.load == Load::Refreshed;
    cells.iter().filter(is_it).filter(|cell| cell.is_held()).any(|theirs| {
        let key = plan.ours_beside(&theirs.key);
        cells.iter().any(|cell| cell.key == key && !cell.is_held())
    })
}

fn over_rounds(spread: &Spread, unit: &str) -> String {
    let digits = usize::from(spread.most < 1_000.0) + usize::from(spread.most < 10.0) * 2;
    match spread.rounds {
        1 => "in the only round".to_owned(),
        rounds => format!(
            "{:.digits$} to {:.digits$} {unit} over {rounds} rounds",
            spread.least, spread.most
        ),
    }
}

/// How many goals came out how.
pub(crate) fn count(goals: &[Goal]) -> String {
    let of = |outcome| goals.iter().filter(|goal| goal.outcome == outcome).count();
    let (held, missed, open) =
        (of(Outcome::Holds), of(Outcome::DoesNotHold), of(Outcome::NotMeasured));
    format!("{held} of {} goals hold, {missed} do not, {open} were not measured", goals.len())
}

#[cfg(test)]
mod tests {
    use super::super::tests::{behind, cell, plan};
    use super::*;

    fn outcome(goals: &[Goal], part: &str) -> Outcome {
        goals.iter().find(|goal| goal.what.contains(part)).unwrap().outcome
    }

    /// Ours takes `ns` an event, the others 10,000.
    fn cells(ns: f64) -> Vec<Cell> {
        let both = |load, round| {
            [cell("trendsrv", load, round, 1e7, ns), cell("redis", load, round, 1e5, 10_000.0)]
        };
        let loads = [Load::Saturated, Load::SaturatedRun16, Load::Refreshed];
        loads.into_iter().flat_map(|load| [1, 2].map(|round| both(load, round))).flatten().collect()
    }

    #[test]
    fn a_ratio_at_its_limit_holds_and_below_does_not() {
        let plan = plan(&["trendsrv", "redis"], 2);
        let held = goals(&plan, &cells(100.0));
        assert_eq!(outcome(&held, "of redis, refreshed (goal: 100x)"), Outcome::Holds);
        let missed = goals(&plan, &cells(101.0));
        assert_eq!(outcome(&missed, "of redis, refreshed (goal: 100x)"), Outcome::DoesNotHold);
        assert_eq!(outcome(&missed, "of redis, saturated (goal: 30x)"), Outcome::Holds);
        assert!(!passed(&missed));
    }

    #[test]
    fn a_refresh_is_judged_at_the_largest_size_that_is_held() {
        let plan = plan(&["trendsrv", "redis"], 1);
        let at = |system: &str, tenants, ns, rounds| {
            let mut cell = behind(cell(system, Load::Refreshed, 1, 1e6, ns), rounds);
            cell.key.tenants = tenants;
            cell
        };
        let mut cells = vec![
            at("trendsrv", 100_000, 50.0, 10),
            at("redis", 100_000, 1e6, 4),
            at("redis", 35_000, 12_000.0, 10),
            at("trendsrv", 35_000, 100.0, 10),
        ];
        let goal = |cells: &[Cell]| {
            let goals = goals(&plan, cells);
            goals.into_iter().find(|goal| goal.what.contains("refreshed")).unwrap()
        };
        let held = goal(&cells);
        assert!(held.what.starts_with("120x ") && held.what.contains(", at 35000 tenants: every"));
        assert!(held.what.contains("events wait whenever the answers are behind"));
        let told =
            "35000 tenants each; redis at 100000 tenants in round 1 asked all tenants 4 times";
        assert!(held.detail.contains(told), "{held:?}");
        // Held by the other one only, it is missed.
        cells[3] = at("trendsrv", 35_000, 100.0, 5);
        let missed = goal(&cells);
        assert_eq!(missed.outcome, Outcome::DoesNotHold);
        assert!(missed.detail.contains("trendsrv at 35000 tenants in round 1 asked"), "{missed:?}");
        // Held at no size, there is no ratio, and the reader is told why.
        cells[2] = at("redis", 35_000, 12_000.0, 3);
        let open = goal(&cells);
        assert_eq!(open.outcome, Outcome::NotMeasured);
        assert!(open.what.starts_with("–x ") && open.detail.contains("redis at 35000"), "{open:?}");
    }

    #[test]
    fn absolute_goals_are_judged_by_the_median() {
        let plan = plan(&["trendsrv", "redis"], 2);
        assert_eq!(outcome(&goals(&plan, &cells(71.5)), "saturated, runs of 1,"), Outcome::Holds);
        let missed = goals(&plan, &cells(71.6));
        assert_eq!(outcome(&missed, "saturated, runs of 1,"), Outcome::DoesNotHold);
        assert_eq!(outcome(&missed, "of a core at 4.2 M"), Outcome::NotMeasured);
    }

    #[test]
    fn a_small_scenario_judges_no_goal_of_a_large_one() {
        let mut plan = plan(&["trendsrv", "redis"], 2);
        plan.scenario.tenants = 1_000;
        let goals = goals(&plan, &cells(1_000.0));
        assert!(passed(&goals), "{goals:?}");
        assert_eq!(outcome(&goals, "every answer"), Outcome::Holds);
        assert!(goals[1].detail.contains("here are 1000"), "{goals:?}");
    }

    #[test]
    fn a_rate_that_is_not_reached_is_a_goal_that_does_not_hold() {
        let plan = plan(&["trendsrv"], 1);
        let paced = |reached| {
            let mut cell = cell("trendsrv", Load::Paced, 1, reached, 50.0);
            cell.key.rate = RATE;
            goals(&plan, &[cell])
        };
        let cores = "of a core at 4.2 M events/s, every";
        assert_eq!(outcome(&paced(float(RATE)), cores), Outcome::Holds);
        assert_eq!(outcome(&paced(4e6), cores), Outcome::DoesNotHold);
        assert_eq!(count(&paced(4e6)), "1 of 7 goals hold, 2 do not, 4 were not measured");
    }

    #[test]
    fn a_wrong_answer_of_ours_fails_the_verdict() {
        let mut cells = cells(50.0);
        cells[0].failed = Some("3 mismatches".to_owned());
        let goals = goals(&plan(&["trendsrv", "redis"], 2), &cells);
        assert_eq!(goals[0].outcome, Outcome::DoesNotHold);
        assert!(!passed(&goals));
    }

    #[test]
    fn a_system_that_cannot_run_is_said_to_be_not_run() {
        let mut plan = plan(&["trendsrv", "redis"], 2);
        plan.entrants[1].not_run = Some("redis-server is not there".to_owned());
        plan.entrants[1].fit = None;
        let goals = goals(&plan, &[]);
        let redis: Vec<_> = goals.iter().filter(|goal| goal.what.contains("redis")).collect();
        assert!(redis.len() == 3 && redis.iter().all(|goal| goal.detail.contains("not there")));
    }
}
