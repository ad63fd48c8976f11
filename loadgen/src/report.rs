//! run.json and what a person sees of it.
//!
//! The field names are a contract: add to them, do not rename.

use crate::census::Census;
use crate::compare::Comparison;
use crate::latency::{Latency, Percentiles};
use crate::process::{Counters, Machine, Used, float};
use crate::scenario::Scenario;
use crate::sides::Compared;
use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

/// One run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Run {
    pub(crate) scenario: String,
    pub(crate) commit: String,
    pub(crate) rustc: String,
    pub(crate) machine: Machine,
    pub(crate) config: serde_json::Value,
    pub(crate) seed: u64,
    pub(crate) seconds: f64,
    pub(crate) events_offered: u64,
    pub(crate) events_sent: u64,
    pub(crate) events_acked: u64,
    pub(crate) events_refused: u64,
    pub(crate) events_lost: u64,
    pub(crate) rate_offered: f64,
    pub(crate) rate_acked: f64,
    pub(crate) server: ServerFigures,
    pub(crate) latency_us: Latencies,
    pub(crate) refusals: BTreeMap<String, u64>,
    pub(crate) check: Check,
    /// How long it took to ask for every tenant, if that was part of the load.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) refresh: Option<Refresh>,
}

/// The top 10 of every tenant, asked for again and again beside the load.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Refresh {
    /// Tenants asked for in a round.
    pub(crate) tenants: u64,
    /// Rounds that began in the measurement and were finished.
    pub(crate) rounds: u64,
    /// Answers that came in the measurement, of unfinished rounds, too.
    #[serde(default)]
    pub(crate) answers: u64,
    /// Questions that the server was too busy to answer.
    #[serde(default)]
    pub(crate) refused: u64,
    /// How long a round took, from its first question to its last answer; 0 when none was
    /// finished.
    pub(crate) seconds_p50: f64,
    pub(crate) seconds_max: f64,
    /// CPU time of the server for the questions alone, where it can be told apart; otherwise 0.
    pub(crate) cpu_ns: u64,
}

/// How often all tenants were asked for, and how often they were to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Rounds {
    pub(crate) done: u64,
    pub(crate) due: f64,
}

impl Rounds {
    /// Whether as many were done as can be asked of a measurement, which cuts one.
    pub(crate) fn are_held(self) -> bool {
        float(self.done) >= 0.95 * self.due - 1.0
    }
}

impl std::fmt::Display for Rounds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "asked all tenants {} times of {:.0}", self.done, self.due)
    }
}

impl Refresh {
    /// How often it asked in `seconds`, where it was to each `period_ms`.
    pub(crate) fn rounds(&self, seconds: f64, period_ms: u32) -> Rounds {
        Rounds { done: self.rounds, due: seconds * 1e3 / f64::from(period_ms.max(1)) }
    }

    /// What it did in `seconds`, in a line for a person.
    fn line(&self, seconds: f64) -> String {
        let Self { tenants, rounds, answers, refused, .. } = self;
        let took = match rounds {
            0 => "no round was finished".to_owned(),
            _ => format!(
                "a round took {:.3} s (p50), {:.3} s (max)",
                self.seconds_p50, self.seconds_max
            ),
        };
        format!(
            "  refresh     {rounds} rounds of {tenants} tenants, {took}; {:.0} answers/s, {refused} \
             refused\n",
            float(*answers) / seconds
        )
    }
}

impl Run {
    /// A note when not all tenants were asked for as often as they were to be.
    pub(crate) fn behind(&self, scenario: &Scenario) -> Option<String> {
        let rounds = self.refresh.as_ref()?.rounds(self.seconds, scenario.refresh_ms);
        let waited = match scenario.rate {
            0 => "; events waited for the answers meanwhile",
            _ => "",
        };
        (!rounds.are_held()).then(|| format!("{rounds}{waited}"))
    }

    /// A run in which nothing happened yet.
    pub(crate) fn empty() -> Self {
        let machine = Machine::read();
        let nothing = Percentiles::default();
        Self {
            scenario: String::new(),
            commit: commit(),
            rustc: RUSTC.to_owned(),
            config: serde_json::json!({}),
            seed: 0,
            seconds: 0.0,
            events_offered: 0,
            events_sent: 0,
            events_acked: 0,
            events_refused: 0,
            events_lost: 0,
            rate_offered: 0.0,
            rate_acked: 0.0,
            server: ServerFigures::new(&Used::default(), 0, &machine, &Census::default()),
            latency_us: Latencies { ack: nothing, visible: nothing, query: nothing },
            refusals: BTreeMap::new(),
            check: Check { tenants_checked: 0, topics_checked: 0, mismatches: 0 },
            refresh: None,
            machine,
        }
    }
}

