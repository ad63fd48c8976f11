//! A frame that owns its fields: what tests compare, and what both sides of a round trip share.
//!
//! ```text
//! bytes --split, parse--> Frame --Mirror::of--> Mirror --encode--> bytes
//! ```
//!
//! Also the checks that fuzz targets and plain tests run on any bytes at all.
#![allow(dead_code, reason = "each test target that includes this module uses a part of it")]

use trendsrv_proto::{
    Ack, EventRecord, EventsHead, Frame, GoAway, Hello, Kind, NameKind, NamedEvent, NamedWriter,
    NeedEntry, Ping, Query, Refuse, ShardAddress, Split, Subscribe, SummaryHead, TextEvent,
    TextWriter, TopicRow, Welcome, encode_define, encode_events, encode_need, encode_summary,
    split,
};
use trendsrv_proto::{AckMode, Malformed, Refusal, RetryClass, Trend, limits};

/// One event with its own names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) tenant: String,
    pub(crate) topic: String,
    pub(crate) weight: u32,
    pub(crate) offset_ms: i32,
}

/// One text event that owns its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) tenant: String,
    pub(crate) text: String,
    pub(crate) weight: u32,
    pub(crate) offset_ms: i32,
}

/// One topic of an answer with its own texts; `row` has them empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Topic {
    pub(crate) row: TopicRow<'static>,
    pub(crate) name: String,
    pub(crate) sample: String,
}

/// Sequence, base time and generation of event frames.
pub(crate) type Head = (u64, u64, u32);

/// A frame that owns its fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Mirror {
    Hello { ack: AckMode, features: u64, producer: u64, epoch: u32, lane: u16, software: String },
    HelloOk { welcome: Welcome, vnodes: Vec<u16>, addresses: Vec<ShardAddress> },
    Events { head: Head, records: Vec<EventRecord> },
    EventsNamed { head: Head, events: Vec<Named> },
    Define { names: Vec<(NameKind, u64, String)> },
    Need { entries: Vec<NeedEntry> },
    Ack(Ack),
    Refuse(Refused),
    Query(Query),
    Summary { update: bool, head: SummaryHead, tldr: String, program: String, topics: Vec<Topic> },
    Subscribe(Subscribe),
    Ping(Ping),
    Pong(Ping),
    GoAway { drain_ms: u32, message: String },
    Text { head: Head, texts: Vec<Said> },
}

/// The fields of REFUSE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) seq: u64,
    pub(crate) expected_seq: u64,
    pub(crate) code: Refusal,
    pub(crate) class: RetryClass,
    pub(crate) kind: u8,
    pub(crate) retry_after_ms: u32,
    pub(crate) index: Option<u32>,
    pub(crate) message: String,
}

impl Mirror {
    /// Copies the fields of a frame.
    pub(crate) fn of(frame: &Frame<'_>) -> Self {
        let head = |h: &EventsHead| (h.seq(), h.base_ms(), h.generation());
        match frame {
            Frame::Hello(h) => Self::Hello {
                ack: h.ack,
                features: h.features,
                producer: h.producer,
                epoch: h.epoch,
                lane: h.lane,
                software: h.software.to_owned(),
            },
            Frame::HelloOk(h) => Self::HelloOk {
                welcome: h.welcome(),
                vnodes: h.vnodes.iter().collect(),
                addresses: h.addresses.to_vec(),
            },
            Frame::Events(e) => Self::Events { head: head(e.head), records: e.records.to_vec() },
            Frame::EventsNamed(e) => {
                Self::EventsNamed { head: head(e.head), events: e.iter().map(named).collect() }
            }
            Frame::Define(d) => Self::Define {
                names: d.iter().map(|(kind, id, name)| (kind, id, name.to_owned())).collect(),
            },
            Frame::Need(n) => Self::Need { entries: n.entries.to_vec() },
            Frame::Ack(ack) => Self::Ack(**ack),
            Frame::Refuse(r) => Self::Refuse(refused(r)),
            Frame::Query(query) => Self::Query(**query),
            Frame::Summary(s) => summary(false, s),
            Frame::Update(s) => summary(true, s),
            Frame::Subscribe(subscribe) => Self::Subscribe(**subscribe),
            Frame::Ping(ping) => Self::Ping(**ping),
            Frame::Pong(ping) => Self::Pong(**ping),
            Frame::GoAway(g) => {
                Self::GoAway { drain_ms: g.drain_ms, message: g.message.to_owned() }
            }
            Frame::Text(t) => {
                Self::Text { head: head(t.head), texts: t.iter().map(said).collect() }
            }
        }
    }

