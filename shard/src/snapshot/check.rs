//! Reading a section: nothing in it is believed before it was looked at.
//!
//! Owns the rules that every value of a vnode's section keeps. Never touches a shard.
//!
//! Invariants
//! - a table is read from its first entry to its last, once, and nothing may be left over;
//! - memory taken is at most in proportion to the bytes given.

use super::section::{
    ArchivedEarlyRow, ArchivedMessageRow, ArchivedSampleRow, ArchivedSection, ArchivedTenantRow,
    CLOCK_EVENT, CLOCK_WALL, Kind, LIVE, NO_WINDOW, PARKED, open,
};
use super::versions::VERSION_MAX;
use super::{SnapshotError, VnodeFacts};
use crate::early::Early;
use crate::grid::Grid;
use crate::limits::{SAMPLE_TEXT_BYTES_MAX, SAMPLE_TOPICS_MAX, SAMPLES_PER_TOPIC_MAX, WEIGHT_MAX};
use crate::samples;
use crate::window::{Frozen, Thawer};
use trendsrv_proto::limits::{TIME_MS_MAX, VNODES};
use trendsrv_proto::{Clock, EventRecord, TenantId, TopicId, check_name};

/// A vnode's section whose shape is right.
pub(super) struct Reader<'a> {
    pub(super) section: &'a ArchivedSection,
    pub(super) grid: Grid,
    pub(super) clock: Clock,
    thawer: Thawer,
    words: Vec<u64>,
}

/// A tenant of the section.
pub(super) struct TenantPart<'a> {
    pub(super) id: TenantId,
    pub(super) row: &'a ArchivedTenantRow,
    pub(super) name: Option<&'a str>,
    pub(super) frozen: Option<Frozen>,
    pub(super) samples: SamplesPart<'a>,
}

/// The samples of a tenant.
pub(super) struct SamplesPart<'a> {
    topics: &'a [ArchivedSampleRow],
    messages: &'a [ArchivedMessageRow],
    texts: &'a str,
}

/// A private state.
pub(super) struct StatePart<'a> {
    pub(super) tenant: TenantId,
    pub(super) program: &'a str,
    pub(super) bytes: &'a [u8],
}

/// How far the tables have been read.
#[derive(Default)]
pub(super) struct Places {
    words: usize,
    samples: usize,
    messages: usize,
    texts: usize,
    state_bytes: usize,
}

/// Checks a vnode's section and says what it holds.
///
/// # Errors
/// When it is damaged, or newer than this program.
pub fn check_vnode(bytes: &[u8]) -> Result<VnodeFacts, SnapshotError> {
    Reader::open(bytes)?.check()
}

impl<'a> Reader<'a> {
    pub(super) fn open(bytes: &'a [u8]) -> Result<Self, SnapshotError> {
        let section: &ArchivedSection = open(Kind::Vnode, bytes)?;
        let slide_ms = section.slide_ms.to_native();
        let window_ms = slide_ms.checked_mul(section.panes.to_native().into());
        let grid = window_ms.and_then(|window_ms| Grid::new(window_ms, slide_ms).ok());
        let grid = grid.ok_or(value("its window and slide cannot be"))?;
        let clock = match section.clock {
            CLOCK_WALL => Clock::Wall,
            CLOCK_EVENT => Clock::Event,
            _ => return Err(value("its clock is neither")),
        };
        if usize::from(section.vnode.to_native()) >= VNODES {
            return Err(value("its vnode is past the last"));
        }
        if section.version_floor.to_native() > VERSION_MAX
            || section.event_time_max_ms.to_native() > TIME_MS_MAX
        {
            return Err(value("its largest version or event time cannot be"));
        }
        Ok(Self { section, grid, clock, thawer: Thawer::new(grid), words: Vec::new() })
    }

    /// Looks at everything.
    pub(super) fn check(&mut self) -> Result<VnodeFacts, SnapshotError> {
        let mut facts = VnodeFacts {
            vnode: self.section.vnode.to_native(),
            lsn: self.section.lsn.to_native(),
            window_ms: self.grid.window_ms(),
            slide_ms: self.grid.slide_ms(),
            clock: self.clock,
            tenants: self.section.tenants.len(),
            windows: 0,
            events: 0,
            topics: 0,
            early: self.section.early.len(),
            states: self.section.states.len(),
        };
        let mut at = Places::default();
        for state in self.states(&mut at) {
            state?;
        }
        for row in self.section.tenants.iter() {
            let tenant = self.tenant(&mut at, row)?;
            let Some(frozen) = tenant.frozen else { continue };
            let words = std::mem::take(&mut self.words);
            let checked = self.thawer.check(&frozen, &words);
            self.words = words;
            checked.map_err(|what| SnapshotError::Tenant { tenant: tenant.id, what })?;
            facts.windows += 1;
            facts.events = facts.events.saturating_add(frozen.events);
            facts.topics += usize::from(frozen.used);
        }
        for topic in self.topics(&mut at) {
            topic?;
        }
        for early in self.early() {
            early?;
        }
        self.is_read(&at)?;
        Ok(facts)
    }

