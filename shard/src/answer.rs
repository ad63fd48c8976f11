//! A tenant's answer: the window's view ranked and named, with how good it is.

use crate::samples::Samples;
use crate::tenants::Slot;
use crate::topics::Named;
use crate::window::{Topic, View};
use core::ops::Range;
use trendsrv_proto::{Kind, SummaryHead, TopicRow, encode_summary};

/// An answer, borrowed from its shard until the next call.
#[derive(Debug)]
pub struct Answer<'a> {
    /// The numbers.
    pub head: SummaryHead,
    /// The one-line summary.
    pub tldr: &'a str,
    /// The program that wrote it.
    pub program: &'a str,
    pub(crate) view: &'a View,
    pub(crate) topics: &'a dyn Named,
    pub(crate) samples: &'a Samples,
    pub(crate) slot: Slot,
    pub(crate) pane: u64,
    pub(crate) rows: Rows<'a>,
}

/// Which of a view's ranked topics an answer shows, and in what order.
#[derive(Clone, Debug)]
pub(crate) struct Rows<'a> {
    /// The places that the tenant's program ranks first.
    pub(crate) listed: &'a [u16],
    /// The places behind them, in the view's own order.
    pub(crate) rest: Range<usize>,
    /// How many rows at most.
    pub(crate) k: usize,
}

impl Rows<'_> {
    fn of<'v>(&self, view: &'v View) -> impl Iterator<Item = &'v Topic> {
        let topics = view.topics();
        let listed = self.listed.iter().map(move |&place| &topics[usize::from(place)]);
        listed.chain(&topics[self.rest.clone()]).take(self.k)
    }
}

impl Answer<'_> {
    /// The ranked topics with their names; a name nobody has told is empty.
    pub fn topics(&self) -> impl Iterator<Item = TopicRow<'_>> {
        self.rows.of(self.view).map(|row| TopicRow {
            topic: row.topic,
            count: row.total,
            low: row.low,
            high: row.high,
            velocity_milli: row.velocity_milli,
            score_milli: row.score_milli,
            trend: row.trend,
            name: self.topics.name(row.topic),
            sample: self.samples.of(self.slot, row.topic, self.pane),
        })
    }

    /// Writes it as SUMMARY or UPDATE.
    pub fn encode(&self, out: &mut Vec<u8>, kind: Kind, tag: u32) -> usize {
        encode_summary(out, kind, tag, &self.head, (self.tldr, self.program), self.topics())
    }
}
