//! The house rules as plain functions: each takes text or a graph and gives back findings.
//!
//! Owns: what the project demands of its own sources and documents, beyond what rustc, clippy
//! and rustfmt can see. Never touches: the network, the build folder, the files it reads.
//!
//! ```text
//! cargo metadata -> edges    who may depend on whom, and on which libraries
//!                -> libraries  their licences, and where they come from
//! *.rs           -> source   forbidden names, unsafe and its list, file length
//! *.md           -> markdown links, numbers without evidence
//! SPECIFICATION  -> promises each names a test that exists, or says what it waits for
//! every file     -> marks    unfinished work, paths of one person's machine
//! ```
//!
//! Invariants:
//! - a check is a pure function of its arguments, and its tests show it failing on a bad sample;
//! - a finding names the file and the line, and says what to do.

#![forbid(unsafe_code)]

pub mod edges;
pub mod libraries;
pub mod markdown;
pub mod marks;
pub mod promises;
pub mod rust_text;
pub mod source;
pub mod tree;

use std::fmt;

/// One broken rule at one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The file (or crate) the rule is broken in, relative to the root of the tree.
    pub place: String,
    /// The line, counted from 1; 0 when the finding is about the whole place.
    pub line: usize,
    /// What is wrong and what to do.
    pub what: String,
}

impl Finding {
    /// A finding at a line of a file.
    pub fn at(place: &str, line: usize, what: impl Into<String>) -> Self {
        Self { place: place.to_owned(), line, what: what.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.place, self.what),
            line => write!(f, "{}:{line}: {}", self.place, self.what),
        }
    }
}
