//! The data directory of a world: the real store over a simulated disk, and the machine around it.
//!
//! ```text
//! recover: Store::open ─▶ each shard: recover ─▶ prepare ─▶ each shard: begin ─▶ finish
//! LogDrive, one a shard, as the server's own: Committer ─▶ a write that takes time ─▶ durable
//!                                             Chores    ─▶ inline, one at a time
//! ```
//!
//! Owns the disk, what is on its way to it, and the planted bugs of whoever writes. Never touches
//! what is written: that is the store's.

use crate::dice::Dice;
use crate::disk::SimDisk;
use crate::plan::{Plan, Planted};
use crate::planted::PlantedDisk;
use crate::server::{SimShard, shard_of};
use std::collections::VecDeque;
use std::io;
use trendsrv_server::node::Node;
use trendsrv_server::store::{
    Chore, Chores, Committer, Done, Opened, Reach, RecoveryFacts, SectionOf, Settings,
    SnapshotPace, SnapshotPart, SnapshotTaker, Store, StoreError,
};
use trendsrv_shard::{Grid, HeapMemory, Trending};

type SimNode = Node<Trending, HeapMemory>;

/// What came of opening the directory.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub(crate) shards: Vec<SimShard>,
    pub(crate) logs: Vec<LogDrive>,
    pub(crate) generation: u32,
    pub(crate) facts: Vec<RecoveryFacts>,
}

/// Opens the directory as a server of so many shards does.
///
/// # Errors
/// What keeps the server from starting.
pub(crate) fn recover(
    plan: &Plan,
    disk: &SimDisk,
    (grid, shards, now_ms): (Grid, usize, u64),
    dice: &mut Dice,
) -> Result<Recovered, StoreError> {
    let settings = Settings {
        window_ms: plan.window_ms,
        slide_ms: plan.slide_ms,
        clock: plan.clock,
        shards: u16::try_from(shards).expect("few shards"),
        segment_bytes: plan.disk.segment_bytes,
        uuid: u128::from(plan.seed) << 64 | 7,
    };
    let disk = PlantedDisk::new(disk.clone(), plan.planted);
    let mut store = Store::open(disk.clone(), settings)?;
    let mut read = Vec::new();
    for recovery in store.shards() {
        let mut shard = shard_of(plan, grid, dice.any());
        let recovered = recovery.recover(&mut shard, now_ms, &mut |_| {})?;
        read.push((shard, recovered));
    }
    store.prepare()?;
    let generation = store.generation();
    let (mut shards, mut logs, mut facts) = (Vec::new(), Vec::new(), Vec::new());
    for (mut shard, recovered) in read {
        let Opened { committer, chores, facts: found } = recovered.begin(&mut shard)?;
        let empty = plan.planted.map(|_| shard_of(plan, grid, 1));
        logs.push(LogDrive::new(plan, disk.clone(), (committer, chores), empty));
        shards.push(shard);
        facts.push(found);
    }
    store.finish()?;
    Ok(Recovered { shards, logs, generation, facts })
}

/// One shard's log on its way to the disk.
#[derive(Debug)]
pub(crate) struct LogDrive {
    disk: PlantedDisk,
    planted: Option<Planted>,
    committer: Committer,
    chores: Chores<PlantedDisk>,
    todo: VecDeque<Chore>,
    dones: VecDeque<Done>,
    /// The helper has told that it could work ahead.
    spends: bool,
    /// It will be asked to go on.
    pub(crate) at_work: bool,
    flight: Option<Flight>,
    snapshots: SnapshotPace,
    /// A shard without any mark, for whoever plants that.
    empty: Option<SimShard>,
    pub(crate) commits: u64,
    pub(crate) published: u64,
}

/// A commit on its way.
#[derive(Debug)]
struct Flight {
    file: String,
    offset: u64,
    bytes: Vec<u8>,
    /// What became of it, once the disk has answered.
    result: Option<io::Result<usize>>,
}

