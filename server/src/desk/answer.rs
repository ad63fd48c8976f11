//! What the desk says in JSON: a tenant's answer, a tenant's line in a list, a shard's numbers.
//!
//! Field names and their order are the contract; counts are integers, `velocity` and `score` are
//! decimals with exactly three places, written from integers so that no digit is invented.

use std::net::SocketAddr;

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::value::RawValue;
use trendsrv_proto::{Refusal, Trend};

/// A tenant's top topics and how good the answer is.
#[derive(Clone, Debug, Eq, PartialEq, serde::Serialize)]
pub struct Answer {
    /// The tenant's name.
    pub tenant: Box<str>,
    /// End of the window.
    pub as_of_ms: u64,
    /// Window length.
    pub window_ms: u64,
    /// Window step.
    pub slide_ms: u64,
    /// Rises with every change of this tenant.
    pub version: u64,
    /// Weight in the window.
    pub total: u64,
    /// Events in the window.
    pub events: u64,
    /// Topics in the window.
    pub distinct: u64,
    /// Whether `distinct` is exact.
    pub distinct_exact: bool,
    /// Whether every count is exact.
    pub exact: bool,
    /// Whether these are the top topics beyond doubt.
    pub certified: bool,
    /// Most weight any topic's count may miss.
    pub error_bound: u64,
    /// Events refused as older than the window, since the tenant appeared.
    pub late: u64,
    /// Events lost to full memory, since the tenant appeared.
    pub dropped: u64,
    /// Events shed under overload, since the tenant appeared.
    pub shed: u64,
    /// The topics, best first.
    pub topics: Vec<TopicLine>,
    /// One line in words.
    pub tldr: Option<Box<str>>,
    /// The program that wrote it.
    pub program: Option<Box<str>>,
    /// Why it was not the tenant's own, if that failed.
    pub program_fault: Option<ProgramFault>,
}

/// A tenant's program that failed and waits.
#[derive(Clone, Debug, Eq, PartialEq, serde::Serialize)]
pub struct ProgramFault {
    /// Always PROGRAM_FAILED.
    pub code: &'static str,
    /// The last fault.
    pub message: Box<str>,
    /// When it is tried again, if it is known.
    pub retry_at_ms: Option<u64>,
    /// Faults since the tenant got its window.
    pub faults: u64,
}

/// One topic of an answer.
#[derive(Clone, Debug, Eq, PartialEq, serde::Serialize)]
pub struct TopicLine {
    /// The topic's name.
    pub topic: Box<str>,
    /// Weight counted.
    pub count: u64,
    /// Least true weight.
    pub low: u64,
    /// Most true weight.
    pub high: u64,
    /// Weight a second: the recent span less the whole window.
    pub velocity: Milli,
    /// Trend score.
    pub score: Milli,
    /// The state as a word.
    #[serde(serialize_with = "trend_word")]
    pub trend: Trend,
    /// A sample message, once text events exist.
    pub sample: Option<Box<str>>,
}

fn trend_word<S: Serializer>(trend: &Trend, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(trend.name())
}

/// Thousandths; in JSON a decimal with exactly three places.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Milli(pub i64);

impl Serialize for Milli {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let sign = if self.0 < 0 { "-" } else { "" };
        let size = self.0.unsigned_abs();
        let text = format!("{sign}{}.{:03}", size / 1_000, size % 1_000);
        RawValue::from_string(text).map_err(serde::ser::Error::custom)?.serialize(serializer)
    }
}

/// One tenant of the list.
#[derive(Clone, Debug, Eq, PartialEq, serde::Serialize)]
pub struct TenantLine {
    /// The tenant's name.
    pub tenant: Box<str>,
    /// Weight in its window.
    pub total: u64,
    /// Events in its window.
    pub events: u64,
    /// Topics in its window.
    pub topics: u64,
    /// The shard that owns it.
    pub shard: usize,
    /// The program it runs.
    pub program: Option<Box<str>>,
}

/// A shard's numbers at one moment.
#[derive(Clone, Debug, Eq, PartialEq, serde::Serialize)]
pub struct ShardStats {
    /// Index of the shard.
    pub shard: usize,
    /// Its direct listener.
    pub address: Option<SocketAddr>,
    /// The core it is pinned to.
    pub core: Option<usize>,
    /// Vnodes it owns.
    pub vnodes: usize,
    /// Numbers that only rise.
    #[serde(serialize_with = "counters_by_name")]
    pub counters: Vec<Counter>,
    /// How full each table, queue and buffer is.
    #[serde(serialize_with = "levels_by_name")]
    pub levels: Vec<Level>,
    /// Refusals by code.
    #[serde(serialize_with = "refusals_by_name")]
    pub refused: Vec<(Refusal, u64)>,
}

/// A number that only rises.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Counter {
    /// Its name, without prefix or `_total`: `events_applied`.
    pub name: &'static str,
    /// One sentence.
    pub help: &'static str,
    /// Its value.
    pub value: u64,
}

/// How full something bounded is.
#[derive(Clone, Copy, Debug, Eq, PartialEq, serde::Serialize)]
pub struct Level {
    /// Its name, without prefix: `tenants`.
    #[serde(skip)]
    pub name: &'static str,
    /// One sentence.
    #[serde(skip)]
    pub help: &'static str,
    /// In use now.
    pub now: u64,
    /// The limit.
    pub max: u64,
    /// Most ever in use.
    pub high_water: u64,
}

fn counters_by_name<S: Serializer>(counters: &[Counter], to: S) -> Result<S::Ok, S::Error> {
    let mut map = to.serialize_map(Some(counters.len()))?;
    for counter in counters {
        map.serialize_entry(counter.name, &counter.value)?;
    }
    map.end()
}

fn levels_by_name<S: Serializer>(levels: &[Level], to: S) -> Result<S::Ok, S::Error> {
    let mut map = to.serialize_map(Some(levels.len()))?;
    for level in levels {
        map.serialize_entry(level.name, level)?;
    }
    map.end()
}

fn refusals_by_name<S: Serializer>(refused: &[(Refusal, u64)], to: S) -> Result<S::Ok, S::Error> {
    let mut map = to.serialize_map(Some(refused.len()))?;
    for (refusal, count) in refused {
        map.serialize_entry(refusal.name(), count)?;
    }
    map.end()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousandths_are_exact() {
        let json = |milli| serde_json::to_string(&Milli(milli)).unwrap();
        assert_eq!(json(0), "0.000");
        assert_eq!(json(4_200), "4.200");
        assert_eq!(json(-1), "-0.001");
        assert_eq!(json(i64::MIN), "-9223372036854775.808");
        assert_eq!(json(i64::MAX), "9223372036854775.807");
    }
}
