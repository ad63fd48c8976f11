//! Rules for documents: links that lead somewhere, numbers that name their evidence.

use std::path::{Component, Path, PathBuf};

use crate::Finding;
use crate::tree::SourceFile;

/// Units that only a measurement can give; a line with a digit before one is a claim.
const MEASURED_UNITS: [&str; 9] =
    ["ns", "us", "µs", "events/s", "switches/s", "MB/s", "KiB/tenant", "% CPU", "cores"];

/// Percentiles: a digit after one is a claim.
const PERCENTILES: [&str; 4] = ["p50 ", "p90 ", "p99 ", "p999 "];

/// Relative links of a document that lead to nothing.
pub fn broken_links(file: &SourceFile, exists: impl Fn(&Path) -> bool) -> Vec<Finding> {
    let mut found = Vec::new();
    let folder = Path::new(&file.path).parent().unwrap_or(Path::new(""));
    for (line, text) in prose(&file.text) {
        for target in link_targets(text) {
            let path = target.split(['#', '?']).next().unwrap_or_default();
            let elsewhere = target.contains("://") || target.starts_with("mailto:");
            if elsewhere || path.is_empty() {
                continue;
            }
            let inside = normal(&folder.join(path));
            if path.starts_with('/') || !inside.as_deref().is_some_and(&exists) {
                found.push(Finding::at(&file.path, line, format!("link to nothing: {target}")));
            }
        }
    }
    found
}

/// Measured numbers of a document that name no folder in bench-results that exists.
///
/// A table row may name it, or the line itself; "unproven" on the line is honest as well.
pub fn numbers_without_evidence(file: &SourceFile, exists: impl Fn(&Path) -> bool) -> Vec<Finding> {
    let mut found = Vec::new();
    for (line, text) in prose(&file.text) {
        if !is_measured(text) || text.contains("unproven") {
            continue;
        }
        match evidence(text) {
            Some(folder) if exists(Path::new(&folder)) => {}
            Some(folder) => {
                let what = format!("number from {folder}, which does not exist");
                found.push(Finding::at(&file.path, line, what));
            }
            None => {
                let what = "number without a folder in bench-results; name it or say unproven";
                found.push(Finding::at(&file.path, line, what));
            }
        }
    }
    found
}

/// Lines outside fenced code, with their numbers.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    text.lines().enumerate().filter_map(move |(index, line)| {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
            return None;
        }
        (!fenced).then_some((index + 1, line))
    })
}

/// The targets of `[text](target)` in a line, code spans apart.
fn link_targets(line: &str) -> Vec<String> {
    let outside: String = line.split('`').step_by(2).collect::<Vec<_>>().join("_");
    let after = outside.split("](").skip(1);
    after.filter_map(|rest| rest.split_once(')')).map(|(target, _)| target.to_owned()).collect()
}

/// `a/../b` as `b`; none when the path leaves the tree.
fn normal(path: &Path) -> Option<PathBuf> {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                if !out.pop() {
                    return None;
                }
            }
            other => out.push(other),
        }
    }
    Some(out)
}

fn is_measured(line: &str) -> bool {
    let starts_digit = |text: &str| text.starts_with(|c: char| c.is_ascii_digit());
    let percentile = PERCENTILES.iter().any(|mark| line.split(mark).skip(1).any(starts_digit));
    percentile || MEASURED_UNITS.iter().any(|unit| has_quantity(line, unit))
}

/// True when a digit (and maybe a space or a scale such as `M `) comes before the unit.
fn has_quantity(line: &str, unit: &str) -> bool {
    line.match_indices(unit).any(|(start, _)| {
        let after = line[start + unit.len()..].chars().next();
        let before = line[..start].trim_end_matches([' ', 'k', 'K', 'M']);
        let ends_digit = before.ends_with(|c: char| c.is_ascii_digit());
        ends_digit && !after.is_some_and(char::is_alphanumeric)
    })
}

/// The first `bench-results/<folder>` a line names.
fn evidence(line: &str) -> Option<String> {
    let rest = line.split_once("bench-results/")?.1;
    let in_name = |c: &char| c.is_alphanumeric() || "-_.".contains(*c);
    let folder: String = rest.chars().take_while(in_name).collect();
    let folder = folder.trim_end_matches('.');
    (!folder.is_empty()).then(|| format!("bench-results/{folder}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken(text: &str) -> usize {
        let file = SourceFile::sample("docs/a.md", text);
        broken_links(&file, |path| path == Path::new("docs/b.md") || path == Path::new("c.md"))
            .len()
    }

    #[test]
    fn a_link_must_lead_to_a_file_of_the_tree() {
        assert_eq!(broken("[x](b.md) [y](../c.md#part) [z](#here) [w](https://x.org/a)"), 0);
        assert_eq!(broken("[x](nowhere.md)"), 1);
        assert_eq!(broken("[x](../../c.md)"), 1);
        assert_eq!(broken("[x](/c.md)"), 1);
    }

    #[test]
    fn links_in_code_are_text() {
        assert_eq!(broken("`[x](nowhere.md)`\n```\n[x](nowhere.md)\n```\n"), 0);
        assert_eq!(broken("```\n```\n[x](nowhere.md)\n"), 1);
    }

    fn unproved(text: &str) -> usize {
        let file = SourceFile::sample("README.md", text);
        numbers_without_evidence(&file, |p| p == Path::new("bench-results/2026-01-01-a")).len()
    }

    #[test]
    fn a_measured_number_needs_its_folder() {
        for claim in ["51 ns per event", "4.2 M events/s", "p99 3 ms", "| 640 switches/s |"] {
            assert_eq!(unproved(claim), 1, "{claim}");
            assert_eq!(unproved(&format!("{claim} (unproven)")), 0, "{claim}");
            assert_eq!(unproved(&format!("{claim}: bench-results/2026-01-01-a/")), 0, "{claim}");
            assert_eq!(unproved(&format!("{claim}: bench-results/2026-02-02-b.")), 1, "{claim}");
        }
    }

    #[test]
    fn settings_and_code_are_no_claims() {
        for text in ["60 s windows", "100,000 tenants", "```\n51 ns\n```", "4 MiB", "2 nsomething"]
        {
            assert_eq!(unproved(text), 0, "{text}");
        }
    }
}
