//! Events to the shard that owns their tenant: one session per shard, one lane each.
//!
//! Owns: the lanes, the dictionary of names, the map from tenants to lanes. Never touches a
//! socket or a clock. Lane `i` is meant for shard `i`'s own address; a lane that ends elsewhere
//! still works, as every shard forwards what is not its own.

use crate::names::Names;
use crate::session::{ConfigError, Counts, PushError, Session, SessionConfig, SessionEvent};
use crate::topology::Topology;
use std::sync::Arc;
use trendsrv_proto::{TenantId, TopicId};

/// The lanes of one producer.
#[derive(Debug)]
pub struct Router {
    lanes: Vec<Session>,
    topology: Arc<Topology>,
    names: Names,
}

impl Router {
    /// One lane for each shard of `topology`; `config.lane` is overwritten.
    ///
    /// # Errors
    /// When a setting cannot work.
    pub fn new(
        config: &SessionConfig,
        topology: Arc<Topology>,
        names: Names,
    ) -> Result<Self, ConfigError> {
        let lane = |lane: u16| {
            let seed = config.seed.wrapping_add(u64::from(lane));
            Session::new(SessionConfig { lane, seed, ..config.clone() })
        };
        let count = u16::try_from(topology.shards()).unwrap_or(u16::MAX);
        let lanes = (0..count).map(lane).collect::<Result<_, _>>()?;
        Ok(Self { lanes, topology, names })
    }

    /// The lane for a tenant.
    #[must_use]
    pub fn lane_of(&self, tenant: TenantId) -> usize {
        // A server that came back with other shards keeps working: it forwards.
        usize::from(self.topology.owner(tenant)) % self.lanes.len()
    }

    /// Takes an event for its tenant's lane.
    ///
    /// # Errors
    /// As [`Session::push`], with the lane.
    pub fn push(
        &mut self,
        now_ms: u64,
        tenant: TenantId,
        topic: TopicId,
        weight: u32,
        ts_ms: u64,
    ) -> Result<(), (usize, PushError)> {
        let lane = self.lane_of(tenant);
        self.lanes[lane].push(now_ms, tenant, topic, weight, ts_ms).map_err(|e| (lane, e))
    }

    /// Takes a text for its tenant's lane.
    ///
    /// # Errors
    /// As [`Session::push_text`], with the lane.
    pub fn push_text(
        &mut self,
        now_ms: u64,
        tenant: &str,
        text: &str,
        weight: u32,
        ts_ms: u64,
    ) -> Result<(), (usize, PushError)> {
        let lane = self.lane_of(TenantId::of(tenant));
        self.lanes[lane].push_text(now_ms, tenant, text, weight, ts_ms).map_err(|e| (lane, e))
    }

    /// Ends the open batches of all lanes.
    pub fn flush(&mut self) {
        self.lanes.iter_mut().for_each(Session::flush);
    }

    /// Reads what came on a lane.
    pub fn handle_bytes(&mut self, now_ms: u64, lane: usize, bytes: &[u8]) {
        self.lanes[lane].handle_bytes(now_ms, bytes, &self.names);
    }

    /// What happened on a lane since the last call. A new map takes effect here.
    pub fn poll_event(&mut self, lane: usize) -> Option<SessionEvent> {
        let event = self.lanes[lane].poll_event();
        if let Some(SessionEvent::Opened(topology)) = &event {
            self.topology = Arc::clone(topology);
        }
        event
    }

    /// One lane.
    #[must_use]
    pub fn lane(&self, lane: usize) -> &Session {
        &self.lanes[lane]
    }

    /// One lane, to change it.
    pub fn lane_mut(&mut self, lane: usize) -> &mut Session {
        &mut self.lanes[lane]
    }

    /// How many lanes.
    #[must_use]
    pub fn lanes(&self) -> usize {
        self.lanes.len()
    }

    /// The newest map.
    #[must_use]
    pub fn topology(&self) -> &Arc<Topology> {
        &self.topology
    }

    /// The dictionary behind NEED.
    pub const fn names_mut(&mut self) -> &mut Names {
        &mut self.names
    }

    /// Whether every event pushed is acknowledged, refused or given up.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.lanes.iter().all(Session::is_idle)
    }

    /// What became of the events of all lanes.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.lanes.iter().fold(Counts::default(), |sum, lane| sum.plus(lane.counts()))
    }
}
