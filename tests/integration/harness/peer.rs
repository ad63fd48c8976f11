//! A connection of the binary protocol that says what a test wants, also what no client would.

use super::{DEADLINE, Server};
use socket2::{Domain, Socket, Type};
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};
use trendsrv_client::Answer;
use trendsrv_client::proto::{
    AckMode, EventRecord, EventsHead, Frame, Header, Hello, NamedEvent, NamedWriter, NeedEntry,
    Query, Rank, RetryClass, Split, TenantId, TextEvent, TextWriter, TopicId, Welcome,
    encode_events, split,
};

/// See the module header.
#[derive(Debug)]
pub(crate) struct Peer {
    stream: TcpStream,
    inbox: Vec<u8>,
    /// Ids the server asked names of, in order, until a test takes them.
    pub(crate) needed: Vec<NeedEntry>,
    tag: u32,
}

/// One frame of the server.
#[derive(Clone, Debug)]
pub(crate) struct Got(Vec<u8>);

/// A REFUSE, owned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) tag: u32,
    pub(crate) seq: u64,
    pub(crate) expected_seq: u64,
    pub(crate) code: trendsrv_client::proto::Refusal,
    pub(crate) class: RetryClass,
    pub(crate) kind: u8,
    pub(crate) retry_after_ms: u32,
    pub(crate) index: Option<u32>,
    pub(crate) message: String,
}

/// One event: tenant, topic, weight, time.
pub(crate) type Event<'a> = (&'a str, &'a str, u32, u64);

