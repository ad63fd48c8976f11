//! An eventfd that wakes a sleeping shard, and the flag that keeps others from ringing in vain.
//!
//! ```text
//!   shard                                other thread, or the shard's own io_uring
//!   ─────                                ──────────────────────────────────────────
//!   arm()      armed = true              publish work
//!   look for work once more              ring(): armed? ── no ──▶ nothing to do
//!   wait()     reads the eventfd   ◀──write 1── yes, armed = false
//!   (armed = false)
//! ```
//!
//! Invariants:
//! - Work published before `ring` is seen either by the shard's look after `arm`, or by its
//!   wake-up: both sides put a full fence between their store and their load.
//! - A wake-up may be spurious (work already taken), never lost.
//! - The kernel writes the same eventfd for the shard's own ring and knows nothing of `armed`;
//!   that ring is silenced separately ([`crate::ring::Ring::prepare_sleep`]).

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::time::{Duration, Instant};

use super::RuntimeError;

/// The shard's side of an eventfd, made before the shard starts and moved into it.
#[derive(Debug)]
pub struct Doorbell {
    shared: Arc<Shared>,
}

/// The ringing side: cheap to clone, usable from any thread.
#[derive(Debug, Clone)]
pub struct DoorbellRinger {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    eventfd: File,
    armed: AtomicBool,
}

impl Doorbell {
    /// Makes a doorbell that nobody waits for yet.
    ///
    /// # Errors
    /// [`RuntimeError::OutOfFiles`] when no descriptor is left.
    pub fn new() -> Result<Self, RuntimeError> {
        // SAFETY: eventfd takes no pointers; a negative result is checked before use.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
        if fd < 0 {
            return Err(RuntimeError::from_setup("eventfd", io::Error::last_os_error()));
        }
        // SAFETY: the descriptor is new and owned by nobody else.
        let eventfd = unsafe { File::from_raw_fd(fd) };
        Ok(Self { shared: Arc::new(Shared { eventfd, armed: AtomicBool::new(false) }) })
    }

    /// A handle with which other threads wake this shard.
    pub fn ringer(&self) -> DoorbellRinger {
        DoorbellRinger { shared: Arc::clone(&self.shared) }
    }
}

impl AsFd for Doorbell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.shared.eventfd.as_fd()
    }
}

impl DoorbellRinger {
    /// Wakes the shard if it sleeps, or is about to. Call it after the work is published.
    ///
    /// Costs a fence and a load while the shard is awake, a system call otherwise.
    ///
    /// # Panics
    /// If the eventfd cannot be written, which only a defect of ours can cause.
    pub fn ring(&self) {
        // Pairs with the fence in `DoorbellListener::arm`: of our published work and its `armed`,
        // at least one is seen by the other side.
        fence(Ordering::SeqCst);
        if self.shared.armed.load(Ordering::Relaxed)
            && self.shared.armed.swap(false, Ordering::AcqRel)
        {
            self.write();
        }
    }

    /// Wakes the shard even if it did not ask for it: for shutdown, where certainty beats cost.
    ///
    /// # Panics
    /// As [`DoorbellRinger::ring`].
    pub fn ring_always(&self) {
        self.shared.armed.store(false, Ordering::Release);
        self.write();
    }

    fn write(&self) {
        let written = (&self.shared.eventfd).write(&1u64.to_ne_bytes());
        assert!(matches!(written, Ok(8)), "writing an eventfd failed: {written:?}");
    }
}

/// What ended a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Woken {
    /// Somebody rang, or the shard's ring has completions.
    Rung,
    /// The time was up.
    Elapsed,
}

/// The waiting side, kept by the shard for its whole life.
///
/// It blocks the shard's thread in `ppoll(2)`: the thread has one task, which has nothing else to
/// do. Awaiting the eventfd through the executor lost a wake-up once in some hundred runs.
#[derive(Debug)]
pub struct DoorbellListener {
    shared: Arc<Shared>,
}

impl DoorbellListener {
    /// Listens to `doorbell`. A doorbell has one listener.
    #[must_use]
    pub fn new(doorbell: &Doorbell) -> Self {
        Self { shared: Arc::clone(&doorbell.shared) }
    }

    /// Asks to be woken from now on. Look for work once more after this, then wait or disarm.
    pub fn arm(&self) {
        self.shared.armed.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// Takes the request back: there was work after all.
    pub fn disarm(&self) {
        self.shared.armed.store(false, Ordering::Release);
    }

    /// Sleeps until somebody rings, but at most for `limit`.
    ///
    /// # Errors
    /// When the eventfd cannot be waited for or read.
    pub fn wait_or(&self, limit: Duration) -> io::Result<Woken> {
        let woken = self.wait_until(Instant::now() + limit);
        self.disarm();
        woken
    }

    fn wait_until(&self, end: Instant) -> io::Result<Woken> {
        let mut eventfd = &self.shared.eventfd;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let left = libc::timespec {
                tv_sec: libc::time_t::try_from(left.as_secs()).unwrap_or(libc::time_t::MAX),
                tv_nsec: left.subsec_nanos().into(),
            };
            let fd = eventfd.as_raw_fd();
            let mut wanted = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
            // SAFETY: one valid pollfd, which the call may write until it returns; no signal mask.
            let ready =
                unsafe { libc::ppoll(&raw mut wanted, 1, &raw const left, std::ptr::null()) };
            match ready {
                0 => return Ok(Woken::Elapsed),
                1 => {
                    // Readable, and read by nobody else, so this does not block.
                    eventfd.read_exact(&mut [0; 8])?;
                    return Ok(Woken::Rung);
                }
                _ => {
                    let error = io::Error::last_os_error();
                    if error.kind() != io::ErrorKind::Interrupted {
                        return Err(error);
                    }
                }
            }
        }
    }
}
