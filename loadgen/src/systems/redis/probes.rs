//! Small readers beside the load: until an event is visible, until an answer, until all tenants
//! are asked. All are open loop, like those of trendsrv.

use super::calls::{BUCKETS, Event, Form, digits, encode};
use super::question::{Ranking, ask, bucket, topics};
use super::wire::Wire;
use crate::latency::Latency;
use crate::limits::REFRESH_STEP_NS;
use crate::probe::{Beat, Now};
use crate::process::float;
use crate::report::Refresh;
use anyhow::bail;
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use std::collections::VecDeque;

/// Topics of an answer.
const TOP: usize = 10;
/// Questions of a reader without a reply.
const ASKED_MAX: usize = 256;
/// Questions of a refresh without a reply: Redis works through what one connection has sent, and
/// the load waits meanwhile.
const REFRESH_ASKED_MAX: usize = 64;

/// Sends one event of its own tenant at a time and asks until the answer holds it.
#[derive(Debug)]
pub(super) struct Visible {
    pub(super) wire: Wire,
    beat: Beat,
    form: Form,
    /// Its tenant and topic.
    target: (u32, u32),
    /// Buckets of the events sent that can still be in the window.
    sent: VecDeque<u64>,
    /// The event on its way: when it was due, whether it counts, and the last bucket asked for.
    asked: Option<(u64, bool, u64)>,
    /// Whether the reply to the event itself is still to come.
    unacknowledged: bool,
    pub(super) latency: Latency,
}

impl Visible {
    pub(super) fn new(
        wire: Wire,
        per_second: u32,
        form: Form,
        target: (u32, u32),
    ) -> anyhow::Result<Self> {
        Ok(Self {
            wire,
            beat: Beat::new(per_second),
            form,
            target,
            sent: VecDeque::new(),
            asked: None,
            unacknowledged: false,
            latency: Latency::new()?,
        })
    }

    pub(super) const fn is_idle(&self) -> bool {
        self.asked.is_none()
    }

    pub(super) fn drive(&mut self, now: Now, scratch: &mut [u8]) -> anyhow::Result<()> {
        if self.asked.is_none()
            && let Some(intended_ns) = self.beat.take(now)
        {
            let (tenant, topic) = self.target;
            let event = Event { tenant, topic, weight: 1, offset_ms: 0 };
            let last = bucket(now.wall_ms);
            encode(&self.form, &digits(last), &[event], self.wire.out());
            self.sent.push_back(last);
            self.unacknowledged = true;
            self.ask(now, intended_ns, now.measured);
        }
        self.wire.pump()?;
        self.wire.fill(scratch)?;
        loop {
            let unacknowledged = self.unacknowledged;
            let Some(reply) = self.wire.next_reply()? else { break };
            if unacknowledged {
                self.unacknowledged = false;
                continue;
            }
            let weight: u64 = topics(reply)?.iter().map(|topic| topic.1).sum();
            let Some((intended_ns, measured, last)) = self.asked.take() else {
                bail!("redis-server answers the probe, which asked nothing")
            };
            if weight < self.expected(last) {
                self.ask(now, intended_ns, measured);
                self.wire.pump()?;
            } else if measured {
                self.latency.record(now.ns.saturating_sub(intended_ns));
            }
        }
        Ok(())
    }

    fn ask(&mut self, now: Now, intended_ns: u64, measured: bool) {
        let last = bucket(now.wall_ms);
        ask(self.target.0, last, self.wire.out());
        self.asked = Some((intended_ns, measured, last));
    }

    /// How many of its events the window with this last bucket holds.
    fn expected(&mut self, last: u64) -> u64 {
        while self.sent.front().is_some_and(|first| first + u64::from(BUCKETS) <= last) {
            self.sent.pop_front();
        }
        self.sent.len() as u64
    }
}

/// Asks for the top 10 of sampled tenants.
#[derive(Debug)]
pub(super) struct Queries {
    pub(super) wire: Wire,
    beat: Beat,
    tenants: Vec<u32>,
    random: SmallRng,
    asked: VecDeque<(u64, bool)>,
    pub(super) latency: Latency,
}

