//! What a shard does between frames, a bounded slice at a time: a pause of any length is caught up
//! with over many turns, never in one.
//!
//! ```text
//! each slide:  changed tenants -> their programs (see `program_tick.rs`)
//!              subscriptions   -> UPDATE where the answer has changed
//!              nameless ids    -> NEED to any producer
//! each turn:   early events whose pane has opened; a slice of the sweep for emptied windows;
//!              a slice of the programs' own work
//! ```

use crate::effect::{Effect, Effects};
use crate::memory::Memory;
use crate::programs::Programs;
use crate::shard::Shard;
use crate::subscriptions::Key;
use crate::tenants::Slot;
use std::collections::VecDeque;
use trendsrv_proto::{Clock, NameKind, TenantId, TopicId};

/// How far the work of the current slide has come.
#[derive(Debug, Default)]
pub(crate) struct Ticker {
    slide: u64,
    subscription: Option<Key>,
    subscriptions_due: bool,
    unnamed: VecDeque<(NameKind, u64)>,
    unnamed_due: usize,
    sweep_at: u32,
    sweep_due_milli: u64,
    swept_ms: u64,
    /// The pane that tenants were judged at to make room, and how many are still to be judged.
    room_pane: u64,
    room_left: u32,
}

impl Ticker {
    /// Remembers an id without a name; the oldest memory gives way.
    pub(crate) fn remember_unnamed(&mut self, kind: NameKind, id: u64) {
        if self.unnamed.len() >= UNNAMED_MAX {
            self.unnamed.pop_front();
        }
        self.unnamed.push_back((kind, id));
    }
}

impl<P: Programs, M: Memory> Shard<P, M> {
    /// One turn's slice of the work between frames. Returns whether more is due at once.
    pub fn on_turn(&mut self, now_ms: u64, fx: &mut Effects) -> bool {
        if let Some(log) = self.log() {
            log.on_time(now_ms);
        }
        let slide = self.config.grid.pane_of(now_ms);
        if slide > self.ticker.slide {
            self.ticker.slide = slide;
            if P::EAGER {
                self.program_tick.begin();
            }
            if !self.ticker.subscriptions_due {
                // A round that is under way goes on, so that its last readers have their turn.
                self.ticker.subscription = None;
                self.ticker.subscriptions_due = self.subscriptions.len() > 0;
            }
            self.ticker.unnamed_due = self.ticker.unnamed.len().min(UNNAMED_PER_SLIDE);
        }
        let pane = slide;
        let opened = self.open_panes(now_ms, pane);
        let ticking = self.tick_programs(now_ms);
        let preparing = self.programs.on_turn(now_ms);
        self.publish_changed(now_ms, fx);
        self.ask_unnamed(now_ms, fx);
        self.sweep(now_ms);
        opened || ticking || preparing || self.ticker.subscriptions_due
    }

    /// Counts early events whose pane has opened. Returns whether more wait.
    fn open_panes(&mut self, now_ms: u64, pane: u64) -> bool {
        for _ in 0..EARLY_PER_TURN {
            match self.early.pop(pane) {
                Some(early) => self.apply_early(now_ms, &early),
                None => return false,
            }
        }
        true
    }

    fn publish_changed(&mut self, now_ms: u64, fx: &mut Effects) {
        if !self.ticker.subscriptions_due {
            return;
        }
        for _ in 0..PUBLISH_PER_TURN {
            let Some((key, _)) = self.subscriptions.next_after(self.ticker.subscription) else {
                self.ticker.subscriptions_due = false;
                return;
            };
            self.ticker.subscription = Some(key);
            self.publish(now_ms, key, fx);
        }
    }

