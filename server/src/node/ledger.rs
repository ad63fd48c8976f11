//! One connection's sequence and credit.
//!
//! ```text
//!   seq     1 … done … next-1 | next           done: answered by every owner, without a hole
//!           acknowledged ^     ^ expected
//!   bytes   0 … received … credit_until        a frame that would pass it is refused
//! ```
//!
//! The first frame of a connection says where its sequence goes on: a named producer sends every frame
//! that was not acknowledged again, and owners know what they have counted.
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
    /// The first of a connection, and an owner may have given up what it knew of the lane.
    Unknown,
}

/// What the owners know of a lane whose first frame on a connection has not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Start {
    /// One more than the largest number that all owners together have counted.
    pub(crate) next: u64,
    /// No owner may have given up the lane's mark.
    pub(crate) known: bool,
    /// Some owner's mark comes from recovery: what was acknowledged as applied may be lost.
    pub(crate) recovered: bool,
}

impl Start {
    /// What HELLO_OK tells; 0 where nobody can be sure.
    pub(crate) const fn next_seq(self) -> u64 {
        if self.known { self.next } else { 0 }
    }

    const fn place(self, seq: u64) -> Place {
        match seq {
            0 => Place::Gap,
            // Nobody has counted any of it, or nobody but those that gave it up for others.
            1 if self.known || self.next == 1 => Place::Next,
            _ if !self.known => Place::Unknown,
            _ if seq <= self.next || self.recovered => Place::Next,
            _ => Place::Gap,
        }
    }
}

/// See the module header.
#[derive(Debug)]
pub(crate) struct Ledger {
    /// Until the first frame has come.
    start: Option<Start>,
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
    /// The first frame taken on this connection, and the checksums of the last few.
    first: u64,
    checks: [u32; CHECKS],
}

fn place_of(seq: u64) -> usize {
    usize::try_from(seq % CHECKS as u64).unwrap_or(0)
}

/// Frames whose checksums are kept.
const CHECKS: usize = 16;
/// The most one connection may have in flight: beyond this acknowledgements only queue.
pub(crate) const CREDIT_WINDOW_MAX: u64 = 512 << 10;

impl Ledger {
    /// A ledger of a new lane; without acknowledgements credit has no end.
    pub(crate) fn new(acknowledges: bool) -> Self {
        let credit = if acknowledges { CREDIT_INITIAL } else { u64::MAX };
        Self {
            start: None,
            next: 1,
            done: 0,
            told: 0,
            pending: VecDeque::new(),
            refused: None,
            received: 0,
            credit_until: credit,
            window: CREDIT_INITIAL,
            credit_told: credit,
            due: false,
            repeated: false,
            first: 1,
            checks: [0; CHECKS],
        }
    }

    /// The sequence number expected, or that will be once all parts are answered.
    pub(crate) const fn next(&self) -> u64 {
        match (self.start, self.refused) {
            (Some(start), _) if start.known => start.next,
            (_, Some(refused)) => refused,
            (_, None) => self.next,
        }
    }

    /// What HELLO_OK tells.
    pub(crate) const fn next_seq(&self) -> u64 {
        match self.start {
            Some(start) => start.next_seq(),
            None => self.next,
        }
    }

    /// Whether the first frame has yet to say where the sequence goes on.
    pub(crate) const fn is_unstarted(&self) -> bool {
        self.start.is_some()
    }

    /// Whether this frame begins a sequence that some owner may have given up.
    pub(crate) fn begins(&self, seq: u64) -> bool {
        self.start.is_some_and(|start| !start.known && start.place(seq) == Place::Next)
    }

    /// Whether a part was refused and others are still on their way: nothing is begun.
    pub(crate) const fn is_rewinding(&self) -> bool {
        self.refused.is_some()
    }

    pub(crate) const fn credit_until(&self) -> u64 {
        self.credit_until
    }

    /// The owners have told what they know: the first frame goes by it.
    pub(crate) const fn await_first(&mut self, start: Start) {
        self.start = Some(start);
    }

    /// The first frame has this number, which has its place: the sequence goes on there.
    pub(crate) const fn start_at(&mut self, seq: u64) {
        if self.start.take().is_some() {
            (self.next, self.done, self.told) = (seq, seq - 1, seq - 1);
            self.first = seq;
        }
    }

