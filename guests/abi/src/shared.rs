//! The memory that host and program share: the buffer and the private state.
//!
//! Owns: statics of two kinds, and the only access to them.
//!
//! Invariant: at most one reference into a static exists at a time. An instance has one thread, the
//! host calls one export at a time, and the statics are known to the exports of
//! [`program!`](crate::program) only, which lend them once a call.
#![expect(unsafe_code, reason = "a static that the host writes into")]

use crate::limits::{BUFFER_BYTES_MAX, BUFFER_BYTES_MIN, STATE_BYTES_MAX};
use core::cell::UnsafeCell;

/// A static that the host reads and writes between calls, aligned to 8.
#[repr(C, align(8))]
pub struct Shared<T>(UnsafeCell<T>);

/// The buffer.
pub type Buffer<const CAP: usize> = Shared<[u8; CAP]>;

/// The private state: numbers of 8 bytes.
pub type State<const WORDS: usize> = Shared<[u64; WORDS]>;

// SAFETY: an instance of a program has one thread (the host refuses shared memories).
unsafe impl<T> Sync for Shared<T> {}

impl<const CAP: usize> Shared<[u8; CAP]> {
    /// Zeros.
    #[must_use]
    pub const fn buffer() -> Self {
        assert!(CAP >= BUFFER_BYTES_MIN && CAP <= BUFFER_BYTES_MAX, "1,024 to 65,536 bytes");
        Self(UnsafeCell::new([0; CAP]))
    }
}

impl<const WORDS: usize> Shared<[u64; WORDS]> {
    /// Zeros.
    #[must_use]
    pub const fn state() -> Self {
        assert!(WORDS * 8 <= STATE_BYTES_MAX, "a state has at most 2,048 bytes");
        Self(UnsafeCell::new([0; WORDS]))
    }
}

impl<T> Shared<T> {
    /// Where the host finds it.
    pub fn address(&'static self) -> usize {
        self.0.get().addr()
    }

    /// What is in it.
    ///
    /// # Safety
    /// No other reference from this function to the same static may be alive.
    #[expect(clippy::mut_from_ref, reason = "the caller promises to be the only one")]
    pub unsafe fn lend(&'static self) -> &'static mut T {
        // SAFETY: the pointer is that of a static, and the caller is the only one to use it.
        unsafe { &mut *self.0.get() }
    }
}
