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

use crate::client::{Client, Heard, Question, Speaker};
use crate::dice::Dice;
use crate::disk::SimDisk;
use crate::oracle::{Heir, Moment, Oracle};
use crate::plan::{Plan, Planted};
use crate::server::{Server, shard_of};
use crate::storage::{self, Recovered};
use crate::trace::Trace;
use crate::wire::Wire;
use std::collections::BTreeMap;
use trendsrv_client::{Answer, SessionConfig};
use trendsrv_proto::{Clock, Rank};
use trendsrv_server::store::{StoreError, inspect};
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

/// What happened in a world, so that worlds that try nothing are seen.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Summary {
    pub(crate) events: u64,
    pub(crate) answers: u64,
    pub(crate) connections: u64,
    pub(crate) crashes: u64,
    pub(crate) cuts: u64,
    pub(crate) refusals: u64,
    pub(crate) commits: u64,
    pub(crate) snapshots: u64,
    pub(crate) recoveries: u64,
    pub(crate) replayed: u64,
    pub(crate) reshards: u64,
    pub(crate) torn: u64,
    pub(crate) flips: u64,
    pub(crate) flips_refused: u64,
    pub(crate) unlogged: u64,
}

impl Summary {
    /// Adds another world's.
    pub(crate) const fn add(&mut self, other: &Self) {
        self.events += other.events;
        self.answers += other.answers;
        self.connections += other.connections;
        self.crashes += other.crashes;
        self.cuts += other.cuts;
        self.refusals += other.refusals;
        self.commits += other.commits;
        self.snapshots += other.snapshots;
        self.recoveries += other.recoveries;
        self.replayed += other.replayed;
        self.reshards += other.reshards;
        self.torn += other.torn;
        self.flips += other.flips;
        self.flips_refused += other.flips_refused;
        self.unlogged += other.unlogged;
    }
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

    // Time.

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

    // Shards.

    fn start(&mut self) -> Result<(), String> {
        if self.server.is_some() {
            return Ok(());
        }
        let grid = self.server_grid();
        let (shards, logs, generation) = match self.disk.clone() {
            Some(disk) => match self.recover(&disk, grid)? {
                Some(found) => (found.shards, found.logs, found.generation),
                None => return Ok(()),
            },
            None => {
                let shards = (0..self.shards).map(|_| {
                    let secret = self.dice.any();
                    shard_of(&self.plan, grid, secret)
                });
                (shards.collect(), Vec::new(), 1)
            }
        };
        self.life += 1;
        self.draining = false;
        self.upset_us = self.now_us;
        let server = Server::new(&self.plan, (shards, logs), generation, self.now_ms());
        self.server = Some(server);
        self.note("start", [self.life.into(), self.shards as u64, generation.into()]);
        self.wake_shards();
        Ok(())
    }

    /// Opens the directory; `None` when that has to be tried again.
    fn recover(&mut self, disk: &SimDisk, grid: Grid) -> Result<Option<Recovered>, String> {
        if self.life > 0 && !self.healing && self.dice.percent(self.plan.disk.reshards) {
            self.shards = self.dice.size(1..=4);
            self.summary.reshards += 1;
        }
        let looked = self.flip.is_some() || self.life.is_multiple_of(3);
        let seen = looked.then(|| look(disk));
        if !self.healing && self.dice.percent(self.plan.disk.dies_starting) {
            disk.stop_after(self.dice.of(0..=120));
        }
        let at = (grid, self.shards, self.now_ms());
        let recovered = storage::recover(&self.plan, disk, at, &mut self.dice);
        if let Some(Ok(seen)) = &seen
            && !disk.is_dead()
        {
            agree(seen, disk, recovered.as_ref().err())?;
        }
        let again_us = self.dice.of(10_000..=1_000_000);
        match recovered {
            Ok(recovered) => {
                self.summary.recoveries += 1;
                for facts in &recovered.facts {
                    let notes = &facts.notes;
                    self.trace.tell(self.now_us, format_args!("{facts:?}"));
                    self.summary.replayed += facts.events;
                    self.summary.torn +=
                        notes.iter().any(|note| note.contains("unfinished")) as u64;
                }
                self.flip = None;
                return Ok(Some(recovered));
            }
            Err(_) if disk.is_dead() => {
                self.note("dies starting", [0; 3]);
                let seed = self.dice.any();
                disk.cut_power(seed);
            }
            Err(error) => match self.flip.take() {
                Some(Flip { path, offset, bit }) => {
                    self.trace.tell(self.now_us, format_args!("refused: {error}"));
                    self.note("flip refused", [offset, bit.into(), 0]);
                    self.summary.flips_refused += 1;
                    disk.flip(&path, offset, bit);
                }
                None if error.is_full() => {
                    self.note("no room to start", [0; 3]);
                    self.make_room();
                }
                None => return Err(format!("the server does not start: {error}")),
            },
        }
        self.queue_in(again_us, Due::Start);
        Ok(None)
    }

