//! All programs of one shard: who is assigned what, whose instance lives where, who waits.
//!
//! Owns programs, assignments, instances and their faults. Never touches a window: views and
//! records come in as arguments. Never reads a clock.
//!
//! ```text
//!             admit                 on_turn, first call             fault
//!  (no seat) ───────▶ pending ──────────────▶ live ───────▶ waiting (1 s … 300 s)
//!                        ▲                     │ replaced       │ retry
//!                        └─────────────────────┴────────────────┘        retire: seat given back
//! ```
//!
//! Invariants:
//! - a fault, an exhausted budget or a missing instance is answered by the plain-Rust twin; the
//!   shard never sees an error;
//! - an instance is used by one tenant only and never after a fault;
//! - the work of one turn is bounded, whatever is installed, replaced or retried.

use crate::abi::Fault;
use crate::abi::summary::Spans;
use crate::component::Guests;
use crate::engine::{HostError, ShardEngine};
use crate::group::{Addresses, Group};
use crate::limits::{
    BACKOFF_MS_MAX, BACKOFF_MS_MIN, FAULT_BYTES_MAX, FORGIVE_MS, GROUP_DEAD_MAX, GROUP_SLOTS,
    INSTANCES_PER_TURN,
};
use crate::parked::ParkedStates;
use crate::program::{Lane, Program};
use crate::registry::{Ix, Registry};
use crate::seat::{Seat, Trouble};
use crate::stats::HostStats;
use crate::text_desk::TextDesk;
use crate::unsafe_parts;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::sync::Arc;
use trendsrv_proto::TenantId;
use trendsrv_shard::{Slot, Trending};

/// Settings of a shard's programs.
#[derive(Debug)]
pub struct HostConfig {
    /// Tenants of the shard.
    pub tenants_max: usize,
    /// Length of the window.
    pub window_ms: u64,
    /// Length of the recent span.
    pub recent_ms: u64,
    /// What a tenant without an assignment runs; `None` is the plain-Rust twin.
    pub default_program: Option<Arc<Program>>,
    /// What finds topics for tenants whose program takes no texts; `None` is the plain-Rust twin.
    pub text_program: Option<Arc<Program>>,
}

/// See the module header.
pub struct Host {
    pub(crate) engine: ShardEngine,
    pub(crate) registry: Registry,
    pub(crate) seats: Vec<Seat>,
    pub(crate) slots: HashMap<TenantId, Slot>,
    pub(crate) groups: Vec<Option<Group>>,
    pub(crate) components: Guests,
    pub(crate) parked: ParkedStates,
    pub(crate) texts: TextDesk,
    pub(crate) twin: Trending,
    pub(crate) spans: Spans,
    pub(crate) stats: HostStats,
    /// Fuel that all programs used in the current second.
    pub(crate) second: u64,
    pub(crate) second_fuel: u64,
    pending: VecDeque<Slot>,
    retries: BinaryHeap<Reverse<(u64, Slot)>>,
    stale: VecDeque<usize>,
    /// The next group to look at for replaced programs.
    replacing: Option<usize>,
}

impl Host {
    /// A host without tenants.
    ///
    /// # Errors
    /// When a program cannot be registered.
    pub fn new(engine: ShardEngine, config: HostConfig) -> Result<Self, HostError> {
        let registry = Registry::new(config.default_program, config.tenants_max)?;
        let span = |ms: u64| u32::try_from(ms).unwrap_or(u32::MAX);
        let twin = Trending { recent_ms: config.recent_ms, window_ms: config.window_ms };
        Ok(Self {
            stats: HostStats {
                instances_max: engine.instances_max() as u64,
                ..HostStats::default()
            },
            texts: TextDesk::new(config.text_program),
            engine,
            registry,
            seats: Vec::new(),
            slots: HashMap::new(),
            groups: Vec::new(),
            components: Guests::default(),
            parked: ParkedStates::default(),
            spans: Spans { window_ms: span(config.window_ms), recent_ms: span(config.recent_ms) },
            twin,
            second: 0,
            second_fuel: 0,
            pending: VecDeque::new(),
            retries: BinaryHeap::new(),
            stale: VecDeque::new(),
            replacing: None,
        })
    }

