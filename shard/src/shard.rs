//! One core's state and rules: the sum of the tables, and the way of a part of a frame through
//! them.
//!
//! Owns tenants, windows, names and marks of one slice of the vnodes. Never touches a clock, a
//! socket, a thread or another shard: time, records and mail come in as arguments, [`Effects`] go
//! out.
//!
//! ```text
//! on_events -> marks (seen before?) -> tenants (admit) -> windows (count) -> Effect::Accepted
//!                    '-> Effect::Refused, nothing counted
//! ```
//!
//! Invariants:
//! - a part is applied whole or not at all, and once;
//! - every record of an applied part is counted as applied, late, dropped or early.

use crate::config::ShardConfig;
use crate::early::{Early, EarlyQueue};
use crate::effect::{Counted, Effect, Effects, Refused, ReplyTo};
use crate::grid::{Cursor, PaneRow};
use crate::marks::{Lane, Marks, Sequence, Turn};
use crate::memory::Memory;
use crate::programs::Programs;
use crate::stats::Stats;
use crate::subscriptions::Subscriptions;
use crate::tenants::{Place, Slot, Tenants};
use crate::topics::{TopicRefs, Topics};
use crate::window::{Block, Event, View, WindowConfig, WindowError, Windows};
use trendsrv_proto::limits::FUTURE_MS_MAX;
use trendsrv_proto::{Clock, EventRecord, NameKind, Refusal, Span, TenantId, TopicId};

/// The state of one shard.
#[derive(Debug)]
pub struct Shard<P, M> {
    pub(crate) config: ShardConfig,
    pub(crate) tenants: Tenants<M>,
    pub(crate) windows: Windows<M>,
    pub(crate) topics: Topics,
    pub(crate) programs: P,
    pub(crate) marks: Marks,
    pub(crate) early: EarlyQueue,
    pub(crate) subscriptions: Subscriptions,
    pub(crate) stats: Stats,
    pub(crate) dirty: Vec<Slot>,
    pub(crate) ticker: crate::tick::Ticker,
    pub(crate) view: View,
    pub(crate) tldr: String,
    pub(crate) unnamed: Vec<TopicId>,
    newcomers: Vec<TenantId>,
    places: Vec<Place>,
}

/// Where a part comes from.
#[derive(Clone, Copy, Debug)]
pub struct Origin {
    /// Whom to answer.
    pub to: ReplyTo,
    /// Its frame's number, for the answer.
    pub seq: u64,
    /// Its place in the producer's sequence; `None` is applied without asking.
    pub sequence: Option<Sequence>,
    /// Whether to ask the sender for missing names; not when they travel with the events.
    pub ask_names: bool,
}

/// Records of one frame that belong to this shard.
#[derive(Clone, Copy, Debug)]
pub struct Part<'a> {
    /// What the records' offsets count from.
    pub base_ms: u64,
    /// The times of the whole frame.
    pub span: Span,
    /// The records, each checked.
    pub records: &'a [EventRecord],
}

/// Records of one tenant, one behind the other.
#[derive(Clone, Copy)]
struct Run<'a> {
    place: Place,
    base_ms: u64,
    records: &'a [EventRecord],
}

impl<P: Programs, M: Memory> Shard<P, M> {
    /// A shard over memory for windows and for the index of tenants.
    ///
    /// # Errors
    /// When the window memory does not hold its tenants.
    pub fn new(
        config: ShardConfig,
        window_config: &WindowConfig,
        window_memory: M,
        index_memory: M,
        programs: P,
    ) -> Result<Self, WindowError> {
        Ok(Self {
            tenants: Tenants::new(config.tenants_max, config.secret[0], index_memory),
            windows: Windows::new(window_config, window_memory)?,
            topics: Topics::new(config.topics_max, config.secret[1]),
            programs,
            marks: Marks::new(config.producers_max),
            early: EarlyQueue::new(config.early_max),
            subscriptions: Subscriptions::new(config.subscriptions_max),
            stats: Stats::default(),
            dirty: Vec::new(),
            ticker: crate::tick::Ticker::default(),
            view: View::new(),
            tldr: String::new(),
            unnamed: Vec::new(),
            newcomers: Vec::new(),
            places: Vec::new(),
            config,
        })
    }

