//! One connection of the load: calls made ahead, several in flight.

use super::calls::Calls;
use super::wire::Wire;
use crate::tally::Tally;
use anyhow::{Context as _, bail};
use std::collections::VecDeque;

/// A call whose replies are not all here.
#[derive(Clone, Copy, Debug)]
struct Flight {
    slot: usize,
    intended_ns: u64,
    base_ms: u64,
    measured: bool,
    replies_due: u64,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) wire: Wire,
    calls: Calls,
    calls_max: usize,
    admitted: u64,
    acknowledged: u64,
    flights: VecDeque<Flight>,
}

impl Lane {
    pub(super) const fn new(wire: Wire, calls: Calls, calls_max: usize) -> Self {
        let flights = VecDeque::new();
        Self { wire, calls, calls_max, admitted: 0, acknowledged: 0, flights }
    }

    /// Whether another call may be admitted.
    pub(super) fn has_room(&self) -> bool {
        self.flights.len() < self.calls_max
    }

    /// Whether another call would be written at once.
    pub(super) fn wants_calls(&self) -> bool {
        self.has_room() && self.wire.is_writable()
    }

    /// Takes the next call; the caller has asked `has_room`.
    pub(super) fn admit(
        &mut self,
        intended_ns: u64,
        base_ms: u64,
        measured: bool,
        tally: &mut Tally,
    ) -> anyhow::Result<()> {
        let slot = usize::try_from(self.admitted % self.calls.len() as u64)?;
        self.wire.push(self.calls.at(slot, base_ms));
        let replies_due = self.calls.replies(slot);
        self.flights.push_back(Flight { slot, intended_ns, base_ms, measured, replies_due });
        self.admitted += 1;
        let events = self.calls.events(slot);
        tally.all.admitted += events;
        tally.measured.admitted += if measured { events } else { 0 };
        Ok(())
    }

    /// Whether every call has its replies.
    pub(super) fn is_idle(&self) -> bool {
        self.flights.is_empty()
    }

    /// Whether every tenant of this connection has had an event counted.
    pub(super) const fn has_seen_all(&self) -> bool {
        self.acknowledged >= self.calls.first_round() as u64
    }

    /// Notes the tenants whose events were counted.
    pub(super) fn note_tenants(&self, seen: &mut [bool]) {
        self.calls.note_tenants(self.acknowledged, seen);
    }

    /// Takes the replies that have come.
    pub(super) fn read(
        &mut self,
        now_ns: u64,
        scratch: &mut [u8],
        tally: &mut Tally,
    ) -> anyhow::Result<()> {
        self.wire.fill(scratch)?;
        while let Some(reply) = self.wire.next_reply()? {
            let flight = self.flights.front_mut().context("a reply to no call")?;
            let events = self.calls.events(flight.slot);
            if flight.replies_due == 1 {
                if let Some(counted) = integer(reply)
                    && counted != events
                {
                    bail!("redis-server counted {counted} of {events} events of a call");
                }
                if flight.measured {
                    tally.ack.record(now_ns.saturating_sub(flight.intended_ns));
                    tally.measured.acked += events;
                }
                tally.all.acked += events;
                tally.ledger.count(flight.base_ms, self.calls.sampled(flight.slot));
                self.acknowledged += 1;
                self.flights.pop_front();
            } else {
                flight.replies_due -= 1;
            }
        }
        Ok(())
    }
}

/// What the script returns; ZINCRBY returns a string.
fn integer(reply: &[u8]) -> Option<u64> {
    std::str::from_utf8(reply.strip_prefix(b":")?).ok()?.trim_end().parse().ok()
}
