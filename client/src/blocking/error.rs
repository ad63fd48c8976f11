//! What can go wrong for the blocking client: what, where, and what to do.

use crate::names::NamesFull;
use crate::session::{ConfigError, PushError, Refused};
use std::io;
use std::net::SocketAddr;
use thiserror::Error;
use trendsrv_proto::NameError;

/// An error of [`Client`](super::Client).
#[derive(Debug, Error)]
pub enum ClientError {
    /// The address means nothing.
    #[error("{address:?} is not an address: {cause}; write host:port, such as 127.0.0.1:7171")]
    Address {
        /// What was given.
        address: String,
        /// What the resolver said.
        cause: io::Error,
    },
    /// Nobody takes the connection.
    #[error("cannot connect to {address}: {cause}; is trendsrv listening there?")]
    Connect {
        /// Where.
        address: SocketAddr,
        /// Why.
        cause: io::Error,
    },
    /// Whoever listens there does not greet as trendsrv does.
    #[error("{address} does not greet as trendsrv does: {why}; is it the --listen address?")]
    Greeting {
        /// Where.
        address: SocketAddr,
        /// What came instead.
        why: String,
    },
    /// The server will not have this client.
    #[error("{address} refused the connection for good: {why}")]
    Closed {
        /// Where.
        address: SocketAddr,
        /// In the server's words.
        why: String,
    },
    /// The operating system failed.
    #[error("{what}: {cause}")]
    Io {
        /// Doing what.
        what: &'static str,
        /// Why.
        cause: io::Error,
    },
    /// An answer did not come in time.
    #[error("{what} took longer than {after_ms} ms{last}; raise the timeout or look at the server")]
    Timeout {
        /// What was waited for.
        what: &'static str,
        /// How long.
        after_ms: u64,
        /// The last thing that went wrong meanwhile, if any.
        last: String,
    },
    /// A setting cannot work.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A name breaks the rule for names.
    #[error("{kind} name {name:?}: {cause}")]
    Name {
        /// Tenant or topic.
        kind: &'static str,
        /// The name.
        name: String,
        /// The rule.
        cause: NameError,
    },
    /// The dictionary is full.
    #[error(transparent)]
    NamesFull(#[from] NamesFull),
    /// An event breaks a rule.
    #[error(transparent)]
    Event(#[from] PushError),
    /// A query or subscription was refused.
    #[error("{}: {}", .0.code.name(), .0.message)]
    Refused(Refused),
    /// Every subscription of the connection is taken.
    #[error("the connection's 64 subscriptions are taken; end one or use another client")]
    Subscriptions,
}
