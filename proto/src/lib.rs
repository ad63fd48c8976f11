//! Shapes of bytes: everything that crosses a socket between a producer or reader and `trendsrv`.
//!
//! Owns the frame layout, the limits, the names of refusals and the arithmetic both sides must
//! agree on (ids, vnodes). Never touches a socket, a clock, randomness or `unsafe`.
//!
//! Every frame, all integers little-endian:
//!
//! ```text
//!  0        4    5     6       8        12       16                 length
//!  +--------+----+-----+-------+--------+--------+------------------+
//!  | length |kind|flags| check |  tag   | crc32c | body             |
//!  +--------+----+-----+-------+--------+--------+------------------+
//! ```
//!
//! Invariants:
//! - a view borrows the received bytes; parsing copies nothing and allocates nothing;
//! - bytes from a peer never panic: every parse returns `Malformed` with what and where;
//! - a frame whose `check` fails has lost its framing; one whose `crc32c` fails has not.
#![forbid(unsafe_code)]

mod cursor;
mod events;
mod frame;
mod header;
mod hello;
mod id;
pub mod limits;
mod malformed;
mod names;
mod refusal;
mod reply;
mod summary;
mod texts;

pub use events::{EventRecord, Events, EventsHead, EventsNamed, NamedEvent, NamedWriter};
pub use events::{Span, encode_events};
pub use frame::Frame;
pub use header::{FrameWriter, Header, Kind, Lost, Split, split};
pub use hello::{AckMode, Clock, Hello, HelloOk, ShardAddress, VnodeMap, Welcome};
pub use id::{NameError, TenantId, TopicId, check_name, find_control, fmix64};
pub use malformed::Malformed;
pub use names::{Define, NameKind, Need, NeedEntry, encode_define, encode_need};
pub use refusal::{Refusal, RetryClass};
pub use reply::{Ack, GoAway, Ping, Refuse};
pub use summary::{
    Query, Rank, Subscribe, Summary, SummaryFlags, SummaryHead, TopicRow, Trend, encode_summary,
};
pub use texts::{TextError, TextEvent, TextEvents, TextWriter, check_text};
