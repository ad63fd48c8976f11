//! An answer against the truth.
//!
//! Owns: what makes an answer right. An exact answer must be equal in every number and in its
//! order; an answer that says it is not exact must keep the truth within its own bounds.

use anyhow::bail;
use std::cmp::Ordering;
use trendsrv_client::{Answer, Refused};
use trendsrv_proto::{Refusal, SummaryHead, TopicId};

/// What a window truly holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Expected {
    pub(crate) total: u64,
    pub(crate) events: u64,
    /// Id, name and weight, heaviest first, then by the bytes of the name.
    pub(crate) topics: Vec<(TopicId, String, u64)>,
}

impl Expected {
    pub(crate) fn new(events: u64, mut topics: Vec<(TopicId, String, u64)>) -> Self {
        topics.sort_by(by_count);
        Self { total: topics.iter().map(|topic| topic.2).sum(), events, topics }
    }

    fn weight_of(&self, topic: TopicId) -> u64 {
        self.topics.iter().find(|t| t.0 == topic).map_or(0, |t| t.2)
    }
}

fn by_count(a: &(TopicId, String, u64), b: &(TopicId, String, u64)) -> Ordering {
    b.2.cmp(&a.2).then_with(|| a.1.as_bytes().cmp(b.1.as_bytes()))
}

/// What is checked of an answer, summed over tenants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Checked {
    pub(crate) tenants: u64,
    pub(crate) topics: u64,
    pub(crate) mismatches: u64,
    /// The first few, in words.
    pub(crate) explained: Vec<String>,
}

impl Checked {
    /// Checks the first `k` topics of one answer.
    pub(crate) fn check(&mut self, tenant: &str, k: usize, expected: &Expected, answer: &Answer) {
        self.tenants += 1;
        self.topics += expected.topics.len().min(k) as u64;
        let wrong = mismatches(k, expected, answer);
        self.mismatches += wrong.len() as u64;
        let at = answer.head.as_of_ms;
        let room = crate::limits::EXPLAINED_MAX.saturating_sub(self.explained.len());
        let told = wrong.into_iter().take(room);
        self.explained.extend(told.map(|what| format!("tenant {tenant:?} at {at}: {what}")));
    }
}

/// The answer, where a tenant that the server does not hold counts as one with an empty window
/// that ends at `now_ms`.
///
/// # Errors
/// Any other refusal.
pub(crate) fn known_or_empty(
    answer: Result<Answer, Refused>,
    now_ms: u64,
) -> anyhow::Result<Answer> {
    match answer {
        Ok(answer) => Ok(answer),
        Err(refused) if refused.code == Refusal::UnknownTenant => {
            let head = SummaryHead { as_of_ms: now_ms, ..SummaryHead::default() };
            Ok(Answer { head, ..Answer::default() })
        }
        Err(refused) => bail!("a query was refused: {}: {}", refused.code.name(), refused.message),
    }
}

/// Whether a row came without its name, which a later answer has.
pub(crate) fn lacks_names(answer: &Answer) -> bool {
    answer.topics.iter().any(|row| row.name.is_empty())
}

