//! The crate's unsafe code: loading machine code, and asking for memory ahead of its use.
#![expect(unsafe_code, reason = "what the compiler cannot check is kept in this file")]

use wasmtime::component::Component;
use wasmtime::{Engine, Module};

/// Loads an artefact.
pub(crate) fn load(engine: &Engine, artefact: &[u8]) -> wasmtime::Result<Module> {
    // SAFETY: `Program::load` demands that the bytes come unchanged from `compile` on this machine;
    // the server keeps them authenticated. wasmtime checks version and settings itself.
    unsafe { Module::deserialize(engine, artefact) }
}

/// Loads the artefact of a component.
pub(crate) fn load_component(engine: &Engine, artefact: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: as for `load`.
    unsafe { Component::deserialize(engine, artefact) }
}

/// Asks for `lines` cache lines from an address on; the address may be anything.
#[inline]
pub(crate) fn prefetch(address: usize, lines: usize) {
    #[cfg(target_arch = "x86_64")]
    for line in 0..lines {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let at = address.wrapping_add(line * 64) as *const i8;
        // SAFETY: a prefetch of any address reads nothing and never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (address, lines);
}
