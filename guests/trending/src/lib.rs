//! The default program: it keeps the view's ranking and says what leads it.
//!
//! ```text
//! "mars rover" x4.2 in 10 s (1,204 in 60 s), then "eclipse", "budget vote"; 312 topics
//! ```
//!
//! Owns nothing: no state, no tables. Everything it touches lies in the first 4 KiB of its memory,
//! because a hundred thousand tenants have an instance of it.
//! The server holds the same line in plain Rust (`shard::Trending`); the two agree byte for byte.
#![no_std]
#![forbid(unsafe_code)]

trend_guest::program! {
    // A header, three rows of the longest name and sample, and the longest line: 1,984 bytes.
    cap = 2_048;
    summarise = trend_guest::trending;
}
