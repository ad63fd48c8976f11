//! `loadgen run`: sets the load up, runs it, checks a sample of tenants, writes the report.

use crate::check::{Checked, known_or_empty, lacks_names};
use crate::durability;
use crate::engine::{Engine, Measured, QUERIES, REFRESH, VISIBLE};
use crate::hostile::Hostile;
use crate::lane::Lane;
use crate::pool::{Place, Pool};
use crate::population::{Population, tenant_name, topic_name};
use crate::probe::{Queries, Visible};
use crate::process::{Machine, float};
use crate::programs::NATIVE;
use crate::refresh::Refresher;
use crate::report::{self, Check, Histograms, Run, ServerFigures};
use crate::sample::{Ledger, Sample};
use crate::scenario::{Scenario, TenantDistribution};
use crate::server::{Server, ServerArgs};
use crate::sides;
use crate::tally::Tally;
use crate::watch::{Outcome, Wanted};
use crate::wire::Wire;
use anyhow::{Context as _, bail};
use indicatif::{ProgressBar, ProgressStyle};
use mio::{Interest, Poll, Token};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use trendsrv_client::{Answer, Client, Options, SessionConfig, Topology};
use trendsrv_proto::limits::TOP_K_MAX;
use trendsrv_proto::{Rank, TenantId, TopicId};

