//! Facts about all frames, on random ones: they round-trip, damage is seen, cuts are waited for.

mod mirror;

use mirror::{Mirror, Named, Refused, Said, Topic, check_bytes, read, sealed};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use trendsrv_proto::{
    Ack, AckMode, Clock, EventRecord, Frame, Lost, Malformed, NameKind, NeedEntry, Ping, Query,
    Rank, Refusal, RetryClass, ShardAddress, Split, Subscribe, SummaryFlags, SummaryHead, TenantId,
    TopicId, TopicRow, Trend, Welcome, limits, split,
};

proptest! {
    #[test]
    fn a_frame_round_trips(mirror in mirrors(), tag: u32) {
        let bytes = mirror.encode(tag);
        let (tag_read, copy) = read(&bytes).expect("what was written can be read");
        prop_assert_eq!(&copy, &mirror);
        let tag_written = if has_tag(&mirror) { tag } else { 0 };
        prop_assert_eq!(tag_read, tag_written);
    }

    #[test]
    fn a_changed_byte_is_always_seen(mirror in mirrors(), at: Index, flip in 1_u8..) {
        let mut bytes = mirror.encode(0);
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        match split(&bytes) {
            Split::Lost(Lost::Check { .. }) => prop_assert!(at < limits::HEADER_BYTES),
            Split::Frame(header, body) => {
                prop_assert!(at >= limits::HEADER_BYTES);
                let crc = matches!(Frame::parse(header, body), Err(Malformed::Crc { .. }));
                prop_assert!(crc, "byte {at} changed by {flip:#04x} and nobody saw");
            }
            other => prop_assert!(false, "byte {at} changed by {flip:#04x}: {other:?}"),
        }
    }

    #[test]
    fn a_cut_frame_is_waited_for(mirror in small_mirrors()) {
        let bytes = mirror.encode(0);
        for size in 0..bytes.len() {
            let Split::Incomplete(needed) = split(&bytes[..size]) else {
                panic!("{size} of {} bytes are not incomplete", bytes.len());
            };
            let whole = if size < limits::HEADER_BYTES { limits::HEADER_BYTES } else { bytes.len() };
            prop_assert_eq!(needed, whole);
        }
    }

    #[test]
    fn a_cut_body_is_malformed(mirror in mirrors(), at: Index) {
        let bytes = mirror.encode(0);
        let body = &bytes[limits::HEADER_BYTES..];
        // A body is never empty, and cut anywhere it is a shorter list than it says.
        let cut = &body[..at.index(body.len())];
        prop_assert!(read(&sealed(bytes[4], cut)).is_err(), "{} bytes of body", cut.len());
    }

    #[test]
    fn a_stream_gives_the_same_frames_however_it_is_cut(
        mirrors in vec(small_mirrors(), 0..20),
        cuts in vec(1_usize..200, 1..50),
    ) {
        let stream: Vec<u8> = mirrors.iter().flat_map(|mirror| mirror.encode(0)).collect();
        let mut pending = Vec::new();
        let mut got = Vec::new();
        let mut rest = stream.as_slice();
        for cut in cuts.iter().cycle() {
            let (now, later) = rest.split_at((*cut).min(rest.len()));
            pending.extend_from_slice(now);
            rest = later;
            while let Split::Frame(header, body) = split(&pending) {
                let frame = Frame::parse(header, body).expect("whole frames only");
                got.push(Mirror::of(&frame));
                let length = header.length();
                pending.drain(..length);
            }
            if rest.is_empty() {
                break;
            }
        }
        prop_assert!(pending.is_empty());
        prop_assert_eq!(got, mirrors);
    }

    #[test]
    fn any_bytes_at_all_are_read_without_panic(bytes in vec(any::<u8>(), 0..600)) {
        check_bytes(&bytes);
    }

    #[test]
    fn any_body_with_right_checksums_is_read_without_panic(
        mirror in small_mirrors(),
        changes in vec((any::<Index>(), any::<u8>()), 1..8),
        cut: Index,
    ) {
        let mut bytes = mirror.encode(0);
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        check_bytes(&bytes);
        check_bytes(&bytes[..cut.index(bytes.len())]);
    }
}

