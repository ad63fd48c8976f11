//! What programs made of texts that were replayed: the largest tenants' topics, each with the
//! message that stands for it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use trendsrv_client::{Answer, Client};
use trendsrv_proto::{Rank, TenantId};

/// Texts sent, and what became of them.
#[derive(Debug, Default)]
pub(crate) struct Told {
    texts: BTreeMap<String, u64>,
    answers: Vec<(String, u64, Answer)>,
    with_topics: u64,
    tenants: u64,
}

impl Told {
    /// Counts a text sent for a tenant.
    pub(crate) fn count(&mut self, tenant: &str) {
        match self.texts.get_mut(tenant) {
            Some(count) => *count += 1,
            None => drop(self.texts.insert(tenant.to_owned(), 1)),
        }
    }

    /// Asks for every tenant's answer as of its last text, and keeps those of the tenants with the
    /// most texts.
    pub(crate) fn ask(&mut self, client: &mut Client) -> anyhow::Result<()> {
        let mut tenants: Vec<(&String, u64)> = self.texts.iter().map(|(t, n)| (t, *n)).collect();
        tenants.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let ids: Vec<TenantId> = tenants.iter().map(|(name, _)| TenantId::of(name)).collect();
        let answers = client.query_many(&ids, TOPICS_SHOWN, Rank::Score, None)?;
        for ((name, count), answer) in tenants.iter().zip(answers) {
            let answer = crate::check::known_or_empty(answer, 0)?;
            self.tenants += 1;
            self.with_topics += u64::from(!answer.topics.is_empty());
            if self.answers.len() < TENANTS_SHOWN && !answer.topics.is_empty() {
                self.answers.push(((*name).clone(), *count, answer));
            }
        }
        Ok(())
    }

    /// Prints what was found.
    pub(crate) fn print(&self) {
        print!("{}", self.report());
    }

    fn report(&self) -> String {
        let mut out = format!(
            "of {} tenants {} have topics in their last window\n",
            self.tenants, self.with_topics
        );
        for (tenant, texts, answer) in &self.answers {
            let Answer { head, tldr, program, topics } = answer;
            let total = head.total;
            let _ = writeln!(out, "{tenant}: {texts} texts; {total} in the window; {program}");
            if !tldr.is_empty() {
                let _ = writeln!(out, "  {tldr}");
            }
            for topic in topics {
                let _ = writeln!(out, "  {:>6} {}", topic.count, topic.name);
                if !topic.sample.is_empty() {
                    let _ = writeln!(out, "         {}", topic.sample);
                }
            }
        }
        out
    }
}

/// Tenants whose answers are shown.
const TENANTS_SHOWN: usize = 3;
/// Topics of each.
const TOPICS_SHOWN: u16 = 5;

#[cfg(test)]
mod tests {
    use super::*;
    use trendsrv_client::AnswerTopic;

    #[test]
    fn topics_are_shown_with_the_message_that_stands_for_them() {
        let mut told = Told::default();
        told.count("acme");
        told.count("acme");
        let topic = AnswerTopic {
            count: 2,
            name: "#mars".to_owned(),
            sample: "a rover on #mars".to_owned(),
            ..AnswerTopic::default()
        };
        let program = "hashtags".to_owned();
        let answer = Answer { topics: vec![topic], program, ..Answer::default() };
        (told.tenants, told.with_topics) = (4, 1);
        told.answers.push(("acme".to_owned(), 2, answer));
        let report = told.report();
        assert!(report.starts_with("of 4 tenants 1 have topics"), "{report}");
        assert!(report.contains("acme: 2 texts; 0 in the window; hashtags\n"), "{report}");
        assert!(report.contains("     2 #mars\n         a rover on #mars\n"), "{report}");
    }
}
