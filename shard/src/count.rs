//! Counting: the hot path of a shard, from admitted records to windows.
//!
//! Owns the order in which lines are asked for and touched. Never touches admission, marks or
//! answers. Nothing here allocates or looks at a name while tenants and topics are known.

use crate::early::Early;
use crate::effect::Counted;
use crate::grid::{Cursor, PaneRow};
use crate::memory::Memory;
use crate::programs::Programs;
use crate::shard::{Part, Shard, time_of};
use crate::tenants::{Place, Run, Slot};
use crate::topics::TopicRefs;
use crate::window::{Block, Event};
use trendsrv_proto::{Clock, EventRecord};

/// Records of one tenant, one behind the other.
#[derive(Clone, Copy)]
pub(crate) struct TenantRun<'a> {
    pub(crate) place: Place,
    pub(crate) base_ms: u64,
    pub(crate) records: &'a [EventRecord],
}

/// What all runs of a part share.
pub(crate) struct Pass {
    now_ms: u64,
    /// Wall clock: the pane of now, where every window stands.
    now: Option<PaneRow>,
    cursor: Cursor,
    /// Events from here on wait for their pane.
    pub(crate) opens_ms: u64,
    pub(crate) counted: Counted,
}

impl<P: Programs, M: Memory> Shard<P, M> {
    pub(crate) fn count_early(&self, now_ms: u64, part: &Part<'_>) -> usize {
        let opens_ms = self.next_pane_ms(now_ms);
        if self.config.clock == Clock::Event || part.span.max_ms < opens_ms {
            return 0;
        }
        let is_early = |r: &&EventRecord| time_of(part.base_ms, r) >= opens_ms;
        part.records.iter().filter(is_early).count()
    }

    pub(crate) fn next_pane_ms(&self, now_ms: u64) -> u64 {
        let grid = &self.config.grid;
        grid.start_ms(grid.pane_of(now_ms) + 1)
    }

    /// Counts every record of a part whose tenants stand in `runs`.
    ///
    /// Cache misses decide the cost of short runs, so lines are asked for ahead, six runs at a
    /// time: first headers, then what the headers say. Asked for one by one between the updates,
    /// each request would wait alone for its address translation (57 against 36 ns an event).
    pub(crate) fn apply(&mut self, now_ms: u64, part: &Part<'_>, early: usize) -> Counted {
        let grid = self.config.grid;
        if !part.records.is_empty() {
            // A filler's base time is nobody's event.
            self.stats.event_time_max_ms = self.stats.event_time_max_ms.max(part.span.max_ms);
        }
        let mut pass = self.pass(now_ms, part.base_ms, early);
        let at = pass.now.unwrap_or_else(|| grid.place(grid.pane_of(part.span.max_ms)));
        let runs = std::mem::take(&mut self.runs);
        self.prefetch_heads(runs.chunks(CHUNK).next());
        self.prefetch_heads(runs.chunks(CHUNK).nth(1));
        self.prefetch_events(runs.chunks(CHUNK).next(), part, at);
        for (index, chunk) in runs.chunks(CHUNK).enumerate() {
            self.prefetch_heads(runs.chunks(CHUNK).nth(index + 2));
            self.prefetch_events(runs.chunks(CHUNK).nth(index + 1), part, at);
            for (i, run) in chunk.iter().enumerate() {
                let next = runs.get(index * CHUNK + i + 1);
                let end = next.map_or(part.records.len(), |next| next.start as usize);
                let records = &part.records[run.start as usize..end];
                let run = TenantRun { place: run.place, base_ms: part.base_ms, records };
                self.apply_run(&run, &mut pass);
            }
        }
        self.runs = runs;
        self.count(&pass.counted);
        pass.counted
    }

    /// What the runs of a part share, of which `early` events must wait.
    pub(crate) fn pass(&self, now_ms: u64, base_ms: u64, early: usize) -> Pass {
        let grid = &self.config.grid;
        let now = match self.config.clock {
            Clock::Wall => Some(grid.place(grid.pane_of(now_ms))),
            Clock::Event => None,
        };
        let opens_ms = if early > 0 { self.next_pane_ms(now_ms) } else { u64::MAX };
        let cursor = Cursor::new(grid, base_ms.min(now_ms));
        Pass { now_ms, now, cursor, opens_ms, counted: Counted::default() }
    }

    #[inline]
    fn prefetch_heads(&self, runs: Option<&[Run]>) {
        for run in runs.unwrap_or_default() {
            if let (_, Some(block)) = self.tenants.at(run.place) {
                self.windows.prefetch_head(block);
            }
        }
    }

    #[inline]
    fn prefetch_events(&self, runs: Option<&[Run]>, part: &Part<'_>, at: PaneRow) {
        for run in runs.unwrap_or_default() {
            if let (_, Some(block)) = self.tenants.at(run.place) {
                let topic = part.records[run.start as usize].topic();
                self.windows.prefetch_event(block, at, topic);
            }
        }
    }

