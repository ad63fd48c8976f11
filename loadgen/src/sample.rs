//! Exact counts of some tenants, to hold the server's answers against.
//!
//! Owns: which tenants are sampled, and what was acknowledged for them by topic and pane.

use crate::check::Expected;
use crate::pool::SampleEvent;
use crate::population::{Population, topic_name};
use crate::scenario::Scenario;
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use std::collections::{BTreeMap, HashMap};

/// Which tenants are sampled. Tenant 0 always is: under Zipf's law it is the hottest.
#[derive(Debug)]
pub(crate) struct Sample {
    tenants: Vec<u32>,
    places: HashMap<u32, u32>,
}

impl Sample {
    pub(crate) fn new(scenario: &Scenario) -> Self {
        let mut random = SmallRng::seed_from_u64(scenario.seed ^ 0x5a5a);
        let drawn = scenario.tenants - 1;
        let want = scenario.sample.min(drawn as usize);
        let (mut tenants, mut places) = (Vec::with_capacity(want), HashMap::new());
        let mut next = 0;
        while tenants.len() < want {
            if let std::collections::hash_map::Entry::Vacant(entry) = places.entry(next) {
                entry.insert(u32::try_from(tenants.len()).unwrap_or(u32::MAX));
                tenants.push(next);
            }
            next = random.random_range(0..drawn);
        }
        Self { tenants, places }
    }

    /// The sampled tenants.
    pub(crate) fn tenants(&self) -> &[u32] {
        &self.tenants
    }

    /// The place of a tenant in the sample, if it is there.
    pub(crate) fn place(&self, tenant: u32) -> Option<u32> {
        self.places.get(&tenant).copied()
    }
}

/// Weight and events.
type Cell = (u64, u64);

/// What was acknowledged for the sampled tenants.
#[derive(Debug)]
pub(crate) struct Ledger {
    slide_ms: u64,
    panes: u64,
    counts: HashMap<(u32, u32, u64), Cell>,
}

impl Ledger {
    /// For a window of `panes` slides.
    pub(crate) fn new(slide_ms: u32, panes: u32) -> Self {
        let (slide_ms, panes) = (u64::from(slide_ms), u64::from(panes));
        Self { slide_ms, panes, counts: HashMap::new() }
    }

    /// Counts the sampled events of an acknowledged frame.
    pub(crate) fn count(&mut self, base_ms: u64, events: &[SampleEvent]) {
        for event in events {
            let ts_ms = base_ms.saturating_add_signed(i64::from(event.offset_ms));
            let key = (event.sampled, event.topic, ts_ms / self.slide_ms);
            let cell = self.counts.entry(key).or_default();
            cell.0 += u64::from(event.weight);
            cell.1 += 1;
        }
    }

    /// What the window that ends at `as_of_ms` must hold for each sampled tenant that is asked
    /// about; `as_of_ms[i]` belongs to place `i`.
    pub(crate) fn expected(&self, population: &Population, as_of_ms: &[u64]) -> Vec<Expected> {
        let mut sums: Vec<BTreeMap<u32, Cell>> = vec![BTreeMap::new(); as_of_ms.len()];
        for (&(sampled, topic, pane), cell) in &self.counts {
            let last = as_of_ms[sampled as usize] / self.slide_ms;
            if pane <= last && pane + self.panes > last {
                let sum = sums[sampled as usize].entry(topic).or_default();
                *sum = (sum.0 + cell.0, sum.1 + cell.1);
            }
        }
        let expected = |topics: BTreeMap<u32, Cell>| {
            let events = topics.values().map(|cell| cell.1).sum();
            let name = |(topic, cell): (u32, Cell)| {
                (population.topic_id(topic), topic_name(topic), cell.0)
            };
            Expected::new(events, topics.into_iter().map(name).collect())
        };
        sums.into_iter().map(expected).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sample_is_by_seed_without_repeats_and_spares_the_probe() {
        let scenario = Scenario { tenants: 300, sample: 299, ..Scenario::default() };
        let sample = Sample::new(&scenario);
        let mut tenants = sample.tenants().to_vec();
        assert_eq!(tenants, Sample::new(&scenario).tenants());
        tenants.sort_unstable();
        assert_eq!(tenants, (0..299).collect::<Vec<_>>());
        assert!((0..299).all(|t| sample.tenants()[sample.place(t).unwrap() as usize] == t));
        assert_eq!(sample.place(299), None);
    }

    #[test]
    fn windows_agree_with_brute_force() {
        let scenario = Scenario { tenants: 10, sample: 4, ..Scenario::default() };
        let population = Population::new(&scenario);
        let mut random = SmallRng::seed_from_u64(11);
        let mut ledger = Ledger::new(1_000, 5);
        let mut all = Vec::new();
        for _ in 0..5_000 {
            let base_ms = 1_000_000 + random.random_range(0..20_000);
            let event = SampleEvent {
                sampled: random.random_range(0..4),
                topic: random.random_range(0..6),
                weight: random.random_range(1..100),
                offset_ms: -random.random_range(0..1_500),
            };
            ledger.count(base_ms, &[event]);
            all.push((base_ms.saturating_add_signed(event.offset_ms.into()), event));
        }
        for at in (999_000..1_030_000).step_by(777) {
            let expected = ledger.expected(&population, &[at; 4]);
            for (sampled, expected) in (0..).zip(&expected) {
                let inside = |ts: u64| ts / 1_000 <= at / 1_000 && ts / 1_000 + 5 > at / 1_000;
                let mine: Vec<_> =
                    all.iter().filter(|(ts, e)| e.sampled == sampled && inside(*ts)).collect();
                assert_eq!(expected.events, mine.len() as u64, "at {at}");
                let total: u64 = mine.iter().map(|(_, e)| u64::from(e.weight)).sum();
                assert_eq!(expected.total, total, "at {at}");
                for (id, _, weight) in &expected.topics {
                    let brute: u64 = mine
                        .iter()
                        .filter(|(_, e)| population.topic_id(e.topic) == *id)
                        .map(|(_, e)| u64::from(e.weight))
                        .sum();
                    assert_eq!(*weight, brute);
                }
            }
        }
    }
}
