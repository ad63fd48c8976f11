//! Windows that never purge agree with a model that keeps every event.

mod window_support;

use proptest::prelude::*;
use trendsrv_proto::{Rank, TopicId, Trend};
use trendsrv_shard::{Grid, View};
use window_support::{Pair, grids, placed, steps, weights};

const START: u64 = 1_000_000;

/// An answer without the order topics happen to be stored in.
fn answer(view: &View) -> Vec<(TopicId, u64, u64, i64, i64, Trend)> {
    let fields = |t: &trendsrv_shard::Topic| {
        (t.topic, t.total, t.recent, t.velocity_milli, t.score_milli, t.trend)
    };
    let mut topics: Vec<_> = view.topics().iter().map(fields).collect();
    topics.sort_unstable_by_key(|topic| topic.0);
    topics
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 160, ..ProptestConfig::default() })]

    #[test]
    fn agrees_with_brute_force_now_and_later(
        grid in grids(), topics in prop::sample::select(vec![3_u64, 12, 30, 400]),
        steps in steps(400, 30), wall in any::<bool>(),
    ) {
        let mut pair = Pair::new(grid, 7, 40, START);
        let mut now = START;
        for step in &steps {
            now += step.ahead;
            let mut batch = placed(step, now);
            batch.iter_mut().for_each(|event| event.1 %= topics);
            if wall {
                pair.advance(now);
            }
            let added = pair.add(&batch);
            prop_assert_eq!(added.dropped, 0);
            let current = pair.model.current;
            prop_assert_eq!(pair.windows.pane(pair.block), current);
            for ahead in [0, 1, u64::from(grid.panes()) - 1, u64::from(grid.panes()), 5_000] {
                pair.check_exact(current + ahead);
            }
        }
        pair.close();
    }

    #[test]
    fn order_and_cuts_of_a_batch_change_nothing(
        grid in grids(), steps in steps(100, 12), cuts in 1_usize..7, seed in any::<u64>(),
    ) {
        let mut plain = Pair::new(grid, 7, 40, START);
        let mut mixed = Pair::new(grid, 7, 40, START);
        let mut now = START;
        for (number, step) in steps.iter().enumerate() {
            now += step.ahead;
            let batch = placed(step, now);
            plain.advance(now);
            mixed.advance(now);
            plain.add(&batch);
            let mut shuffled = batch;
            let mix = |event: &(u64, u64, u32)| (event.0 ^ event.1 << 8 ^ seed).wrapping_mul(seed | 1);
            shuffled.sort_by_key(mix);
            for part in shuffled.chunks(cuts + number % 3) {
                mixed.add(part);
            }
            for pair in [&mut plain, &mut mixed] {
                pair.windows.view(pair.block, now, &mut pair.view);
            }
            prop_assert_eq!(answer(&plain.view), answer(&mixed.view));
            let names: Vec<Vec<u8>> = (0..100_u64).map(|id| format!("topic {id}").into()).collect();
            for rank in [Rank::Count, Rank::Score] {
                let named = |id: TopicId| names[usize::try_from(id.0).unwrap()].as_slice();
                let left = plain.view.rank(rank, 10, named).to_vec();
                let right = mixed.view.rank(rank, 10, named).to_vec();
                prop_assert_eq!(left, right);
                prop_assert!(plain.view.certified());
            }
        }
    }

    #[test]
    fn ranks_like_a_full_sort(
        totals in prop::collection::vec((0_u64..60, 1_u32..6), 1..120), k in 1_usize..20,
    ) {
        let grid = Grid::new(60_000, 1_000).unwrap();
        let mut pair = Pair::new(grid, 7, 40, START);
        let batch: Vec<_> = totals.iter().map(|&(topic, weight)| (START, topic, weight)).collect();
        pair.add(&batch);
        // Names sort the other way round than ids.
        let names: Vec<Vec<u8>> = (0..60_u64).map(|id| format!("{:03}", 100 - id).into()).collect();
        let named = |id: TopicId| names[usize::try_from(id.0).unwrap()].as_slice();
        pair.windows.view(pair.block, START, &mut pair.view);
        let mut wanted: Vec<(u64, u64)> =
            pair.model.totals(START).into_iter().map(|(topic, total)| (total, topic)).collect();
        wanted.sort_unstable_by(|a, b| b.cmp(a));
        wanted.truncate(k);
        let ranked = pair.view.rank(Rank::Count, k, named);
        let ranked: Vec<(u64, u64)> = ranked.iter().map(|t| (t.total, t.topic.0)).collect();
        prop_assert_eq!(ranked, wanted);
    }

    #[test]
    fn wide_weights_of_one_topic_keep_counting(list in prop::collection::vec(weights(), 1..400)) {
        let grid = Grid::new(60_000, 1_000).unwrap();
        let mut pair = Pair::new(grid, 7, 40, START);
        for weight in list {
            pair.add(&[(START, 1, weight), (START, 1, 1_000_000_000)]);
        }
        pair.check_exact(START);
        pair.close();
    }
}

#[test]
fn a_pause_longer_than_the_window_forgets_everything() {
    let grid = Grid::new(60_000, 1_000).unwrap();
    let mut pair = Pair::new(grid, 7, 40, START);
    pair.add(&[(START, 1, 5), (START + 1, 2, 7)]);
    pair.check_exact(START + 59);
    pair.check_exact(START + 60);
    pair.check_exact(START + 61);
    pair.advance(START + 600);
    assert!(pair.names.0.is_empty(), "an emptied window keeps no topics");
    pair.check_exact(START + 600);
    pair.add(&[(START + 541, 3, 1), (START + 540, 3, 1)]);
    pair.check_exact(START + 600);
    pair.close();
}

#[test]
fn windows_shrink_again_after_a_window_of_fitting() {
    let grid = Grid::new(12_000, 1_000).unwrap();
    let mut pair = Pair::new(grid, 7, 40, START);
    let burst: Vec<_> = (0..600_u64).map(|topic| (START, topic, 70_000)).collect();
    pair.add(&burst);
    let large = pair.windows.memory_use().used_bytes;
    for pane in 1..150 {
        pair.add(&[(START + pane, pane % 5, 3)]);
        pair.check_exact(START + pane);
    }
    let base = pair.windows.sizes().next().unwrap();
    assert!(large > 100 * base.block_bytes);
    assert_eq!(pair.windows.memory_use().used_bytes, base.block_bytes);
    pair.close();
}

#[test]
fn panes_near_the_start_of_time_work() {
    for (window, slide) in [(60_000, 1_000), (2_000, 1_000)] {
        let mut pair = Pair::new(Grid::new(window, slide).unwrap(), 7, 40, 0);
        for pane in 0..70 {
            pair.add(&[(pane, 1, 1), (pane, pane + 2, 2), (pane.saturating_sub(1), 1, 1)]);
            pair.check_exact(pane);
            pair.check_exact(pane + 1);
        }
    }
}

#[test]
fn a_window_keeps_its_callers_word_and_its_watermark() {
    let mut pair = Pair::new(Grid::new(60_000, 1_000).unwrap(), 7, 40, START);
    pair.add(&[(START, 1, 1), (START - 60, 1, 1), (START, 2, 1)]);
    assert_eq!(pair.windows.user(pair.block), 7);
    pair.windows.set_user(pair.block, u32::MAX);
    assert_eq!(pair.windows.user(pair.block), u32::MAX);
    assert_eq!(
        pair.windows.watermark_ms(pair.block),
        START * 1_000,
        "a late event changes nothing"
    );
    assert_eq!(pair.windows.slots_used(pair.block), 2);
}
