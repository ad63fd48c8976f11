//! Sample messages: for the topics of a tenant, one text that speaks of each.
//!
//! Owns the messages kept of texts. Never touches windows, names, or how topics were found.
//!
//! The sample of a topic is the message with the smallest hash among those of its live panes: each
//! of the messages is as likely as any other, whatever their order, and two shards' samples merge
//! by taking the smaller. Beside it those are kept that become the sample when it expires:
//!
//! ```text
//! pane         41     43     47     52      a later message with a smaller hash makes all
//! hash         0x02 < 0x1a < 0x30 < 0x77    before it useless, so hashes rise with panes
//!              ^ the sample until pane 41 expires, then 43's
//! ```
//!
//! Which topics: Space-Saving (A. Metwally, D. Agrawal and A. El Abbadi, "Efficient computation of
//! frequent and top-k elements in data streams", ICDT 2005) over the weight offered. A topic
//! without a live message makes room first, and what was offered counts half when a window's length
//! has passed: at the same panes for all, so that it does not matter when somebody looks.
//!
//! Invariants
//! - at most [`SAMPLE_TOPICS_MAX`] topics a tenant, [`SAMPLES_PER_TOPIC_MAX`] messages a topic,
//!   [`SAMPLE_TEXT_BYTES_MAX`] bytes a message, and `bytes_max` bytes in all: a message that does
//!   not fit is left out and counted in `full`;
//! - while a tenant speaks of no more topics than that, and no topic needs more messages, and
//!   memory lasts, the sample is the message of the smallest hash, whatever the order of events;
//! - a message ahead of its window replaces nothing until its pane has come.

use crate::limits::{SAMPLE_TEXT_BYTES_MAX, SAMPLE_TOPICS_MAX, SAMPLES_PER_TOPIC_MAX};
use crate::stats::Level;
use crate::tenants::Slot;
use trendsrv_proto::{TopicId, fmix64};

/// The samples of all tenants of a shard.
#[derive(Debug)]
pub(crate) struct Samples {
    tenants: Vec<Option<Box<Tenant>>>,
    panes: u64,
    level: Level,
    /// Messages left out because the memory was spent.
    pub(crate) full: u64,
}

/// A text on its way to be a sample.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Message<'a> {
    text: &'a str,
    hash: u64,
    pane: u64,
    /// The pane its tenant's window stands at.
    current: u64,
}

/// The samples of one tenant.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Tenant {
    pub(crate) topics: Vec<Sampled>,
    /// The latest pane its window was seen at.
    pub(crate) current: u64,
}

/// The messages about one topic, by pane.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Sampled {
    pub(crate) topic: TopicId,
    pub(crate) weight: u64,
    pub(crate) messages: Vec<Kept>,
}

/// A message, as far as it is shown.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) pane: u64,
    pub(crate) hash: u64,
    pub(crate) text: Box<str>,
}

impl Samples {
    /// No samples, of windows of `panes`.
    pub(crate) fn new(panes: u32, bytes_max: usize) -> Self {
        let level = Level { now: 0, high: 0, max: bytes_max as u64 };
        Self { tenants: Vec::new(), panes: u64::from(panes), level, full: 0 }
    }

    /// Offers a message about a topic, which counts as much as the topic does.
    pub(crate) fn offer(&mut self, slot: Slot, topic: TopicId, weight: u32, message: &Message<'_>) {
        let at = slot.0 as usize;
        if at >= self.tenants.len() {
            self.tenants.resize_with(at + 1, || None);
        }
        let before = self.tenants[at].as_ref().map_or(0, |tenant| tenant.bytes());
        let has_room = self.level.now + OFFER_BYTES_MAX <= self.level.max;
        if before == 0 && !has_room {
            self.full += 1;
            return;
        }
        let tenant = self.tenants[at].get_or_insert_default();
        tenant.advance(message.current, self.panes);
        if !tenant.offer(topic, weight, message, has_room) {
            self.full += 1;
        }
        self.level.now = self.level.now - before + tenant.bytes();
        self.level.high = self.level.high.max(self.level.now);
    }

