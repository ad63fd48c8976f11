//! A whole shard against a model that keeps every event: both clocks, any mix of tenants, late and
//! early events, pauses and jumps, and frames cut, joined and sent again.

mod shard_support;

use proptest::prelude::*;
use shard_support::*;
use trendsrv_proto::{Clock, Refusal};
use trendsrv_shard::{Part, check_future};

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn wall_clock_agrees_with_every_event_kept(steps in steps(5_000, 40)) {
        follow(Clock::Wall, &steps);
    }

    #[test]
    fn event_clock_agrees_with_every_event_kept(steps in steps(20_000, 40)) {
        follow(Clock::Event, &steps);
    }

    #[test]
    fn frames_cut_joined_and_sent_again_count_once(
        clock in prop::sample::select(vec![Clock::Wall, Clock::Event]),
        step in steps(5_000, 2),
        cuts in prop::collection::vec((0_usize..6, 0_usize..3), 1..30),
    ) {
        let events = placed(&step[0], START_MS);
        let (mut whole, mut cut) = (shard(clock, 16), shard(clock, 16));
        let counted = send_named(&mut whole, START_MS, Some(at(1)), &events).unwrap();
        let (mut rest, mut seq, mut applied) = (events.as_slice(), 1, 0);
        let mut sent: Vec<&[Event]> = Vec::new();
        for (size, again) in cuts {
            let (frame, behind) = rest.split_at(size.min(rest.len()));
            rest = behind;
            sent.push(frame);
            let first = send_named(&mut cut, START_MS, Some(at(seq)), frame).unwrap();
            applied += first.applied + first.early + first.late;
            seq += 1;
            // The last few frames come again, as after a lost connection.
            for repeated in (1..seq).rev().take(again) {
                let frame = sent[usize::try_from(repeated).unwrap() - 1];
                let twice = send_named(&mut cut, START_MS, Some(at(repeated)), frame).unwrap();
                prop_assert_eq!(twice, trendsrv_shard::Counted::default());
            }
        }
        let last = send_named(&mut cut, START_MS, Some(at(seq)), rest).unwrap();
        applied += last.applied + last.early + last.late;
        prop_assert_eq!(applied, events.len() as u64);
        prop_assert_eq!(counted.applied + counted.early + counted.late, applied);
        for now_ms in [START_MS, START_MS + 1_000, START_MS + 5_000, START_MS + 12_000] {
            turn(&mut whole, now_ms);
            turn(&mut cut, now_ms);
            for tenant in 0..5 {
                let one = ask(&mut whole, now_ms, tenant, None).ok().map(|(seen, _)| seen);
                let other = ask(&mut cut, now_ms, tenant, None).ok().map(|(seen, _)| seen);
                prop_assert_eq!(one, other);
            }
        }
    }
}

/// Goes through the steps with a shard and the model, and compares all they say.
fn follow(clock: Clock, steps: &[Step]) {
    let (mut shard, mut model) = (shard(clock, 16), Model::new(clock));
    let mut now_ms = START_MS;
    for (seq, step) in (1..).zip(steps) {
        now_ms += step.ahead_ms;
        turn(&mut shard, now_ms);
        model.turn(now_ms);
        let events = placed(step, now_ms);
        let counted =
            send_named(&mut shard, now_ms, Some(at(seq)), &events).expect("it is applied");
        assert_eq!(counted, model.send(now_ms, &events), "step {seq}");
        for tenant in model.tenants() {
            let watermark_ms = model.watermark_ms(now_ms, tenant);
            let earliest_ms = model.earliest_ms(now_ms, tenant);
            let whens =
                [earliest_ms, watermark_ms + 1, watermark_ms + 4_321, watermark_ms + 10_000];
            for at_ms in whens.into_iter().map(Some).chain([None]) {
                let (seen, _) = ask(&mut shard, now_ms, tenant, at_ms).expect("it is held");
                assert_eq!(seen, model.ask(now_ms, tenant, at_ms), "tenant {tenant}, step {seq}");
            }
            let gone = ask(&mut shard, now_ms, tenant, Some(earliest_ms - 1)).expect_err("gone");
            assert_eq!(gone.code, Refusal::Malformed);
        }
    }
    let stats = shard.stats().clone();
    assert_eq!((stats.tenants_evicted, stats.events_dropped), (0, 0));
}

#[test]
fn five_seconds_ahead_waits_and_a_millisecond_more_is_refused() {
    let refused = |clock, ahead_ms| {
        let (records, span) =
            records(START_MS, &[(1, 1, 1, START_MS), (1, 1, 1, START_MS + ahead_ms)]);
        let part = Part { base_ms: START_MS, span, records: &records };
        check_future(clock, START_MS, &part).err().map(|why| (why.code, why.index))
    };
    assert_eq!(refused(Clock::Wall, 5_000), None);
    assert_eq!(refused(Clock::Wall, 5_001), Some((Refusal::Future, Some(1))));
    assert_eq!(refused(Clock::Event, 500_000), None);
    let (none, _) = records(START_MS, &[]);
    let span = trendsrv_proto::Span { min_ms: START_MS + 9_000, max_ms: START_MS + 9_000 };
    let filler = Part { base_ms: START_MS + 9_000, span, records: &none };
    assert_eq!(check_future(Clock::Wall, START_MS, &filler), Ok(()), "a filler has no event");
}

#[test]
fn early_events_count_when_their_pane_opens_and_not_before() {
    let mut shard = shard(Clock::Wall, 4);
    let event = (1, 1, 3, START_MS + 2_000);
    let (counted, _) = send(&mut shard, START_MS, None, &[event]);
    assert_eq!(counted.unwrap().early, 1);
    let opens_ms = (START_MS + 2_000) / SLIDE_MS * SLIDE_MS;
    turn(&mut shard, opens_ms - 1);
    assert_eq!(total(&mut shard, opens_ms - 1, 1), Some(0));
    turn(&mut shard, opens_ms);
    assert_eq!(total(&mut shard, opens_ms, 1), Some(3));
}

#[test]
fn more_early_events_than_may_wait_refuse_their_frame_whole() {
    let tight = trendsrv_shard::ShardConfig { early_max: 3, ..config(Clock::Wall, 4) };
    let mut shard = shard_with(tight, trendsrv_shard::Trending { recent_ms: 1, window_ms: 2 });
    let early = |topic| (1, topic, 1, START_MS + 3_000);
    send(&mut shard, START_MS, Some(at(1)), &[early(1), early(2)]).0.unwrap();
    let now = (1, 9, 1, START_MS);
    let why = send(&mut shard, START_MS, Some(at(2)), &[now, early(3), early(4)]).0.unwrap_err();
    assert_eq!((why.code, why.retry_after_ms > 0), (Refusal::Overloaded, true));
    assert_eq!(total(&mut shard, START_MS, 1), Some(0), "nothing of the frame was counted");
    let why = send(&mut shard, START_MS, Some(at(3)), &[now]).0.unwrap_err();
    assert_eq!((why.code, why.expected_seq), (Refusal::SeqGap, Some(2)));
    let later_ms = START_MS + 3_000;
    turn(&mut shard, later_ms);
    send(&mut shard, later_ms, Some(at(2)), &[now, early(3), early(4)]).0.unwrap();
    send(&mut shard, later_ms, Some(at(3)), &[now]).0.unwrap();
    assert_eq!(total(&mut shard, later_ms, 1), Some(6));
}
