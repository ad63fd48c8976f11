//! Any bytes at all as the upload of a program: checked, compiled, loaded, asked for its constants.
//!
//! The facts are those of wasm-host/src/fuzzing.rs, which plain tests check on the corpus, too.
#![no_main]

use libfuzzer_sys::fuzz_target;
use trendsrv_wasm_host::fuzzing::check_upload;

fuzz_target!(|bytes: &[u8]| {
    // Being refused is an outcome like another.
    let _ = check_upload(bytes);
});
