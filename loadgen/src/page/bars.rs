//! Bars that lie, one under the other, each with a whisker from the least to the most.

use super::{Axis, Scale, escaped};
use std::fmt::Write as _;

/// One bar: as long as the median of the rounds, with what the rounds differed by.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Bar {
    pub(crate) name: String,
    pub(crate) least: f64,
    pub(crate) median: f64,
    pub(crate) most: f64,
}

/// Some bars on one axis.
#[derive(Clone, Debug)]
pub(crate) struct Bars {
    pub(super) title: String,
    pub(super) note: String,
    axis: Axis,
    bars: Vec<(usize, Bar)>,
}

/// Widths and heights of the drawing, in its own units.
const WIDTH: f64 = 900.0;
const NAMES: f64 = 210.0;
const VALUES: f64 = 190.0;
const ROW: f64 = 30.0;
const THICK: f64 = 16.0;
const FOOT: f64 = 42.0;
/// How many colours the style sheet has.
const COLOURS: usize = 8;

impl Bars {
    /// No bars yet.
    pub(crate) fn new(title: &str, axis: Axis) -> Self {
        Self { title: title.to_owned(), note: String::new(), axis, bars: Vec::new() }
    }

    /// One more bar, in a colour that its name keeps through several charts. One that the axis has
    /// no place for is not shown.
    pub(crate) fn bar(mut self, colour: usize, bar: Bar) -> Self {
        if [bar.least, bar.median, bar.most].iter().all(|value| self.axis.holds(*value)) {
            self.bars.push((colour, bar));
        }
        self
    }

    /// A sentence under the title.
    pub(crate) fn note(self, note: &str) -> Self {
        Self { note: note.to_owned(), ..self }
    }

    /// Whether there is nothing to draw.
    pub(crate) fn is_empty(&self) -> bool {
        self.bars.is_empty()
    }

    /// The drawing.
    pub(super) fn svg(&self) -> String {
        let height = ROW * rows(self.bars.len()) + FOOT;
        let label = escaped(&self.title);
        let mut svg =
            format!("<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{label}\">\n");
        let ruler = self.ruler();
        for tick in ruler.ticks() {
            let (x, foot) = (ruler.at(tick), height - FOOT);
            let (y, text) = (foot + 16.0, short(tick));
            svg.push_str(&format!(
                "<line class=\"grid\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"0\" y2=\"{foot}\"/>\
                 <text class=\"faint\" x=\"{x:.1}\" y=\"{y}\" text-anchor=\"middle\">{text}</text>\n"
            ));
        }
        for (row, (colour, bar)) in self.bars.iter().enumerate() {
            let drawn = write!(svg, "{}", ruler.row(rows(row) * ROW, *colour, bar));
            debug_assert!(drawn.is_ok(), "writing to a string does not fail");
        }
        let (x, y) = (f64::midpoint(NAMES, WIDTH - VALUES), height - 6.0);
        let under = match self.axis.scale {
            Scale::Linear => escaped(&self.axis.label),
            Scale::Log | Scale::Percentile => escaped(&self.axis.label) + ", log scale",
        };
        svg + &format!(
            "<text class=\"faint\" x=\"{x}\" y=\"{y}\" text-anchor=\"middle\">{under}</text>\n\
             </svg>\n"
        )
    }

    fn ruler(&self) -> Ruler {
        let values = || self.bars.iter().flat_map(|(_, bar)| [bar.least, bar.median, bar.most]);
        let most = values().fold(f64::MIN_POSITIVE, f64::max);
        match self.axis.scale {
            Scale::Linear => Ruler { log: false, low: 0.0, high: most * 1.04 },
            Scale::Log | Scale::Percentile => {
                let least = values().fold(most, f64::min);
                // From a whole decade below the least, so that the shortest bar is one too.
                let low = 10_f64.powf(least.log10().floor().min((least / 1.5).log10().floor()));
                Ruler { log: true, low, high: most * 1.15 }
            }
        }
    }
}

/// Where a value lies.
struct Ruler {
    log: bool,
    low: f64,
    high: f64,
}

impl Ruler {
    fn at(&self, value: f64) -> f64 {
        let part = match self.log {
            true => (value / self.low).ln() / (self.high / self.low).ln(),
            false => value / self.high,
        };
        NAMES + part * (WIDTH - VALUES - NAMES)
    }

