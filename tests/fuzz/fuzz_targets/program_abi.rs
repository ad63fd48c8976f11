//! Whatever a program may return and leave in its buffer, read by the host's side of the ABI.
//!
//! The facts are those of wasm-host/src/fuzzing.rs, which plain tests check on the corpus, too.
#![no_main]

use libfuzzer_sys::fuzz_target;
use trendsrv_wasm_host::fuzzing::check_abi;

fuzz_target!(|input: &[u8]| check_abi(input));
