//! A tenant: one thread that owns a window, and the channel that feeds it.

use super::latch::Latch;
use super::names::Names;
use super::window::{Answer, Event, Grid, Window};
use flume::{Receiver, Sender};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};
use trendsrv_proto::{Rank, TenantId};

/// What a tenant's thread is told.
#[derive(Debug)]
pub(crate) enum Message {
    /// Events in a row of one frame, and who waits until they count.
    Events { events: Vec<Event>, applied: Arc<Latch> },
    /// A question; the reply is nothing when no event has ever come.
    Query { at_ms: Option<u64>, k: usize, rank: Rank, reply: Sender<Option<Answer>> },
}

/// What the threads of all tenants share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) grid: Grid,
    pub(crate) names: Names,
    /// Bytes of all windows.
    pub(crate) window_bytes: AtomicU64,
}

/// Runs until nobody can send any more.
pub(crate) fn live(id: TenantId, inbox: &Receiver<Message>, shared: &Shared) {
    let (mut window, mut told) = (Window::new(shared.grid), 0);
    while let Ok(message) = inbox.recv() {
        match message {
            Message::Events { events, applied } => {
                let now_ms = now_ms();
                for event in events {
                    window.add(now_ms, event);
                }
                tell_bytes(&window, &mut told, shared);
                applied.done();
            }
            Message::Query { at_ms, k, rank, reply } => {
                let asked = (at_ms.unwrap_or_else(now_ms), k, rank);
                let answer = window
                    .is_known()
                    .then(|| window.answer(id, asked, |topic| shared.names.lock().get(topic.0)));
                // The connection that asked may be gone; nobody misses the answer then.
                let _ = reply.send(answer);
            }
        }
    }
    shared.window_bytes.fetch_sub(told, Ordering::Relaxed);
}

/// Keeps the sum over all tenants; nothing is touched while a window keeps its size.
fn tell_bytes(window: &Window, told: &mut u64, shared: &Shared) {
    let bytes = window.bytes() as u64;
    if bytes >= *told {
        if bytes > *told {
            shared.window_bytes.fetch_add(bytes - *told, Ordering::Relaxed);
        }
    } else {
        shared.window_bytes.fetch_sub(*told - bytes, Ordering::Relaxed);
    }
    *told = bytes;
}

/// The wall clock, milliseconds since the epoch.
pub(crate) fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}
