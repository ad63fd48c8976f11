//! The event stage: programs leave out, reweigh and re-key events before they are counted, and the
//! shard agrees with a model that does the same to every event.

mod shard_support;

use proptest::prelude::*;
use shard_support::*;
use std::collections::{BTreeMap, BTreeSet};
use trendsrv_proto::{Clock, EventRecord, NameKind, Refusal, TenantId, TopicId};
use trendsrv_shard::{
    Counted, HeapMemory, Observed, Programs, Shard, ShardConfig, Slot, Summary, Texts, Told,
};

/// Leaves out odd topics, doubles weights, and counts topic 4 as topic 2; tenants with an odd
/// number it lets alone.
#[derive(Debug, Default)]
struct Editor {
    topics: BTreeMap<TopicId, u64>,
    /// Tenants by slot, and whether their program looks at events.
    slots: BTreeMap<Slot, (TenantId, bool)>,
    /// Tenant and offsets of every call.
    calls: Vec<(TenantId, Vec<i32>)>,
}

/// What the editor makes of an event.
fn edited(event: Event) -> Option<Event> {
    let (tenant, topic, weight, ts_ms) = event;
    match (tenant % 2, topic) {
        (1, _) => Some(event),
        (_, topic) if topic % 2 == 1 => None,
        (_, 4) => Some((tenant, 2, double(weight), ts_ms)),
        (_, topic) => Some((tenant, topic, double(weight), ts_ms)),
    }
}

fn double(weight: u32) -> u32 {
    weight.saturating_mul(2).min(trendsrv_shard::limits::WEIGHT_MAX)
}

impl Editor {
    fn new() -> Self {
        let topics = (0..20).map(|topic| (topic_id(topic), topic)).collect();
        Self { topics, ..Self::default() }
    }
}

impl Programs for Editor {
    const EAGER: bool = true;

    fn admit(&mut self, _now_ms: u64, slot: Slot, tenant: TenantId) {
        let even = (0..64).step_by(2).any(|number| tenant_id(number) == tenant);
        assert_eq!(self.slots.insert(slot, (tenant, even)), None, "{slot:?} is taken");
    }

    fn retire(&mut self, slot: Slot) {
        self.slots.remove(&slot).expect("only who was admitted retires");
    }

    fn observes_any(&self) -> bool {
        true
    }

    fn observes(&self, slot: Slot) -> bool {
        self.slots.get(&slot).is_some_and(|(_, observes)| *observes)
    }

    fn observe(&mut self, run: &Observed<'_>, out: &mut Vec<EventRecord>) {
        let (tenant, observes) = self.slots[&run.slot];
        assert!(observes && !run.records.is_empty());
        self.calls.push((tenant, run.records.iter().map(EventRecord::offset_ms).collect()));
        for record in run.records {
            assert_eq!(record.tenant(), tenant);
            let topic = self.topics[&record.topic()];
            if let Some((_, topic, weight, _)) = edited((0, topic, record.weight(), 0)) {
                let topic = topic_id(topic);
                out.push(EventRecord::new(tenant, topic, weight, record.offset_ms()));
            }
        }
    }

