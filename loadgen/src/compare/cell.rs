//! One load on one system in one round: what came of it, and the file that remembers it.

use super::load::Load;
use super::plan::Key;
use crate::latency::Shape;
use crate::report::{self, Rounds, Run};
use crate::run::Done;
use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// What came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Cell {
    pub(crate) key: Key,
    /// What was measured, unless the load could not be made.
    pub(crate) run: Option<Run>,
    /// Why there is no run, or what was wrong with its answers.
    pub(crate) failed: Option<String>,
    /// What else there is to say.
    pub(crate) notes: Vec<String>,
    /// The latencies of acknowledgements and until queries see an event.
    pub(crate) ack: Shape,
    pub(crate) visible: Shape,
}

impl Cell {
    /// A load that was made, or not. Its histograms go into files of the folder.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub(crate) fn of(key: Key, done: anyhow::Result<Done>, folder: &Path) -> anyhow::Result<Self> {
        let Done { mut run, histograms, notes, right } = match done {
            Ok(done) => done,
            Err(error) => {
                let (failed, nothing) = (Some(format!("{error:#}")), Shape::default());
                let (ack, visible) = (nothing.clone(), nothing);
                return Ok(Self { key, run: None, failed, notes: Vec::new(), ack, visible });
            }
        };
        run.scenario = format!("{}/{}", key.system, key.load.name());
        let histograms_of = |what: &str| format!("{}.{what}.hgrm", key.file_stem());
        let folder = folder.join("histograms");
        for (what, latency) in [
            ("ack", &histograms.ack),
            ("visible", &histograms.visible),
            ("query", &histograms.query),
        ] {
            if latency.percentiles().count > 0 {
                report::put(&folder, &histograms_of(what), latency.hgrm())?;
            }
        }
        let failed = right.err().map(|error| format!("{error:#}"));
        let (ack, visible) = (histograms.ack.shape(), histograms.visible.shape());
        Ok(Self { key, run: Some(run), failed, notes, ack, visible })
    }

    /// The run, when every answer was right: a fast wrong answer is no result.
    pub(crate) fn good(&self) -> Option<&Run> {
        self.run.as_ref().filter(|_| self.failed.is_none())
    }

    /// Whether all that was offered was taken, when it was a rate, and all that was to be
    /// refreshed was, when that comes first.
    pub(crate) fn is_held(&self) -> bool {
        let offered = crate::process::float(self.key.rate);
        self.good().is_some_and(|run| run.rate_acked >= 0.97 * offered)
            && (self.key.load != Load::Refreshed || self.rounds().is_some_and(Rounds::are_held))
    }

    /// How often all tenants were asked for, where they were to be and no answer was wrong.
    pub(crate) fn rounds(&self) -> Option<Rounds> {
        let run = self.good().filter(|_| self.key.refresh_ms > 0)?;
        Some(run.refresh.as_ref()?.rounds(run.seconds, self.key.refresh_ms))
    }
}

impl Key {
    /// The name of its files.
    fn file_stem(&self) -> String {
        let Self { system, load, round, tenants, rate, refresh_ms } = self;
        let mut stem = format!("{system}.{}.{tenants}-tenants", load.name());
        if *rate > 0 {
            stem += &format!(".{rate}-a-second");
        }
        if *refresh_ms != load.refresh_ms() {
            stem += &format!(".asked-each-{refresh_ms}-ms");
        }
        stem + &format!(".round-{round}")
    }
}

/// The cells so far. Each is in the file before the next load begins.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    file: File,
    cells: Vec<Cell>,
}

impl Journal {
    /// The cells of a folder, whose last line may be cut when an earlier run was interrupted.
    ///
    /// # Errors
    /// When the file cannot be read or written, or a line in its middle is no cell.
    pub(crate) fn open(folder: &Path) -> anyhow::Result<Self> {
        let path = folder.join("cells.jsonl");
        let shown = path.display().to_string();
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .with_context(|| format!("cannot open {shown}"))?;
        let text =
            std::fs::read_to_string(&path).with_context(|| format!("cannot read {shown}"))?;
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        file.set_len(whole as u64).with_context(|| format!("cannot shorten {shown}"))?;
        file.flush()?;
        let mut cells = Vec::new();
        for (index, line) in text[..whole].lines().enumerate() {
            let what = || format!("{shown}, line {}: not a cell of a comparison", index + 1);
            cells.push(serde_json::from_str(line).with_context(what)?);
        }
        Ok(Self { path, file, cells })
    }

    /// Remembers one more.
    ///
    /// # Errors
    /// When it cannot be written, or is there already.
    pub(crate) fn add(&mut self, cell: Cell) -> anyhow::Result<()> {
        if self.has(&cell.key) {
            bail!("{:?} is in {} already", cell.key, self.path.display());
        }
        let line = serde_json::to_string(&cell)? + "\n";
        let cannot = || format!("cannot write {}", self.path.display());
        self.file.write_all(line.as_bytes()).with_context(cannot)?;
        self.file.sync_data().with_context(cannot)?;
        self.cells.push(cell);
        Ok(())
    }

    /// Whether the load was made already.
    pub(crate) fn has(&self, key: &Key) -> bool {
        self.cells.iter().any(|cell| cell.key == *key)
    }

    /// All of them, in the order in which they were made.
    pub(crate) fn cells(&self) -> &[Cell] {
        &self.cells
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Folder, behind, cell};
    use super::*;

    #[test]
    fn a_cut_last_line_is_forgotten_and_a_broken_one_is_named() {
        let folder = Folder::new();
        let mut journal = Journal::open(folder.path()).unwrap();
        journal.add(cell("naive", Load::Saturated, 1, 5.0, 7.0)).unwrap();
        let path = folder.path().join("cells.jsonl");
        let whole = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, format!("{whole}{}", &whole[..whole.len() / 2])).unwrap();
        let mut journal = Journal::open(folder.path()).unwrap();
        assert_eq!(journal.cells().len(), 1);
        journal.add(cell("naive", Load::Saturated, 2, 5.0, 7.0)).unwrap();
        assert_eq!(Journal::open(folder.path()).unwrap().cells(), journal.cells());
        std::fs::write(&path, format!("{whole}nonsense\n{whole}")).unwrap();
        let error = Journal::open(folder.path()).unwrap_err().to_string();
        assert!(error.contains("line 2: not a cell"), "{error}");
    }

    #[test]
    fn a_load_is_made_once() {
        let folder = Folder::new();
        let mut journal = Journal::open(folder.path()).unwrap();
        let one = cell("naive", Load::Saturated, 1, 5.0, 7.0);
        journal.add(one.clone()).unwrap();
        assert!(journal.has(&one.key) && journal.add(one).is_err());
    }

    #[test]
    fn a_run_with_a_wrong_answer_is_no_result() {
        let right = cell("naive", Load::Saturated, 1, 5.0, 7.0);
        assert!(right.good().is_some());
        assert!(Cell { failed: Some("1 mismatch".to_owned()), ..right }.good().is_none());
    }

    #[test]
    fn a_refresh_is_held_when_the_answers_come_first_and_keep_up() {
        let held = cell("redis", Load::Refreshed, 1, 5.0, 7.0);
        assert!(held.is_held());
        assert!(!behind(held.clone(), 8).is_held() && behind(held.clone(), 9).is_held());
        let wrong = Cell { failed: Some("1 mismatch".to_owned()), ..held };
        assert!(!wrong.is_held() && wrong.rounds().is_none());
        // Where events are paced, the rate comes first.
        assert!(behind(cell("redis", Load::RefreshedPaced, 1, 5.0, 7.0), 0).is_held());
    }
}
