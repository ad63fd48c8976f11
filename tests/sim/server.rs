//! The server of a world: real nodes over real shards, and the mail between them.
//!
//! Owns nodes, the mesh and the table of connections; turns a shard as the real driver does.
//! Never touches the clients' ends.
//!
//! ```text
//! turn:  bytes of its wires ─▶ node.on_bytes …     (not while another shard's mail piles up)
//!        mesh ─▶ node.on_mail;  node.on_turn;  node.end_turn ─▶ wires;  outbox ─▶ mesh
//! ```

use crate::dice::Dice;
use crate::plan::Plan;
use crate::storage::{LogDrive, LogTurn};
use crate::wire::Wire;
use std::collections::{BTreeMap, VecDeque};
use trendsrv_proto::ShardAddress;
use trendsrv_server::node::{MeshMail, Node, NodeConfig, PeerId, Vnodes};
use trendsrv_server::store::StoreError;
use trendsrv_shard::{
    Grid, HeapMemory, SAMPLE_BYTES_MAX_DEFAULT, Shard, ShardConfig, Trending, WindowConfig,
    index_words, topics_words,
};

pub(crate) type SimShard = Shard<Trending, HeapMemory>;

/// See the module header.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) nodes: Vec<Node<Trending, HeapMemory>>,
    /// By shard; empty without a disk.
    pub(crate) logs: Vec<LogDrive>,
    mesh: BTreeMap<(usize, usize), Channel>,
    tables: Vec<Table>,
    pub(crate) turn_at_us: Vec<u64>,
    mesh_batches_max: usize,
}

/// Mail from one shard to another, with the times it arrives.
#[derive(Debug, Default)]
struct Channel {
    batches: VecDeque<(u64, Vec<MeshMail>)>,
    last_us: u64,
}

/// The connections of one shard by slot.
#[derive(Debug, Default)]
struct Table {
    slots: Vec<Slot>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    wire: Option<u64>,
    generation: u32,
}

/// What a turn asks of the world.
#[derive(Debug, Default)]
pub(crate) struct Turned {
    /// When to look at a wire's way down.
    pub(crate) lands: Vec<(u64, u64)>,
    /// When another shard has mail.
    pub(crate) mails: Vec<(usize, u64)>,
    /// More is to be done at once.
    pub(crate) more: bool,
    /// Bytes read, for the trace.
    pub(crate) bytes: u64,
    pub(crate) log: LogTurn,
}

impl Server {
    pub(crate) fn new(
        plan: &Plan,
        (shards, logs): (Vec<SimShard>, Vec<LogDrive>),
        generation: u32,
        now_ms: u64,
    ) -> Self {
        let count = shards.len();
        let mut vnodes = Vnodes::even(count);
        vnodes.generation = generation;
        let address = ShardAddress::new(([127, 0, 0, 1], 7_171).into());
        let node = |(index, shard): (usize, SimShard)| {
            let config = NodeConfig {
                shard: u16::try_from(index).expect("few shards"),
                vnodes: vnodes.clone(),
                addresses: vec![address; count],
                credit_bytes_max: plan.credit_bytes_max,
            };
            Node::new(config, shard, now_ms)
        };
        Self {
            nodes: shards.into_iter().enumerate().map(node).collect(),
            logs,
            mesh: BTreeMap::new(),
            tables: (0..count).map(|_| Table::default()).collect(),
            turn_at_us: vec![u64::MAX; count],
            mesh_batches_max: plan.mesh_batches_max,
        }
    }

    /// A client's connection has come to its shard.
    pub(crate) fn accept(&mut self, key: u64, wire: &mut Wire) {
        let slots = &mut self.tables[wire.shard].slots;
        let free = slots.iter().position(|slot| slot.wire.is_none());
        let index = free.unwrap_or_else(|| {
            slots.push(Slot::default());
            slots.len() - 1
        });
        slots[index].generation += 1;
        slots[index].wire = Some(key);
        wire.at_server = true;
        let id = PeerId { index: number(index), generation: slots[index].generation };
        self.nodes[wire.shard].on_accept(id);
    }

    /// The shard hears that a connection is gone.
    pub(crate) fn close(&mut self, key: u64, wire: &mut Wire) {
        if let Some(id) = self.id_of(key, wire) {
            wire.at_server = false;
            self.tables[wire.shard].slots[id.index as usize].wire = None;
            self.nodes[wire.shard].on_close(id);
        }
    }

    fn id_of(&self, key: u64, wire: &Wire) -> Option<PeerId> {
        let slots = &self.tables[wire.shard].slots;
        let index = slots.iter().position(|slot| slot.wire == Some(key))?;
        Some(PeerId { index: number(index), generation: slots[index].generation })
    }

    /// One turn of a shard.
    ///
    /// # Errors
    /// What ends the server.
    pub(crate) fn turn(
        &mut self,
        shard: usize,
        (now_us, now_ms): (u64, u64),
        wires: &mut BTreeMap<u64, Wire>,
        dice: &mut Dice,
    ) -> Result<Turned, StoreError> {
        let mut turned = Turned::default();
        self.nodes[shard].set_now(now_ms);
        if let Some(log) = self.logs.get_mut(shard) {
            log.begin_turn(&mut self.nodes[shard], now_us)?;
        }
        if self.nodes[shard].is_congested() {
            turned.more = true;
        } else if !self.nodes[shard].is_log_congested() {
            self.read_wires(shard, wires, dice, &mut turned);
        }
        if !self.nodes[shard].is_log_congested() {
            self.read_mesh(shard, now_us, &mut turned);
        }
        turned.more |= self.nodes[shard].on_turn();
        self.flush(shard, now_us, wires, dice, &mut turned);
        self.send_mesh(shard, now_us, dice, &mut turned);
        turned.more |= self.nodes[shard].has_held();
        if let Some(log) = self.logs.get_mut(shard) {
            let node = &mut self.nodes[shard];
            let awaited = node.has_durable_waiters();
            turned.log = log.end_turn(node, now_us, awaited)?;
        }
        Ok(turned)
    }

