//! What the kernel is doing for one descriptor, and what it has yet to be told.
//!
//! ```text
//!  Multishot: receive of a connection, accept of a listener
//!            resume             submitted                pause
//!   Paused ────────▶ Wanted ───────────────▶ Armed ─────────────────▶ StopWanted
//!     ▲                ▲ fed                   │ ▲                        │ submitted
//!     │                │               starved │ │ resume                 ▼
//!     │             Starved ◀──────────────────┘ └────────────────── Stopping ⇄ Restarting
//!     └──────────────────────── last completion ──────────────────────────┘  resume/pause
//!   Ended: end of stream, or an error; nothing leaves it.
//!
//!  OneShot: poll for writability, timer
//!   Idle ──want──▶ Wanted ──submitted──▶ Armed ──completion──▶ Idle
//!                                          │ stop
//!                                          ▼
//!                                      StopWanted ──submitted──▶ Stopping ──completion──▶ Idle
//! ```
//! `StopWanted` goes straight back to `Armed` on resume: the kernel has not been told yet.
//!
//! Invariant: `held` becomes true only by a submission and false only by a last completion, so
//! a descriptor that is not held can be closed.

/// A multishot operation: one submission, many completions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Multishot {
    Paused,
    Wanted,
    Starved,
    Armed,
    StopWanted,
    Stopping,
    Restarting,
    Ended,
}

/// An operation that completes once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OneShot {
    Idle,
    Wanted,
    Armed,
    StopWanted,
    Stopping,
}

/// What the last completion of a multishot operation said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Last {
    /// Ended for no lasting reason: arm it again.
    Again,
    /// Out of buffers or descriptors: arm it again when its turn comes.
    Starved,
    /// End of stream, or an error: never again.
    Over,
}

impl Multishot {
    pub(super) fn resume(self) -> Self {
        match self {
            Self::Paused => Self::Wanted,
            Self::StopWanted => Self::Armed,
            Self::Stopping => Self::Restarting,
            same
            @ (Self::Wanted | Self::Starved | Self::Armed | Self::Restarting | Self::Ended) => same,
        }
    }

    pub(super) fn pause(self) -> Self {
        match self {
            Self::Wanted | Self::Starved => Self::Paused,
            Self::Armed => Self::StopWanted,
            Self::Restarting => Self::Stopping,
            same @ (Self::Paused | Self::StopWanted | Self::Stopping | Self::Ended) => same,
        }
    }

    /// The kernel has the submission that this state wished for.
    pub(super) fn submitted(self) -> Self {
        match self {
            Self::Wanted => Self::Armed,
            Self::StopWanted => Self::Stopping,
            same @ (Self::Paused
            | Self::Starved
            | Self::Armed
            | Self::Stopping
            | Self::Restarting
            | Self::Ended) => same,
        }
    }

    /// The turn of a starved operation has come.
    pub(super) fn fed(self) -> Self {
        match self {
            Self::Starved => Self::Wanted,
            same @ (Self::Paused
            | Self::Wanted
            | Self::Armed
            | Self::StopWanted
            | Self::Stopping
            | Self::Restarting
            | Self::Ended) => same,
        }
    }

    /// The kernel has let go of it.
    pub(super) fn last(self, why: Last) -> Self {
        match (self, why) {
            (_, Last::Over) | (Self::Ended, _) => Self::Ended,
            (Self::Armed, Last::Starved) => Self::Starved,
            (Self::Armed | Self::Restarting, Last::Again) | (Self::Restarting, Last::Starved) => {
                Self::Wanted
            }
            (Self::StopWanted | Self::Stopping, Last::Again | Last::Starved) => Self::Paused,
            // The kernel held nothing: a completion that is not ours changes nothing.
            (same @ (Self::Paused | Self::Wanted | Self::Starved), _) => same,
        }
    }

    /// Whether the kernel holds it, so that the descriptor must stay open.
    pub(super) fn held(self) -> bool {
        match self {
            Self::Armed | Self::StopWanted | Self::Stopping | Self::Restarting => true,
            Self::Paused | Self::Wanted | Self::Starved | Self::Ended => false,
        }
    }

    pub(super) fn has_wish(self) -> bool {
        matches!(self, Self::Wanted | Self::StopWanted)
    }
}

impl OneShot {
    pub(super) fn want(self) -> Self {
        match self {
            Self::Idle => Self::Wanted,
            Self::StopWanted => Self::Armed,
            same @ (Self::Wanted | Self::Armed | Self::Stopping) => same,
        }
    }

