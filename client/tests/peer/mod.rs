//! A peer for tests, built on proto alone: it keeps what it applied and refuses what it is told.
#![allow(dead_code, reason = "each test target uses its part")]

use std::collections::{HashMap, HashSet, VecDeque};
use trendsrv_proto::{
    Ack, AckMode, Clock, EventsHead, Frame, GoAway, Hello, Kind, NameKind, NeedEntry, Ping, Query,
    Refusal, Refuse, RetryClass, ShardAddress, Split, SummaryFlags, SummaryHead, TenantId, TopicId,
    TopicRow, Welcome, encode_need, encode_summary, split,
};

/// One applied event: tenant, topic, weight, time.
pub(crate) type Applied = (u64, u64, u32, u64);

/// What outlives connections.
pub(crate) struct Peer {
    pub(crate) next_seq: HashMap<(u64, u16), u64>,
    pub(crate) epochs: HashMap<(u64, u16), u32>,
    pub(crate) applied: Vec<Applied>,
    pub(crate) names: HashMap<u64, String>,
    pub(crate) asked: HashSet<u64>,
    /// Refusals to give, one for each frame of events in turn; `None` applies the frame.
    pub(crate) plan: VecDeque<Option<(Refusal, u32)>>,
    /// What the peer has yet to learn: a kind it refuses as unknown, as an older server would.
    pub(crate) unknown: Option<Kind>,
    pub(crate) clock: Clock,
    pub(crate) addresses: Vec<ShardAddress>,
    pub(crate) duplicates: u64,
    pub(crate) gaps: u64,
    /// It has given up marks: HELLO_OK tells 0 to those it does not know.
    pub(crate) evicted: bool,
    /// Its marks come from recovery: the first frame of a connection may lie behind them.
    pub(crate) recovered: bool,
}

/// One connection to it.
pub(crate) struct Connection {
    inbox: Vec<u8>,
    key: (u64, u16),
    expected: u64,
    /// The first frame of events has come: it has set `expected`.
    started: bool,
    granted: u64,
    received: u64,
    greeted: bool,
}

pub(crate) const CREDIT: u64 = 16 << 10;

impl Peer {
    pub(crate) fn new() -> Self {
        Self {
            next_seq: HashMap::new(),
            epochs: HashMap::new(),
            applied: Vec::new(),
            names: HashMap::new(),
            asked: HashSet::new(),
            plan: VecDeque::new(),
            unknown: None,
            clock: Clock::Event,
            addresses: vec![ShardAddress::new("127.0.0.1:7".parse().unwrap())],
            duplicates: 0,
            gaps: 0,
            evicted: false,
            recovered: false,
        }
    }

    pub(crate) fn accept(&self) -> Connection {
        let (inbox, key) = (Vec::new(), (0, 0));
        let (expected, granted, received) = (1, CREDIT, 0);
        Connection { inbox, key, expected, started: false, granted, received, greeted: false }
    }

    pub(crate) fn goaway(&self) -> Vec<u8> {
        let mut out = Vec::new();
        GoAway { drain_ms: 1_000, message: "restarting" }.encode(&mut out);
        out
    }

    /// Reads client bytes and gives the answer.
    pub(crate) fn handle(&mut self, connection: &mut Connection, bytes: &[u8]) -> Vec<u8> {
        connection.inbox.extend_from_slice(bytes);
        let inbox = std::mem::take(&mut connection.inbox);
        let (mut at, mut out) = (0, Vec::new());
        loop {
            match split(&inbox[at..]) {
                Split::Incomplete(_) => break,
                Split::Lost(lost) => panic!("the client lost framing: {lost}"),
                Split::Frame(header, body) => {
                    at += header.length();
                    let length = header.length() as u64;
                    let frame = Frame::parse(header, body).expect("the client writes good frames");
                    assert!(connection.greeted || matches!(frame, Frame::Hello(_)));
                    self.frame(connection, &frame, (header.tag(), length), &mut out);
                }
            }
        }
        connection.inbox = inbox[at..].to_vec();
        out
    }

    fn frame(
        &mut self,
        connection: &mut Connection,
        frame: &Frame<'_>,
        (tag, length): (u32, u64),
        out: &mut Vec<u8>,
    ) {
        match frame {
            Frame::Hello(hello) => self.hello(connection, hello, out),
            Frame::Events(events) => {
                let of = |r: &trendsrv_proto::EventRecord| {
                    (r.tenant().0, r.topic().0, r.weight(), r.offset_ms())
                };
                let events_of = events.records.iter().map(of).collect();
                self.events(connection, (Kind::Events, events.head), events_of, length, out);
            }
            Frame::Text(_) if self.unknown == Some(Kind::Text) => {
                let why = (Refusal::Malformed, "unknown frame kind 16", 0);
                refuse(connection, Kind::Text, why, 0, out);
            }
            Frame::Text(texts) => {
                // This peer's program takes the whole text for the topic, a number as itself.
                let events_of = texts.iter().map(|e| {
                    let topic = e.text.parse().unwrap_or_else(|_| TopicId::of(e.text).0);
                    self.names.insert(TenantId::of(e.tenant).0, e.tenant.to_owned());
                    self.names.insert(topic, e.text.to_owned());
                    (TenantId::of(e.tenant).0, topic, e.weight, e.offset_ms)
                });
                let events_of = events_of.collect();
                self.events(connection, (Kind::Text, texts.head), events_of, length, out);
            }
            Frame::Define(define) => {
                self.names.extend(define.iter().map(|(_, id, name)| (id, name.to_owned())));
            }
            Frame::Query(query) => self.query(query, tag, out),
            Frame::Ping(ping) => drop(Ping::new(ping.nonce()).encode(out, Kind::Pong, tag)),
            other => panic!("the client sent {other:?}"),
        }
    }

