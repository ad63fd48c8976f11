//! What is swept, where it is measured, and what load and server a point of it needs.

use crate::scenario::Scenario;
use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};

/// What changes from point to point; everything else stays as in the base scenario.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum,
)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Dimension {
    /// Tenants
    Tenants,
    /// Topics of each tenant
    Topics,
    /// Connections
    Connections,
    /// Events in a row for the same tenant
    RunLength,
    /// Shards, each on a core of its own
    Shards,
}

/// All of them, in the order of the report.
pub(crate) const DIMENSIONS: [Dimension; 5] = [
    Dimension::Tenants,
    Dimension::Topics,
    Dimension::Connections,
    Dimension::RunLength,
    Dimension::Shards,
];

/// Where one dimension is measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sweep {
    pub(crate) dimension: Dimension,
    pub(crate) values: Vec<u32>,
}

impl Dimension {
    /// Its name on the command line and in curves.json.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Tenants => "tenants",
            Self::Topics => "topics",
            Self::Connections => "connections",
            Self::RunLength => "run-length",
            Self::Shards => "shards",
        }
    }

    /// What its values count.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Tenants => "tenants",
            Self::Topics => "topics of each tenant",
            Self::Connections => "connections",
            Self::RunLength => "events in a row for the same tenant",
            Self::Shards => "shards",
        }
    }

    /// Where it is measured unless the command line says otherwise.
    pub(crate) fn sweep(self) -> Sweep {
        let values: &[u32] = match self {
            Self::Tenants => &[1_000, 10_000, 100_000, 1_000_000],
            Self::Topics => &[10, 100, 1_000],
            Self::Connections => &[1, 50, 500, 5_000],
            Self::RunLength => &[1, 4, 16, 64, 256],
            Self::Shards => &[1, 2],
        };
        Sweep { dimension: self, values: values.to_vec() }
    }

    /// The load of one point.
    pub(crate) fn scenario(self, base: &Scenario, value: u32) -> Scenario {
        let mut scenario = base.clone();
        match self {
            Self::Tenants => scenario.tenants = value,
            Self::Topics => {
                scenario.topics_per_tenant = value;
                scenario.vocabulary = scenario.vocabulary.max(value);
            }
            Self::Connections => {
                scenario.connections = value as usize;
                // As many bytes on their way in all, but a frame on each connection.
                let all = base.in_flight_bytes_max * base.connections;
                let least = 40 + 24 * scenario.frame_events;
                scenario.in_flight_bytes_max =
                    (all / scenario.connections).clamp(least, base.in_flight_bytes_max.max(least));
            }
            Self::RunLength => scenario.run_length = value,
            Self::Shards => {}
        }
        scenario.sample = scenario.sample.min(scenario.tenants.saturating_sub(1) as usize).max(1);
        scenario.pool_bytes = pool_bytes(&scenario);
        scenario
    }

    /// Shards of one point.
    pub(crate) const fn shards(self, value: u32) -> usize {
        match self {
            Self::Shards => value as usize,
            Self::Tenants | Self::Topics | Self::Connections | Self::RunLength => 1,
        }
    }
}

impl std::str::FromStr for Sweep {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let (name, values) = text
            .split_once('=')
            .with_context(|| format!("{text:?} is not DIMENSION=LIST, such as tenants=100,200"))?;
        let dimension = DIMENSIONS.into_iter().find(|d| d.name() == name).with_context(|| {
            let names = DIMENSIONS.map(Dimension::name).join(", ");
            format!("no dimension {name:?}; there are {names}")
        })?;
        let value = |value: &str| match value.parse::<u32>() {
            Ok(value @ 1..) => Ok(value),
            _ => bail!("{value:?} of {text:?} is not a number from 1 on"),
        };
        Ok(Self { dimension, values: values.split(',').map(value).collect::<Result<_, _>>()? })
    }
}

/// Bytes of frames in which every tenant comes, with as many topics of its own as fit.
fn pool_bytes(scenario: &Scenario) -> usize {
    let tenants = scenario.tenants as usize;
    let each_once = tenants * scenario.run_length as usize * RECORD_BYTES;
    // Twice as many events as topics: by Zipf's law they name about half of the topics.
    let topics = 2 * tenants * scenario.topics_per_tenant as usize * RECORD_BYTES;
    let wanted = (each_once + each_once / 8).max(topics.min(TOPIC_POOL_BYTES_MAX));
    wanted.max(scenario.pool_bytes)
}

/// What a server is told that is made for this load, and for no more; what the command line tells
/// it stands in the place of ours.
pub(crate) fn server_args(scenario: &Scenario, given: &[String]) -> Vec<String> {
    let tenants = u64::from(scenario.tenants);
    let names = (16 * tenants).max(2 * u64::from(scenario.vocabulary));
    let window = WINDOWS.iter().find(|(topics, _)| scenario.topics_per_tenant <= *topics);
    let window = window.map_or(WINDOW_BYTES_MAX, |(_, bytes)| *bytes);
    let windows = (tenants * window).min(WINDOWS_BYTES_MAX);
    let ours = [
        ("--tenants-max", tenants),
        ("--topics-max", names),
        ("--connections-max", scenario.connections as u64 + 1_000),
        ("--window-memory", windows.max(WINDOWS_BYTES_MIN)),
    ];
    let is_given = |flag: &str| given.iter().any(|word| word.split('=').next() == Some(flag));
    let ours = ours.into_iter().filter(|(flag, _)| !is_given(flag));
    let ours = ours.flat_map(|(flag, value)| [flag.to_owned(), value.to_string()]);
    ours.chain(given.iter().cloned()).collect()
}

