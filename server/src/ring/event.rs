//! What a poll tells its consumer.

use super::{ConnId, Connections, ListenerId};

/// One thing that happened; a closed list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RingEvent<'a> {
    /// A peer connected. It is being received from already.
    Accepted {
        /// Where it came in.
        listener: ListenerId,
        /// Its name from now on.
        conn: ConnId,
    },
    /// A peer connected while the table or the accept backlog was full, and was closed at once.
    TurnedAway {
        /// Where it came in.
        listener: ListenerId,
    },
    /// Accepting failed, most likely for want of descriptors. It goes on by itself.
    AcceptFailed {
        /// Where.
        listener: ListenerId,
        /// The error number.
        errno: i32,
        /// The pause before it is tried again; 0 for at once.
        retry_ms: u32,
    },
    /// Bytes arrived, in order, split anywhere.
    Received {
        /// From whom.
        conn: ConnId,
        /// Valid until the callback returns.
        bytes: &'a [u8],
    },
    /// The peer will send nothing more; it may still read. Close it when it has been answered.
    HalfClosed {
        /// Which.
        conn: ConnId,
    },
    /// The connection broke. It is closed when the callback returns.
    Closed {
        /// Which.
        conn: ConnId,
        /// The error number.
        errno: i32,
    },
    /// The socket takes bytes again, or is broken, which the next send will tell.
    Writable {
        /// Which.
        conn: ConnId,
    },
}

/// The consumer of a ring's events.
pub trait RingEvents {
    /// Called for each event, in the order of the completions. `connections` is lent for answers.
    fn on_event(&mut self, connections: &mut Connections, event: RingEvent<'_>);
}

impl<F: FnMut(&mut Connections, RingEvent<'_>)> RingEvents for F {
    fn on_event(&mut self, connections: &mut Connections, event: RingEvent<'_>) {
        self(connections, event);
    }
}

/// What one poll did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Turn {
    /// Completions handled.
    pub completions: u32,
    /// Bytes handed out.
    pub received_bytes: usize,
    /// Connections handed out.
    pub accepted: u32,
    /// There is more to do at once: poll again before sleeping.
    pub more: bool,
}

/// How the shard means to wake up from the sleep it prepares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WakeBy {
    /// The doorbell: completions ring it.
    Doorbell,
    /// A timer: completions stay silent, which saves a wake-up each under load.
    Timer,
}

/// Counters of one ring since it was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RingStats {
    /// Bytes received.
    pub received_bytes: u64,
    /// Completions that carried bytes.
    pub receives: u64,
    /// Receives that found no free buffer and had to wait for one.
    pub starved: u64,
    /// Connections accepted.
    pub accepted: u64,
    /// Connections closed at once because a table was full.
    pub turned_away: u64,
    /// Accepts that failed.
    pub accept_failures: u64,
    /// `io_uring_enter` calls.
    pub enters: u64,
    /// Completions of no known operation; anything but 0 is a defect.
    pub stray: u64,
}
