//! What became of the frames: counted, timed, and noted for the check at the end.

use crate::latency::Latency;
use crate::sample::Ledger;
use std::collections::BTreeMap;
use trendsrv_proto::Refusal;

/// Events by what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Events {
    /// Given to a connection.
    pub(crate) admitted: u64,
    /// Acknowledged.
    pub(crate) acked: u64,
    /// Refused for good.
    pub(crate) refused: u64,
}

/// The counts of a run.
#[derive(Debug)]
pub(crate) struct Tally {
    /// Over the whole run.
    pub(crate) all: Events,
    /// Of frames whose intended time lies in the measurement.
    pub(crate) measured: Events,
    /// Acknowledgement latency of measured frames.
    pub(crate) ack: Latency,
    /// Exact counts of the sampled tenants.
    pub(crate) ledger: Ledger,
    /// Refusals by code.
    pub(crate) refusals: BTreeMap<&'static str, u64>,
    /// The first message of each code.
    pub(crate) messages: BTreeMap<&'static str, String>,
    /// Ids whose names were asked for and are unknown.
    pub(crate) names_missing: u64,
}

impl Tally {
    pub(crate) fn new(ledger: Ledger) -> anyhow::Result<Self> {
        Ok(Self {
            all: Events::default(),
            measured: Events::default(),
            ack: Latency::new()?,
            ledger,
            refusals: BTreeMap::new(),
            messages: BTreeMap::new(),
            names_missing: 0,
        })
    }

    /// Counts a refusal frame.
    pub(crate) fn refused_frame(&mut self, code: Refusal, message: &str) {
        *self.refusals.entry(code.name()).or_default() += 1;
        self.messages.entry(code.name()).or_insert_with(|| message.to_owned());
    }
}
