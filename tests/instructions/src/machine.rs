//! What counts depend on besides the code: compiler, target, and the CPU that valgrind shows.
//!
//! Owns: whether two machines' counts may be compared. Never touches: the counts.
//!
//! `crc32c` and the C library choose their loops by what the CPU can do, so a machine that lacks
//! something counts other instructions. Valgrind hides what it cannot translate (AVX-512 for one),
//! which makes most x86-64 machines of the last ten years alike.

use crate::callgrind;
use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::process::Command;

/// Where a table's counts come from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Machine {
    /// The compiler's release.
    pub(crate) rustc: String,
    /// The release of LLVM that it uses.
    pub(crate) llvm: String,
    /// The target that is compiled for.
    pub(crate) target: String,
    /// What the CPU can do, below valgrind.
    pub(crate) cpu: String,
}

/// What a table's counts mean here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// They can be compared.
    Same,
    /// The table did not follow the compiler that the checkout pins.
    Stale(String),
    /// This machine is another than the table's.
    Other(String),
}

impl Machine {
    /// This machine.
    ///
    /// # Errors
    /// When `rustc` or valgrind does not answer.
    pub(crate) fn here() -> anyhow::Result<Self> {
        let output = Command::new("rustc").arg("-vV").output().context("rustc -vV")?;
        ensure!(output.status.success(), "rustc -vV ended with {}", output.status);
        Self::from_rustc(&String::from_utf8_lossy(&output.stdout), callgrind::cpu()?)
    }

    fn from_rustc(said: &str, cpu: String) -> anyhow::Result<Self> {
        let field = |name: &str| {
            let value = said.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
            value.map(str::to_owned).with_context(|| format!("rustc -vV names no {name}: {said}"))
        };
        Ok(Self {
            rustc: field("release")?,
            llvm: field("LLVM version")?,
            target: field("host")?,
            cpu,
        })
    }

    /// Whether counts of `self`, the table's machine, mean something on `here`, where the checkout
    /// pins the compiler `pinned`.
    pub(crate) fn place(&self, here: &Self, pinned: &str) -> Place {
        let pairs = [
            ("rustc", &self.rustc, &here.rustc),
            ("LLVM", &self.llvm, &here.llvm),
            ("the target", &self.target, &here.target),
            ("the CPU below valgrind", &self.cpu, &here.cpu),
        ];
        let differ = pairs.into_iter().filter(|(_, table, here)| table != here);
        let list: Vec<String> = differ
            .map(|(what, table, here)| format!("{what} is {here} here and {table} in the table"))
            .collect();
        if list.is_empty() {
            Place::Same
        } else if self.rustc != pinned && here.rustc == pinned {
            Place::Stale(list.join(", "))
        } else {
            Place::Other(list.join(", "))
        }
    }
}

/// What the CPU can do that a library asks it for at run time.
#[cfg(target_arch = "x86_64")]
pub(crate) fn cpu() -> String {
    let asked = [
        ("sse4.2", is_x86_feature_detected!("sse4.2")),
        ("popcnt", is_x86_feature_detected!("popcnt")),
        ("lzcnt", is_x86_feature_detected!("lzcnt")),
        ("bmi2", is_x86_feature_detected!("bmi2")),
        ("avx", is_x86_feature_detected!("avx")),
        ("avx2", is_x86_feature_detected!("avx2")),
        ("avx512f", is_x86_feature_detected!("avx512f")),
    ];
    let there: Vec<&str> = asked.iter().filter(|(_, is)| *is).map(|(name, _)| *name).collect();
    there.join(" ")
}

/// What the CPU can do: nothing that is asked for on this architecture.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn cpu() -> String {
    String::new()
}

/// The compiler that the checkout pins.
///
/// # Errors
/// When the file cannot be read or names no channel.
pub(crate) fn pinned(path: &Path) -> anyhow::Result<String> {
    let what = || format!("{}", path.display());
    let text = std::fs::read_to_string(path).with_context(what)?;
    Ok(toml::from_str::<Toolchain>(&text).with_context(what)?.toolchain.channel)
}

#[derive(Deserialize)]
struct Toolchain {
    toolchain: Channel,
}

#[derive(Deserialize)]
struct Channel {
    channel: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = "rustc 1.2.3 (0123 2026-01-01)\nbinary: rustc\nhost: a-b-c\nrelease: 1.2.3\n\
        LLVM version: 4.5.6\n";

    fn machine(cpu: &str) -> Machine {
        Machine::from_rustc(SAID, cpu.to_owned()).unwrap()
    }

    #[test]
    fn reads_what_rustc_says_of_itself() {
        let Machine { rustc, llvm, target, cpu } = machine("avx2");
        assert_eq!([&*rustc, &*llvm, &*target, &*cpu], ["1.2.3", "4.5.6", "a-b-c", "avx2"]);
        assert!(Machine::from_rustc("rustc 1.2.3\n", String::new()).is_err());
    }

    #[test]
    fn counts_of_the_same_machine_are_compared() {
        assert_eq!(machine("avx2").place(&machine("avx2"), "1.2.3"), Place::Same);
    }

    #[test]
    fn another_cpu_or_compiler_is_not_compared_and_said() {
        let table = machine("avx2");
        let Place::Other(why) = table.place(&machine("sse4.2"), "1.2.3") else {
            panic!("compared")
        };
        assert_eq!(why, "the CPU below valgrind is sse4.2 here and avx2 in the table");
        let newer = Machine { rustc: "9.9.9".to_owned(), ..table.clone() };
        let Place::Other(why) = table.place(&newer, "1.2.3") else { panic!("compared") };
        assert_eq!(why, "rustc is 9.9.9 here and 1.2.3 in the table");
    }

    #[test]
    fn a_table_that_did_not_follow_the_pinned_compiler_is_stale() {
        let table = machine("avx2");
        let newer = Machine { rustc: "9.9.9".to_owned(), ..table.clone() };
        assert!(matches!(table.place(&newer, "9.9.9"), Place::Stale(_)));
    }
}
