//! The server's side of a conversation (docs/protocol.md), as far as a load needs it.
//!
//! Owns: HELLO, sequence numbers, credit, names on demand, refusals. Never touches a socket.
//!
//! ```text
//! EVENTS -> sequence, credit, time -> a channel for each run of a tenant's events -> latch -> ACK
//! QUERY  -> the tenant's channel -> reply channel -> SUMMARY
//! ```
//!
//! Refused with UNSUPPORTED: acknowledgements of mode `durable`, TEXT and SUBSCRIBE. A number that
//! comes again is acknowledged whatever its frame holds.

use super::Foil;
use super::apply::{self, Record};
use super::marks::{Barred, Mark, SharedMark};
use super::names::NotTaken;
use super::tenant::{Message, now_ms};
use crate::limits::NAIVE_CREDIT_BYTES;
use std::collections::HashSet;
use std::sync::Arc;
use trendsrv_proto::limits::CREDIT_INITIAL;
use trendsrv_proto::{
    Ack, AckMode, Clock, Define, EventsHead, Frame, Header, Hello, Kind, Malformed, NameKind,
    NeedEntry, Ping, Query, Refusal, Refuse, RetryClass, ShardAddress, Span, Subscribe, Welcome,
    encode_need, encode_summary,
};

/// What the connection does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    Read,
    Close,
}

/// Why a frame is refused.
#[derive(Debug)]
pub(crate) struct Why {
    pub(crate) code: Refusal,
    pub(crate) index: Option<u32>,
    pub(crate) message: String,
}

impl Why {
    pub(crate) fn new(code: Refusal, message: impl Into<String>) -> Self {
        Self { code, index: None, message: message.into() }
    }

    pub(crate) fn at(code: Refusal, index: usize, message: impl Into<String>) -> Self {
        Self { code, index: u32::try_from(index).ok(), message: message.into() }
    }
}

impl From<Malformed> for Why {
    fn from(malformed: Malformed) -> Self {
        let (code, index) = (malformed.refusal(), malformed.index());
        Self { code, index, message: malformed.to_string() }
    }
}

/// One conversation.
pub(crate) struct Talk<'a> {
    foil: &'a Foil,
    lane: Option<Lane>,
    /// Topics whose names are known or were asked for here.
    asked: HashSet<u64>,
}

/// What HELLO settled, and how far the client has come.
struct Lane {
    mark: Arc<SharedMark>,
    epoch: u32,
    ack: AckMode,
    /// Whether a frame of events has been taken.
    started: bool,
    acknowledged: u64,
    /// Bytes of event frames.
    received: u64,
    granted: u64,
}

/// The parts of a frame that every answer needs.
#[derive(Clone, Copy)]
struct Asked {
    kind: u8,
    tag: u32,
    bytes: u64,
}

impl<'a> Talk<'a> {
    /// Before HELLO.
    pub(crate) fn new(foil: &'a Foil) -> Self {
        Self { foil, lane: None, asked: HashSet::new() }
    }

    /// Whether HELLO has been answered.
    pub(crate) const fn is_open(&self) -> bool {
        self.lane.is_some()
    }

    /// Refuses all that comes after; framing is lost, or time is over.
    pub(crate) fn refuse_connection(&self, code: Refusal, message: &str, out: &mut Vec<u8>) {
        let expected = self.lane.as_ref().map_or(0, |lane| lane.mark.lock().next);
        refuse(Asked { kind: 0, tag: 0, bytes: 0 }, (0, expected), &Why::new(code, message), out);
    }

    /// Acts on one frame and writes what there is to say.
    pub(crate) fn handle(&mut self, header: &Header, body: &[u8], out: &mut Vec<u8>) -> Next {
        let (kind, tag, bytes) = (header.kind_number(), header.tag(), header.length() as u64);
        let asked = Asked { kind, tag, bytes };
        let frame = Frame::parse(header, body);
        let Some(lane) = &mut self.lane else {
            return self.greet(asked, frame, out);
        };
        let refused = match frame {
            Err(malformed) if Kind::from_u8(kind).is_some_and(Kind::carries_events) => {
                // Behind a wrong checksum no number can be believed.
                let readable = !matches!(malformed, Malformed::Crc { .. });
                let seq = EventsHead::seq_in(body).filter(|_| readable).unwrap_or(0);
                return lane.damaged(asked, seq, &malformed.into(), out);
            }
            Ok(Frame::Events(events)) => {
                let records = events.records.iter().map(|r| Record {
                    tenant: r.tenant(),
                    topic: r.topic(),
                    weight: r.weight(),
                    offset_ms: r.offset_ms(),
                });
                return self.events(
                    asked,
                    (events.head, events.span),
                    &records.collect::<Vec<_>>(),
                    out,
                );
            }
            Ok(Frame::EventsNamed(events)) => {
                match apply::name_records(&events, self.foil.names()) {
                    Ok(records) => {
                        return self.events(asked, (events.head, events.span), &records, out);
                    }
                    Err(why) => return lane.take(asked, events.head.seq(), |_| Err(why), out),
                }
            }
            Ok(Frame::Text(texts)) => {
                let why = "this server runs no programs, so it finds no topics in texts; send \
                           EVENTS or EVENTS_NAMED";
                let why = Why::new(Refusal::Unsupported, why);
                return lane.take(asked, texts.head.seq(), |_| Err(why), out);
            }
            Ok(Frame::Define(define)) => self.define(&define),
            Ok(Frame::Query(query)) => self.query(tag, query, out),
            Ok(Frame::Subscribe(subscribe)) => no_subscriptions(subscribe),
            Ok(Frame::Ping(ping)) => {
                Ping::new(ping.nonce()).encode(out, Kind::Pong, tag);
                Ok(())
            }
            Ok(Frame::Pong(_)) => Ok(()),
            Ok(Frame::Hello(_)) => {
                Err(Why::new(Refusal::Malformed, "a second HELLO; one opens a connection"))
            }
            Ok(
                Frame::HelloOk(_)
                | Frame::Need(_)
                | Frame::Ack(_)
                | Frame::Refuse(_)
                | Frame::Summary(_)
                | Frame::Update(_)
                | Frame::GoAway(_),
            ) => Err(Why::new(Refusal::Malformed, "only servers send this kind of frame")),
            Err(malformed) => Err(malformed.into()),
        };
        if let Err(why) = refused {
            let expected = self.lane.as_ref().map_or(0, |lane| lane.mark.lock().next);
            refuse(asked, (0, expected), &why, out);
        }
        Next::Read
    }