    /// The grid of the server, with the planted fault if any.
    fn server_grid(&self) -> Grid {
        let Plan { window_ms, slide_ms, .. } = self.plan;
        let window_ms = match self.plan.planted {
            Some(Planted::PaneTooMany) => window_ms + slide_ms,
            Some(Planted::PaneTooFew) => window_ms - slide_ms,
            _ => window_ms,
        };
        Grid::new(window_ms, slide_ms).expect("a pane more or less is a good grid, too")
    }

    fn wake_shards(&mut self) {
        let count = self.server.as_ref().map_or(0, |server| server.nodes.len());
        for shard in 0..count {
            let after_us = self.dice.of(5..=500);
            self.turn_at(shard, self.now_us + after_us);
        }
    }

    fn turn_at(&mut self, shard: usize, at_us: u64) {
        let Some(server) = &mut self.server else { return };
        if at_us < server.turn_at_us[shard] {
            server.turn_at_us[shard] = at_us;
            self.queue_at(at_us, Due::Turn(shard));
        }
    }

    fn turn(&mut self, shard: usize) -> Result<(), String> {
        let now = (self.now_us, self.now_ms());
        let Some(server) = &mut self.server else { return Ok(()) };
        if server.turn_at_us.get(shard) != Some(&self.now_us) {
            return Ok(());
        }
        server.turn_at_us[shard] = u64::MAX;
        let turned = match server.turn(shard, now, &mut self.wires, &mut self.net) {
            Ok(turned) => turned,
            Err(error) => return self.failed(&error),
        };
        self.note("turn", [shard as u64, turned.bytes, turned.lands.len() as u64]);
        for (key, at_us) in turned.lands {
            self.queue_at(at_us, Due::LandDown(key));
        }
        for (to, at_us) in turned.mails {
            self.turn_at(to, at_us);
        }
        if turned.log.writes {
            self.note("commit", [shard as u64, 0, 0]);
            let after_us = self.dice.of(20..=self.plan.disk.write_us_max);
            self.queue_in(after_us, Due::Written(self.life, shard));
        }
        if turned.log.works {
            self.work_soon(shard);
        }
        let more = turned.more || turned.log.more;
        let mut after_us = if more { self.dice.of(5..=300) } else { IDLE_TURN_US };
        if let Some(within_us) = turned.log.within_us {
            // A shard that waits for its disk sleeps all the same.
            after_us = after_us.min(within_us.max(50));
        }
        self.turn_at(shard, self.now_us + after_us);
        Ok(())
    }

    // The disk.

    fn work_soon(&mut self, shard: usize) {
        let Some(server) = &mut self.server else { return };
        if std::mem::replace(&mut server.logs[shard].at_work, true) {
            return;
        }
        let after_us = self.dice.of(20..=self.plan.disk.write_us_max);
        self.queue_in(after_us, Due::Work(self.life, shard));
    }

    fn written(&mut self, life: u32, shard: usize) {
        let Some(server) = self.server.as_mut().filter(|_| life == self.life) else { return };
        server.logs[shard].write(&mut self.net, std::mem::take(&mut self.short));
        self.note("written", [shard as u64, 0, 0]);
        let after_us = self.dice.of(1..=200);
        self.turn_at(shard, self.now_us + after_us);
    }