/// Makes load and reports what the server did with it
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct RunArgs {
    /// Name of a scenario, or a .toml file with its fields
    #[arg(long, value_name = "NAME|FILE.toml", default_value = "100k")]
    pub(crate) scenario: String,
    /// Events a second, paced; 0 is as many as the server takes
    #[arg(long, value_name = "N")]
    rate: Option<u64>,
    /// Tenants
    #[arg(long, value_name = "N")]
    tenants: Option<u32>,
    /// Length of the measurement
    #[arg(long, value_name = "N")]
    seconds: Option<u64>,
    /// Load before the measurement
    #[arg(long, value_name = "N")]
    warmup_seconds: Option<u64>,
    /// Seed of everything drawn
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Connections
    #[arg(long, value_name = "N")]
    connections: Option<usize>,
    /// Bytes of frames made ahead
    #[arg(long, value_name = "BYTES")]
    pool_bytes: Option<usize>,
    /// Bytes sent and not acknowledged, per connection
    #[arg(long, value_name = "BYTES")]
    in_flight_bytes_max: Option<usize>,
    /// Wait on a 1 ms timer between paced frames instead of spinning
    #[arg(long)]
    sleep: bool,
    /// Where the servers of scenario durability keep their data; made, and removed at the end
    /// [default: among the temporary files]
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Folder for run.json and the histograms [default: bench-results/run-UNIXTIME]
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

impl RunArgs {
    fn scenario(&self) -> anyhow::Result<Scenario> {
        let mut scenario = Scenario::load(&self.scenario)?;
        scenario.rate = self.rate.unwrap_or(scenario.rate);
        if let Some(tenants) = self.tenants {
            scenario.tenants = tenants;
            scenario.sample = scenario.sample.min(tenants.saturating_sub(1) as usize).max(1);
        }
        scenario.seconds = self.seconds.unwrap_or(scenario.seconds);
        scenario.warmup_seconds = self.warmup_seconds.unwrap_or(scenario.warmup_seconds);
        scenario.seed = self.seed.unwrap_or(scenario.seed);
        scenario.connections = self.connections.unwrap_or(scenario.connections);
        scenario.pool_bytes = self.pool_bytes.unwrap_or(scenario.pool_bytes);
        scenario.in_flight_bytes_max =
            self.in_flight_bytes_max.unwrap_or(scenario.in_flight_bytes_max);
        scenario.sleep |= self.sleep;
        scenario.check().with_context(|| format!("scenario {}", self.scenario))?;
        Ok(scenario)
    }
}

/// Runs a scenario, on several sides if it compares; returns whether its verdict holds. Fails when an
/// answer is wrong or an event is lost.
pub(crate) fn run(args: &RunArgs) -> anyhow::Result<bool> {
    let scenario = args.scenario()?;
    if scenario.hostile_per_mille > 0 {
        return sides::run(args, &scenario);
    }
    if scenario.durability {
        return durability::run(args, &scenario);
    }
    let Done { run, histograms, notes, right } = load(args, &scenario, None)?;
    let folder = args.out.clone().unwrap_or_else(report::default_folder);
    report::write(&folder, &run, &histograms)?;
    print!("{}", report::table(&run));
    println!("  written to  {}", folder.display());
    for note in notes {
        println!("  {note}");
    }
    right.map(|()| true)
}

/// One load that was made and checked.
pub(crate) struct Done {
    pub(crate) run: Run,
    pub(crate) histograms: Histograms,
    /// What else there is to say, a line each.
    pub(crate) notes: Vec<String>,
    /// Whether every answer was right, no event was lost and the server ended well.
    pub(crate) right: anyhow::Result<()>,
}

/// Makes the load of a scenario, some of whose tenants may be hostile.
pub(crate) fn load(
    args: &RunArgs,
    scenario: &Scenario,
    hostile: Option<&Hostile>,
) -> anyhow::Result<Done> {
    make(&args.server, (&args.scenario, scenario), hostile)
}

/// Makes the load of a scenario that has a name on a server.
pub(crate) fn load_with(
    server: &ServerArgs,
    scenario_name: &str,
    scenario: &Scenario,
) -> anyhow::Result<Done> {
    make(server, (scenario_name, scenario), None)
}

fn make(
    server_args: &ServerArgs,
    (scenario_name, scenario): (&str, &Scenario),
    hostile: Option<&Hostile>,
) -> anyhow::Result<Done> {
    let server_args = &server_args.with_room_for(scenario.tenants);
    let server = Server::open(server_args)?;
    let pid = server.pid()?;
    let (population, sample) = (Population::new(scenario), Sample::new(scenario));
    let mut client = connect(&server)?;
    let topology = client.topology().clone();
    refuse_old_events(&mut client, &population, &sample)?;
    drop(client);
    hostile.map(|hostile| hostile.move_in(&server.http)).transpose()?;

    let mut engine = engine(scenario, &population, &sample, &topology, (&server, pid))?;
    let measured = engine.run()?;
    let (tally, unsent) = (engine.tally, engine.lanes.iter().map(Lane::unsent));
    let unsent = unsent.fold((0, 0), |sum, lane| (sum.0 + lane.0, sum.1 + lane.1));
    let (visible, queries) = (engine.visible.latency, engine.queries.latency);

    let checked = check(&server, &population, &sample, &tally.ledger)?;
    let machine = Machine::read();
    let histograms = Histograms { ack: tally.ack.clone(), visible, query: queries };
    let asked = (server_args, scenario_name, scenario);
    let mut run = report_of(asked, &server, (&tally, unsent, &measured))?;
    run.server = ServerFigures::new(&measured.used, measured.acked, &machine, &server.census()?);
    run.latency_us = histograms.percentiles();
    run.refresh = engine.refresher.map(Refresher::report);
    run.check = Check {
        tenants_checked: checked.tenants,
        topics_checked: checked.topics,
        mismatches: checked.mismatches,
    };
    run.machine = machine;
    let notes = notes(scenario, &run, &tally, &histograms, measured.began_with);
    let right = server.stop().and(verdict(&tally, unsent.0, measured.drained, &checked));
    Ok(Done { run, histograms, notes, right })
}

fn notes(
    scenario: &Scenario,
    run: &Run,
    tally: &Tally,
    histograms: &Histograms,
    began_with: Outcome,
) -> Vec<String> {
    let own = run.config["loadgen_ns_cpu_per_event"].as_f64().unwrap_or_default();
    let spins = scenario.rate > 0 && !scenario.sleep;
    let mut notes =
        vec![format!("loadgen     {own:.1} ns CPU/event{}", if spins { ", spinning" } else { "" })];
    if let Outcome::Late(census) = began_with {
        notes.push(format!(
            "the measurement began before everything was there: {} tenants, {} programs live, {} \
             to come",
            census.tenants_live, census.programs_live, census.programs_pending
        ));
    }
    notes.extend(run.behind(scenario));
    notes.extend(tally.messages.iter().map(|(code, message)| format!("{code}: {message}")));
    if histograms.over_range() > 0 {
        notes.push(format!("{} latencies were longer than 120 s", histograms.over_range()));
    }
    notes
}

/// Fails with what is wrong and where.
pub(crate) fn verdict(
    tally: &Tally,
    unsent: u64,
    drained: bool,
    checked: &Checked,
) -> anyhow::Result<()> {
    for line in &checked.explained {
        eprintln!("mismatch: {line}");
    }
    let all = tally.all;
    let lost = (all.admitted - unsent).saturating_sub(all.acked + all.refused);
    if lost > 0 {
        bail!(
            "{lost} events were sent and neither acknowledged nor refused ({} sent, {} \
             acknowledged, {} refused)",
            all.admitted - unsent,
            all.acked,
            all.refused
        );
    }
    if !drained {
        bail!("not everything was sent and seen within the time for draining");
    }
    if checked.mismatches > 0 {
        bail!("{} mismatches in {} tenants checked", checked.mismatches, checked.tenants);
    }
    Ok(())
}

fn report_of(
    (server_args, scenario_name, scenario): (&ServerArgs, &str, &Scenario),
    server: &Server,
    (tally, unsent, measured): (&Tally, (u64, u64), &Measured),
) -> anyhow::Result<Run> {
    let seconds = measured.used.seconds;
    let sent = tally.measured.admitted - unsent.1;
    let answered = tally.measured.acked + tally.measured.refused;
    let mut config = serde_json::to_value(scenario).unwrap_or_default();
    config["connect"] = server.connect.clone().into();
    config["server_args"] = server.command.clone().into();
    config["server_cores"] = server_args.server_cores.clone().into();
    config["loadgen_cores"] = server_args.cores.clone().into();
    let own = float(measured.own.cpu_ns) / float(measured.acked.max(1));
    config["loadgen_ns_cpu_per_event"] = own.into();
    config["server_counters"] = server.counters()?;
    config["names_missing"] = tally.names_missing.into();
    config["default_program"] = server.default_program()?.into();
    config["warmup_s"] = measured.warmup_s.into();
    let (settled, census) = match measured.began_with {
        Outcome::Settled(census) => (true, census),
        Outcome::Late(census) => (false, census),
    };
    config["all_live_when_measured"] = settled.into();
    config["programs_live_when_measured"] = census.programs_live.into();
    Ok(Run {
        scenario: scenario_name.to_owned(),
        commit: report::commit(),
        rustc: report::RUSTC.to_owned(),
        config,
        seed: scenario.seed,
        seconds,
        events_offered: measured.offered,
        events_sent: sent,
        events_acked: tally.measured.acked,
        events_refused: tally.measured.refused,
        events_lost: sent.saturating_sub(answered),
        rate_offered: float(measured.offered) / float(scenario.seconds),
        rate_acked: float(measured.acked) / seconds.max(1e-9),
        refusals: tally.refusals.iter().map(|(k, v)| ((*k).to_owned(), *v)).collect(),
        ..Run::empty()
    })
}

fn connect(server: &Server) -> anyhow::Result<Client> {
    let software = concat!("loadgen ", env!("CARGO_PKG_VERSION")).to_owned();
    Ok(Client::connect(&server.connect, Options { software, ..Options::default() })?)
}

/// The check at the end needs windows that hold this run's events only.
fn refuse_old_events(
    client: &mut Client,
    population: &Population,
    sample: &Sample,
) -> anyhow::Result<()> {
    let mut tenants = sample.tenants().to_vec();
    tenants.push(population.probe_tenant());
    let ids: Vec<_> = tenants.iter().map(|t| population.tenant_id(*t)).collect();
    let answers = client.query_many(&ids, 1, Rank::Count, None)?;
    for (tenant, answer) in tenants.iter().zip(answers) {
        let answer = known_or_empty(answer, 0)?;
        if answer.head.events > 0 {
            bail!(
                "the window of {:?} holds {} events of an earlier run; wait until the window of \
                 {} s has passed, or use --spawn",
                tenant_name(*tenant),
                answer.head.events,
                client.topology().window_ms() / 1_000
            );
        }
    }
    Ok(())
}

fn engine<'a>(
    scenario: &'a Scenario,
    population: &'a Population,
    sample: &Sample,
    topology: &Topology,
    (server, server_pid): (&Server, u32),
) -> anyhow::Result<Engine<'a>> {
    let poll = Poll::new()?;
    let (lanes, drawn) = lanes(scenario, population, sample, topology, &poll)?;
    let tally = Tally::new(Ledger::new(topology.slide_ms, topology.panes))?;
    let probe = population.probe_tenant();
    let tenant = population.tenant_id(probe);
    let topic = population.topics_of(probe).next().context("a tenant has topics")?;
    let address = address_of(topology, usize::from(topology.owner(tenant)))?;
    let session = |producer| SessionConfig { producer, batch_events: 1, ..probe_session() };
    let producer = rand::random::<u64>().max(1);
    let mut wire = Wire::connect(address, session(producer), poll.registry(), VISIBLE)?;
    name(&mut wire, tenant, &tenant_name(probe))?;
    name(&mut wire, TenantId(population.topic_id(topic).0), &topic_name(topic))?;
    let target: (TenantId, TopicId) = (tenant, population.topic_id(topic));
    let grid = (topology.slide_ms, topology.panes);
    let visible = Visible::new(wire, scenario.visible_probes, target, grid)?;
    let main: SocketAddr = std::net::ToSocketAddrs::to_socket_addrs(&server.connect)?
        .next()
        .context("the server has an address")?;
    let wire = Wire::connect(main, session(0), poll.registry(), QUERIES)?;
    let asked = sample.tenants().iter().map(|t| population.tenant_id(*t)).collect();
    let queries = Queries::new(wire, scenario.queries, asked, scenario.seed)?;
    let refresher = refresher(scenario, population, topology, &poll)?;
    let length = (scenario.warmup_seconds + scenario.seconds) * 1_000;
    let style = ProgressStyle::with_template("{elapsed_precise} {wide_bar} {percent} %")?;
    let awaited = (server.http.clone(), wanted(scenario, drawn, &server.default_program()?));
    let bar = ProgressBar::new(length).with_style(style);
    Ok(Engine {
        scenario,
        population,
        poll,
        lanes,
        visible,
        queries,
        refresher,
        tally,
        server_pid,
        awaited,
        bar,
    })
}

