//! A shard's own io_uring: accepts, receives and tells when a socket can be written again.
//!
//! Owns: the ring, its receive buffers, the listeners and connections of one shard, and their
//! descriptors. Never touches: what the bytes mean, time, other shards.
//!
//! ```text
//!            ┌── one poll ─────────────────────────────────────────────────────────┐
//!   wishes ──▶ submission queue ──enter──▶ kernel ──▶ completion queue ──▶ RingEvent ──▶ consumer
//!     ▲                                       │ picks                          │
//!     │                              provided buffers ◀── recycled when the ───┤
//!     │                                                   callback returns     │
//!     └──────────── Connections: pause, resume, send, close ◀──────────────────┘
//! ```
//!
//! Invariants:
//! - Made, polled and dropped on one thread (SINGLE_ISSUER), inside the shard's executor.
//! - A descriptor is closed only when the kernel holds no operation on it, and its table slot is
//!   reused only then, with a new generation: no completion ever reaches the wrong connection.
//! - Bytes handed out are valid until the callback returns; no buffer is held longer.
//! - Every table and queue has its size from [`RingConfig`] at start; polling does not allocate.
//! - Out of buffers or descriptors is a state to wait in, not an error and not a loop.

#![allow(unsafe_code, reason = "shares queues and buffers with the kernel: buffers.rs, poll.rs")]

mod buffers;
mod config;
mod connection;
mod connections;
mod error;
mod event;
mod listener;
mod operation;
mod poll;
mod token;

pub use config::RingConfig;
pub use connection::ConnId;
pub use connections::{Connections, SendOutcome};
pub use error::RingError;
pub use event::{RingEvent, RingEvents, RingStats, Turn, WakeBy};
pub use listener::ListenerId;
pub use poll::Ring;

pub(crate) use poll::builder;
