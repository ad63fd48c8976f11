//! What the server owes: events acknowledged and not held, and events held twice.

use crate::limits::EXPLAINED_MAX;
use std::fmt;

/// What one producer says of its events.
#[derive(Clone, Copy, Debug)]
pub(super) struct Account<'a> {
    pub(super) name: &'a str,
    /// Pushed for each tenant.
    pub(super) pushed: &'a [u64],
    /// Acknowledged as durable.
    pub(super) acknowledged: u64,
    /// Refused or given up: there should be none.
    pub(super) given_up: u64,
}

/// See the module header.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    pub(super) pushed: u64,
    /// Events without an acknowledgement when their server was killed.
    pub(super) in_flight: u64,
    pub(super) lost: u64,
    pub(super) doubled: u64,
    given_up: u64,
    failed: bool,
    explained: Vec<String>,
}

impl Verdict {
    /// The server has recovered and nobody has sent anything again.
    pub(super) fn recovered(&mut self, of: Account<'_>, held: &[u64]) {
        let (total, owed, name) = (held.iter().sum::<u64>(), of.acknowledged, of.name);
        if total < owed {
            self.lost += owed - total;
            self.explain(format!("{name}: {owed} acknowledged, {total} recovered"));
        }
        self.look_for_doubles(of, held);
    }

    /// Everything was sent again and acknowledged.
    pub(super) fn settled(&mut self, of: Account<'_>, held: &[u64]) {
        let name = of.name;
        for (tenant, (&held, &pushed)) in held.iter().zip(of.pushed).enumerate() {
            if held < pushed {
                self.lost += pushed - held;
                self.explain(format!("{name} in t{tenant}: {pushed} acknowledged, {held} held"));
            }
        }
        self.look_for_doubles(of, held);
        if of.given_up > 0 {
            self.given_up += of.given_up;
            self.explain(format!("{name}: {} refused or given up", of.given_up));
        }
    }

    /// Something else that must not be.
    pub(super) fn fail(&mut self, why: String) {
        self.failed = true;
        self.explain(why);
    }

    /// Whether nothing was lost, doubled, refused or given up.
    pub(super) const fn is_clean(&self) -> bool {
        self.lost == 0 && self.doubled == 0 && self.given_up == 0 && !self.failed
    }

    /// The first findings.
    pub(super) fn explained(&self) -> &[String] {
        &self.explained
    }

    fn look_for_doubles(&mut self, of: Account<'_>, held: &[u64]) {
        for (tenant, (&held, &pushed)) in held.iter().zip(of.pushed).enumerate() {
            if held > pushed {
                self.doubled += held - pushed;
                self.explain(format!("{} in t{tenant}: {pushed} pushed, {held} held", of.name));
            }
        }
    }

    fn explain(&mut self, line: String) {
        if self.explained.len() < EXPLAINED_MAX {
            self.explained.push(line);
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} lost, {} doubled", self.lost, self.doubled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCOUNT: Account<'_> =
        Account { name: "p1", pushed: &[5, 3], acknowledged: 6, given_up: 0 };

    #[test]
    fn what_is_acknowledged_must_be_there_and_what_was_pushed_once_only() {
        let mut verdict = Verdict::default();
        verdict.recovered(ACCOUNT, &[4, 2]);
        verdict.settled(ACCOUNT, &[5, 3]);
        assert!(verdict.is_clean());
        verdict.recovered(ACCOUNT, &[5, 0]);
        assert_eq!((verdict.lost, verdict.doubled), (1, 0));
        verdict.recovered(ACCOUNT, &[6, 3]);
        assert_eq!((verdict.lost, verdict.doubled), (1, 1));
        assert!(!verdict.is_clean());
    }

    #[test]
    fn after_sending_again_every_tenant_has_exactly_its_events() {
        let mut verdict = Verdict::default();
        verdict.settled(ACCOUNT, &[4, 4]);
        assert_eq!((verdict.lost, verdict.doubled), (1, 1));
        assert_eq!(verdict.explained().len(), 2);
        let mut verdict = Verdict::default();
        verdict.settled(Account { given_up: 1, ..ACCOUNT }, &[5, 3]);
        assert!(!verdict.is_clean(), "an event given up is no success");
    }
}