/// The connections that ask for every tenant, if the scenario wants that.
fn refresher(
    scenario: &Scenario,
    population: &Population,
    topology: &Topology,
    poll: &Poll,
) -> anyhow::Result<Option<Refresher>> {
    if scenario.refresh_ms == 0 {
        return Ok(None);
    }
    let mut shards = Vec::with_capacity(topology.shards());
    for shard in 0..topology.shards() {
        shards.push((address_of(topology, shard)?, Vec::new()));
    }
    for tenant in (0..scenario.tenants).map(|tenant| population.tenant_id(tenant)) {
        shards[usize::from(topology.owner(tenant))].1.push(tenant);
    }
    Refresher::connect(shards, scenario.refresh_ms, (poll.registry(), REFRESH)).map(Some)
}

/// What must live before the measurement begins: the tenants drawn and the probe's. Under Zipf's
/// law some are so rare that nobody waits for them.
fn wanted(scenario: &Scenario, drawn: u64, default_program: &str) -> Wanted {
    let tenants = match scenario.tenant_distribution {
        TenantDistribution::Uniform => drawn + 1,
        TenantDistribution::Zipf => 1,
    };
    Wanted { tenants, with_programs: default_program != NATIVE }
}

fn probe_session() -> SessionConfig {
    let software = concat!("loadgen probe ", env!("CARGO_PKG_VERSION")).to_owned();
    SessionConfig { software, ..SessionConfig::default() }
}

