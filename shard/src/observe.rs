//! The event stage: what programs leave of a part before it is counted.
//!
//! Owns the order in which programs are called for a part. Never touches what windows count; while
//! no program looks at events, nothing here runs.
//!
//! ```text
//! runs of the part      a b a c      each with its tenant's slot
//! pieces, by slot       a a | b | c  one call a tenant, in the order of the instances in memory
//! observed              a' | b | c'  rewritten, or copied for a tenant whose program does not look
//! ```
//!
//! Invariants
//! - a tenant's records keep their order;
//! - a program is called only for a tenant it was admitted for: windows open first;
//! - a record that a program leaves out is counted as filtered.

use crate::effect::Counted;
use crate::memory::Memory;
use crate::programs::{Observed, Programs};
use crate::shard::{Part, Shard};
use crate::tenants::{Place, Run, Slot};
use trendsrv_proto::{Clock, EventRecord};

/// Buffers for a part on its way through programs. Reused from part to part.
#[derive(Debug, Default)]
pub(crate) struct Stage {
    pub(crate) pieces: Vec<Piece>,
    gathered: Vec<EventRecord>,
    /// What is to be counted.
    pub(crate) records: Vec<EventRecord>,
    runs: Vec<Run>,
}

/// Consecutive items of one tenant within a part.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Piece {
    pub(crate) slot: Slot,
    pub(crate) place: Place,
    pub(crate) start: u32,
    pub(crate) end: u32,
}

impl<P: Programs, M: Memory> Shard<P, M> {
    /// The most records that may have to wait for their pane when `early` of `records` must now: a
    /// program may move an event within the times of its run.
    pub(crate) fn early_most(&self, early: usize, records: usize) -> usize {
        if early > 0 && self.programs.observes_any() { records } else { early }
    }

    /// Counts what programs leave of a part whose tenants stand in `runs`.
    pub(crate) fn apply_observed(&mut self, now_ms: u64, part: &Part<'_>, early: usize) -> Counted {
        let observes = |run: &Run| self.programs.observes(self.tenants.at(run.place).0);
        let new = |run: &Run| self.tenants.at(run.place).1.is_none();
        if !self.runs.iter().any(|run| observes(run) || new(run)) {
            return self.apply(now_ms, part, early);
        }
        let mut stage = std::mem::take(&mut self.stage);
        self.cut_pieces(&mut stage.pieces, part.records.len());
        self.open_windows(now_ms, &stage.pieces);
        let filtered = self.observe(now_ms, part, &mut stage);
        std::mem::swap(&mut self.runs, &mut stage.runs);
        let mut counted = self.apply(now_ms, &Part { records: &stage.records, ..*part }, early);
        self.stage = stage;
        counted.filtered = filtered;
        self.stats.events_filtered += filtered;
        counted
    }

    /// Cuts a part of `items` along its runs into pieces, by slot and then by place in the part.
    pub(crate) fn cut_pieces(&self, pieces: &mut Vec<Piece>, items: usize) {
        pieces.clear();
        let items = u32::try_from(items).unwrap_or(u32::MAX);
        let ends = self.runs.iter().skip(1).map(|run| run.start).chain([items]);
        pieces.extend(self.runs.iter().zip(ends).map(|(run, end)| {
            let (slot, _) = self.tenants.at(run.place);
            Piece { slot, place: run.place, start: run.start, end }
        }));
        pieces.sort_unstable_by_key(|piece| (piece.slot, piece.start));
    }

    /// Opens the windows of tenants that have none, so that programs know their tenants. One that
    /// finds no memory stays without.
    pub(crate) fn open_windows(&mut self, now_ms: u64, pieces: &[Piece]) {
        let pane = match self.config.clock {
            Clock::Wall => self.config.grid.pane_of(now_ms),
            // The first event that counts moves the window; one that is left out does not.
            Clock::Event => 0,
        };
        for piece in pieces {
            if self.tenants.at(piece.place).1.is_none() {
                // Without memory for it, counting finds none either and says so.
                let _ = self.open_window(now_ms, piece.place, pane);
            }
        }
    }

    /// Fills `stage` with what is to be counted; returns how many records programs left out.
    fn observe(&mut self, now_ms: u64, part: &Part<'_>, stage: &mut Stage) -> u64 {
        let Stage { pieces, gathered, records, runs } = stage;
        records.clear();
        runs.clear();
        let (mut filtered, mut at) = (0, 0);
        self.prefetch_programs(pieces, 0, PREFETCH_PROGRAMS);
        for group in pieces.chunk_by(|a, b| a.slot == b.slot) {
            self.prefetch_programs(pieces, at + PREFETCH_PROGRAMS, group.len());
            at += group.len();
            let (slot, place) = (group[0].slot, group[0].place);
            let of_tenant = together(group, part.records, gathered);
            let start = records.len();
            if self.programs.observes(slot) && self.tenants.at(place).1.is_some() {
                let run = Observed { now_ms, slot, base_ms: part.base_ms, records: of_tenant };
                self.programs.observe(&run, records);
            } else {
                records.extend_from_slice(of_tenant);
            }
            let kept = records.len() - start;
            assert!(kept <= of_tenant.len(), "a program made events: {kept}");
            filtered += (of_tenant.len() - kept) as u64;
            if kept > 0 {
                runs.push(Run { place, start: u32::try_from(start).unwrap_or(u32::MAX) });
            }
        }
        filtered
    }

    /// Asks for the memory of the programs of `count` pieces.
    pub(crate) fn prefetch_programs(&self, pieces: &[Piece], first: usize, count: usize) {
        for piece in pieces.iter().skip(first).take(count) {
            self.programs.prefetch(piece.slot);
        }
    }
}

/// The items of one tenant's pieces: in place when they lie together, else copied.
pub(crate) fn together<'a, T: Copy>(
    group: &[Piece],
    items: &'a [T],
    gathered: &'a mut Vec<T>,
) -> &'a [T] {
    let of = |piece: &Piece| &items[piece.start as usize..piece.end as usize];
    if let [piece] = group {
        return of(piece);
    }
    gathered.clear();
    group.iter().for_each(|piece| gathered.extend_from_slice(of(piece)));
    gathered
}

/// Pieces ahead of which a program's memory is asked for.
pub(crate) const PREFETCH_PROGRAMS: usize = 4;