    /// Counts a run of records of one tenant.
    #[inline]
    pub(crate) fn apply_run(&mut self, run: &TenantRun<'_>, pass: &mut Pass) {
        let (slot, block) = self.tenants.at(run.place);
        let known = block.map_or(0, |block| self.count_known(block, run, pass));
        if known > 0 {
            pass.counted.applied += known as u64;
            self.note_change(slot);
        }
        if let Some(rest @ [_, ..]) = run.records.get(known..) {
            self.apply_rest(&TenantRun { records: rest, ..*run }, pass);
        }
    }

    /// Counts the first records of a run as long as each only adds to what the window holds;
    /// returns how many.
    #[inline]
    fn count_known(&mut self, block: Block, run: &TenantRun<'_>, pass: &mut Pass) -> usize {
        let grid = self.config.grid;
        let Some(mut window) = self.windows.known(block, pass.now) else { return 0 };
        let mut known = 0;
        for record in run.records {
            let ts_ms = time_of(run.base_ms, record);
            if ts_ms >= pass.opens_ms {
                break;
            }
            let at = pass.cursor.place(&grid, ts_ms);
            let event = Event { at, topic: record.topic(), weight: record.weight(), ts_ms };
            if !window.count(&event) {
                break;
            }
            known += 1;
        }
        known
    }

    /// A tenant's window has changed: its program will see it.
    #[inline]
    fn note_change(&mut self, slot: Slot) {
        if P::EAGER {
            self.program_tick.dirty.insert(slot);
        }
    }

    /// Counts a run whatever it takes: a window opens, moves, grows.
    #[inline(never)]
    fn apply_rest(&mut self, run: &TenantRun<'_>, pass: &mut Pass) {
        let Pass { now_ms, now, ref mut cursor, opens_ms, ref mut counted } = *pass;
        let grid = self.config.grid;
        let (slot, block) = self.tenants.at(run.place);
        let first_ms = time_of(run.base_ms, &run.records[0]);
        let opened = block.or_else(|| {
            let pane = now.map_or_else(|| grid.pane_of(first_ms), |now| now.pane());
            self.open_window(now_ms, run.place, pane)
        });
        let Some(before) = opened else {
            counted.dropped += run.records.len() as u64;
            self.tenants.record_mut(slot).dropped += run.records.len() as u64;
            return;
        };
        let mut block = before;
        let mut sink = TopicRefs { topics: &mut self.topics, unnamed: &mut self.unnamed };
        if let Some(now) = now {
            self.windows.advance(&mut block, now, &mut sink);
        }
        let early = &mut self.early;
        let events = run.records.iter().filter_map(|record| {
            let ts_ms = time_of(run.base_ms, record);
            if ts_ms >= opens_ms {
                early.push(grid.pane_of(ts_ms), Early { record: *record, ts_ms });
                counted.early += 1;
                return None;
            }
            let at = cursor.place(&grid, ts_ms);
            Some(Event { at, topic: record.topic(), weight: record.weight(), ts_ms })
        });
        let added = self.windows.add(&mut block, events, &mut sink);
        if block != before {
            self.tenants.set_block(run.place, Some(block));
        }
        counted.applied += added.applied;
        if added.applied > 0 {
            self.note_change(slot);
        }
        if added.late | added.dropped != 0 {
            counted.late += added.late;
            counted.dropped += added.dropped;
            let tenant = self.tenants.record_mut(slot);
            tenant.late += added.late;
            tenant.dropped += added.dropped;
        }
    }

    pub(crate) fn count(&mut self, counted: &Counted) {
        self.stats.events_applied += counted.applied;
        self.stats.events_early += counted.early;
        self.stats.events_late += counted.late;
        self.stats.events_dropped += counted.dropped;
    }

    /// Counts an event whose pane has opened.
    pub(crate) fn apply_early(&mut self, now_ms: u64, early: &Early) {
        let id = early.record.tenant();
        let found = self.tenants.find(id).or_else(|| self.admit_one(id, now_ms));
        let Some(place) = found else {
            self.stats.events_dropped += 1;
            return;
        };
        let grid = self.config.grid;
        let now = grid.place(grid.pane_of(now_ms));
        let base_ms = early.ts_ms.saturating_add_signed(-i64::from(early.record.offset_ms()));
        let run = TenantRun { place, base_ms, records: std::slice::from_ref(&early.record) };
        let (cursor, counted) = (Cursor::new(&grid, early.ts_ms), Counted::default());
        let mut pass = Pass { now_ms, now: Some(now), cursor, opens_ms: u64::MAX, counted };
        self.apply_run(&run, &mut pass);
        self.count(&pass.counted);
    }
}

/// Runs whose lines are asked for together.
const CHUNK: usize = 6;