    fn read_wires(
        &mut self,
        shard: usize,
        wires: &mut BTreeMap<u64, Wire>,
        dice: &mut Dice,
        turned: &mut Turned,
    ) {
        for index in 0..self.tables[shard].slots.len() {
            let Slot { wire: Some(key), generation } = self.tables[shard].slots[index] else {
                continue;
            };
            let Some(wire) = wires.get_mut(&key) else { continue };
            let id = PeerId { index: number(index), generation };
            let node = &mut self.nodes[shard];
            if std::mem::take(&mut wire.wants_writable) {
                if wire.room_down() > 0 {
                    node.on_writable(id);
                } else {
                    wire.wants_writable = true;
                }
            }
            if wire.paused {
                continue;
            }
            let most = wire.up.arrived.len();
            let size = if dice.percent(80) { most } else { dice.size(0..=most) };
            if size > 0 {
                let bytes: Vec<u8> = wire.up.arrived.drain(..size).collect();
                turned.bytes += size as u64;
                node.on_bytes(id, &bytes);
            }
            turned.more |= size < most;
            if wire.up.ended && wire.up.arrived.is_empty() && !wire.half_closed {
                wire.half_closed = true;
                node.on_half_close(id);
            }
        }
    }

    fn read_mesh(&mut self, shard: usize, now_us: u64, turned: &mut Turned) {
        for from in 0..self.nodes.len() {
            let Some(channel) = self.mesh.get_mut(&(from, shard)) else { continue };
            while channel.batches.front().is_some_and(|(at_us, _)| *at_us <= now_us) {
                let (_, batch) = channel.batches.pop_front().expect("it was looked at");
                turned.more = true;
                for mail in batch {
                    self.nodes[shard].on_mail(mail);
                }
            }
        }
    }

    /// Hands what the node has written to the wires, as much as they take.
    fn flush(
        &mut self,
        shard: usize,
        now_us: u64,
        wires: &mut BTreeMap<u64, Wire>,
        dice: &mut Dice,
        turned: &mut Turned,
    ) {
        let slots = &mut self.tables[shard].slots;
        let mut over = Vec::new();
        self.nodes[shard].end_turn(|output| {
            let slot = &mut slots[output.id.index as usize];
            if slot.generation != output.id.generation {
                return;
            }
            let Some(key) = slot.wire else { return };
            let Some(wire) = wires.get_mut(&key) else { return };
            let size = output.bytes.len().min(wire.room_down());
            let sent: Vec<u8> = output.bytes.drain(..size).collect();
            let weather = wire.weather;
            let times = wire.down.send(now_us, &sent, &weather, dice);
            turned.lands.extend(times.into_iter().map(|at_us| (key, at_us)));
            wire.wants_writable |= !output.bytes.is_empty();
            if let Some(pause) = output.pause {
                wire.paused = pause;
                // Bytes may have come meanwhile.
                turned.more |= !pause;
            }
            if output.ends && output.bytes.is_empty() {
                let at_us = wire.down.end(now_us, &weather, dice);
                turned.lands.push((key, at_us));
                wire.at_server = false;
                slot.wire = None;
                over.push(output.id);
            }
        });
        for id in over {
            self.nodes[shard].on_close(id);
        }
    }

    fn send_mesh(&mut self, shard: usize, now_us: u64, dice: &mut Dice, turned: &mut Turned) {
        for to in 0..self.nodes.len() {
            if to == shard {
                continue;
            }
            let channel = self.mesh.entry((shard, to)).or_default();
            while let Some(batch) = self.nodes[shard].take_batch(number16(to)) {
                if channel.batches.len() >= self.mesh_batches_max {
                    self.nodes[shard].put_back(number16(to), batch);
                    turned.more = true;
                    break;
                }
                let delay_us = if dice.percent(80) { 20 } else { dice.of(20..=30_000) };
                channel.last_us = channel.last_us.max(now_us + delay_us);
                channel.batches.push_back((channel.last_us, batch));
                turned.mails.push((to, channel.last_us));
            }
        }
    }
}

/// A shard with room for the plan's tenants.
pub(crate) fn shard_of(plan: &Plan, grid: Grid, secret: u64) -> SimShard {
    let config = ShardConfig {
        grid,
        clock: plan.clock,
        tenants_max: plan.tenants + 4,
        topics_max: 4_096,
        producers_max: plan.producers_max,
        early_max: plan.early_max,
        subscriptions_max: 64,
        sample_bytes_max: SAMPLE_BYTES_MAX_DEFAULT,
        secret: [secret, secret ^ 5],
    };
    let windows = WindowConfig {
        tenants_max: number(config.tenants_max),
        chunk_bytes_min: 64 << 10,
        ..WindowConfig::new(grid, [secret ^ 7, secret ^ 11])
    };
    let bytes = windows.memory_bytes(16 * windows.chunk_bytes());
    let memory = HeapMemory::new(usize::try_from(bytes).expect("small") / 8);
    let index = HeapMemory::new(index_words(config.tenants_max));
    let names = HeapMemory::new(topics_words(config.topics_max));
    let programs = Trending { recent_ms: 10_000, window_ms: plan.window_ms };
    Shard::new(config, &windows, memory, index, names, programs)
        .expect("the memory holds the tenants")
}

fn number(index: usize) -> u32 {
    u32::try_from(index).expect("few of them")
}

fn number16(index: usize) -> u16 {
    u16::try_from(index).expect("few of them")
}
