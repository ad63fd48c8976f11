//! The server under load: one that runs already, or one started for this run.

use crate::census::Census;
use crate::ending::Process;
use crate::http;
use crate::limits::SERVER_MS_MAX;
use crate::os;
use crate::programs::{self, Choice, Folder};
use anyhow::{Context as _, bail};
use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Which server.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ServerArgs {
    /// Address of the server's binary protocol
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:7171")]
    pub(crate) connect: String,
    /// Address of the server's HTTP side, asked for its process id and counts
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:7172")]
    pub(crate) http: String,
    /// Process id of the server, when its HTTP side does not tell
    #[arg(long, value_name = "PID")]
    pub(crate) pid: Option<u32>,
    /// Start a server for this run, on free ports, and stop it at the end
    #[arg(long)]
    pub(crate) spawn: bool,
    /// The program --spawn starts [default: `trendsrv` beside this program]
    #[arg(long, value_name = "PATH", requires = "spawn")]
    pub(crate) server: Option<PathBuf>,
    /// Cores of the server that --spawn starts, one shard each
    #[arg(long, value_name = "LIST", default_value = "0", value_delimiter = ',')]
    pub(crate) server_cores: Vec<usize>,
    /// Another argument for the server that --spawn starts; may be repeated
    #[arg(long, value_name = "ARG", requires = "spawn", allow_hyphen_values = true)]
    pub(crate) server_arg: Vec<String>,
    /// What every tenant runs: trending, native, observe-pass (an event stage that passes every
    /// record on) or a file; needs --spawn, or a server that has it as its default
    #[arg(long, value_name = "NAME|FILE.wasm")]
    pub(crate) program: Option<String>,
    /// Cores to pin this program to
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub(crate) cores: Vec<usize>,
    /// What the program that --spawn starts is told before everything else.
    #[arg(skip)]
    pub(crate) prefix: Vec<String>,
    /// The file for what it says on its standard error; without one it speaks on ours.
    #[arg(skip)]
    pub(crate) words: Option<PathBuf>,
}

impl ServerArgs {
    /// A server that is started on some cores for a load from others.
    pub(crate) fn spawned(server_cores: &[usize], cores: &[usize]) -> Self {
        Self {
            connect: String::new(),
            http: String::new(),
            pid: None,
            spawn: true,
            server: None,
            server_cores: server_cores.to_vec(),
            server_arg: Vec::new(),
            program: None,
            cores: cores.to_vec(),
            prefix: Vec::new(),
            words: None,
        }
    }

    /// The same, where a server that is started has room for so many tenants, unless it was told
    /// how many it is to have.
    pub(crate) fn with_room_for(&self, tenants: u32) -> Self {
        let mut args = self.clone();
        let told = args.server_arg.iter().any(|word| word.starts_with("--tenants-max"));
        // The server's own default is enough up to here; another program has its own words.
        if args.spawn && args.prefix.is_empty() && tenants > 100_000 && !told {
            args.server_arg.extend(["--tenants-max".to_owned(), tenants.to_string()]);
        }
        args
    }
}

/// A server that answers.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) connect: String,
    pub(crate) http: String,
    pid: Option<u32>,
    /// The command line, when it was started here.
    pub(crate) command: Vec<String>,
    // Before the folder: the process ends before its files go.
    child: Option<Process>,
    /// Where its programs are, when it was started here with one that it had to be given.
    _folder: Option<Folder>,
}

impl Server {
    /// Starts the server or trusts the addresses given; pins this program afterwards, so that
    /// the server does not inherit it.
    pub(crate) fn open(args: &ServerArgs) -> anyhow::Result<Self> {
        let choice = args.program.as_deref().map(Choice::read).transpose()?;
        os::unpin()?;
        let server = match (args.spawn, choice) {
            (true, Some(choice)) => Self::spawn_with(args, &choice)?,
            (true, None) => Self::spawn(args, &[], None)?,
            (false, choice) => Self::running(args, choice.as_ref())?,
        };
        if !args.cores.is_empty() {
            os::pin_to(&args.cores)?;
        }
        Ok(server)
    }

    fn running(args: &ServerArgs, choice: Option<&Choice>) -> anyhow::Result<Self> {
        let (connect, http) = (args.connect.clone(), args.http.clone());
        let server =
            Self { connect, http, pid: args.pid, command: Vec::new(), child: None, _folder: None };
        if let Some(choice) = choice {
            let default = server.default_program()?;
            if default != choice.name() {
                bail!(
                    "the tenants of the server at {} run {default:?}: start it with \
                     --default-program {}, or use --spawn",
                    server.connect,
                    choice.name()
                );
            }
        }
        Ok(server)
    }

    /// Starts a server whose tenants run the program. One that it has to be given survives in a
    /// folder from a first server to a second: only a server that starts can have a new default.
    fn spawn_with(args: &ServerArgs, choice: &Choice) -> anyhow::Result<Self> {
        let default = ["--default-program".to_owned(), choice.name().to_owned()];
        let Choice::Brought { .. } = choice else { return Self::spawn(args, &default, None) };
        let folder = Folder::new()?;
        let mut words = vec!["--programs-dir".to_owned(), folder.path().display().to_string()];
        let first = Self::spawn(args, &words, None)?;
        choice.give_to(&first.http)?;
        first.stop()?;
        words.extend(default);
        Self::spawn(args, &words, Some(folder))
    }

