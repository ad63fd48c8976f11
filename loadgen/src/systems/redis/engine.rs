//! The loop that makes the load of Redis: one thread, every socket non-blocking.
//!
//! The same plan as for trendsrv: warm-up until every tenant has had an event, measurement, drain;
//! paced load is open loop, its latency counts from the time an event was due; saturated load waits
//! while the answers of a refresh are behind.

use super::lane::Lane;
use super::probes::{Queries, Refresher, Visible};
use super::question::Ranking;
use super::wire::Wire;
use crate::engine::{Plan, QUERIES, REFRESH, VISIBLE, interrupted};
use crate::limits::{DRAIN_MS_MAX, PROGRAMS_MS_MAX};
use crate::probe::Now;
use crate::process::{Figures, Meter, Used, float};
use crate::scenario::Scenario;
use crate::tally::Tally;
use anyhow::Context as _;
use mio::{Poll, Token};
use std::time::Duration;

/// Everything the loop drives.
pub(super) struct Engine<'a> {
    /// The load, with a call for a frame.
    pub(super) scenario: &'a Scenario,
    pub(super) poll: Poll,
    pub(super) lanes: Vec<Lane>,
    pub(super) visible: Visible,
    pub(super) queries: Queries,
    pub(super) refresher: Option<Refresher>,
    pub(super) ranking: Ranking,
    pub(super) tally: Tally,
    pub(super) server_pid: u32,
}

/// What the loop found, besides the tally.
#[derive(Clone, Debug)]
pub(super) struct Measured {
    pub(super) used: Used,
    /// What this program used meanwhile; paced load spins.
    pub(super) own: Used,
    /// Events acknowledged while `used` was used.
    pub(super) acked: u64,
    /// Events whose intended time lies in the measurement.
    pub(super) offered: u64,
    pub(super) drained: bool,
    /// Whether every tenant had an event counted when the measurement began.
    pub(super) all_seen: bool,
    pub(super) warmup_s: f64,
}

