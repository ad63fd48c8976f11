//! Trend score: how far a topic's recent weight stands from what its past let one expect.
//!
//! Owns: the arithmetic from weights to a score and a state. Never touches: a ring, a clock,
//! floating point (shards, replays and nodes must agree bit for bit).
//!
//! ```text
//! panes   | older …                baseline … | recent span (10 s) |
//! weight    q[n] …  q[2]  q[1]  q[0] = 1         c = plain sum           q[a] = (15/16)^a
//! ```
//!
//! - `l`, the expectation: the weighted mean of the baseline panes (an exponentially weighted
//!   moving average, normalised over the panes since the tenant's oldest), times the panes of the
//!   recent span;
//! - score: `2 (sqrt(c + 3/8) - sqrt(l + 3/8))`. The square root of a Poisson count has a standard
//!   deviation near 1/2 whatever its mean, so the score reads like a z value;
//! - a topic without baseline is a newcomer: it is compared with the tenant's expectation shared
//!   among all its topics and one more, and scores 0 below a weight of 5.
//!
//! Source: F. J. Anscombe, "The transformation of Poisson, binomial and negative-binomial data",
//! Biometrika 35 (1948). The average: S. W. Roberts, "Control chart tests based on geometric
//! moving averages", Technometrics 1 (1959).
//!
//! Invariant: where weight was lost, a rise is judged by the least the topic can have now and the
//! most it can have had, a fall the other way round, so that a loss cannot invent a trend.

use crate::limits::PANES_MAX;
use trendsrv_proto::Trend;

/// Bits after the binary point of a baseline weight `q`.
pub(crate) const WEIGHT_BITS: u32 = 24;
/// Bits after the binary point of an expectation.
pub const EXPECTED_BITS: u32 = 16;
/// A newcomer below this weight scores 0.
pub const NEWCOMER_WEIGHT_MIN: u64 = 5;
/// A score of at least this many thousandths is rising, of at most its negative falling.
pub const TREND_SCORE_MILLI: i64 = 2_000;

/// `q[a] = (15/16)^a` for the baseline pane of age `a` (0 is the newest), rounded.
pub(crate) const WEIGHTS: [u64; PANES_MAX as usize] = weights();

/// What is known of one topic. Expectations have [`EXPECTED_BITS`] after the binary point.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Evidence {
    /// Weight of the recent span: at least, at most.
    pub(crate) recent: (u64, u64),
    /// Expectation for the same span: at least, at most.
    pub(crate) expected: (u128, u128),
    /// Expectation of a newcomer to this tenant.
    pub(crate) newcomer: u128,
    /// Whether weight of this topic may have been lost.
    pub(crate) hidden: bool,
}

/// Score in thousandths, and state.
pub(crate) fn judge(evidence: &Evidence) -> (i64, Trend) {
    let Evidence { recent, mut expected, newcomer, hidden } = *evidence;
    let unseen = expected.0 == 0;
    if unseen {
        if recent.1 < NEWCOMER_WEIGHT_MIN {
            return (0, if hidden { Trend::Steady } else { Trend::New });
        }
        expected.1 = expected.1.max(newcomer);
        if !hidden {
            expected.0 = newcomer;
        }
    }
    let least = if unseen && recent.0 < NEWCOMER_WEIGHT_MIN {
        0
    } else {
        score_milli(recent.0, expected.1)
    };
    let most = if hidden { score_milli(recent.1, expected.0) } else { least };
    let score = if least > 0 { least } else { most.min(0) };
    let trend = if unseen && !hidden {
        Trend::New
    } else if score >= TREND_SCORE_MILLI {
        Trend::Rising
    } else if score <= -TREND_SCORE_MILLI {
        Trend::Falling
    } else {
        Trend::Steady
    };
    (score, trend)
}

/// `1000 * 2 (sqrt(recent + 3/8) - sqrt(expected + 3/8))`, rounded toward zero.
pub(crate) fn score_milli(recent: u64, expected: u128) -> i64 {
    let recent = root(u128::from(recent) << EXPECTED_BITS);
    let difference = i128::from(recent) - i128::from(root(expected));
    i64::try_from(difference * 2_000 / (1 << ROOT_BITS)).unwrap_or(i64::MAX)
}

/// Mean of the baseline panes times the panes of the recent span: `sum` is the sum of `q * weight`
/// over `baseline_panes`, in [`WEIGHT_BITS`].
pub(crate) fn expected(sum: u128, baseline_panes: usize, recent_panes: u32) -> u128 {
    let scaled = (sum * u128::from(recent_panes)) << EXPECTED_BITS;
    let weights = WEIGHT_SUMS[baseline_panes];
    match u64::try_from(scaled) {
        _ if weights == 0 => 0,
        Ok(scaled) => u128::from(scaled / weights),
        Err(_) => scaled / u128::from(weights),
    }
}

/// Rate of the recent span less the rate of the window, in thousandths of weight a second, rounded
/// toward zero.
pub(crate) fn velocity_milli(
    (recent, recent_panes): (u64, u32),
    (total, panes): (u64, u32),
    slide_ms: u64,
) -> i64 {
    // recent / (recent_panes * slide) - total / (panes * slide), over one denominator.
    let over =
        i128::from(recent) * i128::from(panes) - i128::from(total) * i128::from(recent_panes);
    let under = i128::from(recent_panes) * i128::from(panes) * i128::from(slide_ms);
    let milli = match (i64::try_from(over * MILLI_PER_S), i64::try_from(under)) {
        (Ok(over), Ok(under)) => i128::from(over / under),
        _ => over * MILLI_PER_S / under,
    };
    i64::try_from(milli).unwrap_or(if over < 0 { i64::MIN } else { i64::MAX })
}

