//! Redis: a sorted set for each tenant and 5 s, as people build trending topics with it.
//!
//! ```text
//! population ─▶ pool ─▶ calls ─▶ lanes ──────────┐
//!                                probes ─────────┼─▶ redis-server, one process, no disk
//!                                refresher ──────┘
//! 12 buckets of a tenant == exact counts of the same buckets?
//! ```
//!
//! Owns: what Redis is asked, and the settings it runs with. Never touches: how the load is drawn,
//! timed and judged, which is the same code as for trendsrv.

mod calls;
mod engine;
mod lane;
mod probes;
mod question;
mod server;
#[cfg(test)]
#[cfg(feature = "peers")]
mod tests;
mod wire;

use super::{About, Cores, System};
use crate::census::Census;
use crate::check::Checked;
use crate::engine::{QUERIES, REFRESH, VISIBLE};
use crate::pool::{Place, Pool};
use crate::population::{Population, tenant_name};
use crate::process::{Machine, float};
use crate::report::{Check, Histograms, Run, ServerFigures};
use crate::run::{Done, verdict};
use crate::sample::{Ledger, Sample};
use crate::scenario::{Ack, Scenario, TenantDistribution};
use crate::tally::Tally;
use anyhow::{Context as _, bail};
use calls::{BUCKET_MS, BUCKETS, Calls, Form, SCRIPT};
use engine::{Engine, Measured};
use lane::Lane;
use mio::{Poll, Token};
use probes::{Queries, Refresher, Visible};
use question::Ranking;
use redis::ConnectionLike as _;
use server::{Info, Server};
use std::time::{SystemTime, UNIX_EPOCH};
use trendsrv_proto::limits::TOP_K_MAX;
use wire::Wire;

/// Events of a call: more cost no less for each of them, and wait longer for the call to fill.
const CALL_EVENTS: usize = 64;
/// Connections: two keep one busy while the other's replies are read; more only wake Redis more
/// often with less to read.
const CONNECTIONS: usize = 2;
/// Calls on their way on each connection: as much as Redis needs never to wait.
const CALLS_IN_FLIGHT: usize = 8;
/// A core that has less to do than this waited for the load generator.
const BUSY_MIN: f64 = 0.95;

/// Redis as a system under test.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Redis {
    /// One call of a script for 64 events, which gives buckets their end; otherwise one ZINCRBY
    /// an event, without an end: what Redis can count at most.
    pub(crate) lua: bool,
}

/// Why it runs as it does.
const SETTINGS: [&str; 10] = [
    "--save \"\" --appendonly no: nothing goes to a disk, as nothing of trendsrv does",
    "--io-threads as redis.conf advises: 1 below 4 cores, then one less than there are, 8 at most",
    "--latency-tracking no, --slowlog-log-slower-than -1: nobody reads them here, and they cost time",
    "TCP on loopback, as for trendsrv; with 64 events a call a Unix socket was within the spread of \
     single runs",
    "2 connections with 8 calls of 64 events each on their way: 1 to 16 connections were \
     within the spread of single runs",
    "keys t:TENANT:BUCKET with tenants counted from 0, topics as the numbers of their names, one \
     weight a call: what is shortest on the wire and in memory",
    "one sorted set for each tenant and 5 s; a window is 12 of them, so it moves in steps of 5 s, \
     where that of trendsrv moves each second",
    "one event is one ZINCRBY: neither this client nor that of trendsrv adds up equal events first",
    "the window is read with ZUNION of 12 keys WITHSCORES; the client keeps the ten heaviest, so \
     that Redis need not rank or store them",
    "commands are made before the measurement; only the digits of a bucket are written in it",
];

