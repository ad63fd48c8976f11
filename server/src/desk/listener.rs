//! Accepting HTTP connections: bounded in number, and none may be silent for long.
//!
//! ```text
//! accept ─ room? ── no ──> 503, close
//!            └ yes ──> Unstalled(socket) ─> hyper: head within head_max, body within body_max,
//!                                           a reply left unread is cut after stall_max
//! ```
//!
//! Invariants: a client that sends or reads nothing loses its connection after a bounded time; the
//! desk never waits for one client while others are served.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, Sleep, sleep};

use crate::config::limits::{
    HTTP_BODY_MS_MAX, HTTP_CONNECTIONS_MAX, HTTP_HEAD_BYTES_MAX, HTTP_HEAD_MS_MAX,
    HTTP_STALL_MS_MAX,
};

/// How long and how many; shorter in tests.
#[derive(Clone, Copy, Debug)]
pub struct HttpLimits {
    /// Open connections.
    pub connections_max: usize,
    /// Time to send a request's head; also how long a connection may rest between requests.
    pub head_max: Duration,
    /// Time to send a request's body.
    pub body_max: Duration,
    /// Time a reply may stay unread.
    pub stall_max: Duration,
    /// Time open requests have to finish once the server drains.
    pub drain_max: Duration,
}

impl Default for HttpLimits {
    fn default() -> Self {
        HttpLimits {
            connections_max: HTTP_CONNECTIONS_MAX,
            head_max: Duration::from_millis(HTTP_HEAD_MS_MAX),
            body_max: Duration::from_millis(HTTP_BODY_MS_MAX),
            stall_max: Duration::from_millis(HTTP_STALL_MS_MAX),
            drain_max: Duration::from_secs(5),
        }
    }
}

/// How many connections are open, were open, and were turned away.
#[derive(Debug)]
pub(super) struct ConnectionLevel {
    room: Arc<Semaphore>,
    max: usize,
    high_water: AtomicUsize,
    turned_away: AtomicUsize,
}

impl ConnectionLevel {
    pub(super) fn new(max: usize) -> Self {
        ConnectionLevel {
            room: Arc::new(Semaphore::new(max)),
            max,
            high_water: AtomicUsize::new(0),
            turned_away: AtomicUsize::new(0),
        }
    }

    pub(super) fn now(&self) -> usize {
        self.max - self.room.available_permits()
    }

    pub(super) fn max(&self) -> usize {
        self.max
    }

    pub(super) fn high_water(&self) -> usize {
        self.high_water.load(Ordering::Relaxed)
    }

    pub(super) fn turned_away(&self) -> usize {
        self.turned_away.load(Ordering::Relaxed)
    }

    fn enter(&self) -> Option<OwnedSemaphorePermit> {
        let Ok(permit) = self.room.clone().try_acquire_owned() else {
            self.turned_away.fetch_add(1, Ordering::Relaxed);
            return None;
        };
        self.high_water.fetch_max(self.now(), Ordering::Relaxed);
        Some(permit)
    }
}

/// Accepts until told to drain, then gives open requests `drain_max` to finish.
pub(super) async fn serve(
    listener: TcpListener,
    app: Router,
    limits: HttpLimits,
    level: Arc<ConnectionLevel>,
    mut draining: watch::Receiver<bool>,
) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = drain(&mut draining) => break,
        };
        match accepted {
            Ok((stream, _)) => match level.enter() {
                Some(permit) => {
                    let connection =
                        connection(stream, app.clone(), limits, permit, draining.clone());
                    tokio::spawn(connection);
                }
                None => turn_away(&stream),
            },
            Err(error) => {
                // Out of descriptors, or the peer is gone already. Only the former lasts.
                tracing::warn!(%error, "cannot accept an HTTP connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    let all = u32::try_from(level.max).unwrap_or(u32::MAX);
    let _ = tokio::time::timeout(limits.drain_max, level.room.acquire_many(all)).await;
}

async fn connection(
    stream: TcpStream,
    app: Router,
    limits: HttpLimits,
    permit: OwnedSemaphorePermit,
    mut draining: watch::Receiver<bool>,
) {
    let _ = stream.set_nodelay(true);
    let io = TokioIo::new(Unstalled::new(stream, limits.stall_max));
    let mut connection = std::pin::pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.head_max)
            .max_buf_size(HTTP_HEAD_BYTES_MAX)
            .serve_connection(io, TowerToHyperService::new(app))
    );
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = drain(&mut draining) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "HTTP connection ended");
    }
    drop(permit);
}

/// Waits until the server drains; a dropped handle counts as that.
async fn drain(draining: &mut watch::Receiver<bool>) {
    let _ = draining.wait_for(|draining| *draining).await;
}

/// Says why in a fixed reply; never waits for the client.
fn turn_away(stream: &TcpStream) {
    let _ = stream.try_write(TURNED_AWAY.as_bytes());
}

/// A socket whose writes fail once the peer has taken nothing for `stall_max`.
struct Unstalled {
    stream: TcpStream,
    stall_max: Duration,
    deadline: Pin<Box<Sleep>>,
    stalled: bool,
}

impl Unstalled {
    fn new(stream: TcpStream, stall_max: Duration) -> Self {
        Unstalled { stream, stall_max, deadline: Box::pin(sleep(stall_max)), stalled: false }
    }

    fn watch<T>(
        &mut self,
        cx: &mut Context<'_>,
        result: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if result.is_ready() {
            self.stalled = false;
            return result;
        }
        if !self.stalled {
            self.stalled = true;
            self.deadline.as_mut().reset(Instant::now() + self.stall_max);
        }
        match self.deadline.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncRead for Unstalled {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Unstalled {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.watch(cx, result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.watch(cx, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_flush(cx);
        self.watch(cx, result)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
const TURNED_AWAY: &str = "HTTP/1.1 503 Service Unavailable\r\n\
    content-type: application/json\r\ncontent-length: 81\r\nretry-after: 1\r\n\
    connection: close\r\n\r\n\
    {\"code\":\"OVERLOADED\",\"message\":\"too many HTTP connections\",\"retry_after_ms\":1000}";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fixed_reply_has_its_announced_length() {
        let (head, body) = TURNED_AWAY.split_once("\r\n\r\n").unwrap();
        let announced = head.split("content-length: ").nth(1).unwrap();
        assert_eq!(announced.split("\r\n").next().unwrap(), body.len().to_string());
    }
}
