//! Turns the layers' text into a checked [`Config`].

use std::net::SocketAddr;
use std::path::PathBuf;

use super::cli::{
    CLOCK, CONNECTIONS_MAX, CORES, DATA_DIR, DEFAULT_PROGRAM, HTTP, INSECURE, LATENCY, LISTEN,
    LOG_SEGMENT_BYTES, NO_LOG, PRODUCERS_MAX, PROGRAM_CACHE, PROGRAMS_DIR, SHARD_PORT_BASE, SHARDS,
    SLIDE, SNAPSHOT_INTERVAL, TENANTS_MAX, TOPICS_MAX, WINDOW, WINDOW_MEMORY,
};
use super::layers::Layers;
use super::limits::{
    CONNECTIONS_MAX_MAX, LOG_SEGMENT_BYTES_MAX, LOG_SEGMENT_BYTES_MIN, PRODUCERS_MAX_MAX,
    SNAPSHOT_INTERVAL_MS_MAX, SNAPSHOT_INTERVAL_MS_MIN, TENANTS_MAX_MAX, TOPICS_MAX_MAX,
};
use super::{
    Config, ConfigError, DefaultProgram, Latency, LogConfig, Machine, MemoryPlan, ProgramCache,
    parse,
};
use crate::programs::ProgramName;
use crate::store::layout::PROGRAMS;
use crate::store::limits::{BLOCK_BYTES, SEGMENT_BYTES_DEFAULT};
use trendsrv_proto::Clock;
use trendsrv_proto::limits::SHARDS_MAX;
use trendsrv_shard::Grid;
use trendsrv_shard::limits::{ARENA_BYTES_MAX, PANES_MAX, PANES_MIN, SLIDE_MS_MAX, SLIDE_MS_MIN};

/// Reads and checks every setting.
pub(super) fn build(
    layers: &Layers,
    machine: &Machine,
    usual_cache: Option<PathBuf>,
) -> Result<Config, ConfigError> {
    let settings = Settings { layers };
    let (log, programs_dir) = settings.data()?;
    let listen = settings.address(LISTEN, "127.0.0.1:7171")?;
    let http = settings.address(HTTP, "127.0.0.1:7172")?;
    let insecure = settings.read(INSECURE, parse::switch)?.unwrap_or(false);
    let (shards, cores) = settings.placement(machine)?;
    let shard_port_base = settings.shard_port_base(shards)?;
    let clock = settings.choice(CLOCK, &[("wall", Clock::Wall), ("event", Clock::Event)])?;
    let (window_ms, slide_ms) = settings.grid()?;
    let latency =
        settings.choice(LATENCY, &[("adaptive", Latency::Adaptive), ("low", Latency::Low)])?;
    let tenants_max = settings.count(TENANTS_MAX, TENANTS_MAX_MAX)?.unwrap_or(100_000);
    let topics_default = tenants_max.saturating_mul(16).max(TOPICS_DEFAULT_MIN);
    let mut config = Config {
        listen,
        http,
        insecure,
        shards,
        cores,
        shard_port_base,
        clock,
        window_ms,
        slide_ms,
        latency,
        tenants_max,
        topics_max: settings.count(TOPICS_MAX, TOPICS_MAX_MAX)?.unwrap_or(topics_default),
        producers_max: settings.count(PRODUCERS_MAX, PRODUCERS_MAX_MAX)?.unwrap_or(16_384),
        connections_max: settings.count(CONNECTIONS_MAX, CONNECTIONS_MAX_MAX)?.unwrap_or(10_000),
        window_memory_bytes: 0,
        default_program: settings.default_program()?,
        program_cache: settings.program_cache(usual_cache)?,
        programs_dir,
        log,
    };
    settings.check_addresses(&config)?;
    config.window_memory_bytes = settings.window_memory(&config)?;
    Ok(config)
}

