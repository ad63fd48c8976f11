//! The messages between the front desk and a shard: what is asked, and what comes back.
//!
//! ```text
//!   desk thread                                   shard thread
//!   Mailbox::post ── flume, desk_mail_max ──────> Receiver<DeskMail>::try_recv, once a turn
//!        └──────── ring the doorbell ───────────> wakes it
//!   await Reply <── tokio oneshot, owned data ─── reply.send(..)
//! ```
//!
//! Invariants:
//! - nothing here borrows: a reply stays valid whatever the shard does next;
//! - the desk never waits for room: a full box is refused to the caller as OVERLOADED;
//! - a shard never waits for the desk: a reply nobody awaits any more is dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hdrhistogram::Histogram;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use trendsrv_proto::{EventRecord, NameKind, Rank, Refusal, Span, TenantId};

use super::answer::{Answer, ShardStats, TenantLine};
use crate::config::limits::DESK_MAIL_MAX;
use trendsrv_wasm_host::{Program, ProgramLine, TenantProgram};

/// Where a shard puts its answer; sending never blocks.
pub type Reply<T> = oneshot::Sender<T>;

/// One request of the front desk to one shard.
#[derive(Debug)]
pub enum DeskMail {
    /// A tenant's top topics.
    Query(QueryMail),
    /// Events of one or many tenants, all owned by this shard.
    Ingest(IngestMail),
    /// A page of this shard's tenants.
    Tenants(TenantsMail),
    /// Counters and levels.
    Stats(Reply<ShardStats>),
    /// How long things took.
    Latency(Reply<Vec<StageLatency>>),
    /// Tenant programs.
    Program(ProgramMail),
}

/// How long one stage of the way took.
#[derive(Clone, Debug)]
pub struct StageLatency {
    /// Its name.
    pub stage: &'static str,
    /// Microseconds.
    pub us: Histogram<u64>,
}

/// What is asked of a shard's programs.
#[derive(Debug)]
pub enum ProgramMail {
    /// A program is there from now on, in place of the one of its name.
    Install {
        /// It, in this shard's engine.
        program: Arc<Program>,
        /// Gets whether it is there.
        reply: Reply<Result<(), Refused>>,
    },
    /// A program is gone; one that is not there is no matter.
    Remove {
        /// Its name.
        name: Box<str>,
        /// Gets whether it is gone.
        reply: Reply<Result<(), Refused>>,
    },
    /// A tenant, present or not, runs this program from now on.
    Assign {
        /// Whose.
        tenant: TenantId,
        /// The program's name; `None` is the default.
        program: Option<Box<str>>,
        /// Gets whether it does.
        reply: Reply<Result<(), Refused>>,
    },
    /// How a tenant's program fares.
    Status {
        /// Whose.
        tenant: TenantId,
        /// Gets it.
        reply: Reply<TenantProgram>,
    },
    /// What each program did here.
    List {
        /// Gets a line for each.
        reply: Reply<Vec<ProgramLine>>,
    },
}

/// Asks for a tenant's answer.
#[derive(Debug)]
pub struct QueryMail {
    /// XXH3-64 of `name`.
    pub tenant: TenantId,
    /// The name as asked; a tenant of another name with this id is not the one meant.
    pub name: Box<str>,
    /// Topics wanted, 1 to 100.
    pub k: u16,
    /// The order.
    pub rank: Rank,
    /// End of the window; `None` is now.
    pub at_ms: Option<u64>,
    /// Gets the answer, or UNKNOWN_TENANT, or MALFORMED for an `at_ms` before the watermark.
    pub reply: Reply<Result<Answer, Refused>>,
}

/// Hands events and texts over, ready to be counted: the desk has hashed the names and checked
/// every line.
#[derive(Debug)]
pub struct IngestMail {
    /// What the records' offsets count from: the latest event of the request.
    pub base_ms: u64,
    /// The times of the whole part.
    pub span: Span,
    /// The events this shard owns.
    pub records: Vec<EventRecord>,
    /// The line of the request body each record came from, from 1.
    pub lines: Vec<u32>,
    /// The texts this shard owns: they count under the same mark as the records, or not at all.
    pub texts: Vec<IngestText>,
    /// The names of the ids in `records` and of the tenants in `texts`, each once.
    pub names: Vec<Name>,
    /// Which request of which producer this is; the same mark again must count once.
    pub mark: Option<Mark>,
    /// Answer only once the events are on the disk.
    pub durable: bool,
    /// Memory the request holds, given back when the mail is dropped.
    pub grant: Grant,
    /// Gets the outcome once windows and marks have changed. Nobody listens for `received`.
    pub reply: Reply<Result<Ingested, Refused>>,
}

