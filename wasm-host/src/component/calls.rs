//! The calls of tenants whose program is a component: the same questions, the same checks.

use super::types::{Event, Topic};
use crate::abi::{Fault, records, summary, texts};
use crate::host::Host;
use crate::limits::{COMPONENT_TEXT_BYTES_PER_CALL_MAX, RECORDS_PER_CALL_MAX, TEXTS_PER_CALL_MAX};
use crate::program::Program;
use trendsrv_proto::{EventRecord, TopicId};
use trendsrv_shard::{Observed, Slot, Summary, Text, Texts, Told};

impl Host {
    /// Gives a tenant a component of its own, and the state it had before.
    pub(crate) fn seat_component(&mut self, slot: Slot, program: &Program) -> Result<(), Fault> {
        let Some(seat) = self.seat(slot) else { return Ok(()) };
        let (Some(parts), Some(ix), tenant) = (program.parts(), seat.program, seat.tenant) else {
            return Ok(());
        };
        let guest = self.components.seat(slot, parts)?;
        let loaded = match self.parked.take(tenant, ix) {
            Some(state) => guest.load_state(state.into()),
            None => Ok(()),
        };
        let fuel = guest.take_spent();
        if loaded.is_err() {
            self.components.remove(slot);
        }
        self.charge(slot, fuel);
        loaded
    }

    /// Keeps the private state of a component for its tenant's next instance. One that fails to
    /// tell it loses it, and the fault is counted.
    pub(crate) fn save_component_state(&mut self, slot: Slot) {
        let Some(guest) = self.components.guest(slot) else { return };
        let saved = guest.save_state();
        let fuel = guest.take_spent();
        self.charge(slot, fuel);
        let Some((tenant, Some(ix))) = self.seat(slot).map(|seat| (seat.tenant, seat.program))
        else {
            return;
        };
        match saved {
            Ok(Some(state)) => self.parked.put(tenant, ix, &state),
            Ok(None) => {}
            Err(_) => {
                self.stats.faults += 1;
                self.registry.count_fault(ix);
            }
        }
    }

    /// Shows records to a component; returns how many it dealt with.
    pub(crate) fn observe_component(
        &mut self,
        run: &Observed<'_>,
        out: &mut Vec<EventRecord>,
    ) -> usize {
        let mut done = 0;
        for chunk in run.records.chunks(RECORDS_PER_CALL_MAX) {
            if self.seat_with_fuel(run.now_ms, run.slot).is_none() {
                break;
            }
            let Some((guest, events)) = self.components.with_events(run.slot, chunk) else { break };
            let returned = guest.observe(run.base_ms, events);
            let fuel = guest.take_spent();
            let told = returned.and_then(|events| {
                let fields = |event: &Event| (TopicId(event.topic), event.weight, event.offset_ms);
                records::take(events.iter().map(fields), chunk, out)
            });
            if !self.after_call(run.now_ms, run.slot, fuel, told) {
                break;
            }
            done += chunk.len();
        }
        done
    }

    /// Shows texts to a component; returns how many it dealt with.
    pub(crate) fn find_by_component(
        &mut self,
        run: &Texts<'_>,
        found: &mut dyn FnMut(usize, u32, &str),
    ) -> usize {
        let mut done = 0;
        while done < run.texts.len() && self.seat_with_fuel(run.now_ms, run.slot).is_some() {
            let rest = &run.texts[done..];
            let some = &rest[..texts_of_a_call(rest)];
            let Some((guest, texts)) = self.components.with_texts(run.slot, some) else { break };
            let returned = guest.observe_text(run.base_ms, texts);
            let fuel = guest.take_spent();
            let mut tell = |index, weight, name: &str| found(done + index, weight, name);
            let told = returned.and_then(|topics| deliver(topics, some.len(), &mut tell));
            if !self.after_call(run.now_ms, run.slot, fuel, told) {
                break;
            }
            done += some.len();
        }
        done
    }

    /// Asks a component for the ranking and the line. Returns whether it told them.
    pub(crate) fn summarise_by_component(&mut self, ask: &Summary<'_>, told: &mut Told) -> bool {
        if self.seat_with_fuel(ask.now_ms, ask.slot).is_none() {
            return false;
        }
        let spans = self.spans;
        let Some((guest, view)) = self.components.with_view(ask, spans) else { return false };
        let rows = view.rows.len();
        let returned = guest.summarise(view);
        let fuel = guest.take_spent();
        let done = returned.and_then(|said| {
            summary::check_ranking(said.ranking.as_deref().unwrap_or_default(), rows)?;
            summary::check_line(&said.tldr)?;
            (told.ranking, told.tldr) = (said.ranking, said.tldr);
            Ok(())
        });
        self.after_call(ask.now_ms, ask.slot, fuel, done)
    }
}

/// Tells the topics of a call, each once a text, after all of them were checked.
fn deliver(
    mut topics: Vec<Topic>,
    shown: usize,
    found: &mut dyn FnMut(usize, u32, &str),
) -> Result<(), Fault> {
    let mut checks = texts::Checks::new(shown, topics.len())?;
    for (entry, topic) in topics.iter().enumerate() {
        checks.entry(entry, topic.index, topic.weight, topic.name.as_bytes())?;
    }
    topics.sort_by_key(|topic| topic.index);
    for topics in topics.chunk_by(|a, b| a.index == b.index) {
        for (at, topic) in topics.iter().enumerate() {
            if !topics[..at].iter().any(|before| before.name == topic.name) {
                found(usize::from(topic.index), topic.weight, &topic.name);
            }
        }
    }
    Ok(())
}

/// How many texts go into one call, at least one.
fn texts_of_a_call(texts: &[Text<'_>]) -> usize {
    let mut bytes = 0;
    let fits = |text: &&Text<'_>| {
        bytes += text.text.len();
        bytes <= COMPONENT_TEXT_BYTES_PER_CALL_MAX
    };
    texts.iter().take(TEXTS_PER_CALL_MAX).take_while(fits).count().clamp(1, texts.len())
}
