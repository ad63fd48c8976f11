//! Figures over rounds, and ratios within a round.
//!
//! ```text
//! ratio of a round = ours / theirs, both of that round, at the same size (and rate, where paced)
//! spread           = the least, the median and the most over the rounds
//! ```

use super::cell::Cell;
use super::load::Load;
use super::plan::{Key, Plan};
use crate::process::float;
use crate::report::Run;
use crate::systems::trendsrv;
use serde::{Deserialize, Serialize};

/// What a run is measured by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Metric {
    EventsPerSecond,
    NsCpuPerEvent,
    EventsPerCpuSecond,
    SwitchesPerMillionEvents,
    BytesPerTenant,
    AckP50Us,
    AckP99Us,
    AckP999Us,
    AckP9999Us,
    VisibleP50Us,
    VisibleP99Us,
    VisibleP999Us,
    VisibleP9999Us,
    RefreshSeconds,
    CoresUsed,
}

impl Metric {
    /// In the order of the tables.
    pub(crate) const ALL: [Self; 15] = [
        Self::EventsPerSecond,
        Self::NsCpuPerEvent,
        Self::EventsPerCpuSecond,
        Self::SwitchesPerMillionEvents,
        Self::BytesPerTenant,
        Self::AckP50Us,
        Self::AckP99Us,
        Self::AckP999Us,
        Self::AckP9999Us,
        Self::VisibleP50Us,
        Self::VisibleP99Us,
        Self::VisibleP999Us,
        Self::VisibleP9999Us,
        Self::RefreshSeconds,
        Self::CoresUsed,
    ];

    /// Those that are compared as ratios.
    pub(crate) const COMPARED: [Self; 7] = [
        Self::EventsPerCpuSecond,
        Self::EventsPerSecond,
        Self::SwitchesPerMillionEvents,
        Self::BytesPerTenant,
        Self::AckP99Us,
        Self::VisibleP99Us,
        Self::RefreshSeconds,
    ];

    /// Its heading.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::EventsPerSecond => "events/s",
            Self::NsCpuPerEvent => "ns CPU/event",
            Self::EventsPerCpuSecond => "events/CPU-s",
            Self::SwitchesPerMillionEvents => "switches/M events",
            Self::BytesPerTenant => "bytes/tenant",
            Self::AckP50Us => "ack p50 us",
            Self::AckP99Us => "ack p99 us",
            Self::AckP999Us => "ack p99.9 us",
            Self::AckP9999Us => "ack p99.99 us",
            Self::VisibleP50Us => "visible p50 us",
            Self::VisibleP99Us => "visible p99 us",
            Self::VisibleP999Us => "visible p99.9 us",
            Self::VisibleP9999Us => "visible p99.99 us",
            Self::RefreshSeconds => "refresh of all, s",
            Self::CoresUsed => "cores used",
        }
    }

    /// Whether more of it is better.
    const fn is_gain(self) -> bool {
        matches!(self, Self::EventsPerSecond | Self::EventsPerCpuSecond)
    }

    /// What a run shows of it; none where it has no meaning, such as a percentile of nothing.
    pub(crate) fn of(self, run: &Run, tenants: u32) -> Option<f64> {
        let server = &run.server;
        let (ack, visible) = (&run.latency_us.ack, &run.latency_us.visible);
        let latency = |count: u64, us: f64| (count > 0).then_some(us);
        let cpu_s = server.cpu_user_s + server.cpu_system_s;
        let value = match self {
            Self::EventsPerSecond => run.rate_acked,
            Self::NsCpuPerEvent => (run.events_acked > 0).then_some(server.ns_cpu_per_event)?,
            Self::EventsPerCpuSecond => float(run.events_acked) / (cpu_s > 0.0).then_some(cpu_s)?,
            Self::SwitchesPerMillionEvents => {
                float(switches(run)) * 1e6 / float(Some(run.events_acked).filter(|n| *n > 0)?)
            }
            Self::BytesPerTenant => float(server.rss_bytes_max) / f64::from(tenants.max(1)),
            Self::AckP50Us => latency(ack.count, ack.p50)?,
            Self::AckP99Us => latency(ack.count, ack.p99)?,
            Self::AckP999Us => latency(ack.count, ack.p999)?,
            Self::AckP9999Us => latency(ack.count, ack.p9999)?,
            Self::VisibleP50Us => latency(visible.count, visible.p50)?,
            Self::VisibleP99Us => latency(visible.count, visible.p99)?,
            Self::VisibleP999Us => latency(visible.count, visible.p999)?,
            Self::VisibleP9999Us => latency(visible.count, visible.p9999)?,
            Self::RefreshSeconds => run.refresh.as_ref().filter(|r| r.rounds > 0)?.seconds_p50,
            Self::CoresUsed => cpu_s / (run.seconds > 0.0).then_some(run.seconds)?,
        };
        Some(value)
    }

    /// By how much ours is better; none where one of both shows nothing. One switch stands for
    /// none at all, because nothing can be divided by none.
    fn ratio(
        self,
        (ours, our_tenants): (&Run, u32),
        (theirs, tenants): (&Run, u32),
    ) -> Option<f64> {
        let mut one = self.of(ours, our_tenants)?;
        let other = self.of(theirs, tenants)?;
        if self == Self::SwitchesPerMillionEvents {
            one = one.max(1e6 / float(ours.events_acked.max(1)));
        }
        let (gain, loss) = if self.is_gain() { (one, other) } else { (other, one) };
        (loss > 0.0 && gain > 0.0).then(|| gain / loss)
    }
}

