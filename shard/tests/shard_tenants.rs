//! Tenants come and go: who makes room, who never does, and what a full table leaves as it was.

mod shard_support;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use shard_support::*;
use trendsrv_proto::{Clock, Refusal};

#[test]
fn a_thousand_tenants_pass_through_a_table_of_64_in_wall_clock() {
    thousand_tenants(Clock::Wall, true);
}

#[test]
fn a_thousand_tenants_pass_through_a_table_of_64_in_event_clock() {
    thousand_tenants(Clock::Event, true);
}

#[test]
fn a_replay_faster_than_the_sweep_finds_room_all_the_same() {
    thousand_tenants(Clock::Event, false);
}

/// At most 32 of 1,000 tenants are live at a time; each sends for a few seconds, then never again.
fn thousand_tenants(clock: Clock, real_time: bool) {
    let (mut shard, mut model) = (shard(clock, 64), Model::new(clock));
    let mut random = StdRng::seed_from_u64(31);
    let mut time_ms = START_MS;
    for seq in 1..=4_000_u64 {
        time_ms += 250;
        let now_ms = if real_time { time_ms } else { START_MS };
        turn(&mut shard, now_ms);
        // Two newcomers a second, live for a window of 10 s after 4 s of events: 28 at most.
        let newest = seq / 4 * 2 % 1_000;
        let tenant = |random: &mut StdRng| (newest + 1_000 - random.random_range(0..8)) % 1_000;
        let event = |random: &mut StdRng| {
            (tenant(random), random.random_range(0..9), 1, time_ms - random.random_range(0..200))
        };
        let events: Vec<Event> = (0..20).map(|_| event(&mut random)).collect();
        let counted = send_named(&mut shard, now_ms, Some(at(seq)), &events);
        let wanted = model.send(now_ms, &events);
        assert_eq!(counted, Ok(wanted), "frame {seq}");
        for back in 0..8 {
            let tenant = (newest + 1_000 - back) % 1_000;
            if model.tenants().any(|known| known == tenant)
                && let Ok((seen, _)) = ask(&mut shard, now_ms, tenant, None)
            {
                assert_eq!(seen.total, model.ask(now_ms, tenant, None).total, "frame {seq}");
            }
        }
        for event in &events {
            let seen = ask(&mut shard, now_ms, event.0, None).expect("a live tenant is held").0;
            assert_eq!(seen.total, model.ask(now_ms, event.0, None).total, "frame {seq}");
        }
    }
    let stats = shard.stats().clone();
    assert!(stats.tenants_evicted > 900, "{stats:?}");
    assert_eq!(stats.tenants.now, 64);
}

#[test]
fn a_full_table_refuses_the_frame_and_changes_nothing() {
    let mut shard = shard(Clock::Wall, 8);
    let live: Vec<Event> = (0..7).map(|tenant| (tenant, 1, 1, START_MS)).collect();
    send(&mut shard, START_MS, Some(at(1)), &live).0.unwrap();
    for attempt in 0..3 {
        let two = [(0, 1, 5, START_MS), (100, 1, 1, START_MS), (101, 1, 1, START_MS)];
        let (refused, behind) = send(&mut shard, START_MS, Some(at(2)), &two);
        let why = refused.unwrap_err();
        assert_eq!((why.code, why.index), (Refusal::TenantsFull, Some(2)), "attempt {attempt}");
        assert!(why.retry_after_ms > 0 && behind.is_empty(), "nobody's name is asked for");
        assert_eq!(total(&mut shard, START_MS, 0), Some(1));
        for tenant in [100, 101] {
            let why = ask(&mut shard, START_MS, tenant, None).unwrap_err();
            assert_eq!(why.code, Refusal::UnknownTenant, "attempt {attempt}");
        }
        assert_eq!(shard.stats().tenants.now, 7);
    }
    // The one place left was not lost to the frames refused.
    let (counted, behind) = send(&mut shard, START_MS, Some(at(2)), &[(100, 1, 1, START_MS)]);
    assert_eq!((counted.unwrap().applied, behind.len()), (1, 1), "its name is asked for");
    assert_eq!(total(&mut shard, START_MS, 100), Some(1));
}

#[test]
fn a_refused_frame_makes_nobody_leave() {
    let mut shard = shard(Clock::Event, 4);
    let ages_ms = [0, 60_000, 60_000, 60_000];
    for (tenant, age_ms) in (0..).zip(ages_ms) {
        send(&mut shard, START_MS, None, &[(tenant, 1, 1, START_MS + age_ms)]).0.unwrap();
    }
    let ts_ms = START_MS + 60_000;
    let two = [(10, 1, 1, ts_ms), (11, 1, 1, ts_ms)];
    let why = send(&mut shard, START_MS, None, &two).0.unwrap_err();
    assert_eq!(why.code, Refusal::TenantsFull);
    assert_eq!(total(&mut shard, START_MS, 0), Some(1), "the emptied tenant is still there");
    send(&mut shard, START_MS, None, &two[..1]).0.unwrap();
    assert_eq!(total(&mut shard, START_MS, 0), None, "now it has made room");
}

