//! What must be true: every event ever pushed, what its producer was told of it, and whether an
//! answer agrees with brute force over them.
//!
//! Each topic is shared by at most 15 events, and the n-th of them weighs 4^n: a topic's count,
//! read in base 4, says how often each of its events was counted.
//!
//! ```text
//! count of a topic  …| digit 2 | digit 1 | digit 0      0 not counted, 1 counted, 2 or 3 twice
//! event               weight 16  weight 4  weight 1
//!
//! pushed ──ack──▶ must count     uncertain: may count     crash: what was not durable may be lost;
//!                                what the next answer shows or does not show stays so
//! ```
//!
//! Invariants held against every answer:
//! - must ⊆ counted ⊆ may, each once, and nothing outside the window;
//! - totals, events, distinct topics and the order are those of the counted events.

use std::collections::{BTreeMap, BTreeSet};
use trendsrv_client::{Answer, AnswerTopic};
use trendsrv_proto::{Clock, TenantId, TopicId};
use trendsrv_shard::Grid;

/// Index of an event in the oracle.
pub(crate) type EventId = usize;

/// One event or text that a producer pushed.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) tenant: usize,
    /// One topic, or those of a text.
    pub(crate) topics: Vec<usize>,
    digit: u32,
    pub(crate) ts_ms: u64,
    pushed_ms: u64,
    /// Its producer still holds it.
    pub(crate) waiting: bool,
    /// It may be counted.
    pub(crate) may: bool,
    /// Since when it must be: the number of the acknowledgement.
    pub(crate) must_since: Option<u64>,
    /// A crash does not change that.
    durable: bool,
    /// A crash left open whether it is counted: the next answer says so for good. Since which
    /// acknowledgement: an answer to an older question may be one from before.
    open: Option<u64>,
    /// Its producer held it when a server died that had applied parts without logging them: it may
    /// be among those, and its number is known as counted all the same.
    unlogged: bool,
}

/// An event that is not pushed yet.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    pub(crate) tenant: usize,
    pub(crate) topics: Vec<usize>,
    pub(crate) weight: u32,
    pub(crate) ts_ms: u64,
    digit: u32,
}

#[derive(Debug)]
pub(crate) struct TopicBook {
    pub(crate) name: String,
    pub(crate) id: TopicId,
    /// By digit.
    events: Vec<EventId>,
}

#[derive(Debug)]
pub(crate) struct TenantBook {
    pub(crate) name: String,
    pub(crate) id: TenantId,
    pub(crate) topics: Vec<TopicBook>,
    events: Vec<EventId>,
}

/// What was known when an answer was asked for, and when it came.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    /// Acknowledgements up to here were heard before the question was sent.
    pub(crate) acks: u64,
    /// When the question was sent.
    pub(crate) asked_ms: u64,
    /// When the answer came.
    pub(crate) now_ms: u64,
    /// What time was asked for.
    pub(crate) at_ms: Option<u64>,
    /// Events whose pane opened before this time have been counted.
    pub(crate) opened_ms: u64,
}

/// What a server that is gone leaves to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heir {
    /// All it knew is lost.
    Nothing,
    /// Its log: what was durable comes back, the rest perhaps.
    Log,
    /// It ended in good order.
    All,
}

/// See the module header.
#[derive(Debug)]
pub(crate) struct Oracle {
    grid: Grid,
    clock: Clock,
    pub(crate) tenants: Vec<TenantBook>,
    pub(crate) events: Vec<Sent>,
    acks: u64,
    /// The largest version that each client was told of each tenant.
    versions: BTreeMap<(usize, usize), u64>,
    /// Topics whose names were told.
    named: BTreeSet<TopicId>,
    /// A topic that had a name has it still.
    pub(crate) names_stay: bool,
}

impl Oracle {
    pub(crate) fn new(grid: Grid, clock: Clock, tenants: usize, topics: usize, salt: u64) -> Self {
        let tenants = (0..tenants).map(|tenant| {
            let name = format!("tenant {salt:x}.{tenant}");
            let topics = (0..topics).map(|topic| {
                let name = format!("#t{tenant}.{topic}");
                TopicBook { id: TopicId::of(&name), name, events: Vec::new() }
            });
            let (id, topics) = (TenantId::of(&name), topics.collect());
            TenantBook { name, id, topics, events: Vec::new() }
        });
        Self {
            grid,
            clock,
            tenants: tenants.collect(),
            events: Vec::new(),
            acks: 0,
            versions: BTreeMap::new(),
            named: BTreeSet::new(),
            names_stay: false,
        }
    }

