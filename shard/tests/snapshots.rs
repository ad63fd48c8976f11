//! Snapshots: a shard that is written and taken in again, in a process with other secrets, answers
//! as the old one does, now and ever after; damaged bytes are refused or harmless.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod shard_support;

use proptest::prelude::*;
use shard_support::*;
use std::collections::BTreeMap;
use trendsrv_proto::limits::VNODES;
use trendsrv_proto::{Clock, NameKind, Rank, Span, TenantId};
use trendsrv_shard::log::{LogSpace, LogStart};
use trendsrv_shard::snapshot::{SnapshotError, check_marks, check_vnode};
use trendsrv_shard::{
    Ask, Effects, Grid, HeapMemory, Lane, Programs, Sequence, Shard, ShardConfig, Slot, Summary,
    Text, TextPart, Texts, Told, WindowConfig, index_words, topics_words,
};

/// Every word is a topic; it counts the texts of each tenant, which is its private state.
#[derive(Debug, Default)]
struct Counting {
    seats: BTreeMap<Slot, (TenantId, u64)>,
    waiting: BTreeMap<TenantId, u64>,
    tldr: String,
}

impl Programs for Counting {
    const EAGER: bool = true;

    fn admit(&mut self, _now_ms: u64, slot: Slot, tenant: TenantId) {
        let state = self.waiting.remove(&tenant).unwrap_or_default();
        self.seats.insert(slot, (tenant, state));
    }

    fn retire(&mut self, slot: Slot) {
        self.waiting.extend(self.seats.remove(&slot));
    }

    fn find_topics(&mut self, run: &Texts<'_>, found: &mut dyn FnMut(usize, u32, &str)) {
        self.seats.get_mut(&run.slot).unwrap().1 += run.texts.len() as u64;
        for (index, text) in run.texts.iter().enumerate() {
            text.text.split_whitespace().for_each(|word| found(index, text.weight, word));
        }
    }

    fn summarise(&mut self, ask: &Summary<'_>, told: &mut Told) {
        self.tldr.clear();
        if ask.view.events() > 0 {
            // Whether an empty window has been swept yet is nobody's business.
            self.tldr = format!("{} texts", self.seats[&ask.slot].1);
        }
        for row in ask.view.topics().iter().take(ask.shown) {
            self.tldr.push_str((ask.sample)(row.topic));
        }
        told.tldr.clone_from(&self.tldr);
        told.ranking = None;
    }

    fn name_of(&self, _slot: Slot) -> &str {
        "counting"
    }

    fn state_of(&mut self, slot: Slot, keep: &mut dyn FnMut(&str, &[u8])) {
        if let Some((_, texts)) = self.seats.get(&slot) {
            keep("counting", &texts.to_le_bytes());
        }
    }

    fn waiting_states(&self, vnode: u16, keep: &mut dyn FnMut(TenantId, &str, &[u8])) {
        for (tenant, texts) in &self.waiting {
            if tenant.vnode() == usize::from(vnode) {
                keep(*tenant, "counting", &texts.to_le_bytes());
            }
        }
    }

    fn restore_state(&mut self, tenant: TenantId, program: &str, state: &[u8]) -> bool {
        let state = state.try_into().map(u64::from_le_bytes);
        program == "counting" && state.is_ok_and(|n| self.waiting.insert(tenant, n).is_none())
    }
}

type TestShard = Shard<Counting, HeapMemory>;

/// What shards of one test share.
#[derive(Clone, Copy, Debug)]
struct World {
    clock: Clock,
    /// Windows lose weight when they cannot grow: in tiers, or in memory.
    tiers_max: usize,
    spare_chunks: u64,
    window_ms: u64,
}

const ROOMY: World =
    World { clock: Clock::Wall, tiers_max: 7, spare_chunks: 64, window_ms: WINDOW_MS };
const TENANTS_MAX: usize = 16;

