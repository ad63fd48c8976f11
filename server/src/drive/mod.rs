//! One shard's loop: sockets, mail and time in, bytes and mail out, then sleep.
//!
//! Owns the shard's ring, its doorbell and its end of every channel. Never touches what bytes mean:
//! [`Node`] does.
//!
//! ```text
//!   turn:  clock ─▶ ring.poll ─▶ node.on_bytes …       (not while another shard's mail piles up)
//!          mesh, desk ─▶ node.on_mail, node.on_desk_mail
//!          log: what is on the disk now ─▶ node.on_durable
//!          node.on_turn ─▶ node.end_turn ─▶ one send a connection ─▶ mesh ─▶ next commit
//!   sleep: by timer under load, by doorbell when quiet (pace.rs)
//! ```
//!
//! Invariants:
//! - the clock is read once a turn;
//! - a turn is bounded: bytes, mails and due work each have a limit;
//! - no borrow of the node or the ring lives across an await.

mod facts;
mod life;
mod links;
mod log;
mod pace;
mod start;

pub use life::{Life, Phase};
pub(crate) use start::shard_config;
pub use start::{MeshPort, ShardLog, ShardStart, Step};

use crate::config::Latency;
use crate::desk::mail::{DeskMail, StageLatency};
use crate::node::{MeshMail, Node};
use crate::ring::{Connections, ListenerId, Ring, RingError, RingEvent, WakeBy};
use crate::runtime::{DoorbellListener, HugeMemory, RuntimeError, ShardRuntime, Woken};
use crate::store::StoreError;
use facts::FixedFacts;
use links::Links;
use log::LogDrive;
use pace::{Nap, Pace};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use trendsrv_shard::WindowError;
use trendsrv_wasm_host::{Host, HostError};

