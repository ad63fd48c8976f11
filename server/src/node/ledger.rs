//! One connection's sequence and credit.
//!
//! ```text
//!   seq     1 … done … next-1 | next           done: answered by every owner, without a hole
//!           acknowledged ^     ^ expected
//!   bytes   0 … received … credit_until        a frame that would pass it is refused
//! ```
//!
//! When an owner refuses its part, nothing more is begun until every part on its way has been
//! answered; then the sequence goes back to the smallest frame refused. So an answer is never one
//! to an earlier attempt.
//!
//! Invariants:
//! - `told <= done < next`; a refused frame takes `next` back to itself;
//! - credit only grows, by at most `window` beyond what was received.

use std::collections::VecDeque;
use trendsrv_proto::Ack;
use trendsrv_proto::limits::CREDIT_INITIAL;

/// Where a frame's number stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Next,
    Duplicate,
    Gap,
}

/// See the module header.
#[derive(Debug)]
pub(crate) struct Ledger {
    next: u64,
    done: u64,
    told: u64,
    pending: VecDeque<(u64, u16)>,
    /// The smallest frame refused, while parts are still on their way.
    refused: Option<u64>,
    received: u64,
    credit_until: u64,
    window: u64,
    credit_told: u64,
    due: bool,
    /// A duplicate came: what it wants to hear was told before, and is told again.
    repeated: bool,
}

/// The most one connection may have in flight: beyond this acknowledgements only queue.
pub(crate) const CREDIT_WINDOW_MAX: u64 = 512 << 10;

impl Ledger {
    /// A ledger that expects `next`; without acknowledgements credit has no end.
    pub(crate) fn new(next: u64, acknowledges: bool) -> Self {
        let credit = if acknowledges { CREDIT_INITIAL } else { u64::MAX };
        Self {
            next,
            done: next - 1,
            told: next - 1,
            pending: VecDeque::new(),
            refused: None,
            received: 0,
            credit_until: credit,
            window: CREDIT_INITIAL,
            credit_told: credit,
            due: false,
            repeated: false,
        }
    }

    /// The sequence number expected, or that will be once all parts are answered.
    pub(crate) const fn next(&self) -> u64 {
        match self.refused {
            Some(refused) => refused,
            None => self.next,
        }
    }

    /// Whether a part was refused and others are still on their way: nothing is begun.
    pub(crate) const fn is_rewinding(&self) -> bool {
        self.refused.is_some()
    }

    pub(crate) const fn credit_until(&self) -> u64 {
        self.credit_until
    }

    /// Starts at another number than the first: the owners' marks say more.
    pub(crate) fn start_at(&mut self, next: u64) {
        (self.next, self.done, self.told) = (next, next - 1, next - 1);
    }

    /// Counts a frame's bytes; `false` when they pass the credit.
    pub(crate) const fn receive(&mut self, bytes: usize) -> bool {
        self.received = self.received.saturating_add(bytes as u64);
        self.due = true;
        self.received <= self.credit_until
    }

    /// Where a frame with this number stands.
    pub(crate) const fn place(&self, seq: u64) -> Place {
        if seq < self.next() {
            Place::Duplicate
        } else if seq == self.next() {
            Place::Next
        } else {
            Place::Gap
        }
    }

    /// A frame came that was answered before.
    pub(crate) const fn repeat(&mut self) {
        self.repeated = true;
    }

    /// The next frame went to this many owners.
    pub(crate) fn begin(&mut self, seq: u64, owners: u16) {
        self.next = seq + 1;
        self.pending.push_back((seq, owners));
        self.settle();
    }

    /// One owner has applied its part.
    pub(crate) fn part_done(&mut self, seq: u64) {
        if let Some(found) = self.pending.iter_mut().find(|(pending, _)| *pending == seq) {
            found.1 = found.1.saturating_sub(1);
        }
        self.settle();
    }

    /// One owner has refused its part: it and all behind it must come again. Returns whether it
    /// is the first frame of those refused.
    pub(crate) fn part_refused(&mut self, seq: u64) -> bool {
        let is_first = self.refused.is_none_or(|refused| seq < refused);
        if is_first {
            self.refused = Some(seq);
        }
        self.part_done(seq);
        is_first
    }

    /// Goes back to the refused frame once every part has been answered; returns whether it did.
    pub(crate) fn rewind(&mut self) -> bool {
        let Some(refused) = self.refused else { return false };
        let answered = self.pending.iter().all(|&(_, owners)| owners == 0);
        if answered {
            self.pending.clear();
            (self.next, self.refused) = (refused, None);
        }
        answered
    }

    /// The acknowledgement to send at the end of the turn, if anything is new.
    pub(crate) fn acknowledge(&mut self, budget: &mut CreditBudget) -> Option<Ack> {
        if !std::mem::take(&mut self.due) && self.told == self.done {
            return None;
        }
        self.grow(budget);
        // A refused frame has no acknowledgement that would bring its credit back.
        let least = self.received.saturating_add(CREDIT_INITIAL);
        let short = self.is_settled() && self.credit_told < least;
        let credit_due = short || self.credit_until - self.credit_told >= self.window / 2;
        let repeated = std::mem::take(&mut self.repeated);
        if self.told == self.done && !credit_due && !repeated {
            return None;
        }
        (self.told, self.credit_told) = (self.done, self.credit_until);
        Some(Ack::new(self.done, self.credit_until))
    }

    /// A peer that sends what it may gets twice as much, while the shard's budget lasts.
    fn grow(&mut self, budget: &mut CreditBudget) {
        if self.credit_until == u64::MAX {
            return;
        }
        let left = self.credit_until.saturating_sub(self.received);
        if left < self.window / 2 && self.window < CREDIT_WINDOW_MAX && budget.take(self.window) {
            self.window *= 2;
        }
        self.credit_until = self.credit_until.max(self.received + self.window);
    }

