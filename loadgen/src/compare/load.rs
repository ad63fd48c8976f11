//! The loads that each system is put under.

use serde::{Deserialize, Serialize};

/// One kind of load.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum,
)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Load {
    /// As many events as it takes, every one for another tenant
    Saturated,
    /// As many as it takes, in runs of 16 for a tenant
    #[value(name = "saturated-run16")]
    #[serde(rename = "saturated-run16")]
    SaturatedRun16,
    /// A rate that it holds, every event for another tenant
    Paced,
    /// The same in runs of 16
    #[value(name = "paced-run16")]
    #[serde(rename = "paced-run16")]
    PacedRun16,
    /// As many as it takes while it answers every tenant's top 10 once a second
    Refreshed,
    /// A rate that it holds, while every tenant's top 10 is asked for once a second
    RefreshedPaced,
}

impl Load {
    /// In the order in which a round makes them: paced rates come from saturated ones.
    pub(crate) const ALL: [Self; 6] = [
        Self::Saturated,
        Self::SaturatedRun16,
        Self::Paced,
        Self::PacedRun16,
        Self::Refreshed,
        Self::RefreshedPaced,
    ];

    /// Its name in files, tables and `--loads`.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Saturated => "saturated",
            Self::SaturatedRun16 => "saturated-run16",
            Self::Paced => "paced",
            Self::PacedRun16 => "paced-run16",
            Self::Refreshed => "refreshed",
            Self::RefreshedPaced => "refreshed-paced",
        }
    }

    /// What is asked of a system, in a sentence.
    pub(crate) const fn asked(self) -> &'static str {
        match self {
            Self::Saturated => "as many events as it takes, each for another random tenant",
            Self::SaturatedRun16 => "as many events as it takes, 16 in a row for a tenant",
            Self::Paced => {
                "a steady rate, each event for another random tenant; latency counts from the \
                 intended time of sending. trendsrv at the rate of the scenario, every other \
                 system at 80 % of what it took saturated, or less when it does not hold that, \
                 and trendsrv again at that system's size and rate"
            }
            Self::PacedRun16 => "the steady rate of the scenario, 16 events in a row for a tenant",
            Self::Refreshed => {
                "as many events as it takes, while the top 10 of every tenant is asked for once a \
                 second: the answers come first, and events wait whenever they are behind. Where \
                 another system cannot refresh all of its tenants so often, fewer and fewer, a few \
                 times, to find the largest size that it can, and trendsrv again at that size"
            }
            Self::RefreshedPaced => {
                "a steady rate, while the top 10 of every tenant is asked for once a second. \
                 trendsrv at the rate of the scenario, every other system at 50 % of what it took \
                 saturated, which leaves it half of its core for the answers, or less when it does \
                 not hold that, and trendsrv again at that system's size and rate"
            }
        }
    }

    /// Events in a row for a tenant.
    pub(crate) const fn run_length(self) -> u32 {
        match self {
            Self::SaturatedRun16 | Self::PacedRun16 => 16,
            Self::Saturated | Self::Paced | Self::Refreshed | Self::RefreshedPaced => 1,
        }
    }

    /// How often every tenant's top 10 is asked for; 0 is never.
    pub(crate) const fn refresh_ms(self) -> u32 {
        match self {
            Self::Refreshed | Self::RefreshedPaced => 1_000,
            Self::Saturated | Self::SaturatedRun16 | Self::Paced | Self::PacedRun16 => 0,
        }
    }

    /// The part of its saturated rate that a system other than ours is offered, in hundredths;
    /// none when it is offered as much as it takes.
    pub(crate) const fn percent_of_saturated(self) -> Option<u64> {
        match self {
            Self::Paced | Self::PacedRun16 => Some(80),
            Self::RefreshedPaced => Some(50),
            Self::Saturated | Self::SaturatedRun16 | Self::Refreshed => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_has_one_name_everywhere() {
        for load in Load::ALL {
            assert_eq!(serde_json::to_value(load).unwrap(), load.name());
            let value = clap::ValueEnum::to_possible_value(&load).unwrap();
            assert_eq!(value.get_name(), load.name());
        }
    }
}
