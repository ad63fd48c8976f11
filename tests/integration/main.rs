//! Tests of the real process over its real sockets: one `trendsrv` a test, on ports of its own.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod bad_input;
mod clock;
mod delivery;
mod durability;
mod harness;
mod hostile;
mod main_job;
mod names;
mod programs;
mod startup;
mod subscriptions;
mod tenants;
mod texts;
mod wasm;
