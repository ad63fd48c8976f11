//! A non-blocking connection to redis-server: commands out, whole replies back in their order.
//!
//! ```text
//! push ─▶ out ─▶ socket ─▶ inbox | reply | reply | part of a rep |
//!                                 └ next_reply, one at a time
//! ```
//!
//! Owns: where a reply ends. What is in one is for the redis library, or for who asked.

use crate::limits::REPLY_BYTES_MAX;
use crate::wire::connect;
use anyhow::{Context as _, bail};
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::SocketAddr;

/// One connection.
#[derive(Debug)]
pub(super) struct Wire {
    stream: TcpStream,
    out: Vec<u8>,
    written: usize,
    inbox: Vec<u8>,
    taken: usize,
    readable: bool,
    writable: bool,
}

impl Wire {
    pub(super) fn connect(
        address: SocketAddr,
        registry: &Registry,
        token: Token,
    ) -> anyhow::Result<Self> {
        let mut stream = connect(address)?;
        registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
        Ok(Self {
            stream,
            out: Vec::new(),
            written: 0,
            inbox: Vec::new(),
            taken: 0,
            readable: true,
            writable: true,
        })
    }

    /// Puts commands behind those that wait to be written.
    pub(super) fn push(&mut self, commands: &[u8]) {
        self.out.extend_from_slice(commands);
    }

    /// What is pushed next goes here.
    pub(super) const fn out(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    pub(super) const fn mark_ready(&mut self, readable: bool, writable: bool) {
        self.readable |= readable;
        self.writable |= writable;
    }

    /// Whether more commands would be written at once.
    pub(super) const fn is_writable(&self) -> bool {
        self.writable
    }

    /// Writes what the socket takes.
    pub(super) fn pump(&mut self) -> anyhow::Result<()> {
        while self.writable && self.written < self.out.len() {
            match self.stream.write(&self.out[self.written..]) {
                Ok(bytes) => self.written += bytes,
                Err(e) if e.kind() == ErrorKind::WouldBlock => self.writable = false,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e).context("writing to redis-server"),
            }
        }
        if self.written == self.out.len() {
            self.out.clear();
            self.written = 0;
        }
        Ok(())
    }

    /// Reads what has come.
    pub(super) fn fill(&mut self, scratch: &mut [u8]) -> anyhow::Result<()> {
        if self.taken > 0 {
            self.inbox.drain(..self.taken);
            self.taken = 0;
        }
        while self.readable {
            match self.stream.read(scratch) {
                Ok(0) => bail!("redis-server closed a connection"),
                Ok(bytes) => self.inbox.extend_from_slice(&scratch[..bytes]),
                Err(e) if e.kind() == ErrorKind::WouldBlock => self.readable = false,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e).context("reading from redis-server"),
            }
        }
        Ok(())
    }

    /// The next whole reply.
    ///
    /// # Errors
    /// What redis-server says went wrong, or that this is no reply.
    pub(super) fn next_reply(&mut self) -> anyhow::Result<Option<&[u8]>> {
        let Some(bytes) = reply_bytes(&self.inbox[self.taken..])? else { return Ok(None) };
        let reply = &self.inbox[self.taken..self.taken + bytes];
        self.taken += bytes;
        if let Some(error) = reply.strip_prefix(b"-") {
            bail!("redis-server refuses: {}", String::from_utf8_lossy(error).trim_end());
        }
        Ok(Some(reply))
    }
}

/// Bytes of the reply at the beginning, once it is whole.
pub(super) fn reply_bytes(bytes: &[u8]) -> anyhow::Result<Option<usize>> {
    let (mut at, mut values) = (0, 1_u64);
    while values > 0 {
        let Some(rest) = bytes.get(at..) else { return Ok(None) };
        let Some(end) = rest.windows(2).position(|two| two == b"\r\n") else {
            if rest.len() as u64 > REPLY_BYTES_MAX {
                bail!("redis-server sends a line of more than {REPLY_BYTES_MAX} bytes");
            }
            return Ok(None);
        };
        let line = &rest[..end];
        at += end + 2;
        values -= 1;
        match line.first() {
            Some(b'+' | b'-' | b':') => {}
            // A length of -1 is a nil, without bytes or values behind it.
            Some(b'$') => at += length(line)?.map_or(0, |length| length + 2),
            Some(b'*') => values += length(line)?.unwrap_or(0) as u64,
            _ => bail!("redis-server sends {:?}, which begins no reply", text(line)),
        }
    }
    Ok((at <= bytes.len()).then_some(at))
}

fn length(line: &[u8]) -> anyhow::Result<Option<usize>> {
    let digits = std::str::from_utf8(&line[1..]).unwrap_or_default();
    match digits.parse::<i64>() {
        Ok(-1) => Ok(None),
        Ok(length @ 0..) if length.cast_unsigned() <= REPLY_BYTES_MAX => {
            Ok(Some(usize::try_from(length)?))
        }
        _ => bail!("redis-server sends the length {:?}", text(line)),
    }
}

fn text(line: &[u8]) -> String {
    String::from_utf8_lossy(&line[..line.len().min(80)]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Some replies one behind the other, and where each ends.
    const REPLIES: [&[u8]; 8] = [
        b"+OK\r\n",
        b":64\r\n",
        b"-ERR no\r\n",
        b"$3\r\n1\r\n\r\n",
        b"$-1\r\n",
        b"*0\r\n",
        b"*-1\r\n",
        b"*3\r\n$1\r\na\r\n*2\r\n:1\r\n$-1\r\n+x\r\n",
    ];

    #[test]
    fn a_reply_ends_where_it_ends_whatever_follows_and_never_before() {
        for reply in REPLIES {
            for cut in 0..reply.len() {
                assert_eq!(reply_bytes(&reply[..cut]).unwrap(), None, "{cut} of {reply:?}");
            }
            let mut more = reply.to_vec();
            more.extend_from_slice(b"*5\r\n$9");
            assert_eq!(reply_bytes(reply).unwrap(), Some(reply.len()));
            assert_eq!(reply_bytes(&more).unwrap(), Some(reply.len()));
        }
    }

    #[test]
    fn what_is_no_reply_is_told() {
        for bad in [&b"hello\r\n"[..], b"\r\n", b"$x\r\n", b"*-2\r\n", b"$99999999999\r\n"] {
            assert!(reply_bytes(bad).is_err(), "{bad:?}");
        }
    }
}
