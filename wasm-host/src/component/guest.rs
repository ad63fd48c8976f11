//! One live component in a Store of its own.
//!
//! Invariant: after an error the guest is dropped, never called again: a trap ends a component's
//! Store.

use super::parts::Parts;
use super::types::{Event, Summary, Text, Topic, View};
use crate::abi::Fault;
use crate::limits::{
    COMPONENT_CORE_INSTANCES_MAX, COMPONENT_HANDLES_MAX, COMPONENT_MEMORY_BYTES_MAX,
    COMPONENT_OUTPUT_BYTES_MAX, COMPONENT_SAID_BYTES_MAX, COMPONENT_TABLES_MAX, FUEL_CALL_MAX,
    STATE_BYTES_MAX, TABLE_ELEMENTS_MAX,
};
use crate::program::{Rejection, describe};
use std::sync::Arc;
use wasmtime::component::{ComponentExportIndex, ComponentNamedList, Lift, Lower, TypedFunc};
use wasmtime::{Store, StoreLimits, StoreLimitsBuilder};

/// See the module header.
pub(crate) struct Guest {
    store: Store<Data>,
    stages: Stages,
    /// Fuel used since it was last asked.
    spent: u64,
}

/// A component's functions. Arguments are shared, so that the host can fill the same ones again.
struct Stages {
    summarise: TypedFunc<(Arc<View>,), (Summary,)>,
    observe: Option<Observe>,
    observe_text: Option<ObserveText>,
    save_state: Option<TypedFunc<(), (Vec<u8>,)>>,
    load_state: Option<TypedFunc<(Vec<u8>,), ()>>,
}

type Observe = TypedFunc<(u64, Arc<Vec<Event>>), (Vec<Event>,)>;
type ObserveText = TypedFunc<(u64, Arc<Vec<Text>>), (Vec<Topic>,)>;

/// What a Store carries beside the component.
#[derive(Default)]
pub(crate) struct Data {
    limits: StoreLimits,
    /// How many pseudo-random numbers it was given.
    pub(crate) random: u64,
    /// What it wrote to its standard error, the first bytes.
    said: Vec<u8>,
}

impl Data {
    /// Keeps what a program writes, as far as there is room: the message of a panic.
    pub(crate) fn say(&mut self, bytes: impl Iterator<Item = u8>) {
        let room = COMPONENT_SAID_BYTES_MAX - self.said.len();
        self.said.extend(bytes.take(room));
    }
}

impl Guest {
    /// A fresh instance. Its start code runs with the fuel of one call.
    ///
    /// # Errors
    /// With what went wrong at the start, or which interface is not as it should be.
    pub(crate) fn new(parts: &Parts) -> Result<Self, Rejection> {
        let limits = StoreLimitsBuilder::new()
            .memory_size(COMPONENT_MEMORY_BYTES_MAX)
            .memories(1)
            .tables(COMPONENT_TABLES_MAX)
            .table_elements(TABLE_ELEMENTS_MAX as usize)
            .instances(COMPONENT_CORE_INSTANCES_MAX)
            .build();
        let mut store = Store::new(parts.pre.engine(), Data { limits, ..Data::default() });
        store.limiter(|data| &mut data.limits);
        store.set_max_component_handles(COMPONENT_HANDLES_MAX);
        store.set_hostcall_fuel(COMPONENT_OUTPUT_BYTES_MAX);
        let started =
            store.set_fuel(FUEL_CALL_MAX).and_then(|()| parts.pre.instantiate(&mut store));
        let instance = started.map_err(|error| Rejection::NotStarted(explain(&store, &error)))?;
        let mut finder = Finder { store: &mut store, instance };
        let stages = Stages {
            summarise: finder.find("summarise", &parts.summarise)?,
            observe: finder.find_if("observe", parts.observe.as_ref())?,
            observe_text: finder.find_if("observe-text", parts.observe_text.as_ref())?,
            save_state: finder.find_if("save-state", parts.save_state.as_ref())?,
            load_state: finder.find_if("load-state", parts.load_state.as_ref())?,
        };
        let spent = FUEL_CALL_MAX.saturating_sub(store.get_fuel().unwrap_or(0));
        Ok(Self { store, stages, spent })
    }

