//! One job over one scenario: started, watched, measured, checked.

use super::events::Events;
use super::home::Home;
use super::job::{Figures, Job, Query};
use super::pace::Pace;
use super::settings::{FLINK, jvm, parallelism};
use super::windows::{Checked, Windows};
use crate::census::Census;
use crate::limits::DRAIN_MS_MAX;
use crate::population::Population;
use crate::process::{Machine, Meter, Used, float};
use crate::programs::Folder;
use crate::report::{Check, Histograms, Refresh, Run, ServerFigures};
use crate::run::Done;
use crate::sample::Sample;
use crate::scenario::Scenario;
use crate::systems::Cores;
use anyhow::bail;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A job that runs.
#[derive(Debug)]
pub(super) struct Session {
    query: Query,
    scenario: Scenario,
    cores: Cores,
    events: Events,
    sample: Sample,
    // Before the folder: the process ends before its files go.
    job: Job,
    folder: Folder,
    /// When events began to flow.
    began: Instant,
}

/// How far the job is, and when.
#[derive(Clone, Debug)]
pub(super) struct Look {
    pub(super) figures: Figures,
    at: Instant,
    now_ms: u64,
}

/// What was measured.
struct Measured {
    used: Used,
    /// Ends of windows that fell due meanwhile.
    ends_ms: std::ops::Range<u64>,
    warmup_s: f64,
    seconds: u64,
    events: u64,
    pace: Pace,
    /// All these windows' answers came in time for the check.
    drained: bool,
}

impl Session {
    /// Writes the events, and starts the job on them.
    pub(super) fn open(
        home: &Home,
        query: Query,
        scenario: &Scenario,
        cores: &Cores,
    ) -> anyhow::Result<Self> {
        if scenario.spread_ms > 0 {
            bail!(
                "spread_ms is {}, must be 0 for Flink: its events bear the time at which they are \
                 emitted",
                scenario.spread_ms
            );
        }
        let folder = Folder::new()?;
        let (population, sample) = (Population::new(scenario), Sample::new(scenario));
        let events = Events::draw(scenario, &population, &sample)?;
        events.write(&folder.path().join("events"))?;
        let asked = (query, scenario.rate, sample.tenants());
        let job = Job::start(home, folder.path(), asked, cores)?;
        let (scenario, cores) = (scenario.clone(), cores.clone());
        let began = Instant::now();
        Ok(Self { query, scenario, cores, events, sample, job, folder, began })
    }

    pub(super) const fn query(&self) -> Query {
        self.query
    }

    /// Asks the job how far it is.
    pub(super) fn look(&mut self) -> anyhow::Result<Look> {
        Ok(Look { figures: self.job.figures()?, at: Instant::now(), now_ms: now_ms()? })
    }

    /// What it reached between two looks.
    pub(super) fn pace(&self, before: &Look, after: &Look) -> Pace {
        let seconds = after.at.duration_since(before.at).as_secs_f64();
        let figures = (&before.figures, &after.figures);
        Pace::between(figures, (seconds, after.now_ms), self.scenario.rate)
    }

    /// Fills the windows, measures, checks the answers.
    pub(super) fn load(mut self) -> anyhow::Result<Done> {
        let measured = self.measure()?;
        let heap_bytes = self.job.stop()?;
        let windows = Windows::read(
            self.folder.path(),
            (&self.events, self.sample.tenants()),
            (parallelism(&self.cores), self.query.window_ms()),
        )?;
        let checked = windows.check(measured.ends_ms.clone());
        let mut histograms = Histograms::new()?;
        for ((end_ms, _), answer) in windows.answers.range(keys(&measured.ends_ms)) {
            histograms.visible.record(answer.arrived_ms.saturating_sub(*end_ms) * 1_000_000);
        }
        let told = Told {
            query: self.query,
            scenario: &self.scenario,
            cores: &self.cores,
            sampled: self.sample.tenants().len(),
            heap_bytes,
        };
        Ok(told.done(&measured, &windows, &checked, histograms))
    }

    fn measure(&mut self) -> anyhow::Result<Measured> {
        let warm = u64::from(self.query.window_s) + self.scenario.warmup_seconds;
        let mut meter = Meter::prepare(&[self.job.pid()])?;
        rest_until(self.began + Duration::from_secs(warm));
        meter.begin()?;
        let (warmup_s, before) = (self.began.elapsed().as_secs_f64(), self.look()?);
        rest_until(before.at + Duration::from_secs(self.seconds()));
        let after = self.look()?;
        meter.end()?;
        let drained = self.drain(after.now_ms)?;
        Ok(Measured {
            used: meter.used()?,
            ends_ms: before.now_ms..after.now_ms,
            warmup_s,
            seconds: self.seconds(),
            events: after.figures.events - before.figures.events,
            pace: self.pace(&before, &after),
            drained,
        })
    }

    /// How long the measurement lasts: whole slides, for each brings the same work.
    fn seconds(&self) -> u64 {
        self.scenario.seconds.next_multiple_of(u64::from(self.query.slide_s))
    }

