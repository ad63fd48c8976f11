//! A comparison as a page.

use super::figures::{Metric, Row, Spread};
use super::goals;
use super::load::Load;
use super::summary::Comparison;
use super::table::SHOWN;
use crate::latency::Shape;
use crate::page::{Axis, Bar, Bars, Page, Plot, short};
use crate::process::float;
use crate::systems::trendsrv;

/// The page: the verdict first, then figures, then what they rest on.
pub(crate) fn page(comparison: &Comparison) -> Page {
    let plan = &comparison.plan;
    let systems: Vec<&str> = comparison.running().collect();
    let title = format!("{} side by side, scenario {}", systems.join(", "), plan.scenario_name);
    let mut page = Page::new(&title);
    page.text(&goals::count(&comparison.goals));
    for goal in &comparison.goals {
        page.verdict(goal.outcome, &goal.what, &goal.detail);
    }
    page.section("Side by side");
    page.text(&format!(
        "Medians of {} rounds, each at the largest size that the system finishes, or where another \
         one is told, that it can refresh. Everyone got the same events from the same generator, and answers of sampled tenants were checked against \
         exact counts: a run with a wrong answer is no result.",
        plan.rounds
    ));
    side_by_side(&mut page, comparison);
    ratios(&mut page, comparison);
    costs(&mut page, comparison);
    latencies(&mut page, comparison);
    asked(&mut page, comparison);
    every_run(&mut page, comparison);
    environment(&mut page, comparison);
    page
}

fn side_by_side(page: &mut Page, comparison: &Comparison) {
    let systems: Vec<&str> = comparison.running().collect();
    let mut rows = vec![vec!["".to_owned(), "tenants".to_owned()]];
    rows[0].extend(systems.iter().map(|name| grouped(comparison.tenants(name))));
    for (load, metrics) in SHOWN {
        if let Some(sizes) = comparison.other_sizes(load) {
            let mut row = vec![load.name().to_owned(), "tenants".to_owned()];
            row.extend(sizes.iter().map(|size| size.map_or("–".to_owned(), grouped)));
            rows.push(row);
        }
        for metric in metrics {
            let figure = |name: &&str| comparison.held(name, load)?.get(*metric);
            let figures: Vec<Option<Spread>> = systems.iter().map(figure).collect();
            if figures.iter().any(Option::is_some) {
                let mut row = vec![load.name().to_owned(), metric.name().to_owned()];
                row.extend(
                    figures.iter().map(|one| one.map_or("–".to_owned(), |s| short(s.median))),
                );
                rows.push(row);
            }
        }
    }
    let mut headers = vec!["load", "median of"];
    headers.extend(systems);
    page.table(&headers, &rows);
}

/// How often ours does what another does.
fn ratios(page: &mut Page, comparison: &Comparison) {
    if comparison.ratios.is_empty() {
        return;
    }
    page.section("By how much trendsrv is better");
    page.text(
        "Ratios within one round, at the same number of tenants and, where paced, the same rate. \
         The whisker goes from the least to the most of the rounds.",
    );
    for metric in [Metric::EventsPerCpuSecond, Metric::SwitchesPerMillionEvents] {
        let mut bars = Bars::new(&format!("{}: times better", metric.name()), Axis::log("times"));
        for ratio in comparison.ratios.iter().filter(|one| one.metric == metric) {
            let name = comparison.sized(&ratio.peer, ratio.tenants);
            let name = format!("{name} {}", ratio.load.name());
            bars = bars.bar(comparison.colour(&ratio.peer), bar(name, ratio.spread));
        }
        if !bars.is_empty() {
            page.chart(bars);
        }
    }
    let row = |one: &super::figures::Ratio| {
        let Spread { least, median, most, rounds } = one.spread;
        let (load, metric) = (one.load.name().to_owned(), one.metric.name().to_owned());
        let times = [median, least, most].map(|times| short(times) + "x");
        let [median, least, most] = times;
        let (tenants, rounds) = (grouped(one.tenants), rounds.to_string());
        vec![one.peer.clone(), load, metric, tenants, median, least, most, rounds]
    };
    let rows: Vec<_> = comparison.ratios.iter().map(row).collect();
    let headers = ["beside", "load", "figure", "tenants", "median", "least", "most", "rounds"];
    page.table(&headers, &rows);
}

