//! A report as one HTML file that needs no network: verdicts, text, tables, charts.
//!
//! Owns: how a page looks. Never touches: what it says.
//!
//! ```text
//! Page::new(title) -> verdict, section, text, table, chart … -> write(path)
//!   Plot (lines, percentile curves, histograms): JSON in the page, drawn by uPlot
//!   Bars (with the least and the most of each):  SVG, drawn here
//! ```
//!
//! Everything that is said is escaped; the page may load nothing and run no script but its own.

mod bars;
mod plot;

pub(crate) use bars::{Bar, Bars, short};
pub(crate) use plot::{Axis, Plot, Scale};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;
use std::path::Path;

const PLOTTER: &str = include_str!("../../assets/uplot/uPlot.iife.min.js");
const PLOTTER_STYLE: &str = include_str!("../../assets/uplot/uPlot.min.css");
const SCRIPT: &str = include_str!("../../assets/page.js");
const STYLE: &str = include_str!("../../assets/page.css");

/// A page that grows from top to bottom.
#[derive(Debug)]
pub(crate) struct Page {
    title: String,
    body: String,
    plots: u32,
}

/// How a goal came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Outcome {
    Holds,
    DoesNotHold,
    NotMeasured,
}

/// What a page shows as a picture.
#[derive(Clone, Debug)]
pub(crate) enum Chart {
    Plot(Plot),
    Bars(Bars),
}

impl From<Plot> for Chart {
    fn from(plot: Plot) -> Self {
        Self::Plot(plot)
    }
}

impl From<Bars> for Chart {
    fn from(bars: Bars) -> Self {
        Self::Bars(bars)
    }
}

impl Page {
    /// An empty page with its headline.
    pub(crate) fn new(title: &str) -> Self {
        let body = format!("<h1>{}</h1>\n", escaped(title));
        Self { title: title.to_owned(), body, plots: 0 }
    }

    /// One line that a reader sees first: how a goal came out, and by how much.
    pub(crate) fn verdict(&mut self, outcome: Outcome, what: &str, detail: &str) -> &mut Self {
        let (class, word) = match outcome {
            Outcome::Holds => ("good", "✓ holds"),
            Outcome::DoesNotHold => ("bad", "✗ does not hold"),
            Outcome::NotMeasured => ("open", "– not measured"),
        };
        self.add(&format!(
            "<div class=\"verdict {class}\"><b>{word}</b><span>{}<small>{}</small></span></div>\n",
            escaped(what),
            escaped(detail)
        ))
    }

    /// A heading.
    pub(crate) fn section(&mut self, heading: &str) -> &mut Self {
        self.add(&format!("<h2>{}</h2>\n", escaped(heading)))
    }

    /// A paragraph.
    pub(crate) fn text(&mut self, text: &str) -> &mut Self {
        self.add(&format!("<p>{}</p>\n", escaped(text)))
    }

    /// A list of points.
    pub(crate) fn list<T: AsRef<str>>(&mut self, points: &[T]) -> &mut Self {
        let points = points
            .iter()
            .fold(String::new(), |all, point| all + "<li>" + &escaped(point.as_ref()) + "</li>\n");
        self.add(&format!("<ul>\n{points}</ul>\n"))
    }

    /// A table. A column stands to the right when every cell of it begins like a number or says
    /// that there is none.
    pub(crate) fn table<H: AsRef<str>>(
        &mut self,
        headers: &[H],
        rows: &[Vec<String>],
    ) -> &mut Self {
        let right: Vec<bool> = (0..headers.len()).map(|column| is_numeric(rows, column)).collect();
        let cells = |name: &str, texts: &mut dyn Iterator<Item = &str>| {
            let cell = |(column, text): (usize, &str)| {
                let class = right.get(column).copied().unwrap_or(false);
                let class = if class { " class=\"number\"" } else { "" };
                format!("<{name}{class}>{}</{name}>", escaped(text))
            };
            texts.enumerate().map(cell).collect::<String>()
        };
        let head = cells("th", &mut headers.iter().map(AsRef::as_ref));
        let rows = rows.iter().fold(String::new(), |all, row| {
            all + "<tr>" + &cells("td", &mut row.iter().map(String::as_str)) + "</tr>\n"
        });
        self.add(&format!(
            "<div class=\"wide\"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}</tbody>\n\
             </table></div>\n"
        ))
    }

    /// A picture with its title and a note.
    pub(crate) fn chart(&mut self, chart: impl Into<Chart>) -> &mut Self {
        let (title, note, drawn) = match chart.into() {
            Chart::Plot(plot) => {
                self.plots += 1;
                // Escaped, because a name in it might close the element that it stands in.
                let data = in_script(&plot.json().to_string());
                let json = format!("<script type=\"application/json\">{data}</script>");
                (plot.title, plot.note, format!("<div class=\"plot\"></div>{json}"))
            }
            Chart::Bars(bars) => {
                let drawn = bars.svg();
                (bars.title, bars.note, drawn)
            }
        };
        let note = if note.is_empty() { note } else { format!("<p>{}</p>\n", escaped(&note)) };
        let title = escaped(&title);
        self.add(&format!("<figure><h3>{title}</h3>\n{note}{drawn}</figure>\n"))
    }

