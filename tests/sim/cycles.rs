//! Crash and recover, over and over: shards with their logs and nothing around them, so that many
//! cycles fit a minute.
//!
//! ```text
//! cycle:  parts of one producer ─▶ shards ─▶ log ─▶ disk ─(power cut, kill, clean end)─▶ recover
//!         what was durable is there, once; what was not comes again with its number
//! ```
//!
//! Owns the producer and the clock. Never touches connections: worlds have those.

use crate::dice::Dice;
use crate::disk::SimDisk;
use crate::oracle::{EventId, Moment, Oracle};
use crate::plan::Plan;
use crate::server::Server;
use crate::storage;
use std::collections::BTreeMap;
use trendsrv_client::Answer;
use trendsrv_proto::{
    Clock, EventRecord, Frame, Kind, NameKind, Rank, Span, Split, TenantId, TopicId, split,
};
use trendsrv_shard::{Ask, Effect, Effects, Grid, Lane, Origin, Part, ReplyTo, Sequence};

/// A frame of one event that is not known to be durable.
#[derive(Clone, Copy, Debug)]
struct Sent {
    event: EventId,
    tenant: usize,
    record: EventRecord,
    ts_ms: u64,
    /// Its record in the log of its owner, while the server lives that appended it.
    lsn: Option<(usize, u64)>,
}

/// A disk, the producer, and the server of the moment.
struct Bed {
    plan: Plan,
    grid: Grid,
    dice: Dice,
    disk: SimDisk,
    oracle: Oracle,
    server: Server,
    shards: usize,
    now_us: u64,
    next_seq: u64,
    sent: BTreeMap<u64, Sent>,
}

/// Runs so many cycles from a seed.
///
/// # Errors
/// What went wrong, and in which cycle.
pub(crate) fn run(seed: u64, cycles: u64) -> Result<Counts, String> {
    let (mut counts, mut done) = (Counts::default(), 0);
    let mut beds = Dice::new(seed);
    while done < cycles {
        let bed_seed = beds.any();
        let mut bed = Bed::new(bed_seed).map_err(|why| format!("bed {bed_seed}: {why}"))?;
        while done < cycles && bed.has_room() {
            bed.cycle(&mut counts).map_err(|why| format!("bed {bed_seed}, cycle {done}: {why}"))?;
            done += 1;
        }
    }
    Ok(counts)
}

/// What cycles did.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) events: u64,
    pub(crate) durable: u64,
    pub(crate) sent_again: u64,
    pub(crate) replayed: u64,
    pub(crate) torn: u64,
}

impl Bed {
    fn new(seed: u64) -> Result<Self, String> {
        let mut plan = Plan::of(seed, None);
        let mut dice = Dice::new(seed ^ 0xc7c1e);
        (plan.window_ms, plan.slide_ms, plan.clock) = (3_600_000, 60_000, Clock::Wall);
        (plan.tenants, plan.topics) = (3, 12);
        plan.disk.is_there = true;
        plan.disk.segment_bytes = 16 << 10;
        plan.disk.snapshot_every_us = dice.pick(&[2_000, 50_000, 60_000_000]);
        let grid = Grid::new(plan.window_ms, plan.slide_ms).map_err(|error| error.to_string())?;
        let oracle = Oracle::new(grid, plan.clock, plan.tenants, plan.topics, seed & 0xffff);
        let disk = SimDisk::new();
        let shards = dice.size(1..=2);
        let at = (grid, shards, plan.start_ms);
        let found = storage::recover(&plan, &disk, at, &mut dice).map_err(|e| e.to_string())?;
        let logs = (found.shards, found.logs);
        let server = Server::new(&plan, logs, found.generation, plan.start_ms);
        let (now_us, next_seq, sent) = (0, 1, BTreeMap::new());
        Ok(Self { plan, grid, dice, disk, oracle, server, shards, now_us, next_seq, sent })
    }

    /// Whether the oracle can tell more events apart.
    fn has_room(&self) -> bool {
        self.oracle.events.len() < 300
    }

    const fn now_ms(&self) -> u64 {
        self.plan.start_ms + self.now_us / 1_000
    }

    fn cycle(&mut self, counts: &mut Counts) -> Result<(), String> {
        for _ in 0..self.dice.of(1..=12) {
            if self.dice.percent(50) {
                self.send(counts)?;
            }
            for shard in 0..self.shards {
                self.turn(shard).map_err(|error| error.to_string())?;
            }
            self.hear(counts);
        }
        let clean = self.dice.percent(10);
        self.end(clean).map_err(|error| error.to_string())?;
        self.start(counts)?;
        for tenant in 0..self.plan.tenants {
            self.judge(tenant)?;
        }
        let again: Vec<u64> = self.sent.keys().copied().collect();
        counts.sent_again += again.len() as u64;
        for seq in again {
            self.apply(seq)?;
        }
        Ok(())
    }

    /// The producer's next frame.
    fn send(&mut self, counts: &mut Counts) -> Result<(), String> {
        let tenant = self.dice.index(self.plan.tenants);
        let topic = self.dice.index(self.plan.topics);
        let ts_ms = self.now_ms();
        let Some(draft) = self.oracle.draft(tenant, vec![topic], ts_ms) else { return Ok(()) };
        let book = &self.oracle.tenants[tenant];
        let record = EventRecord::new(book.id, book.topics[topic].id, draft.weight, 0);
        let event = self.oracle.pushed(draft, ts_ms);
        self.sent.insert(self.next_seq, Sent { event, tenant, record, ts_ms, lsn: None });
        counts.events += 1;
        self.next_seq += 1;
        self.apply(self.next_seq - 1)
    }

