//! The main job on recorded events: at many times, every tenant's answer is what a rescan of all
//! events so far gives.
//!
//! The rescan shares nothing with the server but the definition: at time T an event counts when
//! floor(T/B) - W/B < floor(ts/B) <= floor(T/B) and ts <= T, with the slide B and the window W.

use crate::harness::{Event, Http, Peer, Server, escape, named_frame};
use std::collections::BTreeMap;
use trendsrv_client::proto::{Rank, TenantId};
use trendsrv_client::{Answer, Client, Options};

const SAMPLE: &str = include_str!("../data/wiki-sample.tsv");
const TOP: usize = 10;

/// What an answer says, or what it should say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Counted {
    total: u64,
    events: u64,
    distinct: u64,
    /// Nothing was thinned out: `exact`, `distinct_exact`, `certified`, no error bound.
    exact: bool,
    /// Name, count, low and high.
    top: Vec<(String, u64, u64, u64)>,
}

/// A way to send events and to ask for answers.
trait Road {
    fn send(&mut self, events: &[Event<'_>]);
    fn ask(&mut self, tenants: &[&str], at_ms: u64) -> Vec<Counted>;
}

fn sample() -> Vec<Event<'static>> {
    let read = |line: &'static str| {
        let fields: Vec<&str> = line.split('\t').collect();
        (fields[0], fields[2], fields[3].parse().unwrap(), fields[1].parse().unwrap())
    };
    SAMPLE.lines().map(read).collect()
}

/// Answers of all tenants seen so far, by rescanning everything.
fn rescan<'a>(
    sent: &[Event<'a>],
    at_ms: u64,
    (window_ms, slide_ms): (u64, u64),
) -> BTreeMap<&'a str, Counted> {
    let last = at_ms / slide_ms;
    let mut topics: BTreeMap<&str, BTreeMap<&str, u64>> = BTreeMap::new();
    let mut answers: BTreeMap<&str, Counted> = BTreeMap::new();
    for &(tenant, topic, weight, ts_ms) in sent {
        let answer = answers.entry(tenant).or_default();
        let pane = ts_ms / slide_ms;
        if pane + window_ms / slide_ms > last && pane <= last && ts_ms <= at_ms {
            answer.total += u64::from(weight);
            answer.events += 1;
            *topics.entry(tenant).or_default().entry(topic).or_default() += u64::from(weight);
        }
    }
    for (tenant, answer) in &mut answers {
        let topics = topics.remove(tenant).unwrap_or_default();
        answer.exact = true;
        answer.distinct = topics.len() as u64;
        let mut ranked: Vec<(&str, u64)> = topics.into_iter().collect();
        ranked.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.as_bytes().cmp(b.0.as_bytes())));
        ranked.truncate(TOP);
        answer.top = ranked.iter().map(|&(name, n)| (name.to_owned(), n, n, n)).collect();
    }
    answers
}

