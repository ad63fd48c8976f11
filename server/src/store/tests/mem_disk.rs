//! A disk in memory that forgets what was not synced, runs out of room, fails, and stops.

use crate::store::Disk;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;

/// Clones are the same disk.
#[derive(Clone, Debug, Default)]
pub(crate) struct MemDisk(Rc<RefCell<State>>);

#[derive(Clone, Debug, Default)]
struct State {
    files: Vec<File>,
    /// By directory.
    now: BTreeMap<String, Dir>,
    safe: BTreeMap<String, Dir>,
    /// What was done to the names of a directory since its last sync.
    changes: BTreeMap<String, Vec<Change>>,
    /// Calls that change something, so far.
    calls: u64,
    /// After this many of them the machine is dead.
    calls_max: Option<u64>,
    /// Bytes that all files together may have.
    room: Option<u64>,
    /// The next sync of a file with this in its path fails, or of the directory of this name.
    fail_sync: Option<String>,
    /// Syncs that do nothing, as if they had been forgotten.
    forgotten: Option<Forgotten>,
}

/// A sync that the store might have forgotten.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Forgotten {
    /// Of files with this in their names.
    File(&'static str),
    /// Of directories at this depth: 0 is the root.
    Dir(usize),
}

type Dir = BTreeMap<String, Entry>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Entry {
    File(usize),
    Dir,
}

#[derive(Clone, Debug, Default)]
struct File {
    now: Vec<u8>,
    safe: Vec<u8>,
}

#[derive(Clone, Debug)]
enum Change {
    Put(String, Entry),
    Rename(String, String),
    Remove(String),
}

/// What a crash keeps of that which was not synced.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Keeps {
    /// Everything: only the process died.
    All,
    /// Nothing.
    Nothing,
    /// Any sectors and a few of the names, by this seed.
    Some(u64),
}

impl MemDisk {
    pub(crate) fn new() -> Self {
        let disk = Self::default();
        {
            let mut state = disk.0.borrow_mut();
            state.now.insert(String::new(), Dir::new());
            state.safe.insert(String::new(), Dir::new());
        }
        disk
    }

    /// Another disk with what is on this one.
    pub(crate) fn copy(&self) -> Self {
        let state = self.0.borrow().clone();
        Self(Rc::new(RefCell::new(State { calls: 0, calls_max: None, ..state })))
    }

    pub(crate) fn calls(&self) -> u64 {
        self.0.borrow().calls
    }

    /// The machine dies when it has made so many more changes.
    pub(crate) fn die_after(&self, calls: u64) {
        let mut state = self.0.borrow_mut();
        state.calls_max = Some(state.calls + calls);
    }

    pub(crate) fn is_dead(&self) -> bool {
        let state = self.0.borrow();
        state.calls_max.is_some_and(|max| state.calls >= max)
    }

    /// Bytes there may be from now on; `None` is without end.
    pub(crate) fn set_room(&self, room: Option<u64>) {
        self.0.borrow_mut().room = room;
    }

    pub(crate) fn used(&self) -> u64 {
        self.0.borrow().used()
    }

    pub(crate) fn fail_sync(&self, path: &str) {
        self.0.borrow_mut().fail_sync = Some(path.to_owned());
    }

    pub(crate) fn forget_sync(&self, forgotten: Forgotten) {
        self.0.borrow_mut().forgotten = Some(forgotten);
    }

    pub(crate) fn heal(&self) {
        self.0.borrow_mut().forgotten = None;
    }

    /// The machine dies and comes back.
    pub(crate) fn crash(&self, keeps: Keeps) {
        self.0.borrow_mut().crash(keeps);
    }

    /// Every file there is, with its bytes.
    pub(crate) fn all(&self) -> BTreeMap<String, Vec<u8>> {
        let state = self.0.borrow();
        let mut all = BTreeMap::new();
        for (dir, entries) in &state.now {
            for (name, entry) in entries {
                if let Entry::File(file) = entry {
                    all.insert(join(dir, name), state.files[*file].now.clone());
                }
            }
        }
        all
    }

