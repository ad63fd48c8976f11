//! A frame of events, given to the threads of its tenants.
//!
//! Events in a row for the same tenant travel as one message: without it every run would be paid
//! for as often as it has events.

use super::latch::Latch;
use super::names::Names;
use super::talk::{Why, not_taken};
use super::tenant::{Message, now_ms};
use super::tenants::Tenants;
use super::window::Event;
use trendsrv_proto::limits::FUTURE_MS_MAX;
use trendsrv_proto::{AckMode, EventsNamed, Refusal, Span, TenantId, TopicId};

/// One event of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) tenant: TenantId,
    pub(crate) topic: TopicId,
    pub(crate) weight: u32,
    pub(crate) offset_ms: i32,
}

impl Record {
    const fn time_ms(&self, base_ms: u64) -> u64 {
        base_ms.saturating_add_signed(self.offset_ms as i64)
    }
}

/// The events of a frame with names, which are kept.
pub(crate) fn name_records(events: &EventsNamed<'_>, names: &Names) -> Result<Vec<Record>, Why> {
    let mut table = names.lock();
    let named = events.iter().enumerate().map(|(index, event)| {
        let topic = TopicId::of(event.topic);
        table.insert(topic.0, event.topic).map_err(|why| not_taken(index, event.topic, &why))?;
        let (weight, offset_ms) = (event.weight, event.offset_ms);
        Ok(Record { tenant: TenantId::of(event.tenant), topic, weight, offset_ms })
    });
    named.collect()
}

/// Refuses a frame with an event that lies too far ahead of the clock.
pub(crate) fn refuse_future(base_ms: u64, span: Span, records: &[Record]) -> Result<(), Why> {
    let latest_ms = now_ms().saturating_add(FUTURE_MS_MAX);
    if records.is_empty() || span.max_ms <= latest_ms {
        return Ok(());
    }
    let index = records.iter().position(|record| record.time_ms(base_ms) > latest_ms);
    let message = format!("an event lies more than {FUTURE_MS_MAX} ms ahead of the clock");
    Err(Why::at(Refusal::Future, index.unwrap_or(0), message))
}

/// Gives each run of a tenant's events to the tenant's thread, and waits until all have counted
/// unless nobody wants to know. Nothing is given when a tenant has no thread and gets none.
pub(crate) fn apply(
    tenants: &Tenants,
    base_ms: u64,
    records: &[Record],
    ack: AckMode,
) -> Result<(), Why> {
    let runs: Vec<_> = records.chunk_by(|a, b| a.tenant == b.tenant).collect();
    let mut senders = Vec::with_capacity(runs.len());
    let mut index = 0;
    for run in &runs {
        let sender = tenants
            .find_or_start(run[0].tenant)
            .map_err(|not_started| Why::at(Refusal::TenantsFull, index, not_started.to_string()))?;
        senders.push(sender);
        index += run.len();
    }
    let applied = Latch::new(runs.len());
    for (run, sender) in runs.into_iter().zip(senders) {
        let event = |r: &Record| {
            let (topic, weight, time_ms) = (r.topic, r.weight, r.time_ms(base_ms));
            Event { topic, weight, time_ms }
        };
        let events = run.iter().map(event).collect();
        let message = Message::Events { events, applied: applied.clone() };
        if sender.send(message).is_err() {
            // A tenant's thread lives as long as the map holds its channel.
            return Err(Why::new(Refusal::Overloaded, "a tenant's thread has ended"));
        }
    }
    if ack == AckMode::Applied {
        applied.wait();
    }
    Ok(())
}
