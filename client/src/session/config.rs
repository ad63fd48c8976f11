//! What a session is told once, and what it reports.

use crate::answer::Answer;
use crate::limits::{
    BATCH_EVENTS, BATCH_EVENTS_MAX, EVENTS_HEAD_BYTES, IN_FLIGHT_BYTES_MAX, LINGER_MS,
    RECORD_BYTES, TEXT_EVENT_BYTES_MAX,
};
use crate::topology::Topology;
use std::sync::Arc;
use thiserror::Error;
use trendsrv_proto::{AckMode, NameError, NameKind, Refusal, TextError};

/// Settings of a session.
#[derive(Clone, Debug)]
pub struct SessionConfig {
    /// The producer's id, the same for all its lanes; 0 is anonymous.
    pub producer: u64,
    /// Grows when the producer starts anew under the same id.
    pub epoch: u32,
    /// Which of the producer's parallel sequences this is.
    pub lane: u16,
    /// When frames are acknowledged.
    pub ack: AckMode,
    /// Events in one frame.
    pub batch_events: usize,
    /// Bytes of unacknowledged frames held.
    pub in_flight_bytes_max: usize,
    /// How long a batch waits for more events.
    pub linger_ms: u64,
    /// Seed of the waits' jitter.
    pub seed: u64,
    /// Name and version of the program, for people who read logs.
    pub software: String,
}

impl Default for SessionConfig {
    fn default() -> Self {
        Self {
            producer: 0,
            epoch: 0,
            lane: 0,
            ack: AckMode::Applied,
            batch_events: BATCH_EVENTS,
            in_flight_bytes_max: IN_FLIGHT_BYTES_MAX,
            linger_ms: LINGER_MS,
            seed: 0,
            software: concat!("trendsrv-client ", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }
}

/// A setting that cannot work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ConfigError {
    /// The session keeps frames until they are acknowledged.
    #[error("ack mode none is not for a session: it keeps frames until they are acknowledged")]
    AckNone,
    /// Too few or too many events a frame.
    #[error("batch_events is {0}, must be 1 to {BATCH_EVENTS_MAX}")]
    BatchEvents(usize),
    /// Not even one frame fits.
    #[error(
        "in_flight_bytes_max is {got}, must be at least {min}: two frames of batch_events, and one \
         with the longest text"
    )]
    InFlight {
        /// The setting.
        got: usize,
        /// The least that works.
        min: usize,
    },
}

impl SessionConfig {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        if self.ack == AckMode::None {
            return Err(ConfigError::AckNone);
        }
        if !(1..=BATCH_EVENTS_MAX).contains(&self.batch_events) {
            return Err(ConfigError::BatchEvents(self.batch_events));
        }
        let two_frames = 2 * (EVENTS_HEAD_BYTES + self.batch_events * RECORD_BYTES);
        let min = two_frames.max(EVENTS_HEAD_BYTES + TEXT_EVENT_BYTES_MAX);
        if self.in_flight_bytes_max < min {
            return Err(ConfigError::InFlight { got: self.in_flight_bytes_max, min });
        }
        Ok(())
    }
}

/// Why an event was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PushError {
    /// As many bytes are unacknowledged as may be: transmit, and wait for acknowledgements.
    #[error("{0} bytes are unacknowledged; wait for acknowledgements")]
    Full(usize),
    /// The weight is outside its range.
    #[error("weight is {0}, must be 1 to 1000000000")]
    Weight(u32),
    /// The time is outside its range.
    #[error("event time {0} ms lies after the year 9999")]
    Time(u64),
    /// A text's tenant has a name that is not one.
    #[error("tenant: {0}")]
    Tenant(NameError),
    /// The text breaks the rule for texts.
    #[error("{0}")]
    Text(TextError),
    /// The session is over.
    #[error("the session is closed")]
    Closed,
}

/// Something the server refused, for the caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Why.
    pub code: Refusal,
    /// What is wrong and where, in the server's words.
    pub message: String,
    /// Events given up because of it; 0 for anything but a frame of events.
    pub events: u64,
    /// Index of the event at fault in its frame.
    pub index: Option<u32>,
}

/// What a session tells its owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionEvent {
    /// HELLO_OK has come; frames flow.
    Opened(Arc<Topology>),
    /// Events were refused for good and given up.
    Refused(Refused),
    /// Events that may or may not have counted, and are not sent again.
    Uncertain(u64),
    /// The server has lost this producer's sequence, and with it the windows so far.
    ServerForgot,
    /// The server asked for names that the dictionary lacks.
    NamesMissing {
        /// How many.
        count: usize,
        /// The first of them.
        first: (NameKind, u64),
    },
    /// The answer to the query with this tag.
    Answer(u32, Box<Answer>),
    /// The query or subscription with this tag was refused.
    RequestRefused(u32, Refused),
    /// The connection went before the query with this tag was answered.
    RequestLost(u32),
    /// A changed answer of the subscription with this tag.
    Update(u32, Box<Answer>),
    /// The server is going away and says why.
    GoingAway(String),
    /// The owner must close the connection; the session will want another at `reconnect_at`.
    Close(String),
    /// The session is over for good; the owner must close the connection.
    Closed(String),
}

/// What became of the events pushed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Taken from the caller.
    pub pushed: u64,
    /// Acknowledged.
    pub acked: u64,
    /// Refused for good.
    pub refused: u64,
    /// Given up without knowing.
    pub uncertain: u64,
}

impl Counts {
    /// The sum of two.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            pushed: self.pushed + other.pushed,
            acked: self.acked + other.acked,
            refused: self.refused + other.refused,
            uncertain: self.uncertain + other.uncertain,
        }
    }
}
