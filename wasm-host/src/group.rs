//! Sixty-four slots that share a Store.
//!
//! A Store is too large for one tenant and frees nothing until it is dropped: neighbours in slot
//! order share one, and one with too many dead instances is made anew.
//!
//! ```text
//! slots 0..64 -> group 0: Store | guest guest - guest …     live 63, dead 2
//! ```
//!
//! Invariant: a guest that trapped is never called again; its place gets a fresh instance.

use crate::limits::{FUEL_CALL_MAX, GROUP_SLOTS};
use crate::program::{Guest, Program};
use wasmtime::{Engine, Store, TypedFunc};

/// See the module header.
pub(crate) struct Group {
    store: Store<()>,
    guests: Vec<Option<Guest>>,
    live: usize,
    dead: usize,
    /// Whether it waits to be made anew.
    pub(crate) stale: bool,
}

/// Where an instance lies.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Addresses {
    /// Its memory.
    pub(crate) memory: usize,
    /// What its code knows of its functions, which lies at the end of all that it knows.
    pub(crate) context: usize,
}

impl Group {
    pub(crate) fn new(engine: &Engine) -> Self {
        let guests = std::iter::repeat_with(|| None).take(GROUP_SLOTS).collect();
        Self { store: Store::new(engine, ()), guests, live: 0, dead: 0, stale: false }
    }

    /// Puts a fresh instance into a place; returns the addresses of its memory and of its context,
    /// to be asked for ahead of calls.
    pub(crate) fn seat(&mut self, place: usize, program: &Program) -> wasmtime::Result<Addresses> {
        // Instantiating copies data; it runs no code of the program.
        self.store.set_fuel(FUEL_CALL_MAX)?;
        let guest = program.instantiate(&mut self.store)?;
        let memory = guest.memory.data_ptr(&self.store) as usize;
        let context = guest.summarise.func().to_raw(&mut self.store) as usize;
        self.clear(place);
        self.guests[place] = Some(guest);
        self.live += 1;
        Ok(Addresses { memory, context })
    }

    /// Gives up the instance in a place, if there is one.
    pub(crate) fn clear(&mut self, place: usize) {
        if self.guests[place].take().is_some() {
            self.live -= 1;
            self.dead += 1;
        }
    }

    /// The memory of the guest in a place.
    pub(crate) fn memory(&mut self, place: usize) -> Option<&mut [u8]> {
        let guest = self.guests[place].as_ref()?;
        Some(guest.memory.data_mut(&mut self.store))
    }

    /// Calls a stage of the guest in a place with so much fuel. Returns what it returned and the
    /// fuel it used.
    pub(crate) fn call(
        &mut self,
        place: usize,
        stage: impl Fn(&Guest) -> Option<&TypedFunc<i32, i32>>,
        n: i32,
        fuel: u64,
    ) -> Option<(wasmtime::Result<i32>, u64)> {
        let function = stage(self.guests[place].as_ref()?)?;
        Some(call(&mut self.store, function, n, fuel))
    }

    /// Live and dead instances.
    pub(crate) const fn counts(&self) -> (usize, usize) {
        (self.live, self.dead)
    }
}

/// Calls a function with so much fuel. Returns what it returned and the fuel it used.
#[inline]
pub(crate) fn call(
    store: &mut Store<()>,
    function: &TypedFunc<i32, i32>,
    n: i32,
    fuel: u64,
) -> (wasmtime::Result<i32>, u64) {
    if let Err(error) = store.set_fuel(fuel) {
        return (Err(error), 0);
    }
    let returned = function.call(&mut *store, n);
    let left = store.get_fuel().unwrap_or(0);
    (returned, fuel.saturating_sub(left))
}