impl System for Redis {
    fn name(&self) -> &'static str {
        if self.lua { "redis" } else { "redis-zincrby" }
    }

    fn about(&self) -> anyhow::Result<About> {
        let asked = if self.lua {
            "64 events a call of a Lua script: ZINCRBY into the tenant's bucket of 5 s, EXPIRE on \
             the bucket's first touch; calls pipelined; top 10 by ZUNION of 12 buckets"
        } else {
            "ZINCRBY into the tenant's bucket of 5 s, pipelined, without EXPIRE, so that memory \
             grows for ever: the most that Redis can count; top 10 by ZUNION of 12 buckets"
        };
        Ok(About {
            version: server::version()?,
            asked: asked.to_owned(),
            settings: SETTINGS.map(str::to_owned).into(),
        })
    }

    fn load(&self, scenario: &Scenario, cores: &Cores) -> anyhow::Result<Done> {
        let version = server::version()?;
        let scenario = as_asked(scenario)?;
        let server = Server::start(cores)?;
        let (population, sample) = (Population::new(&scenario), Sample::new(&scenario));
        let form = self.form(&server)?;
        let mut engine = engine(&scenario, &population, &sample, &form, &server)?;
        let measured = engine.run()?;
        let Engine { lanes, visible, queries, refresher, ranking, tally, .. } = engine;
        let checked = check(&server, &scenario, (&population, &sample), &ranking, &tally.ledger)?;
        let info = server.info()?;
        let mut seen = vec![false; scenario.tenants as usize];
        lanes.iter().for_each(|lane| lane.note_tenants(&mut seen));
        let tenants = seen.into_iter().map(u64::from).sum();

        let machine = Machine::read();
        let histograms =
            Histograms { ack: tally.ack.clone(), visible: visible.latency, query: queries.latency };
        let mut run = report_of((self, &scenario, cores), &server, (&tally, &measured, info));
        run.config["system_version"] = version.into();
        let census =
            Census { tenants_live: tenants, window_bytes: info.dataset_bytes, ..Census::default() };
        run.server = ServerFigures::new(&measured.used, measured.acked, &machine, &census);
        run.latency_us = histograms.percentiles();
        run.check = Check {
            tenants_checked: checked.tenants,
            topics_checked: checked.topics,
            mismatches: checked.mismatches,
        };
        run.machine = machine;
        run.refresh = refresher.map(Refresher::report);
        let notes = notes(&scenario, &run, &measured, &histograms, info);
        let right = server.stop().and(verdict(&tally, 0, measured.drained, &checked));
        Ok(Done { run, histograms, notes, right })
    }
}

impl Redis {
    fn form(self, server: &Server) -> anyhow::Result<Form> {
        if !self.lua {
            return Ok(Form::Plain);
        }
        let load = redis::cmd("SCRIPT").arg("LOAD").arg(SCRIPT).to_owned();
        let hash = load.query(&mut server.connect()?).context("SCRIPT LOAD")?;
        Ok(Form::Lua(hash))
    }
}

/// The scenario with a call for a frame, and connections that suit Redis.
fn as_asked(scenario: &Scenario) -> anyhow::Result<Scenario> {
    if scenario.ack == Ack::Durable {
        bail!("redis runs without a disk here: its acknowledgements are applied, not durable");
    }
    if scenario.hostile_per_mille > 0 || scenario.durability {
        bail!("redis has no tenants' programs and no sides to compare: use another scenario");
    }
    let scenario = Scenario {
        frame_events: CALL_EVENTS,
        connections: CONNECTIONS,
        in_flight_bytes_max: CALLS_IN_FLIGHT * (40 + 24 * CALL_EVENTS),
        ..scenario.clone()
    };
    scenario.check()?;
    Ok(scenario)
}

fn engine<'a>(
    scenario: &'a Scenario,
    population: &Population,
    sample: &Sample,
    form: &Form,
    server: &Server,
) -> anyhow::Result<Engine<'a>> {
    let poll = Poll::new()?;
    let connect = |token| Wire::connect(server.address, poll.registry(), token);
    let lanes = lanes(scenario, population, sample, form, connect)?;
    let probe = population.probe_tenant();
    let topic = population.topics_of(probe).next().context("a tenant has topics")?;
    let (probes, target) = (scenario.visible_probes, (probe, topic));
    let visible = Visible::new(connect(VISIBLE)?, probes, form.clone(), target)?;
    let asked = sample.tenants().to_vec();
    let queries = Queries::new(connect(QUERIES)?, scenario.queries, asked, scenario.seed)?;
    let refresher = match scenario.refresh_ms {
        0 => None,
        period => Some(Refresher::new(connect(REFRESH)?, scenario.tenants, period)),
    };
    Ok(Engine {
        scenario,
        lanes,
        visible,
        queries,
        refresher,
        ranking: Ranking::new(scenario),
        tally: Tally::new(Ledger::new(BUCKET_MS, BUCKETS))?,
        server_pid: server.pid()?,
        poll,
    })
}

/// The connections, each with its calls: the events of the frames that trendsrv would get.
fn lanes(
    scenario: &Scenario,
    population: &Population,
    sample: &Sample,
    form: &Form,
    connect: impl Fn(Token) -> anyhow::Result<Wire>,
) -> anyhow::Result<Vec<Lane>> {
    let frame_bytes = 40 + 24 * scenario.frame_events;
    let count = scenario.connections;
    let frames = (scenario.pool_bytes / count / frame_bytes).max(CALLS_IN_FLIGHT);
    let mut drawn = vec![false; scenario.tenants as usize];
    let mut lanes = Vec::with_capacity(count);
    let zipf = scenario.tenant_distribution == TenantDistribution::Zipf;
    for index in 0..count {
        let place = Place { connection: index, frames, of_shard: (index, count) };
        let pool = Pool::new(scenario, population, sample, place, |_| true, &mut drawn);
        // Its own share comes first; under Zipf's law some tenants are so rare that nobody waits.
        let mut seen: Vec<bool> =
            (0..drawn.len()).map(|tenant| zipf || tenant % count != index).collect();
        let calls = Calls::new(form, pool, population, &mut seen)?;
        lanes.push(Lane::new(connect(Token(index))?, calls, CALLS_IN_FLIGHT));
    }
    Ok(lanes)
}

