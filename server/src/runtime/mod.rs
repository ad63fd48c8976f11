//! Threads that run shards: one glommio executor each, pinned or floating, with a doorbell.
//!
//! Owns: shard threads and their executors, timers, doorbells, the memory a shard lives in, and
//! the checks made before any of it starts. This is the only module that names glommio, so that
//! the runtime can be replaced by changing one line of `Cargo.toml` (see `docs/decisions`).
//! Never touches: sockets, frames, tenants.
//!
//! ```text
//!   run_shard ──spawns──▶ thread "shard-0" ── pinned ──▶ LocalExecutor ──runs──▶ body(ShardRuntime)
//!                                                              │
//!   any thread ── DoorbellRinger::ring ──▶ eventfd ◀── read ───┘ while the shard sleeps
//!   own io_uring ── registered eventfd ───────▲
//! ```
//!
//! Invariants:
//! - A shard's body, its ring and its doorbell listener never leave the thread they started on.
//! - Preemption timer 2 ms: the default of 100 ms makes 2 ms timers 14 ms late, and below 1 ms the
//!   executor can park while work is runnable.
//! - A wake-up is never lost: whoever publishes work rings after publishing; the shard arms its
//!   doorbell, then looks for work once more, then waits.

#![allow(
    unsafe_code,
    reason = "eventfd, limits, affinity and memory are system calls: doorbell.rs, preflight.rs, \
              huge_memory.rs, helping_thread.rs"
)]

mod doorbell;
mod error;
mod helping_thread;
mod huge_memory;
mod preflight;
mod shard_thread;

pub use doorbell::{Doorbell, DoorbellListener, DoorbellRinger, Woken};
pub use error::RuntimeError;
pub(crate) use helping_thread::{leave_the_core, serve_at_once};
pub use huge_memory::HugeMemory;
pub(crate) use preflight::patiently;
pub use preflight::{
    MEMLOCK_FLOOR_BYTES, MEMLOCK_PER_SHARD_BYTES, Preflight, allowed_cores, raise_open_files,
};
pub use shard_thread::{Placement, ShardRuntime, ShardThread, run_shard};
