//! The files the rules speak about: what is tracked, or all of an unpacked archive.
//!
//! Owns: the list of files and their text. Never touches: ignored files, build output.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Folders that an unpacked archive may hold and that are never sources.
const OUTPUT_FOLDERS: [&str; 3] = ["target", ".git", "__pycache__"];

/// One text file of the project.
#[derive(Debug, Clone)]
pub struct SourceFile {
    /// Path from the root of the tree, with forward slashes.
    pub path: String,
    /// The whole text.
    pub text: String,
}

impl SourceFile {
    /// A file made up for a test of a check.
    pub fn sample(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned() }
    }

    /// True when the path ends in `.extension`.
    pub fn has_extension(&self, extension: &str) -> bool {
        Path::new(&self.path).extension().is_some_and(|found| found == extension)
    }
}

/// The root of the workspace this crate was built from.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_path_buf()
}

/// Reads every text file of the tree, sorted by path; binary files are left out.
///
/// # Errors
/// When a folder or a file cannot be read.
pub fn read(root: &Path) -> io::Result<Vec<SourceFile>> {
    let mut paths = match tracked(root) {
        Some(paths) => paths,
        None => walk(root)?,
    };
    paths.sort();
    let mut files = Vec::with_capacity(paths.len());
    for path in paths {
        match fs::read(root.join(&path)) {
            Ok(bytes) => {
                if let Ok(text) = String::from_utf8(bytes) {
                    files.push(SourceFile { path, text });
                }
            }
            // Tracked, but deleted in this work tree.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(files)
}

/// What git tracks below `root`; none when this is no checkout of its own (a source archive).
fn tracked(root: &Path) -> Option<Vec<String>> {
    if !root.join(".git").exists() {
        return None;
    }
    let output = Command::new("git").args(["ls-files", "-z"]).current_dir(root).output().ok()?;
    if !output.status.success() {
        return None;
    }
    let names = String::from_utf8(output.stdout).ok()?;
    Some(names.split('\0').filter(|name| !name.is_empty()).map(str::to_owned).collect())
}

/// Every regular file below `root` outside the output folders.
fn walk(root: &Path) -> io::Result<Vec<String>> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            let name = entry.file_name();
            let kind = entry.file_type()?;
            if kind.is_dir() && !OUTPUT_FOLDERS.iter().any(|skip| name == *skip) {
                folders.push(entry.path());
            } else if kind.is_file()
                && let Ok(inner) = entry.path().strip_prefix(root)
            {
                found.push(inner.to_string_lossy().replace('\\', "/"));
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_this_file_by_git_and_by_walking() {
        let path = "tests/tidy/Cargo.toml";
        assert!(walk(&root()).expect("walk").iter().any(|found| found == path));
        if let Some(paths) = tracked(&root()) {
            assert!(!paths.iter().any(|found| found.starts_with("target/")));
        }
        assert!(root().join(path).exists());
    }

    #[test]
    fn a_folder_that_cannot_be_read_is_an_error() {
        assert!(read(Path::new("/no/such/folder")).is_err());
    }
}
