//! The HTTP side: what the load generator asks a server besides its load.
//!
//! Served by the main thread, which also waits for SIGTERM. It answers once every thread asked for
//! has been started.

use super::Foil;
use anyhow::Context as _;
use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::signal::unix::{SignalKind, signal};

/// Serves until SIGTERM.
pub(crate) fn serve(listener: TcpListener, foil: Arc<Foil>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the HTTP side")?;
    runtime.block_on(async {
        let mut end = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
        listener.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let router = Router::new()
            .route("/readyz", get(|| async { "ready" }))
            .route("/v1/shards", get(shards))
            .route("/v1/programs", get(|| async { Json(json!({ "default": "native" })) }))
            .with_state(foil);
        tokio::select! {
            served = axum::serve(listener, router) => served.context("the HTTP side broke"),
            _ = end.recv() => Ok(()),
        }
    })
}

/// As trendsrv tells of its shards, as far as this server has the same: it is one shard without
/// programs.
async fn shards(State(foil): State<Arc<Foil>>) -> Json<Value> {
    let none = json!({ "now": 0, "max": 0 });
    let tenants = foil.tenants.live();
    let connections = foil.connections.load(Ordering::Relaxed);
    let window_bytes = foil.shared.window_bytes.load(Ordering::Relaxed);
    Json(json!({
        "pid": std::process::id(),
        "shards": [{
            "shard": 0,
            "levels": {
                "tenants": { "now": tenants },
                "connections": { "now": connections },
                "window_bytes": { "now": window_bytes },
                "programs_live": none,
                "programs_pending": none,
                "programs_failed": none,
            },
            "counters": {
                "program_calls": 0,
                "program_faults": 0,
                "program_throttled": 0,
                "program_fuel": 0,
                "futex_slots": crate::os::futex_slots(),
            },
        }],
    }))
}