/// What the world must see to after a turn.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LogTurn {
    /// A commit was begun: the disk answers some time later.
    pub(crate) writes: bool,
    /// The helper has something to do.
    pub(crate) works: bool,
    /// Something is due after so many microseconds.
    pub(crate) within_us: Option<u64>,
    /// More is to be done at once.
    pub(crate) more: bool,
}

impl LogDrive {
    fn new(
        plan: &Plan,
        disk: PlantedDisk,
        (committer, chores): (Committer, Chores<PlantedDisk>),
        empty: Option<SimShard>,
    ) -> Self {
        Self {
            disk,
            planted: plan.planted,
            committer,
            chores,
            todo: VecDeque::new(),
            dones: VecDeque::new(),
            spends: true,
            at_work: false,
            flight: None,
            snapshots: SnapshotPace::new(plan.disk.snapshot_every_us),
            empty,
            commits: 0,
            published: 0,
        }
    }

    /// What the ring has said since the last turn: the first thing of a turn.
    pub(crate) fn begin_turn(&mut self, node: &mut SimNode, now_us: u64) -> Result<(), StoreError> {
        node.set_now_us(now_us);
        let Some(Flight { result: Some(_), .. }) = &self.flight else { return Ok(()) };
        let result = self.flight.take().and_then(|flight| flight.result);
        let Some(log) = node.log() else { return Ok(()) };
        let durable = self.committer.on_written(result.expect("it was seen"), log)?;
        self.commits += 1;
        node.on_durable(durable);
        Ok(())
    }

    /// The end of a turn: what the helper has done, what it is asked for, and the next commit.
    pub(crate) fn end_turn(
        &mut self,
        node: &mut SimNode,
        now_us: u64,
        awaited: bool,
    ) -> Result<LogTurn, StoreError> {
        while let Some(done) = self.dones.pop_front() {
            self.on_done(node, done);
        }
        while let Some(chore) = self.committer.next_chore(now_us) {
            self.todo.push_back(chore);
        }
        let writes = self.begin_write(node, now_us, awaited)?;
        let more = self.take_snapshot(node, now_us);
        let due_us = self.committer.due_us();
        Ok(LogTurn {
            writes,
            works: !self.todo.is_empty() || self.spends,
            within_us: due_us.map(|due_us| due_us.saturating_sub(now_us)),
            more,
        })
    }

    fn begin_write(
        &mut self,
        node: &mut SimNode,
        now_us: u64,
        awaited: bool,
    ) -> Result<bool, StoreError> {
        let Some(log) = node.log() else { return Ok(false) };
        let Some(write) = self.committer.next_write(now_us, awaited, log)? else {
            return Ok(false);
        };
        let mut bytes = vec![0; write.len()];
        write.copy_to(&mut bytes);
        let (file, offset) = (write.file.to_string(), write.offset);
        self.flight = Some(Flight { file, offset, bytes, result: None });
        if self.planted == Some(Planted::AckBeforeFsync) {
            let taken = self.committer.taken();
            node.on_durable(taken);
        }
        Ok(true)
    }

    /// The disk answers the commit at hand.
    pub(crate) fn write(&mut self, dice: &mut Dice, short: bool) {
        let Some(flight) = self.flight.as_mut().filter(|flight| flight.result.is_none()) else {
            return;
        };
        let Flight { file, offset, bytes, .. } = flight;
        let written = if short {
            let size = dice.size(0..=bytes.len() - 1);
            self.disk.write_durable(file, *offset, &bytes[..size]).map(|()| size)
        } else if self.planted == Some(Planted::FsyncRetried) {
            self.disk.write_and_sync_twice(file, *offset, bytes).map(|()| bytes.len())
        } else {
            self.disk.write_durable(file, *offset, bytes).map(|()| bytes.len())
        };
        flight.result = Some(written);
    }

    /// The power fails: of a commit on its way any sectors may be there.
    pub(crate) fn tear(&mut self, dice: &mut Dice) {
        if let Some(Flight { file, offset, bytes, result: None }) = self.flight.take() {
            // None, some or all of it had left for the disk; which sectors, the disk says.
            let size = if dice.percent(70) { bytes.len() } else { dice.size(0..=bytes.len()) };
            // A file that cannot be written any more keeps what it has.
            let _ = self.disk.write_plain(&file, offset, &bytes[..size]);
        }
    }

