//! A simulated disk: [`Volume`] behind the store's [`Disk`], with faults and power cuts.
//!
//! ```text
//! Store, Chores, Committer ─▶ Disk ─▶ Volume: now | synced
//!                                       ▲ faults: writes_left, syncs_left, capacity, calls_left
//!                                       '  cut_power: what was not synced may be gone
//! ```

#[path = "../../loadgen/src/crash/volume.rs"]
mod volume;

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use std::ffi::OsStr;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use trendsrv_server::store::Disk;
use volume::{Failure, Node, ROOT, Volume};

/// See the module header. Clones are the same disk.
#[derive(Clone, Debug)]
pub(crate) struct SimDisk(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    volume: Volume,
    /// Calls that still succeed; then the machine is dead until the power is cut.
    calls_left: Option<u64>,
}

impl SimDisk {
    /// An empty disk.
    pub(crate) fn new() -> Self {
        let state = State { volume: Volume::new(), calls_left: None };
        Self(Arc::new(Mutex::new(state)))
    }

    /// So many more writes, and syncs, succeed.
    pub(crate) fn fail_after(&self, (writes_left, syncs_left): (Option<u64>, Option<u64>)) {
        let faults = &mut self.state().volume.faults;
        (faults.writes_left, faults.syncs_left) = (writes_left, syncs_left);
    }

    /// Bytes of all files together, from now on.
    pub(crate) fn set_capacity(&self, capacity: Option<u64>) {
        self.state().volume.faults.capacity = capacity;
    }

    /// After so many more calls nothing happens any more: a crash at any step.
    pub(crate) fn stop_after(&self, calls: u64) {
        self.state().calls_left = Some(calls);
    }

    /// Bytes of all files.
    pub(crate) fn used(&self) -> u64 {
        self.state().volume.used()
    }

    /// The power fails and comes back; `seed` chooses what survives of what was not synced.
    pub(crate) fn cut_power(&self, seed: u64) {
        let mut state = self.state();
        state.calls_left = None;
        state.volume.cut_power(&mut StdRng::seed_from_u64(seed));
    }

    /// The process died, the machine did not: all that was written is there, and the disk works.
    pub(crate) fn restart(&self) {
        self.state().calls_left = None;
        self.heal();
    }

    /// Nothing fails any more; a full disk stays full.
    pub(crate) fn heal(&self) {
        let faults = &mut self.state().volume.faults;
        (faults.writes_left, faults.syncs_left) = (None, None);
    }

    /// Whether [`Self::stop_after`] has come true.
    pub(crate) fn is_dead(&self) -> bool {
        self.state().calls_left == Some(0)
    }

    /// Turns one bit of a file over, behind everybody's back.
    pub(crate) fn flip(&self, path: &str, offset: u64, bit: u8) {
        let volume = &mut self.state().volume;
        let Ok(number) = find(volume, path) else { return };
        let Ok(&[byte]) = volume.read(number, at(offset), 1) else { return };
        let faults = std::mem::take(&mut volume.faults);
        // The byte is there already, so there is room.
        let _ = volume.write(number, at(offset), &[byte ^ 1 << bit], true);
        volume.faults = faults;
    }

    /// Writes through to the disk, as the server's commits do.
    pub(crate) fn write_durable(&self, path: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.call()?;
        let number = find(&state.volume, path)?;
        state.volume.write(number, at(offset), bytes, true).map_err(error)
    }

    /// Every file, with its bytes.
    pub(crate) fn files(&self) -> Vec<(String, Vec<u8>)> {
        let state = self.state();
        let mut files = Vec::new();
        let mut folders = vec![(String::new(), ROOT)];
        while let Some((path, number)) = folders.pop() {
            let Ok(Node::Folder(folder)) = state.volume.node(number) else { continue };
            for (name, &entry) in &folder.now {
                let path = format!("{path}/{}", name.to_string_lossy());
                match state.volume.read(entry, 0, usize::MAX >> 1) {
                    Ok(bytes) => files.push((path.trim_start_matches('/').into(), bytes.to_vec())),
                    Err(_) => folders.push((path, entry)),
                }
            }
        }
        files.sort_unstable();
        files
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a call, unless the machine is dead.
    fn call(&self) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.state();
        match &mut state.calls_left {
            Some(0) => return Err(io::Error::other("the machine is dead")),
            Some(left) => *left -= 1,
            None => {}
        }
        Ok(state)
    }
}

