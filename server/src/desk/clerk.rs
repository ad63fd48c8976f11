//! The shard's side of the desk: answers one mail from the shard's state.
//!
//! Owns the translation between mail and [`Shard`]. Never waits, never touches a socket or a clock;
//! the work of one mail is bounded by its limits (lines, topics, page).
//!
//! ```text
//! Query   -> Shard::ask                              -> Answer, owned
//! Ingest  -> names that collide leave with their     -> Ingested
//!            lines -> Shard::on_events or, with
//!            texts, on_mixed -> define
//! Tenants -> Shard::list                             -> lines
//! Stats   -> Shard::stats + what the server counts   -> ShardStats
//! Program -> DeskPrograms                            -> what was asked
//! ```

use std::net::SocketAddr;

use trendsrv_proto::{EventRecord, NameKind, Refusal, SummaryHead, TopicRow};
use trendsrv_shard::{
    Ask, Counted, Effect, Effects, Lane, Memory, Origin, Part, Programs, ReplyTo, Sequence, Shard,
    Stats, Text, TextPart,
};

use super::answer::{Answer, Counter, Level, Milli, ShardStats, TenantLine, TopicLine};
use super::host::DeskPrograms;
use super::mail::{
    DeskMail, IngestMail, IngestText, Ingested, Mark, QueryMail, Refused, Rejected, Reply,
};
use crate::node::LOG_BACKLOG_BYTES_MAX;

/// What the server knows of a shard beside its state.
#[derive(Clone, Debug, Default)]
pub struct ShardFacts {
    /// Index of the shard.
    pub shard: usize,
    /// Its direct listener.
    pub address: Option<SocketAddr>,
    /// The core it is pinned to.
    pub core: Option<usize>,
    /// Vnodes it owns.
    pub vnodes: usize,
    /// What the server counts: turns, connections, bytes.
    pub counters: Vec<Counter>,
    /// How full the server's own tables are.
    pub levels: Vec<Level>,
}

/// Answers one mail. A caller that has gone away gets nothing, and nothing is undone.
pub fn answer_mail<P: Programs + DeskPrograms, M: Memory>(
    shard: &mut Shard<P, M>,
    now_ms: u64,
    mail: DeskMail,
    facts: impl FnOnce() -> ShardFacts,
) {
    match mail {
        DeskMail::Query(query) => {
            let answer = answer(shard, now_ms, &query);
            let _ = query.reply.send(answer);
        }
        DeskMail::Ingest(ingest) => ingest_mail(shard, now_ms, ingest).answer(),
        DeskMail::Tenants(ask) => {
            let after = Some(&*ask.after).filter(|after| !after.is_empty());
            let index = facts().shard;
            let lines = shard.list(now_ms, &ask.prefix, after, ask.limit.into());
            let lines = lines.into_iter().map(|line| TenantLine {
                tenant: line.name.into(),
                total: line.total,
                events: line.events,
                topics: line.topics,
                shard: index,
                program: Some(line.program.into()),
            });
            let _ = ask.reply.send(lines.collect());
        }
        DeskMail::Stats(reply) => {
            let mut facts = facts();
            facts.counters.extend(shard.programs_mut().counters());
            facts.levels.extend(shard.programs_mut().levels());
            let _ = reply.send(stats(shard.stats(), facts));
        }
        // Only a driver has measured anything.
        DeskMail::Latency(reply) => drop(reply.send(Vec::new())),
        DeskMail::Program(mail) => shard.programs_mut().answer(mail),
    }
}

/// Counts the events of a mail. What became of them may have to wait for the disk.
pub fn ingest_mail<P: Programs, M: Memory>(
    shard: &mut Shard<P, M>,
    now_ms: u64,
    mail: IngestMail,
) -> Parked {
    let durable = mail.durable;
    let (work, reply) = Work::new(mail);
    let outcome = work.apply(shard, now_ms);
    // Names come behind their events in the log.
    let lsn = (durable && outcome.is_ok()).then(|| shard.last_lsn());
    Parked { lsn, outcome, reply }
}

