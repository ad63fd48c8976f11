//! Names of topics, shared by all windows of a shard.
//!
//! Owns the table from topic id to name and a count of the window slots that hold the topic.
//! Never touches windows; they report slots that open and close.
//!
//! ```text
//! places, a word each:  | upper half of the hash u32 | entry + 1 u32 |      0: empty
//! entries, a line each: | id | references | resting | asked_ms | name       of up to 32 bytes |
//! ```
//!
//! A name is read for every topic that a program is shown, so it lies in its entry, one line behind
//! the place; a longer one lies elsewhere.
//!
//! Invariants
//! - linear probing over a power of two at no more than 4/5 load, so a search ends;
//! - a name is kept while any window slot holds its topic, and for a while after that;
//! - the table holds at most `topics_max` entries: when it is full, a new topic has no name (its
//!   events count all the same) and `unnamed_full` grows;
//! - a name whose hash is an id of another name is refused, never merged.

use crate::memory::{LINE_WORDS, Memory};
use crate::window::TopicSink;
use arrayvec::ArrayString;
use std::collections::VecDeque;
use trendsrv_proto::{TopicId, fmix64};

/// The table of names.
#[derive(Debug)]
pub(crate) struct Topics<M> {
    places: M,
    mask: usize,
    /// Bits of a tag that are no part of its place.
    shift: u32,
    /// Topics in the table.
    count: usize,
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

/// One cache line.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Entry {
    id: TopicId,
    /// Window slots that hold it.
    references: u32,
    /// Times it stands among the idle: a topic that came to rest again stands there twice.
    resting: u32,
    /// When its name was asked for last, ms since the epoch; meaningful while it has none.
    asked_ms: u64,
    name: Name,
}

const _: () = assert!(TOPIC_ENTRY_BYTES == 64, "a line");

/// A name that was told; an empty one was not.
#[derive(Debug)]
enum Name {
    Short(ArrayString<SHORT_BYTES_MAX>),
    Long(Box<str>),
}

impl Default for Name {
    fn default() -> Self {
        Self::Short(ArrayString::new_const())
    }
}

impl From<&str> for Name {
    fn from(name: &str) -> Self {
        ArrayString::from(name).map_or_else(|_| Self::Long(name.into()), Self::Short)
    }
}

impl Name {
    #[inline]
    fn as_str(&self) -> &str {
        match self {
            Self::Short(name) => name,
            Self::Long(name) => name,
        }
    }
}

/// Two names share an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Collision;

/// Words of memory that the places of `topics_max` topics need.
#[must_use]
pub fn topics_words(topics_max: usize) -> usize {
    (topics_max + topics_max / 4).max(LINE_WORDS).next_power_of_two()
}

/// Bytes of one topic's entry; only a name longer than 32 bytes takes more.
pub const TOPIC_ENTRY_BYTES: usize = size_of::<Entry>();

/// Whoever knows the names of topics.
pub(crate) trait Named {
    /// The name of a topic, empty while nobody has told it.
    fn name(&self, id: TopicId) -> &str;
}

impl<M: Memory> Named for Topics<M> {
    fn name(&self, id: TopicId) -> &str {
        Topics::name(self, id)
    }
}

impl core::fmt::Debug for dyn Named + '_ {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Named")
    }
}

