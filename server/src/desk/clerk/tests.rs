//! The shard's side of the desk, without a desk.

use super::*;
use crate::desk::mail::{Grant, Name, TenantsMail};
use tokio::sync::oneshot;
use trendsrv_proto::{Clock, Rank, Span, TenantId, TopicId};
use trendsrv_shard::{
    Grid, HeapMemory, ShardConfig, Trending, WindowConfig, index_words, topics_words,
};

const NOW_MS: u64 = 1_442_016_000_500;

type TestShard = Shard<Trending, HeapMemory>;

fn shard() -> TestShard {
    let grid = Grid::new(60_000, 1_000).unwrap();
    let config = ShardConfig {
        grid,
        clock: Clock::Wall,
        tenants_max: 2,
        topics_max: 64,
        producers_max: 8,
        early_max: 16,
        subscriptions_max: 4,
        sample_bytes_max: trendsrv_shard::SAMPLE_BYTES_MAX_DEFAULT,
        secret: [3, 5],
    };
    let windows = WindowConfig { tenants_max: 2, ..WindowConfig::new(grid, [7, 11]) };
    let bytes = windows.memory_bytes(0).max(windows.chunk_bytes());
    let memory = HeapMemory::new(usize::try_from(bytes).unwrap() / 8);
    let programs = Trending { recent_ms: 10_000, window_ms: 60_000 };
    let index = HeapMemory::new(index_words(config.tenants_max));
    let names = HeapMemory::new(topics_words(config.topics_max));
    Shard::new(config, &windows, memory, index, names, programs).unwrap()
}

/// Events of `(tenant, topic, weight, ms before now)`, on lines 1, 2, ...
fn ingest(
    shard: &mut TestShard,
    events: &[(&str, &str, u32, i32)],
    mark: Option<Mark>,
) -> Result<Ingested, Refused> {
    let records = events.iter().map(|(tenant, topic, weight, ago)| {
        EventRecord::new(TenantId::of(tenant), TopicId::of(topic), *weight, -ago)
    });
    let mut names = Vec::new();
    for (tenant, topic, ..) in events {
        let tenant = (NameKind::Tenant, TenantId::of(tenant).0, *tenant);
        for (kind, id, name) in [tenant, (NameKind::Topic, TopicId::of(topic).0, *topic)] {
            names.push(Name { kind, id, name: name.into() });
        }
    }
    mail_of(shard, records.collect(), names, mark)
}

fn mail_of(
    shard: &mut TestShard,
    records: Vec<EventRecord>,
    names: Vec<Name>,
    mark: Option<Mark>,
) -> Result<Ingested, Refused> {
    mail_of_both(shard, records, Vec::new(), names, mark)
}

fn mail_of_both(
    shard: &mut TestShard,
    records: Vec<EventRecord>,
    texts: Vec<IngestText>,
    names: Vec<Name>,
    mark: Option<Mark>,
) -> Result<Ingested, Refused> {
    let (reply, mut answer) = oneshot::channel();
    let ms = |record: &EventRecord| NOW_MS.saturating_add_signed(record.offset_ms().into());
    let mail = DeskMail::Ingest(IngestMail {
        base_ms: NOW_MS,
        span: Span { min_ms: records.iter().map(ms).min().unwrap_or(NOW_MS), max_ms: NOW_MS },
        lines: (1..).take(records.len()).collect(),
        records,
        names,
        mark,
        durable: false,
        texts,
        grant: Grant::default(),
        reply,
    });
    answer_mail(shard, NOW_MS, mail, ShardFacts::default);
    answer.try_recv().unwrap()
}

fn query(shard: &mut TestShard, name: &str) -> Result<Answer, Refused> {
    let (reply, mut answer) = oneshot::channel();
    let (tenant, k, rank) = (TenantId::of(name), 10, Rank::Count);
    let mail = QueryMail { tenant, name: name.into(), k, rank, at_ms: None, reply };
    answer_mail(shard, NOW_MS, DeskMail::Query(mail), ShardFacts::default);
    answer.try_recv().unwrap()
}