impl World {
    fn config(&self, secret: u64) -> ShardConfig {
        let grid = Grid::new(self.window_ms, SLIDE_MS).unwrap();
        let secret = [secret, secret ^ 0x5555];
        ShardConfig { grid, secret, ..config(self.clock, TENANTS_MAX) }
    }

    fn shard(&self, secret: u64) -> TestShard {
        self.shard_with(self.config(secret))
    }

    fn shard_with(&self, config: ShardConfig) -> TestShard {
        let windows = WindowConfig {
            tenants_max: u32::try_from(config.tenants_max).unwrap(),
            chunk_bytes_min: 4 << 10,
            tiers_max: self.tiers_max,
            ..WindowConfig::new(config.grid, [config.secret[0] ^ 7, config.secret[1] ^ 11])
        };
        let bytes = windows.memory_bytes(self.spare_chunks * windows.chunk_bytes());
        let memory = HeapMemory::new(usize::try_from(bytes).unwrap() / 8);
        let index = HeapMemory::new(index_words(config.tenants_max));
        let names = HeapMemory::new(topics_words(config.topics_max));
        Shard::new(config, &windows, memory, index, names, Counting::default()).unwrap()
    }

    /// A shard after these steps, with the time and the last number.
    fn lived(&self, steps: &[Step]) -> (TestShard, u64, u64) {
        let (mut shard, mut now_ms, mut seq) = (self.shard(3), START_MS, 0);
        for step in steps {
            (now_ms, seq) = (now_ms + step.ahead_ms, seq + 1);
            turn(&mut shard, now_ms);
            apply_step(&mut shard, now_ms, seq, step);
        }
        (shard, now_ms, seq)
    }
}

/// Events of a step: those of topics past [`NAMED`] come as ids that nobody has named.
fn apply_step(shard: &mut TestShard, now_ms: u64, seq: u64, step: &Step) {
    let events = placed(step, now_ms);
    let (named, by_id): (Vec<Event>, Vec<Event>) =
        events.into_iter().partition(|event| event.1 < NAMED);
    let _ = send_named(shard, now_ms, Some(at(seq)), &named);
    let _ = send(shard, now_ms, None, &by_id);
    let texts: Vec<(u64, String, u32, i64)> = (0..)
        .zip(&step.batch)
        .filter(|(i, _)| i % 3 == 0)
        .map(|(i, &(tenant, topic, weight, offset))| {
            (tenant, format!("w{topic} w{} message {i}", topic / 2), weight, offset)
        })
        .collect();
    say(shard, now_ms, &texts);
}

fn say(shard: &mut TestShard, now_ms: u64, said: &[(u64, String, u32, i64)]) {
    let time = |offset: i64| now_ms.checked_add_signed(offset).unwrap();
    let times = || said.iter().map(|text| time(text.3));
    let [min_ms, max_ms] = [times().min(), times().max()].map(|time| time.unwrap_or(now_ms));
    let texts: Vec<Text<'_>> = said
        .iter()
        .map(|(tenant, text, weight, offset)| Text {
            tenant: tenant_id(*tenant),
            text,
            weight: *weight,
            offset_ms: i32::try_from(*offset).unwrap(),
        })
        .collect();
    let names: Vec<(u64, String)> =
        said.iter().map(|text| (tenant_id(text.0).0, tenant_name(text.0))).collect();
    let names = names.iter().map(|(id, name)| (NameKind::Tenant, *id, name.as_str()));
    let part = TextPart { base_ms: now_ms, span: Span { min_ms, max_ms }, texts: &texts };
    shard.on_texts(now_ms, &origin(None), &part, names, &mut Effects::default());
}

