//! Programs beside windows: who is called in the tick, in which order and how often, and what a
//! program's ranking does to an answer.

mod shard_support;

use shard_support::*;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use trendsrv_proto::{Clock, Rank, TenantId};
use trendsrv_shard::{Ask, Effects, Programs, Slot, Summary, Texts, Told};

/// Writes down what it is called for.
#[derive(Clone, Debug, Default)]
struct Diary(Rc<RefCell<Pages>>);

#[derive(Debug, Default)]
struct Pages {
    slots: BTreeMap<Slot, TenantId>,
    /// Slot and total of every tenant summarised since the pages were taken.
    summaries: Vec<(Slot, u64)>,
    admitted: u64,
    retired: u64,
    turns: u64,
    edition: u64,
    ranking: Option<Vec<u16>>,
    shown: usize,
    sleepers: Vec<Slot>,
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

    fn on_turn(&mut self, _now_ms: u64) -> bool {
        let mut pages = self.0.borrow_mut();
        pages.turns += 1;
        // Some work of its own: two turns of it.
        pages.turns < 2
    }

    fn ticks(&self, slot: Slot) -> bool {
        !self.0.borrow().sleepers.contains(&slot)
    }

    fn edition(&self, _slot: Slot) -> u64 {
        self.0.borrow().edition
    }

    fn find_topics(&mut self, _run: &Texts<'_>, _found: &mut dyn FnMut(usize, u32, &str)) {}

    fn summarise(&mut self, ask: &Summary<'_>, told: &mut Told) {
        let mut pages = self.0.borrow_mut();
        assert!(pages.slots.contains_key(&ask.slot), "only who was admitted is summarised");
        let ranked = &ask.view.topics()[..ask.view.ranked()];
        assert!(ranked.is_sorted_by_key(|row| -row.score_milli) && ask.shown <= ranked.len());
        if !ask.asked {
            pages.summaries.push((ask.slot, ask.view.total()));
        }
        pages.shown = ask.shown;
        let best = ranked.first().map_or("nothing", |row| (ask.name)(row.topic));
        told.tldr = format!("{best} of {}", ask.shown);
        told.program = "diary".to_owned();
        told.ranking = pages.ranking.clone();
    }

    fn name_of(&self, _slot: Slot) -> &str {
        "diary"
    }
}

impl Diary {
    fn take(&self) -> Vec<(Slot, u64)> {
        std::mem::take(&mut self.0.borrow_mut().summaries)
    }

