//! What readers ask of a shard: answers, listings, subscriptions.

use crate::answer::{Answer, Rows};
use crate::effect::{Effect, Effects, Refused, ReplyTo};
use crate::limits::{PROGRAM_TOPICS_MAX, PROGRAM_TOPICS_MIN};
use crate::memory::Memory;
use crate::programs::{Programs, Summary};
use crate::shard::Shard;
use crate::subscriptions::Key;
use crate::tenants::Slot;
use crate::window::Block;
use std::ops::Bound;
use trendsrv_proto::{
    Clock, Kind, Rank, Refusal, SummaryFlags, SummaryHead, TenantId, TopicId, fmix64,
};

/// What a reader asks.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// Whose answer.
    pub tenant: TenantId,
    /// The tenant's name, when the reader asks by name: an id of another name is not answered.
    pub name: Option<&'a str>,
    /// The end of the window; `None` is now, or the watermark with the event clock.
    pub at_ms: Option<u64>,
    /// How many topics.
    pub k: u16,
    /// Ordered by what.
    pub rank: Rank,
}

/// One line of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TenantLine {
    /// Name.
    pub name: String,
    /// Weight in the window.
    pub total: u64,
    /// Events in the window.
    pub events: u64,
    /// Distinct topics in the window.
    pub topics: u64,
    /// The program it is assigned.
    pub program: String,
}

/// A tenant found, and the window to read.
struct Found {
    slot: Slot,
    block: Option<Block>,
    as_of_ms: u64,
    pane: u64,
}

