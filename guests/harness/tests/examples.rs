//! The examples in other languages and the template: built where the compiler is, and run.
//!
//! A compiler that is missing is said, and its test ends there; `./ci.sh guests` says it, too.

use std::path::PathBuf;
use std::process::Command;
use trend_harness::{Event, Guest, Row, Shape, Told, View, root, shape};

/// Runs a build script of an example; none when one of its tools is missing.
fn built(script: &str, tools: &[&str]) -> Option<Vec<u8>> {
    let missing = tools.iter().find(|tool| {
        let found = Command::new(tool).arg("--version").output();
        !found.is_ok_and(|found| found.status.success())
    });
    if let Some(tool) = missing {
        println!("{script}: not built, {tool} is missing");
        return None;
    }
    let wasm = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(script.replace('/', "-"));
    let built = Command::new(root().join(script)).arg(&wasm).status().expect("bash");
    assert!(built.success(), "{script} failed");
    Some(std::fs::read(wasm).expect("the program"))
}

/// Builds the template as its README says; none without the target.
fn template() -> Option<Vec<u8>> {
    let target = "wasm32-unknown-unknown";
    let libs =
        Command::new("rustc").args(["--print", "target-libdir", "--target", target]).output();
    let dir = String::from_utf8(libs.expect("rustc").stdout).expect("a path");
    if !PathBuf::from(dir.trim()).exists() {
        println!("template: not built, the target {target} is missing");
        return None;
    }
    let out = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("template");
    let built = Command::new(env!("CARGO"))
        .args(["build", "--release", "--locked", "--quiet", "--target", target, "--target-dir"])
        .arg(&out)
        .current_dir(root().join("template"))
        .status();
    assert!(built.expect("cargo").success(), "the template does not build");
    let wasm = out.join(target).join("release/my_program.wasm");
    Some(std::fs::read(wasm).expect("the program"))
}

/// What the server's allow-list asks.
fn allowed(wasm: &[u8]) -> Shape {
    let shape = shape(wasm).expect("a module");
    assert_eq!(shape.imports, [""; 0]);
    assert_eq!(shape.memories, [(1, Some(1))]);
    assert!(!shape.has_start);
    shape
}

fn rows(of: &[(&str, u64, u8)]) -> View {
    let row = |(name, count, trend): &(&str, u64, u8)| Row {
        name: (*name).to_owned(),
        count: *count,
        trend: *trend,
        ..Row::default()
    };
    View { rows: of.iter().map(row).collect(), window_ms: 60_000, ..View::default() }
}

#[test]
fn the_example_in_c_ranks_filters_and_keeps_state() {
    let Some(wasm) = built("examples/c/build.sh", &["clang", "wasm-ld"]) else { return };
    let shape = allowed(&wasm);
    assert!(shape.exports.contains(&"state_len".to_owned()));
    let mut guest = Guest::new(&wasm);
    let view = rows(&[("old", 9, 2), ("mars", 1_204, 1), ("moon", 7, 0)]);
    let told = |ranking: &[u16], tldr: &str| Told {
        ranking: Some(ranking.to_vec()),
        tldr: tldr.to_owned(),
    };
    assert_eq!(
        guest.summarise(&view),
        Ok(told(&[1, 2], "rising: \"mars\" 1204, \"moon\" 7; summary 1"))
    );
    assert_eq!(guest.summarise(&rows(&[])), Ok(told(&[], "rising: nothing; summary 2")));
    assert_eq!(guest.state(), 2_u64.to_le_bytes());

    let event = |weight| Event { topic: 1, weight, offset_ms: 0 };
    let seen = guest.observe(0, &[event(1_001), event(1_000)]);
    assert_eq!(seen, Ok(vec![event(1), event(1_000)]));
}

#[test]
fn the_example_in_assemblyscript_finds_topics() {
    let Some(wasm) = built("examples/assemblyscript/build.sh", &["node", "npm"]) else { return };
    allowed(&wasm);
    let mut guest = Guest::new(&wasm);
    let topics = guest.observe_text(&["the mars rover", "a b c", "", "landing"]);
    assert_eq!(topics, Ok(vec![(0, "rover".to_owned()), (3, "landing".to_owned())]));
    let told = guest.summarise(&rows(&[("mars", 5, 0), ("moon", 4, 0)]));
    assert_eq!(told, Ok(Told { ranking: None, tldr: "fastest: mars".to_owned() }));
    let told = guest.summarise(&rows(&[])).expect("no fault");
    assert_eq!(told.tldr, "");
}

#[test]
fn the_template_runs_as_it_is() {
    let Some(wasm) = template() else { return };
    allowed(&wasm);
    let mut guest = Guest::new(&wasm);
    assert_eq!((guest.constant("state") % 8, guest.constant("state_len")), (0, 16));
    let view = rows(&[("old", 5, 2), ("new", 4, 1)]);
    let told = guest.summarise(&view).expect("no fault");
    assert_eq!(told.ranking, Some(vec![1, 0]));
    assert_eq!(told.tldr, "new leads for 1 summaries, 4 of 9");
    guest.summarise(&view).expect("no fault");
    assert_eq!(guest.state()[8..], 2_u64.to_le_bytes());

    let event = |topic, offset_ms| Event { topic, weight: 3, offset_ms };
    let unwanted = event(0xb7eb_44bb_fdc7_1621, 0);
    let seen = guest.observe(0, &[unwanted, event(7, 5), event(8, -5)]).expect("no fault");
    assert_eq!(seen, [Event { weight: 6, ..event(7, 5) }, event(8, -5)]);
    let topics = guest.observe_text(&["the mars rover"]);
    assert_eq!(topics, Ok(vec![(0, "rover".to_owned())]));
}