    /// An event of these topics, which are different; `None` when one of them has all it can tell
    /// apart.
    pub(crate) fn draft(&self, tenant: usize, topics: Vec<usize>, ts_ms: u64) -> Option<Draft> {
        let book = &self.tenants[tenant];
        let used = topics.iter().map(|&topic| book.topics[topic].events.len()).max()?;
        let digit = u32::try_from(used).ok().filter(|digit| *digit < DIGITS)?;
        Some(Draft { tenant, topics, weight: 1 << (2 * digit), ts_ms, digit })
    }

    /// The draft is in its producer's queue.
    pub(crate) fn pushed(&mut self, draft: Draft, now_ms: u64) -> EventId {
        let id = self.events.len();
        let Draft { tenant, topics, ts_ms, digit, .. } = draft;
        let book = &mut self.tenants[tenant];
        for &topic in &topics {
            let events = &mut book.topics[topic].events;
            while events.len() < digit as usize {
                events.push(NOBODY);
            }
            events.push(id);
        }
        book.events.push(id);
        self.events.push(Sent {
            tenant,
            topics,
            digit,
            ts_ms,
            pushed_ms: now_ms,
            waiting: true,
            may: true,
            must_since: None,
            durable: false,
            open: None,
            unlogged: false,
        });
        id
    }

    /// Its producer has heard of its acknowledgement.
    pub(crate) fn acked(&mut self, id: EventId, durable: bool) {
        self.acks += 1;
        let event = &mut self.events[id];
        event.waiting = false;
        if event.unlogged && !durable {
            event.open = event.may.then_some(self.acks);
            return;
        }
        event.must_since.get_or_insert(self.acks);
        event.durable |= durable;
    }

    /// Its producer has heard of an acknowledgement by a server that is gone since.
    pub(crate) fn acked_by_the_dead(&mut self, id: EventId, heir: Heir, durable: bool) {
        let event = &mut self.events[id];
        event.waiting = false;
        match heir {
            Heir::Nothing => event.may = false,
            Heir::Log if durable => self.acked(id, true),
            Heir::All => self.acked(id, durable),
            Heir::Log => {
                let open = event.may && event.must_since.is_none();
                event.open = open.then_some(self.acks);
            }
        }
    }

    /// Its producer has given it up.
    pub(crate) fn uncertain(&mut self, id: EventId) {
        self.events[id].waiting = false;
    }

    /// Acknowledgements heard so far.
    pub(crate) const fn acks(&self) -> u64 {
        self.acks
    }

    /// A client was told a tenant's version; answers to one client come in the order in which they
    /// were given.
    ///
    /// # Errors
    /// When it was told a later one before.
    pub(crate) fn told(
        &mut self,
        client: usize,
        tenant: usize,
        version: u64,
    ) -> Result<(), String> {
        let last = self.versions.entry((client, tenant)).or_default();
        if version < *last {
            let name = &self.tenants[tenant].name;
            return Err(format!("{name} has version {version}, after it had {last}"));
        }
        *last = version;
        Ok(())
    }

    /// The server is gone with all its memory, and nothing it knew comes back.
    pub(crate) fn forgotten(&mut self) {
        self.versions.clear();
        for event in &mut self.events {
            event.must_since = None;
            event.may &= event.waiting;
            event.open = None;
        }
    }

    /// The server is gone; what its log held comes back. `unlogged`: not all was in its log.
    pub(crate) fn crashed(&mut self, unlogged: bool) {
        // Nobody acknowledges a name.
        self.named.clear();
        for event in &mut self.events {
            event.unlogged |= unlogged && event.waiting;
            if !event.durable {
                event.must_since = None;
                event.open = (event.may && !event.waiting).then_some(self.acks);
            }
        }
    }

    /// Where an event is, for people.
    fn words(&self, id: EventId) -> String {
        let event = &self.events[id];
        let names: Vec<&str> = event
            .topics
            .iter()
            .map(|&topic| self.tenants[event.tenant].topics[topic].name.as_str())
            .collect();
        format!("event {id} {names:?} at {} (pane {})", event.ts_ms, self.pane(id))
    }

