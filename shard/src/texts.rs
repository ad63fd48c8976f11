//! Texts: their tenants' programs find the topics, which are then counted as events.
//!
//! Owns what becomes of a text. Never touches how programs find topics, or what windows count.
//!
//! ```text
//! on_texts -> marks, admission (as for events) -> windows open -> one call a tenant: find_topics
//!          -> topics of one text: name kept -> window (early, late, dropped as for events)
//!                                           -> samples: the text about each of its topics
//! ```
//!
//! Invariants
//! - every text of an applied part is in exactly one of the counts of [`Counted`]; it is applied
//!   when any of its topics is, and filtered when it has none;
//! - a topic is counted once for a text, and only under the name its id has here.

use crate::count::{Pass, TenantRun};
use crate::effect::{Counted, Effects, Refused};
use crate::limits::TEXT_TOPICS_MAX;
use crate::memory::Memory;
use crate::observe::{PREFETCH_PROGRAMS, Piece, together};
use crate::programs::{Programs, Text, Texts};
use crate::samples::Message;
use crate::shard::{Origin, Part, Shard, TextPart, at_offset};
use crate::stats::Stats;
use crate::topics::Topics;
use trendsrv_proto::{Clock, EventRecord, NameKind, TopicId};

/// Topics found in the texts of one call. Reused from part to part.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// The text's index within the call, and the event to be counted.
    topics: Vec<(usize, EventRecord)>,
    /// Topics so far of each text.
    counts: Vec<u8>,
    /// The topics of one text, each once.
    records: Vec<EventRecord>,
}

impl<P: Programs, M: Memory> Shard<P, M> {
    /// Applies or refuses a part of texts that brings the names of its tenants; the effects say
    /// which. Texts of one tenant need not lie together.
    pub fn on_texts<'n>(
        &mut self,
        now_ms: u64,
        from: &Origin,
        part: &TextPart<'_>,
        names: impl Iterator<Item = (NameKind, u64, &'n str)> + Clone,
        fx: &mut Effects,
    ) {
        let Some(due) = self.due(from, fx) else { return };
        let mut kept = Vec::new();
        let (texts, duplicate) = self.sift_texts(&due, part, &mut kept);
        let none = Part { base_ms: texts.base_ms, span: texts.span, records: &[] };
        let counted = self
            .check_names(names.clone())
            .and_then(|()| self.check_log(from, &none, &texts))
            .and_then(|()| self.count_texts(now_ms, &texts));
        match counted {
            Ok(counted) => {
                self.append(now_ms, from, &none, &texts);
                self.define(names);
                self.accept(now_ms, from, Counted { duplicate, ..counted }, fx);
            }
            Err(why) => self.refuse(from, why, fx),
        }
    }

    /// Counts texts, or none of them.
    pub(crate) fn count_texts(
        &mut self,
        now_ms: u64,
        part: &TextPart<'_>,
    ) -> Result<Counted, Refused> {
        let early = self.count_early_texts(now_ms, part);
        // How many topics they have shows only when it is too late to refuse.
        let waiting = early * TEXT_TOPICS_MAX;
        self.admit_all(now_ms, part.texts, part.span, waiting)?;
        Ok(self.apply_texts(now_ms, part, early))
    }

    pub(crate) fn count_early_texts(&self, now_ms: u64, part: &TextPart<'_>) -> usize {
        let opens_ms = self.next_pane_ms(now_ms);
        if self.config.clock == Clock::Event || part.span.max_ms < opens_ms {
            return 0;
        }
        let is_early = |text: &&Text<'_>| at_offset(part.base_ms, text.offset_ms) >= opens_ms;
        part.texts.iter().filter(is_early).count()
    }

    /// Counts the topics of every text of a part whose tenants stand in `runs`.
    pub(crate) fn apply_texts(
        &mut self,
        now_ms: u64,
        part: &TextPart<'_>,
        early: usize,
    ) -> Counted {
        let mut stage = std::mem::take(&mut self.stage);
        let mut found = std::mem::take(&mut self.found);
        self.cut_pieces(&mut stage.pieces, part.texts.len());
        self.open_windows(now_ms, &stage.pieces);
        if !part.texts.is_empty() {
            self.stats.event_time_max_ms = self.stats.event_time_max_ms.max(part.span.max_ms);
        }
        let mut pass = self.pass(now_ms, part.base_ms, early);
        let (mut counted, mut gathered, mut at) = (Counted::default(), Vec::new(), 0);
        self.prefetch_programs(&stage.pieces, 0, PREFETCH_PROGRAMS);
        for group in stage.pieces.chunk_by(|a, b| a.slot == b.slot) {
            self.prefetch_programs(&stage.pieces, at + PREFETCH_PROGRAMS, group.len());
            at += group.len();
            let texts = together(group, part.texts, &mut gathered);
            let run = Texts { now_ms, slot: group[0].slot, base_ms: part.base_ms, texts };
            self.apply_texts_of(&group[0], &run, &mut pass, &mut found, &mut counted);
        }
        self.count(&pass.counted);
        self.stats.texts += part.texts.len() as u64;
        self.stats.texts_without_topics += counted.filtered;
        (self.stage, self.found) = (stage, found);
        counted
    }

