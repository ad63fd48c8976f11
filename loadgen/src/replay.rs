//! `loadgen replay`: recorded events in their order, then every answer against exact counts.
//!
//! With `--text` the texts are sent in place of the topics. Which topics are in them is the
//! programs' matter, so there are no exact counts to check against: what was found is shown.
//!
//! The whole file is read once before anything is sent, so that a fault in its last line costs
//! nothing. The server must run with the event clock: only then do recorded times move windows.

use crate::check::{Checked, known_or_empty, lacks_names};
use crate::exact::Exact;
use crate::process::{Figures, Machine, float};
use crate::record::Reader;
use crate::report::{self, Check, Histograms, Run, ServerFigures};
use crate::server::{Server, ServerArgs};
use crate::told::Told;
use anyhow::bail;
use indicatif::{ProgressBar, ProgressStyle};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use trendsrv_client::{Answer, Client, Options, Refused};
use trendsrv_proto::{Clock, Rank, TenantId};

/// Replays a recorded file and checks every tenant against exact counts
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ReplayArgs {
    /// Lines `tenant TAB ts_ms TAB topic TAB weight [TAB text]`, sorted by time; may be gzip'ed
    #[arg(value_name = "FILE.tsv[.gz]")]
    file: PathBuf,
    /// Recorded pace times X; without it, as fast as acknowledgements allow
    #[arg(long, value_name = "X")]
    speed: Option<f64>,
    /// Also check every tenant seen so far each MS of recorded time
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..))]
    check_every: Option<u64>,
    /// Send column 5 as texts, in which the tenants' programs find the topics; counts are not
    /// checked then, and the largest tenants' answers are shown
    #[arg(long, conflicts_with = "check_every")]
    text: bool,
    /// Folder for run.json and the histograms
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    #[command(flatten)]
    server: ServerArgs,
}

/// Topics compared in every answer.
const TOP: u16 = 10;

/// What the file holds.
#[derive(Clone, Copy, Debug)]
struct Contents {
    events: u64,
    first_ms: u64,
    last_ms: u64,
    texts: u64,
}

/// Replays a file. Fails when an answer is wrong or an event is not acknowledged.
pub(crate) fn replay(args: &ReplayArgs) -> anyhow::Result<()> {
    if args.speed.is_some_and(|x| !(x.is_finite() && x > 0.0)) {
        bail!(
            "--speed must be over 0, such as 1 for the recorded pace or 60 for a minute a second"
        );
    }
    let contents = read_through(args)?;
    if contents.texts > 0 && !args.text {
        eprintln!(
            "note: {} lines have a text column, which is not sent without --text; their topic \
             column is",
            contents.texts
        );
    }
    let server = Server::open(&args.server)?;
    let software = concat!("loadgen ", env!("CARGO_PKG_VERSION")).to_owned();
    let client = Client::connect(&server.connect, Options { software, ..Options::default() })?;
    let topology = client.topology();
    if topology.clock == Clock::Wall {
        bail!(
            "the server at {} runs on the wall clock, where recorded events are all too old; \
             start it with `trendsrv --clock event`",
            server.connect
        );
    }
    let pid = if args.out.is_some() { Some(server.pid()?) } else { None };
    let before = pid.map(Figures::read).transpose()?;
    let exact = Exact::new(topology.slide_ms, topology.panes);
    let style = ProgressStyle::with_template("{elapsed_precise} {wide_bar} {pos}/{len} {per_sec}")?;
    let bar = ProgressBar::new(contents.events).with_style(style);
    let (checked, histograms, began) = (Checked::default(), Histograms::new()?, Instant::now());
    let (refused, told) = (Vec::new(), Told::default());
    let mut replay =
        Replay { args, client, exact, told, checked, histograms, bar, began, contents, refused };
    replay.send()?;
    let seconds = replay.began.elapsed().as_secs_f64();
    let used = match (pid, &before) {
        (Some(pid), Some(before)) => Some(Figures::read(pid)?.since(before)),
        _ => None,
    };
    if args.text {
        replay.told.ask(&mut replay.client)?;
    } else {
        replay.check_at(contents.last_ms, true)?;
    }
    replay.refused = replay.client.refused();
    replay.bar.finish_and_clear();
    if let (Some(folder), Some(used)) = (&args.out, used) {
        let mut run = replay.report(seconds);
        let census = server.census()?;
        run.server = ServerFigures::new(&used, run.events_acked, &Machine::read(), &census);
        run.config["server_counters"] = server.counters()?;
        run.config["connect"] = server.connect.clone().into();
        run.config["server_args"] = server.command.clone().into();
        report::write(folder, &run, &replay.histograms)?;
        print!("{}", report::table(&run));
        println!("  written to  {}", folder.display());
    }
    replay.verdict(seconds)?;
    drop(replay);
    server.stop()
}