    /// What was counted.
    pub fn stats(&mut self) -> &HostStats {
        self.stats.pending = self.pending.len() as u64;
        self.stats.waiting = self.retries.len() as u64;
        self.stats.parked_state_bytes = self.parked.bytes() as u64;
        let stats = &mut self.stats;
        stats.pending_high = stats.pending_high.max(stats.pending);
        stats.waiting_high = stats.waiting_high.max(stats.waiting);
        stats.parked_state_bytes_high = stats.parked_state_bytes_high.max(stats.parked_state_bytes);
        stats
    }

    pub(crate) fn seat(&self, slot: Slot) -> Option<&Seat> {
        self.seats.get(slot.0 as usize).filter(|seat| seat.is_taken())
    }

    /// A tenant takes its seat.
    pub(crate) fn take_seat(&mut self, slot: Slot, tenant: TenantId) {
        let index = slot.0 as usize;
        if self.seats.len() <= index {
            self.seats.resize_with(index + 1, Seat::default);
        }
        self.seats[index] = Seat::taken(tenant);
        self.slots.insert(tenant, slot);
        self.equip(slot);
    }

    /// Gives a tenant the program that it is assigned now.
    pub(crate) fn equip(&mut self, slot: Slot) {
        self.unseat(slot);
        let seat = &mut self.seats[slot.0 as usize];
        let ix = self.registry.assigned(seat.tenant);
        seat.equip(ix, ix.map(|ix| self.registry.shape(ix)));
        if ix.is_some() {
            self.pending.push_back(slot);
        }
    }

    /// A tenant leaves: its state is kept, its instance is not.
    pub(crate) fn leave_seat(&mut self, slot: Slot) {
        self.save_state(slot);
        self.unseat(slot);
        let seat = std::mem::take(&mut self.seats[slot.0 as usize]);
        self.slots.remove(&seat.tenant);
    }

    /// Makes an instance for a tenant that is to have one. Returns whether it lives now.
    pub(crate) fn bring_to_life(&mut self, now_ms: u64, slot: Slot) -> bool {
        let Some(seat) = self.seat(slot) else { return false };
        let (Some(ix), true) = (seat.program, seat.wants_instance()) else {
            return seat.is_live();
        };
        let index = slot.0 as usize / GROUP_SLOTS;
        if self.groups.len() <= index {
            self.groups.resize_with(index + 1, || None);
        }
        let (program, version) = self.registry.current(ix);
        let program = program.clone();
        let shape = program.shape;
        let made = match shape.lane {
            Lane::Core => self.seat_core(slot, &program),
            Lane::Component => self.seat_component(slot, &program).map(|()| Addresses::default()),
        };
        match made {
            Ok(addresses) => {
                self.seats[slot.0 as usize].live(version, shape, addresses);
                self.registry.count_instance(ix, true);
                self.stats.instances += 1;
                self.stats.instances_high = self.stats.instances_high.max(self.stats.instances);
                self.stats.instantiated += 1;
                true
            }
            Err(why) => {
                self.fault(now_ms, slot, &why);
                false
            }
        }
    }

    /// Gives a tenant an instance in its group, and the state it had before. Returns the addresses
    /// of its buffer and its context.
    fn seat_core(&mut self, slot: Slot, program: &Program) -> Result<Addresses, Fault> {
        let (index, place) = (slot.0 as usize / GROUP_SLOTS, slot.0 as usize % GROUP_SLOTS);
        let group = self.groups[index].get_or_insert_with(|| Group::new(self.engine.wasmtime()));
        let Addresses { memory: address, context } =
            group.seat(place, program).map_err(|error| Fault::NoInstance(format!("{error:#}")))?;
        let Seat { tenant, program: of, .. } = self.seats[slot.0 as usize];
        if let Some((at, len)) = program.shape.state
            && let Some(kept) = of.and_then(|ix| self.parked.take(tenant, ix))
            && kept.len() == len
            && let Some(memory) = group.memory(place)
        {
            memory[at..at + len].copy_from_slice(&kept);
        }
        Ok(Addresses { memory: address + program.shape.buf, context })
    }

