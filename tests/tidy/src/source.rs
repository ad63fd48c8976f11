//! Rules for Rust sources: names the pure crates may not say, unsafe and its list, file length.
//!
//! Owns: what a line of code may contain, by the crate it stands in. Comments and literals are
//! blanked out first, so a header may say "no clock" in any words.

use std::collections::BTreeSet;

use crate::Finding;
use crate::rust_text::{code_only, has_word, tests_begin};
use crate::tree::SourceFile;

/// Longest file of code, in lines; test files and inline tests are not counted.
pub const FILE_LINES_MAX: usize = 600;

/// How far above an unsafe block its reason may begin.
const SAFETY_LINES_MAX: usize = 12;

/// Folders that do no IO and read no clock.
const PURE_FOLDERS: [&str; 2] = ["proto/src/", "shard/src/"];

/// What the pure folders may not name, and why. `std::` names are found in imports, too.
const FORBIDDEN: [(&str, &str); 11] = [
    ("std::net", "bytes come in as arguments"),
    ("std::fs", "effects go out, the server writes them"),
    ("std::io", "effects go out, the server writes them"),
    ("std::thread", "threads belong to server/runtime"),
    ("std::collections::HashMap", "it is seeded at random: replays would differ"),
    ("std::collections::HashSet", "it is seeded at random: replays would differ"),
    ("Instant::now", "time comes in as an argument"),
    ("SystemTime", "time comes in as an argument"),
    ("thread_rng", "randomness comes in as a seed"),
    ("rand::rng", "randomness comes in as a seed"),
    ("async fn", "nothing waits here"),
];

/// Crates whose first line of defence is the compiler.
const FORBID_UNSAFE: [&str; 3] = ["proto/src/lib.rs", "shard/src/lib.rs", "client/src/lib.rs"];

/// Names of the outside world in code of the pure folders; inline tests may use them.
pub fn outside_names(file: &SourceFile) -> Vec<Finding> {
    let pure = PURE_FOLDERS.iter().any(|folder| file.path.starts_with(folder));
    if !file.has_extension("rs") || !pure || is_test(&file.path) {
        return Vec::new();
    }
    let mut found = Vec::new();
    let mut import = String::new();
    let tests = tests_begin(&file.text);
    for (index, line) in code_only(&file.text).lines().take(tests - 1).enumerate() {
        let import = import_so_far(&mut import, line);
        for (name, reason) in FORBIDDEN {
            if has_word(line, name) || imports(import, line, name) {
                found.push(Finding::at(&file.path, index + 1, format!("names {name}: {reason}")));
            }
        }
    }
    found
}

/// Collects a `use` statement over its lines; empty outside of one.
fn import_so_far<'a>(import: &'a mut String, line: &str) -> &'a str {
    if import.ends_with(';') {
        import.clear();
    }
    let line = line.trim();
    if !import.is_empty() || line.starts_with("use ") || line.starts_with("pub use ") {
        import.push_str(line);
    }
    import
}

/// True when the line brings in `name` as part of a grouped import: `use std::{fs, net}`.
fn imports(import: &str, line: &str, name: &str) -> bool {
    let Some((module, item)) = name.rsplit_once("::") else { return false };
    name.starts_with("std::")
        && has_word(line, item)
        && import.contains('{')
        && module.split("::").all(|part| has_word(import, part))
}

/// Crates of the sans-IO kind whose `lib.rs` does not forbid unsafe code.
pub fn missing_forbid(files: &[SourceFile]) -> Vec<Finding> {
    let forbids = |path: &str| {
        let file = files.iter().find(|file| file.path == path);
        file.is_some_and(|file| code_only(&file.text).contains("#![forbid(unsafe_code)]"))
    };
    let missing = FORBID_UNSAFE.iter().filter(|path| !forbids(path));
    missing.map(|path| Finding::at(path, 0, "needs #![forbid(unsafe_code)]")).collect()
}

/// The files that docs/ARCHITECTURE.md allows unsafe code in: the first code span of each
/// bullet below the heading `## Files with unsafe code`.
pub fn unsafe_list(architecture: &str) -> BTreeSet<String> {
    let section = architecture.lines().skip_while(|line| *line != "## Files with unsafe code");
    let section = section.skip(1).take_while(|line| !line.starts_with("## "));
    let bullets = section.filter_map(|line| line.strip_prefix("- `"));
    bullets.filter_map(|rest| rest.split_once('`')).map(|(path, _)| path.to_owned()).collect()
}

/// Unsafe code outside the list, list rows without unsafe code, and unsafe without a reason.
pub fn unsafe_code(files: &[SourceFile], allowed: &BTreeSet<String>) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut used = BTreeSet::new();
    for file in files.iter().filter(|file| file.has_extension("rs")) {
        let code = code_only(&file.text);
        for (index, _) in code.lines().enumerate().filter(|(_, line)| has_word(line, "unsafe")) {
            used.insert(file.path.clone());
            if !allowed.contains(&file.path) {
                let what = "unsafe outside the files listed in docs/ARCHITECTURE.md";
                found.push(Finding::at(&file.path, index + 1, what));
            }
            if !explained(&file.text, index) {
                let what = "unsafe without a `SAFETY:` comment (or `# Safety` doc) above it";
                found.push(Finding::at(&file.path, index + 1, what));
            }
        }
    }
    for path in allowed.difference(&used) {
        let what = format!("lists {path}, which has no unsafe code: take the row out");
        found.push(Finding::at("docs/ARCHITECTURE.md", 0, what));
    }
    found
}

