//! The loop that makes the load: one thread, every socket non-blocking.
//!
//! ```text
//! release frames that are due -> write -> poll -> read -> probes -> again
//! |---- warm-up ----|---- measurement ----|-- drain: the last acknowledgements --|
//!      … until every tenant and its program is there
//! ```
//!
//! Paced load is open loop: frame `n` of a connection has its intended time whatever happened
//! before it, and waits its turn when the server is slow; its latency counts from that time.
//! Saturated load admits a frame whenever credit and socket take one; its time is that moment.
//! Where all tenants are refreshed meanwhile, it admits none while the answers are behind.

use crate::lane::Lane;
use crate::limits::{DRAIN_MS_MAX, PROGRAMS_MS_MAX};
use crate::population::Population;
use crate::probe::{Now, Queries, Visible};
use crate::process::{Figures, Meter, Used};
use crate::refresh::Refresher;
use crate::scenario::Scenario;
use crate::tally::Tally;
use crate::watch::{Outcome, Wanted, Watch};
use anyhow::{Context as _, bail};
use indicatif::ProgressBar;
use mio::{Poll, Token};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Everything the loop drives.
pub(crate) struct Engine<'a> {
    pub(crate) scenario: &'a Scenario,
    pub(crate) population: &'a Population,
    pub(crate) poll: Poll,
    pub(crate) lanes: Vec<Lane>,
    pub(crate) visible: Visible,
    pub(crate) queries: Queries,
    /// Asks for every tenant, if the scenario wants that.
    pub(crate) refresher: Option<Refresher>,
    pub(crate) tally: Tally,
    pub(crate) server_pid: u32,
    /// The server's HTTP side, and what must be there before the measurement begins.
    pub(crate) awaited: (String, Wanted),
    pub(crate) bar: ProgressBar,
}

/// What the loop found, besides the tally.
#[derive(Clone, Debug)]
pub(crate) struct Measured {
    pub(crate) used: Used,
    /// What this program used meanwhile; paced load spins, so it says something only when
    /// saturated.
    pub(crate) own: Used,
    /// Events acknowledged while `used` was used.
    pub(crate) acked: u64,
    /// Events whose intended time lies in the measurement.
    pub(crate) offered: u64,
    /// Whether everything admitted was answered in time.
    pub(crate) drained: bool,
    /// What was there when the measurement began.
    pub(crate) began_with: Outcome,
    /// Load before the measurement.
    pub(crate) warmup_s: f64,
}

/// The token of the probe for visibility; queries have the next one, the connections that refresh
/// all tenants those behind it, lanes the numbers below.
pub(crate) const VISIBLE: Token = Token(1 << 20);
pub(crate) const QUERIES: Token = Token((1 << 20) + 1);
pub(crate) const REFRESH: Token = Token((1 << 20) + 2);

/// Where the run stands, in nanoseconds since it began.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// The measurement begins no earlier.
    pub(crate) warm_ns: u64,
    /// When the measurement began; until then never.
    pub(crate) measure_ns: u64,
    pub(crate) end_ns: u64,
    /// Between two frames of the whole load; 0 is saturated.
    interval_ns: f64,
    began: Instant,
    began_wall_ns: u128,
}

impl Plan {
    pub(crate) fn new(scenario: &Scenario) -> anyhow::Result<Self> {
        let events = crate::process::float(scenario.frame_events as u64);
        let interval_ns = match scenario.rate {
            0 => 0.0,
            rate => events * 1e9 / crate::process::float(rate),
        };
        let wall = SystemTime::now().duration_since(UNIX_EPOCH);
        Ok(Self {
            warm_ns: scenario.warmup_seconds * 1_000_000_000,
            measure_ns: u64::MAX,
            end_ns: u64::MAX,
            interval_ns,
            began: Instant::now(),
            began_wall_ns: wall.context("the clock is before 1970")?.as_nanos(),
        })
    }

    /// The measurement begins now, for so long.
    pub(crate) const fn begin(&mut self, now_ns: u64, seconds: u64) {
        self.measure_ns = now_ns;
        self.end_ns = now_ns + seconds * 1_000_000_000;
    }

