//! A thread with one executor that runs one shard's body to its end.

use std::future::Future;
use std::io;
use std::marker::PhantomData;
use std::sync::mpsc::sync_channel;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use glommio::{GlommioError, LocalExecutor, LocalExecutorBuilder};

use super::{Preflight, RuntimeError, patiently};

/// Where a shard's thread may run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// On this core only: one shard per core.
    Pinned(usize),
    /// Wherever the scheduler likes: more shards than cores.
    Floating,
}

/// Starts a thread named `name` that runs `body` on its own executor.
///
/// Returns once the executor exists, so that a failure to start is known here and not at the end.
///
/// # Errors
/// Any variant of [`RuntimeError`] that names what this machine lacks.
pub fn run_shard<Body, Running, Output>(
    placement: Placement,
    name: &str,
    body: Body,
) -> Result<ShardThread<Output>, RuntimeError>
where
    Body: FnOnce(ShardRuntime) -> Running + Send + 'static,
    Running: Future<Output = Output> + 'static,
    Output: Send + 'static,
{
    let preflight = Preflight::new(1);
    match placement {
        Placement::Pinned(core) => preflight.cores(&[core]).check()?,
        Placement::Floating => preflight.check()?,
    }
    let (started, start) = sync_channel::<Result<(), RuntimeError>>(1);
    let runtime_name = name.to_owned();
    let thread = Builder::new()
        .name(name.to_owned())
        .spawn(move || {
            let executor = match executor(placement) {
                Ok(executor) => executor,
                Err(error) => {
                    // The receiver waits for exactly this message.
                    let _ = started.send(Err(error));
                    return None;
                }
            };
            let _ = started.send(Ok(()));
            let runtime = ShardRuntime { name: runtime_name, placement, stays: PhantomData };
            Some(executor.run(async move { body(runtime).await }))
        })
        .map_err(|source| RuntimeError::from_setup("start of a shard thread", source))?;
    let thread = ShardThread { name: name.to_owned(), thread };
    match start.recv() {
        Ok(Ok(())) => Ok(thread),
        Ok(Err(error)) => Err(error),
        // The thread died without a word: its panic says why.
        Err(_) => match thread.join() {
            Ok(_) => unreachable!("a shard thread reports its start before it ends"),
            Err(error) => Err(error),
        },
    }
}

/// A running shard.
#[derive(Debug)]
pub struct ShardThread<Output> {
    name: String,
    thread: JoinHandle<Option<Output>>,
}

impl<Output> ShardThread<Output> {
    /// Waits for the body's end and returns its result.
    ///
    /// # Errors
    /// [`RuntimeError::Panicked`] when the body panicked.
    pub fn join(self) -> Result<Output, RuntimeError> {
        match self.thread.join() {
            Ok(Some(output)) => Ok(output),
            Ok(None) => Err(RuntimeError::Panicked {
                name: self.name,
                message: "the executor was never made".to_owned(),
            }),
            Err(payload) => {
                let message = payload
                    .downcast_ref::<&str>()
                    .map(|text| (*text).to_owned())
                    .or_else(|| payload.downcast_ref::<String>().cloned())
                    .unwrap_or_else(|| "no message".to_owned());
                Err(RuntimeError::Panicked { name: self.name, message })
            }
        }
    }

    /// Whether the body has ended.
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// The thread's name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// What a shard's body may ask of its executor. Stays on its thread.
#[derive(Debug)]
pub struct ShardRuntime {
    name: String,
    placement: Placement,
    stays: PhantomData<*const ()>,
}

impl ShardRuntime {
    /// Sleeps for `duration`.
    pub async fn sleep(&self, duration: Duration) {
        glommio::timer::sleep(duration).await;
    }

    /// Blocks the shard's whole thread for `duration`: for a shard with one task, which has nothing
    /// else to do meanwhile.
    ///
    /// One system call, where a timer of the executor costs several. Shards that napped on such
    /// timers of about a millisecond stalled for good once in about thirty runs under load.
    pub fn nap(&self, duration: Duration) {
        std::thread::sleep(duration);
    }

    /// Lets the executor look at its timers and other tasks, then goes on at once.
    pub async fn yield_now(&self) {
        let mut yielded = false;
        std::future::poll_fn(move |context| {
            if yielded {
                return std::task::Poll::Ready(());
            }
            yielded = true;
            context.waker().wake_by_ref();
            std::task::Poll::Pending
        })
        .await;
    }

    /// Runs `task` beside the body on the same thread; it ends with the executor at the latest.
    pub fn spawn_local(&self, task: impl Future<Output = ()> + 'static) {
        glommio::spawn_local(task).detach();
    }

    /// The thread's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where the thread may run.
    pub fn placement(&self) -> Placement {
        self.placement
    }
}

fn executor(placement: Placement) -> Result<LocalExecutor, RuntimeError> {
    let placement = match placement {
        Placement::Pinned(core) => glommio::Placement::Fixed(core),
        Placement::Floating => glommio::Placement::Unbound,
    };
    let make = || {
        LocalExecutorBuilder::new(placement.clone())
            .preempt_timer(PREEMPT_TIMER)
            .io_memory(IO_MEMORY_BYTES)
            .ring_depth(RING_DEPTH)
            .make()
            .map_err(|error: GlommioError<()>| io::Error::from(error))
    };
    patiently(make).map_err(|error| RuntimeError::from_setup("start of an executor", error))
}

/// Below 1 ms the executor can park while work is runnable; 100 ms makes 2 ms timers 14 ms late.
const PREEMPT_TIMER: Duration = Duration::from_millis(2);
/// The least glommio takes: its three rings carry timers and one eventfd, our bytes go elsewhere.
const IO_MEMORY_BYTES: usize = 64 << 10;
/// With the default depth and memory one executor pins 30 MiB.
const RING_DEPTH: usize = 128;
