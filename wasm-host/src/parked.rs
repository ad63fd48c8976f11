//! Private states of programs whose instance is gone: the tenant's window was empty, or its Store
//! was made anew.
//!
//! Bounded: when the bytes are spent the longest-parked state gives way.

use crate::limits::PARKED_STATE_BYTES_MAX;
use crate::registry::Ix;
use std::collections::{HashMap, VecDeque};
use trendsrv_proto::TenantId;

#[derive(Debug, Default)]
pub(crate) struct ParkedStates {
    states: HashMap<TenantId, (Ix, u64, Box<[u8]>)>,
    order: VecDeque<(u64, TenantId)>,
    bytes: usize,
    next: u64,
}

impl ParkedStates {
    pub(crate) fn put(&mut self, tenant: TenantId, program: Ix, state: &[u8]) {
        self.forget(tenant);
        while self.bytes + state.len() > PARKED_STATE_BYTES_MAX {
            let Some((number, oldest)) = self.order.pop_front() else { return };
            if self.states.get(&oldest).is_some_and(|(_, parked, _)| *parked == number) {
                self.forget(oldest);
            }
        }
        self.next += 1;
        self.bytes += state.len();
        self.order.push_back((self.next, tenant));
        self.states.insert(tenant, (program, self.next, state.into()));
        // Entries of states that were taken since go with the oldest ones.
        while self.order.len() > 2 * self.states.len() + 64 {
            let (number, oldest) = self.order.pop_front().unwrap_or_default();
            if self.states.get(&oldest).is_some_and(|(_, parked, _)| *parked == number) {
                self.order.push_back((number, oldest));
            }
        }
    }

    /// The state of a tenant, if it is of this program.
    pub(crate) fn take(&mut self, tenant: TenantId, program: Ix) -> Option<Box<[u8]>> {
        let (of, _, state) = self.states.remove(&tenant)?;
        self.bytes -= state.len();
        (of == program).then_some(state)
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    fn forget(&mut self, tenant: TenantId) {
        if let Some((_, _, state)) = self.states.remove(&tenant) {
            self.bytes -= state.len();
        }
    }
}