    fn work(&mut self, life: u32, shard: usize) -> Result<(), String> {
        let Some(server) = self.server.as_mut().filter(|_| life == self.life) else {
            return Ok(());
        };
        server.logs[shard].at_work = false;
        let (more, done) = match server.logs[shard].work() {
            Ok(more) => (more, server.logs[shard].has_done()),
            Err(error) => return self.failed(&error),
        };
        self.note("work", [shard as u64, more.into(), done.into()]);
        if more {
            self.work_soon(shard);
        }
        if done {
            let after_us = self.dice.of(1..=200);
            self.turn_at(shard, self.now_us + after_us);
        }
        Ok(())
    }

    /// The disk has failed: the process ends, and perhaps the machine.
    fn failed(&mut self, error: &StoreError) -> Result<(), String> {
        self.trace.tell(self.now_us, format_args!("failed: {error}"));
        // What was broken before healing began may show behind it.
        self.failures_healing += u64::from(self.healing);
        if self.failures_healing > FAILURES_HEALING_MAX {
            return Err(format!("a good disk fails: {error}"));
        }
        let dead = self.disk.as_ref().is_some_and(SimDisk::is_dead);
        let cut = dead || self.dice.percent(60);
        self.end(if cut { Death::PowerCut } else { Death::Killed }, "failed");
        Ok(())
    }

    fn make_room(&mut self) {
        if let Some(disk) = &self.disk {
            disk.set_capacity(None);
        }
        self.note("room", [0; 3]);
    }

    /// The server ends, one way or the other; another one starts later.
    fn end(&mut self, death: Death, why: &'static str) {
        let Some(mut server) = self.server.take() else { return };
        self.note(why, [self.life.into(), death as u64, 0]);
        self.draining = false;
        self.summary.crashes += 1;
        let unlogged: u64 =
            server.nodes.iter_mut().map(|node| node.shard_mut().stats().log_unlogged_parts).sum();
        self.summary.unlogged += unlogged;
        for log in &server.logs {
            self.summary.commits += log.commits;
            self.summary.snapshots += log.published;
        }
        let mut all = death == Death::Stopped && unlogged == 0;
        for (log, node) in server.logs.iter_mut().zip(&mut server.nodes) {
            match death {
                Death::Stopped => match log.finish(node, self.now_us) {
                    Ok(finished) => all &= finished,
                    Err(error) => {
                        self.trace.tell(self.now_us, format_args!("no clean end: {error}"));
                        all = false;
                    }
                },
                Death::Killed if self.net.percent(50) => log.write(&mut self.net, false),
                Death::Killed | Death::PowerCut => log.tear(&mut self.net),
            }
        }
        let heir = match &self.disk {
            None => Heir::Nothing,
            Some(_) if all => Heir::All,
            Some(_) => Heir::Log,
        };
        self.heirs.push(heir);
        match heir {
            Heir::Nothing => self.oracle.forgotten(),
            Heir::Log => self.oracle.crashed(unlogged > 0),
            Heir::All => {}
        }
        if let Some(disk) = self.disk.clone() {
            if death == Death::PowerCut || disk.is_dead() || self.dice.percent(50) {
                disk.cut_power(self.dice.any());
            } else {
                disk.restart();
            }
            if all && self.dice.percent(self.plan.disk.flips) {
                self.flip_a_bit(&disk);
            }
        }
        self.cut_all();
        let after_us = self.dice.of(10_000..=3_000_000);
        self.queue_in(after_us, Due::Start);
    }

    /// Turns a bit over, where there is something rather than nothing.
    fn flip_a_bit(&mut self, disk: &SimDisk) {
        let mut files = disk.files();
        files.retain(|(_, bytes)| !bytes.is_empty());
        let segments: Vec<usize> =
            (0..files.len()).filter(|&at| is_segment(&files[at].0)).collect();
        let at = if self.dice.percent(50) && !segments.is_empty() {
            self.dice.pick(&segments)
        } else if files.is_empty() {
            return;
        } else {
            self.dice.index(files.len())
        };
        let (path, bytes) = &files[at];
        let end = bytes.iter().rposition(|byte| *byte != 0).unwrap_or(0) + 1;
        let from = if self.dice.percent(50) { end.saturating_sub(400) } else { 0 };
        // Somewhere behind the last byte that is something, at times.
        let to = if self.dice.percent(20) { bytes.len() } else { end };
        let offset = from + self.dice.index(to - from);
        let bit = u8::try_from(self.dice.below(8)).expect("below 8");
        let flip = Flip { path: path.clone(), offset: offset as u64, bit };
        self.note("flip", [flip.offset, bit.into(), 0]);
        self.trace.tell(self.now_us, format_args!("{flip:?}"));
        disk.flip(&flip.path, flip.offset, bit);
        self.summary.flips += 1;
        self.flip = Some(flip);
    }

