//! What is counted: cases that make their state first and then run one region.
//!
//! Owns: the list of cases and the region. Never touches: randomness and clocks; everything is
//! drawn from numbers by `fmix64`, so that a case executes the same instructions every time.
//!
//! A case checks what its region did, outside the region: one that does nothing cannot look fast.

mod bed;
mod proto;
mod shard;

use std::cell::Cell;
use std::hint::black_box;

/// One thing that is counted.
#[derive(Debug)]
pub(crate) struct Case {
    /// Its name, as in the table.
    pub(crate) name: &'static str,
    /// How many of something the region does.
    pub(crate) units: u64,
    /// Of what.
    pub(crate) unit: &'static str,
    /// Makes the state, runs the region, checks what it did.
    run: fn(),
}

impl Case {
    /// Runs it.
    ///
    /// # Panics
    /// When it did not do its work, or had no region or several.
    pub(crate) fn run(&self) {
        REGIONS.set(0);
        (self.run)();
        assert_eq!(REGIONS.get(), 1, "case {} has one region", self.name);
    }
}

/// All cases.
pub(crate) const CASES: [Case; 19] = [
    Case { name: "proto-events-parse", units: 512, unit: "record", run: proto::events_parse },
    Case { name: "proto-events-encode", units: 512, unit: "record", run: proto::events_encode },
    Case { name: "proto-named-parse", units: 512, unit: "event", run: proto::named_parse },
    Case { name: "proto-define-parse", units: 512, unit: "name", run: proto::define_parse },
    Case { name: "proto-query-parse", units: 64, unit: "frame", run: proto::query_parse },
    Case { name: "proto-summary-encode", units: 64, unit: "frame", run: proto::summary_encode },
    Case { name: "shard-apply-run-1", units: 4_096, unit: "event", run: shard::apply_run_1 },
    Case { name: "shard-apply-run-16", units: 4_096, unit: "event", run: shard::apply_run_16 },
    Case { name: "shard-apply-run-64", units: 4_096, unit: "event", run: shard::apply_run_64 },
    Case {
        name: "shard-apply-next-pane",
        units: 4_096,
        unit: "event",
        run: shard::apply_next_pane,
    },
    Case { name: "shard-answer", units: 64, unit: "answer", run: shard::answer },
    Case { name: "shard-tick", units: 256, unit: "tenant", run: shard::tick },
    Case { name: "shard-part-in-turn", units: 512, unit: "part", run: shard::part_in_turn },
    Case { name: "shard-part-duplicate", units: 512, unit: "part", run: shard::part_duplicate },
    Case { name: "shard-log-append", units: 4_096, unit: "event", run: shard::log_append },
    Case { name: "shard-log-append-small", units: 512, unit: "part", run: shard::log_append_small },
    Case { name: "shard-log-parse", units: 4_096, unit: "event", run: shard::log_parse },
    Case { name: "shard-sweep-live", units: 256, unit: "tenant", run: shard::sweep_live },
    Case { name: "shard-sweep-emptied", units: 256, unit: "tenant", run: shard::sweep_emptied },
];

/// Runs the region of a case.
fn measured<R>(work: impl FnOnce() -> R) -> R {
    REGIONS.set(REGIONS.get() + 1);
    measured_region(work)
}

/// Callgrind counts from its first instruction to its last, with all that it calls, and knows it
/// by its name.
#[inline(never)]
fn measured_region<R>(work: impl FnOnce() -> R) -> R {
    black_box(work())
}

thread_local! {
    /// Regions entered by the case at hand.
    static REGIONS: Cell<u32> = const { Cell::new(0) };
}
