//! The programs of the process: which there are, whose they are, and who runs which.
//!
//! Owns names, assignments and the journal that keeps them. Never touches an instance: a shard's
//! host does, and is told by mail.
//!
//! ```text
//!   prepare ─▶ builder ─▶ artefact ─▶ loaded into every shard's engine
//!   put, remove, assign ─▶ allowed? ─▶ journal ─▶ told to the shards
//! ```
//!
//! Invariants:
//! - one change at a time, and a change is in the journal before a shard hears of it;
//! - programs with the same bytes are loaded once an engine, whatever they are called.

use super::builder::{Artefact, Builder, in_background};
use super::cache::hex;
use super::compiler::CompileError;
use super::journal::{Change, Journal, JournalError};
use super::name::ProgramName;
use crate::config::limits::{CODE_BYTES_MAX, PROGRAMS_MAX};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::{Mutex, MutexGuard};
use trendsrv_wasm_host::{Program, Rejection, ShardEngine};

/// See the module header.
#[derive(Debug)]
pub struct Library {
    builder: Builder,
    engines: Vec<ShardEngine>,
    shelves: Mutex<Shelves>,
}

/// What is where, while one change is made.
#[derive(Debug)]
pub struct Shelves {
    entries: BTreeMap<ProgramName, Entry>,
    assignments: BTreeMap<Box<str>, ProgramName>,
    assignments_max: usize,
    default: Option<ProgramName>,
    journal: Option<Arc<Mutex<Journal>>>,
}

/// One program.
#[derive(Clone, Debug)]
pub struct Entry {
    /// BLAKE3 of its bytes.
    pub hash: [u8; 32],
    /// Size as uploaded.
    pub bytes: usize,
    /// Size compiled.
    pub artefact_bytes: usize,
    /// Whether it comes with the server.
    pub shipped: bool,
    /// Tenants it is assigned to.
    pub assigned: usize,
    /// It, in each shard's engine.
    pub programs: Vec<Arc<Program>>,
}

/// A program that could be installed.
#[derive(Debug)]
pub struct Prepared {
    name: ProgramName,
    wasm: Arc<[u8]>,
    entry: Entry,
}

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum LibraryError {
    /// It cannot be compiled.
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// It cannot be loaded.
    #[error("{0}")]
    Rejected(#[from] Rejection),
    /// The name is the server's own.
    #[error("{0} comes with the server: choose another name")]
    Reserved(ProgramName),
    /// There are enough.
    #[error("{PROGRAMS_MAX} programs are here already: remove one that no tenant runs")]
    TooMany,
    /// There is enough machine code.
    #[error("all programs together would have more than {CODE_BYTES_MAX} bytes of machine code")]
    TooMuchCode,
    /// There is none of this name.
    #[error("no program is called {0}: GET /v1/programs lists them")]
    Unknown(ProgramName),
    /// Tenants run it.
    #[error("{assigned} tenants run {name}: assign them another program first")]
    InUse {
        /// Its name.
        name: ProgramName,
        /// How many.
        assigned: usize,
    },
    /// Everybody runs it.
    #[error("{0} is the default program of this server (--default-program)")]
    Default(ProgramName),
    /// Enough tenants have programs of their own.
    #[error("{0} tenants are assigned programs already: take one back, or raise --tenants-max")]
    TooManyAssignments(usize),
    /// The disk refuses.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

impl Library {
    /// A library without programs, for these engines.
    #[must_use]
    pub fn new(
        builder: Builder,
        engines: Vec<ShardEngine>,
        default: Option<ProgramName>,
        assignments_max: usize,
    ) -> Self {
        let shelves = Shelves {
            entries: BTreeMap::new(),
            assignments: BTreeMap::new(),
            assignments_max,
            default,
            journal: None,
        };
        Self { builder, engines, shelves: Mutex::new(shelves) }
    }

    /// Compiles a program and loads it into every engine; nobody runs it yet.
    ///
    /// # Errors
    /// What is wrong with it.
    pub async fn prepare(
        &self,
        name: ProgramName,
        wasm: Vec<u8>,
        shipped: bool,
    ) -> Result<Prepared, LibraryError> {
        let wasm: Arc<[u8]> = wasm.into();
        let artefact = self.builder.build(wasm.clone()).await?;
        let same = self.shelves.lock().await.loaded(&artefact.hash);
        let (hash, artefact_bytes) = (artefact.hash, artefact.bytes.len());
        let programs = match same {
            Some(same) => same.iter().map(|program| program.under_name(name.as_str())).collect(),
            None => {
                let (engines, name) = (self.engines.clone(), name.clone());
                in_background(move || load(&engines, &name, &artefact)).await??
            }
        };
        let bytes = wasm.len();
        let entry = Entry { hash, bytes, artefact_bytes, shipped, assigned: 0, programs };
        Ok(Prepared { name, wasm, entry })
    }

    /// Waits for its turn to look or to change.
    pub async fn shelves(&self) -> MutexGuard<'_, Shelves> {
        self.shelves.lock().await
    }

    /// The builder, for its numbers.
    pub(crate) const fn builder(&self) -> &Builder {
        &self.builder
    }
}

impl Prepared {
    /// It, as it would be installed.
    #[must_use]
    pub const fn entry(&self) -> &Entry {
        &self.entry
    }
}

impl Entry {
    /// What it exports of the ABI.
    #[must_use]
    pub fn exports(&self) -> Vec<&'static str> {
        self.programs.first().map_or_else(Vec::new, |program| program.stages())
    }
}

