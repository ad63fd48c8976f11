//! A disk in memory that knows what was made durable, and fails on demand.
//!
//! Owns files and folders twice: as they are now, and as a power cut would leave them. Never
//! touches the kernel: `mount.rs` puts it behind a mount point.
//!
//! ```text
//! write, truncate ─▶ now ──fsync──▶ synced          create, rename, remove ─▶ now ──fsyncdir──▶ synced
//! power cut: synced, and of what was not synced: any sectors of the writes, and the first few of
//!            each folder's changes
//! ```
//!
//! Invariant: what was synced without an error survives every power cut.

use rand::Rng as _;
use rand::rngs::StdRng;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

/// Number of the folder that holds all others.
pub(super) const ROOT: u64 = 1;

/// What goes wrong from now on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Faults {
    /// Writes that still succeed.
    pub(super) writes_left: Option<u64>,
    /// Syncs that still succeed.
    pub(super) syncs_left: Option<u64>,
    /// Bytes of all files together.
    pub(super) capacity: Option<u64>,
}

/// Why an operation fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// EIO.
    Broken,
    /// ENOSPC.
    Full,
    /// ENOENT.
    Missing,
    /// EEXIST.
    Exists,
    /// ENOTEMPTY.
    NotEmpty,
    /// EINVAL.
    Invalid,
}

/// See the module header.
#[derive(Debug)]
pub(super) struct Volume {
    nodes: BTreeMap<u64, Node>,
    next: u64,
    pub(super) faults: Faults,
}

/// A file or folder.
#[derive(Debug)]
pub(super) enum Node {
    /// A file.
    File(File),
    /// A folder.
    Folder(Folder),
}

/// A file's bytes.
#[derive(Debug, Default)]
pub(super) struct File {
    now: Vec<u8>,
    synced: Vec<u8>,
    unsynced: Vec<Change>,
}

#[derive(Debug)]
enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    Resize(usize),
}

/// A folder's entries.
#[derive(Debug, Default)]
pub(super) struct Folder {
    pub(super) now: BTreeMap<OsString, u64>,
    synced: BTreeMap<OsString, u64>,
    unsynced: Vec<Entry>,
}

#[derive(Clone, Debug)]
enum Entry {
    Set(OsString, u64),
    Clear(OsString),
    Move(OsString, OsString),
}

impl Volume {
    /// An empty volume.
    pub(super) fn new() -> Self {
        let nodes = BTreeMap::from([(ROOT, Node::Folder(Folder::default()))]);
        Self { nodes, next: ROOT + 1, faults: Faults::default() }
    }

    /// What a number stands for.
    pub(super) fn node(&self, number: u64) -> Result<&Node, Failure> {
        self.nodes.get(&number).ok_or(Failure::Missing)
    }

    /// The number of an entry.
    pub(super) fn find(&self, folder: u64, name: &OsStr) -> Result<u64, Failure> {
        let Node::Folder(folder) = self.node(folder)? else { return Err(Failure::Invalid) };
        folder.now.get(name).copied().ok_or(Failure::Missing)
    }

    /// Makes an empty file or folder.
    pub(super) fn create(
        &mut self,
        folder: u64,
        name: &OsStr,
        is_folder: bool,
    ) -> Result<u64, Failure> {
        if self.find(folder, name).is_ok() {
            return Err(Failure::Exists);
        }
        let number = self.next;
        self.folder(folder)?.change(Entry::Set(name.to_owned(), number));
        let node = match is_folder {
            true => Node::Folder(Folder::default()),
            false => Node::File(File::default()),
        };
        self.nodes.insert(number, node);
        self.next += 1;
        Ok(number)
    }

    /// Removes an entry; a folder must be empty.
    pub(super) fn remove(&mut self, folder: u64, name: &OsStr) -> Result<(), Failure> {
        let number = self.find(folder, name)?;
        if matches!(self.node(number)?, Node::Folder(found) if !found.now.is_empty()) {
            return Err(Failure::NotEmpty);
        }
        self.folder(folder)?.change(Entry::Clear(name.to_owned()));
        Ok(())
    }

