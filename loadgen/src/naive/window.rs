//! One tenant's window: exact counts by topic and pane, and the answer made of them.
//!
//! Owns: what counts, and the protocol's numbers (docs/protocol.md, "Time" and "Answers"). Never
//! touches a lock, a thread or a clock.
//!
//! ```text
//! topics   "a" -> [pane 7: 3 events, weight 9] [pane 9: 1, 2]      oldest first, empty panes absent
//!          "b" -> [pane 9: 4, 4]
//! ```
//!
//! Nothing is ever thinned out, so every answer is exact.

use std::cmp::Ordering;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use trendsrv_proto::{Rank, SummaryFlags, SummaryHead, TenantId, TopicId, TopicRow, Trend};

/// Panes of the window, and their length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Grid {
    pub(crate) slide_ms: u32,
    pub(crate) panes: u32,
}

impl Grid {
    /// The pane of a time.
    pub(crate) const fn pane(self, time_ms: u64) -> u64 {
        time_ms / self.slide_ms as u64
    }

    /// Whether the window that ends in pane `last` holds a pane.
    const fn holds(self, last: u64, pane: u64) -> bool {
        pane <= last && !self.is_past(last, pane)
    }

    /// Whether a pane is older than the window that ends in pane `last`.
    const fn is_past(self, last: u64, pane: u64) -> bool {
        pane + self.panes as u64 <= last
    }

    /// Panes of the recent span: 10 s of them, the current one included.
    fn recent_panes(self) -> u64 {
        u64::from((RECENT_MS / self.slide_ms).clamp(1, self.panes - 1))
    }
}

/// One event, of a tenant known already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) topic: TopicId,
    pub(crate) weight: u32,
    pub(crate) time_ms: u64,
}

/// What one pane holds of a topic.
#[derive(Clone, Copy, Debug)]
struct Cell {
    pane: u64,
    weight: u64,
    events: u64,
}

/// A tenant's window; see the module.
#[derive(Debug)]
pub(crate) struct Window {
    grid: Grid,
    topics: HashMap<TopicId, VecDeque<Cell>>,
    /// Topics at which those without events are looked for.
    purge_at: usize,
    /// Bytes of the cells.
    cell_bytes: usize,
    late: u64,
    /// Grows with every event and whenever time has moved an answer.
    version: u64,
    answered: u64,
    known: bool,
}

/// An answer that owns its names.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answer {
    pub(crate) head: SummaryHead,
    pub(crate) rows: Vec<Row>,
}

/// One topic of an answer; the name is empty until someone tells it.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) topic: TopicId,
    pub(crate) name: Arc<str>,
    pub(crate) count: u64,
    velocity_milli: i64,
    pub(crate) score_milli: i64,
    trend: Trend,
}

impl Row {
    /// As it goes onto the wire.
    pub(crate) fn on_wire(&self) -> TopicRow<'_> {
        TopicRow {
            topic: self.topic,
            count: self.count,
            low: self.count,
            high: self.count,
            velocity_milli: self.velocity_milli,
            score_milli: self.score_milli,
            trend: self.trend,
            name: &self.name,
            sample: "",
        }
    }
}

impl Window {
    /// An empty window of a tenant that nobody has sent events for.
    pub(crate) fn new(grid: Grid) -> Self {
        Self {
            grid,
            topics: HashMap::new(),
            purge_at: PURGE_TOPICS,
            cell_bytes: 0,
            late: 0,
            version: 0,
            answered: 0,
            known: false,
        }
    }

    /// Counts an event when the clock says `now_ms`.
    pub(crate) fn add(&mut self, now_ms: u64, event: Event) {
        self.known = true;
        self.version += 1;
        let (grid, last, pane) = (self.grid, self.grid.pane(now_ms), self.grid.pane(event.time_ms));
        if grid.is_past(last, pane) {
            self.late += 1;
            return;
        }
        if self.topics.len() >= self.purge_at && !self.topics.contains_key(&event.topic) {
            self.purge(last);
        }
        let cells = self.topics.entry(event.topic).or_default();
        let before = cells.capacity();
        forget(cells, grid, last);
        let weight = u64::from(event.weight);
        // Events come nearly in the order of time: the place is at the end or close to it.
        let behind = cells.iter().rposition(|cell| cell.pane <= pane).map_or(0, |at| at + 1);
        match behind.checked_sub(1).and_then(|at| cells.get_mut(at)) {
            Some(cell) if cell.pane == pane => {
                cell.weight += weight;
                cell.events += 1;
            }
            _ => cells.insert(behind, Cell { pane, weight, events: 1 }),
        }
        self.cell_bytes += (cells.capacity() - before) * size_of::<Cell>();
    }

