//! Programs at the start of a server: those shipped, those kept, and what each shard is given.

use super::builder::Builder;
use super::cache::{Cache, CacheError};
use super::compiler::{Compiler, Recipe};
use super::journal::{Journal, JournalError};
use super::library::{Library, LibraryError};
use super::name::ProgramName;
use crate::config::limits::CACHE_BYTES_MAX;
use crate::config::{Config, DefaultProgram, ProgramCache};
use std::sync::Arc;
use trendsrv_proto::TenantId;
use trendsrv_shard::Grid;
use trendsrv_wasm_host::{Host, HostConfig, HostError, Program, SHIPPED, ShardEngine};

/// Why a server has no programs.
#[derive(Debug, thiserror::Error)]
pub enum ProgramsError {
    /// An engine cannot be had.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The cache that was asked for cannot be used.
    #[error("--program-cache: {0}")]
    Cache(#[from] CacheError),
    /// The directory of programs cannot be used.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A program cannot be had.
    #[error("program {name}: {source}")]
    Program {
        /// Its name.
        name: ProgramName,
        /// Why.
        source: LibraryError,
    },
    /// What was kept does not fit this server.
    #[error("--programs-dir: {0}")]
    Kept(#[source] LibraryError),
    /// The default program is not there.
    #[error(
        "--default-program: no program is called {0}: it must be trending, native or one that was \
         uploaded to --programs-dir"
    )]
    NoDefault(ProgramName),
    /// The runtime that waits for the compiler does not start.
    #[error("cannot wait for the compiler: {0}")]
    Runtime(#[source] std::io::Error),
}

/// What one shard is given.
#[derive(Debug)]
pub struct ShardPrograms {
    engine: ShardEngine,
    programs: Vec<Arc<Program>>,
    default: Option<ProgramName>,
    assignments: Vec<(TenantId, ProgramName)>,
}

/// Has all programs ready: what was compiled before comes from the cache.
///
/// # Errors
/// What keeps a program, an engine or a directory from being used.
pub fn start(
    config: &Config,
    recipe: Recipe,
    owner: impl Fn(TenantId) -> usize,
) -> Result<(Library, Vec<ShardPrograms>), ProgramsError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(ProgramsError::Runtime)?;
    runtime.block_on(start_library(config, recipe, owner))
}

async fn start_library(
    config: &Config,
    recipe: Recipe,
    owner: impl Fn(TenantId) -> usize,
) -> Result<(Library, Vec<ShardPrograms>), ProgramsError> {
    let journal = config.programs_dir.as_deref().map(Journal::open).transpose()?;
    let builder = Builder::new(Compiler::new(recipe), open_cache(&config.program_cache)?);
    let engine = || ShardEngine::new(config.tenants_per_shard_max());
    let engines: Vec<ShardEngine> =
        (0..config.shards).map(|_| engine()).collect::<Result<_, _>>()?;
    let default = match &config.default_program {
        DefaultProgram::Native => None,
        DefaultProgram::Named(name) => Some(name.clone()),
    };
    let assignments_max = config.tenants_max.max(ASSIGNMENTS_LEAST);
    let library = Library::new(builder, engines.clone(), default.clone(), assignments_max);
    for (name, wasm) in SHIPPED {
        let name = ProgramName::new(name).expect("shipped programs are well named");
        take_in(&library, name, wasm.to_vec(), true).await?;
    }
    if let Some(journal) = journal {
        for name in journal.kept().programs.keys() {
            take_in(&library, name.clone(), journal.program(name)?, false).await?;
        }
        library.shelves().await.keep_in(journal).map_err(ProgramsError::Kept)?;
    }
    if let Some(name) = &default
        && library.shelves().await.entry(name).is_err()
    {
        return Err(ProgramsError::NoDefault(name.clone()));
    }
    let shards = share_out(&library, engines, owner).await;
    Ok((library, shards))
}

/// The cache, if it is to be used. One that nobody asked for may be missing.
fn open_cache(cache: &ProgramCache) -> Result<Option<Cache>, ProgramsError> {
    let open = |folder| Cache::open(folder, trendsrv_wasm_host::compatibility(), CACHE_BYTES_MAX);
    match cache {
        ProgramCache::Off => Ok(None),
        ProgramCache::Asked(folder) => Ok(Some(open(folder)?)),
        ProgramCache::Usual(folder) => match open(folder) {
            Ok(cache) => Ok(Some(cache)),
            Err(error) => {
                tracing::info!("programs are compiled at every start: no cache: {error}");
                Ok(None)
            }
        },
    }
}

async fn take_in(
    library: &Library,
    name: ProgramName,
    wasm: Vec<u8>,
    shipped: bool,
) -> Result<(), ProgramsError> {
    let failed = |source| ProgramsError::Program { name: name.clone(), source };
    let prepared = library.prepare(name.clone(), wasm, shipped).await.map_err(failed)?;
    library.shelves().await.put(prepared).await.map_err(failed)?;
    Ok(())
}

async fn share_out(
    library: &Library,
    engines: Vec<ShardEngine>,
    owner: impl Fn(TenantId) -> usize,
) -> Vec<ShardPrograms> {
    let shelves = library.shelves().await;
    let default = shelves.default_program();
    let give = |(shard, engine): (usize, ShardEngine)| ShardPrograms {
        engine,
        programs: shelves.entries().map(|(_, entry)| entry.programs[shard].clone()).collect(),
        default: default.cloned(),
        assignments: Vec::new(),
    };
    let mut shards: Vec<ShardPrograms> = engines.into_iter().enumerate().map(give).collect();
    for (tenant, program) in shelves.assignments() {
        let tenant = TenantId::of(tenant);
        shards[owner(tenant)].assignments.push((tenant, program.clone()));
    }
    shards
}

impl ShardPrograms {
    /// With another default program, in place of the one of its name.
    #[must_use]
    pub fn with_default(mut self, program: Arc<Program>, name: ProgramName) -> Self {
        self.programs.retain(|other| other.name() != name.as_str());
        self.programs.push(program);
        self.default = Some(name);
        self
    }

    /// The shard's host, with everything installed and assigned.
    ///
    /// # Errors
    /// When it does not fit.
    pub fn into_host(self, tenants_max: usize, grid: &Grid) -> Result<Host, HostError> {
        let of = |name: &str| self.programs.iter().find(|program| program.name() == name).cloned();
        let config = HostConfig {
            tenants_max,
            window_ms: grid.window_ms(),
            recent_ms: u64::from(grid.recent_panes()) * grid.slide_ms(),
            default_program: self.default.as_ref().and_then(|name| of(name.as_str())),
            text_program: of(TEXT_PROGRAM),
        };
        let mut host = Host::new(self.engine, config)?;
        for program in &self.programs {
            if self.default.as_ref().map(ProgramName::as_str) != Some(program.name()) {
                host.install(program.clone())?;
            }
        }
        for (tenant, program) in self.assignments {
            let assigned = host.assign(tenant, Some(program.as_str()));
            assigned.expect("the library holds no more assignments than a host, and no others");
        }
        Ok(host)
    }
}

/// Finds the topics of texts for tenants whose own program takes none.
const TEXT_PROGRAM: &str = "hashtags";
/// Even a small server lets so many tenants have programs of their own.
const ASSIGNMENTS_LEAST: usize = 1_024;
