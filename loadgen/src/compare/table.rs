//! A comparison in a terminal.

use super::cell::Cell;
use super::figures::{Metric, Row};
use super::goals;
use super::load::Load;
use super::summary::Comparison;
use crate::page::{Outcome, short};
use crate::report::Run;

/// What the table shows: one line each, one column a system.
pub(super) const SHOWN: [(Load, &[Metric]); 5] = [
    (
        Load::Saturated,
        &[
            Metric::EventsPerSecond,
            Metric::NsCpuPerEvent,
            Metric::EventsPerCpuSecond,
            Metric::SwitchesPerMillionEvents,
            Metric::BytesPerTenant,
        ],
    ),
    (
        Load::SaturatedRun16,
        &[Metric::EventsPerSecond, Metric::NsCpuPerEvent, Metric::EventsPerCpuSecond],
    ),
    (
        Load::Paced,
        &[
            Metric::EventsPerSecond,
            Metric::CoresUsed,
            Metric::AckP50Us,
            Metric::AckP99Us,
            Metric::AckP999Us,
            Metric::AckP9999Us,
            Metric::VisibleP50Us,
            Metric::VisibleP99Us,
            Metric::VisibleP999Us,
            Metric::VisibleP9999Us,
        ],
    ),
    (
        Load::Refreshed,
        &[Metric::EventsPerSecond, Metric::EventsPerCpuSecond, Metric::RefreshSeconds],
    ),
    (Load::RefreshedPaced, &[Metric::EventsPerSecond, Metric::CoresUsed, Metric::RefreshSeconds]),
];

/// Figures, ratios, what is missing, and the verdict.
pub(crate) fn table(comparison: &Comparison) -> String {
    let columns: Vec<&str> = comparison.running().collect();
    let mut text = format!("{:<36}", "median of the rounds");
    columns.iter().for_each(|name| text.push_str(&format!("{name:>14}")));
    text.push_str(&format!("\n{:<36}", "tenants"));
    for name in &columns {
        text.push_str(&format!("{:>14}", comparison.tenants(name)));
    }
    text.push('\n');
    for (load, metrics) in SHOWN {
        if let Some(sizes) = comparison.other_sizes(load) {
            text.push_str(&format!("{:<16}{:<20}", load.name(), "tenants"));
            for size in sizes {
                text.push_str(&format!("{:>14}", size.map_or("–".to_owned(), |n| n.to_string())));
            }
            text.push('\n');
        }
        for metric in metrics {
            let cells = columns.iter().map(|name| {
                comparison.held(name, load).and_then(|row| row.get(*metric)).map(|s| s.median)
            });
            let cells: Vec<Option<f64>> = cells.collect();
            if cells.iter().any(Option::is_some) {
                text.push_str(&format!("{:<16}{:<20}", load.name(), metric.name()));
                for cell in cells {
                    text.push_str(&format!("{:>14}", cell.map_or("–".to_owned(), short)));
                }
                text.push('\n');
            }
        }
    }
    text.push_str(&ratios(comparison));
    text.push_str(&missing(comparison));
    for goal in &comparison.goals {
        let word = match goal.outcome {
            Outcome::Holds => "holds",
            Outcome::DoesNotHold => "does not hold",
            Outcome::NotMeasured => "not measured",
        };
        text.push_str(&format!("{word:>13}: {}\n{:>15}{}\n", goal.what, "", goal.detail));
    }
    let passed = if comparison.passed { "passed" } else { "failed" };
    text + &format!("verdict: {passed}, {}\n", goals::count(&comparison.goals))
}

fn ratios(comparison: &Comparison) -> String {
    let mut text = String::new();
    if !comparison.ratios.is_empty() {
        text.push_str(
            "\ntrendsrv is better by, at the same size (least to most over the rounds)\n",
        );
    }
    for ratio in &comparison.ratios {
        let (least, median, most) = (ratio.spread.least, ratio.spread.median, ratio.spread.most);
        text.push_str(&format!(
            "  {:<16}{:<16}{:<20}{:>9}x  ({} to {}), {} tenants\n",
            ratio.peer,
            ratio.load.name(),
            ratio.metric.name(),
            short(median),
            short(least),
            short(most),
            ratio.tenants
        ));
    }
    text
}

fn missing(comparison: &Comparison) -> String {
    let mut text = "\n".to_owned();
    for entrant in &comparison.plan.entrants {
        if let Some(why) = &entrant.not_run {
            text.push_str(&format!("{} was not run: {why}\n", entrant.name));
        }
    }
    for left in &comparison.left_out {
        text.push_str(&format!("{} {} is left out: {}\n", left.system, left.load.name(), left.why));
    }
    for row in &comparison.rows {
        for (round, why) in &row.failed {
            let (system, load) = (&row.system, row.load.name());
            text.push_str(&format!("{system} {load} failed in round {round}: {why}\n"));
        }
        for (round, what) in &row.behind {
            text.push_str(&format!(
                "{} {} at {} tenants does not hold it in round {round}: {what}\n",
                row.system,
                row.load.name(),
                row.tenants
            ));
        }
    }
    text
}

impl Comparison {
    /// The systems that run.
    pub(super) fn running(&self) -> impl Iterator<Item = &str> {
        let runs = self.plan.entrants.iter().filter(|one| one.fit.is_some());
        runs.map(|one| one.name.as_str())
    }

    /// How many tenants a system has.
    pub(super) fn tenants(&self, system: &str) -> u32 {
        let entrant = self.plan.entrants.iter().find(|one| one.name == system);
        entrant.and_then(|one| one.fit.as_ref()).map_or(0, |fit| fit.tenants)
    }

    /// A system under a load at its own size.
    pub(super) fn own(&self, system: &str, load: Load) -> Option<&Row> {
        self.rows.iter().find(|row| row.system == system && row.load == load && row.own)
    }

    /// The same, where it did what was asked for.
    pub(super) fn held(&self, system: &str, load: Load) -> Option<&Row> {
        self.own(system, load).filter(|row| row.is_held())
    }

    /// How many tenants each system has under a load, when some have fewer than they finish.
    pub(super) fn other_sizes(&self, load: Load) -> Option<Vec<Option<u32>>> {
        let held = |name: &str| Some(self.held(name, load)?.tenants);
        let is_other = |name: &str| held(name).is_some_and(|size| size != self.tenants(name));
        self.running().any(is_other).then(|| self.running().map(held).collect())
    }

    /// The run of the round with the median CPU time of an event, for each row.
    fn middle(&self, row: &Row) -> Option<&Run> {
        let of_row = |cell: &&Cell| {
            let key = &cell.key;
            key.system == row.system
                && (key.load, key.tenants) == (row.load, row.tenants)
                && (key.rate, key.refresh_ms) == (row.rate, row.refresh_ms)
        };
        let mut runs: Vec<_> =
            self.cells.iter().filter(of_row).filter_map(|cell| cell.good()).collect();
        runs.sort_by(|a, b| a.server.ns_cpu_per_event.total_cmp(&b.server.ns_cpu_per_event));
        runs.get(runs.len().saturating_sub(1) / 2).copied()
    }
}

/// A name and a run for each row, to show beside other runs.
pub(crate) fn lines(comparison: &Comparison) -> Vec<(String, &Run)> {
    let named = |row: &Row| {
        let beside = if row.own { "" } else { "*" };
        format!("{}/{}{beside}", row.system, row.load.name())
    };
    let rows = comparison.rows.iter();
    rows.filter_map(|row| Some((named(row), comparison.middle(row)?))).collect()
}
