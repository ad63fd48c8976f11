//! Windows that purge keep their one-sided bounds, for every topic ever sent.
//!
//! `TREND_BOUNDS=N` sets the number of random histories of each test.

mod window_support;

use proptest::prelude::*;
use std::collections::BTreeMap;
use trendsrv_proto::{Rank, TopicId, Trend};
use trendsrv_shard::{Grid, View};
use window_support::{Model, Pair, cases, grids, placed, score_slack, steps};

const START: u64 = 1_000_000;

/// Checks every topic ever sent; returns how many bounds were looked at.
fn check_bounds(view: &View, model: &Model, pane: u64) -> usize {
    let totals = model.totals(pane);
    let tracked: BTreeMap<u64, (u64, u64)> =
        view.topics().iter().map(|topic| (topic.topic.0, (topic.low, topic.high))).collect();
    assert_eq!(view.total(), totals.values().sum::<u64>(), "the tenant's total is exact");
    assert_eq!(view.events(), model.live(pane).count() as u64, "and so are its events");
    for (topic, &weight) in &totals {
        match tracked.get(topic) {
            Some(&(low, high)) => {
                assert!(low <= weight && weight <= high, "{topic}: {low} <= {weight} <= {high}");
                assert!(high - low <= view.error_bound());
            }
            None => assert!(weight <= view.error_bound(), "untracked {topic} has {weight}"),
        }
    }
    if view.exact() {
        assert_eq!(view.distinct(), totals.len());
    }
    for topic in tracked.keys() {
        assert!(totals.contains_key(topic), "{topic} has no weight");
    }
    totals.len()
}

/// A trend that loss invented would have the wrong sign in the exact score.
fn check_trends(view: &View, model: &Model, grid: &Grid, pane: u64) {
    for topic in view.topics() {
        let (exact, seen) = model.score(grid, pane, topic.topic.0);
        let score = topic.score_milli as f64 / 1_000.0;
        let slack = score_slack(view.total());
        if view.exact() {
            assert!((score - exact).abs() < slack);
            continue;
        }
        match topic.trend {
            Trend::Rising if seen => assert!(score <= exact + slack, "{score} for {exact}"),
            Trend::Falling => assert!(score >= exact - slack, "{score} for {exact}"),
            Trend::New => assert!(!seen, "{:?} has a past", topic.topic),
            Trend::Rising | Trend::Steady => {}
        }
    }
}

fn check_certified(view: &mut View, model: &Model, pane: u64) {
    let names: Vec<Vec<u8>> = (0..1_000_u64).map(|id| id.to_be_bytes().to_vec()).collect();
    let named =
        |id: TopicId| names[usize::try_from(id.0).expect("a topic of the model")].as_slice();
    let top: Vec<u64> = view.rank(Rank::Count, 3, named).iter().map(|t| t.topic.0).collect();
    if view.certified() && !top.is_empty() {
        let totals = model.totals(pane);
        let least = top.iter().map(|topic| totals[topic]).min().expect("a topic of the model");
        let others = totals.iter().filter(|(topic, _)| !top.contains(topic));
        assert!(others.map(|(_, &weight)| weight).max().unwrap_or(0) <= least, "not the top");
    }
}

fn run(grid: Grid, tiers_max: usize, chunks: usize, steps: &[window_support::Step], wall: bool) {
    let mut pair = Pair::new(grid, tiers_max, chunks, START);
    let mut now = START;
    for step in steps {
        now += step.ahead;
        if wall {
            pair.advance(now);
        }
        // The model counts what the window accepted: events one by one tell which were dropped.
        for event in placed(step, now) {
            let before = pair.model.events.len();
            let added = pair.add(&[event]);
            if added.dropped > 0 {
                pair.model.events.truncate(before);
            }
        }
        let current = pair.model.current;
        for pane in [current, current + 1, current + u64::from(grid.panes()) / 2] {
            pair.windows.view(pair.block, pane, &mut pair.view);
            check_bounds(&pair.view, &pair.model, pane);
            check_trends(&pair.view, &pair.model, &grid, pane);
            check_certified(&mut pair.view, &pair.model, pane);
        }
        let used = pair.windows.memory_use();
        assert!(used.used_bytes <= used.capacity_bytes);
    }
    pair.close();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(120), ..ProptestConfig::default() })]

    #[test]
    fn bounds_hold_in_the_smallest_tier(
        grid in grids(), steps in steps(60, 40), wall in any::<bool>(),
    ) {
        run(grid, 1, 20, &steps, wall);
    }

    #[test]
    fn bounds_hold_in_an_indexed_tier(
        grid in grids(), steps in steps(300, 40), wall in any::<bool>(),
    ) {
        run(grid, 2, 20, &steps, wall);
    }

    #[test]
    fn bounds_hold_when_the_memory_is_spent(
        grid in grids(), chunks in 1_usize..5, steps in steps(500, 40), wall in any::<bool>(),
    ) {
        run(grid, 3, chunks, &steps, wall);
    }
}