    /// Writes the frame; kinds without a tag of their own write 0.
    pub(crate) fn encode(&self, tag: u32) -> Vec<u8> {
        let mut out = Vec::new();
        let length = self.encode_into(&mut out, tag);
        assert!(length.is_none_or(|n| n == out.len()), "{length:?} of {}", out.len());
        out
    }

    /// `None`: the writer of this kind tells something else than the length.
    fn encode_into(&self, out: &mut Vec<u8>, tag: u32) -> Option<usize> {
        Some(match self {
            Self::Hello { ack, features, producer, epoch, lane, software } => Hello {
                ack: *ack,
                features: *features,
                producer: *producer,
                epoch: *epoch,
                lane: *lane,
                software,
            }
            .encode(out),
            Self::HelloOk { welcome, vnodes, addresses } => welcome.encode(out, vnodes, addresses),
            Self::Events { head: (seq, base_ms, generation), records } => {
                encode_events(out, EventsHead::new(*seq, *base_ms, *generation), records)
            }
            Self::EventsNamed { head: (seq, base_ms, generation), events } => {
                let mut writer =
                    NamedWriter::new(out, EventsHead::new(*seq, *base_ms, *generation));
                for Named { tenant, topic, weight, offset_ms } in events {
                    let (weight, offset_ms) = (*weight, *offset_ms);
                    let event = NamedEvent { tenant, topic, weight, offset_ms };
                    writer.push(event).expect("names were checked");
                }
                writer.finish()
            }
            Self::Define { names } => {
                let count = encode_define(out, names.iter().map(|(k, _, n)| (*k, n.as_str())));
                assert_eq!(count as usize, names.len(), "every name fits");
                return None;
            }
            Self::Need { entries } => encode_need(out, entries),
            Self::Ack(ack) => ack.encode(out),
            Self::Refuse(r) => Refuse {
                seq: r.seq,
                expected_seq: r.expected_seq,
                code: r.code,
                class: r.class,
                kind: r.kind,
                retry_after_ms: r.retry_after_ms,
                index: r.index,
                message: &r.message,
            }
            .encode(out, tag),
            Self::Query(query) => query.encode(out, tag),
            Self::Summary { update, head, tldr, program, topics } => {
                let kind = if *update { Kind::Update } else { Kind::Summary };
                let rows =
                    topics.iter().map(|t| TopicRow { name: &t.name, sample: &t.sample, ..t.row });
                encode_summary(out, kind, tag, head, (tldr, program), rows)
            }
            Self::Subscribe(subscribe) => subscribe.encode(out, tag),
            Self::Ping(ping) => ping.encode(out, Kind::Ping, tag),
            Self::Pong(ping) => ping.encode(out, Kind::Pong, tag),
            Self::GoAway { drain_ms, message } => {
                GoAway { drain_ms: *drain_ms, message }.encode(out)
            }
            Self::Text { head, texts } => encode_texts(out, *head, texts),
        })
    }

    /// Kinds a client sends, and NEED, have no field that a reader passes over: what was read is
    /// what was there. HELLO_OK, REFUSE and the answers may hold more than this version reads.
    fn is_read_whole(&self) -> bool {
        match self {
            Self::HelloOk { .. } | Self::Refuse(_) | Self::Summary { .. } | Self::GoAway { .. } => {
                false
            }
            Self::Hello { .. }
            | Self::Events { .. }
            | Self::EventsNamed { .. }
            | Self::Define { .. }
            | Self::Need { .. }
            | Self::Ack(_)
            | Self::Query(_)
            | Self::Subscribe(_)
            | Self::Ping(_)
            | Self::Pong(_)
            | Self::Text { .. } => true,
        }
    }
}

