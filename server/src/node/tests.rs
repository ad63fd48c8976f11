//! Nodes wired by a mesh that delivers mail in any order between pairs, and clients made of bytes.

mod chaos;
mod durable;
mod forgotten;
mod net;
mod refusals;
mod rules;
mod texts;
