//! The committed programs, run as they are.

use proptest::prelude::*;
use trend_harness::{Guest, Row, View, shape, shipped};

const ALL: [&str; 3] = ["trending", "hashtags", "log-signatures"];

fn row(name: &str, count: u64, recent: u64) -> Row {
    Row { topic: 0xabc, count, recent, name: name.into(), ..Row::default() }
}

fn minute(distinct: u32, rows: Vec<Row>) -> View {
    View { distinct, window_ms: 60_000, recent_ms: 10_000, rows }
}

fn line(view: &View) -> String {
    let lines = ALL.map(|name| {
        let told = Guest::new(&shipped(name)).summarise(view).expect("no fault");
        assert_eq!(told.ranking, None, "{name} keeps the ranking");
        told.tldr
    });
    assert!(lines.iter().all(|line| *line == lines[0]), "one line for all: {lines:?}");
    lines[0].clone()
}

#[test]
fn they_export_the_abi_and_nothing_else() {
    for name in ALL {
        let shape = shape(&shipped(name)).expect("a module");
        let mut exports = vec!["buf", "cap", "memory", "summarise", "trend_abi"];
        if name != "trending" {
            exports.insert(3, "observe_text");
        }
        assert_eq!(shape.exports, exports, "{name}");
        assert_eq!(shape.imports, [""; 0], "{name}");
        assert_eq!(shape.memories, [(1, Some(1))], "{name}");
        assert!(!shape.has_start, "{name}");
    }
}

#[test]
fn bulk_instructions_are_for_the_beginning_of_a_call_only() {
    // The programs for texts clear their tables with one; copies of names are too short for them.
    for (name, bulk) in [("trending", 0), ("hashtags", 1), ("log-signatures", 1)] {
        assert_eq!(shape(&shipped(name)).expect("a module").bulk, bulk, "{name}");
    }
}

#[test]
fn the_line_says_what_leads_the_window() {
    let rows = vec![
        row("mars rover", 1_204, 549),
        row("eclipse", 900, 100),
        row("budget vote", 70, 7),
        row("fourth", 1, 0),
    ];
    assert_eq!(
        line(&minute(312, rows.clone())),
        "\"mars rover\" x4.1 in 10 s (1,204 in 60 s), then \"eclipse\", \"budget vote\"; 312 topics"
    );
    assert_eq!(
        line(&minute(2, rows[..2].to_vec())),
        "\"mars rover\" x4.1 in 10 s (1,204 in 60 s), then \"eclipse\"; 2 topics"
    );
}

#[test]
fn a_quiet_window_has_a_line_too() {
    assert_eq!(line(&minute(0, vec![])), "nothing in 60 s");
}

#[test]
fn a_topic_without_a_name_is_shown_by_its_id() {
    assert_eq!(
        line(&minute(1, vec![row("", 12, 0)])),
        "id:0000000000000abc x0.0 in 10 s (12 in 60 s); 1 topic"
    );
}

#[test]
fn a_topic_of_the_recent_span_only_has_no_factor() {
    assert_eq!(line(&minute(1, vec![row("a", 5, 5)])), "\"a\" (5 in 60 s); 1 topic");
    let all_recent = View { recent_ms: 60_000, ..minute(1, vec![row("a", 5, 4)]) };
    assert_eq!(line(&all_recent), "\"a\" (5 in 60 s); 1 topic");
}

#[test]
fn giants_are_exact() {
    let max = u64::MAX;
    assert_eq!(
        line(&minute(u32::MAX, vec![row("a", max, max - 1)])),
        "\"a\" (18,446,744,073,709,551,615 in 60 s); 4,294,967,295 topics",
        "a factor of more than 64 bits is left out"
    );
    assert_eq!(
        line(&minute(1, vec![row("a", max, max / 2)])),
        "\"a\" x4.9 in 10 s (18,446,744,073,709,551,615 in 60 s); 1 topic"
    );
}

