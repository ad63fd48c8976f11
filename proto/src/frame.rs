//! The frame: header, checks, and the closed list of kinds.
//!
//! ```text
//!  offset size field
//!       0    4 length   bytes of the whole frame, 16 ..= 1 MiB
//!       4    1 kind
//!       5    1 flags    0
//!       6    2 check    low 16 bits of CRC32C(bytes 0..6, bytes 8..16)
//!       8    4 tag      chosen by the asker, echoed in the reply; otherwise 0
//!      12    4 crc32c   CRC32C of the body
//!      16      body
//! ```

use crate::events::{Events, EventsNamed};
use crate::hello::{Hello, HelloOk};
use crate::limits::{FRAME_BYTES_MAX, HEADER_BYTES};
use crate::names::{Define, Need};
use crate::refusal::Refusal;
use crate::reply::{Ack, GoAway, Ping, Refuse};
use crate::summary::{Query, Subscribe, Summary};
use thiserror::Error;
use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// What a frame is. Numbers are a contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// First frame of a client.
    Hello = 1,
    /// First frame of the server.
    HelloOk = 2,
    /// Events as fixed-size records of ids.
    Events = 3,
    /// Events with inline names.
    EventsNamed = 4,
    /// Names of ids.
    Define = 5,
    /// Ids whose names the server lacks.
    Need = 6,
    /// Everything up to a sequence number is acknowledged.
    Ack = 7,
    /// Something was refused.
    Refuse = 8,
    /// Asks for a tenant's answer.
    Query = 9,
    /// The answer to a QUERY.
    Summary = 10,
    /// Asks for answers as they change.
    Subscribe = 11,
    /// A changed answer of a subscription.
    Update = 12,
    /// Are you there?
    Ping = 13,
    /// Yes.
    Pong = 14,
    /// The server is going away.
    GoAway = 15,
}

impl Kind {
    /// The kind with this number.
    #[must_use]
    pub const fn from_u8(n: u8) -> Option<Self> {
        Some(match n {
            1 => Self::Hello,
            2 => Self::HelloOk,
            3 => Self::Events,
            4 => Self::EventsNamed,
            5 => Self::Define,
            6 => Self::Need,
            7 => Self::Ack,
            8 => Self::Refuse,
            9 => Self::Query,
            10 => Self::Summary,
            11 => Self::Subscribe,
            12 => Self::Update,
            13 => Self::Ping,
            14 => Self::Pong,
            15 => Self::GoAway,
            _ => return None,
        })
    }
}

/// A frame's header as it lies on the wire.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Header {
    length: U32,
    kind: u8,
    flags: u8,
    check: U16,
    tag: U32,
    crc: U32,
}

impl Header {
    /// The number of the frame's kind, which may be unknown.
    #[must_use]
    pub const fn kind_number(&self) -> u8 {
        self.kind
    }

    /// The asker's tag.
    #[must_use]
    pub const fn tag(&self) -> u32 {
        self.tag.get()
    }

    /// Bytes of the whole frame.
    #[must_use]
    pub const fn length(&self) -> usize {
        self.length.get() as usize
    }

    fn check_of(bytes: &[u8]) -> u16 {
        let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes[..6]), &bytes[8..HEADER_BYTES]);
        (crc & 0xffff) as u16
    }
}

/// Framing is lost: what follows cannot be read, so the connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Lost {
    /// The header's own check is wrong.
    #[error("frame header check is {got:#06x}, should be {want:#06x}: framing is lost")]
    Check {
        /// The check in the header.
        got: u16,
        /// The check computed over the header.
        want: u16,
    },
    /// The length is impossible.
    #[error("frame length {0} is not within 16 to {FRAME_BYTES_MAX}: framing is lost")]
    Length(usize),
}