/// Every change of one byte and every change of two bits in a header: the check has 16 bits of
/// a CRC only, so that it sees these is a fact of the layout, and is tested as one.
#[test]
fn a_changed_header_is_always_seen() {
    let bytes = Ping::new(0x0123_4567_89ab_cdef);
    let mut good = Vec::new();
    bytes.encode(&mut good, trendsrv_proto::Kind::Ping, 77);
    let lost = |frame: &[u8]| matches!(split(frame), Split::Lost(Lost::Check { .. }));
    for at in 0..limits::HEADER_BYTES {
        for flip in 1..=u8::MAX {
            let mut bad = good.clone();
            bad[at] ^= flip;
            assert!(lost(&bad), "byte {at} changed by {flip:#04x}");
        }
    }
    let bits = limits::HEADER_BYTES * 8;
    for (a, b) in (0..bits).flat_map(|a| (0..a).map(move |b| (a, b))) {
        let mut bad = good.clone();
        bad[a / 8] ^= 1 << (a % 8);
        bad[b / 8] ^= 1 << (b % 8);
        assert!(lost(&bad), "bits {a} and {b} flipped");
    }
}

#[test]
fn the_largest_frames_round_trip() {
    let record = EventRecord::new(TenantId(1), TopicId(2), limits::WEIGHT_MAX, i32::MIN);
    let records = vec![record; limits::FRAME_EVENTS_MAX];
    let events = Mirror::Events { head: (1, limits::TIME_MS_MAX, 1), records };
    let entries = vec![NeedEntry::new(NameKind::Topic, u64::MAX); limits::NAMES_PER_FRAME_MAX];
    let name = "n".repeat(limits::NAME_BYTES_MAX);
    let topic = Topic { row: TopicRow::default(), name, sample: "s".repeat(4_096) };
    let topics = vec![topic; limits::TOP_K_MAX];
    let head = SummaryHead::default();
    let (tldr, program) = ("t".repeat(512), "p".repeat(255));
    let summary = Mirror::Summary { update: false, head, tldr, program, topics };
    // 248 texts of 4,096 bytes fill a frame but for 37,840 bytes.
    let said = |bytes| Said {
        tenant: "n".repeat(100),
        text: "t".repeat(bytes),
        weight: limits::WEIGHT_MAX,
        offset_ms: 0,
    };
    let mut texts = vec![said(limits::TEXT_BYTES_MAX); 249];
    texts.push(said(limits::FRAME_BYTES_MAX - 40 - 249 * (112 + limits::TEXT_BYTES_MAX) - 112));
    let texts = Mirror::Text { head: (1, limits::TIME_MS_MAX, 1), texts };
    assert_eq!(texts.encode(0).len(), limits::FRAME_BYTES_MAX);
    for mirror in [events, Mirror::Need { entries }, summary, texts] {
        assert_eq!(read(&mirror.encode(0)), Ok((0, mirror)));
    }
}

#[test]
fn seq_is_read_from_a_body_that_is_malformed_behind_it() {
    use trendsrv_proto::EventsHead;
    let filler = Mirror::Events { head: (0x0123_4567_89ab_cdef, 0, 0), records: vec![] };
    let bytes = filler.encode(0);
    let body = &bytes[limits::HEADER_BYTES..];
    assert_eq!(EventsHead::seq_in(&body[..8]), Some(0x0123_4567_89ab_cdef));
    assert_eq!(EventsHead::seq_in(&body[..7]), None);
}

const fn has_tag(mirror: &Mirror) -> bool {
    matches!(
        mirror,
        Mirror::Refuse(_)
            | Mirror::Query(_)
            | Mirror::Summary { .. }
            | Mirror::Subscribe(_)
            | Mirror::Ping(_)
            | Mirror::Pong(_)
    )
}

// --- Random frames --------------------------------------------------------------------------

/// Frames of every kind.
fn mirrors() -> impl Strategy<Value = Mirror> {
    prop_oneof![15 => small_mirrors(), 1 => hello_ok()]
}

