//! Private states of programs whose instance is gone: the tenant's window was empty, its Store
//! was made anew, or the server was started again.
//!
//! Bounded: when the bytes are spent the longest-parked state gives way.

use crate::limits::PARKED_STATE_BYTES_MAX;
use crate::registry::Ix;
use std::collections::{BTreeMap, VecDeque};
use trendsrv_proto::TenantId;

#[derive(Debug, Default)]
pub(crate) struct ParkedStates {
    /// By vnode, so that a snapshot of one need not look at all.
    states: BTreeMap<(usize, TenantId), Parked>,
    order: VecDeque<(u64, TenantId)>,
    bytes: usize,
    next: u64,
}

#[derive(Debug)]
struct Parked {
    program: Ix,
    number: u64,
    /// It comes from a snapshot.
    restored: bool,
    state: Box<[u8]>,
}

impl ParkedStates {
    pub(crate) fn put(&mut self, tenant: TenantId, program: Ix, state: &[u8]) {
        self.park(tenant, program, state, false);
    }

    /// Keeps a state out of a snapshot.
    pub(crate) fn put_restored(&mut self, tenant: TenantId, program: Ix, state: &[u8]) {
        self.park(tenant, program, state, true);
    }

    /// The state of a tenant, if it is of this program.
    pub(crate) fn take(&mut self, tenant: TenantId, program: Ix) -> Option<Box<[u8]>> {
        let parked = self.states.remove(&key(tenant))?;
        self.bytes -= parked.state.len();
        (parked.program == program).then_some(parked.state)
    }

    /// Whether a tenant has a state out of a snapshot.
    pub(crate) fn is_restored(&self, tenant: TenantId) -> bool {
        self.states.get(&key(tenant)).is_some_and(|parked| parked.restored)
    }

    /// The states of a vnode's tenants.
    pub(crate) fn of_vnode(&self, vnode: u16) -> impl Iterator<Item = (TenantId, Ix, &[u8])> {
        let vnode = usize::from(vnode);
        let of_vnode = (vnode, TenantId(0))..=(vnode, TenantId(u64::MAX));
        let parked = self.states.range(of_vnode);
        parked.map(|(&(_, tenant), parked)| (tenant, parked.program, &*parked.state))
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    fn park(&mut self, tenant: TenantId, program: Ix, state: &[u8], restored: bool) {
        self.forget(tenant);
        while self.bytes + state.len() > PARKED_STATE_BYTES_MAX {
            let Some((number, oldest)) = self.order.pop_front() else { return };
            if self.is_parked(oldest, number) {
                self.forget(oldest);
            }
        }
        self.next += 1;
        self.bytes += state.len();
        self.order.push_back((self.next, tenant));
        let parked = Parked { program, number: self.next, restored, state: state.into() };
        self.states.insert(key(tenant), parked);
        // Entries of states that were taken since go with the oldest ones.
        while self.order.len() > 2 * self.states.len() + 64 {
            let (number, oldest) = self.order.pop_front().unwrap_or_default();
            if self.is_parked(oldest, number) {
                self.order.push_back((number, oldest));
            }
        }
    }

    fn is_parked(&self, tenant: TenantId, number: u64) -> bool {
        self.states.get(&key(tenant)).is_some_and(|parked| parked.number == number)
    }

    fn forget(&mut self, tenant: TenantId) {
        if let Some(parked) = self.states.remove(&key(tenant)) {
            self.bytes -= parked.state.len();
        }
    }
}

const fn key(tenant: TenantId) -> (usize, TenantId) {
    (tenant.vnode(), tenant)
}
