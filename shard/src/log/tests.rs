//! The format: what is written is read back, and nothing else ever is.

use super::*;
use crate::marks::{Lane, Sequence};
use crate::programs::Text;
use crate::shard::{Part, TextPart};
use proptest::prelude::*;
use trendsrv_proto::{EventRecord, NameKind, Span, TenantId, TopicId};

const BASE_MS: u64 = 1_442_016_000_500;
const START: LogStart = LogStart { generation: 7, next_lsn: 41, prev_crc: 0xdead_beef };
const FIRST: Expect = Expect { generation: 7, lsn: 41, prev_crc: 0xdead_beef };

/// What one record holds, owned.
#[derive(Clone, Debug, PartialEq)]
enum Entry {
    Part { sequence: Option<Sequence>, records: Vec<EventRecord>, texts: Vec<Said> },
    Names(Vec<(NameKind, u64, String)>),
}

/// Tenant, text, weight, offset.
type Said = (u64, String, u32, i32);

fn write(writer: &mut Writer, now_ms: u64, entry: &Entry) {
    match entry {
        Entry::Part { sequence, records, texts } => {
            let span = Span { min_ms: BASE_MS - 1_000, max_ms: BASE_MS + 1_000 };
            let texts: Vec<Text<'_>> = texts
                .iter()
                .map(|(tenant, text, weight, offset_ms)| Text {
                    tenant: TenantId(*tenant),
                    text,
                    weight: *weight,
                    offset_ms: *offset_ms,
                })
                .collect();
            let part = Part { base_ms: BASE_MS, span, records };
            let texts = TextPart { base_ms: BASE_MS, span, texts: &texts };
            writer.part(now_ms, *sequence, &part, &texts);
        }
        Entry::Names(names) => {
            names.iter().for_each(|(kind, id, name)| writer.name(*kind, *id, name));
            writer.flush_names();
        }
    }
}

fn read(record: &Record<'_>) -> Entry {
    match record {
        Record::Part(part) => {
            assert_eq!(part.base_ms, BASE_MS);
            let span = Span { min_ms: BASE_MS - 1_000, max_ms: BASE_MS + 1_000 };
            assert_eq!(part.span, span);
            let said =
                |text: Text<'_>| (text.tenant.0, text.text.to_owned(), text.weight, text.offset_ms);
            let texts: Vec<_> = part.texts.iter().map(said).collect();
            assert_eq!(texts.len() as u64 + part.records.len() as u64, record.events());
            Entry::Part { sequence: part.sequence, records: part.records.to_vec(), texts }
        }
        Record::Names(names) => {
            assert_eq!(names.iter().count(), names.count() as usize);
            Entry::Names(names.iter().map(|(kind, id, name)| (kind, id, name.into())).collect())
        }
    }
}

/// What a reader of the log sees: entries up to the first that is not as expected, and what ends
/// them.
fn read_all(mut bytes: &[u8]) -> (Vec<(RecordHead, Entry)>, Option<BadRecord>) {
    let (mut entries, mut expect) = (Vec::new(), FIRST);
    loop {
        match parse(bytes, &expect) {
            Parsed::Record(head, record) => {
                entries.push((head, read(&record)));
                expect = Expect::after(&head);
                bytes = &bytes[head.len..];
            }
            Parsed::Padding => return (entries, None),
            Parsed::Bad(bad) => return (entries, Some(bad)),
        }
    }
}

fn entries(len: usize) -> impl Strategy<Value = Vec<Entry>> {
    let lane = (any::<u64>(), any::<u16>(), any::<bool>())
        .prop_map(|(producer, lane, anonymous)| Lane { producer, lane, anonymous });
    let sequence = (lane, any::<u32>(), 1..=crate::limits::SEQ_MAX)
        .prop_map(|(lane, epoch, seq)| Sequence { lane, epoch, seq });
    let (weight, offset) = (1_u32..=1_000_000_000, -1_000_i32..=1_000);
    let record = (any::<u64>(), any::<u64>(), weight.clone(), offset.clone()).prop_map(
        |(tenant, topic, weight, offset)| {
            EventRecord::new(TenantId(tenant), TopicId(topic), weight, offset)
        },
    );
    let said = (any::<u64>(), "[a-zé\n]{1,20}", weight, offset);
    let part = (
        prop::option::of(sequence),
        prop::collection::vec(record, 0..6),
        prop::collection::vec(said, 0..4),
    )
        .prop_map(|(sequence, records, texts)| Entry::Part { sequence, records, texts });
    let kind = prop_oneof![Just(NameKind::Tenant), Just(NameKind::Topic)];
    let name = (kind, any::<u64>(), "[a-zé]{1,30}");
    let names = prop::collection::vec(name, 1..5).prop_map(Entry::Names);
    prop::collection::vec(prop_oneof![4 => part, 1 => names], 1..len)
}