impl Disk for SimDisk {
    fn create_dir(&self, path: &str) -> io::Result<()> {
        let mut state = self.call()?;
        let mut folder = ROOT;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            let name = OsStr::new(name);
            folder = match state.volume.find(folder, name) {
                Ok(found) => found,
                Err(_) => state.volume.create(folder, name, true).map_err(error)?,
            };
        }
        Ok(())
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        let state = self.call()?;
        match state.volume.node(find(&state.volume, dir)?).map_err(error)? {
            Node::Folder(folder) => {
                Ok(folder.now.keys().map(|name| name.to_string_lossy().into_owned()).collect())
            }
            Node::File(_) => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    fn len(&self, path: &str) -> io::Result<u64> {
        let state = self.call()?;
        match state.volume.node(find(&state.volume, path)?).map_err(error)? {
            Node::File(file) => Ok(file.len() as u64),
            Node::Folder(_) => Err(io::ErrorKind::IsADirectory.into()),
        }
    }

    fn read_at(&self, path: &str, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        let state = self.call()?;
        let number = find(&state.volume, path)?;
        let bytes = state.volume.read(number, at(offset), into.len()).map_err(error)?;
        into[..bytes.len()].copy_from_slice(bytes);
        Ok(bytes.len())
    }

    fn create(&self, path: &str, len: u64) -> io::Result<()> {
        let mut state = self.call()?;
        let (folder, name) = parent(&state.volume, path)?;
        let number = match state.volume.find(folder, name) {
            Ok(found) => {
                state.volume.resize(found, 0).map_err(error)?;
                found
            }
            Err(_) => state.volume.create(folder, name, false).map_err(error)?,
        };
        state.volume.resize(number, at(len)).map_err(error)
    }

    fn write_at(&self, path: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.call()?;
        let number = find(&state.volume, path)?;
        state.volume.write(number, at(offset), bytes, false).map_err(error)
    }

    fn sync(&self, path: &str) -> io::Result<()> {
        let mut state = self.call()?;
        let number = find(&state.volume, path)?;
        state.volume.sync(number).map_err(error)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.call()?;
        let ((folder, old), (target, new)) =
            (parent(&state.volume, from)?, parent(&state.volume, to)?);
        if folder != target {
            return Err(io::ErrorKind::CrossesDevices.into());
        }
        state.volume.rename(folder, old, new).map_err(error)
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        let mut state = self.call()?;
        let (folder, name) = parent(&state.volume, path)?;
        state.volume.remove(folder, name).map_err(error)
    }

    fn remove_dir(&self, path: &str) -> io::Result<()> {
        self.remove(path)
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        let mut state = self.call()?;
        let number = find(&state.volume, dir)?;
        state.volume.sync_folder(number).map_err(error)
    }
}

/// The number of a path; the root is "".
fn find(volume: &Volume, path: &str) -> io::Result<u64> {
    let mut names = path.split('/').filter(|name| !name.is_empty());
    let found = names.try_fold(ROOT, |folder, name| volume.find(folder, OsStr::new(name)));
    found.map_err(error)
}

/// A path's folder, and its last name.
fn parent<'a>(volume: &Volume, path: &'a str) -> io::Result<(u64, &'a OsStr)> {
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    Ok((find(volume, folder)?, OsStr::new(name)))
}

fn at(offset: u64) -> usize {
    usize::try_from(offset).expect("a simulated file is small")
}

fn error(failure: Failure) -> io::Error {
    match failure {
        Failure::Broken => io::Error::from_raw_os_error(libc::EIO),
        Failure::Full => io::ErrorKind::StorageFull.into(),
        Failure::Missing => io::ErrorKind::NotFound.into(),
        Failure::Exists => io::ErrorKind::AlreadyExists.into(),
        Failure::NotEmpty => io::ErrorKind::DirectoryNotEmpty.into(),
        Failure::Invalid => io::ErrorKind::InvalidInput.into(),
    }
}
