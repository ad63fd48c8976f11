//! Tenant programs from upload to shard: checked, compiled, kept, handed out.
//!
//! Owns the processes that compile, the cache of artefacts, the journal of uploads and assignments.
//! Never touches an instance or a window: `trendsrv_wasm_host` and the shards do.
//!
//! ```text
//!   PUT /v1/programs/x ─▶ library ─▶ builder ─▶ cache, or compiler ─▶ child (confined)
//!                            └─▶ journal ─▶ mail to every shard ─▶ Host::install
//! ```
//!
//! Invariants:
//! - untrusted bytes are compiled in a confined process, never in this one;
//! - an artefact that was on a disk is loaded only if this server's key vouches for it.

pub mod offline;

mod builder;
mod cache;
mod child;
mod compiler;
mod confine;
mod journal;
mod library;
mod name;
mod start;
mod wire;

pub use builder::{Artefact, Builder};
pub use cache::{Cache, CacheError, Found};
pub use child::run as compile_standard_input;
pub use compiler::{CompileError, Compiler, Recipe};
pub use journal::{Change, Journal, JournalError, Kept};
pub use library::{Entry, Library, LibraryError, Prepared, Shelves};
pub use name::{NotAName, ProgramName};
pub use start::{ProgramsError, ShardPrograms, start};

pub(crate) use cache::hex;
