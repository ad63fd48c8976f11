//! What HELLO_OK told: the map of the shards and the window's grid, owned.

use std::net::SocketAddr;
use trendsrv_proto::{AckMode, Clock, HelloOk, TenantId};

/// Where each tenant lives and how its window is cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topology {
    /// Generation of the map.
    pub generation: u32,
    /// What moves windows.
    pub clock: Clock,
    /// The acknowledgement mode in force.
    pub ack: AckMode,
    /// How far the window moves at a time.
    pub slide_ms: u32,
    /// Slides in a window.
    pub panes: u32,
    /// The shard that answered.
    pub shard: u16,
    /// Where each shard listens; `None` for an address family unknown here.
    pub addresses: Vec<Option<SocketAddr>>,
    vnodes: Box<[u16]>,
}

impl Topology {
    /// Copies what a received HELLO_OK says.
    #[must_use]
    pub fn of(hello_ok: &HelloOk<'_>) -> Self {
        let welcome = hello_ok.welcome();
        Self {
            generation: welcome.generation,
            clock: welcome.clock,
            ack: welcome.ack,
            slide_ms: welcome.slide_ms,
            panes: welcome.panes,
            shard: welcome.shard,
            addresses: hello_ok.addresses.iter().map(|a| a.socket()).collect(),
            vnodes: hello_ok.vnodes.iter().collect(),
        }
    }

    /// The shard that owns a tenant.
    #[must_use]
    pub fn owner(&self, tenant: TenantId) -> u16 {
        self.vnodes.get(tenant.vnode()).copied().unwrap_or(0)
    }

    /// Number of shards.
    #[must_use]
    pub fn shards(&self) -> usize {
        self.addresses.len()
    }

    /// Length of the window.
    #[must_use]
    pub fn window_ms(&self) -> u64 {
        u64::from(self.slide_ms) * u64::from(self.panes)
    }
}
