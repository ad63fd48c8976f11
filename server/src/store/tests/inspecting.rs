//! What an inspection says, and that it changes nothing.

use super::bed::{Bed, settings};
use super::mem_disk::MemDisk;
use crate::config::InspectArgs;
use crate::folder_lock::FolderLock;
use crate::store::{Disk as _, RealDisk, StoreError, inspect, inspect_command};
use crate::testing::Folder;
use std::process::ExitCode;

/// Two shards with a snapshot and a log behind it, ended in good order.
fn directory() -> MemDisk {
    let disk = MemDisk::new();
    let mut bed = Bed::start(&disk, 2).unwrap();
    bed.feed(30);
    bed.commit().unwrap();
    bed.snapshot().unwrap();
    bed.feed(20);
    bed.stop().unwrap();
    disk
}

#[test]
fn tells_what_is_there_in_words_and_json() {
    let disk = directory();
    let before = disk.all();
    let findings = inspect(&disk).unwrap();
    assert!(findings.sound && findings.is_sound());
    let words = findings.to_string();
    for part in [
        "generation 1, 2 shards",
        "ended in good order",
        "snapshot 1",
        "replays from",
        "--window 60000ms",
        "\nsound\n",
    ] {
        assert!(words.contains(part), "{part}: {words}");
    }
    let json = serde_json::to_value(&findings).unwrap();
    assert_eq!(json["manifest"]["shards"], 2);
    let of_shards = |key: &str, inner: &str| -> u64 {
        (0..2).map(|shard| json["shards"][shard][key][inner].as_u64().unwrap()).sum()
    };
    assert_eq!(of_shards("snapshot", "tenants"), 5);
    assert_eq!(of_shards("snapshot", "events"), 30);
    // The first needed segment is read from its beginning.
    assert_eq!(of_shards("log", "events"), 50);
    assert_eq!(disk.all(), before);
}

#[test]
fn a_torn_tail_is_told_and_is_no_damage() {
    let disk = MemDisk::new();
    let mut bed = Bed::start(&disk, 1).unwrap();
    bed.feed(10);
    bed.commit().unwrap();
    bed.feed(10);
    bed.write_one(0).unwrap();
    let segment = disk.all().into_keys().find(|path| path.contains("seg-")).unwrap();
    let blocks = disk.all()[&segment].chunks(4_096).rposition(|b| b[..4] == *b"TSCM").unwrap();
    disk.poke(&segment, |bytes| bytes[blocks * 4_096 + 512..].fill(0));
    let findings = inspect(&disk).unwrap();
    assert!(findings.is_sound());
    let torn = findings.shards[0].torn.as_ref().unwrap();
    assert_eq!((torn.path.as_str(), torn.offset > 8_192), (segment.as_str(), true));
    assert!(findings.to_string().contains("torn tail"), "{findings}");
}

#[test]
fn damage_of_one_file_does_not_hide_that_of_another() {
    let disk = directory();
    let paths: Vec<String> = disk.all().into_keys().collect();
    let find = |part: &str| paths.iter().find(|path| path.contains(part)).unwrap().clone();
    let (snapshot, segment) = (find("shard-000/snap-"), find("shard-001/seg-"));
    let superblock = find("shard-000/superblock");
    disk.poke(&snapshot, |bytes| bytes[5_000] ^= 1);
    disk.poke(&superblock, |bytes| bytes[10] ^= 1);
    disk.poke(&segment, |bytes| bytes[4_096 + 64 + 50] ^= 1);
    let before = disk.all();
    let findings = inspect(&disk).unwrap();
    assert!(!findings.sound);
    let words = findings.to_string();
    for part in [
        format!("DAMAGED: {snapshot} is damaged at offset"),
        format!("DAMAGED: {segment} is damaged at offset 4160"),
        "acknowledged are lost: LSN".to_owned(),
        "the snapshot has".to_owned(),
        "note: ".to_owned() + &superblock,
        "\ndamaged\n".to_owned(),
    ] {
        assert!(words.contains(&part), "{part}: {words}");
    }
    // The log of the shard with the damaged snapshot is read all the same.
    assert!(findings.shards[0].log.as_ref().unwrap().events > 0);
    assert!(findings.shards[1].lost_lsns.is_some());
    assert_eq!(disk.all(), before);
}

#[test]
fn any_flipped_bit_is_survived_and_those_that_a_start_refuses_are_damage() {
    let disk = directory();
    for (path, bytes) in disk.all() {
        for at in (0..bytes.len()).step_by(if bytes.len() < 1_000 { 1 } else { 211 }) {
            let disk = disk.copy();
            disk.poke(&path, |bytes| bytes[at] ^= 1 << (at % 8));
            let findings = inspect(&disk).unwrap();
            let starts = Bed::start(&disk, 2);
            assert_eq!(findings.is_sound(), starts.is_ok(), "{path} at {at}: {findings}");
        }
    }
}

#[test]
fn what_is_no_data_directory_is_said_to_be_none() {
    let disk = MemDisk::new();
    assert!(matches!(inspect(&disk), Err(StoreError::NotOurs { .. })));
    disk.create_dir("gen-0001").unwrap();
    let findings = inspect(&disk).unwrap();
    assert!(findings.to_string().contains("MANIFEST is damaged"), "{findings}");
}

#[test]
fn the_command_tells_by_its_exit_code_and_says_when_a_server_is_at_work() {
    let folder = Folder::new("store-inspect");
    let args = InspectArgs { dir: folder.0.clone(), json: false };
    assert_eq!(inspect_command(&args), ExitCode::from(2));
    let disk = RealDisk::new(&folder.0);
    let mut bed = Bed::start_with(&disk, settings(1)).unwrap();
    bed.feed(10);
    bed.stop().unwrap();
    let lock = FolderLock::take(&folder.0).unwrap();
    assert_eq!(inspect_command(&args), ExitCode::SUCCESS);
    drop(lock);
    let manifest = folder.0.join("gen-0001/shard-000/manifest");
    std::fs::write(&manifest, "{}").unwrap();
    assert_eq!(inspect_command(&InspectArgs { json: true, ..args }), ExitCode::from(1));
    assert_eq!(std::fs::read(&manifest).unwrap(), b"{}");
}
