//! The calls: a shard's questions become calls of its tenants' programs.

use crate::abi::{Fault, records, summary};
use crate::group::Group;
use crate::host::Host;
use crate::limits::{
    FUEL_CALL_MAX, FUEL_SECOND_MAX, FUEL_SHARD_SECOND_MAX, FUEL_SHARE_MIN, GROUP_SLOTS,
};
use crate::program::{Guest, describe};
use crate::seat::Seat;
use crate::text_desk::deliver;
use trendsrv_proto::{EventRecord, TenantId};
use trendsrv_shard::{Observed, Programs, Slot, Summary, Texts, Told};
use wasmtime::TypedFunc;

impl Programs for Host {
    const EAGER: bool = true;

    fn admit(&mut self, now_ms: u64, slot: Slot, tenant: TenantId) {
        self.take_seat(slot, tenant);
        // Events that are on their way must not pass a program that filters them, and a restored
        // state is not to wait among those that may have to give way.
        let observes = self.seat(slot).is_some_and(|seat| seat.observes);
        if observes || self.parked.is_restored(tenant) {
            self.bring_to_life(now_ms, slot);
        }
    }

    fn retire(&mut self, slot: Slot) {
        self.leave_seat(slot);
    }

    fn on_turn(&mut self, now_ms: u64) -> bool {
        self.work(now_ms)
    }

    #[inline]
    fn observes_any(&self) -> bool {
        self.registry.observes_any
    }

    #[inline]
    fn observes(&self, slot: Slot) -> bool {
        self.seats.get(slot.0 as usize).is_some_and(|seat| seat.observes && seat.is_live())
    }

    #[inline]
    fn ticks(&self, slot: Slot) -> bool {
        self.seats.get(slot.0 as usize).is_some_and(|seat| seat.is_live())
    }

    fn edition(&self, slot: Slot) -> u64 {
        let live = self.seat(slot).filter(|seat| seat.is_live());
        live.map_or(0, |seat| {
            let number = seat.program.map_or(0, |ix| u64::from(ix.0) + 1);
            number << 32 | u64::from(seat.version)
        })
    }

    #[inline]
    fn prefetch(&self, slot: Slot) {
        self.ask_for_memory(slot);
    }

    fn observe(&mut self, run: &Observed<'_>, out: &mut Vec<EventRecord>) {
        if self.is_component(run.slot) {
            let done = self.observe_component(run, out);
            return out.extend_from_slice(&run.records[done..]);
        }
        let mut rest = run.records;
        while !rest.is_empty() {
            let Some(mut chair) = self.chair(run.now_ms, run.slot) else { break };
            let (chunk, behind) = rest.split_at(records::room(chair.cap).min(rest.len()));
            records::write(chair.buffer(), run.base_ms, chunk);
            let n = i32::try_from(chunk.len()).unwrap_or(i32::MAX);
            let returned = chair.call("observe", |guest| guest.observe.as_ref(), n, FUEL_CALL_MAX);
            let told = returned.and_then(|count| records::read(chair.buffer(), count, chunk, out));
            let fuel = chair.fuel;
            if !self.after_call(run.now_ms, run.slot, fuel, told) {
                break;
            }
            rest = behind;
        }
        // The default program counts events as they are.
        out.extend_from_slice(rest);
    }

    fn find_topics(&mut self, run: &Texts<'_>, found: &mut dyn FnMut(usize, u32, &str)) {
        let takes_texts =
            self.seat(run.slot).is_some_and(|seat| seat.takes_texts && seat.program.is_some());
        let mut done = 0;
        if takes_texts {
            self.bring_to_life(run.now_ms, run.slot);
            if self.is_component(run.slot) {
                done = self.find_by_component(run, found);
                return self.find_by_default(run, done, found);
            }
            while done < run.texts.len() {
                let Some(mut chair) = self.chair(run.now_ms, run.slot) else { break };
                let written =
                    crate::abi::texts::write(chair.buffer(), run.base_ms, &run.texts[done..]);
                let n = i32::try_from(written.texts).unwrap_or(i32::MAX);
                let fuel = written.fuel();
                let returned =
                    chair.call("observe_text", |guest| guest.observe_text.as_ref(), n, fuel);
                let told = returned.and_then(|count| {
                    let mut tell = |index, weight, name: &str| found(done + index, weight, name);
                    deliver(chair.buffer(), count, written, &mut tell)
                });
                let fuel = chair.fuel;
                if !self.after_call(run.now_ms, run.slot, fuel, told) {
                    break;
                }
                done += written.texts;
            }
        }
        self.find_by_default(run, done, found);
    }

    fn summarise(&mut self, ask: &Summary<'_>, told: &mut Told) {
        if ask.asked {
            self.bring_to_life(ask.now_ms, ask.slot);
        }
        if self.is_component(ask.slot) {
            return match self.summarise_by_component(ask, told) {
                true => self.sign(ask.slot, told),
                false => self.twin.summarise(ask, told),
            };
        }
        let spans = self.spans;
        if let Some(mut chair) = self.chair(ask.now_ms, ask.slot) {
            let written = summary::write(chair.buffer(), ask, spans);
            let n = i32::try_from(written.rows).unwrap_or(i32::MAX);
            let returned =
                chair.call("summarise", |guest| Some(&guest.summarise), n, FUEL_CALL_MAX);
            let done = returned.and_then(|code| summary::read(chair.buffer(), code, written, told));
            let fuel = chair.fuel;
            if self.after_call(ask.now_ms, ask.slot, fuel, done) {
                return self.sign(ask.slot, told);
            }
        }
        self.twin.summarise(ask, told);
    }

