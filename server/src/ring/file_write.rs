//! The one write to a file that a ring may have in flight: a commit of the shard's log.
//!
//! ```text
//!   begin ──fill──▶ aligned buffer ──submit──▶ kernel ──completion──▶ RingEvent::Written
//!   Idle            Wanted                     Armed                  Idle
//! ```
//!
//! The write carries RWF_DSYNC: it has completed when its bytes would survive a loss of power, as a
//! write followed by fdatasync would.
//!
//! Invariants:
//! - buffer and file stay as they are from `begin` to the completion;
//! - a buffer that the kernel may still read is never freed.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::ptr::NonNull;
use std::sync::Arc;

use io_uring::types::Fd;
use io_uring::{opcode, squeue};

use super::RingError;
use super::operation::OneShot;

/// See the module header.
#[derive(Debug)]
pub(super) struct FileWrite {
    state: OneShot,
    file: Option<Arc<File>>,
    offset: u64,
    len: u32,
    buffer: Option<NonNull<u8>>,
    layout: Layout,
}

impl FileWrite {
    /// Memory for writes of at most this many bytes; 0 when there are none.
    pub(super) fn new(bytes_max: u32) -> Self {
        let layout = Layout::from_size_align(bytes_max as usize, ALIGNMENT)
            .expect("32 bits of bytes fit the address space");
        let buffer = (bytes_max > 0).then(|| {
            // SAFETY: the layout's size is not zero.
            let pointer = unsafe { alloc_zeroed(layout) };
            NonNull::new(pointer).unwrap_or_else(|| handle_alloc_error(layout))
        });
        Self { state: OneShot::Idle, file: None, offset: 0, len: 0, buffer, layout }
    }

    /// Takes `len` bytes from `fill`; they are submitted with the next wishes.
    pub(super) fn begin(
        &mut self,
        file: Arc<File>,
        offset: u64,
        len: usize,
        fill: impl FnOnce(&mut [u8]),
    ) -> Result<(), RingError> {
        let bytes_max = self.layout.size();
        let Some(buffer) = self.buffer.filter(|_| len <= bytes_max) else {
            return Err(RingError::WriteTooLong { bytes: len, bytes_max });
        };
        assert_eq!(self.state, OneShot::Idle, "one write at a time");
        // SAFETY: the buffer holds at least as many bytes, all of them initialised, belongs to us
        // alone, and the kernel reads none of it while the state is idle.
        fill(unsafe { std::slice::from_raw_parts_mut(buffer.as_ptr(), len) });
        self.len = u32::try_from(len).expect("checked against a 32-bit limit");
        (self.file, self.offset) = (Some(file), offset);
        self.state = self.state.want();
        Ok(())
    }

    /// The submission that is wished for; from here on the kernel holds it.
    pub(super) fn submit(&mut self) -> Option<squeue::Entry> {
        let (OneShot::Wanted, Some(buffer), Some(file)) = (self.state, self.buffer, &self.file)
        else {
            return None;
        };
        self.state = self.state.submitted();
        let write = opcode::Write::new(Fd(file.as_raw_fd()), buffer.as_ptr(), self.len);
        Some(write.offset(self.offset).rw_flags(libc::RWF_DSYNC).build())
    }

    /// The kernel has let go of it.
    pub(super) fn ended(&mut self) {
        self.state = self.state.last();
        self.file = None;
    }

    /// Whether a write was begun that has not completed.
    pub(super) fn is_busy(&self) -> bool {
        self.state != OneShot::Idle
    }

    pub(super) fn has_wish(&self) -> bool {
        self.state.has_wish()
    }

    /// Gives the buffer up for good when the kernel may still read it.
    pub(super) fn abandon(&mut self) {
        if self.state.held() {
            self.buffer = None;
        }
    }
}

impl Drop for FileWrite {
    fn drop(&mut self) {
        if let Some(buffer) = self.buffer.take() {
            // SAFETY: allocated with exactly this layout, freed once, and `abandon` has kept it
            // from here if the kernel may still read it.
            unsafe { dealloc(buffer.as_ptr(), self.layout) };
        }
    }
}

/// What O_DIRECT asks of memory, offset and length on every file system there is.
const ALIGNMENT: usize = 4096;
