//! Remembers which compiler built this, for the reports.

use std::process::Command;

fn main() {
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let version = Command::new(rustc).arg("-V").output();
    let version = version.ok().and_then(|output| String::from_utf8(output.stdout).ok());
    let version = version.unwrap_or_else(|| "unknown".to_owned());
    println!("cargo:rustc-env=LOADGEN_RUSTC={}", version.trim());
    println!("cargo:rerun-if-changed=build.rs");
}
