//! Whether a job keeps up with its events and its clock.

use super::job::{Figures, Query};
use crate::process::float;

/// What a job reached over some time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Pace {
    /// Events a second to take; 0 is as many as it takes.
    pub(super) asked: u64,
    /// Events a second that it took.
    pub(super) reached: f64,
    /// How long ago the newest window ended of which answers have come.
    pub(super) behind_ms: u64,
}

/// Part of the events asked for that must be taken.
const PART_MIN: f64 = 0.95;

impl Pace {
    /// Between two looks, so many seconds apart; the second is at `now_ms`.
    pub(super) fn between(
        (before, after): (&Figures, &Figures),
        (seconds, now_ms): (f64, u64),
        asked: u64,
    ) -> Self {
        let events = after.events.saturating_sub(before.events);
        Self {
            asked,
            reached: float(events) / seconds.max(1e-9),
            behind_ms: now_ms.saturating_sub(after.window_end_ms),
        }
    }

    /// What it does not keep up with, if anything: each window's answers must be there before
    /// those of the second one after are due, with 2 s for the jitter of a shared machine.
    pub(super) fn shortfall(&self, query: Query) -> Option<String> {
        let behind_ms_max = 2 * query.slide_ms() + 2_000;
        if self.asked > 0 && self.reached < PART_MIN * float(self.asked) {
            return Some(format!(
                "took {:.0} of {} events/s, {}",
                self.reached,
                self.asked,
                self.age()
            ));
        }
        (self.behind_ms > behind_ms_max)
            .then(|| format!("{}, with {:.0} events/s", self.age(), self.reached))
    }

    fn age(&self) -> String {
        match self.behind_ms {
            // Nothing has come: it is as old as the clock.
            ms if ms > 1 << 40 => "no answers came".to_owned(),
            ms => format!("the newest answers were of {:.1} s ago", float(ms) / 1e3),
        }
    }

    /// In words, when it keeps up.
    pub(super) fn told(&self) -> String {
        format!("{:.0} events/s, {}", self.reached, self.age())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUERY: Query = Query { window_s: 60, slide_s: 1 };

    fn pace(asked: u64, events: u64, end_ms: u64) -> Pace {
        let figures = |events, window_end_ms| Figures { events, window_end_ms };
        let (before, after) = (figures(500, 0), figures(500 + events, end_ms));
        Pace::between((&before, &after), (10.0, 1_790_000_000_000), asked)
    }

    #[test]
    fn events_that_are_not_taken_are_a_shortfall_unless_none_were_asked_for() {
        let now = 1_790_000_000_000 - 900;
        assert_eq!(pace(100, 950, now).shortfall(QUERY), None);
        let told = pace(100, 940, now).shortfall(QUERY).unwrap();
        assert_eq!(told, "took 94 of 100 events/s, the newest answers were of 0.9 s ago");
        assert_eq!(pace(0, 940, now).shortfall(QUERY), None);
    }

    #[test]
    fn answers_that_come_ever_later_are_a_shortfall() {
        let now = 1_790_000_000_000;
        assert_eq!(pace(0, 10, now - 4_000).shortfall(QUERY), None);
        let told = pace(0, 10, now - 4_001).shortfall(QUERY).unwrap();
        assert_eq!(told, "the newest answers were of 4.0 s ago, with 1 events/s");
        assert_eq!(pace(0, 10, now - 4_001).shortfall(Query { slide_s: 10, ..QUERY }), None);
        let none = pace(0, 10, 0).shortfall(QUERY).unwrap();
        assert_eq!(none, "no answers came, with 1 events/s");
    }
}
