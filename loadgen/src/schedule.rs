//! When every tenant is to be asked for, and whether questions and answers keep up with that.
//!
//! ```text
//! due       |=== round 1 ===|=== round 2 ===|      a step at a time, spread over the period
//! asked     |=============  |                      so far, by all connections
//! answered  |============   |                      round 2 begins when round 1 is answered
//! ```
//!
//! Owns: the rounds, and what became of them. Never touches a socket: who asks tells it what was
//! asked and answered. The same for every system, so that all are held to the same.

use crate::limits::{REFRESH_STEP_NS, REFRESH_WAITING_MIN};
use crate::probe::Now;
use crate::process::float;
use crate::report::Refresh;
use anyhow::Context as _;

/// The rounds.
#[derive(Debug)]
pub(crate) struct Schedule {
    tenants: usize,
    period_ns: u64,
    /// The time of the newest turn.
    now_ns: u64,
    /// When the next round begins, if the last one has been answered by then.
    due_ns: u64,
    round: Option<Round>,
    /// Rounds that have begun.
    begun: u32,
    /// Lengths of the rounds that began in the measurement and were finished.
    lengths_ns: Vec<u64>,
    answered: u64,
    refused: u64,
}

#[derive(Clone, Copy, Debug)]
struct Round {
    began_ns: u64,
    /// How long its questions are spread over.
    span_ns: u64,
    measured: bool,
    unanswered: usize,
}

/// The tenants that one connection asks for, and how far it is with them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct List {
    all: usize,
    /// How many of them were asked for in the newest round.
    asked: usize,
    pub(crate) in_flight: usize,
}

/// What an answer was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    Answer,
    /// Too busy to answer.
    Refused,
}

impl Schedule {
    pub(crate) const fn new(tenants: usize, period_ms: u32) -> Self {
        Self {
            tenants,
            period_ns: period_ms as u64 * 1_000_000,
            now_ns: 0,
            due_ns: 0,
            round: None,
            begun: 0,
            lengths_ns: Vec::new(),
            answered: 0,
            refused: 0,
        }
    }

    /// Takes a turn: what is due now may be asked. Begins a round when it is due and the one before
    /// has been answered; returns whether it did.
    pub(crate) fn turn(&mut self, now: Now) -> bool {
        self.now_ns = now.ns;
        if self.round.is_some() || now.ns < self.due_ns {
            return false;
        }
        // A little delay is made up for within the round, more is not.
        let late = now.ns - self.due_ns > self.period_ns / 2;
        self.due_ns = if late { now.ns } else { self.due_ns } + self.period_ns;
        self.begun += 1;
        self.round = Some(Round {
            began_ns: now.ns,
            span_ns: self.due_ns - now.ns,
            measured: now.measured,
            unanswered: self.tenants,
        });
        true
    }

    /// Notes an answer to a question of a round.
    ///
    /// # Errors
    /// When that round has ended.
    pub(crate) fn note(&mut self, now: Now, of: u32, reply: Reply) -> anyhow::Result<()> {
        let round = self.round.as_mut().filter(|_| of == self.begun);
        let round = round.with_context(|| format!("an answer to round {of}, which has ended"))?;
        round.unanswered = round.unanswered.saturating_sub(1);
        let counted = match reply {
            Reply::Answer => &mut self.answered,
            Reply::Refused => &mut self.refused,
        };
        *counted += u64::from(now.measured);
        if round.unanswered == 0 {
            if round.measured {
                self.lengths_ns.push(now.ns.saturating_sub(round.began_ns));
            }
            self.round = None;
        }
        Ok(())
    }

    /// The newest round, counted from 1.
    pub(crate) const fn round(&self) -> u32 {
        self.begun
    }

    /// Rounds that began in the measurement and were finished.
    #[cfg(test)]
    pub(crate) const fn finished(&self) -> usize {
        self.lengths_ns.len()
    }

    /// The next tenant of a list to ask for, if its time has come and so many questions at most
    /// wait for their answers.
    pub(crate) fn next(&self, list: &mut List, in_flight_max: usize) -> Option<usize> {
        if list.in_flight >= in_flight_max || list.asked >= self.due(list.all) {
            return None;
        }
        list.asked += 1;
        list.in_flight += 1;
        Some(list.asked - 1)
    }

    /// Whether every question that was due at the newest turn has been asked, and few wait for their
    /// answers. What fell due since is for the next turn: nobody is behind with it.
    pub(crate) fn is_on_schedule(&self, lists: impl IntoIterator<Item = List>) -> bool {
        let (mut all_asked, mut waiting) = (self.now_ns < self.due_ns, 0);
        for list in lists {
            all_asked &= list.asked >= self.due(list.all);
            waiting += list.in_flight;
        }
        all_asked && waiting <= (self.tenants / 50).max(REFRESH_WAITING_MIN)
    }

    /// What became of the rounds.
    pub(crate) fn report(mut self) -> Refresh {
        self.lengths_ns.sort_unstable();
        let seconds = |ns: Option<&u64>| ns.map_or(0.0, |ns| float(*ns) / 1e9);
        Refresh {
            tenants: self.tenants as u64,
            rounds: self.lengths_ns.len() as u64,
            answers: self.answered,
            refused: self.refused,
            seconds_p50: seconds(self.lengths_ns.get(self.lengths_ns.len() / 2)),
            seconds_max: seconds(self.lengths_ns.last()),
            cpu_ns: 0,
        }
    }