impl<P: Programs, M: Memory> Shard<P, M> {
    /// Answers a reader.
    ///
    /// # Errors
    /// `UNKNOWN_TENANT`, `ID_COLLISION`, or `MALFORMED` for an end before the window's last slide.
    pub fn ask(&mut self, now_ms: u64, ask: &Ask<'_>) -> Result<Answer<'_>, Refused> {
        self.stats.queries += 1;
        let found = self.find(now_ms, ask)?;
        if ask.at_ms.is_none() {
            self.refresh(&found);
        } else {
            self.read(&found);
        }
        Ok(self.answer(now_ms, &found, ask))
    }

    /// Named tenants in byte order: those that start with `prefix` and come after `after`.
    pub fn list(
        &mut self,
        now_ms: u64,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Vec<TenantLine> {
        let from = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            Some(_) | None => Bound::Included(prefix),
        };
        let names = self.tenants.names_from((from, Bound::Unbounded));
        let page: Vec<(String, Slot)> = names
            .take_while(|(name, _)| name.starts_with(prefix))
            .take(limit)
            .map(|(name, slot)| (name.to_owned(), slot))
            .collect();
        let mut lines = Vec::with_capacity(page.len());
        for (name, slot) in page {
            let tenant = self.tenants.record(slot).id;
            let ask = Ask { tenant, name: None, at_ms: None, k: 1, rank: Rank::Count };
            let Ok(found) = self.find(now_ms, &ask) else { continue };
            self.read(&found);
            let (total, events) = (self.view.total(), self.view.events());
            let topics = self.view.distinct() as u64;
            let program = self.programs.name_of(slot).to_owned();
            lines.push(TenantLine { name, total, events, topics, program });
        }
        lines
    }

    /// Subscribes a reader; the first UPDATE comes at the next tick.
    ///
    /// # Errors
    /// `OVERLOADED` when the table of subscriptions is full.
    pub fn subscribe(&mut self, to: ReplyTo, tag: u32, ask: &Ask<'_>) -> Result<(), Refused> {
        if self.subscriptions.insert((ask.tenant, to, tag), ask.k, ask.rank) {
            return Ok(());
        }
        let max = self.config.subscriptions_max;
        let message = format!("this shard holds {max} subscriptions already");
        Err(Refused { retry_after_ms: 1_000, ..Refused::new(Refusal::Overloaded, message) })
    }

    /// Ends a subscription; one that is not there is no matter.
    pub fn unsubscribe(&mut self, to: ReplyTo, tag: u32, tenant: TenantId) {
        self.subscriptions.remove((tenant, to, tag));
    }

    /// Tells one subscriber, when the answer has changed since it was told last.
    pub(crate) fn publish(&mut self, now_ms: u64, key: Key, fx: &mut Effects) {
        let (tenant, to, tag) = key;
        let Some(wanted) = self.subscriptions.find(key) else { return };
        let (k, rank) = (wanted.k, wanted.rank);
        let ask = Ask { tenant, name: None, at_ms: None, k, rank };
        // A tenant that is not here has nothing to tell yet.
        let Ok(found) = self.find(now_ms, &ask) else { return };
        let version = self.refresh(&found);
        if wanted.told == Some(version) {
            return;
        }
        let start = fx.bytes.len();
        let len = self.answer(now_ms, &found, &ask).encode(&mut fx.bytes, Kind::Update, tag);
        fx.list.push(Effect::Publish { to, tag, tenant, start, len });
        self.subscriptions.told(key, version);
        self.stats.updates += 1;
    }

    fn find(&self, now_ms: u64, ask: &Ask<'_>) -> Result<Found, Refused> {
        let Some(place) = self.tenants.find(ask.tenant) else {
            let message = match ask.name {
                Some(name) => format!("no events of tenant {name:?} are held here"),
                None => format!("no events of tenant id {:#018x} are held here", ask.tenant.0),
            };
            return Err(Refused::new(Refusal::UnknownTenant, message));
        };
        let (slot, block) = self.tenants.at(place);
        let record = self.tenants.record(slot);
        if let (Some(asked), Some(known)) = (ask.name, record.name.as_deref())
            && asked != known
        {
            let message = format!("the id of {asked:?} belongs to another tenant");
            return Err(Refused::new(Refusal::IdCollision, message));
        }
        let block = block.or(record.parked);
        let watermark_ms = match self.config.clock {
            Clock::Wall => now_ms,
            Clock::Event => block.map_or(0, |block| self.windows.watermark_ms(block)),
        };
        let grid = &self.config.grid;
        let earliest_ms = grid.start_ms(grid.pane_of(watermark_ms));
        match ask.at_ms {
            Some(at_ms) if at_ms < earliest_ms => {
                let message = format!(
                    "at={at_ms} lies before {earliest_ms}, the start of the window's last slide: \
                     older windows are gone"
                );
                Err(Refused::new(Refusal::Malformed, message))
            }
            at_ms => {
                let as_of_ms = at_ms.unwrap_or(watermark_ms).max(watermark_ms);
                let stands = block.map_or(0, |block| self.windows.pane(block));
                Ok(Found { slot, block, as_of_ms, pane: grid.pane_of(as_of_ms).max(stands) })
            }
        }
    }

    fn read(&mut self, found: &Found) {
        match found.block {
            Some(block) => self.windows.view(block, found.pane, &mut self.view),
            None => self.view.clear(),
        }
    }

    /// Reads the window and gives it a new version when it is not what was read last.
    fn refresh(&mut self, found: &Found) -> u64 {
        self.read(found);
        let fingerprint = self.fingerprint(found.slot);
        let record = self.tenants.record_mut(found.slot);
        if record.fingerprint != fingerprint {
            record.fingerprint = fingerprint;
            record.version += 1;
        }
        record.version
    }

    /// Changes with everything an answer can show, whatever the order of its topics; never 0.
    fn fingerprint(&self, slot: Slot) -> u64 {
        let mix = |so_far: u64, value: u64| fmix64(so_far.rotate_left(7) ^ value);
        let topics = self.view.topics().iter().fold(0_u64, |sum, row| {
            // A name that has become known shows, too.
            let named = u64::from(!self.topics.name(row.topic).is_empty());
            let rates = [row.velocity_milli.cast_unsigned(), row.score_milli.cast_unsigned()];
            let trend = named << 8 | u64::from(row.trend as u8);
            let values = [row.total, row.high, rates[0], rates[1], trend];
            sum.wrapping_add(values.into_iter().fold(row.topic.0, mix))
        });
        let (view, record) = (&self.view, self.tenants.record(slot));
        let edition = self.programs.edition(slot);
        let totals = [view.total(), view.events(), view.error_bound(), edition];
        let losses = [record.late, record.dropped, record.shed];
        totals.into_iter().chain(losses).fold(topics, mix) | 1
    }

    /// Has the tenant's program sum the view up, and orders the rows.
    ///
    /// The program always sees the topics ranked by score, so that both orders tell the same line.
    /// By score its own ranking replaces the part that it saw; by count it has no say.
    fn answer(&mut self, now_ms: u64, found: &Found, ask: &Ask<'_>) -> Answer<'_> {
        let topics = &self.topics;
        let names = |topic: TopicId| topics.name(topic).as_bytes();
        let (samples, slot, pane) = (&self.samples, found.slot, found.pane);
        let k = usize::from(ask.k);
        let ranked = self.view.rank(Rank::Score, k.max(PROGRAM_TOPICS_MIN), names).len();
        let shown = ranked.min(PROGRAM_TOPICS_MAX);
        let summary = Summary {
            now_ms,
            slot,
            as_of_ms: found.as_of_ms,
            view: &self.view,
            shown,
            name: &|topic| topics.name(topic),
            sample: &|topic| samples.of(slot, topic, pane),
            asked: true,
        };
        self.programs.summarise(&summary, &mut self.told);
        let (listed, rest) = match (ask.rank, self.told.ranking.as_deref()) {
            (Rank::Count, _) => (&[][..], 0..self.view.rank(Rank::Count, k, names).len()),
            (Rank::Score, None) => (&[][..], 0..ranked),
            (Rank::Score, Some(order)) => (order, shown..ranked),
        };
        let head = self.head(found, ask);
        let (tldr, program) = (self.told.tldr.as_str(), self.told.program.as_str());
        let rows = Rows { listed, rest, k };
        let (view, topics, samples) = (&self.view, &self.topics, &self.samples);
        Answer { head, tldr, program, view, topics, samples, slot, pane, rows }
    }

    fn head(&self, found: &Found, ask: &Ask<'_>) -> SummaryHead {
        let record = self.tenants.record(found.slot);
        let grid = &self.config.grid;
        SummaryHead {
            tenant: ask.tenant,
            as_of_ms: found.as_of_ms,
            version: record.version,
            total: self.view.total(),
            events: self.view.events(),
            distinct: self.view.distinct() as u64,
            error_bound: self.view.error_bound(),
            late: record.late,
            dropped: record.dropped,
            shed: record.shed,
            window_ms: u32::try_from(grid.window_ms()).unwrap_or(u32::MAX),
            slide_ms: u32::try_from(grid.slide_ms()).unwrap_or(u32::MAX),
            flags: SummaryFlags {
                known: true,
                exact: self.view.exact(),
                distinct_exact: self.view.exact(),
                // By score nothing is certain once weight was lost, whatever a program hides.
                certified: self.view.certified(),
            },
        }
    }
}