    /// All connections of a server that is gone.
    fn cut_all(&mut self) {
        let open: Vec<u64> =
            self.wires.iter().filter(|(_, wire)| wire.at_server).map(|(key, _)| *key).collect();
        for key in open {
            let wire = self.wires.get_mut(&key).expect("it was listed");
            wire.at_server = false;
            wire.up.close();
            wire.down.cut(&mut self.net);
            let after_us = self.dice.of(1..=200_000);
            self.queue_in(after_us, Due::Lost(key));
        }
    }

    /// What is left of what a server said.
    fn speaker(&self, life: u32) -> Speaker {
        let index = usize::try_from(life).expect("few lives") - 1;
        let since = self.heirs.get(index..).unwrap_or_default();
        if since.is_empty() {
            Speaker::Living
        } else if since.contains(&Heir::Nothing) {
            Speaker::Dead(Heir::Nothing)
        } else if since.contains(&Heir::Log) {
            Speaker::Dead(Heir::Log)
        } else {
            Speaker::Dead(Heir::All)
        }
    }

    // Connections.

    fn connect(&mut self, index: usize) -> Result<(), String> {
        let now_ms = self.now_ms();
        if !self.clients[index].connects || self.clients[index].wire.is_some() {
            return Ok(());
        }
        self.clients[index].connects = false;
        let Some(server) = self.server.as_mut().filter(|_| !self.draining) else {
            self.note("no server", [index as u64, 0, 0]);
            self.clients[index].session.handle_disconnect(now_ms);
            return self.on_wake(index);
        };
        let shard = self.net.index(server.nodes.len());
        let key = self.wires.keys().next_back().map_or(1, |last| last + 1);
        let mut wire = Wire::new(index, (self.life, shard), self.plan.weather);
        server.accept(key, &mut wire);
        self.wires.insert(key, wire);
        self.summary.connections += 1;
        self.note("connect", [index as u64, key, shard as u64]);
        let client = &mut self.clients[index];
        client.wire = Some(key);
        client.session.handle_connected(now_ms);
        self.turn_at(shard, self.now_us + 10);
        self.on_wake(index)
    }

    fn land_up(&mut self, key: u64) {
        let Some(wire) = self.wires.get_mut(&key) else { return };
        if wire.up.land(self.now_us) && wire.at_server {
            let shard = wire.shard;
            self.note("land up", [key, 0, 0]);
            let after_us = self.dice.of(5..=100);
            self.turn_at(shard, self.now_us + after_us);
        }
    }

    fn land_down(&mut self, key: u64) -> Result<(), String> {
        let now_us = self.now_us;
        let Some(wire) = self.wires.get_mut(&key) else { return Ok(()) };
        if !wire.down.land(now_us) || !wire.at_client {
            return Ok(());
        }
        if now_us < wire.unread_until_us {
            let at_us = wire.unread_until_us;
            self.queue_at(at_us, Due::LandDown(key));
            return Ok(());
        }
        let bytes = std::mem::take(&mut wire.down.arrived);
        let (index, shard, ended) = (wire.client, wire.shard, wire.down.ended);
        let writable = wire.wants_writable && wire.at_server;
        let life = wire.life;
        let speaker = self.speaker(life);
        let living = matches!(speaker, Speaker::Living);
        self.note("land down", [key, bytes.len() as u64, ended.into()]);
        if writable {
            self.turn_at(shard, now_us + 10);
        }
        let now_ms = self.now_ms();
        let trace = &mut self.trace;
        let mut heard = |frame: &[u8]| trace.frames(now_us, &format!("{index} hears"), frame);
        self.clients[index].hear(now_ms, &bytes, speaker, (&mut self.oracle, &mut heard))?;
        self.act(index, living)?;
        if ended && self.clients[index].wire == Some(key) {
            return self.lose(key);
        }
        self.on_wake(index)
    }

