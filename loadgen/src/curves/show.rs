//! curves.html: a chart and a table for each dimension.

use super::dimension::{DIMENSIONS, Dimension};
use super::{Curves, Point};
use crate::page::{Axis, Page, Plot};
use crate::process::{Machine, float};
use crate::report::Run;

/// The page of all points.
pub(super) fn page(curves: &Curves) -> Page {
    let mut page = Page::new("How trendsrv scales");
    let runs = || curves.points.iter().filter_map(|point| point.run.as_ref());
    page.text(
        "Each point is a saturated load on a server that was started for it, in which one \
         dimension differs from the others. Cost is the CPU time of the server alone.",
    );
    if let Some(run) = runs().next() {
        page.list(&environment(run));
    }
    for dimension in DIMENSIONS {
        let points: Vec<&Point> =
            curves.points.iter().filter(|point| point.dimension == dimension).collect();
        if !points.is_empty() {
            section(&mut page, dimension, &points);
        }
    }
    page
}

/// Memory of the server for each tenant that it holds.
pub(super) fn bytes_per_tenant(run: &Run) -> f64 {
    float(run.server.rss_bytes_max) / float(run.server.tenants_live.max(1))
}

fn environment(run: &Run) -> Vec<String> {
    let Machine { cpu, cores, kernel, memory_bytes } = &run.machine;
    let gibibytes = float(*memory_bytes) / float(1 << 30);
    vec![
        format!("{cpu}, {cores} cores, {gibibytes:.1} GiB, Linux {kernel}"),
        format!("commit {}, {}", run.commit, run.rustc),
        format!(
            "server on cores {}, load generator on cores {}",
            run.config["server_cores"], run.config["loadgen_cores"]
        ),
        format!("program of every tenant: {}", run.config["default_program"]),
    ]
}

fn section(page: &mut Page, dimension: Dimension, points: &[&Point]) {
    let label = dimension.label();
    page.section(label);
    let curve = |of: &dyn Fn(&Run) -> f64| medians(points, of);
    let plot = |title: &str, y: &str, curve: Vec<(f64, f64)>| {
        Plot::lines(title, Axis::log(label), Axis::log(y)).series(y, curve)
    };
    let rate = curve(&|run| run.rate_acked);
    if rate.is_empty() {
        page.text("No point was measured to its end.");
    } else {
        page.chart(plot("Throughput", "events/s", rate));
        page.chart(plot("Cost", "ns CPU/event", curve(&|run| run.server.ns_cpu_per_event)));
    }
    if dimension == Dimension::Tenants {
        let memory = Plot::lines("Memory", Axis::log(label), Axis::log("bytes"))
            .series("the whole server", curve(&|run| float(run.server.rss_bytes_max)))
            .series("windows", curve(&|run| float(run.server.window_bytes)))
            .series("a tenant", curve(&bytes_per_tenant));
        if !memory.is_empty() {
            page.chart(memory);
        }
    }
    let headers = [
        label,
        "round",
        "events/s",
        "ns CPU/event",
        "switches per million events",
        "MiB",
        "bytes a tenant",
        "topics named",
        "generator ns/event",
        "verdict",
    ];
    let rows: Vec<Vec<String>> = points.iter().map(|point| row(point)).collect();
    page.table(&headers, &rows);
}

fn row(point: &Point) -> Vec<String> {
    let verdict = point.failed.clone().unwrap_or_else(|| "right".to_owned());
    let mut row = vec![point.value.to_string(), point.round.to_string()];
    match &point.run {
        Some(run) => row.extend([
            format!("{:.0}", run.rate_acked),
            format!("{:.1}", run.server.ns_cpu_per_event),
            format!("{:.1}", float(run.server.switches()) * 1e6 / float(run.events_acked.max(1))),
            format!("{:.1}", float(run.server.rss_bytes_max) / float(1 << 20)),
            format!("{:.0}", bytes_per_tenant(run)),
            format!("{:.1}", point.topics_named),
            format!("{:.1}", run.config["loadgen_ns_cpu_per_event"].as_f64().unwrap_or_default()),
        ]),
        None => row.extend(std::iter::repeat_n("–".to_owned(), 7)),
    }
    row.push(verdict);
    row
}

/// The median of the rounds at each value, of points that hold.
fn medians(points: &[&Point], of: &dyn Fn(&Run) -> f64) -> Vec<(f64, f64)> {
    let mut values: Vec<u32> = points.iter().map(|point| point.value).collect();
    values.sort_unstable();
    values.dedup();
    let median = |value: u32| {
        let here = points.iter().filter(|point| point.value == value && point.failed.is_none());
        let mut all: Vec<f64> = here.filter_map(|point| point.run.as_ref()).map(of).collect();
        all.sort_by(f64::total_cmp);
        let at = all.len().checked_sub(1)? / 2;
        Some((f64::from(value), f64::midpoint(all[at], all[all.len() / 2])))
    };
    values.into_iter().filter_map(median).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(dimension: Dimension, value: u32, round: u32, rate: Option<f64>) -> Point {
        let run = rate.map(|rate_acked| {
            let mut run = Run { rate_acked, ..Run::empty() };
            run.server.rss_bytes_max = 64 << 20;
            run.server.tenants_live = 1_024;
            run
        });
        let failed = run.is_none().then(|| "no memory <left>".to_owned());
        let server_args = Vec::new();
        Point { dimension, value, round, topics_named: 9.5, server_args, run, failed }
    }

    #[test]
    fn a_curve_goes_through_the_medians_of_the_points_that_hold() {
        let tenants = |value, round, rate| point(Dimension::Tenants, value, round, rate);
        let points = [
            tenants(100, 1, Some(3.0)),
            tenants(10, 1, Some(7.0)),
            tenants(100, 2, Some(9.0)),
            tenants(100, 3, Some(4.0)),
            tenants(10, 2, Some(8.0)),
            tenants(1_000, 1, None),
        ];
        let points: Vec<&Point> = points.iter().collect();
        assert_eq!(medians(&points, &|run| run.rate_acked), [(10.0, 7.5), (100.0, 4.0)]);
        assert!((bytes_per_tenant(points[0].run.as_ref().unwrap()) - 65_536.0).abs() < 0.1);
    }

    #[test]
    fn the_page_has_a_chart_of_what_was_measured_and_a_row_for_what_failed() {
        let measured = point(Dimension::Connections, 5, 1, Some(2e6));
        let html =
            page(&Curves { points: vec![measured, point(Dimension::Shards, 2, 1, None)] }).html();
        assert_eq!(html.matches("<div class=\"plot\">").count(), 2, "of connections only");
        assert!(html.contains("<td class=\"number\">2000000</td>"));
        assert!(html.contains("no memory &lt;left&gt;"));
        assert!(!html.contains("topics of each tenant"), "nothing of it was measured");
    }
}