/// Frames of every kind but HELLO_OK, which has 8 KiB of map.
fn small_mirrors() -> impl Strategy<Value = Mirror> {
    prop_oneof![
        hello(),
        events(),
        events_named(),
        texts(),
        vec((name_kind(), name()), 0..20).prop_map(define),
        vec((name_kind(), any::<u64>()), 0..40).prop_map(|ids| Mirror::Need {
            entries: ids.into_iter().map(|(kind, id)| NeedEntry::new(kind, id)).collect()
        }),
        any::<(u64, u64)>().prop_map(|(seq, credit)| Mirror::Ack(Ack::new(seq, credit))),
        refuse(),
        (any::<u64>(), proptest::option::of(1..=limits::TIME_MS_MAX), k(), rank()).prop_map(
            |(tenant, at, k, rank)| Mirror::Query(Query::new(TenantId(tenant), at, k, rank))
        ),
        (any::<u64>(), k(), rank(), any::<bool>()).prop_map(|(tenant, k, rank, on)| {
            Mirror::Subscribe(Subscribe::new(TenantId(tenant), k, rank, on))
        }),
        summary(),
        any::<u64>().prop_map(|nonce| Mirror::Ping(Ping::new(nonce))),
        any::<u64>().prop_map(|nonce| Mirror::Pong(Ping::new(nonce))),
        (any::<u32>(), text(limits::MESSAGE_BYTES_MAX))
            .prop_map(|(drain_ms, message)| Mirror::GoAway { drain_ms, message }),
    ]
}

fn ack_mode() -> impl Strategy<Value = AckMode> {
    (0_u8..4).prop_map(|n| AckMode::from_u8(n).expect("four modes"))
}

fn name_kind() -> impl Strategy<Value = NameKind> {
    select(vec![NameKind::Tenant, NameKind::Topic])
}

fn rank() -> impl Strategy<Value = Rank> {
    select(vec![Rank::Score, Rank::Count])
}

fn k() -> std::ops::RangeInclusive<u16> {
    1..=100
}

/// Names at the edges of the rule, and of any script.
fn name() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z]{1,12}", "[^\\p{Cc}]{1,60}", "[a-z]{255}", "[^\\p{Cc}]"]
}

/// Text of at most `max` bytes.
fn text(max: usize) -> impl Strategy<Value = String> {
    "\\PC{0,150}".prop_map(move |s| s[..s.floor_char_boundary(max)].to_owned())
}

fn define(names: Vec<(NameKind, String)>) -> Mirror {
    let entry = |(kind, name): (NameKind, String)| (kind, TenantId::of(&name).0, name);
    Mirror::Define { names: names.into_iter().map(entry).collect() }
}

fn hello() -> impl Strategy<Value = Mirror> {
    let numbers = any::<(u64, u64, u32, u16)>();
    (ack_mode(), numbers, text(limits::SOFTWARE_BYTES_MAX)).prop_map(
        |(ack, (features, producer, epoch, lane), software)| Mirror::Hello {
            ack,
            features,
            producer,
            epoch,
            lane,
            software,
        },
    )
}

prop_compose! {
    fn hello_ok()(
        addresses in vec(any::<std::net::SocketAddr>(), 1..6),
        runs in vec((any::<u16>(), 1_usize..900), 1..20),
        shard: u16,
        ack in ack_mode(),
        (generation, slide_ms, panes, event) in any::<(u32, u32, u32, bool)>(),
        (server_time_ms, credit_until, next_seq) in any::<(u64, u64, u64)>(),
    ) -> Mirror {
        let shards = u16::try_from(addresses.len()).expect("few");
        let owners = runs.iter().cycle().flat_map(|(owner, run)| vec![owner % shards; *run]);
        let clock = if event { Clock::Event } else { Clock::Wall };
        Mirror::HelloOk {
            welcome: Welcome {
                ack, clock, generation, server_time_ms, credit_until, next_seq, slide_ms, panes,
                shard: shard % shards,
            },
            vnodes: owners.take(limits::VNODES).collect(),
            // Flow label and scope of an IPv6 address do not travel.
            addresses: addresses
                .iter()
                .map(|a| ShardAddress::new((a.ip(), a.port()).into()))
                .collect(),
        }
    }
}

/// A base time with offsets that stay inside the range of times.
fn times() -> impl Strategy<Value = (u64, i32)> {
    let middle = (1_u64 << 31)..(limits::TIME_MS_MAX - (1 << 31));
    prop_oneof![
        (middle, any::<i32>()),
        (0_u64..5, 0..=i32::MAX),
        (limits::TIME_MS_MAX - 5..=limits::TIME_MS_MAX, i32::MIN..=0),
    ]
}