/// Context switches of a run: perf's count where there is one, because it misses no thread.
fn switches(run: &Run) -> u64 {
    let server = &run.server;
    let told = server.context_switches_voluntary + server.context_switches_involuntary;
    server.counters.context_switches.unwrap_or(told)
}

/// The least, the median and the most.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Spread {
    pub(crate) least: f64,
    pub(crate) median: f64,
    pub(crate) most: f64,
    /// How many rounds there are.
    pub(crate) rounds: u32,
}

impl Spread {
    /// Over some values, if there are any.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (least, most) = (*values.first()?, *values.last()?);
        let (low, high) = (values[(values.len() - 1) / 2], values[values.len() / 2]);
        let rounds = u32::try_from(values.len()).ok()?;
        Some(Self { least, median: f64::midpoint(low, high), most, rounds })
    }
}

/// A system under a load, over all rounds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) system: String,
    pub(crate) load: Load,
    pub(crate) tenants: u32,
    /// Events a second offered; 0 is as many as it takes.
    pub(crate) rate: u64,
    pub(crate) refresh_ms: u32,
    /// Whether it is the system's own size and rate, and not those of another one beside it.
    pub(crate) own: bool,
    pub(crate) figures: Vec<(Metric, Spread)>,
    /// What went wrong, by round.
    pub(crate) failed: Vec<(u32, String)>,
    /// What it did instead of refreshing all tenants in time, where that comes first, by round.
    #[serde(default)]
    pub(crate) behind: Vec<(u32, String)>,
}

impl Row {
    /// One figure, if the rounds show it.
    pub(crate) fn get(&self, metric: Metric) -> Option<Spread> {
        self.figures.iter().find(|(one, _)| *one == metric).map(|(_, spread)| *spread)
    }

    /// Whether some round shows what was asked for.
    pub(crate) fn is_held(&self) -> bool {
        let rounds = self.get(Metric::EventsPerSecond).map_or(0, |spread| spread.rounds);
        self.behind.is_empty() || self.behind.len() < rounds as usize
    }
}

/// How often ours does what another one does, at the same size.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Ratio {
    pub(crate) peer: String,
    pub(crate) load: Load,
    pub(crate) metric: Metric,
    pub(crate) tenants: u32,
    pub(crate) spread: Spread,
}

