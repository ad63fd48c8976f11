//! The policy of group commit, and where commits go.

use crate::store::limits::{BLOCK_BYTES, COMMIT_WAIT_US_MAX, SUPERBLOCK_EVERY_US};
use crate::store::{
    BatchSource, Chore, Committer, CommitterStart, Done, Identity, Mark, Segment, StoreError,
};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use std::io;
use trendsrv_shard::log::Batch;

const IDENTITY: Identity = Identity { uuid: 1, generation: 1, shard: 0 };

/// Records of any length, without content.
#[derive(Default)]
struct Records {
    waiting: Vec<usize>,
    taken: u64,
    given_back: usize,
}

impl BatchSource for Records {
    fn backlog_bytes(&self) -> usize {
        self.waiting.iter().sum()
    }

    fn take(&mut self, bytes_max: usize) -> Option<Batch> {
        let mut batch = Batch { first_lsn: self.taken + 1, ..Batch::default() };
        while let Some(&len) = self.waiting.first() {
            if !batch.bytes.is_empty() && batch.bytes.len() + len > bytes_max {
                break;
            }
            self.waiting.remove(0);
            self.taken += 1;
            batch.bytes.resize(batch.bytes.len() + len, 7);
        }
        batch.last_lsn = self.taken;
        (!batch.bytes.is_empty()).then_some(batch)
    }

    fn give_back(&mut self, bytes: Vec<u8>) {
        self.given_back += bytes.len();
    }
}

fn committer(segment_bytes: u64) -> Committer {
    let segment = Segment { path: "seg-1".into(), number: 1, first_lsn: 1, bytes: segment_bytes };
    let (last_lsn, last_crc, identity) = (0, 0, IDENTITY);
    Committer::new(CommitterStart { segment, last_lsn, last_crc, segment_bytes, identity })
}

/// The bytes of the write that is due, or `None`.
fn due(committer: &mut Committer, now_us: u64, awaited: bool, from: &mut Records) -> Option<usize> {
    committer.next_write(now_us, awaited, from).unwrap().map(|write| write.len())
}

#[test]
fn a_record_that_is_waited_for_is_written_at_once_and_any_other_within_two_milliseconds() {
    let (mut committer, mut records) = (committer(1 << 20), Records::default());
    assert_eq!(due(&mut committer, 0, true, &mut records), None);
    records.waiting.push(400);
    assert_eq!(due(&mut committer, 0, true, &mut records), Some(4_096));
    committer.on_written(Ok(4_096), &mut records).unwrap();
    records.waiting.push(400);
    assert_eq!(due(&mut committer, 10, false, &mut records), None);
    assert_eq!(committer.due_us(), Some(10 + COMMIT_WAIT_US_MAX));
    assert_eq!(due(&mut committer, 9 + COMMIT_WAIT_US_MAX, false, &mut records), None);
    assert_eq!(due(&mut committer, 10 + COMMIT_WAIT_US_MAX, false, &mut records), Some(4_096));
    assert_eq!(records.given_back, 400);
}

#[test]
fn much_is_written_at_once_and_one_write_is_in_flight() {
    let (mut committer, mut records) = (committer(8 << 20), Records::default());
    records.waiting = vec![1 << 10; 255];
    assert_eq!(due(&mut committer, 0, false, &mut records), None);
    records.waiting.push(1 << 10);
    let written = due(&mut committer, 0, false, &mut records).unwrap();
    records.waiting = vec![1 << 10; 2_000];
    assert_eq!(due(&mut committer, 0, true, &mut records), None);
    assert_eq!(committer.on_written(Ok(written), &mut records).unwrap(), 256);
    // At most a MiB of records, and what the rest of the blocks takes.
    let written = due(&mut committer, 0, false, &mut records).unwrap();
    assert_eq!(written, (1 << 20) + 4_096);
    assert_eq!(committer.on_written(Ok(written), &mut records).unwrap(), 256 + 1_024);
}