fn counts(answer: &Answer) -> Vec<(&str, u64)> {
    answer.topics.iter().map(|line| (&*line.topic, line.count)).collect()
}

#[test]
fn events_are_counted_and_named() {
    let mut shard = shard();
    let done = ingest(
        &mut shard,
        &[("acme", "b", 2, 0), ("acme", "a", 3, 100), ("acme", "old", 1, 61_000)],
        None,
    );
    assert_eq!(done, Ok(Ingested { accepted: 2, late: 1, ..Ingested::default() }));
    let answer = query(&mut shard, "acme").unwrap();
    assert_eq!(counts(&answer), [("a", 3), ("b", 2)]);
    assert_eq!((answer.total, answer.late, answer.exact), (5, 1, true));
    assert_eq!((answer.window_ms, answer.slide_ms), (60_000, 1_000));
    assert!(answer.tldr.as_deref().unwrap().contains("\"a\""), "{:?}", answer.tldr);
    assert_eq!(query(&mut shard, "nobody").unwrap_err().code, Refusal::UnknownTenant);
}

#[test]
fn the_same_mark_counts_once() {
    let mut shard = shard();
    let mark = Some(Mark { producer: 9, seq: 1 });
    let first = ingest(&mut shard, &[("acme", "a", 1, 0)], mark);
    assert_eq!(first, Ok(Ingested { accepted: 1, ..Ingested::default() }));
    let again = ingest(&mut shard, &[("acme", "a", 1, 0)], mark);
    assert_eq!(again, Ok(Ingested { duplicates: 1, ..Ingested::default() }));
    let next = ingest(&mut shard, &[("acme", "a", 1, 0)], Some(Mark { producer: 9, seq: 2 }));
    assert_eq!(next, Ok(Ingested { accepted: 1, ..Ingested::default() }));
    assert_eq!(query(&mut shard, "acme").unwrap().total, 2);
}

#[test]
fn a_taken_name_costs_its_own_lines() {
    let mut shard = shard();
    ingest(&mut shard, &[("acme", "a", 1, 0)], None).unwrap();
    // Nobody can make two names of one hash on demand, so the test says a false one.
    let tenant = TenantId::of("acme");
    let records = ["a", "b", "a"].map(|t| EventRecord::new(tenant, TopicId::of(t), 1, 0));
    let name = |id: &str, name: &str| Name {
        kind: NameKind::Topic,
        id: TopicId::of(id).0,
        name: name.into(),
    };
    let names = vec![name("a", "another"), name("b", "b")];
    let done = mail_of(&mut shard, records.to_vec(), names, None).unwrap();
    assert_eq!(done.accepted, 1);
    let lines: Vec<_> = done.rejected.iter().map(|r| (r.line, r.code)).collect();
    assert_eq!(lines, [(1, Refusal::IdCollision), (3, Refusal::IdCollision)]);
    assert_eq!(counts(&query(&mut shard, "acme").unwrap()), [("a", 1), ("b", 1)]);
}

fn said(line: u32, tenant: &str, text: &str, weight: u32) -> IngestText {
    IngestText { line, tenant: TenantId::of(tenant), text: text.into(), weight, offset_ms: 0 }
}

fn tenant_named(id: &str, name: &str) -> Name {
    Name { kind: NameKind::Tenant, id: TenantId::of(id).0, name: name.into() }
}

#[test]
fn texts_and_records_count_under_one_mark_and_texts_bring_a_sample() {
    let mut shard = shard();
    let mark = Some(Mark { producer: 9, seq: 1 });
    let send = |shard: &mut TestShard| {
        let record = EventRecord::new(TenantId::of("acme"), TopicId::of("#mars"), 5, 0);
        let texts = vec![
            said(2, "acme", "a rover on #mars", 2),
            said(3, "acme", "nothing to find", 1),
            said(4, "other", "#moon", 1),
        ];
        let names = vec![tenant_named("acme", "acme"), tenant_named("other", "other")];
        mail_of_both(shard, vec![record], texts, names, mark)
    };
    assert_eq!(send(&mut shard), Ok(Ingested { accepted: 4, ..Ingested::default() }));
    assert_eq!(send(&mut shard), Ok(Ingested { duplicates: 4, ..Ingested::default() }));
    let answer = query(&mut shard, "acme").unwrap();
    assert_eq!(counts(&answer), [("#mars", 7)]);
    assert_eq!(answer.topics[0].sample.as_deref(), Some("a rover on #mars"));
    assert_eq!(counts(&query(&mut shard, "other").unwrap()), [("#moon", 1)]);
}