    /// Waits until all answers of windows that ended before a moment have come; they have when
    /// those of a later one do.
    fn drain(&mut self, until_ms: u64) -> anyhow::Result<bool> {
        let patience = Instant::now() + Duration::from_millis(DRAIN_MS_MAX);
        while Instant::now() < patience {
            if self.look()?.figures.window_end_ms > until_ms {
                return Ok(true);
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(false)
    }
}

/// All that a report needs of a job that has ended.
struct Told<'a> {
    query: Query,
    scenario: &'a Scenario,
    cores: &'a Cores,
    sampled: usize,
    heap_bytes: u64,
}

impl Told<'_> {
    fn done(
        &self,
        measured: &Measured,
        windows: &Windows,
        checked: &Checked,
        histograms: Histograms,
    ) -> Done {
        let machine = Machine::read();
        let refresh = refresh(windows, &measured.ends_ms);
        let census = Census { tenants_live: refresh.tenants, ..Census::default() };
        let seconds = measured.used.seconds;
        let offered = match self.scenario.rate {
            0 => measured.events,
            rate => rate * measured.seconds,
        };
        let run = Run {
            config: self.config(measured),
            seed: self.scenario.seed,
            seconds,
            events_offered: offered,
            events_sent: measured.events,
            events_acked: measured.events,
            rate_offered: float(offered) / float(measured.seconds),
            rate_acked: float(measured.events) / seconds.max(1e-9),
            server: ServerFigures::new(&measured.used, measured.events, &machine, &census),
            latency_us: histograms.percentiles(),
            check: Check {
                tenants_checked: self.sampled as u64,
                topics_checked: checked.topics,
                mismatches: checked.mismatches,
            },
            refresh: Some(refresh),
            machine,
            ..Run::empty()
        };
        let notes = self.notes(measured, checked);
        Done { run, histograms, notes, right: right(checked) }
    }

    fn config(&self, measured: &Measured) -> serde_json::Value {
        let mut config = serde_json::to_value(self.scenario).unwrap_or_default();
        config["window_s"] = self.query.window_s.into();
        config["slide_s"] = self.query.slide_s.into();
        config["sql"] = self.query.sql().into();
        config["server_cores"] = self.cores.server.clone().into();
        config["loadgen_cores"] = self.cores.loadgen.clone().into();
        config["parallelism"] = parallelism(self.cores).into();
        config["jvm"] = jvm(std::path::Path::new("FOLDER")).into();
        config["flink"] = FLINK.iter().map(|(name, value, _)| format!("{name}={value}")).collect();
        config["heap_live_bytes"] = self.heap_bytes.into();
        config["warmup_s"] = measured.warmup_s.into();
        config["behind_ms"] = measured.pace.behind_ms.into();
        config["kept_up"] = self.shortfall(measured).is_none().into();
        config
    }

    fn shortfall(&self, measured: &Measured) -> Option<String> {
        measured.pace.shortfall(self.query).or_else(|| {
            let what = "not all answers came within the time for draining";
            (!measured.drained).then(|| what.to_owned())
        })
    }

    fn notes(&self, measured: &Measured, checked: &Checked) -> Vec<String> {
        let kept_up = match self.shortfall(measured) {
            None => format!("kept up: {}", measured.pace.told()),
            Some(shortfall) => format!("fell behind: {shortfall}"),
        };
        vec![
            kept_up,
            format!(
                "checked: {} answers of {} windows; {:.1} MiB of heap live after a full collection",
                checked.answers,
                checked.windows,
                float(self.heap_bytes) / f64::from(1 << 20)
            ),
            "events are counted where the source hands them to the window; what waits between \
             them is a few network buffers"
                .to_owned(),
            "visible is from a window's end to its answer; nothing is acknowledged and nobody \
             asks, so ack and query are empty"
                .to_owned(),
        ]
    }
}

fn right(checked: &Checked) -> anyhow::Result<()> {
    for line in &checked.explained {
        eprintln!("mismatch: {line}");
    }
    if checked.mismatches > 0 {
        bail!("{} mismatches in {} answers checked", checked.mismatches, checked.answers);
    }
    if checked.windows == 0 {
        bail!("no window that ended in the measurement was answered, so no answer was checked");
    }
    Ok(())
}

/// How long the answers of all tenants took, from the window's end on.
fn refresh(windows: &Windows, ends_ms: &std::ops::Range<u64>) -> Refresh {
    let rounds = || windows.rounds.range(ends_ms.clone());
    let mut took: Vec<u64> =
        rounds().map(|(end_ms, round)| round.last_ms.saturating_sub(*end_ms)).collect();
    took.sort_unstable();
    let seconds = |ms: Option<&u64>| float(ms.copied().unwrap_or(0)) / 1e3;
    Refresh {
        tenants: rounds().map(|(_, round)| round.tenants).max().unwrap_or(0),
        rounds: took.len() as u64,
        answers: rounds().map(|(_, round)| round.tenants).sum(),
        seconds_p50: seconds(took.get(took.len() / 2)),
        seconds_max: seconds(took.last()),
        ..Refresh::default()
    }
}

/// Windows of some time, of all tenants.
fn keys(ends_ms: &std::ops::Range<u64>) -> std::ops::Range<(u64, u32)> {
    (ends_ms.start, 0)..(ends_ms.end, 0)
}

fn rest_until(moment: Instant) {
    std::thread::sleep(moment.saturating_duration_since(Instant::now()));
}

fn now_ms() -> anyhow::Result<u64> {
    Ok(u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?)
}
