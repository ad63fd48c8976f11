//! One core's state and rules: the sum of the tables, and the way of a part of a frame through
//! them.
//!
//! Owns tenants, windows, names and marks of one slice of the vnodes. Never touches a clock, a
//! socket, a thread or another shard: time, records and mail come in as arguments, [`Effects`] go
//! out.
//!
//! ```text
//! on_events -> marks (seen before?) -> tenants (admit) -> observe     -> windows (count)
//! on_texts  ->   '                      '             -> find_topics -> windows, samples
//!                '-> Effect::Refused, nothing counted                   '-> Effect::Accepted
//! ```
//!
//! Invariants:
//! - a part is applied whole or not at all, and once;
//! - every record or text of an applied part is counted as applied, late, dropped, early or
//!   filtered.

use crate::config::ShardConfig;
use crate::early::EarlyQueue;
use crate::effect::{Counted, Effect, Effects, Refused, ReplyTo};
use crate::log::Log;
use crate::marks::{Lane, Marks, Sequence, Standing};
use crate::memory::Memory;
use crate::observe::Stage;
use crate::program_tick::ProgramTick;
use crate::programs::{Programs, Text, Told};
use crate::samples::Samples;
use crate::snapshot::Draft;
use crate::stats::Stats;
use crate::subscriptions::Subscriptions;
use crate::tenants::{Run, Tenants};
use crate::texts::Found;
use crate::tick::Ticker;
use crate::topics::Topics;
use crate::window::{View, WindowConfig, WindowError, Windows};
use trendsrv_proto::limits::FUTURE_MS_MAX;
use trendsrv_proto::{Clock, EventRecord, NameKind, Refusal, Span, TenantId, TopicId};

/// The state of one shard.
#[derive(Debug)]
pub struct Shard<P, M> {
    pub(crate) config: ShardConfig,
    pub(crate) tenants: Tenants<M>,
    pub(crate) windows: Windows<M>,
    pub(crate) topics: Topics<M>,
    pub(crate) programs: P,
    pub(crate) marks: Marks,
    pub(crate) log: Log,
    pub(crate) early: EarlyQueue,
    pub(crate) subscriptions: Subscriptions,
    pub(crate) stats: Stats,
    pub(crate) ticker: Ticker,
    pub(crate) program_tick: ProgramTick,
    pub(crate) view: View,
    pub(crate) told: Told,
    pub(crate) samples: Samples,
    pub(crate) stage: Stage,
    pub(crate) found: Found,
    pub(crate) unnamed: Vec<TopicId>,
    pub(crate) newcomers: Vec<TenantId>,
    /// The part at hand, cut into runs of one tenant.
    pub(crate) runs: Vec<Run>,
    /// The tenants of a part that found the table full, each once.
    pub(crate) wanted: Vec<TenantId>,
    /// The largest version any tenant that left was told.
    pub(crate) version_floor: u64,
    /// Buffers of a snapshot's section.
    pub(crate) draft: Draft,
    /// The events of the record that is applied again.
    pub(crate) replayed: Vec<EventRecord>,
    /// When the last record that was applied again was applied first.
    pub(crate) replayed_ms: u64,
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
    /// Whether it is to be acknowledged only once it is durable.
    pub durable: bool,
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

/// Texts of one frame that belong to this shard.
#[derive(Clone, Copy, Debug)]
pub struct TextPart<'a> {
    /// What the texts' offsets count from.
    pub base_ms: u64,
    /// The times of the whole frame.
    pub span: Span,
    /// The texts, each checked.
    pub texts: &'a [Text<'a>],
}