/// One frame's body breaks the layout or a rule; the next frame can still be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Malformed {
    /// The body's checksum is wrong.
    #[error("body CRC32C is {got:#010x}, should be {want:#010x}")]
    Crc {
        /// The checksum in the header.
        got: u32,
        /// The checksum computed over the body.
        want: u32,
    },
    /// Nobody knows this kind.
    #[error("unknown frame kind {0}")]
    Kind(u8),
    /// Flags are reserved.
    #[error("frame flags are {0:#04x}, must be 0")]
    Flags(u8),
    /// The body ends too early.
    #[error("frame ends inside {what}, which starts at byte {at}")]
    Short {
        /// The part that is cut.
        what: &'static str,
        /// Offset in the frame.
        at: usize,
    },
    /// Bytes after the end.
    #[error("{bytes} bytes too many from byte {at}")]
    Trailing {
        /// How many.
        bytes: usize,
        /// Offset in the frame.
        at: usize,
    },
    /// Text that is not UTF-8.
    #[error("{what} is not UTF-8 at byte {at}")]
    NotUtf8 {
        /// The part.
        what: &'static str,
        /// Offset in the frame.
        at: usize,
    },
    /// A name breaks the rule for names.
    #[error("entry {index}: {source}")]
    Name {
        /// Index of the entry in the frame.
        index: u32,
        /// The rule.
        source: crate::NameError,
    },
    /// A name does not hash to the id it came with.
    #[error("entry {index}: name hashes to {want:#018x}, not to the id {got:#018x} it came with")]
    WrongId {
        /// Index of the entry in the frame.
        index: u32,
        /// The id in the frame.
        got: u64,
        /// The id of the name.
        want: u64,
    },
    /// A number outside its range.
    #[error("{what} is {got}, must be {min} to {max}")]
    Range {
        /// The field.
        what: &'static str,
        /// Its value.
        got: u64,
        /// Least allowed.
        min: u64,
        /// Most allowed.
        max: u64,
    },
    /// A number of one event or entry outside its range.
    #[error("entry {index}: {what} is {got}, must be {min} to {max}")]
    Entry {
        /// The field.
        what: &'static str,
        /// Index of the entry in the frame.
        index: u32,
        /// Its value.
        got: u64,
        /// Least allowed.
        min: u64,
        /// Most allowed.
        max: u64,
    },
    /// More entries than one frame may hold.
    #[error("{what} is {got}; one frame holds at most {max}")]
    TooMany {
        /// The field.
        what: &'static str,
        /// Its value.
        got: u64,
        /// Most allowed.
        max: u64,
    },
    /// The peer speaks another protocol.
    #[error("magic is {0:#010x}, must be 0x444e5254 (\"TRND\")")]
    Magic(u32),
    /// The peer speaks another version.
    #[error("protocol version {0} is not spoken here; version 1 is")]
    Version(u16),
}

impl Malformed {
    /// Index of the entry at fault, where there is one.
    #[must_use]
    pub const fn index(&self) -> Option<u32> {
        match *self {
            Self::Name { index, .. } | Self::WrongId { index, .. } | Self::Entry { index, .. } => {
                Some(index)
            }
            Self::Crc { .. }
            | Self::Kind(_)
            | Self::Flags(_)
            | Self::Short { .. }
            | Self::Trailing { .. }
            | Self::NotUtf8 { .. }
            | Self::Range { .. }
            | Self::TooMany { .. }
            | Self::Magic(_)
            | Self::Version(_) => None,
        }
    }

    /// The refusal that answers it.
    #[must_use]
    pub const fn refusal(&self) -> Refusal {
        match self {
            Self::Version(_) => Refusal::Unsupported,
            Self::TooMany { .. } => Refusal::TooLarge,
            Self::Crc { .. }
            | Self::Kind(_)
            | Self::Flags(_)
            | Self::Short { .. }
            | Self::Trailing { .. }
            | Self::NotUtf8 { .. }
            | Self::Name { .. }
            | Self::WrongId { .. }
            | Self::Range { .. }
            | Self::Entry { .. }
            | Self::Magic(_) => Refusal::Malformed,
        }
    }
}

/// What stands at the front of received bytes.
#[derive(Debug)]
pub enum Split<'a> {
    /// Not a whole frame yet: this many bytes from the front are needed at least.
    Incomplete(usize),
    /// A frame of `header.length()` bytes.
    Frame(&'a Header, &'a [u8]),
    /// No frame can be found any more.
    Lost(Lost),
}

/// Finds the frame at the front of `bytes`. The body's checksum is not looked at yet.
#[must_use]
pub fn split(bytes: &[u8]) -> Split<'_> {
    let Some((head, rest)) = bytes.split_at_checked(HEADER_BYTES) else {
        return Split::Incomplete(HEADER_BYTES);
    };
    let Ok(header) = Header::ref_from_bytes(head) else {
        return Split::Incomplete(HEADER_BYTES);
    };
    let want = Header::check_of(head);
    if header.check.get() != want {
        return Split::Lost(Lost::Check { got: header.check.get(), want });
    }
    let length = header.length();
    if !(HEADER_BYTES..=FRAME_BYTES_MAX).contains(&length) {
        return Split::Lost(Lost::Length(length));
    }
    match rest.get(..length - HEADER_BYTES) {
        Some(body) => Split::Frame(header, body),
        None => Split::Incomplete(length),
    }
}

