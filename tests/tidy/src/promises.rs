//! docs/SPECIFICATION.md: each promise names the test that holds it, or what it waits for.
//!
//! ```text
//! | promise in one sentence | `shard/tests/window.rs::states_a_fact` |
//! | promise in one sentence | pending: which later work              |
//! ```

use crate::Finding;
use crate::tree::SourceFile;

/// How far above a test function its attribute may stand.
const ATTRIBUTE_LINES_MAX: usize = 6;

/// Promises without a test, and tests that are named but not there.
pub fn unheld(specification: &SourceFile, files: &[SourceFile]) -> Vec<Finding> {
    let mut found = Vec::new();
    for (line, cells) in rows(&specification.text) {
        let [promise, held] = cells.as_slice() else {
            let what = "a row has two cells: the promise, and its test or `pending: …`";
            found.push(Finding::at(&specification.path, line, what));
            continue;
        };
        let tests = code_spans(held);
        if tests.is_empty() && !waits(held) {
            let what = format!("no test and no `pending: …` for: {promise}");
            found.push(Finding::at(&specification.path, line, what));
        }
        for test in tests.into_iter().filter(|test| !exists(test, files)) {
            let what = format!("names a test that is not there: {test}");
            found.push(Finding::at(&specification.path, line, what));
        }
    }
    found
}

/// The rows of all tables, heads and rules apart, with their line numbers.
fn rows(text: &str) -> Vec<(usize, Vec<&str>)> {
    let lines: Vec<&str> = text.lines().collect();
    let is_rule = |line: &str| line.starts_with("|-") || line.starts_with("| -");
    let mut found = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let is_head = lines.get(index + 1).is_some_and(|next| is_rule(next));
        if line.starts_with('|') && !is_rule(line) && !is_head {
            let inner = line.trim_end().trim_start_matches('|').trim_end_matches('|');
            found.push((index + 1, inner.split('|').map(str::trim).collect()));
        }
    }
    found
}

/// `pending: ` and at least a word.
fn waits(cell: &str) -> bool {
    cell.strip_prefix("pending:").is_some_and(|reason| !reason.trim().is_empty())
}

fn code_spans(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

/// True when `path::name` is a test function of that file.
fn exists(test: &str, files: &[SourceFile]) -> bool {
    let Some((path, name)) = test.split_once("::") else { return false };
    let Some(file) = files.iter().find(|file| file.path == path) else { return false };
    if file.has_extension("py") {
        return file.text.contains(&format!("def {name}("));
    }
    let head = format!("fn {name}(");
    let lines: Vec<&str> = file.text.lines().collect();
    let at = lines
        .iter()
        .position(|line| line.trim_start().trim_start_matches("async ").starts_with(&head));
    at.is_some_and(|at| {
        let first = at.saturating_sub(ATTRIBUTE_LINES_MAX);
        lines[first..at].iter().any(|line| {
            let line = line.trim_start();
            line.starts_with("#[test]") || line.starts_with("#[tokio::test")
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "| promise | held by |\n|---|---|\n";

    fn unheld_rows(row: &str) -> usize {
        let code = "#[test]\nfn holds() {}\n\n\n\n\n\n\n\nfn helper() {}\n";
        let files = [SourceFile::sample("a/tests/b.rs", code)];
        let specification = SourceFile::sample("docs/S.md", &format!("{HEAD}{row}\n"));
        unheld(&specification, &files).len()
    }

    #[test]
    fn a_promise_names_its_test_or_what_it_waits_for() {
        assert_eq!(unheld_rows("| p | `a/tests/b.rs::holds` |"), 0);
        assert_eq!(unheld_rows("| p | pending: the log |"), 0);
        assert_eq!(unheld_rows("| p | |"), 1);
        assert_eq!(unheld_rows("| p | pending: |"), 1);
        assert_eq!(unheld_rows("| p |"), 1);
    }

    #[test]
    fn the_test_it_names_must_be_a_test() {
        assert_eq!(unheld_rows("| p | `a/tests/b.rs::gone` |"), 1);
        assert_eq!(unheld_rows("| p | `a/tests/b.rs::helper` |"), 1);
        assert_eq!(unheld_rows("| p | `a/tests/c.rs::holds` |"), 1);
        assert_eq!(unheld_rows("| p | `a/tests/b.rs::holds` and `a/tests/b.rs::gone` |"), 1);
    }
}
