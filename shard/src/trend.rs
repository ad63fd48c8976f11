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

use crate::divisor::Divisor;
use crate::grid::Grid;
use crate::limits::PANES_MAX;
use std::num::NonZeroU64;
use trendsrv_proto::Trend;
use wide::f64x2;

/// Bits after the binary point of a baseline weight `q`.
pub(crate) const WEIGHT_BITS: u32 = 24;
/// Bits after the binary point of an expectation.
pub const EXPECTED_BITS: u32 = 16;
/// A newcomer below this weight scores 0.
pub const NEWCOMER_WEIGHT_MIN: u64 = 5;
/// A score of at least this many thousandths is rising, of at most its negative falling.
pub const TREND_SCORE_MILLI: i64 = 2_000;

/// `q[a] = (15/16)^a` for the baseline pane of age `a` (0 is the newest), rounded.
pub(crate) const WEIGHTS: [u32; PANES_MAX as usize] = weights();

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

/// The score of a topic of which nothing is hidden, as [`score_milli`] has it. `recent` is less
/// than 2^16, the expectation less than 2^38, so words of 64 bits do.
#[inline]
pub(crate) fn score_milli_small(recent: u64, expected: u64) -> i64 {
    let [recent, expected] = roots_small([recent << EXPECTED_BITS, expected]);
    (recent.cast_signed() - expected.cast_signed()) * 2_000 / (1 << ROOT_BITS)
}

/// Score and state of a topic of which nothing is hidden, as [`judge`] has them, from its score
/// against what is expected of it, or of a newcomer if that is nothing.
#[inline]
pub(crate) fn judge_small(recent: u64, expected: u64, score_milli: i64) -> (i64, Trend) {
    let unseen = expected == 0;
    if unseen && recent < NEWCOMER_WEIGHT_MIN {
        return (0, Trend::New);
    }
    // No branch: nobody can foretell which topics rise.
    let (rises, falls) = (score_milli >= TREND_SCORE_MILLI, score_milli <= -TREND_SCORE_MILLI);
    let state = usize::from(unseen) * 3 + usize::from(rises) + usize::from(falls) * 2;
    (score_milli, STATES[state])
}

/// `1000 * 2 (sqrt(recent + 3/8) - sqrt(expected + 3/8))`, rounded toward zero.
pub(crate) fn score_milli(recent: u64, expected: u128) -> i64 {
    let recent = root(u128::from(recent) << EXPECTED_BITS);
    let difference = i128::from(recent) - i128::from(root(expected));
    i64::try_from(difference * 2_000 / (1 << ROOT_BITS)).unwrap_or(i64::MAX)
}

/// What a window's expectations are divided by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Past {
    recent_panes: u32,
    /// Sum of the weights of the baseline; `None` without one.
    weights: Option<Divisor>,
}

impl Past {
    /// Of a window with `baseline_panes` since its oldest event.
    #[inline]
    pub(crate) const fn new(baseline_panes: usize, recent_panes: u32) -> Self {
        Self { recent_panes, weights: WEIGHT_SUMS[baseline_panes] }
    }

    /// Mean of the baseline panes times the panes of the recent span: `sum` is the sum of
    /// `q * weight` over the baseline, in [`WEIGHT_BITS`].
    pub(crate) fn expected(self, sum: u128) -> u128 {
        let Some(weights) = self.weights else { return 0 };
        let scaled = (sum * u128::from(self.recent_panes)) << EXPECTED_BITS;
        match u64::try_from(scaled) {
            Ok(scaled) => weights.divide(scaled).into(),
            Err(_) => scaled / u128::from(weights.get()),
        }
    }

    /// The same for sums below 2^40.
    #[inline]
    pub(crate) fn expected_small(self, sum: u64) -> u64 {
        let Some(weights) = self.weights else { return 0 };
        weights.divide((sum * u64::from(self.recent_panes)) << EXPECTED_BITS)
    }
}

/// What the rates of a window are divided by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rates {
    recent_panes: u32,
    panes: u32,
    slide_ms: u64,
    under: Divisor,
}