impl Queries {
    pub(super) fn new(
        wire: Wire,
        per_second: u32,
        tenants: Vec<u32>,
        seed: u64,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            wire,
            beat: Beat::new(per_second),
            tenants,
            random: SmallRng::seed_from_u64(seed),
            asked: VecDeque::new(),
            latency: Latency::new()?,
        })
    }

    pub(super) fn is_idle(&self) -> bool {
        self.asked.is_empty()
    }

    pub(super) fn drive(
        &mut self,
        now: Now,
        ranking: &Ranking,
        scratch: &mut [u8],
    ) -> anyhow::Result<()> {
        // One that is due and not asked keeps its time.
        if self.asked.len() < ASKED_MAX
            && let Some(intended_ns) = self.beat.take(now)
        {
            let tenant = self.tenants[self.random.random_range(0..self.tenants.len())];
            ask(tenant, bucket(now.wall_ms), self.wire.out());
            self.asked.push_back((intended_ns, now.measured));
        }
        self.wire.pump()?;
        self.wire.fill(scratch)?;
        while let Some(reply) = self.wire.next_reply()? {
            ranking.top(topics(reply)?, TOP)?;
            if let Some((intended_ns, true)) = self.asked.pop_front() {
                self.latency.record(now.ns.saturating_sub(intended_ns));
            }
        }
        Ok(())
    }
}

/// Asks for the top 10 of every tenant, a round a period, spread over it; see [`crate::refresh`].
#[derive(Debug)]
pub(super) struct Refresher {
    pub(super) wire: Wire,
    tenants: u32,
    period_ns: u64,
    due_ns: u64,
    /// Questions of the newest round.
    asked: u32,
    in_flight: usize,
    /// Replies come in the order of the questions, so that the first round ends first.
    rounds: VecDeque<Round>,
    lengths_ns: Vec<u64>,
    answered: u64,
}

#[derive(Clone, Copy, Debug)]
struct Round {
    began_ns: u64,
    measured: bool,
    unanswered: u32,
}

impl Refresher {
    pub(super) fn new(wire: Wire, tenants: u32, period_ms: u32) -> Self {
        Self {
            wire,
            tenants,
            period_ns: u64::from(period_ms) * 1_000_000,
            due_ns: 0,
            // Nothing is asked before the first round.
            asked: tenants,
            in_flight: 0,
            rounds: VecDeque::new(),
            lengths_ns: Vec::new(),
            answered: 0,
        }
    }

    pub(super) const fn is_idle(&self) -> bool {
        self.in_flight == 0
    }

    pub(super) fn drive(
        &mut self,
        now: Now,
        ranking: &Ranking,
        scratch: &mut [u8],
    ) -> anyhow::Result<()> {
        if now.active {
            self.begin_round(now);
            self.ask(now);
        }
        self.wire.pump()?;
        self.wire.fill(scratch)?;
        while let Some(reply) = self.wire.next_reply()? {
            ranking.top(topics(reply)?, TOP)?;
            self.in_flight -= 1;
            self.answered += u64::from(now.measured);
            let Some(round) = self.rounds.front_mut() else {
                bail!("redis-server answers a refresh that has ended")
            };
            round.unanswered -= 1;
            if round.unanswered == 0 {
                if round.measured {
                    self.lengths_ns.push(now.ns.saturating_sub(round.began_ns));
                }
                self.rounds.pop_front();
            }
        }
        Ok(())
    }

    /// A round begins when it is due and every question of the one before was asked.
    fn begin_round(&mut self, now: Now) {
        if self.asked < self.tenants || now.ns < self.due_ns {
            return;
        }
        // A round that could not begin in time is not caught up with.
        let late = now.ns - self.due_ns > self.period_ns;
        self.due_ns = if late { now.ns } else { self.due_ns } + self.period_ns;
        self.asked = 0;
        let (began_ns, measured) = (now.ns, now.measured);
        self.rounds.push_back(Round { began_ns, measured, unanswered: self.tenants });
    }

    /// Asks as much of the newest round as its time has come, as far as replies keep up.
    fn ask(&mut self, now: Now) {
        let Some(round) = self.rounds.back() else { return };
        let steps = (now.ns - round.began_ns) / REFRESH_STEP_NS + 1;
        let (passed, period) = (u128::from(steps * REFRESH_STEP_NS), u128::from(self.period_ns));
        let due = passed * u128::from(self.tenants) / period;
        let due = u32::try_from(due).unwrap_or(u32::MAX).min(self.tenants);
        while self.asked < due && self.in_flight < REFRESH_ASKED_MAX {
            ask(self.asked, bucket(now.wall_ms), self.wire.out());
            self.asked += 1;
            self.in_flight += 1;
        }
    }

    /// What became of the rounds that began in the measurement.
    pub(super) fn report(mut self) -> Refresh {
        self.lengths_ns.sort_unstable();
        let seconds = |ns: Option<&u64>| ns.map_or(0.0, |ns| float(*ns) / 1e9);
        Refresh {
            tenants: u64::from(self.tenants),
            rounds: self.lengths_ns.len() as u64,
            answers: self.answered,
            seconds_p50: seconds(self.lengths_ns.get(self.lengths_ns.len() / 2)),
            seconds_max: seconds(self.lengths_ns.last()),
            ..Refresh::default()
        }
    }
}