fn weight() -> impl Strategy<Value = u32> {
    prop_oneof![Just(1), Just(limits::WEIGHT_MAX), 1..=limits::WEIGHT_MAX]
}

prop_compose! {
    fn events()(
        (base_ms, offset_ms) in times(),
        (seq, generation) in any::<(u64, u32)>(),
        rows in vec((any::<u64>(), any::<u64>(), weight()), 0..60),
    ) -> Mirror {
        let record = |(tenant, topic, weight)| {
            EventRecord::new(TenantId(tenant), TopicId(topic), weight, offset_ms)
        };
        let records = rows.into_iter().map(record).collect();
        Mirror::Events { head: (seq, base_ms, generation), records }
    }
}

prop_compose! {
    fn events_named()(
        (base_ms, offset_ms) in times(),
        (seq, generation) in any::<(u64, u32)>(),
        rows in vec((name(), name(), weight()), 0..12),
    ) -> Mirror {
        let event = |(tenant, topic, weight)| Named { tenant, topic, weight, offset_ms };
        let events = rows.into_iter().map(event).collect();
        Mirror::EventsNamed { head: (seq, base_ms, generation), events }
    }
}

/// Texts at the edges of the rule: one byte, the longest, control characters.
fn said() -> impl Strategy<Value = String> {
    prop_oneof!["[^\\x00]{1,60}", "\\PC{1,200}", "[a-z]{4096}", "[\x01-\x1f]"]
}

prop_compose! {
    fn texts()(
        (base_ms, offset_ms) in times(),
        (seq, generation) in any::<(u64, u32)>(),
        rows in vec((name(), said(), weight()), 0..12),
    ) -> Mirror {
        let said = |(tenant, text, weight)| Said { tenant, text, weight, offset_ms };
        let texts = rows.into_iter().map(said).collect();
        Mirror::Text { head: (seq, base_ms, generation), texts }
    }
}

prop_compose! {
    fn refuse()(
        (seq, expected_seq, kind, retry_after_ms) in any::<(u64, u64, u8, u32)>(),
        code in select(Refusal::ALL),
        class in 0_u8..4,
        index in proptest::option::of(0..u32::MAX),
        message in text(limits::MESSAGE_BYTES_MAX),
    ) -> Mirror {
        let class = RetryClass::from_u8(class).expect("four classes");
        Mirror::Refuse(Refused {
            seq, expected_seq, code, class, kind, retry_after_ms, index, message,
        })
    }
}

prop_compose! {
    fn topic()(
        (id, count, low, high) in any::<(u64, u64, u64, u64)>(),
        (velocity_milli, score_milli) in any::<(i64, i64)>(),
        trend in 0_u8..4,
        name in text(limits::NAME_BYTES_MAX),
        sample in text(limits::TEXT_BYTES_MAX),
    ) -> Topic {
        let trend = Trend::from_u8(trend).expect("four trends");
        let row = TopicRow {
            topic: TopicId(id), count, low, high, velocity_milli, score_milli, trend,
            name: "", sample: "",
        };
        Topic { row, name, sample }
    }
}

prop_compose! {
    fn summary()(
        update: bool,
        (tenant, as_of_ms, version, total, events) in any::<(u64, u64, u64, u64, u64)>(),
        (distinct, error_bound, late, dropped, shed) in any::<(u64, u64, u64, u64, u64)>(),
        (window_ms, slide_ms) in any::<(u32, u32)>(),
        (known, exact, distinct_exact, certified) in any::<(bool, bool, bool, bool)>(),
        tldr in text(limits::TLDR_BYTES_MAX),
        program in text(limits::NAME_BYTES_MAX),
        topics in vec(topic(), 0..8),
    ) -> Mirror {
        let flags = SummaryFlags { known, exact, distinct_exact, certified };
        let head = SummaryHead {
            tenant: TenantId(tenant), as_of_ms, version, total, events, distinct, error_bound,
            late, dropped, shed, window_ms, slide_ms, flags,
        };
        Mirror::Summary { update, head, tldr, program, topics }
    }
}
