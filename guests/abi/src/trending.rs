//! The line of the shipped programs.

use crate::reply::{Line, Reply, Told};
use crate::view::{Row, View};

/// Keeps the view's ranking and writes
/// `"a" x4.2 in 10 s (1,204 in 60 s), then "b", "c"; 312 topics`.
pub fn trending(view: &View<'_>, reply: Reply<'_>) -> Told {
    let mut line = reply.keep_order();
    let window_s = u64::from(view.window_ms() / 1_000);
    let mut rows = view.rows();
    let Some(first) = rows.next() else {
        line.text(b"nothing in ");
        line.number(window_s);
        line.text(b" s");
        return line.finish();
    };
    name(&mut line, &first);
    if let Some(tenths) = times_expected(&first, view) {
        line.text(b" x");
        line.number(tenths / 10);
        line.text(b".");
        line.number(tenths % 10);
        line.text(b" in ");
        line.number(u64::from(view.recent_ms() / 1_000));
        line.text(b" s");
    }
    line.text(b" (");
    line.grouped(first.count());
    line.text(b" in ");
    line.number(window_s);
    line.text(b" s)");
    for (place, row) in rows.take(2).enumerate() {
        line.text(if place == 0 { b", then " } else { b", " });
        name(&mut line, &row);
    }
    line.text(b"; ");
    line.grouped(u64::from(view.distinct()));
    line.text(if view.distinct() == 1 { b" topic" } else { b" topics" });
    line.finish()
}

fn name(line: &mut Line<'_>, row: &Row<'_>) {
    if row.name().is_empty() {
        line.text(b"id:");
        line.hex(row.topic());
    } else {
        line.text(b"\"");
        line.text(row.name());
        line.text(b"\"");
    }
}

/// The recent rate over the rate of the rest of the window, in tenths; `None` without a rest.
fn times_expected(row: &Row<'_>, view: &View<'_>) -> Option<u64> {
    let rest = row.count().saturating_sub(row.recent());
    let rest_ms = u64::from(view.window_ms().saturating_sub(view.recent_ms()));
    if rest == 0 || rest_ms == 0 {
        return None;
    }
    let recent_ms = u64::from(view.recent_ms().max(1));
    match (row.recent().checked_mul(rest_ms * 10), rest.checked_mul(recent_ms)) {
        (Some(have), Some(expected)) => have.checked_div(expected),
        _ => wide_ratio(row.recent(), rest_ms * 10, rest, recent_ms),
    }
}

/// `a * b / (c * d)`, exactly.
#[cold]
#[inline(never)]
fn wide_ratio(a: u64, b: u64, c: u64, d: u64) -> Option<u64> {
    let ratio = (u128::from(a) * u128::from(b)).checked_div(u128::from(c) * u128::from(d));
    u64::try_from(ratio?).ok()
}
