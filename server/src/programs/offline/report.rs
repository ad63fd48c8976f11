//! What came of a trial, in words and in JSON.

use crate::desk::answer::Answer;
use crate::programs::{Entry, ProgramName, hex};
use serde::Serialize;
use std::fmt;
use trendsrv_shard::Counted;
use trendsrv_wasm_host::{ProgramLine, TenantProgram};

/// All of it.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) program: ProgramReport,
    pub(super) records: u64,
    pub(super) applied: u64,
    pub(super) late: u64,
    pub(super) dropped: u64,
    pub(super) filtered: u64,
    pub(super) refused: u64,
    pub(super) last_refusal: Option<String>,
    pub(super) without_text: u64,
    /// The first of each kind.
    pub(super) faults: Vec<Fault>,
    /// Tenants with events in their window at the end, busiest first.
    pub(super) tenants: Vec<TenantReport>,
    pub(super) tenants_empty: usize,
}

#[derive(Debug, Serialize)]
pub(super) struct ProgramReport {
    name: String,
    hash: String,
    bytes: usize,
    artefact_bytes: usize,
    exports: Vec<&'static str>,
    calls: u64,
    faults: u64,
    fuel_used: u64,
    fuel_per_call: u64,
}

/// Why a program failed.
#[derive(Debug, Serialize)]
pub(super) struct Fault {
    pub(super) tenant: Box<str>,
    pub(super) at_ms: u64,
    pub(super) message: Box<str>,
}

#[derive(Debug, Serialize)]
pub(super) struct TenantReport {
    answer: Answer,
    state: &'static str,
    faults: u64,
    last_error: Option<Box<str>>,
    calls: u64,
    fuel_per_call: u64,
    applied: u64,
    filtered: u64,
    late: u64,
}

impl Report {
    pub(super) fn new(name: &ProgramName, bytes: usize, entry: &Entry) -> Self {
        let program = ProgramReport {
            name: name.to_string(),
            hash: hex(&entry.hash),
            bytes,
            artefact_bytes: entry.artefact_bytes,
            exports: entry.exports(),
            calls: 0,
            faults: 0,
            fuel_used: 0,
            fuel_per_call: 0,
        };
        Self {
            program,
            records: 0,
            applied: 0,
            late: 0,
            dropped: 0,
            filtered: 0,
            refused: 0,
            last_refusal: None,
            without_text: 0,
            faults: Vec::new(),
            tenants: Vec::new(),
            tenants_empty: 0,
        }
    }

    pub(super) fn count(&mut self, counted: &Counted) {
        self.applied += counted.applied;
        self.late += counted.late;
        self.dropped += counted.dropped;
        self.filtered += counted.filtered;
    }

    /// Takes over what the host counted.
    pub(super) fn finish(&mut self, lines: &[ProgramLine]) {
        let program = &mut self.program;
        if let Some(line) = lines.iter().find(|line| *line.name == *program.name) {
            (program.calls, program.faults) = (line.calls, line.faults);
            program.fuel_used = line.fuel_used;
            program.fuel_per_call = line.fuel_used / line.calls.max(1);
        }
    }
}

impl TenantReport {
    pub(super) fn new(answer: Answer, status: TenantProgram, counted: &Counted) -> Self {
        Self {
            answer,
            state: status.state.name(),
            faults: status.faults,
            last_error: status.last_error,
            calls: status.calls,
            fuel_per_call: status.fuel_used / status.calls.max(1),
            applied: counted.applied,
            filtered: counted.filtered,
            late: counted.late,
        }
    }

    pub(super) const fn events(&self) -> u64 {
        self.answer.events
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for tenant in self.tenants.iter().take(TENANTS_SHOWN) {
            writeln!(f, "{tenant}")?;
        }
        let more = self.tenants.len().saturating_sub(TENANTS_SHOWN);
        if more > 0 {
            writeln!(f, "… and {more} more tenants (--json shows all)")?;
        }
        if self.tenants_empty > 0 {
            writeln!(f, "{} tenants had empty windows at the end", self.tenants_empty)?;
        }
        for Fault { tenant, at_ms, message } in &self.faults {
            writeln!(f, "fault at {at_ms} of tenant {tenant}: {message}")?;
        }
        let Report { records, applied, filtered, late, dropped, refused, .. } = self;
        writeln!(
            f,
            "{records} records: {applied} counted, {filtered} filtered, {late} late, {dropped} \
             dropped, {refused} refused"
        )?;
        if let Some(why) = &self.last_refusal {
            writeln!(f, "the last refusal: {why}")?;
        }
        if self.without_text > 0 {
            writeln!(f, "{} lines had no text", self.without_text)?;
        }
        let ProgramReport { name, exports, calls, faults, fuel_per_call, .. } = &self.program;
        writeln!(
            f,
            "program {name} ({}): {calls} calls, {faults} faults, {fuel_per_call} fuel a call",
            exports.join(", ")
        )
    }
}

impl fmt::Display for TenantReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let answer = &self.answer;
        let told = answer.tldr.as_deref().unwrap_or("(nothing)");
        writeln!(f, "{}: {told}", answer.tenant)?;
        for (place, line) in (1..).zip(&answer.topics) {
            let (score, whole) = (line.score.0, line.score.0.unsigned_abs());
            let sign = if score < 0 { "-" } else { "" };
            write!(
                f,
                "  {place:>3}  {:<40} {:>10}  {sign}{}.{:03}  {}",
                line.topic,
                line.count,
                whole / 1_000,
                whole % 1_000,
                line.trend.name()
            )?;
            match &line.sample {
                Some(sample) => writeln!(f, "  {sample}")?,
                None => writeln!(f)?,
            }
        }
        let Self { state, faults, calls, fuel_per_call, applied, filtered, late, .. } = self;
        writeln!(
            f,
            "  {applied} counted, {filtered} filtered, {late} late; program {state}: {calls} \
             calls, {faults} faults, {fuel_per_call} fuel a call"
        )?;
        match &self.last_error {
            Some(error) => writeln!(f, "  last fault: {error}"),
            None => Ok(()),
        }
    }
}

/// Tenants shown in words.
const TENANTS_SHOWN: usize = 20;
