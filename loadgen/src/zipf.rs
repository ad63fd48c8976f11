//! Ranks drawn by Zipf's law in constant time.
//!
//! Owns: an alias table (Walker 1977, built as Vose 1991): two numbers drawn give one rank.

use rand::Rng;

/// Ranks `0..n`, rank `r` with probability proportional to `1 / (r + 1)^exponent`.
#[derive(Debug)]
pub(crate) struct Zipf {
    /// Chance of keeping the column drawn, and where to go otherwise.
    columns: Vec<(f64, u32)>,
}

impl Zipf {
    /// The table; `exponent` 0 is uniform.
    pub(crate) fn new(n: u32, exponent: f64) -> Self {
        let weights: Vec<f64> = (0..n).map(|r| f64::from(r + 1).powf(-exponent)).collect();
        let sum: f64 = weights.iter().sum();
        let mut scaled: Vec<f64> = weights.iter().map(|w| w * f64::from(n) / sum).collect();
        let mut columns: Vec<(f64, u32)> = (0..n).map(|r| (1.0, r)).collect();
        let (mut small, mut large): (Vec<u32>, Vec<u32>) =
            (0..n).partition(|&r| scaled[r as usize] < 1.0);
        while let (Some(&s), Some(&l)) = (small.last(), large.last()) {
            small.pop();
            columns[s as usize] = (scaled[s as usize], l);
            scaled[l as usize] -= 1.0 - scaled[s as usize];
            if scaled[l as usize] < 1.0 {
                large.pop();
                small.push(l);
            }
        }
        // What is left is 1 up to rounding, and keeps its own column.
        Self { columns }
    }

    /// Draws a rank.
    pub(crate) fn draw(&self, random: &mut impl Rng) -> u32 {
        let column = random.random_range(0..self.columns.len());
        let (keep, other) = self.columns[column];
        if random.random::<f64>() < keep {
            u32::try_from(column).unwrap_or(u32::MAX)
        } else {
            other
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng as _;
    use rand::rngs::SmallRng;

    fn shares(zipf: &Zipf, n: usize, draws: u32) -> Vec<f64> {
        let mut random = SmallRng::seed_from_u64(5);
        let mut hits = vec![0_u32; n];
        for _ in 0..draws {
            hits[zipf.draw(&mut random) as usize] += 1;
        }
        hits.iter().map(|&h| f64::from(h) / f64::from(draws)).collect()
    }

    #[test]
    fn shares_follow_the_law() {
        let shares = shares(&Zipf::new(12, 1.0), 12, 1_000_000);
        let harmonic: f64 = (1..=12).map(|r| 1.0 / f64::from(r)).sum();
        for (share, rank) in shares.iter().zip(1..) {
            let want = 1.0 / f64::from(rank) / harmonic;
            assert!((share - want).abs() < 0.003, "rank {rank}: {share} instead of {want}");
        }
    }

    #[test]
    fn exponent_zero_is_uniform_and_one_rank_works() {
        let uniform = shares(&Zipf::new(50, 0.0), 50, 500_000);
        assert!(uniform.iter().all(|s| (s - 0.02).abs() < 0.002), "{uniform:?}");
        assert_eq!(shares(&Zipf::new(1, 1.0), 1, 10), [1.0]);
    }
}
