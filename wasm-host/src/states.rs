//! Private states over a restart: written into snapshots, and handed back.
//!
//! Owns how the state of a live program is told without ending it. Never touches where it is kept.
//!
//! ```text
//! live core module   its region of memory, copied          no instance   what is parked
//! live component     what its save_state says
//! restored           parked; taken by the instance that is made when the tenant is admitted
//! ```
//!
//! Invariant: a restored state waits parked only for a tenant without a window, so that all
//! tenants' states together may be larger than what may be parked.

use crate::abi::Fault;
use crate::host::Host;
use crate::limits::{GROUP_SLOTS, STATE_BYTES_MAX};
use trendsrv_proto::TenantId;
use trendsrv_shard::Slot;

impl Host {
    /// Tells a live program's private state.
    pub(crate) fn tell_state(&mut self, slot: Slot, keep: &mut dyn FnMut(&str, &[u8])) {
        let Some(seat) = self.seat(slot).filter(|seat| seat.is_live()) else { return };
        let Some(ix) = seat.program else { return };
        if seat.is_component() {
            match self.ask_component(slot) {
                Ok(Some(state)) => keep(self.registry.current(ix).0.name(), &state),
                Ok(None) => {}
                Err(why) => {
                    // One that failed is never called again. The latest call says what time it is.
                    let now_ms = self.second * 1_000;
                    self.fault(now_ms, slot, &why);
                }
            }
            return;
        }
        let Some((at, len)) = seat.state else { return };
        let (index, place) = (slot.0 as usize / GROUP_SLOTS, slot.0 as usize % GROUP_SLOTS);
        if let Some(memory) = self.groups[index].as_mut().and_then(|group| group.memory(place)) {
            keep(self.registry.current(ix).0.name(), &memory[at..at + len]);
        }
    }

    /// Tells the states of a vnode's tenants that have no instance.
    pub(crate) fn tell_parked(&self, vnode: u16, keep: &mut dyn FnMut(TenantId, &str, &[u8])) {
        for (tenant, ix, state) in self.parked.of_vnode(vnode) {
            keep(tenant, self.registry.current(ix).0.name(), state);
        }
    }

    /// Keeps a state for a tenant that is about to be admitted, or may come back some day.
    pub(crate) fn park_restored(&mut self, tenant: TenantId, program: &str, state: &[u8]) -> bool {
        match self.registry.find(program) {
            Some(ix) if state.len() <= STATE_BYTES_MAX => {
                self.parked.put_restored(tenant, ix, state);
                true
            }
            Some(_) | None => false,
        }
    }

    /// Asks a live component for its state.
    fn ask_component(&mut self, slot: Slot) -> Result<Option<Vec<u8>>, Fault> {
        let Some(guest) = self.components.guest(slot) else { return Ok(None) };
        let saved = guest.save_state();
        let fuel = guest.take_spent();
        self.charge(slot, fuel);
        saved
    }
}
