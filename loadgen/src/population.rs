//! Who sends about what: tenants, their topics, and the names behind the ids.
//!
//! Owns: names by index and by id, the draw of tenants and topics. The last tenant belongs to the
//! probe and is never drawn.

use crate::scenario::{Scenario, TenantDistribution};
use crate::zipf::Zipf;
use rand::Rng;
use std::collections::HashMap;
use trendsrv_proto::{TenantId, TopicId, fmix64};

/// What an id means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Named {
    /// A tenant by its index.
    Tenant(u32),
    /// A topic by its place in the vocabulary.
    Topic(u32),
}

/// The tenants and topics of a scenario.
#[derive(Debug)]
pub(crate) struct Population {
    seed: u64,
    topics_per_tenant: u32,
    tenants: Vec<TenantId>,
    vocabulary: Vec<TopicId>,
    by_id: HashMap<u64, Named>,
    draw_tenant: Zipf,
    draw_topic: Zipf,
}

impl Population {
    pub(crate) fn new(scenario: &Scenario) -> Self {
        let exponent = match scenario.tenant_distribution {
            TenantDistribution::Uniform => 0.0,
            TenantDistribution::Zipf => scenario.tenant_zipf,
        };
        let tenants: Vec<_> =
            (0..scenario.tenants).map(|i| TenantId::of(&tenant_name(i))).collect();
        let vocabulary: Vec<_> =
            (0..scenario.vocabulary).map(|i| TopicId::of(&topic_name(i))).collect();
        let mut by_id = HashMap::with_capacity(tenants.len() + vocabulary.len());
        by_id.extend((0..).zip(&tenants).map(|(i, id)| (id.0, Named::Tenant(i))));
        by_id.extend((0..).zip(&vocabulary).map(|(i, id)| (id.0, Named::Topic(i))));
        Self {
            seed: scenario.seed,
            topics_per_tenant: scenario.topics_per_tenant,
            tenants,
            vocabulary,
            by_id,
            draw_tenant: Zipf::new(scenario.tenants - 1, exponent),
            draw_topic: Zipf::new(scenario.topics_per_tenant, scenario.topic_zipf),
        }
    }

    /// Draws a tenant.
    pub(crate) fn tenant(&self, random: &mut impl Rng) -> u32 {
        self.draw_tenant.draw(random)
    }

    /// Draws one of a tenant's topics, as a place in the vocabulary.
    pub(crate) fn topic(&self, tenant: u32, random: &mut impl Rng) -> u32 {
        self.topic_at(tenant, self.draw_topic.draw(random))
    }

    /// A tenant's topic of some rank.
    fn topic_at(&self, tenant: u32, rank: u32) -> u32 {
        let mixed = fmix64(self.seed ^ u64::from(tenant) << 32 ^ u64::from(rank));
        let place = mixed % self.vocabulary.len() as u64;
        u32::try_from(place).unwrap_or(0)
    }

    /// Every topic a tenant can have.
    pub(crate) fn topics_of(&self, tenant: u32) -> impl Iterator<Item = u32> + use<'_> {
        (0..self.topics_per_tenant).map(move |rank| self.topic_at(tenant, rank))
    }

    /// The tenant of the probe.
    pub(crate) fn probe_tenant(&self) -> u32 {
        u32::try_from(self.tenants.len() - 1).unwrap_or(u32::MAX)
    }

    pub(crate) fn tenant_id(&self, tenant: u32) -> TenantId {
        self.tenants[tenant as usize]
    }

    pub(crate) fn topic_id(&self, topic: u32) -> TopicId {
        self.vocabulary[topic as usize]
    }

    /// What an id means, if it is of this population.
    pub(crate) fn named(&self, id: u64) -> Option<Named> {
        self.by_id.get(&id).copied()
    }

    /// The name of an id of this population.
    pub(crate) fn name_of(&self, id: u64) -> Option<String> {
        self.by_id.get(&id).map(|named| match *named {
            Named::Tenant(i) => tenant_name(i),
            Named::Topic(i) => topic_name(i),
        })
    }
}

/// The name of a tenant.
pub(crate) fn tenant_name(index: u32) -> String {
    format!("tenant-{index:06}")
}

/// The name of a topic: a word of three syllables for the first 10,000, numbered beyond.
pub(crate) fn topic_name(index: u32) -> String {
    const STARTS: [&str; 25] = [
        "ba", "ce", "di", "fo", "gu", "ha", "je", "ki", "lo", "mu", "na", "pe", "qui", "ro", "su",
        "ta", "ve", "wi", "yo", "zu", "bra", "cle", "dri", "flo", "gru",
    ];
    const ENDS: [&str; 20] = [
        "ban", "cel", "dir", "fos", "gum", "han", "jel", "kir", "los", "mum", "nan", "pel", "rir",
        "sos", "tum", "van", "wel", "yir", "zos", "chum",
    ];
    let (first, second, third) = (index % 25, index / 25 % 20, index / 500 % 20);
    let word =
        format!("{}{}{}", STARTS[first as usize], STARTS[second as usize], ENDS[third as usize]);
    match index / 10_000 {
        0 => word,
        round => format!("{word} {}", round + 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_differ_and_come_back_from_their_ids() {
        let names: HashSet<_> = (0..30_000).map(topic_name).collect();
        assert_eq!(names.len(), 30_000);
        let population = Population::new(&Scenario { tenants: 50, ..Scenario::default() });
        let id = population.tenant_id(7);
        assert_eq!(population.name_of(id.0).as_deref(), Some("tenant-000007"));
        let id = population.topic_id(9_999);
        assert_eq!(population.name_of(id.0), Some(topic_name(9_999)));
        assert_eq!(population.name_of(1), None);
    }
}