    /// The first frame.
    fn greet(
        &mut self,
        asked: Asked,
        frame: Result<Frame<'_>, Malformed>,
        out: &mut Vec<u8>,
    ) -> Next {
        let opened = match frame {
            Ok(Frame::Hello(hello)) => self.open(&hello, out),
            Ok(_) => Err(Why::new(Refusal::Malformed, "the first frame must be HELLO")),
            Err(malformed) => Err(malformed.into()),
        };
        match opened {
            Ok(()) => Next::Read,
            Err(why) => {
                refuse(asked, (0, 0), &why, out);
                Next::Close
            }
        }
    }

    fn open(&mut self, hello: &Hello<'_>, out: &mut Vec<u8>) -> Result<(), Why> {
        if hello.ack == AckMode::Durable {
            let message = "this server keeps no log: ask for acknowledgements of mode applied";
            return Err(Why::new(Refusal::Unsupported, message));
        }
        let mark = self.foil.marks.join((hello.producer, hello.lane), hello.epoch);
        let mark = mark.map_err(|barred| match barred {
            Barred::Fenced(epoch) => {
                Why::new(Refusal::Fenced, format!("epoch {epoch} of this producer is at work"))
            }
            Barred::Full => Why::new(Refusal::Overloaded, "too many lanes of producers"),
        })?;
        let next_seq = mark.lock().next;
        let endless = hello.ack == AckMode::None;
        let granted = if endless { u64::MAX } else { CREDIT_INITIAL };
        let grid = self.foil.shared.grid;
        let welcome = Welcome {
            ack: hello.ack,
            clock: Clock::Wall,
            generation: 1,
            server_time_ms: now_ms(),
            credit_until: granted,
            next_seq,
            slide_ms: grid.slide_ms,
            panes: grid.panes,
            shard: 0,
        };
        let vnodes = [0; trendsrv_proto::limits::VNODES];
        welcome.encode(out, &vnodes, &[ShardAddress::new(self.foil.address)]);
        self.lane = Some(Lane {
            mark,
            epoch: hello.epoch,
            ack: hello.ack,
            started: false,
            acknowledged: 0,
            received: 0,
            granted,
        });
        Ok(())
    }

    fn events(
        &mut self,
        asked: Asked,
        (head, span): (&EventsHead, Span),
        records: &[Record],
        out: &mut Vec<u8>,
    ) -> Next {
        let (foil, Some(lane)) = (self.foil, &mut self.lane) else { return Next::Close };
        let ack = lane.ack;
        let base_ms = head.base_ms();
        let apply = |_: &Mark| {
            apply::refuse_future(base_ms, span, records)?;
            apply::apply(&foil.tenants, base_ms, records, ack)
        };
        let next = lane.take(asked, head.seq(), apply, out);
        self.need(records, out);
        next
    }

    /// Asks for the names of topics that come here for the first time.
    fn need(&mut self, records: &[Record], out: &mut Vec<u8>) {
        let new = records.iter().map(|record| record.topic.0);
        let new: Vec<_> = new.filter(|id| self.asked.insert(*id)).collect();
        if new.is_empty() {
            return;
        }
        let names = self.foil.names().lock();
        let unknown = new.into_iter().filter(|id| !names.has(*id));
        let entries: Vec<_> = unknown.map(|id| NeedEntry::new(NameKind::Topic, id)).collect();
        drop(names);
        if !entries.is_empty() {
            encode_need(out, &entries);
        }
    }

