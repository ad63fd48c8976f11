//! Which frames were applied already: the mark "next sequence" of each (producer, lane).
//!
//! Owns the table of marks of one owner shard. Never touches frames or events.
//!
//! ```text
//! part with seq   < mark          duplicate: acknowledged, not applied
//!                 >= mark         applied, mark = seq + 1
//!                 > refused seq   SEQ_GAP until the refused one has come again
//!                                 (and turned away: a producer that connects again is told so)
//! older epoch                     FENCED          newer epoch   marks start anew at 1
//! ```
//!
//! A part reaches an owner only when it has events for it, so an owner's sequence may skip; the
//! shard that holds the connection checks that the producer's own sequence does not.

use hashbrown::HashTable;
use trendsrv_proto::fmix64;

/// One of the parallel sequences of a producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lane {
    /// The producer's id, or the number of an anonymous connection.
    pub producer: u64,
    /// The lane.
    pub lane: u16,
    /// Whether `producer` numbers a connection: such a lane ends with it.
    pub anonymous: bool,
}

/// A frame's place in its producer's sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sequence {
    /// Whose.
    pub lane: Lane,
    /// The producer's epoch.
    pub epoch: u32,
    /// The frame's number.
    pub seq: u64,
}

/// Where a producer stands at one owner, or at several of them together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// One more than the largest sequence number applied.
    pub next: u64,
    /// The first and last sequence number turned away that have not come again.
    pub refused: Option<(u64, u64)>,
}

/// The shard that owned a lane's tenants under a map of earlier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OldOwner {
    /// Shards of that map: vnode `v` was owned by shard `v % shards`.
    pub shards: u16,
    /// The owner.
    pub shard: u16,
}

/// What to do with a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    Apply,
    Duplicate,
    Gap { expected: u64 },
    Fenced { epoch: u32 },
}

#[derive(Debug)]
struct Mark {
    lane: Lane,
    epoch: u32,
    next: u64,
    refused: Option<u64>,
    /// The largest number turned away, be it refused or behind a refused one.
    turned_away: u64,
    used: u64,
}

/// The marks of one owner.
#[derive(Debug)]
pub(crate) struct Marks {
    table: HashTable<Mark>,
    secret: u64,
    producers_max: usize,
    clock: u64,
    /// Marks given up because the table was full.
    pub(crate) evicted: u64,
}

/// Bytes of one mark.
pub const MARK_BYTES: usize = size_of::<Mark>() + 1;

impl Marks {
    pub(crate) fn new(producers_max: usize, secret: u64) -> Self {
        let table = HashTable::with_capacity(producers_max);
        Self { table, secret, producers_max, clock: 0, evicted: 0 }
    }

    /// A producer says hello: where it stands here, or the newer epoch that fences it.
    pub(crate) fn greet(&mut self, lane: Lane, epoch: u32) -> Result<Standing, u32> {
        let mark = self.mark(lane, epoch);
        if epoch < mark.epoch {
            return Err(mark.epoch);
        }
        mark.renew(epoch);
        let first = mark.refused.or((mark.next <= mark.turned_away).then_some(mark.next));
        let refused = first.map(|first| (first, first.max(mark.turned_away)));
        Ok(Standing { next: mark.next, refused })
    }

    /// Whether the part with this sequence is to be applied.
    pub(crate) fn turn(&mut self, at: &Sequence) -> Turn {
        let mark = self.mark(at.lane, at.epoch);
        if at.epoch < mark.epoch {
            return Turn::Fenced { epoch: mark.epoch };
        }
        mark.renew(at.epoch);
        match mark.refused {
            _ if at.seq < mark.next => Turn::Duplicate,
            Some(refused) if at.seq > refused => {
                mark.turned_away = mark.turned_away.max(at.seq);
                Turn::Gap { expected: refused }
            }
            Some(_) | None => Turn::Apply,
        }
    }

    /// The part was applied.
    pub(crate) fn applied(&mut self, at: &Sequence) {
        let mark = self.mark(at.lane, at.epoch);
        mark.next = at.seq + 1;
        mark.refused = None;
    }

    /// The part was refused: those behind it wait until it has come again.
    pub(crate) fn refused(&mut self, at: &Sequence) {
        let mark = self.mark(at.lane, at.epoch);
        mark.refused = Some(mark.refused.map_or(at.seq, |before| before.min(at.seq)));
        mark.turned_away = mark.turned_away.max(at.seq);
    }

