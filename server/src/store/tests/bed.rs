//! Shards over a store, without threads, sockets or a clock; and what must be true of them.
//!
//! Every part has one event of its own topic, so that the windows tell which parts are counted and
//! how often. A part's sequence number is its number.

use super::mem_disk::MemDisk;
use crate::store::{
    Chore, Chores, Committer, Disk, Done, Opened, RecoveryFacts, Section, SectionOf, Settings,
    SnapshotPart, Store, StoreError,
};
use std::collections::{BTreeMap, BTreeSet};
use trendsrv_proto::limits::VNODES;
use trendsrv_proto::{Clock, EventRecord, NameKind, Rank, Span, TenantId, TopicId};
use trendsrv_shard::log::LogSpace;
use trendsrv_shard::{
    Ask, Effect, Effects, Grid, HeapMemory, Lane, Origin, Part, ReplyTo, Sequence, Shard,
    ShardConfig, Trending, WindowConfig, index_words, topics_words,
};

pub(crate) type TestShard = Shard<Trending, HeapMemory>;

/// Segments so small that a few commits fill them.
pub(crate) const SEGMENT_BYTES: u64 = 32 << 10;
pub(crate) const NOW_MS: u64 = 1_700_000_000_000;
const TENANTS: u64 = 5;
const LANE: Lane = Lane { producer: 9, lane: 0, anonymous: false };
const WINDOW_MS: u64 = 60_000;
const SLIDE_MS: u64 = 1_000;

pub(crate) fn settings(shards: u16) -> Settings {
    Settings {
        window_ms: WINDOW_MS,
        slide_ms: SLIDE_MS,
        clock: Clock::Wall,
        shards,
        segment_bytes: SEGMENT_BYTES,
        uuid: 0x1234_5678,
    }
}

/// A server's shards.
pub(crate) struct Bed<D> {
    pub(crate) disk: D,
    pub(crate) shards: Vec<OneShard<D>>,
    now_us: u64,
    /// The number of the next part.
    pub(crate) next: u64,
    /// Parts acknowledged as durable.
    pub(crate) acknowledged: BTreeSet<u64>,
}

pub(crate) struct OneShard<D> {
    pub(crate) shard: TestShard,
    pub(crate) committer: Committer,
    pub(crate) chores: Chores<D>,
    pub(crate) facts: RecoveryFacts,
    /// Parts that wait for their record, with its number.
    waiting: Vec<(u64, u64)>,
    pub(crate) published: u64,
    pub(crate) failed: u64,
    pub(crate) space: LogSpace,
}

pub(crate) fn new_shard() -> TestShard {
    new_shard_of(16)
}

pub(crate) fn new_shard_of(tenants_max: u32) -> TestShard {
    let slots = usize::try_from(tenants_max).unwrap();
    let grid = Grid::new(WINDOW_MS, SLIDE_MS).unwrap();
    let config = ShardConfig {
        grid,
        clock: Clock::Wall,
        tenants_max: slots,
        topics_max: 2_048,
        producers_max: 8,
        early_max: 64,
        subscriptions_max: 1,
        sample_bytes_max: 1 << 16,
        secret: [3, 5],
    };
    let windows =
        WindowConfig { tenants_max, chunk_bytes_min: 4 << 10, ..WindowConfig::new(grid, [7, 11]) };
    let bytes = windows.memory_bytes(64 * windows.chunk_bytes());
    let memory = HeapMemory::new(usize::try_from(bytes).unwrap() / 8);
    let index = HeapMemory::new(index_words(slots));
    let names = HeapMemory::new(topics_words(config.topics_max));
    let programs = Trending { recent_ms: 10_000, window_ms: WINDOW_MS };
    Shard::new(config, &windows, memory, index, names, programs).unwrap()
}

fn topic_of(part: u64) -> TopicId {
    TopicId::of(&format!("topic-{part}"))
}

fn tenant_name(part: u64) -> String {
    format!("tenant-{}", part % TENANTS)
}

impl<D: Disk> Bed<D> {
    /// Opens the directory, with everything in its order.
    pub(crate) fn start(disk: &D, shards: u16) -> Result<Self, StoreError> {
        Self::start_with(disk, settings(shards))
    }

