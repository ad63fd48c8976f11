//! Bytes that are not those that were written.

use super::bed::{Bed, Past};
use super::mem_disk::MemDisk;
use crate::store::StoreError;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use std::collections::{BTreeMap, BTreeSet};

/// A log of several segments behind a snapshot, all of it acknowledged and marked.
fn past(shards: u16) -> Past {
    let disk = MemDisk::new();
    let mut bed = Bed::start(&disk, shards).unwrap();
    bed.feed(20);
    bed.commit().unwrap();
    bed.snapshot().unwrap();
    for _ in 0..9 {
        bed.feed(4);
        bed.commit().unwrap();
    }
    bed.die()
}

/// Starts on a copy that was changed: either all that was acknowledged is there, or the start is
/// refused and has changed nothing. Returns the refusal.
fn start(past: &Past, shards: u16, change: impl FnOnce(&MemDisk)) -> Option<StoreError> {
    let disk = past.disk.copy();
    change(&disk);
    let before = disk.all();
    match Bed::start(&disk, shards) {
        Ok(mut bed) => {
            bed.check(&past.acknowledged, past.sent);
            None
        }
        Err(error) => {
            let after = disk.all();
            assert!(after == before, "{error}, and {:?}", changed(&before, &after));
            Some(error)
        }
    }
}

fn changed(before: &BTreeMap<String, Vec<u8>>, after: &BTreeMap<String, Vec<u8>>) -> Vec<String> {
    let paths: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let differs = |path: &&String| before.get(*path) != after.get(*path);
    paths.into_iter().filter(differs).cloned().collect()
}

#[test]
fn a_flipped_bit_is_healed_or_refused_and_never_costs_anything_in_silence() {
    for shards in [1, 2] {
        let past = past(shards);
        let (mut refused, mut healed) = (BTreeMap::new(), BTreeMap::new());
        for (path, bytes) in past.disk.all() {
            let step = if bytes.len() < 1_000 { 1 } else { 97 };
            for at in (0..bytes.len()).step_by(step) {
                let flip = |disk: &MemDisk| disk.poke(&path, |bytes| bytes[at] ^= 1 << (at % 8));
                let kind = path.rsplit('/').next().unwrap()[..4].to_owned();
                match start(&past, shards, flip) {
                    Some(_) => *refused.entry(kind).or_insert(0) += 1,
                    None => *healed.entry(kind).or_insert(0) += 1,
                }
            }
        }
        for kind in ["MANI", "mani", "snap", "seg-"] {
            assert!(refused.contains_key(kind), "{kind}: {refused:?} {healed:?}");
        }
        // One of the copies, never both; and whatever nothing reads.
        assert!(!refused.contains_key("supe") && healed.contains_key("spar"), "{refused:?}");
    }
}

#[test]
fn a_damaged_record_below_the_mark_is_refused_with_numbers_segment_and_offset() {
    let past = past(1);
    let path = past.disk.all().into_keys().rfind(|path| path.contains("seg-"));
    let path = path.unwrap();
    let error = start(&past, 1, |disk| disk.poke(&path, |bytes| bytes[4_096 + 64 + 100] ^= 4));
    let error = error.unwrap().to_string();
    for part in ["is damaged at offset 4160", "LSN", "checksum", "vnodes", "inspect", &path] {
        assert!(error.contains(part), "{part}: {error}");
    }
}

#[test]
fn a_damaged_commit_before_a_later_one_is_refused_though_no_mark_says_so() {
    let past = past(1);
    // The marks are lost, both the superblock's and what the records say of each other.
    let mut bed = Bed::start(&past.disk, 1).unwrap();
    bed.check(&past.acknowledged, past.sent);
    bed.commit().unwrap();
    let mut segment = String::new();
    for _ in 0..2 {
        bed.feed(2);
        assert!(bed.write_one(0).unwrap());
        let mut names = past.disk.all().into_keys();
        segment = names.rfind(|path| path.contains("seg-")).unwrap();
    }
    let past = Past { sent: bed.next, ..bed.die() };
    let all = past.disk.all();
    // The last two commits lie one behind the other: the first block of the one before the last.
    let used = all[&segment].chunks(4_096).rposition(|block| block[..4] == *b"TSCM").unwrap();
    let at = (used - 1) * 4_096 + 64 + 60;
    let error = start(&past, 1, |disk| disk.poke(&segment, |bytes| bytes[at] ^= 1)).unwrap();
    assert!(matches!(&error, StoreError::Damaged(_)), "{error}");
    // The very last one may have been on its way.
    let at = used * 4_096 + 64 + 60;
    let disk = past.disk.copy();
    disk.poke(&segment, |bytes| bytes[at] ^= 1);
    let bed = Bed::start(&disk, 1).unwrap();
    let notes = bed.shards[0].facts.notes.join("\n");
    assert!(notes.contains("unfinished write") && notes.contains("LSN"), "{notes}");
}

