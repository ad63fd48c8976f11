//! `POST …/events`: a body's lines go to their owners, and one reply says what became of each.
//!
//! ```text
//! headers ─> Asked (ack, mark)      body ─> Lines ─> one IngestMail per owner shard
//!                                                        │ received: posted is enough
//!                                                        └ applied: the owners' answers
//! ```
//!
//! Invariants:
//! - every line ends as accepted, duplicate or rejected, and the three are counted apart;
//! - an owner that refuses its part turns that part's lines into rejections with its code; when
//!   nothing at all was taken, its refusal is the reply;
//! - `durable` is refused while there is no log.

use axum::Json;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tokio::sync::oneshot;
use trendsrv_proto::{Refusal, TenantId, check_name};

use super::lines::{Lines, Rejections};
use super::mail::{DeskMail, IngestMail, Ingested, Mark, Refused, Rejected, TenantEvents};
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
}

impl Asked {
    /// Reads `Trend-Ack`, `Trend-Producer` and `Trend-Seq`.
    pub(super) fn from_headers(headers: &HeaderMap) -> Result<Self, Problem> {
        let ack = match header(headers, "trend-ack")? {
            None | Some("applied") => Ack::Applied,
            Some("received") => Ack::Received,
            Some("durable") => {
                return Err(Problem::new(
                    Refusal::Unsupported,
                    "Trend-Ack: durable needs a log, which this version does not have; \
                     use applied or received",
                ));
            }
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
    let seq = seq.parse::<u64>().ok().filter(|seq| *seq < u64::MAX).ok_or_else(|| {
        Problem::malformed(format!("Trend-Seq: must be a whole number from 0, not {seq:?}"))
    })?;
    // Apart from the ids the server hands to binary producers.
    Ok(Mark { producer: TenantId::of(&format!("http:{producer}")).0, seq })
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
pub(super) async fn deliver(lines: Lines, asked: Asked, shards: &Shards) -> Response {
    let mut outcome = Outcome { rejections: lines.rejections, ..Outcome::default() };
    let parts = split_by_owner(lines.groups, shards);
    match asked.ack {
        Ack::Received => {
            for (shard, groups) in parts {
                let size = Part::of(&groups);
                // Nobody waits: the shard's answer goes nowhere.
                let (reply, _) = oneshot::channel();
                let mail = DeskMail::Ingest(IngestMail { groups, mark: asked.mark, reply });
                match shards.post(shard, mail) {
                    Ok(()) => outcome.accepted += size.events(),
                    Err(refused) => outcome.refuse(&size, refused),
                }
            }
        }
        Ack::Applied => {
            let asked: Vec<_> = parts
                .into_iter()
                .map(|(shard, groups)| {
                    let (size, shards) = (Part::of(&groups), shards.clone());
                    let mark = asked.mark;
                    let mail = move |reply| DeskMail::Ingest(IngestMail { groups, mark, reply });
                    (size, tokio::spawn(async move { shards.ask(shard, mail).await }))
                })
                .collect();
            for (size, answer) in asked {
                match answer.await {
                    Ok(Ok(Ok(ingested))) => outcome.add(ingested),
                    Ok(Ok(Err(refused)) | Err(refused)) => outcome.refuse(&size, refused),
                    Err(error) => outcome.refuse(&size, lost(&error)),
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

/// Each owner's groups, by shard; owners without any are left out.
fn split_by_owner(groups: Vec<TenantEvents>, shards: &Shards) -> Vec<(usize, Vec<TenantEvents>)> {
    let mut parts: Vec<(usize, Vec<TenantEvents>)> =
        (0..shards.count()).map(|shard| (shard, Vec::new())).collect();
    for group in groups {
        parts[shards.owner(group.tenant)].1.push(group);
    }
    parts.retain(|(_, groups)| !groups.is_empty());
    parts
}

/// The lines of one owner's part, kept so that a refusal can name each.
struct Part {
    lines: Vec<u32>,
}

impl Part {
    fn of(groups: &[TenantEvents]) -> Self {
        let mut lines: Vec<u32> =
            groups.iter().flat_map(|group| group.events.iter().map(|event| event.line)).collect();
        lines.sort_unstable();
        Part { lines }
    }

    fn events(&self) -> u64 {
        self.lines.len() as u64
    }
}

#[derive(Default)]
struct Outcome {
    accepted: u64,
    duplicates: u64,
    rejections: Rejections,
    refused: Option<Refused>,
}

impl Outcome {
    fn add(&mut self, ingested: Ingested) {
        self.accepted += u64::from(ingested.accepted);
        self.duplicates += u64::from(ingested.duplicates);
        for rejected in ingested.rejected {
            self.rejections.push(rejected);
        }
    }

    fn refuse(&mut self, part: &Part, refused: Refused) {
        for &line in &part.lines {
            let (code, message) = (refused.code, refused.message.clone());
            self.rejections.push(Rejected { line, code, message });
        }
        self.refused.get_or_insert(refused);
    }

    fn into_response(mut self, ack: Ack) -> Response {
        let taken = self.accepted + self.duplicates;
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
                Ack::Applied => StatusCode::OK,
            }
        };
        (status, Json(body)).into_response()
    }
}

const RETRY_LOST_MS: u32 = 1_000;