    pub(crate) fn start_with(disk: &D, settings: Settings) -> Result<Self, StoreError> {
        let mut store = Store::open(disk.clone(), settings)?;
        let mut recovered = Vec::new();
        for recovery in store.shards() {
            let mut shard = new_shard();
            let one = recovery.recover(&mut shard, NOW_MS, &mut |_| ())?;
            recovered.push((shard, one));
        }
        store.prepare()?;
        let mut begun = Vec::new();
        for (mut shard, one) in recovered {
            let Opened { committer, chores, facts } = one.begin(&mut shard)?;
            shard.on_greet(LANE, 1).unwrap();
            begun.push(OneShard {
                shard,
                committer,
                chores,
                facts,
                waiting: Vec::new(),
                published: 0,
                failed: 0,
                space: LogSpace::Plenty,
            });
        }
        store.finish()?;
        let disk = disk.clone();
        Ok(Self { disk, shards: begun, now_us: 0, next: 1, acknowledged: BTreeSet::new() })
    }

    /// Sends a part; `durable` says whether it may be refused for want of room.
    pub(crate) fn send(&mut self, part: u64, durable: bool) -> Sent {
        let (name, topic) = (tenant_name(part), format!("topic-{part}"));
        let tenant = TenantId::of(&name);
        let count = self.shards.len();
        let one = &mut self.shards[tenant.vnode() % count];
        let record = EventRecord::new(tenant, TopicId::of(&topic), 1, 0);
        let span = Span { min_ms: NOW_MS, max_ms: NOW_MS };
        let body = Part { base_ms: NOW_MS, span, records: &[record] };
        let origin = Origin {
            to: ReplyTo(1),
            seq: part,
            sequence: Some(Sequence { lane: LANE, epoch: 1, seq: part }),
            ask_names: false,
            durable,
        };
        let names = [
            (NameKind::Tenant, tenant.0, name.as_str()),
            (NameKind::Topic, TopicId::of(&topic).0, topic.as_str()),
        ];
        let mut fx = Effects::default();
        one.shard.on_events_named(NOW_MS, &origin, &body, names.into_iter(), &mut fx);
        match fx.list.first() {
            Some(&Effect::Accepted { lsn, duplicate, .. }) => {
                if durable {
                    one.waiting.push((lsn, part));
                }
                if duplicate { Sent::Duplicate } else { Sent::Applied }
            }
            Some(Effect::Refused { why, .. }) => Sent::Refused(why.message.clone()),
            other => panic!("{other:?}"),
        }
    }

    /// Sends so many new parts.
    pub(crate) fn feed(&mut self, count: u64) {
        for part in self.next..self.next + count {
            assert_eq!(self.send(part, true), Sent::Applied, "part {part}");
        }
        self.next += count;
    }

    /// Writes everything pending and does all chores.
    pub(crate) fn commit(&mut self) -> Result<(), StoreError> {
        loop {
            // Longer than any cadence.
            self.now_us += 2_000_000;
            let mut busy = false;
            for index in 0..self.shards.len() {
                busy |= self.write_one(index)?;
                self.do_chores(index)?;
            }
            let waits = |one: &mut OneShard<D>| one.backlog() && one.space != LogSpace::None;
            if !busy && !self.shards.iter_mut().any(waits) {
                return Ok(());
            }
        }
    }

    /// One write of one shard, if one is due.
    pub(crate) fn write_one(&mut self, index: usize) -> Result<bool, StoreError> {
        let OneShard { shard, committer, waiting, .. } = &mut self.shards[index];
        let log = shard.log().unwrap();
        let Some(write) = committer.next_write(self.now_us, true, log)? else {
            return Ok(false);
        };
        let mut bytes = vec![0; write.len()];
        write.copy_to(&mut bytes);
        let (disk, file) = (&self.disk, write.file.clone());
        let result = disk.write_at(&file, write.offset, &bytes).and_then(|()| disk.sync(&file));
        let lsn = committer.on_written(result.map(|()| bytes.len()), log)?;
        shard.on_durable(lsn);
        let acknowledged = &mut self.acknowledged;
        waiting.retain(|&(waits_for, part)| {
            let is_durable = waits_for <= lsn;
            if is_durable {
                acknowledged.insert(part);
            }
            !is_durable
        });
        Ok(true)
    }

    pub(crate) fn do_chores(&mut self, index: usize) -> Result<(), StoreError> {
        while let Some(chore) = self.shards[index].committer.next_chore(self.now_us) {
            self.shards[index].run(chore)?;
        }
        let mut done = Vec::new();
        while self.shards[index].chores.spend(&mut done)? {}
        self.shards[index].on_done(done);
        Ok(())
    }

    /// A whole snapshot of every shard.
    pub(crate) fn snapshot(&mut self) -> Result<(), StoreError> {
        for one in &mut self.shards {
            one.snapshot()?;
        }
        Ok(())
    }

