//! As many random lives, deaths and flipped bits as one has time for; a few of them in every run.
//!
//! `LOG_CYCLES=N` and `FLIPS=N` say how many, `SEED=S` which.

use super::bed::Bed;
use super::mem_disk::{Keeps, MemDisk};
use crate::store::{StoreError, inspect};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use std::any::Any;
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text} is no number")))
}

fn seed() -> u64 {
    let seed = number("SEED").unwrap_or_else(rand::random);
    println!("seed {seed}");
    seed
}

fn words(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without words")
}

/// What became of everything so far.
struct World {
    disk: MemDisk,
    shards: u16,
    acknowledged: BTreeSet<u64>,
    sent: u64,
}

impl World {
    fn new() -> Self {
        Self { disk: MemDisk::new(), shards: 0, acknowledged: BTreeSet::new(), sent: 0 }
    }

    /// A server lives and dies somehow. Returns whether its end was an accident.
    fn live(&mut self, rng: &mut StdRng) -> bool {
        if self.shards == 0 || rng.random_ratio(1, 4) {
            self.shards = rng.random_range(1..=3);
        }
        if rng.random_ratio(3, 4) {
            self.disk.die_after(self.disk.calls() + rng.random_range(0..120));
        }
        let Ok(mut bed) = Bed::start(&self.disk, self.shards) else { return true };
        // As a producer does: everything from the oldest, before anything new.
        for part in 1..self.sent {
            bed.send(part, true);
        }
        bed.next = self.sent.max(1);
        let ended = work(&mut bed, rng);
        let past = bed.die();
        self.sent = past.sent;
        self.acknowledged.extend(past.acknowledged);
        ended.is_err()
    }

    /// The next server must find everything.
    fn check(&mut self, rng: &mut StdRng) {
        let keeps = match rng.random_range(0..3) {
            0 => Keeps::All,
            1 => Keeps::Nothing,
            _ => Keeps::Some(rng.random()),
        };
        self.disk.crash(keeps);
        // Without looking at what happened: a copy, so that the directory itself goes on.
        let shards = rng.random_range(1..=3);
        let mut bed = match Bed::start(&self.disk.copy(), shards) {
            Ok(bed) => bed,
            Err(error) => panic!("{shards} shards do not start: {error}"),
        };
        bed.check(&self.acknowledged, self.sent.max(1));
    }
}

fn work(bed: &mut Bed<MemDisk>, rng: &mut StdRng) -> Result<(), StoreError> {
    for _ in 0..rng.random_range(1..5) {
        if bed.next < PARTS_MAX {
            bed.feed(rng.random_range(1..4));
        }
        if rng.random_ratio(1, 3) {
            bed.write_one(0)?;
        } else {
            bed.commit()?;
        }
        if rng.random_ratio(1, 6) {
            bed.snapshot()?;
        }
    }
    Ok(())
}

/// Lives and deaths of one directory. Returns how many servers died by accident, or what a server
/// had lost or doubled.
fn live_and_die(seed: u64, world: u64, lives: u64) -> Result<u64, String> {
    let mut rng = StdRng::seed_from_u64(seed ^ world.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let mut state = World::new();
    let lived = catch_unwind(AssertUnwindSafe(|| {
        let mut accidents = 0;
        for _ in 0..lives {
            accidents += u64::from(state.live(&mut rng));
            state.check(&mut rng);
        }
        accidents
    }));
    lived.map_err(|panic| format!("world {world} of seed {seed}: {}", words(&*panic)))
}

#[test]
fn log_cycles() {
    let (count, seed) = (number("LOG_CYCLES").unwrap_or(150), seed());
    let worlds = count.div_ceil(LIVES);
    let threads = std::thread::available_parallelism().map_or(1, |threads| threads.get() as u64);
    let every = |first: u64| {
        let lives = |world| LIVES.min(count - world * LIVES);
        let worlds = (first..worlds).step_by(usize::try_from(threads).unwrap());
        worlds.map(|world| live_and_die(seed, world, lives(world))).collect::<Vec<_>>()
    };
    let ends: Vec<Result<u64, String>> = std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|first| scope.spawn(move || every(first))).collect();
        running.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let accidents: u64 = ends.iter().flatten().sum();
    let failed = ends.iter().filter_map(|end| end.as_ref().err());
    let failed = failed.inspect(|why| eprintln!("{why}")).count();
    println!("{accidents} servers died by accident");
    assert!(accidents > count / 5, "only {accidents} of {count} servers died by accident");
    println!("{count} cycles, {failed} worlds failed");
    assert_eq!(failed, 0);
}