/// Everything readers see of every tenant, by both ranks, now and later.
///
/// A window without events may have been swept or not; with lost weight among its live panes, that
/// shows in its error bound, and so in versions.
fn seen(shard: &mut TestShard, now_ms: u64, versions: bool) -> Vec<String> {
    let mut all = Vec::new();
    for tenant in 0..6 {
        for rank in [Rank::Score, Rank::Count] {
            for later_ms in [None, Some(0), Some(1_000), Some(4_500), Some(60_000)] {
                let at_ms = later_ms.map(|ms| now_ms + ms);
                let ask = Ask { tenant: tenant_id(tenant), name: None, at_ms, k: 100, rank };
                all.push(match shard.ask(now_ms, &ask) {
                    Ok(answer) => {
                        let topics: Vec<_> = answer.topics().collect();
                        let mut head = answer.head;
                        head.version *= u64::from(versions);
                        if head.events == 0 && !versions {
                            (head.error_bound, head.flags.exact) = (0, true);
                            (head.flags.distinct_exact, head.flags.certified) = (true, true);
                        }
                        format!("{head:?} {:?} {topics:?}", answer.tldr)
                    }
                    Err(why) => why.message,
                });
            }
        }
    }
    all
}

/// Whether readers see the same of both shards.
fn same(
    (old, new): (&mut TestShard, &mut TestShard),
    now_ms: u64,
    versions: bool,
) -> Result<(), TestCaseError> {
    for (old, new) in seen(old, now_ms, versions).iter().zip(&seen(new, now_ms, versions)) {
        prop_assert_eq!(old, new);
    }
    Ok(())
}

/// The sections of all vnodes, and of marks.
fn written(shard: &mut TestShard) -> (Vec<Vec<u8>>, Vec<u8>) {
    let mut sections = Vec::new();
    for vnode in 0..u16::try_from(VNODES).unwrap() {
        // Behind other bytes, as in a file.
        let mut bytes = b"before".to_vec();
        let lsn = shard.snapshot_vnode(vnode, &mut bytes);
        assert_eq!(lsn.is_some(), bytes.len() > 6);
        if let Some(lsn) = lsn {
            let facts = check_vnode(&bytes[6..]).unwrap();
            assert_eq!((facts.vnode, facts.lsn), (vnode, lsn));
            sections.push(bytes.split_off(6));
        }
    }
    let mut marks = Vec::new();
    shard.snapshot_marks(&mut marks);
    check_marks(&marks).unwrap();
    (sections, marks)
}

fn taken_in(shard: &mut TestShard, (sections, marks): &(Vec<Vec<u8>>, Vec<u8>)) {
    for section in sections {
        let restored = shard.restore_vnode(section).unwrap();
        assert_eq!((restored.samples_left_out, restored.states_left_out), (0, 0));
        assert_eq!(restored.facts, check_vnode(section).unwrap());
    }
    shard.restore_marks(marks, None).unwrap();
}

/// Where the named lane of [`apply_step`] stands.
fn next_seq(shard: &mut TestShard) -> u64 {
    let Sequence { lane, epoch, .. } = at(1);
    shard.on_greet(lane, epoch).unwrap().next
}