/// What the server process used while it was measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ServerFigures {
    pub(crate) cpu_user_s: f64,
    pub(crate) cpu_system_s: f64,
    pub(crate) cpu_percent_of_machine: f64,
    pub(crate) ns_cpu_per_event: f64,
    pub(crate) context_switches_voluntary: u64,
    pub(crate) context_switches_involuntary: u64,
    pub(crate) rss_bytes_max: u64,
    pub(crate) tenants_live: u64,
    pub(crate) programs_live: u64,
    /// Instances that the server's pools hold.
    #[serde(default)]
    pub(crate) instances_max: u64,
    /// Memory of windows.
    #[serde(default)]
    pub(crate) window_bytes: u64,
    /// From here on counted since the server began.
    #[serde(default)]
    pub(crate) program_calls: u64,
    #[serde(default)]
    pub(crate) program_faults: u64,
    #[serde(default)]
    pub(crate) program_throttled: u64,
    #[serde(default)]
    pub(crate) program_fuel: u64,
    /// What it cost besides CPU time.
    #[serde(default)]
    pub(crate) counters: Counters,
}

/// Percentiles of the three latencies.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Latencies {
    pub(crate) ack: Percentiles,
    pub(crate) visible: Percentiles,
    pub(crate) query: Percentiles,
}

/// What was checked at the end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Check {
    pub(crate) tenants_checked: u64,
    pub(crate) topics_checked: u64,
    pub(crate) mismatches: u64,
}

/// The three histograms.
#[derive(Debug)]
pub(crate) struct Histograms {
    pub(crate) ack: Latency,
    pub(crate) visible: Latency,
    pub(crate) query: Latency,
}

impl Histograms {
    pub(crate) fn new() -> anyhow::Result<Self> {
        Ok(Self { ack: Latency::new()?, visible: Latency::new()?, query: Latency::new()? })
    }

    pub(crate) fn percentiles(&self) -> Latencies {
        Latencies {
            ack: self.ack.percentiles(),
            visible: self.visible.percentiles(),
            query: self.query.percentiles(),
        }
    }

    /// Latencies longer than a histogram holds.
    pub(crate) fn over_range(&self) -> u64 {
        [&self.ack, &self.visible, &self.query].map(Latency::over_range).iter().sum()
    }
}

impl ServerFigures {
    /// Context switches of all threads. Perf's count is complete, `/proc` lacks those of threads
    /// that ended; each sees the measurement begin and end a moment apart from the other.
    pub(crate) fn switches(&self) -> u64 {
        let seen = self.context_switches_voluntary + self.context_switches_involuntary;
        self.counters.context_switches.map_or(seen, |counted| counted.max(seen))
    }

    /// `events` were acknowledged while `used` was used; `census` was taken at the end.
    pub(crate) fn new(used: &Used, events: u64, machine: &Machine, census: &Census) -> Self {
        let capacity_s = used.seconds * float(machine.cores.max(1));
        Self {
            cpu_user_s: used.user_s,
            cpu_system_s: used.system_s,
            cpu_percent_of_machine: 100.0 * float(used.cpu_ns) / 1e9 / capacity_s.max(1e-9),
            ns_cpu_per_event: float(used.cpu_ns) / float(events.max(1)),
            context_switches_voluntary: used.voluntary,
            context_switches_involuntary: used.involuntary,
            rss_bytes_max: used.rss_bytes_max,
            tenants_live: census.tenants_live,
            programs_live: census.programs_live,
            instances_max: census.instances_max,
            window_bytes: census.window_bytes,
            program_calls: census.program_calls,
            program_faults: census.program_faults,
            program_throttled: census.program_throttled,
            program_fuel: census.program_fuel,
            counters: used.counters.clone(),
        }
    }
}

/// The commit of the folder we stand in, with `-dirty` when something is not committed.
pub(crate) fn commit() -> String {
    let git = |args: &[&str]| {
        let output = Command::new("git").args(args).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let Some(commit) = git(&["rev-parse", "--short=12", "HEAD"]) else {
        return "unknown".to_owned();
    };
    let clean = git(&["status", "--porcelain"]).is_some_and(|changes| changes.is_empty());
    if clean { commit } else { format!("{commit}-dirty") }
}

/// The compiler this program was built with.
pub(crate) const RUSTC: &str = env!("LOADGEN_RUSTC");

/// The folder of a run that names none.
pub(crate) fn default_folder() -> PathBuf {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Path::new("bench-results").join(format!("run-{}", now.as_secs()))
}

/// Writes run.json and the histograms into a folder, made if need be.
pub(crate) fn write(folder: &Path, run: &Run, histograms: &Histograms) -> anyhow::Result<()> {
    put(folder, "run.json", serde_json::to_string_pretty(run)? + "\n")?;
    put(folder, "latency.hgrm", histograms.ack.hgrm())?;
    put(folder, "latency.visible.hgrm", histograms.visible.hgrm())?;
    put(folder, "latency.query.hgrm", histograms.query.hgrm())
}

/// Writes one file into a folder, made if need be.
pub(crate) fn put(folder: &Path, name: &str, text: String) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder)
        .with_context(|| format!("cannot make the folder {}", folder.display()))?;
    let path = folder.join(name);
    std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// The run in a few lines for a person.