    /// Does what a client has heard.
    fn act(&mut self, index: usize, living: bool) -> Result<(), String> {
        while let Some(heard) = self.clients[index].next_heard()? {
            match heard {
                Heard::Close => self.close_by_client(index),
                // Whoever said it is gone, and what it knew with it.
                _ if !living => {}
                Heard::Answer(question, answer) => {
                    if question.moment.at_ms.is_none() {
                        self.oracle.told(index, question.tenant, answer.head.version)?;
                    }
                    self.answered(&question, &answer)?;
                }
                Heard::Unknown(question) => self.unknown(&question)?,
                Heard::Stale(question) => {
                    self.judging.push((question.tenant, question.ahead_ms));
                }
                Heard::Update(tenant, answer) => {
                    let now_ms = self.now_ms();
                    let moment = Moment { acks: 0, asked_ms: 0, now_ms, at_ms: None, opened_ms: 0 };
                    self.summary.answers += 1;
                    self.oracle.judge(tenant, &answer, &moment)?;
                }
            }
        }
        Ok(())
    }

    fn close_by_client(&mut self, index: usize) {
        let Some(key) = self.clients[index].wire else { return };
        self.note("close", [index as u64, key, 0]);
        self.clients[index].forget_connection();
        let Some(wire) = self.wires.get_mut(&key) else { return };
        wire.at_client = false;
        wire.down.close();
        let weather = wire.weather;
        let at_us = wire.up.end(self.now_us, &weather, &mut self.net);
        self.queue_at(at_us, Due::LandUp(key));
    }

    /// A client hears that its connection is gone.
    fn lose(&mut self, key: u64) -> Result<(), String> {
        let now_ms = self.now_ms();
        let Some(wire) = self.wires.get_mut(&key) else { return Ok(()) };
        let index = wire.client;
        if self.clients[index].wire != Some(key) {
            return Ok(());
        }
        self.note("lost", [index as u64, key, 0]);
        self.close_by_client(index);
        self.clients[index].session.handle_disconnect(now_ms);
        self.clients[index].settle(Speaker::Living, &mut self.oracle)?;
        self.act(index, false)?;
        self.on_wake(index)
    }

    // Clients.

    fn wake(&mut self, index: usize, after_us: u64) {
        let at_us = self.now_us + after_us;
        if at_us < self.clients[index].wakes_us {
            self.clients[index].wakes_us = at_us;
            self.queue_at(at_us, Due::Wake(index));
        }
    }

    fn on_wake(&mut self, index: usize) -> Result<(), String> {
        let (now_us, now_ms) = (self.now_us, self.now_ms());
        let client = &mut self.clients[index];
        if client.wakes_us <= now_us {
            client.wakes_us = u64::MAX;
        }
        client.session.handle_timeout(now_ms);
        client.settle(Speaker::Living, &mut self.oracle)?;
        self.act(index, true)?;
        let client = &mut self.clients[index];
        let wants = client.session.reconnect_at().is_some_and(|at_ms| at_ms <= now_ms);
        if wants && !client.connects && client.wire.is_none() {
            client.connects = true;
            let after_us = self.dice.of(20..=5_000);
            self.queue_in(after_us, Due::Connect(index));
        }
        let client = &mut self.clients[index];
        while let Some(bytes) = client.session.poll_transmit(now_ms) {
            let Some(key) = client.wire else { break };
            self.trace.frames(now_us, "sends", bytes);
            let wire = self.wires.get_mut(&key).expect("wires are kept");
            let weather = wire.weather;
            for at_us in wire.up.send(now_us, bytes, &weather, &mut self.net) {
                self.queued += 1;
                self.queue.insert((at_us, self.queued), Due::LandUp(key));
            }
        }
        if !client.connects
            && let Some(at_ms) = client.session.next_timeout()
        {
            let after_ms = at_ms.saturating_sub(now_ms).max(1);
            self.wake(index, after_ms * 1_000);
        }
        Ok(())
    }

