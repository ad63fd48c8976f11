//! How long a single durable event takes on a server that has nothing else to do.
//!
//! A commit may wait for more to come; one that somebody waits for must not.

use crate::server::{Server, ServerArgs};
use serde::Serialize;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use trendsrv_client::{Client, Options};
use trendsrv_proto::AckMode;

/// Times from sending one event to its acknowledgement, microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct LoneLatency {
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
}

impl LoneLatency {
    /// In words.
    pub(crate) fn line(&self) -> String {
        format!(
            "lone event  durable on an idle server: {:.0} us p50, {:.0} us p99",
            self.p50_us, self.p99_us
        )
    }
}

/// Starts a server, sends events one at a time, each after a rest, and stops it.
pub(crate) fn latency(args: &ServerArgs) -> anyhow::Result<LoneLatency> {
    let server = Server::open(args)?;
    let software = concat!("loadgen lone ", env!("CARGO_PKG_VERSION")).to_owned();
    let options =
        Options { ack: AckMode::Durable, batch_events: 1, software, ..Options::default() };
    let mut client = Client::connect(&server.connect, options)?;
    let mut times = Vec::with_capacity(EVENTS);
    for nth in 0..EVENTS + WARM_UP {
        std::thread::sleep(REST);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        let began = Instant::now();
        client.send("lone", "event", 1, now_ms)?;
        client.flush()?;
        if nth >= WARM_UP {
            times.push(began.elapsed().as_secs_f64() * 1e6);
        }
    }
    drop(client);
    server.stop()?;
    times.sort_by(f64::total_cmp);
    Ok(LoneLatency { p50_us: times[EVENTS / 2], p99_us: times[EVENTS * 99 / 100] })
}

const EVENTS: usize = 500;
/// Those that meet a server that has yet to make its first segment.
const WARM_UP: usize = 20;
/// Long enough for the server to fall asleep.
const REST: Duration = Duration::from_millis(5);
