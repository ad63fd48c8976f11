//! Open-loop load, replay of recorded events, reports.
//!
//! Owns: the load, the recorded-file format, exact counts to check the server against, run.json.
//! Never touches: the server's insides. It speaks the wire through `client` and `proto`, and
//! reads the server process from the outside.
//!
//! ```text
//! run:    scenario -> population -> pool of frames -> lanes ---\
//!                                                   probes -----+-> server
//! replay: recorded file -> blocking client --------------------/
//!         exact counts (sample, exact) == answers?  -> run.json, latency.hgrm, exit code
//! crash:  kill -9, restart, send again: acknowledged <= held <= pushed?
//! ```

mod census;
mod check;
mod compare;
mod crash;
mod curves;
mod disk;
mod durability;
#[expect(clippy::disallowed_types, reason = "no shard: the thread that ends all meets the others")]
mod ending;
mod engine;
mod exact;
mod hostile;
mod http;
mod lane;
mod latency;
mod limits;
mod lone;
mod naive;
#[allow(unsafe_code, reason = "libc calls without a safe wrapper; see the module")]
mod os;
mod page;
#[cfg(test)]
#[path = "../../client/tests/peer/mod.rs"]
mod peer;
mod pool;
mod population;
mod probe;
mod process;
mod programs;
mod record;
mod refresh;
mod replay;
mod report;
mod run;
mod sample;
mod scenario;
mod schedule;
mod server;
mod sides;
#[allow(dead_code, reason = "filled in by the systems under way")]
mod systems;
mod tally;
mod told;
mod watch;
mod wire;
mod zipf;

use clap::{Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

/// Makes load for trendsrv and checks what comes back
#[derive(Debug, Parser)]
#[command(name = "loadgen", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(Box<run::RunArgs>),
    Replay(Box<replay::ReplayArgs>),
    Crash(Box<crash::CrashArgs>),
    Curves(Box<curves::CurvesArgs>),
    Naive(Box<naive::NaiveArgs>),
    Compare(Box<compare::CompareArgs>),
    /// Shows the runs in some folders, one line each
    Report {
        /// Folders with a run.json
        #[arg(value_name = "DIR", required = true)]
        folders: Vec<PathBuf>,
    },
}

fn main() -> ExitCode {
    let command = Cli::parse().command;
    let done = match command.leaves_something() {
        true => ending::wait_for_signals().and_then(|()| command.run()),
        false => command.run(),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(VERDICT_FAILED),
        Err(error) => {
            eprintln!("loadgen: {error:#}");
            ExitCode::FAILURE
        }
    }
}

impl Command {
    /// Whether a signal would leave processes or folders behind. The foil has none, and ends in its
    /// own way.
    const fn leaves_something(&self) -> bool {
        match self {
            Self::Run(_) | Self::Crash(_) | Self::Curves(_) | Self::Compare(_) => true,
            Self::Replay(_) | Self::Naive(_) | Self::Report { .. } => false,
        }
    }

    /// Does it; returns whether its verdict holds.
    fn run(self) -> anyhow::Result<bool> {
        match self {
            Self::Run(args) => run::run(&args),
            Self::Replay(args) => replay::replay(&args).map(|()| true),
            Self::Crash(args) => crash::crash(&args),
            Self::Curves(args) => curves::curves(&args).map(|()| true),
            Self::Naive(args) => naive::naive(&args).map(|()| true),
            Self::Compare(args) => compare::compare(&args),
            Self::Report { folders } => report::compare(&folders).map(|text| {
                print!("{text}");
                true
            }),
        }
    }
}

/// The exit code when every answer was right, but the verdict of a comparison does not hold.
const VERDICT_FAILED: u8 = 3;
