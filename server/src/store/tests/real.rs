//! The same over a real directory.

use super::bed::{Bed, settings};
use crate::store::{Disk, RealDisk, is_full};
use crate::testing::Folder;
use std::collections::BTreeSet;
use std::io;

#[test]
fn a_directory_lives_through_kills_and_other_numbers_of_shards() {
    let folder = Folder::new("store-real");
    let (mut acknowledged, mut sent) = (BTreeSet::new(), 1);
    for shards in [1, 3, 3, 2] {
        let disk = RealDisk::new(&folder.0);
        let mut bed = Bed::start_with(&disk, settings(shards)).unwrap();
        bed.check(&acknowledged, sent);
        bed.commit().unwrap();
        for _ in 0..10 {
            bed.feed(3);
            bed.commit().unwrap();
        }
        bed.snapshot().unwrap();
        bed.commit().unwrap();
        bed.feed(5);
        bed.commit().unwrap();
        acknowledged.append(&mut bed.acknowledged);
        sent = bed.next;
    }
    let names: Vec<String> = RealDisk::new(&folder.0).list("").unwrap();
    assert_eq!(names, ["MANIFEST", "gen-0003"]);
}

#[test]
fn files_are_as_long_as_they_were_made_and_reads_end_where_they_end() {
    let folder = Folder::new("store-disk");
    let disk = RealDisk::new(&folder.0);
    assert_eq!(disk.list("").unwrap_err().kind(), io::ErrorKind::NotFound);
    disk.create_dir("").unwrap();
    disk.create_dir("a/b").unwrap();
    disk.create_dir("a/b").unwrap();
    disk.create("a/b/file", (1 << 20) + 5).unwrap();
    assert_eq!(disk.len("a/b/file").unwrap(), (1 << 20) + 5);
    disk.write_at("a/b/file", 1 << 20, b"123456789").unwrap();
    disk.sync("a/b/file").unwrap();
    let mut bytes = [1; 12];
    assert_eq!(disk.read_at("a/b/file", (1 << 20) - 2, &mut bytes).unwrap(), 11);
    assert_eq!(&bytes, b"\x00\x00123456789\x01");
    assert_eq!(disk.read_at("a/b/file", 1 << 30, &mut bytes).unwrap(), 0);
    disk.create("a/b/file", 0).unwrap();
    assert_eq!(disk.len("a/b/file").unwrap(), 0);
    disk.rename("a/b/file", "a/b/other").unwrap();
    disk.sync_dir("a/b").unwrap();
    assert_eq!(disk.list("a/b").unwrap(), ["other"]);
    let missing = disk.write_at("a/b/file", 0, b"1").unwrap_err();
    assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    assert!(!is_full(&missing) && is_full(&io::Error::from_raw_os_error(28)));
    disk.remove("a/b/other").unwrap();
    disk.remove_dir("a/b").unwrap();
    assert_eq!(disk.list("a").unwrap(), [""; 0]);
}
