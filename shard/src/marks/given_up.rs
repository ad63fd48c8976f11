//! Which lanes may have been given up to make room: a filter after Bloom (1970), which forgets
//! none and takes a few others for one of them.
//!
//! Owns two bits a lane out of [`BITS`]. Never touches marks.
//!
//! Its hash has no secret, so that another process can go on with it from a snapshot. Who aims at a
//! lane can make it look given up, once some thousand lanes of theirs have been: its producer then
//! begins a new epoch, and nothing is counted twice or lost.

use super::Lane;
use trendsrv_proto::fmix64;

/// The filter; without memory of its own until the first lane is given up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct GivenUp {
    words: Vec<u64>,
}

impl GivenUp {
    /// From the words of another; `None` when they are not such words.
    pub(crate) fn from_words(words: Vec<u64>) -> Option<Self> {
        matches!(words.len(), 0 | WORDS).then_some(Self { words })
    }

    /// A lane is given up.
    pub(super) fn note(&mut self, lane: Lane) {
        self.words.resize(WORDS, 0);
        for bit in bits(lane) {
            self.words[bit / 64] |= 1 << (bit % 64);
        }
    }

    /// All lanes of another have been given up, too.
    pub(super) fn absorb(&mut self, other: &Self) {
        if self.words.is_empty() {
            self.words.clone_from(&other.words);
            return;
        }
        self.words.iter_mut().zip(&other.words).for_each(|(mine, theirs)| *mine |= theirs);
    }

    /// Whether the lane may have been given up.
    pub(super) fn may_hold(&self, lane: Lane) -> bool {
        let is_set = |bit: usize| self.words.get(bit / 64).is_some_and(|w| w >> (bit % 64) & 1 > 0);
        bits(lane).into_iter().all(is_set)
    }

    /// Its words: none, or [`WORDS`] of them.
    pub(crate) fn words(&self) -> &[u64] {
        &self.words
    }
}

fn bits(lane: Lane) -> [usize; 2] {
    let hash = fmix64(lane.producer ^ fmix64(u64::from(lane.lane) + 1));
    [hash, hash >> 32].map(|hash| usize::try_from(hash % BITS).unwrap_or(0))
}

/// With 100,000 lanes given up, three of a hundred others look it, too.
const BITS: u64 = 1 << 20;
/// Words of the filter.
pub(crate) const WORDS: usize = 1 << 14;
/// Bytes of a shard's filters of lanes that it has given up, of producers and of connections.
pub const GIVEN_UP_BYTES: usize = 2 * WORDS * 8;

const _: () = assert!(WORDS as u64 * 64 == BITS);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forgets_none_and_takes_few_others_for_one() {
        let lane = |producer| Lane { producer, lane: 3, anonymous: false };
        let mut given_up = GivenUp::default();
        assert!(!given_up.may_hold(lane(1)));
        (0..100_000).for_each(|producer| given_up.note(lane(producer)));
        assert!((0..100_000).all(|producer| given_up.may_hold(lane(producer))));
        let others = (100_000..200_000).filter(|&other| given_up.may_hold(lane(other))).count();
        assert!(others < 5_000, "{others} of 100,000");
        let mut both = GivenUp::default();
        both.note(lane(u64::MAX));
        both.absorb(&given_up);
        assert!(both.may_hold(lane(5)) && both.may_hold(lane(u64::MAX)));
        assert_eq!(GivenUp::from_words(both.words().to_vec()), Some(both));
        assert_eq!(GivenUp::from_words(vec![0; 7]), None);
    }
}