/// What became of an [`IngestMail`], on its way to who asked.
#[derive(Debug)]
pub struct Parked {
    lsn: Option<u64>,
    outcome: Result<Ingested, Refused>,
    reply: Reply<Result<Ingested, Refused>>,
}

impl Parked {
    /// The record that must be durable before the answer; `None` when it may go at once.
    #[must_use]
    pub const fn lsn(&self) -> Option<u64> {
        self.lsn
    }

    /// Answers; a caller that has gone away gets nothing, and nothing is undone.
    pub fn answer(self) {
        let _ = self.reply.send(self.outcome);
    }
}

fn answer<P: Programs + DeskPrograms, M: Memory>(
    shard: &mut Shard<P, M>,
    now_ms: u64,
    query: &QueryMail,
) -> Result<Answer, Refused> {
    let (tenant, at_ms, k, rank) = (query.tenant, query.at_ms, query.k, query.rank);
    let ask = Ask { tenant, name: Some(&query.name), at_ms, k, rank };
    let answer = shard.ask(now_ms, &ask)?;
    let SummaryHead { flags, .. } = answer.head;
    let text = |text: &str| Some(text).filter(|text| !text.is_empty()).map(Box::from);
    let mut told = Answer {
        tenant: query.name.clone(),
        as_of_ms: answer.head.as_of_ms,
        window_ms: answer.head.window_ms.into(),
        slide_ms: answer.head.slide_ms.into(),
        version: answer.head.version,
        total: answer.head.total,
        events: answer.head.events,
        distinct: answer.head.distinct,
        distinct_exact: flags.distinct_exact,
        exact: flags.exact,
        certified: flags.certified,
        error_bound: answer.head.error_bound,
        late: answer.head.late,
        dropped: answer.head.dropped,
        shed: answer.head.shed,
        topics: answer.topics().map(|row| topic(&row)).collect(),
        tldr: text(answer.tldr),
        program: text(answer.program),
        program_fault: None,
    };
    // The call for this very answer may have failed.
    told.program_fault = shard.programs().fault_of(tenant);
    Ok(told)
}

fn topic(row: &TopicRow<'_>) -> TopicLine {
    let name = match row.name {
        "" => format!("id:{:016x}", row.topic.0).into(),
        name => name.into(),
    };
    TopicLine {
        topic: name,
        count: row.count,
        low: row.low,
        high: row.high,
        velocity: Milli(row.velocity_milli),
        score: Milli(row.score_milli),
        trend: row.trend,
        sample: Some(row.sample).filter(|sample| !sample.is_empty()).map(Box::from),
    }
}

/// An ingest mail on its way through the shard; holds the mail's grant until it is done.
struct Work {
    mail: IngestMail,
    rejected: Vec<Rejected>,
}

impl Work {
    fn new(mut mail: IngestMail) -> (Self, Reply<Result<Ingested, Refused>>) {
        let (unused, _) = tokio::sync::oneshot::channel();
        let reply = std::mem::replace(&mut mail.reply, unused);
        (Work { mail, rejected: Vec::new() }, reply)
    }