#[test]
fn texts_of_a_taken_name_cost_their_own_lines_and_a_full_table_refuses_all() {
    let mut shard = shard();
    let names = |id: &str, name: &str| vec![tenant_named(id, name)];
    let first = vec![said(1, "a", "#x", 1)];
    mail_of_both(&mut shard, Vec::new(), first, names("a", "a"), None).unwrap();
    // Nobody can make two names of one hash on demand, so the test says a false one.
    let texts = vec![said(1, "a", "#x", 1), said(2, "b", "#x", 1)];
    let mut two = names("a", "another");
    two.push(tenant_named("b", "b"));
    let done = mail_of_both(&mut shard, Vec::new(), texts, two, None).unwrap();
    let lines: Vec<_> = done.rejected.iter().map(|r| (r.line, r.code)).collect();
    assert_eq!((done.accepted, lines), (1, vec![(1, Refusal::IdCollision)]));
    let record = EventRecord::new(TenantId::of("a"), TopicId::of("#x"), 1, 0);
    let third = vec![said(2, "c", "#x", 1)];
    let refused = mail_of_both(&mut shard, vec![record], third, names("c", "c"), None).unwrap_err();
    assert_eq!(refused.code, Refusal::TenantsFull);
    assert_eq!(query(&mut shard, "a").unwrap().total, 1, "neither counts");
}

#[test]
fn a_full_table_refuses_the_part() {
    let mut shard = shard();
    ingest(&mut shard, &[("a", "x", 1, 0), ("b", "x", 1, 0)], None).unwrap();
    let refused = ingest(&mut shard, &[("c", "x", 1, 0)], None).unwrap_err();
    assert_eq!(refused.code, Refusal::TenantsFull);
    assert!(refused.retry_after_ms.is_some());
}

#[test]
fn a_topic_without_a_name_shows_its_id() {
    let mut shard = shard();
    let record = EventRecord::new(TenantId::of("acme"), TopicId(0xAB), 1, 0);
    mail_of(&mut shard, vec![record], Vec::new(), None).unwrap();
    let answer = query(&mut shard, "acme").unwrap();
    assert_eq!(counts(&answer), [("id:00000000000000ab", 1)]);
}

#[test]
fn tenants_and_stats_are_told() {
    let mut shard = shard();
    ingest(&mut shard, &[("a", "x", 4, 0), ("b", "x", 1, 0)], None).unwrap();
    let facts = || ShardFacts { shard: 3, vnodes: 7, ..ShardFacts::default() };
    let (reply, mut page) = oneshot::channel();
    let mail = TenantsMail { prefix: "".into(), after: "a".into(), limit: 10, reply };
    answer_mail(&mut shard, NOW_MS, DeskMail::Tenants(mail), facts);
    let page = page.try_recv().unwrap();
    assert_eq!((page.len(), &*page[0].tenant, page[0].total, page[0].shard), (1, "b", 1, 3));
    let (reply, mut told) = oneshot::channel();
    answer_mail(&mut shard, NOW_MS, DeskMail::Stats(reply), facts);
    let told = told.try_recv().unwrap();
    let applied = told.counters.iter().find(|c| c.name == "events_applied").unwrap();
    assert_eq!((told.shard, told.vnodes, applied.value), (3, 7, 2));
    let tenants = told.levels.iter().find(|level| level.name == "tenants").unwrap();
    assert_eq!((tenants.now, tenants.max), (2, 2));
    assert_eq!(told.refused.len(), Refusal::ALL.len());
}