fn named(event: NamedEvent<'_>) -> Named {
    let (weight, offset_ms) = (event.weight, event.offset_ms);
    Named { tenant: event.tenant.to_owned(), topic: event.topic.to_owned(), weight, offset_ms }
}

fn said(event: TextEvent<'_>) -> Said {
    let (weight, offset_ms) = (event.weight, event.offset_ms);
    Said { tenant: event.tenant.to_owned(), text: event.text.to_owned(), weight, offset_ms }
}

fn encode_texts(out: &mut Vec<u8>, (seq, base_ms, generation): Head, texts: &[Said]) -> usize {
    let mut writer = TextWriter::new(out, EventsHead::new(seq, base_ms, generation));
    for Said { tenant, text, weight, offset_ms } in texts {
        let (weight, offset_ms) = (*weight, *offset_ms);
        writer.push(TextEvent { tenant, text, weight, offset_ms }).expect("texts were checked");
    }
    writer.finish()
}

fn refused(r: &Refuse<'_>) -> Refused {
    Refused {
        seq: r.seq,
        expected_seq: r.expected_seq,
        code: r.code,
        class: r.class,
        kind: r.kind,
        retry_after_ms: r.retry_after_ms,
        index: r.index,
        message: r.message.to_owned(),
    }
}

fn summary(update: bool, s: &trendsrv_proto::Summary<'_>) -> Mirror {
    let topic = |t: TopicRow<'_>| Topic {
        row: TopicRow { name: "", sample: "", ..t },
        name: t.name.to_owned(),
        sample: t.sample.to_owned(),
    };
    Mirror::Summary {
        update,
        head: s.head,
        tldr: s.tldr.to_owned(),
        program: s.program.to_owned(),
        topics: s.topics().map(topic).collect(),
    }
}

/// Reads the one frame that `bytes` are.
///
/// # Panics
/// When they are not exactly one frame.
pub(crate) fn read(bytes: &[u8]) -> Result<(u32, Mirror), Malformed> {
    let Split::Frame(header, body) = split(bytes) else { panic!("not one frame: {bytes:02x?}") };
    assert_eq!(header.length(), bytes.len());
    Frame::parse(header, body).map(|frame| (header.tag(), Mirror::of(&frame)))
}

/// What must hold for any bytes at all: they are read as a stream, then as the body of a frame
/// of each kind with right checksums.
///
/// # Panics
/// When something does not hold.
pub(crate) fn check_bytes(bytes: &[u8]) {
    check_stream(bytes);
    if let Some((&kind, rest)) = bytes.split_first() {
        check_stream(&sealed(kind, rest));
    }
    // A whole frame of the corpus, changed somewhere: its checks are put right again.
    if let (Some(&kind), Some(body)) = (bytes.get(4), bytes.get(limits::HEADER_BYTES..)) {
        check_stream(&sealed(kind, body));
    }
}

fn check_stream(mut rest: &[u8]) {
    loop {
        match split(rest) {
            Split::Incomplete(needed) => {
                assert!(needed > rest.len(), "{needed} of {} bytes are there", rest.len());
                assert!(needed <= limits::FRAME_BYTES_MAX);
                return;
            }
            Split::Lost(lost) => {
                assert!(lost.to_string().contains("framing is lost"));
                return;
            }
            Split::Frame(header, body) => {
                check_frame(header, body);
                rest = &rest[header.length()..];
            }
        }
    }
}

