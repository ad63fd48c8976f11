//! The signals that ask for the end.

use super::serve::StartError;
use std::future::Future;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGTERM and SIGINT, heard from the moment this exists: whoever is told that the server is ready
/// may ask it to end.
#[derive(Debug)]
pub(super) struct Signals {
    runtime: Runtime,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Listens from now on.
    pub(super) fn listen() -> Result<Self, StartError> {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(StartError::Signals)?;
        let entered = runtime.enter();
        let terminate = signal(SignalKind::terminate()).map_err(StartError::Signals)?;
        let interrupt = signal(SignalKind::interrupt()).map_err(StartError::Signals)?;
        drop(entered);
        Ok(Self { runtime, terminate, interrupt })
    }

    /// Waits until one has come, or `other` ends; what it says then.
    pub(super) fn wait_or<T>(&mut self, other: impl Future<Output = T>) -> Option<T> {
        let Self { runtime, terminate, interrupt } = self;
        runtime.block_on(async {
            tokio::select! {
                _ = terminate.recv() => None,
                _ = interrupt.recv() => None,
                said = other => Some(said),
            }
        })
    }
}