/// The rows of all cells, in the order of the systems and loads.
pub(crate) fn rows(plan: &Plan, cells: &[Cell]) -> Vec<Row> {
    let mut rows = Vec::new();
    for entrant in &plan.entrants {
        for &load in &plan.loads {
            let of_it = |cell: &&Cell| cell.key.system == entrant.name && cell.key.load == load;
            let mut keys: Vec<Key> = Vec::new();
            for cell in cells.iter().filter(of_it) {
                let key = Key { round: 0, ..cell.key.clone() };
                if !keys.contains(&key) {
                    keys.push(key);
                }
            }
            let own = plan.keys(entrant, load, 0, cells).unwrap_or_default();
            // With an even round ours comes first; a system's own is the last of both.
            let own = own.last().map(|own| Key { round: 0, ..own.clone() });
            rows.extend(keys.iter().map(|key| row(key, Some(key) == own.as_ref(), cells)));
        }
    }
    rows
}

fn row(key: &Key, own: bool, cells: &[Cell]) -> Row {
    let same = |cell: &&Cell| Key { round: 0, ..cell.key.clone() } == *key;
    let same: Vec<_> = cells.iter().filter(same).collect();
    let figure = |metric: Metric| {
        let values = same.iter().filter_map(|cell| metric.of(cell.good()?, key.tenants));
        Some((metric, Spread::of(values)?))
    };
    let failed = |cell: &&Cell| Some((cell.key.round, cell.failed.clone()?));
    let behind = |cell: &&Cell| {
        let is_it = key.load == Load::Refreshed && !cell.is_held();
        Some((cell.key.round, cell.rounds().filter(|_| is_it)?.to_string()))
    };
    Row {
        system: key.system.clone(),
        load: key.load,
        tenants: key.tenants,
        rate: key.rate,
        refresh_ms: key.refresh_ms,
        own,
        figures: Metric::ALL.into_iter().filter_map(figure).collect(),
        failed: same.iter().filter_map(failed).collect(),
        behind: same.iter().filter_map(behind).collect(),
    }
}

/// Every ratio that the cells show.
pub(crate) fn ratios(plan: &Plan, cells: &[Cell]) -> Vec<Ratio> {
    let mut ratios = Vec::new();
    for peer in plan.entrants.iter().filter(|one| one.name != trendsrv::NAME) {
        for &load in &plan.loads {
            for metric in Metric::COMPARED {
                ratios.extend(ratio(plan, (&peer.name, load, metric), cells));
            }
        }
    }
    ratios
}