    fn pane(&self, id: EventId) -> u64 {
        self.grid.pane_of(self.events[id].ts_ms)
    }

    /// Holds an answer against everything sent.
    ///
    /// # Errors
    /// What does not agree.
    pub(crate) fn judge(
        &mut self,
        tenant: usize,
        answer: &Answer,
        moment: &Moment,
    ) -> Result<(), String> {
        let head = &answer.head;
        let who = format!("{} as of {}", self.tenants[tenant].name, head.as_of_ms);
        if !head.flags.exact || head.error_bound != 0 || head.dropped != 0 || head.shed != 0 {
            return Err(format!("{who}: the answer is not exact: {head:?}"));
        }
        let counted = self.decode(tenant, &answer.topics).map_err(|why| format!("{who}: {why}"))?;
        self.check_sums(tenant, answer, &counted).map_err(|why| format!("{who}: {why}"))?;
        self.check_time(answer, &counted, moment).map_err(|why| format!("{who}: {why}"))?;
        self.check_events(tenant, head.as_of_ms, &counted, moment)
            .map_err(|why| format!("{who}: {why}"))?;
        let named = answer.topics.iter().filter(|row| !row.name.is_empty());
        self.named.extend(named.map(|row| row.topic));
        Ok(())
    }

    /// The server does not hold the tenant.
    ///
    /// # Errors
    /// When it should.
    pub(crate) fn judge_unknown(&mut self, tenant: usize, moment: &Moment) -> Result<(), String> {
        let none = BTreeSet::new();
        let as_of_ms = match self.clock {
            Clock::Wall => moment.now_ms,
            // Without any event its time has not begun.
            Clock::Event => self.newest_must(tenant, moment).unwrap_or(0),
        };
        let who = format!("{} is unknown", self.tenants[tenant].name);
        self.check_events(tenant, as_of_ms, &none, moment).map_err(|why| format!("{who}: {why}"))
    }

    fn newest_must(&self, tenant: usize, moment: &Moment) -> Option<u64> {
        let must = |event: &&Sent| event.must_since.is_some_and(|since| since <= moment.acks);
        let events = self.tenants[tenant].events.iter().map(|&id| &self.events[id]);
        events.filter(must).map(|event| event.ts_ms).max()
    }

    /// Which events the counts are made of.
    fn decode(&self, tenant: usize, rows: &[AnswerTopic]) -> Result<BTreeSet<EventId>, String> {
        let book = &self.tenants[tenant];
        let mut times: BTreeMap<EventId, usize> = BTreeMap::new();
        for row in rows {
            let Some(topic) = book.topics.iter().find(|topic| topic.id == row.topic) else {
                return Err(format!("topic {:?} of nobody has {}", row.topic, row.count));
            };
            if !row.name.is_empty() && row.name != topic.name {
                return Err(format!("{:?} is called {:?}", topic.name, row.name));
            }
            if row.name.is_empty() && self.names_stay && self.named.contains(&row.topic) {
                return Err(format!("{:?} has lost its name", topic.name));
            }
            if !row.sample.is_empty() && !row.sample.contains(&topic.name) {
                return Err(format!("{:?} has a sample of another: {:?}", topic.name, row.sample));
            }
            if row.low != row.count || row.high != row.count {
                return Err(format!("{:?} is not certain: {row:?}", topic.name));
            }
            for digit in 0..32 {
                let often = row.count >> (2 * digit) & 3;
                if often == 0 {
                    continue;
                }
                let id = topic.events.get(digit).copied().filter(|id| *id != NOBODY);
                let Some(id) = id else {
                    let count = row.count;
                    return Err(format!(
                        "{:?} has {count:#x}: nobody sent digit {digit}",
                        row.name
                    ));
                };
                if often > 1 {
                    return Err(format!("{} counts {often} times", self.words(id)));
                }
                *times.entry(id).or_default() += 1;
            }
        }
        for (&id, &topics) in &times {
            if topics != self.events[id].topics.len() {
                return Err(format!("{} counts in {topics} of its topics", self.words(id)));
            }
        }
        Ok(times.into_keys().collect())
    }

