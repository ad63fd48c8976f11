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
    /// A durable acknowledgement goes out before the disk has answered.
    AckBeforeFsync,
    /// Snapshots lack the producers' marks.
    MarksMissing,
    /// Log that a snapshot makes needless is removed before the manifest names the snapshot.
    LogBeforeManifest,
    /// A sync that failed is tried again, and believed when it succeeds.
    FsyncRetried,
    /// The end of the log is judged without the mark of the superblock.
    MarkIgnored,
}

impl Planted {
    /// Whether it shows only in a world with a disk.
    const fn is_of_the_disk(self) -> bool {
        !matches!(self, Self::PaneTooMany | Self::PaneTooFew)
    }
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
    pub(crate) disk: DiskPlan,
}

/// The disk of a world.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DiskPlan {
    /// There is one, with a log.
    pub(crate) is_there: bool,
    pub(crate) segment_bytes: u64,
    pub(crate) snapshot_every_us: u64,
    /// Longest time of a commit or a chore.
    pub(crate) write_us_max: u64,
    /// Starts, in a hundred, with another number of shards.
    pub(crate) reshards: u64,
    /// Starts, in a hundred, that the machine does not survive.
    pub(crate) dies_starting: u64,
    /// Clean ends, in a hundred, after which a bit is turned over.
    pub(crate) flips: u64,
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
    /// The process is killed; without a log it knows nothing afterwards.
    pub(crate) crash: u64,
    pub(crate) power_cut: u64,
    /// The machine dies at some call of the disk.
    pub(crate) dies_at_call: u64,
    /// A write or a sync fails.
    pub(crate) disk_error: u64,
    /// There is no room for a while.
    pub(crate) disk_full: u64,
    pub(crate) short_write: u64,
    pub(crate) drain: u64,
    pub(crate) begin_anew: u64,
}

impl Plan {
    pub(crate) fn of(seed: u64, planted: Option<Planted>) -> Self {
        let mut dice = Dice::new(seed);
        // What was thought of later, so that older seeds stay what they were.
        let mut later = Dice::new(seed ^ 0x1a7e);
        let grids = [
            (3_600_000, 60_000),
            (3_600_000, 60_000),
            (315_000, 5_000),
            (60_000, 1_000),
            (12_000, 1_000),
            (6_300, 100),
        ];
        let (window_ms, slide_ms) = dice.pick(&grids);
        let clock = if dice.percent(70) { Clock::Wall } else { Clock::Event };
        let count = dice.size(1..=4);
        let is_there = planted.is_none_or(Planted::is_of_the_disk) && dice.percent(75)
            || planted.is_some_and(Planted::is_of_the_disk);
        let calm = dice.percent(10);
        let on_disk = |share: u64| if is_there { share } else { 0 };
        let share =
            |dice: &mut Dice, chance| if dice.percent(chance) { dice.of(1..=10) } else { 0 };
        let faults = Faults {
            gap_us: if calm { 0 } else { dice.of(50_000..=1_500_000) },
            cut: share(&mut dice, 80),
            half_close: share(&mut dice, 40),
            stall: share(&mut dice, 60),
            jump: share(&mut dice, 50),
            crash: share(&mut dice, 40),
            power_cut: on_disk(share(&mut dice, 40)),
            dies_at_call: on_disk(share(&mut dice, 40)),
            disk_error: on_disk(share(&mut dice, 30)),
            disk_full: on_disk(share(&mut dice, 30)),
            short_write: on_disk(share(&mut dice, 20)),
            drain: share(&mut dice, 30),
            begin_anew: share(&mut dice, 20),
        };
        let disk = DiskPlan {
            is_there,
            segment_bytes: dice.pick(&[16 << 10, 64 << 10, 256 << 10]),
            snapshot_every_us: dice.pick(&[100_000, 1_000_000, 60_000_000]),
            write_us_max: dice.pick(&[200, 5_000, 200_000]),
            reshards: dice.pick(&[0, 30, 60]),
            dies_starting: dice.pick(&[0, 0, 40]),
            flips: dice.pick(&[0, 60]),
        };
        let producers = (0..count).map(|index| producer(index, is_there, &mut dice)).collect();
        let mut plan = Self {
            seed,
            planted,
            shards: dice.size(1..=4),
            clock,
            window_ms,
            slide_ms,
            start_ms: 1_442_016_000_000 + dice.below(120_000),
            tenants: dice.size(1..=8),
            topics: dice.size(4..=90),
            producers,
            readers: dice.size(1..=2),
            pushes: dice.of(50..=400),
            push_gap_us_max: dice.pick(&[5_000, 50_000, 200_000]),
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
            disk,
        };
        plan.producers_max = later.pick(&[64, 64, 64, 3, 2]);
        plan
    }
}

fn producer(index: usize, has_log: bool, dice: &mut Dice) -> SessionConfig {
    let anonymous = dice.percent(20);
    let acks = [AckMode::Received, AckMode::Applied, AckMode::Durable, AckMode::Durable];
    let ack = dice.pick(if has_log { &acks } else { &acks[..2] });
    let index = index as u64;
    SessionConfig {
        // Some share an id and differ by their lanes.
        producer: if anonymous { 0 } else { 100 + index / 2 },
        epoch: 1,
        lane: u16::try_from(index).expect("few producers"),
        ack,
        batch_events: dice.pick(&[1, 3, 16]),
        in_flight_bytes_max: dice.pick(&[12 << 10, 64 << 10]),
        linger_ms: dice.pick(&[0, 5, 50]),
        seed: dice.any(),
        software: "simulated".to_owned(),
    }
}