    /// The helper does one thing; returns whether it has more to do.
    pub(crate) fn work(&mut self) -> Result<bool, StoreError> {
        let mut done = Vec::new();
        match self.todo.pop_front() {
            Some(chore) => {
                self.chores.run(chore, &mut done)?;
                self.spends = true;
            }
            None => self.spends = self.chores.spend(&mut done)?,
        }
        self.dones.extend(done);
        Ok(!self.todo.is_empty() || self.spends)
    }

    /// Whether somebody should hear of what the helper has done.
    pub(crate) fn has_done(&self) -> bool {
        !self.dones.is_empty()
    }

    /// A clean end: all that was logged, and a superblock that says so. `false` when the disk has
    /// no room for that.
    pub(crate) fn finish(&mut self, node: &mut SimNode, now_us: u64) -> Result<bool, StoreError> {
        self.with_snapshots(|snapshots, slice| snapshots.stop(slice));
        let mut dice = Dice::new(now_us);
        for _ in 0..FINISH_TURNS_MAX {
            self.write(&mut dice, false);
            self.begin_turn(node, now_us)?;
            self.end_turn(node, now_us, true)?;
            while !self.todo.is_empty() {
                self.work()?;
            }
            let backlog = node.log().map_or(0, |log| log.backlog_bytes());
            if self.committer.is_idle() && backlog == 0 {
                let last = self.committer.last_chore();
                self.chores.run(last, &mut Vec::new())?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn on_done(&mut self, node: &mut SimNode, done: Done) {
        self.committer.on_done(&done);
        match done {
            Done::Segment(_) | Done::Superblock(_) | Done::Ticked { .. } => {}
            Done::Snapshot(memory) => self.snapshots.on_part_done(memory),
            Done::Published(_) => {
                self.published += 1;
                let unlogged_kept = self.snapshots.on_published();
                node.shard_mut().on_snapshot_durable(unlogged_kept);
            }
            Done::SnapshotFailed(_) => self.snapshots.on_failed(),
            Done::Space(space) => node.set_log_space(space),
        }
    }

    /// Takes the next slice of a snapshot; returns whether another one could be taken at once.
    fn take_snapshot(&mut self, node: &mut SimNode, now_us: u64) -> bool {
        // A world's log is short: time alone makes a snapshot due.
        let reach = Reach { now_us, durable: self.committer.durable(), log_bytes: 0 };
        self.with_snapshots(|snapshots, slice| snapshots.turn(node.shard_mut(), reach, slice))
    }

    fn with_snapshots<T>(&mut self, run: impl FnOnce(&mut SnapshotPace, &mut Slice<'_>) -> T) -> T {
        let empty = self.empty.as_ref().filter(|_| self.planted == Some(Planted::MarksMissing));
        run(&mut self.snapshots, &mut Slice { todo: &mut self.todo, pieces: 0, empty })
    }
}

/// What of a snapshot is taken in one turn.
struct Slice<'a> {
    todo: &'a mut VecDeque<Chore>,
    pieces: usize,
    /// Whose marks are taken, for whoever plants that.
    empty: Option<&'a SimShard>,
}

impl SnapshotTaker for Slice<'_> {
    fn take(&mut self, mut part: SnapshotPart) -> Result<(), SnapshotPart> {
        if let (Some(empty), SnapshotPart::Section(section)) = (self.empty, &mut part)
            && section.of == SectionOf::Marks
        {
            // It has none, and claims all the same to hold everything so far.
            section.bytes.clear();
            empty.snapshot_marks(&mut section.bytes);
        }
        self.todo.push_back(Chore::Snapshot(part));
        Ok(())
    }

    fn has_time(&mut self) -> bool {
        self.pieces += 1;
        self.pieces < SLICES_PER_TURN
    }
}

/// Turns that a clean end takes at most.
const FINISH_TURNS_MAX: usize = 1_000;
/// Vnodes looked at in one turn: most are empty.
const SLICES_PER_TURN: usize = 700;
