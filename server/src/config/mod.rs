//! Configuration: what was asked for, by whom, and whether it can be done.
//!
//! Owns the flags, the environment variables, the TOML file, the defaults, every check on them, and
//! the memory plan computed from the result. Never opens a socket, starts a thread or touches a
//! shard: it ends in one checked [`Config`].
//!
//! ```text
//!   cli::Flags ─┐
//!   TRENDSRV_*  ├─> layers (text + origin) ─> parse ─> check ─> Config ─> plan::MemoryPlan
//!   TOML file  ─┘
//! ```
//!
//! Invariants:
//! - a `Config` that exists has passed every check; nothing downstream checks again;
//! - every error names the setting, the place it was written, the value, the rule and the way out;
//! - nothing is accepted and then ignored.

pub mod cli;
pub mod limits;
pub mod plan;

mod build;
mod layers;
mod parse;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::programs::ProgramName;
pub use cli::{Cli, Command, Flags, InspectArgs, ProgramTestArgs};
pub use layers::Origin;
pub use plan::MemoryPlan;
use trendsrv_proto::Clock;
use trendsrv_shard::{Grid, WindowConfig};

/// How a shard that has nothing to do is woken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Latency {
    /// By its doorbell when quiet, by a short timer under load: fewest wake-ups.
    Adaptive,
    /// Always by its doorbell: lowest latency, more CPU.
    Low,
}

/// The checked settings of one server process.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Config {
    /// Where the binary protocol listens; every shard accepts here.
    pub listen: SocketAddr,
    /// Where HTTP listens.
    pub http: SocketAddr,
    /// Whether addresses other than loopback are allowed.
    pub insecure: bool,
    /// Number of shards.
    pub shards: usize,
    /// Cores to pin shards to, in order; fewer than `shards` means nobody is pinned.
    pub cores: Vec<usize>,
    /// Port of shard 0's direct listener; 0 lets the kernel choose every shard's.
    pub shard_port_base: u16,
    /// What moves the windows.
    pub clock: Clock,
    /// Window length, a whole number of slides.
    pub window_ms: u64,
    /// Window step.
    pub slide_ms: u64,
    /// How shards are woken.
    pub latency: Latency,
    /// Tenants with a live window, over all shards.
    pub tenants_max: usize,
    /// Topic names, over all shards.
    pub topics_max: usize,
    /// Producers with remembered sequence numbers, per shard.
    pub producers_max: usize,
    /// Binary protocol connections, per shard.
    pub connections_max: usize,
    /// Memory for windows over all shards: a hard cap.
    pub window_memory_bytes: u64,
    /// What runs beside the windows of tenants that are assigned nothing.
    pub default_program: DefaultProgram,
    /// Where compiled programs are kept.
    pub program_cache: ProgramCache,
    /// Where uploaded programs and assignments are kept; nowhere if nobody says.
    pub programs_dir: Option<PathBuf>,
    /// Where data survives the process, and how; `None`: it does not.
    pub log: Option<LogConfig>,
}

/// A log and snapshots.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LogConfig {
    /// The data directory.
    pub dir: PathBuf,
    /// Time between two snapshots.
    pub snapshot_interval_ms: u64,
    /// Bytes of one file of the log.
    pub segment_bytes: u64,
}

/// What runs beside the windows of tenants that are assigned nothing.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum DefaultProgram {
    /// Plain Rust, without a sandbox.
    Native,
    /// The program of this name.
    Named(ProgramName),
}

/// Where compiled programs are kept.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ProgramCache {
    /// Nowhere.
    Off,
    /// In the user's own cache directory; without a usable one nowhere.
    Usual(PathBuf),
    /// Here, and a server that cannot use it does not start.
    Asked(PathBuf),
}

impl Config {
    /// Merges flags over environment over file over defaults, and checks the result.
    ///
    /// `environment` is every variable of the process; `machine` is what it may use.
    ///
    /// # Errors
    /// The first setting that breaks a rule.
    pub fn load(
        flags: &Flags,
        environment: &[(String, String)],
        machine: &Machine,
    ) -> Result<Loaded, ConfigError> {
        let mut layers = layers::Layers::gather(flags, environment)?;
        let variable = |name: &str| {
            let found = environment.iter().find(|(key, text)| key == name && !text.is_empty());
            found.map(|(_, text)| text.as_str())
        };
        let usual_cache = usual_cache(variable("XDG_CACHE_HOME"), variable("HOME"));
        let config = build::build(&layers, machine, usual_cache)?;
        let mut warnings = std::mem::take(&mut layers.warnings);
        warnings.extend(build::warnings(&config, machine));
        Ok(Loaded { config, warnings })
    }

    /// The window and slide.
    #[must_use]
    pub fn grid(&self) -> Grid {
        Grid::new(self.window_ms, self.slide_ms).expect("checked when the settings were read")
    }

    /// What a shard's windows need to know.
    #[must_use]
    pub fn window_config(&self, hash_secret: [u64; 2]) -> WindowConfig {
        let tenants = self.tenants_per_shard_max();
        WindowConfig {
            tenants_max: u32::try_from(tenants).expect("checked: below tenants_max_max"),
            ..WindowConfig::new(self.grid(), hash_secret)
        }
    }