    /// Renames within one folder, replacing what has that name.
    pub(super) fn rename(&mut self, folder: u64, from: &OsStr, to: &OsStr) -> Result<(), Failure> {
        self.find(folder, from)?;
        self.folder(folder)?.change(Entry::Move(from.to_owned(), to.to_owned()));
        Ok(())
    }

    /// Bytes of a file.
    pub(super) fn read(&self, number: u64, offset: usize, len: usize) -> Result<&[u8], Failure> {
        let Node::File(file) = self.node(number)? else { return Err(Failure::Invalid) };
        let from = offset.min(file.now.len());
        Ok(&file.now[from..(offset + len).min(file.now.len()).max(from)])
    }

    /// Writes into a file, durably if asked. A failed durable write leaves in doubt what it wrote.
    pub(super) fn write(
        &mut self,
        number: u64,
        offset: usize,
        bytes: &[u8],
        durable: bool,
    ) -> Result<(), Failure> {
        if !take(&mut self.faults.writes_left) {
            return Err(Failure::Broken);
        }
        let end = offset + bytes.len();
        self.make_room(number, end)?;
        let broken = durable && !take(&mut self.faults.syncs_left);
        let file = self.file(number)?;
        file.now.resize(file.now.len().max(end), 0);
        file.now[offset..end].copy_from_slice(bytes);
        let change = Change::Write { offset, bytes: bytes.to_owned() };
        match durable && !broken {
            true => change.apply(&mut file.synced),
            false => file.unsynced.push(change),
        }
        if broken { Err(Failure::Broken) } else { Ok(()) }
    }

    /// Changes a file's length; new bytes are zero.
    pub(super) fn resize(&mut self, number: u64, len: usize) -> Result<(), Failure> {
        self.make_room(number, len)?;
        let file = self.file(number)?;
        file.now.resize(len, 0);
        file.unsynced.push(Change::Resize(len));
        Ok(())
    }

    /// Makes a file's bytes durable. After a failure the kernel takes them for written: a second
    /// sync succeeds, and they are gone with the power all the same.
    pub(super) fn sync(&mut self, number: u64) -> Result<(), Failure> {
        let broken = !take(&mut self.faults.syncs_left);
        let file = self.file(number)?;
        for change in file.unsynced.drain(..) {
            if !broken {
                change.apply(&mut file.synced);
            }
        }
        if broken { Err(Failure::Broken) } else { Ok(()) }
    }

    /// Makes a folder's entries durable.
    pub(super) fn sync_folder(&mut self, number: u64) -> Result<(), Failure> {
        if !take(&mut self.faults.syncs_left) {
            return Err(Failure::Broken);
        }
        let folder = self.folder(number)?;
        folder.synced = folder.now.clone();
        folder.unsynced.clear();
        Ok(())
    }

    /// The power fails and comes back: only what is durable is sure to be there.
    pub(super) fn cut_power(&mut self, rng: &mut StdRng) {
        for node in self.nodes.values_mut() {
            match node {
                Node::File(file) => file.cut_power(rng),
                Node::Folder(folder) => {
                    let survive = rng.random_range(0..=folder.unsynced.len());
                    for entry in folder.unsynced.drain(..).take(survive) {
                        entry.apply(&mut folder.synced);
                    }
                    folder.now = folder.synced.clone();
                }
            }
        }
        self.faults = Faults { capacity: self.faults.capacity, ..Faults::default() };
    }

    /// Bytes of all files that have an entry.
    pub(super) fn used(&self) -> u64 {
        let mut folders = vec![ROOT];
        let mut used = 0;
        while let Some(number) = folders.pop() {
            let Some(Node::Folder(folder)) = self.nodes.get(&number) else { continue };
            for &entry in folder.now.values() {
                match self.nodes.get(&entry) {
                    Some(Node::File(file)) => used += file.now.len() as u64,
                    Some(Node::Folder(_)) => folders.push(entry),
                    None => {}
                }
            }
        }
        used
    }

