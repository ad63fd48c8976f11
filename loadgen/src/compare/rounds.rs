//! The loads of all rounds, one after the other.

use super::cell::{Cell, Journal};
use super::plan::{Key, Plan};
use crate::systems::System;
use anyhow::Context as _;
use std::path::Path;

/// Makes each load that is not made yet. A system that fails is remembered as such, and the others
/// go on.
///
/// # Errors
/// When a result cannot be written.
pub(crate) fn run(
    plan: &Plan,
    systems: &[Box<dyn System>],
    folder: &Path,
    journal: &mut Journal,
) -> anyhow::Result<()> {
    for round in 1..=plan.rounds {
        for &load in &plan.loads {
            for entrant in plan.order(round, load) {
                // One load may change what follows: a rate that is not held is lowered. What is
                // left out is told by the report, once.
                loop {
                    let keys = plan.keys(entrant, load, round, journal.cells());
                    let missing = |key: &Key| !journal.has(key);
                    let Some(key) = keys.unwrap_or_default().into_iter().find(missing) else {
                        break;
                    };
                    let system = systems.iter().find(|one| one.name() == key.system);
                    let system = system.with_context(|| format!("no system {}", key.system))?;
                    journal.add(make(plan, key, system.as_ref(), folder)?)?;
                }
            }
        }
    }
    Ok(())
}

fn make(plan: &Plan, key: Key, system: &dyn System, folder: &Path) -> anyhow::Result<Cell> {
    let rate = match key.rate {
        0 => String::new(),
        rate => format!(", {rate} events/s offered"),
    };
    println!(
        "round {} of {}: {} {}, {} tenants{rate}",
        key.round,
        plan.rounds,
        key.system,
        key.load.name(),
        key.tenants
    );
    let done = system.load(&plan.scenario(&key), &plan.cores);
    let cell = Cell::of(key, done, folder)?;
    if let Some(run) = &cell.run {
        let ack = &run.latency_us.ack;
        let p99 = if ack.count > 0 { format!("{:.0} us", ack.p99) } else { "–".to_owned() };
        println!(
            "  {:.3} M events/s, {:.1} ns CPU/event, ack p99 {p99}",
            run.rate_acked / 1e6,
            run.server.ns_cpu_per_event
        );
    }
    for note in &cell.notes {
        println!("  {note}");
    }
    if let Some(why) = &cell.failed {
        println!("  failed: {why}");
    } else if !cell.is_held() {
        let what = if cell.key.rate > 0 { "rate" } else { "refresh" };
        println!("  it does not hold this {what}");
    }
    Ok(cell)
}
