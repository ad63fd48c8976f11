//! Marks of unfinished work, and paths that exist on one machine only.
//!
//! The forbidden words are put together from halves here, so that this file passes its own
//! check.

use crate::Finding;
use crate::tree::SourceFile;

/// Marks that say "not done": an issue is the place for them.
const UNFINISHED: [&str; 6] = [
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("XX", "X"),
    concat!("to", "do!("),
    concat!("unimple", "mented!("),
    concat!("#[ig", "nore"),
];

/// Beginnings of paths that belong to one person or one machine.
const PRIVATE_PATHS: [&str; 4] =
    [concat!("/ho", "me/"), concat!("/ro", "ot/"), concat!("/wo", "rk/"), concat!("/Us", "ers/")];

/// Files whose text is code or prose of the project.
const EXTENSIONS: [&str; 9] = ["rs", "py", "js", "sh", "md", "toml", "yml", "html", "css"];

/// Unfinished marks in sources and documents.
pub fn unfinished(file: &SourceFile) -> Vec<Finding> {
    if !EXTENSIONS.iter().any(|extension| file.has_extension(extension)) {
        return Vec::new();
    }
    scan(file, &UNFINISHED, |before, after| {
        !before.is_some_and(char::is_alphanumeric) && !after.is_some_and(char::is_alphanumeric)
    })
    .into_iter()
    .map(|(line, word)| {
        Finding::at(&file.path, line, format!("unfinished mark `{word}`: finish it or file it"))
    })
    .collect()
}

/// Absolute paths into someone's home or working folder, in any tracked text.
pub fn private_paths(file: &SourceFile) -> Vec<Finding> {
    // `a/home/b` is a relative path, and `https://x.org/home/` is an address.
    scan(file, &PRIVATE_PATHS, |before, after| {
        let part_of_a_path = |c: char| c.is_alphanumeric() || "._-~/{}$)".contains(c);
        !before.is_some_and(part_of_a_path) && after.is_some_and(char::is_alphanumeric)
    })
    .into_iter()
    .map(|(line, path)| {
        Finding::at(&file.path, line, format!("path of one machine: `{path}`; make it relative"))
    })
    .collect()
}

/// Line numbers and words that stand where `boundary` allows them.
fn scan(
    file: &SourceFile,
    words: &[&'static str],
    boundary: impl Fn(Option<char>, Option<char>) -> bool,
) -> Vec<(usize, &'static str)> {
    let mut found = Vec::new();
    for (index, line) in file.text.lines().enumerate() {
        for word in words {
            let stands = line.match_indices(word).any(|(start, _)| {
                let ends_open = word.ends_with(|c: char| !c.is_alphanumeric() && c != '/');
                let after = line[start + word.len()..].chars().next().filter(|_| !ends_open);
                boundary(line[..start].chars().next_back(), after)
            });
            if stands {
                found.push((index + 1, *word));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_every_unfinished_mark() {
        for word in UNFINISHED {
            let file = SourceFile::sample("a.rs", &format!("fn f() {{\n    {word} )] later\n}}\n"));
            assert_eq!(unfinished(&file).len(), 1, "{word}");
            assert_eq!(unfinished(&file)[0].line, 2);
        }
    }

    #[test]
    fn longer_words_and_data_files_are_not_marks() {
        let word = UNFINISHED[2];
        assert!(unfinished(&SourceFile::sample("a.rs", &format!("A{word} {word}L"))).is_empty());
        assert!(unfinished(&SourceFile::sample("a.tsv", word)).is_empty());
    }

    #[test]
    fn finds_private_paths_and_leaves_addresses_alone() {
        for path in PRIVATE_PATHS {
            let bad = SourceFile::sample("a.json", &format!("\"{path}someone/x\""));
            assert_eq!(private_paths(&bad).len(), 1, "{path}");
            let good = SourceFile::sample("a.md", &format!("https://x.org{path}page a{path}b"));
            assert!(private_paths(&good).is_empty(), "{path}");
        }
    }
}