    fn make_room(&self, number: u64, len: usize) -> Result<(), Failure> {
        let Some(capacity) = self.faults.capacity else { return Ok(()) };
        let Node::File(file) = self.node(number)? else { return Err(Failure::Invalid) };
        let more = len.saturating_sub(file.now.len()) as u64;
        // Space that a file has already is never refused.
        if more > 0 && self.used() + more > capacity { Err(Failure::Full) } else { Ok(()) }
    }

    fn file(&mut self, number: u64) -> Result<&mut File, Failure> {
        match self.nodes.get_mut(&number) {
            Some(Node::File(file)) => Ok(file),
            Some(Node::Folder(_)) => Err(Failure::Invalid),
            None => Err(Failure::Missing),
        }
    }

    fn folder(&mut self, number: u64) -> Result<&mut Folder, Failure> {
        match self.nodes.get_mut(&number) {
            Some(Node::Folder(folder)) => Ok(folder),
            Some(Node::File(_)) => Err(Failure::Invalid),
            None => Err(Failure::Missing),
        }
    }
}

impl File {
    /// Its length.
    pub(super) const fn len(&self) -> usize {
        self.now.len()
    }

    fn cut_power(&mut self, rng: &mut StdRng) {
        for change in self.unsynced.drain(..) {
            match change {
                Change::Write { offset, bytes } => {
                    for (at, sector) in bytes.chunks(SECTOR_BYTES).enumerate() {
                        if rng.random() {
                            let offset = offset + at * SECTOR_BYTES;
                            let bytes = sector.to_owned();
                            Change::Write { offset, bytes }.apply(&mut self.synced);
                        }
                    }
                }
                Change::Resize(_) if rng.random() => change.apply(&mut self.synced),
                Change::Resize(_) => {}
            }
        }
        self.now.clone_from(&self.synced);
    }
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Write { offset, bytes: new } => {
                let end = offset + new.len();
                bytes.resize(bytes.len().max(end), 0);
                bytes[*offset..end].copy_from_slice(new);
            }
            Self::Resize(len) => bytes.resize(*len, 0),
        }
    }
}

impl Folder {
    fn change(&mut self, entry: Entry) {
        entry.apply(&mut self.now);
        self.unsynced.push(entry);
    }
}

impl Entry {
    fn apply(&self, entries: &mut BTreeMap<OsString, u64>) {
        match self {
            Self::Set(name, number) => drop(entries.insert(name.clone(), *number)),
            Self::Clear(name) => drop(entries.remove(name)),
            Self::Move(from, to) => {
                if let Some(number) = entries.remove(from) {
                    entries.insert(to.clone(), number);
                }
            }
        }
    }
}

/// Counts down; `false` when nothing is left.
const fn take(left: &mut Option<u64>) -> bool {
    match left {
        None => true,
        Some(0) => false,
        Some(count) => {
            *count -= 1;
            true
        }
    }
}

