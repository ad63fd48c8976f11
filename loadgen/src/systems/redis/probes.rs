//! Small readers beside the load: until an event is visible, until an answer, until all tenants
//! are asked. All are open loop, like those of trendsrv.

use super::calls::{BUCKETS, Event, Form, digits, encode};
use super::question::{Ranking, ask, bucket, topics};
use super::wire::Wire;
use crate::latency::Latency;
use crate::probe::{Beat, Now};
use crate::report::Refresh;
use crate::schedule::{List, Reply, Schedule};
use anyhow::bail;
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use std::collections::VecDeque;

/// Topics of an answer.
const TOP: usize = 10;
/// Questions of a reader without a reply.
const ASKED_MAX: usize = 256;
/// Questions of a refresh without a reply: Redis reads about 64 from a connection at a time, and
/// finds as many again when it has answered them.
const REFRESH_ASKED_MAX: usize = 128;

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
    list: List,
    schedule: Schedule,
}

impl Refresher {
    pub(super) const fn new(wire: Wire, tenants: u32, period_ms: u32) -> Self {
        let tenants = tenants as usize;
        Self { wire, list: List::new(tenants), schedule: Schedule::new(tenants, period_ms) }
    }

    pub(super) const fn is_idle(&self) -> bool {
        self.list.in_flight == 0
    }

    /// Whether all that was due has been asked, and few questions wait for their replies.
    pub(super) fn is_on_schedule(&self) -> bool {
        self.schedule.is_on_schedule([self.list])
    }

    pub(super) fn drive(
        &mut self,
        now: Now,
        ranking: &Ranking,
        scratch: &mut [u8],
    ) -> anyhow::Result<()> {
        self.wire.fill(scratch)?;
        while let Some(reply) = self.wire.next_reply()? {
            ranking.top(topics(reply)?, TOP)?;
            // Replies come in the order of the questions, and a round ends before the next begins.
            self.schedule.note(now, self.schedule.round(), Reply::Answer)?;
            self.list.in_flight = self.list.in_flight.saturating_sub(1);
        }
        if now.active {
            if self.schedule.turn(now) {
                self.list.restart();
            }
            while let Some(tenant) = self.schedule.next(&mut self.list, REFRESH_ASKED_MAX) {
                ask(u32::try_from(tenant)?, bucket(now.wall_ms), self.wire.out());
            }
        }
        self.wire.pump()
    }

    /// What became of the rounds that began in the measurement.
    pub(super) fn report(self) -> Refresh {
        self.schedule.report()
    }
}