    pub(crate) fn now_ns(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    pub(crate) fn wall_ms(&self, ns: u64) -> u64 {
        u64::try_from((self.began_wall_ns + u128::from(ns)) / 1_000_000).unwrap_or(u64::MAX)
    }

    /// When frame `n` of the whole load is due.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "under 2^53 ns")]
    pub(crate) fn due_ns(&self, frame: u64) -> u64 {
        (crate::process::float(frame) * self.interval_ns) as u64
    }

    pub(crate) const fn is_measured(&self, ns: u64) -> bool {
        ns >= self.measure_ns && ns < self.end_ns
    }

    /// What was due in the measurement and not taken, where each connection took so many.
    pub(crate) fn missed(&self, taken: &[u64]) -> u64 {
        let lanes = taken.len() as u64;
        let missed = (0..).zip(taken).map(|(lane, taken)| {
            let due = |n: &u64| self.due_ns(n * lanes + lane);
            (*taken..)
                .take_while(|n| due(n) < self.end_ns)
                .filter(|n| self.is_measured(due(n)))
                .count() as u64
        });
        missed.sum()
    }
}

impl Engine<'_> {
    /// Runs warm-up, measurement and drain.
    pub(crate) fn run(&mut self) -> anyhow::Result<Measured> {
        let (mut scratch, mut ready) = (vec![0; 256 << 10], mio::Events::with_capacity(1_024));
        self.open_probes(&mut scratch, &mut ready)?;
        let mut plan = Plan::new(self.scenario)?;
        let (http, wanted) = &self.awaited;
        // A million instances take longer than a hundred thousand: a fifth of a millisecond each.
        let patience_ms = PROGRAMS_MS_MAX.max(u64::from(self.scenario.tenants) / 5);
        let late_ns = plan.warm_ns + patience_ms * 1_000_000;
        let watch = Watch::begin(http, *wanted, Duration::from_nanos(late_ns))?;
        let mut began_with = None;
        let mut frames = vec![0_u64; self.lanes.len()];
        let mut meter = None;
        let (mut before, mut after) = (None, None);
        let mut bar_ns = 0;
        loop {
            let now_ns = plan.now_ns();
            if began_with.is_none() {
                began_with = watch.outcome();
            }
            if meter.is_none() && began_with.is_some() && now_ns >= plan.warm_ns {
                meter = Some(Meter::prepare(&[self.server_pid])?);
            }
            if before.is_none()
                && let Some(meter) = meter.as_mut().filter(|meter| meter.is_ready())
            {
                meter.begin()?;
                before = Some(self.own()?);
                plan.begin(plan.now_ns(), self.scenario.seconds);
                self.bar.set_length(plan.end_ns / 1_000_000);
            }
            if after.is_none()
                && now_ns >= plan.end_ns
                && let Some(meter) = &mut meter
            {
                meter.end()?;
                after = Some(self.own()?);
            }
            if after.is_some() && self.is_drained(now_ns, &plan) {
                break;
            }
            if now_ns >= bar_ns {
                self.bar.set_position(now_ns / 1_000_000);
                bar_ns = now_ns + 250_000_000;
            }
            if now_ns < plan.end_ns && self.may_release(began_with.is_some()) {
                self.release(now_ns, &plan, &mut frames);
            }
            for (index, lane) in self.lanes.iter_mut().enumerate() {
                lane.pump(now_ns).with_context(|| format!("connection {index}"))?;
            }
            self.wait(&mut ready)?;
            self.take_turn(&plan, &mut scratch)?;
        }
        self.bar.finish_and_clear();
        let meter = meter.context("the measurement never began")?;
        let (own_before, acked_before) = before.context("the measurement never began")?;
        let (own_after, acked_after) = after.context("the measurement never ended")?;
        let offered = match self.scenario.rate {
            0 => self.tally.measured.admitted,
            _ => self.offered(&plan, &frames),
        };
        Ok(Measured {
            used: meter.used()?,
            own: own_after.since(&own_before),
            acked: acked_after - acked_before,
            offered,
            drained: self.lanes.iter().all(Lane::is_idle) && self.visible.is_idle(),
            began_with: began_with.context("the measurement never began")?,
            warmup_s: crate::process::float(plan.measure_ns) / 1e9,
        })
    }

    /// Our own figures, and the events acknowledged so far.
    fn own(&self) -> anyhow::Result<(Figures, u64)> {
        Ok((Figures::read(std::process::id())?, self.tally.all.acked))
    }

    /// Frames due in the measurement, taken or not, as events.
    fn offered(&self, plan: &Plan, frames: &[u64]) -> u64 {
        let missed = plan.missed(frames);
        self.tally.measured.admitted + missed * self.scenario.frame_events as u64
    }

