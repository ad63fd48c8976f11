//! Another number of shards after a restart: every event lies with its new owner, and frames that
//! come again are counted by each owner once, whatever their earlier owners had counted.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod log_support;
mod shard_support;

use log_support::*;
use proptest::prelude::*;
use shard_support::*;
use trendsrv_proto::{Clock, EventRecord, TenantId};
use trendsrv_shard::log::ReplayScope;
use trendsrv_shard::snapshot::check_vnode;
use trendsrv_shard::{Effect, Effects, OldOwner, Part, Sequence, Trending};

/// Frames of one producer: the events of each, by tenant and weight.
type Frames = Vec<Vec<(u64, u32)>>;

/// The shards of one generation, and what is left of them when they stop.
struct Generation {
    shards: Vec<Life<Trending>>,
    /// Marks and vnodes of each as they began.
    begun: Vec<(Vec<u8>, Vec<Vec<u8>>)>,
}

impl Generation {
    fn begin(shards: Vec<Life<Trending>>) -> Self {
        let mut begun = Vec::new();
        let mut shards = shards;
        for life in &mut shards {
            let (mut marks, mut vnodes) = (Vec::new(), Vec::new());
            life.shard.snapshot_marks(&mut marks);
            for vnode in 0..4_096 {
                let mut bytes = Vec::new();
                if life.shard.snapshot_vnode(vnode, &mut bytes).is_some() {
                    vnodes.push(bytes);
                }
            }
            begun.push((marks, vnodes));
            life.shard.start_log(LOG);
        }
        Self { shards, begun }
    }

    fn first(shards: usize) -> Self {
        Self::begin((0..shards).map(|_| Life::new(shard(Clock::Wall, 64))).collect())
    }

    /// Sends frames in their order; each owner misses as many at the end as `missed` says.
    fn send(&mut self, frames: &Frames, missed: &[usize]) {
        let count = self.shards.len();
        let last = |owner: usize| frames.len().saturating_sub(missed[owner % missed.len()]) as u64;
        for (seq, frame) in (1_u64..).zip(frames) {
            for (owner, life) in self.shards.iter_mut().enumerate() {
                let mine = |event: &&(u64, u32)| tenant_id(event.0).vnode() % count == owner;
                let events: Vec<Event> = frame
                    .iter()
                    .filter(mine)
                    .map(|&(tenant, weight)| (tenant, 1, weight, START_MS))
                    .collect();
                if events.is_empty() || seq > last(owner) {
                    continue;
                }
                let sequence = Sequence { lane: lane(2).unwrap(), epoch: 1, seq };
                let (result, _) = send(&mut life.shard, START_MS, Some(sequence), &events);
                result.unwrap();
                life.keep_log();
            }
        }
    }

    /// What the next generation knows of this one.
    fn hand_over(&self, shards: usize) -> Self {
        let from = u16::try_from(self.shards.len()).unwrap();
        let next = (0..shards).map(|number| {
            let mut life = Life::new(shard(Clock::Wall, 64));
            let owns = move |tenant: TenantId| tenant.vnode() % shards == number;
            for (owner, (marks, vnodes)) in (0_u16..).zip(&self.begun) {
                let old = Some(OldOwner { shards: from, shard: owner });
                life.shard.restore_marks(marks, old).unwrap();
                for bytes in vnodes {
                    let facts = check_vnode(bytes).unwrap();
                    if usize::from(facts.vnode) % shards == number {
                        life.shard.restore_vnode(bytes).unwrap();
                    }
                }
                let log = &self.shards[usize::from(owner)].log;
                let scope = ReplayScope { owns: &owns, old_owner: old, ..ALL };
                replay(&mut life.shard, log, &scope);
            }
            life.shard.end_replay(START_MS);
            life
        });
        Self::begin(next.collect())
    }

    fn totals(&mut self, tenants: u64) -> Vec<u64> {
        let count = self.shards.len();
        let total_of = |tenant| {
            let owner = tenant_id(tenant).vnode() % count;
            total(&mut self.shards[owner].shard, START_MS, tenant).unwrap_or(0)
        };
        (0..tenants).map(total_of).collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn other_numbers_of_shards_count_each_event_once(
        frames in prop::collection::vec(prop::collection::vec((0_u64..20, 1_u32..9), 0..12), 1..20),
        counts in prop::collection::vec(1_usize..5, 2..5),
        lags in prop::collection::vec(prop::collection::vec(0_usize..20, 4), 5),
    ) {
        let mut now = Generation::first(counts[0]);
        for (count, lag) in counts.iter().skip(1).zip(&lags) {
            // Every owner stops at another frame, and the producer sends all of them again.
            now.send(&frames, lag);
            now = now.hand_over(*count);
        }
        now.send(&frames, &[0]);
        now.send(&frames, &[0]);
        let mut want = vec![0_u64; 20];
        for (tenant, weight) in frames.iter().flatten() {
            want[usize::try_from(*tenant).unwrap()] += u64::from(*weight);
        }
        prop_assert_eq!(now.totals(20), want);
    }
}

#[test]
fn events_that_an_earlier_owner_counted_are_told_as_duplicates() {
    let frames = vec![vec![(0, 1), (1, 2), (2, 4), (3, 8), (4, 16), (5, 32)]];
    let mut old = Generation::first(2);
    // The second owner never saw it.
    old.send(&frames, &[0, 1]);
    let counted: u64 = old.totals(6).iter().filter(|total| **total > 0).count() as u64;
    assert!((1..6).contains(&counted), "both have tenants");
    let mut new = old.hand_over(1);
    let life = &mut new.shards[0];
    let events: Vec<Event> = frames[0].iter().map(|&(t, w)| (t, 1, w, START_MS)).collect();
    let (records, span): (Vec<EventRecord>, _) = records(START_MS, &events);
    let part = Part { base_ms: START_MS, span, records: &records };
    let standing = life.shard.on_greet(lane(2).unwrap(), 1).unwrap();
    assert!(standing.known && standing.recovered && standing.next == 2);
    let sequence = Sequence { lane: lane(2).unwrap(), epoch: 1, seq: 1 };
    let mut fx = Effects::default();
    life.shard.on_events(START_MS, &origin(Some(sequence)), &part, &mut fx);
    let Effect::Accepted { counted: told, duplicate, lsn, .. } = &fx.list[0] else {
        panic!("{fx:?}")
    };
    assert_eq!((told.duplicate, told.applied), (counted, 6 - counted));
    assert!(!duplicate && *lsn == 1, "what is left of it is logged");
    assert_eq!(life.shard.stats().events_duplicate, counted);
    life.keep_log();
    let mut logged = 0;
    each_record(&life.log, &LOG, |_, record| logged += record.events());
    assert_eq!(logged, 6 - counted);
}
