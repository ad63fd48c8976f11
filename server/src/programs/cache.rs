//! Compiled programs on disk, so that a start or an upload need not compile what was compiled.
//!
//! Owns one directory and the key in it. Never touches a program itself: artefacts are machine
//! code, and loading a forged one would run it, so each is authenticated with a secret key.
//!
//! ```text
//!   key                           32 random bytes, mode 0600
//!   HASH-COMPATIBILITY.artefact   magic (8) | keyed BLAKE3 of name and artefact (32) | artefact
//! ```
//!
//! Invariants:
//! - an artefact is returned only as it was put: a changed byte, another key, another name or a
//!   missing end is [`Found::Damaged`];
//! - a file appears whole or not at all, and what two servers put at once is the same;
//! - the directory is the user's own, and nobody else can write in it.

use super::confine::effective_user;
use crate::config::limits::ARTEFACT_BYTES_MAX;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// See the module header.
#[derive(Clone)]
pub struct Cache {
    folder: PathBuf,
    key: [u8; KEY_BYTES],
    /// Changes with the compiler, its settings and the processor.
    compatibility: u64,
    bytes_max: u64,
}

/// Why a directory cannot hold a cache.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// The file system refuses.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which file or directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Someone else could put machine code there.
    #[error(
        "{} belongs to user {owner} and has mode {mode:03o}: it must be the server's own (user \
         {user}) and closed to others (chmod 700)", path.display()
    )]
    NotOurs {
        /// The directory or key.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Its mode.
        mode: u32,
        /// Who we are.
        user: u32,
    },
    /// The key is not one.
    #[error("{} is not a key of {KEY_BYTES} bytes: remove it", .0.display())]
    BadKey(PathBuf),
}

/// What a look into the cache shows.
#[derive(Debug, Eq, PartialEq)]
pub enum Found {
    /// The artefact.
    Artefact(Vec<u8>),
    /// None.
    Nothing,
    /// A file that is not what was put there.
    Damaged(PathBuf),
}

impl Cache {
    /// Opens a directory, making it and its key if they are not there.
    ///
    /// # Errors
    /// When it cannot be used, or others could write in it.
    pub fn open(folder: &Path, compatibility: u64, bytes_max: u64) -> Result<Self, CacheError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| CacheError::Io { path, source }
        };
        let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
        made.map_err(failed(folder))?;
        check_ours(folder, &std::fs::metadata(folder).map_err(failed(folder))?)?;
        let path = folder.join("key");
        if !path.exists() {
            // Of two servers that start at once one wins, and both read its key.
            let key: [u8; KEY_BYTES] = rand::random();
            match write_new(folder, &path, &[&key]) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                done => done.map_err(failed(&path))?,
            }
        }
        let file = File::open(&path).map_err(failed(&path))?;
        check_ours(&path, &file.metadata().map_err(failed(&path))?)?;
        let mut key = Vec::new();
        let most = KEY_BYTES as u64 + 1;
        (&file).take(most).read_to_end(&mut key).map_err(failed(&path))?;
        let key = key.try_into().map_err(|_| CacheError::BadKey(path))?;
        Ok(Self { folder: folder.to_owned(), key, compatibility, bytes_max })
    }

    /// Looks for the artefact of a program.
    pub fn find(&self, hash: &[u8; 32]) -> Found {
        let name = self.name_of(hash);
        let path = self.folder.join(&name);
        let Ok(file) = File::open(&path) else { return Found::Nothing };
        let mut bytes = Vec::new();
        let most = (HEAD_BYTES + ARTEFACT_BYTES_MAX) as u64 + 1;
        if (&file).take(most).read_to_end(&mut bytes).is_err() || bytes.len() < HEAD_BYTES {
            return Found::Damaged(path);
        }
        let artefact = bytes.split_off(HEAD_BYTES);
        let (magic, mark) = bytes.split_at(MAGIC.len());
        // The comparison of BLAKE3 hashes takes the same time wherever they differ.
        if magic != MAGIC || self.mark(&name, &artefact) != *mark {
            return Found::Damaged(path);
        }
        // What is used stays; a file system that does not keep the time only evicts another.
        let _ = file.set_modified(SystemTime::now());
        Found::Artefact(artefact)
    }

    /// Keeps an artefact, in place of a damaged one too, and lets the oldest go when there are too
    /// many.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn put(&self, hash: &[u8; 32], artefact: &[u8]) -> io::Result<()> {
        let name = self.name_of(hash);
        let mark = self.mark(&name, artefact);
        let mut new = NewFile::create(&self.folder)?;
        for part in [MAGIC, mark.as_bytes(), artefact] {
            new.file.write_all(part)?;
        }
        new.rename(&self.folder.join(name))?;
        self.evict()
    }

    fn evict(&self) -> io::Result<()> {
        let mut files = Vec::new();
        for entry in std::fs::read_dir(&self.folder)? {
            let entry = entry?;
            // Another server may have evicted it just now.
            let Ok(metadata) = entry.metadata() else { continue };
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.ends_with(SUFFIX) || name.starts_with(NEW) {
                files.push((metadata.modified()?, metadata.len(), entry.path()));
            }
        }
        files.sort_unstable();
        let mut bytes: u64 = files.iter().map(|(_, bytes, _)| bytes).sum();
        for (_, size, path) in files {
            if bytes <= self.bytes_max {
                break;
            }
            let _ = std::fs::remove_file(path);
            bytes -= size;
        }
        Ok(())
    }

    fn name_of(&self, hash: &[u8; 32]) -> String {
        format!("{}-{:016x}{SUFFIX}", hex(hash), self.compatibility)
    }

    fn mark(&self, name: &str, artefact: &[u8]) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(name.as_bytes());
        hasher.update(artefact);
        hasher.finalize()
    }
}

