//! What a connection may do to the server, whatever bytes come and however turns, mail and time
//! fall between them. The fuzz target `connection` (tests/fuzz) makes the same steps; its corpus
//! is replayed here.

mod stream;

use rand::rngs::SmallRng;
use rand::{Rng, RngCore, SeedableRng};
use stream::{Seen, check_steps};

#[test]
fn every_input_of_the_corpus_leaves_others_alone() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fuzz/corpus/connection");
    let mut inputs = 0;
    for entry in std::fs::read_dir(folder).expect("tests/fuzz/corpus/connection is there") {
        let path = entry.expect("a readable folder").path();
        println!("{}", path.display());
        check_steps(&std::fs::read(&path).expect("a readable file"));
        inputs += 1;
    }
    assert!(inputs > 10, "{inputs} inputs");
}

#[test]
fn random_steps_leave_others_alone() {
    let seeds = std::env::var("STREAM_SEEDS").map_or(300, |n| n.parse().expect("a number"));
    let mut seen = Seen::new();
    for seed in 0..seeds {
        println!("seed {seed}");
        let mut rng = SmallRng::seed_from_u64(seed);
        let mut input = vec![3, rng.random_range(0..4), rng.random_range(0..4)];
        let size = rng.random_range(1..1_500);
        while input.len() < size {
            step(&mut rng, &mut input);
        }
        seen.append(&mut check_steps(&input));
    }
    // The steps reach what they are meant to.
    for what in [
        "ACK",
        "FUTURE",
        "GOAWAY",
        "HELLO_OK",
        "MALFORMED",
        "NEED",
        "OVERLOADED",
        "PONG",
        "SEQ_GAP",
        "SUMMARY",
        "TENANTS_FULL",
        "UNKNOWN_TENANT",
        "UPDATE",
    ] {
        assert!(seen.contains(what), "no {what} in {seeds} seeds, only {seen:?}");
    }
}

/// A step that mostly makes sense: random bytes alone would not get past HELLO.
fn step(rng: &mut SmallRng, input: &mut Vec<u8>) {
    match rng.random_range(0..21) {
        0..10 => {
            let events = rng.random_range(0_u8..12);
            let off = if rng.random_range(0..8) == 0 { rng.next_u32().to_le_bytes()[0] } else { 0 };
            let step = if rng.random_range(0..3) == 0 { 4 | 8 } else { 4 };
            input.extend([step, off, 4 * events]);
            for _ in 0..events {
                let weight = if rng.random_range(0..60) == 0 { 0 } else { 2 };
                let ahead = rng.random_range(0_u8..7);
                input.extend([rng.random_range(0..16), rng.random_range(0..30), weight, ahead]);
            }
        }
        10..12 => input.extend([6, rng.random_range(0..16), 10, rng.random_range(0..2)]),
        12..14 => input.extend([7, rng.random_range(0..16), rng.random_range(0..20)]),
        14..16 => input.extend([2, rng.random_range(0..60)]),
        16 => {
            input.extend([5, rng.random_range(0..7), 3, 2, rng.random_range(0..4)]);
        }
        17 => {
            let size = rng.random_range(0_u8..60);
            input.extend([1, rng.random_range(0..18), size]);
            input.extend((0..size).map(|_| rng.random::<u8>()));
        }
        18 => input.extend([5, rng.random_range(3..8)]),
        19 => input.extend([1, 13, 8, 1, 2, 3, 4, 5, 6, 7, 8]),
        _ => input.extend([3, 2, rng.random_range(0..4)]),
    }
}