    /// The next tenant. The words of its window are then in [`Self::words`].
    pub(super) fn tenant(
        &mut self,
        at: &mut Places,
        row: &'a ArchivedTenantRow,
    ) -> Result<TenantPart<'a>, SnapshotError> {
        let id = TenantId(row.id.to_native());
        let wrong = |what| SnapshotError::Tenant { tenant: id, what };
        self.is_of_vnode(id).map_err(wrong)?;
        let counts = [row.late, row.dropped, row.shed].map(|count| count.to_native());
        if row.version.to_native() > VERSION_MAX || counts.iter().any(|&n| n > VERSION_MAX) {
            return Err(wrong("its version or counts cannot be"));
        }
        let name = self.name(at, row.name_len.to_native()).map_err(wrong)?;
        let frozen = self.frozen(row).map_err(wrong)?;
        if let Some(frozen) = &frozen {
            let count = self.thawer.words(frozen).map_err(wrong)?;
            let words = cut(&self.section.words, &mut at.words, count).map_err(wrong)?;
            self.words.clear();
            self.words.extend(words.iter().map(|word| word.to_native()));
        }
        let samples = self.samples(at, row).map_err(wrong)?;
        Ok(TenantPart { id, row, name, frozen, samples })
    }

    /// The words of the window of the tenant read last.
    pub(super) fn words(&self) -> &[u64] {
        &self.words
    }

    /// Topics and their names.
    pub(super) fn topics(
        &self,
        at: &mut Places,
    ) -> impl Iterator<Item = Result<(TopicId, Option<&'a str>), SnapshotError>> {
        self.section.topics.iter().map(move |row| {
            let name = self.name(at, row.name_len.to_native()).map_err(value)?;
            Ok((TopicId(row.id.to_native()), name))
        })
    }

    /// Private states of programs.
    pub(super) fn states(
        &self,
        at: &mut Places,
    ) -> impl Iterator<Item = Result<StatePart<'a>, SnapshotError>> {
        self.section.states.iter().map(move |row| {
            let tenant = TenantId(row.tenant.to_native());
            let wrong = |what| SnapshotError::Tenant { tenant, what };
            self.is_of_vnode(tenant).map_err(wrong)?;
            let program = self.name(at, row.program_len.to_native()).map_err(wrong)?;
            let program = program.ok_or(wrong("the program of its state has no name"))?;
            let len = usize::try_from(row.len.to_native()).unwrap_or(usize::MAX);
            let bytes = cut(&self.section.state_bytes, &mut at.state_bytes, len).map_err(wrong)?;
            Ok(StatePart { tenant, program, bytes })
        })
    }

    /// Events that wait.
    pub(super) fn early(&self) -> impl Iterator<Item = Result<Early, SnapshotError>> {
        self.section.early.iter().map(|row| self.early_event(row).map_err(value))
    }

    /// Nothing may be left over.
    fn is_read(&self, at: &Places) -> Result<(), SnapshotError> {
        let section = self.section;
        let left = [
            section.words.len() - at.words,
            section.samples.len() - at.samples,
            section.messages.len() - at.messages,
            section.texts.len() - at.texts,
            section.state_bytes.len() - at.state_bytes,
        ];
        match left {
            [0, 0, 0, 0, 0] => Ok(()),
            _ => Err(value("its tables hold more than its tenants do")),
        }
    }

    fn early_event(&self, row: &ArchivedEarlyRow) -> Result<Early, &'static str> {
        let tenant = TenantId(row.tenant.to_native());
        self.is_of_vnode(tenant)?;
        let (weight, offset_ms) = (row.weight.to_native(), row.offset_ms.to_native());
        let ts_ms = row.ts_ms.to_native();
        let has_base = ts_ms.checked_add_signed(-i64::from(offset_ms)).is_some();
        if self.clock == Clock::Event || !(1..=WEIGHT_MAX).contains(&weight) {
            return Err("a waiting event that cannot be");
        }
        if ts_ms > TIME_MS_MAX || !has_base {
            return Err("a waiting event of a time that cannot be");
        }
        let topic = TopicId(row.topic.to_native());
        Ok(Early { record: EventRecord::new(tenant, topic, weight, offset_ms), ts_ms })
    }

    fn frozen(&self, row: &ArchivedTenantRow) -> Result<Option<Frozen>, &'static str> {
        match (row.window, self.clock) {
            (NO_WINDOW, _) => return Ok(None),
            (LIVE, _) | (PARKED, Clock::Event) => {}
            _ => return Err("its window is neither live nor parked"),
        }
        Ok(Some(Frozen {
            class: row.class,
            used: row.used.to_native(),
            calm: row.calm.to_native(),
            calm_peak: row.calm_peak.to_native(),
            pane: row.pane.to_native(),
            watermark_ms: row.watermark_ms.to_native(),
            total: row.total.to_native(),
            events: row.events.to_native(),
            rows: row.rows.to_native(),
        }))
    }

    fn samples(
        &self,
        at: &mut Places,
        row: &ArchivedTenantRow,
    ) -> Result<SamplesPart<'a>, &'static str> {
        let pane_max = self.grid.pane_of(TIME_MS_MAX);
        let count = usize::from(row.sample_topics.to_native());
        if count > SAMPLE_TOPICS_MAX || row.sample_current.to_native() > pane_max {
            return Err("it has samples that cannot be");
        }
        let topics = cut(&self.section.samples, &mut at.samples, count)?;
        let mut messages_of_all = 0;
        for topic in topics {
            let count = usize::from(topic.messages.to_native());
            let messages = self.section.messages.get(at.messages + messages_of_all..);
            let messages = messages.and_then(|rest| rest.get(..count)).ok_or(ENDS_EARLY)?;
            messages_of_all += count;
            let rises = messages.is_sorted_by_key(|message| message.pane.to_native());
            let last = messages.last().map_or(0, |message| message.pane.to_native());
            if count > SAMPLES_PER_TOPIC_MAX || !rises || last > pane_max {
                return Err("it has samples that cannot be");
            }
        }
        let messages = cut(&self.section.messages, &mut at.messages, messages_of_all)?;
        let lens = || messages.iter().map(|message| usize::from(message.len.to_native()));
        if lens().any(|len| len > SAMPLE_TEXT_BYTES_MAX) {
            return Err("it has a sample that is too long");
        }
        let texts = cut(&self.section.texts, &mut at.texts, lens().sum())?;
        let texts = std::str::from_utf8(texts).map_err(|_| NOT_UTF8)?;
        let mut end = 0;
        for len in lens() {
            end += len;
            if !texts.is_char_boundary(end) {
                return Err(NOT_UTF8);
            }
        }
        Ok(SamplesPart { topics, messages, texts })
    }

    fn name(&self, at: &mut Places, len: u16) -> Result<Option<&'a str>, &'static str> {
        if len == 0 {
            return Ok(None);
        }
        let bytes = cut(&self.section.texts, &mut at.texts, len.into())?;
        check_name(bytes).map(Some).map_err(|_| "a name that cannot be one")
    }

    fn is_of_vnode(&self, tenant: TenantId) -> Result<(), &'static str> {
        match tenant.vnode() == usize::from(self.section.vnode.to_native()) {
            true => Ok(()),
            false => Err("it belongs to another vnode"),
        }
    }
}

