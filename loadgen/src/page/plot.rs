//! Curves over two axes: lines, percentiles, histograms. The page's script draws them.

use serde::Serialize;

/// One axis.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Axis {
    pub(super) label: String,
    pub(super) scale: Scale,
}

/// How an axis is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Scale {
    Linear,
    Log,
    /// Holds `1 / (1 - quantile)`, on a log scale, and is labelled in percent.
    Percentile,
}

impl Axis {
    /// Equal steps.
    pub(crate) fn linear(label: &str) -> Self {
        Self { label: label.to_owned(), scale: Scale::Linear }
    }

    /// Equal factors.
    pub(crate) fn log(label: &str) -> Self {
        Self { label: label.to_owned(), scale: Scale::Log }
    }

    /// Whether the axis has a place for the value.
    pub(super) fn holds(&self, value: f64) -> bool {
        value.is_finite() && (self.scale == Scale::Linear || value > 0.0)
    }
}

/// Several series over two axes.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Plot {
    #[serde(skip)]
    pub(super) title: String,
    #[serde(skip)]
    pub(super) note: String,
    x: Axis,
    y: Axis,
    /// Each value stands for the whole step to the next.
    stepped: bool,
    series: Vec<Series>,
}

#[derive(Clone, Debug, Serialize)]
struct Series {
    name: String,
    colour: usize,
    points: Vec<(f64, f64)>,
}

impl Plot {
    /// Points that are joined by lines.
    pub(crate) fn lines(title: &str, x: Axis, y: Axis) -> Self {
        Self {
            title: title.to_owned(),
            note: String::new(),
            x,
            y,
            stepped: false,
            series: Vec::new(),
        }
    }

    /// Latency by percentile, as HdrHistogram draws it: x is `1 / (1 - quantile)`, y microseconds.
    pub(crate) fn percentiles(title: &str) -> Self {
        let x = Axis { label: "percentile".to_owned(), scale: Scale::Percentile };
        Self::lines(title, x, Axis::log("us"))
    }

    /// A histogram over microseconds on a log axis: y is the share of each step, percent.
    pub(crate) fn histogram(title: &str) -> Self {
        let plot = Self::lines(title, Axis::log("us"), Axis::linear("% of all"));
        Self { stepped: true, ..plot }
    }

    /// One more series, in the next colour. A point that an axis has no place for, a zero on a
    /// log axis for one, is not shown.
    pub(crate) fn series(self, name: &str, points: impl IntoIterator<Item = (f64, f64)>) -> Self {
        let colour = self.series.len();
        self.coloured(name, colour, points)
    }

    /// One more series in a colour of its own, so that a name keeps it through several charts.
    pub(crate) fn coloured(
        mut self,
        name: &str,
        colour: usize,
        points: impl IntoIterator<Item = (f64, f64)>,
    ) -> Self {
        let fits = |point: &(f64, f64)| self.x.holds(point.0) && self.y.holds(point.1);
        let mut points: Vec<_> = points.into_iter().filter(fits).collect();
        points.sort_by(|one, two| one.0.total_cmp(&two.0));
        points.dedup_by(|later, earlier| later.0.total_cmp(&earlier.0).is_eq());
        if !points.is_empty() {
            self.series.push(Series { name: name.to_owned(), colour, points });
        }
        self
    }

    /// A sentence under the title.
    pub(crate) fn note(self, note: &str) -> Self {
        Self { note: note.to_owned(), ..self }
    }

    /// Whether there is nothing to draw.
    pub(crate) fn is_empty(&self) -> bool {
        self.series.is_empty()
    }

    /// What the script draws.
    pub(super) fn json(&self) -> serde_json::Value {
        serde_json::json!(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_are_sorted_and_one_to_a_place() {
        let plot = Plot::lines("t", Axis::linear("x"), Axis::linear("y"));
        let plot = plot.series("s", [(2.0, 1.0), (1.0, 0.0), (2.0, 5.0)]);
        assert_eq!(plot.json()["series"][0]["points"], serde_json::json!([[1.0, 0.0], [2.0, 1.0]]));
    }

    #[test]
    fn what_an_axis_cannot_show_is_left_out_and_json_has_no_nulls() {
        let points = [(0.0, 1.0), (1.0, f64::NAN), (f64::INFINITY, 1.0), (10.0, 3.0)];
        let plot = Plot::percentiles("t").series("s", points).series("none", [(0.0, 0.0)]);
        let json = plot.json();
        assert_eq!(json["series"].as_array().unwrap().len(), 1);
        assert_eq!(json["series"][0]["points"], serde_json::json!([[10.0, 3.0]]));
        assert!(!json.to_string().contains("null") && !plot.is_empty());
        assert_eq!(json["x"]["scale"], "percentile");
    }

    #[test]
    fn a_name_keeps_its_colour() {
        let plot = Plot::histogram("t").coloured("a", 5, [(1.0, 1.0)]).series("b", [(1.0, 2.0)]);
        let json = plot.json();
        assert_eq!(
            (&json["series"][0]["colour"], &json["series"][1]["colour"]),
            (&5.into(), &1.into())
        );
        assert_eq!(json["stepped"], true);
    }
}
