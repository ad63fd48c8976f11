//! Start and stop of a server.

use super::data::Data;
use super::shards::{RunningShard, Starting};
use super::signals::Signals;
use super::watchdog::{Health, LOOK_EVERY, Watchdog};
use crate::config::limits::DESK_ANSWER_MS_MAX;
use crate::config::{Config, MemoryPlan};
use crate::desk::listener::HttpLimits;
use crate::desk::shards::Shards;
use crate::desk::{DeskError, DeskHandle, FrontDesk, Phase as DeskPhase, PhaseCell};
use crate::drive::{DriveError, Phase};
use crate::folder_lock::FolderLock;
use crate::node::Vnodes;
use crate::programs::{self, ProgramsError, Recipe};
use crate::runtime::{Preflight, RuntimeError, raise_open_files};
use crate::socket::{SocketError, listen, listen_shared, local_address};
use crate::store::StoreError;
use socket2::Socket;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Why a server did not start or did not end well.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The machine lacks something.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// An address cannot be listened on.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// The data directory cannot be used.
    #[error("data directory {}: {source}", folder.display())]
    Data {
        /// Which.
        folder: PathBuf,
        /// Why.
        source: Box<StoreError>,
    },
    /// The programs cannot be had.
    #[error(transparent)]
    Programs(#[from] ProgramsError),
    /// The front desk did not start.
    #[error(transparent)]
    Desk(#[from] DeskError),
    /// The kernel does not tell an address.
    #[error("cannot tell the address of a listener: {0}")]
    Address(#[source] std::io::Error),
    /// A shard ended by itself.
    #[error("shard {shard} failed: {source}")]
    Shard {
        /// Its number.
        shard: usize,
        /// Why.
        source: DriveError,
    },
    /// A shard ended, or did not become ready, without saying why.
    #[error("shard {0} ended before its time")]
    ShardGone(usize),
    /// A shard does not turn.
    #[error("shard {0} has made no turn for 30 s: restart the server, and report this")]
    ShardStuck(usize),
    /// Signals cannot be waited for.
    #[error("cannot wait for signals: {0}")]
    Signals(#[source] std::io::Error),
}

/// A server that serves.
#[derive(Debug)]
pub struct Running {
    /// Where the binary protocol listens.
    pub listen: SocketAddr,
    /// Where HTTP listens.
    pub http: SocketAddr,
    /// The direct address of each shard.
    pub direct: Vec<SocketAddr>,
    /// What it may hold.
    pub plan: MemoryPlan,
    shards: Vec<RunningShard>,
    desk: DeskHandle,
    phase: PhaseCell,
    signals: Signals,
    /// The data directory is ours until the end.
    _lock: Option<FolderLock>,
}

/// Starts a server; it serves when this returns.
///
/// # Errors
/// The first thing that could not be had.
pub fn start(config: &Config) -> Result<Running, StartError> {
    let plan = MemoryPlan::new(config);
    check_machine(config)?;
    let data = Data::open(config)?;
    let sockets = Sockets::open(config)?;
    let desk = FrontDesk::bind(config.http, HttpLimits::default())?;
    let http = desk.address().map_err(StartError::Address)?;
    let (listen, direct) = (sockets.listen, sockets.direct.clone());
    let mut vnodes = Vnodes::even(config.shards);
    vnodes.generation = data.as_ref().map_or(vnodes.generation, Data::generation);
    let owned = vnodes.clone();
    let recipe = Recipe::this_binary();
    let (library, programs) =
        programs::start(config, recipe, |tenant| usize::from(owned.owner(tenant)))?;
    let starting = Starting::spawn(config, &vnodes, sockets, programs, data.as_ref())?;
    let phase = PhaseCell::default();
    let owner = move |tenant| usize::from(vnodes.owner(tenant));
    let answer_max = Duration::from_millis(DESK_ANSWER_MS_MAX);
    let reach = Shards::new(starting.boxes().to_vec(), Arc::new(owner), answer_max);
    // It says that the server is not ready while shards recover.
    let desk = desk.start(config, plan.clone(), reach, library, phase.clone())?;
    let (shards, lock) = starting.finish(data)?;
    let signals = Signals::listen()?;
    phase.set(DeskPhase::Ready);
    Ok(Running { listen, http, direct, plan, shards, desk, phase, signals, _lock: lock })
}

impl Running {
    /// Serves until SIGTERM or SIGINT, then drains.
    ///
    /// # Errors
    /// A shard that failed or got stuck.
    pub fn wait(mut self) -> Result<(), StartError> {
        self.wait_for_signal()?;
        self.stop()
    }

    /// Returns when SIGTERM or SIGINT has come, or a shard has ended by itself.
    ///
    /// # Errors
    /// A shard that got stuck.
    pub fn wait_for_signal(&mut self) -> Result<(), StartError> {
        let Self { shards, signals, .. } = self;
        signals.wait_or(watch(shards)).unwrap_or(Ok(()))
    }

    /// Drains and ends: connections are told, what has come in is answered, then all threads end.
    ///
    /// # Errors
    /// A shard that had failed.
    pub fn stop(self) -> Result<(), StartError> {
        let Self { shards, desk, phase, _lock, .. } = self;
        phase.set(DeskPhase::Draining);
        tell(&shards, Phase::Draining);
        // The desk's open requests still need the shards.
        if desk.stop().is_err() {
            tracing::error!("the front desk panicked");
        }
        let since = Instant::now();
        let drained = |shard: &RunningShard| shard.life.is_drained() || shard.thread.is_finished();
        while !shards.iter().all(drained) && since.elapsed() < DRAIN_MAX {
            std::thread::sleep(Duration::from_millis(5));
        }
        tell(&shards, Phase::Stopping);
        for (shard, running) in shards.into_iter().enumerate() {
            running.thread.join()?.map_err(|source| StartError::Shard { shard, source })?;
        }
        Ok(())
    }
}

/// Returns when a shard has ended by itself, or got stuck.
async fn watch(shards: &[RunningShard]) -> Result<(), StartError> {
    let watched = shards.iter().map(|shard| (shard.life.clone(), shard.ringer.clone()));
    let mut watchdog = Watchdog::new(watched);
    let mut look = tokio::time::interval(LOOK_EVERY);
    loop {
        look.tick().await;
        match watchdog.look() {
            Health::Turning => {}
            Health::Stalled(shard) => {
                tracing::error!(shard, "the shard has made no turn for seconds");
            }
            Health::Dead(shard) => return Err(StartError::ShardStuck(shard)),
        }
        // Its own error says more than that it is gone.
        if shards.iter().any(|shard| shard.thread.is_finished()) {
            return Ok(());
        }
    }
}

fn tell(shards: &[RunningShard], phase: Phase) {
    for shard in shards {
        shard.life.set_phase(phase);
        shard.ringer.ring_always();
    }
}

fn check_machine(config: &Config) -> Result<(), RuntimeError> {
    let connections = config.connections_max as u64 * config.shards as u64;
    // Sockets of connections, listeners and the desk, and a few for rings and libraries.
    raise_open_files((connections / 8).clamp(1_024, 20_000))?;
    let preflight = Preflight::new(config.shards);
    let pinned: Vec<usize> = (0..config.shards).filter_map(|i| config.core_of(i)).collect();
    preflight.cores(&pinned).check()
}

/// Every listening socket of the shards.
pub(super) struct Sockets {
    listen: SocketAddr,
    pub(super) shared: Vec<Socket>,
    pub(super) direct: Vec<SocketAddr>,
    pub(super) own: Vec<Socket>,
}

impl Sockets {
    fn open(config: &Config) -> Result<Self, StartError> {
        let shared = listen_shared(config.listen, config.shards, "--listen")?;
        let mut own = Vec::with_capacity(config.shards);
        for shard in 0..config.shards {
            own.push(listen(config.direct_address(shard), "--shard-port-base")?);
        }
        let direct = own.iter().map(local_address).collect::<Result<_, _>>();
        Ok(Self {
            listen: local_address(&shared[0]).map_err(StartError::Address)?,
            shared,
            direct: direct.map_err(StartError::Address)?,
            own,
        })
    }
}

/// Time the shards have to drain.
const DRAIN_MAX: Duration = Duration::from_secs(5);
