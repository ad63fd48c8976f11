//! Instruction counts of the paths that every event takes, held against a checked-in table.
//!
//! Owns: the cases, how they are counted, the table and its rules. Never touches: a clock. Counts
//! repeat where times do not, so a rise of 5 % is a change of the code and never of the day.
//!
//! ```text
//! compare -> valgrind --tool=callgrind <this program> case NAME    one process a case
//!                 counts inside `measured_region` only
//!         -> more than 5 % above its row: fails       below: says so, passes
//! compare --update "reason" -> rows beyond 5 % either way are written anew, with the reason
//! ```
#![forbid(unsafe_code)]

mod callgrind;
mod cases;
mod compare;
mod machine;
mod table;

use anyhow::{Context, bail, ensure};
use cases::{CASES, Case};
use clap::{Parser, Subcommand};
use compare::Verdict;
use machine::{Machine, Place};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use table::Table;

/// Counts instructions of proto and shard and compares them with a table
#[derive(Debug, Parser)]
#[command(name = "instructions", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Counts every case and compares it with its row
    Compare {
        /// The table
        #[arg(long, default_value = TABLE)]
        table: PathBuf,
        /// Writes rows anew that moved by more than 5 %, with the reason that they did
        #[arg(long, value_name = "REASON")]
        update: Option<String>,
    },
    /// Runs one case, as valgrind is told to
    Case {
        /// Its name, as in the table
        name: String,
    },
    /// Prints what the CPU can do that changes counts; below valgrind it is another CPU
    Cpu,
}

fn main() -> anyhow::Result<ExitCode> {
    match Cli::parse().command {
        Command::Compare { table, update: None } => compare_with(&table),
        Command::Compare { table, update: Some(reason) } => update(&table, &reason),
        Command::Case { name } => {
            let known = || CASES.map(|case| case.name).join(", ");
            let case = CASES.iter().find(|case| case.name == name);
            let case = case.with_context(|| format!("no case {name:?}; there are {}", known()))?;
            case.run();
            Ok(ExitCode::SUCCESS)
        }
        Command::Cpu => {
            println!("{}", machine::cpu());
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Holds every case against the table.
fn compare_with(path: &Path) -> anyhow::Result<ExitCode> {
    let table = Table::read(path)?;
    let pinned = machine::pinned(Path::new(TOOLCHAIN))?;
    match table.machine.place(&Machine::here()?, &pinned) {
        Place::Same => {}
        Place::Stale(why) => bail!("{why}: renew the table with {UPDATE}"),
        Place::Other(why) => {
            println!("not compared: {why}");
            return Ok(ExitCode::from(NOT_COMPARED));
        }
    }
    let lines = compare::compare(&table.cases, &count_all()?);
    for line in &lines {
        println!("{line}");
    }
    let failed = lines.iter().filter(|line| line.verdict.fails()).count();
    if lines.iter().any(|line| matches!(line.verdict, Verdict::Better { .. })) {
        println!("better than the table: let it follow with {UPDATE}");
    }
    ensure!(
        failed == 0,
        "{failed} of {} cases do not agree with {}: mend the code, or record why with {UPDATE}",
        lines.len(),
        path.display()
    );
    println!("{} cases within {} % of the table", lines.len(), compare::TOLERANCE_PERCENT);
    Ok(ExitCode::SUCCESS)
}

/// Writes the table anew.
fn update(path: &Path, reason: &str) -> anyhow::Result<ExitCode> {
    let reason = reason.trim();
    ensure!(!reason.is_empty(), "an update needs a reason, in words");
    let before = if path.exists() { Table::read(path)? } else { Table::default() };
    let after = before.renewed(Machine::here()?, &count_all()?, reason);
    for line in compare::compare(&before.cases, &after.counts()) {
        if !matches!(line.verdict, Verdict::Same { .. }) {
            println!("{line}");
        }
    }
    after.write(path)?;
    println!("{} written; commit it with the change that moved the counts", path.display());
    Ok(ExitCode::SUCCESS)
}

/// Counts every case in a process of its own, one after the other.
fn count_all() -> anyhow::Result<BTreeMap<String, u64>> {
    let program = std::env::current_exe().context("the path of this program")?;
    let count = |case: &Case| {
        let instructions = callgrind::count(&program, case.name)?;
        let each = instructions / case.units;
        println!("{:28} {instructions:>12} instructions, {each:>6} a {}", case.name, case.unit);
        Ok((case.name.to_owned(), instructions))
    };
    CASES.iter().map(count).collect()
}

/// The table, and what pins the compiler.
const TABLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/table.toml");
const TOOLCHAIN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../rust-toolchain.toml");
/// How the table is written anew.
const UPDATE: &str = "`./ci.sh instructions --update \"reason\"`";
/// Exit code when this machine cannot be compared with the table's.
const NOT_COMPARED: u8 = 3;

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_case_has_its_row_and_every_row_its_case() {
        let table = Table::read(Path::new(TABLE)).unwrap();
        let rows: BTreeSet<&str> = table.cases.keys().map(String::as_str).collect();
        let cases: BTreeSet<&str> = CASES.iter().map(|case| case.name).collect();
        assert_eq!(rows, cases);
        assert_eq!(cases.len(), CASES.len(), "two cases of one name");
    }

    #[test]
    fn the_table_is_of_the_compiler_that_the_checkout_pins() {
        let table = Table::read(Path::new(TABLE)).unwrap();
        assert_eq!(table.machine.rustc, machine::pinned(Path::new(TOOLCHAIN)).unwrap());
    }

    #[test]
    fn every_case_does_its_work() {
        for case in &CASES {
            case.run();
        }
    }
}