    fn tenants_taken(&self) -> BTreeMap<TenantId, u64> {
        let taken = self.take();
        let pages = self.0.borrow();
        let tenants: BTreeMap<_, _> =
            taken.iter().map(|(slot, total)| (pages.slots[slot], *total)).collect();
        assert_eq!(tenants.len(), taken.len(), "nobody twice");
        tenants
    }
}

#[test]
fn changed_tenants_are_called_once_a_slide_in_slot_order_and_unchanged_ones_never() {
    let diary = Diary::default();
    let mut shard = shard_with(config(Clock::Wall, 1_024), diary.clone());
    let mut totals: BTreeMap<TenantId, u64> = BTreeMap::new();
    turn(&mut shard, START_MS);
    for slide in 0..9_u64 {
        let now_ms = START_MS + slide * 1_000;
        // More than one turn's worth: tenants 0, 3, 6 … in slide 0, then every fourth, and so on.
        let changed: Vec<u64> = (0..900).filter(|tenant| tenant % (slide + 3) == 0).collect();
        for _ in 0..3 {
            for tenants in changed.rchunks(100) {
                let event = |&tenant: &u64| (tenant, slide, 2, now_ms);
                let events: Vec<Event> = tenants.iter().map(event).collect();
                send(&mut shard, now_ms, None, &events).0.unwrap();
            }
        }
        for &tenant in &changed {
            *totals.entry(tenant_id(tenant)).or_default() += 6;
        }
        turn(&mut shard, now_ms + 400);
        assert!(diary.take().is_empty(), "slide {slide} is not over");
        let mut fx = Effects::default();
        let mut more = true;
        while more {
            let before = diary.0.borrow().summaries.len();
            more = shard.on_turn(now_ms + 500, &mut fx);
            let made = diary.0.borrow().summaries.len() - before;
            assert!(made <= 256, "{made} calls in one turn");
        }
        turn(&mut shard, now_ms + 999);
        assert!(diary.0.borrow().summaries.is_sorted_by_key(|(slot, _)| *slot));
        let wanted: BTreeMap<_, _> =
            changed.iter().map(|&tenant| (tenant_id(tenant), totals[&tenant_id(tenant)])).collect();
        assert!(diary.tenants_taken() == wanted, "slide {slide}");
    }
    assert_eq!(shard.stats().ticks_unchanged, 0);
}

#[test]
fn a_tenant_whose_ranking_did_not_change_is_spared_until_it_does() {
    let diary = Diary::default();
    let mut shard = shard_with(config(Clock::Wall, 8), diary.clone());
    let mut slide = 0;
    let mut slide_of = |shard: &mut _, events: &[(u64, u32)]| {
        let now_ms = START_MS + slide * 1_000;
        slide += 1;
        for &(topic, weight) in events {
            send(shard, now_ms, None, &[(1, topic, weight, now_ms)]).0.unwrap();
        }
        turn(shard, now_ms + 500);
        diary.take().len()
    };
    assert_eq!(slide_of(&mut shard, &[(1, 400), (2, 300)]), 1, "the first call");
    assert_eq!(slide_of(&mut shard, &[(1, 40), (2, 30)]), 0, "the same two, still new");
    assert_eq!(slide_of(&mut shard, &[(2, 500)]), 1, "the other is first");
    assert_eq!(slide_of(&mut shard, &[(2, 1)]), 0);
    assert_eq!(slide_of(&mut shard, &[(3, 1)]), 1, "a third one");
    diary.0.borrow_mut().edition = 1;
    assert_eq!(slide_of(&mut shard, &[]), 0, "nothing was counted");
    assert_eq!(slide_of(&mut shard, &[(2, 1)]), 1, "another program");
    let stats = shard.stats();
    assert_eq!((stats.ticks, stats.ticks_unchanged), (4, 2));
}

#[test]
fn programs_that_want_no_tick_get_none() {
    let diary = Diary::default();
    let mut shard = shard_with(config(Clock::Wall, 8), diary.clone());
    let events: Vec<Event> = (0..4).map(|tenant| (tenant, 1, 1, START_MS)).collect();
    send(&mut shard, START_MS, None, &events).0.unwrap();
    diary.0.borrow_mut().sleepers = vec![Slot(0), Slot(2)];
    turn(&mut shard, START_MS + 500);
    assert_eq!(diary.take(), [(Slot(1), 1), (Slot(3), 1)]);
    assert!(diary.0.borrow().turns >= 2, "it had turns for its own work as long as it asked");
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
    assert_eq!(diary.take(), [(Slot(0), 1)]);
    // The next one has the same topics, but is another tenant.
    send(&mut shard, START_MS + 1_000, None, &[(9, 1, 1, START_MS + 900_000)]).0.unwrap();
    turn(&mut shard, START_MS + 2_000);
    assert_eq!(diary.take(), [(Slot(0), 1)]);
}

#[test]
fn a_tenant_that_comes_back_from_an_emptied_window_is_summarised() {
    let diary = Diary::default();
    let mut shard = shard_with(config(Clock::Event, 2), diary.clone());
    let mut sends = |tenant, ts_ms| {
        send(&mut shard, START_MS, None, &[(tenant, 1, 1, ts_ms)]).0.unwrap();
    };
    sends(1, START_MS);
    // Another's time empties the first one's window before anyone has looked at it.
    sends(2, START_MS + 60_000);
    sends(1, START_MS + 1);
    turn(&mut shard, START_MS + 1_000);
    assert_eq!(diary.take(), [(Slot(0), 2), (Slot(1), 1)]);
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

/// A shard with one tenant of `topics` topics: the larger its number, the larger its weight.
fn ladder(diary: &Diary, topics: u32) -> trendsrv_shard::Shard<Diary, trendsrv_shard::HeapMemory> {
    let mut shard = shard_with(config(Clock::Wall, 4), diary.clone());
    let events: Vec<Event> =
        (0..topics).map(|topic| (1, topic.into(), 10 + topic * 10, START_MS)).collect();
    send_named(&mut shard, START_MS, None, &events).expect("it is applied");
    shard
}

/// The topics of an answer, its line, and how many topics the program was shown.
fn answered(
    shard: &mut trendsrv_shard::Shard<Diary, trendsrv_shard::HeapMemory>,
    k: u16,
    rank: Rank,
) -> (Vec<u64>, String, usize) {
    let ask = Ask { k, rank, ..ask_of(1, None) };
    let answer = shard.ask(START_MS, &ask).expect("it is held");
    assert!(answer.head.flags.certified && answer.program == "diary");
    let number = |name: &str| name.split(' ').nth(1).and_then(|number| number.parse().ok());
    let topics = answer.topics().map(|row| number(row.name).expect("a topic's name")).collect();
    let tldr = answer.tldr.to_owned();
    (topics, tldr, shard.programs().0.borrow().shown)
}

#[test]
fn a_ranking_replaces_what_the_program_saw_for_readers_by_score_only() {
    let diary = Diary::default();
    let mut shard = ladder(&diary, 40);
    let falling = |from: u64, len: usize| (0..=from).rev().take(len).collect::<Vec<_>>();
    for rank in [Rank::Score, Rank::Count] {
        let (topics, tldr, shown) = answered(&mut shard, 2, rank);
        assert_eq!((topics, tldr.as_str(), shown), (falling(39, 2), "topic 39 of 10", 10));
        let (topics, tldr, shown) = answered(&mut shard, 36, rank);
        assert_eq!((topics, tldr.as_str(), shown), (falling(39, 36), "topic 39 of 32", 32));
    }
    diary.0.borrow_mut().ranking = Some(vec![4, 0, 9]);
    assert_eq!(answered(&mut shard, 2, Rank::Score).0, [35, 39]);
    assert_eq!(answered(&mut shard, 10, Rank::Score).0, [35, 39, 30], "the others are hidden");
    // Topics beyond those it was shown follow in their own order.
    let beyond = [vec![35, 39, 30], falling(7, 4)].concat();
    assert_eq!(answered(&mut shard, 36, Rank::Score).0, beyond);
    assert_eq!(answered(&mut shard, 5, Rank::Score).0, [35, 39, 30]);
    let (topics, tldr, _) = answered(&mut shard, 12, Rank::Count);
    assert_eq!((topics, tldr.as_str()), (falling(39, 12), "topic 39 of 12"));
    diary.0.borrow_mut().ranking = Some(Vec::new());
    assert_eq!(answered(&mut shard, 10, Rank::Score).0, [0_u64; 0], "all are hidden");
}

#[test]
fn readers_are_told_anew_when_the_program_is_another_one() {
    let diary = Diary::default();
    let mut shard = ladder(&diary, 3);
    let version = |shard: &mut _| ask(shard, START_MS, 1, None).unwrap().1;
    let before = version(&mut shard);
    assert_eq!(version(&mut shard), before);
    shard.programs_mut().0.borrow_mut().edition = 7;
    assert_eq!(version(&mut shard), before + 1);
    let lines = shard.list(START_MS, "", None, 9);
    assert_eq!((lines.len(), lines[0].program.as_str()), (1, "diary"));
}
