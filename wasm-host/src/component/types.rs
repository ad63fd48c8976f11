//! The records of `wit/trend-program.wit`, field by field.
//!
//! Owned, not borrowed: the host keeps one of each that is filled again for every call, so that a
//! call allocates for what a program returns only.

use wasmtime::component::{ComponentType, Lift, Lower};

/// How a topic moves.
#[derive(Clone, Copy, Debug, Default, ComponentType, Lift, Lower)]
#[component(enum)]
#[repr(u8)]
pub(crate) enum Trend {
    #[default]
    #[component(name = "steady")]
    Steady,
    #[component(name = "new")]
    New,
    #[component(name = "rising")]
    Rising,
    #[component(name = "falling")]
    Falling,
}

/// A topic of a view.
#[derive(Clone, Debug, Default, ComponentType, Lower)]
#[component(record)]
pub(crate) struct Row {
    pub(crate) topic: u64,
    pub(crate) count: u64,
    pub(crate) high: u64,
    pub(crate) recent: u64,
    #[component(name = "velocity-milli")]
    pub(crate) velocity_milli: i64,
    #[component(name = "score-milli")]
    pub(crate) score_milli: i64,
    pub(crate) trend: Trend,
    pub(crate) name: String,
    pub(crate) sample: String,
}

/// What `summarise` is shown.
#[derive(Clone, Debug, Default, ComponentType, Lower)]
#[component(record)]
pub(crate) struct View {
    #[component(name = "as-of-ms")]
    pub(crate) as_of_ms: u64,
    pub(crate) total: u64,
    pub(crate) events: u64,
    pub(crate) distinct: u32,
    #[component(name = "window-ms")]
    pub(crate) window_ms: u32,
    #[component(name = "recent-ms")]
    pub(crate) recent_ms: u32,
    pub(crate) exact: bool,
    pub(crate) asked: bool,
    pub(crate) rows: Vec<Row>,
}

/// What `summarise` makes of it.
#[derive(Clone, Debug, ComponentType, Lift)]
#[component(record)]
pub(crate) struct Summary {
    pub(crate) ranking: Option<Vec<u16>>,
    pub(crate) tldr: String,
}

/// An event on its way to the window, in and out.
#[derive(Clone, Copy, Debug, ComponentType, Lift, Lower)]
#[component(record)]
pub(crate) struct Event {
    pub(crate) topic: u64,
    pub(crate) weight: u32,
    #[component(name = "offset-ms")]
    pub(crate) offset_ms: i32,
}

/// A text on its way to become topics.
#[derive(Clone, Debug, Default, ComponentType, Lower)]
#[component(record)]
pub(crate) struct Text {
    pub(crate) text: String,
    pub(crate) weight: u32,
    #[component(name = "offset-ms")]
    pub(crate) offset_ms: i32,
}

/// A topic found in a text.
#[derive(Clone, Debug, ComponentType, Lift)]
#[component(record)]
pub(crate) struct Topic {
    pub(crate) index: u16,
    pub(crate) weight: u32,
    pub(crate) name: String,
}
