//! The listeners of one shard, and the accepted sockets that wait for their turn.
//!
//! ```text
//!   kernel backlog ──multishot accept──▶ waiting (bounded) ──a few per turn──▶ Connections
//!        ▲                                  │
//!        └── accept held while waiting is ──┘
//!            longer than one turn's share
//! ```
//!
//! Out of descriptors (EMFILE, ENFILE and their like) the accept rests, 10 ms at first and twice
//! as long each time up to a second, on a timer of the ring itself.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;

use io_uring::types::Timespec;

use super::operation::{Last, Multishot, OneShot};
use super::{RingConfig, RingError};

/// Names one listener of a ring, in the order they were added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ListenerId(pub(super) u32);

impl ListenerId {
    /// 0 for the listener added first.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// All listeners of one ring.
#[derive(Debug)]
pub(super) struct Listeners {
    entries: Vec<Listener>,
    waiting: VecDeque<(ListenerId, OwnedFd)>,
    held: bool,
    listeners_max: u32,
    backlog_max: usize,
    hold_above: usize,
    retry_ms_min: u32,
    retry_ms_max: u32,
}

/// One listening socket.
#[derive(Debug)]
pub(super) struct Listener {
    pub(super) socket: Option<OwnedFd>,
    pub(super) accept: Multishot,
    pub(super) retry: OneShot,
    /// Boxed, because the kernel reads it at submission, wherever the table has moved to.
    pub(super) pause: Box<Timespec>,
    retry_ms: u32,
    removed: bool,
}

impl Listeners {
    pub(super) fn new(config: &RingConfig) -> Self {
        Self {
            entries: Vec::with_capacity(config.listeners_max as usize),
            waiting: VecDeque::with_capacity(config.accept_backlog_max as usize),
            held: false,
            listeners_max: config.listeners_max,
            backlog_max: config.accept_backlog_max as usize,
            hold_above: config.accepts_per_turn_max as usize,
            retry_ms_min: config.accept_retry_ms_min,
            retry_ms_max: config.accept_retry_ms_max,
        }
    }

    pub(super) fn add(&mut self, socket: OwnedFd) -> Result<ListenerId, RingError> {
        let index = u32::try_from(self.entries.len()).unwrap_or(u32::MAX);
        if index >= self.listeners_max {
            return Err(RingError::ListenersFull { listeners_max: self.listeners_max });
        }
        self.entries.push(Listener {
            socket: Some(socket),
            accept: if self.held { Multishot::Paused } else { Multishot::Wanted },
            retry: OneShot::Idle,
            pause: Box::new(Timespec::new()),
            retry_ms: self.retry_ms_min,
            removed: false,
        });
        Ok(ListenerId(index))
    }

    /// Stops listening; sockets already accepted are still handed out.
    pub(super) fn remove(&mut self, id: ListenerId) {
        if let Some(listener) = self.entries.get_mut(id.index()) {
            listener.removed = true;
            listener.accept = listener.accept.pause();
            listener.settle();
        }
    }

    /// Takes an accepted socket, or gives it back when too many wait already.
    pub(super) fn accepted(&mut self, id: ListenerId, socket: OwnedFd) -> Result<(), OwnedFd> {
        if self.waiting.len() >= self.backlog_max {
            return Err(socket);
        }
        if let Some(listener) = self.entries.get_mut(id.index()) {
            listener.retry_ms = self.retry_ms_min;
        }
        self.waiting.push_back((id, socket));
        if self.waiting.len() > self.hold_above && !self.held {
            self.held = true;
            for listener in &mut self.entries {
                listener.accept = listener.accept.pause();
            }
        }
        Ok(())
    }

    /// The next accepted socket; accepting goes on once none waits.
    pub(super) fn next_accepted(&mut self) -> Option<(ListenerId, OwnedFd)> {
        let next = self.waiting.pop_front();
        if self.held && self.waiting.is_empty() {
            self.held = false;
            for listener in self.entries.iter_mut().filter(|listener| !listener.removed) {
                listener.accept = listener.accept.resume();
            }
        }
        next
    }

    /// The kernel has let go of the accept: the pause in ms before it is tried again, if any.
    pub(super) fn accept_ended(&mut self, id: ListenerId, why: Last) -> u32 {
        let Some(listener) = self.entries.get_mut(id.index()) else { return 0 };
        listener.accept = listener.accept.last(why);
        listener.settle();
        if listener.accept != Multishot::Starved {
            return 0;
        }
        let pause_ms = listener.retry_ms;
        *listener.pause =
            Timespec::new().sec(u64::from(pause_ms / 1_000)).nsec(pause_ms % 1_000 * 1_000_000);
        listener.retry = listener.retry.want();
        listener.retry_ms = pause_ms.saturating_mul(2).min(self.retry_ms_max);
        pause_ms
    }

    /// The pause of `id` is over.
    pub(super) fn retry_ended(&mut self, id: ListenerId) {
        if let Some(listener) = self.entries.get_mut(id.index()) {
            listener.retry = listener.retry.last();
            listener.accept = listener.accept.fed();
            listener.settle();
        }
    }

    /// Every listener with something to tell the kernel.
    pub(super) fn wishes(&mut self) -> impl Iterator<Item = (u32, &mut Listener)> {
        (0..).zip(&mut self.entries).filter(|(_, listener)| listener.has_wish())
    }

    /// Whether a socket waits, or a listener has something to tell the kernel.
    pub(super) fn has_work(&self) -> bool {
        !self.waiting.is_empty() || self.entries.iter().any(Listener::has_wish)
    }
}

impl Listener {
    fn has_wish(&self) -> bool {
        self.accept.has_wish() || self.retry.has_wish()
    }

    fn settle(&mut self) {
        if self.removed {
            self.accept = self.accept.pause();
            if !self.accept.held() {
                self.socket = None;
            }
        }
    }
}