fn name(wire: &mut Wire, id: TenantId, name: &str) -> anyhow::Result<()> {
    Ok(wire.names.insert(id.0, name)?)
}

/// One connection after the other, shards in turn; each sends its own shard's tenants only. Also
/// how many tenants come in the frames of all.
fn lanes(
    scenario: &Scenario,
    population: &Population,
    sample: &Sample,
    topology: &Topology,
    poll: &Poll,
) -> anyhow::Result<(Vec<Lane>, u64)> {
    let shards = topology.shards();
    let count = scenario.connections.next_multiple_of(shards);
    let frame_bytes = 40 + 24 * scenario.frame_events;
    let in_flight = scenario.in_flight_bytes_max / frame_bytes + 2;
    let frames = (scenario.pool_bytes / count / frame_bytes).max(in_flight);
    let owner: Vec<usize> = (0..scenario.tenants)
        .map(|t| usize::from(topology.owner(population.tenant_id(t))))
        .collect();
    for shard in 0..shards {
        if !owner[..owner.len() - 1].contains(&shard) {
            bail!("shard {shard} owns none of the {} tenants: use more tenants", owner.len());
        }
    }
    let producer = rand::random::<u64>().max(1);
    let limits = (scenario.frame_events, scenario.in_flight_bytes_max);
    let (mut lanes, mut drawn) = (Vec::with_capacity(count), vec![false; owner.len()]);
    for index in 0..count {
        let shard = index % shards;
        let owned = |tenant: u32| owner[tenant as usize] == shard;
        let of_shard = (index / shards, count / shards);
        let place = Place { connection: index, frames, of_shard };
        let pool = Pool::new(scenario, population, sample, place, owned, &mut drawn);
        let address = address_of(topology, shard)?;
        let identity = (producer, u16::try_from(index)?, scenario.ack.mode());
        let mut lane = Lane::connect(address, identity, pool, limits)
            .with_context(|| format!("connection {index}"))?;
        let interest = Interest::READABLE | Interest::WRITABLE;
        poll.registry().register(&mut lane.stream, Token(index), interest)?;
        lanes.push(lane);
    }
    Ok((lanes, drawn.into_iter().map(u64::from).sum()))
}

