//! The process: makes the shards and the front desk, watches them, and takes them down again.
//!
//! Owns the order of start and stop, signals, and what is said on the terminal. Never touches
//! events or requests.
//!
//! ```text
//!   start: checks ─▶ sockets ─▶ shards ─▶ all ready ─▶ desk says ready ─▶ plan and addresses
//!   stop:  signal ─▶ desk drains ─▶ shards drain ─▶ all drained ─▶ shards end ─▶ exit 0
//! ```

mod serve;
mod watchdog;

pub use serve::{Running, StartError, start};
pub use watchdog::Watchdog;