    /// Forgets what has expired at `pane`, and the tenant when nothing is left.
    pub(crate) fn expire(&mut self, slot: Slot, pane: u64) {
        let Some(Some(tenant)) = self.tenants.get_mut(slot.0 as usize) else { return };
        let before = tenant.bytes();
        tenant.advance(pane, self.panes);
        self.level.now = self.level.now - before + tenant.bytes();
        if tenant.topics.is_empty() {
            self.free(slot);
        }
    }

    /// Forgets a tenant.
    pub(crate) fn free(&mut self, slot: Slot) {
        if let Some(tenant) = self.tenants.get_mut(slot.0 as usize).and_then(Option::take) {
            self.level.now -= tenant.bytes();
        }
    }

    /// The sample of a topic in the window that ends with `pane`; empty when there is none.
    pub(crate) fn of(&self, slot: Slot, topic: TopicId, pane: u64) -> &str {
        let Some(Some(tenant)) = self.tenants.get(slot.0 as usize) else { return "" };
        let Some(sampled) = tenant.topics.iter().find(|sampled| sampled.topic == topic) else {
            return "";
        };
        let live = |kept: &&Kept| kept.pane <= pane && kept.pane + self.panes > pane;
        let least = sampled.messages.iter().filter(live).min_by_key(|kept| kept.hash);
        least.map_or("", |kept| &kept.text)
    }

    /// All samples of a tenant.
    pub(crate) fn of_tenant(&self, slot: Slot) -> Option<&Tenant> {
        self.tenants.get(slot.0 as usize)?.as_deref()
    }

    /// Gives a tenant the samples it had. Returns how many messages were left out because the
    /// memory is spent: all or none.
    pub(crate) fn restore(&mut self, slot: Slot, tenant: Tenant) -> usize {
        let at = slot.0 as usize;
        let bytes = tenant.bytes();
        if self.level.now + bytes > self.level.max {
            let messages = tenant.topics.iter().map(|sampled| sampled.messages.len()).sum();
            self.full += messages as u64;
            return messages;
        }
        if at >= self.tenants.len() {
            self.tenants.resize_with(at + 1, || None);
        }
        self.free(slot);
        self.tenants[at] = Some(Box::new(tenant));
        self.level.now += bytes;
        self.level.high = self.level.high.max(self.level.now);
        0
    }

    /// Bytes in use.
    pub(crate) const fn level(&self) -> Level {
        self.level
    }
}

impl<'a> Message<'a> {
    /// A text of `pane` in a window that stands at `current`.
    pub(crate) fn new(text: &'a str, pane: u64, current: u64) -> Self {
        // The hash of names is as good for messages: XXH3-64.
        Self { text, hash: TopicId::of(text).0, pane, current }
    }

    /// What of it is kept: whole characters, control characters as spaces.
    fn cut(&self) -> Box<str> {
        let mut kept = String::with_capacity(self.text.len().min(SAMPLE_TEXT_BYTES_MAX));
        for char in self.text.chars() {
            let char = if char.is_control() { ' ' } else { char };
            if kept.len() + char.len_utf8() > SAMPLE_TEXT_BYTES_MAX {
                break;
            }
            kept.push(char);
        }
        kept.into_boxed_str()
    }
}

impl Tenant {
    /// Takes one message; `false` when it was wanted and there was no room.
    fn offer(
        &mut self,
        topic: TopicId,
        weight: u32,
        message: &Message<'_>,
        has_room: bool,
    ) -> bool {
        let weight = u64::from(weight);
        let known = self.topics.iter().position(|sampled| sampled.topic == topic);
        let at = match known {
            Some(at) => at,
            None if !has_room => return false,
            None => self.admit(topic),
        };
        let sampled = &mut self.topics[at];
        sampled.weight = sampled.weight.saturating_add(weight);
        let hash = fmix64(message.hash ^ topic.0);
        if sampled.is_useless(message.pane, hash, self.current) {
            return true;
        }
        if !has_room {
            return false;
        }
        sampled.keep(Kept { pane: message.pane, hash, text: message.cut() }, self.current);
        true
    }

    /// A place for a new topic: where there are too many, the least one's, with its weight.
    fn admit(&mut self, topic: TopicId) -> usize {
        let mut sampled = Sampled { topic, weight: 0, messages: Vec::new() };
        if self.topics.len() < SAMPLE_TOPICS_MAX {
            self.topics.push(sampled);
            return self.topics.len() - 1;
        }
        let by_weight = |at: &usize| (self.topics[*at].weight, self.topics[*at].topic);
        let least = (0..self.topics.len()).min_by_key(by_weight).unwrap_or(0);
        sampled.weight = self.topics[least].weight;
        self.topics[least] = sampled;
        least
    }

