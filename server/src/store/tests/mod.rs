//! The store over a disk in memory that forgets, fails and stops.

mod bed;
mod commits;
mod crash;
mod damage;
mod inspecting;
mod lanes;
mod lifecycle;
mod mem_disk;
mod real;
mod sentences;
