//! What a world is like: everything drawn from its seed before it begins.

use crate::dice::Dice;
use crate::wire::Weather;
use trendsrv_client::SessionConfig;
use trendsrv_proto::{AckMode, Clock};

/// A bug put into a world on purpose, to see whether the oracle finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Planted {
    /// The server's window has a pane more than it says.
    PaneTooMany,
    /// The server's window has a pane less than it says.
    PaneTooFew,
}

/// See the module header.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) planted: Option<Planted>,
    pub(crate) shards: usize,
    pub(crate) clock: Clock,
    pub(crate) window_ms: u64,
    pub(crate) slide_ms: u64,
    pub(crate) start_ms: u64,
    pub(crate) tenants: usize,
    pub(crate) topics: usize,
    pub(crate) producers: Vec<SessionConfig>,
    pub(crate) readers: usize,
    /// Pushes of all producers together.
    pub(crate) pushes: u64,
    pub(crate) push_gap_us_max: u64,
    /// Oldest event behind its push.
    pub(crate) behind_ms_max: u64,
    pub(crate) producers_max: usize,
    pub(crate) early_max: usize,
    pub(crate) credit_bytes_max: u64,
    pub(crate) mesh_batches_max: usize,
    pub(crate) weather: Weather,
    pub(crate) faults: Faults,
}

/// How often what goes wrong.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Faults {
    /// Mean time between two, microseconds; 0: none at all.
    pub(crate) gap_us: u64,
    /// Shares of each kind.
    pub(crate) cut: u64,
    pub(crate) half_close: u64,
    pub(crate) stall: u64,
    pub(crate) jump: u64,
    pub(crate) crash: u64,
    pub(crate) drain: u64,
    pub(crate) begin_anew: u64,
}

impl Plan {
    pub(crate) fn of(seed: u64, planted: Option<Planted>) -> Self {
        let mut dice = Dice::new(seed);
        let grids = [
            (3_600_000, 60_000),
            (3_600_000, 60_000),
            (320_000, 5_000),
            (60_000, 1_000),
            (12_000, 1_000),
            (6_400, 100),
        ];
        let (window_ms, slide_ms) = dice.pick(&grids);
        let clock = if dice.percent(70) { Clock::Wall } else { Clock::Event };
        let count = dice.size(1..=4);
        let producers = (0..count).map(|index| producer(index, &mut dice)).collect();
        let calm = dice.percent(10);
        let share =
            |dice: &mut Dice, chance| if dice.percent(chance) { dice.of(1..=10) } else { 0 };
        let faults = Faults {
            gap_us: if calm { 0 } else { dice.of(50_000..=2_000_000) },
            cut: share(&mut dice, 80),
            half_close: share(&mut dice, 40),
            stall: share(&mut dice, 60),
            jump: share(&mut dice, 50),
            crash: share(&mut dice, 40),
            drain: share(&mut dice, 20),
            begin_anew: share(&mut dice, 20),
        };
        Self {
            seed,
            planted,
            shards: dice.size(1..=4),
            clock,
            window_ms,
            slide_ms,
            start_ms: 1_442_016_000_000 + dice.below(120_000),
            tenants: dice.size(1..=8),
            topics: dice.size(1..=90),
            producers,
            readers: dice.size(1..=2),
            pushes: dice.of(20..=400),
            push_gap_us_max: dice.pick(&[2_000, 20_000, 100_000]),
            behind_ms_max: dice.pick(&[0, 2_000, window_ms]),
            producers_max: 64,
            early_max: dice.pick(&[3, 40, 4_096]),
            credit_bytes_max: dice.pick(&[0, 64 << 10, 1 << 20]),
            mesh_batches_max: dice.pick(&[1, 4, 64]),
            weather: Weather {
                delay_us_max: dice.pick(&[100, 5_000, 300_000]),
                piece_bytes_max: dice.pick(&[1, 40, 1_500]),
                capacity_bytes: dice.pick(&[3_000, 9_000, 128 << 10]),
            },
            faults,
        }
    }
}

fn producer(index: usize, dice: &mut Dice) -> SessionConfig {
    let anonymous = dice.percent(20);
    let index = index as u64;
    SessionConfig {
        // Some share an id and differ by their lanes.
        producer: if anonymous { 0 } else { 100 + index / 2 },
        epoch: 1,
        lane: u16::try_from(index).expect("few producers"),
        ack: dice.pick(&[AckMode::Received, AckMode::Applied]),
        batch_events: dice.pick(&[1, 3, 16]),
        in_flight_bytes_max: dice.pick(&[12 << 10, 64 << 10]),
        linger_ms: dice.pick(&[0, 5, 50]),
        seed: dice.any(),
        software: "simulated".to_owned(),
    }
}