impl<P: Programs, M: Memory> Shard<P, M> {
    /// A shard over memory for windows, for the index of tenants and for the names of topics.
    ///
    /// # Errors
    /// When the window memory does not hold its tenants.
    pub fn new(
        config: ShardConfig,
        window_config: &WindowConfig,
        window_memory: M,
        index_memory: M,
        names_memory: M,
        programs: P,
    ) -> Result<Self, WindowError> {
        Ok(Self {
            tenants: Tenants::new(config.tenants_max, config.secret[0], index_memory),
            windows: Windows::new(window_config, window_memory)?,
            topics: Topics::new(config.topics_max, config.secret[1], names_memory),
            programs,
            marks: Marks::new(config.producers_max, config.secret[0]),
            log: Log::default(),
            early: EarlyQueue::new(config.early_max),
            subscriptions: Subscriptions::new(config.subscriptions_max),
            stats: Stats::default(),
            ticker: Ticker::default(),
            program_tick: ProgramTick::new(config.tenants_max, P::EAGER),
            view: View::new(),
            told: Told::default(),
            samples: Samples::new(config.grid.panes(), config.sample_bytes_max),
            stage: Stage::default(),
            found: Found::default(),
            unnamed: Vec::new(),
            newcomers: Vec::new(),
            runs: Vec::new(),
            wanted: Vec::new(),
            version_floor: 0,
            draft: Draft::default(),
            replayed: Vec::new(),
            replayed_ms: 0,
            config,
        })
    }

    /// A producer says hello: where it stands at this owner, or the epoch that fences it.
    ///
    /// # Errors
    /// With the newer epoch that is at work.
    pub fn on_greet(&mut self, lane: Lane, epoch: u32) -> Result<Standing, u32> {
        self.marks.greet(lane, epoch)
    }

    /// A producer that is unknown here begins its sequence with frame 1: from now on it is known,
    /// though this owner need not have events of its first frames.
    pub fn on_begin(&mut self, lane: Lane, epoch: u32) {
        self.marks.begin(lane, epoch);
    }

    /// An anonymous lane has ended.
    pub fn on_forget(&mut self, lane: Lane) {
        self.marks.forget(lane);
    }

    /// Applies or refuses one part; the effects say which.
    pub fn on_events(&mut self, now_ms: u64, from: &Origin, part: &Part<'_>, fx: &mut Effects) {
        self.on_events_named(now_ms, from, part, std::iter::empty(), fx);
    }

    /// Like [`Self::on_events`] for a part that brings its names: one of them that belongs to an
    /// id of another name refuses the part.
    pub fn on_events_named<'n>(
        &mut self,
        now_ms: u64,
        from: &Origin,
        part: &Part<'_>,
        names: impl Iterator<Item = (NameKind, u64, &'n str)> + Clone,
        fx: &mut Effects,
    ) {
        let Some(due) = self.due(from, fx) else { return };
        let mut kept = Vec::new();
        let (part, duplicate) = self.sift(&due, part, &mut kept);
        let none = TextPart { base_ms: part.base_ms, span: part.span, texts: &[] };
        let counted = self
            .check_names(names.clone())
            .and_then(|()| self.check_log(from, &part, &none))
            .and_then(|()| self.count_part(now_ms, &part));
        match counted {
            Ok(counted) => {
                self.append(now_ms, from, &part, &none);
                self.define(names);
                self.accept(now_ms, from, Counted { duplicate, ..counted }, fx);
            }
            Err(why) => self.refuse(from, why, fx),
        }
    }

    /// Counts records, or none of them.
    pub(crate) fn count_part(&mut self, now_ms: u64, part: &Part<'_>) -> Result<Counted, Refused> {
        let early = self.count_early(now_ms, part);
        let waiting = self.early_most(early, part.records.len());
        self.admit_all(now_ms, part.records, part.span, waiting)?;
        Ok(self.apply_part(now_ms, part, early))
    }

    /// Counts a part whose tenants stand in `runs`.
    pub(crate) fn apply_part(&mut self, now_ms: u64, part: &Part<'_>, early: usize) -> Counted {
        if self.programs.observes_any() {
            self.apply_observed(now_ms, part, early)
        } else {
            self.apply(now_ms, part, early)
        }
    }

