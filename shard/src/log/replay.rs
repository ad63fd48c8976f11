//! Applying records again after a restart, at the times they were applied first.
//!
//! Owns which events of a record are applied and when early ones are counted. Never touches how
//! events are counted: that is the way of live parts.
//!
//! Marks are not asked: what is in the log was applied, and once.

use super::record::{LoggedNames, LoggedPart, Record, RecordHead};
use crate::effect::Counted;
use crate::marks::OldOwner;
use crate::memory::Memory;
use crate::programs::{Programs, Text};
use crate::shard::{Part, Shard, TextPart};
use crate::stats::Stats;
use trendsrv_proto::{Clock, NameKind, TenantId};

/// What of a record is to be applied.
#[derive(Clone, Copy)]
pub struct ReplayScope<'a> {
    /// Whether this shard owns the tenant.
    pub owns: &'a dyn Fn(TenantId) -> bool,
    /// Whether the record with this number is not in the snapshot of the tenant's vnode.
    pub above: &'a dyn Fn(TenantId, u64) -> bool,
    /// Whether the record is not in the snapshot of the marks.
    pub marks: bool,
    /// The owner whose log it is, when that was another one than this shard.
    pub old_owner: Option<OldOwner>,
}

/// What became of the events and texts of records applied again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Counted in a window.
    pub applied: u64,
    /// Waiting for their pane to open.
    pub early: u64,
    /// Older than their tenant's window.
    pub late: u64,
    /// Those that no memory was left to count.
    pub dropped: u64,
    /// Left out by their tenant's program, and texts without a topic.
    pub filtered: u64,
    /// Not this shard's, or in the snapshot already.
    pub skipped: u64,
    /// Those that found a table full that has become smaller.
    pub refused: u64,
}

impl Replayed {
    /// Both together.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            applied: self.applied + other.applied,
            early: self.early + other.early,
            late: self.late + other.late,
            dropped: self.dropped + other.dropped,
            filtered: self.filtered + other.filtered,
            skipped: self.skipped + other.skipped,
            refused: self.refused + other.refused,
        }
    }

    /// All events and texts.
    #[must_use]
    pub const fn total(&self) -> u64 {
        let counted = self.applied + self.early + self.late + self.dropped + self.filtered;
        counted + self.skipped + self.refused
    }

    const fn count(&mut self, counted: &Counted) {
        self.applied += counted.applied;
        self.early += counted.early;
        self.late += counted.late;
        self.dropped += counted.dropped;
        self.filtered += counted.filtered;
    }
}

impl<P: Programs, M: Memory> Shard<P, M> {
    /// Applies a record of the log again, at its time. Records come in the order of their times.
    ///
    /// # Panics
    /// When the log has been started: it would be written again.
    pub fn replay(
        &mut self,
        head: &RecordHead,
        record: &Record<'_>,
        scope: &ReplayScope<'_>,
    ) -> Replayed {
        assert!(self.log.writer.is_none(), "the log begins after the replay");
        match record {
            Record::Part(part) => self.replay_part(head, part, scope),
            Record::Names(names) => {
                self.replay_names(names, scope);
                Replayed::default()
            }
        }
    }

    /// All records have been applied again: what waited is counted until now. What was counted so
    /// far is forgotten by [`crate::Stats`], which tells of what comes.
    pub fn end_replay(&mut self, now_ms: u64) {
        self.raise_versions(now_ms);
        self.open_until(now_ms);
        self.sweep(now_ms);
        self.marks.end_recovery();
        self.replayed = Vec::new();
        let event_time_max_ms = self.stats.event_time_max_ms;
        self.stats = Stats { event_time_max_ms, ..Stats::default() };
    }

    fn replay_part(
        &mut self,
        head: &RecordHead,
        part: &LoggedPart<'_>,
        scope: &ReplayScope<'_>,
    ) -> Replayed {
        let now_ms = head.ingest_ms;
        self.open_until(now_ms);
        let is_due = |tenant| (scope.owns)(tenant) && (scope.above)(tenant, head.lsn);
        let mut records = std::mem::take(&mut self.replayed);
        records.clear();
        records.extend(part.records.iter().filter(|record| is_due(record.tenant())));
        let texts: Vec<Text<'_>> = part.texts.iter().filter(|text| is_due(text.tenant)).collect();
        let all = part.records.len() as u64 + u64::from(part.texts.count());
        let mut replayed =
            Replayed { skipped: all - (records.len() + texts.len()) as u64, ..Replayed::default() };
        let whole = Part { base_ms: part.base_ms, span: part.span, records: &records };
        let texts = TextPart { base_ms: part.base_ms, span: part.span, texts: &texts };
        self.early.recovers = true;
        self.count_again(now_ms, &whole, &texts, &mut replayed);
        self.early.recovers = false;
        self.replayed = records;
        if let Some(at) = part.sequence.filter(|_| scope.marks) {
            self.marks.replay(&at, scope.old_owner);
        }
        self.remember_unnamed();
        self.programs.on_turn(now_ms);
        self.sweep(now_ms);
        replayed
    }

    /// Counts records and texts; where not all have room, tenant by tenant.
    fn count_again(
        &mut self,
        now_ms: u64,
        part: &Part<'_>,
        texts: &TextPart<'_>,
        replayed: &mut Replayed,
    ) {
        let counted = if texts.texts.is_empty() {
            self.count_part(now_ms, part)
        } else {
            self.count_mixed(now_ms, part, texts)
        };
        if let Ok(counted) = counted {
            return replayed.count(&counted);
        }
        for records in part.records.chunk_by(|a, b| a.tenant() == b.tenant()) {
            match self.count_part(now_ms, &Part { records, ..*part }) {
                Ok(counted) => replayed.count(&counted),
                Err(_) => replayed.refused += records.len() as u64,
            }
        }
        for run in texts.texts.chunk_by(|a, b| a.tenant == b.tenant) {
            match self.count_texts(now_ms, &TextPart { texts: run, ..*texts }) {
                Ok(counted) => replayed.count(&counted),
                Err(_) => replayed.refused += run.len() as u64,
            }
        }
    }

    /// Names that meanwhile belong to others, which only a damaged log has, are passed over.
    fn replay_names(&mut self, names: &LoggedNames<'_>, scope: &ReplayScope<'_>) {
        for (kind, id, name) in names.iter() {
            let mine = kind == NameKind::Topic || (scope.owns)(TenantId(id));
            let one = std::iter::once((kind, id, name));
            if mine && self.check_names(one.clone()).is_ok() {
                self.define(one);
            }
        }
    }

    /// Counts early events, each when its pane opened: as a shard that runs would have.
    fn open_until(&mut self, now_ms: u64) {
        if self.config.clock == Clock::Event {
            return;
        }
        let grid = self.config.grid;
        let last = grid.pane_of(now_ms);
        while let Some(early) = self.early.pop(last) {
            let opened_ms = grid.start_ms(grid.pane_of(early.ts_ms));
            self.apply_early(opened_ms.max(self.replayed_ms).min(now_ms), &early);
        }
        self.replayed_ms = now_ms;
    }
}
