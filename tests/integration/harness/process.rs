//! The server as a process: started, listened to, stopped, and its log judged.

use super::{DEADLINE, Http};
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Instant;

/// A server that said it is ready.
#[derive(Debug)]
pub(crate) struct Server {
    process: Process,
    allowed: Vec<&'static str>,
    /// Where the binary protocol listens.
    pub(crate) tcp: SocketAddr,
    /// Where HTTP listens.
    pub(crate) http: SocketAddr,
}

/// How a process ended, and what it said.
#[derive(Debug)]
pub(crate) struct Exit {
    pub(crate) code: Option<i32>,
    pub(crate) log: String,
}

/// The command of a server with these flags, and small ones where they say nothing.
pub(crate) fn command(flags: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_trendsrv"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("TRENDSRV_")) {
        command.env_remove(name);
    }
    command.env("NO_COLOR", "1").args(flags);
    for (flag, value) in DEFAULTS {
        if !flags.contains(&flag) {
            command.args([flag, value]);
        }
    }
    command
}

impl Server {
    /// Starts a server with these flags.
    pub(crate) fn start(flags: &[&str]) -> Self {
        match Self::spawn(command(flags)) {
            Ok(server) => server,
            Err(exit) => panic!("no server with {flags:?}: {exit:?}"),
        }
    }

    /// Starts a prepared command, or says how it ended instead of getting ready.
    pub(crate) fn spawn(command: Command) -> Result<Self, Exit> {
        let mut process = Process::spawn(command);
        let Some((tcp, http)) = process.wait_for_ready() else { return Err(process.exit()) };
        Ok(Self { process, allowed: ALWAYS_ALLOWED.to_vec(), tcp, http })
    }

    /// Its HTTP side.
    pub(crate) fn http(&self) -> Http {
        Http(self.http)
    }

    /// The processes it has started.
    pub(crate) fn children(&self) -> Vec<String> {
        let tasks = format!("/proc/{}/task", self.process.child.id());
        let threads = std::fs::read_dir(tasks).unwrap().map(|task| task.unwrap().path());
        let of = |thread: PathBuf| {
            let children = std::fs::read_to_string(thread.join("children")).unwrap_or_default();
            children.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
        };
        threads.flat_map(of).collect()
    }

    /// Lets its log hold warnings with this text.
    pub(crate) fn allow(&mut self, text: &'static str) {
        self.allowed.push(text);
    }

    /// What it has logged so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.process.log).unwrap()
    }

    /// Memory it holds now.
    pub(crate) fn resident_bytes(&self) -> u64 {
        let path = format!("/proc/{}/status", self.process.child.id());
        let status = std::fs::read_to_string(path).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
    }

    /// Asks it to end, as a supervisor does.
    pub(crate) fn terminate(&self) {
        let pid = self.process.child.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &pid]).status().unwrap();
        assert!(sent.success(), "no such process: {pid}");
    }

    /// Ends it and judges its exit code and its log. Clients that stay are given their time to go:
    /// a test drops its own first.
    pub(crate) fn stop(self) {
        self.terminate();
        self.ended();
    }

    /// Its number.
    pub(crate) fn pid(&self) -> u32 {
        self.process.child.id()
    }

    /// Waits for its end, which nobody asked for.
    pub(crate) fn failed(mut self) -> Exit {
        self.process.exit()
    }

    /// Waits for its end, asked for before, and judges its exit code and its log.
    pub(crate) fn ended(mut self) {
        let exit = self.process.exit();
        assert_eq!(exit.code, Some(0), "log:\n{}", exit.log);
        let bad = |line: &&str| {
            let loud = [" WARN ", " ERROR ", "panicked"].iter().any(|word| line.contains(word));
            loud && !self.allowed.iter().any(|text| line.contains(text))
        };
        let unexpected: Vec<&str> = exit.log.lines().filter(bad).collect();
        assert!(unexpected.is_empty(), "the log has {unexpected:#?}");
    }
}

#[derive(Debug)]
struct Process {
    child: Child,
    lines: Receiver<String>,
    log: PathBuf,
}

impl Process {
    fn spawn(mut command: Command) -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("server-{}-{count}.log", std::process::id());
        let log = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(File::create(&log).unwrap());
        let mut child = command.spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (to, lines) = sync_channel(64);
        let read = move || {
            for line in stdout.lines().map_while(Result::ok) {
                if to.send(line).is_err() {
                    return;
                }
            }
        };
        std::thread::Builder::new().spawn(read).unwrap();
        Self { child, lines, log }
    }

    /// The addresses of the line `ready: tcp … http …`; `None` when the process ended without.
    fn wait_for_ready(&mut self) -> Option<(SocketAddr, SocketAddr)> {
        let until = Instant::now() + DEADLINE;
        loop {
            match self.lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    let words: Vec<&str> = line.split_whitespace().collect();
                    if let ["ready:", "tcp", tcp, "http", http] = words[..] {
                        return Some((tcp.parse().unwrap(), http.parse().unwrap()));
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) => panic!("neither ready nor ended: {self:?}"),
            }
        }
    }

    /// Waits for the end: its standard output closes with it.
    fn exit(&mut self) -> Exit {
        let until = Instant::now() + DEADLINE;
        loop {
            match self.lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(_) => {}
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => panic!("it does not end: {self:?}"),
            }
        }
        let code = self.child.wait().unwrap().code();
        Exit { code, log: std::fs::read_to_string(&self.log).unwrap() }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail when it has ended by itself, which is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = std::fs::read_to_string(&self.log).unwrap_or_default();
            eprintln!("the server's log:\n{log}");
        }
        let _ = std::fs::remove_file(&self.log);
    }
}

const DEFAULTS: [(&str, &str); 7] = [
    ("--listen", "127.0.0.1:0"),
    ("--http", "127.0.0.1:0"),
    ("--tenants-max", "2000"),
    ("--window-memory", "64MiB"),
    ("--producers-max", "1024"),
    ("--connections-max", "256"),
    // Each program of the server is compiled once for all tests.
    ("--program-cache", concat!(env!("CARGO_TARGET_TMPDIR"), "/program-cache")),
];

/// Machines have different numbers of cores.
const ALWAYS_ALLOWED: [&str; 1] = ["shards are not pinned"];
