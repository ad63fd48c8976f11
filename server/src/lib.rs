//! placeholder
pub mod config;
pub mod desk;
pub mod ring;
pub mod runtime;
pub mod socket;