    fn push(&mut self) -> Result<(), String> {
        if self.pushes_left == 0 {
            return Ok(());
        }
        self.pushes_left -= 1;
        let index = self.plan.readers + self.dice.index(self.plan.producers.len());
        let now_ms = self.now_ms();
        for _ in 0..self.dice.of(1..=6) {
            let tenant = self.dice.index(self.plan.tenants);
            let as_text = self.dice.percent(30);
            let topic = self.dice.index(self.plan.topics);
            let other = self.dice.index(self.plan.topics);
            let mut topics = vec![topic];
            if as_text && other != topic {
                topics.push(other);
            }
            let ts_ms = match self.dice.below(10) {
                0 => now_ms + self.dice.below(4_900),
                1..=4 => now_ms,
                _ => now_ms - self.dice.below(self.plan.behind_ms_max + 1),
            };
            let client = &mut self.clients[index];
            client.push(now_ms, tenant, topics, (ts_ms, as_text), &mut self.oracle)?;
        }
        if self.dice.percent(10) {
            self.clients[index].session.flush();
        }
        self.note("push", [index as u64, self.oracle.events.len() as u64, 0]);
        self.on_wake(index)?;
        let after_us = self.dice.of(1..=self.plan.push_gap_us_max);
        self.queue_in(after_us, Due::Push);
        Ok(())
    }

    // Questions.

    fn ask_any(&mut self) -> Result<(), String> {
        self.check_bounds()?;
        let after_us = self.dice.of(1_000..=400_000);
        self.queue_in(after_us, Due::Ask);
        let index = self.dice.index(self.clients.len());
        let tenant = self.dice.index(self.plan.tenants);
        if !self.healing && index < self.plan.readers && self.dice.percent(20) {
            let client = &mut self.clients[index];
            if client.subscriptions.len() < 8
                && let Some(tag) =
                    client.session.subscribe(self.oracle.tenants[tenant].id, 100, Rank::Count)
            {
                client.subscriptions.insert(tag, tenant);
            }
        }
        self.ask(index, tenant, 0)?;
        Ok(())
    }

    /// What a shard holds for its connections stays within its limits.
    fn check_bounds(&mut self) -> Result<(), String> {
        let nodes = self.server.iter_mut().flat_map(|server| &mut server.nodes);
        for (shard, node) in nodes.enumerate() {
            let stats = node.stats();
            let (used, high, max) = stats.credit;
            if stats.buffered_bytes > stats.buffered_max || used > high || high > max {
                return Err(format!("shard {shard} is beyond its bounds: {stats:?}"));
            }
        }
        Ok(())
    }

    /// Asks for a tenant's answer as of later; `false` when the client cannot ask now.
    fn ask(&mut self, index: usize, tenant: usize, ahead_ms: u64) -> Result<bool, String> {
        let now_ms = self.now_ms();
        let at_ms = (ahead_ms > 0).then(|| match self.plan.clock {
            Clock::Wall => now_ms + ahead_ms,
            Clock::Event => self.newest_ms(tenant) + ahead_ms,
        });
        let calm = self.now_us >= self.upset_us + 1_000_000;
        let opened_ms = if calm { now_ms - 1_000 } else { 0 };
        let moment =
            Moment { acks: self.oracle.acks(), asked_ms: now_ms, now_ms, at_ms, opened_ms };
        let id = self.oracle.tenants[tenant].id;
        let client = &mut self.clients[index];
        let Some(tag) = client.session.query(id, at_ms, 100, Rank::Count) else {
            return Ok(false);
        };
        client.questions.insert(tag, Question { tenant, ahead_ms, moment });
        self.note("ask", [index as u64, tenant as u64, ahead_ms]);
        self.on_wake(index)?;
        Ok(true)
    }

    fn newest_ms(&self, tenant: usize) -> u64 {
        let events = self.oracle.events.iter().filter(|event| event.tenant == tenant);
        events.map(|event| event.ts_ms).max().unwrap_or(self.plan.start_ms)
    }

    fn answered(&mut self, question: &Question, answer: &Answer) -> Result<(), String> {
        self.summary.answers += 1;
        let moment = Moment { now_ms: self.now_ms(), ..question.moment };
        self.oracle.judge(question.tenant, answer, &moment)
    }

    fn unknown(&mut self, question: &Question) -> Result<(), String> {
        self.summary.answers += 1;
        let moment = Moment { now_ms: self.now_ms(), ..question.moment };
        self.oracle.judge_unknown(question.tenant, &moment)
    }