#[test]
fn a_frame_never_makes_its_own_tenants_leave() {
    let mut shard = shard(Clock::Event, 4);
    for tenant in 0..4 {
        send(&mut shard, START_MS, None, &[(tenant, 1, 1, START_MS + tenant)]).0.unwrap();
    }
    // A minute later all four are empty; one comes back together with two new ones. The sweep
    // finds the second slot first, so that tenant 1 would be the first to leave.
    let ts_ms = START_MS + 60_000;
    let old = (1, 2, 7, START_MS + 3);
    let frame = [(20, 1, 1, ts_ms), old, (21, 1, 1, ts_ms)];
    assert_eq!(send(&mut shard, START_MS, None, &frame).0.unwrap().applied, 3);
    assert_eq!(total(&mut shard, START_MS, 1), Some(8), "it kept what it had");
    assert_eq!(shard.stats().tenants_evicted, 2);
}

#[test]
fn a_tenant_whose_own_time_lags_keeps_exact_counts_while_there_is_room() {
    let (mut shard, mut model) = (shard(Clock::Event, 16), Model::new(Clock::Event));
    for step in 0..600_u64 {
        let now_ms = START_MS + step * 100;
        turn(&mut shard, now_ms);
        // Tenant 1 lives an hour behind the others.
        let events = [(1, step % 7, 1, START_MS + step * 90), (2, 1, 1, now_ms + 3_600_000)];
        send_named(&mut shard, now_ms, None, &events).unwrap();
        model.send(now_ms, &events);
        if step % 150 == 149 {
            // It pauses long enough for the sweep to find it.
            for pause in 0..30 {
                turn(&mut shard, now_ms + pause * 1_000);
            }
        }
        assert_eq!(ask(&mut shard, now_ms, 1, None).unwrap().0, model.ask(now_ms, 1, None));
    }
    assert!(shard.stats().tenants_evicted == 0);
}

#[test]
fn a_filler_far_ahead_empties_nobody() {
    let mut shard = shard(Clock::Event, 2);
    for tenant in 0..2 {
        send(&mut shard, START_MS, None, &[(tenant, 1, 1, START_MS)]).0.unwrap();
    }
    send(&mut shard, START_MS + 900_000_000, None, &[]).0.unwrap();
    let why = send(&mut shard, START_MS, None, &[(2, 1, 1, START_MS)]).0.unwrap_err();
    assert_eq!(why.code, Refusal::TenantsFull);
}

#[test]
fn a_version_stands_for_one_answer_and_only_grows() {
    let mut shard = shard(Clock::Event, 2);
    let mut told = Vec::new();
    let mut changed = |shard: &mut _, what: &str| {
        let (_, version) = ask(shard, START_MS, 1, None).unwrap();
        assert!(told.last().is_none_or(|last| version > *last), "{what}: {told:?} {version}");
        for _ in 0..3 {
            assert_eq!(ask(shard, START_MS, 1, None).unwrap().1, version, "{what}: unchanged");
        }
        told.push(version);
    };
    send(&mut shard, START_MS, None, &[(1, 1, 1, START_MS)]).0.unwrap();
    changed(&mut shard, "an event");
    send(&mut shard, START_MS, None, &[(1, 1, 1, START_MS)]).0.unwrap();
    changed(&mut shard, "the same event again");
    send(&mut shard, START_MS, None, &[(1, 1, 1, START_MS - 60_000)]).0.unwrap();
    changed(&mut shard, "a late event");
    let name = topic_name(1);
    shard.define(std::iter::once((trendsrv_proto::NameKind::Topic, topic_id(1).0, &*name)));
    changed(&mut shard, "a name");
    for step in 0..5_000 {
        let ts_ms = START_MS + step;
        send(&mut shard, START_MS, None, &[(1, step % 3, 1, ts_ms)]).0.unwrap();
        changed(&mut shard, "one of many events, all within a millisecond");
    }
    // Others come, and the tenant leaves; when it comes back its versions go on.
    let ts_ms = START_MS + 60_000;
    send(&mut shard, START_MS, None, &[(2, 1, 1, ts_ms), (3, 1, 1, ts_ms)]).0.unwrap();
    assert_eq!(total(&mut shard, START_MS, 1), None);
    send(&mut shard, START_MS, None, &[(1, 1, 1, ts_ms + 60_000)]).0.unwrap();
    changed(&mut shard, "back after an eviction");
}
