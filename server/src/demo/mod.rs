//! The server with live sample traffic, so that a newcomer sees trends within seconds.
//!
//! Owns a producer that plays recorded Wikipedia edits as if each drew page views for a while, and
//! a reader that prints what trends. Both are ordinary clients: they know the server by its address
//! only.

mod reader;
mod traffic;

use crate::config::Config;
use crate::process::{Running, start};
use anyhow::Context;
use reader::Reader;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, JoinHandle};
use traffic::Traffic;

/// Serves with sample traffic until a signal ends it.
///
/// # Errors
/// Whatever keeps the server or its clients from starting.
pub fn run(config: &Config) -> anyhow::Result<()> {
    let mut running = start(config)?;
    let over = Arc::new(AtomicBool::new(false));
    let traffic = Traffic::connect(&running.listen.to_string()).context("demo traffic")?;
    let tenants = traffic.busiest_tenants(TENANTS_SHOWN);
    let reader = Reader::connect(&running.listen.to_string(), tenants).context("demo reader")?;
    greet(&running);
    let threads = [
        spawn("demo-traffic", over.clone(), move |over| traffic.run(over))?,
        spawn("demo-reader", over.clone(), move |over| reader.run(over))?,
    ];
    let ended = running.wait_for_signal();
    // The clients end first, so that they do not report a server that goes away as planned.
    over.store(true, Ordering::Release);
    for thread in threads {
        if thread.join().is_err() {
            tracing::error!("a demo client panicked");
        }
    }
    running.stop()?;
    Ok(ended?)
}

fn spawn(
    name: &str,
    over: Arc<AtomicBool>,
    body: impl FnOnce(&AtomicBool) -> anyhow::Result<()> + Send + 'static,
) -> anyhow::Result<JoinHandle<()>> {
    let named = name.to_owned();
    let thread = Builder::new().name(name.to_owned()).spawn(move || {
        if let Err(error) = body(&over) {
            tracing::error!("{named} ended: {error:#}");
        }
    });
    thread.with_context(|| format!("cannot start {name}"))
}

fn greet(running: &Running) {
    let Running { http, listen, .. } = running;
    println!(
        "trendsrv demo: recorded Wikipedia edits and made-up page views of them, live\n\
         \n\
         While it runs, try in another terminal:\n\
         \n\
         \x20 curl 'http://{http}/v1/tenants/%23en.wikipedia/trending?k=5'\n\
         \x20 curl -d '{{\"topic\":\"hello\"}}' http://{http}/v1/tenants/me/events\n\
         \x20 curl http://{http}/v1/tenants/me/trending\n\
         \x20 curl http://{http}/v1/shards\n\
         \n\
         The binary protocol listens on {listen} (docs/protocol.md). Ctrl-C ends the demo.\n"
    );
}

const TENANTS_SHOWN: usize = 6;
