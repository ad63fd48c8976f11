//! A component that was accepted: which interfaces it has, ready to be instantiated.

use super::guest::{Data, Guest};
use super::wasi;
use crate::program::{Lane, Rejection, Shape};
use wasmtime::component::{Component, ComponentExportIndex, InstancePre, Linker};

/// See the module header.
#[derive(Clone)]
pub(crate) struct Parts {
    pub(crate) pre: InstancePre<Data>,
    pub(crate) summarise: ComponentExportIndex,
    pub(crate) observe: Option<ComponentExportIndex>,
    pub(crate) observe_text: Option<ComponentExportIndex>,
    pub(crate) save_state: Option<ComponentExportIndex>,
    pub(crate) load_state: Option<ComponentExportIndex>,
}

impl Parts {
    /// Links a component with the stand-ins.
    ///
    /// # Errors
    /// When it imports or exports what it must not.
    pub(crate) fn new(component: &Component) -> Result<Self, Rejection> {
        Self::check_exports(component)?;
        let mut linker = Linker::new(component.engine());
        wasi::link(&mut linker, component)?;
        let pre = linker
            .instantiate_pre(component)
            .map_err(|error| Rejection::NotLoaded(format!("{error:#}")))?;
        let find = |(interface, function)| {
            let instance = component.get_export_index(None, interface)?;
            component.get_export_index(Some(&instance), function)
        };
        let summarise = find(SUMMARISE).ok_or(Rejection::NoSummariser)?;
        Ok(Self {
            pre,
            summarise,
            observe: find(OBSERVE),
            observe_text: find(OBSERVE_TEXT),
            save_state: find(SAVE_STATE),
            load_state: find(LOAD_STATE),
        })
    }

    /// Starts it once, to see that it does and that its functions are ours.
    ///
    /// # Errors
    /// When it does not, or they are not.
    pub(crate) fn probe(&self) -> Result<Shape, Rejection> {
        Guest::new(self)?;
        Ok(Shape {
            lane: Lane::Component,
            observes: self.observe.is_some(),
            takes_texts: self.observe_text.is_some(),
            ..Shape::default()
        })
    }

    /// Whether it keeps a private state.
    pub(crate) const fn is_stateful(&self) -> bool {
        self.save_state.is_some()
    }

    /// Checks that the interfaces needed are there, and that those with our name are ours. Other
    /// exports are ignored.
    ///
    /// # Errors
    /// With the first that is missing or unknown.
    pub(crate) fn check_exports(component: &Component) -> Result<(), Rejection> {
        let known = [SUMMARISE.0, OBSERVE.0, OBSERVE_TEXT.0, SAVE_STATE.0];
        let engine = component.engine();
        for (name, _) in component.component_type().exports(engine) {
            if name.starts_with("trend:") && !known.contains(&name) {
                return Err(Rejection::UnknownInterface(name.to_owned()));
            }
        }
        match component.get_export_index(None, SUMMARISE.0) {
            Some(_) => Ok(()),
            None => Err(Rejection::NoSummariser),
        }
    }
}

const SUMMARISE: (&str, &str) = ("trend:program/summariser@1.0.0", "summarise");
const OBSERVE: (&str, &str) = ("trend:program/observer@1.0.0", "observe");
const OBSERVE_TEXT: (&str, &str) = ("trend:program/text-finder@1.0.0", "observe-text");
const SAVE_STATE: (&str, &str) = ("trend:program/stateful@1.0.0", "save-state");
const LOAD_STATE: (&str, &str) = ("trend:program/stateful@1.0.0", "load-state");