    fn apply<P: Programs, M: Memory>(
        mut self,
        shard: &mut Shard<P, M>,
        now_ms: u64,
    ) -> Result<Ingested, Refused> {
        self.reject_collisions(shard);
        if self.mail.records.is_empty() && self.mail.texts.is_empty() {
            return Ok(Ingested { rejected: self.rejected, ..Ingested::default() });
        }
        let sequence = self.mail.mark.map(|Mark { producer, seq }| Sequence {
            lane: Lane { producer, lane: HTTP_LANE, anonymous: false },
            epoch: 0,
            seq,
        });
        let seq = sequence.map_or(0, |at| at.seq);
        let durable = self.mail.durable;
        let from = Origin { to: DESK, seq, sequence, ask_names: false, durable };
        let (base_ms, span, records) = (self.mail.base_ms, self.mail.span, &*self.mail.records);
        let part = Part { base_ms, span, records };
        let mut effects = Effects::default();
        let texts: Vec<Text<'_>> = self.mail.texts.iter().map(text_of).collect();
        if texts.is_empty() {
            shard.on_events(now_ms, &from, &part, &mut effects);
        } else {
            let texts = TextPart { base_ms, span, texts: &texts };
            shard.on_mixed(now_ms, &from, &part, &texts, &mut effects);
        }
        let (counted, duplicate) = outcome(effects)?;
        // Tenants take their names only once they are there.
        let names = self.mail.names.iter();
        shard.define(names.map(|name| (name.kind, name.id, &*name.name)));
        let count = |events: u64| u32::try_from(events).unwrap_or(u32::MAX);
        Ok(Ingested {
            accepted: count(counted.applied + counted.early + counted.filtered),
            duplicates: count(if duplicate {
                (records.len() + texts.len()) as u64
            } else {
                counted.duplicate
            }),
            late: count(counted.late),
            dropped: count(counted.dropped),
            rejected: self.rejected,
        })
    }

    /// Takes out every event and text with a name whose id belongs to another name here.
    fn reject_collisions<P: Programs, M: Memory>(&mut self, shard: &Shard<P, M>) {
        let taken = |name: &super::mail::Name| {
            shard.check_names(std::iter::once((name.kind, name.id, &*name.name))).err()
        };
        let collisions: Vec<(NameKind, u64, String)> = self
            .mail
            .names
            .iter()
            .filter_map(|name| Some((name.kind, name.id, taken(name)?.message)))
            .collect();
        if collisions.is_empty() {
            return;
        }
        let fault = |record: &EventRecord| {
            collisions.iter().find(|(kind, id, _)| match kind {
                NameKind::Tenant => record.tenant().0 == *id,
                NameKind::Topic => record.topic().0 == *id,
            })
        };
        let (mut records, mut lines) = (Vec::new(), Vec::new());
        for (record, line) in self.mail.records.iter().zip(&self.mail.lines) {
            match fault(record) {
                None => {
                    records.push(*record);
                    lines.push(*line);
                }
                Some((_, _, message)) => self.rejected.push(Rejected {
                    line: *line,
                    code: Refusal::IdCollision,
                    message: message.clone(),
                }),
            }
        }
        (self.mail.records, self.mail.lines) = (records, lines);
        let rejected = &mut self.rejected;
        self.mail.texts.retain(|text| {
            let is_its = |(kind, id, _): &&(NameKind, u64, String)| {
                *kind == NameKind::Tenant && *id == text.tenant.0
            };
            let fault = collisions.iter().find(is_its);
            if let Some((_, _, message)) = fault {
                let (line, code) = (text.line, Refusal::IdCollision);
                rejected.push(Rejected { line, code, message: message.clone() });
            }
            fault.is_none()
        });
        let collides = |kind, id| collisions.iter().any(|(k, i, _)| (*k, *i) == (kind, id));
        self.mail.names.retain(|name| !collides(name.kind, name.id));
    }
}

fn text_of(text: &IngestText) -> Text<'_> {
    let IngestText { tenant, weight, offset_ms, .. } = *text;
    Text { tenant, text: &text.text, weight, offset_ms }
}

/// What became of the events and whether they had been counted before, or the refusal.
fn outcome(effects: Effects) -> Result<(Counted, bool), Refused> {
    for effect in effects.list {
        match effect {
            Effect::Accepted { counted, duplicate, .. } => return Ok((counted, duplicate)),
            Effect::Refused { why, .. } => return Err(why.into()),
            Effect::Need { .. } | Effect::Publish { .. } => {}
        }
    }
    unreachable!("a part is accepted or refused");
}

impl From<trendsrv_shard::Refused> for Refused {
    fn from(why: trendsrv_shard::Refused) -> Self {
        let retry_after_ms = Some(why.retry_after_ms).filter(|ms| *ms > 0);
        Refused { code: why.code, message: why.message, retry_after_ms }
    }
}