    fn hello(&mut self, connection: &mut Connection, hello: &Hello<'_>, out: &mut Vec<u8>) {
        connection.greeted = true;
        connection.key = (hello.producer, hello.lane);
        if self.epochs.insert(connection.key, hello.epoch).is_some_and(|old| old < hello.epoch) {
            self.next_seq.insert(connection.key, 1);
        }
        let known = self.next_seq.get(&connection.key).copied();
        connection.expected = match known {
            _ if hello.producer == 0 => 1,
            Some(next) => next,
            None => u64::from(!self.evicted),
        };
        let shards = u16::try_from(self.addresses.len()).unwrap();
        let vnodes: Vec<u16> = (0..4_096).map(|v| v % shards).collect();
        let welcome = Welcome {
            ack: AckMode::Applied,
            clock: self.clock,
            generation: 3,
            server_time_ms: 0,
            credit_until: connection.granted,
            next_seq: connection.expected,
            slide_ms: 1_000,
            panes: 60,
            shard: 0,
        };
        welcome.encode(out, &vnodes, &self.addresses);
    }

    fn events(
        &mut self,
        connection: &mut Connection,
        (kind, head): (Kind, &EventsHead),
        events: Vec<(u64, u64, u32, i32)>,
        length: u64,
        out: &mut Vec<u8>,
    ) {
        let seq = head.seq();
        connection.received += length;
        assert!(connection.received <= connection.granted, "the client overran its credit");
        connection.granted = connection.received + CREDIT;
        let ahead = seq > connection.expected.max(1);
        if !connection.started && (!ahead || self.recovered) {
            (connection.started, connection.expected) = (true, seq);
        }
        if seq > connection.expected {
            self.gaps += 1;
            return refuse(connection, kind, (Refusal::SeqGap, "as planned", 0), seq, out);
        }
        let mark = self.next_seq.get(&connection.key).copied().unwrap_or(1);
        if seq < connection.expected {
            self.duplicates += 1;
        } else if seq < mark && connection.key.0 != 0 {
            self.duplicates += 1;
            connection.expected += 1;
        } else {
            if !events.is_empty()
                && let Some(Some((code, wait_ms))) = self.plan.pop_front()
            {
                let reconnects = code.class() == RetryClass::Reconnect;
                assert!(!reconnects || code == Refusal::ProducerUnknown);
                return refuse(connection, kind, (code, "as planned", wait_ms), seq, out);
            }
            for (tenant, topic, weight, offset_ms) in &events {
                let ts_ms = head.base_ms().checked_add_signed((*offset_ms).into()).unwrap();
                self.applied.push((*tenant, *topic, *weight, ts_ms));
            }
            connection.expected += 1;
            self.next_seq.insert(connection.key, connection.expected);
            self.need(&events, out);
        }
        Ack::new(connection.expected - 1, connection.granted).encode(out);
    }

    fn need(&mut self, events: &[(u64, u64, u32, i32)], out: &mut Vec<u8>) {
        let mut entries = Vec::new();
        for (tenant, topic, ..) in events {
            for (kind, id) in [(NameKind::Tenant, *tenant), (NameKind::Topic, *topic)] {
                if !self.names.contains_key(&id) && self.asked.insert(id) {
                    entries.push(NeedEntry::new(kind, id));
                }
            }
        }
        if !entries.is_empty() {
            encode_need(out, &entries);
        }
    }

    /// Counts everything of the tenant, whatever its time.
    fn query(&self, query: &Query, tag: u32, out: &mut Vec<u8>) {
        let mut weights: HashMap<u64, u64> = HashMap::new();
        let mut events = 0;
        for (_, topic, weight, _) in self.applied.iter().filter(|e| e.0 == query.tenant().0) {
            *weights.entry(*topic).or_default() += u64::from(*weight);
            events += 1;
        }
        let flags =
            SummaryFlags { known: events > 0, exact: true, distinct_exact: true, certified: true };
        let head = SummaryHead {
            tenant: query.tenant(),
            as_of_ms: query.at_ms().unwrap_or(0),
            total: weights.values().sum(),
            events,
            distinct: weights.len() as u64,
            flags,
            ..SummaryHead::default()
        };
        let rows = weights.iter().map(|(topic, weight)| TopicRow {
            topic: trendsrv_proto::TopicId(*topic),
            count: *weight,
            low: *weight,
            high: *weight,
            name: self.names.get(topic).map_or("", String::as_str),
            ..TopicRow::default()
        });
        encode_summary(out, Kind::Summary, tag, &head, ("", ""), rows);
    }
}

/// Refuses a frame and renews the credit it cost.
fn refuse(
    connection: &Connection,
    kind: Kind,
    (code, message, retry_after_ms): (Refusal, &str, u32),
    seq: u64,
    out: &mut Vec<u8>,
) {
    let (kind, class, expected_seq) = (kind as u8, code.class(), connection.expected);
    let index = None;
    Refuse { seq, expected_seq, code, class, kind, retry_after_ms, index, message }.encode(out, 0);
    Ack::new(connection.expected - 1, connection.granted).encode(out);
}
