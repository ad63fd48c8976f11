//! `trendctl`: what a person asks of a running server, and tries before asking.
//!
//! Owns the words on the terminal. Never touches the server's insides: it speaks HTTP like any
//! client, and hands trials to the `trendsrv` binary, which has the sandbox.
//!
//! ```text
//!   program list, put, remove, assign, unassign, status ─▶ HTTP ─▶ table, or JSON as it came
//!   program test                                        ─▶ trendsrv program-test
//! ```
#![forbid(unsafe_code)]

mod http;
mod program;
mod trial;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Talks to a trendsrv
#[derive(Debug, Parser)]
#[command(name = "trendctl", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// The server's HTTP address
    #[arg(
        long,
        global = true,
        value_name = "ADDRESS:PORT",
        env = "TRENDCTL_HTTP",
        default_value = "127.0.0.1:7172"
    )]
    http: String,
    /// Write JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Tenant programs
    #[command(subcommand)]
    Program(program::Command),
}

fn main() -> ExitCode {
    let Cli { command, http, json } = Cli::parse();
    let done = match command {
        Command::Program(command) => command.run(&http::Server::new(&http), json),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            eprintln!("trendctl: {error:#}");
            ExitCode::FAILURE
        }
    }
}
