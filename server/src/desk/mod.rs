//! The front desk: HTTP on one ordinary thread, beside the pinned shards.
//!
//! Owns the HTTP listener, its connections, the routes and the JSON of their replies. Never touches
//! a window, a tenant table or a shard's socket: it knows shards only as mailboxes, and a shard
//! knows the desk only as mail.
//!
//! ```text
//!   clients ─ TCP ─> listener ─> routes ─> shards (mailbox + doorbell each) ─> shard i
//!                                   <──────── oneshot, owned answer ─────────────┘
//! ```
//!
//! Invariants:
//! - one thread, one current-thread runtime, and few helpers for what waits for a disk; nothing
//!   here runs on a shard's core by intent;
//! - every connection, body, queue and wait is bounded; full means an answer that says so;
//! - a slow, silent or vanished client costs its own connection and nothing else.

pub mod answer;
pub mod clerk;
pub mod host;
pub mod lines;
pub mod listener;
pub mod mail;
pub mod problem;
pub mod shards;

mod body;
mod ingest;
mod latency;
mod metrics;
mod openapi;
mod programs;
mod routes;
#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread::JoinHandle;
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::sync::watch;
use trendsrv_proto::Clock;

use crate::config::limits::DESK_HELPERS_MAX;
use crate::config::{Config, MemoryPlan};
use crate::programs::Library;
use body::BodyBudget;
use listener::{ConnectionLevel, HttpLimits};
use metrics::RequestCounts;
use shards::Shards;

/// How far the server is in its life, as `/readyz` tells it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum Phase {
    /// Not all shards run yet.
    Starting = 0,
    /// Serving.
    Ready = 1,
    /// Finishing what was begun; new events are refused.
    Draining = 2,
}

/// The phase, shared between the desk and whoever starts and stops the server.
#[derive(Clone, Debug, Default)]
pub struct PhaseCell(Arc<AtomicU8>);

impl PhaseCell {
    /// Moves on.
    pub fn set(&self, phase: Phase) {
        self.0.store(phase as u8, Ordering::Release);
    }

    /// The phase now.
    #[must_use]
    pub fn current(&self) -> Phase {
        match self.0.load(Ordering::Acquire) {
            0 => Phase::Starting,
            1 => Phase::Ready,
            _ => Phase::Draining,
        }
    }
}

/// What every request can reach.
struct DeskState {
    shards: Shards,
    clock: Clock,
    now_ms: fn() -> u64,
    phase: PhaseCell,
    plan: MemoryPlan,
    requests: RequestCounts,
    connections: Arc<ConnectionLevel>,
    bodies: BodyBudget,
    library: Library,
}

/// A bound listener, not serving yet: a port in use is found before any shard starts.
#[derive(Debug)]
pub struct FrontDesk {
    listener: std::net::TcpListener,
    limits: HttpLimits,
}

/// Why the desk did not start.
#[derive(Debug, thiserror::Error)]
pub enum DeskError {
    /// The address is taken by another process.
    #[error("http address {0} is in use by another process; choose another with --http")]
    AddressInUse(SocketAddr),
    /// The address cannot be listened on.
    #[error("cannot listen for HTTP on {0}: {1}; choose another with --http")]
    Listen(SocketAddr, io::Error),
    /// The runtime or its thread did not start.
    #[error("cannot start the front desk: {0}")]
    Start(io::Error),
}

impl FrontDesk {
    /// Binds the HTTP address.
    ///
    /// # Errors
    /// The address is in use or cannot be listened on.
    pub fn bind(address: SocketAddr, limits: HttpLimits) -> Result<Self, DeskError> {
        let listener =
            std::net::TcpListener::bind(address).map_err(|error| match error.kind() {
                io::ErrorKind::AddrInUse => DeskError::AddressInUse(address),
                _ => DeskError::Listen(address, error),
            })?;
        Ok(FrontDesk { listener, limits })
    }

    /// The address, with the port the kernel chose if none was asked for.
    ///
    /// # Errors
    /// The operating system does not tell.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Starts the thread; requests are answered from now on.
    ///
    /// # Errors
    /// The runtime or the thread cannot be created.
    pub fn start(
        self,
        config: &Config,
        plan: MemoryPlan,
        shards: Shards,
        library: Library,
        phase: PhaseCell,
    ) -> Result<DeskHandle, DeskError> {
        let limits = self.limits;
        let state = Arc::new(DeskState {
            shards,
            clock: config.clock,
            now_ms: wall_ms,
            phase,
            plan,
            requests: RequestCounts::default(),
            connections: Arc::new(ConnectionLevel::new(limits.connections_max)),
            bodies: BodyBudget::new(limits.body_max),
            library,
        });
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(DESK_HELPERS_MAX)
            .build()
            .map_err(DeskError::Start)?;
        self.listener.set_nonblocking(true).map_err(DeskError::Start)?;
        let listener = {
            let _entered = runtime.enter();
            tokio::net::TcpListener::from_std(self.listener).map_err(DeskError::Start)?
        };
        let (drain, draining) = watch::channel(false);
        let connections = state.connections.clone();
        let serve = move || {
            let app = routes::router(state);
            runtime.block_on(listener::serve(listener, app, limits, connections, draining));
        };
        let thread = std::thread::Builder::new()
            .name("front-desk".to_owned())
            .spawn(serve)
            .map_err(DeskError::Start)?;
        Ok(DeskHandle { drain, thread })
    }
}

/// The running desk.
#[derive(Debug)]
pub struct DeskHandle {
    drain: watch::Sender<bool>,
    thread: JoinHandle<()>,
}

impl DeskHandle {
    /// Stops accepting, lets open requests finish for `drain_max`, and ends the thread.
    ///
    /// Shards must still run: open requests await their answers.
    ///
    /// # Errors
    /// The desk's thread panicked.
    pub fn stop(self) -> std::thread::Result<()> {
        self.drain.send_replace(true);
        self.thread.join()
    }
}

/// Wall time. A clock before 1970 counts as 1970: events then have the time they say.
fn wall_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