/// How many events to have sent, and the time to ask for: every 60th event's time or any time
/// before the next one, then times after the last.
fn questions(events: &[Event<'_>]) -> Vec<(usize, u64)> {
    let mut asked = Vec::new();
    for (turn, start) in (60..events.len()).step_by(60).enumerate() {
        let later = (start..events.len()).find(|&i| events[i].3 > events[i - 1].3);
        let Some(sent) = later else { break };
        let (last_ms, next_ms) = (events[sent - 1].3, events[sent].3);
        let at_ms = [last_ms, next_ms - 1, last_ms + (next_ms - last_ms) / 2][turn % 3];
        asked.push((sent, at_ms));
    }
    let last_ms = events[events.len() - 1].3;
    for after_ms in [0, 1, 999, 4_999, 10_001, 30_500, 59_000, 59_999, 60_001, 61_000, 3_600_000] {
        asked.push((events.len(), last_ms + after_ms));
    }
    asked
}

/// Sends the sample down a road and compares every tenant's answer at every question.
fn compare(road: &mut impl Road, window: (u64, u64)) {
    let events = sample();
    let questions = questions(&events);
    assert!(questions.len() >= 70, "only {} query times", questions.len());
    let (mut sent, mut compared, mut mismatches) = (0, 0, Vec::new());
    for (until, at_ms) in questions {
        road.send(&events[sent..until]);
        sent = until;
        let truth = rescan(&events[..sent], at_ms, window);
        let tenants: Vec<&str> = truth.keys().copied().collect();
        let answers = road.ask(&tenants, at_ms);
        assert_eq!(answers.len(), tenants.len());
        for (answer, (tenant, want)) in answers.iter().zip(&truth) {
            compared += 1;
            if answer != want {
                mismatches.push(format!("{tenant} at {at_ms}: {answer:?}, but {want:?}"));
            }
        }
    }
    assert!(compared > 1_500, "only {compared} answers");
    assert!(
        mismatches.is_empty(),
        "{} of {compared} answers differ, the first:\n{}",
        mismatches.len(),
        mismatches[..mismatches.len().min(3)].join("\n")
    );
}

fn counted(answer: &Answer) -> Counted {
    let head = &answer.head;
    assert!(head.flags.known);
    let flags = head.flags.exact && head.flags.distinct_exact && head.flags.certified;
    let top = answer.topics.iter();
    Counted {
        total: head.total,
        events: head.events,
        distinct: head.distinct,
        exact: flags && head.error_bound == 0 && head.late == 0 && head.dropped == 0,
        top: top.map(|t| (t.name.clone(), t.count, t.low, t.high)).collect(),
    }
}

/// Ids over the wire through the client, each event to the shard that owns its tenant.
struct ByClient(Client);

impl ByClient {
    fn connect(server: &Server) -> Self {
        let options = Options { batch_events: 64, ..Options::default() };
        Self(Client::connect(&server.tcp.to_string(), options).unwrap())
    }
}

impl Road for ByClient {
    fn send(&mut self, events: &[Event<'_>]) {
        for &(tenant, topic, weight, ts_ms) in events {
            self.0.send(tenant, topic, weight, ts_ms).unwrap();
        }
        self.0.flush().unwrap();
        let counts = self.0.counts();
        assert_eq!((counts.acked, counts.refused), (counts.pushed, 0));
    }

    fn ask(&mut self, tenants: &[&str], at_ms: u64) -> Vec<Counted> {
        let ids: Vec<TenantId> = tenants.iter().map(|name| TenantId::of(name)).collect();
        let k = u16::try_from(TOP).unwrap();
        let answers = self.0.query_many(&ids, k, Rank::Count, Some(at_ms)).unwrap();
        answers.iter().map(|answer| counted(answer.as_ref().unwrap())).collect()
    }
}

/// Names over the wire through one connection, whatever shard it ended at.
struct ByNames(Peer, u64);

impl Road for ByNames {
    fn send(&mut self, events: &[Event<'_>]) {
        for some in events.chunks(60) {
            self.0.send(&named_frame(self.1, some));
            self.0.acked(self.1);
            self.1 += 1;
        }
    }

    fn ask(&mut self, tenants: &[&str], at_ms: u64) -> Vec<Counted> {
        tenants.iter().map(|t| counted(&self.0.query(t, Some(at_ms)).unwrap())).collect()
    }
}

/// Bulk requests and JSON answers; each answer is compared with the binary one, too.
struct ByHttp(Http, Peer);

impl Road for ByHttp {
    fn send(&mut self, events: &[Event<'_>]) {
        let mut body = String::new();
        for &(tenant, topic, weight, ts) in events {
            let line = serde_json::json!(
                { "tenant": tenant, "topic": topic, "weight": weight, "ts": ts }
            );
            body.push_str(&format!("{line}\n"));
        }
        if events.is_empty() {
            return;
        }
        let reply = self.0.post("/v1/events", &[], body.as_bytes());
        assert_eq!(reply.status, 200, "{reply:?}");
        assert_eq!(reply.body["accepted"], events.len(), "{reply:?}");
    }

    fn ask(&mut self, tenants: &[&str], at_ms: u64) -> Vec<Counted> {
        let ask = |tenant: &&str| {
            let path = format!("/v1/tenants/{}/trending?rank=count&at={at_ms}", escape(tenant));
            let reply = self.0.get(&path);
            assert_eq!(reply.status, 200, "{reply:?}");
            let answer = self.1.query(tenant, Some(at_ms)).unwrap();
            assert_same(&reply.body, &answer);
            counted(&answer)
        };
        tenants.iter().map(ask).collect()
    }
}

/// Whether the JSON answer says what the binary one says, field by field.
fn assert_same(json: &serde_json::Value, answer: &Answer) {
    let milli = |n: i64| format!("{}{}.{:03}", sign(n), n.abs() / 1_000, n.abs() % 1_000);
    let head = &answer.head;
    let numbers = [
        ("as_of_ms", head.as_of_ms),
        ("window_ms", head.window_ms.into()),
        ("slide_ms", head.slide_ms.into()),
        ("version", head.version),
        ("total", head.total),
        ("events", head.events),
        ("distinct", head.distinct),
        ("error_bound", head.error_bound),
        ("late", head.late),
        ("dropped", head.dropped),
        ("shed", head.shed),
    ];
    for (field, want) in numbers {
        assert_eq!(json[field], want, "{field} of {json}");
    }
    for field in ["exact", "distinct_exact", "certified"] {
        assert_eq!(json[field], true, "{field} of {json}");
    }
    assert_eq!(json["tldr"].as_str().unwrap_or(""), answer.tldr);
    let topics = json["topics"].as_array().unwrap();
    assert_eq!(topics.len(), answer.topics.len(), "{json}");
    for (line, topic) in topics.iter().zip(&answer.topics) {
        assert_eq!(line["topic"], topic.name.as_str());
        for (field, want) in [("count", topic.count), ("low", topic.low), ("high", topic.high)] {
            assert_eq!(line[field], want, "{field} of {line}");
        }
        for (field, want) in [("velocity", topic.velocity_milli), ("score", topic.score_milli)] {
            assert_eq!(line[field].as_f64(), milli(want).parse().ok(), "{field} of {line}");
        }
        assert_eq!(line["trend"], topic.trend.name());
    }
}

const fn sign(n: i64) -> &'static str {
    if n < 0 { "-" } else { "" }
}

fn by_client(flags: &[&str], window: (u64, u64)) {
    let server = Server::start(&[&["--clock", "event"], flags].concat());
    compare(&mut ByClient::connect(&server), window);
    server.stop();
}

#[test]
fn one_shard_agrees_with_a_rescan_at_every_query() {
    by_client(&["--shards", "1"], (60_000, 1_000));
}

#[test]
fn two_shards_agree_with_a_rescan_at_every_query() {
    by_client(&["--shards", "2"], (60_000, 1_000));
}

#[test]
fn four_shards_on_fewer_cores_agree_with_a_rescan_at_every_query() {
    by_client(&["--shards", "4"], (60_000, 1_000));
}

#[test]
fn a_window_of_twelve_panes_agrees_with_a_rescan() {
    by_client(&["--shards", "1", "--slide", "5s"], (60_000, 5_000));
}

#[test]
fn a_window_of_two_panes_agrees_with_a_rescan() {
    by_client(&["--shards", "1", "--slide", "30s"], (60_000, 30_000));
}

#[test]
fn names_through_one_connection_to_two_shards_agree_with_a_rescan() {
    let server = Server::start(&["--clock", "event", "--shards", "2"]);
    compare(&mut ByNames(Peer::greeted(server.tcp), 1), (60_000, 1_000));
    server.stop();
}

#[test]
fn http_agrees_with_a_rescan_and_with_the_binary_protocol() {
    let server = Server::start(&["--clock", "event", "--shards", "2"]);
    let mut road = ByHttp(Http(server.http), Peer::greeted(server.tcp));
    compare(&mut road, (60_000, 1_000));
    drop(road);
    server.stop();
}
