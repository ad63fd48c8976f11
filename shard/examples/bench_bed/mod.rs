//! What a benchmark of windows stands on: memory as the server maps it, and processor time.
#![allow(unsafe_code, reason = "huge pages, the prefetch instruction, a clock")]

use trendsrv_shard::Memory;

/// Huge pages and a real prefetch: what the server gives a shard.
pub(crate) struct HugePages {
    words: &'static mut [u64],
}

impl HugePages {
    /// `words` zero words, never given back.
    pub(crate) fn new(words: usize) -> Self {
        let start = std::ptr::null_mut();
        let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE);
        let bytes = words * 8 + (2 << 20);
        // SAFETY: a new anonymous mapping, advised and cut within its length, never unmapped.
        unsafe {
            let mapped = libc::mmap(start, bytes, access, kind | libc::MAP_ANONYMOUS, -1, 0);
            assert!(mapped != libc::MAP_FAILED, "no memory");
            let aligned = mapped.byte_add(mapped.align_offset(2 << 20));
            libc::madvise(aligned, words * 8, libc::MADV_HUGEPAGE);
            Self { words: std::slice::from_raw_parts_mut(aligned.cast(), words) }
        }
    }
}

impl Memory for HugePages {
    fn words(&self) -> &[u64] {
        self.words
    }

    fn words_mut(&mut self) -> &mut [u64] {
        self.words
    }

    #[inline]
    fn prefetch(&self, word: usize) {
        #[cfg(target_arch = "x86_64")]
        if let Some(word) = self.words.get(word) {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            // SAFETY: a prefetch reads nothing, and the address is that of a live reference.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(word).cast()) };
        }
    }
}

/// Processor time of this thread, so that a busy machine disturbs less.
///
/// The scheduler's own figures are no finer than its tick, 4 ms: not enough for a short loop.
pub(crate) fn cpu_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes the one structure that is handed to it.
    let done = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    assert!(done == 0, "no clock of the thread's processor time");
    let part = |part: i64| u64::try_from(part).expect("time since the thread began");
    part(time.tv_sec) * 1_000_000_000 + part(time.tv_nsec)
}
