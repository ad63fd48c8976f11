//! A program for logs: a line's topic is its template, so that what trends is the kind of message.
//!
//! ```text
//! 2015-09-12T10:00:01Z ERROR conn 7 from 10.0.0.1:5432 failed after 30.5ms: "timed out"
//!                      ERROR conn <n> from <addr> failed after <n>ms: <str>
//! ```
//!
//! Invariants:
//! - One topic a text, of 1 to 255 bytes, cut at a character's end; a text of nothing but spaces
//!   and times has none.
//! - The work is linear in the text.
#![no_std]
#![forbid(unsafe_code)]

mod bytes;
mod template;
mod times;
mod token;

pub use template::Template;

use trend_guest::{Texts, Topics};

trend_guest::program! {
    // A longest text and its header fill half of it, so that none is cut.
    cap = 8_256;
    observe_text = observe_text;
    summarise = trend_guest::trending;
}

/// Finds the template of each text.
pub fn observe_text(texts: &Texts<'_>, topics: &mut Topics<'_>) {
    let mut template = Template::new();
    for text in texts.iter() {
        // Without room for one there may be room for a shorter one of another text.
        let _ = topics.add(&text, template.of(text.bytes));
    }
}
