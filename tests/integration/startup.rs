//! Starts that must fail, and say why and what to do; and starts in narrow places.

use crate::harness::{Exit, Peer, Server, command, named_frame, without_io_uring};
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;

/// Starts a server that must not start; its last words hold all of these.
fn fails(flags: &[&str], words: &[&str]) {
    says(&Server::spawn(command(flags)).unwrap_err(), words);
}

fn says(exit: &Exit, words: &[&str]) {
    assert_eq!(exit.code, Some(1), "{exit:?}");
    for word in words {
        assert!(exit.log.contains(word), "no {word:?} in: {}", exit.log);
    }
    assert!(!exit.log.contains("panicked"), "{}", exit.log);
}

fn file(name: &str, content: &str) -> PathBuf {
    let name = format!("{name}-{}.toml", std::process::id());
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, content).unwrap();
    path
}

#[test]
fn a_port_in_use_is_named_with_its_flag() {
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = other.local_addr().unwrap().to_string();
    fails(&["--listen", &taken], &[&taken, "--listen", "already uses"]);
    fails(&["--http", &taken], &[&taken, "--http"]);
}

#[test]
fn a_bad_file_is_named_with_its_line() {
    let syntax = file("syntax", "shards = 2\nwindow = [\n");
    let value = file("value", "shards = 2\n\nslide = \"often\"\n");
    let unknown = file("unknown", "tenant_max = 5\n");
    let of = |path: &PathBuf| path.to_str().unwrap().to_owned();
    let at = |path: &PathBuf, line: u32| format!("{}:{line}", path.display());
    fails(&["--config", &of(&syntax)], &[&at(&syntax, 2), "TOML"]);
    fails(&["--config", &of(&value)], &[&at(&value, 3), "slide", "often"]);
    fails(&["--config", &of(&unknown)], &[&at(&unknown, 1), "tenant_max", "did you mean"]);
    fails(&["--config", "nowhere.toml"], &["nowhere.toml", "--config"]);
    for path in [syntax, value, unknown] {
        std::fs::remove_file(path).unwrap();
    }
}

#[test]
fn another_address_needs_insecure_and_warns_loudly() {
    fails(&["--listen", "0.0.0.0:0"], &["0.0.0.0:0", "--insecure"]);
    fails(&["--http", "0.0.0.0:0"], &["0.0.0.0:0", "--insecure"]);
    let mut server = Server::start(&["--listen", "0.0.0.0:0", "--insecure"]);
    server.allow("INSECURE: listen = 0.0.0.0:0");
    assert!(server.log().contains(" WARN "), "{}", server.log());
    server.stop();
}

#[test]
fn a_log_without_a_directory_is_refused() {
    fails(&["--no-log=false"], &["no_log", "--data-dir"]);
    fails(&["--snapshot-interval", "5s"], &["snapshot_interval", "--data-dir"]);
}

#[test]
fn a_kernel_without_io_uring_and_one_that_forbids_it_are_told_apart() {
    for (errno, words) in [
        (libc::ENOSYS, ["has no io_uring", "ENOSYS", "CONFIG_IO_URING"]),
        (libc::EPERM, ["is forbidden here", "kernel.io_uring_disabled", "seccomp"]),
    ] {
        let mut command = command(&[]);
        without_io_uring(&mut command, errno);
        says(&Server::spawn(command).unwrap_err(), &words);
    }
}

/// A command that runs a server with so many KiB of locked memory, and without privilege.
fn with_memlock(kib: u32, flags: &[&str]) -> Command {
    let server = command(flags);
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("ulimit -l {kib} && exec \"$0\" \"$@\"")]);
    shell.arg(server.get_program()).args(server.get_args()).env("NO_COLOR", "1");
    shell
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").unwrap().uid() == 0
}

#[test]
fn too_little_locked_memory_is_told_with_the_limit_and_the_remedy() {
    let exit = Server::spawn(with_memlock(256, &["--shards", "2"])).unwrap_err();
    says(&exit, &["262144 bytes", "RLIMIT_MEMLOCK", "ulimit -l", "LimitMEMLOCK"]);
}

#[test]
fn four_shards_serve_unprivileged_inside_8_mib_of_locked_memory() {
    let flags = ["--clock", "event", "--shards", "4", "--program-cache", "off"];
    let mut command = with_memlock(8_192, &flags);
    if is_root() {
        // Root may lock without limit: be nobody.
        command.uid(NOBODY).gid(NOBODY);
    }
    let server = Server::spawn(command).unwrap();
    let names: Vec<String> = (0..32).map(|n| format!("tenant {n}")).collect();
    let events: Vec<_> = names.iter().map(|n| (n.as_str(), "t", 1, 1_000)).collect();
    let mut peers: Vec<Peer> = (0..32).map(|_| Peer::greeted(server.tcp)).collect();
    for peer in &mut peers {
        peer.send(&named_frame(1, &events));
    }
    for peer in &mut peers {
        peer.acked(1);
    }
    for name in &names {
        assert_eq!(peers[0].total(name), 32, "{name}");
    }
    drop(peers);
    server.stop();
}

const NOBODY: u32 = 65_534;
