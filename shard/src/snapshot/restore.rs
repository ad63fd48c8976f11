//! Taking a vnode's section in.
//!
//! Owns the order in which a tenant comes back. Never touches what a section may hold: `check.rs`
//! has looked at everything before anything of it is applied.
//!
//! ```text
//! private states -> tenant (admitted) -> window -> program (finds its state) -> samples
//!                                                     names of topics, last: their windows hold them
//! ```

use super::check::{Places, Reader, TenantPart};
use super::section::PARKED;
use super::{Restored, SnapshotError};
use crate::memory::Memory;
use crate::programs::Programs;
use crate::shard::Shard;
use crate::tenants::Slot;
use crate::topics::TopicRefs;
use crate::window::{Block, Frozen, NotThawed};
use trendsrv_proto::{NameKind, TenantId};

impl<P: Programs, M: Memory> Shard<P, M> {
    /// Takes a vnode's section in. Its programs should be known before.
    ///
    /// # Errors
    /// When the section is damaged, newer than this program, or of another kind of windows, and
    /// nothing of it is restored. Or when it does not fit this shard, or one of its tenants is here
    /// already: then part of it is restored, and the shard is not to be used.
    pub fn restore_vnode(&mut self, bytes: &[u8]) -> Result<Restored, SnapshotError> {
        let mut reader = Reader::open(bytes)?;
        let facts = reader.check()?;
        self.is_alike(&reader)?;
        let section = reader.section;
        self.version_floor = self.version_floor.max(section.version_floor.to_native());
        let event_time_ms = section.event_time_max_ms.to_native();
        self.stats.event_time_max_ms = self.stats.event_time_max_ms.max(event_time_ms);
        let panes = section.tenants.iter().map(|row| row.pane.to_native());
        let now_ms = self.config.grid.start_ms(panes.max().unwrap_or(0));

        let mut restored = Restored { facts, samples_left_out: 0, states_left_out: 0 };
        let mut at = Places::default();
        for state in reader.states(&mut at) {
            let state = state?;
            let known = self.programs.restore_state(state.tenant, state.program, state.bytes);
            restored.states_left_out += usize::from(!known);
        }
        for row in section.tenants.iter() {
            let part = reader.tenant(&mut at, row)?;
            restored.samples_left_out += self.restore_tenant(now_ms, &part, reader.words())?;
        }
        for topic in reader.topics(&mut at) {
            let (topic, name) = topic?;
            match name {
                Some(name) if self.topics.check(topic, name).is_err() => {
                    return Err(SnapshotError::Value { what: "a topic has two names" });
                }
                Some(name) => {
                    self.topics.define(topic, name);
                }
                None => self.ticker.remember_unnamed(NameKind::Topic, topic.0),
            }
        }
        for early in reader.early() {
            let early = early?;
            self.early.push(self.config.grid.pane_of(early.ts_ms), early);
        }
        Ok(restored)
    }

    fn is_alike(&self, reader: &Reader<'_>) -> Result<(), SnapshotError> {
        let (grid, got) = (&self.config.grid, &reader.grid);
        if grid != got {
            return Err(SnapshotError::Grid {
                got_window_ms: got.window_ms(),
                got_slide_ms: got.slide_ms(),
                window_ms: grid.window_ms(),
                slide_ms: grid.slide_ms(),
            });
        }
        if self.config.clock != reader.clock {
            return Err(SnapshotError::Clock { got: reader.clock, clock: self.config.clock });
        }
        Ok(())
    }

    /// Returns how many sample messages were left out.
    fn restore_tenant(
        &mut self,
        now_ms: u64,
        part: &TenantPart<'_>,
        words: &[u64],
    ) -> Result<usize, SnapshotError> {
        let (id, row) = (part.id, part.row);
        if self.tenants.find(id).is_some() {
            return Err(SnapshotError::Tenant { tenant: id, what: "it is here already" });
        }
        let slot = self.restore_record(now_ms, part)?;
        if let Some(frozen) = &part.frozen {
            let block = self.restore_window(now_ms, id, slot, frozen, words)?;
            self.programs.admit(now_ms, slot, id);
            if P::EAGER {
                self.program_tick.dirty.insert(slot);
            }
            match self.tenants.find(id) {
                Some(place) if row.window != PARKED => {
                    self.tenants.mark_live(slot);
                    self.tenants.set_block(place, Some(block));
                }
                Some(_) | None => self.tenants.record_mut(slot).parked = Some(block),
            }
        }
        let samples = part.samples.build(row);
        Ok(samples.map_or(0, |samples| self.samples.restore(slot, samples)))
    }

    fn restore_record(
        &mut self,
        now_ms: u64,
        part: &TenantPart<'_>,
    ) -> Result<Slot, SnapshotError> {
        let (id, row) = (part.id, part.row);
        let newcomers = self.newcomers.len();
        let Some(place) = self.admit_one(id, now_ms) else {
            let tenants_max = self.config.tenants_max;
            return Err(SnapshotError::TenantsFull { tenant: id, tenants_max });
        };
        // Nobody is at hand to be asked for its name.
        self.newcomers.truncate(newcomers);
        let (slot, _) = self.tenants.at(place);
        let record = self.tenants.record_mut(slot);
        record.version = row.version.to_native();
        record.fingerprint = row.fingerprint.to_native();
        record.late = row.late.to_native();
        record.dropped = row.dropped.to_native();
        record.shed = row.shed.to_native();
        match part.name {
            Some(name) => self.tenants.set_name(slot, name),
            None => self.ticker.remember_unnamed(NameKind::Tenant, id.0),
        }
        Ok(slot)
    }

    fn restore_window(
        &mut self,
        now_ms: u64,
        tenant: TenantId,
        slot: Slot,
        frozen: &Frozen,
        words: &[u64],
    ) -> Result<Block, SnapshotError> {
        let unnamed = self.unnamed.len();
        let mut sink = TopicRefs { topics: &mut self.topics, unnamed: &mut self.unnamed };
        let mut thawed = self.windows.thaw(frozen, words, slot.0, &mut sink);
        if let Err(NotThawed::Memory { .. }) = thawed {
            // Windows restored before may have emptied until this vnode was written.
            let time_ms = self.emptiness_ms(now_ms);
            while self.sweep_for_room(time_ms) {}
            let mut sink = TopicRefs { topics: &mut self.topics, unnamed: &mut self.unnamed };
            thawed = self.windows.thaw(frozen, words, slot.0, &mut sink);
        }
        // The nameless are told apart when the section's names are known.
        self.unnamed.truncate(unnamed);
        thawed.map_err(|why| match why {
            NotThawed::Tier { tier, tiers_max } => SnapshotError::Tier { tenant, tier, tiers_max },
            NotThawed::Memory { needed, capacity } => {
                SnapshotError::MemoryFull { tenant, needed, capacity }
            }
        })
    }
}