impl Rates {
    /// Of windows on `grid`.
    #[inline]
    pub(crate) fn new(grid: &Grid) -> Self {
        let (recent_panes, panes, slide_ms) = (grid.recent_panes(), grid.panes(), grid.slide_ms());
        // No larger than 2^6 * 2^40, and no factor is 0.
        let under = u64::from(recent_panes) * u64::from(panes) * slide_ms;
        let under = Divisor::new(NonZeroU64::new(under).unwrap_or(NonZeroU64::MIN));
        Self { recent_panes, panes, slide_ms, under }
    }

    /// Rate of the recent span less the rate of the window, in thousandths of weight a second,
    /// rounded toward zero.
    pub(crate) fn velocity_milli(&self, recent: u64, total: u64) -> i64 {
        velocity_milli((recent, self.recent_panes), (total, self.panes), self.slide_ms)
    }

    /// The same for weights below 2^16.
    #[inline]
    pub(crate) fn velocity_milli_small(&self, recent: u64, total: u64) -> i64 {
        let faster = (recent * u64::from(self.panes)).cast_signed();
        let over = faster - (total * u64::from(self.recent_panes)).cast_signed();
        let milli = self.under.divide(over.unsigned_abs() * MILLI_PER_S.unsigned_abs());
        milli.cast_signed() * over.signum()
    }
}

fn velocity_milli(
    (recent, recent_panes): (u64, u32),
    (total, panes): (u64, u32),
    slide_ms: u64,
) -> i64 {
    // recent / (recent_panes * slide) - total / (panes * slide), over one denominator.
    let over =
        i128::from(recent) * i128::from(panes) - i128::from(total) * i128::from(recent_panes);
    let under = i128::from(recent_panes) * i128::from(panes) * i128::from(slide_ms);
    let milli_per_s = i128::from(MILLI_PER_S);
    let milli = match (i64::try_from(over * milli_per_s), i64::try_from(under)) {
        (Ok(over), Ok(under)) => i128::from(over / under),
        _ => over * milli_per_s / under,
    };
    i64::try_from(milli).unwrap_or(if over < 0 { i64::MIN } else { i64::MAX })
}

/// Square root of `value + 3/8` with [`ROOT_BITS`] after the binary point, rounded down.
fn root(value: u128) -> u64 {
    let shifted = (value + u128::from(THREE_EIGHTHS)) << ROOT_SHIFT;
    match u64::try_from(shifted) {
        Ok(small) => small.isqrt(),
        Err(_) => u64::try_from(shifted.isqrt()).unwrap_or(u64::MAX),
    }
}

/// Both roots, of values below 2^38.
///
/// The processor's square root of a 64-bit float is correctly rounded on every machine (IEEE 754).
/// With the rounding of its operand it is off by less than 2^-20, so the nearest whole number is
/// the root rounded down or the one above.
#[inline]
fn roots_small(values: [u64; 2]) -> [u64; 2] {
    let shifted = values.map(|value| (value + THREE_EIGHTHS) << ROOT_SHIFT);
    let near = f64x2::new(shifted.map(|value| value.cast_signed() as f64)).sqrt();
    // The sum has no bits left after the binary point, and those before it stand lowest.
    let near = (near + f64x2::splat(POINTLESS)).to_array();
    std::array::from_fn(|which| {
        let root = near[which].to_bits() - POINTLESS.to_bits();
        root - u64::from(root * root > shifted[which])
    })
}

const fn weights() -> [u32; PANES_MAX as usize] {
    let mut table = [0; PANES_MAX as usize];
    let mut exact: u128 = 1 << 100;
    let mut age = 0;
    while age < table.len() {
        table[age] = low_bits(((exact >> (99 - WEIGHT_BITS)) + 1) >> 1);
        exact = exact / 16 * 15;
        age += 1;
    }
    table
}

#[expect(clippy::cast_possible_truncation, reason = "a weight has 25 bits")]
const fn low_bits(weight: u128) -> u32 {
    weight as u32
}

/// Sums of the first `n` weights.
const WEIGHT_SUMS: [Option<Divisor>; PANES_MAX as usize + 1] = {
    let mut sums = [None; PANES_MAX as usize + 1];
    let (mut age, mut sum) = (0, 0);
    while age < WEIGHTS.len() {
        sum += WEIGHTS[age] as u64;
        age += 1;
        if let Some(sum) = NonZeroU64::new(sum) {
            sums[age] = Some(Divisor::new(sum));
        }
    }
    sums
};

/// By what a score says, with and without a past.
const STATES: [Trend; 6] =
    [Trend::Steady, Trend::Rising, Trend::Falling, Trend::New, Trend::New, Trend::New];
