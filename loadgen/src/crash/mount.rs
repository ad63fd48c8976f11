//! A [`Volume`] behind a mount point, through FUSE, for a real server to fail on.

use super::volume::{Failure, Node, ROOT, Volume};
use crate::programs::Folder;
use anyhow::Context as _;
use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags,
    Generation, INodeNo, LockOwner, MountOption, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate,
    ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request,
    TimeOrNow, WriteFlags,
};
use std::ffi::OsStr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A mounted volume; unmounted when dropped.
pub(super) struct Mount {
    // Before the folder it is mounted on.
    _session: BackgroundSession,
    folder: Folder,
    volume: Arc<Mutex<Volume>>,
}

impl Mount {
    /// Mounts an empty volume on a folder of its own.
    ///
    /// # Errors
    /// Where the machine forbids it: no `/dev/fuse`, or no right to mount.
    pub(super) fn new() -> anyhow::Result<Self> {
        let folder = Folder::new()?;
        let volume = Arc::new(Mutex::new(Volume::new()));
        let mut config = Config::default();
        config.mount_options.push(MountOption::FSName("loadgen".to_owned()));
        let session = fuser::spawn_mount(Served(Arc::clone(&volume)), folder.path(), &config)
            .context("this machine lets nobody mount a FUSE file system here")?;
        Ok(Self { _session: session, folder, volume })
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The volume, to look at and to break.
    pub(super) fn volume(&self) -> MutexGuard<'_, Volume> {
        lock(&self.volume)
    }
}

/// A volume is whole between operations, so a panic in one leaves nothing half done.
fn lock(volume: &Mutex<Volume>) -> MutexGuard<'_, Volume> {
    volume.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The volume as the kernel's requests see it.
struct Served(Arc<Mutex<Volume>>);

impl Served {
    fn make(
        volume: &mut Volume,
        parent: INodeNo,
        name: &OsStr,
        is_folder: bool,
    ) -> Result<FileAttr, Failure> {
        let number = volume.create(parent.0, name, is_folder)?;
        Self::attr(volume, number)
    }

    fn attr(volume: &Volume, number: u64) -> Result<FileAttr, Failure> {
        let (kind, size, perm) = match volume.node(number)? {
            Node::File(file) => (FileType::RegularFile, file.len() as u64, 0o600),
            Node::Folder(_) => (FileType::Directory, 0, 0o700),
        };
        let time = UNIX_EPOCH;
        Ok(FileAttr {
            ino: INodeNo(number),
            size,
            blocks: size.div_ceil(512),
            atime: time,
            mtime: time,
            ctime: time,
            crtime: time,
            kind,
            perm,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4_096,
            flags: 0,
        })
    }
}

fn errno(failure: Failure) -> Errno {
    match failure {
        Failure::Broken => Errno::EIO,
        Failure::Full => Errno::ENOSPC,
        Failure::Missing => Errno::ENOENT,
        Failure::Exists => Errno::EEXIST,
        Failure::NotEmpty => Errno::ENOTEMPTY,
        Failure::Invalid => Errno::EINVAL,
    }
}