/// A frame, borrowed from the received bytes.
#[derive(Debug)]
pub enum Frame<'a> {
    /// See [`Kind::Hello`].
    Hello(Hello<'a>),
    /// See [`Kind::HelloOk`].
    HelloOk(HelloOk<'a>),
    /// See [`Kind::Events`].
    Events(Events<'a>),
    /// See [`Kind::EventsNamed`].
    EventsNamed(EventsNamed<'a>),
    /// See [`Kind::Define`].
    Define(Define<'a>),
    /// See [`Kind::Need`].
    Need(Need<'a>),
    /// See [`Kind::Ack`].
    Ack(&'a Ack),
    /// See [`Kind::Refuse`].
    Refuse(Refuse<'a>),
    /// See [`Kind::Query`].
    Query(&'a Query),
    /// See [`Kind::Summary`].
    Summary(Summary<'a>),
    /// See [`Kind::Subscribe`].
    Subscribe(&'a Subscribe),
    /// See [`Kind::Update`].
    Update(Summary<'a>),
    /// See [`Kind::Ping`].
    Ping(&'a Ping),
    /// See [`Kind::Pong`].
    Pong(&'a Ping),
    /// See [`Kind::GoAway`].
    GoAway(GoAway<'a>),
}

impl<'a> Frame<'a> {
    /// Checks the body against the header and reads it.
    ///
    /// # Errors
    /// What is wrong and where; nothing of a malformed frame may be applied.
    pub fn parse(header: &Header, body: &'a [u8]) -> Result<Self, Malformed> {
        let want = crc32c::crc32c(body);
        if header.crc.get() != want {
            return Err(Malformed::Crc { got: header.crc.get(), want });
        }
        if header.flags != 0 {
            return Err(Malformed::Flags(header.flags));
        }
        let kind = Kind::from_u8(header.kind).ok_or(Malformed::Kind(header.kind))?;
        Ok(match kind {
            Kind::Hello => Self::Hello(Hello::parse(body)?),
            Kind::HelloOk => Self::HelloOk(HelloOk::parse(body)?),
            Kind::Events => Self::Events(Events::parse(body)?),
            Kind::EventsNamed => Self::EventsNamed(EventsNamed::parse(body)?),
            Kind::Define => Self::Define(Define::parse(body)?),
            Kind::Need => Self::Need(Need::parse(body)?),
            Kind::Ack => Self::Ack(Ack::parse(body)?),
            Kind::Refuse => Self::Refuse(Refuse::parse(body)?),
            Kind::Query => Self::Query(Query::parse(body)?),
            Kind::Summary => Self::Summary(Summary::parse(body)?),
            Kind::Subscribe => Self::Subscribe(Subscribe::parse(body)?),
            Kind::Update => Self::Update(Summary::parse(body)?),
            Kind::Ping => Self::Ping(Ping::parse(body)?),
            Kind::Pong => Self::Pong(Ping::parse(body)?),
            Kind::GoAway => Self::GoAway(GoAway::parse(body)?),
        })
    }
}

/// Writes one frame at the end of a buffer; the header is completed by [`FrameWriter::finish`].
#[derive(Debug)]
pub struct FrameWriter<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
}

impl<'a> FrameWriter<'a> {
    /// Starts a frame behind what `out` already holds.
    pub fn new(out: &'a mut Vec<u8>, kind: Kind, tag: u32) -> Self {
        let start = out.len();
        let header = Header {
            length: U32::ZERO,
            kind: kind as u8,
            flags: 0,
            check: U16::ZERO,
            tag: U32::new(tag),
            crc: U32::ZERO,
        };
        out.extend_from_slice(header.as_bytes());
        Self { out, start }
    }

    /// Appends a fixed-size part or plain bytes.
    pub fn put<T: IntoBytes + Immutable + ?Sized>(&mut self, part: &T) -> &mut Self {
        self.out.extend_from_slice(part.as_bytes());
        self
    }

    /// Bytes of the frame so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.out.len() - self.start
    }

    /// A frame is never empty: it has its header.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        false
    }

    /// Bytes of the body so far, to mend a count that was not known at the start.
    pub fn body_mut(&mut self) -> &mut [u8] {
        &mut self.out[self.start + HEADER_BYTES..]
    }

    /// Fills in length, check and checksum. Returns the frame's length in bytes.
    ///
    /// # Panics
    /// When the frame is over [`FRAME_BYTES_MAX`]: the caller's bug.
    pub fn finish(self) -> usize {
        let frame = &mut self.out[self.start..];
        let length = frame.len();
        assert!(length <= FRAME_BYTES_MAX, "frame of {length} bytes");
        let length_wire = u32::try_from(length).unwrap_or(u32::MAX);
        frame[0..4].copy_from_slice(&length_wire.to_le_bytes());
        let crc = crc32c::crc32c(&frame[HEADER_BYTES..]);
        frame[12..16].copy_from_slice(&crc.to_le_bytes());
        let check = Header::check_of(&frame[..HEADER_BYTES]);
        frame[6..8].copy_from_slice(&check.to_le_bytes());
        length
    }
}

const _: () = assert!(size_of::<Header>() == HEADER_BYTES);