/// Bars of what each costs.
fn costs(page: &mut Page, comparison: &Comparison) {
    page.section("What each takes and costs");
    let charts = [
        (
            Load::Saturated,
            Metric::EventsPerSecond,
            "Events a second, runs of 1",
            "Longer is better.",
        ),
        (Load::Saturated, Metric::NsCpuPerEvent, "CPU time of an event, runs of 1", SHORTER),
        (Load::SaturatedRun16, Metric::NsCpuPerEvent, "CPU time of an event, runs of 16", SHORTER),
        (Load::Saturated, Metric::SwitchesPerMillionEvents, "Context switches", SHORTER),
        (Load::Saturated, Metric::BytesPerTenant, "Memory of a tenant", SHORTER),
        (Load::Refreshed, Metric::RefreshSeconds, "To ask for every tenant's top 10", SHORTER),
    ];
    for (load, metric, title, note) in charts {
        let mut bars = Bars::new(title, Axis::log(metric.name())).note(note);
        for name in comparison.running() {
            let Some(row) = comparison.held(name, load) else { continue };
            if let Some(spread) = row.get(metric) {
                let name_shown = comparison.sized(name, row.tenants);
                bars = bars.bar(comparison.colour(name), bar(name_shown, spread));
            }
        }
        if !bars.is_empty() {
            page.chart(bars);
        }
    }
}

const SHORTER: &str = "Shorter is better.";

/// Curves and histograms of the paced load.
fn latencies(page: &mut Page, comparison: &Comparison) {
    page.section("Latency at a steady rate");
    page.text(
        "From the intended time of sending, so that a stall counts for every event that it held \
         up. Each system at its own paced rate, which the table of every run tells; the round \
         with the median p99 is shown.",
    );
    type Of = fn(&super::cell::Cell) -> &Shape;
    let kinds: [(&str, Of); 2] =
        [("until acknowledged", |cell| &cell.ack), ("until a query sees it", |cell| &cell.visible)];
    for (what, shape) in kinds {
        let mut curves = Plot::percentiles(&format!("Latency {what}, by percentile"));
        curves = curves.note("Lower is better; each step to the right is ten times rarer.");
        let mut steps = Plot::histogram(&format!("Latency {what}, histogram"));
        for name in comparison.running() {
            let Some(row) = comparison.own(name, Load::Paced) else { continue };
            let Some(shape) = comparison.middle_shape(row, shape) else { continue };
            let (colour, all) = (comparison.colour(name), shape.steps.iter().map(|s| s.1).sum());
            let share = |step: &(f64, u64)| (step.0, 100.0 * float(step.1) / float(all));
            let label = format!("{name}, {} events/s", short(float(row.rate)));
            curves = curves.coloured(&label, colour, shape.curve.iter().copied());
            steps = steps.coloured(&label, colour, shape.steps.iter().map(share));
        }
        if !curves.is_empty() {
            page.chart(curves).chart(steps);
        }
    }
}

/// Who was asked to do what, how it was set up, and how large it could be.
fn asked(page: &mut Page, comparison: &Comparison) {
    page.section("What each load asks");
    let loads = comparison.plan.loads.iter();
    let loads: Vec<_> = loads.map(|load| format!("{}: {}", load.name(), load.asked())).collect();
    page.list(&loads);
    for entrant in &comparison.plan.entrants {
        page.section(&entrant.name);
        if let Some(why) = &entrant.not_run {
            page.text(&format!("Not run: {why}"));
        }
        if let Some(about) = &entrant.about {
            page.text(&format!("{}. {}", about.version, about.asked)).list(&about.settings);
        }
        let Some(fit) = &entrant.fit else { continue };
        let all = comparison.plan.scenario.tenants;
        page.text(&format!("Finishes {} of {} tenants.", grouped(fit.tenants), grouped(all)));
        let row = |one: &crate::systems::Attempt| {
            let rate = if one.rate > 0 { grouped(one.rate) } else { "all it takes".to_owned() };
            let held = if one.held { "yes" } else { "no" };
            vec![grouped(one.tenants), rate, held.to_owned(), one.why.clone()]
        };
        if !fit.attempts.is_empty() {
            let rows: Vec<_> = fit.attempts.iter().map(row).collect();
            page.table(&["tenants", "events/s", "held", "what it did"], &rows);
        }
        let left = comparison.left_out.iter().filter(|left| left.system == entrant.name);
        let left = left.map(|left| format!("{} is left out: {}", left.load.name(), left.why));
        page.list(&left.collect::<Vec<_>>());
    }
}