    /// The part at hand is applied.
    pub(crate) fn accept(
        &mut self,
        now_ms: u64,
        from: &Origin,
        counted: Counted,
        fx: &mut Effects,
    ) {
        if let Some(at) = from.sequence {
            self.marks.applied(&at);
        }
        self.stats.parts_applied += 1;
        self.stats.events_duplicate += counted.duplicate;
        let (to, seq, lsn) = (from.to, from.seq, self.last_lsn());
        fx.list.push(Effect::Accepted { to, seq, counted, duplicate: false, lsn });
        self.ask_names(now_ms, from, fx);
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
            let is_new = match kind {
                NameKind::Tenant => self.name_tenant(TenantId(id), name),
                NameKind::Topic => self.topics.define(TopicId(id), name),
            };
            if is_new {
                self.append_name(kind, id, name);
            }
        }
        self.flush_names();
    }

    /// Returns whether the tenant is here and had no name.
    fn name_tenant(&mut self, id: TenantId, name: &str) -> bool {
        let Some(place) = self.tenants.find(id) else { return false };
        let (slot, _) = self.tenants.at(place);
        let is_new = self.tenants.record(slot).name.is_none();
        if is_new {
            self.tenants.set_name(slot, name);
        }
        is_new
    }

    pub(crate) fn tenant_name(&self, id: TenantId) -> Option<&str> {
        let place = self.tenants.find(id)?;
        self.tenants.record(self.tenants.at(place).0).name.as_deref()
    }

    /// The settings.
    pub const fn config(&self) -> &ShardConfig {
        &self.config
    }

    /// The tenants' programs.
    pub const fn programs(&self) -> &P {
        &self.programs
    }

    /// The tenants' programs, to change: the window of a tenant whose program is replaced stays.
    pub const fn programs_mut(&mut self) -> &mut P {
        &mut self.programs
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
        stats.sample_bytes = self.samples.level();
        stats.samples_full = self.samples.full;
        if let Some(log) = &self.log.writer {
            stats.log_backlog_bytes.set(log.backlog_bytes());
            (stats.log_lsn, stats.log_durable_lsn) = (log.last_lsn(), log.durable());
        }
        stats
    }

    /// Refuses a part whose turn it was: those behind it wait until it has come again.
    pub(crate) fn refuse(&mut self, from: &Origin, why: Refused, fx: &mut Effects) {
        if let Some(at) = from.sequence {
            self.marks.refused(&at);
        }
        self.tell_refused(from, why, fx);
    }

    pub(crate) fn tell_refused(&mut self, from: &Origin, why: Refused, fx: &mut Effects) {
        self.stats.count_refusal(why.code);
        fx.list.push(Effect::Refused { to: from.to, seq: from.seq, why });
    }

    /// The tick asks for the names that events of records applied again lack.
    pub(crate) fn remember_unnamed(&mut self) {
        while let Some(TopicId(id)) = self.unnamed.pop() {
            self.ticker.remember_unnamed(NameKind::Topic, id);
        }
        while let Some(TenantId(id)) = self.newcomers.pop() {
            self.ticker.remember_unnamed(NameKind::Tenant, id);
        }
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
    let offsets = part.records.iter().map(EventRecord::offset_ms);
    future(clock, now_ms, (part.base_ms, part.span), offsets)
}

/// Like [`check_future`] for texts.
///
/// # Errors
/// `FUTURE` with the index of the first text too far ahead.
pub fn check_future_texts(clock: Clock, now_ms: u64, part: &TextPart<'_>) -> Result<(), Refused> {
    let offsets = part.texts.iter().map(|text| text.offset_ms);
    future(clock, now_ms, (part.base_ms, part.span), offsets)
}

fn future(
    clock: Clock,
    now_ms: u64,
    (base_ms, span): (u64, Span),
    mut offsets: impl ExactSizeIterator<Item = i32>,
) -> Result<(), Refused> {
    let limit_ms = now_ms + FUTURE_MS_MAX;
    if clock == Clock::Event || span.max_ms <= limit_ms || offsets.len() == 0 {
        return Ok(());
    }
    let index = offsets.position(|ms| at_offset(base_ms, ms) > limit_ms);
    let ahead = span.max_ms - now_ms;
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

/// When an event happened.
#[inline]
pub(crate) fn time_of(base_ms: u64, record: &EventRecord) -> u64 {
    at_offset(base_ms, record.offset_ms())
}

/// The time that lies `offset_ms` from a base time.
#[inline]
pub(crate) fn at_offset(base_ms: u64, offset_ms: i32) -> u64 {
    base_ms.wrapping_add_signed(i64::from(offset_ms))
}