/// True when the line or one of the few above it says why the code is sound.
fn explained(text: &str, index: usize) -> bool {
    let lines: Vec<&str> = text.lines().take(index + 1).collect();
    let near = lines.iter().rev().take(SAFETY_LINES_MAX);
    near.map(|line| line.trim_start()).any(|line| {
        (line.starts_with("//") && (line.contains("SAFETY:") || line.contains("# Safety")))
            || line.contains("// SAFETY:")
    })
}

/// True for test targets and for `mod tests;` in a file of its own.
fn is_test(path: &str) -> bool {
    path.contains("/tests/") || path.starts_with("tests/") || path.ends_with("/tests.rs")
}

/// Files longer than the limit, tests apart.
pub fn too_long(file: &SourceFile) -> Option<Finding> {
    if !file.has_extension("rs") || is_test(&file.path) {
        return None;
    }
    let lines = tests_begin(&file.text) - 1;
    let what = format!("{lines} lines of code, {FILE_LINES_MAX} at most: one noun per file");
    (lines > FILE_LINES_MAX).then(|| Finding::at(&file.path, 0, what))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines_of(text: &str) -> Vec<usize> {
        outside_names(&SourceFile::sample("shard/src/a.rs", text)).iter().map(|f| f.line).collect()
    }

    #[test]
    fn a_pure_crate_may_not_name_the_outside_world() {
        for (name, _) in FORBIDDEN {
            assert_eq!(lines_of(&format!("\nuse {name};\n")), [2], "{name}");
        }
        assert_eq!(lines_of("use std::{cmp, fs};"), [1]);
        assert_eq!(lines_of("use std::collections::{\n    BTreeMap, HashMap,\n};"), [2]);
        assert_eq!(lines_of("use std::{\n    collections::HashMap,\n    cmp,\n};"), [2]);
    }

    #[test]
    fn comments_tests_and_other_crates_may() {
        assert!(lines_of("use hashbrown::{HashMap, HashTable};").is_empty());
        assert!(lines_of("use std::{cmp, fmt};\nlet io = fs(net);").is_empty());
        assert!(lines_of("//! No std::net here.\nlet x = \"std::fs\";").is_empty());
        assert!(lines_of("#[cfg(test)]\nmod tests {\nuse std::fs;\n}").is_empty());
        let server = SourceFile::sample("server/src/a.rs", "use std::net;");
        assert!(outside_names(&server).is_empty());
    }

    #[test]
    fn a_crate_that_does_not_forbid_unsafe_is_found() {
        let file = |path| SourceFile::sample(path, "//! x\n#![forbid(unsafe_code)]\n");
        let mut files: Vec<SourceFile> = FORBID_UNSAFE.map(file).to_vec();
        assert_eq!(missing_forbid(&files), []);
        files[1].text = "// #![forbid(unsafe_code)]".to_owned();
        assert_eq!(missing_forbid(&files)[0].place, FORBID_UNSAFE[1]);
    }

    #[test]
    fn unsafe_needs_a_row_and_a_reason() {
        let good = "// SAFETY: the length was checked.\nlet x = unsafe { y() };";
        let bare = "let x = unsafe { y() };";
        let file = |text| vec![SourceFile::sample("server/src/a.rs", text)];
        let listed = unsafe_list("## Files with unsafe code\n\n- `server/src/a.rs`: why\n\n## Z");
        assert_eq!(unsafe_code(&file(good), &listed), []);
        assert_eq!(unsafe_code(&file(bare), &listed).len(), 1);
        assert_eq!(unsafe_code(&file(good), &BTreeSet::new()).len(), 1);
        assert_eq!(unsafe_code(&file("#![forbid(unsafe_code)]"), &BTreeSet::new()), []);
    }

    #[test]
    fn a_row_for_a_file_without_unsafe_is_found() {
        let listed = BTreeSet::from(["server/src/a.rs".to_owned()]);
        assert_eq!(unsafe_code(&[], &listed).len(), 1);
    }

    #[test]
    fn a_long_file_is_found_and_its_tests_are_not_counted() {
        let long = "x\n".repeat(FILE_LINES_MAX + 1);
        assert!(too_long(&SourceFile::sample("shard/src/a.rs", &long)).is_some());
        for tests in ["shard/tests/a.rs", "shard/src/window/tests.rs"] {
            assert!(too_long(&SourceFile::sample(tests, &long)).is_none());
        }
        let tests = format!("a\n#[cfg(test)]\nmod tests {{\n{long}}}");
        assert!(too_long(&SourceFile::sample("shard/src/a.rs", &tests)).is_none());
    }
}
