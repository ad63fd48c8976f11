//! Sums of a small window's rows, eight lanes to an instruction.
//!
//! Owns: the arithmetic that holds for windows of at most [`TOTAL_MAX`] events and weight, with
//! 16-bit cells. Almost all are: a shard's events are spread over its tenants. Never touches: larger ones.
//!
//! ```text
//! row 2i      | a0 | a1 | a2 | a3 | …          even   | a0 b0 | a2 b2 | …
//! row 2i + 1  | b0 | b1 | b2 | b3 | …          odd    | a1 b1 | a3 b3 | …
//!                                              weights| qa qb | qa qb | …
//! ```
//!
//! One instruction multiplies eight signed 16-bit numbers by eight and adds neighbours (`pmaddwd`
//! of SSE2, which every x86-64 has): `a0 qa + b0 qb` in 32 bits. A weight is cut into two parts
//! that fit.
//!
//! Invariant: no sum overflows. A lane's sum is at most the window's total, less than 2^15; times
//! a part of a weight it is less than 2^28.

use super::lanes::Sum;
use super::layout::Layout;
use super::plan::{LOW_BITS, Plan, Run};
use bytemuck::cast;
use wide::{i16x8, i32x4, u16x8, u32x4};

/// Weight, and events, of the largest small window.
pub(super) const TOTAL_MAX: u64 = i16::MAX as u64;

/// Eight lanes of the weighted sums: lanes 0, 2, 4, 6 and 1, 3, 5, 7; both by parts of the weight.
#[derive(Clone, Copy)]
struct Weighted {
    even: [i32x4; 2],
    odd: [i32x4; 2],
}

/// Rows of so many words each.
#[derive(Clone, Copy)]
struct Rows<'a> {
    words: &'a [u64],
    stride: usize,
}

/// Sums the first `words` words of all rows into `sums`, four lanes a word.
#[inline]
pub(super) fn sum(sums: &mut [Sum], rows: &[u64], layout: &Layout, plan: &Plan, words: usize) {
    let rows = Rows { words: rows, stride: layout.row_words };
    for at in (0..words).step_by(2) {
        // The last two words may sum one again that was summed before.
        let at = at.min(rows.stride - 2);
        rows.sum(plan, at, &mut sums[at * 4..at * 4 + 8]);
    }
}

impl Rows<'_> {
    /// Sums two words of each row, from word `at` on.
    #[inline]
    fn sum(&self, plan: &Plan, at: usize, sums: &mut [Sum]) {
        let mut total = u16x8::ZERO;
        let mut weighted = Weighted { even: [i32x4::ZERO; 2], odd: [i32x4::ZERO; 2] };
        let mut pairs = self.words.chunks_exact(2 * self.stride);
        for (pair, weights) in pairs.by_ref().zip(&plan.pairs) {
            let (first, second) = (load(pair, at), load(pair, self.stride + at));
            total += cast::<_, u16x8>(first) + cast::<_, u16x8>(second);
            weighted.add(first, second, weights);
        }
        let last = pairs.remainder();
        if !last.is_empty() {
            let last = load(last, at);
            total += cast::<_, u16x8>(last);
            weighted.add(last, u32x4::ZERO, &plan.pairs[self.words.len() / self.stride / 2]);
        }
        let recent = self.plain(plan.recent, at);
        let total = (total - self.plain(plan.expired, at)).to_array();
        let lanes = total.into_iter().zip(recent.to_array()).zip(weighted.to_array());
        for (sum, ((total, recent), weighted)) in sums.iter_mut().zip(lanes) {
            *sum = Sum { total: total.into(), recent: recent.into(), weighted };
        }
    }

    /// Sums two words of some rows.
    #[inline]
    fn plain(&self, runs: [Run; 2], at: usize) -> u16x8 {
        let mut sum = u16x8::ZERO;
        for Run { row, count } in runs {
            let rows = &self.words[row * self.stride..][..count * self.stride];
            for row in rows.chunks_exact(self.stride) {
                sum += cast::<_, u16x8>(load(row, at));
            }
        }
        sum
    }
}

#[inline]
fn load(words: &[u64], at: usize) -> u32x4 {
    cast([words[at], words[at + 1]])
}

impl Weighted {
    #[inline]
    fn add(&mut self, a: u32x4, b: u32x4, weights: &[i16x8; 2]) {
        let even: i16x8 = cast((a & LOW_HALVES) | (b << 16));
        let odd: i16x8 = cast((a >> 16) | (b & HIGH_HALVES));
        for (part, &weights) in weights.iter().enumerate() {
            self.even[part] += even.dot(weights);
            self.odd[part] += odd.dot(weights);
        }
    }

    #[inline]
    fn to_array(self) -> [u64; 8] {
        let part = |part: [i32x4; 2]| part.map(|part| part.to_array().map(i32::cast_unsigned));
        let ([even_low, even_high], [odd_low, odd_high]) = (part(self.even), part(self.odd));
        let join = |low: u32, high: u32| u64::from(low) + (u64::from(high) << LOW_BITS);
        std::array::from_fn(|lane| {
            let half = lane / 2;
            if lane % 2 == 0 {
                join(even_low[half], even_high[half])
            } else {
                join(odd_low[half], odd_high[half])
            }
        })
    }
}

const LOW_HALVES: u32x4 = u32x4::new([0xffff; 4]);
const HIGH_HALVES: u32x4 = u32x4::new([0xffff_0000; 4]);