    pub(crate) fn summarise(&mut self, view: Arc<View>) -> Result<Summary, Fault> {
        let Self { store, stages, spent } = self;
        let (summary,) = call("summarise", store, spent, &stages.summarise, (view,))?;
        Ok(summary)
    }

    pub(crate) fn observe(
        &mut self,
        base_ms: u64,
        events: Arc<Vec<Event>>,
    ) -> Result<Vec<Event>, Fault> {
        let Self { store, stages, spent } = self;
        let function = there(stages.observe.as_ref())?;
        let (events,) = call("observe", store, spent, function, (base_ms, events))?;
        Ok(events)
    }

    pub(crate) fn observe_text(
        &mut self,
        base_ms: u64,
        texts: Arc<Vec<Text>>,
    ) -> Result<Vec<Topic>, Fault> {
        let Self { store, stages, spent } = self;
        let function = there(stages.observe_text.as_ref())?;
        let (topics,) = call("observe_text", store, spent, function, (base_ms, texts))?;
        Ok(topics)
    }

    /// The private state, if it keeps one.
    pub(crate) fn save_state(&mut self) -> Result<Option<Vec<u8>>, Fault> {
        let Self { store, stages, spent } = self;
        let Some(function) = stages.save_state.as_ref() else { return Ok(None) };
        let (state,) = call("save_state", store, spent, function, ())?;
        if state.len() > STATE_BYTES_MAX {
            let got = u32::try_from(state.len()).unwrap_or(u32::MAX);
            return Err(Fault::Count { call: "save_state", got, max: STATE_BYTES_MAX });
        }
        Ok(Some(state))
    }

    /// Hands a private state over; one that keeps none ignores it.
    pub(crate) fn load_state(&mut self, state: Vec<u8>) -> Result<(), Fault> {
        let Self { store, stages, spent } = self;
        match stages.load_state.as_ref() {
            Some(function) => call("load_state", store, spent, function, (state,)),
            None => Ok(()),
        }
    }

    /// Fuel used since this was last asked.
    pub(crate) fn take_spent(&mut self) -> u64 {
        std::mem::take(&mut self.spent)
    }
}

/// Calls a function with the fuel of one call.
#[inline]
fn call<Params, Return>(
    name: &'static str,
    store: &mut Store<Data>,
    spent: &mut u64,
    function: &TypedFunc<Params, Return>,
    params: Params,
) -> Result<Return, Fault>
where
    Params: ComponentNamedList + Lower,
    Return: ComponentNamedList + Lift,
{
    let returned = store.set_fuel(FUEL_CALL_MAX).and_then(|()| function.call(&mut *store, params));
    *spent += FUEL_CALL_MAX.saturating_sub(store.get_fuel().unwrap_or(0));
    returned.map_err(|error| Fault::Trap { call: name, message: explain(store, &error) })
}

fn there<T>(function: Option<&T>) -> Result<&T, Fault> {
    function.ok_or_else(|| Fault::NoInstance("it has no such stage".into()))
}

/// An error with what the program itself said about it.
fn explain(store: &Store<Data>, error: &wasmtime::Error) -> String {
    let said = String::from_utf8_lossy(&store.data().said);
    let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
    let why = describe(error);
    if said.is_empty() { why } else { format!("{said} ({why})") }
}

/// Looks functions up in an instance.
struct Finder<'a> {
    store: &'a mut Store<Data>,
    instance: wasmtime::component::Instance,
}

impl Finder<'_> {
    fn find<Params, Return>(
        &mut self,
        name: &'static str,
        at: &ComponentExportIndex,
    ) -> Result<TypedFunc<Params, Return>, Rejection>
    where
        Params: ComponentNamedList + Lower,
        Return: ComponentNamedList + Lift,
    {
        self.instance
            .get_typed_func(&mut *self.store, at)
            .map_err(|error| Rejection::WrongInterface { name, message: format!("{error:#}") })
    }

    fn find_if<Params, Return>(
        &mut self,
        name: &'static str,
        at: Option<&ComponentExportIndex>,
    ) -> Result<Option<TypedFunc<Params, Return>>, Rejection>
    where
        Params: ComponentNamedList + Lower,
        Return: ComponentNamedList + Lift,
    {
        at.map(|at| self.find(name, at)).transpose()
    }
}
