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

use std::cell::RefCell;
use std::fs::File;
use std::future::{Future, poll_fn};
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::task::Poll;
use std::time::Duration;

use glommio::io::BufferedFile;
use glommio::timer::Timer;

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
        // Blocking on purpose: io_uring answers a read of a non-blocking eventfd with EAGAIN at
        // once instead of waiting for it.
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

type PendingRead = Pin<Box<dyn Future<Output = io::Result<()>>>>;

/// The waiting side, made inside the shard's executor and kept for its whole life.
pub struct DoorbellListener {
    shared: Arc<Shared>,
    file: Rc<BufferedFile>,
    /// A read outlives a wait that ended by time: cancelling it could swallow the ring it was
    /// just completed with.
    pending: RefCell<Option<PendingRead>>,
}

impl DoorbellListener {
    /// Listens to `doorbell` on the executor of this thread.
    ///
    /// # Errors
    /// When the descriptor cannot be duplicated.
    ///
    /// # Panics
    /// Outside a shard's executor.
    pub fn new(doorbell: &Doorbell) -> Result<Self, RuntimeError> {
        let fd: OwnedFd = doorbell
            .shared
            .eventfd
            .try_clone()
            .map_err(|source| RuntimeError::from_setup("duplicate of the eventfd", source))?
            .into();
        // SAFETY: the duplicate is owned here alone and handed over; the file closes it.
        let file = unsafe { BufferedFile::from_raw_fd(fd.into_raw_fd()) };
        Ok(Self {
            shared: Arc::clone(&doorbell.shared),
            file: Rc::new(file),
            pending: RefCell::new(None),
        })
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

    /// Sleeps until somebody rings.
    ///
    /// # Errors
    /// When the eventfd cannot be read.
    pub async fn wait(&self) -> io::Result<()> {
        let rung = poll_fn(|context| self.poll_rung(context)).await;
        self.disarm();
        rung
    }

    /// Sleeps until somebody rings, but at most for `limit`.
    ///
    /// # Errors
    /// When the eventfd cannot be read.
    pub async fn wait_or(&self, limit: Duration) -> io::Result<Woken> {
        let mut timer = Timer::new(limit);
        let woken = poll_fn(|context| {
            if let Poll::Ready(rung) = self.poll_rung(context) {
                return Poll::Ready(rung.map(|()| Woken::Rung));
            }
            Pin::new(&mut timer).poll(context).map(|_| Ok(Woken::Elapsed))
        })
        .await;
        self.disarm();
        woken
    }

    fn poll_rung(&self, context: &mut std::task::Context<'_>) -> Poll<io::Result<()>> {
        let mut slot = self.pending.borrow_mut();
        let pending = slot.get_or_insert_with(|| Box::pin(read_once(Rc::clone(&self.file))));
        let polled = pending.as_mut().poll(context);
        if polled.is_ready() {
            *slot = None;
        }
        polled
    }
}

impl std::fmt::Debug for DoorbellListener {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("DoorbellListener").field("shared", &self.shared).finish()
    }
}

async fn read_once(file: Rc<BufferedFile>) -> io::Result<()> {
    match file.read_at(0, 8).await {
        Ok(_) => Ok(()),
        Err(error) => Err(io::Error::from(error)),
    }
}