/// What is read back of an entry: a sequence that ended with its connection is not kept.
fn kept(entry: &Entry) -> Entry {
    let mut entry = entry.clone();
    if let Entry::Part { sequence, .. } = &mut entry {
        *sequence = sequence.filter(|at| !at.lane.anonymous);
    }
    entry
}

fn written(entries: &[Entry]) -> Vec<u8> {
    let mut writer = Writer::new(&START);
    entries.iter().for_each(|entry| write(&mut writer, BASE_MS, entry));
    writer.take(usize::MAX).map_or_else(Vec::new, |batch| batch.bytes)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn what_is_written_is_read_back(
        entries in entries(40),
        bytes_max in prop::collection::vec(1_usize..3_000, 60),
    ) {
        let mut writer = Writer::new(&START);
        let (mut bytes, mut last, mut crcs) = (Vec::new(), FIRST.lsn - 1, Vec::new());
        let mut limits = bytes_max.iter().cycle();
        for (nth, entry) in (0_u64..).zip(&entries) {
            write(&mut writer, BASE_MS + nth, entry);
            if nth % 3 == 2 {
                let limit = *limits.next().unwrap();
                let batch = writer.take(limit).unwrap();
                prop_assert_eq!(batch.first_lsn, last + 1);
                prop_assert!(batch.bytes.len() <= limit || batch.first_lsn == batch.last_lsn);
                last = batch.last_lsn;
                crcs.push((last, batch.last_crc));
                bytes.extend_from_slice(&batch.bytes);
                writer.give_back(batch.bytes);
                writer.on_durable(last);
            }
        }
        let rest = writer.backlog_bytes();
        let before = bytes.len();
        while let Some(batch) = writer.take(*limits.next().unwrap()) {
            bytes.extend_from_slice(&batch.bytes);
            last = batch.last_lsn;
            crcs.push((last, batch.last_crc));
        }
        prop_assert_eq!((bytes.len() - before, writer.backlog_bytes()), (rest, 0));
        let (read, bad) = read_all(&bytes);
        prop_assert_eq!(bad, None);
        prop_assert_eq!((read.len(), last), (entries.len(), writer.last_lsn()));
        for (lsn, crc) in crcs {
            let last = read.iter().find(|(head, _)| head.lsn == lsn);
            prop_assert_eq!(last.map(|(head, _)| head.crc), Some(crc));
        }
        for ((nth, entry), (head, got)) in (0_u64..).zip(&entries).zip(&read) {
            prop_assert_eq!(&kept(entry), got);
            prop_assert_eq!((head.lsn, head.generation), (FIRST.lsn + nth, 7));
            prop_assert!(head.durable < head.lsn && head.len % RECORD_ALIGN == 0);
            if let Entry::Part { records, texts, .. } = entry {
                prop_assert_eq!(head.ingest_ms, BASE_MS + nth);
                let texts = texts.iter().map(|text| TenantId(text.0).vnode());
                let all: Vec<usize> =
                    records.iter().map(|r| r.tenant().vnode()).chain(texts).collect();
                let (low, high) = (usize::from(head.vnodes.0), usize::from(head.vnodes.1));
                match (all.iter().min(), all.iter().max()) {
                    (Some(least), Some(most)) => prop_assert_eq!((low, high), (*least, *most)),
                    _ => prop_assert!(low > high, "no vnode"),
                }
            }
        }
    }

    #[test]
    fn a_flipped_bit_is_never_taken_for_what_was_written(entries in entries(5)) {
        let mut bytes = written(&entries);
        let (sound, _) = read_all(&bytes);
        let ends: Vec<usize> = sound
            .iter()
            .scan(0, |end, (head, _)| {
                *end += head.len;
                Some(*end)
            })
            .collect();
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            let hit = ends.partition_point(|end| *end <= bit / 8);
            let (read, bad) = read_all(&bytes);
            prop_assert_eq!(&read[..], &sound[..hit], "bit {}", bit);
            let len_is_zero = read_len(&bytes[if hit == 0 { 0 } else { ends[hit - 1] }..]) == 0;
            prop_assert!(bad.is_some() != len_is_zero, "bit {}: {:?}", bit, bad);
            // Nor does a look at the bytes behind find what was not written.
            for at in (0..bytes.len()).step_by(RECORD_ALIGN) {
                if let Some(found) = peek(&bytes[at..], 7) {
                    prop_assert!(sound.iter().any(|(head, _)| *head == found));
                }
            }
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }

    #[test]
    fn a_record_cut_off_is_bad(entries in entries(5)) {
        let bytes = written(&entries);
        let (sound, _) = read_all(&bytes);
        for cut in 0..bytes.len() {
            let (read, bad) = read_all(&bytes[..cut]);
            prop_assert_eq!(&read[..], &sound[..read.len()]);
            let whole: usize = read.iter().map(|(head, _)| head.len).sum();
            let is_short = matches!(bad, Some(BadRecord::Short { .. }));
            prop_assert_eq!(is_short, whole < cut, "{} of {} bytes", cut, bytes.len());
        }
    }

    #[test]
    fn any_bytes_with_a_right_checksum_are_read_or_refused(
        mut bytes in prop::collection::vec(any::<u8>(), 56..400),
        kind in 0_u8..4,
        small in prop::collection::vec(0_u8..4, 8),
    ) {
        bytes.truncate(bytes.len() / RECORD_ALIGN * RECORD_ALIGN);
        let len = u32::try_from(bytes.len()).unwrap();
        bytes[..4].copy_from_slice(&len.to_le_bytes());
        (bytes[4], bytes[5], bytes[10], bytes[11]) = (kind, 0, 0, 0);
        bytes[12..16].copy_from_slice(&7_u32.to_le_bytes());
        bytes[16..24].copy_from_slice(&41_u64.to_le_bytes());
        bytes[24..32].copy_from_slice(&BASE_MS.to_le_bytes());
        bytes[40..44].copy_from_slice(&FIRST.prev_crc.to_le_bytes());
        if kind == 1 && bytes.len() >= 104 {
            bytes[70..72].copy_from_slice(&[small[0] & 1, 0]);
            for at in [72, 80, 88] {
                bytes[at..at + 8].copy_from_slice(&BASE_MS.to_le_bytes());
            }
            bytes[96..104].copy_from_slice(&[small[1], 0, 0, 0, small[2], 0, 0, 0]);
        } else if kind == 2 {
            bytes[48..56].copy_from_slice(&[small[0], 0, 0, 0, 0, 0, 0, 0]);
        }
        bytes[44..48].copy_from_slice(&[0; 4]);
        let crc = crc32c::crc32c(&bytes);
        bytes[44..48].copy_from_slice(&crc.to_le_bytes());
        match parse(&bytes, &FIRST) {
            Parsed::Record(_, Record::Part(part)) => {
                prop_assert_eq!(part.texts.iter().count(), part.texts.count() as usize);
            }
            Parsed::Record(_, Record::Names(names)) => {
                prop_assert_eq!(names.iter().count(), names.count() as usize);
            }
            Parsed::Bad(BadRecord::Payload(_)) => {}
            other @ (Parsed::Bad(_) | Parsed::Padding) => prop_assert!(false, "{:?}", other),
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = (parse(&bytes, &FIRST), peek(&bytes, 7));
    }
}

fn read_len(bytes: &[u8]) -> u32 {
    u32::from_le_bytes(*bytes.first_chunk().unwrap())
}

fn one_record() -> Vec<u8> {
    let lane = Lane { producer: 0x0102, lane: 3, anonymous: false };
    let sequence = Some(Sequence { lane, epoch: 4, seq: 5 });
    let records = vec![EventRecord::new(TenantId(6), TopicId(7), 8, -9)];
    written(&[Entry::Part { sequence, records, texts: vec![(10, "hi".to_owned(), 11, 12)] }])
}

#[test]
fn the_bytes_are_those_of_the_drawing() {
    let bytes = one_record();
    let u16_at = |at: usize| u16::from_le_bytes(bytes[at..at + 2].try_into().unwrap());
    let u32_at = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    let u64_at = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    assert_eq!((u32_at(0) as usize, bytes[4], bytes[5]), (bytes.len(), 1, 0));
    let vnodes = [6, 10].map(|id| u16::try_from(TenantId(id).vnode()).unwrap());
    assert_eq!([u16_at(6), u16_at(8)], [vnodes[0].min(vnodes[1]), vnodes[0].max(vnodes[1])]);
    assert_eq!((u16_at(10), u32_at(12), u64_at(16)), (0, 7, 41));
    assert_eq!((u64_at(24), u64_at(32), u32_at(40)), (BASE_MS, 40, 0xdead_beef));
    assert_eq!((u64_at(48), u64_at(56), u32_at(64)), (0x0102, 5, 4));
    assert_eq!((u16_at(68), u16_at(70), u64_at(72)), (3, 1, BASE_MS));
    assert_eq!((u64_at(80), u64_at(88)), (BASE_MS - 1_000, BASE_MS + 1_000));
    assert_eq!((u32_at(96), u32_at(100)), (1, 1));
    assert_eq!((u64_at(104), u64_at(112), u32_at(120)), (6, 7, 8));
    assert_eq!((u64_at(128), u32_at(136), u32_at(140), u16_at(144)), (10, 11, 12, 2));
    assert_eq!((&bytes[146..148], bytes.len()), (&b"hi"[..], 152));
    let mut unsealed = bytes.clone();
    unsealed[44..48].copy_from_slice(&[0; 4]);
    assert_eq!(u32_at(44), crc32c::crc32c(&unsealed));
}

#[test]
fn a_sound_record_of_elsewhere_is_not_the_one_expected() {
    let bytes = one_record();
    let bad = |expect: Expect| match parse(&bytes, &expect) {
        Parsed::Bad(bad) => bad,
        other => panic!("{other:?}"),
    };
    let other = Expect { generation: 8, ..FIRST };
    assert_eq!(bad(other), BadRecord::Generation { got: 7, want: 8 });
    assert_eq!(bad(Expect { lsn: 42, ..FIRST }), BadRecord::Lsn { got: 41, want: 42 });
    let chain = BadRecord::Chain { got: FIRST.prev_crc, want: 1 };
    assert_eq!(bad(Expect { prev_crc: 1, ..FIRST }), chain);
    assert_eq!(peek(&bytes, 7).map(|head| head.lsn), Some(41), "a look asks for no number");
    assert_eq!(peek(&bytes, 8), None);
}

#[test]
fn batches_are_sealed_at_their_size_and_their_memory_comes_back() {
    let mut writer = Writer::new(&START);
    let records = vec![EventRecord::new(TenantId(6), TopicId(7), 8, -9); 4_096];
    let entry = Entry::Part { sequence: None, records, texts: Vec::new() };
    for _ in 0..40 {
        write(&mut writer, BASE_MS, &entry);
    }
    let (mut last, mut bytes) = (40, 0);
    while let Some(batch) = writer.take(BATCH_BYTES) {
        assert!(batch.bytes.len() <= BATCH_BYTES && batch.first_lsn == last + 1);
        (last, bytes) = (batch.last_lsn, bytes + batch.bytes.len());
        writer.give_back(batch.bytes);
    }
    assert_eq!((last, bytes), (80, 40 * (104 + 4_096 * 24)));
    let spare: usize = 16 << 10;
    write(&mut writer, BASE_MS, &Entry::Names(vec![(NameKind::Topic, 1, "a".into())]));
    let batch = writer.take(1).unwrap();
    assert!(batch.bytes.capacity() > spare, "{}", batch.bytes.capacity());
    assert_eq!((batch.first_lsn, batch.last_lsn), (81, 81), "one record, however small the limit");
}

#[test]
fn many_names_go_into_several_records() {
    let name = |i: u64| (NameKind::Tenant, i, format!("{i:0>200}"));
    let bytes = written(&[Entry::Names((0..2_000).map(name).collect())]);
    let (read, bad) = read_all(&bytes);
    assert_eq!(bad, None);
    assert!(read.len() > 4 && read.iter().all(|(head, _)| head.len < 66 << 10));
    let names: Vec<_> = read
        .into_iter()
        .flat_map(|(_, entry)| match entry {
            Entry::Names(names) => names,
            Entry::Part { .. } => panic!("names were written"),
        })
        .collect();
    assert_eq!(names, (0..2_000).map(name).collect::<Vec<_>>());
}
