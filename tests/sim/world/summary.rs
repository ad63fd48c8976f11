//! What happened in worlds, added up.

/// What happened in a world, so that worlds that try nothing are seen.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Summary {
    pub(crate) events: u64,
    pub(crate) answers: u64,
    pub(crate) connections: u64,
    pub(crate) crashes: u64,
    pub(crate) cuts: u64,
    pub(crate) refusals: u64,
    pub(crate) commits: u64,
    pub(crate) snapshots: u64,
    pub(crate) recoveries: u64,
    pub(crate) replayed: u64,
    pub(crate) reshards: u64,
    pub(crate) torn: u64,
    pub(crate) flips: u64,
    pub(crate) flips_refused: u64,
    pub(crate) unlogged: u64,
}

impl Summary {
    /// Adds another world's.
    pub(crate) const fn add(&mut self, other: &Self) {
        self.events += other.events;
        self.answers += other.answers;
        self.connections += other.connections;
        self.crashes += other.crashes;
        self.cuts += other.cuts;
        self.refusals += other.refusals;
        self.commits += other.commits;
        self.snapshots += other.snapshots;
        self.recoveries += other.recoveries;
        self.replayed += other.replayed;
        self.reshards += other.reshards;
        self.torn += other.torn;
        self.flips += other.flips;
        self.flips_refused += other.flips_refused;
        self.unlogged += other.unlogged;
    }
}
