//! Runs programs as the server would, for the tests of this workspace: an interpreter in place of
//! the server's compiler, no fuel, the same bytes.
//!
//! Owns: the host's side of the buffer ([`View`], [`texts`]), one instance ([`Guest`]), and what a
//! module is made of ([`Shape`]).

mod guest;
mod input;
mod shape;

pub use guest::{Fault, Guest, Told};
pub use input::{Event, Row, View, events, texts};
pub use shape::{Shape, shape};

use std::path::PathBuf;

/// The bytes of a shipped program.
///
/// # Panics
/// When it is missing: `./build.sh` makes it.
#[must_use]
pub fn shipped(name: &str) -> Vec<u8> {
    let path = root().join("wasm").join(name).with_extension("wasm");
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The folder of this workspace.
#[must_use]
pub fn root() -> PathBuf {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    here.parent().map_or(here.clone(), PathBuf::from)
}
