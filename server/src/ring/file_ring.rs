//! A ring of its own for the log: one write to a file at a time, which rings the shard's doorbell
//! when it is on the disk, whatever the shard sleeps by.
//!
//! ```text
//!   write ──fill──▶ aligned buffer ──submit──▶ kernel ──completion──▶ doorbell, `ended`
//! ```
//!
//! Why not the shard's other ring: under load the shard is deaf to that one's completions until its
//! next beat, and a commit that is done would wait for it.
//!
//! The write carries RWF_DSYNC: it has completed when its bytes would survive a loss of power, as a
//! write followed by fdatasync would.
//!
//! Invariants:
//! - buffer and file stay as they are from `write` to the completion;
//! - a buffer that the kernel may still read is never freed.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd};
use std::ptr::NonNull;
use std::sync::Arc;

use io_uring::types::{CancelBuilder, Fd, Timespec};
use io_uring::{IoUring, opcode};

use super::RingError;
use crate::runtime::{RuntimeError, patiently};

/// See the module header.
pub struct FileRing {
    uring: IoUring,
    file: Option<Arc<File>>,
    buffer: Option<NonNull<u8>>,
    layout: Layout,
}

impl FileRing {
    /// A ring for writes of at most `bytes_max` bytes, whose completions ring `doorbell`.
    ///
    /// Call it on the shard's thread: only the thread that makes a ring may use it.
    ///
    /// # Errors
    /// [`RingError::Setup`] for what this machine does not give.
    ///
    /// # Panics
    /// With no bytes.
    pub fn new(bytes_max: u32, doorbell: impl AsFd) -> Result<Self, RingError> {
        assert!(bytes_max > 0, "a ring for nothing");
        // Completions are told at once, not when the shard asks: no deferred task work here.
        let make = || IoUring::builder().setup_single_issuer().dontfork().build(ENTRIES);
        let uring =
            patiently(make).map_err(|error| RuntimeError::from_setup("io_uring_setup", error))?;
        uring
            .submitter()
            .register_eventfd(doorbell.as_fd().as_raw_fd())
            .map_err(|error| RuntimeError::from_setup("registration of the eventfd", error))?;
        free_workers(&uring);
        let layout = Layout::from_size_align(bytes_max as usize, ALIGNMENT)
            .expect("32 bits of bytes fit the address space");
        // SAFETY: the layout's size is not zero.
        let pointer = unsafe { alloc_zeroed(layout) };
        let buffer = NonNull::new(pointer).unwrap_or_else(|| handle_alloc_error(layout));
        Ok(Self { uring, file: None, buffer: Some(buffer), layout })
    }

    /// Writes the `len` bytes that `fill` puts down into `file` at `offset`, and through to the
    /// disk: [`Self::ended`] says when. For a file opened with O_DIRECT offset and length are
    /// multiples of 4,096.
    ///
    /// # Errors
    /// [`RingError::WriteTooLong`] beyond `bytes_max`, [`RingError::Enter`] when the kernel refuses
    /// the ring itself.
    ///
    /// # Panics
    /// While another write is on its way: ask [`Self::is_busy`].
    pub fn write(
        &mut self,
        file: Arc<File>,
        offset: u64,
        len: usize,
        fill: impl FnOnce(&mut [u8]),
    ) -> Result<(), RingError> {
        assert!(!self.is_busy(), "one write at a time");
        let bytes_max = self.layout.size();
        let Some(buffer) = self.buffer.filter(|_| len <= bytes_max) else {
            return Err(RingError::WriteTooLong { bytes: len, bytes_max });
        };
        // SAFETY: the buffer holds at least as many bytes, all of them initialised, belongs to us
        // alone, and the kernel reads none of it while no write is on its way.
        fill(unsafe { std::slice::from_raw_parts_mut(buffer.as_ptr(), len) });
        let fd = Fd(file.as_raw_fd());
        self.file = Some(file);
        let bytes = u32::try_from(len).expect("checked against a 32-bit limit");
        let write = opcode::Write::new(fd, buffer.as_ptr(), bytes).offset(offset);
        let write = write.rw_flags(libc::RWF_DSYNC).build();
        // SAFETY: file and buffer are kept until the completion, or for good.
        let pushed = unsafe { self.uring.submission().push(&write) };
        assert!(pushed.is_ok(), "an empty queue has room for one");
        loop {
            match self.uring.submit() {
                Ok(_) => return Ok(()),
                Err(error) if error.raw_os_error() == Some(libc::EINTR) => {}
                Err(error) => return Err(RingError::Enter(error)),
            }
        }
    }

    /// What became of the write, once it has completed: the bytes written, or the error number.
    pub fn ended(&mut self) -> Option<Result<usize, i32>> {
        let completion = self.uring.completion().next()?;
        self.file = None;
        Some(usize::try_from(completion.result()).map_err(|_| -completion.result()))
    }

    /// Whether a write is on its way, or was not asked for.
    #[must_use]
    pub const fn is_busy(&self) -> bool {
        self.file.is_some()
    }

    /// Whether [`Self::ended`] has something to say.
    pub fn has_ended(&mut self) -> bool {
        !self.uring.completion().is_empty()
    }
}

impl std::fmt::Debug for FileRing {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("FileRing").field("file", &self.file).finish_non_exhaustive()
    }
}

impl Drop for FileRing {
    fn drop(&mut self) {
        if self.is_busy() {
            let submitter = self.uring.submitter();
            let second = Some(Timespec::new().sec(1));
            // Finding nothing to cancel, or a write that takes longer, is told by `ended` below.
            let _ = submitter.register_sync_cancel(second, CancelBuilder::any());
            let _ = self.ended();
        }
        if self.is_busy() {
            // The kernel may still read it: given up for good.
            return;
        }
        if let Some(buffer) = self.buffer.take() {
            // SAFETY: allocated with exactly this layout, freed once, and no write is on its way.
            unsafe { dealloc(buffer.as_ptr(), self.layout) };
        }
    }
}

/// Lets the kernel's workers run on any core of the process. A write that would have to wait, if
/// only to note the time of the change, is done by one of them, and it inherits the shard's core:
/// there it would wait for the shard to sleep. Where the kernel refuses they stay there.
fn free_workers(uring: &IoUring) {
    // SAFETY: an all-zero cpu_set_t is the empty set.
    let mut cores: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    let process = std::process::id().cast_signed();
    // SAFETY: the set outlives the call and its size is its own. The main thread is never pinned.
    let asked = unsafe { libc::sched_getaffinity(process, size_of_val(&cores), &raw mut cores) };
    if asked == 0 {
        let _ = uring.submitter().register_iowq_aff(&cores);
    }
}

/// Entries of the ring; one is used.
const ENTRIES: u32 = 2;
/// What O_DIRECT asks of memory, offset and length on every file system there is.
const ALIGNMENT: usize = 4096;