    /// Drops the topics without events, at most once for so many new ones.
    fn purge(&mut self, last: u64) {
        let (grid, bytes) = (self.grid, &mut self.cell_bytes);
        self.topics.retain(|_, cells| {
            forget(cells, grid, last);
            let keeps = !cells.is_empty();
            if !keeps {
                *bytes -= cells.capacity() * size_of::<Cell>();
            }
            keeps
        });
        self.purge_at = (2 * self.topics.len()).max(PURGE_TOPICS);
    }

    /// Whether an event has ever come.
    pub(crate) const fn is_known(&self) -> bool {
        self.known
    }

    /// Bytes of the topics and their counts.
    pub(crate) fn bytes(&self) -> usize {
        // A table of the standard library has a byte of its own beside each entry.
        let entry = size_of::<(TopicId, VecDeque<Cell>)>() + 1;
        self.cell_bytes + self.topics.capacity() * entry
    }

    /// The answer for the window that ends at `at_ms`; `names` finds a topic's name.
    pub(crate) fn answer(
        &mut self,
        tenant: TenantId,
        (at_ms, k, rank): (u64, usize, Rank),
        names: impl Fn(TopicId) -> Option<Arc<str>>,
    ) -> Answer {
        let (grid, last) = (self.grid, self.grid.pane(at_ms));
        if self.answered != last {
            (self.answered, self.version) = (last, self.version + 1);
        }
        let past = Past::new(self, last);
        let mut events = 0;
        let mut rows = Vec::with_capacity(self.topics.len());
        for (topic, cells) in &self.topics {
            let held = || cells.iter().filter(|cell| grid.holds(last, cell.pane));
            let count: u64 = held().map(|cell| cell.weight).sum();
            if count == 0 {
                continue;
            }
            events += held().map(|cell| cell.events).sum::<u64>();
            let (recent, expected) = past.of(held());
            rows.push((*topic, count, recent, expected));
        }
        let distinct = rows.len() as u64;
        let mut rows: Vec<_> = rows
            .into_iter()
            .map(|(topic, count, recent, expected)| {
                let (score_milli, trend) = past.judge(recent, expected, distinct);
                let velocity_milli = past.velocity_milli(recent, count);
                let name = names(topic).unwrap_or_default();
                Row { topic, name, count, velocity_milli, score_milli, trend }
            })
            .collect();
        let head = SummaryHead {
            tenant,
            as_of_ms: at_ms,
            version: self.version,
            total: rows.iter().map(|row| row.count).sum(),
            events,
            distinct,
            late: self.late,
            window_ms: grid.slide_ms * grid.panes,
            slide_ms: grid.slide_ms,
            flags: SummaryFlags { known: true, exact: true, distinct_exact: true, certified: true },
            ..SummaryHead::default()
        };
        rows.sort_unstable_by(|a, b| order(rank, a, b));
        rows.truncate(k);
        Answer { head, rows }
    }
}

/// Drops the panes that no window holds any more.
fn forget(cells: &mut VecDeque<Cell>, grid: Grid, last: u64) {
    while cells.front().is_some_and(|cell| grid.is_past(last, cell.pane)) {
        cells.pop_front();
    }
}

fn order(rank: Rank, a: &Row, b: &Row) -> Ordering {
    let by_score = match rank {
        Rank::Score => b.score_milli.cmp(&a.score_milli),
        Rank::Count => Ordering::Equal,
    };
    let by_count = by_score.then_with(|| b.count.cmp(&a.count));
    by_count.then_with(|| a.name.as_bytes().cmp(b.name.as_bytes())).then(a.topic.cmp(&b.topic))
}

/// What the panes before the recent span let one expect.
#[derive(Debug)]
struct Past {
    grid: Grid,
    last: u64,
    recent_panes: u64,
    /// Sum of the weights of the baseline's panes.
    weights: f64,
    /// The tenant's expectation for the recent span.
    tenant: f64,
}

impl Past {
    fn new(window: &Window, last: u64) -> Self {
        let (grid, recent_panes) = (window.grid, window.grid.recent_panes());
        let all = || window.topics.values().flatten().filter(|cell| grid.holds(last, cell.pane));
        let oldest = all().map(|cell| cell.pane).min().unwrap_or(last);
        let baseline = (last - oldest + 1).saturating_sub(recent_panes);
        let weights = (0..baseline).map(fading).sum();
        let mut past = Self { grid, last, recent_panes, weights, tenant: 0.0 };
        past.tenant = past.of(all()).1;
        past
    }

