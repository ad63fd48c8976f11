//! Sliding windows: "Ringed Misra-Gries", one block of an arena a tenant.
//!
//! Owns: the counts of every tenant's window and what can be read from them. Never touches:
//! tenants' names, clocks, who may write.
//!
//! ```text
//!             slot 0      slot 1      …            a slot: topic, its total in the window
//!            +-----------+-----------+---          (and, once purged: credit, from)
//! row (pane) | w0   w1   …                         a row: weight and events of the tenant in that
//! row        | w0   w1   …                         pane, then one cell a slot. Rows form a ring.
//! ```
//!
//! A window is exact while its topics fit its slots, and grows through tiers and cell widths as
//! long as the arena has memory. When it has none the window purges: the credit of every topic
//! falls by `theta`, topics without credit are dropped, and `lost[pane] += theta`.
//!
//! Invariants
//! - `total(x) <= f(x) <= total(x) + sum of lost[b] over live panes b < from(x)` for every topic
//!   tracked, where `f` is the true weight in the window; an untracked topic has `f <= sum of
//!   lost`. Without a purge among the live panes every number is exact;
//! - the tenant's own total and events are exact always: a purge does not touch them;
//! - slots are dense: `0..used`; a topic has at most one; cells of unused slots are zero;
//! - rows of panes that are not live, and all rows of an empty window, are zero;
//! - the answer depends on the events alone, not on their order within a pane, nor on how they were
//!   cut into calls, as long as nothing is purged;
//! - every topic reported `opened` is reported `closed` exactly once.
//!
//! Sources: J. Misra and D. Gries, "Finding repeated elements", Science of Computer Programming 2
//! (1982), for the purge; its per-pane ring, the credit and the bound by suffixes of panes are ours
//! (see `purge.rs` for the argument).

mod cell;
mod frozen;
mod header;
mod known;
mod lanes;
mod layout;
mod losses;
#[cfg(test)]
mod model;
mod order;
mod plan;
mod purge;
mod relayout;
mod small;
mod table;
mod view;
mod windows;

pub(crate) use frozen::{Frozen, NotThawed, Thawer};
pub use table::{Added, Event, TopicSink};
pub use view::{Topic, View};
pub use windows::{Block, WindowConfig, WindowError, WindowUse, Windows};
