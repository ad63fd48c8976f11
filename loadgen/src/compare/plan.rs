//! What a comparison runs, and in which order. It is written down before the first load, so that a
//! comparison that was interrupted goes on as it began.
//!
//! ```text
//! round 1:  saturated  A B C   run16  B C A   paced  C A B …     each peer beside ours at its size
//! round 2:  saturated  B C A   run16  C A B   …                  and in the other order
//! ```

use super::cell::Cell;
use super::load::Load;
use crate::scenario::Scenario;
use crate::systems::{About, Cores, Fit, trendsrv};
use serde::{Deserialize, Serialize};

/// The whole of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) scenario_name: String,
    /// What all loads have in common.
    pub(crate) scenario: Scenario,
    /// Events a second of our paced loads.
    pub(crate) rate: u64,
    pub(crate) rounds: u32,
    pub(crate) loads: Vec<Load>,
    pub(crate) cores: Cores,
    pub(crate) commit: String,
    pub(crate) entrants: Vec<Entrant>,
}

/// A system that was asked for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Entrant {
    pub(crate) name: String,
    /// What it tells about itself, unless it cannot run.
    pub(crate) about: Option<About>,
    /// The largest part of the scenario that it finishes, once that is known.
    pub(crate) fit: Option<Fit>,
    /// Why it is not run.
    pub(crate) not_run: Option<String>,
}

/// One load on one system in one round.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Key {
    pub(crate) system: String,
    pub(crate) load: Load,
    pub(crate) round: u32,
    pub(crate) tenants: u32,
    pub(crate) rate: u64,
    pub(crate) refresh_ms: u32,
}

/// A load that is left out, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LeftOut {
    pub(crate) system: String,
    pub(crate) load: Load,
    pub(crate) why: String,
}

impl Plan {
    /// The systems that run, in the order of a round and a load: each round and load begins with
    /// another one.
    pub(crate) fn order(&self, round: u32, load: Load) -> Vec<&Entrant> {
        let mut entrants: Vec<_> = self.entrants.iter().filter(|one| one.fit.is_some()).collect();
        let at = self.loads.iter().position(|one| *one == load).unwrap_or(0);
        let first = (round as usize + at) % entrants.len().max(1);
        entrants.rotate_left(first);
        entrants
    }

    /// What is run of a load on a system in a round: the system at its size and, beside another
    /// one's, ours at the same size, by turns before and after. What was decided before, such as
    /// rates and sizes that are held, is taken from the cells.
    ///
    /// # Errors
    /// With the reason when the load is left out for this system.
    pub(crate) fn keys(
        &self,
        entrant: &Entrant,
        load: Load,
        round: u32,
        cells: &[Cell],
    ) -> Result<Vec<Key>, String> {
        let own = self.key(entrant, load, round, cells)?;
        if own.system == trendsrv::NAME || !self.has_ours() {
            return Ok(vec![own]);
        }
        let ours = self.ours_beside(&own);
        Ok(if round.is_multiple_of(2) { vec![ours, own] } else { vec![own, ours] })
    }

    fn key(
        &self,
        entrant: &Entrant,
        load: Load,
        round: u32,
        cells: &[Cell],
    ) -> Result<Key, String> {
        let fit = entrant.fit.as_ref().ok_or_else(|| "it does not run".to_owned())?;
        let is_ours = entrant.name == trendsrv::NAME;
        let by_itself = refreshes_by_itself_ms(&entrant.name);
        if load == Load::PacedRun16 && !is_ours {
            return Err("only ours has a goal at this load".to_owned());
        }
        if by_itself.is_some() && (load.refresh_ms() > 0 || load.run_length() > 1) {
            return Err(match load.refresh_ms() {
                0 => "its goal is for events that are each for another tenant".to_owned(),
                _ => "each of its loads refreshes every answer by itself".to_owned(),
            });
        }
        let rate = match (load.percent_of_saturated(), is_ours) {
            (None, _) => fit.rate,
            (Some(_), true) => self.rate,
            (Some(percent), false) => {
                let saturated = first_saturated_rate(&entrant.name, cells)
                    .ok_or_else(|| "no saturated load of it tells what it holds".to_owned())?;
                rate_held((&entrant.name, load), saturated * percent / 100, cells)
            }
        };
        let refresh_ms = by_itself.unwrap_or_else(|| load.refresh_ms());
        let tenants = match (load, is_ours) {
            (Load::Refreshed, false) => tenants_held((&entrant.name, load), fit.tenants, cells),
            (_, _) => fit.tenants,
        };
        let system = entrant.name.clone();
        Ok(Key { system, load, round, tenants, rate, refresh_ms })
    }

    /// Ours under the load of another system: as many tenants, as many questions and, where that
    /// one is paced, as many events.
    pub(crate) fn ours_beside(&self, theirs: &Key) -> Key {
        let rate = if theirs.load.percent_of_saturated().is_some() { theirs.rate } else { 0 };
        Key { system: trendsrv::NAME.to_owned(), rate, ..theirs.clone() }
    }

