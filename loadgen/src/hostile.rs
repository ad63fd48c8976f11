//! Tenants that are given a hostile program: which, and how.
//!
//! Owns the draw. The same seed draws the same tenants, so that both sides of a comparison can
//! speak of the same others.

use crate::limits::HOSTILE_MAX;
use crate::population::tenant_name;
use crate::programs::{Choice, assign};
use crate::sample::Sample;
use crate::scenario::Scenario;
use anyhow::bail;
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use std::collections::BTreeSet;

/// The hostile tenants of a scenario and what they run, in turn.
#[derive(Debug)]
pub(crate) struct Hostile {
    tenants: Vec<u32>,
    programs: Vec<Choice>,
}

impl Hostile {
    /// Draws them. None is checked at the end, and none is the probe's.
    ///
    /// # Errors
    /// When a program is not there, or too few tenants are left.
    pub(crate) fn draw(scenario: &Scenario, sample: &Sample) -> anyhow::Result<Self> {
        let drawn = scenario.tenants - 1;
        let want =
            (u64::from(scenario.tenants) * u64::from(scenario.hostile_per_mille) / 1_000).max(1);
        let want = usize::try_from(want)?;
        let others = drawn as usize - sample.tenants().len();
        if want > others || want > HOSTILE_MAX {
            bail!("{want} hostile tenants: at most {}", others.min(HOSTILE_MAX));
        }
        let mut random = SmallRng::seed_from_u64(scenario.seed ^ 0x0bad);
        let mut tenants = BTreeSet::new();
        while tenants.len() < want {
            let tenant = random.random_range(0..drawn);
            if sample.place(tenant).is_none() {
                tenants.insert(tenant);
            }
        }
        let programs = scenario
            .hostile_programs
            .iter()
            .map(|name| Choice::read(name))
            .collect::<Result<_, _>>()?;
        Ok(Self { tenants: tenants.into_iter().collect(), programs })
    }

    /// How many.
    pub(crate) fn count(&self) -> u64 {
        self.tenants.len() as u64
    }

    /// Uploads the programs and assigns them.
    ///
    /// # Errors
    /// When the server does not take one, with its words.
    pub(crate) fn move_in(&self, http: &str) -> anyhow::Result<()> {
        for program in &self.programs {
            program.give_to(http)?;
        }
        for (tenant, program) in self.tenants.iter().zip(self.programs.iter().cycle()) {
            assign(http, &tenant_name(*tenant), program.name())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_draw_is_by_seed_one_in_a_hundred_and_spares_sample_and_probe() {
        let scenario = Scenario { tenants: 2_000, ..Scenario::load("hostile").unwrap() };
        let sample = Sample::new(&scenario);
        let hostile = Hostile::draw(&scenario, &sample).unwrap();
        assert_eq!(hostile.tenants, Hostile::draw(&scenario, &sample).unwrap().tenants);
        assert_eq!(hostile.count(), 20);
        let clean = |tenant: &u32| sample.place(*tenant).is_none() && *tenant < 1_999;
        assert!(hostile.tenants.iter().all(clean), "{:?}", hostile.tenants);
        let other = Scenario { seed: 2, ..scenario.clone() };
        assert_ne!(hostile.tenants, Hostile::draw(&other, &sample).unwrap().tenants);
        let few = Scenario { tenants: 10, sample: 9, ..scenario };
        let error = Hostile::draw(&few, &Sample::new(&few)).unwrap_err().to_string();
        assert!(error.contains("at most 0"), "{error}");
    }
}
