//! What the programs of a shard did.

/// Counters and levels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostStats {
    /// Live instances.
    pub instances: u64,
    /// Most instances that ever lived at once.
    pub instances_high: u64,
    /// Instances that the pool holds.
    pub instances_max: u64,
    /// Instances made.
    pub instantiated: u64,
    /// Stores made anew.
    pub rebuilds: u64,
    /// Tenants whose instance is still to be made.
    pub pending: u64,
    /// Most of them when anyone asked.
    pub pending_high: u64,
    /// Tenants whose program waits after a fault.
    pub waiting: u64,
    /// Most of them when anyone asked.
    pub waiting_high: u64,
    /// Bytes of states kept for tenants without an instance.
    pub parked_state_bytes: u64,
    /// Most of them when anyone asked.
    pub parked_state_bytes_high: u64,
    /// Calls of programs.
    pub calls: u64,
    /// Fuel they used.
    pub fuel_used: u64,
    /// Faults.
    pub faults: u64,
    /// Calls not made because the tenant had used its fuel of the second.
    pub throttled: u64,
    /// Texts whose topics the shard's own text program found.
    pub texts_by_default: u64,
    /// Faults of the shard's own text program.
    pub text_faults: u64,
}
