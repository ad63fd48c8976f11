//! Stand-ins for WASI 0.2: what a standard library needs to start, and nothing of the machine.
//!
//! ```text
//!  environment, arguments, terminals   empty
//!  stdout, stderr                      swallowed; the first bytes explain a fault
//!  random                              the same numbers for every fresh instance
//!  exit, stdin, clocks, files, sockets, http, …   a fault that names them
//! ```
//!
//! Invariants:
//! - no stand-in reads a clock, a file, an environment or a source of randomness;
//! - every call costs fuel, so that a loop of calls ends as soon as any other.

use super::guest::Data;
use crate::limits::COMPONENT_HOST_CALL_FUEL;
use crate::program::Rejection;
use wasmtime::component::types::{ComponentInstance, ComponentItem};
use wasmtime::component::{Component, Linker, LinkerInstance, Resource, ResourceType, Val};
use wasmtime::{StoreContextMut, Trap};

/// Checks that a component imports WASI's interfaces only.
///
/// # Errors
/// With the first import that is something else.
pub(crate) fn check_imports(component: &Component) -> Result<(), Rejection> {
    interfaces(component).map(drop)
}

/// Defines every import of a component.
///
/// # Errors
/// With the first import that cannot be.
pub(crate) fn link(linker: &mut Linker<Data>, component: &Component) -> Result<(), Rejection> {
    let failed = |error: wasmtime::Error| Rejection::NotLoaded(format!("{error:#}"));
    for (name, interface) in interfaces(component)? {
        let mut instance = linker.instance(&name).map_err(failed)?;
        define(&mut instance, &name, &interface, component).map_err(failed)?;
    }
    Ok(())
}

fn interfaces(component: &Component) -> Result<Vec<(String, ComponentInstance)>, Rejection> {
    let mut found = Vec::new();
    for (name, import) in component.component_type().imports(component.engine()) {
        match import.ty {
            ComponentItem::ComponentInstance(instance) if name.starts_with("wasi:") => {
                found.push((name.to_owned(), instance));
            }
            _ => return Err(Rejection::ComponentImport(name.to_owned())),
        }
    }
    Ok(found)
}

fn define(
    linker: &mut LinkerInstance<'_, Data>,
    interface: &str,
    of: &ComponentInstance,
    component: &Component,
) -> wasmtime::Result<()> {
    let plain = interface.split('@').next().unwrap_or(interface);
    for (name, item) in of.exports(component.engine()) {
        match item.ty {
            ComponentItem::Resource(_) => {
                // A handle stands for nothing; its number is never looked at.
                linker.resource(name, ResourceType::host::<Nothing>(), |mut store, _| {
                    charge(&mut store)
                })?;
            }
            ComponentItem::ComponentFunc(_) => {
                let answer = answer(plain, name);
                let title = format!("{plain} is not available to programs ({name})");
                linker.func_new(name, move |mut store, _, params, results| {
                    charge(&mut store)?;
                    let value = match answer {
                        Some(answer) => answer(&mut store, params)?,
                        None => return Err(wasmtime::Error::msg(title.clone())),
                    };
                    // What was lent to the call is given back by hand.
                    for param in params {
                        if let Val::Resource(lent) = param {
                            lent.resource_drop(&mut store)?;
                        }
                    }
                    if let (Some(value), Some(result)) = (value, results.first_mut()) {
                        *result = value;
                    }
                    Ok(())
                })?;
            }
            _ => {}
        }
    }
    Ok(())
}

