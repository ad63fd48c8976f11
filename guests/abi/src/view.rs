//! A window in numbers: what `summarise` reads.

use crate::bytes::{chunk, part, size_at, split_mut, trap, u32_at, u64_at};
use crate::reply::{Reply, Told};

/// A window and its best topics.
#[derive(Clone, Copy)]
pub struct View<'a> {
    header: &'a [u8; HEADER_BYTES],
    rows: &'a [u8],
}

/// One topic of a window.
#[derive(Clone, Copy)]
pub struct Row<'a> {
    fixed: &'a [u8; ROW_BYTES],
    texts: &'a [u8],
}

/// Where a topic is heading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trend {
    /// It was not there a window ago.
    New,
    /// More of it than usual.
    Rising,
    /// As usual.
    Steady,
    /// Less of it than usual.
    Falling,
}

impl<'a> View<'a> {
    /// The view in a buffer, and the place for the reply.
    #[must_use]
    pub fn split(buffer: &'a mut [u8]) -> (Self, Reply<'a>) {
        let out = size_at(buffer, 44);
        let (input, out) = split_mut(buffer, out);
        match input.split_first_chunk() {
            Some((header, rows)) => (Self { header, rows }, Reply::new(out)),
            None => trap(),
        }
    }

    /// Does the work of the export.
    pub fn run(buffer: &mut [u8], summarise: impl FnOnce(&View<'_>, Reply<'_>) -> Told) -> u32 {
        let (view, reply) = View::split(buffer);
        summarise(&view, reply).code()
    }

    /// The end of the window.
    #[must_use]
    pub fn as_of_ms(&self) -> u64 {
        u64_at(self.header, 0)
    }

    /// Weight of all events in the window.
    #[must_use]
    pub fn total(&self) -> u64 {
        u64_at(self.header, 8)
    }

    /// Events in the window.
    #[must_use]
    pub fn events(&self) -> u64 {
        u64_at(self.header, 16)
    }

    /// Topics in the window.
    #[must_use]
    pub fn distinct(&self) -> u32 {
        u32_at(self.header, 24)
    }

    /// Topics that [`Self::rows`] has.
    #[must_use]
    pub fn count(&self) -> u32 {
        u32_at(self.header, 28)
    }

    /// Length of the window.
    #[must_use]
    pub fn window_ms(&self) -> u32 {
        u32_at(self.header, 32)
    }

    /// Length of the recent span.
    #[must_use]
    pub fn recent_ms(&self) -> u32 {
        u32_at(self.header, 36)
    }

    /// Whether the numbers are exact.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        u32_at(self.header, 40) & 1 != 0
    }

    /// Whether a reader asks; otherwise it is the tick.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        u32_at(self.header, 40) & 2 != 0
    }

    /// The topics, best score first.
    pub fn rows(&self) -> impl Iterator<Item = Row<'a>> + use<'a> {
        let mut rest = self.rows;
        let mut left = self.count();
        core::iter::from_fn(move || {
            left = left.checked_sub(1)?;
            let fixed = chunk(rest, 0);
            let (row, after) = rest.split_at_checked(size_at(fixed, 52)).unwrap_or_else(|| trap());
            rest = after;
            Some(Row { fixed, texts: row.get(ROW_BYTES..).unwrap_or_else(|| trap()) })
        })
    }
}

impl<'a> Row<'a> {
    /// Its id.
    #[must_use]
    pub fn topic(&self) -> u64 {
        u64_at(self.fixed, 0)
    }

    /// Its weight in the window, at least.
    #[must_use]
    pub fn count(&self) -> u64 {
        u64_at(self.fixed, 8)
    }

    /// Its weight in the window, at most.
    #[must_use]
    pub fn high(&self) -> u64 {
        u64_at(self.fixed, 16)
    }

    /// Its weight in the recent span.
    #[must_use]
    pub fn recent(&self) -> u64 {
        u64_at(self.fixed, 24)
    }

    /// Its rate in the recent span minus that in the window, in thousandths per second.
    #[must_use]
    pub fn velocity_milli(&self) -> i64 {
        u64_at(self.fixed, 32).cast_signed()
    }

    /// How far it is from what was to be expected, in thousandths.
    #[must_use]
    pub fn score_milli(&self) -> i64 {
        u64_at(self.fixed, 40).cast_signed()
    }

    /// Where it is heading.
    #[must_use]
    pub fn trend(&self) -> Trend {
        match self.fixed[48] {
            0 => Trend::New,
            1 => Trend::Rising,
            2 => Trend::Steady,
            _ => Trend::Falling,
        }
    }

    /// Its name in UTF-8; empty when nobody has told it.
    #[must_use]
    pub fn name(&self) -> &'a [u8] {
        part(self.texts, 0, usize::from(self.fixed[49]))
    }

    /// A message about it in UTF-8; empty when there is none.
    #[must_use]
    pub fn sample(&self) -> &'a [u8] {
        let len = usize::from(u16::from_le_bytes([self.fixed[50], self.fixed[51]]));
        part(self.texts, usize::from(self.fixed[49]), len)
    }
}

/// Bytes of the header.
const HEADER_BYTES: usize = 48;

/// Bytes of a row before its texts.
const ROW_BYTES: usize = 56;