impl<M: Memory> Topics<M> {
    pub(crate) fn new(topics_max: usize, secret: u64, places: M) -> Self {
        let (count, words) = (topics_words(topics_max), places.words().len());
        assert!(words >= count, "places of {topics_max} topics in {words} words");
        assert!(count <= PLACES_MAX, "{topics_max} topics in one shard");
        let idle_max = (topics_max / 8).max(16);
        Self {
            places,
            mask: count - 1,
            shift: u32::BITS - count.trailing_zeros(),
            count: 0,
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

    /// Asks for the place of a topic ahead of [`Self::prefetch_entry`] or its use.
    #[inline]
    pub(crate) fn prefetch(&self, id: TopicId) {
        self.places.prefetch(self.home(self.tag(id)));
    }

    /// Asks for the entry of a topic ahead of [`Self::name`].
    #[inline]
    pub(crate) fn prefetch_entry(&self, id: TopicId) {
        let word = self.places.words()[self.home(self.tag(id))];
        // Most topics lie where they belong; of the others a neighbour's entry is asked for.
        if let Some(entry) = self.entries.get(entry_of(word)) {
            M::ask_for(entry);
        }
    }

    /// The name of a topic, empty while nobody has told it.
    #[inline]
    pub(crate) fn name(&self, id: TopicId) -> &str {
        self.find(id).map_or("", |(_, entry)| self.entries[entry].name.as_str())
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
        let found = self.find(id).map(|(_, entry)| entry);
        let Some(at) = found.or_else(|| self.insert(id, 0)) else { return false };
        let entry = &mut self.entries[at];
        let is_new = entry.name.as_str().is_empty();
        if is_new {
            entry.name = name.into();
            self.name_bytes += name.len();
        }
        if entry.references == 0 {
            // Its events are on their way: it must not be the next to be forgotten.
            self.rest(at);
        }
        is_new
    }

    /// Whether to ask for a name now: it is missing and was not asked for within a second.
    pub(crate) fn ask(&mut self, id: TopicId, now_ms: u64) -> bool {
        let Some((_, at)) = self.find(id) else { return false };
        let entry = &mut self.entries[at];
        let due = entry.is_unnamed() && now_ms >= entry.asked_ms.saturating_add(ASK_AGAIN_MS);
        if due {
            entry.asked_ms = now_ms;
        }
        due
    }

    /// Whether some window holds the topic and its name is missing.
    pub(crate) fn is_unnamed(&self, id: TopicId) -> bool {
        let found = self.find(id).map(|(_, at)| &self.entries[at]);
        found.is_some_and(|entry| entry.references > 0 && entry.is_unnamed())
    }

    pub(crate) const fn len(&self) -> usize {
        self.count
    }

    /// The topics that windows hold, how many of them, and the names.
    #[cfg(test)]
    pub(crate) fn held(&self) -> std::collections::BTreeMap<TopicId, (u32, String)> {
        let words = self.places.words().iter().filter(|&&word| word != 0);
        let held = words.map(|&word| &self.entries[entry_of(word)]);
        let held = held.filter(|entry| entry.references > 0);
        held.map(|entry| (entry.id, (entry.references, entry.name.as_str().to_owned()))).collect()
    }

    /// The upper half of an id's hash.
    #[inline]
    fn tag(&self, id: TopicId) -> u32 {
        tag_of(fmix64(id.0 ^ self.secret))
    }

    /// The place where a search begins.
    #[inline]
    const fn home(&self, tag: u32) -> usize {
        (tag >> self.shift) as usize
    }

    /// The place and the entry of a topic.
    #[inline]
    fn find(&self, id: TopicId) -> Option<(usize, usize)> {
        let (words, tag) = (self.places.words(), self.tag(id));
        let mut place = self.home(tag);
        loop {
            let word = words[place];
            if word == 0 {
                return None;
            }
            let entry = entry_of(word);
            if tag_of(word) == tag && self.entries[entry].id == id {
                return Some((place, entry));
            }
            place = (place + 1) & self.mask;
        }
    }

    /// Returns whether the topic lacks a name.
    fn open(&mut self, id: TopicId) -> bool {
        let Some((_, at)) = self.find(id) else { return self.insert(id, 1).is_some() };
        let entry = &mut self.entries[at];
        entry.references = entry.references.saturating_add(1);
        entry.is_unnamed()
    }

    fn close(&mut self, id: TopicId) {
        let Some((_, at)) = self.find(id) else { return };
        let entry = &mut self.entries[at];
        // A topic that found the table full was never counted when it opened.
        entry.references = entry.references.saturating_sub(1);
        if entry.references == 0 {
            self.rest(at);
        }
    }

    /// Gives a topic that is not there an entry; `None` when the table is full.
    fn insert(&mut self, id: TopicId, references: u32) -> Option<usize> {
        if self.count >= self.topics_max && !self.forget_one() {
            self.unnamed_full += 1;
            return None;
        }
        let entry = Entry { id, references, ..Entry::default() };
        let at = match self.free.pop() {
            Some(at) => {
                self.entries[at as usize] = entry;
                at
            }
            None => {
                self.entries.push(entry);
                u32::try_from(self.entries.len() - 1).unwrap_or(u32::MAX)
            }
        };
        let tag = self.tag(id);
        let mut place = self.home(tag);
        while self.places.words()[place] != 0 {
            place = (place + 1) & self.mask;
        }
        self.places.words_mut()[place] = u64::from(tag) << 32 | (u64::from(at) + 1);
        self.count += 1;
        Some(at as usize)
    }

    /// No window holds the topic; the one longest so is forgotten when too many rest.
    fn rest(&mut self, at: usize) {
        let entry = &mut self.entries[at];
        entry.resting += 1;
        let id = entry.id;
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
        let Some((place, at)) = self.idle.pop_front().and_then(|id| self.find(id)) else {
            return false;
        };
        let entry = &mut self.entries[at];
        entry.resting -= 1;
        if entry.references > 0 || entry.resting > 0 {
            return false;
        }
        self.name_bytes -= std::mem::take(&mut entry.name).as_str().len();
        self.free.push(u32::try_from(at).unwrap_or(u32::MAX));
        self.count -= 1;
        self.close_gap(place);
        true
    }

    /// Backward-shift deletion, as in the index of tenants: no tombstones.
    fn close_gap(&mut self, mut gap: usize) {
        let mut at = gap;
        loop {
            at = (at + 1) & self.mask;
            let word = self.places.words()[at];
            if word == 0 {
                break;
            }
            let reach = at.wrapping_sub(self.home(tag_of(word))) & self.mask;
            if reach >= (at.wrapping_sub(gap) & self.mask) {
                self.places.words_mut()[gap] = word;
                gap = at;
            }
        }
        self.places.words_mut()[gap] = 0;
    }
}

impl Entry {
    #[inline]
    fn is_unnamed(&self) -> bool {
        self.name.as_str().is_empty()
    }
}

/// The upper half.
#[inline]
const fn tag_of(word: u64) -> u32 {
    (word >> 32) as u32
}

/// The entry that a place names; an empty place names none that exists.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "the lower half is wanted")]
const fn entry_of(word: u64) -> usize {
    (word as u32).wrapping_sub(1) as usize
}

/// Hears from windows which topics they hold, and notes the nameless.
pub(crate) struct TopicRefs<'a, M> {
    pub(crate) topics: &'a mut Topics<M>,
    pub(crate) unnamed: &'a mut Vec<TopicId>,
}

impl<M: Memory> TopicSink for TopicRefs<'_, M> {
    fn opened(&mut self, topic: TopicId) {
        if self.topics.open(topic) && self.unnamed.len() < UNNAMED_PER_CALL_MAX {
            self.unnamed.push(topic);
        }
    }

