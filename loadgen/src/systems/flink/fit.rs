//! The largest part of a scenario that Flink keeps up with.
//!
//! ```text
//! tenants  all, a tenth, a hundredth, ... not below 1,000
//! rate     the scenario's; if that does not hold, 20,000 a second and then twice as many while
//!          it holds
//! ```

use super::pace::Pace;
use super::session::Session;
use crate::systems::{Attempt, Fit};
use anyhow::bail;
use std::time::{Duration, Instant};

/// Fewer tenants are not tried.
const TENANTS_MIN: u32 = 1_000;
/// Events a second that are tried when the scenario's do not hold.
const RATE_FIRST: u64 = 20_000;
/// No paced rate beyond this is tried.
const RATE_MAX: u64 = 2_000_000;
/// How long an attempt is watched when its windows are full.
const FULL_S: u64 = 15;
/// An attempt whose answers come so late is given up.
const GIVE_UP_MS: u64 = 20_000;

/// Goes down until an attempt holds.
///
/// # Errors
/// When not even the smallest one does: with all that was tried.
pub(super) fn search(
    tenants: u32,
    rate: u64,
    mut attempt: impl FnMut(u32, u64) -> Attempt,
) -> anyhow::Result<Fit> {
    let mut attempts = Vec::new();
    let mut holds = |tenants, rate, attempts: &mut Vec<Attempt>| {
        attempts.push(attempt(tenants, rate));
        attempts.last().is_some_and(|attempt| attempt.held)
    };
    for tenants in ladder(tenants) {
        if holds(tenants, rate, &mut attempts) {
            return Ok(Fit { tenants, rate, attempts });
        }
        let rate_max = if rate == 0 { RATE_MAX } else { rate };
        if RATE_FIRST >= rate_max || !holds(tenants, RATE_FIRST, &mut attempts) {
            continue;
        }
        let mut held = RATE_FIRST;
        while held * 2 < rate_max && holds(tenants, held * 2, &mut attempts) {
            held *= 2;
        }
        return Ok(Fit { tenants, rate: held, attempts });
    }
    let told: Vec<_> = attempts
        .iter()
        .map(|a| format!("{} tenants at {} events/s: {}", a.tenants, a.rate, a.why))
        .collect();
    bail!("Flink keeps up with no size that was tried: {}", told.join("; "))
}

fn ladder(tenants: u32) -> impl Iterator<Item = u32> {
    let next = |tenants: &u32| (*tenants / 10 >= TENANTS_MIN).then_some(*tenants / 10);
    std::iter::successors(Some(tenants), next)
}

/// Watches a job until its windows are full and a while longer, or until it is beyond help.
pub(super) fn attempt(session: anyhow::Result<Session>, (tenants, rate): (u32, u64)) -> Attempt {
    let began = Instant::now();
    let (held, what) = match session.and_then(|mut session| watch(&mut session)) {
        Ok(outcome) => outcome,
        // A job that dies of its load is a result.
        Err(error) => (false, format!("{error:#}")),
    };
    let why = format!("{what}, after {:.0} s", began.elapsed().as_secs_f64());
    Attempt { tenants, rate, held, why }
}

fn watch(session: &mut Session) -> anyhow::Result<(bool, String)> {
    let query = session.query();
    let (begun, mut last) = (Instant::now(), session.look()?);
    let full = Duration::from_secs(u64::from(query.window_s));
    let mut at_full = None;
    while begun.elapsed() < full + Duration::from_secs(FULL_S) {
        std::thread::sleep(Duration::from_secs(1));
        let now = session.look()?;
        let pace = session.pace(&last, &now);
        let late_ms = match now.figures.window_end_ms {
            0 => u64::try_from(begun.elapsed().as_millis())?,
            _ => pace.behind_ms,
        };
        if late_ms > GIVE_UP_MS + 2 * query.slide_ms() {
            return Ok((false, pace.shortfall(query).unwrap_or_else(|| pace.told())));
        }
        if at_full.is_none() && begun.elapsed() >= full {
            at_full = Some(now.clone());
        }
        last = now;
    }
    let pace: Pace = session.pace(at_full.as_ref().unwrap_or(&last), &last);
    let shortfall = pace.shortfall(query);
    Ok((shortfall.is_none(), shortfall.unwrap_or_else(|| pace.told())))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is tried when that holds which `holds` says.
    fn tried(
        tenants: u32,
        rate: u64,
        holds: impl Fn(u32, u64) -> bool,
    ) -> (Vec<(u32, u64)>, anyhow::Result<Fit>) {
        let mut tried = Vec::new();
        let fit = search(tenants, rate, |tenants, rate| {
            tried.push((tenants, rate));
            Attempt { tenants, rate, held: holds(tenants, rate), why: "because".to_owned() }
        });
        (tried, fit)
    }

    #[test]
    fn all_of_it_when_it_holds() {
        let (tried, fit) = tried(100_000, 0, |_, _| true);
        assert_eq!(tried, [(100_000, 0)]);
        let fit = fit.unwrap();
        assert_eq!((fit.tenants, fit.rate, fit.attempts.len()), (100_000, 0, 1));
    }

    #[test]
    fn fewer_tenants_and_the_highest_rate_that_holds_with_them() {
        let (tried, fit) =
            tried(100_000, 0, |tenants, rate| tenants == 10_000 && (1..=80_000).contains(&rate));
        let want = [
            (100_000, 0),
            (100_000, 20_000),
            (10_000, 0),
            (10_000, 20_000),
            (10_000, 40_000),
            (10_000, 80_000),
            (10_000, 160_000),
        ];
        assert_eq!(tried, want);
        let fit = fit.unwrap();
        assert_eq!((fit.tenants, fit.rate, fit.attempts.len()), (10_000, 80_000, 7));
    }

    #[test]
    fn a_rate_is_never_above_the_scenario_s() {
        let (low, fit) = tried(5_000, 10_000, |_, _| false);
        assert_eq!(low, [(5_000, 10_000)]);
        let error = fit.unwrap_err().to_string();
        assert!(error.contains("5000 tenants at 10000 events/s: because"), "{error}");
        let (high, fit) = tried(5_000, 50_000, |_, rate| rate < 50_000);
        assert_eq!(high, [(5_000, 50_000), (5_000, 20_000), (5_000, 40_000)]);
        assert_eq!(fit.unwrap().rate, 40_000);
    }

    #[test]
    fn few_tenants_are_not_divided() {
        assert_eq!(ladder(100_000).collect::<Vec<_>>(), [100_000, 10_000, 1_000]);
        assert_eq!(ladder(9_999).collect::<Vec<_>>(), [9_999]);
        assert_eq!(ladder(20).collect::<Vec<_>>(), [20]);
    }
}
