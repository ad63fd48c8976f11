//! Events whose pane has not opened yet (wall clock only): a producer's clock may run ahead.
//!
//! Owns a bounded set of waiting events, by pane. Never touches windows.
//!
//! Invariant: at most `early_max` events wait, within the few panes that FUTURE allows; after a
//! recovery, all those that waited at the owners before, each of which kept that bound.

use trendsrv_proto::EventRecord;

/// One event that waits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Early {
    pub(crate) record: EventRecord,
    pub(crate) ts_ms: u64,
}

/// The waiting events.
#[derive(Debug)]
pub(crate) struct EarlyQueue {
    panes: std::collections::VecDeque<(u64, Vec<Early>)>,
    /// The memory of a pane that has opened, for the next one.
    spare: Vec<Early>,
    count: usize,
    early_max: usize,
    /// Events come back that had their place before: there is room for all of them.
    pub(crate) recovers: bool,
    pub(crate) count_high: usize,
}

impl EarlyQueue {
    pub(crate) const fn new(early_max: usize) -> Self {
        let panes = std::collections::VecDeque::new();
        Self { panes, spare: Vec::new(), count: 0, early_max, recovers: false, count_high: 0 }
    }

    /// Whether `more` events may wait too.
    pub(crate) const fn has_room(&self, more: usize) -> bool {
        self.recovers || self.count + more <= self.early_max
    }

    pub(crate) fn push(&mut self, pane: u64, early: Early) {
        let at = self.panes.partition_point(|(waiting, _)| *waiting < pane);
        if self.panes.get(at).is_none_or(|(waiting, _)| *waiting != pane) {
            self.panes.insert(at, (pane, std::mem::take(&mut self.spare)));
        }
        self.panes[at].1.push(early);
        self.count += 1;
        self.count_high = self.count_high.max(self.count);
    }

    /// Takes one event whose pane is open at `pane`, last come first within its pane.
    pub(crate) fn pop(&mut self, pane: u64) -> Option<Early> {
        while let Some((first, waiting)) = self.panes.front_mut() {
            if *first > pane {
                return None;
            }
            if let Some(early) = waiting.pop() {
                self.count -= 1;
                return Some(early);
            }
            if let Some((_, waiting)) = self.panes.pop_front()
                && waiting.capacity() > self.spare.capacity()
            {
                self.spare = waiting;
            }
        }
        None
    }

    /// The waiting events, in the order in which they came to their panes.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Early> {
        self.panes.iter().flat_map(|(_, waiting)| waiting)
    }

    pub(crate) const fn len(&self) -> usize {
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use trendsrv_proto::{TenantId, TopicId};

    #[test]
    fn what_waited_before_a_recovery_has_room() {
        let mut queue = EarlyQueue::new(3);
        assert!(queue.has_room(3) && !queue.has_room(4));
        queue.recovers = true;
        assert!(queue.has_room(4));
    }

    #[test]
    fn events_come_out_when_their_pane_opens() {
        let mut queue = EarlyQueue::new(3);
        for (pane, weight) in [(7, 1), (5, 2), (7, 3)] {
            let record = EventRecord::new(TenantId(1), TopicId(2), weight, 0);
            queue.push(pane, Early { record, ts_ms: pane * 1_000 });
        }
        assert!(!queue.has_room(1));
        assert!(queue.pop(4).is_none());
        assert_eq!(queue.pop(6).unwrap().record.weight(), 2);
        assert!(queue.pop(6).is_none());
        assert_eq!((queue.pop(7).is_some(), queue.pop(9).is_some(), queue.len()), (true, true, 0));
    }
}