fn index(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn end(done: Result<(), Failure>, reply: ReplyEmpty) {
    match done {
        Ok(()) => reply.ok(),
        Err(failure) => reply.error(errno(failure)),
    }
}

impl Filesystem for Served {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let volume = lock(&self.0);
        let found = volume.find(parent.0, name).and_then(|number| Self::attr(&volume, number));
        match found {
            Ok(attr) => reply.entry(&NEVER_KEPT, &attr, Generation(0)),
            Err(failure) => reply.error(errno(failure)),
        }
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match Self::attr(&lock(&self.0), ino.0) {
            Ok(attr) => reply.attr(&NEVER_KEPT, &attr),
            Err(failure) => reply.error(errno(failure)),
        }
    }

    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        _mode: Option<u32>,
        _uid: Option<u32>,
        _gid: Option<u32>,
        size: Option<u64>,
        _atime: Option<TimeOrNow>,
        _mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _fh: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<fuser::BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let mut volume = lock(&self.0);
        let resized = size.map_or(Ok(()), |size| volume.resize(ino.0, index(size)));
        match resized.and_then(|()| Self::attr(&volume, ino.0)) {
            Ok(attr) => reply.attr(&NEVER_KEPT, &attr),
            Err(failure) => reply.error(errno(failure)),
        }
    }

    fn mkdir(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        _mode: u32,
        _umask: u32,
        reply: ReplyEntry,
    ) {
        let mut volume = lock(&self.0);
        match Self::make(&mut volume, parent, name, true) {
            Ok(attr) => reply.entry(&NEVER_KEPT, &attr, Generation(0)),
            Err(failure) => reply.error(errno(failure)),
        }
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        end(lock(&self.0).remove(parent.0, name), reply);
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        end(lock(&self.0).remove(parent.0, name), reply);
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        newparent: INodeNo,
        newname: &OsStr,
        _flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        if parent != newparent {
            return reply.error(Errno::EXDEV);
        }
        end(lock(&self.0).rename(parent.0, name, newname), reply);
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        // Nothing may stay in the kernel's cache: it would survive the power cut.
        reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO);
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match lock(&self.0).read(ino.0, index(offset), size as usize) {
            Ok(bytes) => reply.data(bytes),
            Err(failure) => reply.error(errno(failure)),
        }
    }

    fn write(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        flags: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let durable = flags.0 & libc::O_DSYNC != 0;
        match lock(&self.0).write(ino.0, index(offset), data, durable) {
            Ok(()) => reply.written(u32::try_from(data.len()).unwrap_or(u32::MAX)),
            Err(failure) => reply.error(errno(failure)),
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        end(lock(&self.0).sync(ino.0), reply);
    }

    fn fsyncdir(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        end(lock(&self.0).sync_folder(ino.0), reply);
    }

    fn readdir(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let volume = lock(&self.0);
        let Ok(Node::Folder(folder)) = volume.node(ino.0) else {
            return reply.error(Errno::ENOTDIR);
        };
        for (at, (name, &number)) in (1..).zip(&folder.now).skip(index(offset)) {
            let kind = match volume.node(number) {
                Ok(Node::Folder(_)) => FileType::Directory,
                Ok(Node::File(_)) | Err(_) => FileType::RegularFile,
            };
            if reply.add(INodeNo(number), at, kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        let volume = lock(&self.0);
        let free = volume.faults.capacity.unwrap_or(1 << 40).saturating_sub(volume.used()) / 4_096;
        reply.statfs(1 << 28, free, free, 1 << 20, 1 << 20, 4_096, 255, 4_096);
    }

    fn create(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        _mode: u32,
        _umask: u32,
        _flags: i32,
        reply: ReplyCreate,
    ) {
        let mut volume = lock(&self.0);
        match Self::make(&mut volume, parent, name, false) {
            Ok(attr) => {
                let (generation, flags) = (Generation(0), FopenFlags::FOPEN_DIRECT_IO);
                reply.created(&NEVER_KEPT, &attr, generation, FileHandle(0), flags);
            }
            Err(failure) => reply.error(errno(failure)),
        }
    }

    fn fallocate(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        if mode != 0 {
            return reply.error(Errno::EOPNOTSUPP);
        }
        let mut volume = lock(&self.0);
        let len = match volume.node(ino.0) {
            Ok(Node::File(file)) => file.len().max(index(offset + length)),
            Ok(Node::Folder(_)) | Err(_) => return reply.error(Errno::EINVAL),
        };
        end(volume.resize(ino.0, len), reply);
    }
}

/// How long the kernel may believe what it was told.
const NEVER_KEPT: Duration = Duration::ZERO;

const _: () = assert!(ROOT == INodeNo::ROOT.0, "the kernel asks for this one first");

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng as _;
    use std::io::Write as _;
    use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};

    #[test]
    fn a_mounted_volume_forgets_what_was_not_synced() {
        // Where mounting is forbidden the lane says so; there is nothing to test then.
        let Ok(mount) = Mount::new() else { return };
        let folder = mount.path().join("data");
        std::fs::create_dir(&folder).unwrap();
        let path = folder.join("log");
        let mut file = std::fs::File::create(&path).unwrap();
        file.write_all(&[7; 8_192]).unwrap();
        file.sync_all().unwrap();
        for folder in [folder.as_path(), mount.path()] {
            std::fs::File::open(folder).unwrap().sync_all().unwrap();
        }
        std::fs::write(folder.join("lost"), b"x").unwrap();
        let flags = libc::O_DSYNC;
        let synced = std::fs::OpenOptions::new().write(true).custom_flags(flags).open(&path);
        synced.unwrap().write_all_at(&[9; 100], 4_096).unwrap();
        let mut rng = rand::rngs::StdRng::seed_from_u64(3);
        while folder.join("lost").exists() {
            std::fs::write(folder.join("lost"), b"x").unwrap();
            mount.volume().cut_power(&mut rng);
        }
        let found = std::fs::read(&path).unwrap();
        assert_eq!((found.len(), found[0], found[4_096], found[4_196]), (8_192, 7, 9, 7));
        mount.volume().faults.capacity = Some(0);
        let full = std::fs::write(folder.join("more"), b"x").unwrap_err();
        assert_eq!(full.raw_os_error(), Some(libc::ENOSPC));
        mount.volume().faults.writes_left = Some(0);
        let broken = std::fs::write(&path, b"x").unwrap_err();
        assert_eq!(broken.raw_os_error(), Some(libc::EIO));
    }
}