    /// The next frame's checksum.
    pub(crate) fn note_check(&mut self, seq: u64, check: u32) {
        self.checks[place_of(seq)] = check;
    }

    /// Whether one of the last few frames of this connection had this number and other bytes.
    pub(crate) fn is_reused(&self, seq: u64, check: u32) -> bool {
        let is_noted = seq >= self.first && seq < self.next && seq + CHECKS as u64 >= self.next;
        is_noted && self.checks[place_of(seq)] != check
    }

    /// Counts a frame's bytes; `false` when they pass the credit.
    pub(crate) const fn receive(&mut self, bytes: usize) -> bool {
        self.received = self.received.saturating_add(bytes as u64);
        self.due = true;
        self.received <= self.credit_until
    }

    /// Where a frame with this number stands.
    pub(crate) const fn place(&self, seq: u64) -> Place {
        if let Some(start) = self.start {
            return start.place(seq);
        }
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

    #[test]
    fn a_number_that_comes_again_with_other_bytes_is_seen_while_it_is_recent() {
        let mut ledger = Ledger::new(true);
        assert!(!ledger.is_reused(1, 9), "nothing came yet");
        for seq in 1..=20 {
            ledger.note_check(seq, 100 + u32::try_from(seq).unwrap());
            ledger.begin(seq, 0);
        }
        assert!(!ledger.is_reused(20, 120) && ledger.is_reused(20, 121));
        assert!(!ledger.is_reused(5, 105) && ledger.is_reused(5, 999));
        assert!(!ledger.is_reused(4, 999), "too long ago to know");
    }

    fn budget() -> CreditBudget {
        CreditBudget::new(1 << 30)
    }

    #[test]
    fn acknowledges_up_to_the_first_hole() {
        let mut ledger = Ledger::new(true);
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
    fn the_first_frame_says_where_the_sequence_goes_on() {
        let start = |next, known, recovered| Start { next, known, recovered };
        let mut table = String::new();
        for (name, start) in [
            ("new", start(1, true, false)),
            ("at 5", start(5, true, false)),
            ("recovered at 5", start(5, true, true)),
            ("given up", start(1, false, false)),
            ("given up by one", start(5, false, true)),
        ] {
            let mut ledger = Ledger::new(true);
            ledger.await_first(start);
            let places = [0, 1, 4, 5, 6].map(|seq| format!("{:?}", ledger.place(seq)));
            table += &format!("{name}: {} tells {}\n", places.join(" "), start.next_seq());
        }
        let wanted = "\
new: Gap Next Gap Gap Gap tells 1
at 5: Gap Next Next Next Gap tells 5
recovered at 5: Gap Next Next Next Next tells 5
given up: Gap Next Unknown Unknown Unknown tells 0
given up by one: Gap Unknown Unknown Unknown Unknown tells 0
";
        assert_eq!(table, wanted, "\n{table}");
    }

    #[test]
    fn nothing_is_acknowledged_before_the_first_frame() {
        let mut ledger = Ledger::new(true);
        ledger.await_first(Start { next: 9, known: true, recovered: false });
        assert_eq!(ledger.next(), 9);
        assert!(ledger.receive(10_000), "a frame that was too damaged to tell its number");
        assert_eq!(ledger.acknowledge(&mut budget()).map(|ack| ack.seq()), Some(0));
        ledger.start_at(4);
        assert_eq!(
            (ledger.next(), ledger.place(3), ledger.place(5)),
            (4, Place::Duplicate, Place::Gap)
        );
        ledger.begin(4, 0);
        assert_eq!(ledger.acknowledge(&mut budget()).map(|ack| ack.seq()), Some(4));
    }

    #[test]
    fn a_duplicate_is_acknowledged_again() {
        let mut ledger = Ledger::new(true);
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
        let mut ledger = Ledger::new(true);
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
        let (mut ledger, mut budget) = (Ledger::new(true), CreditBudget::new(64 << 10));
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
        let (mut ledger, mut told) = (Ledger::new(true), CREDIT_INITIAL);
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
        let mut ledger = Ledger::new(false);
        assert!(ledger.receive(usize::MAX >> 1));
        ledger.begin(1, 0);
        assert_eq!(ledger.acknowledge(&mut budget()).map(|ack| ack.credit_until()), Some(u64::MAX));
        assert!(ledger.receive(100));
        assert_eq!(ledger.acknowledge(&mut budget()), None, "no credit to renew");
    }
}
