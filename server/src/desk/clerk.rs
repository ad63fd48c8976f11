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
mod tests;
