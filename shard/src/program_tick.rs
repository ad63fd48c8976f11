//! The tick of programs: once a slide, the programs of tenants that changed see their windows.
//!
//! Owns which tenants are due and which are spared. Never touches what programs say; readers ask
//! for that themselves.
//!
//! ```text
//! counting -> dirty --(a slide ends)--> changed --(each turn, some, by slot)--> view, rank
//!                                                   same ranking as when called last: spared
//!                                                   otherwise: staged, and summarised
//!
//! staged by fours:   stage 1 | stage 2, call 1 | stage 3, call 2 | …
//!                            names 1           | names 2           asked for behind the calls
//! ```
//!
//! Invariants
//! - a tenant is called at most once a slide, and not when nothing was counted in it;
//! - the work of a turn is bounded, and a round longer than a slide reaches everyone;
//! - windows and instances lie in the order of slots, and are visited in it.

use crate::limits::PROGRAM_TOPICS_MIN;
use crate::memory::Memory;
use crate::programs::{Programs, Summary};
use crate::shard::Shard;
use crate::slot_set::SlotSet;
use crate::tenants::Slot;
use crate::window::{Block, Topic, View};
use trendsrv_proto::{Clock, Rank, fmix64};

/// How far the programs' tick has come.
#[derive(Debug, Default)]
pub(crate) struct ProgramTick {
    /// Tenants counted in since the slide began.
    pub(crate) dirty: SlotSet,
    /// Tenants counted in before, to be visited.
    changed: SlotSet,
    due: bool,
    /// Those of this turn.
    batch: Vec<Slot>,
    /// Kept from turn to turn.
    staged: Option<Box<[Together; 2]>>,
    /// What the ranking was when the program was called last, by slot; 0 before that.
    rankings: Vec<u32>,
}

impl ProgramTick {
    /// For `tenants_max` tenants, or for programs that want no tick at all.
    pub(crate) fn new(tenants_max: usize, eager: bool) -> Self {
        let slots_max = if eager { tenants_max } else { 0 };
        Self {
            dirty: SlotSet::new(slots_max),
            changed: SlotSet::new(slots_max),
            due: false,
            batch: Vec::with_capacity(if eager { CHANGED_PER_TURN } else { 0 }),
            staged: None,
            rankings: Vec::with_capacity(slots_max),
        }
    }

    /// A slide has ended.
    pub(crate) fn begin(&mut self) {
        self.changed.absorb(&mut self.dirty);
        self.due = true;
    }

    /// The slot has got a tenant of another window.
    pub(crate) fn forget(&mut self, slot: Slot) {
        if let Some(ranking) = self.rankings.get_mut(slot.0 as usize) {
            *ranking = 0;
        }
    }

    /// Notes a ranking; `false` when it is what it was.
    fn renew(&mut self, slot: Slot, ranking: u32) -> bool {
        let at = slot.0 as usize;
        if at >= self.rankings.len() {
            self.rankings.resize(at + 1, 0);
        }
        std::mem::replace(&mut self.rankings[at], ranking) != ranking
    }
}

/// A tenant whose program is about to be called, and what it will see.
#[derive(Debug)]
struct Staged {
    slot: Slot,
    as_of_ms: u64,
    pane: u64,
    shown: usize,
    view: View,
}

impl Default for Staged {
    fn default() -> Self {
        Self { slot: Slot(0), as_of_ms: 0, pane: 0, shown: 0, view: View::new() }
    }
}

/// Tenants that are staged together: what one of them misses is on its way while the others are
/// looked at.
#[derive(Debug, Default)]
struct Together {
    staged: [Staged; TOGETHER],
    count: usize,
}

impl Together {
    fn staged(&self) -> &[Staged] {
        &self.staged[..self.count]
    }
}

impl<P: Programs, M: Memory> Shard<P, M> {
    /// Calls programs of changed tenants, some of them. Returns whether more are due.
    pub(crate) fn tick_programs(&mut self, now_ms: u64) -> bool {
        if !self.program_tick.due {
            return false;
        }
        let mut batch = std::mem::take(&mut self.program_tick.batch);
        let mut staged = self.program_tick.staged.take().unwrap_or_default();
        batch.clear();
        let limits = (CHANGED_PER_TURN, LOOKED_AT_PER_TURN);
        let ticks = |slot| self.programs.ticks(slot);
        self.program_tick.due = self.program_tick.changed.take(ticks, limits, &mut batch);
        self.prefetch_windows(&batch, 0, WINDOWS_AHEAD);
        let [mut these, mut before] = staged.each_mut();
        for first in (0..batch.len()).step_by(TOGETHER) {
            self.stage_together(now_ms, &batch, first, these);
            self.call_together(now_ms, before);
            self.prefetch_names(these);
            std::mem::swap(&mut these, &mut before);
        }
        self.call_together(now_ms, before);
        (these.count, before.count) = (0, 0);
        self.program_tick.batch = batch;
        self.program_tick.staged = Some(staged);
        self.program_tick.due
    }

