//! From a program's bytes to its artefact: out of the cache, or through the compiler.
//!
//! Owns neither files nor processes: [`Cache`] and [`Compiler`] do.
//!
//! ```text
//!   build ─▶ cache ── found ──────────────────▶ artefact
//!              └ nothing, damaged ─▶ compiler ─▶ artefact ─▶ cache
//! ```
//!
//! Invariant: an artefact comes from this machine's compiler, authenticated if it was on a disk.

use super::cache::{Cache, Found};
use super::compiler::{CompileError, Compiler};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// See the module header.
#[derive(Clone, Debug)]
pub struct Builder {
    compiler: Compiler,
    cache: Option<Cache>,
    counts: Arc<CacheCounts>,
}

/// What became of looks into the cache.
#[derive(Debug, Default)]
pub(crate) struct CacheCounts {
    pub(crate) hits: AtomicU64,
    pub(crate) misses: AtomicU64,
    pub(crate) rejected: AtomicU64,
}

/// A compiled program.
#[derive(Clone, Debug)]
pub struct Artefact {
    /// BLAKE3 of the program.
    pub hash: [u8; 32],
    /// What [`trendsrv_wasm_host::compile`] made of it.
    pub bytes: Arc<[u8]>,
}

impl Builder {
    /// A builder; without a cache everything is compiled.
    #[must_use]
    pub fn new(compiler: Compiler, cache: Option<Cache>) -> Self {
        Self { compiler, cache, counts: Arc::default() }
    }

    /// The artefact of a program.
    ///
    /// # Errors
    /// Why it cannot be compiled.
    pub async fn build(&self, wasm: Arc<[u8]>) -> Result<Artefact, CompileError> {
        let (builder, bytes) = (self.clone(), wasm.clone());
        let (hash, found) = in_background(move || builder.look(&bytes)).await?;
        if let Some(bytes) = found {
            return Ok(Artefact { hash, bytes });
        }
        let bytes: Arc<[u8]> = self.compiler.compile(&wasm).await?.into();
        if let Some(cache) = self.cache.clone() {
            let artefact = bytes.clone();
            in_background(move || {
                if let Err(error) = cache.put(&hash, &artefact) {
                    tracing::warn!(%error, ?cache, "a compiled program is not kept");
                }
            })
            .await?;
        }
        Ok(Artefact { hash, bytes })
    }

    pub(crate) const fn compiler(&self) -> &Compiler {
        &self.compiler
    }

    pub(crate) fn counts(&self) -> &CacheCounts {
        &self.counts
    }

    fn look(&self, wasm: &[u8]) -> ([u8; 32], Option<Arc<[u8]>>) {
        let hash = *blake3::hash(wasm).as_bytes();
        let Some(cache) = &self.cache else { return (hash, None) };
        let (counter, found) = match cache.find(&hash) {
            Found::Artefact(bytes) => (&self.counts.hits, Some(bytes.into())),
            Found::Nothing => (&self.counts.misses, None),
            Found::Damaged(path) => {
                tracing::warn!(
                    path = %path.display(),
                    "a compiled program is not what was kept: compiled again"
                );
                (&self.counts.rejected, None)
            }
        };
        counter.fetch_add(1, Ordering::Relaxed);
        (hash, found)
    }
}

/// Does what waits for a disk, or takes long, beside the thread that answers requests.
pub(super) async fn in_background<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, CompileError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| CompileError::NoProcess(std::io::Error::other(error)))
}
