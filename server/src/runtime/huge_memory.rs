//! The memory a shard's windows live in: one anonymous mapping of huge pages, touched lazily.
//!
//! ```text
//!   mmap(len + 2 MiB, NORESERVE)     ├─ head ─┤────────── words ──────────├─ tail ─┤
//!                                             ▲ 2 MiB aligned, MADV_HUGEPAGE
//! ```
//!
//! Invariants:
//! - Reads as zero until written; no page is touched before its first word is.
//! - The words stay where they are until drop, which unmaps all of it.

use std::io;
use std::ptr::NonNull;
use std::slice;
use std::sync::Once;

use trendsrv_shard::Memory;

use super::RuntimeError;

/// A zero-filled region of 64-bit words, backed by huge pages where the kernel has them.
#[derive(Debug)]
pub struct HugeMemory {
    words: NonNull<u64>,
    count: usize,
    mapping: NonNull<libc::c_void>,
    mapping_bytes: usize,
    huge: bool,
}

// SAFETY: the mapping is owned by this value alone and has no tie to the thread that made it.
unsafe impl Send for HugeMemory {}

impl HugeMemory {
    /// Reserves `bytes` bytes, rounded up to a whole huge page; nothing is touched yet.
    ///
    /// Falls back to normal pages with one warning where huge pages are switched off: windows of
    /// 2 KiB and more are then 20-45 % slower.
    ///
    /// # Errors
    /// [`RuntimeError::Memory`] when the address space is refused.
    pub fn new(bytes: usize) -> Result<Self, RuntimeError> {
        let refused = |source| RuntimeError::Memory { bytes, source };
        let too_big = || refused(io::Error::from_raw_os_error(libc::ENOMEM));
        let used_bytes =
            bytes.max(1).checked_next_multiple_of(HUGE_PAGE_BYTES).ok_or_else(too_big)?;
        let mapping_bytes = used_bytes.checked_add(HUGE_PAGE_BYTES).ok_or_else(too_big)?;
        // SAFETY: an anonymous private mapping at an address of the kernel's choice touches no
        // memory of ours; failure is checked before use.
        let mapping = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                mapping_bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if mapping == libc::MAP_FAILED {
            return Err(refused(io::Error::last_os_error()));
        }
        let mapping = NonNull::new(mapping).ok_or_else(too_big)?;
        let head = mapping.as_ptr().align_offset(HUGE_PAGE_BYTES);
        // SAFETY: the mapping is one huge page longer than the words, so the first aligned
        // address leaves room for all of them.
        let aligned = unsafe { mapping.byte_add(head) };
        // SAFETY: the range lies inside the mapping just made.
        let advised =
            unsafe { libc::madvise(aligned.as_ptr(), used_bytes, libc::MADV_HUGEPAGE) } == 0;
        let huge = advised && huge_pages_on();
        if !huge {
            warn_once();
        }
        Ok(Self {
            words: aligned.cast(),
            count: used_bytes / size_of::<u64>(),
            mapping,
            mapping_bytes,
            huge,
        })
    }

    /// Whether the kernel backs this memory with huge pages.
    pub fn is_huge(&self) -> bool {
        self.huge
    }
}

impl Memory for HugeMemory {
    #[inline]
    fn words(&self) -> &[u64] {
        // SAFETY: the mapping holds `count` aligned, zero-initialised words, lives as long as
        // self, and self is borrowed.
        unsafe { slice::from_raw_parts(self.words.as_ptr(), self.count) }
    }

    #[inline]
    fn words_mut(&mut self) -> &mut [u64] {
        // SAFETY: as `words`, with an exclusive borrow.
        unsafe { slice::from_raw_parts_mut(self.words.as_ptr(), self.count) }
    }

    /// Worth a factor of two on runs of one event, where every window is a cache miss.
    #[inline]
    fn prefetch(&self, word: usize) {
        prefetch(self.words.as_ptr().wrapping_add(word).cast());
    }

    #[inline]
    fn ask_for<T>(value: &T) {
        prefetch(std::ptr::from_ref(value).cast());
    }
}

#[inline]
fn prefetch(address: *const i8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch reads nothing architecturally and cannot fault.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(address);
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

impl Drop for HugeMemory {
    fn drop(&mut self) {
        // SAFETY: exactly the mapping made in `new`; no slice outlives self.
        let result = unsafe { libc::munmap(self.mapping.as_ptr(), self.mapping_bytes) };
        debug_assert_eq!(result, 0, "munmap of our own mapping");
    }
}

fn huge_pages_on() -> bool {
    std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled")
        .is_ok_and(|text| !text.contains("[never]"))
}

fn warn_once() {
    static WARNED: Once = Once::new();
    WARNED.call_once(|| {
        tracing::warn!(
            "huge pages are off, windows run on 4 KiB pages and slower; to switch them on: \
             echo madvise > /sys/kernel/mm/transparent_hugepage/enabled"
        );
    });
}

/// The size of a huge page on x86-64 and on arm64 with 4 KiB pages.
const HUGE_PAGE_BYTES: usize = 2 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_as_zero_and_keeps_what_is_written() {
        let mut memory = HugeMemory::new(5 << 20).unwrap();
        assert_eq!(memory.words().len() * 8, 6 << 20);
        assert!(memory.words().iter().all(|&word| word == 0));
        let last = memory.words().len() - 1;
        memory.words_mut()[last] = 7;
        memory.prefetch(last);
        memory.prefetch(usize::MAX);
        assert_eq!(memory.words()[last], 7);
    }

    #[test]
    fn starts_on_a_huge_page() {
        let memory = HugeMemory::new(1).unwrap();
        assert_eq!(memory.words().as_ptr().align_offset(HUGE_PAGE_BYTES), 0);
    }

    #[test]
    fn reserves_more_than_the_machine_has_without_touching_it() {
        let memory = HugeMemory::new(1 << 40).unwrap();
        assert_eq!(memory.words().len(), 1 << 37);
    }

    #[test]
    fn refuses_what_no_address_space_holds() {
        assert!(matches!(HugeMemory::new(usize::MAX), Err(RuntimeError::Memory { .. })));
        assert!(matches!(HugeMemory::new(1 << 60), Err(RuntimeError::Memory { .. })));
    }
}