    /// Stages the programs of a few tenants, from `first` of the batch on.
    fn stage_together(&mut self, now_ms: u64, batch: &[Slot], first: usize, these: &mut Together) {
        these.count = 0;
        for at in first..(first + TOGETHER).min(batch.len()) {
            self.prefetch_windows(batch, at + WINDOWS_AHEAD, 1);
            if let Some(block) = self.tenants.block_of(batch[at])
                && self.stage_program(now_ms, (batch[at], block), &mut these.staged[these.count])
            {
                these.count += 1;
            }
        }
    }

    /// Asks for names whose places were asked for when their tenants were staged.
    fn prefetch_names(&self, these: &Together) {
        for one in these.staged() {
            let shown = &one.view.topics()[..one.shown];
            shown.iter().for_each(|row| self.topics.prefetch_entry(row.topic));
        }
    }

    fn call_together(&mut self, now_ms: u64, these: &Together) {
        these.staged().iter().for_each(|one| self.call_program(now_ms, one));
    }

    /// The processor fetches windows that lie one behind the other by itself, and asking for all
    /// their lines as well costs 75 ns; where slots are passed over, not asking costs 200 ns.
    fn prefetch_windows(&self, batch: &[Slot], first: usize, count: usize) {
        for at in first..(first + count).min(batch.len()) {
            let slot = batch[at];
            let Some(block) = self.tenants.block_of(slot) else { continue };
            if at > 0 && batch[at - 1].0 + 1 == slot.0 {
                self.windows.prefetch_head(block);
            } else {
                self.windows.prefetch_block(block);
            }
        }
    }

    /// Reads and ranks a window and asks for what its program's call will touch; `false` when the
    /// program has seen that ranking.
    fn stage_program(
        &mut self,
        now_ms: u64,
        (slot, block): (Slot, Block),
        staged: &mut Staged,
    ) -> bool {
        let grid = self.config.grid;
        let as_of_ms = match self.config.clock {
            Clock::Wall => now_ms,
            Clock::Event => self.windows.watermark_ms(block),
        };
        let pane = grid.pane_of(as_of_ms).max(self.windows.pane(block));
        let view = &mut self.view;
        self.windows.view(block, pane, view);
        // Equal topics stay as they lie: a name is a miss or two in a large table, and readers get
        // theirs ordered by name.
        let shown = view.rank(Rank::Score, PROGRAM_TOPICS_MIN, |_| b"");
        let ranking = ranking_of(shown, self.programs.edition(slot));
        if !self.program_tick.renew(slot, ranking) {
            self.stats.ticks_unchanged += 1;
            return false;
        }
        shown.iter().for_each(|row| self.topics.prefetch(row.topic));
        self.programs.prefetch(slot);
        (staged.shown, staged.slot, staged.as_of_ms, staged.pane) =
            (shown.len(), slot, as_of_ms, pane);
        view.hand_over(&mut staged.view);
        true
    }

    /// Calls one program.
    fn call_program(&mut self, now_ms: u64, staged: &Staged) {
        let Staged { slot, as_of_ms, pane, shown, ref view } = *staged;
        let (topics, samples) = (&self.topics, &self.samples);
        let summary = Summary {
            now_ms,
            slot,
            as_of_ms,
            view,
            shown,
            name: &|topic| topics.name(topic),
            sample: &|topic| samples.of(slot, topic, pane),
            asked: false,
        };
        self.programs.summarise(&summary, &mut self.told);
        self.stats.ticks += 1;
    }
}

/// Changes with the ranked topics, their order and what they are doing; never 0.
fn ranking_of(ranked: &[Topic], edition: u64) -> u32 {
    let mixed = ranked.iter().fold(fmix64(edition), |so_far: u64, row| {
        // One product a topic: the order counts, and nobody gains by a collision.
        (so_far.rotate_left(23) ^ row.topic.0 ^ row.trend as u64).wrapping_mul(ODD)
    });
    u32::try_from(fmix64(mixed) >> 32).unwrap_or(0) | 1
}

/// Changed tenants visited in one turn: 0.1 to 0.3 ms, so that ingest never waits long.
const CHANGED_PER_TURN: usize = 256;
/// Changed tenants looked at in one turn, most of whose programs want no tick: 30 us.
const LOOKED_AT_PER_TURN: usize = 16_384;
/// Places ahead of which lines of windows and programs are asked for.
const WINDOWS_AHEAD: usize = 4;
/// Tenants staged together.
const TOGETHER: usize = 4;
/// 2^64 divided by the golden ratio.
const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
