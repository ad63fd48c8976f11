//! `loadgen crash`: kills a server under load again and again, and counts what it owes.
//!
//! Owns: the victim's life, the producers, the verdict. Never touches: the server's files.
//!
//! ```text
//! cycle: producers push, acknowledgements `durable` ──trouble──▶ restart, other shards at times
//!        before anyone connects again:   acknowledged <= held <= pushed
//!        producers connect, send again:  held == pushed, for every tenant and producer
//!
//! trouble, by --disk:  plain      kill -9
//!                      power-cut  kill -9, and what was not synced is gone
//!                      failing    a write or a sync fails: the server must end by itself
//!                      full       no room: it must refuse, answer, and go on when there is room
//! ```
//!
//! Each producer has a topic of its own, of weight 1, in every tenant, so that a count tells whose
//! events are held. The clock is the events': no window ends while the cycles go on.

mod disk;
#[cfg(feature = "fuse")]
#[expect(clippy::disallowed_types, reason = "no shard: the kernel's requests and the harness meet")]
mod mount;
mod producer;
mod verdict;
mod victim;
#[cfg(feature = "fuse")]
mod volume;

use crate::limits::{CRASH_CYCLES_MAX, CRASH_PRODUCERS_MAX, CRASH_TENANTS_MAX, DRAIN_MS_MAX};
use anyhow::Context as _;
use disk::{Disk, Kind};
use indicatif::{ProgressBar, ProgressStyle};
use producer::Producer;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use trendsrv_client::{Client, Options};
use trendsrv_proto::{Rank, TenantId};
use verdict::{Account, Verdict};
use victim::Victim;

/// Kills a server under load and checks that nothing acknowledged is lost or counted twice
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct CrashArgs {
    /// How often the server is killed
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=CRASH_CYCLES_MAX))]
    cycles: u64,
    /// Chooses when, what is sent, and the number of shards [default: drawn, and printed]
    #[arg(long, env = "SEED")]
    seed: Option<u64>,
    /// The program to kill [default: `trendsrv` beside this program]
    #[arg(long, value_name = "PATH")]
    server: Option<PathBuf>,
    /// Where it keeps its data [default: a folder among the temporary files, gone at the end]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// What it keeps its data on, and so what happens to it; all but `plain` mount a file system
    /// of their own, which needs the feature `fuse` and the right to mount
    #[arg(long, value_enum, default_value_t = Kind::Plain, conflicts_with = "data_dir")]
    disk: Kind,
    /// Shards that a restart may have
    #[arg(long, value_name = "LIST", default_value = "1,2,3", value_delimiter = ',',
          value_parser = clap::value_parser!(u16).range(1..=16))]
    shards: Vec<u16>,
    /// Tenants that the events are for
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=CRASH_TENANTS_MAX))]
    tenants: u32,
    /// Producers
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=CRASH_PRODUCERS_MAX))]
    producers: u16,
    /// Another argument for the server; may be repeated
    #[arg(long, value_name = "ARG", allow_hyphen_values = true)]
    server_arg: Vec<String>,
}

/// Kills and checks. Returns whether nothing was lost or doubled.
pub(crate) fn crash(args: &CrashArgs) -> anyhow::Result<bool> {
    let seed = args.seed.unwrap_or_else(rand::random);
    println!("seed {seed}");
    let mut harness = Harness::new(args, seed)?;
    let bar = ProgressBar::new(args.cycles).with_style(style());
    let mut verdict = Verdict::default();
    for cycle in 1..=args.cycles {
        harness.cycle(&mut verdict).with_context(|| format!("in cycle {cycle} of seed {seed}"))?;
        bar.set_position(cycle);
        bar.set_message(verdict.to_string());
    }
    bar.finish_and_clear();
    harness.disk.heal();
    harness.victim.stop()?;
    if let Some(lack) = harness.disk.unproven() {
        verdict.fail(lack);
    }
    for line in verdict.explained() {
        println!("{line}");
    }
    println!("{} events pushed, {} killed in flight", verdict.pushed, verdict.in_flight);
    let passed = verdict.is_clean();
    println!("{} cycles, {} lost, {} doubled", args.cycles, verdict.lost, verdict.doubled);
    Ok(passed)
}

struct Harness {
    rng: StdRng,
    victim: Victim,
    disk: Disk,
    shards: Vec<u16>,
    producers: Vec<Producer>,
    tenants: Vec<TenantId>,
}