    /// The core shard `index` is pinned to; `None` when there are more shards than cores.
    #[must_use]
    pub fn core_of(&self, index: usize) -> Option<usize> {
        if self.shards > self.cores.len() { None } else { self.cores.get(index).copied() }
    }

    /// The address of shard `index`'s direct listener (port 0: the kernel chooses).
    #[must_use]
    pub fn direct_address(&self, index: usize) -> SocketAddr {
        let mut address = self.listen;
        let offset = u16::try_from(index).expect("checked: at most shards_max");
        address.set_port(if self.shard_port_base == 0 { 0 } else { self.shard_port_base + offset });
        address
    }

    /// This shard's part of `tenants_max`.
    ///
    /// A hash spreads tenants unevenly, so with several shards each gets six standard deviations
    /// above the mean: `tenants_max` tenants fit whatever their names are.
    #[must_use]
    pub fn tenants_per_shard_max(&self) -> usize {
        share_with_slack(self.tenants_max, self.shards)
    }

    /// This shard's part of `topics_max`, with the same slack.
    #[must_use]
    pub fn topics_per_shard_max(&self) -> usize {
        share_with_slack(self.topics_max, self.shards)
    }

    /// This shard's part of the window memory.
    #[must_use]
    pub fn window_bytes_per_shard(&self) -> u64 {
        self.window_memory_bytes / self.shards as u64
    }
}

/// The user's own directory for compiled programs, if the environment names one.
fn usual_cache(xdg_cache_home: Option<&str>, home: Option<&str>) -> Option<PathBuf> {
    let caches = xdg_cache_home.map(PathBuf::from);
    // The XDG rule: a path that is not absolute is not meant.
    let caches = caches.filter(|path| path.is_absolute());
    let caches = caches.or_else(|| home.map(|home| PathBuf::from(home).join(".cache")))?;
    Some(caches.join("trendsrv"))
}

fn share_with_slack(total: usize, shards: usize) -> usize {
    if shards == 1 {
        return total;
    }
    let mean = total.div_ceil(shards);
    (mean + 6 * (mean.isqrt() + 1)).min(total)
}

/// A checked configuration and what should be said about it out loud.
#[derive(Debug)]
pub struct Loaded {
    /// The settings.
    pub config: Config,
    /// Sentences for the operator, most urgent first.
    pub warnings: Vec<String>,
}

/// What this process may use of the machine.
#[derive(Clone, Debug)]
pub struct Machine {
    /// Core numbers the scheduler may put this process on.
    pub cores: Vec<usize>,
    /// Physical memory, if known.
    pub memory_bytes: Option<u64>,
}

impl Machine {
    /// Reads `/proc`; a machine without it counts as unpinnable cores `0..parallelism`.
    #[must_use]
    pub fn detect() -> Self {
        let field = |file: &str, name: &str| {
            let content = std::fs::read_to_string(file).ok()?;
            let line = content.lines().find(|line| line.starts_with(name))?;
            Some(line[name.len()..].trim().to_owned())
        };
        let cores = field("/proc/self/status", "Cpus_allowed_list:")
            .and_then(|list| parse::cores(&list).ok())
            .unwrap_or_else(|| {
                (0..std::thread::available_parallelism().map_or(1, usize::from)).collect()
            });
        let memory_bytes = field("/proc/meminfo", "MemTotal:")
            .and_then(|text| text.trim_end_matches("kB").trim().parse::<u64>().ok())
            .map(|kib| kib << 10);
        Machine { cores, memory_bytes }
    }
}

/// Why a configuration was refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A setting's value breaks its own rule, or one it shares with another setting.
    #[error("{origin}: {setting} = {value:?} {rule}; {fix}")]
    BadValue {
        /// The setting's key.
        setting: &'static str,
        /// Where the value was written.
        origin: Origin,
        /// The value.
        value: String,
        /// The rule it breaks.
        rule: String,
        /// What to do about it.
        fix: String,
    },
    /// The file holds a key that is no setting.
    #[error("{origin}: unknown setting {key:?}; {}", did_you_mean(*nearest))]
    UnknownKey {
        /// File and line.
        origin: Origin,
        /// The key as written.
        key: String,
        /// The setting that was probably meant.
        nearest: Option<&'static str>,
    },
    /// The file cannot be read.
    #[error("cannot read configuration file {path:?} (named by {named_by}): {error}")]
    FileUnreadable {
        /// The file.
        path: PathBuf,
        /// Who named it.
        named_by: Origin,
        /// The operating system's answer.
        error: std::io::Error,
    },
    /// The file is far larger than any configuration.
    #[error(
        "configuration file {path:?} has {size} bytes; the limit is 1 MiB: is it the right file?"
    )]
    FileTooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        size: u64,
    },
    /// The file is not TOML.
    #[error("{}:{line}: not valid TOML: {message}", path.display())]
    FileSyntax {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The parser's explanation.
        message: String,
    },
}

fn did_you_mean(nearest: Option<&'static str>) -> String {
    match nearest {
        Some(key) => format!("did you mean {key}?"),
        None => "trendsrv --help lists the settings".to_owned(),
    }
}
