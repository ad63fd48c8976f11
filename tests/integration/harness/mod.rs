//! What every test of the real process needs: a server to talk to, and two ways to talk.
//!
//! Owns processes, sockets and deadlines. Never touches the server's insides: a test knows what
//! the documents promise and what comes over the wire.
//!
//! Invariants:
//! - nothing waits without a deadline, and nothing sleeps: a test waits for a fact;
//! - a server that warned of something its test did not expect fails that test.

mod http;
mod peer;
mod process;
mod sandbox;

pub(crate) use http::{Http, Reply, escape};
pub(crate) use peer::{Event, Peer, Refusal, Witness};
pub(crate) use peer::{events_frame, hello, named_frame, resealed, text_frame};
pub(crate) use process::{Exit, Server, command};
pub(crate) use sandbox::without_io_uring;

use std::time::Duration;

/// The longest wait for anything that must happen.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);
