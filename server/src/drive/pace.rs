//! When and how a shard sleeps.
//!
//! Wake-ups, not work, cost most at a few million events a second: a doorbell wake-up for every
//! read keeps a core half busy with waking. So a busy shard sleeps on a short timer and finds a
//! batch, and a quiet one sleeps on its doorbell and answers at once.
//!
//! ```text
//!                16 busy turns, each within 2 ms of the one before
//!   doorbell ───────────────────────────────────────────────────▶ timer
//!            ◀─────────────────────────────────────────────────── 4 turns that are not
//! ```
//!
//! A busy turn received 2 KiB or from eight places: one peer that asks, waits and asks again is no
//! load, however fast it goes, and a nap would cost it a thousandfold.

use super::TurnReport;
use crate::config::Latency;
use std::time::{Duration, Instant};

/// How to sleep after a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Nap {
    /// Not at all.
    None,
    /// For this long, whatever happens.
    Timer(Duration),
    /// Until there is work, at most this long.
    Doorbell(Duration),
}

/// What the recent turns were like.
#[derive(Debug)]
pub(crate) struct Pace {
    heat: u8,
    last_busy: Instant,
    /// When the last timer nap was to end: naps keep a rhythm whatever the turns between them take.
    beat: Instant,
}

impl Pace {
    pub(crate) fn new() -> Self {
        let now = Instant::now();
        Self { heat: 0, last_busy: now, beat: now }
    }

    /// How to sleep after a turn like this one.
    pub(crate) fn nap(&mut self, latency: Latency, turn: &TurnReport) -> Nap {
        self.nap_at(latency, turn, Instant::now())
    }

    fn nap_at(&mut self, latency: Latency, turn: &TurnReport, now: Instant) -> Nap {
        if turn.bytes >= BUSY_BYTES || turn.completions >= BUSY_COMPLETIONS {
            let close = now.duration_since(self.last_busy) <= CLOSE;
            self.heat = if close { (self.heat + 1).min(HEAT_MAX) } else { 0 };
            self.last_busy = now;
        } else if turn.bytes > 0 || now.duration_since(self.last_busy) > CLOSE {
            self.heat = self.heat.saturating_sub(COOLING);
        }
        if turn.bytes >= FULL_TURN_BYTES {
            return Nap::None;
        }
        if latency == Latency::Adaptive && self.heat >= HEAT_TIMER {
            return self.nap_to_the_beat(now);
        }
        if turn.more || turn.due || turn.mails > 0 {
            return Nap::None;
        }
        Nap::Doorbell(turn.within.map_or(IDLE, |within| within.min(IDLE)))
    }

    /// Sleeps until a period after the last beat; a turn that took about that long goes on at once.
    fn nap_to_the_beat(&mut self, now: Instant) -> Nap {
        let next = self.beat + PERIOD;
        let left = next.saturating_duration_since(now);
        if left < NAP_MIN {
            self.beat = now;
            return Nap::None;
        }
        self.beat = next;
        Nap::Timer(left)
    }
}

/// What makes a turn busy.
const BUSY_BYTES: usize = 2 << 10;
const BUSY_COMPLETIONS: u32 = 8;
/// Busy turns this close to each other are load.
const CLOSE: Duration = Duration::from_millis(2);
const HEAT_MAX: u8 = 32;
const HEAT_TIMER: u8 = 16;
const COOLING: u8 = 4;
/// Enough bytes for a turn: sleeping would only let a backlog grow.
const FULL_TURN_BYTES: usize = 320 << 10;
/// A busy shard wakes up this often: every wake-up costs, and frames wait for one.
const PERIOD: Duration = Duration::from_micros(1_250);
/// A nap shorter than this costs more than it saves.
const NAP_MIN: Duration = Duration::from_micros(100);
/// The longest sleep of an idle shard: expiry goes on, and the watchdog sees it turn.
const IDLE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(bytes: usize) -> TurnReport {
        TurnReport { bytes, ..TurnReport::default() }
    }

    #[test]
    fn heats_up_under_load_and_cools_down_after() {
        let mut pace = Pace::new();
        let mut now = Instant::now();
        let step = Duration::from_micros(500);
        for _ in 0..HEAT_TIMER {
            now += step;
            pace.nap_at(Latency::Adaptive, &turn(BUSY_BYTES), now);
        }
        now += step;
        let nap = pace.nap_at(Latency::Adaptive, &turn(BUSY_BYTES), now);
        assert!(matches!(nap, Nap::Timer(_) | Nap::None), "{nap:?}");
        let beat = pace.beat;
        let nap = pace.nap_at(Latency::Adaptive, &turn(BUSY_BYTES), beat + PERIOD / 2);
        assert_eq!(nap, Nap::Timer(PERIOD / 2), "to the next beat");
        let late = pace.beat + PERIOD;
        assert_eq!(
            pace.nap_at(Latency::Adaptive, &turn(BUSY_BYTES), late),
            Nap::None,
            "a long turn"
        );
        assert_eq!(pace.nap_at(Latency::Low, &turn(BUSY_BYTES), now), Nap::Doorbell(IDLE));
        for _ in 0..HEAT_MAX {
            now += CLOSE + step;
            pace.nap_at(Latency::Adaptive, &turn(0), now);
        }
        assert_eq!(pace.nap_at(Latency::Adaptive, &turn(0), now), Nap::Doorbell(IDLE));
    }

    #[test]
    fn one_peer_that_asks_again_and_again_is_no_load() {
        let mut pace = Pace::new();
        let mut now = Instant::now();
        for _ in 0..1_000 {
            now += Duration::from_micros(50);
            let nap = pace.nap_at(Latency::Adaptive, &turn(BUSY_BYTES - 1), now);
            assert_eq!(nap, Nap::Doorbell(IDLE));
        }
    }

    #[test]
    fn lone_frames_are_answered_at_once() {
        let mut pace = Pace::new();
        let mut now = Instant::now();
        for _ in 0..100 {
            now += Duration::from_millis(5);
            assert_eq!(pace.nap_at(Latency::Adaptive, &turn(BUSY_BYTES), now), Nap::Doorbell(IDLE));
        }
    }

    #[test]
    fn a_quiet_shard_wakes_for_what_is_due() {
        let mut pace = Pace::new();
        let within = Duration::from_millis(2);
        let due = TurnReport { within: Some(within), ..turn(0) };
        assert_eq!(pace.nap_at(Latency::Adaptive, &due, Instant::now()), Nap::Doorbell(within));
        let later = TurnReport { within: Some(IDLE * 2), ..turn(0) };
        assert_eq!(pace.nap_at(Latency::Adaptive, &later, Instant::now()), Nap::Doorbell(IDLE));
    }

    #[test]
    fn full_turns_and_work_at_hand_leave_no_time_to_sleep() {
        let mut pace = Pace::new();
        let now = Instant::now();
        assert_eq!(pace.nap_at(Latency::Adaptive, &turn(FULL_TURN_BYTES), now), Nap::None);
        let due = TurnReport { due: true, ..turn(0) };
        assert_eq!(pace.nap_at(Latency::Low, &due, now), Nap::None);
    }
}