impl Harness {
    fn new(args: &CrashArgs, seed: u64) -> anyhow::Result<Self> {
        let mut rng = StdRng::seed_from_u64(seed);
        let first = args.shards[rng.random_range(0..args.shards.len())];
        let disk = Disk::new(args.disk)?;
        let data = disk.folder().or_else(|| args.data_dir.clone());
        let mut victim = Victim::new(args.server.clone(), data, &args.server_arg)?;
        victim.start(first)?;
        let names: Vec<String> = (0..args.tenants).map(|tenant| format!("t{tenant}")).collect();
        let producers = (1..=args.producers)
            .map(|number| Producer::connect(victim.address(), u64::from(number), &names))
            .collect::<anyhow::Result<_>>()?;
        let tenants = names.iter().map(|name| TenantId::of(name)).collect();
        Ok(Self { rng, victim, disk, shards: args.shards.clone(), producers, tenants })
    }

    fn cycle(&mut self, verdict: &mut Verdict) -> anyhow::Result<()> {
        let life = Duration::from_millis(self.rng.random_range(LIFE_MS));
        self.push_until(Instant::now() + life)?;
        self.disk.trouble(&mut self.rng);
        match self.disk.kind() {
            Kind::Plain | Kind::PowerCut => self.victim.kill()?,
            Kind::Failing => {
                self.push_until(Instant::now() + Duration::from_millis(END_MS_MAX))?;
                self.victim.has_failed()?;
            }
            Kind::Full => {
                self.push_until(Instant::now() + FULL)?;
                self.disk.note_refusals(self.victim.refusals("DISK_FULL")?);
                // It answers all the same.
                self.check(|account, held| verdict.recovered(account, held))?;
                if self.rng.random() {
                    self.disk.heal();
                    return self.settle(verdict);
                }
                self.victim.kill()?;
            }
        }
        for producer in &mut self.producers {
            // What it was told before the end still counts.
            producer.listen()?;
        }
        verdict.in_flight += self.producers.iter().map(Producer::in_flight).sum::<u64>();
        self.disk.cut_power(&mut self.rng);
        let shards = self.shards[self.rng.random_range(0..self.shards.len())];
        self.victim.start(shards)?;
        self.check(|account, held| verdict.recovered(account, held))?;
        self.settle(verdict)
    }

    /// Pushes until then, or until the server has ended.
    fn push_until(&mut self, until: Instant) -> anyhow::Result<()> {
        while Instant::now() < until && self.victim.runs()? {
            for producer in &mut self.producers {
                producer.push_some(&mut self.rng)?;
            }
        }
        Ok(())
    }

    /// Everything is sent again, and must be there once.
    fn settle(&mut self, verdict: &mut Verdict) -> anyhow::Result<()> {
        for producer in &mut self.producers {
            producer.flush()?;
        }
        self.check(|account, held| verdict.settled(account, held))?;
        verdict.pushed = self.producers.iter().map(Producer::pushed).sum();
        Ok(())
    }

    /// Hands out every producer's account with what the server holds of it, by tenant.
    fn check(&mut self, mut see: impl FnMut(Account<'_>, &[u64])) -> anyhow::Result<()> {
        let timeout = Duration::from_millis(DRAIN_MS_MAX);
        let options = Options { producer: Some(0), timeout, ..Options::default() };
        let mut reader = Client::connect(self.victim.address(), options)?;
        let k = u16::try_from(self.producers.len()).unwrap_or(u16::MAX);
        let answers = reader.query_many(&self.tenants, k, Rank::Count, None)?;
        let answers = answers
            .into_iter()
            .map(|answer| crate::check::known_or_empty(answer, 0))
            .collect::<anyhow::Result<Vec<_>>>()?;
        for producer in &self.producers {
            let held = answers.iter().map(|answer| {
                let row = answer.topics.iter().find(|row| row.topic == producer.topic());
                row.map_or(0, |row| row.count)
            });
            see(producer.account(), &held.collect::<Vec<u64>>());
        }
        Ok(())
    }
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template("{bar:30} {pos}/{len} kills  {msg}  {eta} left")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// How long a server lives, milliseconds.
const LIFE_MS: std::ops::Range<u64> = 20..700;
/// How long a server may go on after its disk has failed.
const END_MS_MAX: u64 = 20_000;
/// How long a disk stays full.
const FULL: Duration = Duration::from_millis(1_500);
