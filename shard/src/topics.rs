//! Names of topics, shared by all windows of a shard.
//!
//! Owns the table from topic id to name and a count of the window slots that hold the topic.
//! Never touches windows; they report slots that open and close.
//!
//! Invariants
//! - a name is kept while any window slot holds its topic, and for a while after that;
//! - the table holds at most `topics_max` entries: when it is full, a new topic has no name (its
//!   events count all the same) and `unnamed_full` grows;
//! - a name whose hash is an id of another name is refused, never merged.

use crate::window::TopicSink;
use hashbrown::HashTable;
use std::collections::VecDeque;
use trendsrv_proto::{TopicId, fmix64};

#[derive(Debug)]
struct Entry {
    id: TopicId,
    references: u32,
    /// Times it stands among the idle: a topic that came to rest again stands there twice.
    resting: u32,
    /// When its name was asked for last, ms since the epoch; meaningful while `name` is `None`.
    asked_ms: u64,
    name: Option<Box<str>>,
}

/// The table of names.
///
/// It has room for far more topics than most servers see. Entries lie one behind the other, and
/// only their numbers lie scattered: scattered entries of ten thousand topics were a page and a
/// miss of the address translation each, 80 ns a name when programs tick.
#[derive(Debug)]
pub(crate) struct Topics {
    /// Where each topic's entry lies.
    places: HashTable<u32>,
    entries: Vec<Entry>,
    /// Entries that are free.
    free: Vec<u32>,
    secret: u64,
    topics_max: usize,
    /// Topics no window holds, longest so first; a name in here may be in use again.
    idle: VecDeque<TopicId>,
    idle_max: usize,
    /// Bytes of names held.
    pub(crate) name_bytes: usize,
    /// Topics that found the table full.
    pub(crate) unnamed_full: u64,
}

/// Two names share an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Collision;

/// Bytes of one entry of the table, its name apart.
pub const TOPIC_ENTRY_BYTES: usize = size_of::<Entry>() + size_of::<u32>();
/// Bytes of one bucket of it.
pub const TOPIC_BUCKET_BYTES: usize = size_of::<u32>() + 1;

impl Topics {
    pub(crate) fn new(topics_max: usize, secret: u64) -> Self {
        let idle_max = (topics_max / 8).max(16);
        Self {
            places: HashTable::with_capacity(topics_max),
            entries: Vec::with_capacity(topics_max),
            free: Vec::with_capacity(topics_max),
            secret,
            topics_max,
            idle: VecDeque::with_capacity(idle_max),
            idle_max,
            name_bytes: 0,
            unnamed_full: 0,
        }
    }

    /// The name of a topic, empty while nobody has told it.
    #[inline]
    pub(crate) fn name(&self, id: TopicId) -> &str {
        self.entry(id).and_then(|entry| entry.name.as_deref()).unwrap_or("")
    }

    /// Whether a name may be told: not when its id belongs to another.
    pub(crate) fn check(&self, id: TopicId, name: &str) -> Result<(), Collision> {
        match self.name(id) {
            known if known.is_empty() || known == name => Ok(()),
            _ => Err(Collision),
        }
    }

    /// Keeps a name that was checked; returns whether it was missing.
    pub(crate) fn define(&mut self, id: TopicId, name: &str) -> bool {
        if let Some(entry) = self.entry_mut(id) {
            let is_new = entry.name.is_none();
            let is_idle = entry.references == 0;
            if is_new {
                entry.name = Some(name.into());
                self.name_bytes += name.len();
            }
            if is_idle {
                // Its events are on their way: it must not be the next to be forgotten.
                self.rest(id);
            }
            return is_new;
        }
        let is_new = self.insert(id, 0, Some(name.into()));
        if is_new {
            self.name_bytes += name.len();
            self.rest(id);
        }
        is_new
    }

    /// Whether to ask for a name now: it is missing and was not asked for within a second.
    pub(crate) fn ask(&mut self, id: TopicId, now_ms: u64) -> bool {
        match self.entry_mut(id) {
            Some(entry) if entry.name.is_none() => {
                let due = now_ms >= entry.asked_ms.saturating_add(ASK_AGAIN_MS);
                if due {
                    entry.asked_ms = now_ms;
                }
                due
            }
            Some(_) | None => false,
        }
    }

    /// Whether some window holds the topic and its name is missing.
    pub(crate) fn is_unnamed(&self, id: TopicId) -> bool {
        self.entry(id).is_some_and(|entry| entry.references > 0 && entry.name.is_none())
    }

    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    /// The topics that windows hold, how many of them, and the names.
    #[cfg(test)]
    pub(crate) fn held(&self) -> std::collections::BTreeMap<TopicId, (u32, String)> {
        let held = self.places.iter().map(|&place| &self.entries[place as usize]);
        let held = held.filter(|entry| entry.references > 0);
        held.map(|entry| {
            (entry.id, (entry.references, entry.name.as_deref().unwrap_or("").to_owned()))
        })
        .collect()
    }

    fn hash(&self, id: TopicId) -> u64 {
        fmix64(id.0 ^ self.secret)
    }

    #[inline]
    fn entry(&self, id: TopicId) -> Option<&Entry> {
        let place = self.places.find(self.hash(id), |&at| self.entries[at as usize].id == id)?;
        self.entries.get(*place as usize)
    }

    fn entry_mut(&mut self, id: TopicId) -> Option<&mut Entry> {
        let place = self.places.find(self.hash(id), |&at| self.entries[at as usize].id == id)?;
        self.entries.get_mut(*place as usize)
    }

