//! The process around the shards: pinned cores, sockets, the front desk and tenant programs.
//!
//! All of it is IO, or holds what IO needs; what an event means is decided in `trendsrv_shard`.
//! `docs/ARCHITECTURE.md` draws the parts.

pub mod config;
pub mod demo;
pub mod desk;
pub mod drive;
pub mod folder_lock;
pub mod node;
pub mod process;
pub mod programs;
pub mod ring;
pub mod runtime;
pub mod socket;
pub mod store;

#[cfg(test)]
mod testing;