pub(crate) fn table(run: &Run) -> String {
    let server = &run.server;
    let seconds = run.seconds.max(1e-9);
    let switches = float(server.switches()) / seconds;
    let row = |name: &str, p: &Percentiles| {
        format!(
            "  {name:<9} {:>10.1} {:>10.1} {:>10.1} {:>10.1} {:>10.1} {:>9}\n",
            p.p50, p.p99, p.p999, p.p9999, p.max, p.count
        )
    };
    let refusals = match run.refusals.is_empty() {
        true => "none".to_owned(),
        false => run
            .refusals
            .iter()
            .map(|(code, n)| format!("{code} {n}"))
            .collect::<Vec<_>>()
            .join(", "),
    };
    let refresh = run.refresh.as_ref().map(|r| r.line(seconds)).unwrap_or_default();
    format!(
        "scenario {}, {:.1} s\n\
         \x20 events      {} acknowledged, {} refused, {} lost\n\
         \x20 rate        {:.3} M/s offered, {:.3} M/s acknowledged\n\
         \x20 server      {:.1} ns CPU/event, {:.1} % of the machine, {switches:.0} switches/s, \
         {:.1} MiB, {} tenants\n\
         {}\
         \x20 programs    {} live, {} calls, {} faults, {} throttled, {:.0} fuel a call\n\
         \x20 latency us        p50        p99      p99.9     p99.99        max     count\n\
         {}{}{}\
         \x20 refusals    {refusals}\n\
         {refresh}\
         \x20 check       {} tenants, {} topics, {} mismatches\n",
        run.scenario,
        run.seconds,
        run.events_acked,
        run.events_refused,
        run.events_lost,
        run.rate_offered / 1e6,
        run.rate_acked / 1e6,
        server.ns_cpu_per_event,
        server.cpu_percent_of_machine,
        float(server.rss_bytes_max) / f64::from(1 << 20),
        server.tenants_live,
        server.counters.line(seconds, run.events_acked),
        server.programs_live,
        server.program_calls,
        server.program_faults,
        server.program_throttled,
        float(server.program_fuel) / float(server.program_calls.max(1)),
        row("ack", &run.latency_us.ack),
        row("visible", &run.latency_us.visible),
        row("query", &run.latency_us.query),
        run.check.tenants_checked,
        run.check.topics_checked,
        run.check.mismatches,
    )
}

