//! The thread that writes one shard's commits: one blocking write at a time, through to the disk.
//!
//! ```text
//!   shard ──Commit { file, offset, pages }──▶ write_at (O_DIRECT, O_DSYNC)
//!         ◀──Written { result, pages }────── and the shard's doorbell
//! ```
//!
//! Why a thread and not a ring: the kernel ends an asynchronous direct write that must reach the
//! disk in a worker of its own, and with every core busy that worker waits for one to be given up,
//! about 2 ms. A thread that asked for a short time slice runs as soon as the disk answers.
//!
//! Invariant: the pages are with the shard or with the thread, so there is one commit at most.

use crate::runtime::{DoorbellRinger, serve_at_once};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::thread::Builder;
use zerocopy::IntoBytes as _;

/// The shard's end of it. Dropped, the thread ends after the write at hand.
#[derive(Debug)]
pub(super) struct CommitWriter {
    to: flume::Sender<Commit>,
    from: flume::Receiver<Written>,
    pages: Option<Box<[Page]>>,
}

impl CommitWriter {
    /// Starts the thread, for writes of at most `bytes_max` bytes whose end rings the doorbell.
    pub(super) fn start(shard: u16, bytes_max: usize, ringer: DoorbellRinger) -> io::Result<Self> {
        let pages = vec![Page::ZEROS; bytes_max.div_ceil(size_of::<Page>())].into_boxed_slice();
        let (to, todo) = flume::bounded(COMMITS_MAX);
        let (done, from) = flume::bounded(COMMITS_MAX);
        let work = move || {
            serve_at_once();
            write_commits(&todo, &done, &ringer);
        };
        Builder::new().name(format!("commit-{shard}")).spawn(work)?;
        Ok(Self { to, from, pages: Some(pages) })
    }

    /// Begins to write the `len` bytes that `fill` puts down into `file` at `offset`:
    /// [`Self::ended`] says what became of it. With O_DIRECT offset and length are multiples of
    /// 4,096; with O_DSYNC they have reached the disk when the write has ended.
    ///
    /// # Panics
    /// While another write is on its way, and beyond `bytes_max`.
    pub(super) fn write(
        &mut self,
        file: Arc<File>,
        offset: u64,
        len: usize,
        fill: impl FnOnce(&mut [u8]),
    ) {
        let mut pages = self.pages.take().expect("one write at a time");
        fill(&mut pages.as_mut_bytes()[..len]);
        // Should the thread have ended, the commit is lost with it: `ended` tells.
        let _ = self.to.try_send(Commit { file, offset, len, pages });
    }

    /// What became of the write, once it has ended: the bytes written, or why not.
    pub(super) fn ended(&mut self) -> Option<io::Result<usize>> {
        if !self.is_busy() {
            return None;
        }
        match self.from.try_recv() {
            Ok(Written { result, pages }) => {
                self.pages = Some(pages);
                Some(result)
            }
            Err(flume::TryRecvError::Empty) => None,
            Err(flume::TryRecvError::Disconnected) => {
                Some(Err(io::Error::other("the thread that writes commits has ended")))
            }
        }
    }

    /// Whether a write is on its way, or was not asked for.
    pub(super) const fn is_busy(&self) -> bool {
        self.pages.is_none()
    }

    /// Whether [`Self::ended`] has something to say.
    pub(super) fn has_ended(&self) -> bool {
        !self.from.is_empty() || (self.is_busy() && self.from.is_disconnected())
    }
}

fn write_commits(
    todo: &flume::Receiver<Commit>,
    done: &flume::Sender<Written>,
    ringer: &DoorbellRinger,
) {
    for Commit { file, offset, len, pages } in todo.iter() {
        let result = file.write_at(&pages.as_bytes()[..len], offset);
        if done.send(Written { result, pages }).is_err() {
            return;
        }
        // A busy shard waits for a commit without having armed its doorbell.
        ringer.ring_always();
    }
}

#[derive(Debug)]
struct Commit {
    file: Arc<File>,
    offset: u64,
    len: usize,
    pages: Box<[Page]>,
}