impl Engine<'_> {
    /// Runs warm-up, measurement and drain.
    pub(super) fn run(&mut self) -> anyhow::Result<Measured> {
        let (mut scratch, mut ready) = (vec![0; 256 << 10], mio::Events::with_capacity(256));
        let mut plan = Plan::new(self.scenario)?;
        let late_ns = plan.warm_ns + PROGRAMS_MS_MAX * 1_000_000;
        let mut calls = vec![0_u64; self.lanes.len()];
        let (mut meter, mut all_seen) = (None, false);
        let (mut before, mut after) = (None, None);
        loop {
            let now_ns = plan.now_ns();
            if meter.is_none() {
                all_seen = self.lanes.iter().all(Lane::has_seen_all);
                if now_ns >= late_ns || all_seen && now_ns >= plan.warm_ns {
                    meter = Some(Meter::prepare(&[self.server_pid])?);
                }
            }
            if let Some(meter) = &mut meter {
                if before.is_none() && meter.is_ready() {
                    meter.begin()?;
                    before = Some(self.own()?);
                    plan.begin(plan.now_ns(), self.scenario.seconds);
                }
                if after.is_none() && now_ns >= plan.end_ns {
                    meter.end()?;
                    after = Some(self.own()?);
                }
            }
            if after.is_some() && self.is_drained(now_ns, &plan) {
                break;
            }
            let all_there = all_seen || meter.is_some();
            if now_ns < plan.end_ns && self.may_release(all_there) {
                self.release(now_ns, &plan, &mut calls)?;
            }
            for lane in &mut self.lanes {
                lane.wire.pump()?;
            }
            self.wait(&mut ready)?;
            self.take_turn(&plan, &mut scratch)?;
        }
        let meter = meter.context("the measurement never began")?;
        let (own_before, acked_before) = before.context("the measurement never began")?;
        let (own_after, acked_after) = after.context("the measurement never ended")?;
        let offered = match self.scenario.rate {
            0 => self.tally.measured.admitted,
            _ => self.offered(&plan, &calls),
        };
        Ok(Measured {
            used: meter.used()?,
            own: own_after.since(&own_before),
            acked: acked_after - acked_before,
            offered,
            drained: self.lanes.iter().all(Lane::is_idle) && self.visible.is_idle(),
            all_seen,
            warmup_s: float(plan.measure_ns) / 1e9,
        })
    }

    /// Our own figures, and the events acknowledged so far.
    fn own(&self) -> anyhow::Result<(Figures, u64)> {
        Ok((Figures::read(std::process::id())?, self.tally.all.acked))
    }

    /// Calls due in the measurement, taken or not, as events.
    fn offered(&self, plan: &Plan, calls: &[u64]) -> u64 {
        let missed = plan.missed(calls);
        self.tally.measured.admitted + missed * self.scenario.frame_events as u64
    }

    /// Whether events may go, as for trendsrv.
    fn may_release(&self, all_there: bool) -> bool {
        let waits = self.scenario.rate == 0 && all_there;
        let refresher = self.refresher.as_ref().filter(|_| waits);
        refresher.is_none_or(Refresher::is_on_schedule)
    }

    /// Admits the calls that are due, or as many as are taken.
    fn release(&mut self, now_ns: u64, plan: &Plan, calls: &mut [u64]) -> anyhow::Result<()> {
        let lanes = self.lanes.len() as u64;
        for (index, (lane, taken)) in (0..).zip(self.lanes.iter_mut().zip(calls)) {
            if self.scenario.rate == 0 {
                let base_ms = plan.wall_ms(now_ns);
                while lane.wants_calls() {
                    lane.admit(now_ns, base_ms, plan.is_measured(now_ns), &mut self.tally)?;
                }
                continue;
            }
            while lane.has_room() {
                let due_ns = plan.due_ns(*taken * lanes + index);
                if due_ns > now_ns || due_ns >= plan.end_ns {
                    break;
                }
                let base_ms = plan.wall_ms(due_ns);
                lane.admit(due_ns, base_ms, plan.is_measured(due_ns), &mut self.tally)?;
                *taken += 1;
            }
        }
        Ok(())
    }

    /// Everything that was admitted is answered, or has had its time.
    fn is_drained(&self, now_ns: u64, plan: &Plan) -> bool {
        let answered = self.lanes.iter().all(Lane::is_idle)
            && self.visible.is_idle()
            && self.queries.is_idle()
            && self.refresher.as_ref().is_none_or(Refresher::is_idle);
        answered || now_ns >= plan.end_ns.saturating_add(DRAIN_MS_MAX * 1_000_000)
    }

    /// Paced load spins, so that a call leaves when it is due; otherwise the poll may sleep.
    fn wait(&mut self, ready: &mut mio::Events) -> anyhow::Result<()> {
        let spin = self.scenario.rate > 0 && !self.scenario.sleep;
        let pause = if spin { Duration::ZERO } else { Duration::from_millis(1) };
        self.poll.poll(ready, Some(pause)).or_else(interrupted)?;
        for event in &*ready {
            let ended = event.is_read_closed() || event.is_error();
            if let Some(wire) = self.wire(event.token()) {
                wire.mark_ready(event.is_readable() || ended, event.is_writable());
            }
        }
        Ok(())
    }

    fn wire(&mut self, token: Token) -> Option<&mut Wire> {
        match token {
            VISIBLE => Some(&mut self.visible.wire),
            QUERIES => Some(&mut self.queries.wire),
            REFRESH => self.refresher.as_mut().map(|refresher| &mut refresher.wire),
            Token(lane) => self.lanes.get_mut(lane).map(|lane| &mut lane.wire),
        }
    }

    /// Reads every socket that has something and lets the probes act.
    fn take_turn(&mut self, plan: &Plan, scratch: &mut [u8]) -> anyhow::Result<()> {
        let now_ns = plan.now_ns();
        for (index, lane) in self.lanes.iter_mut().enumerate() {
            lane.read(now_ns, scratch, &mut self.tally)
                .with_context(|| format!("connection {index}"))?;
        }
        let now_ns = plan.now_ns();
        let now = Now {
            ns: now_ns,
            wall_ms: plan.wall_ms(now_ns),
            active: now_ns < plan.end_ns,
            measured: plan.is_measured(now_ns),
        };
        self.visible.drive(now, scratch)?;
        self.queries.drive(now, &self.ranking, scratch)?;
        match &mut self.refresher {
            Some(refresher) => refresher.drive(now, &self.ranking, scratch),
            None => Ok(()),
        }
    }
}
