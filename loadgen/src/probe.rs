//! Two small readers beside the load: how long until an event is visible, and until an answer.
//!
//! Both are open loop: a latency counts from the time the probe was due.

use crate::latency::Latency;
use crate::wire::Wire;
use anyhow::bail;
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use std::collections::{HashMap, VecDeque};
use trendsrv_client::SessionEvent;
use trendsrv_proto::{Rank, Refusal, TenantId, TopicId};

/// What a probe needs to know about now.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    /// Since the run began.
    pub(crate) ns: u64,
    /// Since the epoch.
    pub(crate) wall_ms: u64,
    /// Probes start only while the load runs.
    pub(crate) active: bool,
    /// Latencies count only in the measurement.
    pub(crate) measured: bool,
}

/// When the next probe is due.
#[derive(Debug)]
pub(crate) struct Beat {
    due_ns: u64,
    interval_ns: u64,
}

impl Beat {
    pub(crate) const fn new(per_second: u32) -> Self {
        Self { due_ns: 0, interval_ns: 1_000_000_000 / per_second as u64 }
    }

    /// The intended time of a probe that is due.
    pub(crate) fn take(&mut self, now: Now) -> Option<u64> {
        if self.due_ns == 0 {
            self.due_ns = now.ns;
        }
        if !now.active || now.ns < self.due_ns {
            return None;
        }
        let intended_ns = self.due_ns;
        self.due_ns += self.interval_ns;
        Some(intended_ns)
    }
}

/// Sends one event of its own tenant at a time and asks until the answer holds it.
#[derive(Debug)]
pub(crate) struct Visible {
    pub(crate) wire: Wire,
    beat: Beat,
    target: (TenantId, TopicId),
    grid: (u64, u64),
    /// Times of the events sent that can still be in the window.
    sent_ms: VecDeque<u64>,
    /// Tag of the query on its way, and when its event was due.
    asked: Option<(u32, u64, bool)>,
    pub(crate) latency: Latency,
}

impl Visible {
    pub(crate) fn new(
        wire: Wire,
        per_second: u32,
        target: (TenantId, TopicId),
        (slide_ms, panes): (u32, u32),
    ) -> anyhow::Result<Self> {
        Ok(Self {
            wire,
            beat: Beat::new(per_second),
            target,
            grid: (u64::from(slide_ms), u64::from(panes)),
            sent_ms: VecDeque::new(),
            asked: None,
            latency: Latency::new()?,
        })
    }

    /// Whether no event waits to be seen.
    pub(crate) const fn is_idle(&self) -> bool {
        self.asked.is_none()
    }

    pub(crate) fn drive(&mut self, now: Now, scratch: &mut [u8]) -> anyhow::Result<()> {
        let now_ms = now.ns / 1_000_000;
        if self.asked.is_none()
            && let Some(intended_ns) = self.beat.take(now)
        {
            let (tenant, topic) = self.target;
            self.wire.session.push(now_ms, tenant, topic, 1, now.wall_ms)?;
            self.wire.session.flush();
            self.sent_ms.push_back(now.wall_ms);
            // A session sends requests before events; the event leaves first here.
            self.wire.drive(now_ms, scratch)?;
            self.ask(intended_ns, now.measured)?;
        }
        self.wire.drive(now_ms, scratch)?;
        while let Some(event) = self.wire.poll_event()? {
            match (event, self.asked) {
                (SessionEvent::Answer(tag, answer), Some((asked, intended_ns, measured)))
                    if tag == asked =>
                {
                    if answer.head.events < self.expected(answer.head.as_of_ms) {
                        self.ask(intended_ns, measured)?;
                        self.wire.drive(now_ms, scratch)?;
                        continue;
                    }
                    self.asked = None;
                    if measured {
                        self.latency.record(now.ns.saturating_sub(intended_ns));
                    }
                }
                // Not held yet: not visible yet.
                (SessionEvent::RequestRefused(_, r), Some((_, intended_ns, measured)))
                    if r.code == Refusal::UnknownTenant =>
                {
                    self.ask(intended_ns, measured)?;
                    self.wire.drive(now_ms, scratch)?;
                }
                (SessionEvent::Refused(r) | SessionEvent::RequestRefused(_, r), _) => {
                    bail!("the probe was refused: {}: {}", r.code.name(), r.message)
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn ask(&mut self, intended_ns: u64, measured: bool) -> anyhow::Result<()> {
        let Some(tag) = self.wire.session.query(self.target.0, None, 1, Rank::Count) else {
            bail!("the probe's connection is not open");
        };
        self.asked = Some((tag, intended_ns, measured));
        Ok(())
    }

    /// How many of the probe's events the window that ends at `as_of_ms` holds.
    fn expected(&mut self, as_of_ms: u64) -> u64 {
        let (slide_ms, panes) = self.grid;
        let last = as_of_ms / slide_ms;
        while self.sent_ms.front().is_some_and(|ts| ts / slide_ms + panes <= last) {
            self.sent_ms.pop_front();
        }
        self.sent_ms.len() as u64
    }
}

/// Asks for answers of sampled tenants.
#[derive(Debug)]
pub(crate) struct Queries {
    pub(crate) wire: Wire,
    beat: Beat,
    tenants: Vec<TenantId>,
    random: SmallRng,
    asked: HashMap<u32, (u64, bool)>,
    pub(crate) latency: Latency,
}

impl Queries {
    pub(crate) fn new(
        wire: Wire,
        per_second: u32,
        tenants: Vec<TenantId>,
        seed: u64,
    ) -> anyhow::Result<Self> {
        let (beat, random) = (Beat::new(per_second), SmallRng::seed_from_u64(seed));
        let asked = HashMap::new();
        Ok(Self { wire, beat, tenants, random, asked, latency: Latency::new()? })
    }

    /// Whether no query waits for its answer.
    pub(crate) fn is_idle(&self) -> bool {
        self.asked.is_empty()
    }

    pub(crate) fn drive(&mut self, now: Now, scratch: &mut [u8]) -> anyhow::Result<()> {
        if let Some(intended_ns) = self.beat.take(now) {
            let tenant = self.tenants[self.random.random_range(0..self.tenants.len())];
            // A full table of queries is a server that does not answer: the deadline tells.
            if let Some(tag) = self.wire.session.query(tenant, None, 10, Rank::Score) {
                self.asked.insert(tag, (intended_ns, now.measured));
            }
        }
        self.wire.drive(now.ns / 1_000_000, scratch)?;
        while let Some(event) = self.wire.poll_event()? {
            match event {
                SessionEvent::Answer(tag, _) => {
                    if let Some((intended_ns, true)) = self.asked.remove(&tag) {
                        self.latency.record(now.ns.saturating_sub(intended_ns));
                    }
                }
                // An answer, too: none of this tenant's events has come yet.
                SessionEvent::RequestRefused(tag, r) if r.code == Refusal::UnknownTenant => {
                    self.asked.remove(&tag);
                }
                SessionEvent::RequestRefused(_, r) => {
                    bail!("a query was refused: {}: {}", r.code.name(), r.message)
                }
                SessionEvent::Refused(_)
                | SessionEvent::Uncertain(_)
                | SessionEvent::ServerForgot
                | SessionEvent::NamesMissing { .. }
                | SessionEvent::RequestLost(_)
                | SessionEvent::Update(..)
                | SessionEvent::Opened(_)
                | SessionEvent::GoingAway(_)
                | SessionEvent::Close(_)
                | SessionEvent::Closed(_) => {}
            }
        }
        Ok(())
    }
}