    /// Counts the texts of one tenant.
    fn apply_texts_of(
        &mut self,
        piece: &Piece,
        run: &Texts<'_>,
        pass: &mut Pass,
        found: &mut Found,
        counted: &mut Counted,
    ) {
        if self.tenants.at(piece.place).1.is_none() {
            // Without a window it has no program either.
            counted.dropped += run.texts.len() as u64;
            self.tenants.record_mut(piece.slot).dropped += run.texts.len() as u64;
            return;
        }
        found.begin(run.texts.len());
        let (topics, stats) = (&mut self.topics, &mut self.stats);
        self.programs.find_topics(run, &mut |index, weight, name| {
            found.take(index, &run.texts[index], (weight, name), topics, stats);
        });
        if !found.topics.is_sorted_by_key(|(index, _)| *index) {
            found.topics.sort_by_key(|(index, _)| *index);
        }
        let mut from = 0;
        for (index, text) in run.texts.iter().enumerate() {
            let topics = &found.topics[from..];
            let here = topics.iter().take_while(|(of, _)| *of == index).count();
            from += here;
            found.records.clear();
            for (_, record) in &topics[..here] {
                if !found.records.iter().any(|known| known.topic() == record.topic()) {
                    found.records.push(*record);
                }
            }
            let records = found.records.as_slice();
            let one = TenantRun { place: piece.place, base_ms: run.base_ms, records };
            self.apply_text(text, &one, pass, counted);
        }
    }

    /// Counts one text with the topics it has.
    fn apply_text(
        &mut self,
        text: &Text<'_>,
        run: &TenantRun<'_>,
        pass: &mut Pass,
        counted: &mut Counted,
    ) {
        if run.records.is_empty() {
            counted.filtered += 1;
            return;
        }
        self.stats.text_topics += run.records.len() as u64;
        let before = pass.counted;
        self.apply_run(run, pass);
        let after = pass.counted;
        let became = if after.applied > before.applied {
            &mut counted.applied
        } else if after.early > before.early {
            &mut counted.early
        } else if after.late > before.late {
            &mut counted.late
        } else {
            &mut counted.dropped
        };
        *became += 1;
        if after.applied > before.applied || after.early > before.early {
            self.keep_samples(text, run);
        }
    }

    fn keep_samples(&mut self, text: &Text<'_>, run: &TenantRun<'_>) {
        let (slot, Some(block)) = self.tenants.at(run.place) else { return };
        let pane = self.config.grid.pane_of(at_offset(run.base_ms, text.offset_ms));
        let message = Message::new(text.text, pane, self.windows.pane(block));
        for record in run.records {
            self.samples.offer(slot, record.topic(), record.weight(), &message);
        }
    }
}

impl Found {
    fn begin(&mut self, texts: usize) {
        self.topics.clear();
        self.counts.clear();
        self.counts.resize(texts, 0);
    }

    /// Takes one topic of a text and keeps its name, unless the text has enough of them or the
    /// topic's id belongs to another name.
    fn take<M: Memory>(
        &mut self,
        index: usize,
        text: &Text<'_>,
        (weight, name): (u32, &str),
        topics: &mut Topics<M>,
        stats: &mut Stats,
    ) {
        if usize::from(self.counts[index]) >= TEXT_TOPICS_MAX {
            stats.text_topics_over += 1;
            return;
        }
        let topic = TopicId::of(name);
        if topics.check(topic, name).is_err() {
            stats.text_topics_collided += 1;
            return;
        }
        // At once, so that another name of the same id in this part is seen.
        topics.define(topic, name);
        self.counts[index] += 1;
        let record = EventRecord::new(text.tenant, topic, weight, text.offset_ms);
        self.topics.push((index, record));
    }
}