/// From here on a 64-bit float has no bits after the binary point.
const POINTLESS: f64 = (1_u64 << 52) as f64;
/// Bits after the binary point of a square root.
const ROOT_BITS: u32 = 20;
/// From [`EXPECTED_BITS`] to twice [`ROOT_BITS`].
const ROOT_SHIFT: u32 = 2 * ROOT_BITS - EXPECTED_BITS;
const THREE_EIGHTHS: u64 = 3 << (EXPECTED_BITS - 3);
/// Weight a millisecond to thousandths of weight a second.
const MILLI_PER_S: i64 = 1_000_000;

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
            assert!((f64::from(weight) - exact).abs() <= 0.51, "age {age}: {weight} for {exact}");
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
    fn roots_of_small_values_are_exact() {
        let check = |value: u64| {
            let wanted = root(value.into());
            assert_eq!(roots_small([value, value ^ 1]), [wanted, root((value ^ 1).into())]);
        };
        // Around squares the rounding of a float decides, so that is where it would show.
        for bit in 0..38 {
            let near = |value: u64| value.saturating_sub(2)..(value + 3).min(1 << 38);
            near(1 << bit).chain(near(3 << bit >> 1)).for_each(check);
            let whole = (1_u64 << bit).isqrt();
            near(whole * whole).chain(near((whole + 1).pow(2))).for_each(check);
        }
        let mut value = 1_u64;
        for _ in 0..1_000_000 {
            value = value.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let (bits, value) = (value & 31, value >> 26);
            check(value >> bits);
        }
    }

    #[test]
    fn small_windows_are_judged_alike() {
        let expectations = [0, 1, 2, 65_535, 1 << 16, 5 << 16, 77 << 15, 1 << 30, (1 << 38) - 1];
        for recent in (0..70).chain([255, 4_095, 4_096, 32_767, 65_535]) {
            for expected in expectations {
                for newcomer in expectations {
                    let wanted = judge(&Evidence {
                        recent: (recent, recent),
                        expected: (expected.into(), expected.into()),
                        newcomer: newcomer.into(),
                        hidden: false,
                    });
                    let against = if expected == 0 { newcomer } else { expected };
                    let score_milli = score_milli_small(recent, against);
                    assert_eq!(judge_small(recent, expected, score_milli), wanted);
                }
            }
        }
    }

    #[test]
    fn small_velocities_and_expectations_are_exact() {
        for (window, slide) in [(60_000, 1_000), (6_400, 100), (172_800_000, 86_400_000)] {
            let grid = Grid::new(window, slide).unwrap();
            let rates = Rates::new(&grid);
            for recent in [0, 1, 2, 99, 32_767, 65_535] {
                for total in [0, 1, 3, 100, 32_767, 65_535] {
                    let small = rates.velocity_milli_small(recent, total);
                    assert_eq!(small, rates.velocity_milli(recent, total));
                }
            }
        }
        for baseline_panes in 0..=PANES_MAX as usize {
            let past = Past::new(baseline_panes, PANES_MAX - 1);
            let weights: u128 = WEIGHTS[..baseline_panes].iter().map(|&q| u128::from(q)).sum();
            for sum in [0, 1, 1 << 24, (1 << 40) - 1, 123_456_789_012] {
                let scaled = (u128::from(sum) * u128::from(PANES_MAX - 1)) << EXPECTED_BITS;
                let wanted = scaled.checked_div(weights).unwrap_or(0);
                assert_eq!(u128::from(past.expected_small(sum)), wanted);
                assert_eq!(past.expected(sum.into()), wanted);
                let large = u128::from(sum) << 40;
                let wanted = (scaled << 40).checked_div(weights).unwrap_or(0);
                assert_eq!(past.expected(large), wanted);
            }
        }
    }

    #[test]
    fn velocity_is_recent_rate_less_window_rate() {
        assert_eq!(velocity_milli((100, 10), (120, 60), 1_000), 8_000);
        assert_eq!(velocity_milli((0, 10), (1, 60), 1_000), -16);
        assert_eq!(velocity_milli((0, 1), (u64::MAX, 2), 100), i64::MIN);
        assert_eq!(velocity_milli((u64::MAX, 1), (u64::MAX, 2), 100), i64::MAX);
    }
}
