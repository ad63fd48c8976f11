//! A program that was accepted: compiled, probed, ready to be instantiated.

use crate::component::Parts;
use crate::engine::ShardEngine;
use crate::limits::{
    BUFFER_BYTES_MIN, EXPORTS_MAX, FUEL_CALL_MAX, FUNCTION_BYTES_MAX, MEMORY_BYTES, NESTING_MAX,
    PROGRAM_BYTES_MAX, REJECTION_TEXT_BYTES_MAX, STATE_BYTES_MAX, TEXT_BUFFER_BYTES_MIN,
};
use crate::unsafe_parts;
use std::sync::Arc;
use wasmtime::{Engine, Instance, InstancePre, Linker, Memory, Precompiled, Store, TypedFunc};

/// Why a program is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// Too many bytes.
    #[error("{bytes} bytes; a program has at most {PROGRAM_BYTES_MAX}")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// Not WebAssembly of the version allowed.
    #[error("not a valid WebAssembly 2.0 module: {message} (at byte {at})")]
    Invalid {
        /// Where.
        at: usize,
        /// What.
        message: String,
    },
    /// It imports something.
    #[error("it imports {module:?} {name:?}; a program has no imports at all")]
    Import {
        /// From where.
        module: String,
        /// What.
        name: String,
    },
    /// It has a start function.
    #[error("it has a start function; do that work in the first call instead")]
    Start,
    /// Its memory is not one page.
    #[error(
        "its memory has {pages} pages at first and {maximum:?} at most; link it with exactly one \
         (--initial-memory=65536 --max-memory=65536)"
    )]
    Memory {
        /// At first.
        pages: u64,
        /// At most.
        maximum: Option<u64>,
    },
    /// More of something than is allowed.
    #[error("{got} {what}; at most {max}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many.
        got: u32,
        /// The limit.
        max: u32,
    },
    /// A function is too long to be compiled in reasonable time.
    #[error("the function at byte {at} has {bytes} bytes; at most {FUNCTION_BYTES_MAX}")]
    FunctionTooLarge {
        /// Where.
        at: usize,
        /// Its size.
        bytes: usize,
    },
    /// Blocks within blocks.
    #[error("the function at byte {at} nests blocks deeper than {NESTING_MAX}")]
    Nesting {
        /// Where.
        at: usize,
    },
    /// An export is missing.
    #[error("it does not export {0:?}, which ABI version 1 needs")]
    MissingExport(&'static str),
    /// An export is not what the ABI says.
    #[error("its export {name:?} is not a function of {params} i32 parameters to one i32")]
    WrongSignature {
        /// Which.
        name: &'static str,
        /// What it must take.
        params: usize,
    },
    /// Another version of the ABI.
    #[error("trend_abi() says {0}; this server speaks version 1")]
    Abi(i32),
    /// A constant cannot be.
    #[error("{name}() says {got}; {rule}")]
    Constant {
        /// Which.
        name: &'static str,
        /// What it says.
        got: i64,
        /// What it must be.
        rule: &'static str,
    },
    /// One of the constants trapped.
    #[error("{name}() failed: {message}")]
    Probe {
        /// Which.
        name: &'static str,
        /// How.
        message: String,
    },
    /// A component has no way to tell what it is for.
    #[error(
        "it does not export trend:program/summariser@1.0.0; build it for world \"program\" of \
         trend-program.wit"
    )]
    NoSummariser,
    /// A component exports an interface with our name that there is not.
    #[error("it exports {0:?}, which trend-program.wit does not have")]
    UnknownInterface(String),
    /// A function of a component is not as the interface says.
    #[error("its function {name:?} is not that of trend-program.wit: {message}")]
    WrongInterface {
        /// Which.
        name: &'static str,
        /// In what.
        message: String,
    },
    /// A component imports what is not WASI.
    #[error(
        "it imports {0:?}; a component may import interfaces of wasi: only, and gets stand-ins"
    )]
    ComponentImport(String),
    /// A component fails before its first call.
    #[error("it does not start: {0}")]
    NotStarted(String),
    /// The compiler refuses.
    #[error("it cannot be compiled: {0}")]
    NotCompiled(String),
    /// The artefact is of another build or damaged.
    #[error("its artefact cannot be loaded: {0}")]
    NotLoaded(String),
}

