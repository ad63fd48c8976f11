//! All tenants: the shared map from an id to the channel of its thread.
//!
//! ```text
//! connection ──read lock──▶ map ──clone──▶ sender ──▶ bounded channel ──▶ tenant's thread
//! ```

use super::ceiling::Ceilings;
use super::latch::Latch;
use super::tenant::{self, Message, Shared};
use crate::limits::NAIVE_QUEUE_MAX;
use flume::Sender;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread;
use trendsrv_proto::TenantId;

/// The tenants that have a thread.
#[derive(Debug)]
pub(crate) struct Tenants {
    senders: RwLock<HashMap<TenantId, Sender<Message>>>,
    /// How many there are, for the one who counts without a lock.
    live: Arc<AtomicU64>,
    stack_bytes: usize,
    shared: Arc<Shared>,
}

/// A thread that could not be started.
#[derive(Debug)]
pub(crate) struct NotStarted {
    /// Tenants that have a thread.
    pub(crate) live: u64,
    why: io::Error,
}

impl fmt::Display for NotStarted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no thread beyond {} tenants: {}", self.live, self.why)
    }
}

impl NotStarted {
    /// With the limits of the machine and this process.
    pub(crate) fn explained(&self) -> String {
        format!("{self}. {}", Ceilings::read())
    }
}

impl Tenants {
    /// None yet.
    pub(crate) fn new(stack_bytes: usize, shared: Arc<Shared>) -> Self {
        let (senders, live) = (RwLock::default(), Arc::default());
        Self { senders, live, stack_bytes, shared }
    }

    /// How many have a thread.
    pub(crate) fn live(&self) -> u64 {
        self.live.load(Ordering::Relaxed)
    }

    /// The same, to be read when nothing else can be.
    pub(crate) fn counter(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.live)
    }

    /// The way to a tenant's thread, if it has one.
    pub(crate) fn find(&self, id: TenantId) -> Option<Sender<Message>> {
        self.senders.read().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    /// The way to a tenant's thread, which is started if it has none.
    ///
    /// # Errors
    /// When the machine has no thread left.
    pub(crate) fn find_or_start(&self, id: TenantId) -> Result<Sender<Message>, NotStarted> {
        if let Some(sender) = self.find(id) {
            return Ok(sender);
        }
        let mut senders = self.senders.write().unwrap_or_else(PoisonError::into_inner);
        match senders.entry(id) {
            Entry::Occupied(entry) => Ok(entry.get().clone()),
            Entry::Vacant(entry) => {
                let sender = self.start(id)?;
                self.live.fetch_add(1, Ordering::Relaxed);
                Ok(entry.insert(sender).clone())
            }
        }
    }

    /// Starts a thread and waits until it runs: one that lacks memory for its signal stack fails
    /// only then.
    fn start(&self, id: TenantId) -> Result<Sender<Message>, NotStarted> {
        let (sender, inbox) = flume::bounded(NAIVE_QUEUE_MAX);
        let (shared, runs) = (Arc::clone(&self.shared), Latch::new(1));
        let begun = Arc::clone(&runs);
        let body = move || {
            begun.done();
            drop(begun);
            tenant::live(id, &inbox, &shared);
        };
        thread::Builder::new()
            .stack_size(self.stack_bytes)
            .spawn(body)
            .map_err(|why| NotStarted { live: self.live(), why })?;
        runs.wait();
        Ok(sender)
    }
}
