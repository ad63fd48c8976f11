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
//! no mark, and marks were given up to make room                 PRODUCER_UNKNOWN
//! ```
//!
//! A part reaches an owner only when it has events for it, so an owner's sequence may skip; the
//! shard that holds the connection checks that the producer's own sequence does not.

mod given_up;
mod recovery;
#[cfg(test)]
mod tests;

pub use given_up::GIVEN_UP_BYTES;
pub(crate) use given_up::GivenUp;
pub(crate) use recovery::{MarkRow, OldMark};

use hashbrown::HashTable;
use trendsrv_proto::{TenantId, fmix64};

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
    /// Whether the marks can be believed: `false` when they may have been given up to make room.
    pub known: bool,
    /// Whether a mark comes from a recovery, so that acknowledged frames above it may be lost.
    pub recovered: bool,
}

/// An owner of another generation of the vnode map: with `shards` shards, the vnodes whose number
/// leaves the rest `shard`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OldOwner {
    /// How many shards there were.
    pub shards: u16,
    /// Which of them.
    pub shard: u16,
}

impl OldOwner {
    /// Whether a tenant was its own.
    #[must_use]
    pub fn owned(self, tenant: TenantId) -> bool {
        tenant.vnode() % usize::from(self.shards) == usize::from(self.shard)
    }
}

/// What to do with a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    Apply,
    /// Apply what no earlier owner has counted.
    Sift,
    Duplicate,
    Gap {
        expected: u64,
    },
    Fenced {
        epoch: u32,
    },
    /// Its mark was given up: whether it was applied cannot be said.
    Unknown,
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
    known: bool,
    /// Whether the producer has said hello, so that its connection knows what is known.
    greeted: bool,
    recovered: bool,
    rare: Option<Box<Rare>>,
}

/// What few marks have.
#[derive(Debug, Default)]
struct Rare {
    /// What earlier owners had applied.
    old: Vec<OldMark>,
    /// The largest number applied without being logged, and which unlogged part it was.
    unlogged: (u64, u64),
}

/// The marks of one owner.
#[derive(Debug)]
pub(crate) struct Marks {
    table: HashTable<Mark>,
    secret: u64,
    producers_max: usize,
    clock: u64,
    /// Marks given up because the table was full, by those that snapshots are of, too.
    pub(crate) evicted: u64,
    /// Whose they may have been.
    given_up: GivenUp,
    /// Those of connections, whose numbers mean nothing to another process.
    given_up_anonymous: GivenUp,
    /// Whose they may have been in the snapshots, until the recovery ends.
    given_up_before: Vec<(GivenUp, Option<OldOwner>)>,
}

/// Bytes of one mark.
pub const MARK_BYTES: usize = size_of::<Mark>() + 1;

impl Marks {
    pub(crate) fn new(producers_max: usize, secret: u64) -> Self {
        let table = HashTable::with_capacity(producers_max);
        Self {
            table,
            secret,
            producers_max,
            clock: 0,
            evicted: 0,
            given_up: GivenUp::default(),
            given_up_anonymous: GivenUp::default(),
            given_up_before: Vec::new(),
        }
    }

    /// A producer says hello: where it stands here, or the newer epoch that fences it.
    pub(crate) fn greet(&mut self, lane: Lane, epoch: u32) -> Result<Standing, u32> {
        let mark = self.mark(lane, epoch);
        if epoch < mark.epoch {
            return Err(mark.epoch);
        }
        mark.renew(epoch);
        mark.greeted = true;
        let first = mark.refused.or((mark.next <= mark.turned_away).then_some(mark.next));
        let refused = first.map(|first| (first, first.max(mark.turned_away)));
        let next = mark.old().iter().fold(mark.next, |next, old| next.max(old.next));
        Ok(Standing { next, refused, known: mark.known, recovered: mark.recovered })
    }

    /// A producer begins its sequence: nothing of this epoch can have been given up before.
    pub(crate) fn begin(&mut self, lane: Lane, epoch: u32) {
        let mark = self.mark(lane, epoch);
        mark.known |= mark.epoch == epoch;
    }

