//! How much a purge takes, and why its bound holds.
//!
//! A purge in pane `now` takes `theta` from the credit of every topic, drops the topics whose
//! credit is used up, and adds `theta` to `lost[now]`.
//!
//! Let `f(x, p)` be the true weight of `x` in the live panes `>= p`, `t(x, p)` the part of it in
//! the ring and `L(p, q)` the sum of `lost[b]` for live `p <= b < q`. For every live pane `p`:
//!
//! 1. tracked: `f(x, p) <= credit(x) + L(p, now + 1)`;
//! 2. tracked: `f(x, p) <= t(x, p) + L(p, from(x))`;
//! 3. untracked: `f(x, p) <= L(p, now + 1)`.
//!
//! - An event of a tracked topic adds its weight to `f`, to the credit and to the ring.
//! - A topic is opened with `from = now + 1`, no credit and an empty ring: 3 gives 1 and 2.
//! - A purge moves `theta` from the credits to `L`, which keeps 1; a dropped topic had
//!   `credit <= theta`, so 1 gives 3 (its ring goes, too, and nothing claims it).
//! - Expiry removes the oldest `p`; the others stand as they were. `credit = min(credit, total)`
//!   keeps 1: 2 bounds `f` by `total + L`. A window without weight is exact again.
//!
//! With `p` the oldest live pane, 2 and 3 are the promise of the module header. With a later one
//! they bound the recent span and the baseline of a trend by themselves.

use super::relayout::Source;

/// The smallest `theta` that leaves at most `keep` topics: their `keep + 1`-th largest credit.
pub(super) fn theta(from: Source<'_>, used: usize, keep: usize, credits: &mut Vec<u64>) -> u64 {
    credits.clear();
    credits.extend((0..used).map(|slot| from.credit(slot)));
    if used <= keep {
        return 0;
    }
    let (_, theta, _) = credits.select_nth_unstable_by(keep, |a, b| b.cmp(a));
    *theta
}
