//! The header of every frame: length, kind, checks; reading and writing it.
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

use crate::limits::{FRAME_BYTES_MAX, HEADER_BYTES};
use crate::malformed::Malformed;
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
    /// Texts in which the tenants' programs find the topics.
    Text = 16,
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
            16 => Self::Text,
            _ => return None,
        })
    }

    /// Whether frames of this kind carry events: they have a sequence number and cost credit.
    #[must_use]
    pub const fn carries_events(self) -> bool {
        match self {
            Self::Events | Self::EventsNamed | Self::Text => true,
            Self::Hello
            | Self::HelloOk
            | Self::Define
            | Self::Need
            | Self::Ack
            | Self::Refuse
            | Self::Query
            | Self::Summary
            | Self::Subscribe
            | Self::Update
            | Self::Ping
            | Self::Pong
            | Self::GoAway => false,
        }
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

    /// CRC32C of the body, as the header says it.
    #[must_use]
    pub const fn body_crc(&self) -> u32 {
        self.crc.get()
    }

    /// Checks the body's checksum and the header's own rules; says what kind of frame it is.
    pub(crate) fn check(&self, body: &[u8]) -> Result<Kind, Malformed> {
        let want = crc32c::crc32c(body);
        if self.crc.get() != want {
            return Err(Malformed::Crc { got: self.crc.get(), want });
        }
        if self.flags != 0 {
            return Err(Malformed::Flags(self.flags));
        }
        Kind::from_u8(self.kind).ok_or(Malformed::Kind(self.kind))
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
