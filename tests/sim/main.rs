//! The simulator: the real shard, node, protocol and client under one seeded world of clock and
//! network, and an oracle that holds every answer against brute force. `README.md` beside this
//! file says how to run and to read it.
#![allow(clippy::unwrap_used, reason = "a test target")]
#![allow(clippy::disallowed_types, reason = "the store wants a disk that may go to another thread")]

mod client;
mod cycles;
mod dice;
mod disk;
mod oracle;
mod plan;
mod planted;
mod server;
mod storage;
mod trace;
mod wire;
mod world;

use plan::{Plan, Planted};
use world::{Outcome, Summary, run};

/// Worlds that every run of the tests goes through.
const WORLDS: u64 = 150;

#[test]
fn acknowledged_events_count_and_every_event_counts_once() {
    let mut all = Summary::default();
    for seed in 1..=WORLDS {
        let outcome = run_seed(seed, None);
        if let Some(why) = &outcome.violation {
            panic!("{}", report(seed, why));
        }
        all.add(&outcome.summary);
    }
    println!("{all:?}");
    assert!(all.events > 100 * WORLDS && all.answers > 20 * WORLDS, "nothing was tried: {all:?}");
    assert!(all.crashes > WORLDS / 5 && all.cuts > WORLDS, "nothing went wrong: {all:?}");
}

/// The lane: `WORLDS` worlds from `SEED` on, the last tenth of them from `OTHER_SEED` on where that
/// is given; a few when nobody says how many. It goes through all of them, whatever it finds.
#[test]
fn worlds_of_the_lane() {
    let number = |name: &str| {
        let text = std::env::var(name).ok().filter(|text| !text.is_empty());
        text.map(|text| text.parse::<u64>().expect("a number"))
    };
    let (first, worlds) = (number("SEED").unwrap_or(1), number("WORLDS").unwrap_or(20));
    let others = number("OTHER_SEED").map_or(0, |_| worlds / 10);
    let other = number("OTHER_SEED").unwrap_or(0);
    let seeds = (0..worlds - others).map(|at| first.wrapping_add(at));
    let seeds = seeds.chain((0..others).map(|at| other.wrapping_add(at)));
    let (mut violations, mut all) = (0, Summary::default());
    for seed in seeds {
        let outcome = std::panic::catch_unwind(|| run_seed(seed, None));
        let why = match outcome {
            Ok(outcome) => {
                all.add(&outcome.summary);
                outcome.violation
            }
            Err(_) => Some("it panicked; see above".to_owned()),
        };
        if let Some(why) = why {
            violations += 1;
            let words = std::panic::catch_unwind(|| report(seed, &why));
            println!("{}", words.unwrap_or_else(|_| format!("seed {seed}: {why}")));
        }
    }
    println!("{all:?}");
    println!("{worlds} worlds, {violations} violations");
    assert_eq!(violations, 0);
}

#[test]
fn what_was_durable_is_recovered_once_over_many_crashes() {
    let counts = cycles::run(1, 1_000).unwrap();
    println!("{counts:?}");
    assert!(counts.durable > 1_000 && counts.sent_again > 500, "nothing was tried: {counts:?}");
    assert!(counts.replayed > 5_000 && counts.torn > 5, "nothing was lost: {counts:?}");
}

/// The lane: `CYCLES` crashes and recoveries from `SEED` on; a few when nobody says how many.
#[test]
fn cycles_of_the_lane() {
    let number = |name: &str, default: u64| {
        std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
    };
    let cycles = number("CYCLES", 200);
    let ran = cycles::run(number("SEED", 1), cycles);
    println!("{ran:?}");
    println!("{cycles} cycles, {} violations", u64::from(ran.is_err()));
    assert!(ran.is_ok());
}

#[test]
fn a_seed_replays_exactly() {
    for seed in [3, 14, 15, 92] {
        let (one, two) = (run_seed(seed, None), run_seed(seed, None));
        assert_eq!((one.hash, one.steps), (two.hash, two.steps), "seed {seed}");
        assert_ne!(one.hash, run_seed(seed + 1, None).hash);
    }
}

#[test]
fn a_pane_too_many_or_too_few_is_caught() {
    caught_within(Planted::PaneTooMany, 20);
    caught_within(Planted::PaneTooFew, 20);
}

#[test]
fn an_acknowledgement_before_the_disk_has_answered_is_caught() {
    caught_within(Planted::AckBeforeFsync, 100);
}

#[test]
fn a_snapshot_without_marks_is_caught() {
    caught_within(Planted::MarksMissing, 100);
}

#[test]
fn log_that_is_removed_before_the_manifest_is_safe_is_caught() {
    caught_within(Planted::LogBeforeManifest, 100);
}

#[test]
fn a_sync_that_is_tried_again_is_caught() {
    caught_within(Planted::FsyncRetried, 200);
}

#[test]
fn a_tail_that_is_judged_without_the_mark_is_caught() {
    caught_within(Planted::MarkIgnored, 200);
}

/// Runs worlds with a planted bug until the oracle finds it.
fn caught_within(planted: Planted, seeds: u64) {
    let found = (1..=seeds).find_map(|seed| {
        let outcome = run_seed(seed, Some(planted));
        outcome.violation.map(|why| (seed, why))
    });
    match found {
        Some((seed, why)) => println!("{planted:?} is caught by seed {seed}: {why}"),
        None => panic!("{planted:?} is not caught within {seeds} seeds"),
    }
}

fn run_seed(seed: u64, planted: Option<Planted>) -> Outcome {
    run(&Plan::of(seed, planted), 0)
}

/// What a person needs to find the fault: the seed, what is wrong, and the steps before it.
fn report(seed: u64, why: &str) -> String {
    let plan = Plan::of(seed, None);
    let told_max = std::env::var("STEPS").map_or(300, |steps| steps.parse().unwrap());
    let last = run(&plan, told_max).last;
    format!("{plan:#?}\n{last}\nseed {seed}: {why}\nSEED={seed} ./ci.sh sim 1 repeats it")
}
