//! One connection's place in the table.

use std::os::fd::OwnedFd;

use super::operation::{Multishot, OneShot};

/// Names one connection for as long as it is open; never matches a later one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ConnId {
    pub(super) index: u32,
    pub(super) generation: u32,
}

impl ConnId {
    /// The table slot, below `connections_max`: reused by later connections.
    pub fn index(self) -> usize {
        self.index as usize
    }

    /// Distinguishes the connections that had the slot one after another.
    pub fn generation(self) -> u32 {
        self.generation
    }
}

/// One slot of the table.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) socket: Option<OwnedFd>,
    pub(super) generation: u32,
    pub(super) life: Life,
    pub(super) receive: Multishot,
    pub(super) write: OneShot,
    /// In the queue of wishes to submit.
    pub(super) queued: bool,
    /// In the queue of those that wait for a buffer.
    pub(super) starving: bool,
}

/// Where a slot is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Life {
    /// No connection.
    Free,
    /// Known to the consumer.
    Open,
    /// Closed by the consumer; the kernel still holds an operation.
    Closing,
}

impl Slot {
    pub(super) fn empty() -> Self {
        Self {
            socket: None,
            generation: 0,
            life: Life::Free,
            receive: Multishot::Paused,
            write: OneShot::Idle,
            queued: false,
            starving: false,
        }
    }

    pub(super) fn has_wish(&self) -> bool {
        self.receive.has_wish() || self.write.has_wish()
    }

    pub(super) fn held(&self) -> bool {
        self.receive.held() || self.write.held()
    }
}
