//! Against a real redis-server; `./ci.sh peers` runs them.

use super::*;
use crate::process::Used;

fn scenario() -> Scenario {
    Scenario {
        tenants: 300,
        sample: 100,
        seconds: 1,
        warmup_seconds: 0,
        pool_bytes: 1 << 20,
        weight: 3,
        ..Scenario::default()
    }
}

const ANYWHERE: Cores = Cores { server: Vec::new(), loadgen: Vec::new() };

/// Both forms make a load, and every answer is right.
fn load(scenario: &Scenario) {
    for lua in [true, false] {
        let Done { run, right, notes, .. } = Redis { lua }.load(scenario, &ANYWHERE).unwrap();
        right.unwrap();
        let check = &run.check;
        assert_eq!((check.tenants_checked, check.mismatches), (100, 0), "{notes:?}");
        assert!(check.topics_checked > 100, "{check:?}");
        assert!(run.events_acked > 1_000 && run.events_lost == 0, "{run:?}");
        let zipf = scenario.tenant_distribution == TenantDistribution::Zipf;
        let tenants = run.server.tenants_live;
        assert!(tenants == 299 || zipf && tenants < 299, "{tenants}, all but the probe's");
        assert!(run.server.ns_cpu_per_event > 0.0 && run.server.rss_bytes_max > 1 << 20);
        let latencies = [run.latency_us.ack, run.latency_us.visible, run.latency_us.query];
        assert!(latencies.iter().all(|latency| latency.count > 0), "{latencies:?}");
        assert_eq!(latencies[0].count * 64, run.events_acked);
        assert!(run.config["redis_keys"].as_u64() >= Some(300), "{}", run.config);
        let refresh = run.refresh.map(|refresh| (refresh.tenants, refresh.rounds > 0));
        assert_eq!(refresh, (scenario.refresh_ms > 0).then_some((300, true)));
    }
}

#[test]
fn a_saturated_load_is_counted_right() {
    load(&scenario());
    load(&Scenario { run_length: 16, ..scenario() });
    load(&Scenario { tenant_distribution: TenantDistribution::Zipf, ..scenario() });
}

#[test]
fn a_paced_load_with_a_refresh_and_old_events_is_counted_right() {
    let scenario = Scenario { rate: 20_000, refresh_ms: 50, spread_ms: 9_000, ..scenario() };
    load(&Scenario { sleep: true, ..scenario });
}

#[test]
fn a_saturated_load_leaves_the_time_for_a_refresh() {
    load(&Scenario { refresh_ms: 200, ..scenario() });
    let scenario = Scenario { refresh_ms: 200, seconds: 2, ..scenario() };
    let Done { run, notes, .. } = Redis { lua: true }.load(&scenario, &ANYWHERE).unwrap();
    assert!(run.refresh.unwrap().rounds >= 8, "{notes:?}");
}

#[test]
fn a_load_ends_although_the_refresh_is_always_behind() {
    let scenario = Scenario { refresh_ms: 1, ..scenario() };
    let Done { run, right, notes, .. } = Redis { lua: true }.load(&scenario, &ANYWHERE).unwrap();
    right.unwrap();
    assert_eq!((run.server.tenants_live, run.check.mismatches), (299, 0), "all but the probe's");
    let told = |note: &String| note.contains("asked all tenants") && note.contains(" of 100");
    assert!(notes.iter().any(told), "{notes:?}");
    assert!(run.refresh.unwrap().rounds > 10 && run.events_lost == 0);
}

#[test]
fn a_wrong_count_is_found() {
    let scenario = as_asked(&scenario()).unwrap();
    let server = Server::start(&ANYWHERE).unwrap();
    let (population, sample) = (Population::new(&scenario), Sample::new(&scenario));
    let form = Redis { lua: true }.form(&server).unwrap();
    let mut engine = engine(&scenario, &population, &sample, &form, &server).unwrap();
    engine.run().unwrap();
    let wrong = |engine: &Engine<'_>| {
        let (both, ledger) = ((&population, &sample), &engine.tally.ledger);
        check(&server, &scenario, both, &engine.ranking, ledger).unwrap().mismatches
    };
    assert_eq!(wrong(&engine), 0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    let bucket = calls::digits(question::bucket(u64::try_from(now).unwrap()));
    let one_more = calls::key(sample.tenants()[7], &bucket);
    let mut connection = server.connect().unwrap();
    redis::cmd("ZINCRBY").arg(one_more).arg(3).arg(0).exec(&mut connection).unwrap();
    assert!(wrong(&engine) > 0);
    server.stop().unwrap();
}

#[test]
fn every_bucket_of_the_script_gets_an_end_and_those_of_zincrby_none() {
    for (lua, ends) in [(true, 1..=65), (false, -1..=-1)] {
        let server = Server::start(&ANYWHERE).unwrap();
        let form = Redis { lua }.form(&server).unwrap();
        let event = |topic| calls::Event { tenant: 7, topic, weight: 3, offset_ms: 0 };
        let mut command = Vec::new();
        calls::encode(&form, "000000001", &[event(1), event(2), event(1)], &mut command);
        let mut connection = server.connect().unwrap();
        let replies = if lua { 1 } else { 3 };
        connection.req_packed_commands(&command, 0, replies).unwrap();
        let key = calls::key(7, "000000001");
        let end: i64 = redis::cmd("TTL").arg(&key).query(&mut connection).unwrap();
        assert!(ends.contains(&end), "{end}");
        let held: Vec<(u32, u64)> = redis::cmd("ZRANGE")
            .arg(&key)
            .arg(&[0, -1])
            .arg("WITHSCORES")
            .query(&mut connection)
            .unwrap();
        assert_eq!(held, [(2, 3), (1, 6)]);
        server.stop().unwrap();
    }
}

#[test]
fn what_redis_cannot_do_is_refused_before_it_starts() {
    for scenario in [
        Scenario { ack: Ack::Durable, ..scenario() },
        Scenario { durability: true, ..scenario() },
        Scenario { seconds: 0, ..scenario() },
    ] {
        assert!(Redis { lua: true }.load(&scenario, &ANYWHERE).is_err());
    }
}

#[test]
fn a_core_that_waited_is_told() {
    let measured = Measured {
        used: Used { seconds: 2.0, cpu_ns: 1_000_000_000, ..Used::default() },
        own: Used::default(),
        acked: 1,
        offered: 1,
        drained: true,
        all_seen: true,
        warmup_s: 1.0,
    };
    let info = Info { used_memory: 1, dataset_bytes: 1, keys: 1, expired_keys: 1, evicted_keys: 0 };
    let told = |rate| {
        let scenario = Scenario { rate, ..scenario() };
        notes(&scenario, &Run::empty(), &measured, &Histograms::new().unwrap(), info)
    };
    assert!(told(0)[1].contains("50.0 %"), "{:?}", told(0));
    assert_eq!(told(1).len(), 1);
}
