//! A shard that lives again from its log answers as the one that died would have, and goes on like
//! it.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod log_support;
mod shard_support;

use log_support::*;
use proptest::prelude::*;
use shard_support::*;
use std::collections::BTreeMap;
use trendsrv_proto::{Clock, TenantId};
use trendsrv_shard::log::{ReplayScope, Replayed};
use trendsrv_shard::{Effect, Programs, Standing};

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn with_the_wall_clock(deeds in deeds(5_000, 40), more in deeds(5_000, 8)) {
        lives_again(Clock::Wall, &deeds, &more, TRENDING);
    }

    #[test]
    fn with_the_event_clock(deeds in deeds(20_000, 40), more in deeds(20_000, 8)) {
        lives_again(Clock::Event, &deeds, &more, TRENDING);
    }

    #[test]
    fn with_a_program_that_leaves_events_out_by_its_private_state(
        deeds in deeds(5_000, 30),
        more in deeds(5_000, 8),
        wall in any::<bool>(),
    ) {
        let clock = if wall { Clock::Wall } else { Clock::Event };
        lives_again(clock, &deeds, &more, Sieve::new());
    }

    #[test]
    fn with_snapshots_of_each_vnode_at_another_time(
        deeds in deeds(5_000, 40),
        taken in prop::collection::vec((0_u64..TENANTS, any::<bool>()), 40),
        wall in any::<bool>(),
    ) {
        let clock = if wall { Clock::Wall } else { Clock::Event };
        lives_again_from_snapshots(clock, &deeds, &taken);
    }
}

fn lives_again<P: Programs + Clone>(clock: Clock, deeds: &[Deed], more: &[Deed], programs: P) {
    let mut first = Life::new(shard_with(settings(clock), programs.clone()));
    first.shard.start_log(LOG);
    for deed in deeds {
        first.live(deed);
    }
    let mut second = first.other(shard_with(elsewhere(settings(clock)), programs));
    let replayed = replay(&mut second.shard, &first.log, &ALL);
    assert_eq!((replayed.skipped, replayed.refused, replayed.dropped), (0, 0, 0));
    second.shard.end_replay(second.now_ms);
    assert_eq!(second.told(), first.told(), "now");
    assert_eq!(second.standings(), first.standings());
    for deed in more {
        let (one, two) = (first.live(deed), second.live(deed));
        assert_eq!(what_became(one), what_became(two));
        assert_eq!(second.told(), first.told(), "later");
    }
}

/// An answer without what only one that logs can say.
fn what_became(effect: Option<Effect>) -> Option<Effect> {
    effect.map(|effect| match effect {
        Effect::Accepted { to, seq, counted, duplicate, .. } => {
            Effect::Accepted { to, seq, counted, duplicate, lsn: 0 }
        }
        other @ (Effect::Refused { .. } | Effect::Need { .. } | Effect::Publish { .. }) => other,
    })
}

/// Sections are taken while the life goes on, each vnode's and the marks' at another record; what
/// was taken last counts.
fn lives_again_from_snapshots(clock: Clock, deeds: &[Deed], taken: &[(u64, bool)]) {
    let mut first = Life::new(shard_with(settings(clock), TRENDING));
    first.shard.start_log(LOG);
    let mut sections: BTreeMap<u16, (u64, Vec<u8>)> = BTreeMap::new();
    let mut marks = None;
    for (deed, (tenant, with_marks)) in deeds.iter().zip(taken) {
        first.live(deed);
        let vnode = vnode_of(tenant_id(*tenant));
        let mut bytes = Vec::new();
        if let Some(lsn) = first.shard.snapshot_vnode(vnode, &mut bytes) {
            sections.insert(vnode, (lsn, bytes));
        }
        if *with_marks {
            let mut bytes = Vec::new();
            marks = Some((first.shard.snapshot_marks(&mut bytes), bytes));
        }
    }
    let mut second = first.other(shard_with(elsewhere(settings(clock)), TRENDING));
    for (_, section) in sections.values() {
        second.shard.restore_vnode(section).unwrap();
    }
    let marks_lsn = marks.map_or(0, |(lsn, bytes)| {
        second.shard.restore_marks(&bytes, None).unwrap();
        lsn
    });
    let above = |tenant: TenantId, lsn| {
        sections.get(&vnode_of(tenant)).is_none_or(|(taken, _)| lsn > *taken)
    };
    each_record(&first.log, &LOG, |head, record| {
        let scope = ReplayScope { above: &above, marks: head.lsn > marks_lsn, ..ALL };
        second.shard.replay(head, record, &scope);
    });
    second.shard.end_replay(second.now_ms);
    assert_eq!(second.told(), first.told());
    assert_eq!(second.standings(), first.standings());
}

