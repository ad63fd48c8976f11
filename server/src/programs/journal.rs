//! Uploaded programs and assignments on disk, so that they survive a restart.
//!
//! Owns one directory (`--programs-dir`). Never touches what a program means.
//!
//! ```text
//!   lock         held while a server runs
//!   HASH.wasm    each program, by the BLAKE3 of its bytes
//!   journal      a line a change: JSON, a tab, CRC32C of the JSON in hex
//! ```
//!
//! Invariants:
//! - a change is on the disk before anyone is told that it was made;
//! - a journal grows to at most about twice what it says: then it is written anew;
//! - a line that was cut by a crash is nobody's promise and is dropped; any other damage refuses
//!   the start.

use super::cache::{NewFile, hex};
use super::name::ProgramName;
use crate::config::limits::{ASSIGNMENTS_MAX, JOURNAL_BYTES_MAX, PROGRAMS_MAX};
use crate::folder_lock::FolderLock;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use trendsrv_proto::check_name;
use trendsrv_wasm_host::limits::PROGRAM_BYTES_MAX;

/// One change.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Change {
    /// A program is there, or is another from now on.
    Put {
        /// Its name.
        name: ProgramName,
        /// BLAKE3 of its bytes, in hex.
        hash: String,
    },
    /// A program is gone.
    Remove {
        /// Its name.
        name: ProgramName,
    },
    /// A tenant runs this program.
    Assign {
        /// The tenant's name.
        tenant: Box<str>,
        /// The program's name.
        program: ProgramName,
    },
    /// A tenant runs the default program.
    Unassign {
        /// The tenant's name.
        tenant: Box<str>,
    },
}

/// What the journal says when all its lines are read.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Kept {
    /// Programs by name, with the hash of their bytes.
    pub programs: BTreeMap<ProgramName, String>,
    /// Programs of tenants, by the tenants' names.
    pub assignments: BTreeMap<Box<str>, ProgramName>,
}

/// Why a directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The file system refuses.
    #[error("--programs-dir: {}: {source}", path.display())]
    Io {
        /// Which file or directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another server is at work there.
    #[error("--programs-dir: {} is in use by another server", .0.display())]
    InUse(PathBuf),
    /// Damage that no crash explains.
    #[error(
        "--programs-dir: {}:{line}: {what}; the file is damaged: restore it, or move it away and \
         upload and assign the programs again", path.display()
    )]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// Its line, from 1.
        line: usize,
        /// What is wrong.
        what: String,
    },
    /// A program's bytes are not what the journal says.
    #[error(
        "--programs-dir: {} is not the program {name} that was uploaded ({what}): restore it, or \
         move the directory away and upload the programs again", path.display()
    )]
    BadProgram {
        /// Its file.
        path: PathBuf,
        /// Its name.
        name: ProgramName,
        /// What is wrong.
        what: String,
    },
    /// A write failed before; what the disk holds is not known.
    #[error("--programs-dir: {} could not be written before: restart the server", .0.display())]
    Broken(PathBuf),
}

/// See the module header.
#[derive(Debug)]
pub struct Journal {
    folder: PathBuf,
    path: PathBuf,
    file: File,
    kept: Kept,
    lines: usize,
    broken: bool,
    _lock: FolderLock,
}

