//! Writing a vnode's section.
//!
//! Owns what of a tenant goes where. Nothing here changes the shard, but for components: they are
//! asked for their state by a call.

use super::section::{
    CLOCK_EVENT, CLOCK_WALL, EarlyRow, Kind, LIVE, MessageRow, PARKED, SampleRow, Section,
    StateRow, TenantRow, TopicRow, write,
};
use super::versions::VERSION_MAX;
use crate::memory::Memory;
use crate::programs::Programs;
use crate::samples;
use crate::shard::Shard;
use crate::tenants::Slot;
use crate::window::Frozen;
use trendsrv_proto::{Clock, TenantId, TopicId};

/// Buffers of a section on its way. Reused from vnode to vnode.
#[derive(Debug, Default)]
pub(crate) struct Draft {
    section: Section,
    slots: Vec<Slot>,
    /// Topics of the section, each once in the end.
    topics: Vec<TopicId>,
}

impl<P: Programs, M: Memory> Shard<P, M> {
    /// Appends the section of a vnode to `out` and returns the LSN it is of: everything logged up
    /// to there is in it, and nothing after. `None`, and nothing appended, when nobody of the
    /// vnode is here.
    pub fn snapshot_vnode(&mut self, vnode: u16, out: &mut Vec<u8>) -> Option<u64> {
        let mut draft = std::mem::take(&mut self.draft);
        draft.clear();
        let lsn = self.snapshot_lsn();
        self.draft_head(vnode, lsn, &mut draft.section);
        draft.slots.extend(self.tenants.of_vnode(vnode.into()));
        // Oldest first, so that they come back in the order in which they came.
        draft.slots.reverse();
        // Texts lie in the order in which they are read: names of programs, tenants, topics.
        self.draft_states(vnode, &mut draft);
        self.draft_tenants(&mut draft);
        self.draft_early(vnode, &mut draft);
        self.draft_topics(&mut draft);
        let section = &draft.section;
        let empty =
            section.tenants.is_empty() && section.early.is_empty() && section.states.is_empty();
        if !empty {
            write(Kind::Vnode, section, out);
        }
        self.draft = draft;
        (!empty).then_some(lsn)
    }

    fn draft_head(&self, vnode: u16, lsn: u64, section: &mut Section) {
        let grid = &self.config.grid;
        (section.vnode, section.lsn) = (vnode, lsn);
        (section.panes, section.slide_ms) = (grid.panes(), grid.slide_ms());
        section.version_floor = believable(self.version_floor);
        section.event_time_max_ms = self.stats.event_time_max_ms;
        section.clock = match self.config.clock {
            Clock::Wall => CLOCK_WALL,
            Clock::Event => CLOCK_EVENT,
        };
    }

    fn draft_tenants(&self, draft: &mut Draft) {
        for at in 0..draft.slots.len() {
            let slot = draft.slots[at];
            let record = self.tenants.record(slot);
            let mut row = TenantRow {
                id: record.id.0,
                version: believable(record.version),
                fingerprint: record.fingerprint,
                late: believable(record.late),
                dropped: believable(record.dropped),
                shed: believable(record.shed),
                ..TenantRow::default()
            };
            row.name_len = draft.section.push_text(record.name.as_deref().unwrap_or(""));
            let live = self.tenants.find(record.id).and_then(|place| self.tenants.at(place).1);
            row = match (live, record.parked) {
                (Some(block), _) => row.with(LIVE, self.freeze(block, draft)),
                (None, Some(block)) => row.with(PARKED, self.freeze(block, draft)),
                (None, None) => row,
            };
            if let Some(samples) = self.samples.of_tenant(slot) {
                draft.topics.extend(samples.topics.iter().map(|sampled| sampled.topic));
                draft.section.push_samples(&mut row, samples);
            }
            draft.section.tenants.push(row);
        }
    }

    fn freeze(&self, block: crate::window::Block, draft: &mut Draft) -> Frozen {
        draft.topics.extend(self.windows.topics(block));
        self.windows.freeze(block, &mut draft.section.words)
    }

    fn draft_early(&self, vnode: u16, draft: &mut Draft) {
        for early in self.early.iter() {
            let record = &early.record;
            if record.tenant().vnode() == usize::from(vnode) {
                draft.topics.push(record.topic());
                draft.section.early.push(EarlyRow {
                    tenant: record.tenant().0,
                    topic: record.topic().0,
                    ts_ms: early.ts_ms,
                    weight: record.weight(),
                    offset_ms: record.offset_ms(),
                });
            }
        }
    }

    fn draft_topics(&self, draft: &mut Draft) {
        draft.topics.sort_unstable();
        draft.topics.dedup();
        for topic in &draft.topics {
            let name_len = draft.section.push_text(self.topics.name(*topic));
            draft.section.topics.push(TopicRow { id: topic.0, name_len });
        }
    }

    fn draft_states(&mut self, vnode: u16, draft: &mut Draft) {
        let Draft { section, slots, .. } = draft;
        self.programs.waiting_states(vnode, &mut |tenant, program, state| {
            section.push_state(tenant, program, state);
        });
        // Last: where one of another program waits, too, the live one is what stays.
        for &slot in slots.iter() {
            let tenant = self.tenants.record(slot).id;
            self.programs.state_of(slot, &mut |program, state| {
                section.push_state(tenant, program, state);
            });
        }
    }
}

/// No count gets there by counting, and a reader takes none beyond it.
pub(super) fn believable(count: u64) -> u64 {
    count.min(VERSION_MAX)
}

impl Draft {
    fn clear(&mut self) {
        self.section.clear();
        self.slots.clear();
        self.topics.clear();
    }
}

impl TenantRow {
    fn with(self, window: u8, frozen: Frozen) -> Self {
        Self {
            window,
            class: frozen.class,
            used: frozen.used,
            calm: frozen.calm,
            calm_peak: frozen.calm_peak,
            pane: frozen.pane,
            watermark_ms: frozen.watermark_ms,
            total: frozen.total,
            events: frozen.events,
            rows: frozen.rows,
            ..self
        }
    }
}

impl Section {
    /// Returns the length.
    fn push_text(&mut self, text: &str) -> u16 {
        self.texts.extend_from_slice(text.as_bytes());
        u16::try_from(text.len()).expect("names and samples are a few hundred bytes at most")
    }

    fn push_samples(&mut self, row: &mut TenantRow, tenant: &samples::Tenant) {
        let count = |count: usize| u16::try_from(count).expect("a tenant has few samples");
        row.sample_topics = count(tenant.topics.len());
        row.sample_current = tenant.current;
        for sampled in &tenant.topics {
            let messages = count(sampled.messages.len());
            let (topic, weight) = (sampled.topic.0, sampled.weight);
            self.samples.push(SampleRow { topic, weight, messages });
            for kept in &sampled.messages {
                let len = self.push_text(&kept.text);
                self.messages.push(MessageRow { pane: kept.pane, hash: kept.hash, len });
            }
        }
    }

    fn push_state(&mut self, tenant: TenantId, program: &str, state: &[u8]) {
        let len = u32::try_from(state.len()).expect("a private state is a few KiB");
        let program_len = self.push_text(program);
        self.state_bytes.extend_from_slice(state);
        self.states.push(StateRow { tenant: tenant.0, len, program_len });
    }
}
