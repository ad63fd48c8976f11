//! Cells of a row: how wide the counters of a block are.
//!
//! Owns: the three widths and the head of a row, whose shape depends on them.
//!
//! ```text
//! 16-bit   | weight:32 events:32 | [lost:64] | cell:16 …      (little end first)
//! 32-bit   | weight:64 | events:64 | [lost:64] | cell:32 …
//! 64-bit   | weight:64 | events:64 | [lost:64] | cell:64 …
//! ```
//!
//! Invariant: nothing saturates. An addition that does not fit changes nothing and says so, and
//! the block is widened.

use bytemuck::Pod;

/// Width of the cells of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Width {
    /// 16 bits: up to 65,535 a topic and pane.
    Narrow,
    /// 32 bits.
    Middle,
    /// 64 bits: holds whatever a window's total holds.
    Wide,
}

impl Width {
    pub(crate) const ALL: [Self; 3] = [Self::Narrow, Self::Middle, Self::Wide];

    /// Bytes of one cell.
    pub(crate) const fn bytes(self) -> usize {
        match self {
            Self::Narrow => 2,
            Self::Middle => 4,
            Self::Wide => 8,
        }
    }

    /// Words of weight and events at the start of a row.
    pub(crate) const fn head_words(self) -> usize {
        match self {
            Self::Narrow => 1,
            Self::Middle | Self::Wide => 2,
        }
    }

    /// The next wider one.
    pub(crate) const fn wider(self) -> Option<Self> {
        match self {
            Self::Narrow => Some(Self::Middle),
            Self::Middle => Some(Self::Wide),
            Self::Wide => None,
        }
    }

    /// The narrowest that holds twice the given cell and row, so that a block that was narrowed
    /// is not widened again at once.
    pub(crate) fn with_room(cell_max: u64, row_max: u64) -> Self {
        if cell_max <= u64::from(u16::MAX / 2) && row_max <= u64::from(u32::MAX / 2) {
            Self::Narrow
        } else if cell_max <= u64::from(u32::MAX / 2) {
            Self::Middle
        } else {
            Self::Wide
        }
    }
}

/// Weight and events of one row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RowHead {
    pub(crate) weight: u64,
    pub(crate) events: u64,
}

/// A counter of one topic in one pane.
pub(crate) trait Cell: Pod + Into<u64> + PartialOrd {
    const WIDTH: Width;

    /// The value as a cell, if it fits.
    fn narrow(value: u64) -> Option<Self>;

    /// The cell with `weight` more, if it fits.
    fn plus(self, weight: u32) -> Option<Self>;

    /// The head of a row.
    fn head(row: &[u64]) -> RowHead;

    /// Writes the head of a row; `false`, and no change, when it does not fit.
    #[must_use]
    fn set_head(row: &mut [u64], head: RowHead) -> bool;
}

impl Cell for u16 {
    const WIDTH: Width = Width::Narrow;

    #[inline]
    fn narrow(value: u64) -> Option<Self> {
        Self::try_from(value).ok()
    }

    #[inline]
    fn plus(self, weight: u32) -> Option<Self> {
        u32::from(self).checked_add(weight).and_then(|sum| Self::try_from(sum).ok())
    }

    #[inline]
    fn head(row: &[u64]) -> RowHead {
        RowHead { weight: row[0] & LOW, events: row[0] >> 32 }
    }

    #[inline]
    fn set_head(row: &mut [u64], head: RowHead) -> bool {
        let fits = head.weight <= LOW && head.events <= LOW;
        if fits {
            row[0] = head.weight | head.events << 32;
        }
        fits
    }
}

impl Cell for u32 {
    const WIDTH: Width = Width::Middle;

    #[inline]
    fn narrow(value: u64) -> Option<Self> {
        Self::try_from(value).ok()
    }

    #[inline]
    fn plus(self, weight: u32) -> Option<Self> {
        self.checked_add(weight)
    }

    #[inline]
    fn head(row: &[u64]) -> RowHead {
        RowHead { weight: row[0], events: row[1] }
    }

    #[inline]
    fn set_head(row: &mut [u64], head: RowHead) -> bool {
        (row[0], row[1]) = (head.weight, head.events);
        true
    }
}

impl Cell for u64 {
    const WIDTH: Width = Width::Wide;

    #[inline]
    fn narrow(value: u64) -> Option<Self> {
        Some(value)
    }

    #[inline]
    fn plus(self, weight: u32) -> Option<Self> {
        self.checked_add(Self::from(weight))
    }

    #[inline]
    fn head(row: &[u64]) -> RowHead {
        RowHead { weight: row[0], events: row[1] }
    }

    #[inline]
    fn set_head(row: &mut [u64], head: RowHead) -> bool {
        (row[0], row[1]) = (head.weight, head.events);
        true
    }
}

const LOW: u64 = u32::MAX as u64;
