//! Makes a shard on its own thread, from parts that were made before.

use super::facts::FixedFacts;
use super::life::Life;
use super::links::Links;
use super::pace::Pace;
use super::{DriveError, Driver, MeshBatch, wall_ms};
use crate::config::Config;
use crate::desk::mail::DeskMail;
use crate::node::{Node, NodeConfig, Vnodes};
use crate::programs::ShardPrograms;
use crate::ring::{Ring, RingConfig};
use crate::runtime::{Doorbell, DoorbellListener, DoorbellRinger, HugeMemory, ShardRuntime};
use socket2::Socket;
use std::net::SocketAddr;
use std::sync::Arc;
use trendsrv_proto::ShardAddress;
use trendsrv_shard::{
    EARLY_MAX_DEFAULT, SAMPLE_BYTES_MAX_DEFAULT, Shard, ShardConfig, index_words,
};
use trendsrv_wasm_host::Host;

/// One shard's channel to and from another.
#[derive(Debug)]
pub struct MeshPort {
    /// To it.
    pub to: flume::Sender<MeshBatch>,
    /// From it.
    pub from: flume::Receiver<MeshBatch>,
    /// Wakes it.
    pub ringer: DoorbellRinger,
}

/// All that a shard's thread is given.
#[derive(Debug)]
pub struct ShardStart {
    /// Its number.
    pub shard: u16,
    /// The settings of the process.
    pub config: Config,
    /// Which shard owns what.
    pub vnodes: Vnodes,
    /// Where each shard listens directly.
    pub addresses: Vec<SocketAddr>,
    /// Its share of the common port, and its direct listener.
    pub listeners: Vec<Socket>,
    /// Its channels, by shard; `None` for itself.
    pub mesh: Vec<Option<MeshPort>>,
    /// Its mailbox of the front desk.
    pub desk: flume::Receiver<DeskMail>,
    /// Its doorbell.
    pub doorbell: Doorbell,
    /// Its words with the process.
    pub life: Arc<Life>,
    /// Its programs.
    pub programs: ShardPrograms,
    /// The secret of the process.
    pub secret: [u64; 2],
    /// Told once it serves.
    pub ready: flume::Sender<u16>,
}

impl ShardStart {
    /// Serves until the process stops.
    ///
    /// # Errors
    /// What could not be had, or what broke.
    pub async fn run(self, runtime: ShardRuntime) -> Result<(), DriveError> {
        let (shard, ready) = (self.shard, self.ready.clone());
        let driver = self.into_driver()?;
        // The process waits for this word, or has given up.
        let _ = ready.send(shard);
        driver.run(&runtime).await
    }

    fn into_driver(self) -> Result<Driver, DriveError> {
        let shard = make_shard(&self.config, self.secret, self.programs)?;
        let doorbell = DoorbellListener::new(&self.doorbell);
        let connections_max = u32::try_from(self.config.connections_max).unwrap_or(u32::MAX);
        let ring_config = RingConfig { connections_max, ..RingConfig::default() };
        let mut ring = Ring::new(ring_config, &self.doorbell)?;
        let mut listeners = Vec::with_capacity(self.listeners.len());
        for listener in self.listeners {
            listeners.push(ring.add_listener(listener)?);
        }
        let index = usize::from(self.shard);
        let facts = FixedFacts {
            shard: index,
            address: self.addresses[index],
            core: self.config.core_of(index),
            vnodes: self.vnodes.count_of(self.shard),
        };
        let node_config = NodeConfig {
            shard: self.shard,
            vnodes: self.vnodes,
            addresses: self.addresses.iter().map(|address| ShardAddress::new(*address)).collect(),
            credit_bytes_max: CREDIT_BYTES_MAX,
        };
        Ok(Driver {
            node: Node::new(node_config, shard, wall_ms()),
            ring,
            listeners,
            links: Links::default(),
            mesh: self.mesh,
            desk: self.desk,
            doorbell,
            life: self.life,
            latency: self.config.latency,
            pace: Pace::new(),
            facts,
            turns: 0,
            drain_since: None,
        })
    }
}

/// What a shard of this server is told.
pub(crate) fn shard_config(config: &Config, secret: [u64; 2]) -> ShardConfig {
    ShardConfig {
        grid: config.grid(),
        clock: config.clock,
        tenants_max: config.tenants_per_shard_max(),
        topics_max: config.topics_per_shard_max(),
        producers_max: config.producers_max,
        early_max: EARLY_MAX_DEFAULT,
        subscriptions_max: SUBSCRIPTIONS_MAX,
        sample_bytes_max: SAMPLE_BYTES_MAX_DEFAULT,
        secret,
    }
}

fn make_shard(
    config: &Config,
    secret: [u64; 2],
    programs: ShardPrograms,
) -> Result<Shard<Host, HugeMemory>, DriveError> {
    let shard_config = shard_config(config, secret);
    let bytes = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
    let windows = HugeMemory::new(bytes(config.window_bytes_per_shard()))?;
    let index = HugeMemory::new(index_words(shard_config.tenants_max) * 8)?;
    let host = programs.into_host(shard_config.tenants_max, &shard_config.grid)?;
    let window_config = config.window_config(secret);
    Ok(Shard::new(shard_config, &window_config, windows, index, host)?)
}

/// Credit beyond the initial one that all connections of a shard may share.
const CREDIT_BYTES_MAX: u64 = 64 << 20;
/// Subscriptions of one shard.
const SUBSCRIPTIONS_MAX: usize = 65_536;
