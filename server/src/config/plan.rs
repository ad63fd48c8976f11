//! The memory plan: what the process will hold when its tables are full, computed from the
//! configuration before anything is allocated, and printed at start.
//!
//! ```text
//!   per shard = tenants + windows (every tenant at the smallest tier) + names + producers
//!             + receive buffers + program instances
//!   planned   = shards x per shard + program                 what full tables hold at rest
//!   cap       = planned + what the window budget allows above the smallest tier
//!             + passing: early events, connections, requests  what a busy moment may add
//! ```
//!
//! Invariant: every term is a count with a `_max` name times the size of one item, and an item's
//! size comes from the crate that stores it.

use std::fmt;

use serde::Serialize;
use trendsrv_shard::log::BATCH_BYTES;
use trendsrv_shard::{
    EARLY_MAX_DEFAULT, GIVEN_UP_BYTES, MARK_BYTES, SAMPLE_BYTES_MAX_DEFAULT, TENANT_RECORD_BYTES,
    TOPIC_ENTRY_BYTES, index_words, topics_words,
};

use super::limits::{
    CODE_BYTES_MAX, DESK_MAIL_MAX, HTTP_BODIES_MAX, HTTP_BODY_BYTES_MAX, HTTP_CONNECTIONS_MAX,
    HTTP_HEAD_BYTES_MAX,
};
use super::{Config, DefaultProgram};
use crate::node::LOG_BACKLOG_BYTES_MAX;

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
    /// What the program itself holds: code, stacks, allocator, runtimes.
    pub program_bytes: u64,
    /// What a busy moment may add, over all shards.
    pub passing: Vec<Line>,
    /// What a shard's window budget allows above the smallest tier.
    pub window_growth_bytes_per_shard: u64,
}

impl MemoryPlan {
    /// Computes the plan.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let line = |what, max: u64, each: u64| Line { what, max, bytes: max.saturating_mul(each) };
        let tenants = config.tenants_per_shard_max();
        let topics = config.topics_per_shard_max();
        let window_bytes = config.window_config([0; 2]).base_block_bytes();
        let windows = line("windows", tenants as u64, window_bytes);
        let tenant_bytes = tenants * (TENANT_RECORD_BYTES + 2 * NAME_BYTES_TYPICAL + TREE_BYTES)
            + index_words(tenants) * 8;
        let topic_bytes = topics_words(topics) * 8 + topics * TOPIC_ENTRY_BYTES;
        let producer_bytes = buckets(config.producers_max) * MARK_BYTES + GIVEN_UP_BYTES;
        let table =
            |what, max: usize, bytes: usize| Line { what, max: max as u64, bytes: bytes as u64 };
        let instances = line("program instances", tenants as u64, PROGRAM_INSTANCE_BYTES);
        let mut per_shard = vec![
            table("tenants", tenants, tenant_bytes),
            windows,
            table("names", topics, topic_bytes),
            table("producers", config.producers_max, producer_bytes),
            line("receive buffers", RECEIVE_BUFFERS, RECEIVE_BUFFER_BYTES),
        ];
        let shards = config.shards;
        let shards_of = |line: Line| Line {
            max: line.max.saturating_mul(shards as u64),
            bytes: line.bytes.saturating_mul(shards as u64),
            ..line
        };
        let mut passing = vec![
            line("early events", (EARLY_MAX_DEFAULT * shards) as u64, EARLY_BYTES),
            line("connections", (config.connections_max * shards) as u64, CONNECTION_BYTES),
            line("http connections", HTTP_CONNECTIONS_MAX as u64, HTTP_HEAD_BYTES_MAX as u64),
            // A body's events take up to three times its text, beside the text.
            line("http bodies", HTTP_BODIES_MAX as u64, 4 * HTTP_BODY_BYTES_MAX as u64),
            line("desk mail", (DESK_MAIL_MAX * shards) as u64, DESK_MAIL_BYTES),
            line("program code", shards as u64, CODE_BYTES_MAX as u64),
            line("samples", shards as u64, SAMPLE_BYTES_MAX_DEFAULT as u64),
        ];
        if config.log.is_some() {
            passing.push(line("log buffers", shards as u64, LOG_BUFFER_BYTES));
        }
        match config.default_program {
            DefaultProgram::Named(_) => per_shard.push(instances),
            // Only tenants that are assigned a program have an instance.
            DefaultProgram::Native => passing.push(shards_of(instances)),
        }
        MemoryPlan {
            shards: shards as u64,
            per_shard,
            program_bytes: PROGRAM_BYTES,
            passing,
            window_growth_bytes_per_shard: config
                .window_bytes_per_shard()
                .saturating_sub(windows.bytes),
        }
    }

    /// Bytes of one shard.
    #[must_use]
    pub fn shard_bytes(&self) -> u64 {
        sum(&self.per_shard)
    }

    /// Bytes of the process at rest with full tables and windows at the smallest tier.
    #[must_use]
    pub fn planned_bytes(&self) -> u64 {
        self.shard_bytes().saturating_mul(self.shards).saturating_add(self.program_bytes)
    }

    /// Bytes of the process with the whole window budget in use and every queue and connection
    /// taken: the most it can hold.
    #[must_use]
    pub fn cap_bytes(&self) -> u64 {
        let growth = self.window_growth_bytes_per_shard.saturating_mul(self.shards);
        self.planned_bytes().saturating_add(growth).saturating_add(sum(&self.passing))
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
            writeln!(f, "  {what:<28}{max:>12}{:>12}", mebibytes(bytes))
        };
        writeln!(f, "{:<30}{:>12}{:>12}", "memory plan", "at most", "MiB")?;
        for line in &self.per_shard {
            row(f, line.what, line.max.to_string(), line.bytes)?;
        }
        row(f, "one shard", String::new(), self.shard_bytes())?;
        row(f, "all shards", self.shards.to_string(), self.shard_bytes() * self.shards)?;
        row(f, "program", String::new(), self.program_bytes)?;
        row(f, "planned, tables full", String::new(), self.planned_bytes())?;
        let growth = self.window_growth_bytes_per_shard * self.shards;
        row(f, "larger windows may add", String::new(), growth)?;
        for line in &self.passing {
            row(f, line.what, line.max.to_string(), line.bytes)?;
        }
        row(f, "hard cap", String::new(), self.cap_bytes())
    }
}

