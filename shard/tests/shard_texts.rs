//! Texts: every one is accounted for, its topics count like events, and samples are the messages
//! of the smallest hash.

mod shard_support;

use proptest::prelude::*;
use shard_support::*;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use trendsrv_proto::{Clock, NameKind, Rank, Refusal, Span, TenantId, TopicId, fmix64};
use trendsrv_shard::{
    Ask, Counted, Effect, Effects, HeapMemory, Origin, Programs, Refused, Sequence, Shard,
    ShardConfig, Slot, Summary, Text, TextPart, Texts, Told, check_future_texts,
};

/// Every word is a topic. What it was shown is written down.
#[derive(Clone, Debug, Default)]
struct Words(Rc<RefCell<Vec<Vec<String>>>>);

impl Programs for Words {
    const EAGER: bool = false;

    fn admit(&mut self, _now_ms: u64, _slot: Slot, _tenant: TenantId) {}

    fn retire(&mut self, _slot: Slot) {}

    fn find_topics(&mut self, run: &Texts<'_>, found: &mut dyn FnMut(usize, u32, &str)) {
        let texts = run.texts.iter().map(|text| text.text.to_owned()).collect();
        self.0.borrow_mut().push(texts);
        // Back to front: the order of what is found means nothing.
        for (index, text) in run.texts.iter().enumerate().rev() {
            text.text.split_whitespace().for_each(|word| found(index, text.weight, word));
        }
    }

    fn summarise(&mut self, ask: &Summary<'_>, told: &mut Told) {
        told.tldr.clear();
        for row in ask.view.topics().iter().take(ask.shown) {
            told.tldr.push_str((ask.sample)(row.topic));
        }
    }

    fn name_of(&self, _slot: Slot) -> &str {
        "words"
    }
}

type WordShard = Shard<Words, HeapMemory>;

