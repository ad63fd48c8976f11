//! Non-blocking sockets: a session on one, for the probes, and the greeting of the others.

use anyhow::{Context as _, bail};
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::SocketAddr;
use trendsrv_client::{Names, Session, SessionConfig, SessionEvent, State};
use trendsrv_proto::{AckMode, Frame, Hello, Split, Welcome, split};

/// One connection; a probe does not come back after it is lost, as a lost probe is a finding.
#[derive(Debug)]
pub(crate) struct Wire {
    /// What is said.
    pub(crate) session: Session,
    /// What ids are called.
    pub(crate) names: Names,
    stream: TcpStream,
    readable: bool,
    unwritten: Vec<u8>,
}

impl Wire {
    /// Connects and says HELLO.
    pub(crate) fn connect(
        address: SocketAddr,
        config: SessionConfig,
        registry: &Registry,
        token: Token,
    ) -> anyhow::Result<Self> {
        let mut stream = connect(address)?;
        let interest = Interest::READABLE | Interest::WRITABLE;
        registry.register(&mut stream, token, interest)?;
        let mut session = Session::new(config)?;
        session.handle_connected(0);
        let (names, unwritten) = (Names::new(1_024), Vec::new());
        Ok(Self { session, names, stream, readable: false, unwritten })
    }

    pub(crate) fn is_open(&self) -> bool {
        self.session.state() == State::Open
    }

    pub(crate) const fn mark_ready(&mut self) {
        self.readable = true;
    }

    /// Reads what came and writes what is due.
    pub(crate) fn drive(&mut self, now_ms: u64, scratch: &mut [u8]) -> anyhow::Result<()> {
        while self.readable {
            match self.stream.read(scratch) {
                Ok(0) => bail!("the server closed a probe's connection"),
                Ok(bytes) => self.session.handle_bytes(now_ms, &scratch[..bytes], &self.names),
                Err(e) if e.kind() == ErrorKind::WouldBlock => self.readable = false,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e).context("reading a probe's connection"),
            }
        }
        loop {
            if self.unwritten.is_empty() {
                match self.session.poll_transmit(now_ms) {
                    Some(bytes) => self.unwritten.extend_from_slice(bytes),
                    None => return Ok(()),
                }
            }
            match self.stream.write(&self.unwritten) {
                Ok(bytes) => drop(self.unwritten.drain(..bytes)),
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e).context("writing to a probe's connection"),
            }
        }
    }

    /// The next event that is not about the connection itself.
    pub(crate) fn poll_event(&mut self) -> anyhow::Result<Option<SessionEvent>> {
        while let Some(event) = self.session.poll_event() {
            match event {
                SessionEvent::Close(why) | SessionEvent::Closed(why) => {
                    bail!("a probe's connection was lost: {why}")
                }
                SessionEvent::GoingAway(why) => bail!("the server is going away: {why}"),
                SessionEvent::Opened(_) => {}
                event @ (SessionEvent::Refused(_)
                | SessionEvent::Uncertain(_)
                | SessionEvent::ServerForgot
                | SessionEvent::NamesMissing { .. }
                | SessionEvent::Answer(..)
                | SessionEvent::RequestRefused(..)
                | SessionEvent::RequestLost(_)
                | SessionEvent::Update(..)) => return Ok(Some(event)),
            }
        }
        Ok(None)
    }
}

/// A connected, non-blocking socket without Nagle's delay.
pub(crate) fn connect(address: SocketAddr) -> anyhow::Result<TcpStream> {
    let stream = std::net::TcpStream::connect(address)
        .with_context(|| format!("cannot connect to {address}; is trendsrv listening there?"))?;
    stream.set_nodelay(true)?;
    stream.set_nonblocking(true)?;
    Ok(TcpStream::from_std(stream))
}

/// Connects, says HELLO as lane `lane` of `producer` and waits for HELLO_OK. Returns the socket,
/// which does not block, and the bytes that came behind the greeting.
pub(crate) fn greet(
    address: SocketAddr,
    (producer, lane, ack): (u64, u16, AckMode),
) -> anyhow::Result<(TcpStream, Welcome, Vec<u8>)> {
    let mut stream = std::net::TcpStream::connect(address)
        .with_context(|| format!("cannot connect to {address}; is trendsrv listening there?"))?;
    stream.set_nodelay(true)?;
    let mut hello = Vec::new();
    let software = concat!("loadgen ", env!("CARGO_PKG_VERSION"));
    Hello { ack, features: 0, producer, epoch: 0, lane, software }.encode(&mut hello);
    stream.write_all(&hello)?;
    let (mut inbox, mut scratch) = (Vec::new(), [0; 4_096]);
    let (welcome, used) = loop {
        if let Split::Frame(header, body) = split(&inbox) {
            match Frame::parse(header, body)? {
                Frame::HelloOk(ok) => break (ok.welcome(), header.length()),
                Frame::Refuse(r) => bail!("{address}: {}: {}", r.code.name(), r.message),
                other => bail!("{address} answers HELLO with {other:?}"),
            }
        }
        match stream.read(&mut scratch)? {
            0 => bail!("{address} closed the connection instead of HELLO_OK"),
            bytes => inbox.extend_from_slice(&scratch[..bytes]),
        }
    };
    inbox.drain(..used);
    stream.set_nonblocking(true)?;
    Ok((TcpStream::from_std(stream), welcome, inbox))
}

/// Bytes moved; none when the socket would block.
pub(crate) fn take(
    mut act: impl FnMut() -> std::io::Result<usize>,
) -> anyhow::Result<Option<usize>> {
    loop {
        match act() {
            Ok(bytes) => return Ok(Some(bytes)),
            Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(None),
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e).context("the connection broke"),
        }
    }
}
