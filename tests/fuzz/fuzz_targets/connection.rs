//! A client that does anything at all to the server's side of a conversation: bytes, frames, time,
//! mail between shards, slow reading, endings.
//!
//! The steps and what must hold are those of server/tests/stream, which plain tests run, too.
#![no_main]

#[path = "../../../server/tests/stream/mod.rs"]
mod stream;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    stream::check_steps(input);
});
