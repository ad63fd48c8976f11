//! The store over a disk in memory that forgets, fails and stops.

mod bed;
mod crash;
mod damage;
mod lifecycle;
mod mem_disk;
