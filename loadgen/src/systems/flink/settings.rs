//! How Flink and its Java are set up, and why.

use super::home::Home;
use super::job::Query;
use crate::process::Machine;
use crate::systems::{About, Cores};
use std::fmt::Write as _;
use std::path::Path;

/// Flink's own settings, each with the reason that the report gives.
pub(super) const FLINK: [(&str, &str, &str); 8] = [
    (
        "state.backend.type",
        "hashmap",
        "state on the heap: its documentation calls it very fast and names RocksDB for state \
         that does not fit memory; this state fits",
    ),
    (
        "execution.checkpointing.interval",
        "60 s",
        "exactly once, to a local folder; between the 3 min that its sample configuration has \
         and the seconds that its examples have",
    ),
    (
        "pipeline.object-reuse",
        "true",
        "no copies between operators of a chain: its documentation recommends it for throughput",
    ),
    (
        "pipeline.auto-watermark-interval",
        "50 ms",
        "a window ends at most so much late; the default is 200 ms",
    ),
    (
        "taskmanager.memory.managed.size",
        "512 mb",
        "buffers in which events are summed up before they touch the state; the default of an \
         embedded cluster is 128 mb",
    ),
    ("table.local-time-zone", "UTC", "windows begin at whole seconds since 1970"),
    ("restart-strategy.type", "none", "a job that fails shall be seen to fail, not begin anew"),
    ("rest.bind-port", "0", "any free port"),
];

/// Packages that Flink's own start scripts open to it.
const OPENED: [&str; 12] = [
    "java.io",
    "java.lang",
    "java.lang.invoke",
    "java.lang.reflect",
    "java.net",
    "java.nio",
    "java.text",
    "java.time",
    "java.util",
    "java.util.concurrent",
    "java.util.concurrent.atomic",
    "java.util.concurrent.locks",
];

/// Bytes of heap: half of the machine, which leaves the page cache, the generator and what Java
/// uses beside its heap the other half.
fn heap_bytes() -> u64 {
    const HEAP_MIN: u64 = 1 << 30;
    const HEAP_MAX: u64 = 12 << 30;
    (Machine::read().memory_bytes / 2).clamp(HEAP_MIN, HEAP_MAX)
}

/// Options of the virtual machine.
pub(super) fn jvm(folder: &Path) -> Vec<String> {
    let heap_mib = heap_bytes() >> 20;
    let mut options = vec![
        format!("-Xms{heap_mib}m"),
        format!("-Xmx{heap_mib}m"),
        COLLECTOR.to_owned(),
        "-XX:+ExitOnOutOfMemoryError".to_owned(),
        // Standard output belongs to the replies.
        "-XX:+DisplayVMOutputToStderr".to_owned(),
        format!("-Dlog4j2.configurationFile={}", folder.join("log4j2.properties").display()),
        format!("-Djava.io.tmpdir={}", folder.display()),
    ];
    let open = |package: &&str| format!("--add-opens=java.base/{package}=ALL-UNNAMED");
    options.extend(OPENED.iter().map(open));
    options
}

const COLLECTOR: &str = "-XX:+UseParallelGC";

/// Subtasks of every operator.
pub(super) fn parallelism(cores: &Cores) -> usize {
    cores.server.len().max(1)
}

/// What the job reads when it starts.
pub(super) fn properties(
    folder: &Path,
    (query, rate, sampled): (Query, u64, &[u32]),
    cores: &Cores,
) -> String {
    let sampled: Vec<_> = sampled.iter().map(ToString::to_string).collect();
    let folder = folder.display();
    let mut text = format!(
        "folder={folder}\nparallelism={}\nrate={rate}\nslide_ms={}\nsampled={}\n\
         flink.execution.checkpointing.dir=file://{folder}/checkpoints\n",
        parallelism(cores),
        query.slide_ms(),
        sampled.join(","),
    );
    for (name, value, _) in FLINK {
        let line = writeln!(text, "flink.{name}={value}");
        debug_assert!(line.is_ok(), "writing to a string does not fail");
    }
    text
}

/// What the report tells.
pub(super) fn about(home: &Home, query: Query) -> About {
    let Query { window_s, slide_s } = query;
    let mut settings = vec![
        format!(
            "the query: a window table function HOP({slide_s} s, {window_s} s), SUM by tenant and \
             topic, ROW_NUMBER() <= 10 by window and tenant: the form that its documentation \
             gives for a top N of windows; the planner sums up before and after the exchange"
        ),
        "events come from memory, inside the process: Flink pays for no socket and no parsing; \
         tenants and topics are 32-bit numbers, not names"
            .to_owned(),
        "event time is the clock at the source, watermarks are monotonous: no event is late"
            .to_owned(),
        "the source emits every 5 ms what is due, without a wake-up for each event".to_owned(),
        "mini-batches are left off: window aggregations buffer by themselves and ignore them"
            .to_owned(),
        "parallelism is the number of the server's cores; one embedded cluster in one process \
         pinned to them"
            .to_owned(),
        format!(
            "-Xms = -Xmx = {} MiB, half of the machine, as Flink's scripts set both alike",
            heap_bytes() >> 20
        ),
        format!("{COLLECTOR}: {COLLECTOR_WHY}"),
    ];
    let line = |&(name, value, why): &(&str, &str, &str)| format!("{name} = {value}: {why}");
    settings.extend(FLINK.iter().map(line));
    About {
        version: format!("Flink {} on {}", home.version, home.java),
        asked: format!(
            "the top 10 topics of every tenant in the last {window_s} s, anew every {slide_s} s, \
             for every tenant without being asked"
        ),
        settings,
    }
}

const COLLECTOR_WHY: &str =
    "throughput counts here; in trials on one core it used no more CPU than G1";

#[cfg(test)]
mod tests {
    use super::*;

    const QUERY: Query = Query { window_s: 60, slide_s: 10 };

    #[test]
    fn the_job_is_told_everything_it_reads() {
        let cores = Cores { server: vec![0, 1], loadgen: vec![] };
        let text = properties(Path::new("/f"), (QUERY, 5, &[1, 7]), &cores);
        let job = include_str!("../../../peers/flink/TrendJob.java");
        let read: Vec<_> =
            job.split("given.getProperty(\"").skip(1).map(|rest| rest.split('"').next()).collect();
        assert_eq!(read.len(), 5, "and the properties of Flink by their prefix: {read:?}");
        for name in read {
            let line = format!("{}=", name.unwrap());
            assert!(text.lines().any(|l| l.starts_with(&line)), "{line} in {text}");
        }
        assert!(text.contains("parallelism=2\n") && text.contains("sampled=1,7\n"), "{text}");
        assert!(text.contains("slide_ms=10000\n"), "{text}");
    }

    #[test]
    fn every_setting_is_reported_with_a_reason() {
        let home =
            Home { jars: "/j".into(), version: "2.3.0".to_owned(), java: "openjdk 17".to_owned() };
        let about = about(&home, QUERY);
        for (name, ..) in FLINK {
            assert!(about.settings.iter().any(|line| line.starts_with(name)), "{name}");
        }
        assert!(about.settings.iter().all(|line| line.len() > 40 || line.contains("any free")));
        assert_eq!(about.version, "Flink 2.3.0 on openjdk 17");
    }
}
