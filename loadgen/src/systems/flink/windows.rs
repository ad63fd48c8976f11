//! The answers that came, against what the windows hold.
//!
//! Owns: the files that the job leaves, and the exact contents of a window.
//!
//! ```text
//! slides.txt    SUBTASK START_MS EVENTS_BEFORE          where a slide begins in a subtask's events
//! windows.txt   SUBTASK END_MS ROWS TENANTS LAST_MS     what came of a window, and when the last
//! answers.N     i64 end_ms | i64 arrived_ms | i32 tenant | i32 topic | i64 weight, big endian
//! ```
//!
//! A subtask goes round in its share of the events, so the window from event a to event b holds
//! the event at place q of the share once for each number below b, and not below a, that is q
//! modulo the share's length: no event has to be replayed.

use super::events::{Event, Events};
use crate::limits::EXPLAINED_MAX;
use anyhow::{Context as _, bail};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Topics of an answer.
pub(super) const TOP: usize = 10;
/// Bytes of one row of an answer.
const ROW_BYTES: usize = 32;

/// What one subtask emits of the sampled tenants, and when.
#[derive(Debug)]
struct Share {
    length: u64,
    /// Places in the share.
    sampled: Vec<(u64, Event)>,
    /// Starts of slides in milliseconds, and the events emitted before each.
    slides: Vec<(u64, u64)>,
}

impl Share {
    /// Events emitted before a moment, if the moment has passed.
    fn before(&self, ms: u64) -> Option<u64> {
        let place = self.slides.partition_point(|slide| slide.0 < ms);
        self.slides.get(place).map(|slide| slide.1)
    }
}

/// Numbers below `n` that are `place` modulo `length`.
const fn below(n: u64, place: u64, length: u64) -> u64 {
    (n + length - 1 - place) / length
}

/// One answer: the rows in the order they came in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) arrived_ms: u64,
    pub(super) rows: Vec<(u32, u64)>,
}

/// One window, over all subtasks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Round {
    pub(super) tenants: u64,
    pub(super) last_ms: u64,
}

/// All that a job left.
#[derive(Debug)]
pub(super) struct Windows {
    window_ms: u64,
    sampled: BTreeSet<u32>,
    shares: Vec<Share>,
    /// By the window's end and the tenant.
    pub(super) answers: BTreeMap<(u64, u32), Answer>,
    /// By the window's end.
    pub(super) rounds: BTreeMap<u64, Round>,
}

/// What the check found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Checked {
    pub(super) windows: u64,
    pub(super) answers: u64,
    pub(super) topics: u64,
    pub(super) mismatches: u64,
    pub(super) explained: Vec<String>,
}

impl Windows {
    /// Reads what a job with so many subtasks left in its folder.
    pub(super) fn read(
        folder: &Path,
        (events, sampled): (&Events, &[u32]),
        (parallelism, window_ms): (usize, u64),
    ) -> anyhow::Result<Self> {
        let sampled: BTreeSet<u32> = sampled.iter().copied().collect();
        let share = |subtask| {
            let share = events.share(subtask, parallelism);
            let places = (0..).zip(share.iter().copied());
            Share {
                length: share.len() as u64,
                sampled: places.filter(|(_, event)| sampled.contains(&event.tenant)).collect(),
                slides: Vec::new(),
            }
        };
        let shares = (0..parallelism).map(share).collect();
        let (answers, rounds) = (BTreeMap::new(), BTreeMap::new());
        let mut windows = Self { window_ms, sampled, shares, answers, rounds };
        for [subtask, start_ms, before] in numbers(&folder.join("slides.txt"))? {
            let share = usize::try_from(subtask).ok().and_then(|s| windows.shares.get_mut(s));
            share.context("slides.txt names a subtask too many")?.slides.push((start_ms, before));
        }
        for [_, end_ms, _, tenants, last_ms] in numbers(&folder.join("windows.txt"))? {
            let round = windows.rounds.entry(end_ms).or_default();
            round.tenants += tenants;
            round.last_ms = round.last_ms.max(last_ms);
        }
        for subtask in 0..parallelism {
            let path = folder.join(format!("answers.{subtask}"));
            let bytes = std::fs::read(&path)
                .with_context(|| format!("the job left no answers in {}", path.display()))?;
            windows.add_answers(&bytes)?;
        }
        Ok(windows)
    }

