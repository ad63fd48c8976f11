//! The engine of components: as that of core modules, with larger memories made on demand.
//!
//! Nothing is reserved ahead: a shard without components pays nothing for the lane.

use super::parts::Parts;
use super::{allow_list, wasi};
use crate::limits::COMPONENT_MEMORY_BYTES_MAX;
use crate::program::Rejection;
use wasmtime::component::Component;
use wasmtime::{Config, Engine};

/// What differs from the settings of the core lane.
pub(crate) fn settings(mut common: Config) -> Config {
    common
        .wasm_features(allow_list::features(), true)
        .memory_reservation(COMPONENT_MEMORY_BYTES_MAX as u64);
    common
}

/// Checks a component and compiles it.
///
/// # Errors
/// When it is not one that runs here.
pub(crate) fn compile(engine: &Engine, wasm: &[u8]) -> Result<Vec<u8>, Rejection> {
    allow_list::check(wasm)?;
    let not_compiled = |error| Rejection::NotCompiled(format!("{error:#}"));
    let component = Component::new(engine, wasm).map_err(not_compiled)?;
    wasi::check_imports(&component)?;
    Parts::check_exports(&component)?;
    component.serialize().map_err(not_compiled)
}
