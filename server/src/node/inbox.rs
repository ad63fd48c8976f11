//! Frames out of a stream of bytes that may be cut anywhere.
//!
//! Whole frames are handled where the kernel put them; only a frame cut by the end of a read is
//! copied, once.

use trendsrv_proto::limits::HEADER_BYTES;
use trendsrv_proto::{Header, Lost, Split, split};

/// The front part of a frame whose rest has not come yet.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    partial: Vec<u8>,
    /// When the partial frame began, ms; meaningful while there is one.
    since_ms: u64,
    /// The handler has had enough for now: `partial` begins with frames it has not seen.
    held: bool,
}

/// What the handler of a frame wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    /// The next frame.
    Go,
    /// The next frame when it is fed again.
    Hold,
    /// No more of this connection.
    End,
}

/// Why a stream ended early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    Lost(Lost),
    /// The handler wants no more of this connection.
    Ended,
}

impl Inbox {
    /// Hands every whole frame to `handle`, which says how to go on.
    pub(crate) fn feed(
        &mut self,
        now_ms: u64,
        mut bytes: &[u8],
        mut handle: impl FnMut(&Header, &[u8]) -> Then,
    ) -> Result<(), Stop> {
        if self.held {
            let mut held = std::mem::take(&mut self.partial);
            held.extend_from_slice(bytes);
            self.held = false;
            return self.feed_whole(now_ms, &held, handle);
        }
        while !self.partial.is_empty() {
            match split(&self.partial) {
                Split::Incomplete(needed) => {
                    let missing = needed - self.partial.len();
                    let (head, rest) = bytes.split_at(missing.min(bytes.len()));
                    self.partial.extend_from_slice(head);
                    bytes = rest;
                    if head.len() < missing {
                        return Ok(());
                    }
                }
                Split::Frame(header, body) => {
                    let then = handle(header, body);
                    self.partial.clear();
                    self.give_back();
                    match then {
                        Then::Go => {}
                        Then::Hold => {
                            self.hold(bytes);
                            return Ok(());
                        }
                        Then::End => return Err(Stop::Ended),
                    }
                }
                Split::Lost(lost) => return Err(Stop::Lost(lost)),
            }
        }
        self.feed_whole(now_ms, bytes, handle)
    }

    /// Bytes that begin with a frame.
    fn feed_whole(
        &mut self,
        now_ms: u64,
        mut bytes: &[u8],
        mut handle: impl FnMut(&Header, &[u8]) -> Then,
    ) -> Result<(), Stop> {
        loop {
            match split(bytes) {
                Split::Incomplete(needed) => {
                    if !bytes.is_empty() {
                        self.partial.reserve_exact(needed.max(HEADER_BYTES));
                        self.partial.extend_from_slice(bytes);
                        self.since_ms = now_ms;
                    }
                    return Ok(());
                }
                Split::Frame(header, body) => {
                    let then = handle(header, body);
                    bytes = &bytes[header.length()..];
                    match then {
                        Then::Go => {}
                        Then::Hold => {
                            self.hold(bytes);
                            return Ok(());
                        }
                        Then::End => return Err(Stop::Ended),
                    }
                }
                Split::Lost(lost) => return Err(Stop::Lost(lost)),
            }
        }
    }

    /// Since when a frame is incomplete.
    pub(crate) fn partial_since_ms(&self) -> Option<u64> {
        (!self.partial.is_empty() && !self.held).then_some(self.since_ms)
    }

    /// Whether frames wait that the handler has not seen.
    pub(crate) const fn is_held(&self) -> bool {
        self.held
    }

    /// Bytes held.
    pub(crate) const fn capacity(&self) -> usize {
        self.partial.capacity()
    }

    fn hold(&mut self, bytes: &[u8]) {
        self.partial.extend_from_slice(bytes);
        self.held = !bytes.is_empty();
    }

    fn give_back(&mut self) {
        if self.partial.capacity() > KEEP_BYTES {
            self.partial = Vec::new();
        }
    }
}

/// Most connections send frames of one size: that much is kept for the next cut.
const KEEP_BYTES: usize = 16 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use trendsrv_proto::{Kind, Ping};

    #[test]
    fn frames_come_out_whole_however_the_stream_is_cut() {
        let mut stream = Vec::new();
        for nonce in 0..50 {
            Ping::new(nonce).encode(&mut stream, Kind::Ping, 0);
        }
        for step in [1, 2, 7, 16, 23, 24, 25, 100, stream.len()] {
            let (mut inbox, mut seen) = (Inbox::default(), 0_u64);
            for chunk in stream.chunks(step) {
                let fed = inbox.feed(0, chunk, |_, body| {
                    assert_eq!(body, seen.to_le_bytes());
                    seen += 1;
                    Then::Go
                });
                assert_eq!(fed, Ok(()));
            }
            assert_eq!((seen, inbox.partial_since_ms()), (50, None));
        }
    }

    #[test]
    fn frames_held_back_come_later_in_their_order() {
        let mut stream = Vec::new();
        for nonce in 0..50 {
            Ping::new(nonce).encode(&mut stream, Kind::Ping, 0);
        }
        for step in [1, 23, 24, 25, 100, stream.len()] {
            let (mut inbox, mut seen) = (Inbox::default(), 0_u64);
            let mut take = |inbox: &mut Inbox, bytes: &[u8]| {
                let fed = inbox.feed(0, bytes, |_, body| {
                    assert_eq!(body, seen.to_le_bytes());
                    seen += 1;
                    if seen % 3 == 0 { Then::Hold } else { Then::Go }
                });
                assert_eq!(fed, Ok(()));
                seen
            };
            for chunk in stream.chunks(step) {
                take(&mut inbox, chunk);
            }
            while inbox.is_held() {
                assert_eq!(inbox.partial_since_ms(), None, "it is not the peer that is slow");
                take(&mut inbox, &[]);
            }
            assert_eq!(take(&mut inbox, &[]), 50, "cut every {step}");
        }
    }

    #[test]
    fn tells_a_lost_frame_and_an_early_end_apart() {
        let mut stream = Vec::new();
        Ping::new(1).encode(&mut stream, Kind::Ping, 0);
        assert_eq!(Inbox::default().feed(0, &stream, |_, _| Then::End), Err(Stop::Ended));
        stream[4] ^= 1;
        let fed = Inbox::default().feed(0, &stream, |_, _| Then::Go);
        assert!(matches!(fed, Err(Stop::Lost(_))), "{fed:?}");
    }
}
