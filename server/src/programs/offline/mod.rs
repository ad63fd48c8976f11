//! A program tried on a recording, offline: `trendsrv program-test`.
//!
//! Owns a shard of its own and reads nothing but the two files. The shard, the sandbox and the
//! words of the answers are the server's; only time is the recording's.
//!
//! ```text
//!   recording ─▶ a few lines ─▶ by tenant ─▶ Shard<Host> ─▶ turn ─▶ … ─▶ answers, as over HTTP
//! ```
//!
//! Invariant: the same files give the same words, on any machine.

mod recording;
mod report;

use super::{Library, ProgramName, Recipe, ShardPrograms, start};
use crate::config::{Config, DefaultProgram, ProgramTestArgs};
use crate::desk::answer::Answer;
use crate::desk::clerk::{ShardFacts, answer_mail};
use crate::desk::mail::{DeskMail, QueryMail};
use anyhow::{Context as _, anyhow, bail};
use recording::{Line, Recording};
use report::{Fault, Report, TenantReport};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use trendsrv_proto::{Clock, EventRecord, NameKind, Rank, Span, TenantId, TopicId};
use trendsrv_shard::{
    Counted, Effect, Effects, HeapMemory, Origin, Part, ReplyTo, Shard, Text, TextPart,
    index_words, topics_words,
};
use trendsrv_wasm_host::Host;

/// Runs the recording and prints what came out.
///
/// # Errors
/// What is wrong with the program or the recording.
pub fn run(args: &ProgramTestArgs, config: &Config) -> anyhow::Result<()> {
    let wasm = std::fs::read(&args.program)
        .with_context(|| format!("cannot read {}", args.program.display()))?;
    let mut config = config.clone();
    config.shards = 1;
    config.clock = Clock::Event;
    config.programs_dir = None;
    config.default_program = DefaultProgram::Native;
    let (library, mut shards) = start(&config, Recipe::this_binary(), |_| 0)?;
    let name = name_of(args);
    let programs = shards.pop().ok_or_else(|| anyhow!("no engine"))?;
    let mut trial = Trial::new(args, &config, &library, programs, (name, wasm))?;
    let mut recording = Recording::open(&args.events)?;
    let mut lines = Vec::new();
    loop {
        let line = recording.next()?;
        let is_over = line.is_none();
        lines.extend(line);
        if lines.len() >= LINES_PER_TURN || is_over {
            trial.turn(&lines);
            lines.clear();
        }
        if is_over {
            break;
        }
    }
    let report = trial.report();
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print!("{report}");
    }
    Ok(())
}

/// The program's name: that of its file, if it may be one.
fn name_of(args: &ProgramTestArgs) -> ProgramName {
    let stem = args.program.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    let fallback = || ProgramName::new("program").expect("a plain word");
    ProgramName::new(stem).unwrap_or_else(|_| fallback())
}

/// A shard on trial.
struct Trial<'a> {
    args: &'a ProgramTestArgs,
    shard: Shard<Host, HeapMemory>,
    report: Report,
    counts: BTreeMap<Box<str>, Counted>,
    faults_seen: u64,
    now_ms: u64,
    fx: Effects,
}

