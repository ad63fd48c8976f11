//! One core's state and rules: windows, trends, deduplication. Sans-IO, no clock, no unsafe.
#![forbid(unsafe_code)]

mod arena;
mod grid;
pub mod limits;
mod memory;
mod trend;
mod window;

pub use arena::SizeUse;
pub use grid::{Cursor, Grid, GridError, PaneRow};
pub use memory::{HeapMemory, Memory};
pub use trend::{EXPECTED_BITS, NEWCOMER_WEIGHT_MIN, TREND_SCORE_MILLI};
pub use window::{
    Added, Block, Event, Topic, TopicSink, View, WindowConfig, WindowError, WindowUse, Windows,
};
