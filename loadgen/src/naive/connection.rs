//! One connection: a thread that reads a frame, has it applied, answers, and reads on.
//!
//! Owns: the blocking socket and its buffers. What is said is the [`Talk`]'s matter.
//!
//! ```text
//! read -> split -> Talk::handle -> write     one frame after the other, each done before the next
//! ```

use super::Foil;
use super::talk::{Next, Talk};
use crate::limits::{NAIVE_FRAME_MS_MAX, NAIVE_HELLO_MS_MAX, NAIVE_WRITE_MS_MAX};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};
use trendsrv_proto::{Refusal, Split, split};

/// Serves a client until it or its bytes come to an end.
pub(crate) fn serve(stream: TcpStream, foil: &Foil) {
    // What breaks a connection is the client's matter: it sees the end of it.
    let _ = Connection::new(stream, foil).and_then(|mut connection| connection.run());
}

struct Connection<'a> {
    stream: TcpStream,
    talk: Talk<'a>,
    inbox: Vec<u8>,
    out: Vec<u8>,
    /// Since when a frame is incomplete, or HELLO is waited for.
    waits_since: Option<Instant>,
}

impl<'a> Connection<'a> {
    fn new(stream: TcpStream, foil: &'a Foil) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(Duration::from_millis(NAIVE_WRITE_MS_MAX)))?;
        stream.set_read_timeout(Some(Duration::from_millis(NAIVE_HELLO_MS_MAX)))?;
        let (inbox, out, waits_since) = (Vec::new(), Vec::new(), Some(Instant::now()));
        Ok(Self { stream, talk: Talk::new(foil), inbox, out, waits_since })
    }

    fn run(&mut self) -> io::Result<()> {
        let mut scratch = vec![0; READ_BYTES];
        loop {
            match self.stream.read(&mut scratch) {
                Ok(0) => return Ok(()),
                Ok(bytes) => self.inbox.extend_from_slice(&scratch[..bytes]),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(e) => return Err(e),
            }
            if self.frames()? == Next::Close {
                return Ok(());
            }
            if self.is_too_slow() {
                let message = "a frame was not complete in time";
                self.talk.refuse_connection(Refusal::Overloaded, message, &mut self.out);
                return self.write();
            }
        }
    }

    /// Handles the whole frames that have come, and writes the answer of each.
    fn frames(&mut self) -> io::Result<Next> {
        let inbox = std::mem::take(&mut self.inbox);
        let mut rest = inbox.as_slice();
        let next = loop {
            match split(rest) {
                Split::Incomplete(_) => break Next::Read,
                Split::Lost(lost) => {
                    let message = lost.to_string();
                    self.talk.refuse_connection(Refusal::Malformed, &message, &mut self.out);
                    break Next::Close;
                }
                Split::Frame(header, body) => {
                    let was_open = self.talk.is_open();
                    let next = self.talk.handle(header, body, &mut self.out);
                    if !was_open && self.talk.is_open() {
                        let timeout = Duration::from_millis(NAIVE_FRAME_MS_MAX);
                        self.stream.set_read_timeout(Some(timeout))?;
                    }
                    self.waits_since = None;
                    self.write()?;
                    rest = &rest[header.length()..];
                    if next == Next::Close {
                        break next;
                    }
                }
            }
        };
        let used = inbox.len() - rest.len();
        self.inbox = inbox;
        self.inbox.drain(..used);
        if next == Next::Close {
            self.write()?;
        }
        Ok(next)
    }

    /// Whether a frame, or HELLO, has been waited for too long.
    fn is_too_slow(&mut self) -> bool {
        let open = self.talk.is_open();
        if open && self.inbox.is_empty() {
            self.waits_since = None;
            return false;
        }
        let ms_max = if open { NAIVE_FRAME_MS_MAX } else { NAIVE_HELLO_MS_MAX };
        self.waits_since.get_or_insert_with(Instant::now).elapsed() >= Duration::from_millis(ms_max)
    }

    fn write(&mut self) -> io::Result<()> {
        if !self.out.is_empty() {
            self.stream.write_all(&self.out)?;
            self.out.clear();
        }
        Ok(())
    }
}

/// Bytes of one read.
const READ_BYTES: usize = 64 << 10;