#[test]
fn the_mark_is_kept_when_it_has_moved_and_seldom() {
    let (mut committer, mut records) = (committer(8 << 20), Records::default());
    let mut marks = Vec::new();
    for now_us in (0..1_000_000).step_by(1_000) {
        if now_us < 500_000 {
            records.waiting.push(100);
        }
        if let Some(bytes) = due(&mut committer, now_us, true, &mut records) {
            committer.on_written(Ok(bytes), &mut records).unwrap();
        }
        while let Some(chore) = committer.next_chore(now_us) {
            match chore {
                Chore::Superblock(mark) => {
                    committer.on_done(&Done::Superblock(mark));
                    marks.push((now_us, mark.durable));
                }
                other => panic!("{other:?}"),
            }
        }
    }
    assert!(marks.is_sorted_by(|a, b| b.0 - a.0 >= SUPERBLOCK_EVERY_US && b.1 > a.1), "{marks:?}");
    assert_eq!(marks.last().unwrap().1, 500);
    assert!(marks.len() <= 6, "{marks:?}");
    let last = Chore::Superblock(Mark { durable: 500, clean: true });
    assert_eq!(committer.last_chore(), last);
}

#[test]
fn a_short_write_is_a_failed_one() {
    let (mut committer, mut records) = (committer(1 << 20), Records::default());
    records.waiting.push(5_000);
    assert_eq!(due(&mut committer, 0, true, &mut records), Some(8_192));
    let error = committer.on_written(Ok(4_096), &mut records).unwrap_err();
    assert!(error.to_string().contains("only 4096 of 8192 bytes"), "{error}");
    assert_eq!(committer.durable(), 0);
    let error = committer.next_write(0, true, &mut records).unwrap_err();
    assert!(matches!(error, StoreError::Broken));
}

#[test]
fn an_error_of_the_disk_says_where_and_what_was_not_acknowledged() {
    let (mut committer, mut records) = (committer(1 << 20), Records::default());
    records.waiting.extend([100, 100]);
    due(&mut committer, 0, true, &mut records).unwrap();
    let failed = Err(io::Error::from_raw_os_error(5));
    let error = committer.on_written(failed, &mut records).unwrap_err().to_string();
    for part in ["seg-1", "offset 4096", "LSN 1 to 2", "Input/output error", "look after"] {
        assert!(error.contains(part), "{part}: {error}");
    }
}

#[test]
fn no_block_is_written_twice_and_records_follow_each_other_over_segments() {
    for seed in 0..200 {
        let mut dice = StdRng::seed_from_u64(seed);
        let blocks = dice.random_range(5..40);
        let bytes = blocks * BLOCK_BYTES;
        let (mut committer, mut records) = (committer(bytes), Records::default());
        let mut asked: Option<(u64, u32)> = None;
        let (mut file, mut free, mut first) = ("seg-1".to_owned(), BLOCK_BYTES, 1);
        let mut now_us = 0;
        for _ in 0..300 {
            now_us += dice.random_range(0..1_500);
            if dice.random_bool(0.6) {
                records.waiting.push(dice.random_range(6..1_200) * 8);
            }
            let lsn = records.taken;
            if let Some(write) = committer.next_write(now_us, false, &mut records).unwrap() {
                assert_eq!((&**write.file, write.offset), (file.as_str(), free), "seed {seed}");
                free += write.len() as u64;
                assert!(free <= bytes, "seed {seed}");
                let count = write.len();
                let durable = committer.on_written(Ok(count), &mut records).unwrap();
                assert!(durable >= lsn && durable <= records.taken, "seed {seed}");
            }
            while let Some(chore) = committer.next_chore(now_us) {
                match chore {
                    Chore::Segment(start) => {
                        assert!(asked.is_none() && start.first_lsn > first, "seed {seed}");
                        asked = Some((start.first_lsn, start.prev_crc));
                    }
                    Chore::Superblock(mark) => committer.on_done(&Done::Superblock(mark)),
                    other => panic!("{other:?}"),
                }
            }
            if let Some((first_lsn, _)) = asked
                && dice.random_bool(0.3)
            {
                assert_eq!(first_lsn, committer.durable() + 1, "seed {seed}");
                (file, free, first, asked) =
                    (format!("seg-{first_lsn}"), BLOCK_BYTES, first_lsn, None);
                let path = file.as_str().into();
                committer.on_done(&Done::Segment(Segment { path, number: 2, first_lsn, bytes }));
            }
        }
        assert!(first > 1, "seed {seed}: no other segment was needed");
    }
}
