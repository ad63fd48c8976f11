//! What a program may be called.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The name of a program: 1 to 64 of `a-z 0-9 . _ -`, the first a letter or a digit.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct ProgramName(Box<str>);

/// Why a text is no name.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "a program's name has 1 to {NAME_BYTES_MAX} of a-z, 0-9, '.', '_' and '-', the first a letter \
     or a digit"
)]
pub struct NotAName;

impl ProgramName {
    /// The word for no program at all: plain Rust without a sandbox.
    pub const NATIVE: &str = "native";

    /// Checks a name.
    ///
    /// # Errors
    /// When it breaks the rule.
    pub fn new(name: &str) -> Result<Self, NotAName> {
        let bytes = name.as_bytes();
        let word = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let well_formed = (1..=NAME_BYTES_MAX).contains(&bytes.len())
            && bytes.first().is_some_and(word)
            && bytes.iter().all(|byte| word(byte) || b"._-".contains(byte));
        if well_formed { Ok(Self(name.into())) } else { Err(NotAName) }
    }

    /// The default program.
    #[must_use]
    pub fn trending() -> Self {
        Self("trending".into())
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ProgramName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for ProgramName {
    type Error = NotAName;

    fn try_from(name: String) -> Result<Self, NotAName> {
        Self::new(&name)
    }
}

impl From<ProgramName> for String {
    fn from(name: ProgramName) -> Self {
        name.0.into()
    }
}

/// Longest name.
const NAME_BYTES_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_and_plain() {
        for good in ["a", "0", "log-signatures", "acme_v1.2", &"x".repeat(64)] {
            assert!(ProgramName::new(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "-a", "_a", "A", "a/b", "a b", "ä", "a\0", &"x".repeat(65)] {
            assert_eq!(ProgramName::new(bad), Err(NotAName), "{bad}");
        }
    }
}