impl IngestMail {
    /// Refuses it because the log is behind.
    pub fn refuse_for_the_log(self) {
        let message = "the log is behind: the disk takes less than what comes in".to_owned();
        let (code, retry_after_ms) = (Refusal::Overloaded, Some(RETRY_LOG_MS));
        let _ = self.reply.send(Err(Refused { code, message, retry_after_ms }));
    }
}

/// When a request that found the log behind may come again.
const RETRY_LOG_MS: u32 = 100;

/// One text of a request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct IngestText {
    /// The line of the request body, from 1.
    pub line: u32,
    /// Whose.
    pub tenant: TenantId,
    /// What was said, checked.
    pub text: Box<str>,
    /// How much it counts.
    pub weight: u32,
    /// Milliseconds from the base time.
    pub offset_ms: i32,
}

/// A name and the id that is its hash.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Name {
    /// What it names.
    pub kind: NameKind,
    /// XXH3-64 of `name`.
    pub id: u64,
    /// The name, checked.
    pub name: Box<str>,
}

/// A share of the desk's memory for requests; the last clone gives it back.
#[derive(Clone, Debug, Default)]
pub struct Grant(pub(super) Option<Arc<OwnedSemaphorePermit>>);

impl Grant {
    /// Bytes granted.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.0.as_ref().map_or(0, |permit| permit.num_permits())
    }
}

/// A producer's request number. Numbers of one producer rise from request to request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Mark {
    /// XXH3-64 of the `Trend-Producer` header.
    pub producer: u64,
    /// The `Trend-Seq` header, from 1.
    pub seq: u64,
}

/// What became of an [`IngestMail`]. Every event and text is in exactly one of the five.
#[derive(Debug, Default, Eq, PartialEq)]
pub struct Ingested {
    /// Events counted now, or left out by their tenant's program; texts with topics or without.
    pub accepted: u32,
    /// Events the mark shows to be counted already.
    pub duplicates: u32,
    /// Events older than their tenant's window.
    pub late: u32,
    /// Events no memory was left to count.
    pub dropped: u32,
    /// Events refused one by one.
    pub rejected: Vec<Rejected>,
}

/// One event that was refused.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rejected {
    /// The line of the request body, from 1.
    pub line: u32,
    /// Why.
    pub code: Refusal,
    /// Why, in words.
    pub message: String,
}

/// A request refused as a whole; nothing of it was applied.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Refused {
    /// Why.
    pub code: Refusal,
    /// Why, in words.
    pub message: String,
    /// When to try again, for codes that may pass later.
    pub retry_after_ms: Option<u32>,
}

/// Asks for tenants by name: those starting with `prefix` and after `after`, in byte order.
#[derive(Debug)]
pub struct TenantsMail {
    /// Start of the name.
    pub prefix: Box<str>,
    /// The last name of the page before, or empty.
    pub after: Box<str>,
    /// Tenants wanted at most.
    pub limit: u16,
    /// Gets the first `limit` of this shard, sorted by name bytes.
    pub reply: Reply<Vec<TenantLine>>,
}

/// The desk's end of one shard's mailbox.
#[derive(Clone)]
pub struct Mailbox {
    sender: flume::Sender<DeskMail>,
    ring: Arc<dyn Fn() + Send + Sync>,
    high_water: Arc<AtomicUsize>,
}

/// Creates a mailbox; `ring` wakes the shard and must not block.
#[must_use]
pub fn mailbox(ring: impl Fn() + Send + Sync + 'static) -> (Mailbox, flume::Receiver<DeskMail>) {
    let (sender, receiver) = flume::bounded(DESK_MAIL_MAX);
    (Mailbox { sender, ring: Arc::new(ring), high_water: Arc::default() }, receiver)
}

/// Why a mail did not get into the box.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PostError {
    /// `desk_mail_max` mails wait already.
    #[error("{DESK_MAIL_MAX} requests wait for this shard already")]
    Full,
    /// The shard has ended.
    #[error("the shard is not running")]
    Gone,
}

impl Mailbox {
    /// Puts a mail into the box and wakes the shard.
    ///
    /// # Errors
    /// The box is full or its shard has ended.
    pub fn post(&self, mail: DeskMail) -> Result<(), PostError> {
        self.sender.try_send(mail).map_err(|error| match error {
            flume::TrySendError::Full(_) => PostError::Full,
            flume::TrySendError::Disconnected(_) => PostError::Gone,
        })?;
        self.high_water.fetch_max(self.sender.len(), Ordering::Relaxed);
        (self.ring)();
        Ok(())
    }

    /// Mails waiting now.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.sender.len()
    }

    /// Most mails that ever waited.
    #[must_use]
    pub fn high_water(&self) -> usize {
        self.high_water.load(Ordering::Relaxed)
    }
}

impl std::fmt::Debug for Mailbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mailbox").field("waiting", &self.waiting()).finish_non_exhaustive()
    }
}
