//! What the ids of topics are called: one map for all tenants, behind one mutex.

use crate::limits::NAIVE_NAMES_MAX;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The map; nothing is ever forgotten.
#[derive(Debug, Default)]
pub(crate) struct Names(Mutex<Table>);

/// The map while it is held.
#[derive(Debug, Default)]
pub(crate) struct Table(HashMap<u64, Arc<str>>);

/// Why a name was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NotTaken {
    /// Another name has the same id.
    Collision(Arc<str>),
    /// The map holds as many names as it may.
    Full,
}

impl Names {
    /// Waits until nobody else holds the map.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// What an id is called.
    pub(crate) fn get(&self, id: u64) -> Option<Arc<str>> {
        self.0.get(&id).cloned()
    }

    /// Whether an id has a name.
    pub(crate) fn has(&self, id: u64) -> bool {
        self.0.contains_key(&id)
    }

    /// Names an id.
    ///
    /// # Errors
    /// When it is called something else already, or there is no room.
    pub(crate) fn insert(&mut self, id: u64, name: &str) -> Result<(), NotTaken> {
        match self.0.get(&id) {
            Some(old) if **old == *name => Ok(()),
            Some(old) => Err(NotTaken::Collision(Arc::clone(old))),
            None if self.0.len() >= NAIVE_NAMES_MAX => Err(NotTaken::Full),
            None => {
                self.0.insert(id, name.into());
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_kept_and_another_with_its_id_is_not_taken() {
        let names = Names::default();
        assert_eq!(names.lock().insert(1, "one"), Ok(()));
        assert_eq!(names.lock().insert(1, "one"), Ok(()));
        assert_eq!(names.lock().insert(1, "two"), Err(NotTaken::Collision("one".into())));
        assert_eq!(names.lock().get(1).as_deref(), Some("one"));
        assert!(!names.lock().has(2));
    }
}
