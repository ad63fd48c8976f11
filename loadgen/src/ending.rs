//! What a signal must not leave behind: processes that this program started, and its folders.
//!
//! ```text
//! SIGTERM, SIGINT ─▶ thread: takes the list ─▶ kills, newest first ─▶ removes folders ─▶ exit
//!                                    └ who starts, ends or removes something waits for the list
//! ```
//!
//! Owns the list and the thread. The list is never given back: whoever sees a process gone that the
//! thread has killed waits when it lets go of it, so that nobody tells of a failure that is none.
//!
//! Invariant: a process is locked after the list or without it, never before it.

use crate::limits::{REMOVAL_PAUSE_MS, REMOVALS_MAX};
use anyhow::Context as _;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// A process that was started here, gone with its value.
#[derive(Debug)]
pub(crate) struct Process {
    id: u32,
    child: Arc<Mutex<Child>>,
}

/// A folder that was made here, gone with its value.
#[derive(Debug)]
pub(crate) struct Temporary {
    path: PathBuf,
}

/// Something that goes with this program.
#[derive(Debug)]
enum Left {
    Process(Arc<Mutex<Child>>),
    Folder(PathBuf),
}

static LEFT: Mutex<Vec<Left>> = Mutex::new(Vec::new());

/// Waits on a thread of its own for the signals that end this program, from now on.
///
/// # Errors
/// When the kernel refuses the thread or the wait.
pub(crate) fn wait_for_signals() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .context("cannot wait for signals")?;
    let kinds = [("SIGTERM", SignalKind::terminate()), ("SIGINT", SignalKind::interrupt())];
    let [mut term, mut int] = runtime.block_on(async {
        let [term, int] = kinds
            .map(|(name, kind)| signal(kind).with_context(|| format!("cannot wait for {name}")));
        anyhow::Ok::<[Signal; 2]>([term?, int?])
    })?;
    let wait = move || {
        let (name, kind) = runtime.block_on(async {
            tokio::select! {
                _ = term.recv() => kinds[0],
                _ = int.recv() => kinds[1],
            }
        });
        end_all();
        eprintln!(
            "loadgen: ended by {name}; what it had started is ended, its temporary folders are gone"
        );
        std::process::exit(128 + kind.as_raw_value());
    };
    let thread = thread::Builder::new().name("ending".to_owned()).spawn(wait);
    thread.map(drop).context("cannot start the thread that waits for signals")
}

/// Ends everything, the newest first, and keeps the list.
fn end_all() {
    let mut left = list();
    for one in left.drain(..).rev() {
        match one {
            // One that has ended by itself is as good.
            Left::Process(child) => drop(kill(&child)),
            Left::Folder(path) => remove(&path),
        }
    }
    std::mem::forget(left);
}

impl Process {
    /// Starts it.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(crate) fn start(command: &mut Command) -> io::Result<Self> {
        let mut left = list();
        let child = command.spawn()?;
        let (id, child) = (child.id(), Arc::new(Mutex::new(child)));
        left.push(Left::Process(Arc::clone(&child)));
        drop(left);
        Ok(Self { id, child })
    }

    pub(crate) const fn id(&self) -> u32 {
        self.id
    }

    /// The ends of its pipes that are ours, where they were asked for and not taken yet.
    pub(crate) fn take_pipes(&mut self) -> (Option<ChildStdin>, Option<ChildStdout>) {
        let mut child = lock(&self.child);
        (child.stdin.take(), child.stdout.take())
    }

    /// How it ended, if it has.
    pub(crate) fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        lock(&self.child).try_wait()
    }

    /// Waits until it ends by itself; it can be killed meanwhile.
    pub(crate) fn wait(&mut self) -> io::Result<ExitStatus> {
        loop {
            if let Some(status) = self.try_wait()? {
                return Ok(status);
            }
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Kills it, unless it has ended.
    pub(crate) fn kill(&mut self) -> io::Result<ExitStatus> {
        kill(&self.child)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Most have ended. Otherwise an error is on its way out; only the process must not stay.
        let _ = self.kill();
        let is_it = |one: &Left| matches!(one, Left::Process(it) if Arc::ptr_eq(it, &self.child));
        list().retain(|one| !is_it(one));
    }
}

impl Temporary {
    /// Makes the folder, and those above it.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(crate) fn make(path: PathBuf) -> io::Result<Self> {
        let mut left = list();
        std::fs::create_dir_all(&path)?;
        left.push(Left::Folder(path.clone()));
        drop(left);
        Ok(Self { path })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let mut left = list();
        // What stays of a folder of temporary files harms nobody.
        let _ = std::fs::remove_dir_all(&self.path);
        left.retain(|one| !matches!(one, Left::Folder(path) if *path == self.path));
    }
}

/// The list is whole between operations, so a panic in one leaves nothing half done.
fn list() -> MutexGuard<'static, Vec<Left>> {
    LEFT.lock().unwrap_or_else(PoisonError::into_inner)
}

fn lock(child: &Mutex<Child>) -> MutexGuard<'_, Child> {
    child.lock().unwrap_or_else(PoisonError::into_inner)
}

fn kill(child: &Mutex<Child>) -> io::Result<ExitStatus> {
    let mut child = lock(child);
    child.kill()?;
    child.wait()
}

/// Removes a folder that somebody may still write into: the rest of this program, until it sees
/// that the folder is gone.
fn remove(path: &Path) {
    for attempt in 1..=REMOVALS_MAX {
        match std::fs::remove_dir_all(path) {
            Ok(()) => return,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            Err(error) if attempt == REMOVALS_MAX => {
                eprintln!("loadgen: {} could not be removed: {error}", path.display());
            }
            Err(_) => thread::sleep(Duration::from_millis(REMOVAL_PAUSE_MS)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_left(process: &Process) -> bool {
        let is_it =
            |one: &Left| matches!(one, Left::Process(it) if Arc::ptr_eq(it, &process.child));
        list().iter().any(is_it)
    }

    #[test]
    fn a_process_is_left_until_its_value_goes_and_does_not_outlive_it() {
        let mut process = Process::start(Command::new("sleep").arg("600")).unwrap();
        assert!(is_left(&process) && process.try_wait().unwrap().is_none());
        let (id, child) = (process.id(), Arc::clone(&process.child));
        drop(process);
        assert!(!Path::new(&format!("/proc/{id}")).exists());
        assert_eq!(Arc::strong_count(&child), 1, "nobody else knows of it");
    }

    #[test]
    fn a_process_that_ends_by_itself_tells_how() {
        let mut process = Process::start(Command::new("sh").args(["-c", "exit 7"])).unwrap();
        assert_eq!(process.wait().unwrap().code(), Some(7));
        assert_eq!(process.kill().unwrap().code(), Some(7), "it has ended already");
        assert!(Process::start(&mut Command::new("no-such-program")).is_err());
    }
}
