//! Versions of answers over a restart.
//!
//! A reader may go by "a larger version is a later answer", so what is told after a restart has to
//! lie above all that was told before it. What was told between the snapshot and the crash is not
//! known: answers are read without being logged. But a version grows by one at a time, when an
//! answer is read that has changed.
//!
//! Invariant: versions told after a recovery are above all told before, unless one tenant's answer
//! changed and was read more than [`MARGIN`] times since the snapshot.

use crate::memory::Memory;
use crate::programs::Programs;
use crate::shard::Shard;
use crate::tenants::Slot;

impl<P: Programs, M: Memory> Shard<P, M> {
    /// Raises all versions above those that may have been told since the snapshot and the log.
    /// Once, when a recovery ends.
    pub(crate) fn raise_versions(&mut self) {
        for slot in (0..self.tenants.slots()).map(Slot) {
            if self.tenants.id_at(slot).is_some() {
                let record = self.tenants.record_mut(slot);
                record.version = record.version.saturating_add(MARGIN).min(VERSION_MAX);
            }
        }
        self.version_floor = self.version_floor.saturating_add(MARGIN).min(VERSION_MAX);
    }
}

/// An hour of an answer that changes and is read every microsecond. Versions begin at the time in
/// milliseconds, so two million restarts stay below 2^53, which is as far as JSON numbers are
/// exact everywhere.
pub(super) const MARGIN: u64 = 1 << 32;
/// Largest version, and largest count, that is believed: what counts on from here ends nowhere.
pub(super) const VERSION_MAX: u64 = 1 << 62;