    /// Whether the part with this sequence is to be applied.
    pub(crate) fn turn(&mut self, at: &Sequence) -> Turn {
        // Frame 1 may come again, too. Only who says no hello, and so cannot begin a new epoch, is
        // believed to begin with it.
        let begins = at.seq == 1 && at.epoch == 0;
        if self.evicted > 0 && !begins && !self.knows(at) {
            return Turn::Unknown;
        }
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
            Some(_) | None if mark.old().iter().any(|old| at.seq < old.next) => Turn::Sift,
            Some(_) | None => Turn::Apply,
        }
    }

    /// Whether an earlier owner has counted this tenant's events of a part.
    pub(crate) fn counted_before(&self, at: &Sequence, tenant: TenantId) -> bool {
        let mark = self.find(at.lane);
        let old = mark.filter(|mark| mark.epoch == at.epoch).map_or(&[][..], Mark::old);
        old.iter().any(|old| at.seq < old.next && old.owner.owned(tenant))
    }

    /// The part was applied.
    pub(crate) fn applied(&mut self, at: &Sequence) {
        let mark = self.mark(at.lane, at.epoch);
        mark.apply(at.seq);
        mark.refused = None;
        (mark.known, mark.recovered) = (true, !mark.old().is_empty());
    }

    /// The part was applied without being logged, as the `nth` of those.
    pub(crate) fn applied_unlogged(&mut self, at: &Sequence, nth: u64) {
        self.mark(at.lane, at.epoch).rare.get_or_insert_default().unlogged = (at.seq, nth);
    }

    /// Which unlogged part this one was, or a later one of its lane; 0 when it was logged.
    pub(crate) fn unlogged(&self, at: &Sequence) -> u64 {
        let rare = self.find(at.lane).and_then(|mark| mark.rare.as_ref());
        rare.map(|rare| rare.unlogged).filter(|(seq, _)| at.seq <= *seq).map_or(0, |(_, nth)| nth)
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

    fn find(&self, lane: Lane) -> Option<&Mark> {
        self.table.find(hash(self.secret, lane), |mark| mark.lane == lane)
    }

    /// Whether the mark of a frame is here, or its connection has heard that it is not.
    fn knows(&self, at: &Sequence) -> bool {
        match self.find(at.lane) {
            // A frame that was refused elsewhere comes again on the same connection.
            None if at.lane.anonymous => !self.given_up_anonymous.may_hold(at.lane),
            None => !self.given_up.may_hold(at.lane),
            Some(mark) => at.lane.anonymous || mark.known || mark.greeted || mark.epoch != at.epoch,
        }
    }

    fn mark(&mut self, lane: Lane, epoch: u32) -> &mut Mark {
        self.clock += 1;
        if self.find(lane).is_none() {
            if self.table.len() >= self.producers_max {
                self.evict();
            }
            let mark = Mark {
                lane,
                epoch,
                next: 1,
                refused: None,
                turned_away: 0,
                used: 0,
                known: lane.anonymous || !self.given_up.may_hold(lane),
                greeted: false,
                recovered: false,
                rare: None,
            };
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
        let (given_up, anonymous) = (&mut self.given_up, &mut self.given_up_anonymous);
        self.table.retain(|mark| {
            let stays = mark.used > limit;
            match (stays, mark.lane.anonymous) {
                (true, _) => {}
                (false, true) => anonymous.note(mark.lane),
                (false, false) => given_up.note(mark.lane),
            }
            stays
        });
        self.evicted += (before - self.table.len()) as u64;
    }
}

impl Standing {
    /// A producer nobody has heard of.
    pub const NEW: Self = Self { next: 1, refused: None, known: true, recovered: false };

    /// What two owners say together. A frame need not have had events for both, so the larger
    /// mark counts, but a frame that one of them refused must come again.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let refused = match (self.refused, other.refused) {
            (Some(one), Some(two)) => Some((one.0.min(two.0), one.1.max(two.1))),
            (one, two) => one.or(two),
        };
        Self {
            next: self.next.max(other.next),
            refused,
            known: self.known && other.known,
            recovered: self.recovered || other.recovered,
        }
    }

    /// The sequence number to go on from.
    #[must_use]
    pub fn next_seq(&self) -> u64 {
        self.refused.map_or(self.next, |(first, _)| first.min(self.next))
    }
}

impl Mark {
    /// A newer epoch starts anew, and nothing of it was given up.
    fn renew(&mut self, epoch: u32) {
        if epoch > self.epoch {
            (self.epoch, self.next, self.refused, self.turned_away) = (epoch, 1, None, 0);
            (self.known, self.recovered, self.rare) = (true, false, None);
        }
    }

    /// Everything up to `seq` is applied; earlier owners that were not further need no asking.
    fn apply(&mut self, seq: u64) {
        self.next = self.next.max(seq.saturating_add(1));
        let next = self.next;
        if let Some(rare) = &mut self.rare
            && rare.old.iter().all(|old| old.next <= next)
        {
            rare.old.clear();
        }
    }

    fn raise_old(&mut self, mark: OldMark) {
        let old = &mut self.rare.get_or_insert_default().old;
        match old.iter_mut().find(|old| old.owner == mark.owner) {
            Some(old) => old.next = old.next.max(mark.next),
            None => old.push(mark),
        }
    }

    fn old(&self) -> &[OldMark] {
        self.rare.as_ref().map_or(&[], |rare| &rare.old)
    }
}

/// Mixed with the secret of the process, so that nobody can aim at a bucket.
fn hash(secret: u64, lane: Lane) -> u64 {
    fmix64(secret ^ lane.producer ^ u64::from(lane.lane) << 48 ^ u64::from(lane.anonymous) << 40)
}
