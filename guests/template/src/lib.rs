//! A program with all that a program may have: copy it and take out what you do not need.
//!
//! It counts an event's weight double when the event is fresh, leaves out one topic, takes the
//! words of a text as its topics, and ranks rising topics before the others.
#![cfg_attr(target_arch = "wasm32", no_std)]
#![forbid(unsafe_code)]

use trend_guest::{Event, Events, Reply, Texts, Told, Topics, Trend, View};

trend_guest::program! {
    // The buffer. With texts 8,192 at least; without, 2,048 hold the three best topics.
    cap = 8_256;
    // Numbers that survive restarts, 256 at most. A program without state leaves the line out,
    // and the `state` parameter of each function below.
    state = STATE_WORDS;
    // The stages. `observe` and `observe_text` may be left out.
    observe = observe;
    observe_text = observe_text;
    summarise = summarise;
}

/// The state: the longest-reigning leader's id, and for how many summaries it has led.
const STATE_WORDS: usize = 2;

/// The id of a topic that is not to be counted: XXH3-64 of `spam`.
pub const UNWANTED: u64 = 0xb7eb_44bb_fdc7_1621;

/// Looks at events before they are counted: filter, reweight, re-key.
pub fn observe(_state: &mut [u64; STATE_WORDS], events: &mut Events<'_>) {
    events.retain_map(|event| match event {
        Event { topic: UNWANTED, .. } => None,
        Event { offset_ms: 0.., weight, .. } => {
            Some(Event { weight: weight.saturating_mul(2).min(WEIGHT_MAX), ..event })
        }
        older => Some(older),
    });
}

/// Finds the topics of texts: here, words of five bytes or more.
pub fn observe_text(_state: &mut [u64; STATE_WORDS], texts: &Texts<'_>, topics: &mut Topics<'_>) {
    for text in texts.iter() {
        let words = text.bytes.split(|byte| byte.is_ascii_whitespace() || byte.is_ascii_control());
        let names = words.filter(|word| (5..=255).contains(&word.len())).take(8);
        for name in names {
            // The name must be UTF-8 without control characters. Words of a text are.
            if !topics.add(&text, name) {
                return;
            }
        }
    }
}

/// Ranks the topics of a window and writes one line about it.
pub fn summarise(state: &mut [u64; STATE_WORDS], view: &View<'_>, reply: Reply<'_>) -> Told {
    let places = |rising: bool| {
        let rows = (0_u16..).zip(view.rows());
        rows.filter(move |(_, row)| (row.trend() == Trend::Rising) == rising)
            .map(|(place, _)| place)
    };
    let mut line = reply.rank(places(true).chain(places(false)));
    let Some(place) = places(true).chain(places(false)).next() else {
        return line.finish();
    };
    let Some(leader) = view.rows().nth(usize::from(place)) else {
        return line.finish();
    };
    let [id, summaries] = state;
    *summaries = if *id == leader.topic() { summaries.saturating_add(1) } else { 1 };
    *id = leader.topic();

    line.text(leader.name());
    line.text(b" leads for ");
    line.grouped(*summaries);
    line.text(b" summaries, ");
    line.grouped(leader.count());
    line.text(b" of ");
    line.grouped(view.total());
    line.finish()
}

/// What an event may weigh at most.
const WEIGHT_MAX: u32 = 1_000_000_000;
