//! The checked-in table: a row for each case, with the reason for its count.
//!
//! Owns: the file's form and which rows an update writes. Never touches: valgrind.
//!
//! ```toml
//! [machine]
//! rustc = "…"
//!
//! [cases.shard-apply-run-16]
//! instructions = 12345
//! reason = "what moved it here"
//! ```
//!
//! Invariant: an update leaves rows alone whose count lies within the tolerance, so that many
//! small rises are not waved through one by one; on another machine all rows are new.

use crate::compare::Verdict;
use crate::machine::Machine;
use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// The rows, and the machine they were counted on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Table {
    /// Where the counts come from.
    pub(crate) machine: Machine,
    /// The rows, by the names of their cases.
    pub(crate) cases: BTreeMap<String, Row>,
}

/// One case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Row {
    /// Its instructions.
    pub(crate) instructions: u64,
    /// Why it is this many.
    pub(crate) reason: String,
}

impl Table {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// What is wrong in it, and where.
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let what = || format!("the table {}", path.display());
        let text = std::fs::read_to_string(path).with_context(what)?;
        Self::parse(&text).with_context(what)
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        let table: Self = toml::from_str(text)?;
        for (name, row) in &table.cases {
            ensure!(row.instructions > 0, "case {name}: instructions are at least 1");
            ensure!(!row.reason.trim().is_empty(), "case {name}: a row says its reason");
        }
        Ok(table)
    }

    /// Writes the file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn write(&self, path: &Path) -> anyhow::Result<()> {
        std::fs::write(path, self.render()?).with_context(|| path.display().to_string())
    }

    fn render(&self) -> anyhow::Result<String> {
        Ok(format!("{HEAD}\n{}", toml::to_string(self).context("the table as TOML")?))
    }

    /// The table after an update.
    pub(crate) fn renewed(
        &self,
        machine: Machine,
        counts: &BTreeMap<String, u64>,
        reason: &str,
    ) -> Self {
        let comparable = self.machine == machine;
        let row = |(name, &counted): (&String, &u64)| {
            let kept = self.cases.get(name).filter(|row| {
                let verdict = Verdict::of(row.instructions, counted);
                comparable && matches!(verdict, Verdict::Same { .. })
            });
            let anew = || Row { instructions: counted, reason: reason.to_owned() };
            (name.clone(), kept.cloned().unwrap_or_else(anew))
        };
        Self { machine, cases: counts.iter().map(row).collect() }
    }

    /// The counts alone.
    pub(crate) fn counts(&self) -> BTreeMap<String, u64> {
        self.cases.iter().map(|(name, row)| (name.clone(), row.instructions)).collect()
    }
}

/// What stands above the rows.
const HEAD: &str = "\
# Instructions of the paths that every event takes, counted by callgrind: see
# docs/decisions/018-instruction-guard.md. The lane `instructions` fails when a count is more than
# 5 % above its row. Written by `./ci.sh instructions --update \"reason\"`.
";

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(rustc: &str) -> Machine {
        Machine { rustc: rustc.to_owned(), ..Machine::default() }
    }

    fn table(rows: &[(&str, u64)]) -> Table {
        let row = |instructions| Row { instructions, reason: "first".to_owned() };
        let cases = rows.iter().map(|&(name, count)| (name.to_owned(), row(count))).collect();
        Table { machine: machine("1"), cases }
    }

    fn counts(counts: &[(&str, u64)]) -> BTreeMap<String, u64> {
        counts.iter().map(|&(name, count)| (name.to_owned(), count)).collect()
    }

    fn rows(table: &Table) -> Vec<(&str, u64, &str)> {
        let rows = table.cases.iter();
        rows.map(|(name, row)| (name.as_str(), row.instructions, row.reason.as_str())).collect()
    }

    #[test]
    fn a_table_is_read_as_it_was_written() {
        let table = table(&[("a", 10), ("b", 20)]);
        assert_eq!(Table::parse(&table.render().unwrap()).unwrap(), table);
    }

    #[test]
    fn a_row_without_a_reason_or_a_count_is_refused_by_its_name() {
        let text = table(&[("a", 10)]).render().unwrap();
        for (from, to) in [("first", " "), ("= 10", "= 0")] {
            let error = Table::parse(&text.replace(from, to)).unwrap_err().to_string();
            assert!(error.starts_with("case a:"), "{error}");
        }
        for (from, to) in [("= 10", "= -1"), ("reason", "because"), ("rustc", "gcc")] {
            assert!(Table::parse(&text.replace(from, to)).is_err(), "{to}");
        }
    }

    #[test]
    fn an_update_writes_what_moved_and_leaves_the_rest() {
        let before = table(&[("gone", 5), ("less", 1_000), ("more", 1_000), ("near", 1_000)]);
        let now = counts(&[("less", 900), ("more", 1_100), ("near", 1_040), ("new", 7)]);
        let after = before.renewed(machine("1"), &now, "why");
        let want = [
            ("less", 900, "why"),
            ("more", 1_100, "why"),
            ("near", 1_000, "first"),
            ("new", 7, "why"),
        ];
        assert_eq!(rows(&after), want);
    }

    #[test]
    fn an_update_on_another_machine_writes_every_row() {
        let after = table(&[("a", 1_000)]).renewed(machine("2"), &counts(&[("a", 1_001)]), "why");
        assert_eq!(rows(&after), [("a", 1_001, "why")]);
        assert_eq!(after.machine, machine("2"));
    }
}
