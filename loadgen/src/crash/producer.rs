//! One producer of the crash test: what it pushed, by tenant, and what it was acknowledged.

use super::verdict::Account;
use crate::limits::{CRASH_IN_FLIGHT_MAX, DRAIN_MS_MAX};
use anyhow::Context as _;
use rand::Rng as _;
use rand::rngs::StdRng;
use std::time::Duration;
use trendsrv_client::{Client, Options};
use trendsrv_proto::{AckMode, TenantId, TopicId};

/// See the module header.
#[derive(Debug)]
pub(super) struct Producer {
    name: String,
    client: Client,
    topic: TopicId,
    tenants: Vec<TenantId>,
    by_tenant: Vec<u64>,
}

impl Producer {
    /// Connects producer `number`.
    pub(super) fn connect(address: &str, number: u64, names: &[String]) -> anyhow::Result<Self> {
        let options = Options {
            producer: Some(number),
            ack: AckMode::Durable,
            batch_events: 32,
            linger_ms: 1,
            in_flight_bytes_max: 64 << 20,
            timeout: Duration::from_millis(DRAIN_MS_MAX),
            ..Options::default()
        };
        let mut client = Client::connect(address, options)?;
        let name = format!("p{number}");
        let topic = TopicId(client.define(&name)?);
        let tenants = names.iter().map(|name| client.define(name).map(TenantId));
        let tenants = tenants.collect::<Result<Vec<_>, _>>()?;
        let by_tenant = vec![0; tenants.len()];
        Ok(Self { name, client, topic, tenants, by_tenant })
    }

    /// Pushes a few events for random tenants, unless too many are unacknowledged.
    pub(super) fn push_some(&mut self, rng: &mut StdRng) -> anyhow::Result<()> {
        if self.in_flight() < CRASH_IN_FLIGHT_MAX {
            for _ in 0..rng.random_range(1..100) {
                let tenant = rng.random_range(0..self.tenants.len());
                self.client.send_ids(self.tenants[tenant], self.topic, 1, EVENT_MS)?;
                self.by_tenant[tenant] += 1;
            }
        }
        let pause = Duration::from_micros(rng.random_range(0..1_000));
        Ok(self.client.turn(pause)?)
    }

    /// Reads what came before the connection broke.
    pub(super) fn listen(&mut self) -> anyhow::Result<()> {
        for _ in 0..3 {
            self.client.turn(Duration::from_millis(1))?;
        }
        Ok(())
    }

    /// Sends what is left and waits until all of it is acknowledged.
    pub(super) fn flush(&mut self) -> anyhow::Result<()> {
        self.client.flush().with_context(|| format!("producer {}", self.name))
    }

    /// What it says of its events.
    pub(super) fn account(&self) -> Account<'_> {
        Account {
            name: &self.name,
            pushed: &self.by_tenant,
            acknowledged: self.client.counts().acked,
            given_up: self.given_up(),
        }
    }

    /// Its topic.
    pub(super) const fn topic(&self) -> TopicId {
        self.topic
    }

    /// Events pushed.
    pub(super) fn pushed(&self) -> u64 {
        self.by_tenant.iter().sum()
    }

    fn given_up(&self) -> u64 {
        let counts = self.client.counts();
        counts.refused + counts.uncertain
    }

    /// Events without an acknowledgement.
    pub(super) fn in_flight(&self) -> u64 {
        self.pushed() - self.client.counts().acked - self.given_up()
    }
}

/// When every event happened.
const EVENT_MS: u64 = 1_442_016_000_000;