    /// Weight in the recent span, and what was to be expected there.
    fn of<'a>(&self, cells: impl Iterator<Item = &'a Cell>) -> (u64, f64) {
        let (mut recent, mut sum) = (0, 0.0);
        for cell in cells {
            match (self.last - cell.pane).checked_sub(self.recent_panes) {
                None => recent += cell.weight,
                Some(age) => sum += fading(age) * float(cell.weight),
            }
        }
        let expected =
            if self.weights > 0.0 { sum / self.weights * float(self.recent_panes) } else { 0.0 };
        (recent, expected)
    }

    /// Score in thousandths, and what the topic is doing.
    fn judge(&self, recent: u64, expected: f64, distinct: u64) -> (i64, Trend) {
        let unseen = expected == 0.0;
        if unseen && recent < NEWCOMER_WEIGHT_MIN {
            return (0, Trend::New);
        }
        let expected = if unseen { self.tenant / float(distinct + 1) } else { expected };
        let root = |weight: f64| (weight + 0.375).sqrt();
        let score = 2.0 * (root(float(recent)) - root(expected));
        let trend = match score {
            _ if unseen => Trend::New,
            rising if rising >= TREND_SCORE => Trend::Rising,
            falling if falling <= -TREND_SCORE => Trend::Falling,
            _ => Trend::Steady,
        };
        (thousandths(score), trend)
    }

    /// Weight in the recent span per second, less weight in the window per second.
    fn velocity_milli(&self, recent: u64, count: u64) -> i64 {
        let (panes, recent_panes) = (i128::from(self.grid.panes), i128::from(self.recent_panes));
        let over = i128::from(recent) * panes - i128::from(count) * recent_panes;
        let under = recent_panes * panes * i128::from(self.grid.slide_ms);
        i64::try_from(over * 1_000_000 / under).unwrap_or(i64::MAX)
    }
}

/// What a baseline pane of some age counts for; 0 is the newest.
fn fading(age: u64) -> f64 {
    (15.0_f64 / 16.0).powi(i32::try_from(age).unwrap_or(i32::MAX))
}

fn float(n: u64) -> f64 {
    crate::process::float(n)
}

#[expect(clippy::cast_possible_truncation, reason = "a float is cut to the range, toward zero")]
fn thousandths(value: f64) -> i64 {
    (value * 1e3) as i64
}