    fn closed(&mut self, topic: TopicId) {
        self.topics.close(topic);
    }
}

/// Bytes of the longest name that lies in its entry.
const SHORT_BYTES_MAX: usize = 32;
const PLACES_MAX: usize = 1 << 31;
const ASK_AGAIN_MS: u64 = 1_000;
/// What one call can find nameless; the tick asks for the rest.
const UNNAMED_PER_CALL_MAX: usize = trendsrv_proto::limits::NAMES_PER_FRAME_MAX;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::HeapMemory;

    fn table(topics_max: usize) -> Topics<HeapMemory> {
        Topics::new(topics_max, 3, HeapMemory::new(topics_words(topics_max)))
    }

    #[test]
    fn keeps_names_in_use_and_forgets_the_longest_idle() {
        let mut topics = table(16);
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
        let mut topics = table(128);
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
        let mut topics = table(16);
        let id = TopicId::of("a");
        topics.open(id);
        assert!(topics.ask(id, 5_000));
        assert!(!topics.ask(id, 5_999));
        assert!(topics.ask(id, 6_000));
        topics.define(id, "a");
        assert!(!topics.ask(id, 9_000) && !topics.is_unnamed(id));
        assert_eq!(topics.check(id, "b"), Err(Collision));
    }

    #[test]
    fn counts_and_names_are_right_through_many_openings_and_closings() {
        let mut topics = table(256);
        // Of 300 topics a third has a name that does not fit its entry.
        let name =
            |i: u64| format!("{:0width$}", i, width = if i.is_multiple_of(3) { 60 } else { 9 });
        let id = |i: u64| TopicId::of(&name(i));
        let mut held = std::collections::BTreeMap::<u64, u32>::new();
        for step in 0..40_000 {
            let random = fmix64(step);
            let i = random % 300;
            let count = held.entry(i).or_default();
            match random >> 32 & 3 {
                0 if *count > 0 => {
                    topics.close(id(i));
                    *count -= 1;
                }
                1 => {
                    topics.define(id(i), &name(i));
                    assert!(topics.len() == 256 || topics.name(id(i)) == name(i));
                }
                _ if held.values().filter(|&&count| count > 0).count() < 200 => {
                    topics.open(id(i));
                    *held.entry(i).or_default() += 1;
                }
                _ => {}
            }
        }
        let in_use = held.iter().filter(|(_, count)| **count > 0);
        let wanted: std::collections::BTreeMap<_, _> =
            in_use.map(|(&i, &count)| (id(i), (i, count))).collect();
        let found = topics.held();
        assert!(found.keys().eq(wanted.keys()), "{} of {}", found.len(), wanted.len());
        for (id, (count, told)) in found {
            let (i, wanted) = wanted[&id];
            assert!(
                count == wanted && (told.is_empty() || told == name(i)),
                "{i}: {count}, {told}"
            );
        }
        let bytes: usize = (0..300).map(|i| topics.name(id(i)).len()).sum();
        assert_eq!(topics.name_bytes, bytes);
    }
}
