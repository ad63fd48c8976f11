//! Who wants a tenant's answer whenever it changes.
//!
//! Owns the bounded set of subscriptions of one shard. Never touches connections: the server names
//! subscribers by [`ReplyTo`] and takes their subscriptions back when they leave.

use crate::effect::ReplyTo;
use std::collections::BTreeMap;
use std::ops::Bound;
use trendsrv_proto::{Rank, TenantId};

/// One subscription's identity: tenants first, so that one view serves all its readers in turn.
pub(crate) type Key = (TenantId, ReplyTo, u32);

/// What is asked for, and what was told last.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subscription {
    pub(crate) k: u16,
    pub(crate) rank: Rank,
    /// Version told last; `None` before the first.
    pub(crate) told: Option<u64>,
}

#[derive(Debug)]
pub(crate) struct Subscriptions {
    table: BTreeMap<Key, Subscription>,
    subscriptions_max: usize,
}

impl Subscriptions {
    pub(crate) const fn new(subscriptions_max: usize) -> Self {
        Self { table: BTreeMap::new(), subscriptions_max }
    }

    /// Adds or replaces; `false` when the table is full.
    pub(crate) fn insert(&mut self, key: Key, k: u16, rank: Rank) -> bool {
        if self.table.len() >= self.subscriptions_max && !self.table.contains_key(&key) {
            return false;
        }
        self.table.insert(key, Subscription { k, rank, told: None });
        true
    }

    pub(crate) fn remove(&mut self, key: Key) {
        self.table.remove(&key);
    }

    /// The next subscription behind `after`.
    pub(crate) fn next_after(&self, after: Option<Key>) -> Option<(Key, Subscription)> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let (key, found) = self.table.range((from, Bound::Unbounded)).next()?;
        Some((*key, *found))
    }

    pub(crate) fn find(&self, key: Key) -> Option<Subscription> {
        self.table.get(&key).copied()
    }

    pub(crate) fn told(&mut self, key: Key, version: u64) {
        if let Some(found) = self.table.get_mut(&key) {
            found.told = Some(version);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }
}
