//! The systems that `loadgen compare` puts side by side: ours, and what people run otherwise.
//!
//! ```text
//! compare ──Scenario, Cores──▶ System::fit ──Fit──▶ System::load ──Done──▶ report
//! ```
//!
//! Each one takes the same events from the same generator and gives the same answer: the top 10
//! topics of a tenant's last 60 s, checked against exact counts.

pub(crate) mod flink;
pub(crate) mod naive;
pub(crate) mod redis;
pub(crate) mod trendsrv;

use crate::run::Done;
use crate::scenario::Scenario;
use serde::{Deserialize, Serialize};

/// Where the system under test runs and where the generator does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Cores {
    pub(crate) server: Vec<usize>,
    pub(crate) loadgen: Vec<usize>,
}

/// What a report tells about a system.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct About {
    /// Name and version, as the system itself tells.
    pub(crate) version: String,
    /// What it is asked to do, in a sentence.
    pub(crate) asked: String,
    /// Each setting that matters, and why it was chosen.
    pub(crate) settings: Vec<String>,
}

/// The largest part of a scenario that a system finishes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Fit {
    pub(crate) tenants: u32,
    /// Events a second to offer; 0 is as many as it takes.
    pub(crate) rate: u64,
    /// What was tried on the way, and what became of it.
    pub(crate) attempts: Vec<Attempt>,
}

/// One size that was tried.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Attempt {
    pub(crate) tenants: u32,
    pub(crate) rate: u64,
    /// Whether it held.
    pub(crate) held: bool,
    /// The limit that it hit, or what it did, in words.
    pub(crate) why: String,
}

/// A system under test, started and stopped by each call.
pub(crate) trait System {
    /// Its short name in tables, files and `--systems`.
    fn name(&self) -> &'static str;

    /// What the report tells about it.
    ///
    /// # Errors
    /// When it cannot run here: says what is missing and how to get it.
    fn about(&self) -> anyhow::Result<About>;

    /// The largest part of the scenario that it finishes; all of it, unless it says otherwise.
    ///
    /// # Errors
    /// When not even the smallest part runs.
    fn fit(&self, scenario: &Scenario, _cores: &Cores) -> anyhow::Result<Fit> {
        Ok(Fit { tenants: scenario.tenants, rate: scenario.rate, attempts: Vec::new() })
    }

    /// Makes the load once and checks the answers.
    ///
    /// # Errors
    /// When the load cannot be made; wrong answers and losses are told in [`Done::right`].
    fn load(&self, scenario: &Scenario, cores: &Cores) -> anyhow::Result<Done>;
}
