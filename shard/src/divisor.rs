//! Division by a number that many are divided by: two multiplications instead.
//!
//! Invariant: the quotient is the exact one, rounded down, for every 64-bit dividend.
//!
//! Source: T. Granlund and P. L. Montgomery, "Division by invariant integers using
//! multiplication", PLDI 1994.

use std::num::NonZeroU64;

/// A divisor and its inverse.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Divisor {
    by: NonZeroU64,
    /// 2^64 / by, rounded down to less than 2^64.
    inverse: u64,
}

impl Divisor {
    pub(crate) const fn new(by: NonZeroU64) -> Self {
        Self { by, inverse: u64::MAX / by.get() }
    }

    /// The divisor itself.
    pub(crate) const fn get(self) -> u64 {
        self.by.get()
    }

    /// `dividend / by`, rounded down.
    #[inline]
    pub(crate) const fn divide(self, dividend: u64) -> u64 {
        // The inverse is short of 2^64 / by by at most 1, so this is short by at most 1.
        let quotient = high_half(dividend as u128 * self.inverse as u128);
        let rest = dividend - quotient * self.by.get();
        quotient + (rest >= self.by.get()) as u64
    }
}

#[inline]
const fn high_half(product: u128) -> u64 {
    (product >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn agrees_with_division_at_every_edge() {
        let powers = (0..64).map(|bit| 1_u64 << bit);
        let near = |power: u64| [power - 1, power, power + 1, 3 * (power >> 1)];
        let edges: Vec<u64> = powers.flat_map(near).chain([u64::MAX, u64::MAX - 1]).collect();
        for &by in &edges {
            let Some(divisor) = NonZeroU64::new(by).map(Divisor::new) else { continue };
            for &dividend in &edges {
                for dividend in [dividend, dividend / by * by, (dividend / by * by).wrapping_sub(1)]
                {
                    assert_eq!(divisor.divide(dividend), dividend / by, "{dividend} / {by}");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn agrees_with_division(dividend in any::<u64>(), by in 1_u64.., shift in 0_u32..64) {
            let by = (by >> shift).max(1);
            let divisor = Divisor::new(NonZeroU64::new(by).unwrap());
            prop_assert_eq!(divisor.divide(dividend), dividend / by);
            prop_assert_eq!(divisor.divide(dividend >> shift), (dividend >> shift) / by);
        }
    }
}