    /// What is left out for a system whatever the loads show.
    pub(crate) fn left_out(&self, cells: &[Cell]) -> Vec<LeftOut> {
        let mut all = Vec::new();
        for entrant in self.entrants.iter().filter(|one| one.fit.is_some()) {
            for &load in &self.loads {
                if let Err(why) = self.key(entrant, load, 1, cells) {
                    all.push(LeftOut { system: entrant.name.clone(), load, why });
                }
            }
        }
        all
    }

    /// The load of a key, as the generator makes it.
    pub(crate) fn scenario(&self, key: &Key) -> Scenario {
        Scenario {
            tenants: key.tenants,
            rate: key.rate,
            run_length: key.load.run_length(),
            refresh_ms: key.refresh_ms,
            sample: self.scenario.sample.min(key.tenants.saturating_sub(1) as usize).max(1),
            ..self.scenario.clone()
        }
    }

    /// Whether ours is among the systems.
    pub(crate) fn has_ours(&self) -> bool {
        self.entrants.iter().any(|one| one.name == trendsrv::NAME && one.fit.is_some())
    }
}

/// How often a system refreshes every answer because it cannot do otherwise: once a slide.
pub(crate) fn refreshes_by_itself_ms(name: &str) -> Option<u32> {
    let seconds: u32 = name.strip_prefix("flink-")?.strip_suffix('s')?.parse().ok()?;
    Some(seconds * 1_000)
}

/// What a system took saturated in the first round that tells; all rounds are paced by it, so that
/// they compare.
fn first_saturated_rate(system: &str, cells: &[Cell]) -> Option<u64> {
    let is_it = |cell: &&Cell| cell.key.system == system && cell.key.load == Load::Saturated;
    let run = cells.iter().filter(is_it).find_map(Cell::good)?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rate of events is positive and far below 2^53"
    )]
    Some(run.rate_acked as u64)
}

/// The rate to pace a system by: what is asked for, unless the first round showed that it does not
/// hold that; then less and less, a few times. Its latency at a rate that it does not hold is only
/// as long as the load.
fn rate_held((system, load): (&str, Load), asked: u64, cells: &[Cell]) -> u64 {
    let less = |rate| two_digits(rate * 3 / 5).max(1);
    held((system, load), (two_digits(asked).max(1), less), |key| key.rate, cells)
}

/// How many tenants a system has: all that it finishes, unless the first round showed that it
/// cannot refresh them all; then fewer and fewer, a few times. How many events it takes beside a
/// refresh that it does not hold says little.
fn tenants_held((system, load): (&str, Load), all: u32, cells: &[Cell]) -> u32 {
    let less = |tenants| two_digits(u64::from(tenants) * 35 / 100);
    let less = |tenants| u32::try_from(less(tenants)).unwrap_or(tenants).max(TENANTS_MIN);
    held((system, load), (all, less), |key| key.tenants, cells)
}

/// The first of some steps that the first round did not show to be too much, or the last of them.
fn held<T: Copy + PartialEq>(
    (system, load): (&str, Load),
    (mut step, less): (T, impl Fn(T) -> T),
    of: impl Fn(&Key) -> T,
    cells: &[Cell],
) -> T {
    for _ in 1..STEPS_MAX {
        let missed = cells.iter().any(|cell| {
            let key = &cell.key;
            (key.system.as_str(), key.load, key.round) == (system, load, 1)
                && of(key) == step
                && !cell.is_held()
        });
        if !missed {
            break;
        }
        step = less(step);
    }
    step
}

/// Rates or sizes that are tried at most.
const STEPS_MAX: u32 = 4;
/// A scenario has no fewer: one is the probe's.
const TENANTS_MIN: u32 = 2;

/// The number with all but its first two digits zero.
fn two_digits(n: u64) -> u64 {
    let unit = 10_u64.pow(n.checked_ilog10().unwrap_or(0).saturating_sub(1));
    n / unit * unit
}

#[cfg(test)]
mod tests {
    use super::super::tests::{behind, cell, plan};
    use super::*;

    #[test]
    fn every_round_and_load_begins_with_another_system() {
        let plan = plan(&["trendsrv", "naive", "redis"], 3);
        let first = |round, load| plan.order(round, load)[0].name.clone();
        let firsts = [1, 2, 3].map(|round| first(round, Load::Saturated));
        assert_eq!(firsts, ["naive", "redis", "trendsrv"]);
        assert_eq!(first(1, Load::SaturatedRun16), "redis");
        assert_eq!(plan.order(1, Load::Saturated).len(), 3);
    }

