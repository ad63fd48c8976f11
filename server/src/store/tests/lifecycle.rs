//! Starting, stopping, starting again.

use super::bed::{Bed, NOW_MS, SEGMENT_BYTES, Sent, new_shard, settings};
use super::mem_disk::{Keeps, MemDisk};
use crate::store::{Store, StoreError};
use trendsrv_proto::Clock;

#[test]
fn what_was_acknowledged_is_there_after_a_crash_and_counts_once() {
    for keeps in [Keeps::All, Keeps::Nothing, Keeps::Some(1), Keeps::Some(2)] {
        let disk = MemDisk::new();
        let mut bed = Bed::start(&disk, 2).unwrap();
        for _ in 0..20 {
            bed.feed(7);
            bed.commit().unwrap();
        }
        bed.feed(3);
        let past = bed.die();
        assert_eq!(past.acknowledged.len(), 140);
        past.disk.crash(keeps);
        let mut bed = Bed::start(&disk, 2).unwrap();
        bed.check(&past.acknowledged, past.sent);
    }
}

#[test]
fn a_snapshot_makes_older_segments_needless_and_they_are_used_again() {
    let disk = MemDisk::new();
    let mut bed = Bed::start(&disk, 1).unwrap();
    for _ in 0..8 {
        for _ in 0..10 {
            bed.feed(5);
            bed.commit().unwrap();
        }
        bed.snapshot().unwrap();
        bed.commit().unwrap();
    }
    assert_eq!(bed.shards[0].published, 8);
    let files = disk.all();
    let logs = files.keys().filter(|path| path.ends_with(".log")).count();
    assert!(logs <= 8, "{:?}", files.keys());
    assert_eq!(files.keys().filter(|path| path.ends_with(".snap")).count(), 1);
    let past = bed.die();
    past.disk.crash(Keeps::Nothing);
    let mut bed = Bed::start(&disk, 1).unwrap();
    assert!(bed.shards[0].facts.sections > 0);
    bed.check(&past.acknowledged, past.sent);
}

#[test]
fn ends_in_good_order_and_says_nothing_at_the_next_start() {
    let disk = MemDisk::new();
    let mut bed = Bed::start(&disk, 2).unwrap();
    bed.feed(40);
    bed.stop().unwrap();
    for shards in [2, 2, 3, 1] {
        let bed = Bed::start(&disk, shards).unwrap();
        for one in &bed.shards {
            assert!(one.facts.notes.is_empty(), "{:?}", one.facts.notes);
        }
        bed.stop().unwrap();
    }
}

#[test]
fn any_number_of_shards_follows_any_other() {
    let disk = MemDisk::new();
    let mut acknowledged = std::collections::BTreeSet::new();
    let mut sent = 1;
    for (step, shards) in [1_u16, 2, 3, 3, 1, 4, 2].into_iter().enumerate() {
        let mut bed = Bed::start(&disk, shards).unwrap();
        bed.check(&acknowledged, sent);
        bed.feed(20);
        bed.commit().unwrap();
        if step % 2 == 0 {
            bed.snapshot().unwrap();
            bed.commit().unwrap();
            bed.feed(5);
            bed.commit().unwrap();
        }
        let past = bed.die();
        acknowledged.extend(past.acknowledged);
        sent = past.sent;
        disk.crash(Keeps::Nothing);
        assert_eq!(
            disk.all().keys().filter(|path| path.ends_with("superblock")).count(),
            usize::from(shards)
        );
    }
}

#[test]
fn another_window_slide_or_clock_is_refused_in_words_and_nothing_changes() {
    let disk = MemDisk::new();
    Bed::start(&disk, 1).unwrap().stop().unwrap();
    let before = disk.all();
    let mut other = settings(1);
    other.window_ms = 30_000;
    let error = Store::open(disk.clone(), other).unwrap_err().to_string();
    assert!(error.contains("--window 60000ms --slide 1000ms --clock wall"), "{error}");
    assert!(error.contains("--window 30000ms"), "{error}");
    let other = crate::store::Settings { clock: Clock::Event, ..settings(1) };
    let error = Store::open(disk.clone(), other).unwrap_err().to_string();
    assert!(error.contains("--clock event") && error.contains("another directory"), "{error}");
    assert_eq!(disk.all(), before);
}

#[test]
fn a_directory_of_something_else_is_refused() {
    use crate::store::Disk as _;
    let disk = MemDisk::new();
    disk.create("holiday.jpg", 10).unwrap();
    let error = Store::open(disk.clone(), settings(1)).unwrap_err().to_string();
    assert!(error.contains("holiday.jpg") && error.contains("no MANIFEST"), "{error}");
    disk.remove("holiday.jpg").unwrap();
    disk.create("lock", 0).unwrap();
    Store::open(disk.clone(), settings(1)).unwrap();
    disk.create_dir("gen-0002").unwrap();
    let error = Store::open(disk, settings(1)).unwrap_err().to_string();
    assert!(error.contains("MANIFEST is damaged") && error.contains("gen-0002"), "{error}");
}

#[test]
fn a_newer_format_is_refused_by_its_number() {
    let disk = MemDisk::new();
    Bed::start(&disk, 1).unwrap().stop().unwrap();
    let json = "{\"version\":2,\"news\":[1,2]}";
    let line = format!("{json}\t{:08x}\n", crc32c::crc32c(json.as_bytes()));
    disk.poke("MANIFEST", |bytes| *bytes = line.into_bytes());
    let error = Store::open(disk, settings(1)).unwrap_err().to_string();
    assert!(error.contains("format version 2 and this server knows 1"), "{error}");
}

