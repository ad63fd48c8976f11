//! The live components of a shard, by slot, and what their calls are filled into.

use super::guest::Guest;
use super::parts::Parts;
use super::types::{Event, Row, Text, Trend, View};
use crate::abi::Fault;
use crate::abi::summary::{SAMPLE_BYTES_MAX, Spans};
use crate::limits::COMPONENT_INSTANCES_MAX;
use std::collections::HashMap;
use std::sync::Arc;
use trendsrv_proto::{EventRecord, Trend as Trends};
use trendsrv_shard::{Slot, Summary};

/// See the module header.
#[derive(Default)]
pub(crate) struct Guests {
    guests: HashMap<Slot, Box<Guest>>,
    /// Arguments, filled again for every call; nobody else holds them between calls.
    view: Arc<View>,
    events: Arc<Vec<Event>>,
    texts: Arc<Vec<Text>>,
}

impl Guests {
    /// Puts a fresh instance into a slot.
    ///
    /// # Errors
    /// When the shard holds enough of them, or it does not start.
    pub(crate) fn seat(&mut self, slot: Slot, parts: &Parts) -> Result<&mut Guest, Fault> {
        if self.guests.len() >= COMPONENT_INSTANCES_MAX && !self.guests.contains_key(&slot) {
            return Err(Fault::NoInstance(format!(
                "this shard runs {COMPONENT_INSTANCES_MAX} components, which is the most; build the \
                 program as a core module"
            )));
        }
        let guest = Guest::new(parts).map_err(|why| Fault::NoInstance(why.to_string()))?;
        Ok(self.guests.entry(slot).insert_entry(Box::new(guest)).into_mut())
    }

    pub(crate) fn remove(&mut self, slot: Slot) {
        self.guests.remove(&slot);
    }

    pub(crate) fn guest(&mut self, slot: Slot) -> Option<&mut Guest> {
        self.guests.get_mut(&slot).map(AsMut::as_mut)
    }

    /// The guest of a slot and a view as it is to see it.
    pub(crate) fn with_view(
        &mut self,
        ask: &Summary<'_>,
        spans: Spans,
    ) -> Option<(&mut Guest, Arc<View>)> {
        let guest = self.guests.get_mut(&ask.slot)?;
        fill_view(Arc::make_mut(&mut self.view), ask, spans);
        Some((guest, self.view.clone()))
    }

    /// The guest of a slot and events as it is to see them.
    pub(crate) fn with_events(
        &mut self,
        slot: Slot,
        records: &[EventRecord],
    ) -> Option<(&mut Guest, Arc<Vec<Event>>)> {
        let guest = self.guests.get_mut(&slot)?;
        let events = Arc::make_mut(&mut self.events);
        events.clear();
        events.extend(records.iter().map(|record| Event {
            topic: record.topic().0,
            weight: record.weight(),
            offset_ms: record.offset_ms(),
        }));
        Some((guest, self.events.clone()))
    }

    /// The guest of a slot and texts as it is to see them.
    pub(crate) fn with_texts(
        &mut self,
        slot: Slot,
        given: &[trendsrv_shard::Text<'_>],
    ) -> Option<(&mut Guest, Arc<Vec<Text>>)> {
        let guest = self.guests.get_mut(&slot)?;
        let texts = Arc::make_mut(&mut self.texts);
        texts.resize_with(given.len(), Text::default);
        for (text, given) in texts.iter_mut().zip(given) {
            refill(&mut text.text, given.text);
            (text.weight, text.offset_ms) = (given.weight, given.offset_ms);
        }
        Some((guest, self.texts.clone()))
    }
}

fn fill_view(view: &mut View, ask: &Summary<'_>, spans: Spans) {
    let from = ask.view;
    view.as_of_ms = ask.as_of_ms;
    (view.total, view.events) = (from.total(), from.events());
    view.distinct = u32::try_from(from.distinct()).unwrap_or(u32::MAX);
    (view.window_ms, view.recent_ms) = (spans.window_ms, spans.recent_ms);
    (view.exact, view.asked) = (from.exact(), ask.asked);
    let shown = ask.shown.min(from.ranked());
    let topics = from.topics().iter().take(shown);
    view.rows.resize_with(topics.len(), Row::default);
    for (row, topic) in view.rows.iter_mut().zip(topics) {
        row.topic = topic.topic.0;
        (row.count, row.high, row.recent) = (topic.total, topic.high, topic.recent);
        (row.velocity_milli, row.score_milli) = (topic.velocity_milli, topic.score_milli);
        row.trend = match topic.trend {
            Trends::Steady => Trend::Steady,
            Trends::New => Trend::New,
            Trends::Rising => Trend::Rising,
            Trends::Falling => Trend::Falling,
        };
        refill(&mut row.name, (ask.name)(topic.topic));
        let sample = (ask.sample)(topic.topic);
        refill(&mut row.sample, &sample[..sample.floor_char_boundary(SAMPLE_BYTES_MAX)]);
    }
}

fn refill(text: &mut String, with: &str) {
    text.clear();
    text.push_str(with);
}