    /// Changes bytes behind everyone's back.
    pub(crate) fn poke(&self, path: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.0.borrow_mut();
        let file = state.file(path).unwrap();
        change(&mut state.files[file].now);
        state.files[file].safe = state.files[file].now.clone();
    }

    fn change<T>(&self, run: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.0.borrow_mut();
        if state.calls_max.is_some_and(|max| state.calls >= max) {
            return Err(io::Error::other("the machine is dead"));
        }
        state.calls += 1;
        run(&mut state)
    }
}

impl Disk for MemDisk {
    fn create_dir(&self, path: &str) -> io::Result<()> {
        self.change(|state| {
            if state.now.contains_key(path) {
                return Ok(());
            }
            let (dir, name) = split(path);
            state.apply(&dir, Change::Put(name, Entry::Dir))?;
            state.now.insert(path.to_owned(), Dir::new());
            state.safe.entry(path.to_owned()).or_default();
            Ok(())
        })
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        let state = self.0.borrow();
        let dir = state.now.get(dir).ok_or(io::ErrorKind::NotFound)?;
        Ok(dir.keys().cloned().collect())
    }

    fn len(&self, path: &str) -> io::Result<u64> {
        let state = self.0.borrow();
        Ok(state.files[state.file(path)?].now.len() as u64)
    }

