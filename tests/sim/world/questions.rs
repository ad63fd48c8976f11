//! Questions, and what is held against their answers.

use super::{Due, World};
use crate::client::Question;
use crate::oracle::Moment;
use trendsrv_client::Answer;
use trendsrv_proto::{Clock, Rank};

impl World {
    pub(super) fn ask_any(&mut self) -> Result<(), String> {
        self.check_bounds()?;
        let after_us = self.dice.of(1_000..=400_000);
        self.queue_in(after_us, Due::Ask);
        let index = self.dice.index(self.clients.len());
        let tenant = self.dice.index(self.plan.tenants);
        if !self.healing && index < self.plan.readers && self.dice.percent(20) {
            let client = &mut self.clients[index];
            if client.subscriptions.len() < 8
                && let Some(tag) =
                    client.session.subscribe(self.oracle.tenants[tenant].id, 100, Rank::Count)
            {
                client.subscriptions.insert(tag, tenant);
            }
        }
        self.ask(index, tenant, 0)?;
        Ok(())
    }

    /// What a shard holds for its connections stays within its limits.
    pub(super) fn check_bounds(&mut self) -> Result<(), String> {
        let nodes = self.server.iter_mut().flat_map(|server| &mut server.nodes);
        for (shard, node) in nodes.enumerate() {
            let stats = node.stats();
            let (used, high, max) = stats.credit;
            if stats.buffered_bytes > stats.buffered_max || used > high || high > max {
                return Err(format!("shard {shard} is beyond its bounds: {stats:?}"));
            }
        }
        Ok(())
    }

    /// Asks for a tenant's answer as of later; `false` when the client cannot ask now.
    pub(super) fn ask(
        &mut self,
        index: usize,
        tenant: usize,
        ahead_ms: u64,
    ) -> Result<bool, String> {
        let now_ms = self.now_ms();
        let at_ms = (ahead_ms > 0).then(|| match self.plan.clock {
            Clock::Wall => now_ms + ahead_ms,
            Clock::Event => self.newest_ms(tenant) + ahead_ms,
        });
        let calm = self.now_us >= self.upset_us + 1_000_000;
        let opened_ms = if calm { now_ms - 1_000 } else { 0 };
        let moment =
            Moment { acks: self.oracle.acks(), asked_ms: now_ms, now_ms, at_ms, opened_ms };
        let id = self.oracle.tenants[tenant].id;
        let client = &mut self.clients[index];
        let Some(tag) = client.session.query(id, at_ms, 100, Rank::Count) else {
            return Ok(false);
        };
        client.questions.insert(tag, Question { tenant, ahead_ms, moment });
        self.note("ask", [index as u64, tenant as u64, ahead_ms]);
        self.on_wake(index)?;
        Ok(true)
    }

    pub(super) fn newest_ms(&self, tenant: usize) -> u64 {
        let events = self.oracle.events.iter().filter(|event| event.tenant == tenant);
        events.map(|event| event.ts_ms).max().unwrap_or(self.plan.start_ms)
    }

    pub(super) fn answered(&mut self, question: &Question, answer: &Answer) -> Result<(), String> {
        self.summary.answers += 1;
        let moment = Moment { now_ms: self.now_ms(), ..question.moment };
        self.oracle.judge(question.tenant, answer, &moment)
    }

    pub(super) fn unknown(&mut self, question: &Question) -> Result<(), String> {
        self.summary.answers += 1;
        let moment = Moment { now_ms: self.now_ms(), ..question.moment };
        self.oracle.judge_unknown(question.tenant, &moment)
    }

    /// Asks for every tenant now and for later times, until all is answered.
    pub(super) fn judge_all(&mut self) -> Result<(), String> {
        let (window, slide) = (self.plan.window_ms, self.plan.slide_ms);
        for tenant in 0..self.plan.tenants {
            for ahead_ms in [0, slide, window / 2, window - slide, window] {
                self.judging.push((tenant, ahead_ms));
            }
        }
        let end_us = self.now_us + JUDGING_US_MAX;
        loop {
            while let Some((tenant, ahead_ms)) = self.judging.pop() {
                if !self.ask(0, tenant, ahead_ms)? {
                    self.judging.push((tenant, ahead_ms));
                    break;
                }
            }
            if self.judging.is_empty() && self.clients[0].questions.is_empty() {
                return Ok(());
            }
            if self.now_us > end_us {
                return Err(format!("questions stay without answers: {}", self.state()));
            }
            let until_us = self.now_us + 10_000;
            self.until(60_000_000, |world| world.now_us >= until_us)?;
        }
    }
}

/// Longest time until every question of the end is answered.
const JUDGING_US_MAX: u64 = 120_000_000;
