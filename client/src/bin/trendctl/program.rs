//! `trendctl program …`.

use crate::http::{Server, escape};
use crate::trial::{self, TestArgs};
use anyhow::{Context as _, bail};
use clap::Subcommand;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::ExitCode;
use ureq::http::Method;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Shows every program and what it did
    List,
    /// Uploads a program, or replaces it for all its tenants
    Put {
        /// Its name
        name: String,
        /// A WebAssembly module
        #[arg(value_name = "FILE.wasm")]
        file: PathBuf,
    },
    /// Removes a program that no tenant is assigned
    Remove {
        /// Its name
        name: String,
    },
    /// Assigns a tenant a program
    Assign {
        /// The tenant's name
        tenant: String,
        /// The program's name
        name: String,
    },
    /// Gives a tenant the default program again
    Unassign {
        /// The tenant's name
        tenant: String,
    },
    /// Shows how a tenant's program fares
    Status {
        /// The tenant's name
        tenant: String,
    },
    /// Tries a program on a recording, without a server
    Test(TestArgs),
}

impl Command {
    /// Does it and says what came of it.
    ///
    /// # Errors
    /// In the server's words, or what keeps it from being asked.
    pub(crate) fn run(self, server: &Server, json: bool) -> anyhow::Result<ExitCode> {
        let (answer, words): (Value, fn(&Value) -> String) = match self {
            Self::List => (server.ask(Method::GET, "/v1/programs", b"")?, list_words),
            Self::Put { name, file } => {
                let wasm = read(&file)?;
                (server.ask(Method::PUT, &of_program(&name), &wasm)?, put_words)
            }
            Self::Remove { name } => {
                let words = |answer: &Value| format!("removed {}\n", text(&answer["removed"]));
                (server.ask(Method::DELETE, &of_program(&name), b"")?, words)
            }
            Self::Assign { tenant, name } => {
                let body = json!({ "program": name }).to_string();
                (server.ask(Method::PUT, &of_tenant(&tenant), body.as_bytes())?, status_words)
            }
            Self::Unassign { tenant } => {
                (server.ask(Method::DELETE, &of_tenant(&tenant), b"")?, status_words)
            }
            Self::Status { tenant } => {
                (server.ask(Method::GET, &of_tenant(&tenant), b"")?, status_words)
            }
            Self::Test(args) => return trial::run(&args, json),
        };
        if json {
            println!("{answer:#}");
        } else {
            print!("{}", words(&answer));
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn of_program(name: &str) -> String {
    format!("/v1/programs/{}", escape(name))
}

fn of_tenant(tenant: &str) -> String {
    format!("/v1/tenants/{}/program", escape(tenant))
}

/// Larger files are refused here: a server would not even read them.
fn read(file: &PathBuf) -> anyhow::Result<Vec<u8>> {
    let named = || format!("cannot read {}", file.display());
    let bytes = std::fs::metadata(file).with_context(named)?.len();
    if bytes > PROGRAM_BYTES_MAX {
        bail!("{} has {bytes} bytes; a program has at most {PROGRAM_BYTES_MAX}", file.display());
    }
    std::fs::read(file).with_context(named)
}

fn list_words(answer: &Value) -> String {
    let mut words = format!(
        "{:<24} {:>9} {:>10} {:>14} {:>9} {:>14}  {}\n",
        "program", "assigned", "instances", "calls", "faults", "fuel a call", "exports"
    );
    for line in answer["programs"].as_array().into_iter().flatten() {
        let calls = number(&line["calls"]);
        let mark = if line["default"] == true { " *" } else { "" };
        words.push_str(&format!(
            "{:<24} {:>9} {:>10} {:>14} {:>9} {:>14}  {}\n",
            format!("{}{mark}", text(&line["name"])),
            number(&line["assigned"]),
            number(&line["instances"]),
            calls,
            number(&line["faults"]),
            number(&line["fuel_used"]) / calls.max(1),
            exports(line),
        ));
    }
    words.push_str(&format!(
        "* what tenants run that are assigned nothing: {}\n",
        text(&answer["default"])
    ));
    words
}

fn put_words(answer: &Value) -> String {
    format!(
        "{}: {} bytes of WebAssembly, {} compiled, exports {}, BLAKE3 {}\n",
        text(&answer["name"]),
        number(&answer["bytes"]),
        number(&answer["artefact_bytes"]),
        exports(answer),
        text(&answer["hash"]),
    )
}

fn status_words(answer: &Value) -> String {
    let how = if answer["assigned"] == true { "assigned" } else { "the default" };
    let calls = number(&answer["calls"]);
    let mut words = format!(
        "{}: {} ({how}), {}, {calls} calls, {} faults, {} fuel a call\n",
        text(&answer["tenant"]),
        text(&answer["program"]),
        text(&answer["state"]),
        number(&answer["faults"]),
        number(&answer["fuel_used"]) / calls.max(1),
    );
    if let Some(error) = answer["last_error"].as_str() {
        words.push_str(&format!("last fault: {error}\n"));
    }
    if let Some(at_ms) = answer["retry_at_ms"].as_u64() {
        words.push_str(&format!("tried again at {at_ms} (ms since 1970)\n"));
    }
    words
}

fn exports(line: &Value) -> String {
    let names: Vec<&str> = line["exports"].as_array().into_iter().flatten().map(text).collect();
    names.join(", ")
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_default()
}

/// What a server takes (docs/programs.md).
const PROGRAM_BYTES_MAX: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_told_in_words() {
        let mut status = json!({
            "tenant": "acme", "program": "mine", "assigned": true, "state": "failed", "faults": 2,
            "last_error": "no fuel left", "retry_at_ms": 5_000, "calls": 4, "fuel_used": 400,
        });
        assert_eq!(
            status_words(&status),
            "acme: mine (assigned), failed, 4 calls, 2 faults, 100 fuel a call\n\
             last fault: no fuel left\ntried again at 5000 (ms since 1970)\n"
        );
        status["assigned"] = false.into();
        status["last_error"] = Value::Null;
        status["retry_at_ms"] = Value::Null;
        status["calls"] = 0.into();
        assert_eq!(
            status_words(&status),
            "acme: mine (the default), failed, 0 calls, 2 faults, 400 fuel a call\n"
        );
    }

    #[test]
    fn a_list_marks_the_default() {
        let line = json!({
            "name": "trending", "default": true, "assigned": 1, "instances": 5, "calls": 10,
            "faults": 0, "fuel_used": 1_000, "exports": ["summarise", "state"],
        });
        let words = list_words(&json!({ "programs": [line], "default": "trending" }));
        let row: Vec<&str> = words.lines().nth(1).unwrap().split_whitespace().collect();
        assert_eq!(row, ["trending", "*", "1", "5", "10", "0", "100", "summarise,", "state"]);
        assert!(words.ends_with("assigned nothing: trending\n"), "{words}");
    }
}
