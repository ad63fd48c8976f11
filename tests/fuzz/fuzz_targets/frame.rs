//! Any bytes at all through the frame decoder, and what was decoded through the encoder.
//!
//! The facts are those of proto/tests/mirror, which plain tests check on the corpus, too.
#![no_main]

#[path = "../../../proto/tests/mirror/mod.rs"]
mod mirror;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| mirror::check_bytes(bytes));
