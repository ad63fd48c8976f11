//! The shipped default program and its plain-Rust twin are one: a tenant cannot tell them apart.

mod support;

use proptest::prelude::*;
use support::*;
use trendsrv_proto::Rank;

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn the_default_program_answers_as_its_twin(
        steps in prop::collection::vec(
            (0_usize..4, 0_usize..NAMES.len(), 1_u32..2_000_000, 0_u64..1_500), 1..120),
    ) {
        let mut world = World::new();
        let mut twin = twin();
        for (tenant, topic, weight, pause_ms) in steps {
            let tenant = ["a", "b", "c", "d"][tenant];
            world.now_ms += pause_ms;
            let event = [(tenant, NAMES[topic], weight)];
            world.send(&event);
            send(&mut twin, world.now_ms, &event);
            world.settle();
            for rank in [Rank::Score, Rank::Count] {
                let ours = answer(&mut world.shard, world.now_ms, tenant, rank);
                let theirs = answer(&mut twin, world.now_ms, tenant, rank);
                prop_assert_eq!(ours, theirs);
            }
        }
        prop_assert_eq!(world.host().stats().faults, 0);
        prop_assert!(world.host().stats().calls > 0);
    }
}

const NAMES: [&str; 15] = [
    "mars rover",
    "eclipse",
    "b",
    "\"quoted\"",
    "Grüße",
    "日本",
    "nameless 1",
    "nameless 2",
    "x y",
    "a-very-long-name-a-very-long-name-a-very-long-name-a-very-long-name-a-very-long-name-a-very-\
     long-name-a-very-long-name-a-very-long-name-a-very-long-name-a-very-long-name-a-very-long-na",
    "7",
    "٣",
    "tab",
    "ö",
    "end",
];
