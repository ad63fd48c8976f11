//! What load to make: named scenarios, or a TOML file with the same fields.

use crate::limits::{
    CONNECTIONS_MAX, FRAME_EVENTS_MAX, HOSTILE_PROGRAMS_MAX, POOL_BYTES_MAX, SAMPLE_MAX,
    TENANTS_MAX, TOPICS_PER_TENANT_MAX,
};
use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};
use std::path::Path;
use trendsrv_proto::AckMode;
use trendsrv_proto::limits::WEIGHT_MAX;

/// How tenants are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum TenantDistribution {
    /// Every tenant alike.
    Uniform,
    /// Zipf's law with `tenant_zipf`.
    Zipf,
}

/// When frames are acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Ack {
    /// In the owner shard's queue.
    Received,
    /// Later queries see it.
    Applied,
    /// In the log.
    Durable,
}

impl Ack {
    /// The mode on the wire.
    pub(crate) const fn mode(self) -> AckMode {
        match self {
            Self::Received => AckMode::Received,
            Self::Applied => AckMode::Applied,
            Self::Durable => AckMode::Durable,
        }
    }
}

/// A load, completely described; with the same seed it is the same to the byte.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Scenario {
    /// Tenants; the last one belongs to the probe.
    pub(crate) tenants: u32,
    /// Topics each tenant draws from the vocabulary.
    pub(crate) topics_per_tenant: u32,
    /// Exponent of Zipf's law for a tenant's topics.
    pub(crate) topic_zipf: f64,
    /// Topic names shared by all tenants.
    pub(crate) vocabulary: u32,
    /// How tenants are drawn.
    pub(crate) tenant_distribution: TenantDistribution,
    /// Exponent of Zipf's law for tenants.
    pub(crate) tenant_zipf: f64,
    /// Events in a row for the same tenant.
    pub(crate) run_length: u32,
    /// Events in a frame.
    pub(crate) frame_events: usize,
    /// Connections, rounded up to a multiple of the shards.
    pub(crate) connections: usize,
    /// Events a second; 0 is as many as the server takes.
    pub(crate) rate: u64,
    /// Length of the measurement.
    pub(crate) seconds: u64,
    /// Load before the measurement.
    pub(crate) warmup_seconds: u64,
    /// Seed of everything drawn.
    pub(crate) seed: u64,
    /// When frames are acknowledged.
    pub(crate) ack: Ack,
    /// Weight of every event.
    pub(crate) weight: u32,
    /// Event times lie up to this far before the frame's time.
    pub(crate) spread_ms: u32,
    /// Bytes of frames made ahead; more than the caches hold.
    pub(crate) pool_bytes: usize,
    /// Bytes sent and not acknowledged, per connection.
    pub(crate) in_flight_bytes_max: usize,
    /// Tenants counted exactly and checked at the end.
    pub(crate) sample: usize,
    /// Probes a second for the time from send to visible.
    pub(crate) visible_probes: u32,
    /// Queries a second for the time of an answer.
    pub(crate) queries: u32,
    /// Ask for the top 10 of every tenant once in so many milliseconds, beside the load; 0 is not
    /// at all.
    pub(crate) refresh_ms: u32,
    /// Wait on a 1 ms timer between frames of a paced load instead of spinning: frees the core
    /// for the server, and adds up to a millisecond to every latency.
    pub(crate) sleep: bool,
    /// Tenants in a thousand that get a hostile program on the pressed side; with more than none,
    /// the load is made twice, to compare.
    pub(crate) hostile_per_mille: u32,
    /// What they run, in turn: programs of the load generator, or files.
    pub(crate) hostile_programs: Vec<String>,
    /// Makes the load once for each kind of acknowledgement, with and without a log, to compare;
    /// `ack` is not looked at then.
    pub(crate) durability: bool,
}

impl Default for Scenario {
    fn default() -> Self {
        Self {
            tenants: 100_000,
            topics_per_tenant: 12,
            topic_zipf: 1.0,
            vocabulary: 10_000,
            tenant_distribution: TenantDistribution::Uniform,
            tenant_zipf: 1.0,
            run_length: 1,
            frame_events: 512,
            connections: 16,
            rate: 0,
            seconds: 30,
            warmup_seconds: 5,
            seed: 1,
            ack: Ack::Applied,
            weight: 1,
            spread_ms: 0,
            pool_bytes: 128 << 20,
            in_flight_bytes_max: 256 << 10,
            sample: 200,
            visible_probes: 50,
            queries: 100,
            refresh_ms: 0,
            sleep: false,
            hostile_per_mille: 0,
            hostile_programs: Vec::new(),
            durability: false,
        }
    }
}

/// Names and what they change of the default.
pub(crate) const NAMES: [&str; 11] = [
    "100k",
    "100k-refresh",
    "100k-run16",
    "100k-run64",
    "100k-zipf",
    "1m",
    "durability",
    "hostile",
    "hostile-burn",
    "smoke",
    "smoke-zipf",
];

