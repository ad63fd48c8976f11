//! Small programs of tests, as text.

/// A module of ABI version 1 around the body of `summarise` and more of its own.
pub(crate) fn text(summarise: &str, more: &str) -> String {
    format!(
        r#"(module
             (memory (export "memory") 1 1)
             (func (export "trend_abi") (result i32) (;abi;) i32.const 1)
             (func (export "buf") (result i32) i32.const 1024)
             (func (export "cap") (result i32) i32.const 8192)
             (func (export "summarise") (param $n i32) (result i32) {summarise})
             {more})"#
    )
}

/// The body of a `summarise` that leaves the buffer as it is: an empty ranking, no words.
pub(crate) const SUMMARISE_NOTHING: &str = "i32.const 0";

/// A module's bytes.
pub(crate) fn wat(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap()
}

pub(crate) fn module(summarise: &str, more: &str) -> Vec<u8> {
    wat(&text(summarise, more))
}

/// A program whose `summarise` does this.
pub(crate) fn with_body(summarise: &str) -> Vec<u8> {
    module(summarise, "")
}

/// A program that keeps the ranking and says these eight bytes.
pub(crate) fn saying(words: &str) -> Vec<u8> {
    module(&summarise_saying(words), "")
}

fn summarise_saying(words: &str) -> String {
    let words = i64::from_le_bytes(words.as_bytes().try_into().unwrap());
    format!(
        "(local $out i32)
         (local.set $out (i32.add (i32.const 1024) (i32.load (i32.const 1068))))
         (i32.store (local.get $out) (i32.const 0x0008ffff))
         (i64.store offset=4 align=1 (local.get $out) (i64.const {words}))
         i32.const 0"
    )
}

/// A program that leaves out events whose topic id is even.
pub(crate) fn odd_topics_only() -> Vec<u8> {
    let observe = r#"
        (func (export "observe") (param $n i32) (result i32)
          (local $at i32) (local $to i32) (local $end i32)
          (local.set $at (i32.const 1040))
          (local.set $to (i32.const 1040))
          (local.set $end (i32.add (i32.const 1040) (i32.shl (local.get $n) (i32.const 4))))
          (block $done
            (loop $next
              (br_if $done (i32.eq (local.get $at) (local.get $end)))
              (if (i64.ne (i64.and (i64.load (local.get $at)) (i64.const 1)) (i64.const 0))
                (then
                  (i64.store (local.get $to) (i64.load (local.get $at)))
                  (i64.store offset=8 (local.get $to) (i64.load offset=8 (local.get $at)))
                  (local.set $to (i32.add (local.get $to) (i32.const 16)))))
              (local.set $at (i32.add (local.get $at) (i32.const 16)))
              (br $next)))
          (i32.shr_u (i32.sub (local.get $to) (i32.const 1040)) (i32.const 4)))"#;
    module(&summarise_saying("odd ones"), observe)
}

/// A small module that takes a compiler many seconds: loops within loops over many locals.
pub(crate) fn slow_to_compile() -> Vec<u8> {
    const LOCALS: usize = 200;
    const DEPTH: usize = 100;
    let locals = "i64 ".repeat(LOCALS);
    let mut function = format!("(func (param i32) (local {locals})");
    for depth in 0..DEPTH {
        function.push_str("(loop (if (local.get 0) (then ");
        for step in 0..4 {
            let (a, b) = ((depth * 4 + step) % LOCALS + 1, (depth * 7 + step * 13) % LOCALS + 1);
            let load = format!("(i64.load (i32.wrap_i64 (local.get {a})))");
            function.push_str(&format!("(local.set {a} (i64.mul (local.get {b}) {load}))"));
        }
    }
    function.push_str("(br 0)");
    function.push_str(&")) (br_if 0 (local.get 0)))".repeat(DEPTH));
    function.push(')');
    module(SUMMARISE_NOTHING, &function.repeat(40))
}