    /// Keeps the names of topics; those of tenants are shown nowhere.
    fn define(&self, define: &Define<'_>) -> Result<(), Why> {
        let mut names = self.foil.names().lock();
        for (index, (kind, id, name)) in define.iter().enumerate() {
            if kind == NameKind::Topic {
                names.insert(id, name).map_err(|why| not_taken(index, name, &why))?;
            }
        }
        Ok(())
    }

    fn query(&self, tag: u32, query: &Query, out: &mut Vec<u8>) -> Result<(), Why> {
        let (tenant, at_ms) = (query.tenant(), query.at_ms());
        let grid = self.foil.shared.grid;
        if at_ms.is_some_and(|at_ms| grid.pane(at_ms) < grid.pane(now_ms())) {
            let message = "at_ms lies before the current pane: that window is gone";
            return Err(Why::new(Refusal::Malformed, message));
        }
        let unknown = || {
            let message = format!("no events of tenant {:016x} have come", tenant.0);
            Why::new(Refusal::UnknownTenant, message)
        };
        let sender = self.foil.tenants.find(tenant).ok_or_else(unknown)?;
        let (reply, answer) = flume::bounded(1);
        let (k, rank) = (usize::from(query.k()), query.rank());
        let ended = |_| Why::new(Refusal::Overloaded, "the tenant's thread has ended");
        sender.send(Message::Query { at_ms, k, rank, reply }).map_err(|_| ended(()))?;
        let answer = answer.recv().map_err(|_| ended(()))?.ok_or_else(unknown)?;
        let rows = answer.rows.iter().map(super::window::Row::on_wire);
        encode_summary(out, Kind::Summary, tag, &answer.head, ("", ""), rows);
        Ok(())
    }
}

impl Lane {
    /// Takes a frame of events: checks credit and sequence, applies it, acknowledges or refuses.
    fn take(
        &mut self,
        asked: Asked,
        seq: u64,
        apply: impl FnOnce(&Mark) -> Result<(), Why>,
        out: &mut Vec<u8>,
    ) -> Next {
        self.received = self.received.saturating_add(asked.bytes);
        let shared = Arc::clone(&self.mark);
        let mut mark = shared.lock();
        let applied = match () {
            () if mark.epoch != self.epoch => {
                let message = format!("epoch {} of this producer is at work", mark.epoch);
                Err(Why::new(Refusal::Fenced, message))
            }
            () if self.received > self.granted => {
                let message = format!("{} bytes sent, {} granted", self.received, self.granted);
                Err(Why::new(Refusal::CreditExceeded, message))
            }
            () if seq > mark.next => {
                let message = format!("frame {} is expected, this is {seq}", mark.next);
                Err(Why::new(Refusal::SeqGap, message))
            }
            // A duplicate.
            () if seq < mark.next => Ok(()),
            () => apply(&mark).map(|()| mark.next += 1),
        };
        let expected = mark.next;
        drop(mark);
        match applied {
            Ok(()) => {
                self.started = true;
                self.acknowledged = self.acknowledged.max(seq);
            }
            Err(why) => refuse(asked, (seq, expected), &why, out),
        }
        self.renew(out);
        Next::Read
    }

    /// Refuses a frame of events that cannot be read.
    fn damaged(&mut self, asked: Asked, seq: u64, why: &Why, out: &mut Vec<u8>) -> Next {
        self.received = self.received.saturating_add(asked.bytes);
        if seq == 0 && !self.started {
            refuse(asked, (0, 0), why, out);
            return Next::Close;
        }
        refuse(asked, (seq, self.mark.lock().next), why, out);
        self.renew(out);
        Next::Read
    }

    /// Acknowledges what there is, with new credit.
    fn renew(&mut self, out: &mut Vec<u8>) {
        if self.ack != AckMode::None {
            self.granted = self.granted.max(self.received + NAIVE_CREDIT_BYTES);
            Ack::new(self.acknowledged, self.granted).encode(out);
        }
    }
}

fn no_subscriptions(subscribe: &Subscribe) -> Result<(), Why> {
    if !subscribe.on() {
        return Ok(());
    }
    let message = "this server has no subscriptions: ask with QUERY";
    Err(Why::new(Refusal::Unsupported, message))
}

/// The refusal of a name.
pub(crate) fn not_taken(index: usize, name: &str, why: &NotTaken) -> Why {
    match why {
        NotTaken::Collision(old) => {
            let message = format!("{name:?} and {old:?} have the same id");
            Why::at(Refusal::IdCollision, index, message)
        }
        NotTaken::Full => Why::at(Refusal::Overloaded, index, "no room for more names"),
    }
}

fn refuse(asked: Asked, (seq, expected_seq): (u64, u64), why: &Why, out: &mut Vec<u8>) {
    let (code, class) = (why.code, why.code.class());
    let retry_after_ms = if class == RetryClass::Later { RETRY_MS } else { 0 };
    let (kind, index, message) = (asked.kind, why.index, why.message.as_str());
    let refuse = Refuse { seq, expected_seq, code, class, kind, retry_after_ms, index, message };
    refuse.encode(out, asked.tag);
}

/// How long a client waits that meets a full server.
const RETRY_MS: u32 = 100;
