//! ACK, REFUSE, PING, PONG and GOAWAY.
//!
//! ```text
//! ACK     16 seq u64 | 24 credit_until u64
//! REFUSE  16 seq u64 | 24 expected_seq u64 | 32 code u16 | 34 class u8 | 35 kind u8
//!         36 retry_after_ms u32 | 40 index u32 | 44 message_len u16 | 46 zero u16 | 48 message
//! PING    16 nonce u64          PONG the same
//! GOAWAY  16 drain_ms u32 | 20 message_len u16 | 22 zero u16 | 24 message
//! ```

use crate::cursor::Cursor;
use crate::header::{FrameWriter, Kind};
use crate::limits::MESSAGE_BYTES_MAX;
use crate::malformed::Malformed;
use crate::refusal::{Refusal, RetryClass};
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Every frame up to and including `seq` is acknowledged.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct Ack {
    seq: U64,
    credit_until: U64,
}

impl Ack {
    /// An acknowledgement.
    #[must_use]
    pub const fn new(seq: u64, credit_until: u64) -> Self {
        Self { seq: U64::new(seq), credit_until: U64::new(credit_until) }
    }

    pub(crate) fn parse(body: &[u8]) -> Result<&Self, Malformed> {
        whole(body, "ACK")
    }

    /// The last sequence number acknowledged.
    #[must_use]
    pub const fn seq(&self) -> u64 {
        self.seq.get()
    }

    /// Bytes of EVENTS frames that may have been sent on this connection in all.
    #[must_use]
    pub const fn credit_until(&self) -> u64 {
        self.credit_until.get()
    }

    /// Writes the frame.
    pub fn encode(&self, out: &mut Vec<u8>) -> usize {
        let mut frame = FrameWriter::new(out, Kind::Ack, 0);
        frame.put(self);
        frame.finish()
    }
}

/// A number that PONG gives back.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct Ping {
    nonce: U64,
}

impl Ping {
    /// A ping with this number.
    #[must_use]
    pub const fn new(nonce: u64) -> Self {
        Self { nonce: U64::new(nonce) }
    }

    pub(crate) fn parse(body: &[u8]) -> Result<&Self, Malformed> {
        whole(body, "PING or PONG")
    }

    /// The number.
    #[must_use]
    pub const fn nonce(&self) -> u64 {
        self.nonce.get()
    }

    /// Writes PING, or PONG as the answer.
    pub fn encode(&self, out: &mut Vec<u8>, kind: Kind, tag: u32) -> usize {
        let mut frame = FrameWriter::new(out, kind, tag);
        frame.put(self);
        frame.finish()
    }
}

fn whole<'a, T>(body: &'a [u8], what: &'static str) -> Result<&'a T, Malformed>
where
    T: FromBytes + KnownLayout + Immutable + Unaligned,
{
    let mut cursor = Cursor::new(body);
    let view = cursor.view(what)?;
    cursor.end()?;
    Ok(view)
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RefuseHead {
    seq: U64,
    expected_seq: U64,
    code: U16,
    class: u8,
    kind: u8,
    retry_after_ms: U32,
    index: U32,
    message_len: U16,
    zero: U16,
}

/// A frame was refused; nothing of it was applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refuse<'a> {
    /// Sequence number of the refused EVENTS frame, or 0.
    pub seq: u64,
    /// The sequence number that the next EVENTS frame must carry.
    pub expected_seq: u64,
    /// Why.
    pub code: Refusal,
    /// What to do.
    pub class: RetryClass,
    /// Number of the refused frame's kind, or 0.
    pub kind: u8,
    /// How long to wait, with [`RetryClass::Later`].
    pub retry_after_ms: u32,
    /// Index of the event or entry at fault.
    pub index: Option<u32>,
    /// What is wrong and where, for a person.
    pub message: &'a str,
}

impl<'a> Refuse<'a> {
    pub(crate) fn parse(body: &'a [u8]) -> Result<Self, Malformed> {
        let mut cursor = Cursor::new(body);
        let head: &RefuseHead = cursor.view("REFUSE")?;
        let bad = |what, got, max| Malformed::Range { what, got, min: 0, max };
        let (code, class) = (head.code.get(), head.class);
        let message = message(&mut cursor, head.message_len.get())?;
        cursor.end()?;
        Ok(Self {
            seq: head.seq.get(),
            expected_seq: head.expected_seq.get(),
            code: Refusal::from_u16(code).ok_or(bad("refusal code", u64::from(code), 19))?,
            class: RetryClass::from_u8(class).ok_or(bad("retry class", u64::from(class), 3))?,
            kind: head.kind,
            retry_after_ms: head.retry_after_ms.get(),
            index: (head.index.get() != u32::MAX).then_some(head.index.get()),
            message,
        })
    }

    /// Writes the frame; a message over 512 bytes is cut at a character.
    pub fn encode(&self, out: &mut Vec<u8>, tag: u32) -> usize {
        let (message, message_len) = cut(self.message);
        let mut frame = FrameWriter::new(out, Kind::Refuse, tag);
        frame.put(&RefuseHead {
            seq: U64::new(self.seq),
            expected_seq: U64::new(self.expected_seq),
            code: U16::new(self.code as u16),
            class: self.class as u8,
            kind: self.kind,
            retry_after_ms: U32::new(self.retry_after_ms),
            index: U32::new(self.index.unwrap_or(u32::MAX)),
            message_len,
            zero: U16::ZERO,
        });
        frame.put(message.as_bytes());
        frame.finish()
    }
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct GoAwayHead {
    drain_ms: U32,
    message_len: U16,
    zero: U16,
}

/// The server is going away: send no new frames; what was sent is still answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GoAway<'a> {
    /// After this long the connection is closed.
    pub drain_ms: u32,
    /// Why, for a person.
    pub message: &'a str,
}

impl<'a> GoAway<'a> {
    pub(crate) fn parse(body: &'a [u8]) -> Result<Self, Malformed> {
        let mut cursor = Cursor::new(body);
        let head: &GoAwayHead = cursor.view("GOAWAY")?;
        let message = message(&mut cursor, head.message_len.get())?;
        cursor.end()?;
        Ok(Self { drain_ms: head.drain_ms.get(), message })
    }

    /// Writes the frame; a message over 512 bytes is cut at a character.
    pub fn encode(&self, out: &mut Vec<u8>) -> usize {
        let (message, message_len) = cut(self.message);
        let mut frame = FrameWriter::new(out, Kind::GoAway, 0);
        let drain_ms = U32::new(self.drain_ms);
        frame.put(&GoAwayHead { drain_ms, message_len, zero: U16::ZERO });
        frame.put(message.as_bytes());
        frame.finish()
    }
}

fn message<'a>(cursor: &mut Cursor<'a>, len: u16) -> Result<&'a str, Malformed> {
    let (got, max) = (u64::from(len), MESSAGE_BYTES_MAX as u64);
    if got > max {
        return Err(Malformed::Range { what: "message_len", got, min: 0, max });
    }
    cursor.text(usize::from(len), "the message")
}

fn cut(message: &str) -> (&str, U16) {
    let message = &message[..message.floor_char_boundary(MESSAGE_BYTES_MAX)];
    (message, U16::new(u16::try_from(message.len()).unwrap_or(0)))
}

const _: () = assert!(size_of::<RefuseHead>() == 32);
