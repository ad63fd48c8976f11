//! A program for messages: the topics of a text are its #hashtags and @mentions, or else its
//! significant words; the window is told as the default program tells it.
//!
//! ```text
//! text -> tags (#, @) -> topics
//!      '- none? words (links and markup skipped, stop words left out) -> topics
//! ```
//!
//! Invariants:
//! - At most [`TOPICS_MAX`] topics a text, each once, in the order of the text, in the case-folded
//!   form ([`fold`] says which letters that covers).
//! - The work is linear in the text: whatever is in it, a call stays below its fuel.
//! - Bytes that are not UTF-8 are separators, never a fault.
#![no_std]
#![forbid(unsafe_code)]

mod fold;
mod scan;
mod stop_words;
mod tags;
mod topics;
mod words;

pub use topics::{Found, TOPICS_MAX};

use trend_guest::{Texts, Topics};

trend_guest::program! {
    // A longest text and its header fill half of it, so that none is cut.
    cap = 8_256;
    observe_text = observe_text;
    summarise = trend_guest::trending;
}

/// Finds the topics of texts.
pub fn observe_text(texts: &Texts<'_>, topics: &mut Topics<'_>) {
    let mut found = Found::new();
    for text in texts.iter() {
        found.clear();
        find(text.bytes, &mut found, &mut |name: &[u8]| topics.add(&text, name));
    }
}

/// Finds the topics of a text. `add` returns false when there is no room for more.
pub fn find(text: &[u8], found: &mut Found, add: &mut impl FnMut(&[u8]) -> bool) {
    tags::find(text, found, add);
    if found.is_empty() {
        words::find(text, found, add);
    }
}