/// What a disk writes whole.
const SECTOR_BYTES: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng as _;

    fn name(name: &str) -> &OsStr {
        OsStr::new(name)
    }

    fn text(volume: &Volume, file: &str) -> Option<String> {
        let number = volume.find(ROOT, name(file)).ok()?;
        let bytes = volume.read(number, 0, 1 << 20).unwrap();
        Some(String::from_utf8_lossy(bytes).into_owned())
    }

    #[test]
    fn what_was_synced_survives_and_the_rest_survives_at_times() {
        let mut lost = [0, 0];
        for seed in 0..64 {
            let (mut volume, mut rng) = (Volume::new(), StdRng::seed_from_u64(seed));
            let kept = volume.create(ROOT, name("kept"), false).unwrap();
            volume.write(kept, 0, b"one", false).unwrap();
            volume.sync(kept).unwrap();
            volume.sync_folder(ROOT).unwrap();
            volume.write(kept, 0, b"two", false).unwrap();
            volume.create(ROOT, name("new"), false).unwrap();
            assert_eq!(text(&volume, "kept").unwrap(), "two");
            volume.cut_power(&mut rng);
            let found = text(&volume, "kept").unwrap();
            assert!(found == "one" || found == "two", "{found}");
            lost[0] += usize::from(found == "one");
            lost[1] += usize::from(text(&volume, "new").is_none());
        }
        assert!(lost.iter().all(|&lost| 10 < lost && lost < 54), "{lost:?}");
    }

    #[test]
    fn a_durable_write_survives_without_a_sync() {
        let (mut volume, mut rng) = (Volume::new(), StdRng::seed_from_u64(1));
        let file = volume.create(ROOT, name("log"), false).unwrap();
        volume.sync_folder(ROOT).unwrap();
        volume.write(file, 2, b"ab", true).unwrap();
        volume.cut_power(&mut rng);
        assert_eq!(text(&volume, "log").unwrap(), "\0\0ab");
    }

    #[test]
    fn a_rename_is_whole_or_not_at_all() {
        let mut seen = [0, 0];
        for seed in 0..64 {
            let (mut volume, mut rng) = (Volume::new(), StdRng::seed_from_u64(seed));
            for (file, content) in [("a", "new"), ("b", "old")] {
                let number = volume.create(ROOT, name(file), false).unwrap();
                volume.write(number, 0, content.as_bytes(), true).unwrap();
            }
            volume.sync_folder(ROOT).unwrap();
            volume.rename(ROOT, name("a"), name("b")).unwrap();
            volume.cut_power(&mut rng);
            match (text(&volume, "a").as_deref(), text(&volume, "b").as_deref()) {
                (None, Some("new")) => seen[0] += 1,
                (Some("new"), Some("old")) => seen[1] += 1,
                other => panic!("{other:?}"),
            }
        }
        assert!(seen[0] > 10 && seen[1] > 10, "{seen:?}");
    }

    #[test]
    fn a_failed_sync_loses_what_a_second_one_claims_to_have_kept() {
        let (mut volume, mut rng) = (Volume::new(), StdRng::seed_from_u64(1));
        let file = volume.create(ROOT, name("log"), false).unwrap();
        volume.sync_folder(ROOT).unwrap();
        volume.write(file, 0, b"ab", false).unwrap();
        volume.faults.syncs_left = Some(0);
        assert_eq!(volume.sync(file), Err(Failure::Broken));
        volume.faults.syncs_left = None;
        assert_eq!(volume.sync(file), Ok(()));
        volume.cut_power(&mut rng);
        assert_eq!(text(&volume, "log").unwrap(), "");
    }

    #[test]
    fn a_full_volume_takes_writes_into_the_space_that_files_have() {
        let mut volume = Volume::new();
        let file = volume.create(ROOT, name("log"), false).unwrap();
        volume.write(file, 0, &[0; 100], false).unwrap();
        volume.faults.capacity = Some(100);
        assert_eq!(volume.write(file, 50, &[1; 50], true), Ok(()));
        assert_eq!(volume.write(file, 51, &[1; 50], true), Err(Failure::Full));
        volume.faults.writes_left = Some(0);
        assert_eq!(volume.write(file, 0, b"a", true), Err(Failure::Broken));
    }

    #[test]
    fn names_behave_as_in_any_file_system() {
        let mut volume = Volume::new();
        let folder = volume.create(ROOT, name("d"), true).unwrap();
        volume.create(folder, name("f"), false).unwrap();
        assert_eq!(volume.create(folder, name("f"), false), Err(Failure::Exists));
        assert_eq!(volume.remove(ROOT, name("d")), Err(Failure::NotEmpty));
        volume.remove(folder, name("f")).unwrap();
        assert_eq!(volume.find(folder, name("f")), Err(Failure::Missing));
        assert_eq!(volume.remove(ROOT, name("d")), Ok(()));
        assert_eq!(volume.used(), 0);
    }
}
