//! One world: a server, its clients and the network between them under one clock, all of it moved
//! by one queue of what is due, all of it drawn from one seed.
//!
//! ```text
//! due:  turn of a shard · bytes land · client wakes · push · question · fault · server starts …
//!
//! busy: pushes and faults  ─▶  healing: no faults, until nothing is held  ─▶  every tenant judged
//! ```
//!
//! Invariant: nothing here depends on anything but the plan: no clock, no thread, no order of a
//! hash table. So a seed replays exactly.

mod clients;
mod ends;
mod faults;
mod machine;
mod questions;
mod summary;

pub(crate) use summary::Summary;

use crate::client::Client;
use crate::dice::Dice;
use crate::disk::SimDisk;
use crate::oracle::{Heir, Oracle};
use crate::plan::Plan;
use crate::server::Server;
use crate::trace::Trace;
use crate::wire::Wire;
use std::collections::BTreeMap;
use trendsrv_client::SessionConfig;
use trendsrv_shard::Grid;

/// How a world went.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) hash: u64,
    pub(crate) steps: u64,
    /// What went wrong.
    pub(crate) violation: Option<String>,
    /// The last steps, when they were asked for.
    pub(crate) last: String,
    pub(crate) summary: Summary,
}

/// How a server ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Death {
    /// The process is gone; what it wrote is there.
    Killed,
    /// The machine is gone: what was not synced may be.
    PowerCut,
    /// In good order.
    Stopped,
}

/// A bit that was turned over.
#[derive(Clone, Debug)]
struct Flip {
    path: String,
    offset: u64,
    bit: u8,
}

/// Something due at a time.
#[derive(Clone, Copy, Debug)]
enum Due {
    Turn(usize),
    LandUp(u64),
    LandDown(u64),
    Wake(usize),
    Connect(usize),
    /// A client hears that its connection is gone.
    Lost(u64),
    /// A shard hears that a connection is gone.
    Gone(u64),
    Push,
    Ask,
    Fault,
    EndIdle(u32),
    Stop(u32),
    Start,
    /// The disk answers a commit of a shard.
    Written(u32, usize),
    /// The helper of a shard does something.
    Work(u32, usize),
    /// The disk has room again.
    Room,
}

/// See the module header.
pub(crate) struct World {
    plan: Plan,
    dice: Dice,
    net: Dice,
    trace: Trace,
    now_us: u64,
    /// What jumps of the clock add.
    jumped_ms: u64,
    /// When the clock jumped or a server started last.
    upset_us: u64,
    queue: BTreeMap<(u64, u64), Due>,
    queued: u64,
    server: Option<Server>,
    /// Counts servers.
    life: u32,
    /// What each of them left, from the first.
    heirs: Vec<Heir>,
    shards: usize,
    disk: Option<SimDisk>,
    flip: Option<Flip>,
    /// The next commit is cut short.
    short: bool,
    draining: bool,
    wires: BTreeMap<u64, Wire>,
    clients: Vec<Client>,
    oracle: Oracle,
    pushes_left: u64,
    healing: bool,
    failures_healing: u64,
    /// Questions that must still be answered: tenant, and how far ahead they ask.
    judging: Vec<(usize, u64)>,
    summary: Summary,
}

/// Runs the world of a plan to its end.
pub(crate) fn run(plan: &Plan, told_max: usize) -> Outcome {
    let mut world = World::new(plan.clone(), told_max);
    let ran = world.run();
    let summary = world.summary();
    let violation = ran.err().map(|why| format!("{why} (at {} us)", world.now_us));
    Outcome {
        hash: world.trace.hash(),
        steps: world.trace.steps(),
        violation,
        last: world.trace.last(),
        summary,
    }
}

impl World {
    fn new(plan: Plan, told_max: usize) -> Self {
        let mut dice = Dice::new(plan.seed ^ 0x5eed);
        let grid = Grid::new(plan.window_ms, plan.slide_ms).expect("plans have good grids");
        let oracle = Oracle::new(grid, plan.clock, plan.tenants, plan.topics, dice.below(1 << 20));
        Self {
            net: dice.fork(),
            dice,
            trace: Trace::new(told_max),
            now_us: 0,
            jumped_ms: 0,
            upset_us: 0,
            queue: BTreeMap::new(),
            queued: 0,
            server: None,
            life: 0,
            heirs: Vec::new(),
            shards: plan.shards,
            disk: plan.disk.is_there.then(SimDisk::new),
            flip: None,
            short: false,
            draining: false,
            wires: BTreeMap::new(),
            clients: Vec::new(),
            oracle,
            pushes_left: plan.pushes,
            healing: false,
            failures_healing: 0,
            judging: Vec::new(),
            summary: Summary::default(),
            plan,
        }
    }

