//! A tenant's answer, copied out of the received bytes.

use trendsrv_proto::{Summary, SummaryHead, TopicId, Trend};

/// One topic of an answer. Fields as in the wire's SUMMARY.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AnswerTopic {
    /// The topic.
    pub topic: TopicId,
    /// Its weight in the window, the best estimate.
    pub count: u64,
    /// The true weight is at least this.
    pub low: u64,
    /// The true weight is at most this.
    pub high: u64,
    /// Rate of the last 10 s less the rate of the window, thousandths of weight per second.
    pub velocity_milli: i64,
    /// Trend score in thousandths.
    pub score_milli: i64,
    /// What it is doing.
    pub trend: Trend,
    /// Its name; empty when no producer has told it yet.
    pub name: String,
    /// A sample message, or empty.
    pub sample: String,
}

/// A tenant's top topics and how good they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The numbers.
    pub head: SummaryHead,
    /// The one-line summary.
    pub tldr: String,
    /// The program that wrote it.
    pub program: String,
    /// The topics in their order.
    pub topics: Vec<AnswerTopic>,
}

impl Answer {
    /// Copies a received summary.
    #[must_use]
    pub fn of(summary: &Summary<'_>) -> Self {
        let topics = summary.topics().map(|row| AnswerTopic {
            topic: row.topic,
            count: row.count,
            low: row.low,
            high: row.high,
            velocity_milli: row.velocity_milli,
            score_milli: row.score_milli,
            trend: row.trend,
            name: row.name.to_owned(),
            sample: row.sample.to_owned(),
        });
        Self {
            head: summary.head,
            tldr: summary.tldr.to_owned(),
            program: summary.program.to_owned(),
            topics: topics.collect(),
        }
    }
}
