//! Reaching shards from the desk: who owns a tenant, and asking with a deadline.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;
use trendsrv_proto::{Refusal, TenantId};

use super::answer::ShardStats;
use super::mail::{DeskMail, Mailbox, PostError, Refused, Reply};
use crate::config::limits::DESK_DURABLE_MS_MAX;

/// Which shard owns a tenant.
pub type Owner = Arc<dyn Fn(TenantId) -> usize + Send + Sync>;

/// Every shard's mailbox, and the map from tenants to shards.
#[derive(Clone)]
pub struct Shards {
    boxes: Arc<[Mailbox]>,
    owner: Owner,
    answer_max: Duration,
}

impl Shards {
    /// `boxes[i]` belongs to shard `i`; `owner` returns an index of `boxes`.
    #[must_use]
    pub fn new(boxes: Vec<Mailbox>, owner: Owner, answer_max: Duration) -> Self {
        Shards { boxes: boxes.into(), owner, answer_max }
    }

    /// The shard of a tenant.
    #[must_use]
    pub fn owner(&self, tenant: TenantId) -> usize {
        (self.owner)(tenant)
    }

    /// Number of shards.
    #[must_use]
    pub fn count(&self) -> usize {
        self.boxes.len()
    }

    /// The mailboxes, by shard.
    #[must_use]
    pub fn boxes(&self) -> &[Mailbox] {
        &self.boxes
    }

    /// Posts a mail without awaiting its answer.
    ///
    /// # Errors
    /// The box is full or the shard has ended: OVERLOADED.
    pub fn post(&self, shard: usize, mail: DeskMail) -> Result<(), Refused> {
        self.boxes[shard].post(mail).map_err(|error| {
            let retry_after_ms = match error {
                PostError::Full => RETRY_FULL_MS,
                PostError::Gone => RETRY_GONE_MS,
            };
            overloaded(format!("shard {shard}: {error}"), retry_after_ms)
        })
    }

    /// Posts a mail and awaits its answer for as long as the deadline allows.
    ///
    /// # Errors
    /// OVERLOADED when the box is full, the shard has ended or does not answer in time.
    pub async fn ask<T>(
        &self,
        shard: usize,
        mail: impl FnOnce(Reply<T>) -> DeskMail,
    ) -> Result<T, Refused> {
        let late = "and may still act on the request";
        self.ask_within(shard, mail, self.answer_max, late).await
    }

    /// As [`Shards::ask`], for an answer that waits for the disk.
    ///
    /// # Errors
    /// As [`Shards::ask`]; what is not answered in time may be counted, or come to be.
    pub async fn ask_for_the_disk<T>(
        &self,
        shard: usize,
        mail: impl FnOnce(Reply<T>) -> DeskMail,
    ) -> Result<T, Refused> {
        let late = "so whether the events are durable is unknown: send them again with the same \
                    Trend-Producer and Trend-Seq, and they count once";
        self.ask_within(shard, mail, Duration::from_millis(DESK_DURABLE_MS_MAX), late).await
    }

    async fn ask_within<T>(
        &self,
        shard: usize,
        mail: impl FnOnce(Reply<T>) -> DeskMail,
        answer_max: Duration,
        late: &str,
    ) -> Result<T, Refused> {
        let (reply, answer) = oneshot::channel();
        self.post(shard, mail(reply))?;
        match timeout(answer_max, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err(overloaded(
                format!("shard {shard} dropped the request without an answer"),
                RETRY_GONE_MS,
            )),
            Err(_) => {
                let ms = answer_max.as_millis();
                let message = format!("shard {shard} did not answer within {ms} ms, {late}");
                Err(overloaded(message, RETRY_GONE_MS))
            }
        }
    }

    /// The numbers of every shard that answers in time, by shard.
    pub async fn stats(&self) -> Vec<Result<ShardStats, Refused>> {
        // One task each, so that one silent shard costs one deadline, not one for each after it.
        let asked: Vec<_> = (0..self.count())
            .map(|shard| {
                let shards = self.clone();
                tokio::spawn(async move { shards.ask(shard, DeskMail::Stats).await })
            })
            .collect();
        let mut stats = Vec::with_capacity(asked.len());
        for answer in asked {
            stats.push(answer.await.unwrap_or_else(|error| {
                Err(overloaded(format!("asking a shard failed: {error}"), RETRY_GONE_MS))
            }));
        }
        stats
    }
}

impl std::fmt::Debug for Shards {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shards").field("boxes", &self.boxes).finish_non_exhaustive()
    }
}

fn overloaded(message: String, retry_after_ms: u32) -> Refused {
    Refused { code: Refusal::Overloaded, message, retry_after_ms: Some(retry_after_ms) }
}

const RETRY_FULL_MS: u32 = 200;
const RETRY_GONE_MS: u32 = 1_000;