#[test]
fn a_record_that_no_segment_holds_is_an_error_that_names_the_flag() {
    let disk = MemDisk::new();
    let small = crate::store::Settings { segment_bytes: 16 << 10, ..settings(1) };
    let mut bed = Bed::start_with(&disk, small).unwrap();
    let shard = &mut bed.shards[0];
    let tenant = trendsrv_proto::TenantId::of("a");
    let record = trendsrv_proto::EventRecord::new(tenant, trendsrv_proto::TopicId(1), 1, 0);
    let records = vec![record; 1_000];
    let span = trendsrv_proto::Span { min_ms: NOW_MS, max_ms: NOW_MS };
    let part = trendsrv_shard::Part { base_ms: NOW_MS, span, records: &records };
    let origin = trendsrv_shard::Origin {
        to: trendsrv_shard::ReplyTo(1),
        seq: 1,
        sequence: None,
        ask_names: false,
        durable: false,
    };
    shard.shard.on_events(NOW_MS, &origin, &part, &mut trendsrv_shard::Effects::default());
    let error = bed.commit().unwrap_err();
    assert!(matches!(error, StoreError::RecordTooLarge { .. }));
    assert!(error.to_string().contains("--log-segment-bytes"), "{error}");
}

#[test]
fn a_failed_write_ends_everything_and_acknowledges_nothing() {
    let disk = MemDisk::new();
    let mut bed = Bed::start(&disk, 1).unwrap();
    bed.feed(5);
    bed.commit().unwrap();
    bed.feed(5);
    disk.fail_sync("seg-");
    let error = bed.commit().unwrap_err().to_string();
    assert!(error.contains("nothing of it was acknowledged") && error.contains("LSN"), "{error}");
    let error = bed.commit().unwrap_err();
    assert!(matches!(error, StoreError::Broken), "{error}");
    let past = bed.die();
    assert_eq!(past.acknowledged.len(), 5);
    past.disk.crash(Keeps::Nothing);
    Bed::start(&disk, 1).unwrap().check(&past.acknowledged, past.sent);
}

#[test]
fn a_full_disk_refuses_durable_parts_only_and_recovers_by_itself() {
    let disk = MemDisk::new();
    let mut bed = Bed::start(&disk, 1).unwrap();
    bed.commit().unwrap();
    disk.set_room(Some(disk.used() + SEGMENT_BYTES / 2));
    let mut refused = 0;
    // Durable parts until they are refused: the spares are still there then.
    for _ in 0..100 {
        match bed.send(bed.next, true) {
            Sent::Applied => bed.next += 1,
            Sent::Refused(message) => {
                assert!(message.contains("disk"), "{message}");
                refused += 1;
                break;
            }
            Sent::Duplicate => panic!("part {}", bed.next),
        }
        bed.commit().unwrap();
    }
    assert_eq!(refused, 1);
    assert!(bed.shards[0].chores.spares() > 0);
    // Others go on, in the spares and then unlogged.
    for _ in 0..200 {
        assert_eq!(bed.send(bed.next, false), Sent::Applied);
        bed.next += 1;
        bed.commit().unwrap();
    }
    assert!(bed.shards[0].shard.stats().log_unlogged_parts > 0);
    assert_eq!(bed.counted().len() as u64, bed.next - 1);
    disk.set_room(None);
    bed.commit().unwrap();
    bed.feed(10);
    bed.commit().unwrap();
    let acknowledged = bed.acknowledged.clone();
    assert!(acknowledged.contains(&(bed.next - 1)));
    bed.snapshot().unwrap();
    let past = bed.die();
    past.disk.crash(Keeps::Nothing);
    let mut bed = Bed::start(&disk, 1).unwrap();
    let counted = bed.counted();
    assert!(acknowledged.iter().all(|part| counted.get(part) == Some(&1)));
}

#[test]
fn a_snapshot_on_a_full_disk_is_given_up_and_the_one_before_holds() {
    let disk = MemDisk::new();
    let mut bed = Bed::start(&disk, 1).unwrap();
    bed.feed(30);
    bed.commit().unwrap();
    bed.snapshot().unwrap();
    bed.commit().unwrap();
    disk.set_room(Some(disk.used()));
    bed.feed(10);
    bed.snapshot().unwrap();
    bed.commit().unwrap();
    assert_eq!((bed.shards[0].published, bed.shards[0].failed), (1, 1));
    disk.set_room(None);
    bed.snapshot().unwrap();
    bed.commit().unwrap();
    assert_eq!(bed.shards[0].published, 2);
    let past = bed.die();
    past.disk.crash(Keeps::Nothing);
    Bed::start(&disk, 1).unwrap().check(&past.acknowledged, past.sent);
}

#[test]
fn a_snapshot_is_published_only_when_the_log_holds_what_is_in_it() {
    let disk = MemDisk::new();
    let mut bed = Bed::start(&disk, 1).unwrap();
    bed.feed(10);
    bed.snapshot().unwrap();
    assert_eq!(bed.shards[0].published, 0);
    bed.commit().unwrap();
    assert_eq!(bed.shards[0].published, 1);
}

#[test]
fn a_shard_that_is_not_empty_is_told_of_its_progress_in_order() {
    let disk = MemDisk::new();
    let big = crate::store::Settings { segment_bytes: 4 << 20, ..settings(1) };
    let mut bed = Bed::start_with(&disk, big).unwrap();
    bed.feed(100);
    bed.stop().unwrap();
    let store = Store::open(disk, big).unwrap();
    let mut last = None;
    let recovery = store.shards().pop().unwrap();
    let recovered = recovery.recover(&mut new_shard(), NOW_MS, &mut |p| last = Some(*p)).unwrap();
    let last = last.unwrap();
    assert_eq!(last.bytes, last.bytes_all);
    assert_eq!((last.events, recovered.facts().events), (100, 100));
    assert_eq!(recovered.facts().replayed.applied, 100);
}