/// Why a shard ended.
#[derive(Debug, thiserror::Error)]
pub enum DriveError {
    /// Its memory or doorbell could not be had.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// Its ring failed.
    #[error(transparent)]
    Ring(#[from] RingError),
    /// Its window memory does not hold its tenants.
    #[error("{0}; raise --window-memory or lower --tenants-max")]
    Windows(#[from] WindowError),
    /// Its programs do not fit.
    #[error(transparent)]
    Programs(#[from] HostError),
    /// Its log cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The thread that helps with files did not start.
    #[error("cannot start the thread that helps with the log: {0}")]
    Helper(#[source] std::io::Error),
    /// The thread that helps with files has ended, or takes no more work.
    #[error("the thread that helps with the log has ended, or takes no more work")]
    HelperGone,
    /// The process gave up before this shard was to serve.
    #[error("the start was given up")]
    GivenUp,
    /// Its doorbell failed.
    #[error("the doorbell failed: {0}")]
    Doorbell(#[from] std::io::Error),
}

/// A running shard. See the module header.
pub(crate) struct Driver {
    node: Node<Host, HugeMemory>,
    ring: Ring,
    listeners: Vec<ListenerId>,
    links: Links,
    log: Option<LogDrive>,
    /// Nothing new is taken: the log or another shard is behind.
    holds_back: bool,
    mesh: Vec<Option<MeshPort>>,
    desk: flume::Receiver<DeskMail>,
    doorbell: DoorbellListener,
    life: Arc<Life>,
    latency: Latency,
    pace: Pace,
    facts: FixedFacts,
    turns: u64,
    drain_since: Option<Instant>,
}

impl Driver {
    /// Turns until the process stops.
    async fn run(mut self, runtime: &ShardRuntime) -> Result<(), DriveError> {
        loop {
            let turn = self.turn()?;
            if self.life.phase() >= Phase::Draining && self.drain() {
                return self.finish();
            }
            self.sleep(runtime, turn).await?;
        }
    }

    fn turn(&mut self) -> Result<TurnReport, DriveError> {
        self.node.set_now(wall_ms());
        let mut report = self.poll()?;
        if !self.node.is_log_congested() {
            report.mails = self.read_mesh();
        }
        report.mails += self.read_desk();
        report.due = self.node.on_turn();
        self.links.flush(&mut self.node, self.ring.connections_mut());
        report.more |= self.send_mesh() | self.node.has_held();
        if let Some(log) = &mut self.log {
            let awaited = self.node.has_durable_waiters();
            let log = log.turn(&mut self.node, awaited)?;
            report.due |= log.more;
            report.within = log.within;
        }
        self.holds_back = self.node.is_congested() || self.node.is_log_congested();
        report.more |= !self.holds_back && self.ring.has_put_off();
        self.turns += 1;
        self.life.count_turn(self.turns);
        Ok(report)
    }

    /// What the ring says; no bytes while the log or another shard is behind.
    fn poll(&mut self) -> Result<TurnReport, DriveError> {
        if let Some(log) = &mut self.log {
            self.node.set_now_us(log.now_us());
            log.hear(&mut self.node)?;
        }
        let mesh_is_full = self.node.is_congested();
        let holds_back = mesh_is_full || self.node.is_log_congested();
        let (node, links) = (&mut self.node, &mut self.links);
        let mut on_event = |connections: &mut Connections, event: RingEvent<'_>| {
            links.on_event(node, connections, event);
        };
        let polled = if holds_back {
            self.ring.poll_without_receiving(&mut on_event)?
        } else {
            self.ring.poll(&mut on_event)?
        };
        Ok(TurnReport {
            bytes: polled.received_bytes,
            completions: polled.completions,
            more: polled.more || mesh_is_full,
            ..TurnReport::default()
        })
    }

    /// Reads a bounded number of mails from other shards.
    fn read_mesh(&mut self) -> usize {
        let mut count = 0;
        for port in self.mesh.iter().flatten() {
            for _ in 0..MESH_BATCHES_PER_TURN {
                let Ok(batch) = port.from.try_recv() else { break };
                count += batch.len();
                for mail in batch {
                    self.node.on_mail(mail);
                }
            }
        }
        count
    }

    fn read_desk(&mut self) -> usize {
        let mut count = 0;
        while count < DESK_MAILS_PER_TURN {
            let Ok(mail) = self.desk.try_recv() else { break };
            count += 1;
            if let DeskMail::Latency(reply) = mail {
                // A caller that has gone away gets nothing.
                let _ = reply.send(self.latencies());
                continue;
            }
            let report = matches!(mail, DeskMail::Stats(_) | DeskMail::Tenants(_)).then(|| {
                let node = self.node.stats();
                let mut report = self.facts.report(self.turns, &node, &self.ring, &self.links);
                if let Some(log) = &self.log {
                    report.counters.extend(log.counters());
                    report.levels.extend(log.levels(&node));
                }
                report
            });
            self.node.on_desk_mail(mail, || report.unwrap_or_default());
        }
        count
    }

    fn latencies(&self) -> Vec<StageLatency> {
        let commits = self.log.as_ref().map(|log| ("log_commit", log.commits()));
        let waits = self.node.durable_waits().map(|waits| ("durable_ack", waits));
        let stages = commits.into_iter().chain(waits);
        stages.map(|(stage, us)| StageLatency { stage, us: us.clone() }).collect()
    }

    /// Hands mail to other shards; returns whether some found no room.
    fn send_mesh(&mut self) -> bool {
        let mut left = false;
        for (shard, port) in (0_u16..).zip(&self.mesh) {
            let Some(port) = port else { continue };
            let mut sent = false;
            while let Some(batch) = self.node.take_batch(shard) {
                match port.to.try_send(batch) {
                    Ok(()) => sent = true,
                    Err(flume::TrySendError::Full(batch)) => {
                        self.node.put_back(shard, batch);
                        left = true;
                        break;
                    }
                    // The other shard has ended: the process is stopping.
                    Err(flume::TrySendError::Disconnected(_)) => {}
                }
            }
            if sent {
                port.ringer.ring();
            }
        }
        left
    }

    async fn sleep(&mut self, runtime: &ShardRuntime, turn: TurnReport) -> Result<(), DriveError> {
        match self.pace.nap(self.latency, &turn) {
            Nap::None => self.yield_sometimes(runtime).await,
            Nap::Timer(duration) => {
                self.ring.prepare_sleep(WakeBy::Timer)?;
                self.sleep_to_the_beat(runtime, Instant::now() + duration)?;
                self.yield_sometimes(runtime).await;
            }
            Nap::Doorbell(limit) => {
                self.doorbell.arm();
                let quiet = self.ring.prepare_sleep(WakeBy::Doorbell)?;
                if quiet && self.mailboxes_are_empty() {
                    self.doorbell.wait_or(limit)?;
                } else {
                    self.doorbell.disarm();
                }
            }
        }
        Ok(())
    }

    /// Deaf to sockets, but not to the disk: who waits for a commit hears of it when it is done.
    fn sleep_to_the_beat(
        &mut self,
        runtime: &ShardRuntime,
        beat: Instant,
    ) -> Result<(), DriveError> {
        loop {
            let left = beat.saturating_duration_since(Instant::now());
            let is_writing = self.log.as_ref().is_some_and(LogDrive::is_writing);
            if !is_writing || !self.node.has_durable_waiters() {
                runtime.nap(left);
                return Ok(());
            }
            if self.doorbell.wait_or(left)? == Woken::Elapsed {
                return Ok(());
            }
            self.answer_commit()?;
        }
    }

    /// Between turns: acknowledges what a commit has made durable, and begins the next one.
    fn answer_commit(&mut self) -> Result<(), DriveError> {
        let Some(log) = &mut self.log else { return Ok(()) };
        self.node.set_now_us(log.now_us());
        if log.hear(&mut self.node)? {
            self.links.flush(&mut self.node, self.ring.connections_mut());
            let awaited = self.node.has_durable_waiters();
            log.turn(&mut self.node, awaited)?;
            self.send_mesh();
        }
        Ok(())
    }

    /// The executor's own affairs, such as the doorbell's read, must not wait for ever.
    async fn yield_sometimes(&self, runtime: &ShardRuntime) {
        if self.turns.is_multiple_of(TURNS_PER_YIELD) {
            runtime.yield_now().await;
        }
    }

    fn mailboxes_are_empty(&mut self) -> bool {
        let done = self.log.as_mut().is_some_and(LogDrive::has_done);
        let mesh = || self.mesh.iter().flatten().all(|port| port.from.is_empty());
        // What is held back is not looked at before the disk has answered.
        self.desk.is_empty() && !done && (self.holds_back || mesh())
    }

    /// Goes through the end: told, answered, let go. Returns whether the shard may stop.
    fn drain(&mut self) -> bool {
        let Some(since) = self.drain_since else {
            self.drain_since = Some(Instant::now());
            for listener in self.listeners.drain(..) {
                self.ring.remove_listener(listener);
            }
            self.node.drain();
            return false;
        };
        if since.elapsed() > DRAIN_GRACE {
            self.node.end_idle();
        }
        let answered = self.node.peers() == 0 && self.links.is_empty();
        if answered || since.elapsed() > DRAIN_MAX {
            self.life.set_drained();
        }
        self.life.phase() == Phase::Stopping
    }
}

impl Driver {
    /// The last commit and a superblock that says so: a clean end.
    fn finish(mut self) -> Result<(), DriveError> {
        let Some(mut log) = self.log.take() else { return Ok(()) };
        log.stop_snapshots();
        let since = Instant::now();
        loop {
            log.hear(&mut self.node)?;
            log.turn(&mut self.node, true)?;
            if log.is_written(&mut self.node) {
                return log.close();
            }
            if since.elapsed() > FINISH_MAX {
                tracing::warn!("the disk takes too long: what nobody waited for may be lost");
                return Ok(());
            }
            self.doorbell.arm();
            if !log.has_done() {
                self.doorbell.wait_or(FINISH_LOOK)?;
            } else {
                self.doorbell.disarm();
            }
        }
    }
}

/// What one turn did.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TurnReport {
    /// Bytes received.
    pub(crate) bytes: usize,
    /// Completions handled.
    pub(crate) completions: u32,
    /// Mails read.
    pub(crate) mails: usize,
    /// The ring or the mesh has more at once.
    pub(crate) more: bool,
    /// Due work is left.
    pub(crate) due: bool,
    /// Something is due after this long, if nothing else happens.
    pub(crate) within: Option<Duration>,
}

/// The next mail from another shard, in batches.
pub type MeshBatch = Vec<MeshMail>;

/// Wall time, ms since the epoch. A clock before 1970 counts as 1970.
fn wall_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Batches read from one other shard in one turn.
const MESH_BATCHES_PER_TURN: usize = 16;
/// Requests of the front desk answered in one turn.
const DESK_MAILS_PER_TURN: usize = 32;
/// Busy turns between two looks at the executor's timers.
const TURNS_PER_YIELD: u64 = 64;
/// Time for the last commit.
const FINISH_MAX: Duration = Duration::from_secs(10);
/// How often the end is looked at while the disk is silent.
const FINISH_LOOK: Duration = Duration::from_millis(20);
/// Time that connections have to end by themselves once the server drains.
const DRAIN_GRACE: Duration = Duration::from_millis(1_000);
/// Time after which the shard stops whoever is still there.
const DRAIN_MAX: Duration = Duration::from_millis(3_000);
