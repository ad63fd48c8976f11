//! The dictionary behind NEED: what ids are called.
//!
//! Owns: names by id, at most `names_max` of them. Tenants and topics share it: an id is a hash
//! of the name alone, so one entry serves both. Never forgets a name by itself.

use std::collections::HashMap;
use thiserror::Error;
use trendsrv_proto::{NameError, TenantId, check_name};

/// Names by id.
#[derive(Debug)]
pub struct Names {
    by_id: HashMap<u64, Box<str>>,
    names_max: usize,
}

/// The dictionary holds `names_max` names already; the server will not learn this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the dictionary holds its {0} names already; raise names_max")]
pub struct NamesFull(pub usize);

impl Names {
    /// An empty dictionary for at most `names_max` names.
    #[must_use]
    pub fn new(names_max: usize) -> Self {
        Self { by_id: HashMap::new(), names_max }
    }

    /// Checks a name and gives its id, the same for a tenant and a topic.
    ///
    /// # Errors
    /// Which part of the rule for names is broken.
    pub fn id_of(name: &str) -> Result<u64, NameError> {
        check_name(name.as_bytes())?;
        Ok(TenantId::of(name).0)
    }

    /// Remembers a checked name under its id.
    ///
    /// # Errors
    /// When the dictionary is full and the name is not in it.
    pub fn insert(&mut self, id: u64, name: &str) -> Result<(), NamesFull> {
        if self.by_id.contains_key(&id) {
            return Ok(());
        }
        if self.by_id.len() >= self.names_max {
            return Err(NamesFull(self.names_max));
        }
        self.by_id.insert(id, name.into());
        Ok(())
    }

    /// The name of an id.
    #[must_use]
    pub fn get(&self, id: u64) -> Option<&str> {
        self.by_id.get(&id).map(AsRef::as_ref)
    }

    /// Names held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether no name is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_when_full_but_knows_what_it_holds() {
        let mut names = Names::new(1);
        let a = Names::id_of("a").unwrap();
        assert_eq!(names.insert(a, "a"), Ok(()));
        assert_eq!(names.insert(a, "a"), Ok(()));
        assert_eq!(names.insert(Names::id_of("b").unwrap(), "b"), Err(NamesFull(1)));
        assert_eq!(names.get(a), Some("a"));
        assert_eq!((names.len(), names.is_empty()), (1, false));
        assert!(Names::id_of("line\nfeed").is_err());
    }
}
