//! The command line: which flags exist and what each is for.
//!
//! Values stay text here. Flags, environment and file all meet in `layers` and are read by
//! one parser, so that a bad value gets the same message wherever it was written.

use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

use super::limits::COMPILE_CPU_SECONDS_MAX;

/// Tells each of many tenants what is trending for it right now.
#[derive(Debug, Parser)]
#[command(name = "trendsrv", version, after_help = AFTER_HELP)]
pub struct Cli {
    /// What to run; `serve` when nothing is named.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// The settings given as flags.
    #[command(flatten)]
    pub flags: Flags,
}

/// The ways to run the program.
#[derive(Clone, Debug, Eq, PartialEq, Subcommand)]
pub enum Command {
    /// Run the server (the default).
    Serve,
    /// Run the server with live sample traffic, to see trends within seconds.
    Demo,
    /// Read a data directory to its last byte and say what is in it, and whether it is sound.
    Inspect(InspectArgs),
    /// Compile a program from standard input to standard output, within limits.
    #[command(hide = true)]
    CompileProgram(CompileProgramArgs),
    /// Run a recording through a program, offline.
    #[command(hide = true)]
    ProgramTest(ProgramTestArgs),
}

/// What `inspect` is told. The exit code is 0 when all is sound, 1 when something is damaged.
#[derive(Args, Clone, Debug, Eq, PartialEq)]
pub struct InspectArgs {
    /// The data directory
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
    /// Write JSON
    #[arg(long)]
    pub json: bool,
}

/// What `compile-program` is told.
#[derive(Args, Clone, Copy, Debug, Eq, PartialEq)]
pub struct CompileProgramArgs {
    /// CPU time it may take
    #[arg(long, value_name = "N", default_value_t = COMPILE_CPU_SECONDS_MAX)]
    pub cpu_seconds: u64,
}

/// What `program-test` is told; the recording's columns are tenant, ts_ms, topic, weight, text.
#[derive(Args, Clone, Debug, Eq, PartialEq)]
pub struct ProgramTestArgs {
    /// The program
    #[arg(value_name = "FILE.wasm")]
    pub program: PathBuf,
    /// The recording, maybe packed (.gz)
    #[arg(long, value_name = "FILE")]
    pub events: PathBuf,
    /// Topics shown of each tenant
    #[arg(long, value_name = "K", default_value_t = 10,
          value_parser = clap::value_parser!(u16).range(1..=100))]
    pub k: u16,
    /// Send the text column through the program instead of the topic column
    #[arg(long)]
    pub texts: bool,
    /// Write JSON
    #[arg(long)]
    pub json: bool,
}

/// One optional text per setting; a switch without a value reads `true`.
#[derive(Args, Clone, Debug, Default)]
pub struct Flags {
    /// TOML file with settings; its keys are the flag names with `_` for `-`.
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<String>,
    /// Address producers and readers of the binary protocol connect to [default: 127.0.0.1:7171]
    #[arg(long, global = true, value_name = "ADDRESS:PORT")]
    pub listen: Option<String>,
    /// Address of the HTTP interface [default: 127.0.0.1:7172]
    #[arg(long, global = true, value_name = "ADDRESS:PORT")]
    pub http: Option<String>,
    /// Allow listening on an address other than loopback, without any authentication
    #[arg(long, global = true, value_name = "BOOL", num_args = 0..=1, require_equals = true,
          default_missing_value = "true")]
    pub insecure: Option<String>,
    /// Number of shards, each with a hash slice of the tenants [default: one per core]
    #[arg(long, global = true, value_name = "N")]
    pub shards: Option<String>,
    /// Cores to pin shards to, such as 0,1 or 0-3 [default: every core this process may use]
    #[arg(long, global = true, value_name = "LIST")]
    pub cores: Option<String>,
    /// Port of shard 0's direct listener; shard i uses PORT+i, and 0 lets the kernel choose
    /// [default: 0]
    #[arg(long, global = true, value_name = "PORT")]
    pub shard_port_base: Option<String>,
    /// What moves the windows: wall time, or each tenant's largest event time [default: wall]
    #[arg(long, global = true, value_name = "wall|event")]
    pub clock: Option<String>,
    /// Length of the sliding window [default: 60s]
    #[arg(long, global = true, value_name = "DURATION")]
    pub window: Option<String>,
    /// Step of the sliding window; the window is 2 to 64 of them [default: 1s]
    #[arg(long, global = true, value_name = "DURATION")]
    pub slide: Option<String>,
    /// How a shard wakes: `adaptive` sleeps up to 1 ms under load, `low` always wakes at once
    /// [default: adaptive]
    #[arg(long, global = true, value_name = "adaptive|low")]
    pub latency: Option<String>,
    /// Tenants with a live window, over all shards [default: 100000]
    #[arg(long, global = true, value_name = "N")]
    pub tenants_max: Option<String>,
    /// Topic names remembered, over all shards [default: 16 per tenant]
    #[arg(long, global = true, value_name = "N")]
    pub topics_max: Option<String>,
    /// Producers whose sequence numbers are remembered, per shard [default: 16384]
    #[arg(long, global = true, value_name = "N")]
    pub producers_max: Option<String>,
    /// Binary protocol connections, per shard [default: 10000]
    #[arg(long, global = true, value_name = "N")]
    pub connections_max: Option<String>,
    /// Memory for windows over all shards, such as 512MiB [default: 10 KiB per tenant]
    #[arg(long, global = true, value_name = "BYTES")]
    pub window_memory: Option<String>,
    /// What runs beside the windows of tenants that are assigned nothing: `trending`, `native`
    /// (the same in plain Rust, without a sandbox) or a program of --programs-dir
    /// [default: trending]
    #[arg(long, global = true, value_name = "trending|native|NAME")]
    pub default_program: Option<String>,
    /// Directory of compiled programs, or `off` [default: trendsrv in $XDG_CACHE_HOME or ~/.cache]
    #[arg(long, global = true, value_name = "DIR|off")]
    pub program_cache: Option<String>,
    /// Directory where uploaded programs and assignments survive a restart
    /// [default: programs in --data-dir, else nowhere]
    #[arg(long, global = true, value_name = "DIR")]
    pub programs_dir: Option<String>,
    /// Run without a log: what is in memory is lost when the process ends; with --data-dir only
    /// programs survive [default: without --data-dir]
    #[arg(long, global = true, value_name = "BOOL", num_args = 0..=1, require_equals = true,
          default_missing_value = "true")]
    pub no_log: Option<String>,
    /// Directory of log, snapshots and programs: what is acknowledged `durable` survives a crash
    /// [default: nowhere]
    #[arg(long, global = true, value_name = "DIR")]
    pub data_dir: Option<String>,
    /// How often a snapshot of everything shortens the log [default: 60s]
    #[arg(long, global = true, value_name = "DURATION")]
    pub snapshot_interval: Option<String>,
    /// Size of one file of the log; two are kept ready [default: 64MiB]
    #[arg(long, global = true, value_name = "BYTES")]
    pub log_segment_bytes: Option<String>,
}

