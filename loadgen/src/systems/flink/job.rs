//! The Java process that runs the job.
//!
//! Owns: its sources, its settings, its life, and the lines spoken with it.
//!
//! ```text
//! folder/   events  job.properties  top10.sql  *.java -> classes/     written here
//!           answers.N  slides.txt  windows.txt                       written by the job
//! stdin     figures                              stop
//! stdout    figures EVENTS WINDOW_END_MS         stopped HEAP_BYTES
//! ```
//!
//! Invariant: the process does not outlive its [`Job`], and ends by itself when its standard
//! input does.

use super::home::Home;
use super::settings;
use crate::ending::Process;
use crate::limits::{FLINK_REPLY_MS_MAX, FLINK_START_MS_MAX};
use crate::os;
use crate::systems::Cores;
use anyhow::{Context as _, bail};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

/// The job's sources.
const SOURCES: [(&str, &str); 3] = [
    ("AnswerSink.java", include_str!("../../../peers/flink/AnswerSink.java")),
    ("EventSource.java", include_str!("../../../peers/flink/EventSource.java")),
    ("TrendJob.java", include_str!("../../../peers/flink/TrendJob.java")),
];
const LOGGING: &str = include_str!("../../../peers/flink/log4j2.properties");
const QUERY: &str = include_str!("../../../peers/flink/top10.sql");

/// What is asked of every tenant, and how often it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Query {
    pub(super) window_s: u32,
    pub(super) slide_s: u32,
}

impl Query {
    /// The query in SQL.
    pub(super) fn sql(self) -> String {
        QUERY
            .replace("{window_s}", &self.window_s.to_string())
            .replace("{slide_s}", &self.slide_s.to_string())
    }

    pub(super) const fn window_ms(self) -> u64 {
        self.window_s as u64 * 1_000
    }

    pub(super) const fn slide_ms(self) -> u64 {
        self.slide_s as u64 * 1_000
    }
}

/// What the job said last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Figures {
    /// Events that the source has emitted.
    pub(super) events: u64,
    /// The end of the newest window of which answers came; 0 before there is any.
    pub(super) window_end_ms: u64,
}

/// The process.
#[derive(Debug)]
pub(super) struct Job {
    child: Process,
    asked: Option<ChildStdin>,
    said: Receiver<String>,
    folder: PathBuf,
}