impl SamplesPart<'_> {
    /// The samples as they are kept; `None` when there are none.
    pub(super) fn build(&self, row: &ArchivedTenantRow) -> Option<samples::Tenant> {
        if self.topics.is_empty() {
            return None;
        }
        let (mut messages, mut texts) = (self.messages.iter(), self.texts);
        let mut next = |row: &ArchivedMessageRow| {
            let (text, rest) = texts.split_at(row.len.to_native().into());
            texts = rest;
            samples::Kept {
                pane: row.pane.to_native(),
                hash: row.hash.to_native(),
                text: text.into(),
            }
        };
        let topics = self.topics.iter().map(|topic| samples::Sampled {
            topic: TopicId(topic.topic.to_native()),
            weight: topic.weight.to_native(),
            messages: messages
                .by_ref()
                .take(topic.messages.to_native().into())
                .map(&mut next)
                .collect(),
        });
        Some(samples::Tenant { topics: topics.collect(), current: row.sample_current.to_native() })
    }
}

/// The next entries of a table.
fn cut<'a, T>(table: &'a [T], at: &mut usize, count: usize) -> Result<&'a [T], &'static str> {
    let entries = table.get(*at..).and_then(|rest| rest.get(..count)).ok_or(ENDS_EARLY)?;
    *at += count;
    Ok(entries)
}

const fn value(what: &'static str) -> SnapshotError {
    SnapshotError::Value { what }
}

const ENDS_EARLY: &str = "a table ends before its tenants do";
const NOT_UTF8: &str = "a text is not UTF-8";
