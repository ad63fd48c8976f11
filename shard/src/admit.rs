//! Admission: every tenant of a part is found or gets a place before anything of it is counted.
//!
//! Owns the rules by which tenants come and go. Never touches what windows count.
//!
//! Invariant: a part that does not fit changes nothing: nobody leaves for it, nobody stays of it.

use crate::effect::Refused;
use crate::memory::Memory;
use crate::programs::Programs;
use crate::programs::Text;
use crate::shard::Shard;
use crate::tenants::{Place, Run, Slot};
use crate::topics::TopicRefs;
use crate::window::Block;
use trendsrv_proto::{Clock, EventRecord, Refusal, Span, TenantId};

/// Something that belongs to a tenant.
pub(crate) trait Owned {
    fn owner(&self) -> TenantId;
}

impl Owned for EventRecord {
    fn owner(&self) -> TenantId {
        self.tenant()
    }
}

impl Owned for Text<'_> {
    fn owner(&self) -> TenantId {
        self.tenant
    }
}

impl<P: Programs, M: Memory> Shard<P, M> {
    /// Finds or admits the tenant of every item: afterwards `runs` says where each stands. At most
    /// `early` records will have to wait for their pane.
    pub(crate) fn admit_all<T: Owned>(
        &mut self,
        now_ms: u64,
        items: &[T],
        span: Span,
        early: usize,
    ) -> Result<(), Refused> {
        if !self.early.has_room(early) {
            let message = format!("{early} events ahead of the clock, and too many wait already");
            let retry_after_ms = 1_000;
            return Err(Refused { retry_after_ms, ..Refused::new(Refusal::Overloaded, message) });
        }
        let known = self.newcomers.len();
        if let Err(full) = self.resolve(now_ms, items) {
            if !self.make_room(now_ms, items, span) {
                self.forget_newcomers(known);
                return Err(full);
            }
            self.resolve(now_ms, items)?;
        }
        Ok(())
    }

    /// Lets emptied tenants go until those of the part fit; `false`, and nobody has left, when
    /// they cannot.
    #[cold]
    fn make_room<T: Owned>(&mut self, now_ms: u64, items: &[T], span: Span) -> bool {
        let mut wanted = std::mem::take(&mut self.wanted);
        wanted.clear();
        wanted.extend(items.iter().map(Owned::owner));
        wanted.sort_unstable();
        wanted.dedup();
        let time_ms = self.emptiness_ms(now_ms).max(match self.config.clock {
            Clock::Wall => 0,
            Clock::Event => span.max_ms,
        });
        let fits = loop {
            let (missing, spared) = self.missing_and_emptied(&wanted);
            if missing + spared <= self.tenants.room() {
                break true;
            }
            if !self.sweep_for_room(time_ms) {
                break false;
            }
        };
        if fits {
            for &id in &wanted {
                self.tenants.spare(id);
            }
            let (missing, _) = self.missing_and_emptied(&wanted);
            while self.tenants.free() < missing && self.evict() {}
        }
        self.wanted = wanted;
        fits
    }

    /// Of these tenants, those not here, and those here without a window.
    fn missing_and_emptied(&self, wanted: &[TenantId]) -> (usize, usize) {
        wanted.iter().fold((0, 0), |(missing, emptied), &id| match self.tenants.find(id) {
            None => (missing + 1, emptied),
            Some(place) if self.tenants.is_emptied(place) => (missing, emptied + 1),
            Some(_) => (missing, emptied),
        })
    }

    /// The longest-empty tenant leaves; `false` when there is none.
    pub(crate) fn evict(&mut self) -> bool {
        let Some((slot, version, parked)) = self.tenants.evict() else { return false };
        self.version_floor = self.version_floor.max(version);
        self.stats.tenants_evicted += 1;
        self.samples.free(slot);
        if let Some(block) = parked {
            self.close_window(slot, block);
        }
        true
    }

    /// Takes back the admission of all but the first `known` newcomers.
    fn forget_newcomers(&mut self, known: usize) {
        for id in self.newcomers.drain(known..) {
            self.tenants.forget(id);
        }
    }

    fn resolve<T: Owned>(&mut self, now_ms: u64, items: &[T]) -> Result<(), Refused> {
        self.runs.clear();
        for item in items.iter().take(PREFETCH_INDEX) {
            self.tenants.prefetch(item.owner());
        }
        let mut last: Option<TenantId> = None;
        for (i, item) in items.iter().enumerate() {
            if let Some(ahead) = items.get(i + PREFETCH_INDEX) {
                self.tenants.prefetch(ahead.owner());
            }
            let id = item.owner();
            if last == Some(id) {
                continue;
            }
            last = Some(id);
            let place = match self.tenants.find(id) {
                Some(place) => place,
                None => self.admit(id, now_ms).ok_or_else(|| self.full(i))?,
            };
            let start = u32::try_from(i).unwrap_or(u32::MAX);
            self.runs.push(Run { place, start });
        }
        Ok(())
    }

    #[cold]
    fn full(&self, index: usize) -> Refused {
        let max = self.config.tenants_max;
        let message = format!("all {max} tenants of this shard have live windows");
        Refused {
            index: u32::try_from(index).ok(),
            retry_after_ms: 1_000,
            ..Refused::new(Refusal::TenantsFull, message)
        }
    }

    /// Admits a tenant; `None` when the table is full.
    #[cold]
    fn admit(&mut self, id: TenantId, now_ms: u64) -> Option<Place> {
        if self.tenants.free() == 0 {
            return None;
        }
        let place = self.tenants.admit(id);
        let (slot, _) = self.tenants.at(place);
        // Grows from the time of admission, and from what was told of those that left, so that it
        // never falls back over an eviction.
        self.tenants.record_mut(slot).version = now_ms.max(self.version_floor);
        self.newcomers.push(id);
        Some(place)
    }

    pub(crate) fn close_window(&mut self, slot: Slot, block: Block) {
        self.programs.retire(slot);
        self.program_tick.forget(slot);
        let mut sink = TopicRefs { topics: &mut self.topics, unnamed: &mut self.unnamed };
        self.windows.close(block, &mut sink);
    }

    /// The window of a tenant that has none in the index: the parked one, or a new one.
    #[cold]
    pub(crate) fn open_window(&mut self, now_ms: u64, place: Place, pane: u64) -> Option<Block> {
        let (slot, _) = self.tenants.at(place);
        let block = match self.tenants.record_mut(slot).parked.take() {
            Some(parked) => parked,
            None => {
                let opened = self.windows.open(slot.0, pane)?;
                self.programs.admit(now_ms, slot, self.tenants.record(slot).id);
                opened
            }
        };
        self.tenants.mark_live(slot);
        self.tenants.set_block(place, Some(block));
        Some(block)
    }

    /// Admits a tenant, at the cost of the longest-empty one when the table is full.
    pub(crate) fn admit_one(&mut self, id: TenantId, now_ms: u64) -> Option<Place> {
        let time_ms = self.emptiness_ms(now_ms);
        while self.tenants.room() == 0 && self.sweep_for_room(time_ms) {}
        if self.tenants.free() == 0 {
            self.evict();
        }
        self.admit(id, now_ms)
    }
}

/// Records ahead of which the index is asked for: enough to cover a miss, few enough to stay cached.
const PREFETCH_INDEX: usize = 32;