fn stats(stats: &Stats, facts: ShardFacts) -> ShardStats {
    let mut counters = facts.counters;
    counters.extend(counters_of(stats));
    let mut levels = facts.levels;
    levels.extend(levels_of(stats));
    ShardStats {
        shard: facts.shard,
        address: facts.address,
        core: facts.core,
        vnodes: facts.vnodes,
        counters,
        levels,
        refused: Refusal::ALL.iter().map(|code| (*code, stats.refused[*code as usize])).collect(),
    }
}

fn counters_of(stats: &Stats) -> impl IntoIterator<Item = Counter> {
    [
        ("parts_applied", "Parts of frames and requests applied", stats.parts_applied),
        ("parts_duplicate", "Parts that had been applied before", stats.parts_duplicate),
        ("events_applied", "Events counted in a window", stats.events_applied),
        ("events_late", "Events older than their window", stats.events_late),
        ("events_dropped", "Events no memory was left to count", stats.events_dropped),
        ("events_early", "Events that waited for their pane to open", stats.events_early),
        ("events_filtered", "Events that programs left out", stats.events_filtered),
        ("texts", "Texts taken", stats.texts),
        ("texts_without_topics", "Texts without a topic", stats.texts_without_topics),
        ("text_topics", "Topics found in texts, each an event", stats.text_topics),
        ("text_topics_collided", "Topics of texts with another's id", stats.text_topics_collided),
        ("text_topics_over", "Topics beyond those a text may have", stats.text_topics_over),
        ("ticks", "Calls of programs for changed tenants", stats.ticks),
        ("ticks_unchanged", "Changed tenants with the same ranking", stats.ticks_unchanged),
        ("samples_full", "Sample messages no memory was left for", stats.samples_full),
        ("tenants_evicted", "Empty tenants that made room", stats.tenants_evicted),
        ("marks_evicted", "Producer marks given up to make room", stats.marks_evicted),
        ("topics_unnamed", "Topics that found the table of names full", stats.topics_unnamed_full),
        ("log_lsn", "The newest record of the log", stats.log_lsn),
        ("log_durable_lsn", "The newest record known durable", stats.log_durable_lsn),
        ("log_unlogged_parts", "Parts applied without room to log them", stats.log_unlogged_parts),
        ("queries", "Answers given", stats.queries),
        ("updates", "Changed answers sent to subscribers", stats.updates),
    ]
    .map(|(name, help, value)| Counter { name, help, value })
}

fn levels_of(stats: &Stats) -> impl IntoIterator<Item = Level> {
    // The shard logs what it is brought; what brings no more past this is the node.
    let max = LOG_BACKLOG_BYTES_MAX as u64;
    let backlog = trendsrv_shard::Level { max, ..stats.log_backlog_bytes };
    [
        ("tenants", "Tenants held", stats.tenants),
        ("topics", "Topic names held", stats.topics),
        ("producers", "Producer lanes with a mark", stats.marks),
        ("early_events", "Events waiting for their pane to open", stats.early),
        ("subscriptions", "Subscriptions held", stats.subscriptions),
        ("window_bytes", "Memory of windows", stats.window_bytes),
        ("sample_bytes", "Memory of sample messages", stats.sample_bytes),
        ("log_backlog_bytes", "Bytes of the log that wait to be written", backlog),
    ]
    .map(|(name, help, level)| Level {
        name,
        help,
        now: level.now,
        max: level.max,
        high_water: level.high,
    })
}

