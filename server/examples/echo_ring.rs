//! Two shards echo what one client thread sends: the ring and the runtime without the product.
//!
//! `cargo run --profile fast -p trendsrv-server --example echo_ring [-- CONNECTIONS SECONDS]`

#[path = "../tests/ring_support/mod.rs"]
mod ring_support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use ring_support::{EchoServer, connect};
use trendsrv_server::ring::RingConfig;
use trendsrv_server::runtime::{Placement, Preflight, allowed_cores};
use trendsrv_server::socket::{listen_shared, local_address};

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let connections: usize = number(arguments.next(), 32)?;
    let seconds: u64 = number(arguments.next(), 3)?;
    ensure!(connections > 0, "at least one connection is needed");
    let cores = allowed_cores()?;
    Preflight::new(SHARDS).check()?;
    let sockets = listen_shared("127.0.0.1:0".parse()?, SHARDS, "--listen")?;
    let address = local_address(&sockets[0])?;
    let mut servers = Vec::with_capacity(SHARDS);
    for (index, socket) in sockets.into_iter().enumerate() {
        let placement =
            cores.get(index).map_or(Placement::Floating, |&core| Placement::Pinned(core));
        let name = format!("shard-{index}");
        servers.push(EchoServer::start(placement, &name, RingConfig::default(), socket));
    }
    let mut clients: Vec<TcpStream> = (0..connections).map(|_| connect(address)).collect();
    let echoed_bytes = pump(&mut clients, Duration::from_secs(seconds))?;
    drop(clients);
    println!(
        "{connections} connections, {SHARDS} shards: {:.0} MB/s echoed",
        echoed_bytes as f64 / 1e6 / seconds as f64
    );
    for (index, server) in servers.into_iter().enumerate() {
        let report = server.finish();
        let stats = report.stats;
        println!(
            "shard-{index}: {} accepted, {} receives of {} bytes on average, {} starved, {} turns, \
             {} sleeps, {} enters",
            stats.accepted,
            stats.receives,
            stats.received_bytes / stats.receives.max(1),
            stats.starved,
            report.turns,
            report.sleeps,
            stats.enters,
        );
    }
    Ok(())
}

/// Sends a block on every connection, then reads all of them back, for as long as told.
fn pump(clients: &mut [TcpStream], limit: Duration) -> Result<u64> {
    let block = vec![9; BLOCK_BYTES];
    let mut back = vec![0; BLOCK_BYTES];
    let mut echoed_bytes = 0;
    let since = Instant::now();
    while since.elapsed() < limit {
        for client in clients.iter_mut() {
            client.write_all(&block).context("send")?;
        }
        for client in clients.iter_mut() {
            client.read_exact(&mut back).context("receive")?;
            ensure!(back == block, "other bytes came back");
            echoed_bytes += BLOCK_BYTES as u64;
        }
    }
    Ok(echoed_bytes)
}

fn number<T: std::str::FromStr>(argument: Option<String>, default: T) -> Result<T> {
    match argument {
        None => Ok(default),
        Some(text) => text.parse().ok().with_context(|| format!("not a number: {text}")),
    }
}

const SHARDS: usize = 2;
/// 512 records of 24 bytes and a frame head.
const BLOCK_BYTES: usize = 12_320;
