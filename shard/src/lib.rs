//! One core's state and rules: windows, trends, deduplication. Sans-IO, no clock, no unsafe.
#![forbid(unsafe_code)]

mod admit;
mod answer;
mod arena;
mod config;
mod count;
mod divisor;
mod due;
mod early;
mod effect;
mod grid;
pub mod limits;
pub mod log;
mod marks;
mod memory;
mod mixed;
mod observe;
mod program_tick;
mod programs;
mod read;
mod samples;
mod shard;
mod slot_set;
pub mod snapshot;
mod stats;
mod subscriptions;
mod tenants;
mod texts;
mod tick;
mod topics;
mod trend;
mod trending;
mod window;

pub use answer::Answer;
pub use arena::SizeUse;
pub use config::{EARLY_MAX_DEFAULT, SAMPLE_BYTES_MAX_DEFAULT, ShardConfig};
pub use effect::{Counted, Effect, Effects, Refused, ReplyTo};
pub use grid::{Cursor, Grid, GridError, PaneRow};
pub use marks::{GIVEN_UP_BYTES, Lane, MARK_BYTES, OldOwner, Sequence, Standing};
pub use memory::{HeapMemory, Memory};
pub use programs::{Observed, Programs, Summary, Text, Texts, Told};
pub use read::{Ask, TenantLine};
pub use shard::{Origin, Part, Shard, TextPart, check_future, check_future_texts, fenced};
pub use stats::{Level, Stats};
pub use tenants::{Slot, TENANT_RECORD_BYTES, index_words};
pub use topics::{TOPIC_ENTRY_BYTES, topics_words};
pub use trend::{EXPECTED_BITS, NEWCOMER_WEIGHT_MIN, TREND_SCORE_MILLI};
pub use trending::Trending;
pub use window::{
    Added, Block, Event, Topic, TopicSink, View, WindowConfig, WindowError, WindowUse, Windows,
};