/// `loadgen report DIR…`: one line a run, one a side where sides were compared, one a load of each
/// system where systems were; a star marks ours at the size of another one.
pub(crate) fn compare(folders: &[PathBuf]) -> anyhow::Result<String> {
    let mut text = format!(
        "{:<28} {:<14} {:>9} {:>9} {:>8} {:>10} {:>9} {:>9} {:>9} {:>6}\n",
        "folder",
        "scenario",
        "M ev/s",
        "ns/event",
        "switch/s",
        "ack p50",
        "ack p99",
        "visible",
        "MiB",
        "wrong"
    );
    for folder in folders {
        if let Some(comparison) = Comparison::read(folder)? {
            let name = folder.file_name().unwrap_or(folder.as_os_str()).to_string_lossy();
            for (of, run) in crate::compare::lines(&comparison) {
                text.push_str(&line(&format!("{name}/{of}"), run));
            }
            continue;
        }
        let path = folder.join("run.json");
        let json = std::fs::read_to_string(&path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        let strange = || format!("{} is not a run.json", path.display());
        let value: serde_json::Value = serde_json::from_str(&json).with_context(strange)?;
        let name = folder.file_name().unwrap_or(folder.as_os_str()).to_string_lossy();
        if value["sides"].is_null() {
            text.push_str(&line(&name, &serde_json::from_value(value).with_context(strange)?));
        } else {
            let compared: Compared = serde_json::from_value(value).with_context(strange)?;
            for (side, run) in &compared.sides {
                text.push_str(&line(&format!("{name}/{side}"), run));
            }
        }
    }
    Ok(text)
}

fn line(name: &str, run: &Run) -> String {
    let server = &run.server;
    format!(
        "{name:<28} {:<14} {:>9.3} {:>9.1} {:>8.0} {:>10.1} {:>9.1} {:>9.1} {:>9.1} {:>6}\n",
        run.scenario,
        run.rate_acked / 1e6,
        server.ns_cpu_per_event,
        float(server.switches()) / run.seconds.max(1e-9),
        run.latency_us.ack.p50,
        run.latency_us.ack.p99,
        run.latency_us.visible.p99,
        float(server.rss_bytes_max) / f64::from(1 << 20),
        run.check.mismatches + run.events_lost,
    )
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    fn run() -> Run {
        let machine = Machine {
            cpu: "c".to_owned(),
            cores: 2,
            kernel: "6".to_owned(),
            memory_bytes: 1 << 30,
        };
        let used = Used { seconds: 2.0, cpu_ns: 1_000_000_000, ..Used::default() };
        let census = Census { tenants_live: 7, programs_live: 6, ..Census::default() };
        Run {
            scenario: "smoke".to_owned(),
            commit: "unknown".to_owned(),
            rustc: RUSTC.to_owned(),
            config: serde_json::json!({}),
            seed: 1,
            seconds: 2.0,
            events_offered: 10_000_000,
            events_sent: 10_000_000,
            events_acked: 10_000_000,
            events_refused: 0,
            events_lost: 0,
            rate_offered: 5e6,
            rate_acked: 5e6,
            server: ServerFigures::new(&used, 10_000_000, &machine, &census),
            latency_us: Histograms::new().unwrap().percentiles(),
            refusals: BTreeMap::new(),
            check: Check { tenants_checked: 1, topics_checked: 2, mismatches: 0 },
            refresh: None,
            machine,
        }
    }

    /// The contract, as written down for everyone who reads these files.
    const FIELDS: &str = "scenario commit rustc machine.cpu machine.cores machine.kernel \
        machine.memory_bytes config seed seconds events_offered events_sent events_acked \
        events_refused events_lost rate_offered rate_acked server.cpu_user_s \
        server.cpu_system_s server.cpu_percent_of_machine server.ns_cpu_per_event \
        server.context_switches_voluntary server.context_switches_involuntary \
        server.rss_bytes_max server.tenants_live server.programs_live \
        server.instances_max server.window_bytes server.program_calls server.program_faults \
        server.program_throttled server.program_fuel \
        latency_us.ack latency_us.visible latency_us.query refusals check.tenants_checked \
        check.topics_checked check.mismatches";

    #[test]
    fn run_json_has_every_field_of_the_contract_and_no_nulls() {
        let json = serde_json::to_value(run()).unwrap();
        for path in FIELDS.split_whitespace() {
            let value = path.split('.').fold(&json, |value, key| &value[key]);
            assert!(!value.is_null(), "{path}");
        }
        for name in ["ack", "visible", "query"] {
            let keys: Vec<_> = json["latency_us"][name].as_object().unwrap().keys().collect();
            assert_eq!(keys, ["count", "max", "p50", "p90", "p99", "p999", "p9999"]);
        }
        let top = json.as_object().unwrap().len();
        assert_eq!(top, 18, "a new field belongs into the contract first");
    }

    #[test]
    fn a_refresh_that_is_not_held_is_told_and_a_round_that_the_end_cuts_is_none() {
        let scenario = Scenario { refresh_ms: 100, ..Scenario::default() };
        let of = |rounds, scenario: &Scenario| {
            let refresh = Some(Refresh { rounds, ..Refresh::default() });
            Run { refresh, ..run() }.behind(scenario)
        };
        assert_eq!(of(18, &scenario), None);
        let told = of(17, &scenario).unwrap();
        assert!(told.starts_with("asked all tenants 17 times of 20; events waited"), "{told}");
        let paced = Scenario { rate: 5, ..scenario };
        assert_eq!(of(0, &paced).unwrap(), "asked all tenants 0 times of 20");
        assert_eq!(run().behind(&paced), None);
    }

    #[test]
    fn a_written_run_is_read_back_and_shown() {
        let folder = std::env::temp_dir().join(format!("loadgen-report-{}", std::process::id()));
        let (run, histograms) = (run(), Histograms::new().unwrap());
        write(&folder, &run, &histograms).unwrap();
        let shown = compare(std::slice::from_ref(&folder)).unwrap();
        assert!(shown.contains("smoke") && shown.contains("100.0"), "{shown}");
        assert!(folder.join("latency.hgrm").exists());
        std::fs::remove_dir_all(&folder).unwrap();
        assert!(compare(&[folder]).is_err());
        let table = table(&run);
        assert!(table.contains("100.0 ns CPU/event, 25.0 % of the machine"), "{table}");
    }
}
