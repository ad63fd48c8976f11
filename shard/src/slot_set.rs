//! A set of slots, one bit each.
//!
//! Owns the bits, and how far a walk over them has come. Never touches what a slot stands for.
//!
//! ```text
//! word   0 … from-1 | from …        a walk takes the lowest bit at or behind `from`, and goes
//!        ^ walked     ^ to be       round: whoever joins behind it is met in the same round, all
//!          already      walked      others once it has come round
//! ```
//!
//! Invariant: a slot is in it or not; adding one is one OR, and nothing here allocates.

use crate::tenants::Slot;

/// See the module header.
#[derive(Debug, Default)]
pub(crate) struct SlotSet {
    words: Vec<u64>,
    from: usize,
}

impl SlotSet {
    /// An empty set of slots below `slots_max`.
    pub(crate) fn new(slots_max: usize) -> Self {
        Self { words: vec![0; slots_max.div_ceil(64)], from: 0 }
    }

    /// Adds a slot.
    #[inline]
    pub(crate) fn insert(&mut self, slot: Slot) {
        self.words[slot.0 as usize / 64] |= 1 << (slot.0 % 64);
    }

    /// Takes all slots of another set of the same size, which is empty afterwards.
    pub(crate) fn absorb(&mut self, other: &mut Self) {
        for (mine, theirs) in self.words.iter_mut().zip(&mut other.words) {
            *mine |= std::mem::take(theirs);
        }
    }

    /// Takes slots in order and appends those that are wanted to `out`, until `out` holds
    /// `count_max` or `looked_max` were looked at. Returns whether slots are left.
    pub(crate) fn take(
        &mut self,
        wanted: impl Fn(Slot) -> bool,
        (count_max, looked_max): (usize, usize),
        out: &mut Vec<Slot>,
    ) -> bool {
        let mut looked = 0;
        for _ in 0..self.words.len() {
            let word = &mut self.words[self.from];
            while *word != 0 {
                if out.len() >= count_max || looked >= looked_max {
                    return true;
                }
                let bit = word.trailing_zeros();
                *word &= *word - 1;
                looked += 1;
                let slot = Slot(u32::try_from(self.from).unwrap_or(u32::MAX) * 64 + bit);
                if wanted(slot) {
                    out.push(slot);
                }
            }
            self.from = if self.from + 1 < self.words.len() { self.from + 1 } else { 0 };
        }
        self.from = 0;
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(slots: &[u32]) -> SlotSet {
        let mut set = SlotSet::new(200);
        slots.iter().for_each(|slot| set.insert(Slot(*slot)));
        set
    }

    fn take(set: &mut SlotSet, count_max: usize, looked_max: usize) -> (Vec<u32>, bool) {
        let mut out = Vec::new();
        let left = set.take(|slot| slot.0 != 64, (count_max, looked_max), &mut out);
        (out.into_iter().map(|slot| slot.0).collect(), left)
    }

    #[test]
    fn slots_come_in_order_each_once_and_a_walk_goes_on_where_it_stopped() {
        let mut set = set(&[199, 3, 64, 3, 130, 63]);
        assert_eq!(take(&mut set, 2, 99), (vec![3, 63], true));
        set.insert(Slot(1));
        set.insert(Slot(150));
        assert_eq!(take(&mut set, 3, 99), (vec![130, 150, 199], true), "64 is not wanted");
        assert_eq!(take(&mut set, 9, 99), (vec![1], false));
        assert_eq!(take(&mut set, 9, 99), (vec![], false));
    }

    #[test]
    fn a_walk_over_slots_nobody_wants_is_bounded() {
        let mut set = set(&[64, 65, 66]);
        assert_eq!(take(&mut set, 9, 1), (vec![], true));
        assert_eq!(take(&mut set, 9, 1), (vec![65], true));
        let mut other = self::set(&[2]);
        set.absorb(&mut other);
        assert_eq!(take(&mut other, 9, 9), (vec![], false));
        assert_eq!(take(&mut set, 9, 9), (vec![66, 2], false));
    }
}