    /// The lane has ended.
    pub(crate) fn forget(&mut self, lane: Lane) {
        if let Ok(found) = self.table.find_entry(hash(self.secret, lane), |mark| mark.lane == lane)
        {
            found.remove();
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    fn mark(&mut self, lane: Lane, epoch: u32) -> &mut Mark {
        self.clock += 1;
        if self.table.find(hash(self.secret, lane), |mark| mark.lane == lane).is_none() {
            if self.table.len() >= self.producers_max {
                self.evict();
            }
            let mark = Mark { lane, epoch, next: 1, refused: None, turned_away: 0, used: 0 };
            let secret = self.secret;
            self.table.insert_unique(hash(secret, lane), mark, |mark| hash(secret, mark.lane));
        }
        let used = self.clock;
        let mark = self.table.find_mut(hash(self.secret, lane), |mark| mark.lane == lane);
        let mark = mark.expect("the lane was inserted above");
        mark.used = used;
        mark
    }

    /// Gives up an eighth of the marks, longest unused first, so that a scan pays for many.
    fn evict(&mut self) {
        let mut used: Vec<u64> = self.table.iter().map(|mark| mark.used).collect();
        let keep_from = used.len() / 8;
        let (_, &mut limit, _) = used.select_nth_unstable(keep_from);
        let before = self.table.len();
        self.table.retain(|mark| mark.used > limit);
        self.evicted += (before - self.table.len()) as u64;
    }
}

impl Standing {
    /// A producer nobody has heard of.
    pub const NEW: Self = Self { next: 1, refused: None };

    /// What two owners say together. A frame need not have had events for both, so the larger
    /// mark counts, but a frame that one of them refused must come again.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let refused = match (self.refused, other.refused) {
            (Some(one), Some(two)) => Some((one.0.min(two.0), one.1.max(two.1))),
            (one, two) => one.or(two),
        };
        Self { next: self.next.max(other.next), refused }
    }

    /// The sequence number to go on from.
    #[must_use]
    pub fn next_seq(&self) -> u64 {
        self.refused.map_or(self.next, |(first, _)| first.min(self.next))
    }
}

impl Mark {
    fn renew(&mut self, epoch: u32) {
        if epoch > self.epoch {
            (self.epoch, self.next, self.refused, self.turned_away) = (epoch, 1, None, 0);
        }
    }
}

/// Mixed with the secret of the process, so that nobody can aim at a bucket.
fn hash(secret: u64, lane: Lane) -> u64 {
    fmix64(secret ^ lane.producer ^ u64::from(lane.lane) << 48 ^ u64::from(lane.anonymous) << 40)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LANE: Lane = Lane { producer: 9, lane: 1, anonymous: false };

    fn at(epoch: u32, seq: u64) -> Sequence {
        Sequence { lane: LANE, epoch, seq }
    }

    #[test]
    fn a_part_is_applied_once() {
        let mut marks = Marks::new(4, 7);
        assert_eq!(marks.greet(LANE, 0), Ok(Standing::NEW));
        assert_eq!(marks.turn(&at(0, 1)), Turn::Apply);
        assert_eq!(marks.turn(&at(0, 1)), Turn::Apply, "asking changes nothing");
        marks.applied(&at(0, 1));
        assert_eq!(marks.turn(&at(0, 1)), Turn::Duplicate);
        assert_eq!(marks.turn(&at(0, 5)), Turn::Apply, "parts for other owners are not seen here");
    }

    #[test]
    fn a_refused_part_holds_back_those_behind_it() {
        let mut marks = Marks::new(4, 7);
        marks.refused(&at(0, 3));
        assert_eq!(marks.turn(&at(0, 4)), Turn::Gap { expected: 3 });
        assert_eq!(marks.greet(LANE, 0), Ok(Standing { next: 1, refused: Some((3, 4)) }));
        assert_eq!(marks.turn(&at(0, 3)), Turn::Apply);
        marks.applied(&at(0, 3));
        let behind = Ok(Standing { next: 4, refused: Some((4, 4)) });
        assert_eq!(marks.greet(LANE, 0), behind, "4 was turned away, too");
        assert_eq!(marks.turn(&at(0, 4)), Turn::Apply);
        marks.applied(&at(0, 4));
        assert_eq!(marks.greet(LANE, 0), Ok(Standing { next: 5, refused: None }));
    }

    #[test]
    fn a_frame_refused_by_one_owner_comes_again_whatever_others_applied() {
        let at = |next, first: Option<u64>| Standing { next, refused: first.map(|at| (at, at)) };
        assert_eq!(at(5, None).and(at(9, None)).next_seq(), 9);
        assert_eq!(at(9, None).and(at(4, Some(4))).next_seq(), 4);
        assert_eq!(at(4, Some(7)).and(at(4, Some(5))).and(Standing::NEW).next_seq(), 4);
        assert_eq!(at(4, Some(5)).and(at(9, Some(7))).next_seq(), 5);
    }

    #[test]
    fn a_newer_epoch_fences_the_older_and_starts_anew() {
        let mut marks = Marks::new(4, 7);
        marks.applied(&at(1, 7));
        assert_eq!(marks.turn(&at(2, 1)), Turn::Apply);
        assert_eq!(marks.turn(&at(1, 8)), Turn::Fenced { epoch: 2 });
        assert_eq!(marks.greet(LANE, 1), Err(2));
    }

    #[test]
    fn a_full_table_gives_up_the_longest_unused() {
        let mut marks = Marks::new(8, 7);
        for producer in 0..9 {
            let lane = Lane { producer, ..LANE };
            marks.applied(&Sequence { lane, epoch: 0, seq: 5 });
        }
        assert!(marks.len() <= 8 && marks.evicted > 0);
        let mut next = |producer| marks.greet(Lane { producer, ..LANE }, 0).map(|at| at.next);
        assert_eq!(next(8), Ok(6), "the newest is kept");
        assert_eq!(next(0), Ok(1), "the oldest is unknown");
    }
}
