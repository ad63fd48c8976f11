//! Latencies: recorded in nanoseconds, reported in microseconds.

use crate::limits::LATENCY_NS_MAX;
use crate::process::float;
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;

/// A histogram with explicit bounds; nothing is clamped silently.
#[derive(Clone, Debug)]
pub(crate) struct Latency {
    histogram: Histogram<u64>,
    over_range: u64,
}

/// The percentiles of a run.json, microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Percentiles {
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    pub(crate) p9999: f64,
    pub(crate) max: f64,
    pub(crate) count: u64,
}

/// As much of a histogram as a chart shows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Shape {
    /// `1 / (1 - quantile)` and the latency there, microseconds.
    pub(crate) curve: Vec<(f64, f64)>,
    /// Where a step begins, microseconds, and how many latencies lie in it.
    pub(crate) steps: Vec<(f64, u64)>,
}

impl Latency {
    pub(crate) fn new() -> anyhow::Result<Self> {
        let histogram = Histogram::new_with_bounds(1, LATENCY_NS_MAX, 3)?;
        Ok(Self { histogram, over_range: 0 })
    }

    /// Records one latency.
    pub(crate) fn record(&mut self, ns: u64) {
        if self.histogram.record(ns).is_err() {
            self.over_range += 1;
        }
    }

    /// Latencies longer than the histogram holds.
    pub(crate) const fn over_range(&self) -> u64 {
        self.over_range
    }

    pub(crate) fn percentiles(&self) -> Percentiles {
        let at = |quantile| float(self.histogram.value_at_quantile(quantile)) / 1e3;
        Percentiles {
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            p9999: at(0.9999),
            max: float(self.histogram.max()) / 1e3,
            count: self.histogram.len(),
        }
    }

    /// The curve and the steps of its charts; a step is a quarter longer than the one before.
    pub(crate) fn shape(&self) -> Shape {
        let (mut shape, mut begins_at) = (Shape::default(), 0.0);
        for step in self.histogram.iter_quantiles(5) {
            let beyond = 1.0 - step.quantile_iterated_to();
            if beyond > 0.0 {
                shape.curve.push((1.0 / beyond, float(step.value_iterated_to()) / 1e3));
            }
        }
        for step in self.histogram.iter_log(1_000, 1.25) {
            let count = step.count_since_last_iteration();
            if count > 0 || !shape.steps.is_empty() {
                shape.steps.push((begins_at, count));
            }
            begins_at = float(step.value_iterated_to() + 1) / 1e3;
        }
        if !shape.steps.is_empty() {
            shape.steps.push((begins_at, 0));
        }
        shape
    }

    /// The percentile distribution in HdrHistogram's text format, microseconds.
    pub(crate) fn hgrm(&self) -> String {
        let mut text = "       Value     Percentile TotalCount 1/(1-Percentile)\n\n".to_owned();
        let mut seen = 0;
        for step in self.histogram.iter_quantiles(5) {
            seen += step.count_since_last_iteration();
            let quantile = step.quantile_iterated_to();
            let value = float(step.value_iterated_to()) / 1e3;
            let line = if quantile < 1.0 {
                let inverse = 1.0 / (1.0 - quantile);
                writeln!(text, "{value:12.3} {quantile:14.12} {seen:10} {inverse:14.2}")
            } else {
                writeln!(text, "{value:12.3} {quantile:14.12} {seen:10}")
            };
            debug_assert!(line.is_ok(), "writing to a string does not fail");
        }
        let (mean, deviation) = (self.histogram.mean() / 1e3, self.histogram.stdev() / 1e3);
        let (max, count) = (float(self.histogram.max()) / 1e3, self.histogram.len());
        text.push_str(&format!(
            "#[Mean    = {mean:12.3}, StdDeviation   = {deviation:12.3}]\n\
             #[Max     = {max:12.3}, Total count    = {count:12}]\n\
             #[Buckets = {:12}, SubBuckets     = {:12}]\n",
            self.histogram.buckets(),
            2048,
        ));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_microseconds_and_nothing_is_clamped() {
        let mut latency = Latency::new().unwrap();
        (1..=1_000).for_each(|n| latency.record(n * 1_000));
        latency.record(LATENCY_NS_MAX * 4);
        let p = latency.percentiles();
        assert!((p.p50 - 500.0).abs() < 1.0 && (p.max - 1_000.0).abs() < 1.0, "{p:?}");
        assert_eq!((p.count, latency.over_range()), (1_000, 1));
        let text = latency.hgrm();
        assert!(text.contains("Percentile TotalCount"));
        let last = text.lines().rfind(|line| !line.starts_with('#')).unwrap();
        assert!(last.contains("1.000000000000       1000"), "{last}");
    }

    #[test]
    fn the_shape_of_a_histogram_holds_every_latency_once() {
        let mut latency = Latency::new().unwrap();
        (1..=1_000).for_each(|n| latency.record(n * 1_000));
        let Shape { curve, steps } = latency.shape();
        assert_eq!(steps.iter().map(|step| step.1).sum::<u64>(), 1_000);
        let median = curve.iter().find(|point| point.0 >= 2.0).unwrap();
        assert!((median.1 - 500.0).abs() < 1.0, "{median:?}");
        assert!(curve.iter().chain(&[(1.0, 1.0)]).all(|point| point.0.is_finite()));
        assert_eq!(Latency::new().unwrap().shape(), Shape::default());
    }
}