fn clocks() -> impl Strategy<Value = Clock> {
    prop_oneof![Just(Clock::Wall), Just(Clock::Event)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn a_restored_shard_answers_as_the_old_one_now_and_ever_after(
        clock in clocks(),
        tiers_max in 1_usize..=4,
        window_ms in prop::sample::select(vec![2_000, WINDOW_MS, 60_000, 64_000]),
        before in steps(4_000, 30),
        after in steps(4_000, 15),
    ) {
        let world = World { clock, tiers_max, window_ms, ..ROOMY };
        let (mut old, mut now_ms, mut seq) = world.lived(&before);
        // Two tiers hold fewer topics than there are here.
        let exact = tiers_max > 2;
        seen(&mut old, now_ms, exact);
        let sections = written(&mut old);
        let mut new = world.shard(1 << 40 | 99);
        taken_in(&mut new, &sections);
        prop_assert_eq!(written(&mut new).0.len(), sections.0.len());
        prop_assert_eq!(next_seq(&mut new), next_seq(&mut old));
        same((&mut old, &mut new), now_ms, exact)?;
        for step in &after {
            (now_ms, seq) = (now_ms + step.ahead_ms, seq + 1);
            for shard in [&mut old, &mut new] {
                turn(shard, now_ms);
                apply_step(shard, now_ms, seq, step);
            }
            same((&mut old, &mut new), now_ms, exact)?;
        }
    }

    #[test]
    fn windows_that_lost_weight_for_want_of_memory_keep_their_bounds(
        clock in clocks(),
        spare_chunks in 0_u64..4,
        before in steps(4_000, 40),
        ahead_ms in prop::collection::vec(1_u64..5_000, 0..8),
    ) {
        let world = World { clock, spare_chunks, ..ROOMY };
        let mut old = world.shard(3);
        let (mut now_ms, mut seq) = (START_MS, 0);
        for mut step in before {
            // None that wait: they would find memory in the one shard and not in the other, whose
            // blocks lie otherwise.
            step.batch.iter_mut().for_each(|event| event.3 = event.3.min(0));
            (now_ms, seq) = (now_ms + step.ahead_ms, seq + 1);
            turn(&mut old, now_ms);
            apply_step(&mut old, now_ms, seq, &step);
        }
        let sections = written(&mut old);
        let mut new = world.shard(77);
        taken_in(&mut new, &sections);
        same((&mut old, &mut new), now_ms, false)?;
        for ahead_ms in ahead_ms {
            now_ms += ahead_ms;
            turn(&mut new, now_ms);
            turn(&mut old, now_ms);
            same((&mut old, &mut new), now_ms, false)?;
        }
    }

    #[test]
    fn damaged_sections_are_refused_or_harmless(
        clock in clocks(),
        tiers_max in 1_usize..=3,
        before in steps(4_000, 12),
        after in steps(4_000, 4),
        flips in prop::collection::vec((any::<prop::sample::Index>(), 0..8_u32), 1..4),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let world = World { clock, tiers_max, ..ROOMY };
        let (mut old, now_ms, _) = world.lived(&before);
        let (mut sections, mut marks) = written(&mut old);
        for bytes in sections.iter_mut().chain([&mut marks]) {
            for (at, bit) in &flips {
                let at = at.index(bytes.len());
                bytes[at] ^= 1 << bit;
            }
            if let Some(cut) = cut {
                bytes.truncate(cut.index(bytes.len()));
            }
        }
        survives(&world, &sections, &marks, now_ms, &after);
    }
}

/// Takes in what is taken, and works on as if nothing were.
fn survives(world: &World, sections: &[Vec<u8>], marks: &[u8], now_ms: u64, after: &[Step]) {
    let mut new = world.shard(5);
    for section in sections {
        let checked = check_vnode(section);
        let restored = new.restore_vnode(section);
        assert!(checked.is_ok() || restored.is_err(), "what is damaged is not taken in");
    }
    let _ = new.restore_marks(marks, None);
    let (mut now_ms, mut seq) = (now_ms, 1_000);
    for step in after {
        (now_ms, seq) = (now_ms + step.ahead_ms, seq + 1);
        turn(&mut new, now_ms);
        apply_step(&mut new, now_ms, seq, step);
        seen(&mut new, now_ms, true);
    }
    written(&mut new);
}

/// A shard with a bit of everything, and its only section.
fn small(clock: Clock) -> (TestShard, u64, Vec<u8>) {
    let world = World { clock, tiers_max: 1, ..ROOMY };
    let mut shard = world.shard(3);
    let mut now_ms = START_MS;
    for round in 0..4 {
        let batch = (0..20).map(|topic| (0, topic, 1 + u32::from(topic == 3) * 70_000, 0));
        let step = Step { ahead_ms: 0, batch: batch.chain([(0, 2, 5, 2_000)]).collect() };
        apply_step(&mut shard, now_ms, round + 1, &step);
        now_ms += 700;
        turn(&mut shard, now_ms);
    }
    let (mut sections, _) = written(&mut shard);
    (shard, now_ms, sections.remove(0))
}

#[test]
fn every_single_flipped_bit_and_every_cut_is_refused_or_harmless() {
    // The other clock's section differs in a few fields: a sample of its bits is enough.
    for (clock, step_by) in [(Clock::Wall, 1), (Clock::Event, 7)] {
        let (_, now_ms, section) = small(clock);
        let world = World { clock, tiers_max: 1, spare_chunks: 4, window_ms: WINDOW_MS };
        let vnode = check_vnode(&section).unwrap().vnode;
        let batch = (0..30).map(|topic| (0, topic, 3, 0)).collect();
        let (step, mut refused) = (Step { ahead_ms: 500, batch }, 0);
        for bit in (0..section.len() * 8).step_by(step_by) {
            let mut damaged = section.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            if check_vnode(&damaged).is_err() {
                refused += 1;
                continue;
            }
            let mut new = world.shard(5);
            // It may not fit: that is the section's word against the shard's.
            let _ = new.restore_vnode(&damaged);
            turn(&mut new, now_ms + step.ahead_ms);
            apply_step(&mut new, now_ms + step.ahead_ms, 1_000, &step);
            new.ask(now_ms + step.ahead_ms, &ask_of(0, None)).unwrap();
            let mut again = Vec::new();
            new.snapshot_vnode(vnode, &mut again).unwrap();
            check_vnode(&again).unwrap();
        }
        assert!(refused * step_by > section.len() * 2, "{refused} of {} bytes", section.len());
        for at in 0..section.len() {
            assert!(check_vnode(&section[..at]).is_err(), "cut at {at}");
        }
    }
}

#[test]
fn what_a_section_holds_is_told() {
    let (_, _, section) = small(Clock::Wall);
    let facts = check_vnode(&section).unwrap();
    assert_eq!((facts.tenants, facts.windows, facts.states), (1, 1, 1));
    assert_eq!((facts.window_ms, facts.slide_ms), (WINDOW_MS, SLIDE_MS));
    assert_eq!(usize::from(facts.vnode), tenant_id(0).vnode());
    assert!(facts.events > 40 && facts.early > 0 && facts.topics > 2, "{facts:?}");
}

#[test]
fn a_section_of_a_newer_program_or_another_kind_is_named_as_such() {
    let (shard, _, section) = small(Clock::Wall);
    let mut newer = section.clone();
    newer[4] = 2;
    assert_eq!(check_vnode(&newer), Err(SnapshotError::Newer { got: 2 }));
    let told = check_vnode(&newer).unwrap_err().to_string();
    assert!(told.contains("start the newer version"), "{told}");
    assert_eq!(check_marks(&section), Err(SnapshotError::NotASection { kind: "marks" }));
    let mut marks = Vec::new();
    shard.snapshot_marks(&mut marks);
    assert_eq!(check_vnode(&marks), Err(SnapshotError::NotASection { kind: "a vnode" }));
    assert_eq!(check_vnode(b""), Err(SnapshotError::NotASection { kind: "a vnode" }));
}

#[test]
fn windows_of_another_shape_or_clock_are_refused_with_what_to_do() {
    let (_, _, section) = small(Clock::Wall);
    let mut other = World { window_ms: 60_000, tiers_max: 1, ..ROOMY }.shard(3);
    let told = other.restore_vnode(&section).unwrap_err().to_string();
    assert!(told.contains("--window 10000ms --slide 1000ms"), "{told}");
    let mut other = World { clock: Clock::Event, tiers_max: 1, ..ROOMY }.shard(3);
    let told = other.restore_vnode(&section).unwrap_err().to_string();
    assert!(told.contains("--clock"), "{told}");
}

#[test]
fn a_tenant_that_is_here_is_not_taken_in_twice() {
    let (mut shard, _, section) = small(Clock::Wall);
    let refused = shard.restore_vnode(&section).unwrap_err();
    assert!(matches!(refused, SnapshotError::Tenant { tenant, .. } if tenant == tenant_id(0)));
}

/// One event each of many tenants.
fn crowd(world: &World, tenants: u64) -> (Vec<Vec<u8>>, Vec<u8>) {
    let config = ShardConfig { tenants_max: 64, ..world.config(3) };
    let mut shard = world.shard_with(config);
    let events: Vec<Event> = (0..tenants).map(|tenant| (tenant, 1, 1, START_MS)).collect();
    send_named(&mut shard, START_MS, None, &events).unwrap();
    written(&mut shard)
}

#[test]
fn a_table_or_memory_too_small_names_the_flag_to_raise() {
    let (sections, _) = crowd(&ROOMY, TENANTS_MAX as u64 + 1);
    let mut shard = ROOMY.shard(3);
    let refused = sections.iter().find_map(|section| shard.restore_vnode(section).err());
    assert!(refused.unwrap().to_string().contains("--tenants-max"));

    let many = (0..4_000).map(|topic| (0, topic, 1, START_MS)).collect::<Vec<Event>>();
    let mut large = ROOMY.shard(3);
    send(&mut large, START_MS, None, &many).0.unwrap();
    let (sections, _) = written(&mut large);
    let tight = World { spare_chunks: 0, ..ROOMY };
    let refused = tight.shard(3).restore_vnode(&sections[0]).unwrap_err();
    assert!(refused.to_string().contains("--window-memory"), "{refused}");
    let low = World { tiers_max: 2, ..ROOMY };
    let refused = low.shard(3).restore_vnode(&sections[0]).unwrap_err();
    assert!(matches!(refused, SnapshotError::Tier { tiers_max: 2, .. }), "{refused}");
}

#[test]
fn tenants_whose_windows_have_emptied_make_room_for_those_written_later() {
    // A table full of emptied tenants, each vnode written just before its tenant had to leave.
    let mut old = ROOMY.shard(3);
    let mut vnodes = std::collections::BTreeSet::new();
    let tenants = (0..).filter(|&tenant| vnodes.insert(tenant_id(tenant).vnode()));
    let tenants: Vec<u64> = tenants.take(2 * TENANTS_MAX).collect();
    let (mut sections, mut now_ms) = (Vec::new(), START_MS);
    for &tenant in &tenants {
        now_ms += 20_000;
        turn(&mut old, now_ms);
        send_named(&mut old, now_ms, None, &[(tenant, 1, 1, now_ms)]).unwrap();
        let mut bytes = Vec::new();
        let vnode = u16::try_from(tenant_id(tenant).vnode()).unwrap();
        old.snapshot_vnode(vnode, &mut bytes).unwrap();
        sections.push(bytes);
    }
    let mut new = ROOMY.shard(4);
    for section in &sections {
        new.restore_vnode(section).unwrap();
    }
    assert_eq!(new.stats().tenants.now, TENANTS_MAX as u64);
    assert_eq!(total(&mut new, now_ms, *tenants.last().unwrap()), Some(1));
    assert_eq!(total(&mut new, now_ms, tenants[0]), None, "the longest empty has left");
}

#[test]
fn versions_told_after_a_recovery_are_above_all_told_before() {
    let (mut old, mut now_ms, section) = small(Clock::Wall);
    let mut told = 0;
    // The answer changes and is read a thousand times in a millisecond, and nothing is written.
    for _ in 0..1_000 {
        send_named(&mut old, now_ms, None, &[(0, 1, 1, now_ms)]).unwrap();
        told = old.ask(now_ms, &ask_of(0, None)).unwrap().head.version;
    }
    now_ms += 1;
    let mut new = World { tiers_max: 1, ..ROOMY }.shard(4);
    new.restore_vnode(&section).unwrap();
    new.end_replay(now_ms);
    let version = new.ask(now_ms, &ask_of(0, None)).unwrap().head.version;
    assert!(version > told, "{version} after {told}");
    // A server that comes from the same snapshot is above this one, too.
    told = version;
    now_ms += 1;
    let mut new = World { tiers_max: 1, ..ROOMY }.shard(4);
    new.restore_vnode(&section).unwrap();
    new.end_replay(now_ms);
    let version = new.ask(now_ms, &ask_of(0, None)).unwrap().head.version;
    assert!(version > told, "{version} after {told}");
    assert!(version < 1 << 53, "every JSON reader knows it exactly");
    // Nor does a tenant that comes only now begin below one that left before the crash.
    send_named(&mut new, now_ms, None, &[(1, 1, 1, now_ms)]).unwrap();
    assert!(new.ask(now_ms, &ask_of(1, None)).unwrap().head.version > told);
}

#[test]
fn a_state_without_its_program_is_counted_as_left_out() {
    let (mut old, _, _) = small(Clock::Wall);
    let (sections, _) = written(&mut old);
    let world = World { tiers_max: 1, ..ROOMY };
    let mut new = world.shard(4);
    assert_eq!(new.restore_vnode(&sections[0]).unwrap().states_left_out, 0);
    // The same tenant's state again: this program takes one only.
    let mut again = world.shard(4);
    again.programs_mut().waiting.insert(tenant_id(0), 5);
    assert_eq!(again.restore_vnode(&sections[0]).unwrap().states_left_out, 1);
}

#[test]
fn marks_go_with_their_lanes_and_no_anonymous_one_does() {
    let mut old = ROOMY.shard(3);
    send(&mut old, START_MS, Some(at(41)), &[(0, 1, 1, START_MS)]).0.unwrap();
    let connection = Lane { producer: 9, lane: 0, anonymous: true };
    let anonymous = Sequence { lane: connection, epoch: 1, seq: 8 };
    send(&mut old, START_MS, Some(anonymous), &[(0, 1, 1, START_MS)]).0.unwrap();
    let mut bytes = Vec::new();
    old.snapshot_marks(&mut bytes);
    assert_eq!(check_marks(&bytes).unwrap().marks, 1);
    let mut new = ROOMY.shard(4);
    assert_eq!(new.restore_marks(&bytes, None), Ok(1));
    assert_eq!(next_seq(&mut new), 42);
    assert_eq!(new.on_greet(connection, 1).unwrap().next, 1);
}

#[test]
fn a_lane_whose_parts_were_neither_logged_nor_kept_by_a_snapshot_is_unknown_after_a_crash() {
    let mut old = ROOMY.shard(3);
    old.start_log(LogStart { generation: 1, next_lsn: 1, prev_crc: 0 });
    let other = Sequence { lane: Lane { producer: 10, ..at(1).lane }, ..at(4) };
    send(&mut old, START_MS, Some(other), &[(0, 1, 1, START_MS)]).0.unwrap();
    old.set_log_space(LogSpace::None);
    send(&mut old, START_MS, Some(at(7)), &[(0, 1, 1, START_MS)]).0.unwrap();
    // Its tenant's section may be older than this part, or newer: only the producer can say.
    old.set_log_space(LogSpace::Plenty);
    send(&mut old, START_MS, Some(at(8)), &[(0, 1, 1, START_MS)]).0.unwrap();
    let standings = |old: &TestShard| {
        let (mut bytes, mut new) = (Vec::new(), ROOMY.shard(4));
        assert_eq!(old.snapshot_marks(&mut bytes), 2);
        new.restore_marks(&bytes, None).unwrap();
        new.end_replay(START_MS);
        [at(1), other].map(|at| new.on_greet(at.lane, at.epoch).unwrap())
    };
    let [lane, sure] = standings(&old);
    assert_eq!((lane.known, sure.known, sure.next), (false, true, 5));
    // All sections of a snapshot that began after it hold it.
    let unlogged = old.stats().log_unlogged_parts;
    old.on_snapshot_durable(unlogged);
    let [lane, sure] = standings(&old);
    assert_eq!((lane.known, lane.next, sure.known), (true, 9, true));
}

#[test]
fn a_vnode_without_tenants_has_no_section() {
    let mut shard = ROOMY.shard(3);
    let mut bytes = Vec::new();
    assert_eq!(shard.snapshot_vnode(7, &mut bytes), None);
    assert_eq!(bytes, b"");
}

/// Topics below have names.
const NAMED: u64 = 15;
