//! Which shard owns each vnode.

use trendsrv_proto::TenantId;
use trendsrv_proto::limits::{SHARDS_MAX, VNODES};

/// The map of one generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vnodes {
    owners: Vec<u16>,
    shards: u16,
    /// Grows with every change of the map.
    pub generation: u32,
}

impl Vnodes {
    /// Deals the vnodes out in turn: every shard gets as many as any other, or one less.
    ///
    /// # Panics
    /// With no shard or more than 256: the configuration has checked it.
    #[must_use]
    pub fn even(shards: usize) -> Self {
        assert!((1..=SHARDS_MAX).contains(&shards), "{shards} shards");
        let shards = u16::try_from(shards).unwrap_or(u16::MAX);
        let owners = (0..VNODES).map(|vnode| u16::try_from(vnode).unwrap_or(0) % shards).collect();
        Self { owners, shards, generation: 1 }
    }

    /// The shard that owns a tenant.
    #[inline]
    #[must_use]
    pub fn owner(&self, tenant: TenantId) -> u16 {
        self.owners[tenant.vnode()]
    }

    /// The shard of each vnode.
    #[must_use]
    pub fn owners(&self) -> &[u16] {
        &self.owners
    }

    /// Number of shards.
    #[must_use]
    pub const fn shards(&self) -> u16 {
        self.shards
    }

    /// Vnodes of one shard.
    #[must_use]
    pub fn count_of(&self, shard: u16) -> usize {
        self.owners.iter().filter(|&&owner| owner == shard).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shard_gets_its_even_share() {
        for shards in [1, 2, 3, 7, 256] {
            let map = Vnodes::even(shards);
            let counts: Vec<_> = (0..map.shards()).map(|shard| map.count_of(shard)).collect();
            assert_eq!(counts.iter().sum::<usize>(), VNODES);
            assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1);
        }
    }
}