const RECENT_MS: u32 = 10_000;
/// A newcomer below this weight scores 0.
const NEWCOMER_WEIGHT_MIN: u64 = 5;
/// From this score on a topic is rising, below its negative falling.
const TREND_SCORE: f64 = 2.0;
/// Fewer topics are never purged.
const PURGE_TOPICS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{Checked, Expected};
    use crate::exact::Exact;
    use rand::rngs::SmallRng;
    use rand::{Rng as _, SeedableRng as _};
    use trendsrv_client::AnswerTopic;

    const GRID: Grid = Grid { slide_ms: 1_000, panes: 60 };
    const TENANT: &str = "t";

    fn event(topic: &str, weight: u32, time_ms: u64) -> Event {
        Event { topic: TopicId::of(topic), weight, time_ms }
    }

    fn name(place: u32) -> String {
        format!("topic-{place}")
    }

    fn ask(window: &mut Window, at_ms: u64, k: usize, rank: Rank) -> Answer {
        let all = (0..200).map(name).chain(["a".to_owned(), "b".to_owned(), "c".to_owned()]);
        let names: HashMap<_, Arc<str>> =
            all.map(|name| (TopicId::of(&name), name.into())).collect();
        window.answer(TenantId::of(TENANT), (at_ms, k, rank), |topic| names.get(&topic).cloned())
    }

    /// As a client sees it.
    fn received(answer: &Answer) -> trendsrv_client::Answer {
        let topic = |row: &Row| AnswerTopic {
            topic: row.topic,
            count: row.count,
            low: row.count,
            high: row.count,
            name: row.name.to_string(),
            ..AnswerTopic::default()
        };
        let topics = answer.rows.iter().map(topic).collect();
        trendsrv_client::Answer { head: answer.head, topics, ..Default::default() }
    }

    #[test]
    fn every_answer_is_the_one_of_the_exact_counts() {
        for seed in 0..20 {
            let mut random = SmallRng::seed_from_u64(seed);
            let (mut window, mut exact) = (Window::new(GRID), Exact::new(1_000, 60));
            let (mut checked, mut now_ms) = (Checked::default(), 1_000_000);
            for step in 0..3_000 {
                now_ms += random.random_range(0..200);
                let (topic, weight) =
                    (name(random.random_range(0..150)), random.random_range(1..9));
                window.add(now_ms, event(&topic, weight, now_ms));
                exact.push(TENANT, &topic, weight, now_ms);
                if step % 100 == 99 {
                    let expected = exact.expected(0, now_ms);
                    let answer = received(&ask(&mut window, now_ms, 100, Rank::Count));
                    checked.check(TENANT, 100, &expected, &answer);
                }
            }
            assert_eq!(checked.explained, [""; 0], "seed {seed}");
            assert_eq!(checked.tenants, 30);
        }
    }

    #[test]
    fn events_out_of_order_count_in_their_pane_and_late_ones_nowhere() {
        let mut window = Window::new(GRID);
        let now_ms = 100_500;
        for time_ms in [100_000, 99_000, 99_999, 41_000, 40_999, 101_000] {
            window.add(now_ms, event("a", 1, time_ms));
        }
        let answer = ask(&mut window, now_ms, 10, Rank::Count);
        assert_eq!((answer.head.events, answer.head.late), (4, 1), "one is late, one to come");
        let answer = ask(&mut window, 101_000, 10, Rank::Count);
        assert_eq!((answer.head.events, answer.rows[0].count), (4, 4), "one came, one has left");
        let answer = ask(&mut window, 158_999, 10, Rank::Count);
        assert_eq!(answer.head.events, 4);
        let answer = ask(&mut window, 161_000, 10, Rank::Count);
        assert_eq!((answer.head.events, answer.head.distinct, answer.rows.len()), (0, 0, 0));
    }

    #[test]
    fn the_check_sees_a_wrong_count() {
        let mut window = Window::new(GRID);
        window.add(5_000, event("a", 2, 5_000));
        let answer = received(&ask(&mut window, 5_000, 10, Rank::Count));
        let expected = |weight| Expected::new(1, vec![(TopicId::of("a"), "a".to_owned(), weight)]);
        let mut checked = Checked::default();
        checked.check(TENANT, 10, &expected(2), &answer);
        assert_eq!(checked.mismatches, 0);
        checked.check(TENANT, 10, &expected(3), &answer);
        assert_eq!(checked.mismatches, 2);
    }

    #[test]
    fn equal_counts_stand_by_their_names_and_the_list_ends_at_k() {
        let mut window = Window::new(GRID);
        for topic in ["c", "a", "b", "b"] {
            window.add(5_000, event(topic, 1, 5_000));
        }
        let answer = ask(&mut window, 5_000, 2, Rank::Count);
        let names: Vec<_> = answer.rows.iter().map(|row| &*row.name).collect();
        assert_eq!((names, answer.head.distinct), (vec!["b", "a"], 3));
    }

    /// Worked out by hand from the rules of the protocol.
    #[test]
    fn scores_and_velocities_follow_the_protocol() {
        let mut window = Window::new(GRID);
        for second in 0..20 {
            window.add(second * 1_000, event("a", 1, second * 1_000));
        }
        for _ in 0..9 {
            window.add(19_000, event("b", 1, 19_000));
            window.add(19_000, event("a", 1, 19_000));
        }
        let answer = ask(&mut window, 19_000, 10, Rank::Score);
        // a: 19 recent, one a second before, so 10 expected. b: 9 recent, expected 10 / 3.
        let of = |name: &str| answer.rows.iter().find(|row| &*row.name == name).unwrap();
        let (a, b) = (of("a"), of("b"));
        assert_eq!((a.score_milli, a.trend), (2_361, Trend::Rising));
        assert_eq!((b.score_milli, b.trend), (2_272, Trend::New));
        // 19 in 10 s less 29 in 60 s; 9 in 10 s less 9 in 60 s.
        assert_eq!((a.velocity_milli, b.velocity_milli), (1_416, 750));
    }

    #[test]
    fn topics_without_events_give_their_memory_back() {
        let mut window = Window::new(GRID);
        for topic in 0..200 {
            window.add(5_000, event(&name(topic), 1, 5_000));
        }
        let full = window.cell_bytes;
        for topic in 0..200 {
            window.add(200_000, event(&format!("later-{topic}"), 1, 200_000));
        }
        assert!(window.cell_bytes <= full && window.topics.len() == 200, "{}", window.topics.len());
    }

    #[test]
    fn a_version_stands_for_one_answer() {
        let mut window = Window::new(GRID);
        assert!(!window.is_known());
        window.add(5_000, event("a", 1, 5_000));
        let versions = [5_000, 5_500, 6_000].map(|at| ask(&mut window, at, 1, Rank::Count));
        let [one, same, moved] = versions.map(|answer| answer.head.version);
        assert!(one == same && moved > one);
        window.add(6_000, event("a", 1, 6_000));
        assert!(ask(&mut window, 6_000, 1, Rank::Count).head.version > moved);
    }
}