    /// Asks for every tenant now and for later times, until all is answered.
    fn judge_all(&mut self) -> Result<(), String> {
        let (window, slide) = (self.plan.window_ms, self.plan.slide_ms);
        for tenant in 0..self.plan.tenants {
            for ahead_ms in [0, slide, window / 2, window - slide, window] {
                self.judging.push((tenant, ahead_ms));
            }
        }
        let end_us = self.now_us + JUDGING_US_MAX;
        loop {
            while let Some((tenant, ahead_ms)) = self.judging.pop() {
                if !self.ask(0, tenant, ahead_ms)? {
                    self.judging.push((tenant, ahead_ms));
                    break;
                }
            }
            if self.judging.is_empty() && self.clients[0].questions.is_empty() {
                return Ok(());
            }
            if self.now_us > end_us {
                return Err(format!("questions stay without answers: {}", self.state()));
            }
            let until_us = self.now_us + 10_000;
            self.until(60_000_000, |world| world.now_us >= until_us)?;
        }
    }

    // What goes wrong.

    fn fault(&mut self) -> Result<(), String> {
        let faults = self.plan.faults;
        if self.healing || faults.gap_us == 0 {
            return Ok(());
        }
        let after_us = self.dice.of(1..=2 * faults.gap_us);
        self.queue_in(after_us, Due::Fault);
        let shares = [
            faults.cut,
            faults.half_close,
            faults.stall,
            faults.jump,
            faults.crash,
            faults.drain,
            faults.begin_anew,
            faults.power_cut,
            faults.dies_at_call,
            faults.disk_error,
            faults.disk_full,
            faults.short_write,
        ];
        let sum: u64 = shares.iter().sum();
        if sum == 0 {
            return Ok(());
        }
        let (mut at, mut kind) = (self.dice.below(sum), 0);
        while at >= shares[kind] {
            at -= shares[kind];
            kind += 1;
        }
        match kind {
            0 => self.cut(),
            1 => self.half_close(),
            2 => self.stall(),
            3 => self.jump(),
            4 => self.end(Death::Killed, "killed"),
            5 => self.drain(),
            6 => self.begin_anew()?,
            7 => self.end(Death::PowerCut, "power cut"),
            11 => self.short = true,
            kind => self.disk_fault(kind),
        }
        Ok(())
    }

    fn disk_fault(&mut self, kind: usize) {
        let Some(disk) = self.disk.clone().filter(|_| self.server.is_some()) else { return };
        self.note("disk fault", [kind as u64, 0, 0]);
        match kind {
            8 => disk.stop_after(self.dice.of(0..=40)),
            9 => {
                let left = Some(self.dice.of(0..=20));
                disk.fail_after(if self.dice.percent(50) { (left, None) } else { (None, left) });
            }
            10 => {
                let room = self.dice.of(0..=3 * self.plan.disk.segment_bytes);
                disk.set_capacity(Some(disk.used() + room));
                let after_us = self.dice.of(100_000..=20_000_000);
                self.queue_in(after_us, Due::Room);
            }
            _ => {}
        }
    }

    fn any_wire(&mut self) -> Option<u64> {
        let open = |wire: &&Wire| wire.at_client && wire.at_server;
        let open: Vec<u64> =
            self.wires.iter().filter(|(_, wire)| open(wire)).map(|(key, _)| *key).collect();
        (!open.is_empty()).then(|| self.dice.pick(&open))
    }

    fn cut(&mut self) {
        let Some(key) = self.any_wire() else { return };
        self.note("cut", [key, 0, 0]);
        self.summary.cuts += 1;
        let wire = self.wires.get_mut(&key).expect("it is open");
        wire.up.cut(&mut self.net);
        wire.down.cut(&mut self.net);
        // Otherwise only its own patience tells the client.
        if self.dice.percent(80) {
            let after_us = self.dice.of(0..=1_000_000);
            self.queue_in(after_us, Due::Lost(key));
        }
        let longest_us = self.dice.pick(&[1_000, 500_000, 20_000_000]);
        let after_us = self.dice.of(0..=longest_us);
        self.queue_in(after_us, Due::Gone(key));
    }

    fn half_close(&mut self) {
        let Some(key) = self.any_wire() else { return };
        self.note("half-close", [key, 0, 0]);
        let wire = self.wires.get_mut(&key).expect("it is open");
        let weather = wire.weather;
        let at_us = wire.up.end(self.now_us, &weather, &mut self.net);
        self.queue_at(at_us, Due::LandUp(key));
    }

