//! What each error says: where, what, and what to do.

use super::bed::{Bed, NOW_MS, new_shard_of, settings};
use super::mem_disk::MemDisk;
use crate::store::{Disk as _, Store, StoreError};

/// A directory with a snapshot, of a server that ended in good order.
fn directory() -> MemDisk {
    let disk = MemDisk::new();
    let mut bed = Bed::start(&disk, 1).unwrap();
    bed.feed(30);
    bed.commit().unwrap();
    bed.snapshot().unwrap();
    bed.stop().unwrap();
    disk
}

fn path_of(disk: &MemDisk, part: &str) -> String {
    disk.all().into_keys().rfind(|path| path.contains(part)).unwrap()
}

/// Gives a block another format version, and the checksum that belongs to it.
fn renumber(bytes: &mut [u8], block: usize) {
    let block = &mut bytes[block * 4_096..(block + 1) * 4_096];
    block[8] = 9;
    let crc = crc32c::crc32c(&block[..4_092]);
    block[4_092..].copy_from_slice(&crc.to_le_bytes());
}

#[test]
fn every_file_of_a_newer_format_is_named_with_both_numbers() {
    for (part, blocks) in [("/snap-", 1), ("/seg-", 1), ("/superblock", 2)] {
        let disk = directory();
        let path = path_of(&disk, part);
        disk.poke(&path, |bytes| (0..blocks).for_each(|block| renumber(bytes, block)));
        let error = Bed::start(&disk, 1).err().unwrap().to_string();
        let expected = format!("{path} has format version 9 and this server knows 1");
        assert!(error.contains(&expected), "{error}");
    }
}

#[test]
fn a_directory_of_another_data_directory_is_not_mixed_in() {
    let disk = directory();
    let other = MemDisk::new();
    let theirs = crate::store::Settings { uuid: 5, ..settings(1) };
    let mut bed = Bed::start_with(&other, theirs).unwrap();
    bed.feed(3);
    bed.stop().unwrap();
    for part in ["/superblock", "/manifest", "/seg-"] {
        let mixed = disk.copy();
        let theirs = other.all()[&path_of(&other, part)].clone();
        mixed.poke(&path_of(&mixed, part), |bytes| *bytes = theirs);
        let error = Bed::start(&mixed, 1).err().unwrap().to_string();
        assert!(error.contains("belongs to another"), "{part}: {error}");
    }
}

#[test]
fn a_server_with_too_small_tables_is_told_which_flag_to_raise() {
    let disk = directory();
    let before = disk.all();
    let store = Store::open(disk.clone(), settings(1)).unwrap();
    let recovery = store.shards().pop().unwrap();
    let error = recovery.recover(&mut new_shard_of(2), NOW_MS, &mut |_| ()).unwrap_err();
    assert!(matches!(error, StoreError::Restore { .. }), "{error}");
    let error = error.to_string();
    assert!(error.contains("snap-") && error.contains("section of vnode"), "{error}");
    assert!(error.contains("--tenants-max"), "{error}");
    assert_eq!(disk.all(), before);
}

#[test]
fn a_sync_that_fails_ends_the_server_and_is_not_tried_again() {
    // Of the header of the next segment, of a snapshot's file, and of names.
    for (part, what) in [("/spare-", "spare-"), ("/snap-", "snap-"), ("gen-0001/shard-000", "sync")]
    {
        let disk = MemDisk::new();
        let mut bed = Bed::start(&disk, 1).unwrap();
        bed.feed(1);
        bed.commit().unwrap();
        disk.fail_sync(part);
        let mut failed = None;
        for _ in 0..20 {
            bed.feed(3);
            failed = bed.commit().and_then(|()| bed.snapshot()).err();
            if failed.is_some() {
                break;
            }
        }
        let error = failed.unwrap_or_else(|| panic!("{part} did not fail"));
        assert!(!error.is_full());
        let error = error.to_string();
        assert!(error.contains("input/output error") && error.contains(what), "{error}");
    }
}

#[test]
fn a_disk_that_refuses_names_the_file_and_what_was_tried() {
    let disk = directory();
    disk.die_after(0);
    let error = Bed::start(&disk, 1).err().unwrap().to_string();
    assert!(error.contains("cannot sync") || error.contains("cannot"), "{error}");
    assert!(error.contains("gen-0001/") || error.contains("directory"), "{error}");
    let disk = MemDisk::new();
    disk.set_room(Some(20 << 10));
    let error = Bed::start(&disk, 1).err().unwrap();
    assert!(error.is_full(), "{error}");
    assert!(error.to_string().contains("cannot make gen-0001/shard-000/spare-1.log"), "{error}");
    // What was begun is no obstacle.
    disk.set_room(None);
    Bed::start(&disk, 3).unwrap().stop().unwrap();
    assert!(disk.list("").unwrap().contains(&"gen-0001".to_owned()));
}
