//! Where a setting's text came from: flag, environment variable, TOML file, or nowhere.
//!
//! ```text
//!   flag --window 30s                    wins over
//!   environment TRENDSRV_WINDOW=30s      wins over
//!   trendsrv.toml:4 window = "30s"       wins over the default
//! ```
//!
//! Invariants: every text keeps its origin, so that an error can name the place to edit; a key no
//! setting has is an error in the file, and a warning in the environment (a variable of that name
//! may belong to a wrapper script).

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::ConfigError;
use super::cli::{CONFIG, Flags};

/// The place a setting's value was written.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Origin {
    /// A command-line flag; holds the key.
    Flag(&'static str),
    /// An environment variable; holds its name.
    Environment(String),
    /// A line of the TOML file, from 1.
    File(PathBuf, usize),
    /// Nobody set it.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Flag(key) => write!(f, "flag --{}", key.replace('_', "-")),
            Origin::Environment(name) => write!(f, "environment variable {name}"),
            Origin::File(path, line) => write!(f, "{}:{line}", path.display()),
            Origin::Default => f.write_str("default"),
        }
    }
}

/// The winning text of each setting that was set anywhere.
#[derive(Debug, Default)]
pub(super) struct Layers {
    texts: BTreeMap<&'static str, (String, Origin)>,
    pub(super) warnings: Vec<String>,
}

impl Layers {
    /// Gathers all layers; reads the TOML file if one is named.
    ///
    /// # Errors
    /// The file cannot be read, is not TOML, or holds a key that is no setting.
    pub(super) fn gather(
        flags: &Flags,
        environment: &[(String, String)],
    ) -> Result<Self, ConfigError> {
        let mut layers = Layers::default();
        for (key, text) in flags.by_key() {
            if let Some(text) = text {
                layers.texts.insert(key, (text.clone(), Origin::Flag(key)));
            }
        }
        layers.add_environment(flags, environment);
        if let Some((path, origin)) = layers.texts.get(CONFIG).cloned() {
            layers.add_file(flags, Path::new(&path), origin)?;
        }
        Ok(layers)
    }

    /// The text of a setting, and where it was written.
    pub(super) fn text(&self, key: &'static str) -> Option<(&str, &Origin)> {
        self.texts.get(key).map(|(text, origin)| (text.as_str(), origin))
    }

    /// Where a setting's value comes from.
    pub(super) fn origin(&self, key: &'static str) -> Origin {
        self.texts.get(key).map_or(Origin::Default, |(_, origin)| origin.clone())
    }

    fn add_environment(&mut self, flags: &Flags, environment: &[(String, String)]) {
        for (name, text) in environment {
            let Some(rest) = name.strip_prefix(ENVIRONMENT_PREFIX) else { continue };
            let key = rest.to_ascii_lowercase();
            match known_key(flags, &key) {
                Some(key) => {
                    let origin = Origin::Environment(name.clone());
                    self.texts.entry(key).or_insert_with(|| (text.clone(), origin));
                }
                None if ENVIRONMENT_OTHERS.contains(&name.as_str()) => {}
                None => self.warnings.push(format!(
                    "environment variable {name} is not a setting and is ignored{}",
                    nearest(flags, &key).map_or_else(String::new, |key| format!(
                        "; did you mean {ENVIRONMENT_PREFIX}{}?",
                        key.to_ascii_uppercase()
                    ))
                )),
            }
        }
    }

    fn add_file(&mut self, flags: &Flags, path: &Path, origin: Origin) -> Result<(), ConfigError> {
        let unreadable = |error| ConfigError::FileUnreadable {
            path: path.into(),
            named_by: origin.clone(),
            error,
        };
        let size = std::fs::metadata(path).map_err(&unreadable)?.len();
        if size > FILE_BYTES_MAX {
            return Err(ConfigError::FileTooLarge { path: path.into(), size });
        }
        let content = std::fs::read_to_string(path).map_err(&unreadable)?;
        let table = DeTable::parse(&content).map_err(|error| ConfigError::FileSyntax {
            path: path.into(),
            line: error.span().map_or(1, |span| line_of(&content, span.start)),
            message: error.message().trim_end().to_owned(),
        })?;
        for (name, value) in table.into_inner() {
            let line = line_of(&content, name.span().start);
            let at = Origin::File(path.into(), line);
            let Some(key) = known_key(flags, name.get_ref()).filter(|key| *key != CONFIG) else {
                return Err(ConfigError::UnknownKey {
                    origin: at,
                    key: name.get_ref().to_string(),
                    nearest: nearest(flags, name.get_ref()),
                });
            };
            let text = plain_text(value.get_ref()).ok_or_else(|| ConfigError::BadValue {
                setting: key,
                origin: at.clone(),
                value: format!("a TOML {}", value.get_ref().type_str()),
                rule: "must be a string, a whole number or true/false (or a list of those)".into(),
                fix: "write it as on the command line, in quotes".into(),
            })?;
            self.texts.entry(key).or_insert((text, at));
        }
        Ok(())
    }
}

fn known_key(flags: &Flags, name: &str) -> Option<&'static str> {
    flags.by_key().iter().map(|(key, _)| *key).find(|key| *key == name)
}

/// The setting a misspelt name most likely meant, if one is close.
fn nearest(flags: &Flags, name: &str) -> Option<&'static str> {
    let name: String = name.chars().take(NAME_COMPARED_MAX).collect::<String>().replace('-', "_");
    flags
        .by_key()
        .iter()
        .map(|(key, _)| (edits(&name.to_ascii_lowercase(), key), *key))
        .filter(|(edits, key)| *edits <= key.len() / 3)
        .min()
        .map(|(_, key)| key)
}

/// Levenshtein distance in bytes.
fn edits(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

fn line_of(content: &str, offset: usize) -> usize {
    1 + content.as_bytes()[..offset.min(content.len())].iter().filter(|b| **b == b'\n').count()
}

/// The text a flag would have had: `[0, 1]` becomes `0,1`.
fn plain_text(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => {
            i64::from_str_radix(number.as_str(), number.radix()).ok().map(|n| n.to_string())
        }
        DeValue::Boolean(on) => Some(on.to_string()),
        DeValue::Array(items) => items
            .iter()
            .map(|item| plain_text(item.get_ref()))
            .collect::<Option<Vec<_>>>()
            .map(|items| items.join(",")),
        DeValue::Float(_) | DeValue::Datetime(_) | DeValue::Table(_) => None,
    }
}

const ENVIRONMENT_PREFIX: &str = "TRENDSRV_";
/// Variables with the prefix that something other than the configuration reads.
const ENVIRONMENT_OTHERS: [&str; 1] = ["TRENDSRV_LOG"];
const FILE_BYTES_MAX: u64 = 1 << 20;
const NAME_COMPARED_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_name_finds_its_neighbour() {
        let flags = Flags::default();
        assert_eq!(nearest(&flags, "tenant_max"), Some("tenants_max"));
        assert_eq!(nearest(&flags, "tenants-max"), Some("tenants_max"));
        assert_eq!(nearest(&flags, "Slide"), Some("slide"));
        assert_eq!(nearest(&flags, "kubernetes"), None);
    }

    #[test]
    fn lines_count_from_one() {
        assert_eq!(line_of("a\nb\nc", 0), 1);
        assert_eq!(line_of("a\nb\nc", 4), 3);
        assert_eq!(line_of("a\nb\nc", 99), 3);
    }
}