/// Effects for the desk are read here at once; nobody else may see this number.
const DESK: ReplyTo = ReplyTo(u64::MAX);
/// The lane of HTTP producers, which no binary producer shares.
const HTTP_LANE: u16 = u16::MAX;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desk::mail::{Grant, Name, TenantsMail};
    use tokio::sync::oneshot;
    use trendsrv_proto::{Clock, Rank, Span, TenantId, TopicId};
    use trendsrv_shard::{Grid, HeapMemory, ShardConfig, Trending, WindowConfig, index_words};

    const NOW_MS: u64 = 1_442_016_000_500;

    type TestShard = Shard<Trending, HeapMemory>;

    fn shard() -> TestShard {
        let grid = Grid::new(60_000, 1_000).unwrap();
        let config = ShardConfig {
            grid,
            clock: Clock::Wall,
            tenants_max: 2,
            topics_max: 64,
            producers_max: 8,
            early_max: 16,
            subscriptions_max: 4,
            sample_bytes_max: trendsrv_shard::SAMPLE_BYTES_MAX_DEFAULT,
            secret: [3, 5],
        };
        let windows = WindowConfig { tenants_max: 2, ..WindowConfig::new(grid, [7, 11]) };
        let bytes = windows.memory_bytes(0).max(windows.chunk_bytes());
        let memory = HeapMemory::new(usize::try_from(bytes).unwrap() / 8);
        let programs = Trending { recent_ms: 10_000, window_ms: 60_000 };
        let index = HeapMemory::new(index_words(config.tenants_max));
        Shard::new(config, &windows, memory, index, programs).unwrap()
    }

    /// Events of `(tenant, topic, weight, ms before now)`, on lines 1, 2, ...
    fn ingest(
        shard: &mut TestShard,
        events: &[(&str, &str, u32, i32)],
        mark: Option<Mark>,
    ) -> Result<Ingested, Refused> {
        let records = events.iter().map(|(tenant, topic, weight, ago)| {
            EventRecord::new(TenantId::of(tenant), TopicId::of(topic), *weight, -ago)
        });
        let mut names = Vec::new();
        for (tenant, topic, ..) in events {
            let tenant = (NameKind::Tenant, TenantId::of(tenant).0, *tenant);
            for (kind, id, name) in [tenant, (NameKind::Topic, TopicId::of(topic).0, *topic)] {
                names.push(Name { kind, id, name: name.into() });
            }
        }
        mail_of(shard, records.collect(), names, mark)
    }

    fn mail_of(
        shard: &mut TestShard,
        records: Vec<EventRecord>,
        names: Vec<Name>,
        mark: Option<Mark>,
    ) -> Result<Ingested, Refused> {
        mail_of_both(shard, records, Vec::new(), names, mark)
    }

    fn mail_of_both(
        shard: &mut TestShard,
        records: Vec<EventRecord>,
        texts: Vec<IngestText>,
        names: Vec<Name>,
        mark: Option<Mark>,
    ) -> Result<Ingested, Refused> {
        let (reply, mut answer) = oneshot::channel();
        let ms = |record: &EventRecord| NOW_MS.saturating_add_signed(record.offset_ms().into());
        let mail = DeskMail::Ingest(IngestMail {
            base_ms: NOW_MS,
            span: Span { min_ms: records.iter().map(ms).min().unwrap_or(NOW_MS), max_ms: NOW_MS },
            lines: (1..).take(records.len()).collect(),
            records,
            names,
            mark,
            durable: false,
            texts,
            grant: Grant::default(),
            reply,
        });
        answer_mail(shard, NOW_MS, mail, ShardFacts::default);
        answer.try_recv().unwrap()
    }

    fn query(shard: &mut TestShard, name: &str) -> Result<Answer, Refused> {
        let (reply, mut answer) = oneshot::channel();
        let (tenant, k, rank) = (TenantId::of(name), 10, Rank::Count);
        let mail = QueryMail { tenant, name: name.into(), k, rank, at_ms: None, reply };
        answer_mail(shard, NOW_MS, DeskMail::Query(mail), ShardFacts::default);
        answer.try_recv().unwrap()
    }

    fn counts(answer: &Answer) -> Vec<(&str, u64)> {
        answer.topics.iter().map(|line| (&*line.topic, line.count)).collect()
    }

    #[test]
    fn events_are_counted_and_named() {
        let mut shard = shard();
        let done = ingest(
            &mut shard,
            &[("acme", "b", 2, 0), ("acme", "a", 3, 100), ("acme", "old", 1, 61_000)],
            None,
        );
        assert_eq!(done, Ok(Ingested { accepted: 2, late: 1, ..Ingested::default() }));
        let answer = query(&mut shard, "acme").unwrap();
        assert_eq!(counts(&answer), [("a", 3), ("b", 2)]);
        assert_eq!((answer.total, answer.late, answer.exact), (5, 1, true));
        assert_eq!((answer.window_ms, answer.slide_ms), (60_000, 1_000));
        assert!(answer.tldr.as_deref().unwrap().contains("\"a\""), "{:?}", answer.tldr);
        assert_eq!(query(&mut shard, "nobody").unwrap_err().code, Refusal::UnknownTenant);
    }

    #[test]
    fn the_same_mark_counts_once() {
        let mut shard = shard();
        let mark = Some(Mark { producer: 9, seq: 1 });
        let first = ingest(&mut shard, &[("acme", "a", 1, 0)], mark);
        assert_eq!(first, Ok(Ingested { accepted: 1, ..Ingested::default() }));
        let again = ingest(&mut shard, &[("acme", "a", 1, 0)], mark);
        assert_eq!(again, Ok(Ingested { duplicates: 1, ..Ingested::default() }));
        let next = ingest(&mut shard, &[("acme", "a", 1, 0)], Some(Mark { producer: 9, seq: 2 }));
        assert_eq!(next, Ok(Ingested { accepted: 1, ..Ingested::default() }));
        assert_eq!(query(&mut shard, "acme").unwrap().total, 2);
    }

    #[test]
    fn a_taken_name_costs_its_own_lines() {
        let mut shard = shard();
        ingest(&mut shard, &[("acme", "a", 1, 0)], None).unwrap();
        // Nobody can make two names of one hash on demand, so the test says a false one.
        let tenant = TenantId::of("acme");
        let records = ["a", "b", "a"].map(|t| EventRecord::new(tenant, TopicId::of(t), 1, 0));
        let name = |id: &str, name: &str| Name {
            kind: NameKind::Topic,
            id: TopicId::of(id).0,
            name: name.into(),
        };
        let names = vec![name("a", "another"), name("b", "b")];
        let done = mail_of(&mut shard, records.to_vec(), names, None).unwrap();
        assert_eq!(done.accepted, 1);
        let lines: Vec<_> = done.rejected.iter().map(|r| (r.line, r.code)).collect();
        assert_eq!(lines, [(1, Refusal::IdCollision), (3, Refusal::IdCollision)]);
        assert_eq!(counts(&query(&mut shard, "acme").unwrap()), [("a", 1), ("b", 1)]);
    }

    fn said(line: u32, tenant: &str, text: &str, weight: u32) -> IngestText {
        IngestText { line, tenant: TenantId::of(tenant), text: text.into(), weight, offset_ms: 0 }
    }

    fn tenant_named(id: &str, name: &str) -> Name {
        Name { kind: NameKind::Tenant, id: TenantId::of(id).0, name: name.into() }
    }

    #[test]
    fn texts_and_records_count_under_one_mark_and_texts_bring_a_sample() {
        let mut shard = shard();
        let mark = Some(Mark { producer: 9, seq: 1 });
        let send = |shard: &mut TestShard| {
            let record = EventRecord::new(TenantId::of("acme"), TopicId::of("#mars"), 5, 0);
            let texts = vec![
                said(2, "acme", "a rover on #mars", 2),
                said(3, "acme", "nothing to find", 1),
                said(4, "other", "#moon", 1),
            ];
            let names = vec![tenant_named("acme", "acme"), tenant_named("other", "other")];
            mail_of_both(shard, vec![record], texts, names, mark)
        };
        assert_eq!(send(&mut shard), Ok(Ingested { accepted: 4, ..Ingested::default() }));
        assert_eq!(send(&mut shard), Ok(Ingested { duplicates: 4, ..Ingested::default() }));
        let answer = query(&mut shard, "acme").unwrap();
        assert_eq!(counts(&answer), [("#mars", 7)]);
        assert_eq!(answer.topics[0].sample.as_deref(), Some("a rover on #mars"));
        assert_eq!(counts(&query(&mut shard, "other").unwrap()), [("#moon", 1)]);
    }

    #[test]
    fn texts_of_a_taken_name_cost_their_own_lines_and_a_full_table_refuses_all() {
        let mut shard = shard();
        let names = |id: &str, name: &str| vec![tenant_named(id, name)];
        let first = vec![said(1, "a", "#x", 1)];
        mail_of_both(&mut shard, Vec::new(), first, names("a", "a"), None).unwrap();
        // Nobody can make two names of one hash on demand, so the test says a false one.
        let texts = vec![said(1, "a", "#x", 1), said(2, "b", "#x", 1)];
        let mut two = names("a", "another");
        two.push(tenant_named("b", "b"));
        let done = mail_of_both(&mut shard, Vec::new(), texts, two, None).unwrap();
        let lines: Vec<_> = done.rejected.iter().map(|r| (r.line, r.code)).collect();
        assert_eq!((done.accepted, lines), (1, vec![(1, Refusal::IdCollision)]));
        let record = EventRecord::new(TenantId::of("a"), TopicId::of("#x"), 1, 0);
        let third = vec![said(2, "c", "#x", 1)];
        let refused =
            mail_of_both(&mut shard, vec![record], third, names("c", "c"), None).unwrap_err();
        assert_eq!(refused.code, Refusal::TenantsFull);
        assert_eq!(query(&mut shard, "a").unwrap().total, 1, "neither counts");
    }

    #[test]
    fn a_full_table_refuses_the_part() {
        let mut shard = shard();
        ingest(&mut shard, &[("a", "x", 1, 0), ("b", "x", 1, 0)], None).unwrap();
        let refused = ingest(&mut shard, &[("c", "x", 1, 0)], None).unwrap_err();
        assert_eq!(refused.code, Refusal::TenantsFull);
        assert!(refused.retry_after_ms.is_some());
    }

    #[test]
    fn a_topic_without_a_name_shows_its_id() {
        let mut shard = shard();
        let record = EventRecord::new(TenantId::of("acme"), TopicId(0xAB), 1, 0);
        mail_of(&mut shard, vec![record], Vec::new(), None).unwrap();
        let answer = query(&mut shard, "acme").unwrap();
        assert_eq!(counts(&answer), [("id:00000000000000ab", 1)]);
    }

    #[test]
    fn tenants_and_stats_are_told() {
        let mut shard = shard();
        ingest(&mut shard, &[("a", "x", 4, 0), ("b", "x", 1, 0)], None).unwrap();
        let facts = || ShardFacts { shard: 3, vnodes: 7, ..ShardFacts::default() };
        let (reply, mut page) = oneshot::channel();
        let mail = TenantsMail { prefix: "".into(), after: "a".into(), limit: 10, reply };
        answer_mail(&mut shard, NOW_MS, DeskMail::Tenants(mail), facts);
        let page = page.try_recv().unwrap();
        assert_eq!((page.len(), &*page[0].tenant, page[0].total, page[0].shard), (1, "b", 1, 3));
        let (reply, mut told) = oneshot::channel();
        answer_mail(&mut shard, NOW_MS, DeskMail::Stats(reply), facts);
        let told = told.try_recv().unwrap();
        let applied = told.counters.iter().find(|c| c.name == "events_applied").unwrap();
        assert_eq!((told.shard, told.vnodes, applied.value), (3, 7, 2));
        let tenants = told.levels.iter().find(|level| level.name == "tenants").unwrap();
        assert_eq!((tenants.now, tenants.max), (2, 2));
        assert_eq!(told.refused.len(), Refusal::ALL.len());
    }
}