fn vnode_of(tenant: TenantId) -> u16 {
    u16::try_from(tenant.vnode()).unwrap()
}

#[test]
fn early_events_count_though_nothing_else_came_for_long() {
    let mut first = Life::new(shard(Clock::Wall, 16));
    first.shard.start_log(LOG);
    let early = vec![(1, 1, 5, 3_000)];
    let (lane, again) = (2, false);
    first.live(&Deed { ahead_ms: 0, kind: 2, lane, again, batch: early });
    first.pass(60_000);
    first.live(&Deed { ahead_ms: 0, kind: 2, lane, again, batch: vec![(2, 1, 1, 0)] });
    let mut second = first.other(shard(Clock::Wall, 16));
    let replayed = replay(&mut second.shard, &first.log, &ALL);
    assert_eq!(replayed, Replayed { applied: 1, early: 1, ..Replayed::default() });
    second.shard.end_replay(second.now_ms);
    assert_eq!(second.told(), first.told());
    let in_time = second.told().iter().filter(|line| line.contains("late: 0")).count();
    assert_eq!(in_time, 6, "three answers for each of two tenants: its pane opened in time");
    assert_eq!(second.shard.stats().events_early, 0, "what was applied again did not come again");
}

#[test]
fn what_a_smaller_table_has_no_room_for_is_counted() {
    let mut first = Life::new(shard(Clock::Wall, 16));
    first.shard.start_log(LOG);
    let batch = (0..TENANTS).flat_map(|tenant| [(tenant, 1, 1, 0), (tenant, 2, 1, 0)]).collect();
    first.live(&Deed { ahead_ms: 0, kind: 4, lane: 0, again: false, batch });
    let mut small = shard(Clock::Wall, 2);
    let replayed = replay(&mut small, &first.log, &ALL);
    let texts_and_events = 4;
    let want = Replayed { applied: 2 * texts_and_events, refused: 12, ..Replayed::default() };
    assert_eq!(replayed, want);
}

#[test]
fn only_what_is_in_scope_is_applied() {
    let mut first = Life::new(shard(Clock::Wall, 16));
    first.shard.start_log(LOG);
    let batch = vec![(0, 1, 5, 0), (1, 1, 7, 0)];
    first.live(&Deed { ahead_ms: 0, kind: 2, lane: 2, again: false, batch });
    let mut second = shard(Clock::Wall, 16);
    let owns = |tenant| tenant == tenant_id(1);
    let scope = ReplayScope { owns: &owns, marks: false, ..ALL };
    let replayed = replay(&mut second, &first.log, &scope);
    assert_eq!(replayed, Replayed { applied: 1, skipped: 1, ..Replayed::default() });
    assert_eq!(total(&mut second, START_MS, 0), None, "not its own, nor its name");
    assert_eq!(total(&mut second, START_MS, 1), Some(7));
    assert_eq!(second.on_greet(lane(2).unwrap(), 1), Ok(Standing::NEW));
}

#[test]
#[should_panic(expected = "the log begins after the replay")]
fn nothing_is_applied_again_once_the_log_has_begun() {
    let mut first = Life::new(shard(Clock::Wall, 16));
    first.shard.start_log(LOG);
    first.live(&Deed { ahead_ms: 0, kind: 5, lane: 2, again: false, batch: Vec::new() });
    let log = std::mem::take(&mut first.log);
    replay(&mut first.shard, &log, &ALL);
}