fn mismatches(k: usize, expected: &Expected, answer: &Answer) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut differ = |what: &str, got: u64, want: u64| {
        if got != want {
            wrong.push(format!("{what} is {got}, should be {want}"));
        }
    };
    let head = &answer.head;
    differ("total", head.total, expected.total);
    differ("events", head.events, expected.events);
    if head.flags.distinct_exact || !head.flags.known {
        differ("distinct", head.distinct, expected.topics.len() as u64);
    }
    // An unknown tenant's answer is all zero, which is exact.
    if head.flags.exact || !head.flags.known {
        differ("number of topics", answer.topics.len() as u64, expected.topics.len().min(k) as u64);
        for (place, (row, want)) in (1..).zip(answer.topics.iter().zip(&expected.topics)) {
            if (row.topic, row.count, row.low, row.high) != (want.0, want.2, want.2, want.2)
                || row.name != want.1
            {
                wrong.push(format!(
                    "place {place} is {:?} with {} ({} to {}), should be {:?} with {}",
                    row.name, row.count, row.low, row.high, want.1, want.2
                ));
            }
        }
        return wrong;
    }
    for row in &answer.topics {
        let truth = expected.weight_of(row.topic);
        if !(row.low..=row.high).contains(&truth) {
            wrong.push(format!(
                "{:?} is said to be {} to {}, but is {truth}",
                row.name, row.low, row.high
            ));
        }
    }
    let absent = |t: &&(TopicId, String, u64)| !answer.topics.iter().any(|row| row.topic == t.0);
    for topic in expected.topics.iter().filter(absent).filter(|_| answer.topics.len() < k) {
        if topic.2 > head.error_bound {
            wrong.push(format!(
                "{:?} with {} is missing, which is over the error bound {}",
                topic.1, topic.2, head.error_bound
            ));
        }
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;
    use trendsrv_client::AnswerTopic;
    use trendsrv_proto::SummaryFlags;

    fn expected() -> Expected {
        let topic = |id, name: &str, weight| (TopicId(id), name.to_owned(), weight);
        Expected::new(5, vec![topic(1, "b", 3), topic(2, "a", 3), topic(3, "c", 9)])
    }

    fn right(k: usize) -> Answer {
        let expected = expected();
        let row = |(id, name, weight): &(TopicId, String, u64)| AnswerTopic {
            topic: *id,
            name: name.clone(),
            count: *weight,
            low: *weight,
            high: *weight,
            ..AnswerTopic::default()
        };
        let flags =
            SummaryFlags { known: true, exact: true, distinct_exact: true, certified: true };
        let head =
            SummaryHead { total: 15, events: 5, distinct: 3, flags, ..SummaryHead::default() };
        let topics = expected.topics.iter().take(k).map(row).collect();
        Answer { head, topics, ..Answer::default() }
    }

    fn count(k: usize, change: impl FnOnce(&mut Answer)) -> u64 {
        let mut answer = right(k);
        change(&mut answer);
        let mut checked = Checked::default();
        checked.check("t", k, &expected(), &answer);
        assert_eq!(checked.explained.len() as u64, checked.mismatches);
        checked.mismatches
    }

    #[test]
    fn a_right_answer_passes_and_any_wrong_number_or_order_does_not() {
        assert_eq!(count(10, |_| {}), 0);
        assert_eq!(count(2, |_| {}), 0);
        assert_eq!(count(10, |a| a.head.total += 1), 1);
        assert_eq!(count(10, |a| a.head.events -= 1), 1);
        assert_eq!(count(10, |a| a.head.distinct += 1), 1);
        assert_eq!(count(10, |a| a.topics[0].count += 1), 1);
        assert_eq!(count(10, |a| a.topics[0].low -= 1), 1);
        assert_eq!(count(10, |a| a.topics[2].high += 1), 1);
        assert_eq!(count(10, |a| a.topics.swap(1, 2)), 2);
        assert_eq!(count(10, |a| drop(a.topics.pop())), 1);
        assert_eq!(count(10, |a| a.topics[0].name.clear()), 1);
    }

    #[test]
    fn an_answer_that_is_not_exact_is_held_to_its_bounds() {
        let blur = |a: &mut Answer| {
            a.head.flags.exact = false;
            a.head.error_bound = 3;
            for row in &mut a.topics {
                (row.low, row.high) = (row.low - 1, row.high + 3);
            }
        };
        assert_eq!(count(10, blur), 0);
        assert_eq!(
            count(10, |a| {
                blur(a);
                a.topics[0].low = 10;
            }),
            1
        );
        assert_eq!(
            count(10, |a| {
                blur(a);
                a.topics[0].high = 8;
            }),
            1
        );
        assert_eq!(
            count(10, |a| {
                blur(a);
                drop(a.topics.pop());
            }),
            0
        );
        assert_eq!(
            count(10, |a| {
                blur(a);
                drop(a.topics.remove(0));
            }),
            1
        );
    }

    #[test]
    fn a_tenant_that_is_not_held_has_an_empty_window_now() {
        let refused = |code| Err(Refused { code, message: String::new(), events: 0, index: None });
        let answer = known_or_empty(refused(Refusal::UnknownTenant), 77).unwrap();
        assert_eq!((answer.head.as_of_ms, answer.head.flags.known), (77, false));
        assert!(known_or_empty(refused(Refusal::Malformed), 77).is_err());
    }

    #[test]
    fn an_empty_window_must_be_empty() {
        let mut checked = Checked::default();
        checked.check("t", 10, &Expected::default(), &Answer::default());
        assert_eq!(checked.mismatches, 0);
        checked.check("t", 10, &expected(), &Answer::default());
        assert_eq!(checked.mismatches, 4);
    }
}
