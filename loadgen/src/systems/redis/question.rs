//! What a tenant's window holds: the question to Redis, and what its reply means.
//!
//! ```text
//! ZUNION 12 t:TENANT:b-11 … t:TENANT:b WITHSCORES  ->  topic, weight, topic, weight, …
//! ```
//!
//! One command that Redis has for this; the client keeps the ten heaviest. A window's topics are
//! few, so that Redis need not rank them in a script, nor store the union to be asked for a range.

use super::calls::{BUCKET_MS, BUCKETS, digits, key};
use crate::population::{Population, topic_name};
use crate::scenario::Scenario;
use anyhow::Context as _;
use trendsrv_client::{Answer, AnswerTopic};
use trendsrv_proto::{SummaryFlags, SummaryHead};

/// The bucket of a time.
pub(super) const fn bucket(ts_ms: u64) -> u64 {
    ts_ms / BUCKET_MS as u64
}

/// Asks for the window of a tenant whose last bucket this is.
pub(super) fn ask(tenant: u32, last: u64, out: &mut Vec<u8>) {
    let mut command = redis::cmd("ZUNION");
    command.arg(BUCKETS);
    for bucket in last.saturating_sub(u64::from(BUCKETS) - 1)..=last {
        command.arg(key(tenant, &digits(bucket)));
    }
    command.arg("WITHSCORES").write_packed_command(out);
}

/// The topics of a reply with their weights, in the order that Redis tells them.
pub(super) fn topics(reply: &[u8]) -> anyhow::Result<Vec<(u32, u64)>> {
    let value = redis::parse_redis_value(reply)?;
    redis::from_redis_value(value).context("a reply to ZUNION")
}

/// The names that topics have, to rank those of the same weight.
#[derive(Debug)]
pub(super) struct Ranking(Vec<String>);

impl Ranking {
    pub(super) fn new(scenario: &Scenario) -> Self {
        Self((0..scenario.vocabulary).map(topic_name).collect())
    }

    /// The first `k` of some topics: the heaviest first, then by the bytes of the name.
    ///
    /// # Errors
    /// A topic that nobody sent.
    pub(super) fn top(
        &self,
        mut topics: Vec<(u32, u64)>,
        k: usize,
    ) -> anyhow::Result<Vec<(u32, u64)>> {
        let sent = |topic: &(u32, u64)| (topic.0 as usize) < self.0.len();
        if let Some((topic, _)) = topics.iter().find(|topic| !sent(topic)) {
            anyhow::bail!("redis-server tells of topic {topic}, which has no name");
        }
        let rank = |topic: &(u32, u64)| (std::cmp::Reverse(topic.1), &self.0[topic.0 as usize]);
        topics.sort_unstable_by(|a, b| rank(a).cmp(&rank(b)));
        topics.truncate(k);
        Ok(topics)
    }

    /// All topics of a window as the answer they are, for the window that ends at `as_of_ms`. Redis knows weights;
    /// events are counted from them, as every event of a scenario weighs the same.
    pub(super) fn answer(
        &self,
        topics: Vec<(u32, u64)>,
        (population, weight): (&Population, u32),
        (as_of_ms, k): (u64, usize),
    ) -> anyhow::Result<Answer> {
        let (total, distinct) = (topics.iter().map(|t| t.1).sum::<u64>(), topics.len() as u64);
        let flags =
            SummaryFlags { known: true, exact: true, distinct_exact: true, certified: true };
        let events = total / u64::from(weight);
        let head =
            SummaryHead { as_of_ms, total, events, distinct, flags, ..SummaryHead::default() };
        let row = |(topic, count): (u32, u64)| AnswerTopic {
            topic: population.topic_id(topic),
            name: self.0[topic as usize].clone(),
            count,
            low: count,
            high: count,
            ..AnswerTopic::default()
        };
        let topics = self.top(topics, k)?.into_iter().map(row).collect();
        Ok(Answer { head, topics, ..Answer::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_names_the_buckets_of_the_last_minute() {
        let mut out = Vec::new();
        ask(42, bucket(1_790_000_004_999), &mut out);
        let words: Vec<String> =
            redis::from_redis_value(redis::parse_redis_value(&out).unwrap()).unwrap();
        assert_eq!(words.len(), 15);
        assert_eq!((&*words[0], &*words[1], &*words[14]), ("ZUNION", "12", "WITHSCORES"));
        assert_eq!(words[2], "t:42:357999989");
        assert_eq!(words[13], "t:42:358000000");
    }

    #[test]
    fn a_reply_becomes_an_answer_in_its_order() {
        let scenario = Scenario { tenants: 3, weight: 2, ..Scenario::default() };
        let (population, ranking) = (Population::new(&scenario), Ranking::new(&scenario));
        let reply = b"*6\r\n$1\r\n7\r\n$1\r\n4\r\n$2\r\n11\r\n$1\r\n4\r\n$1\r\n3\r\n$1\r\n6\r\n";
        let answer = ranking.answer(topics(reply).unwrap(), (&population, 2), (99, 2)).unwrap();
        let head = &answer.head;
        assert_eq!((head.total, head.events, head.distinct, head.as_of_ms), (14, 7, 3, 99));
        let first_of_two = topic_name(7).min(topic_name(11));
        let rows: Vec<_> = answer.topics.iter().map(|t| (t.name.clone(), t.count)).collect();
        assert_eq!(rows, [(topic_name(3), 6), (first_of_two, 4)]);
        assert!(topics(b":1\r\n").is_err());
        assert!(ranking.answer(vec![(10_000, 1)], (&population, 2), (0, 1)).is_err());
        let nothing = ranking.answer(topics(b"*0\r\n").unwrap(), (&population, 2), (0, 1)).unwrap();
        assert_eq!((nothing.head.total, nothing.topics.len()), (0, 0));
    }
}
