//! One redis-server, started for a load and stopped after it.
//!
//! Owns: the process, its folder, its settings. Never touches: what is stored in it.

use crate::ending::Process;
use crate::limits::SERVER_MS_MAX;
use crate::os;
use crate::programs::Folder;
use crate::server::{self, free_addresses};
use crate::systems::Cores;
use anyhow::{Context as _, bail};
use redis::InfoDict;
use std::fs::File;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The program; a path is looked for by the system.
const PROGRAM: &str = "redis-server";
/// How to get it.
const INSTALL: &str = "install it (Debian: apt install redis-server)";
/// The first version with ZUNION.
const VERSION_MIN: (u32, u32) = (6, 2);

/// A redis-server that answers.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) address: SocketAddr,
    /// The arguments that it was started with.
    pub(super) command: Vec<String>,
    // Before the folder: the process ends before its files go.
    child: Option<Process>,
    folder: Folder,
}

/// What redis-server says its version is.
///
/// # Errors
/// When it is not there, or is too old to answer for a window.
pub(super) fn version() -> anyhow::Result<String> {
    let output = Command::new(PROGRAM)
        .arg("--version")
        .output()
        .with_context(|| format!("cannot run {PROGRAM}: {INSTALL}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let version = parse_version(&text)
        .with_context(|| format!("{PROGRAM} --version says {:?}, without v=", text.trim()))?;
    if number(version) < Some(VERSION_MIN) {
        let (major, minor) = VERSION_MIN;
        bail!("redis-server {version} has no ZUNION: {major}.{minor} or newer is needed");
    }
    Ok(format!("redis-server {version}"))
}

/// `Redis server v=7.0.15 sha=…`.
fn parse_version(text: &str) -> Option<&str> {
    text.split_whitespace().find_map(|word| word.strip_prefix("v="))
}

fn number(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.split('.').map(str::parse);
    Some((parts.next()?.ok()?, parts.next()?.ok()?))
}

/// How many threads Redis's own documentation would have read and write sockets on so many cores:
/// none besides the first below 4 cores, then all but one, never more than 8.
pub(super) fn io_threads(cores: usize) -> usize {
    if cores < 4 { 1 } else { (cores - 1).min(8) }
}

impl Server {
    /// Starts it on its cores, waits until it answers, and pins this program to the others.
    pub(super) fn start(cores: &Cores) -> anyhow::Result<Self> {
        let folder = Folder::new()?;
        let (address, _) = free_addresses()?;
        let address: SocketAddr = address.parse()?;
        let command = words(address, io_threads(cores.server.len()), &folder);
        let log = log_of(&folder);
        let file = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        os::unpin()?;
        if !cores.server.is_empty() {
            // It inherits the cores; this program changes to its own ones below.
            os::pin_to(&cores.server)?;
        }
        let mut redis = Command::new(PROGRAM);
        redis.args(&command).stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let started = Process::start(&mut redis);
        os::unpin()?;
        let child = started.with_context(|| format!("cannot start {PROGRAM}: {INSTALL}"))?;
        let mut server = Self { address, command, child: Some(child), folder };
        server.wait_until_ready()?;
        if !cores.loadgen.is_empty() {
            os::pin_to(&cores.loadgen)?;
        }
        Ok(server)
    }

    fn wait_until_ready(&mut self) -> anyhow::Result<()> {
        let until = Instant::now() + Duration::from_millis(SERVER_MS_MAX);
        loop {
            if let Some(status) = self.child.as_mut().map(Process::try_wait).transpose()?.flatten()
            {
                let said = std::fs::read_to_string(log_of(&self.folder)).unwrap_or_default();
                bail!("redis-server ended before it was ready, with {status}: {}", said.trim());
            }
            let pong = self.connect().and_then(|mut connection| {
                Ok(redis::cmd("PING").query::<String>(&mut connection)?)
            });
            match pong {
                Ok(_) => return Ok(()),
                Err(error) if Instant::now() >= until => {
                    return Err(error
                        .context(format!("redis-server is not ready after {SERVER_MS_MAX} ms")));
                }
                Err(_) => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }

    /// A connection for a question now and then, outside of the load.
    pub(super) fn connect(&self) -> anyhow::Result<redis::Connection> {
        let client = redis::Client::open(format!("redis://{}", self.address))?;
        let wait = Duration::from_millis(SERVER_MS_MAX);
        client
            .get_connection_with_timeout(wait)
            .with_context(|| format!("cannot connect to redis-server at {}", self.address))
    }

    /// What it tells about itself.
    pub(super) fn info(&self) -> anyhow::Result<Info> {
        let mut connection = self.connect()?;
        let dict: InfoDict = redis::cmd("INFO").query(&mut connection)?;
        let number = |name: &str| {
            dict.get::<u64>(name).with_context(|| format!("INFO of redis-server has no {name}"))
        };
        Ok(Info {
            used_memory: number("used_memory")?,
            dataset_bytes: number("used_memory_dataset")?,
            expired_keys: number("expired_keys")?,
            evicted_keys: number("evicted_keys")?,
            keys: redis::cmd("DBSIZE").query(&mut connection)?,
        })
    }

    pub(super) fn pid(&self) -> anyhow::Result<u32> {
        Ok(self.child.as_ref().context("redis-server was stopped already")?.id())
    }

    /// Stops it and checks how it ended.
    pub(super) fn stop(mut self) -> anyhow::Result<()> {
        self.child.take().map_or(Ok(()), |child| server::end(child, "redis-server"))
    }
}

/// Some numbers of INFO and DBSIZE.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub(super) struct Info {
    pub(super) used_memory: u64,
    pub(super) dataset_bytes: u64,
    pub(super) keys: u64,
    pub(super) expired_keys: u64,
    pub(super) evicted_keys: u64,
}

fn log_of(folder: &Folder) -> PathBuf {
    folder.path().join("redis.log")
}

/// Its arguments; [`super::SETTINGS`] says why.
fn words(address: SocketAddr, io_threads: usize, folder: &Folder) -> Vec<String> {
    let folder = folder.path().display().to_string();
    let (port, io_threads) = (address.port().to_string(), io_threads.to_string());
    let pairs = [
        ("--bind", "127.0.0.1"),
        ("--port", port.as_str()),
        ("--dir", folder.as_str()),
        ("--save", ""),
        ("--appendonly", "no"),
        ("--io-threads", io_threads.as_str()),
        ("--latency-tracking", "no"),
        ("--slowlog-log-slower-than", "-1"),
    ];
    pairs.iter().flat_map(|(name, value)| [(*name).to_owned(), (*value).to_owned()]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read_as_redis_tells_it() {
        let text = "Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64\n";
        assert_eq!(parse_version(text), Some("7.0.15"));
        assert_eq!(parse_version("something else"), None);
        assert_eq!(number("7.0.15"), Some((7, 0)));
        assert!(number("6.0.16") < Some(VERSION_MIN) && number("6.2.0") >= Some(VERSION_MIN));
    }

    #[test]
    fn threads_follow_the_documentation_and_stay_one_on_few_cores() {
        assert_eq!([1, 2, 3, 4, 8, 64].map(io_threads), [1, 1, 1, 3, 7, 8]);
    }
}
