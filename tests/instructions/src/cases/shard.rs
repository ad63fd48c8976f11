//! A shard's way of a part, its answers, its turns and its log.
//!
//! ```text
//! part -> in turn? (marks) -> admitted (index) -> counted (windows) -> appended (log)
//! turn -> programs of changed tenants, a slice of the sweep          ask -> view, rank, encode
//! ```

use super::bed::{Bed, LOG_START, RECORDS, SLIDE_MS, WINDOW_MS, sequence};
use super::measured;
use std::hint::black_box;
use trendsrv_proto::{EventRecord, Kind, Rank, TenantId};
use trendsrv_shard::Ask;
use trendsrv_shard::log::{BATCH_BYTES, Expect, Parsed, parse};

/// Every event another tenant's.
pub(super) fn apply_run_1() {
    apply(Bed::new(), 1);
}

/// Sixteen events of a tenant together.
pub(super) fn apply_run_16() {
    apply(Bed::new(), 16);
}

/// Sixty-four events of a tenant together.
pub(super) fn apply_run_64() {
    apply(Bed::new(), 64);
}

/// Every event another tenant's, and the first of its tenant in a new pane: windows advance.
pub(super) fn apply_next_pane() {
    let mut bed = Bed::new();
    bed.now_ms += SLIDE_MS;
    apply(bed, 1);
}

/// The same parts as in runs of 64, with a log: the difference is appending.
pub(super) fn log_append() {
    let bed = apply(Bed::new().logged(), 64);
    assert_eq!(logged(bed), PARTS * RECORDS);
}

/// A part of one event each: most of it is the head of the record.
pub(super) fn log_append_small() {
    let mut bed = Bed::new().logged();
    let parts = bed.draw(1);
    bed.fx.clear();
    bed.fx.list.reserve(2 * parts.len());
    measured(|| {
        for record in black_box(&parts) {
            bed.send(None, std::slice::from_ref(record));
        }
    });
    assert_eq!(applied(&bed), RECORDS as u64);
    assert_eq!(logged(bed), RECORDS);
}

/// What a restart does with each record before it applies it again.
pub(super) fn log_parse() {
    let mut bed = Bed::new().logged();
    for _ in 0..PARTS {
        let part = bed.draw(64);
        bed.apply(&part);
    }
    let log = bed.shard.log().expect("it was started");
    let batch = log.take(BATCH_BYTES).expect("parts were logged");
    assert_eq!((batch.first_lsn, batch.last_lsn), (1, PARTS as u64), "one batch holds them all");
    assert_eq!(measured(|| events_in(black_box(&batch.bytes))), PARTS * RECORDS);
}

/// Top 10 of 64 tenants, written as frames.
pub(super) fn answer() {
    let mut bed = Bed::new();
    let tenants: Vec<TenantId> = (0..ANSWERS).map(|_| bed.tenant()).collect();
    let mut out = Vec::with_capacity(1 << 20);
    measured(|| {
        for &tenant in black_box(&tenants) {
            let ask = Ask { tenant, name: None, at_ms: None, k: 10, rank: Rank::Score };
            let Ok(answer) = bed.shard.ask(bed.now_ms, &ask) else { panic!("it is there") };
            answer.encode(&mut out, Kind::Summary, 1);
        }
    });
    assert_eq!(bed.shard.stats().queries, ANSWERS as u64);
    assert!(out.len() > ANSWERS * 10 * 56, "ten topics each");
}

/// One turn of a slide's tick: 256 programs see their windows for the first time.
pub(super) fn tick() {
    let mut bed = Bed::new();
    bed.now_ms += SLIDE_MS;
    // Until the sweep has caught up, and before the programs are done.
    for _ in 0..TURNS_BEFORE {
        assert!(bed.turn(), "programs are due");
    }
    let before = bed.shard.stats().ticks;
    measured(|| bed.turn());
    assert_eq!(bed.shard.stats().ticks - before, 256);
}

/// A filler each of 512 producers, whose mark moves on: admission and counting have nothing to do.
pub(super) fn part_in_turn() {
    let bed = parts(producers(), 2);
    assert!(bed.accepted().all(|(_, duplicate)| !duplicate));
}

