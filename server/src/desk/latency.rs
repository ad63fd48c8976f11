//! `GET /v1/latency`: how long the stages of the way take, over all shards and for each.
//!
//! Histograms are kept by the shards for their whole life; nothing is kept here.

use super::mail::{DeskMail, Refused, StageLatency};
use super::shards::Shards;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Serializer as _, V2Serializer};
use serde_json::{Map, Value, json};

/// Asks every shard and adds up what they say.
pub(super) async fn report(shards: &Shards) -> Result<Value, Refused> {
    let mut all: Vec<StageLatency> = Vec::new();
    let mut each = Vec::with_capacity(shards.count());
    for shard in 0..shards.count() {
        let stages = shards.ask(shard, DeskMail::Latency).await?;
        each.push(json!({ "shard": shard, "stages": in_words(&stages) }));
        for stage in stages {
            match all.iter_mut().find(|known| known.stage == stage.stage) {
                Some(known) => known.us += stage.us,
                None => all.push(stage),
            }
        }
    }
    Ok(json!({ "unit": "us", "stages": in_words(&all), "shards": each }))
}

fn in_words(stages: &[StageLatency]) -> Map<String, Value> {
    stages.iter().map(|stage| (stage.stage.to_owned(), percentiles(&stage.us))).collect()
}

fn percentiles(us: &Histogram<u64>) -> Value {
    let mut bytes = Vec::new();
    // Writing into memory fails for a histogram that needs more than it can address: not ours.
    let packed = V2Serializer::new().serialize(us, &mut bytes).is_ok();
    json!({
        "count": us.len(),
        "p50": us.value_at_quantile(0.5),
        "p90": us.value_at_quantile(0.9),
        "p99": us.value_at_quantile(0.99),
        "p999": us.value_at_quantile(0.999),
        "p9999": us.value_at_quantile(0.9999),
        "max": us.max(),
        "histogram_v2": packed.then(|| STANDARD.encode(&bytes)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use hdrhistogram::serialization::Deserializer;

    #[test]
    fn a_stage_is_told_in_percentiles_and_as_a_histogram_that_reads_back() {
        let mut us = Histogram::new_with_bounds(1, 1_000_000, 3).unwrap();
        (1..=1_000).for_each(|n| us.record(n).unwrap());
        let told = in_words(&[StageLatency { stage: "log_commit", us: us.clone() }]);
        let stage = &told["log_commit"];
        assert_eq!(
            (&stage["count"], &stage["p50"], &stage["max"]),
            (&1_000.into(), &500.into(), &1_000.into())
        );
        let bytes = STANDARD.decode(stage["histogram_v2"].as_str().unwrap()).unwrap();
        let back: Histogram<u64> = Deserializer::new().deserialize(&mut &bytes[..]).unwrap();
        assert_eq!(back, us);
    }
}
