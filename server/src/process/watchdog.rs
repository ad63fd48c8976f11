//! Notices a shard that has stopped turning.
//!
//! An idle shard turns ten times a second, so one that makes no turn for seconds is stuck: in a
//! bug of ours, of the runtime, or of the kernel. It is rung first, then reported, and in the end
//! the process gives up, because its supervisor can restart it and nobody can restart a thread.

use crate::drive::Life;
use crate::runtime::DoorbellRinger;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What a look at the shards shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// Every shard turns.
    Turning,
    /// This shard has not turned for a while.
    Stalled(usize),
    /// This shard has not turned for so long that waiting is pointless.
    Dead(usize),
}

#[derive(Debug)]
struct Watched {
    life: Arc<Life>,
    ringer: DoorbellRinger,
    turns: u64,
    since: Instant,
}

/// See the module header.
#[derive(Debug)]
pub struct Watchdog {
    shards: Vec<Watched>,
}

impl Watchdog {
    /// Watches these shards from now on.
    pub fn new(shards: impl IntoIterator<Item = (Arc<Life>, DoorbellRinger)>) -> Self {
        let since = Instant::now();
        let watch = |(life, ringer)| Watched { life, ringer, turns: 0, since };
        Self { shards: shards.into_iter().map(watch).collect() }
    }

    /// Looks at all of them; the worst is told.
    pub fn look(&mut self) -> Health {
        self.look_at(Instant::now())
    }

    fn look_at(&mut self, now: Instant) -> Health {
        let mut health = Health::Turning;
        for (index, shard) in self.shards.iter_mut().enumerate() {
            let turns = shard.life.turns();
            if turns != shard.turns {
                (shard.turns, shard.since) = (turns, now);
                continue;
            }
            let still = now.duration_since(shard.since);
            if still >= DEAD {
                return Health::Dead(index);
            }
            if still >= STALLED {
                shard.ringer.ring_always();
                health = Health::Stalled(index);
            }
        }
        health
    }
}

/// How often to look.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(1_000);
const STALLED: Duration = Duration::from_secs(3);
const DEAD: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::Doorbell;

    #[test]
    fn a_shard_that_does_not_turn_is_stalled_then_dead() {
        let (life, doorbell) = (Arc::new(Life::default()), Doorbell::new().unwrap());
        let mut watchdog = Watchdog::new([(life.clone(), doorbell.ringer())]);
        let start = Instant::now();
        assert_eq!(watchdog.look_at(start), Health::Turning);
        assert_eq!(watchdog.look_at(start + STALLED * 2), Health::Stalled(0));
        life.count_turn(1);
        assert_eq!(watchdog.look_at(start + STALLED * 2), Health::Turning);
        assert_eq!(watchdog.look_at(start + STALLED * 2 + DEAD), Health::Dead(0));
    }
}