    fn check_sums(
        &self,
        tenant: usize,
        answer: &Answer,
        counted: &BTreeSet<EventId>,
    ) -> Result<(), String> {
        let head = &answer.head;
        let (mut total, mut events, mut topics) = (0, 0, BTreeSet::<usize>::new());
        for &id in counted {
            let event = &self.events[id];
            total += (event.topics.len() as u64) << (2 * event.digit);
            events += event.topics.len() as u64;
            topics.extend(event.topics.iter().copied());
        }
        let got = (head.total, head.events, head.distinct);
        let want = (total, events, topics.len() as u64);
        if got != want {
            return Err(format!("(total, events, distinct) are {got:?}, should be {want:?}"));
        }
        let name = |row: &AnswerTopic| {
            let topics = &self.tenants[tenant].topics;
            topics.iter().find(|topic| topic.id == row.topic).map(|topic| topic.name.clone())
        };
        let all_named = answer.topics.iter().all(|row| !row.name.is_empty());
        let in_order = answer.topics.windows(2).all(|two| {
            let by_count = two[1].count.cmp(&two[0].count);
            by_count.then_with(|| name(&two[0]).cmp(&name(&two[1]))).is_lt()
                || !all_named && by_count.is_le()
        });
        if in_order { Ok(()) } else { Err("topics are not ordered by count, then name".into()) }
    }

    /// The time of the answer is one that its question allows.
    fn check_time(
        &self,
        answer: &Answer,
        counted: &BTreeSet<EventId>,
        moment: &Moment,
    ) -> Result<(), String> {
        let as_of_ms = answer.head.as_of_ms;
        let agrees = match self.clock {
            Clock::Wall => {
                let earliest_ms = moment.asked_ms.max(moment.at_ms.unwrap_or(0));
                let latest_ms = moment.now_ms.max(moment.at_ms.unwrap_or(0));
                (earliest_ms..=latest_ms).contains(&as_of_ms)
            }
            Clock::Event => {
                let newest_ms = counted.iter().map(|&id| self.events[id].ts_ms).max();
                // A later time than the newest event's may leave none in the window.
                newest_ms.is_none_or(|newest_ms| match moment.at_ms {
                    None => as_of_ms == newest_ms,
                    Some(at_ms) => as_of_ms >= newest_ms.max(at_ms),
                })
            }
        };
        if agrees { Ok(()) } else { Err(format!("it does not answer {moment:?}")) }
    }

    fn check_events(
        &mut self,
        tenant: usize,
        as_of_ms: u64,
        counted: &BTreeSet<EventId>,
        moment: &Moment,
    ) -> Result<(), String> {
        let (now, panes) = (self.grid.pane_of(as_of_ms), u64::from(self.grid.panes()));
        // An event ahead of the clock waits for its pane, and the turn behind its opening.
        let sure = |event: &Sent, grid: &Grid| {
            self.clock == Clock::Event
                || grid.pane_of(event.ts_ms) <= grid.pane_of(event.pushed_ms)
                || grid.start_ms(grid.pane_of(event.ts_ms)) <= moment.opened_ms
        };
        for &id in &self.tenants[tenant].events {
            let (pane, counts) = (self.pane(id), counted.contains(&id));
            let lives = pane <= now && pane + panes > now;
            let event = &self.events[id];
            if counts && !lives {
                return Err(format!("{} counts outside its window", self.words(id)));
            }
            if counts && !event.may {
                return Err(format!("{} counts, though it was lost for good", self.words(id)));
            }
            if !lives || !sure(event, &self.grid) {
                continue;
            }
            if !counts && event.must_since.is_some_and(|since| since <= moment.acks) {
                let durable = if event.durable { "durable" } else { "applied" };
                return Err(format!("{} is {durable} and does not count", self.words(id)));
            }
            let event = &mut self.events[id];
            if event.open.is_some_and(|since| since <= moment.acks) {
                event.open = None;
                event.may = counts;
                if counts {
                    (event.must_since, event.durable) = (Some(0), true);
                }
            }
        }
        Ok(())
    }
}

/// Events of one topic: 4^14 is the largest power of 4 that an event may weigh.
pub(crate) const DIGITS: u32 = 15;
/// Stands where a text with several topics left a digit free.
const NOBODY: EventId = EventId::MAX;