/// Skewed streams without large weights, long enough for hundreds of purges.
#[test]
fn bounds_hold_over_many_purges() {
    let grid = Grid::new(12_000, 1_000).unwrap();
    let (mut bounds, mut purged) = (0, 0);
    let rounds = u64::from(cases(3));
    for round in 0..rounds {
        let tiers_max = usize::try_from(1 + round % 2).unwrap();
        let mut pair = Pair::new(grid, tiers_max, 4, START);
        let mut seed = round;
        let mut draw = |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(round * 2 + 1);
            (seed >> 33) % below
        };
        for pane in START..START + 60 {
            for _ in 0..draw(400) {
                // A product of draws is skewed towards small numbers.
                let topic = draw(30) * draw(30);
                let weight = u32::try_from(1 + draw(4)).unwrap();
                pair.add(&[(pane - draw(3), topic, weight)]);
            }
            pair.windows.view(pair.block, pair.model.current, &mut pair.view);
            bounds += check_bounds(&pair.view, &pair.model, pair.model.current);
            purged += usize::from(!pair.view.exact());
        }
        pair.close();
    }
    println!("{bounds} bounds held in {rounds} rounds, {purged} answers after a purge");
    assert!(purged > 10);
}

#[test]
fn a_window_is_exact_again_once_its_losses_have_expired() {
    let grid = Grid::new(12_000, 1_000).unwrap();
    let mut pair = Pair::new(grid, 1, 4, START);
    let many: Vec<_> = (0..50_u32).map(|topic| (START, u64::from(topic), 1 + topic % 7)).collect();
    pair.add(&many);
    pair.windows.view(pair.block, START, &mut pair.view);
    assert!(!pair.view.exact());
    for pane in 1..30 {
        pair.add(&[(START + pane, 100 + pane % 3, 2)]);
    }
    pair.check_exact(START + 29);
    // Its twelve slots are back, too.
    let twelve: Vec<_> = (0..9).map(|topic| (START + 29, topic, 1)).collect();
    pair.add(&twelve);
    pair.check_exact(START + 29);
    pair.close();
}

/// The sum of the purges' `theta`, worked out by hand: a looser one would still be a bound.
#[test]
fn a_purge_takes_no_more_than_it_needs() {
    let grid = Grid::new(12_000, 1_000).unwrap();
    let mut pair = Pair::new(grid, 1, 4, START);
    // Weights 1..=12 fill the slots; the thirteenth topic leaves three of them: theta is 9.
    let batch: Vec<_> = (1..=12_u32).map(|weight| (START, u64::from(weight), weight)).collect();
    pair.add(&batch);
    let bound = |pair: &mut Pair, pane| {
        pair.windows.view(pair.block, pane, &mut pair.view);
        pair.view.error_bound()
    };
    assert_eq!(bound(&mut pair, START), 0);
    pair.add(&[(START, 100, 1)]);
    assert_eq!(bound(&mut pair, START), 9);
    let kept: Vec<u64> = pair.view.topics().iter().map(|topic| topic.topic.0).collect();
    assert_eq!(kept, [10, 11, 12, 100]);
    // Credits 1 2 3 1: the fifth topic leaves two, theta is 1.
    pair.add(&[(START, 101, 1)]);
    assert_eq!(bound(&mut pair, START), 10);
    let kept: Vec<u64> = pair.view.topics().iter().map(|topic| topic.topic.0).collect();
    assert_eq!(kept, [11, 12, 101]);
}

#[test]
fn credit_does_not_outlive_its_weight() {
    let grid = Grid::new(12_000, 1_000).unwrap();
    let mut pair = Pair::new(grid, 1, 4, START);
    pair.add(&[(START, 1, 100)]);
    let batch: Vec<_> = (11..=22).map(|topic| (START + 5, topic, 10)).collect();
    pair.add(&batch);
    pair.add(&[(START + 5, 1, 1)]);
    // Topic 1 keeps a weight, and a credit, of 1 when its 100 have expired.
    let batch = [(31, 5), (32, 4), (33, 3)];
    let batch: Vec<_> = batch.iter().map(|&(topic, w)| (START + 12, topic, w)).collect();
    pair.add(&batch);
    // Credits 1 10 5 4: two stay, theta is 4, after the 10 of the first purge.
    pair.windows.view(pair.block, START + 12, &mut pair.view);
    assert_eq!(pair.view.error_bound(), 14);
}
