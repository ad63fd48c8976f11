//! What a shard counts, and how full its tables are.

use trendsrv_proto::Refusal;

/// How full a bounded table is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Level {
    /// Entries now.
    pub now: u64,
    /// Most entries ever.
    pub high: u64,
    /// Most entries allowed.
    pub max: u64,
}

impl Level {
    pub(crate) fn set(&mut self, now: usize) {
        self.now = now as u64;
        self.high = self.high.max(self.now);
    }
}

/// Counters since start, and levels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Parts of frames applied.
    pub parts_applied: u64,
    /// Parts that had been applied before.
    pub parts_duplicate: u64,
    /// Events counted in a window.
    pub events_applied: u64,
    /// Events older than their window.
    pub events_late: u64,
    /// Events that no memory was left to count.
    pub events_dropped: u64,
    /// Events that waited for their pane to open.
    pub events_early: u64,
    /// Events that programs left out.
    pub events_filtered: u64,
    /// Events that an earlier owner of their tenant had counted before.
    pub events_duplicate: u64,
    /// Parts applied that there was no room to log.
    pub log_unlogged_parts: u64,
    /// Texts taken.
    pub texts: u64,
    /// Texts in which programs found no topic.
    pub texts_without_topics: u64,
    /// Topics found in texts, each an event.
    pub text_topics: u64,
    /// Topics found in texts and left out because their id belongs to another name.
    pub text_topics_collided: u64,
    /// Topics found in texts and left out because their text had as many as one may have.
    pub text_topics_over: u64,
    /// Calls of programs for changed tenants that nobody asked about.
    pub ticks: u64,
    /// Changed tenants whose ranking had not changed, so that their program was not called.
    pub ticks_unchanged: u64,
    /// Messages not kept as samples because the memory for them was spent.
    pub samples_full: u64,
    /// Parts refused, by [`Refusal`] number.
    pub refused: [u64; REFUSALS],
    /// Tenants that left to make room.
    pub tenants_evicted: u64,
    /// Marks given up to make room.
    pub marks_evicted: u64,
    /// Topics that found the table of names full.
    pub topics_unnamed_full: u64,
    /// Answers given.
    pub queries: u64,
    /// Changed answers sent to subscribers.
    pub updates: u64,
    /// Largest event time seen, milliseconds since the epoch.
    pub event_time_max_ms: u64,
    /// Tenants.
    pub tenants: Level,
    /// Tenants whose window has emptied.
    pub tenants_emptied: u64,
    /// Topic names.
    pub topics: Level,
    /// Bytes of topic names.
    pub topic_name_bytes: u64,
    /// Producer lanes.
    pub marks: Level,
    /// Events waiting for their pane.
    pub early: Level,
    /// Subscriptions.
    pub subscriptions: Level,
    /// Bytes of window memory.
    pub window_bytes: Level,
    /// Bytes of sample messages.
    pub sample_bytes: Level,
    /// Bytes of the log that wait to be written; the outside keeps the limit.
    pub log_backlog_bytes: Level,
    /// The newest record of the log.
    pub log_lsn: u64,
    /// The newest record known durable.
    pub log_durable_lsn: u64,
}

impl Stats {
    pub(crate) const fn count_refusal(&mut self, code: Refusal) {
        self.refused[code as usize] += 1;
    }
}

const REFUSALS: usize = 20;
const _: () = assert!(Refusal::ALL.len() < REFUSALS);
