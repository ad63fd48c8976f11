//! Versions of answers over a restart.
//!
//! A reader may go by "a larger version is a later answer", so what is told after a restart has to
//! lie above all that was told before it. What was told between the snapshot and the crash is not
//! known: answers are read without being logged, and several servers one after another may have
//! come from the same snapshot. But a version grows by one at a time, when an answer is read that
//! has changed, and time goes on: a recovery begins where the time is, at [`PER_MS`] a millisecond.
//!
//! Invariant: versions told after a recovery are above all told before, unless one tenant's answer
//! changed and was read more than [`PER_MS`] times in each millisecond since, or the clock of the
//! machine was put back and it was more than [`MARGIN`] times since the snapshot.

use crate::memory::Memory;
use crate::programs::Programs;
use crate::shard::Shard;
use crate::tenants::Slot;

impl<P: Programs, M: Memory> Shard<P, M> {
    /// Raises all versions above those that may have been told since the snapshot and the log.
    /// Once, when a recovery ends.
    pub(crate) fn raise_versions(&mut self, now_ms: u64) {
        let now = now_ms.saturating_mul(PER_MS);
        let raised = |told: u64| {
            let above = if told < now { now } else { told.saturating_add(MARGIN) };
            above.min(VERSION_MAX)
        };
        for slot in (0..self.tenants.slots()).map(Slot) {
            if self.tenants.id_at(slot).is_some() {
                let record = self.tenants.record_mut(slot);
                record.version = raised(record.version);
            }
        }
        self.version_floor = raised(self.version_floor);
    }
}

/// Versions that a millisecond has room for: a million changes of one answer, each of them read, in
/// a second. Until the year 2248 they stay below 2^53, as far as JSON numbers are exact everywhere.
const PER_MS: u64 = 1 << 10;
/// An hour of an answer that changes and is read every microsecond.
pub(super) const MARGIN: u64 = 1 << 32;
/// Largest version, and largest count, that is believed: what counts on from here ends nowhere.
pub(super) const VERSION_MAX: u64 = 1 << 62;
