//! The convenient lane: tenant programs that are components.
//!
//! Owns what differs from the core lane: the checks of an upload, the types of
//! `wit/trend-program.wit`, the stand-ins for WASI, and the live instances, one Store each. Never
//! touches seats, budgets or faults: those are [`crate::Host`]'s, for both lanes.
//!
//! ```text
//!  upload ─▶ allow_list ─▶ compiler ─▶ Parts ─▶ Guest (a Store of its own) ─▶ Guests by slot
//!                                        └ every import is a stand-in (wasi.rs)
//! ```
//!
//! Invariants:
//! - a component reaches nothing but its own memory: WASI is there so that programs start, and says
//!   nothing true about the machine;
//! - a trap ends the Store, which is one tenant's only;
//! - what a component returns is checked as in the core lane, and bounded before it is copied.

mod allow_list;
mod calls;
mod engine;
mod guest;
mod guests;
mod parts;
mod types;
mod wasi;

pub(crate) use engine::{compile, settings};
pub(crate) use guests::Guests;
pub(crate) use parts::Parts;

/// Whether an upload is a component, by its first bytes.
pub(crate) fn is_component(wasm: &[u8]) -> bool {
    wasmparser::Parser::is_component(wasm)
}