    pub(super) fn stop(self) -> Self {
        match self {
            Self::Wanted => Self::Idle,
            Self::Armed => Self::StopWanted,
            same @ (Self::Idle | Self::StopWanted | Self::Stopping) => same,
        }
    }

    pub(super) fn submitted(self) -> Self {
        match self {
            Self::Wanted => Self::Armed,
            Self::StopWanted => Self::Stopping,
            same @ (Self::Idle | Self::Armed | Self::Stopping) => same,
        }
    }

    /// The kernel has let go of it.
    pub(super) fn last(self) -> Self {
        match self {
            Self::Armed | Self::StopWanted | Self::Stopping => Self::Idle,
            same @ (Self::Idle | Self::Wanted) => same,
        }
    }

    pub(super) fn held(self) -> bool {
        match self {
            Self::Armed | Self::StopWanted | Self::Stopping => true,
            Self::Idle | Self::Wanted => false,
        }
    }

    pub(super) fn has_wish(self) -> bool {
        matches!(self, Self::Wanted | Self::StopWanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATES: [Multishot; 8] = [
        Multishot::Paused,
        Multishot::Wanted,
        Multishot::Starved,
        Multishot::Armed,
        Multishot::StopWanted,
        Multishot::Stopping,
        Multishot::Restarting,
        Multishot::Ended,
    ];

    #[test]
    fn the_whole_multishot_table() {
        let mut table = String::new();
        for state in STATES {
            table += &format!(
                "{state:?}: resume {:?}, pause {:?}, submitted {:?}, fed {:?}, again {:?}, \
                 starved {:?}, over {:?}\n",
                state.resume(),
                state.pause(),
                state.submitted(),
                state.fed(),
                state.last(Last::Again),
                state.last(Last::Starved),
                state.last(Last::Over),
            );
        }
        assert_eq!(table, MULTISHOT_TABLE, "\n{table}");
    }

    #[test]
    fn the_whole_one_shot_table() {
        let states = [
            OneShot::Idle,
            OneShot::Wanted,
            OneShot::Armed,
            OneShot::StopWanted,
            OneShot::Stopping,
        ];
        let mut table = String::new();
        for state in states {
            table += &format!(
                "{state:?}: want {:?}, stop {:?}, submitted {:?}, last {:?}\n",
                state.want(),
                state.stop(),
                state.submitted(),
                state.last(),
            );
        }
        assert_eq!(table, ONE_SHOT_TABLE, "\n{table}");
    }

    #[test]
    fn what_the_kernel_holds_changes_only_by_submission_and_completion() {
        for state in STATES {
            assert_eq!(state.resume().held(), state.held(), "{state:?}");
            assert_eq!(state.pause().held(), state.held(), "{state:?}");
            assert_eq!(state.fed().held(), state.held(), "{state:?}");
            for why in [Last::Again, Last::Starved, Last::Over] {
                assert!(!state.last(why).held(), "{state:?} {why:?}");
            }
            assert!(!state.submitted().has_wish(), "{state:?}");
        }
    }

    const MULTISHOT_TABLE: &str = "\
Paused: resume Wanted, pause Paused, submitted Paused, fed Paused, again Paused, \
starved Paused, over Ended
Wanted: resume Wanted, pause Paused, submitted Armed, fed Wanted, again Wanted, \
starved Wanted, over Ended
Starved: resume Starved, pause Paused, submitted Starved, fed Wanted, again Starved, \
starved Starved, over Ended
Armed: resume Armed, pause StopWanted, submitted Armed, fed Armed, again Wanted, \
starved Starved, over Ended
StopWanted: resume Armed, pause StopWanted, submitted Stopping, fed StopWanted, again Paused, \
starved Paused, over Ended
Stopping: resume Restarting, pause Stopping, submitted Stopping, fed Stopping, again Paused, \
starved Paused, over Ended
Restarting: resume Restarting, pause Stopping, submitted Restarting, fed Restarting, \
again Wanted, starved Wanted, over Ended
Ended: resume Ended, pause Ended, submitted Ended, fed Ended, again Ended, \
starved Ended, over Ended
";

    const ONE_SHOT_TABLE: &str = "\
Idle: want Wanted, stop Idle, submitted Idle, last Idle
Wanted: want Wanted, stop Idle, submitted Armed, last Wanted
Armed: want Armed, stop StopWanted, submitted Armed, last Idle
StopWanted: want Armed, stop StopWanted, submitted Stopping, last Idle
Stopping: want Stopping, stop Stopping, submitted Stopping, last Idle
";
}
