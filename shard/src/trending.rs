//! The default program in plain Rust.

use crate::programs::{Programs, Summary, Texts, Told};
use crate::tenants::Slot;
use crate::window::View;
use core::fmt::Write;
use trendsrv_proto::limits::TLDR_BYTES_MAX;
use trendsrv_proto::{TenantId, TopicId, check_name};

/// The default program in plain Rust: `"a" x4.2 in 10 s (1,204 in 60 s), then "b", "c"; 312 topics`.
#[derive(Clone, Copy, Debug)]
pub struct Trending {
    /// Length of the recent span in milliseconds.
    pub recent_ms: u64,
    /// Length of the window in milliseconds.
    pub window_ms: u64,
}

impl Programs for Trending {
    const EAGER: bool = false;

    fn admit(&mut self, _now_ms: u64, _slot: Slot, _tenant: TenantId) {}

    fn retire(&mut self, _slot: Slot) {}

    fn find_topics(&mut self, run: &Texts<'_>, found: &mut dyn FnMut(usize, u32, &str)) {
        for (index, text) in run.texts.iter().enumerate() {
            each_tag(text.text, |tag| found(index, text.weight, tag));
        }
    }

    fn summarise(&mut self, ask: &Summary<'_>, told: &mut Told) {
        told.tldr.clear();
        told.program.clear();
        told.program.push_str(NAME);
        told.ranking = None;
        let written = self.write(ask.view, ask.name, &mut told.tldr);
        written.expect("a String takes any text");
        told.tldr.truncate(told.tldr.floor_char_boundary(TLDR_BYTES_MAX));
    }

    fn name_of(&self, _slot: Slot) -> &str {
        NAME
    }
}

/// The words of a text that start with `#` or `@`, each once.
fn each_tag(text: &str, mut found: impl FnMut(&str)) {
    let words = || text.split_whitespace().filter(|word| word.starts_with(['#', '@']));
    for (at, word) in words().enumerate() {
        let is_new = !words().take(at).any(|before| before == word);
        if is_new && word.len() > 1 && check_name(word.as_bytes()).is_ok() {
            found(word);
        }
    }
}

impl Trending {
    fn write<'n>(
        &self,
        view: &View,
        name: &dyn Fn(TopicId) -> &'n str,
        out: &mut String,
    ) -> core::fmt::Result {
        let Some(first) = view.topics().first() else {
            return write!(out, "nothing in {} s", self.window_ms / 1_000);
        };
        write_name(out, first.topic, name)?;
        if let Some(tenths) = times_expected(first.recent, first.total, self) {
            write!(out, " x{}.{} in {} s", tenths / 10, tenths % 10, self.recent_ms / 1_000)?;
        }
        out.write_str(" (")?;
        write_grouped(out, first.total)?;
        write!(out, " in {} s)", self.window_ms / 1_000)?;
        for (i, row) in view.topics().iter().take(view.ranked()).skip(1).take(2).enumerate() {
            out.write_str(if i == 0 { ", then " } else { ", " })?;
            write_name(out, row.topic, name)?;
        }
        out.write_str("; ")?;
        write_grouped(out, view.distinct() as u64)?;
        out.write_str(if view.distinct() == 1 { " topic" } else { " topics" })
    }
}

/// The name that answers carry.
const NAME: &str = "trending";

/// The recent rate over the rate of the rest of the window, in tenths; `None` without a rest.
fn times_expected(recent: u64, total: u64, spans: &Trending) -> Option<u64> {
    let rest = total.saturating_sub(recent);
    let rest_ms = spans.window_ms.saturating_sub(spans.recent_ms);
    if rest == 0 || rest_ms == 0 {
        return None;
    }
    let (recent, rest) = (u128::from(recent), u128::from(rest));
    let tenths = recent * u128::from(rest_ms) * 10 / (rest * u128::from(spans.recent_ms.max(1)));
    u64::try_from(tenths).ok()
}

fn write_name<'n>(
    out: &mut String,
    topic: TopicId,
    name: &dyn Fn(TopicId) -> &'n str,
) -> core::fmt::Result {
    match name(topic) {
        "" => write!(out, "id:{:016x}", topic.0),
        name => write!(out, "\"{name}\""),
    }
}

/// 1204 as 1,204.
fn write_grouped(out: &mut String, number: u64) -> core::fmt::Result {
    let digits = number.to_string();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        let grouped = |number| {
            let mut out = String::new();
            write_grouped(&mut out, number).unwrap();
            out
        };
        assert_eq!([grouped(0), grouped(999), grouped(1_204)], ["0", "999", "1,204"]);
        assert_eq!(grouped(12_345_678), "12,345,678");
    }

    #[test]
    fn the_factor_compares_rates() {
        let spans = Trending { recent_ms: 10_000, window_ms: 60_000 };
        assert_eq!(times_expected(420, 920, &spans), Some(42));
        assert_eq!(times_expected(5, 5, &spans), None);
    }
}
