//! Frames: what a server does with each that comes, and what a client does for each it sends.

use super::measured;
use std::hint::black_box;
use trendsrv_proto::{
    EventRecord, EventsHead, Frame, Kind, NameKind, NamedEvent, NamedWriter, Query, Rank, Split,
    SummaryFlags, SummaryHead, TenantId, TopicId, TopicRow, Trend, encode_define, encode_events,
    encode_summary, fmix64, split,
};

/// Header, checksum, check of every record; then the records are read once.
pub(super) fn events_parse() {
    let (bytes, weight) = events_frame();
    let read = measured(|| match frame(black_box(&bytes)) {
        Frame::Events(events) => events.records.iter().map(weight_of).sum::<u64>(),
        other => panic!("not EVENTS: {other:?}"),
    });
    assert_eq!(read, weight);
}

/// The same frame, written.
pub(super) fn events_encode() {
    let records = records();
    let mut out = Vec::with_capacity(1 << 16);
    let len = measured(|| encode_events(&mut out, head(), black_box(&records)));
    assert_eq!((len, out), (events_frame().0.len(), events_frame().0));
}

/// Events that bring their names.
pub(super) fn named_parse() {
    let mut bytes = Vec::new();
    let mut writer = NamedWriter::new(&mut bytes, head());
    for i in 0..RECORDS {
        let (tenant, topic) = (tenant_name(i), topic_name(i));
        let event =
            NamedEvent { tenant: &tenant, topic: &topic, weight: weight(i), offset_ms: offset(i) };
        assert!(writer.push(event).is_ok(), "names of letters");
    }
    writer.finish();
    let read = measured(|| match frame(black_box(&bytes)) {
        Frame::EventsNamed(events) => {
            events.iter().map(|event| u64::from(event.weight)).sum::<u64>()
        }
        other => panic!("not EVENTS_NAMED: {other:?}"),
    });
    assert_eq!(read, (0..RECORDS).map(|i| u64::from(weight(i))).sum::<u64>());
}

/// Names of ids: each is checked and hashed.
pub(super) fn define_parse() {
    let names: Vec<String> = (0..RECORDS).map(topic_name).collect();
    let mut bytes = Vec::new();
    let count = encode_define(&mut bytes, names.iter().map(|name| (NameKind::Topic, &**name)));
    assert_eq!(u64::from(count), RECORDS);
    let read = measured(|| match frame(black_box(&bytes)) {
        Frame::Define(define) => define.iter().map(|(_, _, name)| name.len()).sum::<usize>(),
        other => panic!("not DEFINE: {other:?}"),
    });
    assert_eq!(read, names.iter().map(String::len).sum::<usize>());
}

/// Questions, one frame each.
pub(super) fn query_parse() {
    let mut bytes = Vec::new();
    for i in 0..FRAMES {
        Query::new(TenantId(fmix64(i)), None, 10, Rank::Score).encode(&mut bytes, 1);
    }
    let read = measured(|| {
        let (mut rest, mut tenants) = (black_box(bytes.as_slice()), 0_u64);
        while let Split::Frame(header, body) = split(rest) {
            let Ok(Frame::Query(query)) = Frame::parse(header, body) else { panic!("no QUERY") };
            tenants ^= query.tenant().0;
            rest = &rest[header.length()..];
        }
        tenants
    });
    assert_eq!(read, (0..FRAMES).fold(0, |all, i| all ^ fmix64(i)));
}

/// Answers of ten topics with their names.
pub(super) fn summary_encode() {
    let names: Vec<String> = (0..TOPICS).map(topic_name).collect();
    let rows: Vec<TopicRow<'_>> = (0..TOPICS).zip(&names).map(row).collect();
    let flags = SummaryFlags { known: true, exact: true, distinct_exact: true, certified: true };
    let head = SummaryHead { tenant: TenantId(fmix64(1)), flags, ..SummaryHead::default() };
    let texts = ("\"topic 0\" x4.2 in 10 s (1,204 in 60 s); 12 topics", "trending");
    let mut out = Vec::with_capacity(1 << 18);
    let len = measured(|| {
        let rows = black_box(rows.as_slice());
        let encode = |_| {
            out.clear();
            encode_summary(&mut out, Kind::Summary, 1, &head, texts, rows.iter().copied())
        };
        (0..FRAMES).map(encode).sum::<usize>()
    });
    assert_eq!(len, out.len() * 64);
    let Frame::Summary(summary) = frame(&out) else { panic!("no SUMMARY") };
    assert!(summary.topics().eq(rows));
}

/// The one frame in `bytes`.
fn frame(bytes: &[u8]) -> Frame<'_> {
    let Split::Frame(header, body) = split(bytes) else { panic!("no whole frame") };
    match Frame::parse(header, body) {
        Ok(frame) => frame,
        Err(why) => panic!("{why}"),
    }
}

/// A frame of records, and the sum of their weights.
fn events_frame() -> (Vec<u8>, u64) {
    let (records, mut bytes) = (records(), Vec::new());
    encode_events(&mut bytes, head(), &records);
    (bytes, records.iter().map(weight_of).sum())
}

fn records() -> Vec<EventRecord> {
    let record = |i| {
        let (tenant, topic) = (TenantId(fmix64(i)), TopicId(fmix64(i + RECORDS)));
        EventRecord::new(tenant, topic, weight(i), offset(i))
    };
    (0..RECORDS).map(record).collect()
}

const fn head() -> EventsHead {
    EventsHead::new(7, 1_750_000_000_000, 1)
}

fn row((i, name): (u64, &String)) -> TopicRow<'_> {
    let count = 1_204 - i;
    let trend = Trend::default();
    let (topic, velocity_milli) = (TopicId(fmix64(i)), i64::from(offset(i)));
    let (low, high, score_milli) = (count, count, 4_200);
    TopicRow { topic, count, low, high, velocity_milli, score_milli, trend, name, sample: "" }
}

fn weight_of(record: &EventRecord) -> u64 {
    u64::from(record.weight())
}

fn tenant_name(i: u64) -> String {
    format!("tenant-{:06}", fmix64(i) % 100_000)
}

fn topic_name(i: u64) -> String {
    format!("topic {i} about {:x}", fmix64(i))
}

fn weight(i: u64) -> u32 {
    1 + u32::from(fmix64(i).to_le_bytes()[0] % 8)
}

fn offset(i: u64) -> i32 {
    -i32::from(fmix64(i).to_le_bytes()[1])
}

/// Records or names of one frame.
const RECORDS: u64 = 512;
/// Frames, where each is small.
const FRAMES: u64 = 64;
/// Topics of an answer.
const TOPICS: u64 = 10;