type Answer = fn(&mut StoreContextMut<'_, Data>, &[Val]) -> wasmtime::Result<Option<Val>>;

/// What a function does that is not a fault.
fn answer(interface: &str, function: &str) -> Option<Answer> {
    let answer: Answer = match (interface, function) {
        ("wasi:cli/environment", "get-environment" | "get-arguments") => {
            |_, _| Ok(Some(Val::List(Vec::new())))
        }
        ("wasi:cli/environment", "initial-cwd")
        | ("wasi:cli/terminal-stdin", "get-terminal-stdin")
        | ("wasi:cli/terminal-stdout", "get-terminal-stdout")
        | ("wasi:cli/terminal-stderr", "get-terminal-stderr") => |_, _| Ok(Some(Val::Option(None))),
        ("wasi:cli/exit", "exit" | "exit-with-code") => {
            |_, _| Err(wasmtime::Error::msg("the program ended itself"))
        }
        ("wasi:cli/stdout", "get-stdout") | ("wasi:cli/stderr", "get-stderr") => handle,
        ("wasi:io/streams", "[method]output-stream.check-write") => {
            |_, _| Ok(Some(fine(Some(Val::U64(WRITE_BYTES_MAX)))))
        }
        (
            "wasi:io/streams",
            "[method]output-stream.write" | "[method]output-stream.blocking-write-and-flush",
        ) => write,
        (
            "wasi:io/streams",
            "[method]output-stream.flush" | "[method]output-stream.blocking-flush",
        ) => |_, _| Ok(Some(fine(None))),
        ("wasi:random/random", "get-random-u64")
        | ("wasi:random/insecure", "get-insecure-random-u64") => {
            |store, _| Ok(Some(Val::U64(next(store))))
        }
        ("wasi:random/random", "get-random-bytes")
        | ("wasi:random/insecure", "get-insecure-random-bytes") => random_bytes,
        ("wasi:random/insecure-seed", "insecure-seed" | "get-insecure-seed") => {
            |store, _| Ok(Some(Val::Tuple(vec![Val::U64(next(store)), Val::U64(next(store))])))
        }
        _ => return None,
    };
    Some(answer)
}

fn handle(store: &mut StoreContextMut<'_, Data>, _: &[Val]) -> wasmtime::Result<Option<Val>> {
    let resource = Resource::<Nothing>::new_own(0).try_into_resource_any(store)?;
    Ok(Some(Val::Resource(resource)))
}

fn write(store: &mut StoreContextMut<'_, Data>, params: &[Val]) -> wasmtime::Result<Option<Val>> {
    if let Some(Val::List(bytes)) = params.get(1) {
        charge_more(store, bytes.len() as u64)?;
        let byte = |value: &Val| if let Val::U8(byte) = value { *byte } else { b'?' };
        store.data_mut().say(bytes.iter().map(byte));
    }
    Ok(Some(fine(None)))
}

fn random_bytes(
    store: &mut StoreContextMut<'_, Data>,
    params: &[Val],
) -> wasmtime::Result<Option<Val>> {
    let count = match params.first() {
        Some(Val::U64(count)) if *count <= RANDOM_BYTES_MAX => *count,
        _ => return Err(wasmtime::Error::msg("more than 256 random bytes were asked for")),
    };
    charge_more(store, count * 4)?;
    let byte = |_| Val::U8(next(store).to_le_bytes()[0]);
    Ok(Some(Val::List((0..count).map(byte).collect())))
}

/// The next number of a fixed sequence (SplitMix64).
fn next(store: &mut StoreContextMut<'_, Data>) -> u64 {
    let data = store.data_mut();
    data.random = data.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (data.random ^ (data.random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

fn fine(value: Option<Val>) -> Val {
    Val::Result(Ok(value.map(Box::new)))
}

fn charge(store: &mut StoreContextMut<'_, Data>) -> wasmtime::Result<()> {
    charge_more(store, COMPONENT_HOST_CALL_FUEL)
}

fn charge_more(store: &mut StoreContextMut<'_, Data>, fuel: u64) -> wasmtime::Result<()> {
    let left = store.get_fuel()?.checked_sub(fuel).ok_or(Trap::OutOfFuel)?;
    store.set_fuel(left)
}

/// What handles of WASI's resources stand for.
struct Nothing;

/// Bytes that a program may write at once.
const WRITE_BYTES_MAX: u64 = 1_024;
/// Random bytes at once.
const RANDOM_BYTES_MAX: u64 = 256;