    /// Waits until both probes have their HELLO_OK.
    fn open_probes(&mut self, scratch: &mut [u8], ready: &mut mio::Events) -> anyhow::Result<()> {
        let until = Instant::now() + Duration::from_secs(10);
        while !(self.visible.wire.is_open() && self.queries.wire.is_open()) {
            if Instant::now() >= until {
                bail!("no HELLO_OK for the probes within 10 s");
            }
            for wire in [&mut self.visible.wire, &mut self.queries.wire] {
                wire.drive(0, scratch)?;
                while wire.poll_event()?.is_some() {}
            }
            self.poll.poll(ready, Some(Duration::from_millis(100))).or_else(interrupted)?;
            self.mark_ready(ready);
        }
        Ok(())
    }

    /// Whether events may go: once every tenant is there, as many as it takes are as many as leave
    /// the time to answer all questions.
    fn may_release(&self, all_there: bool) -> bool {
        let waits = self.scenario.rate == 0 && all_there;
        let refresher = self.refresher.as_ref().filter(|_| waits);
        refresher.is_none_or(Refresher::is_on_schedule)
    }

    /// Admits the frames that are due, or as many as are taken.
    fn release(&mut self, now_ns: u64, plan: &Plan, frames: &mut [u64]) {
        let lanes = self.lanes.len() as u64;
        for (index, (lane, taken)) in (0..).zip(self.lanes.iter_mut().zip(frames)) {
            if self.scenario.rate == 0 {
                let base_ms = plan.wall_ms(now_ns);
                while lane.wants_frames() {
                    lane.admit(now_ns, base_ms, plan.is_measured(now_ns), &mut self.tally);
                }
                continue;
            }
            while lane.has_room() {
                let due_ns = plan.due_ns(*taken * lanes + index);
                if due_ns > now_ns || due_ns >= plan.end_ns {
                    break;
                }
                let base_ms = plan.wall_ms(due_ns);
                lane.admit(due_ns, base_ms, plan.is_measured(due_ns), &mut self.tally);
                *taken += 1;
            }
        }
    }

    /// Everything that was admitted is answered, or has had its time.
    fn is_drained(&self, now_ns: u64, plan: &Plan) -> bool {
        let answered = self.lanes.iter().all(Lane::is_idle)
            && self.visible.is_idle()
            && self.queries.is_idle()
            && self.refresher.as_ref().is_none_or(Refresher::is_idle);
        answered || now_ns >= plan.end_ns.saturating_add(DRAIN_MS_MAX * 1_000_000)
    }

    /// Paced load spins, so that a frame leaves when it is due; otherwise the poll may sleep.
    fn wait(&mut self, ready: &mut mio::Events) -> anyhow::Result<()> {
        let spin = self.scenario.rate > 0 && !self.scenario.sleep;
        let pause = if spin { Duration::ZERO } else { Duration::from_millis(1) };
        self.poll.poll(ready, Some(pause)).or_else(interrupted)?;
        self.mark_ready(ready);
        Ok(())
    }

    fn mark_ready(&mut self, ready: &mio::Events) {
        for event in ready {
            match event.token() {
                VISIBLE => self.visible.wire.mark_ready(),
                QUERIES => self.queries.wire.mark_ready(),
                Token(number) => {
                    let ended = event.is_read_closed() || event.is_error();
                    let (readable, writable) = (event.is_readable() || ended, event.is_writable());
                    if let Some(shard) = number.checked_sub(REFRESH.0) {
                        if let Some(refresher) = &mut self.refresher {
                            refresher.mark_ready(shard, readable, writable);
                        }
                    } else {
                        self.lanes[number].mark_ready(readable, writable);
                    }
                }
            }
        }
    }

    /// Reads every socket that has something and lets the probes act.
    fn take_turn(&mut self, plan: &Plan, scratch: &mut [u8]) -> anyhow::Result<()> {
        let now_ns = plan.now_ns();
        for (index, lane) in self.lanes.iter_mut().enumerate() {
            lane.read(now_ns, scratch, self.population, &mut self.tally)
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
        self.queries.drive(now, scratch)?;
        self.refresher.as_mut().map_or(Ok(()), |refresher| refresher.drive(now, scratch))
    }
}

/// A wait that a signal ended early is no failure.
pub(crate) fn interrupted(error: std::io::Error) -> std::io::Result<()> {
    if error.kind() == std::io::ErrorKind::Interrupted { Ok(()) } else { Err(error) }
}
