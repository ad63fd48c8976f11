//! The process that compiles one program: `trendsrv compile-program`.
//!
//! ```text
//!   standard input   the program, to its end
//!   standard output  the artefact, and nothing else
//!   standard error   one line of JSON that says why there is none, with exit code 3
//! ```
//!
//! Invariant: the process is confined before it reads the first byte.

use super::confine::{Confines, confine};
use super::wire::{REJECTED, Rejected};
use crate::config::limits::COMPILE_MEMORY_BYTES_MAX;
use std::io::{Read as _, Write as _};
use std::process::ExitCode;
use trendsrv_wasm_host::limits::PROGRAM_BYTES_MAX;

/// Compiles standard input; returns what the process ends with.
///
/// # Errors
/// When the process cannot be confined, or its input and output do not work.
pub fn run(cpu_seconds_max: u64) -> anyhow::Result<ExitCode> {
    confine(&Confines { cpu_seconds_max, memory_bytes_max: COMPILE_MEMORY_BYTES_MAX })?;
    let mut wasm = Vec::new();
    std::io::stdin().take(PROGRAM_BYTES_MAX as u64 + 1).read_to_end(&mut wasm)?;
    match trendsrv_wasm_host::compile(&wasm) {
        Ok(artefact) => {
            let mut out = std::io::stdout();
            out.write_all(&artefact)?;
            out.flush()?;
            Ok(ExitCode::SUCCESS)
        }
        Err(rejection) => {
            let line = serde_json::to_string(&Rejected { message: rejection.to_string() })?;
            writeln!(std::io::stderr(), "{line}")?;
            Ok(ExitCode::from(REJECTED))
        }
    }
}
