//! The few words the process and a shard exchange beside their channels.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

/// How far a shard is to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Phase {
    /// Serve.
    Running = 0,
    /// Take no new connections; answer what has come in.
    Draining = 1,
    /// Every shard has drained: end.
    Stopping = 2,
}

/// One shard's words; on a cache line of their own.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct Life {
    turns: AtomicU64,
    phase: AtomicU8,
    drained: AtomicBool,
}

impl Life {
    /// The shard has made this many turns. Written by the shard only.
    pub(crate) fn count_turn(&self, turns: u64) {
        self.turns.store(turns, Ordering::Relaxed);
    }

    /// Turns made; a shard that lives makes some every second.
    #[must_use]
    pub fn turns(&self) -> u64 {
        self.turns.load(Ordering::Relaxed)
    }

    /// Tells the shard how far to go; ring its doorbell after.
    pub fn set_phase(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Release);
    }

    pub(crate) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Running,
            1 => Phase::Draining,
            _ => Phase::Stopping,
        }
    }

    pub(crate) fn set_drained(&self) {
        self.drained.store(true, Ordering::Release);
    }

    /// Whether the shard has answered everyone and waits to be stopped.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.drained.load(Ordering::Acquire)
    }
}