/// Tenant, text, weight, time.
type Said = (u64, &'static str, u32, u64);

fn shard_of(clock: Clock, tenants_max: usize) -> (WordShard, Words) {
    let words = Words::default();
    (shard_with(config(clock, tenants_max), words.clone()), words)
}

fn say(
    shard: &mut WordShard,
    now_ms: u64,
    sequence: Option<Sequence>,
    said: &[Said],
) -> Result<Counted, Refused> {
    let text = |&(tenant, text, weight, ts_ms): &Said| {
        let offset = i64::try_from(ts_ms).ok()? - i64::try_from(now_ms).ok()?;
        let offset_ms = i32::try_from(offset).ok()?;
        Some(Text { tenant: tenant_id(tenant), text, weight, offset_ms })
    };
    let texts: Vec<Text<'_>> = said.iter().filter_map(text).collect();
    assert_eq!(texts.len(), said.len());
    let times = || said.iter().map(|said| said.3);
    let (min_ms, max_ms) = (times().min().unwrap_or(now_ms), times().max().unwrap_or(now_ms));
    let part = TextPart { base_ms: now_ms, span: Span { min_ms, max_ms }, texts: &texts };
    let names: Vec<(TenantId, String)> =
        said.iter().map(|said| (tenant_id(said.0), tenant_name(said.0))).collect();
    let names = names.iter().map(|(id, name)| (NameKind::Tenant, id.0, name.as_str()));
    let mut fx = Effects::default();
    let from = Origin { ask_names: false, ..origin(sequence) };
    shard.on_texts(now_ms, &from, &part, names, &mut fx);
    let [first, behind @ ..] = fx.list.as_slice() else { panic!("no answer") };
    assert!(behind.is_empty(), "all names are known: {behind:?}");
    match first {
        Effect::Accepted { counted, .. } => Ok(*counted),
        Effect::Refused { why, .. } => Err(why.clone()),
        Effect::Need { .. } | Effect::Publish { .. } => panic!("an answer comes first"),
    }
}

/// Name, count and sample of every topic, the largest first.
fn heard(shard: &mut WordShard, now_ms: u64, tenant: u64) -> Vec<(String, u64, String)> {
    let ask = Ask { rank: Rank::Count, ..ask_of(tenant, None) };
    let Ok(answer) = shard.ask(now_ms, &ask) else { return Vec::new() };
    let row =
        |row: trendsrv_proto::TopicRow<'_>| (row.name.to_owned(), row.count, row.sample.to_owned());
    answer.topics().map(row).collect()
}

fn one(name: &str, count: u64, sample: &str) -> (String, u64, String) {
    (name.to_owned(), count, sample.to_owned())
}

#[test]
fn topics_of_texts_count_like_events_and_bring_a_sample() {
    let (mut shard, words) = shard_of(Clock::Wall, 4);
    let said = [
        (1, "rain rain", 5, START_MS),
        (2, "sun", 1, START_MS),
        (1, "", 1, START_MS),
        (1, "rain wind", 1, START_MS - 100),
        (1, "late", 1, START_MS - 60_000),
    ];
    let counted = say(&mut shard, START_MS, Some(at(1)), &said);
    let wanted = Counted { applied: 3, late: 1, filtered: 1, ..Counted::default() };
    assert_eq!(counted, Ok(wanted));
    let shown = words.0.take();
    assert_eq!(shown.len(), 2, "one call a tenant");
    assert!(shown.contains(&vec!["sun".to_owned()]));
    let rain = least(["rain rain", "rain wind"], "rain");
    let heard_1 = heard(&mut shard, START_MS, 1);
    assert_eq!(heard_1, [one("rain", 6, rain), one("wind", 1, "rain wind")]);
    assert_eq!(heard(&mut shard, START_MS, 2), [one("sun", 1, "sun")]);
    let answer = shard.ask(START_MS, &ask_of(2, None)).unwrap();
    assert_eq!((answer.head.late, answer.tldr), (0, "sun"), "the program sees samples, too");
    let stats = shard.stats().clone();
    assert_eq!((stats.texts, stats.texts_without_topics, stats.text_topics), (5, 1, 5));
    assert_eq!((stats.events_applied, stats.events_late), (4, 1));
    assert!(stats.sample_bytes.now > 0 && stats.sample_bytes.high <= stats.sample_bytes.max);
    // Sent again, and behind a gap.
    assert_eq!(say(&mut shard, START_MS, Some(at(1)), &said), Ok(Counted::default()));
    assert_eq!((heard(&mut shard, START_MS, 1), words.0.borrow().len()), (heard_1, 0));
}

#[test]
fn a_refused_part_of_texts_changes_nothing_and_is_shown_to_nobody() {
    let (mut shard, words) = shard_of(Clock::Wall, 1);
    let two = [(1, "a", 1, START_MS), (2, "b", 1, START_MS)];
    let why = say(&mut shard, START_MS, Some(at(1)), &two).unwrap_err();
    assert_eq!((why.code, why.index), (Refusal::TenantsFull, Some(1)));
    let why = say(&mut shard, START_MS, Some(at(2)), &two[..1]).unwrap_err();
    assert_eq!((why.code, why.expected_seq), (Refusal::SeqGap, Some(1)));
    assert!(words.0.borrow().is_empty() && heard(&mut shard, START_MS, 1).is_empty());
    assert_eq!(shard.stats().texts, 0);
    say(&mut shard, START_MS, Some(at(1)), &two[..1]).unwrap();
    // A tenant's name that belongs to another id.
    let text = Text { tenant: tenant_id(1), text: "c", weight: 1, offset_ms: 0 };
    let span = Span { min_ms: START_MS, max_ms: START_MS };
    let part = TextPart { base_ms: START_MS, span, texts: &[text] };
    let other = std::iter::once((NameKind::Tenant, tenant_id(1).0, "another"));
    let mut fx = Effects::default();
    shard.on_texts(START_MS, &origin(Some(at(2))), &part, other, &mut fx);
    assert!(matches!(&fx.list[0], Effect::Refused { why, .. } if why.code == Refusal::IdCollision));
    assert_eq!(heard(&mut shard, START_MS, 1), [one("a", 1, "a")]);
    let ahead = TextPart { span: Span { max_ms: START_MS + 5_001, ..span }, ..part };
    let late = [Text { offset_ms: 5_001, ..text }];
    let ahead = TextPart { texts: &late, ..ahead };
    let why = check_future_texts(Clock::Wall, START_MS, &ahead).unwrap_err();
    assert_eq!((why.code, why.index), (Refusal::Future, Some(0)));
    assert_eq!(check_future_texts(Clock::Event, START_MS, &ahead), Ok(()));
}

#[test]
fn a_topic_whose_id_has_another_name_is_left_out_and_never_merged() {
    let (mut shard, _) = shard_of(Clock::Wall, 4);
    let taken = TopicId::of("plum");
    shard.define(std::iter::once((NameKind::Topic, taken.0, "not plum")));
    let said = [(1, "plum pear", 1, START_MS), (1, "plum", 1, START_MS)];
    let counted = say(&mut shard, START_MS, None, &said).unwrap();
    assert_eq!(counted, Counted { applied: 1, filtered: 1, ..Counted::default() });
    assert_eq!(heard(&mut shard, START_MS, 1), [one("pear", 1, "plum pear")]);
    assert_eq!(shard.stats().text_topics_collided, 2);
}

#[test]
fn a_text_has_at_most_32_topics() {
    let (mut shard, _) = shard_of(Clock::Wall, 4);
    let words: Vec<String> = (0..40).map(|word| format!("w{word:02}")).collect();
    let text: &'static str = words.join(" ").leak();
    say(&mut shard, START_MS, None, &[(1, text, 1, START_MS)]).unwrap();
    assert_eq!(heard(&mut shard, START_MS, 1).len(), 32);
    assert_eq!((shard.stats().text_topics, shard.stats().text_topics_over), (32, 8));
}

#[test]
fn a_text_ahead_of_the_clock_counts_when_its_pane_opens() {
    let (mut shard, _) = shard_of(Clock::Wall, 4);
    let soon_ms = START_MS + 2_000;
    let said = [(1, "now", 1, START_MS), (1, "soon soon", 1, soon_ms)];
    let counted = say(&mut shard, START_MS, None, &said).unwrap();
    assert_eq!(counted, Counted { applied: 1, early: 1, ..Counted::default() });
    turn(&mut shard, soon_ms - 1_000);
    assert_eq!(heard(&mut shard, soon_ms - 1_000, 1), [one("now", 1, "now")]);
    turn(&mut shard, soon_ms);
    let both = [one("now", 1, "now"), one("soon", 1, "soon soon")];
    assert_eq!(heard(&mut shard, soon_ms, 1), both);
    let tight = ShardConfig { early_max: 63, ..config(Clock::Wall, 4) };
    let mut shard = shard_with(tight, Words::default());
    let two = [(1, "a", 1, soon_ms), (1, "b", 1, soon_ms)];
    let why = say(&mut shard, START_MS, None, &two).unwrap_err();
    assert_eq!((why.code, why.retry_after_ms > 0), (Refusal::Overloaded, true));
    assert_eq!(say(&mut shard, START_MS, None, &two[..1]).unwrap().early, 1);
}

#[test]
fn samples_are_cut_at_a_character_and_leave_with_their_tenant() {
    let (mut shard, _) = shard_of(Clock::Wall, 4);
    let text: &'static str = format!("xy\t{}", "é\u{1}".repeat(100)).leak();
    say(&mut shard, START_MS, None, &[(1, text, 1, START_MS)]).unwrap();
    let sample = heard(&mut shard, START_MS, 1)[0].2.clone();
    assert_eq!(
        sample,
        format!("xy {}", "é ".repeat(100))[..159],
        "the next é would end at byte 161"
    );
    assert!(shard.stats().sample_bytes.now > 0);
    for second in 0..40 {
        turn(&mut shard, START_MS + second * 1_000);
    }
    assert_eq!(shard.stats().tenants_emptied, 1);
    let bytes = shard.stats().sample_bytes;
    assert_eq!((bytes.now, bytes.high > 0), (0, true));
}

#[test]
fn samples_stop_at_their_budget_and_counting_goes_on() {
    let tight = ShardConfig { sample_bytes_max: 6_000, ..config(Clock::Wall, 64) };
    let mut shard = shard_with(tight, Words::default());
    for tenant in 0..64 {
        say(&mut shard, START_MS, None, &[(tenant, "rain today", 1, START_MS)]).unwrap();
    }
    let sampled = |shard: &mut WordShard| {
        (0..64).filter(|tenant| heard(shard, START_MS, *tenant)[0].2 == "rain today").count()
    };
    let kept = sampled(&mut shard);
    assert!((1..64).contains(&kept), "{kept}");
    let stats = shard.stats().clone();
    assert!(stats.sample_bytes.high <= 6_000 && stats.samples_full > 0, "{stats:?}");
    assert_eq!(stats.events_applied, 128);
}

/// The message about a topic that has the smallest hash.
fn least<'a>(texts: impl IntoIterator<Item = &'a str>, topic: &str) -> &'a str {
    let hash = |text: &&str| fmix64(TopicId::of(text).0 ^ TopicId::of(topic).0);
    texts.into_iter().min_by_key(hash).unwrap_or("")
}