    #[test]
    fn ours_runs_beside_each_at_its_size_and_rate() {
        let mut plan = plan(&["trendsrv", "naive"], 2);
        plan.entrants[1].fit = Some(Fit { tenants: 32_300, ..Fit::default() });
        let naive = plan.entrants[1].clone();
        let keys = plan.keys(&naive, Load::Saturated, 1, &[]).unwrap();
        assert_eq!((keys[0].system.as_str(), keys[1].system.as_str()), ("naive", "trendsrv"));
        assert_eq!((keys[1].tenants, keys[1].rate), (32_300, 0));
        let keys = plan.keys(&naive, Load::Saturated, 2, &[]).unwrap();
        assert_eq!(keys[0].system, "trendsrv");
        let cells = [cell("naive", Load::Saturated, 1, 129_400.0, 9_000.0)];
        let keys = plan.keys(&naive, Load::Paced, 2, &cells).unwrap();
        assert!(keys.iter().all(|key| key.rate == 100_000), "{keys:?}");
    }

    #[test]
    fn a_rate_that_a_system_does_not_hold_is_lowered_in_the_first_round() {
        let plan = plan(&["trendsrv", "naive"], 2);
        let naive = plan.entrants[1].clone();
        let rate =
            |cells: &[Cell], round| plan.keys(&naive, Load::Paced, round, cells).unwrap()[0].rate;
        let mut cells = vec![cell("naive", Load::Saturated, 1, 100_000.0, 9_000.0)];
        let mut paced = |offered: u64, reached: f64, round| {
            let mut cell = cell("naive", Load::Paced, round, reached, 9_000.0);
            cell.key.rate = offered;
            cells.push(cell);
            (rate(&cells, 1), rate(&cells, 2))
        };
        assert_eq!(paced(80_000, 20_000.0, 1), (48_000, 48_000));
        assert_eq!(paced(48_000, 47_900.0, 1), (48_000, 48_000));
        // A later round changes nothing: rounds have to compare.
        assert_eq!(paced(48_000, 10_000.0, 2), (48_000, 48_000));
    }

    #[test]
    fn a_size_that_a_system_cannot_refresh_is_lowered_in_the_first_round() {
        let plan = plan(&["trendsrv", "redis"], 2);
        let redis = plan.entrants[1].clone();
        let mut cells = Vec::new();
        let mut made = |tenants, rounds, round| {
            let mut cell = behind(cell("redis", Load::Refreshed, round, 1e5, 9_000.0), rounds);
            cell.key.tenants = tenants;
            cells.push(cell);
            [1, 2].map(|round| {
                let keys = plan.keys(&redis, Load::Refreshed, round, &cells).unwrap();
                assert_eq!(keys[0].tenants, keys[1].tenants, "ours beside it");
                keys[0].tenants
            })
        };
        assert_eq!(made(100_000, 4, 1), [35_000; 2]);
        assert_eq!(made(35_000, 8, 1), [12_000; 2]);
        // A later round changes nothing: rounds have to compare.
        assert_eq!(made(12_000, 10, 1), [12_000; 2]);
        assert_eq!(made(12_000, 0, 2), [12_000; 2]);
        let paced = plan.keys(&plan.entrants[0], Load::Refreshed, 1, &cells).unwrap();
        assert_eq!(paced[0].tenants, 100_000, "ours has its own size");
    }

    #[test]
    fn four_sizes_are_tried_at_most_and_one_that_fails_is_too_large() {
        let plan = plan(&["trendsrv", "redis"], 1);
        let redis = plan.entrants[1].clone();
        let (mut cells, mut sizes) = (Vec::new(), Vec::new());
        loop {
            let key = plan.key(&redis, Load::Refreshed, 1, &cells).unwrap();
            if sizes.contains(&key.tenants) {
                break;
            }
            sizes.push(key.tenants);
            let failed = Some("it ended with signal 9".to_owned());
            let cell = cell("redis", Load::Refreshed, 1, 1e5, 9_000.0);
            cells.push(Cell { key, failed, ..cell });
        }
        assert_eq!(sizes, [100_000, 35_000, 12_000, 4_200]);
        assert_eq!(
            [2, 3, 10].map(|all| tenants_held(("redis", Load::Refreshed), all, &[])),
            [2, 3, 10]
        );
    }

    #[test]
    fn what_makes_no_sense_is_left_out_with_a_word() {
        let plan = plan(&["trendsrv", "redis", "flink-10s"], 1);
        let left = plan.left_out(&[]);
        let why = |system: &str, load| {
            left.iter().find(|one| one.system == system && one.load == load).map(|one| &one.why)
        };
        assert!(why("redis", Load::Paced).unwrap().contains("no saturated load"));
        assert!(why("flink-10s", Load::Refreshed).unwrap().contains("by itself"));
        assert!(why("redis", Load::Saturated).is_none() && why("trendsrv", Load::Paced).is_none());
        let flink = plan.entrants[2].clone();
        let keys = plan.keys(&flink, Load::Saturated, 1, &[]).unwrap();
        assert!(keys.iter().all(|key| key.refresh_ms == 10_000), "as often as it does itself");
    }

    #[test]
    fn rates_are_rounded_down_to_two_digits() {
        assert_eq!([0, 7, 42, 103, 305_900].map(two_digits), [0, 7, 42, 100, 300_000]);
    }
}
