//! Programs that summarise unasked: every changed tenant at most once a slide, the others never.

mod shard_support;

use shard_support::*;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use trendsrv_proto::{Clock, TenantId, TopicId};
use trendsrv_shard::{Programs, Slot, Summary, Texts, Told};

/// Writes down what it is called for.
#[derive(Clone, Debug, Default)]
struct Diary(Rc<RefCell<Pages>>);

#[derive(Debug, Default)]
struct Pages {
    slots: BTreeMap<Slot, TenantId>,
    /// Total and best topic of every tenant summarised since the pages were taken.
    summaries: Vec<(TenantId, u64, TopicId)>,
    admitted: u64,
    retired: u64,
}

impl Programs for Diary {
    const EAGER: bool = true;

    fn admit(&mut self, _now_ms: u64, slot: Slot, tenant: TenantId) {
        let mut pages = self.0.borrow_mut();
        pages.admitted += 1;
        assert_eq!(pages.slots.insert(slot, tenant), None, "{slot:?} is taken");
    }

    fn retire(&mut self, slot: Slot) {
        let mut pages = self.0.borrow_mut();
        pages.retired += 1;
        pages.slots.remove(&slot).expect("only who was admitted retires");
    }

    fn find_topics(&mut self, _run: &Texts<'_>, _found: &mut dyn FnMut(usize, u32, &str)) {}

    fn summarise(&mut self, ask: &Summary<'_>, told: &mut Told) {
        let mut pages = self.0.borrow_mut();
        let tenant = pages.slots[&ask.slot];
        let best = ask.view.topics().first().map_or(TopicId(0), |topic| topic.topic);
        pages.summaries.push((tenant, ask.view.total(), best));
        *told = Told { program: "diary".to_owned(), ..Told::default() };
    }

    fn name_of(&self, _slot: Slot) -> &str {
        "diary"
    }
}

impl Diary {
    fn take(&self) -> Vec<(TenantId, u64, TopicId)> {
        let mut summaries = std::mem::take(&mut self.0.borrow_mut().summaries);
        summaries.sort_unstable();
        summaries
    }
}

#[test]
fn changed_tenants_are_summarised_once_a_slide_and_unchanged_ones_never() {
    let diary = Diary::default();
    let mut shard = shard_with(config(Clock::Wall, 1_024), diary.clone());
    let mut totals: BTreeMap<TenantId, u64> = BTreeMap::new();
    turn(&mut shard, START_MS);
    for slide in 0..9_u64 {
        let now_ms = START_MS + slide * 1_000;
        // More than one turn's worth: tenants 0, 3, 6 … in slide 0, then every fourth, and so on.
        let changed: Vec<u64> = (0..900).filter(|tenant| tenant % (slide + 3) == 0).collect();
        for _ in 0..3 {
            for tenants in changed.chunks(100) {
                let event = |&tenant: &u64| (tenant, 1, 2, now_ms);
                let events: Vec<Event> = tenants.iter().map(event).collect();
                send(&mut shard, now_ms, None, &events).0.unwrap();
            }
        }
        for &tenant in &changed {
            *totals.entry(tenant_id(tenant)).or_default() += 6;
        }
        turn(&mut shard, now_ms + 400);
        assert!(diary.take().is_empty(), "slide {slide} is not over");
        turn(&mut shard, now_ms + 500);
        turn(&mut shard, now_ms + 999);
        let mut wanted: Vec<_> = changed
            .iter()
            .map(|&tenant| (tenant_id(tenant), totals[&tenant_id(tenant)], topic_id(1)))
            .collect();
        wanted.sort_unstable();
        assert!(diary.take() == wanted, "slide {slide}");
    }
}

#[test]
fn a_slot_that_changed_hands_is_summarised_once() {
    let diary = Diary::default();
    let mut shard = shard_with(config(Clock::Event, 1), diary.clone());
    // Each tenant takes the one slot from the one before, within one slide of the wall.
    for tenant in 0..5 {
        let ts_ms = START_MS + tenant * 60_000;
        send(&mut shard, START_MS, None, &[(tenant, 1, 1, ts_ms)]).0.unwrap();
    }
    assert_eq!((diary.0.borrow().admitted, diary.0.borrow().retired), (5, 4));
    turn(&mut shard, START_MS + 1_000);
    assert_eq!(diary.take(), [(tenant_id(4), 1, topic_id(1))]);
}

#[test]
fn programs_see_topics_ranked() {
    let diary = Diary::default();
    let mut shard = shard_with(config(Clock::Wall, 4), diary.clone());
    for (topic, weight) in [(1, 5), (2, 500), (3, 50)] {
        send(&mut shard, START_MS, None, &[(1, topic, weight, START_MS)]).0.unwrap();
    }
    turn(&mut shard, START_MS + 1_000);
    assert_eq!(diary.take(), [(tenant_id(1), 555, topic_id(2))]);
}

#[test]
fn programs_retire_with_their_windows() {
    let diary = Diary::default();
    let mut shard = shard_with(config(Clock::Wall, 64), diary.clone());
    let events: Vec<Event> = (0..64).map(|tenant| (tenant, 1, 1, START_MS)).collect();
    send(&mut shard, START_MS, None, &events).0.unwrap();
    for second in 0..40 {
        turn(&mut shard, START_MS + second * 1_000);
    }
    assert_eq!((diary.0.borrow().admitted, diary.0.borrow().retired), (64, 64));
    assert_eq!(shard.stats().tenants_emptied, 64);
}