    /// The window has moved: what expired is forgotten, what has come into it takes its place.
    fn advance(&mut self, current: u64, panes: u64) {
        if current <= self.current {
            return;
        }
        let windows = current / panes - self.current / panes;
        let halvings = u32::try_from(windows).unwrap_or(u32::MAX);
        self.current = current;
        self.topics.retain_mut(|sampled| {
            sampled.messages.retain(|kept| kept.pane + panes > current);
            sampled.settle(current);
            sampled.weight = sampled.weight.checked_shr(halvings).unwrap_or(0);
            !sampled.messages.is_empty()
        });
    }

    fn bytes(&self) -> u64 {
        let messages = |sampled: &Sampled| {
            let text: usize = sampled.messages.iter().map(|kept| kept.text.len()).sum();
            text + sampled.messages.capacity() * size_of::<Kept>()
        };
        let topics: usize = self.topics.iter().map(messages).sum();
        let bytes = size_of::<Self>() + self.topics.capacity() * size_of::<Sampled>() + topics;
        bytes as u64
    }
}

impl Sampled {
    /// Whether a message can never become the sample: one as late or later has no larger hash.
    fn is_useless(&self, pane: u64, hash: u64, current: u64) -> bool {
        self.messages.iter().any(|kept| {
            kept.hash <= hash && (kept.pane == pane || kept.pane > pane && kept.pane <= current)
        })
    }

    /// Keeps a message that may become the sample, and drops those that no longer can.
    fn keep(&mut self, new: Kept, current: u64) {
        self.messages.retain(|kept| {
            let replaced = kept.pane == new.pane || kept.pane < new.pane && new.pane <= current;
            kept.hash < new.hash || !replaced
        });
        if self.messages.len() >= SAMPLES_PER_TOPIC_MAX {
            self.messages.remove(self.shortest_reign());
        }
        let at = self.messages.partition_point(|kept| kept.pane < new.pane);
        self.messages.insert(at, new);
    }

    /// Drops what messages that have come into the window make useless.
    fn settle(&mut self, current: u64) {
        let mut least = u64::MAX;
        for at in (0..self.messages.len()).rev() {
            let Kept { pane, hash, .. } = self.messages[at];
            if pane > current {
                continue;
            }
            if hash >= least {
                self.messages.remove(at);
            }
            least = least.min(hash);
        }
    }

    /// Of the messages between the first and the last, the one that would be the sample for the
    /// fewest panes: the next takes its place a little early.
    fn shortest_reign(&self) -> usize {
        let reign = |at: &usize| self.messages[*at].pane - self.messages[*at - 1].pane;
        (1..self.messages.len() - 1).min_by_key(reign).unwrap_or(0)
    }
}