impl std::fmt::Debug for Cache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cache").field("folder", &self.folder).finish_non_exhaustive()
    }
}

/// A file on its way to its name; dropped before that, it is gone.
#[derive(Debug)]
pub(super) struct NewFile {
    pub(super) file: File,
    path: Option<PathBuf>,
}

impl NewFile {
    /// A new, empty file, for the user's eyes only.
    pub(super) fn create(folder: &Path) -> io::Result<Self> {
        let path = folder.join(format!("{NEW}{:016x}", rand::random::<u64>()));
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        Ok(Self { file, path: Some(path) })
    }

    /// Gives it its name, in place of what had it.
    pub(super) fn rename(mut self, name: &Path) -> io::Result<()> {
        let Some(path) = self.path.take() else { return Ok(()) };
        std::fs::rename(&path, name).inspect_err(|_| self.path = Some(path))
    }

    /// Gives it its name, unless something has it.
    fn link(self, name: &Path) -> io::Result<()> {
        match &self.path {
            Some(path) => std::fs::hard_link(path, name),
            None => Ok(()),
        }
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if let Some(path) = self.path.take() {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// A hash as people write it.
pub(crate) fn hex(hash: &[u8; 32]) -> String {
    blake3::Hash::from_bytes(*hash).to_hex().to_string()
}

fn write_new(folder: &Path, name: &Path, parts: &[&[u8]]) -> io::Result<()> {
    let mut new = NewFile::create(folder)?;
    for part in parts {
        new.file.write_all(part)?;
    }
    new.link(name)
}

fn check_ours(path: &Path, metadata: &std::fs::Metadata) -> Result<(), CacheError> {
    let (owner, mode, user) = (metadata.uid(), metadata.mode() & 0o777, effective_user());
    if owner == user && mode & 0o077 == 0 {
        return Ok(());
    }
    Err(CacheError::NotOurs { path: path.to_owned(), owner, mode, user })
}

const KEY_BYTES: usize = 32;
const MAGIC: &[u8] = b"trndart1";
const HEAD_BYTES: usize = MAGIC.len() + 32;
const SUFFIX: &str = ".artefact";
/// How files begin that have no name yet.
const NEW: &str = ".new-";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Folder;
    use std::os::unix::fs::PermissionsExt as _;

    const HASH: [u8; 32] = [7; 32];

    fn open(folder: &Folder) -> Cache {
        Cache::open(&folder.0, 5, 1 << 20).unwrap()
    }

    fn file_of(folder: &Folder) -> PathBuf {
        let mut files = std::fs::read_dir(&folder.0).unwrap().map(|entry| entry.unwrap().path());
        files.find(|path| path.extension().is_some_and(|end| end == "artefact")).unwrap()
    }

    #[test]
    fn an_artefact_comes_back_as_it_was_put() {
        let folder = Folder::new("cache-plain");
        let cache = open(&folder);
        assert_eq!(cache.find(&HASH), Found::Nothing);
        cache.put(&HASH, b"machine code").unwrap();
        assert_eq!(cache.find(&HASH), Found::Artefact(b"machine code".to_vec()));
        assert_eq!(open(&folder).find(&HASH), Found::Artefact(b"machine code".to_vec()));
        let other_compiler = Cache::open(&folder.0, 6, 1 << 20).unwrap();
        assert_eq!(other_compiler.find(&HASH), Found::Nothing);
        assert_eq!(cache.find(&[8; 32]), Found::Nothing);
        for path in [folder.0.join("key"), file_of(&folder)] {
            assert_eq!(std::fs::metadata(path).unwrap().mode() & 0o777, 0o600);
        }
        assert_eq!(std::fs::metadata(&folder.0).unwrap().mode() & 0o777, 0o700);
    }

    #[test]
    fn every_flipped_bit_and_every_missing_end_is_seen() {
        let folder = Folder::new("cache-flip");
        let cache = open(&folder);
        cache.put(&HASH, b"machine code").unwrap();
        let path = file_of(&folder);
        let whole = std::fs::read(&path).unwrap();
        for at in 0..whole.len() * 8 {
            let mut bytes = whole.clone();
            bytes[at / 8] ^= 1 << (at % 8);
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(cache.find(&HASH), Found::Damaged(path.clone()), "bit {at}");
        }
        for end in 0..whole.len() {
            std::fs::write(&path, &whole[..end]).unwrap();
            assert_eq!(cache.find(&HASH), Found::Damaged(path.clone()), "cut at {end}");
        }
        std::fs::write(&path, [&whole[..], b"x"].concat()).unwrap();
        assert_eq!(cache.find(&HASH), Found::Damaged(path.clone()), "longer");
        cache.put(&HASH, b"machine code").unwrap();
        assert_eq!(cache.find(&HASH), Found::Artefact(b"machine code".to_vec()), "put again");
    }

    #[test]
    fn an_artefact_of_another_key_or_under_another_name_is_not_loaded() {
        let folder = Folder::new("cache-key");
        let cache = open(&folder);
        cache.put(&HASH, b"machine code").unwrap();
        let path = file_of(&folder);
        let other = folder.0.join(cache.name_of(&[8; 32]));
        std::fs::copy(&path, &other).unwrap();
        assert_eq!(cache.find(&[8; 32]), Found::Damaged(other));
        std::fs::remove_file(folder.0.join("key")).unwrap();
        assert_eq!(open(&folder).find(&HASH), Found::Damaged(path));
    }

    #[test]
    fn the_oldest_leave_when_there_are_too_many() {
        let folder = Folder::new("cache-full");
        let cache = Cache::open(&folder.0, 5, 3_000).unwrap();
        for n in 0..8_u8 {
            cache.put(&[n; 32], &[n; 900]).unwrap();
            let at = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(n.into());
            File::open(folder.0.join(cache.name_of(&[n; 32]))).unwrap().set_modified(at).unwrap();
        }
        let left: Vec<u8> = (0..8).filter(|n| cache.find(&[*n; 32]) != Found::Nothing).collect();
        assert_eq!(left, [5, 6, 7]);
    }

    #[test]
    fn a_directory_open_to_others_or_with_a_bad_key_is_refused() {
        let folder = Folder::new("cache-open");
        let refusal = || Cache::open(&folder.0, 5, 1 << 20).unwrap_err().to_string();
        open(&folder);
        let mode = |path: &Path, mode| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        let key = folder.0.join("key");
        mode(&key, 0o640);
        assert!(refusal().contains("has mode 640"), "{}", refusal());
        mode(&key, 0o600);
        std::fs::write(&key, b"short").unwrap();
        assert!(refusal().contains("is not a key"), "{}", refusal());
        mode(&folder.0, 0o755);
        assert!(refusal().contains("chmod 700"), "{}", refusal());
        let file = Cache::open(Path::new("/dev/null/cache"), 5, 1 << 20).unwrap_err().to_string();
        assert!(file.contains("/dev/null/cache"), "{file}");
    }

    #[test]
    fn servers_that_start_at_once_share_one_key() {
        let folder = Folder::new("cache-race");
        let open = || Cache::open(&folder.0, 5, 1 << 20).unwrap();
        let caches: Vec<Cache> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(open)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        caches[0].put(&HASH, b"machine code").unwrap();
        for cache in &caches {
            assert_eq!(cache.find(&HASH), Found::Artefact(b"machine code".to_vec()));
        }
    }
}