/// One line for each system, load, size and rate.
fn every_run(page: &mut Page, comparison: &Comparison) {
    page.section("Every load, least to most of its rounds");
    page.text(
        "A line of trendsrv that is not its own is at the size and rate of another system, for the \
         ratios; one of another system is a rate or a size that it did not hold, so that a lower one \
         was taken.",
    );
    let shown = [
        Metric::EventsPerSecond,
        Metric::NsCpuPerEvent,
        Metric::SwitchesPerMillionEvents,
        Metric::CoresUsed,
        Metric::BytesPerTenant,
        Metric::AckP50Us,
        Metric::AckP99Us,
        Metric::VisibleP99Us,
        Metric::RefreshSeconds,
    ];
    let row = |row: &Row| {
        let own = match (row.own, row.system == trendsrv::NAME) {
            (true, _) if !row.is_held() => "own, not held",
            (true, _) => "own",
            (false, true) => "beside",
            (false, false) => "not held",
        };
        let rate = if row.rate > 0 { grouped(row.rate) } else { "all it takes".to_owned() };
        let mut cells = vec![row.system.clone(), row.load.name().to_owned(), own.to_owned()];
        cells.extend([grouped(row.tenants), rate]);
        cells.extend(shown.iter().map(|metric| row.get(*metric).map_or("–".to_owned(), spread)));
        let failed = row.failed.iter().map(|(round, why)| format!("round {round}: {why}"));
        let behind = row.behind.iter().map(|(round, what)| format!("round {round}: {what}"));
        cells.push(failed.chain(behind).collect::<Vec<_>>().join("; "));
        cells
    };
    let mut headers = vec!["system", "load", "size", "tenants", "offered/s"];
    headers.extend(shown.iter().map(|metric| metric.name()));
    headers.push("failed, or not held");
    page.table(&headers, &comparison.rows.iter().map(row).collect::<Vec<_>>());
    let notes = comparison.cells.iter().flat_map(|cell| {
        let key = &cell.key;
        let of = format!("{} {}, round {}", key.system, key.load.name(), key.round);
        cell.notes.iter().map(move |note| format!("{of}: {note}"))
    });
    let notes: Vec<_> = notes.collect();
    if !notes.is_empty() {
        page.section("Notes of the runs").list(&notes);
    }
}

fn environment(page: &mut Page, comparison: &Comparison) {
    page.section("Where this was measured");
    let (machine, plan) = (&comparison.machine, &comparison.plan);
    let cores =
        |cores: &[usize]| cores.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let mut rows = vec![
        ("processor", machine.cpu.clone()),
        ("cores", machine.cores.to_string()),
        ("kernel", machine.kernel.clone()),
        ("memory", format!("{:.1} GiB", float(machine.memory_bytes) / f64::from(1 << 30))),
        ("commit", comparison.commit.clone()),
        ("compiler", comparison.rustc.clone()),
        ("cores of the system", cores(&plan.cores.server)),
        ("cores of the generator", cores(&plan.cores.loadgen)),
        (
            "measured",
            format!("{} s after {} s", plan.scenario.seconds, plan.scenario.warmup_seconds),
        ),
        ("rounds", plan.rounds.to_string()),
        ("seed", plan.scenario.seed.to_string()),
    ];
    rows.extend(comparison.environment.iter().map(|(name, value)| (name.as_str(), value.clone())));
    let rows: Vec<_> = rows.into_iter().map(|(name, value)| vec![name.to_owned(), value]).collect();
    page.table(&["", ""], &rows);
    page.text(
        "What this does not show: a network, because everything goes over loopback, whose cost is \
         partly the system's; a larger machine; tenants whose events come in bursts.",
    );
}

impl Comparison {
    /// The colour of a system, the same in every chart.
    fn colour(&self, system: &str) -> usize {
        self.plan.entrants.iter().position(|one| one.name == system).unwrap_or(0)
    }

    /// A name, with the number of tenants where it is not the scenario's.
    fn sized(&self, system: &str, tenants: u32) -> String {
        match tenants == self.plan.scenario.tenants {
            true => system.to_owned(),
            false => format!("{system}, {}", short(f64::from(tenants))),
        }
    }

    /// The shape of the round with the median p99 of a row.
    fn middle_shape(&self, row: &Row, shape: fn(&super::cell::Cell) -> &Shape) -> Option<&Shape> {
        let of_row = |cell: &&super::cell::Cell| {
            let key = &cell.key;
            (key.system.as_str(), key.load) == (row.system.as_str(), row.load)
                && (key.tenants, key.rate, key.refresh_ms)
                    == (row.tenants, row.rate, row.refresh_ms)
        };
        let good = self.cells.iter().filter(of_row).filter(|cell| cell.good().is_some());
        let mut shapes: Vec<_> = good.map(shape).filter(|shape| !shape.curve.is_empty()).collect();
        shapes.sort_by(|a, b| p99(a).total_cmp(&p99(b)));
        shapes.get(shapes.len().saturating_sub(1) / 2).copied()
    }
}

fn p99(shape: &Shape) -> f64 {
    shape.curve.iter().find(|point| point.0 >= 99.9).map_or(0.0, |point| point.1)
}

fn bar(name: String, spread: Spread) -> Bar {
    Bar { name, least: spread.least, median: spread.median, most: spread.most }
}

/// `12 (11–13)`, or one number when all rounds agree.
fn spread(spread: Spread) -> String {
    let (least, median, most) = (short(spread.least), short(spread.median), short(spread.most));
    if least == most { median } else { format!("{median} ({least}–{most})") }
}

/// Digits in groups of three.
fn grouped(n: impl Into<u64>) -> String {
    let digits = n.into().to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