impl Rejection {
    /// The same with its texts cut: names and messages may be as long as a program wants.
    pub(crate) fn brief(mut self) -> Self {
        let cut = |text: &mut String| {
            text.truncate(text.floor_char_boundary(REJECTION_TEXT_BYTES_MAX));
        };
        match &mut self {
            Self::Import { module, name } => [module, name].into_iter().for_each(cut),
            Self::Invalid { message: text, .. }
            | Self::Probe { message: text, .. }
            | Self::WrongInterface { message: text, .. }
            | Self::UnknownInterface(text)
            | Self::ComponentImport(text)
            | Self::NotStarted(text)
            | Self::NotCompiled(text)
            | Self::NotLoaded(text) => cut(text),
            Self::TooLarge { .. }
            | Self::Start
            | Self::Memory { .. }
            | Self::TooMany { .. }
            | Self::FunctionTooLarge { .. }
            | Self::Nesting { .. }
            | Self::MissingExport(_)
            | Self::WrongSignature { .. }
            | Self::Abi(_)
            | Self::Constant { .. }
            | Self::NoSummariser => {}
        }
        self
    }
}

/// A program in one shard's engine.
pub struct Program {
    name: Box<str>,
    hash: [u8; 32],
    code: Code,
    pub(crate) shape: Shape,
}

/// What it is instantiated from.
#[derive(Clone)]
enum Code {
    Core(InstancePre<()>),
    Component(Box<Parts>),
}

/// How a program is run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Lane {
    /// As a core module, many in a Store.
    #[default]
    Core,
    /// As a component with a Store of its own.
    Component,
}

/// What a program told of itself when it was loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) lane: Lane,
    /// Address of the buffer.
    pub(crate) buf: usize,
    /// Its size.
    pub(crate) cap: usize,
    /// Address and size of the private state.
    pub(crate) state: Option<(usize, usize)>,
    pub(crate) observes: bool,
    pub(crate) takes_texts: bool,
}

/// A live instance: the program's functions and the tenant's memory.
pub(crate) struct Guest {
    pub(crate) memory: Memory,
    pub(crate) summarise: TypedFunc<i32, i32>,
    pub(crate) observe: Option<TypedFunc<i32, i32>>,
    pub(crate) observe_text: Option<TypedFunc<i32, i32>>,
}

impl Program {
    /// Loads an artefact that [`crate::compile`] made, and asks the program for its constants.
    ///
    /// The artefact is machine code: the caller vouches that it comes from [`crate::compile`] on
    /// this machine, unchanged.
    ///
    /// # Errors
    /// When the artefact is of another build, or the program says what cannot be.
    pub fn load(
        engine: &ShardEngine,
        name: &str,
        hash: [u8; 32],
        artefact: &[u8],
    ) -> Result<Arc<Self>, Rejection> {
        Self::load_any(engine, name, hash, artefact).map_err(Rejection::brief)
    }

    fn load_any(
        engine: &ShardEngine,
        name: &str,
        hash: [u8; 32],
        artefact: &[u8],
    ) -> Result<Arc<Self>, Rejection> {
        let not_loaded = |error: wasmtime::Error| Rejection::NotLoaded(format!("{error:#}"));
        let name = name.into();
        if Engine::detect_precompiled(artefact) == Some(Precompiled::Component) {
            let component = unsafe_parts::load_component(engine.components(), artefact);
            let parts = Parts::new(&component.map_err(not_loaded)?)?;
            let shape = parts.probe()?;
            return Ok(Arc::new(Self { name, hash, code: Code::Component(parts.into()), shape }));
        }
        let module = unsafe_parts::load(engine.wasmtime(), artefact).map_err(not_loaded)?;
        let linker = Linker::new(engine.wasmtime());
        let pre = linker.instantiate_pre(&module).map_err(not_loaded)?;
        let shape = probe(&pre)?;
        Ok(Arc::new(Self { name, hash, code: Code::Core(pre), shape }))
    }

    /// The same code under another name: what was loaded once serves both.
    #[must_use]
    pub fn under_name(&self, name: &str) -> Arc<Self> {
        let Self { hash, shape, ref code, .. } = *self;
        Arc::new(Self { name: name.into(), hash, code: code.clone(), shape })
    }

    /// The name it goes by.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The hash of its source.
    #[must_use]
    pub const fn hash(&self) -> &[u8; 32] {
        &self.hash
    }

    pub(crate) fn engine(&self) -> &Engine {
        match &self.code {
            Code::Core(pre) => pre.module().engine(),
            Code::Component(parts) => parts.pre.engine(),
        }
    }

    /// What a component is made of; `None` for a core module.
    pub(crate) fn parts(&self) -> Option<&Parts> {
        match &self.code {
            Code::Core(_) => None,
            Code::Component(parts) => Some(parts),
        }
    }

