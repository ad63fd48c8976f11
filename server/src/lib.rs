//! placeholder
pub mod config;
pub mod demo;
pub mod desk;
pub mod drive;
pub mod node;
pub mod process;
pub mod programs;
pub mod ring;
pub mod runtime;
pub mod socket;