    fn spawn(args: &ServerArgs, more: &[String], folder: Option<Folder>) -> anyhow::Result<Self> {
        let program = match &args.server {
            Some(path) => path.clone(),
            None => std::env::current_exe()?.with_file_name("trendsrv"),
        };
        let (connect, http) = free_addresses()?;
        let cores: Vec<String> = args.server_cores.iter().map(ToString::to_string).collect();
        let mut words = args.prefix.clone();
        words.extend([
            "--listen".to_owned(),
            connect.clone(),
            "--http".to_owned(),
            http.clone(),
            "--shards".to_owned(),
            cores.len().to_string(),
            "--cores".to_owned(),
            cores.join(","),
        ]);
        words.extend(more.iter().chain(&args.server_arg).cloned());
        let mut command = Command::new(&program);
        command.args(&words).stdin(Stdio::null()).stdout(Stdio::null());
        let child = Process::start(command.stderr(stderr(args.words.as_deref())?));
        let child = child.with_context(|| {
            format!(
                "cannot start {}; build it with `cargo build --release -p trendsrv-server`, or \
                 name it with --server PATH",
                program.display()
            )
        })?;
        let pid = Some(child.id());
        let mut server =
            Self { connect, http, pid, command: words, child: Some(child), _folder: folder };
        server.wait_until_ready(args.words.as_deref())?;
        Ok(server)
    }

    fn wait_until_ready(&mut self, words: Option<&Path>) -> anyhow::Result<()> {
        let until = Instant::now() + Duration::from_millis(SERVER_MS_MAX);
        loop {
            if let Some(status) = self.child.as_mut().map(Process::try_wait).transpose()?.flatten()
            {
                let said = words.map_or(Ok("; its words are above".to_owned()), |path| {
                    let said = std::fs::read_to_string(path)?;
                    anyhow::Ok(format!(": {}", said.trim()))
                })?;
                bail!("the server ended before it was ready, with {status}{said}");
            }
            if let Ok((200, _)) = http::get(&self.http, "/readyz") {
                return Ok(());
            }
            if Instant::now() >= until {
                bail!("the server is not ready after {SERVER_MS_MAX} ms: GET /readyz fails");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The server's process id: the child's, the one given, or the one `/v1/shards` tells.
    pub(crate) fn pid(&self) -> anyhow::Result<u32> {
        if let Some(pid) = self.pid {
            return Ok(pid);
        }
        let what = "the server's process id is needed to read its CPU time: give --pid, or --spawn";
        let pid = self.shards()?["pid"].as_u64().context(what)?;
        u32::try_from(pid).context(what)
    }

    /// What the server tells about its shards.
    fn shards(&self) -> anyhow::Result<serde_json::Value> {
        shards(&self.http)
    }

    /// What it holds.
    pub(crate) fn census(&self) -> anyhow::Result<Census> {
        Census::of(&self.shards()?)
    }

    /// What its tenants run that are assigned nothing.
    pub(crate) fn default_program(&self) -> anyhow::Result<String> {
        programs::default_of(&self.http)
    }

    /// Each shard's counters since it began.
    pub(crate) fn counters(&self) -> anyhow::Result<serde_json::Value> {
        let shards = self.shards()?;
        let shards = shards["shards"].as_array().map_or(&[][..], Vec::as_slice);
        Ok(shards.iter().map(|shard| shard["counters"].clone()).collect())
    }

    /// Stops a server that was started here and checks how it ended.
    pub(crate) fn stop(mut self) -> anyhow::Result<()> {
        self.child.take().map_or(Ok(()), |child| end(child, "the server"))
    }
}

/// Ends a server that was started here by SIGTERM, and checks how it did.
pub(crate) fn end(mut child: Process, what: &str) -> anyhow::Result<()> {
    os::terminate(child.id())?;
    let until = Instant::now() + Duration::from_millis(SERVER_MS_MAX);
    loop {
        if let Some(status) = child.try_wait()? {
            if status.success() {
                return Ok(());
            }
            bail!("{what} ended with {status} after SIGTERM, should be 0");
        }
        if Instant::now() >= until {
            child.kill()?;
            bail!("{what} did not end within {SERVER_MS_MAX} ms of SIGTERM");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Where the server's standard error goes.
fn stderr(words: Option<&Path>) -> anyhow::Result<Stdio> {
    let Some(path) = words else { return Ok(Stdio::inherit()) };
    let file = File::create(path);
    Ok(file.with_context(|| format!("cannot write {}", path.display()))?.into())
}

/// What a server tells about its shards.
pub(crate) fn shards(http: &str) -> anyhow::Result<serde_json::Value> {
    let (status, body) = http::get(http, "/v1/shards")?;
    if status != 200 {
        bail!("GET http://{http}/v1/shards answers {status}");
    }
    serde_json::from_slice(&body).context("/v1/shards is not JSON")
}

/// Two free addresses. Another program could take them before the server does; then the server
/// says so.
pub(crate) fn free_addresses() -> anyhow::Result<(String, String)> {
    let (one, two) = (TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?);
    Ok((one.local_addr()?.to_string(), two.local_addr()?.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_is_started_has_room_for_the_tenants_of_its_load() {
        let args = ServerArgs::spawned(&[0], &[1]);
        let of = |args: &ServerArgs| args.with_room_for(1_000_000).server_arg;
        assert_eq!(of(&args), ["--tenants-max", "1000000"]);
        assert!(args.with_room_for(100_000).server_arg.is_empty());
        let told = ServerArgs { server_arg: vec!["--tenants-max=7".to_owned()], ..args.clone() };
        assert_eq!(of(&told), ["--tenants-max=7"]);
        let foil = ServerArgs { prefix: vec!["naive".to_owned()], ..args };
        assert!(of(&foil).is_empty());
    }
}
