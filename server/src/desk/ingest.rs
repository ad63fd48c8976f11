//! `POST …/events`: a body's lines go to their owners, and one reply says what became of each.
//!
//! ```text
//! headers ─> Asked (ack, mark)      body ─> Lines ─> one IngestMail per owner shard
//!                                                        │ received: posted is enough
//!                                                        └ applied, durable: the owners' answers
//! ```
//!
//! Invariants:
//! - every line ends as accepted, duplicate, late, dropped or rejected, each counted apart;
//! - an owner that refuses its part turns that part's lines into rejections with its code; when
//!   nothing at all was taken, its refusal is the reply;
//! - `durable` is refused where there is no log; when the disk does not answer in time, the reply
//!   says that the outcome is unknown.

use std::collections::HashSet;

use axum::Json;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tokio::sync::oneshot;
use trendsrv_proto::{EventRecord, NameKind, Refusal, Span, TenantId, check_name};

use super::lines::{LineEvent, LineText, Lines, Names, Rejections};
use super::mail::{
    DeskMail, Grant, IngestMail, IngestText, Ingested, Mark, Name, Refused, Rejected, Reply,
};
use super::problem::Problem;
use super::shards::Shards;
use crate::config::limits::REJECTED_LINES_MAX;

/// What the headers ask for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Asked {
    ack: Ack,
    mark: Option<Mark>,
}

/// When the reply is sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Ack {
    /// In the owners' bounded queues.
    Received,
    /// Later queries see it.
    Applied,
    /// On the disk.
    Durable,
}

impl Asked {
    /// Reads `Trend-Ack`, `Trend-Producer` and `Trend-Seq`.
    pub(super) fn from_headers(headers: &HeaderMap) -> Result<Self, Problem> {
        let ack = match header(headers, "trend-ack")? {
            None | Some("applied") => Ack::Applied,
            Some("received") => Ack::Received,
            Some("durable") => Ack::Durable,
            Some(other) => {
                return Err(Problem::malformed(format!(
                    "Trend-Ack: must be received, applied or durable, not {other:?}"
                )));
            }
        };
        let mark = match (header(headers, "trend-producer")?, header(headers, "trend-seq")?) {
            (None, None) => None,
            (Some(producer), Some(seq)) => Some(read_mark(producer, seq)?),
            (Some(_), None) => {
                return Err(Problem::malformed("Trend-Producer needs Trend-Seq as well"));
            }
            (None, Some(_)) => {
                return Err(Problem::malformed("Trend-Seq needs Trend-Producer as well"));
            }
        };
        Ok(Asked { ack, mark })
    }
}

fn read_mark(producer: &str, seq: &str) -> Result<Mark, Problem> {
    check_name(producer.as_bytes())
        .map_err(|error| Problem::malformed(format!("Trend-Producer: {error}")))?;
    let seq =
        seq.parse::<u64>().ok().filter(|seq| (1..u64::MAX).contains(seq)).ok_or_else(|| {
            Problem::malformed(format!("Trend-Seq: must be a whole number from 1, not {seq:?}"))
        })?;
    Ok(Mark { producer: TenantId::of(producer).0, seq })
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, Problem> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() {
        return Err(Problem::malformed(format!("{name}: given twice")));
    }
    first
        .map(|value| std::str::from_utf8(value.as_bytes()))
        .transpose()
        .map_err(|_| Problem::malformed(format!("{name}: not UTF-8")))
}

/// Sends the lines to their owners and says what became of them.
pub(super) async fn deliver(
    lines: Lines,
    asked: Asked,
    grant: &Grant,
    shards: &Shards,
) -> Response {
    let parts = split_by_owner(&lines, shards);
    let mut outcome = Outcome { rejections: lines.rejections, ..Outcome::default() };
    match asked.ack {
        Ack::Received => {
            for (shard, part) in parts {
                let part_lines = part.line_numbers();
                // Nobody waits: the shard's answer goes nowhere.
                let (reply, _) = oneshot::channel();
                match shards.post(shard, part.into_mail(asked, grant.clone(), reply)) {
                    Ok(()) => outcome.accepted += part_lines.len() as u64,
                    Err(refused) => outcome.refuse(&part_lines, refused),
                }
            }
        }
        Ack::Applied | Ack::Durable => {
            let mut asks = Vec::with_capacity(parts.len());
            for (shard, part) in parts {
                let (part_lines, shards) = (part.line_numbers(), shards.clone());
                let grant = grant.clone();
                let mail = move |reply| part.into_mail(asked, grant, reply);
                let ask = async move {
                    match asked.ack {
                        Ack::Durable => shards.ask_for_the_disk(shard, mail).await,
                        Ack::Received | Ack::Applied => shards.ask(shard, mail).await,
                    }
                };
                asks.push((part_lines, tokio::spawn(ask)));
            }
            for (part_lines, answer) in asks {
                match answer.await {
                    Ok(Ok(Ok(ingested))) => outcome.add(ingested),
                    Ok(Ok(Err(refused)) | Err(refused)) => outcome.refuse(&part_lines, refused),
                    Err(error) => outcome.refuse(&part_lines, lost(&error)),
                }
            }
        }
    }
    outcome.into_response(asked.ack)
}

fn lost(error: &tokio::task::JoinError) -> Refused {
    let message = format!("delivering failed: {error}");
    Refused { code: Refusal::Overloaded, message, retry_after_ms: Some(RETRY_LOST_MS) }
}

