//! The process: makes the shards and the front desk, watches them, and takes them down again.
//!
//! Owns the order of start and stop, signals, and what is said on the terminal. Never touches
//! events or requests.
//!
//! ```text
//!   start: checks ─▶ data directory ─▶ sockets ─▶ programs ─▶ shards' threads, desk says not ready
//!          ─▶ all have recovered ─▶ all serve ─▶ desk says ready ─▶ plan and addresses
//!   stop:  signal ─▶ desk drains ─▶ shards drain ─▶ all drained ─▶ logs end ─▶ exit 0
//! ```

mod data;
mod serve;
mod shards;
mod signals;
mod watchdog;

pub use serve::{Running, StartError, start};
pub use watchdog::Watchdog;
