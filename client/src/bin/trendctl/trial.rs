//! `trendctl program test`: a program tried on a recording by the server's own code, offline.
//!
//! This crate knows no sandbox, so the work is that of `trendsrv program-test`. Its words go to the
//! terminal as they are.

use anyhow::{Context as _, anyhow};
use clap::Args;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

#[derive(Args, Debug)]
pub(crate) struct TestArgs {
    /// A WebAssembly module
    #[arg(value_name = "FILE.wasm")]
    program: PathBuf,
    /// The recording: lines of tenant, ts_ms, topic, weight and maybe text; tabs between; may be
    /// packed (.gz)
    #[arg(long, value_name = "FILE")]
    events: PathBuf,
    /// Topics shown of each tenant
    #[arg(long, value_name = "K", default_value_t = 10)]
    k: u16,
    /// Send the text column through the program instead of the topic column
    #[arg(long)]
    texts: bool,
    /// Length of the window
    #[arg(long, value_name = "DURATION", default_value = "60s")]
    window: String,
    /// Step of the window
    #[arg(long, value_name = "DURATION", default_value = "1s")]
    slide: String,
}

/// Runs the trial; ends as it does.
///
/// # Errors
/// When there is no server binary to run it.
pub(crate) fn run(args: &TestArgs, json: bool) -> anyhow::Result<ExitCode> {
    let beside = std::env::current_exe().ok().and_then(|path| Some(path.parent()?.to_owned()));
    let server = find(std::env::var_os("TRENDSRV"), beside.as_deref(), std::env::var_os("PATH"))?;
    let mut command = Command::new(&server);
    command.arg("program-test").arg(&args.program).arg("--events").arg(&args.events);
    command.arg("--k").arg(args.k.to_string());
    command.args(["--window", &args.window, "--slide", &args.slide]);
    if args.texts {
        command.arg("--texts");
    }
    if json {
        command.arg("--json");
    }
    let status = command.status();
    let status = status.with_context(|| format!("cannot run {}", server.display()))?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The server's binary: the one named, the one beside this one, or the first in the path.
fn find(
    named: Option<OsString>,
    beside: Option<&Path>,
    path: Option<OsString>,
) -> anyhow::Result<PathBuf> {
    if let Some(named) = named {
        let named = PathBuf::from(named);
        let missing = || anyhow!("TRENDSRV={} is no file", named.display());
        return named.is_file().then(|| named.clone()).ok_or_else(missing);
    }
    let folders = path.as_deref().map(std::env::split_paths).into_iter().flatten();
    let mut places = beside.map(Path::to_owned).into_iter().chain(folders);
    let found = places.find_map(|folder| Some(folder.join(SERVER)).filter(|file| file.is_file()));
    found.ok_or_else(|| {
        anyhow!(
            "trendsrv is not beside trendctl and not in PATH: build it (cargo build --release) or \
             name it, TRENDSRV=/path/to/trendsrv; a trial needs the server's sandbox"
        )
    })
}

const SERVER: &str = "trendsrv";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_is_named_or_beside_or_in_the_path() {
        let root = std::env::temp_dir().join(format!("trendctl-{}", std::process::id()));
        let [a, b] = ["a", "b"].map(|name| root.join(name));
        for folder in [&a, &b] {
            std::fs::create_dir_all(folder).unwrap();
            std::fs::write(folder.join(SERVER), b"").unwrap();
        }
        let path = Some(std::env::join_paths([&root, &b]).unwrap());
        let named = Some(a.join(SERVER).into_os_string());
        let found = |named, beside, path| find(named, beside, path).unwrap();
        assert_eq!(found(named, Some(&b), path.clone()), a.join(SERVER));
        assert_eq!(found(None, Some(&a), path.clone()), a.join(SERVER));
        assert_eq!(found(None, Some(&root), path), b.join(SERVER));
        let error = find(None, Some(&root), None).unwrap_err().to_string();
        assert!(error.contains("TRENDSRV=/path/to/trendsrv"), "{error}");
        let error = find(Some("/nowhere".into()), Some(&a), None).unwrap_err().to_string();
        assert!(error.contains("TRENDSRV=/nowhere is no file"), "{error}");
        std::fs::remove_dir_all(&root).unwrap();
    }
}
