//! compare.json: everything that a comparison found, and what follows from it.

use super::cell::Cell;
use super::environment;
use super::figures::{self, Ratio, Row};
use super::goals::{self, Goal};
use super::plan::{LeftOut, Plan};
use super::show;
use crate::process::Machine;
use crate::report;
use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// A compare.json. The field names are a contract: add to them, do not rename.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Comparison {
    /// Whether no goal is missed.
    pub(crate) passed: bool,
    pub(crate) goals: Vec<Goal>,
    pub(crate) commit: String,
    pub(crate) rustc: String,
    pub(crate) machine: Machine,
    pub(crate) environment: BTreeMap<String, String>,
    pub(crate) plan: Plan,
    pub(crate) left_out: Vec<LeftOut>,
    pub(crate) rows: Vec<Row>,
    pub(crate) ratios: Vec<Ratio>,
    pub(crate) cells: Vec<Cell>,
}

/// The name of its file.
pub(crate) const FILE: &str = "compare.json";

impl Comparison {
    /// What follows from the cells.
    pub(crate) fn new(plan: Plan, cells: Vec<Cell>) -> Self {
        let goals = goals::goals(&plan, &cells);
        Self {
            passed: goals::passed(&goals),
            goals,
            commit: plan.commit.clone(),
            rustc: report::RUSTC.to_owned(),
            machine: Machine::read(),
            environment: environment::read(),
            left_out: plan.left_out(&cells),
            rows: figures::rows(&plan, &cells),
            ratios: figures::ratios(&plan, &cells),
            plan,
            cells,
        }
    }

    /// Writes compare.json and compare.html.
    ///
    /// # Errors
    /// When one of them cannot be written.
    pub(crate) fn write(&self, folder: &Path) -> anyhow::Result<()> {
        report::put(folder, FILE, serde_json::to_string_pretty(self)? + "\n")?;
        show::page(self).write(&folder.join("compare.html"))
    }

    /// The comparison of a folder, if it holds one.
    ///
    /// # Errors
    /// When its file cannot be read or is none.
    pub(crate) fn read(folder: &Path) -> anyhow::Result<Option<Self>> {
        let path = folder.join(FILE);
        if !path.exists() {
            return Ok(None);
        }
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        let strange = || format!("{} is not a {FILE}", path.display());
        Ok(Some(serde_json::from_str(&text).with_context(strange)?))
    }
}