/// Reads the whole file, to find its faults and its span.
fn read_through(args: &ReplayArgs) -> anyhow::Result<Contents> {
    let mut reader = Reader::open(&args.file)?.needs_text(args.text);
    let mut contents = Contents { events: 0, first_ms: 0, last_ms: 0, texts: 0 };
    while let Some(record) = reader.next()? {
        if contents.events == 0 {
            contents.first_ms = record.ts_ms;
        }
        contents.last_ms = record.ts_ms;
        contents.events += 1;
        contents.texts += u64::from(record.text.is_some());
    }
    Ok(contents)
}

/// A replay under way.
struct Replay<'a> {
    args: &'a ReplayArgs,
    client: Client,
    exact: Exact,
    told: Told,
    checked: Checked,
    histograms: Histograms,
    bar: ProgressBar,
    began: Instant,
    contents: Contents,
    refused: Vec<Refused>,
}

impl Replay<'_> {
    /// Sends every event in order, checking at the cadence asked for.
    fn send(&mut self) -> anyhow::Result<()> {
        let mut reader = Reader::open(&self.args.file)?.needs_text(self.args.text);
        let mut due_ms = self.args.check_every.map(|every| self.contents.first_ms / every * every);
        let mut sent: u64 = 0;
        while let Some(record) = reader.next()? {
            if let (Some(every), Some(due)) = (self.args.check_every, due_ms.as_mut()) {
                let first = *due;
                *due = self.check_until(first, record.ts_ms, every)?;
            }
            self.keep_pace(record.ts_ms)?;
            match record.text.filter(|_| self.args.text) {
                Some(text) => {
                    self.client.send_text(record.tenant, text, record.weight, record.ts_ms)?;
                    self.told.count(record.tenant);
                }
                None => {
                    self.client.send(record.tenant, record.topic, record.weight, record.ts_ms)?;
                    self.exact.push(record.tenant, record.topic, record.weight, record.ts_ms);
                }
            }
            sent += 1;
            if sent.is_multiple_of(1_000) {
                self.bar.set_position(sent);
            }
        }
        self.flush()
    }

    /// Checks at `due`, `due + every` ... before `next_ms`. Returns the next time due. In a pause
    /// longer than the window only the first empty window is checked.
    fn check_until(&mut self, mut due: u64, next_ms: u64, every: u64) -> anyhow::Result<u64> {
        let empty_after = self.client.topology().window_ms() + due;
        while due < next_ms {
            if self.exact.tenants().next().is_some() {
                self.check_at(due, false)?;
            }
            due += every;
            if due > empty_after && due < next_ms {
                due = next_ms / every * every;
                if due < next_ms {
                    due += every;
                }
            }
        }
        Ok(due)
    }

    /// Waits until an event of this time is due.
    fn keep_pace(&mut self, ts_ms: u64) -> anyhow::Result<()> {
        let Some(speed) = self.args.speed else { return Ok(()) };
        let after_s = float(ts_ms - self.contents.first_ms) / 1e3 / speed;
        loop {
            let left_s = after_s - self.began.elapsed().as_secs_f64();
            if left_s <= 0.0 {
                return Ok(());
            }
            self.client.turn(Duration::from_secs_f64(left_s.min(1.0)))?;
        }
    }

    fn flush(&mut self) -> anyhow::Result<()> {
        let began = Instant::now();
        self.client.flush()?;
        self.histograms.ack.record(nanoseconds(began));
        Ok(())
    }

    /// Asks for every tenant seen so far and compares. The last check asks for some one by one,
    /// which times a single query.
    fn check_at(&mut self, at_ms: u64, timed: bool) -> anyhow::Result<()> {
        let began = Instant::now();
        self.flush()?;
        let tenants: Vec<(String, TenantId)> =
            self.exact.tenants().map(|(name, id)| (name.to_owned(), id)).collect();
        let ids: Vec<_> = tenants.iter().map(|tenant| tenant.1).collect();
        let mut answers = Vec::with_capacity(ids.len());
        if timed {
            for id in ids.iter().take(TIMED_QUERIES_MAX) {
                let began = Instant::now();
                answers.append(&mut self.ask(&[*id], at_ms)?);
                self.histograms.query.record(nanoseconds(began));
                if answers.len() == 1 {
                    self.histograms.visible.record(nanoseconds(began));
                }
            }
        }
        answers.append(&mut self.ask(&ids[answers.len()..], at_ms)?);
        if !timed {
            self.histograms.visible.record(nanoseconds(began));
        }
        for (place, ((name, id), mut answer)) in tenants.iter().zip(answers).enumerate() {
            if lacks_names(&answer) {
                answer = self.ask_again(*id, at_ms)?;
            }
            let expected = self.exact.expected(place, at_ms);
            self.checked.check(name, usize::from(TOP), &expected, &answer);
        }
        Ok(())
    }

    fn ask(&mut self, ids: &[TenantId], at_ms: u64) -> anyhow::Result<Vec<Answer>> {
        let answers = self.client.query_many(ids, TOP, Rank::Count, Some(at_ms))?;
        answers.into_iter().map(|answer| known_or_empty(answer, at_ms)).collect()
    }

    /// Names travel on demand: an answer that lacks some is asked for again for a while.
    fn ask_again(&mut self, id: TenantId, at_ms: u64) -> anyhow::Result<Answer> {
        const ATTEMPTS_MAX: u32 = 100;
        let mut answer = Answer::default();
        for _ in 0..ATTEMPTS_MAX {
            self.client.turn(Duration::from_millis(10))?;
            answer = self.ask(&[id], at_ms)?.pop().unwrap_or_default();
            if !lacks_names(&answer) {
                break;
            }
        }
        Ok(answer)
    }

    fn report(&self, seconds: f64) -> Run {
        let counts = self.client.counts();
        let mut run = Run::empty();
        let file = self.args.file.file_name().unwrap_or_default().to_string_lossy();
        run.scenario = format!("replay {file}");
        run.config = serde_json::json!({
            "file": file,
            "speed": self.args.speed,
            "check_every": self.args.check_every,
            "text": self.args.text,
            "ack_is": "one flush until everything is acknowledged",
            "visible_is": "flush until the first answers of a check",
        });
        run.seconds = seconds;
        run.events_offered = self.contents.events;
        run.events_sent = counts.pushed;
        run.events_acked = counts.acked;
        run.events_refused = counts.refused;
        run.events_lost = counts.pushed - counts.acked - counts.refused;
        run.rate_offered = float(self.contents.events) / seconds.max(1e-9);
        run.rate_acked = float(counts.acked) / seconds.max(1e-9);
        for refused in &self.refused {
            *run.refusals.entry(refused.code.name().to_owned()).or_default() += 1;
        }
        run.latency_us = self.histograms.percentiles();
        run.check = Check {
            tenants_checked: self.checked.tenants,
            topics_checked: self.checked.topics,
            mismatches: self.checked.mismatches,
        };
        run
    }

    /// Prints the outcome and fails when something is wrong.
    fn verdict(&self, seconds: f64) -> anyhow::Result<()> {
        let counts = self.client.counts();
        let what = if self.args.text { "texts" } else { "events" };
        println!(
            "replayed {} {what} in {seconds:.2} s: {} acknowledged, {} refused, {} uncertain",
            counts.pushed, counts.acked, counts.refused, counts.uncertain
        );
        if self.args.text {
            self.told.print();
        } else {
            println!(
                "tenants_checked {}, topics_checked {}, mismatches {}",
                self.checked.tenants, self.checked.topics, self.checked.mismatches
            );
        }
        for line in &self.checked.explained {
            eprintln!("mismatch: {line}");
        }
        for refused in &self.refused {
            eprintln!(
                "refused: {} events, {}: {}",
                refused.events,
                refused.code.name(),
                refused.message
            );
        }
        if counts.acked != self.contents.events {
            bail!("{} of {} events were acknowledged", counts.acked, self.contents.events);
        }
        if self.checked.mismatches > 0 {
            bail!(
                "{} mismatches; the first are above. Events that the server held before count \
                 too: replay into one that has just been started",
                self.checked.mismatches
            );
        }
        Ok(())
    }
}

fn nanoseconds(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// Queries timed one by one at the end; the rest go many at a time.
const TIMED_QUERIES_MAX: usize = 1_000;
