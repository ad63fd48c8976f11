//! The ordinary thread that does one shard's blocking work with files.
//!
//! ```text
//!   shard ──Chore──▶ (CHORES_MAX) ──▶ helper: Chores::run, else Chores::spend
//!         ◀──Done─── (DONES_MAX) ◀──┘ and the shard's doorbell
//! ```
//!
//! Invariant: the shard never waits for the helper; the helper waits for the shard.

use crate::runtime::{DoorbellRinger, leave_the_core};
use crate::store::{Chore, Chores, Done, RealDisk, StoreError};
use std::io;
use std::thread::{Builder, JoinHandle};

/// The shard's end of it. Dropped, the helper ends after the work at hand.
#[derive(Debug)]
pub(super) struct Helper {
    to: flume::Sender<Chore>,
    from: flume::Receiver<Result<Done, StoreError>>,
    thread: JoinHandle<()>,
}

impl Helper {
    /// Starts the thread.
    pub(super) fn start(
        shard: u16,
        chores: Chores<RealDisk>,
        ringer: DoorbellRinger,
    ) -> io::Result<Self> {
        let (to, todo) = flume::bounded(CHORES_MAX);
        let (done, from) = flume::bounded(DONES_MAX);
        let work = Work { chores, todo, done, ringer };
        let thread = Builder::new().name(format!("log-{shard}")).spawn(move || {
            leave_the_core();
            work.run();
        })?;
        Ok(Self { to, from, thread })
    }

    /// Hands work over; gives it back when too much waits, or the helper has ended.
    pub(super) fn ask(&self, chore: Chore) -> Result<(), Chore> {
        self.to.try_send(chore).map_err(flume::TrySendError::into_inner)
    }

    /// The next thing that was done.
    pub(super) fn next_done(&self) -> Option<Result<Done, StoreError>> {
        self.from.try_recv().ok()
    }

    /// Whether something was done that nobody has looked at.
    pub(super) fn has_done(&self) -> bool {
        !self.from.is_empty()
    }

    /// Waits for the end of all work that was handed over.
    pub(super) fn finish(self) -> Result<(), StoreError> {
        drop(self.to);
        for done in self.from.iter() {
            done?;
        }
        // A panic of its has been printed; nothing of it is left to be done.
        let _ = self.thread.join();
        Ok(())
    }
}

struct Work {
    chores: Chores<RealDisk>,
    todo: flume::Receiver<Chore>,
    done: flume::Sender<Result<Done, StoreError>>,
    ringer: DoorbellRinger,
}

impl Work {
    fn run(mut self) {
        let mut done = Vec::new();
        let mut more = true;
        loop {
            let chore = if more {
                match self.todo.try_recv() {
                    Ok(chore) => Some(chore),
                    Err(flume::TryRecvError::Empty) => None,
                    Err(flume::TryRecvError::Disconnected) => return,
                }
            } else {
                let Ok(chore) = self.todo.recv() else { return };
                Some(chore)
            };
            let result = match chore {
                // Whatever it was, there may be something to work ahead now.
                Some(chore) => self.chores.run(chore, &mut done).map(|()| true),
                None => self.chores.spend(&mut done),
            };
            let told = done.drain(..).map(Ok);
            let failed = result.as_ref().is_err();
            more = matches!(result, Ok(true));
            let mut rings = false;
            for word in told.chain(result.err().map(Err)) {
                rings = true;
                if self.done.send(word).is_err() {
                    return;
                }
            }
            if rings {
                self.ringer.ring();
            }
            if failed {
                return;
            }
        }
    }
}

/// Chores that wait for the helper.
pub(super) const CHORES_MAX: usize = 16;
/// Work done that waits for the shard.
const DONES_MAX: usize = 64;
