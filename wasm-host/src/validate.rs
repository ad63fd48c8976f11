//! The allow-list: what a program may contain, checked before anything is compiled.
//!
//! Invariant: what is not allowed here is refused with a sentence that says what and where.

use crate::limits::{
    EXPORTS_MAX, FUNCTION_BYTES_MAX, FUNCTIONS_MAX, GLOBALS_MAX, NESTING_MAX, TABLE_ELEMENTS_MAX,
    TABLES_MAX,
};
use crate::program::Rejection;
use wasmparser::{
    ExternalKind, FunctionBody, Operator, Parser, Payload, ValType, Validator, WasmFeatures,
};

/// The features of WebAssembly that programs may use: version 2.0, which is deterministic with
/// canonical NaNs.
pub(crate) const fn features() -> WasmFeatures {
    WasmFeatures::MUTABLE_GLOBAL
        .union(WasmFeatures::SATURATING_FLOAT_TO_INT)
        .union(WasmFeatures::SIGN_EXTENSION)
        .union(WasmFeatures::REFERENCE_TYPES)
        .union(WasmFeatures::CALL_INDIRECT_OVERLONG)
        .union(WasmFeatures::MULTI_VALUE)
        .union(WasmFeatures::BULK_MEMORY)
        .union(WasmFeatures::BULK_MEMORY_OPT)
        .union(WasmFeatures::SIMD)
        .union(WasmFeatures::FLOATS)
        .union(WasmFeatures::EXTENDED_CONST)
}

/// Checks a module.
///
/// # Errors
/// The first thing that is not allowed.
pub(crate) fn check(wasm: &[u8]) -> Result<(), Rejection> {
    let mut exports = Exports::default();
    let mut validator = Validator::new_with_features(features());
    for payload in Parser::new(0).parse_all(wasm) {
        let payload = payload.map_err(invalid)?;
        check_payload(&payload, &mut exports)?;
        match validator.payload(&payload).map_err(invalid)? {
            wasmparser::ValidPayload::Func(function, body) => {
                check_nesting(&body)?;
                let mut function = function.into_validator(Default::default());
                function.validate(&body).map_err(invalid)?;
            }
            wasmparser::ValidPayload::Ok
            | wasmparser::ValidPayload::Parser(_)
            | wasmparser::ValidPayload::End(_) => {}
        }
    }
    exports.check()
}

#[derive(Default)]
struct Exports {
    /// Parameters and results of each type.
    types: Vec<Option<(Vec<ValType>, Vec<ValType>)>>,
    /// The type of each function.
    functions: Vec<u32>,
    found: Vec<(String, ExternalKind, u32)>,
    memory: bool,
}

impl Exports {
    fn check(&self) -> Result<(), Rejection> {
        let has = |name: &str, kind| self.found.iter().any(|(n, k, _)| n == name && *k == kind);
        if !self.memory || !has("memory", ExternalKind::Memory) {
            return Err(Rejection::MissingExport("memory"));
        }
        for name in CONSTANTS_NEEDED {
            self.function(name, 0, true)?;
        }
        self.function("summarise", 1, true)?;
        for name in ["observe", "observe_text"] {
            self.function(name, 1, false)?;
        }
        let state = self.function("state", 0, false)?;
        self.function("state_len", 0, state)?;
        Ok(())
    }

    /// Whether a function is exported, with the signature that the ABI gives it.
    fn function(&self, name: &'static str, params: usize, needed: bool) -> Result<bool, Rejection> {
        let found = self.found.iter().find(|(n, _, _)| n == name);
        let Some((_, kind, index)) = found else {
            return if needed { Err(Rejection::MissingExport(name)) } else { Ok(false) };
        };
        let index = *index as usize;
        let signature = match kind {
            ExternalKind::Func => {
                let of = self.functions.get(index).map(|of| *of as usize);
                of.and_then(|of| self.types.get(of)).and_then(Option::as_ref)
            }
            _ => None,
        };
        let wanted = signature.is_some_and(|(from, to)| {
            from.len() == params
                && from.iter().all(|param| *param == ValType::I32)
                && to[..] == [ValType::I32]
        });
        if wanted { Ok(true) } else { Err(Rejection::WrongSignature { name, params }) }
    }
}