    fn run(&mut self) -> Result<(), String> {
        self.begin()?;
        self.until(BUSY_US_MAX, |world| world.pushes_left == 0)?;
        self.heal()?;
        // What waits for its pane opens.
        let settled_us = self.now_us + 6_000_000;
        self.until(10_000_000, |world| world.now_us >= settled_us)?;
        self.judge_all()?;
        if self.disk.is_some() {
            // What one answer has shown, every later one shows, too.
            for death in [Death::PowerCut, Death::PowerCut, Death::Stopped, Death::Killed] {
                self.end(death, "at the end");
                let all = self.heirs.last() == Some(&Heir::All);
                self.oracle.names_stay = death == Death::Stopped && all;
                self.heal()?;
                self.judge_all()?;
            }
        }
        Ok(())
    }

    /// Nothing goes wrong any more, until nobody holds anything.
    fn heal(&mut self) -> Result<(), String> {
        self.healing = true;
        self.short = false;
        self.trace.tell(self.now_us, format_args!("healing"));
        if let Some(disk) = &self.disk {
            disk.set_capacity(None);
            if self.server.is_some() {
                disk.restart();
            }
        }
        self.until(HEALING_US_MAX, |world| {
            world.server.is_some()
                && !world.draining
                && world.clients.iter().all(|client| client.holds() == 0)
        })
    }

    fn begin(&mut self) -> Result<(), String> {
        let readers = (0..self.plan.readers).map(|reader| SessionConfig {
            seed: reader as u64,
            software: "reader".to_owned(),
            ..SessionConfig::default()
        });
        let configs: Vec<SessionConfig> =
            readers.chain(self.plan.producers.iter().cloned()).collect();
        for config in configs {
            self.clients.push(Client::new(config)?);
            self.wake(self.clients.len() - 1, 0);
        }
        self.start()?;
        for due in [Due::Push, Due::Ask, Due::Fault] {
            self.queue_in(1_000, due);
        }
        Ok(())
    }

    /// Runs until something holds.
    fn until(&mut self, us_max: u64, holds: impl Fn(&Self) -> bool) -> Result<(), String> {
        let end_us = self.now_us + us_max;
        while !holds(self) {
            let Some(((at_us, _), due)) = self.queue.pop_first() else {
                return Err("nothing is due any more".to_owned());
            };
            self.now_us = self.now_us.max(at_us);
            if self.now_us > end_us {
                return Err(format!("no end after {us_max} us: {}", self.state()));
            }
            if self.trace.steps() > STEPS_MAX {
                return Err(format!("no end after {STEPS_MAX} steps: {}", self.state()));
            }
            self.step(due)?;
        }
        Ok(())
    }

    fn state(&self) -> String {
        let clients = self.clients.iter().map(|client| {
            format!("{:?} holds {}, {:?}", client.session.state(), client.holds(), client.refusals)
        });
        format!("server {}, {}", self.server.is_some(), clients.collect::<Vec<_>>().join("; "))
    }

    fn step(&mut self, due: Due) -> Result<(), String> {
        match due {
            Due::Turn(shard) => self.turn(shard)?,
            Due::LandUp(key) => self.land_up(key),
            Due::LandDown(key) => self.land_down(key)?,
            Due::Wake(client) => self.on_wake(client)?,
            Due::Connect(client) => self.connect(client)?,
            Due::Lost(key) => self.lose(key)?,
            Due::Gone(key) => {
                self.note("gone", [key, 0, 0]);
                if let (Some(server), Some(wire)) = (&mut self.server, self.wires.get_mut(&key))
                    && wire.life == self.life
                {
                    server.close(key, wire);
                    self.wake_shards();
                }
            }
            Due::Push => self.push()?,
            Due::Ask => self.ask_any()?,
            Due::Fault => self.fault()?,
            Due::EndIdle(life) => {
                if let Some(server) = self.server.as_mut().filter(|_| life == self.life) {
                    server.nodes.iter_mut().for_each(trendsrv_server::node::Node::end_idle);
                    self.wake_shards();
                }
            }
            Due::Stop(life) => {
                if life == self.life {
                    self.end(Death::Stopped, "stop");
                }
            }
            Due::Start => self.start()?,
            Due::Written(life, shard) => self.written(life, shard),
            Due::Work(life, shard) => self.work(life, shard)?,
            Due::Room => self.make_room(),
        }
        Ok(())
    }

    fn now_ms(&self) -> u64 {
        self.plan.start_ms + self.now_us / 1_000 + self.jumped_ms
    }

    fn queue_in(&mut self, after_us: u64, due: Due) {
        self.queue_at(self.now_us + after_us, due);
    }

    fn queue_at(&mut self, at_us: u64, due: Due) {
        self.queued += 1;
        self.queue.insert((at_us, self.queued), due);
    }

    fn note(&mut self, what: &'static str, which: [u64; 3]) {
        self.trace.step(self.now_us, what, which);
    }

    /// What has happened, with what only the end tells.
    fn summary(&self) -> Summary {
        let refusals = self.clients.iter().flat_map(|client| client.refusals.values()).sum();
        Summary { events: self.oracle.events.len() as u64, refusals, ..self.summary }
    }
}

/// Longest time that pushing may take.
const BUSY_US_MAX: u64 = 3_600_000_000;
/// Longest time until every event is acknowledged or given up once nothing goes wrong any more.
const HEALING_US_MAX: u64 = 600_000_000;
/// A world has an end.
const STEPS_MAX: u64 = 2_000_000;