    /// A producer says hello: its next sequence number at this owner, or the epoch that fences it.
    ///
    /// # Errors
    /// With the newer epoch that is at work.
    pub fn on_greet(&mut self, lane: Lane, epoch: u32) -> Result<u64, u32> {
        self.marks.greet(lane, epoch)
    }

    /// An anonymous lane has ended.
    pub fn on_forget(&mut self, lane: Lane) {
        self.marks.forget(lane);
    }

    /// Applies or refuses one part; the effects say which.
    pub fn on_events(&mut self, now_ms: u64, from: &Origin, part: &Part<'_>, fx: &mut Effects) {
        match from.sequence.map_or(Turn::Apply, |at| self.marks.turn(&at)) {
            Turn::Apply => {}
            Turn::Duplicate => {
                self.stats.parts_duplicate += 1;
                let (to, seq) = (from.to, from.seq);
                let counted = Counted::default();
                fx.list.push(Effect::Accepted { to, seq, counted, duplicate: true });
                return;
            }
            Turn::Gap { expected } => {
                let why = Refused {
                    expected_seq: Some(expected),
                    ..Refused::new(
                        Refusal::SeqGap,
                        format!("frame {expected} was refused and must come again first"),
                    )
                };
                return self.refuse(from, why, fx);
            }
            Turn::Fenced { epoch } => return self.refuse(from, fenced(epoch), fx),
        }
        match self.admit_all(now_ms, part) {
            Ok(early) => {
                let counted = self.apply(now_ms, part, early);
                if let Some(at) = from.sequence {
                    self.marks.applied(&at);
                }
                self.stats.parts_applied += 1;
                let (to, seq) = (from.to, from.seq);
                fx.list.push(Effect::Accepted { to, seq, counted, duplicate: false });
                self.ask_names(now_ms, from, fx);
            }
            Err(why) => {
                if let Some(at) = from.sequence {
                    self.marks.refused(&at);
                }
                self.refuse(from, why, fx);
            }
        }
    }

    /// Whether names may be told: none may belong to an id of another name.
    ///
    /// # Errors
    /// `ID_COLLISION` with the index of the name.
    pub fn check_names<'n>(
        &self,
        names: impl Iterator<Item = (NameKind, u64, &'n str)>,
    ) -> Result<(), Refused> {
        for (index, (kind, id, name)) in (0..).zip(names) {
            let taken = match kind {
                NameKind::Tenant => self.tenant_name(TenantId(id)).is_some_and(|n| n != name),
                NameKind::Topic => self.topics.check(TopicId(id), name).is_err(),
            };
            if taken {
                let message = format!("id {id:#018x} of {name:?} already belongs to another name");
                let index = Some(index);
                return Err(Refused { index, ..Refused::new(Refusal::IdCollision, message) });
            }
        }
        Ok(())
    }