fn address_of(topology: &Topology, shard: usize) -> anyhow::Result<SocketAddr> {
    let address = topology.addresses.get(shard).copied().flatten();
    address.with_context(|| format!("shard {shard} has no address"))
}

/// Asks for every sampled tenant and holds the answers against what was acknowledged.
fn check(
    server: &Server,
    population: &Population,
    sample: &Sample,
    ledger: &Ledger,
) -> anyhow::Result<Checked> {
    let mut client = connect(server)?;
    for &tenant in sample.tenants() {
        client.define(&tenant_name(tenant))?;
        for topic in population.topics_of(tenant) {
            client.define(&topic_name(topic))?;
        }
    }
    let ids: Vec<_> = sample.tenants().iter().map(|t| population.tenant_id(*t)).collect();
    let answers = named_answers(&mut client, &ids)?;
    let as_of_ms: Vec<_> = answers.iter().map(|answer| answer.head.as_of_ms).collect();
    let expected = ledger.expected(population, &as_of_ms);
    let mut checked = Checked::default();
    for ((tenant, expected), answer) in sample.tenants().iter().zip(&expected).zip(&answers) {
        checked.check(&tenant_name(*tenant), TOP_K_MAX, expected, answer);
    }
    Ok(checked)
}

/// Answers with every name: names travel on demand, so an early answer may lack some.
fn named_answers(client: &mut Client, ids: &[TenantId]) -> anyhow::Result<Vec<Answer>> {
    const ATTEMPTS_MAX: u32 = 50;
    for _ in 1..ATTEMPTS_MAX {
        let answers = answers(client, ids)?;
        if !answers.iter().any(lacks_names) {
            return Ok(answers);
        }
        client.turn(Duration::from_millis(20))?;
    }
    answers(client, ids)
}

fn answers(client: &mut Client, ids: &[TenantId]) -> anyhow::Result<Vec<Answer>> {
    let answers = client.query_many(ids, u16::try_from(TOP_K_MAX)?, Rank::Count, None)?;
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
    let now_ms = u64::try_from(now_ms)?;
    answers.into_iter().map(|answer| known_or_empty(answer, now_ms)).collect()
}
