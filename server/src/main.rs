//! `trendsrv`: serves, or demonstrates itself.

use anyhow::Context;
use clap::Parser;
use std::io::Write;
use std::process::ExitCode;
use trendsrv_server::config::{Cli, Command, Config, Loaded, Machine};
use trendsrv_server::{demo, process, programs, store};

fn main() -> ExitCode {
    run().unwrap_or_else(|error| {
        eprintln!("trendsrv: {}", in_one_sentence(&error));
        ExitCode::FAILURE
    })
}

/// The error and its causes. Most errors of ours tell their cause themselves: it is said once.
fn in_one_sentence(error: &anyhow::Error) -> String {
    let mut words = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if !words.contains(&cause) {
            words += if words.is_empty() { "" } else { ": " };
            words += &cause;
        }
    }
    words
}

fn run() -> anyhow::Result<ExitCode> {
    let cli = Cli::parse();
    // It knows nothing of a server's settings, and says nothing but what was asked.
    if let Some(Command::CompileProgram(args)) = &cli.command {
        return programs::compile_standard_input(args.cpu_seconds);
    }
    if let Some(Command::Inspect(args)) = &cli.command {
        return Ok(store::inspect_command(args));
    }
    let filter = tracing_subscriber::EnvFilter::try_from_env("TRENDSRV_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let environment: Vec<(String, String)> = std::env::vars().collect();
    let Loaded { config, warnings } = Config::load(&cli.flags, &environment, &Machine::detect())?;
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    match cli.command {
        Some(Command::Demo) => demo::run(&config)?,
        Some(Command::ProgramTest(args)) => programs::offline::run(&args, &config)?,
        _ => serve(&config)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn serve(config: &Config) -> anyhow::Result<()> {
    let running = process::start(config)?;
    let mut out = std::io::stdout();
    write!(out, "{}", running.plan)
        .and_then(|()| writeln!(out, "ready: tcp {} http {}", running.listen, running.http))
        .and_then(|()| out.flush())
        .context("cannot write to standard output")?;
    running.wait()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::in_one_sentence;
    use anyhow::anyhow;

    #[test]
    fn a_cause_that_the_error_tells_is_not_said_again() {
        let told = anyhow!("no room").context("cannot write a: no room").context("shard 0");
        assert_eq!(in_one_sentence(&told), "shard 0: cannot write a: no room");
        assert_eq!(in_one_sentence(&anyhow!("alone")), "alone");
    }
}