/// Asks for every sampled tenant and holds the answers against what was acknowledged.
fn check(
    server: &Server,
    scenario: &Scenario,
    (population, sample): (&Population, &Sample),
    ranking: &Ranking,
    ledger: &Ledger,
) -> anyhow::Result<Checked> {
    let now_ms = u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?;
    let expected = ledger.expected(population, &vec![now_ms; sample.tenants().len()]);
    let mut connection = server.connect()?;
    let (mut checked, mut command) = (Checked::default(), Vec::new());
    for (&tenant, expected) in sample.tenants().iter().zip(&expected) {
        command.clear();
        question::ask(tenant, question::bucket(now_ms), &mut command);
        let topics = redis::from_redis_value(connection.req_packed_command(&command)?)?;
        let asked = (now_ms, TOP_K_MAX);
        let answer = ranking.answer(topics, (population, scenario.weight), asked)?;
        checked.check(&tenant_name(tenant), TOP_K_MAX, expected, &answer);
    }
    Ok(checked)
}

fn report_of(
    (redis, scenario, cores): (&Redis, &Scenario, &Cores),
    server: &Server,
    (tally, measured, info): (&Tally, &Measured, Info),
) -> Run {
    let seconds = measured.used.seconds;
    let counted = tally.measured;
    let mut config = serde_json::to_value(scenario).unwrap_or_default();
    config["system"] = redis.name().into();
    config["connect"] = server.address.to_string().into();
    config["server_args"] = server.command.clone().into();
    config["server_cores"] = cores.server.clone().into();
    config["loadgen_cores"] = cores.loadgen.clone().into();
    config["calls_in_flight"] = CALLS_IN_FLIGHT.into();
    let own = float(measured.own.cpu_ns) / float(measured.acked.max(1));
    config["loadgen_ns_cpu_per_event"] = own.into();
    config["warmup_s"] = measured.warmup_s.into();
    config["all_live_when_measured"] = measured.all_seen.into();
    config["redis_used_memory"] = info.used_memory.into();
    config["redis_keys"] = info.keys.into();
    config["redis_expired_keys"] = info.expired_keys.into();
    config["redis_evicted_keys"] = info.evicted_keys.into();
    Run {
        scenario: redis.name().to_owned(),
        config,
        seed: scenario.seed,
        seconds,
        events_offered: measured.offered,
        events_sent: counted.admitted,
        events_acked: counted.acked,
        events_refused: counted.refused,
        events_lost: counted.admitted.saturating_sub(counted.acked),
        rate_offered: float(measured.offered) / float(scenario.seconds),
        rate_acked: float(measured.acked) / seconds.max(1e-9),
        ..Run::empty()
    }
}

fn notes(
    scenario: &Scenario,
    run: &Run,
    measured: &Measured,
    histograms: &Histograms,
    info: Info,
) -> Vec<String> {
    let own = run.config["loadgen_ns_cpu_per_event"].as_f64().unwrap_or_default();
    let spins = scenario.rate > 0 && !scenario.sleep;
    let mut notes =
        vec![format!("loadgen     {own:.1} ns CPU/event{}", if spins { ", spinning" } else { "" })];
    let busy = float(measured.used.cpu_ns) / 1e9 / measured.used.seconds.max(1e-9);
    if scenario.rate == 0 && busy < BUSY_MIN {
        notes.push(format!(
            "redis-server used {:.1} % of a core only: the load generator, or what else runs here, \
             held it back",
            100.0 * busy
        ));
    }
    if !measured.all_seen {
        notes.push("the measurement began before every tenant had an event".to_owned());
    }
    if info.expired_keys == 0 {
        notes.push("no bucket reached its end: deleting them is no part of these costs".to_owned());
    }
    if info.evicted_keys > 0 {
        notes.push(format!("redis-server threw {} buckets away", info.evicted_keys));
    }
    notes.extend(run.behind(scenario));
    if histograms.over_range() > 0 {
        notes.push(format!("{} latencies were longer than 120 s", histograms.over_range()));
    }
    notes
}