    fn stall(&mut self) {
        let Some(key) = self.any_wire() else { return };
        let longest_us = self.dice.pick(&[50_000, 2_000_000, 12_000_000]);
        let until_us = self.now_us + self.dice.of(1..=longest_us);
        let which = self.dice.below(3);
        self.note("stall", [key, which, until_us]);
        let wire = self.wires.get_mut(&key).expect("it is open");
        match which {
            0 => {
                for at_us in wire.up.stall(until_us) {
                    self.queue_at(at_us, Due::LandUp(key));
                }
            }
            1 => {
                for at_us in wire.down.stall(until_us) {
                    self.queue_at(at_us, Due::LandDown(key));
                }
            }
            _ => wire.unread_until_us = until_us,
        }
    }

    fn jump(&mut self) {
        let Plan { window_ms, slide_ms, .. } = self.plan;
        let far_ms = [300, 5_000, 31_000, 3 * slide_ms, window_ms / 2, window_ms + slide_ms];
        let ms = self.dice.pick(&far_ms);
        self.note("jump", [ms, 0, 0]);
        self.jumped_ms += ms;
        self.upset_us = self.now_us;
        self.wake_shards();
        for index in 0..self.clients.len() {
            self.wake(index, 1);
        }
    }

    fn drain(&mut self) {
        let Some(server) = self.server.as_mut().filter(|_| !self.draining) else { return };
        server.nodes.iter_mut().for_each(trendsrv_server::node::Node::drain);
        self.draining = true;
        self.note("drain", [self.life.into(), 0, 0]);
        self.wake_shards();
        self.queue_in(1_000_000, Due::EndIdle(self.life));
        let after_us = self.dice.of(1_100_000..=3_000_000);
        self.queue_in(after_us, Due::Stop(self.life));
    }

    /// A producer's program starts anew with the next epoch.
    fn begin_anew(&mut self) -> Result<(), String> {
        let index = self.plan.readers + self.dice.index(self.plan.producers.len());
        self.note("begin anew", [index as u64, 0, 0]);
        self.close_by_client(index);
        self.clients[index].begin_anew(&mut self.oracle)?;
        self.wake(index, 1);
        Ok(())
    }

    fn summary(&self) -> Summary {
        let refusals = self.clients.iter().flat_map(|client| client.refusals.values()).sum();
        Summary { events: self.oracle.events.len() as u64, refusals, ..self.summary }
    }
}

/// What `inspect` says of a directory, and the files it was asked about.
struct Seen {
    is_sound: bool,
    files: Vec<(String, Vec<u8>)>,
}

fn look(disk: &SimDisk) -> Result<Seen, StoreError> {
    Ok(Seen { is_sound: inspect(disk)?.is_sound(), files: disk.files() })
}

/// Holds what `inspect` said against what a start made of the same directory.
fn agree(seen: &Seen, disk: &SimDisk, refused: Option<&StoreError>) -> Result<(), String> {
    match refused {
        None if seen.is_sound => Ok(()),
        None => Err("inspect finds damage in a directory that opens".to_owned()),
        Some(error) if error.is_full() => Ok(()),
        Some(error) if seen.is_sound => {
            Err(format!("inspect finds a directory sound that does not open: {error}"))
        }
        Some(_) if seen.files == disk.files() => Ok(()),
        Some(error) => Err(format!("a start that was refused changed files: {error}")),
    }
}

fn is_segment(path: &str) -> bool {
    path.contains("/seg-")
}

/// A shard with nothing to do looks at its clock this often.
const IDLE_TURN_US: u64 = 50_000;
/// Longest time that pushing may take.
const BUSY_US_MAX: u64 = 3_600_000_000;
/// Failures of the disk that may show when nothing breaks any more: one a shard.
const FAILURES_HEALING_MAX: u64 = 4;
/// Longest time until every event is acknowledged or given up once nothing goes wrong any more.
const HEALING_US_MAX: u64 = 600_000_000;
/// Longest time until every question of the end is answered.
const JUDGING_US_MAX: u64 = 120_000_000;
/// A world has an end.
const STEPS_MAX: u64 = 2_000_000;