    fn read_at(&self, path: &str, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        let state = self.0.borrow();
        let bytes = &state.files[state.file(path)?].now;
        let rest = bytes.get(usize::try_from(offset).unwrap()..).unwrap_or_default();
        let count = rest.len().min(into.len());
        into[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn create(&self, path: &str, len: u64) -> io::Result<()> {
        self.change(|state| {
            state.check_room(len)?;
            let (dir, name) = split(path);
            let file = state.files.len();
            let now = vec![0; usize::try_from(len).unwrap()];
            state.files.push(File { now, safe: Vec::new() });
            state.apply(&dir, Change::Put(name, Entry::File(file)))
        })
    }

    fn write_at(&self, path: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.change(|state| {
            let file = state.file(path)?;
            let start = usize::try_from(offset).unwrap();
            let end = start + bytes.len();
            let more = end.saturating_sub(state.files[file].now.len());
            state.check_room(more as u64)?;
            let now = &mut state.files[file].now;
            now.resize(now.len().max(end), 0);
            now[start..end].copy_from_slice(bytes);
            Ok(())
        })
    }

    fn sync(&self, path: &str) -> io::Result<()> {
        self.change(|state| {
            let of_dir = |part: &String| state.now.contains_key(part);
            let part = state.fail_sync.as_ref().filter(|part| !of_dir(part));
            if part.is_some_and(|part| path.contains(part.as_str())) {
                state.fail_sync = None;
                return Err(io::Error::other("input/output error"));
            }
            let file = state.file(path)?;
            if let Some(Forgotten::File(part)) = state.forgotten
                && path.contains(part)
            {
                return Ok(());
            }
            state.files[file].safe = state.files[file].now.clone();
            Ok(())
        })
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.change(|state| {
            let ((dir, from), (other, to)) = (split(from), split(to));
            assert_eq!(dir, other, "a rename within one directory");
            state.apply(&dir, Change::Rename(from, to))
        })
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        self.change(|state| {
            state.file(path)?;
            let (dir, name) = split(path);
            state.apply(&dir, Change::Remove(name))
        })
    }

    fn remove_dir(&self, path: &str) -> io::Result<()> {
        self.change(|state| {
            if !state.now.get(path).ok_or(io::ErrorKind::NotFound)?.is_empty() {
                return Err(io::ErrorKind::DirectoryNotEmpty.into());
            }
            state.now.remove(path);
            let (dir, name) = split(path);
            state.apply(&dir, Change::Remove(name))
        })
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        self.change(|state| {
            if state.fail_sync.as_ref().is_some_and(|part| part == dir) {
                state.fail_sync = None;
                return Err(io::Error::other("input/output error"));
            }
            let depth = dir.split('/').filter(|name| !name.is_empty()).count();
            if let Some(Forgotten::Dir(forgotten)) = state.forgotten
                && depth == forgotten
            {
                return Ok(());
            }
            let now = state.now.get(dir).ok_or(io::ErrorKind::NotFound)?.clone();
            state.safe.insert(dir.to_owned(), now);
            state.changes.remove(dir);
            Ok(())
        })
    }
}

impl State {
    fn file(&self, path: &str) -> io::Result<usize> {
        let (dir, name) = split(path);
        match self.now.get(&dir).and_then(|dir| dir.get(&name)) {
            Some(Entry::File(file)) => Ok(*file),
            Some(Entry::Dir) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn used(&self) -> u64 {
        let entries = self.now.values().flat_map(BTreeMap::values);
        let bytes = entries.map(|entry| match entry {
            Entry::File(file) => self.files[*file].now.len() as u64,
            Entry::Dir => 0,
        });
        bytes.sum()
    }

    fn check_room(&self, more: u64) -> io::Result<()> {
        match self.room {
            Some(room) if more > 0 && self.used() + more > room => {
                Err(io::ErrorKind::StorageFull.into())
            }
            _ => Ok(()),
        }
    }

    fn apply(&mut self, dir: &str, change: Change) -> io::Result<()> {
        let entries = self.now.get_mut(dir).ok_or(io::ErrorKind::NotFound)?;
        change.apply(entries)?;
        self.changes.entry(dir.to_owned()).or_default().push(change);
        Ok(())
    }

    fn crash(&mut self, keeps: Keeps) {
        let seed = match keeps {
            Keeps::All | Keeps::Nothing => 0,
            Keeps::Some(seed) => seed,
        };
        let mut dice = StdRng::seed_from_u64(seed);
        let mut keep = |of: usize| match keeps {
            Keeps::All => of,
            Keeps::Nothing => 0,
            Keeps::Some(_) => dice.random_range(0..=of),
        };
        for (dir, changes) in std::mem::take(&mut self.changes) {
            let Some(safe) = self.safe.get_mut(&dir) else { continue };
            for change in &changes[..keep(changes.len())] {
                let _ = change.apply(safe);
            }
        }
        for file in &mut self.files {
            let mut safe = std::mem::take(&mut file.safe);
            if safe.len() != file.now.len() && keep(1) == 1 {
                safe.resize(file.now.len(), 0);
            }
            for (old, new) in safe.chunks_mut(512).zip(file.now.chunks(512)) {
                if *old != new[..old.len().min(new.len())] && keep(1) == 1 {
                    let len = old.len().min(new.len());
                    old[..len].copy_from_slice(&new[..len]);
                }
            }
            file.now.clone_from(&safe);
            file.safe = safe;
        }
        // A directory is there when its parent still has it.
        let mut reached = vec![String::new()];
        let mut now = BTreeMap::new();
        while let Some(dir) = reached.pop() {
            let entries = self.safe.get(&dir).cloned().unwrap_or_default();
            let inner = entries.iter().filter(|(_, entry)| **entry == Entry::Dir);
            reached.extend(inner.map(|(name, _)| join(&dir, name)));
            now.insert(dir, entries);
        }
        self.safe.clone_from(&now);
        self.now = now;
        (self.calls, self.calls_max) = (0, None);
    }
}

impl Change {
    fn apply(&self, dir: &mut Dir) -> io::Result<()> {
        match self {
            Self::Put(name, entry) => {
                dir.insert(name.clone(), *entry);
            }
            Self::Rename(from, to) => {
                let entry = dir.remove(from).ok_or(io::ErrorKind::NotFound)?;
                dir.insert(to.clone(), entry);
            }
            Self::Remove(name) => {
                dir.remove(name).ok_or(io::ErrorKind::NotFound)?;
            }
        }
        Ok(())
    }
}

fn split(path: &str) -> (String, String) {
    let (dir, name) = path.rsplit_once('/').unwrap_or(("", path));
    (dir.to_owned(), name.to_owned())
}

fn join(dir: &str, name: &str) -> String {
    if dir.is_empty() { name.to_owned() } else { format!("{dir}/{name}") }
}