    /// A program did wrong: its tenant gets the default until the program is retried.
    pub(crate) fn fault(&mut self, now_ms: u64, slot: Slot, why: &Fault) {
        self.unseat(slot);
        self.stats.faults += 1;
        let seat = &mut self.seats[slot.0 as usize];
        seat.lose_instance();
        if let Some(ix) = seat.program {
            self.registry.count_fault(ix);
        }
        let trouble = seat.trouble.get_or_insert_default();
        let forgiven = trouble.last_ms.saturating_add(trouble.wait_ms() + FORGIVE_MS) < now_ms;
        trouble.strikes = if forgiven { 1 } else { trouble.strikes.saturating_add(1) };
        trouble.faults += 1;
        trouble.last_ms = now_ms;
        let mut message = why.to_string();
        message.truncate(message.floor_char_boundary(FAULT_BYTES_MAX));
        trouble.message = message.into();
        let retry_at_ms = now_ms + trouble.wait_ms();
        trouble.retry_at_ms = Some(retry_at_ms);
        self.retries.push(Reverse((retry_at_ms, slot)));
    }

    /// One turn's slice: retries that are due, instances that are wanted, groups to be made anew.
    pub(crate) fn work(&mut self, now_ms: u64) -> bool {
        while let Some(&Reverse((at_ms, slot))) = self.retries.peek() {
            if at_ms > now_ms {
                break;
            }
            self.retries.pop();
            self.retry(at_ms, slot);
        }
        let mut left = INSTANCES_PER_TURN;
        while left > 0 {
            let Some(slot) = self.pending.pop_front() else { break };
            if self.seat(slot).is_some_and(Seat::wants_instance) {
                self.bring_to_life(now_ms, slot);
                left -= 1;
            }
        }
        while left > 0 {
            let Some(index) = self.stale.pop_front() else { break };
            left = left.saturating_sub(self.make_anew(now_ms, index));
        }
        while left > 0 {
            let Some(index) = self.replacing else { break };
            self.replacing = (index + 1 < self.groups.len()).then_some(index + 1);
            if self.is_outdated(index) {
                left = left.saturating_sub(self.make_anew(now_ms, index));
            }
        }
        !self.pending.is_empty() || !self.stale.is_empty() || self.replacing.is_some()
    }

    /// Looks at every group again: a program was replaced.
    pub(crate) fn replace(&mut self, ix: Ix) {
        self.replacing = Some(0);
        for index in 0..self.seats.len() {
            let seat = &mut self.seats[index];
            // Those that wait because of the old version need not wait for the new one.
            if seat.program == Some(ix) && seat.is_waiting() {
                seat.forgive();
                self.pending.push_back(Slot(u32::try_from(index).unwrap_or(u32::MAX)));
            }
        }
    }

    fn retry(&mut self, at_ms: u64, slot: Slot) {
        let Some(seat) = self.seats.get_mut(slot.0 as usize) else { return };
        let due = |trouble: &Trouble| trouble.retry_at_ms == Some(at_ms);
        if seat.is_taken() && seat.trouble.as_deref().is_some_and(due) {
            seat.retry();
            self.pending.push_back(slot);
        }
    }

    fn is_outdated(&self, index: usize) -> bool {
        self.seats_of(index).any(|(_, seat)| seat.is_live() && self.is_of_old(seat))
    }

    fn is_of_old(&self, seat: &Seat) -> bool {
        seat.program.is_some_and(|ix| self.registry.current(ix).1 != seat.version)
    }

    fn seats_of(&self, index: usize) -> impl Iterator<Item = (Slot, &Seat)> {
        let from = (index * GROUP_SLOTS).min(self.seats.len());
        let to = (from + GROUP_SLOTS).min(self.seats.len());
        let slots = (u32::try_from(from).unwrap_or(u32::MAX)..).map(Slot);
        slots.zip(&self.seats[from..to])
    }

