//! Tenant programs: one sandboxed WebAssembly instance beside every window.
//!
//! Owns the engine, the instances and what they may cost. Never touches a window, a socket, a clock
//! or a file: [`Host`] implements the seam that `trendsrv_shard` defines, views and records come in
//! as arguments. docs/programs.md says what programs see.
//!
//! ```text
//! compile (a process of its own) ─▶ artefact ─▶ Program ─▶ Host ─▶ groups of 64 ─▶ instances
//!                                                            └─ fault, no budget ─▶ plain Rust
//! ```
//!
//! Invariants:
//! - a program reaches nothing but its own 64 KiB;
//! - what a program costs is bounded per call, per second and per shard, and charged to its tenant;
//! - what a program returns is checked before it is believed.

mod abi;
mod calls;
mod component;
mod engine;
#[doc(hidden)]
pub mod fuzzing;
mod group;
mod host;
pub mod limits;
mod parked;
mod program;
mod registry;
mod seat;
mod shipped;
mod states;
mod stats;
mod tenants;
mod text_desk;
mod unsafe_parts;
mod validate;

pub use abi::Fault;
pub use engine::{HostError, ShardEngine, compatibility, compile};
pub use host::{Host, HostConfig};
pub use program::{Program, Rejection};
pub use registry::{AssignError, ProgramLine, RemoveError};
pub use shipped::SHIPPED;
pub use stats::HostStats;
pub use tenants::{ProgramState, TenantProgram};
