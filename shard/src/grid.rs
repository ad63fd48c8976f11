//! The grid of panes every window of a shard lies on.
//!
//! Owns: the arithmetic from a time in milliseconds to a pane and a row. Never touches: a clock.
//!
//! ```text
//! time ms   0        1000      2000      3000 …        slide = 1000, panes = 60
//! pane      |   0    |    1    |    2    |   3 …       pane = ts / slide      (never wraps)
//! row           0         1         2    …             row  = pane % panes    (a ring)
//! ```
//!
//! Invariants
//! - the grid is aligned to the epoch: every shard, replay and node cuts time alike;
//! - a pane `p` is live at pane `now` when `now - panes < p <= now`;
//! - `1 <= recent_panes < panes`.

use crate::limits::{PANES_MAX, PANES_MIN, RECENT_MS, SLIDE_MS_MAX, SLIDE_MS_MIN};

/// Window and slide, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    slide_ms: u64,
    panes: u32,
    recent_panes: u32,
}

/// A pane and the row of the ring that holds it. Made by [`Grid`] only, so that the two agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PaneRow {
    pub(crate) pane: u64,
    pub(crate) row: u32,
}

/// Remembers the pane looked up last, so that a run of times in one pane costs no division.
#[derive(Clone, Copy, Debug)]
pub struct Cursor {
    start_ms: u64,
    end_ms: u64,
    at: PaneRow,
}

/// Why a window and slide do not make a grid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GridError {
    /// The slide is outside its limits.
    #[error("slide of {slide_ms} ms is outside {SLIDE_MS_MIN}..={SLIDE_MS_MAX} ms")]
    Slide {
        /// The slide asked for.
        slide_ms: u64,
    },
    /// The window is not a whole number of slides.
    #[error("window of {window_ms} ms is not a multiple of the slide of {slide_ms} ms")]
    Multiple {
        /// The window asked for.
        window_ms: u64,
        /// The slide asked for.
        slide_ms: u64,
    },
    /// The window has too few or too many panes.
    #[error("window / slide is {panes} panes, outside {PANES_MIN}..={PANES_MAX}")]
    Panes {
        /// The panes asked for.
        panes: u64,
    },
}

impl Grid {
    /// A window of `window_ms` that slides every `slide_ms`.
    ///
    /// # Errors
    /// When the slide is out of range, does not divide the window, or gives too few or many panes.
    pub fn new(window_ms: u64, slide_ms: u64) -> Result<Self, GridError> {
        if !(SLIDE_MS_MIN..=SLIDE_MS_MAX).contains(&slide_ms) {
            return Err(GridError::Slide { slide_ms });
        }
        if !window_ms.is_multiple_of(slide_ms) {
            return Err(GridError::Multiple { window_ms, slide_ms });
        }
        let panes = window_ms / slide_ms;
        match u32::try_from(panes) {
            Ok(count) if (PANES_MIN..=PANES_MAX).contains(&count) => {
                let recent = u32::try_from(RECENT_MS / slide_ms).unwrap_or(PANES_MAX);
                Ok(Self { slide_ms, panes: count, recent_panes: recent.clamp(1, count - 1) })
            }
            Ok(_) | Err(_) => Err(GridError::Panes { panes }),
        }
    }

    /// Length of one pane in milliseconds.
    #[must_use]
    pub const fn slide_ms(&self) -> u64 {
        self.slide_ms
    }

    /// Panes in a window.
    #[must_use]
    pub const fn panes(&self) -> u32 {
        self.panes
    }

    /// Panes in the recent span of a trend.
    #[must_use]
    pub const fn recent_panes(&self) -> u32 {
        self.recent_panes
    }

    /// Length of the window in milliseconds.
    #[must_use]
    pub const fn window_ms(&self) -> u64 {
        self.slide_ms * self.panes as u64
    }

    /// The pane `ts_ms` lies in.
    #[must_use]
    pub const fn pane_of(&self, ts_ms: u64) -> u64 {
        ts_ms / self.slide_ms
    }

    /// First millisecond of `pane` (saturating: panes beyond the end of time start there).
    #[must_use]
    pub const fn start_ms(&self, pane: u64) -> u64 {
        pane.saturating_mul(self.slide_ms)
    }

    /// `pane` with its row.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "a remainder by a u32 fits a u32")]
    pub const fn place(&self, pane: u64) -> PaneRow {
        PaneRow { pane, row: (pane % self.panes as u64) as u32 }
    }
}

impl PaneRow {
    /// The pane: `ts / slide`.
    #[must_use]
    pub const fn pane(&self) -> u64 {
        self.pane
    }

    /// The row of the ring.
    #[must_use]
    pub const fn row(&self) -> u32 {
        self.row
    }
}

impl Cursor {
    /// A cursor on the pane of `ts_ms`.
    #[must_use]
    pub const fn new(grid: &Grid, ts_ms: u64) -> Self {
        let at = grid.place(grid.pane_of(ts_ms));
        let start_ms = grid.start_ms(at.pane);
        Self { start_ms, end_ms: start_ms.saturating_add(grid.slide_ms), at }
    }

    /// The pane and row of `ts_ms`; a division only when it left the pane looked up before.
    #[inline]
    pub fn place(&mut self, grid: &Grid, ts_ms: u64) -> PaneRow {
        if ts_ms < self.start_ms || ts_ms >= self.end_ms {
            *self = Self::new(grid, ts_ms);
        }
        self.at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_does_not_divide_or_is_out_of_range() {
        assert_eq!(Grid::new(60_000, 99), Err(GridError::Slide { slide_ms: 99 }));
        assert_eq!(Grid::new(60_000, u64::MAX), Err(GridError::Slide { slide_ms: u64::MAX }));
        let uneven = GridError::Multiple { window_ms: 60_500, slide_ms: 1_000 };
        assert_eq!(Grid::new(60_500, 1_000), Err(uneven));
        assert_eq!(Grid::new(1_000, 1_000), Err(GridError::Panes { panes: 1 }));
        assert_eq!(Grid::new(65_000, 1_000), Err(GridError::Panes { panes: 65 }));
        assert_eq!(Grid::new(0, 1_000), Err(GridError::Panes { panes: 0 }));
    }

    #[test]
    fn recent_span_is_ten_seconds_within_the_window() {
        let recent = |window, slide| Grid::new(window, slide).unwrap().recent_panes();
        assert_eq!(recent(60_000, 1_000), 10);
        assert_eq!(recent(60_000, 5_000), 2);
        assert_eq!(recent(3_600_000, 60_000), 1);
        assert_eq!(recent(2_000, 1_000), 1);
        assert_eq!(recent(6_400, 100), 63);
    }

    #[test]
    fn cursor_agrees_with_division_at_every_edge() {
        let grid = Grid::new(60_000, 1_000).unwrap();
        let mut cursor = Cursor::new(&grid, 0);
        for ts in [0, 999, 1_000, 1_001, 999, 59_999, 60_000, 60_001, 1 << 41, 3, u64::MAX, 5] {
            assert_eq!(cursor.place(&grid, ts), grid.place(ts / 1_000), "at {ts}");
        }
    }
}