    /// Drops a group's store and gives its live tenants fresh instances of their programs as they
    /// are now. A component has a store of its own: only one that was replaced is made anew. Returns
    /// how many.
    fn make_anew(&mut self, now_ms: u64, index: usize) -> usize {
        let due = |seat: &Seat| seat.is_live() && (!seat.is_component() || self.is_of_old(seat));
        let slots: Vec<Slot> =
            self.seats_of(index).filter_map(|(slot, seat)| due(seat).then_some(slot)).collect();
        if let Some(group) = &mut self.groups[index] {
            // It is on its way: those who leave it now need not ask for it again.
            group.stale = true;
        }
        for &slot in &slots {
            self.save_state(slot);
            self.unseat(slot);
        }
        self.groups[index] = None;
        self.stats.rebuilds += 1;
        for &slot in &slots {
            let seat = &mut self.seats[slot.0 as usize];
            let ix = seat.program;
            seat.equip(ix, ix.map(|ix| self.registry.shape(ix)));
            self.bring_to_life(now_ms, slot);
        }
        slots.len().max(1)
    }

    /// Keeps the private state of a live program for its tenant's next instance.
    fn save_state(&mut self, slot: Slot) {
        let Some(seat) = self.seat(slot).filter(|seat| seat.is_live()) else { return };
        if seat.is_component() {
            return self.save_component_state(slot);
        }
        let (tenant, Some(ix)) = (seat.tenant, seat.program) else { return };
        let Some((at, len)) = seat.state else { return };
        let (index, place) = (slot.0 as usize / GROUP_SLOTS, slot.0 as usize % GROUP_SLOTS);
        if let Some(memory) = self.groups[index].as_mut().and_then(|group| group.memory(place)) {
            self.parked.put(tenant, ix, &memory[at..at + len]);
        }
    }

    /// Gives up a tenant's instance.
    fn unseat(&mut self, slot: Slot) {
        let seat = &mut self.seats[slot.0 as usize];
        if !seat.is_live() {
            return;
        }
        seat.lose_instance();
        let is_component = seat.is_component();
        if let Some(ix) = seat.program {
            self.registry.count_instance(ix, false);
        }
        self.stats.instances -= 1;
        if is_component {
            return self.components.remove(slot);
        }
        let (index, place) = (slot.0 as usize / GROUP_SLOTS, slot.0 as usize % GROUP_SLOTS);
        let Some(group) = self.groups[index].as_mut() else { return };
        group.clear(place);
        let (live, dead) = group.counts();
        if live == 0 {
            self.groups[index] = None;
        } else if dead > GROUP_DEAD_MAX && !group.stale {
            group.stale = true;
            self.stale.push_back(index);
        }
    }

    pub(crate) fn ask_for_memory(&self, slot: Slot) {
        if let Some(seat) = self.seats.get(slot.0 as usize) {
            unsafe_parts::prefetch(seat.context.wrapping_sub(CONTEXT_BYTES), CONTEXT_LINES);
            unsafe_parts::prefetch(seat.buffer, PREFETCH_LINES);
        }
    }
}

impl Trouble {
    /// How long the program waits after its last fault.
    pub(crate) fn wait_ms(&self) -> u64 {
        let doublings = self.strikes.saturating_sub(1).min(16);
        (BACKOFF_MS_MIN << doublings).min(BACKOFF_MS_MAX)
    }
}

impl core::fmt::Debug for Host {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Host").field("stats", &self.stats).finish_non_exhaustive()
    }
}

/// Bytes before the address of a context that a call looks at, and lines of all that it looks at:
/// wasmtime's record of the instance, where its memory lies, its functions.
const CONTEXT_BYTES: usize = 448;
const CONTEXT_LINES: usize = 8;
/// Lines of a program's buffer asked for ahead of a call: a summary of ten topics.
const PREFETCH_LINES: usize = 12;
