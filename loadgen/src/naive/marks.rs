//! What has been counted of each producer's lanes: the map that outlives connections.
//!
//! ```text
//! (producer, lane) -> mark { epoch, next }      locked while a frame of that lane is applied
//! ```

use crate::limits::NAIVE_LANES_MAX;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How far one lane has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) epoch: u32,
    /// The number of the next frame.
    pub(crate) next: u64,
}

/// A mark that connections share.
#[derive(Debug)]
pub(crate) struct SharedMark(Mutex<Mark>);

impl SharedMark {
    /// Waits until no other connection applies a frame of this lane.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Mark> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All marks, behind one mutex.
#[derive(Debug, Default)]
pub(crate) struct Marks(Mutex<HashMap<(u64, u16), Arc<SharedMark>>>);

/// Why a connection may not carry a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Barred {
    /// A newer epoch has been seen.
    Fenced(u32),
    /// There are as many lanes as there may be.
    Full,
}

impl Marks {
    /// The mark of a lane, from 1 for a new lane or a newer epoch. Producer 0 is anonymous: its
    /// mark lives and dies with the connection.
    ///
    /// # Errors
    /// When the epoch is an old one, or there is no room.
    pub(crate) fn join(
        &self,
        (producer, lane): (u64, u16),
        epoch: u32,
    ) -> Result<Arc<SharedMark>, Barred> {
        let new = || Arc::new(SharedMark(Mutex::new(Mark { epoch, next: 1 })));
        if producer == 0 {
            return Ok(new());
        }
        let mut lanes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lanes.len() >= NAIVE_LANES_MAX && !lanes.contains_key(&(producer, lane)) {
            return Err(Barred::Full);
        }
        let shared = Arc::clone(lanes.entry((producer, lane)).or_insert_with(new));
        drop(lanes);
        let mut mark = shared.lock();
        if epoch < mark.epoch {
            return Err(Barred::Fenced(mark.epoch));
        }
        if epoch > mark.epoch {
            *mark = Mark { epoch, next: 1 };
        }
        drop(mark);
        Ok(shared)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_outlives_its_connection_and_a_newer_epoch_begins_anew() {
        let marks = Marks::default();
        marks.join((7, 1), 3).unwrap().lock().next = 9;
        assert_eq!(*marks.join((7, 1), 3).unwrap().lock(), Mark { epoch: 3, next: 9 });
        assert_eq!(marks.join((7, 2), 3).unwrap().lock().next, 1);
        assert_eq!(*marks.join((7, 1), 4).unwrap().lock(), Mark { epoch: 4, next: 1 });
        assert_eq!(marks.join((7, 1), 3).unwrap_err(), Barred::Fenced(4));
    }

    #[test]
    fn an_anonymous_producer_leaves_nothing_behind() {
        let marks = Marks::default();
        marks.join((0, 1), 0).unwrap().lock().next = 9;
        assert_eq!(marks.join((0, 1), 0).unwrap().lock().next, 1);
    }
}