#[test]
fn a_tail_torn_at_any_byte_is_cut_and_what_was_cut_never_comes_back() {
    let past = past(1);
    let mut bed = Bed::start(&past.disk, 1).unwrap();
    bed.check(&past.acknowledged, past.sent);
    bed.commit().unwrap();
    // One that stays, so that the segment does, too.
    bed.feed(1);
    bed.commit().unwrap();
    let (acknowledged, before) = (past.acknowledged, past.disk.all());
    let first = bed.next;
    bed.feed(6);
    assert!(bed.write_one(0).unwrap());
    let sent = bed.next;
    let after = past.disk.all();
    let paths = changed(&before, &after);
    let [segment] = &paths[..] else { panic!("{paths:?}") };
    let (old, new) = (&before[segment], &after[segment]);
    let start = old.iter().zip(new).position(|(old, new)| old != new).unwrap();
    let end = old.iter().zip(new).rposition(|(old, new)| old != new).unwrap() + 1;
    let torn = Past { disk: past.disk, acknowledged, sent };
    let mut kept = Vec::new();
    for cut in (start..=end).step_by(7).chain([end]) {
        let disk = torn.disk.copy();
        disk.poke(segment, |bytes| bytes[cut..end].copy_from_slice(&old[cut..end]));
        let mut bed = Bed::start(&disk, 1).unwrap();
        let counted = bed.counted();
        let tail = (first..sent).filter(|part| counted.contains_key(part)).count();
        // A prefix, and never less than before.
        assert!((first..sent).take(tail).all(|part| counted.contains_key(&part)));
        kept.push(tail);
        // New parts take the numbers of those that were cut; then the segment is whole again.
        bed.check(&torn.acknowledged, sent);
        bed.commit().unwrap();
        bed.die().disk.poke(segment, |bytes| bytes[cut..end].copy_from_slice(&new[cut..end]));
        let mut bed = Bed::start(&disk, 1).unwrap();
        assert!(bed.counted().values().all(|times| *times == 1));
        bed.check(&(1..sent).collect(), sent);
    }
    assert!(kept.is_sorted(), "{kept:?}");
    assert_eq!((kept[0], kept[kept.len() - 1]), (0, 6));
}

#[test]
fn any_sectors_of_the_last_write_may_be_missing() {
    let past = past(1);
    let mut bed = Bed::start(&past.disk, 1).unwrap();
    bed.check(&past.acknowledged, past.sent);
    bed.commit().unwrap();
    let before = past.disk.all();
    bed.feed(60);
    assert!(bed.write_one(0).unwrap());
    let sent = bed.next;
    let after = past.disk.all();
    let segment = changed(&before, &after).pop().unwrap();
    let torn = Past { disk: past.disk.copy(), acknowledged: past.acknowledged, sent };
    let mut dice = StdRng::seed_from_u64(4);
    for _ in 0..100 {
        let refused = start(&torn, 1, |disk| {
            disk.poke(&segment, |bytes| {
                for (now, old) in bytes.chunks_mut(512).zip(before[&segment].chunks(512)) {
                    if dice.random_bool(0.3) {
                        now.copy_from_slice(old);
                    }
                }
            });
        });
        assert!(refused.is_none(), "{refused:?}");
    }
}

#[test]
fn missing_files_are_found_and_named() {
    use crate::store::Disk as _;
    let past = past(2);
    let paths: Vec<String> = past.disk.all().into_keys().collect();
    let mut missed = BTreeMap::new();
    for path in &paths {
        let refused = start(&past, 2, |disk| disk.remove(path).unwrap());
        if let Some(error) = &refused {
            let error = error.to_string();
            assert!(error.contains("damaged") && error.contains("inspect"), "{path}: {error}");
        }
        missed.insert(path.as_str(), refused.is_some());
    }
    for (path, is_missed) in &missed {
        let (dir, name) = path.rsplit_once('/').unwrap_or(("", path));
        // A spare holds nothing, and neither may the segment begun last: then it is not missed.
        let later = |other: &String| other.starts_with(&format!("{dir}/seg-")) && **other > **path;
        let may_be_empty = name.starts_with("seg-") && !paths.iter().any(later);
        assert!(*is_missed || name.starts_with("spare-") || may_be_empty, "{path}");
    }
    assert!(missed.len() > 10, "{missed:?}");
}

#[test]
fn damage_in_any_shard_is_found_before_another_number_of_shards_writes() {
    let past = past(2);
    for shard in 0..2 {
        let find = |path: &String| path.contains(&format!("shard-00{shard}/seg-"));
        let segment = past.disk.all().into_keys().find(find).unwrap();
        let flip = |disk: &MemDisk| disk.poke(&segment, |bytes| bytes[4_096 + 64 + 120] ^= 1);
        let error = start(&past, 3, flip).unwrap().to_string();
        assert!(error.contains(&segment), "{error}");
    }
}

#[test]
fn commits_that_a_recycled_segment_held_before_are_never_read() {
    let disk = MemDisk::new();
    let mut bed = Bed::start(&disk, 1).unwrap();
    for _ in 0..6 {
        for _ in 0..9 {
            bed.feed(4);
            bed.commit().unwrap();
        }
        bed.snapshot().unwrap();
        bed.commit().unwrap();
    }
    // The last segment was written before, beyond where it is written to now.
    let last = disk.all().into_iter().rfind(|(path, _)| path.contains("seg-")).unwrap().1;
    let heads = last.chunks(4_096).filter(|block| block[..4] == *b"TSCM").count();
    bed.feed(1);
    assert!(bed.write_one(0).unwrap());
    assert!(heads > 1, "{heads}");
    let past = bed.die();
    let refused = start(&past, 1, |_| ());
    assert!(refused.is_none(), "{refused:?}");
}
