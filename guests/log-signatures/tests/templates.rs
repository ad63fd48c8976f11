//! Lines and their templates.

use proptest::prelude::*;
use trend_log_signatures::Template;

fn template(line: &[u8]) -> Vec<u8> {
    Template::new().of(line).to_vec()
}

fn check(line: &str, expected: &str) {
    let got = String::from_utf8(template(line.as_bytes())).expect("a template is UTF-8");
    assert_eq!(got, expected, "{line}");
}

#[test]
fn numbers_are_masked() {
    check("took 30 ms", "took <n> ms");
    check("took 30.5ms, 1.2.3 of 7%", "took <n>ms, <n> of <n>%");
    check("worker-3 sda1 x86_64 -5", "worker-<n> sda<n> x<n>_<n> -<n>");
    check("at 12:30; 7.", "at <n>:<n>; <n>.");
    check("30µs ±2°", "<n>µs ±<n>°");
}

#[test]
fn ids_are_masked() {
    check("id=550e8400-e29b-41d4-a716-446655440000!", "id=<id>!");
    check("at 0xdeadBEEF, 0x1", "at <id>, <id>");
    check("commit deadbeef01 facade12", "commit <id> <id>");
    check("facades deadbeef 12345678", "facades deadbeef <n>");
    check("mac 00:1a:2b:3c:4d:5e", "mac <id>");
    check("key AKIA5EXAMPLE7X9Q2", "key <id>");
    check("block blk_38865049064139660", "block blk_<n>");
}

#[test]
fn addresses_are_masked() {
    check("from 10.0.0.1 to 10.0.0.2:80.", "from <addr> to <addr>.");
    check("peer ::1, fe80::1 [2001:db8::7]:443", "peer <addr>, <addr> [<addr>]:<n>");
    check("2001:db8:0:0:0:0:0:1 ::ffff:10.0.0.1", "<addr> <addr>");
    check("db.example.org:5432 localhost:8080 error:5", "<addr> <addr> error:<n>");
    check("std::io failed: io::Error", "std::io failed: io::Error");
}

#[test]
fn quoted_strings_are_masked() {
    check("name=\"a \\\" b\" and 'c d'", "name=<str> and <str>");
    check("don't can't \"open", "don't can't \"open");
    check("user 'bob' isn't \"\"", "user <str> isn't <str>");
}

#[test]
fn paths_keep_their_shape() {
    check("GET /api/v1/users/12345?page=2", "GET /api/v<n>/users/<n>?page=<n>");
    check("C:\\logs\\app.log", "C:\\logs\\app.log");
}

#[test]
fn times_at_the_beginning_are_dropped() {
    for time in [
        "2015-09-12T10:00:01Z",
        "2015-09-12T10:00:01.123+02:00",
        "2015-09-12 10:00:01,123",
        "2015/09/12 10:00:01",
        "[2015-09-12 10:00:01.5]",
        "[12/Sep/2015:10:00:01 +0000]",
        "12.09.2015 10:00",
        "Sep 12 10:00:01",
        "Sep  2 2015 10:00:01",
        "Sat Sep 12 10:00:01 2015",
        "Sat, 12 Sep 2015 10:00:01 GMT",
        "<34>1 2015-09-12T10:00:01Z",
        "<34>Sep 12 10:00:01",
        "1442016000",
        "1442016000.123",
        "10:00:01",
    ] {
        check(&format!("{time} disk full"), "disk full");
    }
}

#[test]
fn what_only_looks_like_a_time_stays() {
    check("10.0.0.1 said hello", "<addr> said hello");
    check("404 not found", "<n> not found");
    check("Sun is shining", "Sun is shining");
    check("May we?", "May we?");
    check("10:00:01 1500 errors", "<n> errors");
    check("[worker 3] up", "[worker <n>] up");
    check("2015-09-12x", "<n>-<n>-<n>x");
    check("1:2:3:4", "<n>:<n>:<n>:<n>");
}

#[test]
fn spaces_are_folded() {
    check("  a \t b\u{0}\u{85}c  ", "a b c");
    check("2015-09-12T10:00:01Z   ", "");
    check(" \t\n", "");
}

#[test]
fn a_template_is_cut_at_a_characters_end() {
    check(&"é".repeat(200), &"é".repeat(127));
    check(&"a".repeat(4_096), &"a".repeat(255));
    check(&"1 ".repeat(2_048), "<n> ".repeat(64).get(..255).expect("ASCII"));
}

#[test]
fn lines_of_one_kind_share_a_template() {
    let line = |n: u32| format!("{n} 10.0.{n}.1:{n} took {n}.{n}ms id=0x{n:x} \"{n}\"");
    assert_eq!(template(line(7).as_bytes()), template(line(251).as_bytes()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_line_has_a_valid_template(line in "(\\PC|[0-9a-f:.\"' <\\[-]){0,200}|.{0,100}") {
        let template = String::from_utf8(template(line.as_bytes())).expect("it is UTF-8");
        prop_assert!(template.len() <= 255);
        prop_assert!(!template.chars().any(char::is_control));
        prop_assert!(!template.contains("  ") && !template.starts_with(' '));
    }

    #[test]
    fn any_bytes_end_well(line in proptest::collection::vec(any::<u8>(), 0..4_096)) {
        prop_assert!(template(&line).len() <= 255);
    }
}