impl Journal {
    /// Opens a directory, making it if it is not there.
    ///
    /// # Errors
    /// When it cannot be used, is in use, or is damaged.
    pub fn open(folder: &Path) -> Result<Self, JournalError> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
        made.map_err(failed(folder))?;
        let lock = FolderLock::take(folder).map_err(failed(folder))?;
        let lock = lock.ok_or_else(|| JournalError::InUse(folder.to_owned()))?;
        let path = folder.join("journal");
        let mut text = String::new();
        let file = open_file(&path)?;
        let read = (&file).take(JOURNAL_BYTES_MAX).read_to_string(&mut text);
        read.map_err(failed(&path))?;
        let (kept, lines) = replay(&path, &text)?;
        let folder = folder.to_owned();
        let mut journal = Self { folder, path, file, kept, lines, broken: false, _lock: lock };
        // A line that was cut is gone for good, and what nobody names any more, too.
        journal.rewrite()?;
        journal.sweep();
        Ok(journal)
    }

    /// What it says.
    #[must_use]
    pub const fn kept(&self) -> &Kept {
        &self.kept
    }

    /// The bytes of a program.
    ///
    /// # Errors
    /// When they are not what was uploaded.
    pub fn program(&self, name: &ProgramName) -> Result<Vec<u8>, JournalError> {
        let hash = self.kept.programs.get(name).map_or("", String::as_str);
        let path = self.program_path(hash);
        let bad = |what: String| {
            let (path, name) = (path.clone(), name.clone());
            JournalError::BadProgram { path, name, what }
        };
        let mut wasm = Vec::new();
        File::open(&path)
            .and_then(|file| file.take(PROGRAM_BYTES_MAX as u64 + 1).read_to_end(&mut wasm))
            .map_err(|error| bad(error.to_string()))?;
        if hex(blake3::hash(&wasm).as_bytes()) != hash {
            return Err(bad("its bytes have changed".to_owned()));
        }
        Ok(wasm)
    }

    /// Keeps a program's bytes; [`Change::Put`] names them.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn keep(&self, hash: &[u8; 32], wasm: &[u8]) -> Result<(), JournalError> {
        let path = self.program_path(&hex(hash));
        let write = || {
            let mut new = NewFile::create(&self.folder)?;
            new.file.write_all(wasm)?;
            new.file.sync_all()?;
            new.rename(&path)?;
            File::open(&self.folder)?.sync_all()
        };
        write().map_err(failed(&path))
    }

    /// Makes a change last.
    ///
    /// # Errors
    /// When the file system refuses; no further change is taken then.
    pub fn write(&mut self, change: Change) -> Result<(), JournalError> {
        if self.broken {
            return Err(JournalError::Broken(self.path.clone()));
        }
        let line = line_of(&change);
        let written = self.file.write_all(line.as_bytes()).and_then(|()| self.file.sync_data());
        if let Err(error) = written {
            self.broken = true;
            return Err(failed(&self.path)(error));
        }
        let sweeps = matches!(change, Change::Put { .. } | Change::Remove { .. });
        self.kept.apply(change);
        self.lines += 1;
        if sweeps {
            self.sweep();
        }
        if self.lines > 2 * self.kept.len() + LINES_SPARE {
            self.rewrite()?;
        }
        Ok(())
    }

    /// Writes the journal anew, with what still holds.
    fn rewrite(&mut self) -> Result<(), JournalError> {
        let write = || {
            let mut text = String::new();
            for change in self.kept.changes() {
                text.push_str(&line_of(&change));
            }
            let mut new = NewFile::create(&self.folder)?;
            new.file.write_all(text.as_bytes())?;
            new.file.sync_all()?;
            new.rename(&self.path)?;
            File::open(&self.folder)?.sync_all()?;
            OpenOptions::new().append(true).open(&self.path)
        };
        match write() {
            Ok(file) => {
                self.file = file;
                self.lines = self.kept.len();
                Ok(())
            }
            Err(error) => {
                self.broken = true;
                Err(failed(&self.path)(error))
            }
        }
    }

    /// Removes files of programs that nothing names; one that stays only takes room.
    fn sweep(&self) {
        let Ok(files) = std::fs::read_dir(&self.folder) else { return };
        for path in files.flatten().map(|entry| entry.path()) {
            let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
            let is_program = path.extension().is_some_and(|end| end == "wasm");
            if is_program && !self.kept.programs.values().any(|hash| hash == stem) {
                let _ = std::fs::remove_file(path);
            }
        }
    }

    fn program_path(&self, hash: &str) -> PathBuf {
        self.folder.join(format!("{hash}.wasm"))
    }
}