    fn ask_unnamed(&mut self, now_ms: u64, fx: &mut Effects) {
        let due = std::mem::take(&mut self.ticker.unnamed_due);
        for _ in 0..due {
            let Some((kind, id)) = self.ticker.unnamed.pop_front() else { return };
            let (missing, ask) = match kind {
                NameKind::Topic => {
                    let topic = TopicId(id);
                    (self.topics.is_unnamed(topic), self.topics.ask(topic, now_ms))
                }
                NameKind::Tenant => {
                    let missing = self.tenants.find(TenantId(id)).is_some()
                        && self.tenant_name(TenantId(id)).is_none();
                    (missing, missing)
                }
            };
            if missing {
                self.ticker.remember_unnamed(kind, id);
            }
            if ask {
                fx.list.push(Effect::Need { to: None, kind, id });
            }
        }
    }

    /// Looks at a slice of the tenants for windows that have emptied.
    pub(crate) fn sweep(&mut self, now_ms: u64) {
        let slots = self.tenants.slots();
        let elapsed_ms = now_ms.saturating_sub(self.ticker.swept_ms).min(SWEEP_MS);
        self.ticker.swept_ms = now_ms;
        self.ticker.sweep_due_milli += elapsed_ms * u64::from(slots) * 1_000 / SWEEP_MS;
        let due = (self.ticker.sweep_due_milli / 1_000).min(SWEEP_PER_TURN);
        let kept_milli = self.ticker.sweep_due_milli - due * 1_000;
        self.ticker.sweep_due_milli = kept_milli.min(u64::from(slots) * 1_000);
        let pane = self.config.grid.pane_of(self.emptiness_ms(now_ms));
        for _ in 0..due {
            self.sweep_next(pane);
        }
    }

    /// Looks at a slice of the tenants at once, because room is needed. Returns `false` when all
    /// have been looked at in this pane.
    pub(crate) fn sweep_for_room(&mut self, time_ms: u64) -> bool {
        let pane = self.config.grid.pane_of(time_ms);
        if pane > self.ticker.room_pane {
            (self.ticker.room_pane, self.ticker.room_left) = (pane, self.tenants.slots());
        }
        let slice = self.ticker.room_left.min(SWEEP_FOR_ROOM);
        for _ in 0..slice {
            self.sweep_next(pane);
        }
        self.ticker.room_left -= slice;
        slice > 0
    }

    /// The time at which windows are judged to be empty.
    pub(crate) const fn emptiness_ms(&self, now_ms: u64) -> u64 {
        match self.config.clock {
            Clock::Wall => now_ms,
            Clock::Event => self.stats.event_time_max_ms,
        }
    }

    fn sweep_next(&mut self, pane: u64) {
        let slots = self.tenants.slots();
        self.ticker.sweep_at =
            if self.ticker.sweep_at + 1 < slots { self.ticker.sweep_at + 1 } else { 0 };
        self.sweep_one(Slot(self.ticker.sweep_at), pane);
    }

    fn sweep_one(&mut self, slot: Slot, pane: u64) {
        let Some(id) = self.tenants.id_at(slot) else { return };
        let Some(place) = self.tenants.find(id) else { return };
        let (_, Some(block)) = self.tenants.at(place) else { return };
        if pane < self.windows.pane(block) || !self.windows.is_empty_at(block, pane) {
            return;
        }
        match self.config.clock {
            Clock::Wall => {
                self.close_window(slot, block);
                self.samples.expire(slot, pane);
            }
            // Its own time may lag behind the others': its window is kept until room is needed.
            Clock::Event => self.tenants.record_mut(slot).parked = Some(block),
        }
        self.tenants.set_block(place, None);
        self.tenants.mark_emptied(slot);
    }
}

/// The whole table is looked at once in this time.
const SWEEP_MS: u64 = 10_000;
/// Tenants looked at in one turn, about 20 us.
const SWEEP_PER_TURN: u64 = 256;
/// Tenants looked at between two looks whether there is room.
const SWEEP_FOR_ROOM: u32 = 1_024;
/// Early events counted in one turn.
const EARLY_PER_TURN: usize = 2_048;
/// Subscriptions looked at in one turn.
const PUBLISH_PER_TURN: usize = 64;
/// Nameless ids remembered.
const UNNAMED_MAX: usize = 65_536;
/// Nameless ids asked for again in one slide.
const UNNAMED_PER_SLIDE: usize = 2_048;
