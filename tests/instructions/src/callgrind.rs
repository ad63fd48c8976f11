//! Counting with callgrind: one process, one region, one figure.
//!
//! Owns: how valgrind is called and what its words mean. Never touches: what is counted.
//!
//! Invariant: a count is what callgrind collected inside `measured_region`; none at all is an
//! error, so a region that the compiler has dissolved cannot pass for a fast one.

use anyhow::{Context, bail, ensure};
use std::io::ErrorKind;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// Instructions of one case.
///
/// # Errors
/// When valgrind is missing, the case fails, or nothing was counted.
pub(crate) fn count(program: &Path, case: &str) -> anyhow::Result<u64> {
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
    valgrind.arg(format!("--toggle-collect={REGION}"));
    let output = run(valgrind.arg(program).args(["case", case]))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "case {case} ended with {}:\n{said}", output.status);
    collected(&said).with_context(|| format!("case {case}: valgrind said\n{said}"))
}

/// What the CPU can do that valgrind pretends to be.
///
/// # Errors
/// When valgrind is missing or fails.
pub(crate) fn cpu() -> anyhow::Result<String> {
    let program = std::env::current_exe().context("the path of this program")?;
    let mut valgrind = Command::new("valgrind");
    let output = run(valgrind.args(["--tool=none", "--quiet"]).arg(program).arg("cpu"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "valgrind ended with {}:\n{said}", output.status);
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn run(valgrind: &mut Command) -> anyhow::Result<Output> {
    match valgrind.stdin(Stdio::null()).output() {
        Ok(output) => Ok(output),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            bail!("valgrind is not installed: apt-get install valgrind")
        }
        Err(error) => Err(error).context("valgrind"),
    }
}

/// The figure behind `Collected :`, which must be of instructions alone.
fn collected(said: &str) -> anyhow::Result<u64> {
    // Each line begins with the process: `==123== Collected : 456`.
    let after = |word: &str| {
        let lines = said.lines().filter_map(|line| line.split_once("== ").map(|(_, rest)| rest));
        let mut fields = lines.filter_map(|line| line.split_once(':'));
        fields.find(|(name, _)| name.trim() == word).map(|(_, value)| value.trim().to_owned())
    };
    let events = after("Events").context("there is no line `Events :`")?;
    ensure!(events == "Ir", "it counted {events:?}, not instructions alone (`Ir`)");
    let count = after("Collected").context("there is no line `Collected :`")?;
    let count: u64 = count.parse().with_context(|| format!("{count:?} is no count"))?;
    ensure!(count > 0, "nothing was collected: is `measured_region` still a function?");
    Ok(count)
}

/// The functions that are counted, with all that they call.
const REGION: &str = "*measured_region*";

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = "==7== Callgrind, a call-graph generating cache profiler\n\
        ==7== Command: ./instructions case x\n==7== \n==7== Events    : Ir\n\
        ==7== Collected : 123456\n==7== \n==7== I   refs:      123,456\n";

    #[test]
    fn reads_what_was_collected() {
        assert_eq!(collected(SAID).unwrap(), 123_456);
    }

    #[test]
    fn nothing_collected_is_an_error_and_so_is_anything_unexpected() {
        for (from, to) in [
            (": 123456", ": 0"),
            (": 123456", ": many"),
            ("Collected", "Seen"),
            (": Ir", ": Ir Dr"),
        ] {
            assert!(collected(&SAID.replace(from, to)).is_err(), "{to}");
        }
    }
}
