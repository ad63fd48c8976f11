//! The allow-list of components, checked before anything is compiled.
//!
//! ```text
//!  component ─┬─ core modules (8 at most), each with the limits of the core lane on its code
//!             └─ components (32 at most), which hold modules but no components
//! ```
//!
//! Invariant: the features are those of the core lane and the component model without its
//! asynchronous, threaded and experimental parts.

use crate::limits::{
    COMPONENT_INNER_INSTANCES_MAX, COMPONENT_MEMORY_BYTES_MAX, COMPONENT_MODULES_MAX,
    COMPONENT_PARTS_MAX, COMPONENT_TABLES_MAX, EXPORTS_MAX, FUNCTIONS_MAX, GLOBALS_MAX,
    MEMORY_BYTES, TABLE_ELEMENTS_MAX,
};
use crate::program::Rejection;
use crate::validate;
use wasmparser::{Encoding, Parser, Payload, ValidPayload, Validator, WasmFeatures};

/// The features that components may use.
pub(crate) const fn features() -> WasmFeatures {
    validate::features().union(WasmFeatures::COMPONENT_MODEL)
}

/// Checks a component.
///
/// # Errors
/// The first thing that is not allowed.
pub(crate) fn check(wasm: &[u8]) -> Result<(), Rejection> {
    let mut counts = Counts::default();
    let mut validator = Validator::new_with_features(features());
    for payload in Parser::new(0).parse_all(wasm) {
        let payload = payload.map_err(validate::invalid)?;
        counts.check(&payload)?;
        match validator.payload(&payload).map_err(validate::invalid)? {
            ValidPayload::Func(function, body) => {
                validate::check_nesting(&body)?;
                let mut function = function.into_validator(Default::default());
                function.validate(&body).map_err(validate::invalid)?;
            }
            ValidPayload::Ok | ValidPayload::Parser(_) | ValidPayload::End(_) => {}
        }
    }
    Ok(())
}

/// What was met so far, over all modules and parts.
#[derive(Default)]
struct Counts {
    /// Whether the binaries around the bytes at hand are components.
    around: Vec<bool>,
    parts: u32,
    modules: u32,
    instances: u32,
    functions: u32,
    memories: u32,
    tables: u32,
    globals: u32,
}

impl Counts {
    fn check(&mut self, payload: &Payload<'_>) -> Result<(), Rejection> {
        match payload {
            Payload::Version { encoding, .. } => self.enter(*encoding)?,
            Payload::End(_) => {
                self.around.pop();
            }
            Payload::InstanceSection(section) => {
                count("instances", &mut self.instances, section.count(), INSTANCES)?;
            }
            Payload::ComponentInstanceSection(section) => {
                count("instances", &mut self.instances, section.count(), INSTANCES)?;
            }
            Payload::FunctionSection(section) => {
                count("functions", &mut self.functions, section.count(), FUNCTIONS_MAX)?;
            }
            Payload::GlobalSection(section) => {
                count("globals", &mut self.globals, section.count(), GLOBALS_MAX)?;
            }
            Payload::ComponentExportSection(section) => {
                validate::limit("exports", section.count(), EXPORTS_MAX)?;
            }
            Payload::TableSection(section) => {
                count("tables", &mut self.tables, section.count(), TABLES)?;
                for table in section.clone() {
                    let initial = table.map_err(validate::invalid)?.ty.initial;
                    let initial = u32::try_from(initial).unwrap_or(u32::MAX);
                    validate::limit("elements of the table", initial, TABLE_ELEMENTS_MAX)?;
                }
            }
            Payload::MemorySection(section) => {
                count("memories", &mut self.memories, section.count(), 1)?;
                for memory in section.clone() {
                    let pages = memory.map_err(validate::invalid)?.initial;
                    let pages = u32::try_from(pages).unwrap_or(u32::MAX);
                    validate::limit("pages of memory at first", pages, PAGES)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn enter(&mut self, encoding: Encoding) -> Result<(), Rejection> {
        let is_component = encoding == Encoding::Component;
        self.around.push(is_component);
        if !is_component {
            return count("core modules", &mut self.modules, 1, COMPONENT_MODULES_MAX);
        }
        let depth = self.around.iter().map(|&is_component| u32::from(is_component)).sum();
        validate::limit("levels of components", depth, DEPTH)?;
        if depth > 1 {
            count("components within", &mut self.parts, 1, COMPONENT_PARTS_MAX)?;
        }
        Ok(())
    }
}

fn count(what: &'static str, sum: &mut u32, more: u32, max: u32) -> Result<(), Rejection> {
    *sum = sum.saturating_add(more);
    validate::limit(what, *sum, max)
}

/// Deeper nesting could multiply instances.
const DEPTH: u32 = 2;
const INSTANCES: u32 = COMPONENT_INNER_INSTANCES_MAX;
#[expect(clippy::cast_possible_truncation, reason = "a small constant")]
const TABLES: u32 = COMPONENT_TABLES_MAX as u32;
#[expect(clippy::cast_possible_truncation, reason = "a small constant")]
const PAGES: u32 = (COMPONENT_MEMORY_BYTES_MAX / MEMORY_BYTES) as u32;