    /// A frame reaches its owner.
    fn apply(&mut self, seq: u64) -> Result<(), String> {
        let now_ms = self.now_ms();
        let Some(sent) = self.sent.get_mut(&seq) else { return Ok(()) };
        let owner = sent.record.tenant().vnode() % self.shards;
        let lane = Lane { producer: 7, lane: 0, anonymous: false };
        let sequence = Some(Sequence { lane, epoch: 1, seq });
        let origin = Origin { to: ReplyTo(0), seq, sequence, ask_names: false, durable: true };
        let span = Span { min_ms: sent.ts_ms, max_ms: sent.ts_ms };
        let part = Part { base_ms: sent.ts_ms, span, records: &[sent.record] };
        let book = &self.oracle.tenants[sent.tenant];
        let topic = book.topics.iter().find(|topic| topic.id == sent.record.topic());
        let topic = topic.ok_or("an event of no topic")?;
        let names = [
            (NameKind::Tenant, TenantId::of(&book.name).0, book.name.as_str()),
            (NameKind::Topic, TopicId::of(&topic.name).0, topic.name.as_str()),
        ];
        let mut fx = Effects::default();
        let shard = self.server.nodes[owner].shard_mut();
        shard.on_events_named(now_ms, &origin, &part, names.into_iter(), &mut fx);
        match fx.list.first() {
            Some(Effect::Accepted { lsn, .. }) => sent.lsn = Some((owner, *lsn)),
            other => return Err(format!("frame {seq} became {other:?}")),
        }
        Ok(())
    }

    /// A turn of a shard's log, with whatever its disk and its helper do meanwhile.
    fn turn(&mut self, shard: usize) -> Result<(), trendsrv_server::store::StoreError> {
        self.now_us += self.dice.of(1..=3_000);
        let (log, node) = (&mut self.server.logs[shard], &mut self.server.nodes[shard]);
        node.set_now(self.plan.start_ms + self.now_us / 1_000);
        if self.dice.percent(60) {
            log.write(&mut self.dice, false);
        }
        log.begin_turn(node, self.now_us)?;
        log.end_turn(node, self.now_us, self.dice.percent(70))?;
        for _ in 0..self.dice.below(6) {
            log.work()?;
        }
        Ok(())
    }

    /// The producer hears what is durable.
    fn hear(&mut self, counts: &mut Counts) {
        let durable: Vec<u64> = self.server.nodes.iter_mut().map(durable).collect();
        let oracle = &mut self.oracle;
        self.sent.retain(|_, sent| {
            let safe = sent.lsn.is_some_and(|(owner, lsn)| lsn <= durable[owner]);
            if safe {
                oracle.acked(sent.event, true);
                counts.durable += 1;
            }
            !safe
        });
    }

    fn end(&mut self, clean: bool) -> Result<(), trendsrv_server::store::StoreError> {
        let cut = self.dice.percent(70);
        for (log, node) in self.server.logs.iter_mut().zip(&mut self.server.nodes) {
            if clean {
                log.finish(node, self.now_us)?;
            } else if cut || self.dice.percent(50) {
                log.tear(&mut self.dice);
            } else {
                log.write(&mut self.dice, false);
            }
        }
        if cut {
            self.disk.cut_power(self.dice.any());
        } else {
            self.disk.restart();
        }
        self.sent.values_mut().for_each(|sent| sent.lsn = None);
        self.oracle.crashed(false);
        Ok(())
    }

    /// The next server, which may die of a power cut while it starts.
    fn start(&mut self, counts: &mut Counts) -> Result<(), String> {
        if self.dice.percent(20) {
            self.shards = self.dice.size(1..=3);
        }
        if self.dice.percent(30) {
            self.disk.stop_after(self.dice.of(0..=80));
        }
        loop {
            let at = (self.grid, self.shards, self.now_ms());
            match storage::recover(&self.plan, &self.disk, at, &mut self.dice) {
                Ok(found) => {
                    self.disk.restart();
                    for facts in &found.facts {
                        counts.replayed += facts.events;
                        let torn = facts.notes.iter().any(|note| note.contains("unfinished"));
                        counts.torn += u64::from(torn);
                    }
                    let logs = (found.shards, found.logs);
                    self.server = Server::new(&self.plan, logs, found.generation, self.now_ms());
                    return Ok(());
                }
                Err(_) if self.disk.is_dead() => self.disk.cut_power(self.dice.any()),
                Err(error) => return Err(format!("the server does not start: {error}")),
            }
        }
    }

    /// Holds a tenant's answer against everything sent.
    fn judge(&mut self, tenant: usize) -> Result<(), String> {
        let now_ms = self.now_ms();
        let id = self.oracle.tenants[tenant].id;
        let (acks, asked_ms, opened_ms) = (self.oracle.acks(), now_ms, now_ms);
        let moment = Moment { acks, asked_ms, now_ms, at_ms: None, opened_ms };
        let ask = Ask { tenant: id, name: None, at_ms: None, k: 100, rank: Rank::Count };
        let shard = self.server.nodes[id.vnode() % self.shards].shard_mut();
        let mut bytes = Vec::new();
        match shard.ask(now_ms, &ask) {
            Ok(answer) => drop(answer.encode(&mut bytes, Kind::Summary, 1)),
            Err(_) => return self.oracle.judge_unknown(tenant, &moment),
        }
        let Split::Frame(header, body) = split(&bytes) else { return Err("no frame".into()) };
        match Frame::parse(header, body) {
            Ok(Frame::Summary(summary)) => {
                self.oracle.judge(tenant, &Answer::of(&summary), &moment)
            }
            other => Err(format!("no answer: {other:?}")),
        }
    }
}

fn durable<P: trendsrv_shard::Programs, M: trendsrv_shard::Memory>(
    node: &mut trendsrv_server::node::Node<P, M>,
) -> u64 {
    node.log().map_or(0, |log| log.durable())
}