fn check_payload(payload: &Payload<'_>, exports: &mut Exports) -> Result<(), Rejection> {
    match payload {
        Payload::ImportSection(section) => {
            let first = section.clone().into_imports().next();
            if let Some(import) = first {
                let import = import.map_err(invalid)?;
                let (module, name) = (import.module.to_owned(), import.name.to_owned());
                return Err(Rejection::Import { module, name });
            }
        }
        Payload::StartSection { .. } => return Err(Rejection::Start),
        Payload::TypeSection(section) => {
            for group in section.clone() {
                for of in group.map_err(invalid)?.into_types() {
                    let function = match &of.composite_type.inner {
                        wasmparser::CompositeInnerType::Func(function) => {
                            Some((function.params().to_vec(), function.results().to_vec()))
                        }
                        _ => None,
                    };
                    exports.types.push(function);
                }
            }
        }
        Payload::FunctionSection(section) => {
            limit("functions", section.count(), FUNCTIONS_MAX)?;
            for of in section.clone() {
                exports.functions.push(of.map_err(invalid)?);
            }
        }
        Payload::TableSection(section) => {
            limit("tables", section.count(), TABLES_MAX)?;
            for table in section.clone() {
                let initial = table.map_err(invalid)?.ty.initial;
                let initial = u32::try_from(initial).unwrap_or(u32::MAX);
                limit("elements of the table", initial, TABLE_ELEMENTS_MAX)?;
            }
        }
        Payload::MemorySection(section) => {
            limit("memories", section.count(), 1)?;
            for memory in section.clone() {
                let memory = memory.map_err(invalid)?;
                if memory.initial != 1 || memory.maximum != Some(1) {
                    let (pages, maximum) = (memory.initial, memory.maximum);
                    return Err(Rejection::Memory { pages, maximum });
                }
                exports.memory = true;
            }
        }
        Payload::GlobalSection(section) => limit("globals", section.count(), GLOBALS_MAX)?,
        Payload::ExportSection(section) => {
            limit("exports", section.count(), EXPORTS_MAX)?;
            for export in section.clone() {
                let export = export.map_err(invalid)?;
                exports.found.push((export.name.to_owned(), export.kind, export.index));
            }
        }
        _ => {}
    }
    Ok(())
}

/// A compiler's time and stack grow with nesting and with the size of one function.
pub(crate) fn check_nesting(body: &FunctionBody<'_>) -> Result<(), Rejection> {
    let at = body.range().start;
    if body.range().len() > FUNCTION_BYTES_MAX {
        return Err(Rejection::FunctionTooLarge { at, bytes: body.range().len() });
    }
    let mut depth = 0_u32;
    for operator in body.get_operators_reader().map_err(invalid)? {
        match operator.map_err(invalid)? {
            Operator::Block { .. } | Operator::Loop { .. } | Operator::If { .. } => depth += 1,
            Operator::End => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > NESTING_MAX {
            return Err(Rejection::Nesting { at });
        }
    }
    Ok(())
}

pub(crate) fn limit(what: &'static str, got: u32, max: u32) -> Result<(), Rejection> {
    if got > max { Err(Rejection::TooMany { what, got, max }) } else { Ok(()) }
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err wants")]
pub(crate) fn invalid(error: wasmparser::BinaryReaderError) -> Rejection {
    // Some of its messages run over lines.
    let message = error.message().split_whitespace().collect::<Vec<_>>().join(" ");
    Rejection::Invalid { at: error.offset(), message }
}

/// Constants that every program exports.
const CONSTANTS_NEEDED: [&str; 3] = ["trend_abi", "buf", "cap"];
