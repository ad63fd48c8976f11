//! The memory plan: what the process will hold when its tables are full, computed from the
//! configuration before anything is allocated, and printed at start.
//!
//! ```text
//!   per shard = tenants + windows (every tenant at the smallest tier) + names + dedup
//!             + early queue + receive buffers + connections
//!   process   = shards x per shard + front desk + program
//!   cap       = process + what the window budget allows above the smallest tier
//! ```
//!
//! Invariant: every term is a count with a `_max` name times the size of one item; an item's size
//! comes from the code that stores it ([`Sizes`]), never from a guess here.

use std::fmt;

use serde::Serialize;

use super::Config;
use super::limits::{
    DESK_MAIL_MAX, HTTP_BODIES_MAX, HTTP_BODY_BYTES_MAX, HTTP_CONNECTIONS_MAX, HTTP_HEAD_BYTES_MAX,
};

/// Bytes one item of each table takes, its share of indexes included.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// A tenant's row and index entry, its name included at a typical length.
    pub tenant_bytes: u64,
    /// A window at the smallest tier, for this many panes.
    pub window_block_bytes: fn(panes: u64) -> u64,
    /// A topic name's row and index entry, the name included at a typical length.
    pub topic_bytes: u64,
    /// A producer's sequence marks.
    pub producer_bytes: u64,
    /// Events waiting for their pane to open.
    pub early_max: u64,
    /// One of them.
    pub early_bytes: u64,
    /// Provided receive buffers of a shard, all of them.
    pub receive_buffers_bytes: u64,
    /// A connection's state, without bytes waiting to be sent.
    pub connection_bytes: u64,
    /// The program itself: code, stacks, allocator, runtime.
    pub program_bytes: u64,
}

impl Default for Sizes {
    fn default() -> Self {
        Sizes {
            tenant_bytes: 96,
            window_block_bytes: |panes| 64 + 192 + 32 * panes,
            topic_bytes: 64,
            producer_bytes: 64,
            early_max: 65_536,
            early_bytes: 32,
            receive_buffers_bytes: 16 * (64 << 10),
            connection_bytes: 512,
            program_bytes: 16 << 20,
        }
    }
}

/// One line of the plan.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub struct Line {
    /// What is held.
    pub what: &'static str,
    /// How many at most.
    pub max: u64,
    /// Bytes for all of them.
    pub bytes: u64,
}

/// The plan of one process.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct MemoryPlan {
    /// Number of shards.
    pub shards: u64,
    /// What each shard holds when its tables are full and every window is at the smallest tier.
    pub per_shard: Vec<Line>,
    /// What the process holds once.
    pub process: Vec<Line>,
    /// What a shard's window budget allows above the smallest tier.
    pub window_growth_bytes_per_shard: u64,
}

impl MemoryPlan {
    /// Computes the plan.
    #[must_use]
    pub fn new(config: &Config, sizes: &Sizes) -> Self {
        let line = |what, max: u64, each: u64| Line { what, max, bytes: max.saturating_mul(each) };
        let tenants = config.tenants_per_shard_max() as u64;
        let window_bytes = (sizes.window_block_bytes)(config.panes() as u64);
        let budget = config.window_bytes_per_shard();
        // A budget too small for every tenant holds fewer windows, and the plan says how many.
        let windows = tenants.min(budget / window_bytes);
        let per_shard = vec![
            line("tenants", tenants, sizes.tenant_bytes),
            line("windows", windows, window_bytes),
            line("names", config.topics_per_shard_max() as u64, sizes.topic_bytes),
            line("producers", config.producers_max as u64, sizes.producer_bytes),
            line("early events", sizes.early_max, sizes.early_bytes),
            line("receive buffers", 1, sizes.receive_buffers_bytes),
            line("connections", config.connections_max as u64, sizes.connection_bytes),
        ];
        let process = vec![
            line("http connections", HTTP_CONNECTIONS_MAX as u64, HTTP_HEAD_BYTES_MAX as u64),
            // A body's events take up to three times its text.
            line("http bodies", HTTP_BODIES_MAX as u64, 4 * HTTP_BODY_BYTES_MAX as u64),
            line("desk mail", (DESK_MAIL_MAX * config.shards) as u64, DESK_MAIL_BYTES),
            line("program", 1, sizes.program_bytes),
        ];
        MemoryPlan {
            shards: config.shards as u64,
            per_shard,
            process,
            window_growth_bytes_per_shard: budget - windows * window_bytes,
        }
    }

    /// Bytes of one shard.
    #[must_use]
    pub fn shard_bytes(&self) -> u64 {
        sum(&self.per_shard)
    }

    /// Bytes of the process with full tables and windows at the smallest tier.
    #[must_use]
    pub fn planned_bytes(&self) -> u64 {
        self.shard_bytes().saturating_mul(self.shards).saturating_add(sum(&self.process))
    }

    /// Bytes of the process with the whole window budget in use as well: the most it can hold.
    #[must_use]
    pub fn cap_bytes(&self) -> u64 {
        let growth = self.window_growth_bytes_per_shard.saturating_mul(self.shards);
        self.planned_bytes().saturating_add(growth)
    }

    /// Bytes of the shard line with this name, 0 if there is none.
    #[must_use]
    pub fn bytes_of(&self, what: &str) -> u64 {
        self.per_shard.iter().filter(|line| line.what == what).map(|line| line.bytes).sum()
    }
}

impl fmt::Display for MemoryPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let row = |f: &mut fmt::Formatter<'_>, what: &str, max: String, bytes: u64| {
            writeln!(f, "  {what:<28}{max:>12}{:>14}", mebibytes(bytes))
        };
        writeln!(f, "memory plan{:>29}{:>14}", "at most", "MiB")?;
        for line in &self.per_shard {
            row(f, line.what, line.max.to_string(), line.bytes)?;
        }
        row(f, "one shard", String::new(), self.shard_bytes())?;
        row(f, "all shards", self.shards.to_string(), self.shard_bytes() * self.shards)?;
        for line in &self.process {
            row(f, line.what, line.max.to_string(), line.bytes)?;
        }
        row(f, "planned, tables full", String::new(), self.planned_bytes())?;
        let growth = self.window_growth_bytes_per_shard * self.shards;
        row(f, "larger windows may add", String::new(), growth)?;
        row(f, "hard cap", String::new(), self.cap_bytes())
    }
}

fn sum(lines: &[Line]) -> u64 {
    lines.iter().fold(0, |total, line| total.saturating_add(line.bytes))
}

fn mebibytes(bytes: u64) -> String {
    format!("{}.{}", bytes >> 20, ((bytes & 0xF_FFFF) * 10) >> 20)
}

const DESK_MAIL_BYTES: u64 = 256;
