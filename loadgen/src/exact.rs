//! Every tenant's window, kept exactly by keeping its events.
//!
//! Owns: the truth that a replay is checked against. Nothing is shared with the server: no ring,
//! no increments, just the events of the window counted anew for each question. Memory is bounded
//! by the window's events and the file's distinct names.

use crate::check::Expected;
use std::collections::{BTreeMap, HashMap, VecDeque};
use trendsrv_proto::{TenantId, TopicId};

/// One tenant's events that can still be in a window.
#[derive(Debug)]
struct Tenant {
    name: String,
    events: VecDeque<(u64, u32, u32)>,
}

/// All tenants.
#[derive(Debug)]
pub(crate) struct Exact {
    slide_ms: u64,
    panes: u64,
    tenants: Vec<Tenant>,
    tenant_places: HashMap<String, usize>,
    topics: Vec<String>,
    topic_places: HashMap<String, u32>,
}

impl Exact {
    /// For a window of `panes` slides.
    pub(crate) fn new(slide_ms: u32, panes: u32) -> Self {
        Self {
            slide_ms: u64::from(slide_ms),
            panes: u64::from(panes),
            tenants: Vec::new(),
            tenant_places: HashMap::new(),
            topics: Vec::new(),
            topic_places: HashMap::new(),
        }
    }

    /// Counts an event; times never run backward.
    pub(crate) fn push(&mut self, tenant: &str, topic: &str, weight: u32, ts_ms: u64) {
        let place = match self.tenant_places.get(tenant) {
            Some(place) => *place,
            None => {
                let events = VecDeque::new();
                self.tenants.push(Tenant { name: tenant.to_owned(), events });
                self.tenant_places.insert(tenant.to_owned(), self.tenants.len() - 1);
                self.tenants.len() - 1
            }
        };
        let topic = match self.topic_places.get(topic) {
            Some(place) => *place,
            None => {
                let place = u32::try_from(self.topics.len()).unwrap_or(u32::MAX);
                self.topics.push(topic.to_owned());
                self.topic_places.insert(topic.to_owned(), place);
                place
            }
        };
        let pane = ts_ms / self.slide_ms;
        self.forget(place, pane);
        self.tenants[place].events.push_back((pane, topic, weight));
    }

    /// Drops what no window that ends in `pane` or later can hold.
    fn forget(&mut self, place: usize, pane: u64) {
        let (events, panes) = (&mut self.tenants[place].events, self.panes);
        while events.front().is_some_and(|event| event.0 + panes <= pane) {
            events.pop_front();
        }
    }

    /// Names and ids of all tenants seen, by place.
    pub(crate) fn tenants(&self) -> impl Iterator<Item = (&str, TenantId)> {
        self.tenants.iter().map(|tenant| (tenant.name.as_str(), TenantId::of(&tenant.name)))
    }

    /// What the tenant's window that ends at `at_ms` holds; no event is later than that.
    pub(crate) fn expected(&self, place: usize, at_ms: u64) -> Expected {
        let last = at_ms / self.slide_ms;
        let live = self.tenants[place].events.iter().filter(|event| event.0 + self.panes > last);
        let mut weights: BTreeMap<u32, u64> = BTreeMap::new();
        let mut events = 0;
        for &(_, topic, weight) in live {
            *weights.entry(topic).or_default() += u64::from(weight);
            events += 1;
        }
        let topic = |(topic, weight): (u32, u64)| {
            let name = self.topics[topic as usize].clone();
            (TopicId::of(&name), name, weight)
        };
        Expected::new(events, weights.into_iter().map(topic).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::SmallRng;
    use rand::{Rng as _, SeedableRng as _};

    #[test]
    fn windows_agree_with_the_rule_applied_to_every_event() {
        for seed in 0..20 {
            let mut random = SmallRng::seed_from_u64(seed);
            let mut exact = Exact::new(1_000, 10);
            let (mut all, mut ts_ms) = (Vec::new(), 5_000_000_u64);
            for _ in 0..2_000 {
                ts_ms += match random.random_range(0..100) {
                    0 => random.random_range(0..25_000),
                    _ => random.random_range(0..300),
                };
                let tenant = ["a", "b", "c"][random.random_range(0..3)];
                let topic = format!("t{}", random.random_range(0..8));
                let weight = random.random_range(1..=9);
                exact.push(tenant, &topic, weight, ts_ms);
                all.push((tenant, topic, weight, ts_ms));
                if random.random_range(0..50) != 0 {
                    continue;
                }
                let at = ts_ms + random.random_range(0..12_000);
                let names: Vec<_> = exact.tenants().map(|(n, _)| n.to_owned()).collect();
                for (place, name) in names.iter().enumerate() {
                    let last = at / 1_000;
                    let mine = all
                        .iter()
                        .filter(|e| e.0 == name && e.3 / 1_000 <= last && e.3 / 1_000 + 10 > last);
                    let mut weights = BTreeMap::new();
                    let mut events = 0;
                    for event in mine {
                        *weights.entry(event.1.clone()).or_insert(0_u64) += u64::from(event.2);
                        events += 1;
                    }
                    let mut want: Vec<_> = weights.into_iter().collect();
                    want.sort_by(|x, y| y.1.cmp(&x.1).then_with(|| x.0.cmp(&y.0)));
                    let expected = exact.expected(place, at);
                    let got: Vec<_> = expected.topics.iter().map(|t| (t.1.clone(), t.2)).collect();
                    assert_eq!((got, expected.events), (want, events), "seed {seed}, at {at}");
                    assert_eq!(expected.total, expected.topics.iter().map(|t| t.2).sum::<u64>());
                }
            }
        }
    }
}