    /// Keeps names that passed [`Self::check_names`]. Tenants that are not here are passed over.
    pub fn define<'n>(&mut self, names: impl Iterator<Item = (NameKind, u64, &'n str)>) {
        for (kind, id, name) in names {
            match kind {
                NameKind::Tenant => {
                    if let Some(place) = self.tenants.find(TenantId(id)) {
                        let (slot, _) = self.tenants.at(place);
                        self.tenants.set_name(slot, name);
                    }
                }
                NameKind::Topic => self.topics.define(TopicId(id), name),
            }
        }
    }

    pub(crate) fn tenant_name(&self, id: TenantId) -> Option<&str> {
        let place = self.tenants.find(id)?;
        self.tenants.record(self.tenants.at(place).0).name.as_deref()
    }

    /// The settings.
    pub const fn config(&self) -> &ShardConfig {
        &self.config
    }

    /// What was counted, and how full the tables are.
    pub fn stats(&mut self) -> &Stats {
        let (tenants, emptied) = self.tenants.counts();
        let memory = self.windows.memory_use();
        let stats = &mut self.stats;
        stats.tenants.set(tenants);
        stats.tenants.max = self.config.tenants_max as u64;
        stats.tenants_emptied = emptied as u64;
        stats.topics.set(self.topics.len());
        stats.topics.max = self.config.topics_max as u64;
        stats.topic_name_bytes = self.topics.name_bytes as u64;
        stats.topics_unnamed_full = self.topics.unnamed_full;
        stats.marks.set(self.marks.len());
        stats.marks.max = self.config.producers_max as u64;
        stats.marks_evicted = self.marks.evicted;
        stats.early.set(self.early.len());
        stats.early.high = self.early.count_high as u64;
        stats.early.max = self.config.early_max as u64;
        stats.subscriptions.set(self.subscriptions.len());
        stats.subscriptions.max = self.config.subscriptions_max as u64;
        stats.window_bytes.now = memory.used_bytes;
        stats.window_bytes.high = memory.used_bytes_high;
        stats.window_bytes.max = memory.capacity_bytes;
        stats
    }

    fn refuse(&mut self, from: &Origin, why: Refused, fx: &mut Effects) {
        self.stats.count_refusal(why.code);
        fx.list.push(Effect::Refused { to: from.to, seq: from.seq, why });
    }

    /// Finds or admits the tenant of every record into `places`, and gives each a window.
    /// Returns how many records must wait for their pane.
    fn admit_all(&mut self, now_ms: u64, part: &Part<'_>) -> Result<usize, Refused> {
        let early = self.count_early(now_ms, part);
        if !self.early.has_room(early) {
            let message = format!("{early} events ahead of the clock, and too many wait already");
            let retry_after_ms = 1_000;
            return Err(Refused { retry_after_ms, ..Refused::new(Refusal::Overloaded, message) });
        }
        loop {
            let removals = self.tenants.removals;
            self.resolve(now_ms, part)?;
            // An eviction moves entries of the index: what was found before must be found again.
            if self.tenants.removals == removals {
                return Ok(early);
            }
        }
    }

    fn resolve(&mut self, now_ms: u64, part: &Part<'_>) -> Result<(), Refused> {
        self.places.clear();
        let records = part.records;
        for record in records.iter().take(PREFETCH_INDEX) {
            self.tenants.prefetch(record.tenant());
        }
        let mut last: Option<(TenantId, Place)> = None;
        for (i, record) in records.iter().enumerate() {
            if let Some(ahead) = records.get(i + PREFETCH_INDEX) {
                self.tenants.prefetch(ahead.tenant());
            }
            let id = record.tenant();
            let place = match last {
                Some((same, place)) if same == id => place,
                Some(_) | None => match self.tenants.find(id) {
                    Some(place) => place,
                    None => self.admit(id, now_ms).ok_or_else(|| self.full(i))?,
                },
            };
            last = Some((id, place));
            self.places.push(place);
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

    /// Admits a tenant, at the cost of the longest-empty one when the table is full.
    #[cold]
    fn admit(&mut self, id: TenantId, now_ms: u64) -> Option<Place> {
        if self.tenants.is_full() {
            let (slot, parked) = self.tenants.evict()?;
            self.stats.tenants_evicted += 1;
            if let Some(block) = parked {
                self.close_window(slot, block);
            }
        }
        let place = self.tenants.admit(id);
        let (slot, _) = self.tenants.at(place);
        // Grows from the time of admission, so that it never falls back over an eviction.
        self.tenants.record_mut(slot).version = now_ms;
        self.newcomers.push(id);
        Some(place)
    }

    pub(crate) fn close_window(&mut self, slot: Slot, block: Block) {
        self.programs.retire(slot);
        let mut sink = TopicRefs { topics: &mut self.topics, unnamed: &mut self.unnamed };
        self.windows.close(block, &mut sink);
    }

    /// The window of a tenant that has none in the index: the parked one, or a new one.
    #[cold]
    fn open_window(&mut self, place: Place, pane: u64) -> Option<Block> {
        let (slot, _) = self.tenants.at(place);
        let block = match self.tenants.record_mut(slot).parked.take() {
            Some(parked) => parked,
            None => {
                let opened = self.windows.open(slot.0, pane)?;
                self.programs.admit(slot, self.tenants.record(slot).id);
                opened
            }
        };
        self.tenants.mark_live(slot);
        self.tenants.set_block(place, Some(block));
        Some(block)
    }

    fn count_early(&self, now_ms: u64, part: &Part<'_>) -> usize {
        let opens_ms = self.next_pane_ms(now_ms);
        if self.config.clock == Clock::Event || part.span.max_ms < opens_ms {
            return 0;
        }
        let is_early = |r: &&EventRecord| time_of(part.base_ms, r) >= opens_ms;
        part.records.iter().filter(is_early).count()
    }

    fn next_pane_ms(&self, now_ms: u64) -> u64 {
        let grid = &self.config.grid;
        grid.start_ms(grid.pane_of(now_ms) + 1)
    }

    /// Counts every record; their tenants stand in `places`.
    fn apply(&mut self, now_ms: u64, part: &Part<'_>, early: usize) -> Counted {
        let grid = self.config.grid;
        let mut cursor = Cursor::new(&grid, part.base_ms.min(now_ms));
        let now = match self.config.clock {
            Clock::Wall => Some(grid.place(grid.pane_of(now_ms))),
            Clock::Event => None,
        };
        let opens_ms = if early > 0 { self.next_pane_ms(now_ms) } else { u64::MAX };
        self.stats.event_time_max_ms = self.stats.event_time_max_ms.max(part.span.max_ms);
        let ahead_row = now.unwrap_or_else(|| grid.place(grid.pane_of(part.span.max_ms))).row();
        let records = part.records;
        for i in 0..records.len().min(PREFETCH_WINDOWS) {
            self.prefetch(self.places[i], ahead_row);
        }
        let (mut start, mut counted) = (0, Counted::default());
        while start < records.len() {
            let place = self.places[start];
            let mut end = start + 1;
            self.prefetch_at(start + PREFETCH_WINDOWS, ahead_row);
            while end < records.len() && self.places[end] == place {
                self.prefetch_at(end + PREFETCH_WINDOWS, ahead_row);
                end += 1;
            }
            let run = &records[start..end];
            let run = Run { place, base_ms: part.base_ms, records: run };
            self.apply_run(&run, now, &mut cursor, opens_ms, &mut counted);
            start = end;
        }
        self.count(&counted);
        counted
    }

    #[inline]
    fn prefetch_at(&self, index: usize, row: u32) {
        // A run needs its lines once.
        if let Some(&place) = self.places.get(index).filter(|&&p| p != self.places[index - 1]) {
            self.prefetch(place, row);
        }
    }

    #[inline]
    fn prefetch(&self, place: Place, row: u32) {
        if let (_, Some(block)) = self.tenants.at(place) {
            self.windows.prefetch_head(block);
            self.windows.prefetch_row(block, row);
        }
    }

    /// Counts a run of records of one tenant.
    #[inline]
    fn apply_run(
        &mut self,
        run: &Run<'_>,
        now: Option<PaneRow>,
        cursor: &mut Cursor,
        opens_ms: u64,
        counted: &mut Counted,
    ) {
        let grid = self.config.grid;
        let (slot, block) = self.tenants.at(run.place);
        let first_ms = time_of(run.base_ms, &run.records[0]);
        let opened = block.or_else(|| {
            let pane = now.map_or_else(|| grid.pane_of(first_ms), |now| now.pane());
            self.open_window(run.place, pane)
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
        if P::EAGER && added.became_dirty {
            self.dirty.push(slot);
        }
        if added.late | added.dropped != 0 {
            counted.late += added.late;
            counted.dropped += added.dropped;
            let tenant = self.tenants.record_mut(slot);
            tenant.late += added.late;
            tenant.dropped += added.dropped;
        }
    }

    fn count(&mut self, counted: &Counted) {
        self.stats.events_applied += counted.applied;
        self.stats.events_early += counted.early;
        self.stats.events_late += counted.late;
        self.stats.events_dropped += counted.dropped;
    }

    /// Counts an event whose pane has opened.
    pub(crate) fn apply_early(&mut self, now_ms: u64, early: &Early) {
        let id = early.record.tenant();
        let found = self.tenants.find(id).or_else(|| self.admit(id, now_ms));
        let Some(place) = found else {
            self.stats.events_dropped += 1;
            return;
        };
        let grid = self.config.grid;
        let now = grid.place(grid.pane_of(now_ms));
        let mut cursor = Cursor::new(&grid, early.ts_ms);
        let base_ms = early.ts_ms.saturating_add_signed(-i64::from(early.record.offset_ms()));
        let run = Run { place, base_ms, records: std::slice::from_ref(&early.record) };
        let mut counted = Counted::default();
        self.apply_run(&run, Some(now), &mut cursor, u64::MAX, &mut counted);
        self.count(&counted);
    }

    /// Asks the sender for the names its events lack; the tick asks again for those that stay so.
    fn ask_names(&mut self, now_ms: u64, from: &Origin, fx: &mut Effects) {
        let to = Some(from.to);
        while let Some(TopicId(id)) = self.unnamed.pop() {
            if from.ask_names && self.topics.ask(TopicId(id), now_ms) {
                fx.list.push(Effect::Need { to, kind: NameKind::Topic, id });
            }
            self.ticker.remember_unnamed(NameKind::Topic, id);
        }
        while let Some(TenantId(id)) = self.newcomers.pop() {
            if from.ask_names {
                fx.list.push(Effect::Need { to, kind: NameKind::Tenant, id });
            }
            self.ticker.remember_unnamed(NameKind::Tenant, id);
        }
    }
}

/// Refuses a frame with an event too far ahead of the clock; event time is free with
/// [`Clock::Event`].
///
/// # Errors
/// `FUTURE` with the index of the first such event.
pub fn check_future(clock: Clock, now_ms: u64, part: &Part<'_>) -> Result<(), Refused> {
    let limit_ms = now_ms + FUTURE_MS_MAX;
    if clock == Clock::Event || part.span.max_ms <= limit_ms {
        return Ok(());
    }
    let index = part.records.iter().position(|r| time_of(part.base_ms, r) > limit_ms);
    let ahead = part.span.max_ms - now_ms;
    let message = format!(
        "an event lies {ahead} ms ahead of the server's clock; at most {FUTURE_MS_MAX} ms are \
         allowed: mend the producer's clock, or run with --clock event"
    );
    let index = index.and_then(|index| u32::try_from(index).ok());
    Err(Refused { index, ..Refused::new(Refusal::Future, message) })
}

/// The refusal of an old epoch.
#[must_use]
pub fn fenced(epoch: u32) -> Refused {
    let message = format!("epoch {epoch} of this producer is at work; this one is fenced off");
    Refused::new(Refusal::Fenced, message)
}

#[inline]
fn time_of(base_ms: u64, record: &EventRecord) -> u64 {
    base_ms.wrapping_add_signed(i64::from(record.offset_ms()))
}

/// How many records ahead lines are asked for: enough to cover a miss, few enough to stay cached.
const PREFETCH_INDEX: usize = 16;
const PREFETCH_WINDOWS: usize = 12;