const TEXTS: [&str; 14] = [
    "a b",
    "b c c",
    "",
    "d e f g",
    "a",
    "h i j k l",
    "m n o a",
    "b",
    "c a d",
    "e e e",
    "k n",
    "o",
    "l m",
    "a b c d e f",
];

#[derive(Clone, Debug)]
struct Told1 {
    ahead_ms: u64,
    batch: Vec<(u64, usize, u32, i64)>,
}

fn histories() -> impl Strategy<Value = Vec<Told1>> {
    let ahead = prop_oneof![Just(0_u64), 1_u64..1_500, 1_000_u64..7_000, 20_000_u64..40_000];
    let said = (0_u64..3, 0..TEXTS.len(), 1_u32..5, -12_000_i64..4_500);
    let batch = prop::collection::vec(said, 0..12);
    let step = (ahead, batch).prop_map(|(ahead_ms, batch)| Told1 { ahead_ms, batch });
    prop::collection::vec(step, 1..30)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn counts_and_samples_are_those_of_every_text_kept(
        clock in prop::sample::select(vec![Clock::Wall, Clock::Event]),
        history in histories(),
    ) {
        let (mut shard, _) = shard_of(clock, 8);
        let (mut now_ms, mut kept, mut current) = (START_MS, Vec::new(), BTreeMap::new());
        let mut early = Vec::new();
        for (seq, step) in (1..).zip(&history) {
            now_ms += step.ahead_ms;
            turn(&mut shard, now_ms);
            let opens = |said: &mut Said| said.3 / SLIDE_MS <= now_ms / SLIDE_MS;
            kept.extend(early.extract_if(.., opens));
            let said: Vec<Said> = step.batch.iter().map(|&(tenant, text, weight, offset)| {
                (tenant, TEXTS[text], weight, now_ms.saturating_add_signed(offset))
            }).collect();
            let mut wanted = Counted::default();
            for &text in &said {
                let (pane, current) = (text.3 / SLIDE_MS, current.entry(text.0).or_insert(0));
                if text.1.is_empty() {
                    wanted.filtered += 1;
                    continue;
                }
                *current = match clock {
                    Clock::Wall => now_ms / SLIDE_MS,
                    Clock::Event => pane.max(*current),
                };
                if pane > *current {
                    wanted.early += 1;
                    early.push(text);
                } else if pane + WINDOW_MS / SLIDE_MS > *current {
                    wanted.applied += 1;
                    kept.push(text);
                } else {
                    wanted.late += 1;
                }
            }
            prop_assert_eq!(say(&mut shard, now_ms, Some(at(seq)), &said), Ok(wanted));
            for tenant in 0..3 {
                let mine: Vec<&Said> = kept.iter().filter(|said| said.0 == tenant).collect();
                let end = match clock {
                    Clock::Wall => now_ms / SLIDE_MS,
                    Clock::Event => mine.iter().map(|said| said.3 / SLIDE_MS).max().unwrap_or(0),
                };
                let live = |said: &&&Said| said.3 / SLIDE_MS + WINDOW_MS / SLIDE_MS > end;
                let live: Vec<&Said> = mine.iter().filter(live).copied().collect();
                prop_assert_eq!(heard(&mut shard, now_ms, tenant), model_of(&live));
            }
        }
    }
}

/// What texts amount to, by brute force.
fn model_of(live: &[&Said]) -> Vec<(String, u64, String)> {
    let mut topics: BTreeMap<&str, (u64, BTreeSet<&str>)> = BTreeMap::new();
    for (_, text, weight, _) in live {
        for word in text.split_whitespace().collect::<BTreeSet<_>>() {
            let (count, texts) = topics.entry(word).or_default();
            *count += u64::from(*weight);
            texts.insert(text);
        }
    }
    let mut rows: Vec<_> = topics
        .into_iter()
        .map(|(word, (count, texts))| one(word, count, least(texts, word)))
        .collect();
    rows.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    rows
}
