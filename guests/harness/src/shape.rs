//! What a module is made of, as far as the server's allow-list asks.

use wasmparser::{Operator, Parser, Payload};

/// What a module is made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shape {
    /// Imports, each as `module.name`.
    pub imports: Vec<String>,
    /// Exports in the order of their names.
    pub exports: Vec<String>,
    /// Least and most pages of each memory.
    pub memories: Vec<(u64, Option<u64>)>,
    /// Whether something runs before the first call.
    pub has_start: bool,
    /// Instructions that copy or fill in bulk.
    pub bulk: usize,
    /// Bytes of data that every instance gets a copy of.
    pub data: usize,
}

/// Looks at a module.
///
/// # Errors
/// When it is none.
pub fn shape(wasm: &[u8]) -> Result<Shape, wasmparser::BinaryReaderError> {
    let mut shape = Shape::default();
    for payload in Parser::new(0).parse_all(wasm) {
        match payload? {
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    let import = import?;
                    shape.imports.push(format!("{}.{}", import.module, import.name));
                }
            }
            Payload::ExportSection(section) => {
                for export in section {
                    shape.exports.push(export?.name.to_owned());
                }
            }
            Payload::MemorySection(section) => {
                for memory in section {
                    let memory = memory?;
                    shape.memories.push((memory.initial, memory.maximum));
                }
            }
            Payload::StartSection { .. } => shape.has_start = true,
            Payload::DataSection(section) => {
                for data in section {
                    shape.data += data?.data.len();
                }
            }
            Payload::CodeSectionEntry(body) => {
                for operator in body.get_operators_reader()? {
                    shape.bulk += usize::from(is_bulk(&operator?));
                }
            }
            _ => {}
        }
    }
    shape.exports.sort();
    Ok(shape)
}

fn is_bulk(operator: &Operator<'_>) -> bool {
    matches!(
        operator,
        Operator::MemoryCopy { .. }
            | Operator::MemoryFill { .. }
            | Operator::MemoryInit { .. }
            | Operator::TableCopy { .. }
            | Operator::TableInit { .. }
    )
}