    /// The end in good order.
    pub(crate) fn stop(mut self) -> Result<(), StoreError> {
        self.commit()?;
        for one in &mut self.shards {
            let last = one.committer.last_chore();
            one.run(last)?;
        }
        Ok(())
    }

    /// How often each part is counted.
    pub(crate) fn counted(&mut self) -> BTreeMap<u64, u64> {
        let mut counted = BTreeMap::new();
        for tenant in 0..TENANTS {
            let id = TenantId::of(&tenant_name(tenant));
            let count = self.shards.len();
            let shard = &mut self.shards[id.vnode() % count].shard;
            let ask = Ask { tenant: id, name: None, at_ms: None, k: 100, rank: Rank::Count };
            let Ok(answer) = shard.ask(NOW_MS, &ask) else { continue };
            for row in answer.topics() {
                // A name may be torn off its part: producers are asked for it again.
                let part = (1..1_000).find(|part| row.topic == topic_of(*part)).unwrap();
                assert!(counted.insert(part, row.count).is_none(), "topic {part} twice");
            }
        }
        counted
    }

    /// Checks the promise: acknowledged ⊆ counted ⊆ sent, each once; and again after the producer
    /// has sent everything from its start.
    pub(crate) fn check(&mut self, acknowledged: &BTreeSet<u64>, sent: u64) {
        let counted = self.counted();
        for (part, times) in &counted {
            assert_eq!(*times, 1, "part {part} is counted {times} times");
            assert!(*part < sent, "part {part} was never sent");
        }
        for part in acknowledged {
            assert!(counted.contains_key(part), "part {part} was acknowledged and is lost");
        }
        self.next = 1;
        for part in 1..sent {
            let outcome = self.send(part, true);
            // One that an owner of an earlier generation has counted is taken, and counts nothing.
            let is_known = counted.contains_key(&part);
            assert!(
                outcome == Sent::Applied || (is_known && outcome == Sent::Duplicate),
                "part {part}, sent again: {outcome:?}"
            );
        }
        self.next = sent;
        let counted = self.counted();
        assert_eq!(counted.len() as u64, sent - 1);
        assert!(counted.values().all(|times| *times == 1), "{counted:?}");
    }
}

impl<D: Disk> OneShard<D> {
    pub(crate) fn run(&mut self, chore: Chore) -> Result<(), StoreError> {
        let mut done = Vec::new();
        self.chores.run(chore, &mut done)?;
        self.on_done(done);
        Ok(())
    }

    pub(crate) fn snapshot(&mut self) -> Result<(), StoreError> {
        let lsn = self.shard.last_lsn();
        self.run(Chore::Snapshot(SnapshotPart::Begin { lsn }))?;
        let mut bytes = Vec::new();
        let lsn = self.shard.snapshot_marks(&mut bytes);
        let section = Section { of: SectionOf::Marks, lsn, bytes };
        self.run(Chore::Snapshot(SnapshotPart::Section(section)))?;
        for vnode in 0..u16::try_from(VNODES).unwrap() {
            let mut bytes = Vec::new();
            let Some(lsn) = self.shard.snapshot_vnode(vnode, &mut bytes) else { continue };
            let section = Section { of: SectionOf::Vnode(vnode), lsn, bytes };
            self.run(Chore::Snapshot(SnapshotPart::Section(section)))?;
        }
        let durable = self.committer.durable();
        self.run(Chore::Snapshot(SnapshotPart::End { durable }))
    }

    fn backlog(&mut self) -> bool {
        !self.committer.is_idle() || self.shard.log().is_some_and(|log| log.backlog_bytes() > 0)
    }

    fn on_done(&mut self, done: Vec<Done>) {
        for done in done {
            self.committer.on_done(&done);
            match done {
                Done::Published(_) => self.published += 1,
                Done::SnapshotFailed(_) => self.failed += 1,
                Done::Space(space) => {
                    self.space = space;
                    self.shard.set_log_space(space);
                }
                Done::Segment(_)
                | Done::Superblock(_)
                | Done::Snapshot(_)
                | Done::Ticked { .. } => {}
            }
        }
    }
}

/// What became of a part.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    Applied,
    Duplicate,
    Refused(String),
}

/// A disk on which a server has worked: its parts, and those it has acknowledged.
pub(crate) struct Past {
    pub(crate) disk: MemDisk,
    pub(crate) acknowledged: BTreeSet<u64>,
    pub(crate) sent: u64,
}

impl Bed<MemDisk> {
    /// The process dies.
    pub(crate) fn die(self) -> Past {
        Past { disk: self.disk, acknowledged: self.acknowledged, sent: self.next }
    }
}