    fn name_of(&self, slot: Slot) -> &str {
        let program = self.seat(slot).and_then(|seat| seat.program);
        program.map_or(self.twin.name_of(slot), |ix| self.registry.current(ix).0.name())
    }

    fn state_of(&mut self, slot: Slot, keep: &mut dyn FnMut(&str, &[u8])) {
        self.tell_state(slot, keep);
    }

    fn waiting_states(&self, vnode: u16, keep: &mut dyn FnMut(TenantId, &str, &[u8])) {
        self.tell_parked(vnode, keep);
    }

    fn restore_state(&mut self, tenant: TenantId, program: &str, state: &[u8]) -> bool {
        self.park_restored(tenant, program, state)
    }
}

impl Host {
    /// Names the program that wrote a summary.
    fn sign(&self, slot: Slot, told: &mut Told) {
        told.program.clear();
        told.program.push_str(self.name_of(slot));
    }

    #[inline]
    fn is_component(&self, slot: Slot) -> bool {
        self.seats.get(slot.0 as usize).is_some_and(|seat| seat.is_component())
    }

    /// The seat of a tenant whose program lives and has fuel left in this second.
    #[inline]
    pub(crate) fn seat_with_fuel(&mut self, now_ms: u64, slot: Slot) -> Option<&Seat> {
        let second = now_ms / 1_000;
        if self.second != second {
            (self.second, self.second_fuel) = (second, 0);
        }
        let seat = self.seats.get_mut(slot.0 as usize).filter(|seat| seat.is_live())?;
        if seat.second != second {
            (seat.second, seat.spent) = (second, 0);
        }
        let over_share = self.second_fuel >= FUEL_SHARD_SECOND_MAX && seat.spent >= FUEL_SHARE_MIN;
        if seat.spent >= FUEL_SECOND_MAX || over_share {
            self.stats.throttled += 1;
            return None;
        }
        Some(seat)
    }

    /// The tenant's live instance of a core module, if it may run now.
    #[inline]
    fn chair(&mut self, now_ms: u64, slot: Slot) -> Option<Chair<'_>> {
        let seat = self.seat_with_fuel(now_ms, slot).filter(|seat| !seat.is_component())?;
        let (buf, cap) = (seat.buf as usize, seat.cap as usize);
        let group = self.groups[slot.0 as usize / GROUP_SLOTS].as_mut()?;
        let place = slot.0 as usize % GROUP_SLOTS;
        Some(Chair { group, place, buf, cap, fuel: 0 })
    }

    /// Charges a call and notes its fault; returns whether it went well.
    #[inline]
    pub(crate) fn after_call(
        &mut self,
        now_ms: u64,
        slot: Slot,
        fuel: u64,
        told: Result<(), Fault>,
    ) -> bool {
        self.charge(slot, fuel);
        match told {
            Ok(()) => true,
            Err(fault) => {
                self.fault(now_ms, slot, &fault);
                false
            }
        }
    }

    /// Charges a call.
    #[inline]
    pub(crate) fn charge(&mut self, slot: Slot, fuel: u64) {
        let seat = &mut self.seats[slot.0 as usize];
        seat.spent = seat.spent.saturating_add(u32::try_from(fuel).unwrap_or(u32::MAX));
        seat.calls += 1;
        seat.fuel_used += fuel;
        if let Some(ix) = seat.program {
            self.registry.count_call(ix, fuel);
        }
        self.second_fuel += fuel;
        self.stats.calls += 1;
        self.stats.fuel_used += fuel;
    }

    /// Finds topics with the shard's own program, or with the plain-Rust twin.
    fn find_by_default(
        &mut self,
        run: &Texts<'_>,
        from: usize,
        found: &mut dyn FnMut(usize, u32, &str),
    ) {
        let mut done = from;
        while done < run.texts.len() {
            let rest = &run.texts[done..];
            self.stats.texts_by_default += rest.len() as u64;
            if !self.texts.is_there() {
                let rest = Texts { texts: rest, ..*run };
                let mut tell = |index, weight, name: &str| found(done + index, weight, name);
                return self.twin.find_topics(&rest, &mut tell);
            }
            let mut tell = |index, weight, name: &str| found(done + index, weight, name);
            done += match self.texts.find(run.base_ms, rest, &mut tell) {
                Ok(count) => count,
                Err((count, _)) => {
                    self.stats.text_faults += 1;
                    let failed = Texts { texts: &rest[..count], ..*run };
                    self.twin.find_topics(&failed, &mut tell);
                    count
                }
            };
        }
    }
}

/// A tenant's instance, about to be called.
struct Chair<'a> {
    group: &'a mut Group,
    place: usize,
    buf: usize,
    cap: usize,
    fuel: u64,
}

impl Chair<'_> {
    #[inline]
    fn buffer(&mut self) -> &mut [u8] {
        let (buf, cap) = (self.buf, self.cap);
        match self.group.memory(self.place) {
            Some(memory) => &mut memory[buf..buf + cap],
            None => &mut [],
        }
    }

    #[inline]
    fn call(
        &mut self,
        name: &'static str,
        stage: impl Fn(&Guest) -> Option<&TypedFunc<i32, i32>>,
        n: i32,
        fuel: u64,
    ) -> Result<i32, Fault> {
        match self.group.call(self.place, stage, n, fuel) {
            Some((returned, fuel)) => {
                self.fuel = fuel;
                returned.map_err(|error| Fault::Trap { call: name, message: describe(&error) })
            }
            None => Err(Fault::NoInstance("it has no such stage".into())),
        }
    }
}
