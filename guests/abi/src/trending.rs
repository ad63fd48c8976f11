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
        line.short(b"nothing ");
        line.short(b"in ");
        line.number(window_s);
        line.short(b" s");
        return line.finish();
    };
    name(&mut line, &first);
    if let Some(tenths) = times_expected(&first, view) {
        line.short(b" x");
        line.number(tenths / 10);
        line.short(b".");
        line.number(tenths % 10);
        line.short(b" in ");
        line.number(u64::from(view.recent_ms() / 1_000));
        line.short(b" s");
    }
    line.short(b" (");
    line.grouped(first.count());
    line.short(b" in ");
    line.number(window_s);
    line.short(b" s)");
    for (place, row) in rows.take(2).enumerate() {
        if place == 0 {
            line.short(b", then ");
        } else {
            line.short(b", ");
        }
        name(&mut line, &row);
    }
    line.short(b"; ");
    line.grouped(u64::from(view.distinct()));
    if view.distinct() == 1 {
        line.short(b" topic");
    } else {
        line.short(b" topics");
    }
    line.finish()
}

fn name(line: &mut Line<'_>, row: &Row<'_>) {
    if row.name().is_empty() {
        line.short(b"id:");
        line.hex(row.topic());
    } else {
        line.short(b"\"");
        line.text(row.name());
        line.short(b"\"");
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
    let tenth_ms = rest_ms * 10;
    // Products of 28 and 36 bits, which all but giants have.
    if (row.recent() | rest) >> 28 == 0 {
        (row.recent() * tenth_ms).checked_div(rest * recent_ms)
    } else {
        wide_ratio(row.recent(), tenth_ms, rest, recent_ms)
    }
}

/// `a * b / (c * d)`, exactly.
#[cold]
#[inline(never)]
fn wide_ratio(a: u64, b: u64, c: u64, d: u64) -> Option<u64> {
    let ratio = (u128::from(a) * u128::from(b)).checked_div(u128::from(c) * u128::from(d));
    u64::try_from(ratio?).ok()
}