impl Shelves {
    /// Keeps changes in this journal from now on, and takes over its assignments.
    ///
    /// # Errors
    /// When it has more of them than this server takes.
    pub fn keep_in(&mut self, journal: Journal) -> Result<(), LibraryError> {
        self.assignments.clone_from(&journal.kept().assignments);
        if self.assignments.len() > self.assignments_max {
            return Err(LibraryError::TooManyAssignments(self.assignments_max));
        }
        for program in self.assignments.values() {
            let entry = self.entries.get_mut(program);
            entry.ok_or_else(|| LibraryError::Unknown(program.clone()))?.assigned += 1;
        }
        self.journal = Some(Arc::new(Mutex::new(journal)));
        Ok(())
    }

    /// Takes a program in, in place of the one of its name. Returns whether it is a new name.
    ///
    /// # Errors
    /// When it may not, or the disk refuses.
    pub async fn put(&mut self, prepared: Prepared) -> Result<bool, LibraryError> {
        let Prepared { name, wasm, mut entry } = prepared;
        let before = self.entries.get(&name);
        if before.is_some_and(|before| before.shipped) {
            return Err(LibraryError::Reserved(name));
        }
        let uploaded = self.entries.values().filter(|entry| !entry.shipped).count();
        if before.is_none() && !entry.shipped && uploaded >= PROGRAMS_MAX {
            return Err(LibraryError::TooMany);
        }
        let others = self.entries.iter().filter(|(other, _)| **other != name);
        let others: usize = others.map(|(_, other)| other.artefact_bytes).sum();
        if others + entry.artefact_bytes > CODE_BYTES_MAX {
            return Err(LibraryError::TooMuchCode);
        }
        let is_new = before.is_none();
        entry.assigned = before.map_or(0, |before| before.assigned);
        if let Some(journal) = self.journal.clone() {
            let (name, hash) = (name.clone(), entry.hash);
            in_background(move || {
                let mut journal = journal.blocking_lock();
                journal.keep(&hash, &wasm)?;
                journal.write(Change::Put { name, hash: hex(&hash) })
            })
            .await??;
        }
        self.entries.insert(name, entry);
        Ok(is_new)
    }

    /// Takes a program out that no tenant runs.
    ///
    /// # Errors
    /// When one does, or the disk refuses.
    pub async fn remove(&mut self, name: &ProgramName) -> Result<(), LibraryError> {
        let entry = self.entry(name)?;
        if entry.shipped {
            return Err(LibraryError::Reserved(name.clone()));
        }
        if self.default.as_ref() == Some(name) {
            return Err(LibraryError::Default(name.clone()));
        }
        if entry.assigned > 0 {
            let (name, assigned) = (name.clone(), entry.assigned);
            return Err(LibraryError::InUse { name, assigned });
        }
        self.write(Change::Remove { name: name.clone() }).await?;
        self.entries.remove(name);
        Ok(())
    }

    /// Assigns a tenant a program, or the default again.
    ///
    /// # Errors
    /// When there is no such program, or no room, or the disk refuses.
    pub async fn assign(
        &mut self,
        tenant: &str,
        program: Option<ProgramName>,
    ) -> Result<(), LibraryError> {
        let before = self.assignments.get(tenant);
        if let Some(program) = &program {
            self.entry(program)?;
            if before.is_none() && self.assignments.len() >= self.assignments_max {
                return Err(LibraryError::TooManyAssignments(self.assignments_max));
            }
        }
        if before == program.as_ref() {
            return Ok(());
        }
        self.write(match program.clone() {
            Some(program) => Change::Assign { tenant: tenant.into(), program },
            None => Change::Unassign { tenant: tenant.into() },
        })
        .await?;
        let before = match &program {
            Some(program) => self.assignments.insert(tenant.into(), program.clone()),
            None => self.assignments.remove(tenant),
        };
        for (program, more) in [(before, false), (program, true)] {
            if let Some(entry) = program.and_then(|program| self.entries.get_mut(&program)) {
                entry.assigned = if more { entry.assigned + 1 } else { entry.assigned - 1 };
            }
        }
        Ok(())
    }

    /// A program.
    ///
    /// # Errors
    /// When there is none of this name.
    pub fn entry(&self, name: &ProgramName) -> Result<&Entry, LibraryError> {
        self.entries.get(name).ok_or_else(|| LibraryError::Unknown(name.clone()))
    }

    /// All programs, by name.
    pub fn entries(&self) -> impl Iterator<Item = (&ProgramName, &Entry)> {
        self.entries.iter()
    }

    /// What tenants are assigned, by the tenants' names.
    #[must_use]
    pub const fn assignments(&self) -> &BTreeMap<Box<str>, ProgramName> {
        &self.assignments
    }

    /// What tenants run that are assigned nothing; `None` is plain Rust.
    #[must_use]
    pub const fn default_program(&self) -> Option<&ProgramName> {
        self.default.as_ref()
    }

    async fn write(&self, change: Change) -> Result<(), LibraryError> {
        if let Some(journal) = self.journal.clone() {
            in_background(move || journal.blocking_lock().write(change)).await??;
        }
        Ok(())
    }

    fn loaded(&self, hash: &[u8; 32]) -> Option<Vec<Arc<Program>>> {
        let same = self.entries.values().find(|entry| entry.hash == *hash);
        same.map(|entry| entry.programs.clone())
    }
}

fn load(
    engines: &[ShardEngine],
    name: &ProgramName,
    artefact: &Artefact,
) -> Result<Vec<Arc<Program>>, Rejection> {
    let Artefact { hash, bytes } = artefact;
    engines.iter().map(|engine| Program::load(engine, name.as_str(), *hash, bytes)).collect()
}