/// Each owner's part, by shard; owners without events are left out.
fn split_by_owner(lines: &Lines, shards: &Shards) -> Vec<(usize, Part)> {
    let base_ms = lines.latest_ms();
    let mut parts: Vec<(usize, Part)> =
        (0..shards.count()).map(|shard| (shard, Part::new(base_ms))).collect();
    for event in &lines.events {
        parts[shards.owner(event.tenant)].1.push(event, &lines.names);
    }
    for text in &lines.texts {
        parts[shards.owner(text.tenant)].1.push_text(text, &lines.names);
    }
    parts.retain(|(_, part)| !part.records.is_empty() || !part.texts.is_empty());
    parts
}

/// The events and texts of one request that one shard owns.
struct Part {
    base_ms: u64,
    span: Span,
    records: Vec<EventRecord>,
    lines: Vec<u32>,
    texts: Vec<IngestText>,
    names: Vec<Name>,
    named: HashSet<(u8, u64)>,
}

impl Part {
    fn new(base_ms: u64) -> Self {
        Part {
            base_ms,
            span: Span { min_ms: u64::MAX, max_ms: 0 },
            records: Vec::new(),
            lines: Vec::new(),
            texts: Vec::new(),
            names: Vec::new(),
            named: HashSet::new(),
        }
    }

    fn push(&mut self, event: &LineEvent, names: &Names) {
        let offset_ms = self.enter(event.ts_ms);
        self.records.push(EventRecord::new(event.tenant, event.topic, event.weight, offset_ms));
        self.lines.push(event.line);
        self.name(NameKind::Tenant, event.tenant.0, &names.tenants[&event.tenant]);
        self.name(NameKind::Topic, event.topic.0, &names.topics[&event.topic]);
    }

    fn push_text(&mut self, text: &LineText, names: &Names) {
        let offset_ms = self.enter(text.ts_ms);
        let LineText { line, tenant, weight, .. } = *text;
        let said = text.text.clone();
        self.texts.push(IngestText { line, tenant, text: said, weight, offset_ms });
        self.name(NameKind::Tenant, tenant.0, &names.tenants[&tenant]);
    }

    /// Counts a time into the span. Returns its offset.
    fn enter(&mut self, ts_ms: u64) -> i32 {
        self.span.min_ms = self.span.min_ms.min(ts_ms);
        self.span.max_ms = self.span.max_ms.max(ts_ms);
        let back_ms = i32::try_from(self.base_ms - ts_ms)
            .expect("lines too far before the latest were rejected");
        -back_ms
    }

    fn name(&mut self, kind: NameKind, id: u64, name: &str) {
        if self.named.insert((kind as u8, id)) {
            self.names.push(Name { kind, id, name: name.into() });
        }
    }

    /// The lines of the body that are in it.
    fn line_numbers(&self) -> Vec<u32> {
        let texts = self.texts.iter().map(|text| text.line);
        self.lines.iter().copied().chain(texts).collect()
    }

    fn into_mail(
        self,
        asked: Asked,
        grant: Grant,
        reply: Reply<Result<Ingested, Refused>>,
    ) -> DeskMail {
        DeskMail::Ingest(IngestMail {
            base_ms: self.base_ms,
            span: self.span,
            records: self.records,
            lines: self.lines,
            texts: self.texts,
            names: self.names,
            mark: asked.mark,
            durable: asked.ack == Ack::Durable,
            grant,
            reply,
        })
    }
}

#[derive(Default)]
struct Outcome {
    accepted: u64,
    duplicates: u64,
    late: u64,
    dropped: u64,
    rejections: Rejections,
    refused: Option<Refused>,
}

impl Outcome {
    fn add(&mut self, ingested: Ingested) {
        self.accepted += u64::from(ingested.accepted);
        self.duplicates += u64::from(ingested.duplicates);
        self.late += u64::from(ingested.late);
        self.dropped += u64::from(ingested.dropped);
        for rejected in ingested.rejected {
            self.rejections.push(rejected);
        }
    }

    fn refuse(&mut self, lines: &[u32], refused: Refused) {
        for &line in lines {
            let (code, message) = (refused.code, refused.message.clone());
            self.rejections.push(Rejected { line, code, message });
        }
        self.refused.get_or_insert(refused);
    }

    fn into_response(mut self, ack: Ack) -> Response {
        let taken = self.accepted + self.duplicates + self.late + self.dropped;
        if let Some(refused) = self.refused.filter(|_| taken == 0) {
            return Problem::from(refused).into_response();
        }
        self.rejections.described.sort_by_key(|rejected| rejected.line);
        let rejected: Vec<_> = self
            .rejections
            .described
            .iter()
            .map(|r| json!({ "line": r.line, "code": r.code.name(), "message": r.message }))
            .collect();
        let mut body = json!({
            "accepted": self.accepted,
            "duplicates": self.duplicates,
            "late": self.late,
            "dropped": self.dropped,
            "rejected": rejected,
            "rejected_count": self.rejections.count,
        });
        let status = if taken == 0 && self.rejections.count > 0 {
            body["code"] = Refusal::Malformed.name().into();
            body["message"] = format!(
                "none of the {} lines was accepted; rejected describes at most {REJECTED_LINES_MAX}",
                self.rejections.count
            )
            .into();
            StatusCode::BAD_REQUEST
        } else {
            match ack {
                Ack::Received => StatusCode::ACCEPTED,
                Ack::Applied | Ack::Durable => StatusCode::OK,
            }
        };
        (status, Json(body)).into_response()
    }
}

const RETRY_LOST_MS: u32 = 1_000;
