//! Waits with equal jitter: half of the wait is fixed, half is random, so that many clients that
//! were refused together do not come back together.

use crate::limits::{BACKOFF_MS_MAX, BACKOFF_MS_MIN};
use trendsrv_proto::fmix64;

/// A seeded source of waits.
#[derive(Clone, Debug)]
pub(crate) struct Jitter {
    state: u64,
}

impl Jitter {
    pub(crate) const fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// A number below `end` (SplitMix64's step, MurmurHash3's finaliser).
    fn below(&mut self, end: u64) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        fmix64(self.state) % end.max(1)
    }

    /// The wait before attempt number `attempt` (from 0), never shorter than `at_least_ms` as
    /// far as the cap allows.
    pub(crate) fn wait_ms(&mut self, attempt: u32, at_least_ms: u64) -> u64 {
        let doubled = BACKOFF_MS_MIN.saturating_mul(1 << attempt.min(20));
        let full = doubled.max(at_least_ms).min(BACKOFF_MS_MAX);
        let wait = full / 2 + self.below(full / 2 + 1);
        wait.max(at_least_ms.min(BACKOFF_MS_MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_stay_under_the_cap_and_differ_by_seed() {
        let mut one = Jitter::new(1);
        for attempt in 0..40 {
            let full = (BACKOFF_MS_MIN << attempt.min(20)).min(BACKOFF_MS_MAX);
            let wait = one.wait_ms(attempt, 0);
            assert!((full / 2..=full).contains(&wait), "attempt {attempt}: {wait} of {full}");
        }
        let waits = |seed| {
            let mut jitter = Jitter::new(seed);
            (0..8).map(|n| jitter.wait_ms(n, 0)).collect::<Vec<_>>()
        };
        assert_eq!(waits(7), waits(7));
        assert_ne!(waits(7), waits(8));
    }

    #[test]
    fn the_servers_wish_is_a_floor() {
        let mut jitter = Jitter::new(3);
        for _ in 0..100 {
            assert!((800..=1_000).contains(&jitter.wait_ms(0, 800).min(1_000)));
            assert_eq!(jitter.wait_ms(0, 10 * BACKOFF_MS_MAX), BACKOFF_MS_MAX);
        }
    }
}