/// A directory with snapshots and logs; whether its server ended in good order.
fn directory(rng: &mut StdRng) -> (World, bool) {
    let mut world = World { shards: rng.random_range(1..=3), ..World::new() };
    let mut bed = Bed::start(&world.disk, world.shards).unwrap();
    for _ in 0..rng.random_range(3..12) {
        bed.feed(rng.random_range(1..5));
        bed.commit().unwrap();
        if rng.random_ratio(1, 4) {
            bed.snapshot().unwrap();
        }
    }
    let clean: bool = rng.random();
    if !clean {
        // A commit that no mark speaks of.
        bed.feed(rng.random_range(1..9));
        for index in 0..bed.shards.len() {
            bed.write_one(index).unwrap();
        }
    }
    (world.acknowledged, world.sent) = (bed.acknowledged.clone(), bed.next);
    if clean {
        bed.stop().unwrap();
    }
    (world, clean)
}

/// What became of a flipped bit.
#[derive(Debug, PartialEq, Eq)]
enum Flip {
    /// The server does not start, and says why.
    Refused,
    /// All is there: nothing reads that bit, or there was another copy.
    Harmless,
    /// The end of the log is cut, and it says so: of a server that was killed, it may have been on
    /// its way.
    ToldTorn,
    Silent(String),
    Panic(String),
}

fn flip(world: &World, clean: bool, rng: &mut StdRng) -> Flip {
    let disk = world.disk.copy();
    let files: Vec<(String, usize)> =
        disk.all().into_iter().map(|(path, bytes)| (path, bytes.len())).collect();
    let (path, len) = &files[rng.random_range(0..files.len())];
    if *len == 0 {
        return Flip::Harmless;
    }
    let (at, bit) = (rng.random_range(0..*len), rng.random_range(0..8));
    disk.poke(path, |bytes| bytes[at] ^= 1 << bit);
    let place = format!("{path}, byte {at}, bit {bit}");
    let inspected = catch_unwind(AssertUnwindSafe(|| inspect(&disk).is_ok_and(|f| f.is_sound())));
    let started = catch_unwind(AssertUnwindSafe(|| Bed::start(&disk, world.shards)));
    match (inspected, started) {
        (Err(panic), _) | (_, Err(panic)) => Flip::Panic(format!("{place}: {}", words(&*panic))),
        (Ok(true), Ok(Err(error))) => {
            Flip::Silent(format!("{place}: inspect finds it sound, the start says {error}"))
        }
        (Ok(false), Ok(Err(_))) => Flip::Refused,
        (Ok(_), Ok(Ok(mut bed))) => {
            let told = bed.shards.iter().any(|one| !one.facts.notes.is_empty());
            let held = catch_unwind(AssertUnwindSafe(|| {
                bed.check(&world.acknowledged, world.sent);
            }));
            match held {
                Ok(()) => Flip::Harmless,
                Err(_) if told && !clean => Flip::ToldTorn,
                Err(panic) => Flip::Silent(format!("{place}: {}", words(&*panic))),
            }
        }
    }
}

#[test]
fn flips() {
    let (count, seed) = (number("FLIPS").unwrap_or(300), seed());
    let mut rng = StdRng::seed_from_u64(seed);
    let (mut refused, mut harmless, mut torn, mut silent, mut panics) = (0, 0, 0, 0, 0);
    let mut past = directory(&mut rng);
    for number in 0..count {
        if number % FLIPS_PER_DIRECTORY == 0 {
            past = directory(&mut rng);
        }
        match flip(&past.0, past.1, &mut rng) {
            Flip::Refused => refused += 1,
            Flip::Harmless => harmless += 1,
            Flip::ToldTorn => torn += 1,
            Flip::Silent(what) => {
                silent += 1;
                eprintln!("flip {number} of seed {seed}: {what}");
            }
            Flip::Panic(what) => {
                panics += 1;
                eprintln!("flip {number} of seed {seed}: {what}");
            }
        }
    }
    println!("{refused} refused, {harmless} harmless, {torn} told as an unfinished write");
    assert!(refused > count / 50 && harmless > count / 50, "nothing was tried");
    println!("{count} flips, {silent} silent, {panics} panics");
    assert_eq!((silent, panics), (0, 0));
}

/// Lives of one directory.
const LIVES: u64 = 15;
/// Parts in one directory: a tenant's topics stay few, so that its window is exact.
const PARTS_MAX: u64 = 100;
const FLIPS_PER_DIRECTORY: u64 = 50;