impl Kept {
    fn apply(&mut self, change: Change) {
        match change {
            Change::Put { name, hash } => {
                self.programs.insert(name, hash);
            }
            Change::Remove { name } => {
                self.programs.remove(&name);
            }
            Change::Assign { tenant, program } => {
                self.assignments.insert(tenant, program);
            }
            Change::Unassign { tenant } => {
                self.assignments.remove(&tenant);
            }
        }
    }

    /// The shortest way to say it.
    fn changes(&self) -> impl Iterator<Item = Change> {
        let put = |(name, hash): (&ProgramName, &String)| Change::Put {
            name: name.clone(),
            hash: hash.clone(),
        };
        let programs = self.programs.iter().map(put);
        programs.chain(self.assignments.iter().map(|(tenant, program)| Change::Assign {
            tenant: tenant.clone(),
            program: program.clone(),
        }))
    }

    fn len(&self) -> usize {
        self.programs.len() + self.assignments.len()
    }
}

fn open_file(path: &Path) -> Result<File, JournalError> {
    let mut options = OpenOptions::new();
    let options = options.read(true).append(true).create(true).mode(0o600);
    options.open(path).map_err(failed(path))
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> JournalError {
    let path = path.to_owned();
    move |source| JournalError::Io { path, source }
}

fn line_of(change: &Change) -> String {
    let json = serde_json::to_string(change).expect("a change is plain text");
    let check = crc32c::crc32c(json.as_bytes());
    format!("{json}\t{check:08x}\n")
}

/// Reads all lines; the last one may have been cut.
fn replay(path: &Path, text: &str) -> Result<(Kept, usize), JournalError> {
    let mut kept = Kept::default();
    let mut count = 0;
    for (index, line) in text.split_inclusive('\n').enumerate() {
        // Nobody was told of a line whose end is not there.
        let Some(line) = line.strip_suffix('\n') else { break };
        let wrong = |what: &str| JournalError::Damaged {
            path: path.to_owned(),
            line: index + 1,
            what: what.to_owned(),
        };
        let (json, check) = line.rsplit_once('\t').ok_or_else(|| wrong("it has no checksum"))?;
        if u32::from_str_radix(check, 16) != Ok(crc32c::crc32c(json.as_bytes())) {
            return Err(wrong("its checksum is another"));
        }
        let change = serde_json::from_str(json).map_err(|error| wrong(&error.to_string()))?;
        if let Change::Assign { tenant, .. } = &change {
            check_name(tenant.as_bytes()).map_err(|error| wrong(&error.to_string()))?;
        }
        kept.apply(change);
        count += 1;
        if kept.programs.len() > PROGRAMS_MAX || kept.assignments.len() > ASSIGNMENTS_MAX {
            return Err(wrong("it says more than a server holds"));
        }
    }
    Ok((kept, count))
}

/// Lines beyond twice what holds, before a journal is written anew.
const LINES_SPARE: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Folder;

    fn name(name: &str) -> ProgramName {
        ProgramName::new(name).unwrap()
    }

    fn put(journal: &mut Journal, program: &str, wasm: &[u8]) {
        let hash = blake3::hash(wasm);
        journal.keep(hash.as_bytes(), wasm).unwrap();
        let hash = hash.to_hex().to_string();
        journal.write(Change::Put { name: name(program), hash }).unwrap();
    }

    fn assign(journal: &mut Journal, tenant: &str, program: &str) {
        let (tenant, program) = (tenant.into(), name(program));
        journal.write(Change::Assign { tenant, program }).unwrap();
    }

    fn refusal(folder: &Folder) -> String {
        Journal::open(&folder.0).unwrap_err().to_string()
    }

    #[test]
    fn everything_comes_back_after_a_restart() {
        let folder = Folder::new("journal-plain");
        let mut journal = Journal::open(&folder.0).unwrap();
        put(&mut journal, "a", b"one");
        put(&mut journal, "b", b"two");
        put(&mut journal, "a", b"three");
        assign(&mut journal, "acme", "a");
        assign(&mut journal, "globex", "b");
        assign(&mut journal, "initech", "a");
        journal.write(Change::Unassign { tenant: "acme".into() }).unwrap();
        journal.write(Change::Remove { name: name("b") }).unwrap();
        let kept = journal.kept().clone();
        drop(journal);
        let journal = Journal::open(&folder.0).unwrap();
        assert_eq!(*journal.kept(), kept);
        assert_eq!(journal.program(&name("a")).unwrap(), b"three");
        assert_eq!(kept.assignments.len(), 2);
        let files = std::fs::read_dir(&folder.0).unwrap().flatten();
        let wasm = files.filter(|e| e.path().extension().is_some_and(|end| end == "wasm"));
        assert_eq!(wasm.count(), 1, "programs that nothing names are gone");
    }

    #[test]
    fn two_servers_do_not_share_a_directory() {
        let folder = Folder::new("journal-lock");
        let journal = Journal::open(&folder.0).unwrap();
        assert!(refusal(&folder).contains("in use by another server"), "{}", refusal(&folder));
        drop(journal);
        Journal::open(&folder.0).unwrap();
    }

    #[test]
    fn a_cut_last_line_is_dropped_and_any_other_damage_refused() {
        let folder = Folder::new("journal-torn");
        let mut journal = Journal::open(&folder.0).unwrap();
        assign(&mut journal, "acme", "a");
        assign(&mut journal, "globex", "b");
        drop(journal);
        let path = folder.0.join("journal");
        let whole = std::fs::read(&path).unwrap();
        let second = 1 + whole.iter().position(|byte| *byte == b'\n').unwrap();
        for end in second..whole.len() {
            std::fs::write(&path, &whole[..end]).unwrap();
            let journal = Journal::open(&folder.0).unwrap();
            assert_eq!(journal.kept().assignments.len(), 1, "cut at {end}");
        }
        for at in 0..second - 1 {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            std::fs::write(&path, bytes).unwrap();
            assert!(refusal(&folder).contains("journal"), "{at}: {}", refusal(&folder));
        }
        std::fs::write(&path, [&b"{}\n"[..], &whole].concat()).unwrap();
        assert!(refusal(&folder).contains("journal:1: it has no checksum"), "{}", refusal(&folder));
    }

    #[test]
    fn a_changed_program_is_told_by_its_file_and_name() {
        let folder = Folder::new("journal-program");
        let mut journal = Journal::open(&folder.0).unwrap();
        put(&mut journal, "a", b"one");
        let path = journal.program_path(&hex(blake3::hash(b"one").as_bytes()));
        for bytes in [&b"ona"[..], b"on", b""] {
            std::fs::write(&path, bytes).unwrap();
            let error = journal.program(&name("a")).unwrap_err().to_string();
            assert!(error.contains("is not the program a") && error.contains(".wasm"), "{error}");
        }
        std::fs::remove_file(&path).unwrap();
        assert!(journal.program(&name("a")).is_err());
    }

    #[test]
    fn a_journal_is_written_anew_when_most_of_it_no_longer_holds() {
        let folder = Folder::new("journal-long");
        let mut journal = Journal::open(&folder.0).unwrap();
        let mut longest = 0;
        for _ in 0..LINES_SPARE * 3 {
            assign(&mut journal, "acme", "a");
            longest = longest.max(std::fs::metadata(&journal.path).unwrap().len());
        }
        let line = line_of(&Change::Assign { tenant: "acme".into(), program: name("a") });
        assert!(longest <= ((LINES_SPARE + 3) * line.len()) as u64, "{longest}");
        drop(journal);
        assert_eq!(Journal::open(&folder.0).unwrap().kept().assignments.len(), 1);
    }
}