    fn find_topics(&mut self, _run: &Texts<'_>, _found: &mut dyn FnMut(usize, u32, &str)) {}

    fn summarise(&mut self, _ask: &Summary<'_>, _told: &mut Told) {}

    fn name_of(&self, _slot: Slot) -> &str {
        "editor"
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn wall_clock_agrees_with_every_edited_event_kept(steps in steps(5_000, 40)) {
        follow(Clock::Wall, &steps);
    }

    #[test]
    fn event_clock_agrees_with_every_edited_event_kept(steps in steps(20_000, 40)) {
        follow(Clock::Event, &steps);
    }
}

/// Goes through the steps with a shard and the model, and compares all they say.
fn follow(clock: Clock, steps: &[Step]) {
    let (mut shard, mut model) = (shard_with(config(clock, 16), Editor::new()), Model::new(clock));
    let mut now_ms = START_MS;
    for (seq, step) in (1..).zip(steps) {
        now_ms += step.ahead_ms;
        turn(&mut shard, now_ms);
        model.turn(now_ms);
        // Re-keyed events come without the name of their new topic.
        shard.define(std::iter::once((NameKind::Topic, topic_id(2).0, &*topic_name(2))));
        let sent = placed(step, now_ms);
        let kept: Vec<Event> = sent.iter().copied().filter_map(edited).collect();
        let counted = send_named(&mut shard, now_ms, Some(at(seq)), &sent).expect("it is applied");
        let filtered = (sent.len() - kept.len()) as u64;
        let wanted = Counted { filtered, ..model.send(now_ms, &kept) };
        assert_eq!(counted, wanted, "step {seq}");
        called_once_each(&mut shard, now_ms, &sent);
        if seq % 3 == 0 {
            let again = send_named(&mut shard, now_ms, Some(at(seq)), &sent);
            assert_eq!(again, Ok(Counted::default()));
            assert_eq!(shard.programs().calls, [], "a duplicate is shown to nobody");
        }
        for tenant in model.tenants() {
            for at_ms in [None, Some(model.watermark_ms(now_ms, tenant) + 4_321)] {
                let (seen, _) = ask(&mut shard, now_ms, tenant, at_ms).expect("it is held");
                assert_eq!(seen, model.ask(now_ms, tenant, at_ms), "tenant {tenant}, step {seq}");
            }
        }
    }
    let stats = shard.stats().clone();
    assert_eq!((stats.tenants_evicted, stats.events_dropped), (0, 0));
}

/// Every even tenant's program was called once, with all its events in their order.
fn called_once_each(shard: &mut Shard<Editor, HeapMemory>, base_ms: u64, sent: &[Event]) {
    let (records, _) = records(base_ms, sent);
    let calls = std::mem::take(&mut shard.programs_mut().calls);
    let even: BTreeSet<u64> = sent.iter().map(|event| event.0).filter(|t| t % 2 == 0).collect();
    assert_eq!(calls.len(), even.len(), "once a part");
    for tenant in even.into_iter().map(tenant_id) {
        let mine = records.iter().filter(|record| record.tenant() == tenant);
        let wanted: Vec<i32> = mine.map(EventRecord::offset_ms).collect();
        assert!(calls.contains(&(tenant, wanted)), "{tenant:?}");
    }
}

#[test]
fn a_refused_part_is_shown_to_nobody() {
    let mut shard = shard_with(config(Clock::Wall, 2), Editor::new());
    let events: Vec<Event> = (0..3).map(|tenant| (tenant * 2, 0, 1, START_MS)).collect();
    let why = send_named(&mut shard, START_MS, Some(at(1)), &events).unwrap_err();
    assert_eq!(why.code, Refusal::TenantsFull);
    assert!(shard.programs().calls.is_empty() && shard.programs().slots.is_empty());
    send_named(&mut shard, START_MS, Some(at(1)), &events[..2]).unwrap();
    assert_eq!(shard.programs().calls.len(), 2);
}

#[test]
fn an_event_left_out_moves_no_window_and_is_told_in_the_statistics() {
    let mut shard = shard_with(config(Clock::Event, 4), Editor::new());
    let events = [(0, 2, 1, START_MS), (0, 1, 1, START_MS + 600_000), (0, 2, 1, START_MS + 1)];
    let counted = send_named(&mut shard, START_MS, None, &events).unwrap();
    assert_eq!(counted, Counted { applied: 2, filtered: 1, ..Counted::default() });
    assert_eq!(shard.stats().events_filtered, 1);
    let (seen, _) = ask(&mut shard, START_MS, 0, None).unwrap();
    assert_eq!((seen.as_of_ms, seen.total), (START_MS + 1, 4), "weights were doubled");
    // All of a new tenant's events are left out: it is there, with nothing.
    send_named(&mut shard, START_MS, None, &[(6, 1, 1, START_MS)]).unwrap();
    assert_eq!(total(&mut shard, START_MS, 6), Some(0));
}

#[test]
fn a_part_that_may_bring_more_early_events_than_may_wait_is_refused_unseen() {
    let tight = ShardConfig { early_max: 3, ..config(Clock::Wall, 4) };
    let mut shard = shard_with(tight, Editor::new());
    let early = (0, 2, 1, START_MS + 2_000);
    let now = (0, 2, 1, START_MS);
    // A program may move an event within the times of its run: each of the four might wait.
    let why = send_named(&mut shard, START_MS, None, &[now, early, now, now]).unwrap_err();
    assert_eq!(why.code, Refusal::Overloaded);
    assert!(shard.programs().calls.is_empty());
    assert_eq!(send_named(&mut shard, START_MS, None, &[now, early, now]).unwrap().early, 1);
    assert_eq!(send_named(&mut shard, START_MS, None, &[now; 4]).unwrap().applied, 4);
    turn(&mut shard, START_MS + 2_000);
    assert_eq!(total(&mut shard, START_MS + 2_000, 0), Some(14), "observed once, counted once");
}
