//! Marks over restarts and over changes of the number of shards.
//!
//! Owns what snapshots keep of marks and how logged parts raise them. Never touches live parts.
//!
//! A mark belongs to an owner. After a change of the number of shards a tenant has a new one, which
//! keeps, lane by lane, how far each earlier owner was ([`OldMark`]); see `due.rs` for their use.

use super::{GivenUp, Lane, Mark, Marks, OldOwner, Sequence};
use trendsrv_proto::limits::SHARDS_MAX;

/// One mark as snapshots keep it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MarkRow {
    pub(crate) producer: u64,
    pub(crate) lane: u16,
    pub(crate) epoch: u32,
    pub(crate) next: u64,
    pub(crate) known: bool,
    /// Larger for a lane that was used later.
    pub(crate) used: u64,
    /// The final marks of earlier owners.
    pub(crate) old: Vec<OldMark>,
}

/// What an owner of an earlier generation had applied of a lane: everything below `next`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OldMark {
    pub(crate) owner: OldOwner,
    pub(crate) next: u64,
}

impl Marks {
    /// A part that was applied is read back from the log: of this shard, or of an earlier owner.
    pub(crate) fn replay(&mut self, at: &Sequence, from: Option<OldOwner>) {
        let next = at.seq.saturating_add(1);
        self.recover(at.lane, at.epoch, |mark| match from {
            None => mark.apply(at.seq),
            Some(owner) => mark.raise_old(OldMark { owner, next }),
        });
    }

    /// Takes a mark from a snapshot: of this shard, or of an earlier owner.
    pub(crate) fn restore(&mut self, row: MarkRow, from: Option<OldOwner>) {
        self.clock = self.clock.max(row.used);
        let lane = Lane { producer: row.producer, lane: row.lane, anonymous: false };
        self.recover(lane, row.epoch, |mark| {
            mark.known &= row.known;
            row.old.iter().for_each(|old| mark.raise_old(*old));
            match from {
                None => mark.next = mark.next.max(row.next),
                Some(owner) => mark.raise_old(OldMark { owner, next: row.next }),
            }
        });
    }

    /// Takes from a snapshot how many marks had been given up, and whose they may have been: of
    /// this shard, or of an earlier owner.
    pub(crate) fn restore_given_up(
        &mut self,
        evicted: u64,
        given_up: GivenUp,
        from: Option<OldOwner>,
    ) {
        self.evicted = self.evicted.saturating_add(evicted);
        self.given_up_before.push((given_up, from));
    }

    /// Whose marks may have been given up.
    pub(crate) const fn given_up(&self) -> &GivenUp {
        &self.given_up
    }

    /// All marks are back: those that an earlier owner may have given up are not believed.
    pub(crate) fn end_recovery(&mut self) {
        for (given_up, from) in std::mem::take(&mut self.given_up_before) {
            if let Some(owner) = from {
                for mark in self.table.iter_mut().filter(|mark| !mark.old().is_empty()) {
                    let told = mark.old().iter().any(|old| old.owner == owner);
                    mark.known &= told || !given_up.may_hold(mark.lane);
                }
            }
            self.given_up.absorb(&given_up);
        }
    }

    /// Every mark that outlives its connection.
    pub(crate) fn dump(&self) -> impl Iterator<Item = MarkRow> + '_ {
        let named = self.table.iter().filter(|mark| !mark.lane.anonymous);
        named.map(|mark| MarkRow {
            producer: mark.lane.producer,
            lane: mark.lane.lane,
            epoch: mark.epoch,
            next: mark.next,
            known: mark.known,
            used: mark.used,
            old: mark.old().to_vec(),
        })
    }

    /// Changes a mark by what was recovered, unless a newer epoch is at work; one with too many
    /// earlier owners is given up.
    fn recover(&mut self, lane: Lane, epoch: u32, change: impl FnOnce(&mut Mark)) {
        let is_new = self.find(lane).is_none();
        // One that was given up during the recovery lacks what was known of it.
        let complete = !self.given_up.may_hold(lane);
        let mark = self.mark(lane, epoch);
        if epoch < mark.epoch {
            return;
        }
        mark.renew(epoch);
        mark.known = if is_new { complete } else { mark.known };
        mark.recovered = true;
        change(mark);
        if mark.old().len() > OLD_MARKS_MAX {
            self.forget(lane);
            self.given_up.note(lane);
            self.evicted += 1;
        }
    }
}

/// Earlier owners of which one mark remembers how far they came: all shards of four generations.
pub(super) const OLD_MARKS_MAX: usize = 4 * SHARDS_MAX;