fn sum(lines: &[Line]) -> u64 {
    lines.iter().fold(0, |total, line| total.saturating_add(line.bytes))
}

/// Buckets of a hash table made for `items`: a power of two, at most seven eighths full.
fn buckets(items: usize) -> usize {
    (items * 8 / 7 + 1).next_power_of_two()
}

fn mebibytes(bytes: u64) -> String {
    format!("{}.{}", bytes >> 20, ((bytes & 0xF_FFFF) * 10) >> 20)
}

/// What the allocator gives a name of ordinary length.
const NAME_BYTES_TYPICAL: usize = 32;
/// A name's place in the ordered list of tenants: a B-tree entry at two thirds full.
const TREE_BYTES: usize = 36;
/// A record and its time.
const EARLY_BYTES: u64 = 32;
const RECEIVE_BUFFERS: u64 = 16;
const RECEIVE_BUFFER_BYTES: u64 = 64 << 10;
/// A connection's state, without bytes waiting to be sent.
const CONNECTION_BYTES: u64 = 512;
const DESK_MAIL_BYTES: u64 = 256;
/// What waits to be written, what is on its way, memory kept for the next batches, and the pieces
/// of a snapshot that wait for the disk.
const LOG_BUFFER_BYTES: u64 = LOG_BACKLOG_BYTES_MAX as u64
    + (4 + LOG_BATCHES_KEPT) * BATCH_BYTES as u64
    + SNAPSHOT_BYTES_WAITING;
const LOG_BATCHES_KEPT: u64 = 4;
const SNAPSHOT_BYTES_WAITING: u64 = 4 << 20;
const PROGRAM_BYTES: u64 = 16 << 20;
/// A live instance of the default program, measured over 100,000 of them: one page of its memory
/// that it touches, its globals and tables, its share of a Store.
const PROGRAM_INSTANCE_BYTES: u64 = 5_734;
