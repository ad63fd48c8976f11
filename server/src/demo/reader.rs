//! A reader: prints what trends for some tenants.

use anyhow::Context;
use std::fmt::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use trendsrv_client::blocking::{Client, ClientError, Options};
use trendsrv_proto::{Rank, Refusal};

/// Prints the one-line summaries of some tenants.
pub(super) struct Reader {
    client: Client,
    tenants: Vec<&'static str>,
}

impl Reader {
    /// Connects.
    pub(super) fn connect(address: &str, tenants: Vec<&'static str>) -> anyhow::Result<Self> {
        let client = Client::connect(address, Options::default())?;
        Ok(Self { client, tenants })
    }

    /// Prints at growing intervals until told to stop.
    pub(super) fn run(mut self, over: &AtomicBool) -> anyhow::Result<()> {
        let (mut interval, mut last) = (FIRST, Instant::now());
        while !over.load(Ordering::Acquire) {
            self.client.turn(STEP).context("the server is gone")?;
            if last.elapsed() >= interval {
                print!("{}", self.page()?);
                (interval, last) = (LATER, Instant::now());
            }
        }
        Ok(())
    }

    fn page(&mut self) -> anyhow::Result<String> {
        let mut page = format!("-- trending at {} --\n", clock(now_ms()));
        for &tenant in &self.tenants {
            match self.client.query(tenant, 3, Rank::Score, None) {
                Ok(answer) => {
                    let velocity = answer.topics.first().map_or(0, |topic| topic.velocity_milli);
                    let per_second = velocity as f64 / 1_000.0;
                    writeln!(page, "{tenant:<16}{per_second:>+7.1}/s  {}", answer.tldr)?;
                }
                Err(ClientError::Refused(why)) if why.code == Refusal::UnknownTenant => {
                    writeln!(page, "{tenant:<16}          nothing yet")?;
                }
                Err(error) => return Err(error.into()),
            }
        }
        page.push('\n');
        Ok(page)
    }
}

/// Time of day, UTC.
fn clock(now_ms: u64) -> String {
    let seconds = now_ms / 1_000 % 86_400;
    format!("{:02}:{:02}:{:02} UTC", seconds / 3_600, seconds / 60 % 60, seconds % 60)
}

/// Wall time, ms since the epoch.
pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The first page comes soon, the later ones leave time to read.
const FIRST: Duration = Duration::from_secs(3);
const LATER: Duration = Duration::from_secs(10);
const STEP: Duration = Duration::from_millis(100);