    fn add_answers(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        let (rows, []) = bytes.as_chunks::<ROW_BYTES>() else {
            bail!("a file of answers ends inside a row");
        };
        for row in rows {
            let word = |at: usize| -> anyhow::Result<u64> {
                let bytes = row[at..at + 8].try_into().context("eight bytes of a row")?;
                u64::try_from(i64::from_be_bytes(bytes)).context("a number below 0 in an answer")
            };
            let (end_ms, arrived_ms, weight) = (word(0)?, word(8)?, word(24)?);
            let ids = word(16)?;
            let (tenant, topic) = (u32::try_from(ids >> 32)?, u32::try_from(ids & 0xffff_ffff)?);
            let answer = self.answers.entry((end_ms, tenant)).or_default();
            answer.arrived_ms = answer.arrived_ms.max(arrived_ms);
            answer.rows.push((topic, weight));
        }
        Ok(())
    }

    /// What the window that ends then must hold for a tenant's top topics, by tenant; none when
    /// not all of its events are known.
    fn expected(&self, end_ms: u64) -> Option<BTreeMap<u32, Vec<(u32, u64)>>> {
        let mut weights: BTreeMap<u32, BTreeMap<u32, u64>> = BTreeMap::new();
        for share in &self.shares {
            let from = share.before(end_ms.saturating_sub(self.window_ms))?;
            let to = share.before(end_ms)?;
            for &(place, event) in &share.sampled {
                let times = below(to, place, share.length) - below(from, place, share.length);
                if times > 0 {
                    let topics = weights.entry(event.tenant).or_default();
                    *topics.entry(event.topic).or_default() += times * u64::from(event.weight);
                }
            }
        }
        let top = |topics: BTreeMap<u32, u64>| {
            let mut topics: Vec<_> = topics.into_iter().collect();
            // Topics with the same weight stay in the order of their numbers.
            topics.sort_by_key(|(_, weight)| std::cmp::Reverse(*weight));
            topics.truncate(TOP);
            topics
        };
        Some(weights.into_iter().map(|(tenant, topics)| (tenant, top(topics))).collect())
    }

    /// Checks the answers of every window whose end lies in a span of time.
    pub(super) fn check(&self, ends_ms: std::ops::Range<u64>) -> Checked {
        let mut checked = Checked::default();
        for &end_ms in self.rounds.range(ends_ms).map(|(end_ms, _)| end_ms) {
            let Some(expected) = self.expected(end_ms) else { continue };
            checked.windows += 1;
            for &tenant in &self.sampled {
                let want = expected.get(&tenant).map_or(&[][..], Vec::as_slice);
                let answer = self.answers.get(&(end_ms, tenant));
                let got = answer.map_or(&[][..], |answer| answer.rows.as_slice());
                checked.hold(&format!("tenant {tenant}, window to {end_ms}"), got, want);
            }
        }
        checked
    }
}

impl Checked {
    fn hold(&mut self, which: &str, got: &[(u32, u64)], want: &[(u32, u64)]) {
        self.answers += 1;
        self.topics += want.len() as u64;
        if got.len() != want.len() {
            self.wrong(which, &format!("{} topics, should be {}", got.len(), want.len()));
        }
        for (place, (got, want)) in (1..).zip(got.iter().zip(want)) {
            if got != want {
                self.wrong(
                    which,
                    &format!(
                        "place {place} is topic {} with {}, should be {} with {}",
                        got.0, got.1, want.0, want.1
                    ),
                );
            }
        }
    }

    fn wrong(&mut self, which: &str, what: &str) {
        self.mismatches += 1;
        if self.explained.len() < EXPLAINED_MAX {
            self.explained.push(format!("{which}: {what}"));
        }
    }
}

/// Lines of so many whole numbers each.
fn numbers<const N: usize>(path: &Path) -> anyhow::Result<Vec<[u64; N]>> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("the job left no {}", path.display()))?;
    let line = |line: &str| {
        let words: Result<Vec<u64>, _> = line.split(' ').map(str::parse).collect();
        let numbers = words.ok().and_then(|words| words.try_into().ok());
        numbers.with_context(|| format!("{}: {line:?} is not {N} numbers", path.display()))
    };
    text.lines().map(line).collect()
}

#[cfg(test)]
#[path = "windows_tests.rs"]
mod tests;
