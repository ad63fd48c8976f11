//! What can stop a ring; what merely happens to a connection is a [`super::RingEvent`].

use std::io;

use crate::runtime::RuntimeError;

/// Why a ring could not be made or driven.
#[derive(Debug, thiserror::Error)]
pub enum RingError {
    /// A size in [`super::RingConfig`] breaks its rule.
    #[error("ring setting {field} must be {rule}")]
    Config {
        /// The field.
        field: &'static str,
        /// Its rule.
        rule: &'static str,
    },

    /// This machine does not give us the ring; says why and what to do.
    #[error(transparent)]
    Setup(#[from] RuntimeError),

    /// More listeners than `listeners_max`.
    #[error("more than {listeners_max} listeners on one ring")]
    ListenersFull {
        /// The limit.
        listeners_max: u32,
    },

    /// The kernel refused to run the ring; the shard cannot go on.
    #[error("io_uring_enter: {0}")]
    Enter(#[source] io::Error),
}