/// The most that one offer can add to the bytes in use.
const OFFER_BYTES_MAX: u64 = (size_of::<Tenant>()
    + SAMPLE_TOPICS_MAX * size_of::<Sampled>()
    + SAMPLES_PER_TOPIC_MAX * size_of::<Kept>()
    + SAMPLE_TEXT_BYTES_MAX) as u64;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SLOT: Slot = Slot(3);
    const FIRST_PANE: u64 = 1_000;

    fn samples(panes: u32) -> Samples {
        Samples::new(panes, 1 << 20)
    }

    fn hash(topic: TopicId, text: &str) -> u64 {
        fmix64(TopicId::of(text).0 ^ topic.0)
    }

    /// The live message of the smallest hash among all that were ever offered.
    fn brute_force(
        offered: &[(TopicId, u64, String)],
        topic: TopicId,
        pane: u64,
        panes: u64,
    ) -> &str {
        let live = offered
            .iter()
            .filter(|offer| offer.0 == topic && offer.1 <= pane && offer.1 + panes > pane);
        let least = live.min_by_key(|offer| hash(topic, &offer.2));
        least.map_or("", |offer| &offer.2)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

        #[test]
        fn the_sample_is_the_smallest_hash_whatever_the_order(
            offers in prop::collection::vec((0_u64..16, 0_u64..14, 0_u32..60, 0_u64..2), 1..300),
        ) {
            // With 8 panes no topic can need more messages than are kept.
            let panes = 8;
            let mut samples = samples(8);
            let (mut offered, mut current) = (Vec::new(), FIRST_PANE);
            for (topic, back, text, ahead) in offers {
                current += ahead;
                // Up to four panes ahead, or as late as a window allows.
                let pane = (current + 4).saturating_sub(back).max(current + 1 - panes);
                let (topic, text) = (TopicId(topic), format!("message {text}"));
                samples.offer(SLOT, topic, 1, &Message::new(&text, pane, current));
                offered.push((topic, pane, text));
                for at in current..current + 3 {
                    for topic in (0..16).map(TopicId) {
                        let wanted = brute_force(&offered, topic, at, panes);
                        prop_assert_eq!(samples.of(SLOT, topic, at), wanted);
                    }
                }
            }
            let bytes = samples.tenants[3].as_ref().unwrap().bytes();
            prop_assert_eq!(samples.level().now, bytes);
            samples.free(SLOT);
            prop_assert_eq!((samples.level().now, samples.full), (0, 0));
        }
    }

    #[test]
    fn a_topic_that_needs_more_messages_than_are_kept_still_shows_a_live_one() {
        let (mut samples, topic, panes) = (samples(60), TopicId(7), 60);
        let mut texts: Vec<String> = (0..20).map(|text| format!("text {text}")).collect();
        // Hashes that rise with the panes: each would be the sample once those before expire.
        texts.sort_by_key(|text| hash(topic, text));
        let offered: Vec<_> =
            (FIRST_PANE..).zip(texts).map(|(at, text)| (topic, at, text)).collect();
        for (_, pane, text) in &offered {
            samples.offer(SLOT, topic, 1, &Message::new(text, *pane, *pane));
        }
        assert!(samples.tenants[3].as_ref().unwrap().topics[0].messages.len() == 8);
        for at in FIRST_PANE + 19..FIRST_PANE + 79 {
            let shown = samples.of(SLOT, topic, at);
            let pane = offered.iter().find(|offer| offer.2 == shown).map(|offer| offer.1);
            assert!(pane.is_some_and(|pane| pane + panes > at), "at {at}: {shown:?}");
        }
        let first = samples.of(SLOT, topic, FIRST_PANE + 59);
        assert_eq!(first, brute_force(&offered, topic, FIRST_PANE + 59, panes));
    }

    #[test]
    fn it_does_not_matter_how_often_somebody_looks() {
        let (mut looked_at, mut left_alone) = (samples(8), samples(8));
        let mut pane = FIRST_PANE;
        for round in 0..2_000_u64 {
            let then = pane
                + [0, 0, 1, 3, 5, 9, 30][usize::try_from((round * 5 + round / 7) % 7).unwrap()];
            (pane..=then).for_each(|pane| looked_at.expire(SLOT, pane));
            pane = then;
            for samples in [&mut looked_at, &mut left_alone] {
                let text = format!("message {}", round * round % 19);
                let message = Message::new(&text, pane + round % 5, pane);
                samples.offer(SLOT, TopicId(round * round % 53), 1_000, &message);
            }
            assert_eq!(looked_at.of_tenant(SLOT), left_alone.of_tenant(SLOT), "{round}");
        }
    }

    #[test]
    fn heavy_topics_keep_their_samples_among_many() {
        let mut samples = samples(60);
        for round in 0..200_u64 {
            let message = Message::new("text", FIRST_PANE, FIRST_PANE);
            for heavy in 0..8 {
                samples.offer(SLOT, TopicId(heavy), 50, &message);
            }
            samples.offer(SLOT, TopicId(1_000 + round), 1, &message);
        }
        for heavy in (0..8).map(TopicId) {
            assert_eq!(samples.of(SLOT, heavy, FIRST_PANE), "text", "{heavy:?}");
        }
        assert_eq!(samples.of(SLOT, TopicId(1_199), FIRST_PANE), "text", "and the newest");
        // A window later all of them are gone, and leave their places.
        let later = FIRST_PANE + 60;
        samples.offer(SLOT, TopicId(5_000), 1, &Message::new("new", later, later));
        assert_eq!(samples.tenants[3].as_ref().unwrap().topics.len(), 1);
    }
}
