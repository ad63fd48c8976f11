//! Waits until a number of threads have done their part.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, Thread};

/// Parts to be done, and who waits for them. Only the thread that made it may wait.
#[derive(Debug)]
pub(crate) struct Latch {
    left: AtomicUsize,
    waiter: Thread,
}

impl Latch {
    /// For so many parts, waited for by the calling thread.
    pub(crate) fn new(parts: usize) -> Arc<Self> {
        Arc::new(Self { left: AtomicUsize::new(parts), waiter: thread::current() })
    }

    /// One part is done; the last one wakes the thread that waits.
    pub(crate) fn done(&self) {
        if self.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.waiter.unpark();
        }
    }

    /// Waits for all parts.
    pub(crate) fn wait(&self) {
        while self.left.load(Ordering::Acquire) > 0 {
            thread::park();
        }
    }
}