impl Job {
    /// Compiles the job and starts it on the server's cores, over the events in the folder.
    pub(super) fn start(
        home: &Home,
        folder: &Path,
        (query, rate, sampled): (Query, u64, &[u32]),
        cores: &Cores,
    ) -> anyhow::Result<Self> {
        compile(home, folder)?;
        std::fs::write(folder.join("top10.sql"), query.sql())?;
        std::fs::write(folder.join("log4j2.properties"), LOGGING)?;
        let properties = settings::properties(folder, (query, rate, sampled), cores);
        std::fs::write(folder.join("job.properties"), properties)?;
        let complaints = std::fs::File::create(folder.join("stderr.txt"))?;
        os::unpin()?;
        if !cores.server.is_empty() {
            os::pin_to(&cores.server)?;
        }
        let mut java = Command::new("java");
        java.args(settings::jvm(folder))
            .arg("-cp")
            .arg(format!("{}:{}", folder.join("classes").display(), home.class_path()))
            .arg("TrendJob")
            .arg(folder.join("job.properties"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(complaints);
        let child = Process::start(&mut java);
        // It keeps the cores that it was started on; this thread goes back to its own first.
        let back = os::unpin().and_then(|()| match cores.loadgen.as_slice() {
            [] => Ok(()),
            cores => os::pin_to(cores),
        });
        let mut child = child.context("cannot start java")?;
        let (asked, said) = child.take_pipes();
        let (say, heard) = sync_channel(16);
        let mut job = Self { child, asked, said: heard, folder: folder.to_owned() };
        back?;
        let said = said.context("java has no standard output")?;
        let read = move || {
            for line in BufReader::new(said).lines() {
                let Ok(line) = line else { return };
                if say.send(line).is_err() {
                    return;
                }
            }
        };
        thread::Builder::new()
            .name("flink".to_owned())
            .spawn(read)
            .context("cannot start the thread that reads what the job says")?;
        job.wait_until_it_works()?;
        Ok(job)
    }

    /// Waits until events flow.
    fn wait_until_it_works(&mut self) -> anyhow::Result<()> {
        let until = Instant::now() + Duration::from_millis(FLINK_START_MS_MAX);
        loop {
            let figures = self.figures_within(FLINK_START_MS_MAX)?;
            if figures.events > 0 {
                return Ok(());
            }
            if Instant::now() >= until {
                bail!("the job emits no events {FLINK_START_MS_MAX} ms after its start");
            }
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// How far it is.
    pub(super) fn figures(&mut self) -> anyhow::Result<Figures> {
        self.figures_within(FLINK_REPLY_MS_MAX)
    }

    fn figures_within(&mut self, ms_max: u64) -> anyhow::Result<Figures> {
        let line = self.ask("figures", ms_max)?;
        parse(&line).with_context(|| format!("the job says {line:?}, which is no figures"))
    }

    /// Makes the job leave its files and end; returns the bytes of heap that it lived on.
    pub(super) fn stop(mut self) -> anyhow::Result<u64> {
        let line = self.ask("stop", FLINK_REPLY_MS_MAX)?;
        let heap = line.strip_prefix("stopped ").and_then(|bytes| bytes.parse().ok());
        heap.with_context(|| format!("the job says {line:?} instead of stopped"))
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    fn ask(&mut self, word: &str, ms_max: u64) -> anyhow::Result<String> {
        let asked = self.asked.as_mut().context("java has no standard input")?;
        if writeln!(asked, "{word}").and_then(|()| asked.flush()).is_err() {
            return Err(self.complaint("it does not listen any more"));
        }
        match self.said.recv_timeout(Duration::from_millis(ms_max)) {
            Ok(line) => Ok(line),
            Err(RecvTimeoutError::Timeout) => {
                Err(self.complaint(&format!("no reply within {ms_max} ms")))
            }
            Err(RecvTimeoutError::Disconnected) => Err(self.complaint("it ended")),
        }
    }

    /// An error with what the process said last.
    fn complaint(&mut self, what: &str) -> anyhow::Error {
        let text = std::fs::read_to_string(self.folder.join("stderr.txt")).unwrap_or_default();
        anyhow::anyhow!("the Flink job failed: {what}; {}", cause(&text))
    }
}

fn compile(home: &Home, folder: &Path) -> anyhow::Result<()> {
    let classes = folder.join("classes");
    std::fs::create_dir_all(&classes)?;
    let mut javac = Command::new("javac");
    javac.arg("-nowarn").arg("-cp").arg(home.class_path()).arg("-d").arg(&classes);
    for (name, source) in SOURCES {
        let path = folder.join(name);
        std::fs::write(&path, source)?;
        javac.arg(path);
    }
    let complaints = folder.join("javac.txt");
    javac.stdin(Stdio::null()).stdout(Stdio::null()).stderr(std::fs::File::create(&complaints)?);
    let status = Process::start(&mut javac).and_then(|mut javac| javac.wait());
    if !status.context("cannot run javac")?.success() {
        let complaint = std::fs::read_to_string(&complaints).unwrap_or_default();
        bail!("javac does not take the job for Flink {}: {complaint}", home.version);
    }
    Ok(())
}

fn parse(line: &str) -> Option<Figures> {
    let mut words = line.strip_prefix("figures ")?.split(' ');
    let figures =
        Figures { events: words.next()?.parse().ok()?, window_end_ms: words.next()?.parse().ok()? };
    words.next().is_none().then_some(figures)
}

/// The line of a log that says most: the innermost cause, or the last one.
fn cause(log: &str) -> String {
    let innermost = log.lines().rfind(|line| line.starts_with("Caused by: "));
    let memory = log.lines().rfind(|line| line.contains("OutOfMemoryError"));
    let last = log.lines().rfind(|line| !line.trim().is_empty());
    memory.or(innermost).or(last).unwrap_or("it said nothing").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_and_anything_else_is_not() {
        let want = Figures { events: 7, window_end_ms: 9_000 };
        assert_eq!(parse("figures 7 9000"), Some(want));
        for line in ["", "figures 7", "figures 7 9 1", "figures -7 9"] {
            assert_eq!(parse(line), None, "{line}");
        }
    }

    #[test]
    fn the_query_has_its_window_and_nothing_left_to_fill_in() {
        let sql = Query { window_s: 60, slide_s: 10 }.sql();
        assert!(sql.contains("INTERVAL '10' SECOND, INTERVAL '60' SECOND"), "{sql}");
        assert!(sql.contains("ORDER BY weight DESC, topic ASC") && !sql.contains('{'), "{sql}");
    }

    #[test]
    fn the_cause_is_told_and_memory_above_all() {
        let log = "WARN a\nException in thread\nCaused by: b\n  at c\nCaused by: d\n  at e\n";
        assert_eq!(cause(log), "Caused by: d");
        assert_eq!(
            cause("x: java.lang.OutOfMemoryError: y\nCaused by: z"),
            "x: \
             java.lang.OutOfMemoryError: y"
        );
        assert_eq!(cause("only\n\n"), "only");
        assert_eq!(cause(""), "it said nothing");
    }
}