/// One ratio over all rounds in which both sides were right, and held the refresh that comes first.
pub(crate) fn ratio(
    plan: &Plan,
    (peer, load, metric): (&str, Load, Metric),
    cells: &[Cell],
) -> Option<Ratio> {
    let (mut values, mut tenants) = (Vec::new(), 0);
    for theirs in cells.iter().filter(|cell| cell.key.system == peer && cell.key.load == load) {
        let key = plan.ours_beside(&theirs.key);
        let Some(ours) = cells.iter().find(|cell| cell.key == key) else { continue };
        let (Some(one), Some(other)) = (ours.good(), theirs.good()) else { continue };
        if load == Load::Refreshed && !(ours.is_held() && theirs.is_held()) {
            continue;
        }
        tenants = theirs.key.tenants;
        values.extend(metric.ratio((one, tenants), (other, tenants)));
    }
    let spread = Spread::of(values)?;
    Some(Ratio { peer: peer.to_owned(), load, metric, tenants, spread })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{behind, cell, plan};
    use super::*;

    fn of(load: Load, metric: Metric, cells: &[Cell]) -> Option<Spread> {
        let plan = plan(&["trendsrv", "naive"], 3);
        ratio(&plan, ("naive", load, metric), cells).map(|ratio| ratio.spread)
    }

    #[test]
    fn the_median_of_an_even_number_lies_between() {
        let spread = Spread::of([4.0, 1.0, 3.0, 2.0]).unwrap();
        assert_eq!((spread.least, spread.median, spread.most), (1.0, 2.5, 4.0));
        assert_eq!((spread.rounds, Spread::of([])), (4, None));
    }

    #[test]
    fn a_ratio_is_taken_within_a_round() {
        // Both are half as fast in the second round: the ratio is the same.
        let cells = [
            cell("trendsrv", Load::Saturated, 1, 1e7, 100.0),
            cell("naive", Load::Saturated, 1, 1e5, 10_000.0),
            cell("trendsrv", Load::Saturated, 2, 5e6, 200.0),
            cell("naive", Load::Saturated, 2, 5e4, 20_000.0),
        ];
        let spread = of(Load::Saturated, Metric::EventsPerCpuSecond, &cells).unwrap();
        assert!((spread.least - 100.0).abs() < 1e-6 && (spread.most - 100.0).abs() < 1e-6);
        assert_eq!(spread.rounds, 2);
    }

    #[test]
    fn a_round_in_which_one_failed_is_no_ratio() {
        let mut wrong = cell("naive", Load::Saturated, 1, 1e5, 10_000.0);
        wrong.failed = Some("3 mismatches".to_owned());
        let ours = cell("trendsrv", Load::Saturated, 1, 1e7, 100.0);
        let cells = [ours, wrong];
        assert_eq!(of(Load::Saturated, Metric::EventsPerCpuSecond, &cells), None);
        let rows = rows(&plan(&["trendsrv", "naive"], 1), &cells);
        assert_eq!(rows[1].failed, [(1, "3 mismatches".to_owned())]);
        assert!(rows[1].figures.is_empty() && rows[0].own && rows[1].own);
    }

    #[test]
    fn a_round_whose_refresh_one_does_not_hold_is_no_ratio_and_is_told() {
        let cells = |ours, theirs| {
            [("trendsrv", 1e7, ours), ("naive", 1e5, theirs)]
                .map(|(name, rate, n)| behind(cell(name, Load::Refreshed, 1, rate, 100.0), n))
        };
        let of = |cells: &[Cell]| of(Load::Refreshed, Metric::EventsPerCpuSecond, cells);
        assert_eq!(of(&cells(10, 9)).unwrap().rounds, 1);
        assert_eq!((of(&cells(10, 4)), of(&cells(4, 10))), (None, None));
        let rows = rows(&plan(&["trendsrv", "naive"], 1), &cells(10, 4));
        let size = |row: &Row| (row.tenants, row.own, row.is_held());
        // The next size is not made yet.
        assert_eq!(
            [&rows[0], &rows[1]].map(size),
            [(100_000, true, true), (100_000, false, false)]
        );
        assert_eq!(rows[1].behind, [(1, "asked all tenants 4 times of 10".to_owned())]);
        assert!(rows[1].get(Metric::EventsPerSecond).is_some(), "it stays in the report");
    }

    #[test]
    fn without_any_switch_of_ours_one_stands_for_none() {
        let mut cells = [
            cell("trendsrv", Load::Saturated, 1, 1e6, 100.0),
            cell("naive", Load::Saturated, 1, 1e6, 100.0),
        ];
        let switches = |cell: &mut Cell, n| {
            cell.run.as_mut().unwrap().server.context_switches_voluntary = n;
        };
        switches(&mut cells[0], 0);
        switches(&mut cells[1], 500);
        let spread = of(Load::Saturated, Metric::SwitchesPerMillionEvents, &cells).unwrap();
        assert!((spread.median - 500.0).abs() < 1e-6, "{spread:?}");
    }

    #[test]
    fn latencies_of_nothing_are_no_figures() {
        let cell = cell("naive", Load::Saturated, 1, 1e6, 100.0);
        let run = cell.good().unwrap();
        assert_eq!(Metric::AckP99Us.of(run, 10), None);
        assert_eq!(Metric::RefreshSeconds.of(run, 10), None);
        assert!((Metric::EventsPerCpuSecond.of(run, 10).unwrap() - 1e7).abs() < 1.0);
    }
}