/// What the operator should hear about a configuration that is allowed.
pub(super) fn warnings(config: &Config, machine: &Machine) -> Vec<String> {
    let mut warnings = Vec::new();
    for (setting, address) in [(LISTEN, config.listen), (HTTP, config.http)] {
        if !address.ip().is_loopback() {
            warnings.push(format!(
                "INSECURE: {setting} = {address} is reachable from other machines, and there is no \
                 authentication and no encryption: anyone who reaches it can write and read every \
                 tenant"
            ));
        }
    }
    if config.shards > config.cores.len() {
        warnings.push(format!(
            "{} shards share {} cores: shards are not pinned, and latency depends on the scheduler",
            config.shards,
            config.cores.len()
        ));
    }
    let cap = MemoryPlan::new(config).cap_bytes();
    if let Some(memory) = machine.memory_bytes.filter(|memory| cap > *memory) {
        warnings.push(format!(
            "with every table full this configuration needs {} MiB and the machine has {} MiB; \
             lower tenants_max, topics_max or window_memory",
            cap >> 20,
            memory >> 20
        ));
    }
    warnings
}

struct Settings<'a> {
    layers: &'a Layers,
}

impl Settings<'_> {
    fn read<T>(
        &self,
        key: &'static str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Option<T>, ConfigError> {
        let Some((text, origin)) = self.layers.text(key) else { return Ok(None) };
        parse(text).map(Some).map_err(|rule| ConfigError::BadValue {
            setting: key,
            origin: origin.clone(),
            value: text.to_owned(),
            rule,
            fix: format!("correct {key} or remove it to get the default"),
        })
    }

    /// An error about a setting whose text was readable.
    fn refuse(&self, key: &'static str, rule: &str, fix: &str) -> ConfigError {
        ConfigError::BadValue {
            setting: key,
            origin: self.layers.origin(key),
            value: self.layers.text(key).map_or_else(String::new, |(text, _)| text.to_owned()),
            rule: rule.to_owned(),
            fix: fix.to_owned(),
        }
    }

    fn count(&self, key: &'static str, high: u64) -> Result<Option<usize>, ConfigError> {
        self.read(key, |text| {
            let n = parse::count(text, 1, high)?;
            usize::try_from(n).map_err(|_| format!("must be at most {}", usize::MAX))
        })
    }

    fn address(&self, key: &'static str, default: &str) -> Result<SocketAddr, ConfigError> {
        let parse = |text: &str| {
            let local = text.strip_prefix("localhost:").map(|port| format!("127.0.0.1:{port}"));
            local.as_deref().unwrap_or(text).parse::<SocketAddr>().map_err(|_| {
                "must be an IP address and a port, such as 127.0.0.1:7171 or [::1]:7171".to_owned()
            })
        };
        let address = self.read(key, parse)?;
        Ok(address.unwrap_or_else(|| default.parse().expect("a default address is well formed")))
    }

    /// One of a few words; the first is the default.
    fn choice<T: Copy>(&self, key: &'static str, words: &[(&str, T)]) -> Result<T, ConfigError> {
        let chosen = self.read(key, |text| {
            words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value).ok_or_else(|| {
                let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
                format!("must be {}", names.join(" or "))
            })
        })?;
        Ok(chosen.unwrap_or(words[0].1))
    }

    fn placement(&self, machine: &Machine) -> Result<(usize, Vec<usize>), ConfigError> {
        let asked = self.read(CORES, parse::cores)?;
        if let Some(core) = asked.iter().flatten().find(|core| !machine.cores.contains(core)) {
            return Err(self.refuse(
                CORES,
                &format!("names core {core}, which this process may not use"),
                &format!("choose from {:?} (see taskset, cgroup cpusets)", machine.cores),
            ));
        }
        let mut cores = asked.unwrap_or_else(|| machine.cores.clone());
        let shards = self.count(SHARDS, SHARDS_MAX as u64)?.unwrap_or(cores.len().min(SHARDS_MAX));
        if shards < cores.len() {
            cores.truncate(shards);
        }
        Ok((shards, cores))
    }

    fn shard_port_base(&self, shards: usize) -> Result<u16, ConfigError> {
        let port = self.read(SHARD_PORT_BASE, |text| {
            let n = parse::count(text, 0, u64::from(u16::MAX))?;
            u16::try_from(n).map_err(|_| "must be a port number".to_owned())
        })?;
        let port = port.unwrap_or(0);
        let last = usize::from(port) + shards - 1;
        if port != 0 && last > usize::from(u16::MAX) {
            return Err(self.refuse(
                SHARD_PORT_BASE,
                &format!("with {shards} shards would end at port {last}"),
                "use a base of at most 65536 less the number of shards, or 0",
            ));
        }
        Ok(port)
    }

    fn grid(&self) -> Result<(u64, u64), ConfigError> {
        let slide_ms = self.read(SLIDE, parse::duration_ms)?.unwrap_or(1_000);
        let window_ms = self.read(WINDOW, parse::duration_ms)?.unwrap_or(60_000);
        if !(SLIDE_MS_MIN..=SLIDE_MS_MAX).contains(&slide_ms) {
            return Err(self.refuse(SLIDE, "must be from 100ms to 24h", "use a value such as 1s"));
        }
        if Grid::new(window_ms, slide_ms).is_err() {
            // The blame goes to what was written, if only one of the two was.
            let key = if self.layers.text(WINDOW).is_some() { WINDOW } else { SLIDE };
            return Err(self.refuse(
                key,
                &format!(
                    "gives a window of {window_ms} ms and a slide of {slide_ms} ms, and a window \
                     must be a whole number of slides, {PANES_MIN} to {PANES_MAX}"
                ),
                "use for example window = 60s with slide = 1s, or 1h with 1m",
            ));
        }
        Ok((window_ms, slide_ms))
    }

    /// The least memory that holds every tenant's smallest window is checked, not silently taken.
    fn window_memory(&self, config: &Config) -> Result<u64, ConfigError> {
        let shards = config.shards as u64;
        let windows = config.window_config([0; 2]);
        let (base, chunk) =
            (windows.memory_bytes(0).max(windows.chunk_bytes()), windows.chunk_bytes());
        let growth = config.tenants_max as u64 * WINDOW_GROWTH_BYTES_PER_TENANT_DEFAULT / shards;
        let default = windows.memory_bytes(growth.max(GROWTH_CHUNKS_MIN * chunk));
        let default = default.min(ARENA_BYTES_MAX) * shards;
        let total = self.read(WINDOW_MEMORY, parse::bytes)?.unwrap_or(default);
        if (base..=ARENA_BYTES_MAX).contains(&(total / shards)) {
            return Ok(total);
        }
        Err(self.refuse(
            WINDOW_MEMORY,
            &format!(
                "gives each of {shards} shards {} bytes, and the windows of its {} tenants need \
                 from {} MiB to {} GiB",
                total / shards,
                config.tenants_per_shard_max(),
                base.div_ceil(1 << 20),
                ARENA_BYTES_MAX >> 30
            ),
            &format!("use at least {}MiB, or lower tenants_max", (base * shards).div_ceil(1 << 20)),
        ))
    }

    fn default_program(&self) -> Result<DefaultProgram, ConfigError> {
        let asked = self.read(DEFAULT_PROGRAM, |text| match text {
            ProgramName::NATIVE => Ok(DefaultProgram::Native),
            name => match ProgramName::new(name) {
                Ok(name) => Ok(DefaultProgram::Named(name)),
                Err(error) => Err(format!("must be trending, native or a program: {error}")),
            },
        })?;
        Ok(asked.unwrap_or_else(|| DefaultProgram::Named(ProgramName::trending())))
    }

    fn program_cache(&self, usual: Option<PathBuf>) -> Result<ProgramCache, ConfigError> {
        let asked = self.read(PROGRAM_CACHE, |text| match text {
            "off" => Ok(ProgramCache::Off),
            path => parse::directory(path).map(ProgramCache::Asked),
        })?;
        Ok(asked.unwrap_or_else(|| usual.map_or(ProgramCache::Off, ProgramCache::Usual)))
    }

    /// The log, and where programs are kept.
    fn data(&self) -> Result<(Option<LogConfig>, Option<PathBuf>), ConfigError> {
        let dir = self.read(DATA_DIR, parse::directory)?;
        let programs_dir = self.read(PROGRAMS_DIR, parse::directory)?;
        let no_log = self.read(NO_LOG, parse::switch)?;
        let programs_dir = programs_dir.or_else(|| Some(dir.as_ref()?.join(PROGRAMS)));
        if no_log == Some(false) && dir.is_none() {
            let rule = "needs a directory for the log";
            return Err(self.refuse(NO_LOG, rule, "name one with --data-dir, or remove it"));
        }
        let Some(dir) = dir.filter(|_| no_log != Some(true)) else {
            for key in [SNAPSHOT_INTERVAL, LOG_SEGMENT_BYTES] {
                if self.layers.text(key).is_some() {
                    let fix = "add --data-dir, without --no-log, or remove it";
                    return Err(self.refuse(key, "is for a server with a log", fix));
                }
            }
            return Ok((None, programs_dir));
        };
        let snapshot_interval_ms = self.read(SNAPSHOT_INTERVAL, |text| {
            let ms = parse::duration_ms(text)?;
            let within = (SNAPSHOT_INTERVAL_MS_MIN..=SNAPSHOT_INTERVAL_MS_MAX).contains(&ms);
            within.then_some(ms).ok_or_else(|| "must be from 1s to 24h".to_owned())
        })?;
        let segment_bytes = self.read(LOG_SEGMENT_BYTES, |text| {
            let bytes = parse::bytes(text)?;
            let within = (LOG_SEGMENT_BYTES_MIN..=LOG_SEGMENT_BYTES_MAX).contains(&bytes);
            let good = within && bytes.is_multiple_of(BLOCK_BYTES);
            let rule = "must be from 8MiB to 4GiB, and a multiple of 4KiB";
            good.then_some(bytes).ok_or_else(|| rule.to_owned())
        })?;
        let log = LogConfig {
            dir,
            snapshot_interval_ms: snapshot_interval_ms.unwrap_or(60_000),
            segment_bytes: segment_bytes.unwrap_or(SEGMENT_BYTES_DEFAULT),
        };
        Ok((Some(log), programs_dir))
    }

    fn check_addresses(&self, config: &Config) -> Result<(), ConfigError> {
        for (key, address) in [(LISTEN, config.listen), (HTTP, config.http)] {
            if !address.ip().is_loopback() && !config.insecure {
                return Err(self.refuse(
                    key,
                    "is not a loopback address, and there is no authentication yet",
                    "listen on 127.0.0.1 or [::1], or add --insecure if the network is trusted",
                ));
            }
        }
        let clash = |port: u16| port != 0 && port == config.http.port();
        if clash(config.listen.port()) && config.listen.ip() == config.http.ip() {
            return Err(self.refuse_either(
                HTTP,
                LISTEN,
                &format!("takes the same address as the other of listen and http, {}", config.http),
            ));
        }
        for shard in 0..config.shards {
            let port = config.direct_address(shard).port();
            if port != 0 && (clash(port) || port == config.listen.port()) {
                return Err(self.refuse(
                    SHARD_PORT_BASE,
                    &format!("makes port {port} of shard {shard} clash with listen or http"),
                    "choose a base whose ports, one for each shard, are free",
                ));
            }
        }
        Ok(())
    }

    /// Blames whichever of two settings somebody wrote.
    fn refuse_either(&self, a: &'static str, b: &'static str, rule: &str) -> ConfigError {
        let key = if self.layers.text(a).is_some() { a } else { b };
        self.refuse(key, rule, "give them different ports")
    }
}

/// Room for growth over the smallest windows, so that a tenant of 50 topics fits on average.
const WINDOW_GROWTH_BYTES_PER_TENANT_DEFAULT: u64 = 8 << 10;
/// Even few tenants may grow large: room for so many chunks.
const GROWTH_CHUNKS_MIN: u64 = 16;
const TOPICS_DEFAULT_MIN: usize = 4_096;
