//! The first cache line of a block.
//!
//! ```text
//! word 0  current pane
//!      1  window total            weight in the live panes, of every event applied
//!      2  window events
//!      3  watermark               largest event time, ms
//!      4  used:16 …:16 user:32
//!      5  calm panes:16 peak:16   how long, and how full at most, since the size was last judged
//!      6  tags of slots 0..8      tier 0 only; 0 for an unused slot
//!      7  tags of slots 8..16
//! ```

use super::layout::HEADER_WORDS;

/// Read access to a header.
#[derive(Clone, Copy)]
pub(crate) struct Header<'a>(pub(crate) &'a [u64]);

pub(crate) const PANE: usize = 0;
pub(crate) const TOTAL: usize = 1;
pub(crate) const EVENTS: usize = 2;
pub(crate) const WATERMARK: usize = 3;
pub(crate) const PACKED: usize = 4;
pub(crate) const CALM: usize = 5;
pub(crate) const TAGS_LOW: usize = 6;
pub(crate) const TAGS_HIGH: usize = 7;

/// The bits of `PACKED` that count used slots.
pub(crate) const USED: u64 = 0xffff;

const _: () = assert!(TAGS_HIGH < HEADER_WORDS);

impl Header<'_> {
    pub(crate) fn pane(self) -> u64 {
        self.0[PANE]
    }

    pub(crate) fn total(self) -> u64 {
        self.0[TOTAL]
    }

    pub(crate) fn events(self) -> u64 {
        self.0[EVENTS]
    }

    pub(crate) fn watermark_ms(self) -> u64 {
        self.0[WATERMARK]
    }

    pub(crate) fn used(self) -> usize {
        (self.0[PACKED] & USED) as usize
    }

    pub(crate) fn user(self) -> u32 {
        (self.0[PACKED] >> 32) as u32
    }

    /// Panes since the size was last judged, and the most topics alive in that time.
    pub(crate) fn calm(self) -> (u64, u64) {
        (self.0[CALM] & 0xffff, self.0[CALM] >> 16 & 0xffff)
    }
}

pub(crate) fn set_user(words: &mut [u64], user: u32) {
    words[PACKED] = words[PACKED] & USED | u64::from(user) << 32;
}

pub(crate) fn set_used(words: &mut [u64], used: usize) {
    words[PACKED] = words[PACKED] & !USED | used as u64 & USED;
}

pub(crate) fn set_calm(words: &mut [u64], panes: u64, peak: u64) {
    words[CALM] = panes.min(0xffff) | peak.min(0xffff) << 16;
}
