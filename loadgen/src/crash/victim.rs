//! The server that is killed: started on the same addresses and directory each time.

use crate::ending::Process;
use crate::http;
use crate::limits::SERVER_MS_MAX;
use crate::programs::Folder;
use crate::server::free_addresses;
use anyhow::{Context as _, bail};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// See the module header.
#[derive(Debug)]
pub(super) struct Victim {
    program: PathBuf,
    connect: String,
    http: String,
    words: Vec<String>,
    // Before the folder: the process ends before its files go.
    child: Option<Process>,
    /// The data's folder, when nobody gave one; gone at the end.
    _folder: Option<Folder>,
}

impl Victim {
    /// A server that does not run yet.
    pub(super) fn new(
        program: Option<PathBuf>,
        data_dir: Option<PathBuf>,
        more: &[String],
    ) -> anyhow::Result<Self> {
        let program = match program {
            Some(path) => path,
            None => std::env::current_exe()?.with_file_name("trendsrv"),
        };
        let folder = if data_dir.is_none() { Some(Folder::new()?) } else { None };
        let path = data_dir.or_else(|| Some(folder.as_ref()?.path().join("data")));
        let path = path.context("a folder for the data")?;
        let (connect, http) = free_addresses()?;
        let mut words: Vec<String> = [
            "--clock=event",
            "--tenants-max=10000",
            "--topics-max=100000",
            "--snapshot-interval=1s",
            "--log-segment-bytes=8MiB",
        ]
        .map(str::to_owned)
        .into();
        words.push(format!("--listen={connect}"));
        words.push(format!("--http={http}"));
        words.push(format!("--data-dir={}", path.display()));
        words.extend(more.iter().cloned());
        Ok(Self { program, connect, http, words, child: None, _folder: folder })
    }

    /// Where its binary protocol listens.
    pub(super) fn address(&self) -> &str {
        &self.connect
    }

    /// Starts it and waits until it has recovered.
    pub(super) fn start(&mut self, shards: u16) -> anyhow::Result<()> {
        let mut command = Command::new(&self.program);
        command.args(&self.words).arg(format!("--shards={shards}"));
        let child = Process::start(command.stdin(Stdio::null()).stdout(Stdio::null()))
            .with_context(|| format!("cannot start {}", self.program.display()))?;
        let child = self.child.insert(child);
        let until = Instant::now() + Duration::from_millis(SERVER_MS_MAX);
        loop {
            if let Some(status) = child.try_wait()? {
                bail!("the server did not start: {status}; its words are above");
            }
            if let Ok((200, _)) = http::get(&self.http, "/readyz") {
                return Ok(());
            }
            if Instant::now() >= until {
                bail!("the server is not ready after {SERVER_MS_MAX} ms");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Kills it: SIGKILL, nothing is written any more.
    pub(super) fn kill(&mut self) -> anyhow::Result<()> {
        let Some(mut child) = self.child.take() else { bail!("there is no server to kill") };
        if let Some(status) = child.try_wait()? {
            bail!("the server had ended by itself: {status}; its words are above");
        }
        child.kill()?;
        Ok(())
    }

    /// Whether it has not ended by itself.
    pub(super) fn runs(&mut self) -> anyhow::Result<bool> {
        Ok(self.child.as_mut().map(Process::try_wait).transpose()?.flatten().is_none())
    }

    /// It must have ended by itself, and not well.
    pub(super) fn has_failed(&mut self) -> anyhow::Result<()> {
        let Some(mut child) = self.child.take() else { bail!("there is no server") };
        match child.try_wait()? {
            Some(status) if !status.success() => Ok(()),
            Some(status) => bail!("the server ended with {status} though its disk had failed"),
            None => {
                self.child = Some(child);
                bail!("the server goes on though its disk has failed")
            }
        }
    }

    /// How often its shards refused with this code.
    pub(super) fn refusals(&self, code: &str) -> anyhow::Result<u64> {
        let shards = crate::server::shards(&self.http)?;
        let shards = shards["shards"].as_array().context("/v1/shards has no shards")?;
        Ok(shards.iter().filter_map(|shard| shard["refused"][code].as_u64()).sum())
    }

    /// Ends it in peace.
    pub(super) fn stop(&mut self) -> anyhow::Result<()> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        crate::os::terminate(child.id())?;
        let status = child.wait()?;
        if !status.success() {
            bail!("the server ended with {status} after SIGTERM, should be 0");
        }
        Ok(())
    }
}