    /// Whole decades, or steps of 1, 2 or 5.
    fn ticks(&self) -> Vec<f64> {
        if self.log {
            let decades = (self.high / self.low).log10();
            let each = if decades > 7.0 { 100.0 } else { 10.0 };
            let next = |tick: &f64| Some(tick * each);
            return std::iter::successors(Some(self.low), next)
                .take_while(|tick| *tick <= self.high)
                .collect();
        }
        let rough = self.high / 6.0;
        let decade = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|n| n * decade);
        let step = step.into_iter().find(|step| *step >= rough).unwrap_or(decade * 10.0);
        let next = |tick: &f64| Some(tick + step);
        std::iter::successors(Some(0.0), next).take_while(|tick| *tick <= self.high).collect()
    }

    fn row(&self, top: f64, colour: usize, bar: &Bar) -> String {
        let (middle, from) = (top + ROW / 2.0, NAMES);
        let (least, median, most) = (self.at(bar.least), self.at(bar.median), self.at(bar.most));
        let (high, thick, colour) = (middle - THICK / 2.0, THICK, colour % COLOURS);
        let (name_x, text_y, value_x) = (NAMES - 10.0, middle + 4.5, most.max(median) + 8.0);
        let (name, value) = (escaped(&bar.name), bar.value());
        let wide = (median - from).max(1.0);
        let (up, down) = (middle - 4.0, middle + 4.0);
        format!(
            "<text x=\"{name_x}\" y=\"{text_y}\" text-anchor=\"end\">{name}</text>\
             <rect x=\"{from}\" y=\"{high}\" width=\"{wide:.1}\" height=\"{thick}\" \
             style=\"fill:var(--c{colour})\"/>\
             <path class=\"whisker\" fill=\"none\" d=\"M{least:.1} {up}V{down}M{least:.1} {middle}\
             H{most:.1}M{most:.1} {up}V{down}\"/>\
             <text x=\"{value_x:.1}\" y=\"{text_y}\">{value}</text>\n"
        )
    }
}

impl Bar {
    /// `12.3 (11.9–12.8)`, or the value alone when the rounds agree.
    fn value(&self) -> String {
        let (least, median, most) = (short(self.least), short(self.median), short(self.most));
        match least == most {
            true => median,
            false => format!("{median} ({least}–{most})"),
        }
    }
}

/// A count of rows as a length.
fn rows(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

/// Three digits and a unit: `1.23M`, `45.6k`, `0.789`.
pub(crate) fn short(value: f64) -> String {
    let (scaled, unit) = match value.abs() {
        size if size >= 0.999_5e9 => (value / 1e9, "G"),
        size if size >= 0.999_5e6 => (value / 1e6, "M"),
        size if size >= 999.5 => (value / 1e3, "k"),
        _ => (value, ""),
    };
    if scaled == 0.0 {
        return "0".to_owned();
    }
    let before = scaled.abs().log10().floor();
    let digits = (2.0 - before).clamp(0.0, 9.0);
    let digits = (0..=9_u8).find(|n| f64::from(*n) >= digits).unwrap_or(9);
    let text = format!("{scaled:.*}", usize::from(digits));
    let text = match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.'),
        false => &text,
    };
    format!("{text}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bar(name: &str, least: f64, median: f64, most: f64) -> Bar {
        Bar { name: name.to_owned(), least, median, most }
    }

    #[test]
    fn three_digits_and_a_unit() {
        let shown =
            [0.0, 0.012_34, 1.0, 9.996, 99.96, 999.6, 1_234.0, 999_600.0, 18_200_000.0, 3e9];
        let texts = ["0", "0.0123", "1", "10", "100", "1k", "1.23k", "1M", "18.2M", "3G"];
        assert_eq!(shown.map(short), texts);
    }

    #[test]
    fn a_bar_twice_as_long_is_twice_the_value() {
        let bars = Bars::new("t", Axis::linear("x"));
        let ruler =
            bars.bar(0, bar("a", 10.0, 10.0, 10.0)).bar(0, bar("b", 20.0, 20.0, 20.0)).ruler();
        let (one, two) = (ruler.at(10.0) - NAMES, ruler.at(20.0) - NAMES);
        assert!((two / one - 2.0).abs() < 1e-9 && two < WIDTH - VALUES);
        assert_eq!(ruler.ticks(), [0.0, 5.0, 10.0, 15.0, 20.0]);
    }

    #[test]
    fn on_a_log_axis_every_decade_is_as_long_and_the_least_bar_is_seen() {
        let bars = Bars::new("t", Axis::log("x"));
        let ruler = bars.bar(0, bar("a", 5.0, 6.0, 7.0)).bar(0, bar("b", 1e4, 1e4, 1e4)).ruler();
        let decade = ruler.at(100.0) - ruler.at(10.0);
        assert!((ruler.at(1e4) - ruler.at(1e3) - decade).abs() < 1e-9);
        assert!(ruler.at(6.0) > NAMES + decade / 2.0, "{}", ruler.at(6.0));
    }

    #[test]
    fn values_show_what_rounds_differed_by() {
        assert_eq!(bar("a", 1.0, 2.0, 3.0).value(), "2 (1–3)");
        assert_eq!(bar("a", 2.0, 2.0, 2.0).value(), "2");
        let none = Bars::new("t", Axis::log("x")).bar(0, bar("a", 0.0, 0.0, 0.0));
        assert!(none.is_empty());
        let svg = Bars::new("t", Axis::log("x")).bar(0, bar("<a>", 1.0, 2.0, 3.0)).svg();
        assert!(svg.contains("&lt;a&gt;") && svg.contains("log scale"), "{svg}");
    }
}