fn check_frame(header: &trendsrv_proto::Header, body: &[u8]) {
    assert_eq!(header.length(), limits::HEADER_BYTES + body.len());
    let frame = match Frame::parse(header, body) {
        Ok(frame) => frame,
        Err(malformed) => {
            assert!(malformed.to_string().len() <= limits::MESSAGE_BYTES_MAX);
            assert!(malformed.index().is_none_or(|index| (index as usize) < 4_096));
            let refusal = malformed.refusal();
            assert!(matches!(
                refusal,
                Refusal::Malformed | Refusal::TooLarge | Refusal::Unsupported
            ));
            return;
        }
    };
    let mirror = Mirror::of(&frame);
    check_rules(&frame);
    let again = mirror.encode(header.tag());
    let (_, copy) = read(&again).expect("what was written can be read");
    assert_eq!(copy, mirror);
    if mirror.is_read_whole() {
        assert_eq!(&again[limits::HEADER_BYTES..], body, "{mirror:?}");
    }
}

/// The rules that readers of a frame lean on without looking again.
fn check_rules(frame: &Frame<'_>) {
    match frame {
        Frame::Events(events) => {
            assert_eq!(events.records.len(), events.head.count() as usize);
            let times = events.records.iter().map(|r| (r.weight(), r.offset_ms()));
            check_times(events.head.base_ms(), events.span, times);
        }
        Frame::EventsNamed(events) => {
            assert_eq!(events.iter().count(), events.head.count() as usize);
            let times = events.iter().map(|e| (e.weight, e.offset_ms));
            check_times(events.head.base_ms(), events.span, times);
        }
        Frame::Text(texts) => {
            assert_eq!(texts.iter().count(), texts.head.count() as usize);
            let times = texts.iter().map(|e| (e.weight, e.offset_ms));
            check_times(texts.head.base_ms(), texts.span, times);
            assert!(texts.iter().all(|e| trendsrv_proto::check_text(e.text.as_bytes()).is_ok()));
        }
        Frame::Define(define) => assert_eq!(define.iter().count(), define.count() as usize),
        Frame::HelloOk(ok) => {
            let shards = ok.addresses.len();
            assert!(ok.vnodes.iter().all(|shard| usize::from(shard) < shards));
            assert!(usize::from(ok.welcome().shard) < shards);
        }
        Frame::Query(query) => assert!((1..=limits::TOP_K_MAX).contains(&query.k().into())),
        Frame::Subscribe(ask) => assert!((1..=limits::TOP_K_MAX).contains(&ask.k().into())),
        Frame::Summary(s) | Frame::Update(s) => {
            assert!(s.topics().all(|t| Trend::from_u8(t.trend as u8) == Some(t.trend)));
        }
        Frame::Hello(_)
        | Frame::Need(_)
        | Frame::Ack(_)
        | Frame::Refuse(_)
        | Frame::Ping(_)
        | Frame::Pong(_)
        | Frame::GoAway(_) => {}
    }
}

fn check_times(base_ms: u64, span: trendsrv_proto::Span, events: impl Iterator<Item = (u32, i32)>) {
    assert!(span.min_ms <= span.max_ms && span.max_ms <= limits::TIME_MS_MAX);
    for (weight, offset_ms) in events {
        assert!((1..=limits::WEIGHT_MAX).contains(&weight));
        let time_ms = base_ms.checked_add_signed(offset_ms.into()).expect("times are checked");
        assert!((span.min_ms..=span.max_ms).contains(&time_ms));
    }
}

/// A frame of any kind around any body, with right length and checksums.
pub(crate) fn sealed(kind: u8, body: &[u8]) -> Vec<u8> {
    let body = &body[..body.len().min(limits::FRAME_BYTES_MAX - limits::HEADER_BYTES)];
    let length = u32::try_from(limits::HEADER_BYTES + body.len()).expect("cut above");
    let mut frame = Vec::with_capacity(limits::HEADER_BYTES + body.len());
    frame.extend_from_slice(&length.to_le_bytes());
    frame.extend_from_slice(&[kind, 0, 0, 0, 0, 0, 0, 0]);
    frame.extend_from_slice(&crc32c::crc32c(body).to_le_bytes());
    let check = crc32c::crc32c_append(crc32c::crc32c(&frame[..6]), &frame[8..]).to_le_bytes();
    frame[6..8].copy_from_slice(&check[..2]);
    frame.extend_from_slice(body);
    frame
}