    /// The whole page.
    pub(crate) fn html(&self) -> String {
        let script = match self.plots {
            0 => String::new(),
            _ => format!(
                "<noscript><p>The curves need JavaScript; the tables do not.</p></noscript>\n\
                 <script>{PLOTTER}</script>\n<script>{SCRIPT}</script>\n"
            ),
        };
        format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; \
             style-src 'unsafe-inline'; script-src 'unsafe-inline'\">\n\
             <meta name=\"viewport\" content=\"width=device-width\">\n<title>{}</title>\n\
             <style>{PLOTTER_STYLE}</style>\n<style>{STYLE}</style>\n</head>\n<body>\n{}{script}\
             </body>\n</html>\n",
            escaped(&self.title),
            self.body
        )
    }

    /// Writes the page; its folder is there.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn write(&self, path: &Path) -> anyhow::Result<()> {
        std::fs::write(path, self.html())
            .with_context(|| format!("cannot write {}", path.display()))
    }

    fn add(&mut self, html: &str) -> &mut Self {
        self.body.push_str(html);
        self
    }
}

fn is_numeric(rows: &[Vec<String>], column: usize) -> bool {
    let begins = |text: &String| {
        let text = text.trim_start_matches(['-', '+', '<', '>', ' ']);
        text.is_empty() || text == "–" || text.starts_with(|c: char| c.is_ascii_digit())
    };
    let mut cells = rows.iter().filter_map(|row| row.get(column)).peekable();
    cells.peek().is_some() && cells.all(begins)
}

/// Text as HTML shows it, in an element or in a quoted attribute.
fn escaped(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            c => html.push(c),
        }
    }
    html
}

/// JSON that cannot end the element it stands in, and means the same.
fn in_script(json: &str) -> String {
    let mut safe = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                let written = write!(safe, "\\u{:04x}", u32::from(c));
                debug_assert!(written.is_ok(), "writing to a string does not fail");
            }
            c => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    const NASTY: &str = "</script><img src=x onerror=alert(1)>\"'&\u{2028}";

    fn full() -> Page {
        let mut page = Page::new(NASTY);
        page.verdict(Outcome::Holds, NASTY, NASTY).section(NASTY).text(NASTY).list(&[NASTY]);
        page.table(&[NASTY, "n"], &[vec![NASTY.to_owned(), "1".to_owned()]]);
        let axes = (Axis::log(NASTY), Axis::linear("y"));
        page.chart(Plot::lines(NASTY, axes.0, axes.1).series(NASTY, [(1.0, 2.0)]).note(NASTY));
        let bar = Bar { name: NASTY.to_owned(), least: 1.0, median: 2.0, most: 3.0 };
        page.chart(Bars::new(NASTY, Axis::linear(NASTY)).bar(0, bar));
        page
    }

    #[test]
    fn what_is_said_is_never_markup() {
        let html = full().html();
        assert!(!html.contains("<img"), "an element came through");
        let scripts = html.matches("<script").count();
        assert_eq!((scripts, html.matches("</script>").count()), (3, 3));
        assert!(html.contains("&lt;/script&gt;"));
    }

    #[test]
    fn the_data_of_a_plot_means_the_same_after_escaping() {
        let html = full().html();
        let (_, json) = html.split_once("<script type=\"application/json\">").unwrap();
        let (json, _) = json.split_once("</script>").unwrap();
        let value: serde_json::Value = serde_json::from_str(json).unwrap();
        assert_eq!(value["series"][0]["name"], NASTY);
        assert!(!json.contains(['<', '>', '&', '\u{2028}']), "{json}");
    }

    #[test]
    fn a_page_asks_the_network_for_nothing() {
        let mut page = Page::new("t");
        page.text("a").chart(Plot::percentiles("c").series("s", [(10.0, 2.0)]));
        let html = page.html();
        for loads in [" src=", "href=", "@import", "url(", "<link", "import(", "fetch("] {
            assert!(!html.contains(loads), "{loads}");
        }
        assert!(html.contains("default-src 'none'"));
        assert!(html.contains("uPlot") && html.len() > 50_000, "the plotter is inside");
    }

    #[test]
    fn a_page_without_plots_carries_no_script() {
        let mut page = Page::new("t");
        page.table(&["a"], &[vec!["1".to_owned()]]);
        assert!(!page.html().contains("<script"));
    }

    #[test]
    fn numbers_stand_to_the_right() {
        let rows = [["trendsrv", "1.5 M"], ["7 zip", "–"]];
        let rows: Vec<Vec<String>> = rows.map(|row| row.map(str::to_owned).to_vec()).to_vec();
        assert!(!is_numeric(&rows, 0) && is_numeric(&rows, 1) && !is_numeric(&[], 0));
        let mut page = Page::new("t");
        page.table(&["name", "rate"], &rows);
        assert!(page.html().contains("<td>trendsrv</td><td class=\"number\">1.5 M</td>"));
    }

    #[test]
    fn a_page_that_cannot_be_written_names_its_path() {
        let path = std::env::temp_dir().join("no-such-folder-of-a-page/page.html");
        let error = Page::new("t").write(&path).unwrap_err().to_string();
        assert!(error.contains("page.html"), "{error}");
    }
}
