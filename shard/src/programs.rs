//! The seam for tenant programs: what a shard asks of the code that runs beside every window.
//!
//! A shard is generic over [`Programs`], so the simulator and the tests run the same rules as the
//! server without a sandbox ([`crate::Trending`]).
//!
//! ```text
//! admit -> observe, find_topics (before counting) -> summarise (tick, readers) -> retire
//! ```

use crate::tenants::Slot;
use crate::window::View;
use trendsrv_proto::{EventRecord, TenantId, TopicId};

/// What runs beside every window.
///
/// A program that fails is the implementor's affair: it counts the fault and does what the default
/// program would; the shard never hears of it.
pub trait Programs {
    /// Whether changed tenants may have to be summarised every slide even when nobody reads them.
    const EAGER: bool;

    /// A tenant has got a window.
    fn admit(&mut self, now_ms: u64, slot: Slot, tenant: TenantId);

    /// A tenant has given its window back.
    fn retire(&mut self, slot: Slot);

    /// One turn's slice of the programs' own work (replacements, new instances). Returns whether
    /// more is due at once.
    fn on_turn(&mut self, _now_ms: u64) -> bool {
        false
    }

    /// Whether any tenant's program looks at events; while not, [`Self::observe`] is not called.
    fn observes_any(&self) -> bool {
        false
    }

    /// Whether this tenant's program looks at events.
    fn observes(&self, _slot: Slot) -> bool {
        false
    }

    /// Whether this tenant's program wants the tick: a summary of the changed window every slide.
    fn ticks(&self, _slot: Slot) -> bool {
        Self::EAGER
    }

    /// Changes when the tenant's program is another one, so that its readers are told anew.
    fn edition(&self, _slot: Slot) -> u64 {
        0
    }

    /// Asks for the memory that a call for this tenant will touch.
    #[inline]
    fn prefetch(&self, _slot: Slot) {}

    /// Appends to `out` what is to be counted of a run of one tenant's records: filtered,
    /// reweighted, re-keyed. No more records than came, each checked like those of a frame, and
    /// every record's time lies within the run's times.
    fn observe(&mut self, run: &Observed<'_>, out: &mut Vec<EventRecord>) {
        out.extend_from_slice(run.records);
    }

    /// Finds the topics of texts of one tenant: `found(index, weight, name)`, the index one of the
    /// run's, the weight valid for an event and the name checked. A topic that comes twice for one
    /// text is counted once, and those beyond [`crate::limits::TEXT_TOPICS_MAX`] are left out.
    fn find_topics(&mut self, run: &Texts<'_>, found: &mut dyn FnMut(usize, u32, &str));

    /// Writes the one-line summary of a ranked view, and the ranking if it is another.
    fn summarise(&mut self, ask: &Summary<'_>, told: &mut Told);

    /// The name of the program that a tenant is assigned.
    fn name_of(&self, slot: Slot) -> &str;

    /// Hands `keep` the name of a tenant's program and its private state as it is now, if it has
    /// one. At most `u16::MAX` bytes.
    fn state_of(&mut self, _slot: Slot, _keep: &mut dyn FnMut(&str, &[u8])) {}

    /// Hands `keep` the private states that wait for their tenants of a vnode to come back.
    fn waiting_states(&self, _vnode: u16, _keep: &mut dyn FnMut(TenantId, &str, &[u8])) {}

    /// Keeps a private state for a tenant that has no window yet; it is handed to its program when
    /// the tenant is admitted. `false` when no program of this name is known.
    fn restore_state(&mut self, _tenant: TenantId, _program: &str, _state: &[u8]) -> bool {
        false
    }
}

/// A run of one tenant's records on their way to the window.
#[derive(Clone, Copy, Debug)]
pub struct Observed<'a> {
    /// The time.
    pub now_ms: u64,
    /// Whose.
    pub slot: Slot,
    /// What the records' offsets count from.
    pub base_ms: u64,
    /// The records.
    pub records: &'a [EventRecord],
}

/// Texts of one tenant on their way to become topics.
#[derive(Clone, Copy, Debug)]
pub struct Texts<'a> {
    /// The time.
    pub now_ms: u64,
    /// Whose.
    pub slot: Slot,
    /// What offsets count from.
    pub base_ms: u64,
    /// The texts.
    pub texts: &'a [Text<'a>],
}

/// One text event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Text<'a> {
    /// Whose.
    pub tenant: TenantId,
    /// What was said, at most `TEXT_BYTES_MAX`.
    pub text: &'a str,
    /// How much it counts.
    pub weight: u32,
    /// Milliseconds from the base time.
    pub offset_ms: i32,
}

/// A view to be summed up. Its topics up to [`View::ranked`] are in the order of the answer.
#[derive(Clone, Copy)]
pub struct Summary<'a> {
    /// The time.
    pub now_ms: u64,
    /// Whose.
    pub slot: Slot,
    /// The end of the window.
    pub as_of_ms: u64,
    /// The numbers.
    pub view: &'a View,
    /// How many of the view's ranked topics to show the program.
    pub shown: usize,
    /// Names; empty for one that nobody has told.
    pub name: &'a dyn Fn(TopicId) -> &'a str,
    /// A message about each topic; empty where there is none.
    pub sample: &'a dyn Fn(TopicId) -> &'a str,
    /// Whether a reader asks; otherwise it is the tick.
    pub asked: bool,
}

/// What a program makes of a view. Reused from call to call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// The one-line summary.
    pub tldr: String,
    /// The program that wrote it.
    pub program: String,
    /// The ranking as places in the view's topics, each below `shown` and at most once; `None`
    /// keeps the view's.
    pub ranking: Option<Vec<u16>>,
}