impl<'a> Trial<'a> {
    fn new(
        args: &'a ProgramTestArgs,
        config: &Config,
        library: &Library,
        programs: ShardPrograms,
        (name, wasm): (ProgramName, Vec<u8>),
    ) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let bytes = wasm.len();
        let prepared = runtime.block_on(library.prepare(name.clone(), wasm, false));
        let prepared = prepared.with_context(|| format!("program {name}"))?;
        let entry = prepared.entry();
        let Some(program) = entry.programs.first() else { bail!("no engine") };
        let report = Report::new(&name, bytes, entry);
        if args.texts && !program.stages().contains(&"observe_text") {
            eprintln!("{name} exports no observe_text: texts go through the server's own program");
        }
        let programs = programs.with_default(program.clone(), name);
        let shard_config = crate::drive::shard_config(config, [0; 2]);
        let host = programs.into_host(shard_config.tenants_max, &shard_config.grid)?;
        let words = usize::try_from(config.window_bytes_per_shard() / 8)?;
        let windows = HeapMemory::new(words);
        let index = HeapMemory::new(index_words(shard_config.tenants_max));
        let names = HeapMemory::new(topics_words(shard_config.topics_max));
        let window_config = config.window_config([0; 2]);
        let shard = Shard::new(shard_config, &window_config, windows, index, names, host)?;
        Ok(Self {
            args,
            shard,
            report,
            counts: BTreeMap::new(),
            faults_seen: 0,
            now_ms: 0,
            fx: Effects::default(),
        })
    }

    /// What a few lines do to the shard, tenant by tenant.
    fn turn(&mut self, lines: &[Line]) {
        let Some(last) = lines.last() else { return };
        self.now_ms = last.ts_ms;
        let mut of_tenants: BTreeMap<&str, Vec<&Line>> = BTreeMap::new();
        for line in lines {
            of_tenants.entry(&line.tenant).or_default().push(line);
        }
        for (tenant, lines) in of_tenants {
            if self.args.texts {
                self.texts_of(tenant, &lines);
            } else {
                self.events_of(tenant, &lines);
            }
            self.note_faults(tenant);
        }
        for _ in 0..TURNS_MAX {
            let more = self.shard.on_turn(self.now_ms, &mut self.fx);
            self.fx.clear();
            if !more {
                break;
            }
        }
    }

    fn events_of(&mut self, tenant: &str, lines: &[&Line]) {
        let (base_ms, span) = times(lines);
        let id = TenantId::of(tenant);
        let record = |line: &&Line| {
            let offset_ms = offset(base_ms, line.ts_ms);
            EventRecord::new(id, TopicId::of(&line.topic), line.weight, offset_ms)
        };
        let records: Vec<EventRecord> = lines.iter().map(record).collect();
        let part = Part { base_ms, span, records: &records };
        let topics =
            lines.iter().map(|line| (NameKind::Topic, TopicId::of(&line.topic).0, &*line.topic));
        let names = std::iter::once((NameKind::Tenant, id.0, tenant)).chain(topics);
        self.shard.on_events_named(self.now_ms, &ORIGIN, &part, names, &mut self.fx);
        self.note(tenant, lines.len());
    }

    fn texts_of(&mut self, tenant: &str, lines: &[&Line]) {
        let (base_ms, span) = times(lines);
        let id = TenantId::of(tenant);
        let texts: Vec<Text<'_>> = lines
            .iter()
            .filter_map(|line| {
                let (weight, offset_ms) = (line.weight, offset(base_ms, line.ts_ms));
                Some(Text { tenant: id, text: line.text.as_deref()?, weight, offset_ms })
            })
            .collect();
        self.report.without_text += (lines.len() - texts.len()) as u64;
        if texts.is_empty() {
            return;
        }
        let part = TextPart { base_ms, span, texts: &texts };
        let names = std::iter::once((NameKind::Tenant, id.0, tenant));
        self.shard.on_texts(self.now_ms, &ORIGIN, &part, names, &mut self.fx);
        self.note(tenant, texts.len());
    }

    /// Notes what became of a part.
    fn note(&mut self, tenant: &str, count: usize) {
        self.report.records += count as u64;
        for effect in self.fx.list.drain(..) {
            match effect {
                Effect::Accepted { counted, .. } => {
                    let all = self.counts.entry(tenant.into()).or_default();
                    for (all, more) in [
                        (&mut all.applied, counted.applied),
                        (&mut all.late, counted.late),
                        (&mut all.dropped, counted.dropped),
                        (&mut all.filtered, counted.filtered),
                    ] {
                        *all += more;
                    }
                }
                Effect::Refused { why, .. } => {
                    self.report.refused += count as u64;
                    self.report.last_refusal = Some(why.message);
                }
                Effect::Need { .. } | Effect::Publish { .. } => {}
            }
        }
        self.fx.clear();
    }

    fn note_faults(&mut self, tenant: &str) {
        let host = self.shard.programs_mut();
        let faults = host.stats().faults;
        if faults == self.faults_seen {
            return;
        }
        self.faults_seen = faults;
        let status = host.status(TenantId::of(tenant));
        if let Some(message) = status.last_error
            && self.report.faults.len() < FAULTS_SHOWN_MAX
            && !self.report.faults.iter().any(|fault| fault.message == message)
        {
            self.report.faults.push(Fault { tenant: tenant.into(), at_ms: self.now_ms, message });
        }
    }

    fn report(mut self) -> Report {
        let all = self.shard.list(self.now_ms, "", None, usize::MAX);
        let (live, empty): (Vec<_>, Vec<_>) = all.into_iter().partition(|line| line.total > 0);
        self.report.tenants_empty = empty.len();
        for line in live {
            let Some(answer) = self.answer(&line.name) else { continue };
            let status = self.shard.programs().status(TenantId::of(&line.name));
            let counted = self.counts.get(line.name.as_str()).copied().unwrap_or_default();
            self.report.tenants.push(TenantReport::new(answer, status, &counted));
        }
        self.report.tenants.sort_by_key(|tenant| Reverse(tenant.events()));
        for counted in self.counts.values() {
            self.report.count(counted);
        }
        self.report.finish(&self.shard.programs().list());
        self.report
    }

    /// What `GET /v1/tenants/{tenant}/trending` would say.
    fn answer(&mut self, tenant: &str) -> Option<Answer> {
        let (reply, mut answer) = tokio::sync::oneshot::channel();
        let (id, name, k) = (TenantId::of(tenant), Box::from(tenant), self.args.k);
        let mail = QueryMail { tenant: id, name, k, rank: Rank::Score, at_ms: None, reply };
        let mail = DeskMail::Query(mail);
        answer_mail(&mut self.shard, self.now_ms, mail, ShardFacts::default);
        answer.try_recv().ok()?.ok()
    }
}

/// The base that offsets count from, and the times of all.
fn times(lines: &[&Line]) -> (u64, Span) {
    let first = lines.first().map_or(0, |line| line.ts_ms);
    let last = lines.last().map_or(first, |line| line.ts_ms);
    (last, Span { min_ms: first, max_ms: last })
}

/// A line so long before the last of its turn that the wire could not say it is late anyway.
fn offset(base_ms: u64, ts_ms: u64) -> i32 {
    i32::try_from(base_ms - ts_ms).map_or(i32::MIN, |back_ms| -back_ms)
}

/// Nobody is answered.
const ORIGIN: Origin =
    Origin { to: ReplyTo(0), seq: 0, sequence: None, ask_names: false, durable: false };
/// Lines between two turns, as a producer's frame might bring them.
const LINES_PER_TURN: usize = 256;
/// Turns until the shard has caught up with its own work.
const TURNS_MAX: usize = 1_000_000;
/// Different faults shown.
const FAULTS_SHOWN_MAX: usize = 20;