    /// How many of a list so long are to have been asked for.
    fn due(&self, all: usize) -> usize {
        let Some(round) = self.round else { return 0 };
        let steps = self.now_ns.saturating_sub(round.began_ns) / REFRESH_STEP_NS + 1;
        let passed_ns = u128::from(steps * REFRESH_STEP_NS);
        let due = passed_ns * all as u128 / u128::from(round.span_ns);
        usize::try_from(due).map_or(all, |due| due.min(all))
    }
}

impl List {
    /// A list so long, of which nothing is asked before the first round.
    pub(crate) const fn new(all: usize) -> Self {
        Self { all, asked: all, in_flight: 0 }
    }

    /// A round begins.
    pub(crate) const fn restart(&mut self) {
        self.asked = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Now {
        Now { ns: ms * 1_000_000, wall_ms: ms, active: true, measured: true }
    }

    /// Asks for all that is due, as far as so many may wait.
    fn ask(schedule: &mut Schedule, list: &mut List, ms: u64, in_flight_max: usize) {
        if schedule.turn(at(ms)) {
            list.restart();
        }
        while schedule.next(list, in_flight_max).is_some() {}
    }

    fn answer(schedule: &mut Schedule, list: &mut List, ms: u64, answers: usize) {
        for _ in 0..answers {
            let round = schedule.round();
            schedule.note(at(ms), round, Reply::Answer).unwrap();
            list.in_flight -= 1;
        }
    }

    #[test]
    fn a_round_that_is_late_is_not_caught_up_with() {
        let mut schedule = Schedule::new(4, 10);
        let mut began = Vec::new();
        for ms in [100, 105, 110, 115, 170, 175, 180] {
            schedule.turn(at(ms));
            // It has been answered when the next turn comes.
            schedule.round = None;
            began.push(schedule.round());
        }
        assert_eq!(began, [1, 1, 2, 2, 3, 3, 4]);
    }

    #[test]
    fn questions_that_are_due_and_not_asked_are_behind() {
        let (mut schedule, mut list) = (Schedule::new(10_000, 1_000), List::new(10_000));
        assert!(!schedule.is_on_schedule([list]), "the first round is due");
        ask(&mut schedule, &mut list, 1_000, 64);
        assert!(schedule.is_on_schedule([list]), "ten of ten");
        ask(&mut schedule, &mut list, 1_010, 64);
        assert_eq!(list.in_flight, 64, "as many as may wait, of 110");
        assert!(!schedule.is_on_schedule([list]));
        answer(&mut schedule, &mut list, 1_011, 64);
        ask(&mut schedule, &mut list, 1_011, 64);
        assert!(schedule.is_on_schedule([list]), "120 of 120");
        schedule.turn(at(1_012));
        assert!(!schedule.is_on_schedule([list]), "a step later");
    }

    #[test]
    fn many_questions_without_an_answer_are_behind() {
        for (tenants, waiting_max) in [(100, 64), (3_200, 64), (100_000, 2_000)] {
            let (mut schedule, mut list) = (Schedule::new(tenants, 1_000), List::new(tenants));
            ask(&mut schedule, &mut list, 1_000, usize::MAX);
            ask(&mut schedule, &mut list, 1_900, usize::MAX);
            let answers = list.in_flight - waiting_max;
            answer(&mut schedule, &mut list, 1_900, answers - 1);
            assert!(!schedule.is_on_schedule([list]), "{tenants}");
            answer(&mut schedule, &mut list, 1_900, 1);
            assert!(schedule.is_on_schedule([list]), "{tenants}");
        }
    }

    #[test]
    fn every_connection_has_to_keep_up() {
        let mut schedule = Schedule::new(2_000, 1_000);
        let (mut one, mut other) = (List::new(1_000), List::new(1_000));
        ask(&mut schedule, &mut one, 1_000, 64);
        other.restart();
        assert!(!schedule.is_on_schedule([one, other]));
        ask(&mut schedule, &mut other, 1_000, 64);
        assert!(schedule.is_on_schedule([one, other]));
    }

    #[test]
    fn a_round_that_cannot_begin_is_behind_until_the_last_answer() {
        let (mut schedule, mut list) = (Schedule::new(50, 1_000), List::new(50));
        ask(&mut schedule, &mut list, 1_000, 64);
        ask(&mut schedule, &mut list, 1_999, 64);
        answer(&mut schedule, &mut list, 1_999, 49);
        assert!(schedule.is_on_schedule([list]));
        ask(&mut schedule, &mut list, 2_000, 64);
        assert!(!schedule.is_on_schedule([list]), "the next round is due");
        answer(&mut schedule, &mut list, 2_003, 1);
        ask(&mut schedule, &mut list, 2_003, 64);
        assert!(schedule.is_on_schedule([list]));
        assert_eq!((schedule.round(), schedule.lengths_ns.as_slice()), (2, &[1_003_000_000][..]));
        assert!(schedule.note(at(2_004), 1, Reply::Answer).is_err(), "it has ended");
    }
}
