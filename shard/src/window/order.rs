//! The order of a view's topics.
//!
//! Owns: the keys topics are ordered by. Never touches: what they mean.
//!
//! A topic is 96 bytes and a key at most 32: keys are ordered, and topics moved once. Up to
//! [`COUNTED_MAX`] topics are not sorted at all: each key is compared with each, and the number of
//! larger ones is its place. No branch depends on the numbers, so none is guessed wrong.
//!
//! ```text
//! short key   | score:31 | weight:29 | 15 - place:4 |      where both fit
//! ```
//!
//! Invariant: ties are broken by name, so the order depends on what was counted alone.

use super::view::Topic;
use std::cmp::Ordering;
use trendsrv_proto::{Rank, TopicId};

/// Buffers. Reuse them.
#[derive(Debug, Default)]
pub(super) struct Order {
    keys: Vec<Key>,
    moved: Vec<Topic>,
}

/// The topic in `place`. A larger value comes first: score, then weight.
#[derive(Clone, Copy, Debug)]
struct Key {
    value: u128,
    place: usize,
}

impl Order {
    /// Puts the first `k` topics of the order to the front, at least one.
    #[inline]
    pub(super) fn front<'n>(
        &mut self,
        topics: &mut Vec<Topic>,
        by: Rank,
        k: usize,
        names: impl Fn(TopicId) -> &'n [u8],
    ) {
        match ShortKeys::of(topics, by) {
            Some(keys) => keys.move_topics(topics, &mut self.moved, names),
            None => self.sort(topics, by, k, names),
        }
        std::mem::swap(&mut self.moved, topics);
    }

    #[inline(never)]
    fn sort<'n>(
        &mut self,
        topics: &[Topic],
        by: Rank,
        k: usize,
        names: impl Fn(TopicId) -> &'n [u8],
    ) {
        let keys = topics.iter().enumerate();
        self.keys.clear();
        self.keys.extend(keys.map(|(place, topic)| Key { value: value(topic, by), place }));
        let name = |key: &Key| names(topics[key.place].topic);
        let order = |a: &Key, b: &Key| match b.value.cmp(&a.value) {
            Ordering::Equal => name(a).cmp(name(b)),
            other => other,
        };
        if k < topics.len() {
            self.keys.select_nth_unstable_by(k - 1, order);
        }
        self.keys[..k].sort_unstable_by(order);
        self.moved.clear();
        self.moved.extend(self.keys.iter().map(|key| topics[key.place]));
    }
}

/// Keys of few topics, no two of them equal, in order of the topics; the rest are 0.
struct ShortKeys {
    keys: [u64; COUNTED_MAX],
    count: usize,
}

impl ShortKeys {
    /// `None` when there are too many topics, or one's numbers do not fit.
    #[inline]
    fn of(topics: &[Topic], by: Rank) -> Option<Self> {
        if topics.len() > COUNTED_MAX {
            return None;
        }
        let mut keys = [0; COUNTED_MAX];
        let mut unfit = 0;
        for ((key, topic), from_last) in keys.iter_mut().zip(topics).zip(0..) {
            let score = match by {
                Rank::Score => topic.score_milli.wrapping_add(SCORE_ZERO).cast_unsigned(),
                Rank::Count => 0,
            };
            unfit |= score >> SCORE_BITS | topic.total >> WEIGHT_BITS;
            *key = (score << WEIGHT_BITS | topic.total) << PLACE_BITS | (PLACE_MASK - from_last);
        }
        (unfit == 0).then_some(Self { keys, count: topics.len() })
    }

    /// Copies the topics in order, equal ones by name.
    #[inline]
    fn move_topics<'n>(
        &self,
        topics: &[Topic],
        moved: &mut Vec<Topic>,
        names: impl Fn(TopicId) -> &'n [u8],
    ) {
        let mut sorted = [0; COUNTED_MAX];
        for &key in &self.keys[..self.count] {
            // Keys that stand for no topic are the smallest, so they count for none.
            let larger = self.keys.iter().map(|&other| usize::from(other > key)).sum::<usize>();
            sorted[larger & (COUNTED_MAX - 1)] = key;
        }
        let sorted = &sorted[..self.count];
        moved.clear();
        let place = |key: &u64| usize::try_from(PLACE_MASK - (key & PLACE_MASK)).unwrap_or(0);
        moved.extend(sorted.iter().map(|key| topics[place(key)]));
        let tied = |a: &u64, b: &u64| a >> PLACE_BITS == b >> PLACE_BITS;
        if sorted.windows(2).any(|two| tied(&two[0], &two[1])) {
            let mut rest = moved.as_mut_slice();
            for run in sorted.chunk_by(tied) {
                let (equal, others) = rest.split_at_mut(run.len());
                equal.sort_unstable_by(|a, b| names(a.topic).cmp(names(b.topic)));
                rest = others;
            }
        }
    }
}

fn value(topic: &Topic, by: Rank) -> u128 {
    let score = match by {
        // The sign bit turned over orders signed numbers as unsigned ones.
        Rank::Score => topic.score_milli.cast_unsigned() ^ 1 << 63,
        Rank::Count => 0,
    };
    u128::from(score) << 64 | u128::from(topic.total)
}

/// Most topics whose places are counted: all of the smallest tier.
const COUNTED_MAX: usize = 16;
const PLACE_BITS: u32 = 4;
const PLACE_MASK: u64 = (1 << PLACE_BITS) - 1;
const WEIGHT_BITS: u32 = 29;
const SCORE_BITS: u32 = 31;
/// Half of the scores that fit are negative.
const SCORE_ZERO: i64 = 1 << (SCORE_BITS - 1);

const _: () = assert!(COUNTED_MAX == 1 << PLACE_BITS);
const _: () = assert!(PLACE_BITS + WEIGHT_BITS + SCORE_BITS == u64::BITS);
