//! Snapshots, taken in slices beside everything else: [`SnapshotPace`] with a clock and a helper.

use super::helper::{CHORES_MAX, Helper};
use crate::store::limits::SNAPSHOT_PARTS_MAX;
use crate::store::{Chore, Published, Reach, SnapshotPace, SnapshotPart, SnapshotTaker};
use std::time::{Duration, Instant};
use trendsrv_shard::{Memory, Programs, Shard};

/// See the module header.
#[derive(Debug)]
pub(super) struct Snapshots {
    pub(super) pace: SnapshotPace,
    pub(super) counts: SnapshotCounts,
}

/// What became of snapshots.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SnapshotCounts {
    pub(super) published: u64,
    pub(super) failed: u64,
    /// Bytes of those published.
    pub(super) bytes: u64,
    pub(super) published_at: Option<Instant>,
}

impl Snapshots {
    pub(super) fn new(every: Duration) -> Self {
        let every_us = u64::try_from(every.as_micros()).unwrap_or(u64::MAX);
        Self { pace: SnapshotPace::new(every_us), counts: SnapshotCounts::default() }
    }

    /// Takes the next slice, if one is due. Returns whether another one could be taken at once.
    pub(super) fn turn<P: Programs, M: Memory>(
        &mut self,
        shard: &mut Shard<P, M>,
        helper: &Helper,
        reach: Reach,
    ) -> bool {
        self.pace.turn(shard, reach, &mut Slice { helper, until: Instant::now() + SLICE })
    }

    /// One is published. Returns how many unlogged parts it keeps.
    pub(super) fn on_published(&mut self, published: &Published) -> u64 {
        self.counts.published += 1;
        self.counts.bytes += published.bytes;
        self.counts.published_at = Some(Instant::now());
        self.pace.on_published()
    }

    /// One was given up: there was no room.
    pub(super) const fn on_failed(&mut self) {
        self.counts.failed += 1;
        self.pace.on_failed();
    }

    /// No more slices: the server ends.
    pub(super) fn stop(&mut self, helper: &Helper) {
        self.pace.stop(&mut Slice { helper, until: Instant::now() });
    }
}

/// The time of one turn, and the helper for what is taken in it.
struct Slice<'a> {
    helper: &'a Helper,
    until: Instant,
}

impl SnapshotTaker for Slice<'_> {
    fn take(&mut self, part: SnapshotPart) -> Result<(), SnapshotPart> {
        match self.helper.ask(Chore::Snapshot(part)) {
            Ok(()) => Ok(()),
            Err(Chore::Snapshot(part)) => Err(part),
            Err(_) => unreachable!("what is given back is what was given"),
        }
    }

    fn has_time(&mut self) -> bool {
        Instant::now() < self.until
    }
}

/// Time of one turn that a snapshot may take, unless a single piece takes longer.
const SLICE: Duration = Duration::from_micros(100);
const _: () = assert!(SNAPSHOT_PARTS_MAX + 4 <= CHORES_MAX);
