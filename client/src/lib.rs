//! The producer's and reader's side of the wire: a session without IO, and a client that blocks.
//!
//! Owns: batching, sequence numbers, credit, resending, names on demand, routing by shard.
//! Never touches: windows, ranking, HTTP. [`session`] and [`router`] never touch a socket or a
//! clock either: time and bytes come in as arguments, bytes and events go out.
//!
//! ```text
//! caller -> blocking::Client -> Router -> Session (one per shard) -> proto frames -> socket
//!                                 |
//!                               Names (what ids are called, asked for by NEED)
//! ```
//!
//! Invariants:
//! - an event is in one place until it is acknowledged: the batch, or one frame of the queue;
//! - a frame keeps its sequence number, generation and bytes when it is sent again;
//! - every event pushed ends as acknowledged, refused (with a code) or uncertain, all counted;
//! - every queue has a limit in [`limits`] or in the configuration.
#![forbid(unsafe_code)]

mod answer;
pub mod blocking;
mod jitter;
pub mod limits;
mod names;
pub mod router;
pub mod session;
mod topology;

pub use answer::{Answer, AnswerTopic};
pub use blocking::{Client, ClientError, Options};
pub use names::{Names, NamesFull};
pub use router::Router;
pub use session::{
    ConfigError, Counts, PushError, Refused, Session, SessionConfig, SessionEvent, State,
};
pub use topology::Topology;
pub use trendsrv_proto as proto;