impl Peer {
    /// A connection on which nothing was said.
    pub(crate) fn silent(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).unwrap())
    }

    /// As [`Self::greeted`], with little room in the kernel for what it does not read.
    pub(crate) fn with_small_buffer(address: SocketAddr) -> Self {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(8 << 10).unwrap();
        socket.connect(&address.into()).unwrap();
        let mut peer = Self::over(socket.into());
        peer.send(&hello(0, 0, AckMode::Applied));
        peer.welcome();
        peer
    }

    fn over(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        Self { stream, inbox: Vec::new(), needed: Vec::new(), tag: 0 }
    }

    /// An anonymous connection that has been greeted, acknowledged when applied.
    pub(crate) fn greeted(address: SocketAddr) -> Self {
        Self::producer(address, 0, 0).0
    }

    /// A producer's connection that has been greeted.
    pub(crate) fn producer(address: SocketAddr, producer: u64, epoch: u32) -> (Self, Welcome) {
        let mut peer = Self::silent(address);
        peer.send(&hello(producer, epoch, AckMode::Applied));
        let welcome = peer.welcome();
        (peer, welcome)
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// Sends nothing more, and still reads.
    pub(crate) fn half_close(&self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    pub(crate) fn welcome(&mut self) -> Welcome {
        let got = self.next().expect("HELLO_OK");
        match got.frame() {
            Frame::HelloOk(hello_ok) => hello_ok.welcome(),
            other => panic!("{other:?} came before HELLO_OK"),
        }
    }

    /// The next frame; `None` when the server has closed.
    pub(crate) fn next(&mut self) -> Option<Got> {
        loop {
            match split(&self.inbox) {
                Split::Frame(header, _) => {
                    let rest = self.inbox.split_off(header.length());
                    return Some(Got(std::mem::replace(&mut self.inbox, rest)));
                }
                Split::Lost(lost) => panic!("the server lost framing: {lost}"),
                Split::Incomplete(_) => {}
            }
            let mut chunk = [0; 16 << 10];
            match self.stream.read(&mut chunk) {
                Ok(0) => {
                    assert!(self.inbox.is_empty(), "half a frame: {:?}", self.inbox);
                    return None;
                }
                Ok(count) => self.inbox.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => panic!("nothing came: {error}"),
            }
        }
    }

    /// The first thing of interest; what passes by is dropped, except needed names.
    pub(crate) fn until<T>(
        &mut self,
        what: &str,
        mut wanted: impl FnMut(&Frame<'_>, &Header) -> Option<T>,
    ) -> T {
        loop {
            let got = self.next().unwrap_or_else(|| panic!("closed before {what}"));
            let (frame, header) = (got.frame(), got.header());
            if let Frame::Need(need) = &frame {
                self.needed.extend_from_slice(need.entries);
            }
            if let Some(found) = wanted(&frame, header) {
                return found;
            }
        }
    }

    /// Waits until this frame is acknowledged; a refusal on the way fails. Returns the credit.
    pub(crate) fn acked(&mut self, seq: u64) -> u64 {
        self.until(&format!("ACK of {seq}"), |frame, _| match frame {
            Frame::Ack(ack) if ack.seq() >= seq => Some(ack.credit_until()),
            Frame::Refuse(refuse) => panic!("refused before ACK of {seq}: {refuse:?}"),
            _ => None,
        })
    }

    /// The next refusal.
    pub(crate) fn refused(&mut self) -> Refusal {
        self.until("REFUSE", refusal_of)
    }

    /// Asks for a tenant's answer by count.
    pub(crate) fn query(&mut self, tenant: &str, at_ms: Option<u64>) -> Result<Answer, Refusal> {
        self.tag += 1;
        let tag = self.tag;
        let mut frame = Vec::new();
        Query::new(TenantId::of(tenant), at_ms, 10, Rank::Count).encode(&mut frame, tag);
        self.send(&frame);
        self.until("SUMMARY", |frame, header| match frame {
            Frame::Summary(summary) if header.tag() == tag => Some(Ok(Answer::of(summary))),
            Frame::Refuse(_) if header.tag() == tag => refusal_of(frame, header).map(Err),
            _ => None,
        })
    }

    /// Weight of a tenant's window, 0 for one that is not known.
    pub(crate) fn total(&mut self, tenant: &str) -> u64 {
        match self.query(tenant, None) {
            Ok(answer) => answer.head.total,
            Err(why) => {
                let unknown = trendsrv_client::proto::Refusal::UnknownTenant;
                assert_eq!(why.code, unknown, "{}", why.message);
                0
            }
        }
    }

    /// The weight of a tenant's window once it has grown to `least`: what other connections left
    /// behind may still be on its way between shards.
    pub(crate) fn settled_total(&mut self, tenant: &str, least: u64) -> u64 {
        let until = Instant::now() + DEADLINE;
        loop {
            let total = self.total(tenant);
            if total >= least || Instant::now() > until {
                return total;
            }
        }
    }

    /// What the server says next, if it does so within this time.
    pub(crate) fn next_within(&mut self, time: Duration) -> Option<Got> {
        if self.inbox.is_empty() {
            self.stream.set_read_timeout(Some(time)).unwrap();
            let peeked = self.stream.peek(&mut [0]);
            self.stream.set_read_timeout(Some(DEADLINE)).unwrap();
            if peeked.is_err_and(|error| error.kind() == ErrorKind::WouldBlock) {
                return None;
            }
        }
        self.next()
    }

    /// The last frame acknowledged before the connection ended, however it ended.
    pub(crate) fn acked_until_its_end(&mut self) -> u64 {
        let mut last = 0;
        loop {
            while let Split::Frame(header, body) = split(&self.inbox) {
                if let Ok(Frame::Ack(ack)) = Frame::parse(header, body) {
                    last = last.max(ack.seq());
                }
                let rest = self.inbox.split_off(header.length());
                self.inbox = rest;
            }
            let mut chunk = [0; 4 << 10];
            match self.stream.read(&mut chunk) {
                Ok(0) => return last,
                Ok(count) => self.inbox.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return last,
                Err(error) => panic!("it does not end: {error}"),
            }
        }
    }

    /// Waits until the server closes; what it still says is dropped.
    pub(crate) fn closed(&mut self) {
        while self.next().is_some() {}
    }
}

impl Got {
    pub(crate) fn header(&self) -> &Header {
        match split(&self.0) {
            Split::Frame(header, _) => header,
            other => panic!("was whole when it came: {other:?}"),
        }
    }

    pub(crate) fn frame(&self) -> Frame<'_> {
        match split(&self.0) {
            Split::Frame(header, body) => Frame::parse(header, body).expect("the server's frame"),
            other => panic!("was whole when it came: {other:?}"),
        }
    }
}

fn refusal_of(frame: &Frame<'_>, header: &Header) -> Option<Refusal> {
    let Frame::Refuse(refuse) = frame else { return None };
    Some(Refusal {
        tag: header.tag(),
        seq: refuse.seq,
        expected_seq: refuse.expected_seq,
        code: refuse.code,
        class: refuse.class,
        kind: refuse.kind,
        retry_after_ms: refuse.retry_after_ms,
        index: refuse.index,
        message: refuse.message.to_owned(),
    })
}

/// The bytes of a HELLO.
pub(crate) fn hello(producer: u64, epoch: u32, ack: AckMode) -> Vec<u8> {
    let mut frame = Vec::new();
    let hello = Hello { ack, features: 0, producer, epoch, lane: 0, software: "test" };
    hello.encode(&mut frame);
    frame
}

/// The bytes of an EVENTS frame.
pub(crate) fn events_frame(seq: u64, events: &[Event<'_>]) -> Vec<u8> {
    let base_ms = events.first().map_or(0, |event| event.3);
    let records: Vec<EventRecord> = events
        .iter()
        .map(|&(tenant, topic, weight, ts_ms)| {
            let offset_ms = offset(base_ms, ts_ms);
            EventRecord::new(TenantId::of(tenant), TopicId::of(topic), weight, offset_ms)
        })
        .collect();
    let mut frame = Vec::new();
    encode_events(&mut frame, EventsHead::new(seq, base_ms, 1), &records);
    frame
}

/// The bytes of an EVENTS_NAMED frame.
pub(crate) fn named_frame(seq: u64, events: &[Event<'_>]) -> Vec<u8> {
    let base_ms = events.first().map_or(0, |event| event.3);
    let mut frame = Vec::new();
    let mut writer = NamedWriter::new(&mut frame, EventsHead::new(seq, base_ms, 1));
    for &(tenant, topic, weight, ts_ms) in events {
        let offset_ms = offset(base_ms, ts_ms);
        writer.push(NamedEvent { tenant, topic, weight, offset_ms }).unwrap();
    }
    writer.finish();
    frame
}

/// The bytes of a TEXT frame; an event's topic is the text.
pub(crate) fn text_frame(seq: u64, events: &[Event<'_>]) -> Vec<u8> {
    let base_ms = events.first().map_or(0, |event| event.3);
    let mut frame = Vec::new();
    let mut writer = TextWriter::new(&mut frame, EventsHead::new(seq, base_ms, 1));
    for &(tenant, text, weight, ts_ms) in events {
        let offset_ms = offset(base_ms, ts_ms);
        writer.push(TextEvent { tenant, text, weight, offset_ms }).unwrap();
    }
    writer.finish();
    frame
}

fn offset(base_ms: u64, ts_ms: u64) -> i32 {
    i32::try_from(i64::try_from(ts_ms).unwrap() - i64::try_from(base_ms).unwrap()).unwrap()
}

/// A frame of this kind and body with right checksums, whatever the body holds.
pub(crate) fn resealed(kind: u8, flags: u8, tag: u32, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(16 + body.len()).unwrap();
    let mut frame = length.to_le_bytes().to_vec();
    frame.extend([kind, flags, 0, 0]);
    frame.extend(tag.to_le_bytes());
    frame.extend(crc32c::crc32c(body).to_le_bytes());
    let check = crc32c::crc32c_append(crc32c::crc32c(&frame[..6]), &frame[8..16]);
    frame[6..8].copy_from_slice(&check.to_le_bytes()[..2]);
    frame.extend(body);
    frame
}

/// A connection beside those a test abuses: its own events go on counting.
#[derive(Debug)]
pub(crate) struct Witness {
    peer: Peer,
    ts_ms: u64,
    /// Events it sent.
    pub(crate) events: u64,
}

impl Witness {
    pub(crate) fn new(server: &Server, ts_ms: u64) -> Self {
        Self { peer: Peer::greeted(server.tcp), ts_ms, events: 0 }
    }

    /// Sends an event and reads that it counts.
    pub(crate) fn works(&mut self) {
        self.events += 1;
        self.peer.send(&named_frame(self.events, &[("witness", "t", 1, self.ts_ms)]));
        self.peer.acked(self.events);
        assert_eq!(self.peer.total("witness"), self.events);
    }

    /// What another tenant's window holds.
    pub(crate) fn total(&mut self, tenant: &str) -> u64 {
        self.peer.total(tenant)
    }
}