/// Square root of `value + 3/8` with [`ROOT_BITS`] after the binary point, rounded down.
fn root(value: u128) -> u64 {
    let shifted = (value + THREE_EIGHTHS) << (2 * ROOT_BITS - EXPECTED_BITS);
    match u64::try_from(shifted) {
        Ok(small) => small.isqrt(),
        Err(_) => u64::try_from(shifted.isqrt()).unwrap_or(u64::MAX),
    }
}

const fn weights() -> [u64; PANES_MAX as usize] {
    let mut table = [0; PANES_MAX as usize];
    let mut exact: u128 = 1 << 100;
    let mut age = 0;
    while age < table.len() {
        table[age] = low_half(((exact >> (99 - WEIGHT_BITS)) + 1) >> 1);
        exact = exact / 16 * 15;
        age += 1;
    }
    table
}

#[expect(clippy::cast_possible_truncation, reason = "a weight has 25 bits")]
const fn low_half(weight: u128) -> u64 {
    weight as u64
}

/// Sums of the first `n` weights.
const WEIGHT_SUMS: [u64; PANES_MAX as usize + 1] = {
    let mut sums = [0; PANES_MAX as usize + 1];
    let mut age = 0;
    while age < WEIGHTS.len() {
        sums[age + 1] = sums[age] + WEIGHTS[age];
        age += 1;
    }
    sums
};

/// Bits after the binary point of a square root.
const ROOT_BITS: u32 = 20;
const THREE_EIGHTHS: u128 = 3 << (EXPECTED_BITS - 3);
/// Weight a millisecond to thousandths of weight a second.
const MILLI_PER_S: i128 = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn evidence(recent: u64, expected: u64) -> Evidence {
        let expected = u128::from(expected) << EXPECTED_BITS;
        Evidence {
            recent: (recent, recent),
            expected: (expected, expected),
            newcomer: 4 << EXPECTED_BITS,
            hidden: false,
        }
    }

    #[test]
    fn weights_are_powers_of_fifteen_sixteenths() {
        for (age, &weight) in WEIGHTS.iter().enumerate() {
            let exact = (15.0_f64 / 16.0).powi(i32::try_from(age).unwrap()) * 16_777_216.0;
            assert!((weight as f64 - exact).abs() <= 0.51, "age {age}: {weight} for {exact}");
        }
    }

    #[test]
    fn scores_agree_with_floating_point() {
        let z = |c: f64, l: f64| 2.0 * ((c + 0.375).sqrt() - (l + 0.375).sqrt());
        for c in [0, 1, 4, 5, 99, 65_535, 1 << 24, 1 << 32, u64::MAX] {
            for l in [0, 1, 7, 1_000, 1 << 20, 1 << 40, u64::MAX] {
                let score = score_milli(c, u128::from(l) << EXPECTED_BITS) as f64 / 1_000.0;
                let wanted = z(c as f64, l as f64);
                assert!((score - wanted).abs() < 0.01, "{c} against {l}: {score} for {wanted}");
            }
        }
    }

    #[test]
    fn every_state_has_its_evidence() {
        let table = [
            (evidence(100, 10), Trend::Rising),
            (evidence(10, 100), Trend::Falling),
            (evidence(10, 10), Trend::Steady),
            (evidence(3, 0), Trend::New),
            (evidence(500, 0), Trend::New),
            (Evidence { hidden: true, ..evidence(3, 0) }, Trend::Steady),
            (Evidence { hidden: true, ..evidence(500, 0) }, Trend::Rising),
        ];
        for (evidence, wanted) in table {
            assert_eq!(judge(&evidence).1, wanted, "{evidence:?}");
        }
        assert_eq!(judge(&evidence(4, 0)).0, 0, "a newcomer below 5 scores nothing");
        assert!(judge(&evidence(5, 0)).0 > 0);
    }

    #[test]
    fn a_loss_invents_no_trend() {
        let unsure = Evidence {
            recent: (50, 150),
            expected: (60 << EXPECTED_BITS, 140 << EXPECTED_BITS),
            newcomer: 0,
            hidden: true,
        };
        assert_eq!(judge(&unsure), (0, Trend::Steady));
        let risen = Evidence { recent: (300, 400), ..unsure };
        assert_eq!(judge(&risen).1, Trend::Rising);
        assert_eq!(judge(&risen).0, score_milli(300, 140 << EXPECTED_BITS));
        let fallen = Evidence { recent: (0, 9), ..unsure };
        assert_eq!(judge(&fallen).0, score_milli(9, 60 << EXPECTED_BITS));
        assert_eq!(judge(&fallen).1, Trend::Falling);
    }

    #[test]
    fn velocity_is_recent_rate_less_window_rate() {
        assert_eq!(velocity_milli((100, 10), (120, 60), 1_000), 8_000);
        assert_eq!(velocity_milli((0, 10), (1, 60), 1_000), -16);
        assert_eq!(velocity_milli((0, 1), (u64::MAX, 2), 100), i64::MIN);
        assert_eq!(velocity_milli((u64::MAX, 1), (u64::MAX, 2), 100), i64::MAX);
    }
}
