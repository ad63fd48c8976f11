//! Components made in the test: a core module in text, wrapped for a world of trend-program.wit.

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// The contract, as tenants get it.
pub const WIT: &str = include_str!("../../wit/trend-program.wit");

/// The example in `guests/examples/component`, as built.
pub const EXAMPLE: &[u8] = include_bytes!("../../../guests/wasm/examples/component.wasm");

/// Wraps a core module for a world of ours.
pub fn wrap(world: &str, module: &str) -> Vec<u8> {
    wrap_beside("", world, module)
}

/// Wraps a core module for a world that `more` describes beside our package.
pub fn wrap_beside(more: &str, world: &str, module: &str) -> Vec<u8> {
    let mut resolve = Resolve::default();
    let mut package = resolve.push_str("trend-program.wit", WIT).unwrap();
    if !more.is_empty() {
        package = resolve.push_str("more.wit", more).unwrap();
    }
    let world = resolve.select_world(&[package], Some(world)).unwrap();
    let mut module = wat::parse_str(module).unwrap();
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    ComponentEncoder::default().module(&module).unwrap().encode().unwrap()
}

/// A core module with an allocator, and `summarise` as given: instructions that leave the address
/// of a summary. `$total` and `$distinct` are the view's; `$rows` is how many rows it has.
pub fn core(summarise: &str, more: &str) -> String {
    format!(
        r#"(module
          {more}
          (memory (export "memory") 1)
          (global $free (mut i32) (i32.const 8192))
          (func (export "cabi_realloc") (param i32 i32 i32) (param $size i32) (result i32)
            (global.set $free (i32.and (i32.add (global.get $free) (i32.const 7)) (i32.const -8)))
            (global.get $free)
            (global.set $free (i32.add (global.get $free) (local.get $size))))
          (func (export "cabi_post_trend:program/summariser@1.0.0#summarise") (param i32)
            (global.set $free (i32.const 8192)))
          (func (export "trend:program/summariser@1.0.0#summarise")
            (param $as_of i64) (param $total i64) (param $events i64) (param $distinct i32)
            (param $window i32) (param $recent i32) (param $exact i32) (param $asked i32)
            (param $first i32) (param $rows i32) (result i32)
            {summarise}))"#
    )
}

/// Instructions that leave a summary at 1,024: no ranking, and this line.
pub fn line(text: &str) -> String {
    let stores: String = text
        .bytes()
        .enumerate()
        .map(|(i, byte)| format!("(i32.store8 (i32.const {}) (i32.const {byte}))", 2_048 + i))
        .collect();
    format!(
        "{stores}
         (i32.store8 (i32.const 1024) (i32.const 0))
         (i32.store (i32.const 1036) (i32.const 2048))
         (i32.store (i32.const 1040) (i32.const {}))
         (i32.const 1024)",
        text.len()
    )
}

/// Instructions that leave a summary at 1,024: a ranking of so many places from an address on, and
/// an empty line.
pub fn ranking(at: u32, count: u32) -> String {
    format!(
        "(i32.store8 (i32.const 1024) (i32.const 1))
         (i32.store (i32.const 1028) (i32.const {at}))
         (i32.store (i32.const 1032) (i32.const {count}))
         (i32.store (i32.const 1036) (i32.const 2048))
         (i32.store (i32.const 1040) (i32.const 0))
         (i32.const 1024)"
    )
}