impl Flags {
    /// Every setting's key with its flag's text, if one was given.
    #[must_use]
    pub fn by_key(&self) -> [(&'static str, &Option<String>); 23] {
        [
            (CONFIG, &self.config),
            (LISTEN, &self.listen),
            (HTTP, &self.http),
            (INSECURE, &self.insecure),
            (SHARDS, &self.shards),
            (CORES, &self.cores),
            (SHARD_PORT_BASE, &self.shard_port_base),
            (CLOCK, &self.clock),
            (WINDOW, &self.window),
            (SLIDE, &self.slide),
            (LATENCY, &self.latency),
            (TENANTS_MAX, &self.tenants_max),
            (TOPICS_MAX, &self.topics_max),
            (PRODUCERS_MAX, &self.producers_max),
            (CONNECTIONS_MAX, &self.connections_max),
            (WINDOW_MEMORY, &self.window_memory),
            (DEFAULT_PROGRAM, &self.default_program),
            (PROGRAM_CACHE, &self.program_cache),
            (PROGRAMS_DIR, &self.programs_dir),
            (NO_LOG, &self.no_log),
            (DATA_DIR, &self.data_dir),
            (SNAPSHOT_INTERVAL, &self.snapshot_interval),
            (LOG_SEGMENT_BYTES, &self.log_segment_bytes),
        ]
    }
}

pub(super) const CONFIG: &str = "config";
pub(super) const LISTEN: &str = "listen";
pub(super) const HTTP: &str = "http";
pub(super) const INSECURE: &str = "insecure";
pub(super) const SHARDS: &str = "shards";
pub(super) const CORES: &str = "cores";
pub(super) const SHARD_PORT_BASE: &str = "shard_port_base";
pub(super) const CLOCK: &str = "clock";
pub(super) const WINDOW: &str = "window";
pub(super) const SLIDE: &str = "slide";
pub(super) const LATENCY: &str = "latency";
pub(super) const TENANTS_MAX: &str = "tenants_max";
pub(super) const TOPICS_MAX: &str = "topics_max";
pub(super) const PRODUCERS_MAX: &str = "producers_max";
pub(super) const CONNECTIONS_MAX: &str = "connections_max";
pub(super) const WINDOW_MEMORY: &str = "window_memory";
pub(super) const DEFAULT_PROGRAM: &str = "default_program";
pub(super) const PROGRAM_CACHE: &str = "program_cache";
pub(super) const PROGRAMS_DIR: &str = "programs_dir";
pub(super) const NO_LOG: &str = "no_log";
pub(super) const DATA_DIR: &str = "data_dir";
pub(super) const SNAPSHOT_INTERVAL: &str = "snapshot_interval";
pub(super) const LOG_SEGMENT_BYTES: &str = "log_segment_bytes";

const AFTER_HELP: &str = "\
Every setting can also come from an environment variable (TRENDSRV_ and the flag's name in
capitals, `_` for `-`: TRENDSRV_TENANTS_MAX) or from the TOML file (tenants_max = 100000).
A flag wins over the environment, the environment over the file, the file over the default.";

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn clap_accepts_its_own_definition() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_long_flag_is_a_key() {
        let keys: Vec<String> =
            Flags::default().by_key().iter().map(|(key, _)| key.replace('_', "-")).collect();
        let command = Cli::command();
        let flags: Vec<&str> = command.get_arguments().filter_map(|a| a.get_long()).collect();
        for flag in flags.iter().filter(|flag| !["help", "version"].contains(flag)) {
            assert!(keys.iter().any(|key| key == flag), "--{flag} has no key");
        }
        assert_eq!(keys.iter().filter(|key| flags.contains(&key.as_str())).count(), keys.len());
    }

    #[test]
    fn flags_work_before_and_after_the_subcommand() {
        let before = Cli::parse_from(["trendsrv", "--shards", "3", "serve"]);
        let after = Cli::parse_from(["trendsrv", "demo", "--shards", "3", "--insecure"]);
        assert_eq!(before.flags.shards.as_deref(), Some("3"));
        assert_eq!(after.flags.shards.as_deref(), Some("3"));
        assert_eq!(after.flags.insecure.as_deref(), Some("true"));
        assert_eq!(after.command, Some(Command::Demo));
    }
}
