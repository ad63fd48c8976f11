//! What the server says it holds: its live tenants and programs, and what the programs did.
//!
//! Owns: which fields of `/v1/shards` are read. No other module names them.

use anyhow::Context as _;
use serde_json::Value;

/// Levels now and counters since the server began, over all shards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Census {
    /// Tenants with a live window.
    pub(crate) tenants_live: u64,
    /// Live instances of programs.
    pub(crate) programs_live: u64,
    /// Tenants whose instance is still to be made.
    pub(crate) programs_pending: u64,
    /// Tenants whose program failed and waits.
    pub(crate) programs_failed: u64,
    /// Instances that the pools hold.
    pub(crate) instances_max: u64,
    /// Memory of windows.
    pub(crate) window_bytes: u64,
    /// Calls of programs.
    pub(crate) program_calls: u64,
    /// Faults of programs.
    pub(crate) program_faults: u64,
    /// Calls not made because a budget of fuel was used up.
    pub(crate) program_throttled: u64,
    /// Fuel that programs used.
    pub(crate) program_fuel: u64,
}

impl Census {
    /// Sums up what `/v1/shards` says.
    ///
    /// # Errors
    /// With the field that a shard does not tell.
    pub(crate) fn of(reply: &Value) -> anyhow::Result<Self> {
        let shards = reply["shards"].as_array().context("/v1/shards tells no shards")?;
        let sum = |path: &str| {
            let field = |shard: &Value| shard.pointer(path).and_then(Value::as_u64);
            shards.iter().map(field).sum::<Option<u64>>().with_context(|| {
                format!("/v1/shards tells no {} of some shard", path[1..].replace('/', "."))
            })
        };
        Ok(Self {
            tenants_live: sum("/levels/tenants/now")?,
            programs_live: sum("/levels/programs_live/now")?,
            programs_pending: sum("/levels/programs_pending/now")?,
            programs_failed: sum("/levels/programs_failed/now")?,
            instances_max: sum("/levels/programs_live/max")?,
            window_bytes: sum("/levels/window_bytes/now")?,
            program_calls: sum("/counters/program_calls")?,
            program_faults: sum("/counters/program_faults")?,
            program_throttled: sum("/counters/program_throttled")?,
            program_fuel: sum("/counters/program_fuel")?,
        })
    }

    /// Whether `tenants` are there and each has its instance, or waits after a fault.
    pub(crate) const fn is_settled(&self, tenants: u64, with_programs: bool) -> bool {
        let seated = self.programs_live + self.programs_failed;
        let programs = self.programs_pending == 0 && seated >= self.tenants_live;
        self.tenants_live >= tenants && (programs || !with_programs)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use serde_json::json;

    /// A shard that tells everything.
    pub(crate) fn shard(tenants: u64, programs: u64) -> Value {
        let level = |now: u64, max: u64| json!({"now": now, "max": max, "high_water": now});
        json!({
            "levels": {
                "tenants": level(tenants, 100), "programs_live": level(programs, 125),
                "programs_pending": level(1, 9), "programs_failed": level(2, 9),
                "window_bytes": level(1_000, 9_000),
            },
            "counters": {
                "program_calls": 10, "program_faults": 3, "program_throttled": 4,
                "program_fuel": 5_000,
            },
        })
    }

    #[test]
    fn levels_and_counters_are_summed_over_shards() {
        let census = Census::of(&json!({"shards": [shard(3, 2), shard(4, 4)]})).unwrap();
        assert_eq!((census.tenants_live, census.programs_live), (7, 6));
        assert_eq!((census.programs_pending, census.programs_failed), (2, 4));
        assert_eq!((census.instances_max, census.window_bytes), (250, 2_000));
        assert_eq!((census.program_calls, census.program_faults), (20, 6));
        assert_eq!((census.program_throttled, census.program_fuel), (8, 10_000));
    }

    #[test]
    fn a_field_that_is_not_told_is_named() {
        let mut lacking = shard(1, 1);
        lacking["counters"]["program_fuel"].take();
        let error = Census::of(&json!({"shards": [shard(1, 1), lacking]})).unwrap_err();
        assert_eq!(error.to_string(), "/v1/shards tells no counters.program_fuel of some shard");
        assert!(Census::of(&json!({})).is_err());
    }

    #[test]
    fn programs_are_settled_when_none_is_pending_and_every_tenant_has_one() {
        let census = |live, failed, pending| Census {
            tenants_live: 10,
            programs_live: live,
            programs_failed: failed,
            programs_pending: pending,
            ..Census::default()
        };
        assert!(census(10, 0, 0).is_settled(10, true));
        assert!(census(9, 1, 0).is_settled(10, true));
        assert!(!census(9, 0, 0).is_settled(10, true));
        assert!(!census(10, 0, 1).is_settled(10, true));
        assert!(!census(10, 0, 0).is_settled(11, true));
        assert!(census(0, 0, 0).is_settled(10, false));
    }
}