    /// Returns whether the topic lacks a name.
    fn open(&mut self, id: TopicId) -> bool {
        if let Some(entry) = self.entry_mut(id) {
            entry.references = entry.references.saturating_add(1);
            return entry.name.is_none();
        }
        self.insert(id, 1, None)
    }

    fn close(&mut self, id: TopicId) {
        if let Some(entry) = self.entry_mut(id) {
            // A topic that found the table full was never counted when it opened.
            entry.references = entry.references.saturating_sub(1);
            if entry.references == 0 {
                self.rest(id);
            }
        }
    }

    fn insert(&mut self, id: TopicId, references: u32, name: Option<Box<str>>) -> bool {
        if self.places.len() >= self.topics_max && !self.forget_one() {
            self.unnamed_full += 1;
            return false;
        }
        let (hash, secret) = (self.hash(id), self.secret);
        let entry = Entry { id, references, resting: 0, asked_ms: 0, name };
        let place = match self.free.pop() {
            Some(place) => {
                self.entries[place as usize] = entry;
                place
            }
            None => {
                self.entries.push(entry);
                u32::try_from(self.entries.len() - 1).unwrap_or(u32::MAX)
            }
        };
        let entries = &self.entries;
        let hasher = |&at: &u32| fmix64(entries[at as usize].id.0 ^ secret);
        self.places.insert_unique(hash, place, hasher);
        true
    }

    /// No window holds the topic; the one longest so is forgotten when too many rest.
    fn rest(&mut self, id: TopicId) {
        let Some(entry) = self.entry_mut(id) else { return };
        entry.resting += 1;
        if self.idle.len() >= self.idle_max {
            self.forget_front();
        }
        self.idle.push_back(id);
    }

    fn forget_one(&mut self) -> bool {
        while !self.idle.is_empty() {
            if self.forget_front() {
                return true;
            }
        }
        false
    }

    fn forget_front(&mut self) -> bool {
        let Some(id) = self.idle.pop_front() else { return false };
        let hash = self.hash(id);
        let entries = &mut self.entries;
        let Ok(found) = self.places.find_entry(hash, |&at| entries[at as usize].id == id) else {
            return false;
        };
        let entry = &mut entries[*found.get() as usize];
        entry.resting -= 1;
        if entry.references > 0 || entry.resting > 0 {
            return false;
        }
        self.name_bytes -= entry.name.take().map_or(0, |name| name.len());
        self.free.push(found.remove().0);
        true
    }
}

/// Hears from windows which topics they hold, and notes the nameless.
pub(crate) struct TopicRefs<'a> {
    pub(crate) topics: &'a mut Topics,
    pub(crate) unnamed: &'a mut Vec<TopicId>,
}

impl TopicSink for TopicRefs<'_> {
    fn opened(&mut self, topic: TopicId) {
        if self.topics.open(topic) && self.unnamed.len() < UNNAMED_PER_CALL_MAX {
            self.unnamed.push(topic);
        }
    }

    fn closed(&mut self, topic: TopicId) {
        self.topics.close(topic);
    }
}

const ASK_AGAIN_MS: u64 = 1_000;
/// What one call can find nameless; the tick asks for the rest.
const UNNAMED_PER_CALL_MAX: usize = trendsrv_proto::limits::NAMES_PER_FRAME_MAX;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_names_in_use_and_forgets_the_longest_idle() {
        let mut topics = Topics::new(16, 3);
        let names: Vec<_> = (0..16).map(|i| format!("topic-{i}")).collect();
        for name in &names {
            topics.define(TopicId::of(name), name);
        }
        assert!(!topics.open(TopicId::of("topic-0")), "its name is known");
        for i in 0..15 {
            assert!(topics.open(TopicId(i)), "a new topic lacks a name");
        }
        assert_eq!(topics.name(TopicId::of("topic-0")), "topic-0");
        assert_eq!(topics.name(TopicId::of("topic-15")), "");
        assert_eq!(topics.name_bytes, "topic-0".len());
        assert!(!topics.open(TopicId(99)), "full of topics in use");
        assert_eq!((topics.unnamed_full, topics.len()), (1, 16));
    }

    #[test]
    fn a_topic_that_came_to_rest_again_is_not_forgotten_for_its_first_rest() {
        let mut topics = Topics::new(128, 3);
        let of = |i: usize| TopicId::of(&format!("topic-{i}"));
        topics.define(of(0), "topic-0");
        for i in 1..16 {
            topics.define(of(i), &format!("topic-{i}"));
        }
        // Told again, as by a text that speaks of it, while the idle are as many as there may be.
        topics.define(of(0), "topic-0");
        topics.define(of(16), "topic-16");
        assert_eq!(
            (topics.name(of(0)), topics.name(of(1))),
            ("topic-0", ""),
            "1 is the oldest now"
        );
        topics.open(of(2));
        topics.close(of(2));
        for i in 17..30 {
            topics.define(of(i), &format!("topic-{i}"));
        }
        assert_eq!((topics.name(of(0)), topics.name(of(2))), ("topic-0", "topic-2"));
        assert!(topics.idle.len() <= 16 && topics.len() <= 17);
    }

    #[test]
    fn asks_once_a_second_until_told() {
        let mut topics = Topics::new(16, 3);
        let id = TopicId::of("a");
        topics.open(id);
        assert!(topics.ask(id, 5_000));
        assert!(!topics.ask(id, 5_999));
        assert!(topics.ask(id, 6_000));
        topics.define(id, "a");
        assert!(!topics.ask(id, 9_000) && !topics.is_unnamed(id));
        assert_eq!(topics.check(id, "b"), Err(Collision));
    }
}