    fn settle(&mut self) {
        while let Some(&(seq, 0)) = self.pending.front() {
            if self.refused.is_some_and(|refused| seq >= refused) {
                return;
            }
            self.done = seq;
            self.pending.pop_front();
        }
    }

    /// Whether every frame has been answered by its owners.
    pub(crate) fn is_settled(&self) -> bool {
        self.pending.is_empty() && self.refused.is_none()
    }

    /// What to give back to the budget when the connection ends.
    pub(crate) const fn borrowed(&self) -> u64 {
        self.window - CREDIT_INITIAL
    }
}

/// Credit beyond the initial one that all connections of a shard may share.
#[derive(Debug)]
pub(crate) struct CreditBudget {
    pub(crate) used: u64,
    pub(crate) used_high: u64,
    pub(crate) credit_bytes_max: u64,
}

impl CreditBudget {
    pub(crate) const fn new(credit_bytes_max: u64) -> Self {
        Self { used: 0, used_high: 0, credit_bytes_max }
    }

    fn take(&mut self, bytes: u64) -> bool {
        let fits = self.used + bytes <= self.credit_bytes_max;
        if fits {
            self.used += bytes;
            self.used_high = self.used_high.max(self.used);
        }
        fits
    }

    pub(crate) const fn give_back(&mut self, bytes: u64) {
        self.used = self.used.saturating_sub(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget() -> CreditBudget {
        CreditBudget::new(1 << 30)
    }

    #[test]
    fn acknowledges_up_to_the_first_hole() {
        let mut ledger = Ledger::new(1, true);
        for seq in 1..=3 {
            assert_eq!(ledger.place(seq), Place::Next);
            ledger.begin(seq, 2);
        }
        for seq in [1, 2, 2, 3, 3] {
            ledger.part_done(seq);
        }
        assert_eq!(ledger.acknowledge(&mut budget()), None, "frame 1 lacks an answer");
        ledger.part_done(1);
        assert_eq!(ledger.acknowledge(&mut budget()).map(|ack| ack.seq()), Some(3));
        assert_eq!(ledger.acknowledge(&mut budget()), None, "nothing new");
    }

    #[test]
    fn a_duplicate_is_acknowledged_again() {
        let mut ledger = Ledger::new(1, true);
        ledger.receive(100);
        ledger.begin(1, 0);
        assert_eq!(ledger.acknowledge(&mut budget()).map(|ack| ack.seq()), Some(1));
        ledger.receive(100);
        assert_eq!(ledger.place(1), Place::Duplicate);
        ledger.repeat();
        assert_eq!(ledger.acknowledge(&mut budget()).map(|ack| ack.seq()), Some(1));
        assert_eq!(ledger.acknowledge(&mut budget()), None, "told once");
    }

    #[test]
    fn a_refused_frame_comes_again_with_all_behind_it() {
        let mut ledger = Ledger::new(1, true);
        for seq in 1..=4 {
            ledger.begin(seq, 1);
        }
        ledger.part_done(1);
        assert!(ledger.part_refused(2));
        assert_eq!((ledger.next(), ledger.place(3)), (2, Place::Gap));
        assert!(!ledger.rewind(), "3 and 4 are on their way");
        ledger.part_done(3);
        assert!(!ledger.part_refused(4), "2 is the first");
        assert!(ledger.rewind() && !ledger.is_rewinding());
        assert_eq!(ledger.acknowledge(&mut budget()).map(|ack| ack.seq()), Some(1));
        ledger.begin(2, 0);
        assert_eq!(ledger.acknowledge(&mut budget()).map(|ack| ack.seq()), Some(2));
    }

    #[test]
    fn credit_grows_with_use_and_never_past_its_bounds() {
        let (mut ledger, mut budget) = (Ledger::new(1, true), CreditBudget::new(64 << 10));
        let mut sent = 0;
        for seq in 1..200 {
            while sent + 4_096 <= ledger.credit_until() {
                assert!(ledger.receive(4_096));
                sent += 4_096;
            }
            ledger.begin(seq, 0);
            let ack = ledger.acknowledge(&mut budget).expect("a frame was answered");
            assert!(ack.credit_until() <= sent + CREDIT_WINDOW_MAX);
        }
        assert_eq!(ledger.borrowed(), budget.used);
        assert!(budget.used <= 64 << 10 && budget.used > 0);
        assert!(!ledger.receive(1 << 20), "past the credit");
    }

    #[test]
    fn credit_comes_back_for_frames_that_were_refused() {
        let (mut ledger, mut told) = (Ledger::new(1, true), CREDIT_INITIAL);
        for refused in 1..=40_u64 {
            assert!(ledger.receive(6_000), "refused frame {refused}");
            if let Some(ack) = ledger.acknowledge(&mut budget()) {
                assert_eq!(ack.seq(), 0);
                told = ack.credit_until();
            }
            assert!(told >= refused * 6_000 + CREDIT_INITIAL, "after refused frame {refused}");
        }
    }

    #[test]
    fn frames_are_not_counted_without_acknowledgements() {
        let mut ledger = Ledger::new(1, false);
        assert!(ledger.receive(usize::MAX >> 1));
        ledger.begin(1, 0);
        assert_eq!(ledger.acknowledge(&mut budget()).map(|ack| ack.credit_until()), Some(u64::MAX));
        assert!(ledger.receive(100));
        assert_eq!(ledger.acknowledge(&mut budget()), None, "no credit to renew");
    }
}