#[test]
fn a_line_that_is_too_long_is_cut_at_a_characters_end() {
    // 510 bytes of names and quotes fit; the second name has two bytes a letter.
    let name = "é".repeat(127);
    let rows = vec![row(&"a".repeat(255), 5, 5), row(&name, 4, 0), row("c", 3, 0)];
    let whole = format!("\"{}\" (5 in 60 s), then \"{name}\", \"c\"; 3 topics", "a".repeat(255));
    let cut = line(&minute(3, rows));
    assert_eq!(cut, whole[..whole.floor_char_boundary(512)]);
    assert!(cut.len() == 511 || cut.len() == 512);
}

#[test]
fn trending_touches_the_first_page_of_its_memory_only() {
    let mut guest = Guest::new(&shipped("trending"));
    assert!(guest.buffer_end() <= 4_096);
    let rows: Vec<Row> = (0..3)
        .map(|_| Row { sample: "s".repeat(160), ..row(&"n".repeat(255), u64::MAX, u64::MAX / 3) })
        .collect();
    guest.summarise(&minute(u32::MAX, rows)).expect("no fault");
    assert_eq!(guest.pages(), [0]);
}

#[test]
fn the_others_touch_few_pages() {
    for (name, pages_max) in [("hashtags", 6), ("log-signatures", 3)] {
        let mut guest = Guest::new(&shipped(name));
        let text = "#Straße ЖИЗНЬ 12 ".repeat(200);
        guest.observe_text(&[&text[..text.floor_char_boundary(4_096)]]).expect("no fault");
        assert!(guest.pages().len() <= pages_max, "{name}: {:?}", guest.pages());
    }
}

#[test]
fn every_text_of_a_full_buffer_is_looked_at() {
    let texts = vec!["disk sda1 full"; 64];
    let topics = Guest::new(&shipped("log-signatures")).observe_text(&texts).expect("no fault");
    let expected: Vec<_> = (0..64).map(|text| (text, "disk sda<n> full".to_owned())).collect();
    assert_eq!(topics, expected);
}

#[test]
fn topics_that_do_not_fit_are_left_out() {
    let texts = vec!["abc bcd cde def efg fgh ghi hik"; 64];
    let topics = Guest::new(&shipped("hashtags")).observe_text(&texts).expect("no fault");
    // 5,168 bytes are left to topics of 16 bytes.
    assert_eq!(topics.len(), 323);
    assert_eq!(topics[322], (40, "cde".to_owned()));
}

fn hashtags(text: &[u8]) -> Vec<String> {
    let mut names = Vec::new();
    trend_hashtags::find(text, &mut trend_hashtags::Found::new(), &mut |name: &[u8]| {
        names.push(String::from_utf8(name.to_vec()).expect("names are UTF-8"));
        true
    });
    names
}

fn template(text: &[u8]) -> Vec<String> {
    let mut template = trend_log_signatures::Template::new();
    let name = String::from_utf8(template.of(text).to_vec()).expect("names are UTF-8");
    Vec::from_iter((!name.is_empty()).then_some(name))
}

/// Text as people and machines write it, and text as nobody does.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        proptest::string::string_regex("[#@]?(\\PC|[a-zé中ж0-9 #@_.:<>&\"'-]){0,80}")
            .expect("a regex"),
        proptest::collection::vec(any::<char>(), 0..60).prop_map(String::from_iter),
    ]
}

proptest! {
    #[test]
    fn compiled_programs_agree_with_their_source(
        texts in proptest::collection::vec(text(), 1..8),
    ) {
        for (name, native) in [
            ("hashtags", hashtags as fn(&[u8]) -> Vec<String>),
            ("log-signatures", template),
        ] {
            let got = Guest::new(&shipped(name)).observe_text(&texts).expect("no fault");
            let of = |(place, text): (usize, &String)| {
                native(text.as_bytes()).into_iter().map(move |name| (place, name))
            };
            let expected: Vec<_> = texts.iter().enumerate().flat_map(of).collect();
            prop_assert_eq!(got, expected, "{}", name);
        }
    }
}