impl Scenario {
    /// A named scenario, or the file of that name.
    pub(crate) fn load(name: &str) -> anyhow::Result<Self> {
        let smoke = Self {
            tenants: 1_000,
            connections: 4,
            rate: 20_000,
            seconds: 2,
            warmup_seconds: 1,
            pool_bytes: 4 << 20,
            frame_events: 64,
            sample: 50,
            ..Self::default()
        };
        let zipf = TenantDistribution::Zipf;
        let hostile = |programs: &[&str]| Self {
            hostile_per_mille: 10,
            hostile_programs: programs.iter().map(|name| (*name).to_owned()).collect(),
            ..Self::default()
        };
        let scenario = match name {
            "100k" => Self::default(),
            "100k-refresh" => Self { rate: 200_000, refresh_ms: 1_000, ..Self::default() },
            "100k-run16" => Self { run_length: 16, ..Self::default() },
            // Frames in which every tenant comes.
            "100k-run64" => Self { run_length: 64, pool_bytes: 192 << 20, ..Self::default() },
            "100k-zipf" => Self { tenant_distribution: zipf, ..Self::default() },
            // The frames hold five events of each tenant.
            "1m" => Self { tenants: 1_000_000, rate: 4_200_000, ..Self::default() },
            "durability" => Self { durability: true, rate: 4_200_000, ..Self::default() },
            "hostile" => hostile(&["loop-summarise", "loop-observe"]),
            "hostile-burn" => hostile(&["burn"]),
            "smoke" => smoke,
            "smoke-zipf" => Self { tenant_distribution: zipf, spread_ms: 500, ..smoke },
            path if Path::new(path).extension().is_some_and(|e| e == "toml") => {
                let text = std::fs::read_to_string(path)
                    .with_context(|| format!("{path}: cannot read the scenario"))?;
                toml::from_str(&text).with_context(|| format!("{path}: not a scenario"))?
            }
            other => bail!(
                "no scenario {other:?}; there are {}, or name a file that ends in .toml",
                NAMES.join(", ")
            ),
        };
        Ok(scenario)
    }

    /// Checks every field.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        let sample_max = SAMPLE_MAX.min(self.tenants as usize);
        range("tenants", u64::from(self.tenants), 2, u64::from(TENANTS_MAX))?;
        let topics = u64::from(TOPICS_PER_TENANT_MAX);
        range("topics_per_tenant", u64::from(self.topics_per_tenant), 1, topics)?;
        range("vocabulary", u64::from(self.vocabulary), 1, 1 << 20)?;
        range("run_length", u64::from(self.run_length), 1, 1 << 20)?;
        range("frame_events", self.frame_events as u64, 1, FRAME_EVENTS_MAX as u64)?;
        range("connections", self.connections as u64, 1, CONNECTIONS_MAX as u64)?;
        range("seconds", self.seconds, 1, 86_400)?;
        range("warmup_seconds", self.warmup_seconds, 0, 3_600)?;
        range("weight", u64::from(self.weight), 1, u64::from(WEIGHT_MAX))?;
        range("spread_ms", u64::from(self.spread_ms), 0, 30_000)?;
        range("pool_bytes", self.pool_bytes as u64, 1 << 16, POOL_BYTES_MAX as u64)?;
        let frame = (40 + 24 * self.frame_events) as u64;
        range("in_flight_bytes_max", self.in_flight_bytes_max as u64, frame, 64 << 20)?;
        range("sample", self.sample as u64, 1, sample_max as u64)?;
        range("visible_probes", u64::from(self.visible_probes), 1, 1_000)?;
        range("queries", u64::from(self.queries), 1, 10_000)?;
        range("refresh_ms", u64::from(self.refresh_ms), 0, 3_600_000)?;
        range("hostile_per_mille", u64::from(self.hostile_per_mille), 0, 500)?;
        let programs = (self.hostile_programs.len() as u64, HOSTILE_PROGRAMS_MAX as u64);
        let least = u64::from(self.hostile_per_mille > 0);
        range("the number of hostile_programs", programs.0, least, programs.1)?;
        for (what, exponent) in [("topic_zipf", self.topic_zipf), ("tenant_zipf", self.tenant_zipf)]
        {
            if !(0.0..=8.0).contains(&exponent) {
                bail!("{what} is {exponent}, must be 0 to 8");
            }
        }
        Ok(())
    }
}

fn range(what: &str, got: u64, min: u64, max: u64) -> anyhow::Result<()> {
    if (min..=max).contains(&got) {
        return Ok(());
    }
    bail!("{what} is {got}, must be {min} to {max}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_named_scenario_is_valid() {
        for name in NAMES {
            Scenario::load(name).and_then(|s| s.check()).unwrap();
        }
        let error = Scenario::load("101k").unwrap_err().to_string();
        assert!(error.contains("100k-zipf"), "{error}");
    }

    #[test]
    fn every_named_scenario_runs_in_the_lane_that_keeps_it_from_rotting() {
        let lanes = include_str!("../../ci.sh");
        let begin = lanes.find("lane_bench_smoke()").unwrap();
        let lane = &lanes[begin..begin + lanes[begin..].find("\n}\n").unwrap()];
        let words: Vec<&str> = lane.split([' ', ';', '\n']).collect();
        for name in NAMES {
            assert!(words.contains(&name), "ci.sh bench-smoke does not run {name}");
        }
    }

    #[test]
    fn a_file_has_the_same_fields_and_no_others() {
        let scenario: Scenario = toml::from_str("tenants = 5\nack = \"received\"").unwrap();
        assert_eq!((scenario.tenants, scenario.ack), (5, Ack::Received));
        let error = toml::from_str::<Scenario>("tenant = 5").unwrap_err().to_string();
        assert!(error.contains("tenant"), "{error}");
    }

    #[test]
    fn a_value_out_of_range_is_named() {
        let scenario = Scenario { frame_events: 681, ..Scenario::default() };
        let error = scenario.check().unwrap_err().to_string();
        assert_eq!(error, "frame_events is 681, must be 1 to 680");
    }
}