/// Of the topics that each tenant has, how many its events name on average: the load repeats its
/// frames, so that a topic which is not in them never comes.
pub(crate) fn topics_named(scenario: &Scenario) -> f64 {
    let events = float(scenario.pool_bytes / RECORD_BYTES) / f64::from(scenario.tenants);
    let weights =
        (1..=scenario.topics_per_tenant).map(|rank| f64::from(rank).powf(-scenario.topic_zipf));
    let all: f64 = weights.clone().sum();
    weights.map(|weight| 1.0 - (1.0 - weight / all).powf(events)).sum()
}

fn float(n: usize) -> f64 {
    crate::process::float(n as u64)
}

/// Bytes of one event.
const RECORD_BYTES: usize = 24;
/// Most bytes of frames that are made for the sake of their topics alone.
const TOPIC_POOL_BYTES_MAX: usize = 2 << 30;
/// Topics, and the bytes to allow for the window of a tenant that has them: its block, and room
/// for the smaller block that it grew out of.
const WINDOWS: [(u32, u64); 5] =
    [(12, 10 << 10), (60, 16 << 10), (252, 56 << 10), (508, 112 << 10), (1_020, 220 << 10)];
const WINDOW_BYTES_MAX: u64 = 440 << 10;
/// What a server wants for its windows, however few they are and on however many shards.
const WINDOWS_BYTES_MIN: u64 = 64 << 20;
/// Most memory for all windows; beyond it, counts become estimates with a bound on their error.
const WINDOWS_BYTES_MAX: u64 = 10 << 30;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_point_is_a_valid_load() {
        for dimension in DIMENSIONS {
            for value in dimension.sweep().values {
                let scenario = dimension.scenario(&Scenario::default(), value);
                scenario.check().unwrap_or_else(|e| panic!("{} {value}: {e}", dimension.name()));
                assert!(dimension.shards(value) >= 1);
            }
        }
    }

    #[test]
    fn a_sweep_is_read_from_the_command_line() {
        let sweep: Sweep = "run-length=1,16".parse().unwrap();
        assert_eq!(sweep, Sweep { dimension: Dimension::RunLength, values: vec![1, 16] });
        for (text, what) in [
            ("tenants", "DIMENSION=LIST"),
            ("tenant=1", "there are tenants, topics, connections, run-length, shards"),
            ("shards=1,0", "\"0\""),
            ("topics=", "\"\""),
        ] {
            let error = text.parse::<Sweep>().unwrap_err().to_string();
            assert!(error.contains(what), "{text}: {error}");
        }
    }

    #[test]
    fn one_dimension_changes_and_the_frames_hold_every_tenant() {
        let base = Scenario::default();
        let long = Dimension::RunLength.scenario(&base, 256);
        assert!(long.pool_bytes >= 100_000 * 256 * RECORD_BYTES);
        assert_eq!(Scenario { run_length: 1, pool_bytes: base.pool_bytes, ..long }, base);
        let many = Dimension::Connections.scenario(&base, 5_000);
        assert_eq!((many.connections, many.in_flight_bytes_max), (5_000, 40 + 24 * 512));
        let one = Dimension::Connections.scenario(&base, 1);
        assert_eq!(one.in_flight_bytes_max, base.in_flight_bytes_max);
        let few = Dimension::Tenants.scenario(&base, 50);
        assert_eq!(few.sample, 49);
    }

    #[test]
    fn the_topics_that_a_load_names_follow_from_its_frames() {
        let of = |topics| topics_named(&Dimension::Topics.scenario(&Scenario::default(), topics));
        assert!((of(10) - 10.0).abs() < 0.5, "{}", of(10));
        assert!(of(1_000) > 300.0 && of(1_000) < 600.0, "{}", of(1_000));
    }

    #[test]
    fn a_server_is_made_for_its_load() {
        let of = |dimension: Dimension, value| {
            server_args(&dimension.scenario(&Scenario::default(), value), &[]).join(" ")
        };
        let many = of(Dimension::Tenants, 1_000_000);
        assert!(many.contains("--tenants-max 1000000 --topics-max 16000000"), "{many}");
        assert!(many.ends_with(&format!("--window-memory {}", 1_000_000_u64 * (10 << 10))));
        let wide = of(Dimension::Topics, 1_000);
        assert!(wide.ends_with(&format!("--window-memory {WINDOWS_BYTES_MAX}")), "{wide}");
        let few = of(Dimension::Tenants, 10);
        assert!(few.ends_with(&format!("--window-memory {WINDOWS_BYTES_MIN}")), "{few}");
        let given = ["--window-memory=1MiB", "--latency", "low"].map(str::to_owned);
        let told = server_args(&Scenario::default(), &given).join(" ");
        assert!(told.ends_with("1016 --window-memory=1MiB --latency low"), "{told}");
    }
}
