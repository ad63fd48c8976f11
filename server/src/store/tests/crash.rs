//! The machine dies between any two calls of the disk, and comes back.

use super::bed::Bed;
use super::mem_disk::{Forgotten, Keeps, MemDisk};
use crate::store::StoreError;
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

#[derive(Default)]
struct World {
    acknowledged: BTreeSet<u64>,
    sent: u64,
}

impl World {
    /// A server's life: what it has acknowledged is noted, however it ends.
    fn live(
        &mut self,
        disk: &MemDisk,
        shards: u16,
        life: fn(&mut Bed<MemDisk>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let mut bed = Bed::start(disk, shards)?;
        bed.next = self.sent.max(1);
        let ended = life(&mut bed);
        self.sent = bed.next;
        self.acknowledged.append(&mut bed.acknowledged);
        ended
    }

    fn lives(&mut self, disk: &MemDisk) -> Result<(), StoreError> {
        self.live(disk, 1, |bed| {
            work(bed, 12)?;
            bed.snapshot()?;
            work(bed, 3)
        })?;
        // Killed, then another number of shards.
        self.live(disk, 2, |bed| {
            work(bed, 2)?;
            bed.snapshot()?;
            work(bed, 2)
        })?;
        // Killed, and the same number.
        self.live(disk, 2, |bed| {
            work(bed, 3)?;
            for one in &mut bed.shards {
                let last = one.committer.last_chore();
                one.run(last)?;
            }
            Ok(())
        })
    }
}

fn work(bed: &mut Bed<MemDisk>, rounds: u64) -> Result<(), StoreError> {
    for _ in 0..rounds {
        bed.feed(3);
        bed.commit()?;
    }
    Ok(())
}

fn crash_everywhere(keeps: impl Fn(u64) -> Keeps) {
    let disk = MemDisk::new();
    let mut world = World::default();
    world.lives(&disk).unwrap();
    let calls = disk.calls();
    assert!(calls > 200, "{calls} calls");
    for after in 0..calls {
        let disk = MemDisk::new();
        disk.die_after(after);
        let mut world = World::default();
        assert!(world.lives(&disk).is_err(), "call {after} of {calls} did not fail");
        disk.crash(keeps(after));
        let shards = u16::try_from(after % 3).unwrap() + 1;
        let mut bed = Bed::start(&disk, shards)
            .unwrap_or_else(|error| panic!("after call {after}, {shards} shards: {error}"));
        bed.check(&world.acknowledged, world.sent.max(1));
        bed.commit().unwrap();
        // What was found once is found again.
        let past = bed.die();
        disk.crash(Keeps::Nothing);
        let mut bed = Bed::start(&disk, shards).unwrap();
        bed.check(&past.acknowledged, past.sent);
    }
}

#[test]
fn the_process_dies_between_any_two_calls() {
    crash_everywhere(|_| Keeps::All);
}

#[test]
fn the_power_fails_between_any_two_calls_and_nothing_unsynced_is_left() {
    crash_everywhere(|_| Keeps::Nothing);
}

#[test]
fn the_power_fails_between_any_two_calls_and_anything_unsynced_is_left() {
    crash_everywhere(|after| Keeps::Some(after.wrapping_mul(31)));
}

#[test]
fn a_start_that_dies_anywhere_can_be_made_again() {
    let disk = MemDisk::new();
    let mut world = World::default();
    world.lives(&disk).unwrap();
    start_everywhere(&disk, &world);
}

#[test]
fn a_start_without_any_record_that_dies_anywhere_can_be_made_again() {
    let disk = MemDisk::new();
    Bed::start(&disk, 1).unwrap();
    start_everywhere(&disk, &World { sent: 1, ..World::default() });
    // The same behind a snapshot that holds everything.
    let mut bed = Bed::start(&disk, 2).unwrap();
    work(&mut bed, 1).unwrap();
    bed.snapshot().unwrap();
    bed.commit().unwrap();
    let past = bed.die();
    // Only the last segment stays, empty.
    drop(Bed::start(&disk, 1).unwrap());
    start_everywhere(&disk, &World { acknowledged: past.acknowledged, sent: past.sent });
}

fn start_everywhere(disk: &MemDisk, world: &World) {
    for shards in 1..=3 {
        let mut after = 0;
        loop {
            let disk = disk.copy();
            disk.die_after(after);
            let ended = Bed::start(&disk, shards).is_ok();
            let mut bed = if ended && !disk.is_dead() {
                break;
            } else {
                disk.crash(Keeps::Some(after));
                // Another number than the one that was tried, too.
                let again = if after % 2 == 0 { shards } else { 4 - shards };
                Bed::start(&disk, again).unwrap()
            };
            bed.check(&world.acknowledged, world.sent);
            after += 1;
        }
        assert!(after > 10, "{after} calls");
    }
}

/// These tests would see it if a sync were missing.
#[test]
fn a_sync_that_were_forgotten_would_be_seen() {
    for forgotten in [
        Forgotten::File("/seg-"),
        Forgotten::File("/spare-"),
        Forgotten::File("/snap-"),
        Forgotten::File("/manifest"),
        Forgotten::File("/superblock"),
        Forgotten::File("MANIFEST"),
        Forgotten::Dir(0),
        Forgotten::Dir(1),
        Forgotten::Dir(2),
    ] {
        let seen = (0..CRASHES_MAX).any(|after| {
            let disk = MemDisk::new();
            disk.forget_sync(forgotten);
            disk.die_after(after);
            let mut world = World::default();
            let ended = world.lives(&disk);
            disk.crash(Keeps::Nothing);
            disk.heal();
            let found = catch_unwind(AssertUnwindSafe(|| match Bed::start(&disk, 2) {
                Ok(mut bed) => bed.check(&world.acknowledged, world.sent.max(1)),
                Err(error) => panic!("{error}"),
            }));
            assert!(found.is_err() || ended.is_err(), "{forgotten:?}: nothing was found");
            found.is_err()
        });
        assert!(seen, "{forgotten:?} is not seen");
    }
}

/// More than the calls of all lives.
const CRASHES_MAX: u64 = 2_000;
