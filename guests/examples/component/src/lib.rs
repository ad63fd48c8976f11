//! An example of a tenant program as a component: ranks what moves before what is merely large,
//! caps single events, finds hashtags, and remembers the busiest window.
//!
//! The types come from `wasm-host/wit/trend-program.wit`; copy that file with this folder.

use exports::trend::program::observer::{self, Event};
use exports::trend::program::stateful;
use exports::trend::program::summariser::{self, Row, Summary, Trend, View};
use exports::trend::program::text_finder::{self, Text, Topic};
use std::cell::Cell;
use std::fmt::Write as _;

wit_bindgen::generate!({
    path: "../../../wasm-host/wit",
    world: "full-program",
});

/// The program.
struct Movers;

thread_local! {
    /// The largest total weight of a window so far: the program's private state.
    static BUSIEST: Cell<u64> = const { Cell::new(0) };
}

impl summariser::Guest for Movers {
    fn summarise(view: View) -> Summary {
        let moves = |row: &Row| matches!(row.trend, Trend::New | Trend::Rising);
        let rows = u16::try_from(view.rows.len()).unwrap_or(u16::MAX);
        let (mut order, still): (Vec<u16>, Vec<u16>) =
            (0..rows).partition(|&at| moves(&view.rows[usize::from(at)]));
        order.extend(still);
        let mut tldr = String::with_capacity(TLDR_BYTES);
        for &at in order.iter().take(TOPICS_TOLD) {
            let row = &view.rows[usize::from(at)];
            let name = match row.name.as_str() {
                "" => &format!("id:{:016x}", row.topic),
                name => name,
            };
            if tldr.len() + name.len() > NAMES_BYTES {
                break;
            }
            let gap = if tldr.is_empty() { "" } else { ", " };
            let verb = if moves(row) { "moves" } else { "stays" };
            let _ = write!(tldr, "{gap}\"{name}\" {verb} at {}", row.count);
        }
        if view.total >= BUSIEST.get() {
            BUSIEST.set(view.total);
            tldr.push_str("; busiest window so far");
        }
        Summary { ranking: Some(order), tldr }
    }
}

impl observer::Guest for Movers {
    fn observe(_base_ms: u64, mut events: Vec<Event>) -> Vec<Event> {
        for event in &mut events {
            event.weight = event.weight.min(WEIGHT_CAP);
        }
        events
    }
}

impl text_finder::Guest for Movers {
    fn observe_text(_base_ms: u64, texts: Vec<Text>) -> Vec<Topic> {
        let mut topics = Vec::new();
        for (index, text) in (0..).zip(&texts) {
            let tags = text.text.split_whitespace().filter_map(|word| word.strip_prefix('#'));
            let tags = tags.map(|tag| tag.trim_end_matches(|c: char| !c.is_alphanumeric()));
            let named = tags.filter(|tag| (1..=NAME_BYTES).contains(&tag.len()));
            topics.extend(named.take(TAGS_PER_TEXT).map(|tag| Topic {
                index,
                weight: text.weight,
                name: tag.to_owned(),
            }));
        }
        topics
    }
}

impl stateful::Guest for Movers {
    fn save_state() -> Vec<u8> {
        BUSIEST.get().to_le_bytes().to_vec()
    }

    fn load_state(state: Vec<u8>) {
        if let Ok(bytes) = state.try_into() {
            BUSIEST.set(u64::from_le_bytes(bytes));
        }
    }
}

export!(Movers);

const TLDR_BYTES: usize = 512;
/// Leaves room for the numbers behind the names.
const NAMES_BYTES: usize = 400;
const TOPICS_TOLD: usize = 3;
const WEIGHT_CAP: u32 = 100;
const NAME_BYTES: usize = 32;
const TAGS_PER_TEXT: usize = 32;