    /// Which optional stages it has, for people.
    #[must_use]
    pub fn stages(&self) -> Vec<&'static str> {
        let Shape { state, observes, takes_texts, .. } = self.shape;
        let all = [
            (observes, "observe"),
            (takes_texts, "observe_text"),
            (true, "summarise"),
            (state.is_some() || self.parts().is_some_and(Parts::is_stateful), "state"),
        ];
        all.into_iter().filter_map(|(has, name)| has.then_some(name)).collect()
    }

    /// A fresh instance in a store.
    pub(crate) fn instantiate(&self, store: &mut Store<()>) -> wasmtime::Result<Guest> {
        let Code::Core(pre) = &self.code else {
            return Err(wasmtime::Error::msg("a component does not share a Store"));
        };
        let instance = pre.instantiate(&mut *store)?;
        let function = |store: &mut Store<()>, name| instance.get_typed_func(store, name);
        let Shape { observes, takes_texts, .. } = self.shape;
        Ok(Guest {
            memory: memory_of(&instance, store)?,
            summarise: function(store, "summarise")?,
            observe: observes.then(|| function(store, "observe")).transpose()?,
            observe_text: takes_texts.then(|| function(store, "observe_text")).transpose()?,
        })
    }
}

impl core::fmt::Debug for Program {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Program").field("name", &self.name).field("shape", &self.shape).finish()
    }
}

/// Asks a core module for its constants.
fn probe(pre: &InstancePre<()>) -> Result<Shape, Rejection> {
    let mut store = Store::new(pre.module().engine(), ());
    let failed =
        |name| move |error: wasmtime::Error| Rejection::Probe { name, message: describe(&error) };
    store.set_fuel(FUEL_CALL_MAX).map_err(failed("fuel"))?;
    let instance = pre.instantiate(&mut store).map_err(failed("instantiation"))?;
    let mut ask = |name: &'static str| -> Result<Option<i32>, Rejection> {
        if instance.get_func(&mut store, name).is_none() {
            return Ok(None);
        }
        store.set_fuel(FUEL_CALL_MAX).map_err(failed(name))?;
        let function = instance.get_typed_func::<(), i32>(&mut store, name);
        let said = function.and_then(|function| function.call(&mut store, ()));
        said.map(Some).map_err(failed(name))
    };
    let mut needed = |name| ask(name)?.ok_or(Rejection::MissingExport(name));
    match needed("trend_abi")? {
        1 => {}
        other => return Err(Rejection::Abi(other)),
    }
    let (buf, cap) = (needed("buf")?, needed("cap")?);
    let state = match ask("state")? {
        Some(at) => Some((at, ask("state_len")?.ok_or(Rejection::MissingExport("state_len"))?)),
        None => None,
    };
    let has = |store: &mut Store<()>, name| instance.get_func(store, name).is_some();
    let observes = has(&mut store, "observe");
    let takes_texts = has(&mut store, "observe_text");
    let least = if takes_texts { TEXT_BUFFER_BYTES_MIN } else { BUFFER_BYTES_MIN };
    let (buf, cap) = region(("buf", buf), ("cap", cap), least, MEMORY_BYTES)?;
    let state = state
        .map(|(at, len)| region(("state", at), ("state_len", len), 0, STATE_BYTES_MAX))
        .transpose()?;
    Ok(Shape { lane: Lane::Core, buf, cap, state, observes, takes_texts })
}

/// Checks that a region lies in memory and has a size within limits.
fn region(
    at: (&'static str, i32),
    len: (&'static str, i32),
    least: usize,
    most: usize,
) -> Result<(usize, usize), Rejection> {
    let unsigned = |(_, value): (&str, i32)| value.cast_unsigned() as usize;
    let (start, size) = (unsigned(at), unsigned(len));
    let wrong = |(name, _), got: usize, rule| {
        Err(Rejection::Constant { name, got: i64::try_from(got).unwrap_or(i64::MAX), rule })
    };
    if !start.is_multiple_of(8) {
        return wrong(at, start, "it must be a multiple of 8");
    }
    if !(least..=most).contains(&size) {
        return wrong(len, size, "see the limits in the documentation of programs");
    }
    if start + size > MEMORY_BYTES {
        return wrong(at, start, "the region must end within the 65,536 bytes of memory");
    }
    Ok((start, size))
}

fn memory_of(instance: &Instance, store: &mut Store<()>) -> wasmtime::Result<Memory> {
    instance
        .get_memory(&mut *store, "memory")
        .ok_or_else(|| wasmtime::Error::msg("no exported memory"))
}

/// An engine's error in one line.
pub(crate) fn describe(error: &wasmtime::Error) -> String {
    match error.downcast_ref::<wasmtime::Trap>() {
        Some(trap) => trap.to_string(),
        None => format!("{error:#}").lines().next().unwrap_or_default().to_owned(),
    }
}

const _: () = assert!(EXPORTS_MAX >= 16);