#[derive(Debug)]
struct Written {
    result: io::Result<usize>,
    pages: Box<[Page]>,
}

/// What O_DIRECT asks of memory, offset and length on every file system there is.
#[derive(Clone, Copy, zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable)]
#[repr(C, align(4096))]
struct Page([u8; 4096]);

impl Page {
    const ZEROS: Self = Self([0; 4096]);
}

impl std::fmt::Debug for Page {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Page").finish_non_exhaustive()
    }
}

/// Commits on their way.
const COMMITS_MAX: usize = 1;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::{Doorbell, DoorbellListener, Woken};
    use crate::testing::Folder;
    use std::fs::OpenOptions;
    use std::os::unix::fs::OpenOptionsExt as _;
    use std::time::Duration;

    struct Bench {
        writer: CommitWriter,
        listener: DoorbellListener,
    }

    impl Bench {
        fn new(bytes_max: usize) -> Self {
            let doorbell = Doorbell::new().unwrap();
            let listener = DoorbellListener::new(&doorbell);
            let writer = CommitWriter::start(0, bytes_max, doorbell.ringer()).unwrap();
            Self { writer, listener }
        }

        /// What became of the write; nobody asks for the doorbell.
        fn wait(&mut self) -> io::Result<usize> {
            assert_eq!(self.listener.wait_or(DEADLINE).unwrap(), Woken::Rung);
            assert!(self.writer.has_ended());
            self.writer.ended().unwrap()
        }
    }

    fn open(folder: &Folder) -> Arc<File> {
        std::fs::create_dir_all(&folder.0).unwrap();
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true);
        Arc::new(
            options
                .custom_flags(libc::O_DIRECT | libc::O_DSYNC)
                .open(folder.0.join("log"))
                .unwrap(),
        )
    }

    #[test]
    fn a_write_is_told_once_with_its_length() {
        let folder = Folder::new("commit-write");
        let (file, mut bench) = (open(&folder), Bench::new(16 << 10));
        for (nth, len) in [4_096_usize, 16_384, 8_192].into_iter().enumerate() {
            let (byte, offset) = (b'a' + u8::try_from(nth).unwrap(), (nth as u64) << 14);
            bench.writer.write(file.clone(), offset, len, |bytes| bytes.fill(byte));
            assert!(bench.writer.is_busy());
            assert_eq!(bench.wait().unwrap(), len);
            assert!(!bench.writer.is_busy() && bench.writer.ended().is_none());
        }
        let bytes = std::fs::read(folder.0.join("log")).unwrap();
        assert_eq!((bytes.len(), bytes[4_095], bytes[4_096]), ((2 << 14) + 8_192, b'a', 0));
        assert!(bytes[1 << 14..2 << 14].iter().all(|byte| *byte == b'b'));
        assert_eq!(bench.listener.wait_or(Duration::ZERO).unwrap(), Woken::Elapsed);
    }

    #[test]
    fn a_write_that_fails_says_so() {
        let folder = Folder::new("commit-write-fails");
        drop(open(&folder));
        let mut bench = Bench::new(4_096);
        bench.writer.write(Arc::new(File::open(folder.0.join("log")).unwrap()), 0, 4_096, |_| ());
        assert_eq!(bench.wait().unwrap_err().raw_os_error(), Some(libc::EBADF));
    }

    #[test]
    fn a_thread_that_has_ended_is_a_write_that_failed() {
        let folder = Folder::new("commit-write-alone");
        let (to, _) = flume::bounded(COMMITS_MAX);
        let (_, from) = flume::bounded(COMMITS_MAX);
        let mut writer = CommitWriter { to, from, pages: Some(Box::new([Page::ZEROS])) };
        assert!(!writer.has_ended() && writer.ended().is_none());
        writer.write(open(&folder), 0, 4_096, |_| ());
        assert!(writer.has_ended());
        let told = writer.ended().unwrap().unwrap_err();
        assert!(told.to_string().contains("has ended"), "{told}");
    }

    const DEADLINE: Duration = Duration::from_secs(60);
}
