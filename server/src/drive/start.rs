//! Makes a shard on its own thread, from parts that were made before.
//!
//! ```text
//!   shard:    recover ──Recovered──▶    begin its log ──Begun──▶    serve
//!   process:            all of them: Store::prepare     all of them: Store::finish
//! ```
//!
//! Invariant: a shard that waits at the gate serves nobody, and one whose process has given up ends.

use super::facts::FixedFacts;
use super::life::Life;
use super::links::Links;
use super::log::LogDrive;
use super::pace::Pace;
use super::{DriveError, Driver, MeshBatch, wall_ms};
use crate::config::Config;
use crate::desk::mail::DeskMail;
use crate::node::{Node, NodeConfig, Vnodes};
use crate::programs::ShardPrograms;
use crate::ring::{Ring, RingConfig};
use crate::runtime::{Doorbell, DoorbellListener, DoorbellRinger, HugeMemory, ShardRuntime};
use crate::store::{Progress, RealDisk, Recovered, RecoveryPhase, ShardRecovery};
use socket2::Socket;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use trendsrv_proto::ShardAddress;
use trendsrv_shard::{
    EARLY_MAX_DEFAULT, SAMPLE_BYTES_MAX_DEFAULT, Shard, ShardConfig, index_words, topics_words,
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
    /// What it recovers and goes on with; `None` without a log.
    pub log: Option<ShardLog>,
    /// Told how far it is.
    pub steps: flume::Sender<Step>,
    /// Opens after each step, once all shards have made it.
    pub gate: flume::Receiver<()>,
}

/// The log of a shard.
#[derive(Debug)]
pub struct ShardLog {
    /// The data directory.
    pub folder: PathBuf,
    /// What there is to come back to.
    pub recovery: ShardRecovery<RealDisk>,
    /// Time between two snapshots.
    pub snapshot_interval: Duration,
}

/// How far a shard is on its way to serving.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It has what an earlier server left.
    Recovered,
    /// It could serve now.
    Begun,
}

impl ShardStart {
    /// Serves until the process stops.
    ///
    /// # Errors
    /// What could not be had, or what broke.
    pub async fn run(mut self, runtime: ShardRuntime) -> Result<(), DriveError> {
        let mut shard = make_shard(&self.config, self.secret, self.programs)?;
        let log = self.log.take();
        let recovered = match log {
            None => None,
            Some(log) => {
                let recovered = recover(log.recovery, &mut shard)?;
                Some((log.folder, log.snapshot_interval, recovered))
            }
        };
        pass(&self.steps, &self.gate, Step::Recovered)?;
        let log = match recovered {
            None => None,
            Some((folder, every, recovered)) => {
                let opened = recovered.begin(&mut shard)?;
                Some(LogDrive::start(self.shard, &folder, opened, every, &self.doorbell)?)
            }
        };
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
        pass(&self.steps, &self.gate, Step::Begun)?;
        let driver = Driver {
            node: Node::new(node_config, shard, wall_ms()),
            ring,
            listeners,
            links: Links::default(),
            log,
            holds_back: false,
            mesh: self.mesh,
            desk: self.desk,
            doorbell,
            life: self.life,
            latency: self.config.latency,
            pace: Pace::new(),
            facts,
            turns: 0,
            drain_since: None,
        };
        driver.run(&runtime).await
    }
}

/// Says how far this shard is, and waits for all others.
fn pass(
    steps: &flume::Sender<Step>,
    gate: &flume::Receiver<()>,
    step: Step,
) -> Result<(), DriveError> {
    steps.send(step).map_err(|_| DriveError::GivenUp)?;
    gate.recv().map_err(|_| DriveError::GivenUp)
}

/// Reads what an earlier server left, and says how it goes.
fn recover(
    recovery: ShardRecovery<RealDisk>,
    shard: &mut Shard<Host, HugeMemory>,
) -> Result<Recovered<RealDisk>, DriveError> {
    let number = recovery.shard();
    let is_new = recovery.is_new();
    let since = Instant::now();
    let mut told = since;
    let mut progress = |now: &Progress| {
        if told.elapsed() < PROGRESS_EVERY {
            return;
        }
        told = Instant::now();
        let what = match now.phase {
            RecoveryPhase::Snapshot => "snapshot",
            RecoveryPhase::Log => "log",
        };
        let (read, all) = (now.bytes >> 20, now.bytes_all >> 20);
        tracing::info!("shard {number} recovers: {read} of {all} MiB of the {what} read");
    };
    let recovered = recovery.recover(shard, wall_ms(), &mut progress)?;
    let facts = recovered.facts();
    for note in &facts.notes {
        tracing::warn!("shard {number}: {note}");
    }
    if !is_new {
        let (mib, events) = ((facts.snapshot_bytes + facts.log_bytes) >> 20, facts.events);
        tracing::info!(
            "shard {number} has recovered: {} sections of snapshots, {} records with {events} \
             events of the log, {mib} MiB in {} ms",
            facts.sections,
            facts.records,
            since.elapsed().as_millis()
        );
    }
    Ok(recovered)
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
    let names = HugeMemory::new(topics_words(shard_config.topics_max) * 8)?;
    let host = programs.into_host(shard_config.tenants_max, &shard_config.grid)?;
    let window_config = config.window_config(secret);
    Ok(Shard::new(shard_config, &window_config, windows, index, names, host)?)
}

/// Between two words about a recovery.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);
/// Credit beyond the initial one that all connections of a shard may share.
const CREDIT_BYTES_MAX: u64 = 64 << 20;
/// Subscriptions of one shard.
const SUBSCRIPTIONS_MAX: usize = 65_536;
