//! `loadgen` ended by a signal, as a terminal or a supervisor ends it.
#![allow(clippy::unwrap_used, reason = "the helpers of a test fail it")]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A program that is never ready as a server, and writes its process id into the folder.
fn server(folder: &Path) -> PathBuf {
    let (path, pid) = (folder.join("server.sh"), folder.join("pid"));
    let pid = pid.display();
    fs::write(
        &path,
        format!("#!/bin/sh\necho $$ > {pid}.new\nmv {pid}.new {pid}\nexec sleep 600\n"),
    )
    .unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    path
}

#[test]
fn a_signal_leaves_neither_processes_nor_folders() {
    for (signal, code) in [("TERM", 143), ("INT", 130)] {
        let name = format!("ending-{}-{signal}", std::process::id());
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let temporary = folder.join("temporary");
        fs::create_dir_all(&temporary).unwrap();
        // A program that a server must be given needs a folder.
        let mut loadgen = Command::new(env!("CARGO_BIN_EXE_loadgen"))
            .args(["run", "--spawn", "--program", "observe-pass", "--server"])
            .arg(server(&folder))
            .env("TMPDIR", &temporary)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let pid = loop {
            if let Ok(pid) = fs::read_to_string(folder.join("pid")) {
                break pid;
            }
            assert!(loadgen.try_wait().unwrap().is_none(), "it ended before it had a server");
            std::thread::yield_now();
        };
        let process = Path::new("/proc").join(pid.trim());
        assert!(process.exists() && fs::read_dir(&temporary).unwrap().count() == 1);
        let kill = format!("kill -{signal} {}", loadgen.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
        let output = loadgen.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(said.starts_with(&format!("loadgen: ended by SIG{signal}; ")), "{said}");
        assert!(!process.exists() && fs::read_dir(&temporary).unwrap().count() == 0);
        fs::remove_dir_all(&folder).unwrap();
    }
}
