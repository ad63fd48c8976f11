//! Receive buffers that the kernel picks from when bytes arrive.
//!
//! ```text
//!   entries (shared with the kernel)        bytes
//!   ┌──────┬──────┬──── ─ ┬──────┐          ┌───────────┬───────────┬─── ─
//!   │ addr │ addr │       │ addr │ ───────▶ │ buffer 0  │ buffer 1  │
//!   │ len  │ len  │       │ len  │          └───────────┴───────────┴─── ─
//!   │ id   │ id   │       │ id   │
//!   └──────┴──────┴──── ─ ┴──────┘  tail (u16, in entry 0): where we put the next free buffer
//! ```
//!
//! Invariants:
//! - A buffer is either in the kernel's ring or lent to exactly one completion.
//! - Entries and bytes stay in place until drop, and drop comes after every operation has ended
//!   ([`super::Ring`] cancels all of them first).

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ptr::NonNull;
use std::slice;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::Submitter;
use io_uring::types::BufRingEntry;

use crate::runtime::RuntimeError;

/// The provided buffers of one ring, all of one size, under [`BufferRing::GROUP`].
#[derive(Debug)]
pub(super) struct BufferRing {
    entries: NonNull<BufRingEntry>,
    entries_layout: Layout,
    bytes: NonNull<u8>,
    bytes_layout: Layout,
    count: u16,
    buffer_bytes: u32,
    tail: u16,
}

impl BufferRing {
    /// The group receives name to pick from these buffers.
    pub(super) const GROUP: u16 = 0;

    /// Allocates `count` buffers and registers them with the ring behind `submitter`.
    pub(super) fn new(
        submitter: &Submitter<'_>,
        count: u16,
        buffer_bytes: u32,
    ) -> Result<Self, RuntimeError> {
        assert!(count.is_power_of_two(), "checked with the configuration");
        let too_big = |_| RuntimeError::Memory {
            bytes: usize::from(count).saturating_mul(buffer_bytes as usize),
            source: std::io::Error::from_raw_os_error(libc::ENOMEM),
        };
        let entries_layout = Layout::array::<BufRingEntry>(count.into())
            .and_then(|layout| layout.align_to(PAGE_BYTES))
            .map_err(too_big)?
            .pad_to_align();
        let bytes_layout = Layout::array::<u8>(usize::from(count) * buffer_bytes as usize)
            .and_then(|layout| layout.align_to(PAGE_BYTES))
            .map_err(too_big)?;
        let mut ring = Self {
            entries: zeroed(entries_layout).cast(),
            entries_layout,
            bytes: zeroed(bytes_layout),
            bytes_layout,
            count,
            buffer_bytes,
            tail: 0,
        };
        // SAFETY: the entries are page-aligned, `count` long, and outlive the registration: the
        // owner ends all operations and closes the ring before it drops this value.
        unsafe {
            submitter.register_buf_ring_with_flags(
                ring.entries.as_ptr() as u64,
                count,
                Self::GROUP,
                0,
            )
        }
        .map_err(|source| RuntimeError::from_setup("registration of receive buffers", source))?;
        for id in 0..count {
            ring.recycle(id);
        }
        Ok(ring)
    }

    /// Gives buffer `id` back to the kernel.
    pub(super) fn recycle(&mut self, id: u16) {
        assert!(id < self.count, "a buffer that is not ours");
        let place = usize::from(self.tail & (self.count - 1));
        let offset = usize::from(id) * self.buffer_bytes as usize;
        // SAFETY: `place` is below `count`, so the entry is inside the allocation; the kernel
        // reads entries below the published tail only, and this one is not yet. The three
        // setters leave the tail, which overlays entry 0, alone.
        let entry = unsafe { &mut *self.entries.as_ptr().add(place) };
        // SAFETY: the offset is inside the allocation, because `id` is below `count`.
        let address = unsafe { self.bytes.as_ptr().add(offset) };
        entry.set_addr(address as u64);
        entry.set_len(self.buffer_bytes);
        entry.set_bid(id);
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: the pointer is to entry 0 of a live ring; its reserved field is the tail, which
        // only this thread writes and the kernel reads.
        let tail =
            unsafe { AtomicU16::from_ptr(BufRingEntry::tail(self.entries.as_ptr()).cast_mut()) };
        tail.store(self.tail, Ordering::Release);
    }

    /// The first `len` bytes of buffer `id`, which a completion has just lent us.
    ///
    /// The caller reads them before it recycles the buffer; the borrow enforces that.
    pub(super) fn received(&self, id: u16, len: usize) -> &[u8] {
        assert!(id < self.count, "a buffer that is not ours");
        assert!(len <= self.buffer_bytes as usize, "more bytes than the buffer holds");
        let offset = usize::from(id) * self.buffer_bytes as usize;
        // SAFETY: the range is inside the allocation, initialised (zeroed at first), and the
        // kernel does not write a buffer between its completion and its recycling.
        unsafe { slice::from_raw_parts(self.bytes.as_ptr().add(offset), len) }
    }

    /// How many buffers there are.
    pub(super) fn count(&self) -> u16 {
        self.count
    }
}

impl Drop for BufferRing {
    fn drop(&mut self) {
        // SAFETY: both were allocated with exactly these layouts and are freed once.
        unsafe {
            dealloc(self.entries.as_ptr().cast(), self.entries_layout);
            dealloc(self.bytes.as_ptr(), self.bytes_layout);
        }
    }
}

fn zeroed(layout: Layout) -> NonNull<u8> {
    assert!(layout.size() > 0, "checked with the configuration");
    // SAFETY: the layout's size is not zero.
    let pointer = unsafe { alloc_zeroed(layout) };
    NonNull::new(pointer).unwrap_or_else(|| handle_alloc_error(layout))
}

const PAGE_BYTES: usize = 4096;
