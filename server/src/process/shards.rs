//! The shards' threads on their way to serving.
//!
//! ```text
//!   spawn ─▶ every shard Recovered ─▶ Store::prepare ─▶ gates open
//!         ─▶ every shard Begun     ─▶ Store::finish  ─▶ gates open ─▶ serving
//! ```
//!
//! Invariant: a shard that ends on the way ends the start, with its own error.

use super::data::Data;
use super::serve::{Sockets, StartError};
use crate::config::Config;
use crate::desk::mail::{Mailbox, mailbox};
use crate::drive::{DriveError, Life, MeshPort, ShardStart, Step};
use crate::folder_lock::FolderLock;
use crate::node::{MESH_BATCHES_MAX, Vnodes};
use crate::programs::ShardPrograms;
use crate::runtime::{Doorbell, DoorbellRinger, Placement, ShardThread, run_shard};
use socket2::Socket;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A shard's thread.
#[derive(Debug)]
pub(super) struct RunningShard {
    pub(super) thread: ShardThread<Result<(), DriveError>>,
    pub(super) life: Arc<Life>,
    pub(super) ringer: DoorbellRinger,
}

/// Shards that do not serve yet.
#[derive(Debug)]
pub(super) struct Starting {
    shards: Vec<RunningShard>,
    boxes: Vec<Mailbox>,
    steps: flume::Receiver<Step>,
    gates: Vec<flume::Sender<()>>,
}

impl Starting {
    /// Starts every shard's thread.
    pub(super) fn spawn(
        config: &Config,
        vnodes: &Vnodes,
        sockets: Sockets,
        programs: Vec<ShardPrograms>,
        data: Option<&Data>,
    ) -> Result<Self, StartError> {
        let doorbells: Vec<Doorbell> =
            (0..config.shards).map(|_| Doorbell::new()).collect::<Result<_, _>>()?;
        let ringers: Vec<DoorbellRinger> = doorbells.iter().map(Doorbell::ringer).collect();
        let mut meshes = mesh(&ringers).into_iter();
        let mut logs = data.map(Data::logs).unwrap_or_default().into_iter();
        let (steps, taken) = flume::bounded(config.shards);
        let secret = [rand::random(), rand::random()];
        let (mut shards, mut boxes, mut gates) = (Vec::new(), Vec::new(), Vec::new());
        let sockets_of = sockets.shared.into_iter().zip(sockets.own).map(<[Socket; 2]>::from);
        let parts = doorbells.into_iter().zip(sockets_of).zip(programs).zip(&ringers);
        for (shard, (((doorbell, listeners), programs), ringer)) in (0_u16..).zip(parts) {
            let index = usize::from(shard);
            let wakes = ringer.clone();
            let (mailbox, desk) = mailbox(move || wakes.ring());
            boxes.push(mailbox);
            let (open, gate) = flume::bounded(1);
            gates.push(open);
            let life = Arc::new(Life::default());
            let start = ShardStart {
                shard,
                config: config.clone(),
                vnodes: vnodes.clone(),
                addresses: sockets.direct.clone(),
                listeners: listeners.into(),
                mesh: meshes.next().unwrap_or_default(),
                desk,
                doorbell,
                life: life.clone(),
                programs,
                secret,
                log: logs.next(),
                steps: steps.clone(),
                gate,
            };
            let placement = config.core_of(index).map_or(Placement::Floating, Placement::Pinned);
            let name = format!("shard-{shard}");
            let thread = run_shard(placement, &name, |runtime| start.run(runtime))?;
            shards.push(RunningShard { thread, life, ringer: ringer.clone() });
        }
        Ok(Self { shards, boxes, steps: taken, gates })
    }

    /// Their mailboxes of the front desk.
    pub(super) fn boxes(&self) -> &[Mailbox] {
        &self.boxes
    }

    /// Waits until all of them serve.
    pub(super) fn finish(
        mut self,
        data: Option<Data>,
    ) -> Result<(Vec<RunningShard>, Option<FolderLock>), StartError> {
        // A recovery takes as long as it takes, and says how far it is.
        let ready_max = if data.is_some() { None } else { Some(READY_MAX) };
        let mut data = data;
        self.wait_for(Step::Recovered, ready_max)?;
        if let Some(data) = &mut data {
            data.prepare()?;
        }
        self.open_gates();
        self.wait_for(Step::Begun, ready_max)?;
        let lock = data.map(Data::finish).transpose()?;
        self.open_gates();
        Ok((self.shards, lock))
    }

    fn open_gates(&self) {
        for gate in &self.gates {
            // A shard that has ended is noticed by whoever waits for it.
            let _ = gate.try_send(());
        }
    }

    /// Waits until every shard has made this step.
    fn wait_for(&mut self, step: Step, ready_max: Option<Duration>) -> Result<(), StartError> {
        let since = Instant::now();
        let mut made = 0;
        while made < self.shards.len() {
            match self.steps.recv_timeout(LOOK_EVERY) {
                Ok(taken) if taken == step => made += 1,
                Ok(taken) => unreachable!("{taken:?} while every shard waits for {step:?}"),
                Err(_) => {
                    let ended = self.shards.iter().any(|shard| shard.thread.is_finished());
                    if ended || ready_max.is_some_and(|max| since.elapsed() > max) {
                        return Err(why_not_ready(std::mem::take(&mut self.shards)));
                    }
                }
            }
        }
        Ok(())
    }
}

/// The error of the shard that ended instead of getting ready.
fn why_not_ready(shards: Vec<RunningShard>) -> StartError {
    for (shard, running) in shards.into_iter().enumerate() {
        if !running.thread.is_finished() {
            continue;
        }
        return match running.thread.join() {
            Ok(Ok(())) => StartError::ShardGone(shard),
            Ok(Err(source)) => StartError::Shard { shard, source },
            Err(error) => error.into(),
        };
    }
    StartError::ShardStuck(0)
}

/// Channels between every two shards, `[i][j]` for shard `i` to and from shard `j`.
fn mesh(ringers: &[DoorbellRinger]) -> Vec<Vec<Option<MeshPort>>> {
    let count = ringers.len();
    let mut ports: Vec<Vec<Option<MeshPort>>> =
        (0..count).map(|_| (0..count).map(|_| None).collect()).collect();
    for i in 0..count {
        for j in i + 1..count {
            let (to_j, from_i) = flume::bounded(MESH_BATCHES_MAX);
            let (to_i, from_j) = flume::bounded(MESH_BATCHES_MAX);
            ports[i][j] = Some(MeshPort { to: to_j, from: from_j, ringer: ringers[j].clone() });
            ports[j][i] = Some(MeshPort { to: to_i, from: from_i, ringer: ringers[i].clone() });
        }
    }
    ports
}

/// How often shards are looked at while they start.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Time that shards without a log have to get ready: they map memory.
const READY_MAX: Duration = Duration::from_secs(30);