/// A part each of 512 producers, counted before.
pub(super) fn part_duplicate() {
    let bed = parts(producers(), 1);
    assert!(bed.accepted().all(|(counted, duplicate)| duplicate && counted.applied == 0));
}

/// A turn that looks at 256 windows with events in them.
pub(super) fn sweep_live() {
    let mut bed = quiet();
    bed.now_ms += SLIDE_MS / 3;
    assert_eq!(sweep(&mut bed), 0);
}

/// A turn that gives back 256 windows whose events have all passed.
pub(super) fn sweep_emptied() {
    let mut bed = quiet();
    bed.now_ms += WINDOW_MS + SLIDE_MS;
    // The first turn of a slide asks for names, too.
    bed.turn();
    assert_eq!(sweep(&mut bed), 256);
}

/// A bed whose programs were all called and whose windows were all looked at.
fn quiet() -> Bed {
    let mut bed = Bed::new();
    bed.now_ms += SLIDE_MS;
    bed.turns();
    // The sweep goes on where programs do not.
    for _ in 0..TURNS_BEFORE {
        bed.turn();
    }
    bed
}

/// One turn, which calls no program. Returns how many windows it closed.
fn sweep(bed: &mut Bed) -> u64 {
    let (ticks, emptied) = (bed.shard.stats().ticks, bed.shard.stats().tenants_emptied);
    measured(|| bed.turn());
    assert_eq!(bed.shard.stats().ticks, ticks);
    bed.shard.stats().tenants_emptied - emptied
}

/// Counts parts in the region and checks that all of them were.
fn apply(mut bed: Bed, run: usize) -> Bed {
    let parts: Vec<Vec<EventRecord>> = (0..PARTS).map(|_| bed.draw(run)).collect();
    bed.fx.clear();
    bed.fx.list.reserve(2 * PARTS);
    measured(|| {
        for part in black_box(&parts) {
            bed.send(None, part);
        }
    });
    assert_eq!(applied(&bed), (PARTS * RECORDS) as u64);
    bed
}

/// A bed where 512 producers have sent their first frame.
fn producers() -> Bed {
    let mut bed = Bed::new();
    let records = bed.draw(16);
    for producer in 0..RECORDS as u64 {
        let at = sequence(producer, 1);
        assert!(bed.shard.on_greet(at.lane, at.epoch).is_ok(), "nobody is fenced");
        bed.shard.on_begin(at.lane, at.epoch);
        bed.send(Some(at), &records[..1]);
    }
    bed
}

/// The frame number `seq` of every producer, without events.
fn parts(mut bed: Bed, seq: u64) -> Bed {
    bed.fx.clear();
    bed.fx.list.reserve(2 * RECORDS);
    measured(|| {
        for producer in 0..black_box(RECORDS as u64) {
            bed.send(Some(sequence(producer, seq)), &[]);
        }
    });
    assert_eq!(bed.accepted().count(), RECORDS);
    bed
}

/// Events of the parts since the effects were cleared.
fn applied(bed: &Bed) -> u64 {
    bed.accepted().map(|(counted, _)| counted.applied).sum()
}

/// Events that the log holds.
fn logged(mut bed: Bed) -> usize {
    let log = bed.shard.log().expect("it was started");
    let mut bytes = Vec::new();
    while let Some(batch) = log.take(BATCH_BYTES) {
        bytes.extend_from_slice(&batch.bytes);
    }
    events_in(&bytes)
}

/// Events in the records of a log from its beginning.
fn events_in(mut bytes: &[u8]) -> usize {
    let start = LOG_START;
    let (generation, lsn) = (start.generation, start.next_lsn);
    let mut expect = Expect { generation, lsn, prev_crc: start.prev_crc };
    let mut events = 0;
    loop {
        match parse(bytes, &expect) {
            Parsed::Record(head, record) => {
                events += record.events();
                expect = Expect::after(&head);
                bytes = &bytes[head.len..];
            }
            Parsed::Padding => return usize::try_from(events).expect("64 bits"),
            Parsed::Bad(why) => panic!("{why}"),
        }
    }
}

/// Parts of one region.
const PARTS: usize = 8;
/// Answers of one region.
const ANSWERS: usize = 64;
/// Turns in which the sweep catches up.
const TURNS_BEFORE: usize = 32;
