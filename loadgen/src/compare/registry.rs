//! The systems by their names.

use crate::systems::System;
use crate::systems::flink::Flink;
use crate::systems::naive::Naive;
use crate::systems::redis::Redis;
use crate::systems::trendsrv::{self, Trendsrv};
use anyhow::bail;

/// All of them, in the order of the tables.
pub(crate) const NAMES: [&str; 7] =
    [trendsrv::NAME, "naive-futex", "naive", "redis", "redis-zincrby", "flink-10s", "flink-1s"];

/// The system of a name.
///
/// # Errors
/// With the names there are, when there is none.
pub(crate) fn named(name: &str) -> anyhow::Result<Box<dyn System>> {
    let system: Box<dyn System> = match name {
        trendsrv::NAME => Box::new(Trendsrv),
        "naive-futex" => Box::new(Naive::FUTEX),
        "naive" => Box::new(Naive::DEFAULT),
        "redis" => Box::new(Redis { lua: true }),
        "redis-zincrby" => Box::new(Redis { lua: false }),
        "flink-10s" => Box::new(Flink { slide_s: 10 }),
        "flink-1s" => Box::new(Flink { slide_s: 1 }),
        other => bail!("no system {other:?}; there are {}", NAMES.join(", ")),
    };
    Ok(system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_system_has_the_name_it_is_found_by() {
        for name in NAMES {
            assert_eq!(named(name).unwrap().name(), name);
        }
        let error = named("mysql").err().unwrap().to_string();
        assert!(error.contains("there are trendsrv"), "{error}");
    }
}
