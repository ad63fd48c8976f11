//! One non-blocking socket with what it could not take yet, and the first look at a server.

use super::ClientError;
use crate::names::Names;
use crate::session::{Session, SessionConfig, SessionEvent};
use crate::topology::Topology;
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use std::io::{self, Read as _, Write as _};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// The socket of one lane.
#[derive(Debug)]
pub(super) struct Lane {
    index: usize,
    stream: Option<TcpStream>,
    /// The socket may have bytes.
    readable: bool,
    unwritten: Vec<u8>,
    failures: u32,
    pushed: usize,
}

impl Lane {
    pub(super) const fn new(index: usize) -> Self {
        let unwritten = Vec::new();
        Self { index, stream: None, readable: false, unwritten, failures: 0, pushed: 0 }
    }

    /// Connects; blocks for at most `timeout`.
    pub(super) fn connect(
        &mut self,
        address: SocketAddr,
        registry: &Registry,
        timeout: Duration,
    ) -> io::Result<()> {
        self.close();
        self.failures += 1;
        let stream = std::net::TcpStream::connect_timeout(&address, timeout)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let mut stream = TcpStream::from_std(stream);
        let interest = Interest::READABLE | Interest::WRITABLE;
        registry.register(&mut stream, Token(self.index), interest)?;
        self.stream = Some(stream);
        Ok(())
    }

    /// The session is open: the address was right.
    pub(super) const fn opened(&mut self) {
        self.failures = 0;
    }

    /// The last attempt did not get as far as HELLO_OK.
    pub(super) const fn has_failed(&self) -> bool {
        self.failures > 0
    }

    pub(super) const fn mark_ready(&mut self) {
        self.readable = true;
    }

    /// Counts an event; true once per full batch, when it is time to write.
    pub(super) const fn count_push(&mut self, batch_events: usize) -> bool {
        self.pushed += 1;
        if self.pushed < batch_events {
            return false;
        }
        self.pushed = 0;
        true
    }

    pub(super) fn close(&mut self) {
        // Dropping the stream closes it, which takes it out of the poll, too.
        self.stream = None;
        self.unwritten.clear();
        self.readable = false;
    }

    /// Reads some bytes; `None` when there are none now, an error when there will be none.
    pub(super) fn read(&mut self, scratch: &mut [u8]) -> Option<io::Result<usize>> {
        if !self.readable {
            return None;
        }
        loop {
            return match self.stream.as_mut()?.read(scratch) {
                Ok(0) => Some(Err(io::Error::from(io::ErrorKind::UnexpectedEof))),
                Ok(bytes) => Some(Ok(bytes)),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    self.readable = false;
                    None
                }
                Err(e) => Some(Err(e)),
            };
        }
    }

    /// Writes what is left over; true when nothing is, so that more may come.
    pub(super) fn write_pending(&mut self) -> bool {
        let Some(stream) = self.stream.as_mut() else { return false };
        while !self.unwritten.is_empty() {
            match stream.write(&self.unwritten) {
                Ok(bytes) => drop(self.unwritten.drain(..bytes)),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return false,
                // A broken socket shows itself when it is read.
                Err(_) => {
                    self.readable = true;
                    return false;
                }
            }
        }
        true
    }

    /// Takes bytes whose turn it is.
    pub(super) fn write(&mut self, bytes: &[u8]) {
        self.unwritten.extend_from_slice(bytes);
    }
}

/// Asks the common address for the map, anonymously, and leaves.
pub(super) fn probe(
    address: SocketAddr,
    config: &SessionConfig,
    timeout: Duration,
) -> Result<Topology, ClientError> {
    let connect = |cause| ClientError::Connect { address, cause };
    let greeting = |why: String| ClientError::Greeting { address, why };
    let mut stream = std::net::TcpStream::connect_timeout(&address, timeout).map_err(connect)?;
    stream.set_read_timeout(Some(timeout)).map_err(connect)?;
    let mut session = Session::new(SessionConfig { producer: 0, ..config.clone() })?;
    session.handle_connected(0);
    let hello = session.poll_transmit(0).unwrap_or_default();
    stream.write_all(hello).map_err(|e| greeting(e.to_string()))?;
    let names = Names::new(0);
    let (mut scratch, started) = (vec![0; 16 << 10], Instant::now());
    loop {
        match session.poll_event() {
            Some(SessionEvent::Opened(topology)) => return Ok(topology.as_ref().clone()),
            Some(SessionEvent::Close(why)) => return Err(greeting(why)),
            Some(SessionEvent::Closed(why)) => return Err(ClientError::Closed { address, why }),
            Some(_) => continue,
            None => {}
        }
        if started.elapsed() >= timeout {
            return Err(greeting("no HELLO_OK in time".to_owned()));
        }
        match stream.read(&mut scratch) {
            Ok(0) => return Err(greeting("it closed the connection".to_owned())),
            Ok(bytes) => session.handle_bytes(0, &scratch[..bytes], &names),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                return Err(greeting(format!("silence for {} s", timeout.as_secs())));
            }
            Err(e) => return Err(greeting(e.to_string())),
        }
    }
}
