//! Facts about the desk, seen by a plain TCP client, with fake shards behind the mailboxes.

use std::collections::{BTreeMap, HashMap};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use trendsrv_proto::{NameKind, Refusal, TenantId, Trend};
use trendsrv_wasm_host::{ProgramLine, ProgramState, TenantProgram};

use super::answer::{Answer, Counter, Level, Milli, ShardStats, TenantLine, TopicLine};
use super::listener::HttpLimits;
use super::mail::{
    DeskMail, IngestMail, Ingested, ProgramMail, QueryMail, Refused, Rejected, mailbox,
};
use super::shards::Shards;
use super::{DeskHandle, FrontDesk, Phase, PhaseCell, openapi};
use crate::config::limits::{DESK_MAIL_MAX, HTTP_BODY_BYTES_MAX, HTTP_LINES_MAX};
use crate::config::{Config, Machine, MemoryPlan};
use crate::programs::{Builder, Compiler, Library, ProgramName, Recipe};

mod programs;

const SHARDS: usize = 2;

/// A shard that counts weights, exactly and for ever.
#[derive(Default)]
struct Fake {
    shard: usize,
    tenants: BTreeMap<Box<str>, BTreeMap<Box<str>, u64>>,
    marks: HashMap<u64, u64>,
    held: Vec<DeskMail>,
    programs: HashMap<TenantId, Box<str>>,
}

impl Fake {
    fn run(mut self, mails: &flume::Receiver<DeskMail>) {
        while let Ok(mail) = mails.recv() {
            match mail {
                DeskMail::Query(query) if &*query.name == "silent" => {
                    self.held.push(DeskMail::Query(query));
                }
                DeskMail::Query(query) => {
                    let answer = self.answer(&query);
                    let _ = query.reply.send(answer);
                }
                DeskMail::Ingest(ingest) => self.ingest(ingest),
                DeskMail::Tenants(ask) => {
                    let lines = self
                        .tenants
                        .iter()
                        .filter(|(name, _)| name.starts_with(&*ask.prefix) && ***name > *ask.after);
                    let lines = lines.take(ask.limit.into()).map(|(name, topics)| TenantLine {
                        tenant: name.clone(),
                        total: topics.values().sum(),
                        events: 0,
                        topics: topics.len() as u64,
                        shard: self.shard,
                        program: None,
                    });
                    let _ = ask.reply.send(lines.collect());
                }
                DeskMail::Stats(reply) => {
                    let _ = reply.send(self.stats());
                }
                DeskMail::Latency(reply) => drop(reply.send(Vec::new())),
                DeskMail::Program(mail) => self.program(mail),
            }
        }
    }

    fn ingest(&mut self, ingest: IngestMail) {
        let events = u32::try_from(ingest.records.len() + ingest.texts.len()).unwrap();
        let name = |kind: NameKind, id: u64| {
            let mut names = ingest.names.iter();
            names.find(|n| (n.kind, n.id) == (kind, id)).unwrap().name.clone()
        };
        if ingest.names.iter().any(|n| n.kind == NameKind::Tenant && &*n.name == "full") {
            let _ = ingest.reply.send(Err(Refused {
                code: Refusal::TenantsFull,
                message: "no room".into(),
                retry_after_ms: Some(1_500),
            }));
            return;
        }
        let mut done = Ingested::default();
        if let Some(mark) = ingest.mark {
            let next = self.marks.entry(mark.producer).or_default();
            if mark.seq < *next {
                done.duplicates = events;
                let _ = ingest.reply.send(Ok(done));
                return;
            }
            *next = mark.seq + 1;
        }
        for (record, &line) in ingest.records.iter().zip(&ingest.lines) {
            let topic = name(NameKind::Topic, record.topic().0);
            if &*topic == "collide" {
                let code = Refusal::IdCollision;
                done.rejected.push(Rejected { line, code, message: "taken".into() });
                continue;
            }
            let topics = self.tenants.entry(name(NameKind::Tenant, record.tenant().0)).or_default();
            *topics.entry(topic).or_default() += u64::from(record.weight());
            done.accepted += 1;
        }
        // This shard's programs take the whole text for the topic.
        for text in &ingest.texts {
            let topics = self.tenants.entry(name(NameKind::Tenant, text.tenant.0)).or_default();
            *topics.entry(text.text.clone()).or_default() += u64::from(text.weight);
            done.accepted += 1;
        }
        let _ = ingest.reply.send(Ok(done));
    }

    fn answer(&self, query: &QueryMail) -> Result<Answer, Refused> {
        let topics = self.tenants.get(&query.name).ok_or_else(|| Refused {
            code: Refusal::UnknownTenant,
            message: format!("no tenant {:?}", query.name),
            retry_after_ms: None,
        })?;
        let mut lines: Vec<TopicLine> = topics
            .iter()
            .map(|(topic, &count)| TopicLine {
                topic: topic.clone(),
                count,
                low: count,
                high: count,
                velocity: Milli(-1_234),
                score: Milli(500),
                trend: Trend::Rising,
                sample: None,
            })
            .collect();
        lines.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.topic.cmp(&b.topic)));
        lines.truncate(query.k.into());
        Ok(Answer {
            tenant: query.name.clone(),
            as_of_ms: query.at_ms.unwrap_or(7),
            window_ms: 60_000,
            slide_ms: 1_000,
            version: 1,
            total: topics.values().sum(),
            events: 0,
            distinct: topics.len() as u64,
            distinct_exact: true,
            exact: true,
            certified: true,
            error_bound: 0,
            late: 0,
            dropped: 0,
            shed: 0,
            topics: lines,
            tldr: None,
            program: None,
            program_fault: None,
        })
    }

    /// Assigns what it is told, and counts one call for each tenant.
    fn program(&mut self, mail: ProgramMail) {
        match mail {
            ProgramMail::Install { reply, .. } | ProgramMail::Remove { reply, .. } => {
                let _ = reply.send(Ok(()));
            }
            ProgramMail::Assign { tenant, program, reply } => {
                match program {
                    Some(program) => self.programs.insert(tenant, program),
                    None => self.programs.remove(&tenant),
                };
                let _ = reply.send(Ok(()));
            }
            ProgramMail::Status { tenant, reply } => {
                let program = self.programs.get(&tenant).cloned();
                let _ = reply.send(TenantProgram {
                    program: program.unwrap_or_else(|| "trending".into()),
                    state: ProgramState::Running,
                    faults: 2,
                    last_error: Some("no fuel left".into()),
                    retry_at_ms: None,
                    calls: 1,
                    fuel_used: 3,
                });
            }
            ProgramMail::List { reply } => {
                let line = |name: Box<str>| ProgramLine {
                    name,
                    hash: [0; 32],
                    assigned: 1,
                    is_default: false,
                    instances: 1,
                    calls: 1,
                    faults: 2,
                    fuel_used: 3,
                };
                let _ = reply.send(self.programs.values().cloned().map(line).collect());
            }
        }
    }

    fn stats(&self) -> ShardStats {
        ShardStats {
            shard: self.shard,
            address: Some("127.0.0.1:7180".parse().unwrap()),
            core: None,
            vnodes: 2_048,
            counters: vec![Counter { name: "events_applied", help: "Events counted", value: 41 }],
            levels: vec![Level {
                name: "tenants",
                help: "Tenants with a window",
                now: self.tenants.len() as u64,
                max: 50,
                high_water: 9,
            }],
            refused: vec![(Refusal::Future, 3)],
        }
    }
}

/// A library without engines: whatever `cat` makes of a module passes for its artefact, and a
/// module that begins with "bad" is rejected.
fn library() -> Library {
    let script = r#"wasm=$(cat)
case $wasm in bad*) echo '{"message":"no memory (at byte 7)"}' >&2; exit 3;; esac
printf %s "$wasm""#;
    let arguments = vec!["-c".to_owned(), script.to_owned()];
    let time_max = Duration::from_secs(30);
    let recipe = Recipe { program: "/bin/sh".into(), arguments, time_max };
    let builder = Builder::new(Compiler::new(recipe), None);
    Library::new(builder, Vec::new(), Some(ProgramName::trending()), 2)
}

/// A desk with two fake shards behind it.
struct Server {
    address: SocketAddr,
    phase: PhaseCell,
    rings: Arc<AtomicUsize>,
    desk: Option<DeskHandle>,
}

impl Server {
    fn start() -> Self {
        Server::start_with(HttpLimits::default(), Duration::from_secs(30), &[])
    }

    fn start_with(limits: HttpLimits, answer_max: Duration, flags: &[&str]) -> Self {
        use clap::Parser;
        let cli = crate::config::Cli::parse_from(
            ["trendsrv", "--shards", "2"].into_iter().chain(flags.iter().copied()),
        );
        let machine = Machine { cores: vec![0, 1], memory_bytes: None };
        let config = Config::load(&cli.flags, &[], &machine).unwrap().config;
        let rings = Arc::new(AtomicUsize::new(0));
        let mut boxes = Vec::new();
        for shard in 0..SHARDS {
            let rung = rings.clone();
            let (post, mails) = mailbox(move || {
                rung.fetch_add(1, Ordering::Relaxed);
            });
            boxes.push(post);
            let fake = Fake { shard, ..Fake::default() };
            let thread = std::thread::Builder::new().name(format!("fake-{shard}"));
            thread.spawn(move || fake.run(&mails)).unwrap();
        }
        let owner = Arc::new(|tenant: trendsrv_proto::TenantId| tenant.vnode() % SHARDS);
        let shards = Shards::new(boxes, owner, answer_max);
        let desk = FrontDesk::bind("127.0.0.1:0".parse().unwrap(), limits).unwrap();
        let address = desk.address().unwrap();
        let phase = PhaseCell::default();
        phase.set(Phase::Ready);
        let plan = MemoryPlan::new(&config);
        let desk = desk.start(&config, plan, shards, library(), phase.clone()).unwrap();
        Server { address, phase, rings, desk: Some(desk) }
    }

    fn get(&self, path: &str) -> Reply {
        self.send("GET", path, &[], b"")
    }

    fn put(&self, path: &str, body: &str) -> Reply {
        self.send("PUT", path, &[], body.as_bytes())
    }

    fn delete(&self, path: &str) -> Reply {
        self.send("DELETE", path, &[], b"")
    }

    fn post(&self, path: &str, headers: &[(&str, &str)], body: &str) -> Reply {
        self.send("POST", path, headers, body.as_bytes())
    }

    fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        let mut stream = TcpStream::connect(self.address).unwrap();
        let mut head = format!("{method} {path} HTTP/1.1\r\nhost: t\r\nconnection: close\r\n");
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        head += &format!("content-length: {}\r\n\r\n", body.len());
        stream.write_all(head.as_bytes()).unwrap();
        // A refused body may be cut off while it is being sent; the reply is there all the same.
        let _ = stream.write_all(body);
        Reply::read(&mut stream)
    }

    /// Two tenant names with different owners.
    fn tenants_apart() -> [String; 2] {
        let of = |shard: usize| {
            (0..)
                .map(|i| format!("tenant-{i}"))
                .find(|name| trendsrv_proto::TenantId::of(name).vnode() % SHARDS == shard)
                .unwrap()
        };
        [of(0), of(1)]
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(desk) = self.desk.take() {
            desk.stop().unwrap();
        }
    }
}

#[derive(Debug)]
struct Reply {
    status: u16,
    head: String,
    body: String,
}

impl Reply {
    fn read(stream: &mut TcpStream) -> Self {
        let mut bytes = Vec::new();
        if let Err(error) = stream.read_to_end(&mut bytes) {
            assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}");
        }
        let text = String::from_utf8(bytes).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{text:?}"));
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Reply { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
    }

    #[track_caller]
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// Checks a refusal: its status, its code and words of its message.
    #[track_caller]
    fn is(&self, status: u16, code: &str, words: &str) {
        let json = self.json();
        assert_eq!((self.status, json["code"].as_str()), (status, Some(code)), "{self:?}");
        assert!(json["message"].as_str().unwrap().contains(words), "{self:?}");
    }
}

#[test]
fn events_sent_are_trending() {
    let server = Server::start();
    let body = "{\"topic\":\"mars rover\",\"weight\":3}\n{\"topic\":\"eclipse\"}\n";
    let sent = server.post("/v1/tenants/acme/events", &[], body);
    assert_eq!(sent.status, 200, "{sent:?}");
    assert_eq!(
        sent.json(),
        json!({
            "accepted": 2,
            "duplicates": 0,
            "late": 0,
            "dropped": 0,
            "rejected": [],
            "rejected_count": 0,
        })
    );
    let answer = server.get("/v1/tenants/acme/trending?k=1&rank=count&at=99");
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(
        answer.body,
        "{\"tenant\":\"acme\",\"as_of_ms\":99,\"window_ms\":60000,\"slide_ms\":1000,\"version\":1,\
         \"total\":4,\"events\":0,\"distinct\":2,\"distinct_exact\":true,\"exact\":true,\
         \"certified\":true,\"error_bound\":0,\"late\":0,\"dropped\":0,\"shed\":0,\"topics\":[{\
         \"topic\":\"mars rover\",\"count\":3,\"low\":3,\"high\":3,\"velocity\":-1.234,\
         \"score\":0.500,\"trend\":\"rising\",\"sample\":null}],\"tldr\":null,\"program\":null,\"program_fault\":null}"
    );
    assert!(server.rings.load(Ordering::Relaxed) >= 2, "the doorbell rings for each mail");
}

#[test]
fn names_are_percent_encoded_utf8() {
    let server = Server::start();
    let path = "/v1/tenants/%23en.wikip%C3%A9dia%2Fa/events";
    assert_eq!(server.post(path, &[], "{\"topic\":\"x\"}").status, 200);
    let answer = server.get("/v1/tenants/%23en.wikip%C3%A9dia%2Fa/trending").json();
    assert_eq!(answer["tenant"], "#en.wikipédia/a");
    server.get("/v1/tenants/%FF/trending").is(400, "MALFORMED", "tenant");
    server.get("/v1/tenants/a%0Ab/trending").is(400, "MALFORMED", "control character");
    let long = format!("/v1/tenants/{}/trending", "x".repeat(256));
    server.get(&long).is(400, "TOO_LARGE", "256 bytes");
}

#[test]
fn bad_parameters_are_named() {
    let server = Server::start();
    let bad = |query: &str, words: &str| {
        server.get(&format!("/v1/tenants/a/trending?{query}")).is(400, "MALFORMED", words);
    };
    bad("k=0", "k: must be a whole number from 1 to 100");
    bad("k=101", "k: ");
    bad("k=ten", "k: ");
    bad("rank=best", "rank: must be score or count");
    bad("at=-1", "at: ");
    bad("at=99999999999999999999", "at: ");
    bad("top=3", "top: no such parameter");
    bad("k=1&k=2", "k: given twice");
    server.get("/v1/tenants?limit=251").is(400, "MALFORMED", "limit: ");
    server.get("/v1/tenants?prefix=%0A").is(400, "MALFORMED", "prefix: ");
}

#[test]
fn unknown_things_are_json_too() {
    let server = Server::start();
    server.get("/v1/tenants/nobody/trending").is(404, "UNKNOWN_TENANT", "nobody");
    server.get("/v1/nothing").is(404, "NOT_FOUND", "/v1/nothing");
    let wrong = server.send("DELETE", "/v1/tenants", &[], b"");
    wrong.is(405, "METHOD_NOT_ALLOWED", "DELETE");
    assert!(wrong.head.contains("allow: get"), "{wrong:?}");
}

#[test]
fn bad_lines_are_rejected_and_good_ones_accepted() {
    let server = Server::start();
    let body = "{\"topic\":\"a\"}\n{\"topic\":\"\"}\n{\"topic\":\"collide\"}\n{\"topic\":\"b\"}\nx";
    let reply = server.post("/v1/tenants/t/events", &[], body);
    let json = reply.json();
    assert_eq!((reply.status, &json["accepted"]), (200, &json!(2)), "{reply:?}");
    let codes: Vec<_> = json["rejected"].as_array().unwrap().iter().map(|r| &r["code"]).collect();
    assert_eq!(codes, ["MALFORMED", "ID_COLLISION", "MALFORMED"]);
    let lines: Vec<_> = json["rejected"].as_array().unwrap().iter().map(|r| &r["line"]).collect();
    assert_eq!(lines, [2, 3, 5]);
    let none = server.post("/v1/tenants/t/events", &[], "x\ny\n");
    none.is(400, "MALFORMED", "none of the 2 lines");
    assert_eq!(none.json()["rejected"].as_array().unwrap().len(), 2);
    assert_eq!(server.post("/v1/tenants/t/events", &[], "").status, 200);
}

#[test]
fn mixed_events_reach_their_owners() {
    let server = Server::start();
    let [a, b] = Server::tenants_apart();
    let body = format!(
        "{{\"tenant\":\"{a}\",\"topic\":\"x\"}}\n{{\"tenant\":\"{b}\",\"topic\":\"y\",\"weight\":2}}\n\
         {{\"tenant\":\"{a}\",\"topic\":\"z\"}}\n"
    );
    assert_eq!(server.post("/v1/events", &[], &body).json()["accepted"], 3);
    assert_eq!(server.get(&format!("/v1/tenants/{a}/trending")).json()["total"], 2);
    assert_eq!(server.get(&format!("/v1/tenants/{b}/trending")).json()["total"], 2);
    let list = server.get("/v1/tenants").json();
    let shards: Vec<_> = list["tenants"].as_array().unwrap().iter().map(|t| &t["shard"]).collect();
    assert_eq!(shards.len(), 2);
    assert_ne!(shards[0], shards[1]);
}

#[test]
fn texts_and_topics_of_one_body_reach_their_owners() {
    let server = Server::start();
    let [a, b] = Server::tenants_apart();
    let body = format!(
        "{{\"tenant\":\"{a}\",\"text\":\"said\",\"weight\":2}}\n\
         {{\"tenant\":\"{b}\",\"topic\":\"x\"}}\n\
         {{\"tenant\":\"{b}\",\"topic\":\"x\",\"text\":\"y\"}}\n\
         {{\"tenant\":\"full\",\"text\":\"said\"}}\n\
         {{\"tenant\":\"{b}\",\"text\":\"x\"}}\n"
    );
    let headers = [("trend-producer", "p"), ("trend-seq", "1")];
    let sent = server.post("/v1/events", &headers, &body).json();
    let rejected = sent["rejected"].as_array().unwrap();
    let told: Vec<_> = rejected.iter().map(|r| (r["line"].as_u64(), r["code"].as_str())).collect();
    // The owner of "full" refuses its whole part.
    assert!(told.contains(&(Some(3), Some("MALFORMED"))), "{sent}");
    assert!(told.contains(&(Some(4), Some("TENANTS_FULL"))), "{sent}");
    let lines = body.replace("\"full\"", &format!("\"{a}\""));
    let sent = server.post("/v1/events", &[("trend-producer", "q"), ("trend-seq", "1")], &lines);
    assert_eq!(sent.json()["accepted"], 4, "{sent:?}");
    let again = server.post("/v1/events", &[("trend-producer", "q"), ("trend-seq", "1")], &lines);
    assert_eq!(
        (again.json()["accepted"].as_u64(), again.json()["duplicates"].as_u64()),
        (Some(0), Some(4))
    );
    let counted = server.get(&format!("/v1/tenants/{a}/trending?rank=count")).json();
    assert!(counted["topics"][0]["topic"] == "said", "{counted}");
}

#[test]
fn one_full_owner_costs_its_own_lines_only() {
    let server = Server::start();
    let other = Server::tenants_apart()
        .into_iter()
        .find(|name| {
            let id = trendsrv_proto::TenantId::of;
            id(name).vnode() % SHARDS != id("full").vnode() % SHARDS
        })
        .unwrap();
    let body = format!(
        "{{\"tenant\":\"full\",\"topic\":\"x\"}}\n{{\"tenant\":\"{other}\",\"topic\":\"y\"}}\n"
    );
    let reply = server.post("/v1/events", &[], &body);
    assert_eq!(reply.status, 200);
    let json = reply.json();
    assert_eq!(json["accepted"], 1);
    assert_eq!(
        json["rejected"],
        json!([{ "line": 1, "code": "TENANTS_FULL", "message": "no room" }])
    );
    let alone = server.post("/v1/tenants/full/events", &[], "{\"topic\":\"x\"}");
    alone.is(503, "TENANTS_FULL", "no room");
    assert_eq!(alone.json()["retry_after_ms"], 1_500);
    assert!(alone.head.contains("retry-after: 2"), "{alone:?}");
}

#[test]
fn a_request_sent_twice_counts_once() {
    let server = Server::start();
    let mark = [("Trend-Producer", "p"), ("Trend-Seq", "5")];
    let first = server.post("/v1/tenants/t/events", &mark, "{\"topic\":\"a\"}").json();
    let again = server.post("/v1/tenants/t/events", &mark, "{\"topic\":\"a\"}").json();
    assert_eq!((&first["accepted"], &first["duplicates"]), (&json!(1), &json!(0)));
    assert_eq!((&again["accepted"], &again["duplicates"]), (&json!(0), &json!(1)));
    let other = [("Trend-Producer", "q"), ("Trend-Seq", "5")];
    let other = server.post("/v1/tenants/t/events", &other, "{\"topic\":\"a\"}").json();
    assert_eq!(other["accepted"], 1);
    assert_eq!(server.get("/v1/tenants/t/trending").json()["total"], 2);
}

#[test]
fn bad_headers_are_named() {
    let server = Server::start();
    let bad = |headers: &[(&str, &str)], code: &str, words: &str| {
        server.post("/v1/tenants/t/events", headers, "{\"topic\":\"a\"}").is(400, code, words);
    };
    bad(&[("Trend-Ack", "soon")], "MALFORMED", "Trend-Ack");
    bad(&[("Trend-Producer", "p")], "MALFORMED", "needs Trend-Seq");
    bad(&[("Trend-Seq", "1")], "MALFORMED", "needs Trend-Producer");
    bad(&[("Trend-Producer", "p"), ("Trend-Seq", "x")], "MALFORMED", "Trend-Seq");
    bad(&[("Trend-Producer", "p"), ("Trend-Seq", "0")], "MALFORMED", "from 1");
    bad(&[("Trend-Producer", ""), ("Trend-Seq", "1")], "MALFORMED", "Trend-Producer");
    bad(&[("Trend-Ack", "applied"), ("Trend-Ack", "applied")], "MALFORMED", "given twice");
    let packed = server.post("/v1/events", &[("Content-Encoding", "gzip")], "x");
    packed.is(415, "UNSUPPORTED", "Content-Encoding");
    assert_eq!(server.get("/v1/tenants/t/trending").status, 404, "nothing was applied");
}

#[test]
fn received_is_answered_from_the_queue() {
    let server = Server::start();
    let ack = [("Trend-Ack", "received")];
    let reply = server.post("/v1/tenants/t/events", &ack, "{\"topic\":\"a\"}");
    assert_eq!((reply.status, &reply.json()["accepted"]), (202, &json!(1)));
    // The mailbox keeps its order, so the question comes after the event.
    assert_eq!(server.get("/v1/tenants/t/trending").json()["total"], 1);
}

#[test]
fn a_large_body_is_refused_by_name_of_the_limit() {
    let server = Server::start();
    let line = format!("{{\"topic\":\"{}\"}}\n", "a".repeat(200));
    let fits = line.repeat(HTTP_BODY_BYTES_MAX / line.len());
    let reply = server.post("/v1/tenants/t/events", &[], &fits);
    assert_eq!(reply.status, 200, "{reply:?}");
    let lines = server.post("/v1/events", &[], &"\n".repeat(HTTP_LINES_MAX + 1));
    lines.is(413, "TOO_LARGE", &HTTP_LINES_MAX.to_string());
    let over = vec![b' '; HTTP_BODY_BYTES_MAX + 1];
    let reply = server.send("POST", "/v1/tenants/t/events", &[], &over);
    reply.is(413, "TOO_LARGE", &HTTP_BODY_BYTES_MAX.to_string());
}

#[test]
fn a_chunked_body_is_bounded_as_it_arrives() {
    let server = Server::start();
    let mut stream = TcpStream::connect(server.address).unwrap();
    let head = "POST /v1/events HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\
                transfer-encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    let chunk = [b"8000\r\n".as_slice(), &[b' '; 0x8000], b"\r\n"].concat();
    let chunks = HTTP_BODY_BYTES_MAX / 0x8000 + 1;
    for _ in 0..chunks {
        if stream.write_all(&chunk).is_err() {
            break;
        }
    }
    Reply::read(&mut stream).is(413, "TOO_LARGE", "at most");
}

#[test]
fn pages_of_tenants_meet_without_gap() {
    let server = Server::start();
    let names: Vec<String> = (0..25).map(|i| format!("page-{i:02}")).collect();
    for name in names.iter().chain([&"other".to_owned()]) {
        let path = format!("/v1/tenants/{name}/events");
        assert_eq!(server.post(&path, &[], "{\"topic\":\"a\"}").status, 200);
    }
    let (mut seen, mut after) = (Vec::new(), String::new());
    loop {
        let page = server.get(&format!("/v1/tenants?prefix=page-&limit=10&after={after}")).json();
        for line in page["tenants"].as_array().unwrap() {
            seen.push(line["tenant"].as_str().unwrap().to_owned());
        }
        match page["next"].as_str() {
            Some(next) => next.clone_into(&mut after),
            None => break,
        }
    }
    assert_eq!(seen, names);
}

#[test]
fn a_silent_shard_costs_a_deadline_not_the_desk() {
    let server = Server::start_with(HttpLimits::default(), Duration::from_millis(50), &[]);
    let reply = server.get("/v1/tenants/silent/trending");
    reply.is(503, "OVERLOADED", "did not answer within 50 ms");
    assert!(reply.head.contains("retry-after: 1"), "{reply:?}");
    assert_eq!(server.get("/healthz").status, 200);
}

#[test]
fn a_full_mailbox_refuses_and_a_closed_one_says_so() {
    let (post, mails) = mailbox(|| {});
    let shards = Shards::new(vec![post], Arc::new(|_| 0), Duration::from_secs(30));
    for _ in 0..DESK_MAIL_MAX {
        shards.post(0, DeskMail::Stats(tokio::sync::oneshot::channel().0)).unwrap();
    }
    let full = shards.post(0, DeskMail::Stats(tokio::sync::oneshot::channel().0)).unwrap_err();
    assert_eq!((full.code, full.retry_after_ms), (Refusal::Overloaded, Some(200)));
    assert!(full.message.contains("256 requests wait"), "{full:?}");
    assert_eq!(shards.boxes()[0].high_water(), DESK_MAIL_MAX);
    drop(mails);
    let gone = shards.post(0, DeskMail::Stats(tokio::sync::oneshot::channel().0)).unwrap_err();
    assert!(gone.message.contains("not running"), "{gone:?}");
}

#[test]
fn readiness_follows_the_phase() {
    let server = Server::start();
    assert_eq!(server.get("/readyz").status, 200);
    server.phase.set(Phase::Starting);
    for path in ["/readyz", "/v1/tenants/t/trending", "/v1/shards", "/metrics", "/v1/nothing"] {
        let reply = server.get(path);
        reply.is(503, "NOT_READY", "try again");
        assert!(reply.head.contains("retry-after: 1"), "{path}: {}", reply.head);
    }
    server.post("/v1/tenants/t/events", &[], "{\"topic\":\"a\"}").is(503, "NOT_READY", "again");
    for path in ["/healthz", "/openapi.json", "/"] {
        assert_eq!(server.get(path).status, 200, "{path}");
    }
    server.phase.set(Phase::Draining);
    server.get("/readyz").is(503, "GOAWAY", "draining");
    server.post("/v1/tenants/t/events", &[], "{\"topic\":\"a\"}").is(503, "GOAWAY", "draining");
    assert_eq!(server.get("/healthz").status, 200);
}

#[test]
fn metrics_and_shards_show_every_number() {
    let server = Server::start();
    server.get("/v1/tenants/nobody/trending");
    let metrics = server.get("/metrics");
    assert!(metrics.head.contains("application/openmetrics-text"), "{metrics:?}");
    for line in [
        "trendsrv_shard_up{shard=\"1\"} 1",
        "trendsrv_events_applied_total{shard=\"0\"} 41",
        "trendsrv_tenants_max{shard=\"1\"} 50",
        "trendsrv_tenants_high_water{shard=\"1\"} 9",
        "trendsrv_refused_total{shard=\"0\",code=\"FUTURE\"} 3",
        "trendsrv_http_requests_total{route=\"/v1/tenants/{tenant}/trending\",status=\"404\"} 1",
        "trendsrv_desk_mail_max{shard=\"0\"} 256",
        "trendsrv_http_connections_max 1024",
        "# EOF",
    ] {
        assert!(metrics.body.lines().any(|l| l == line), "{line} is missing: {}", metrics.body);
    }
    for name in ["trendsrv_context_switches_voluntary_total ", "trendsrv_resident_memory_bytes "] {
        assert!(metrics.body.lines().any(|l| l.starts_with(name)), "{name} is missing");
    }
    let shards = server.get("/v1/shards").json();
    assert_eq!(shards["pid"], std::process::id());
    assert_eq!(shards["shards"][1]["shard"], 1);
    assert_eq!(shards["shards"][0]["counters"]["events_applied"], 41);
    let level = json!({ "now": 0, "max": 50, "high_water": 9 });
    assert_eq!(shards["shards"][0]["levels"]["tenants"], level);
    assert_eq!(shards["shards"][0]["refused"]["FUTURE"], 3);
    assert!(shards["memory_planned_bytes"].as_u64().unwrap() > 1 << 20);
}

#[test]
fn a_silent_client_is_cut_and_others_are_served() {
    let limits = HttpLimits { head_max: Duration::from_millis(50), ..HttpLimits::default() };
    let server = Server::start_with(limits, Duration::from_secs(30), &[]);
    let mut silent = TcpStream::connect(server.address).unwrap();
    let mut half = TcpStream::connect(server.address).unwrap();
    half.write_all(b"GET /healthz HTTP/1.1\r\nhost:").unwrap();
    let mut resting = TcpStream::connect(server.address).unwrap();
    resting.write_all(b"GET /healthz HTTP/1.1\r\nhost: t\r\n\r\n").unwrap();
    assert_eq!(server.get("/healthz").status, 200);
    // Each read ends only because the server closes.
    for stream in [&mut silent, &mut half, &mut resting] {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
    }
}

#[test]
fn a_slow_body_is_cut() {
    let limits = HttpLimits { body_max: Duration::from_millis(50), ..HttpLimits::default() };
    let server = Server::start_with(limits, Duration::from_secs(30), &[]);
    let mut slow = TcpStream::connect(server.address).unwrap();
    let head =
        "POST /v1/events HTTP/1.1\r\nhost: t\r\nconnection: close\r\ncontent-length: 100\r\n";
    slow.write_all(format!("{head}\r\n{{").as_bytes()).unwrap();
    Reply::read(&mut slow).is(408, "MALFORMED", "did not arrive within 50 ms");
}

#[test]
fn a_client_that_reads_nothing_is_cut() {
    let limits = HttpLimits { stall_max: Duration::from_millis(50), ..HttpLimits::default() };
    let server = Server::start_with(limits, Duration::from_secs(30), &[]);
    let mut deaf = TcpStream::connect(server.address).unwrap();
    let request = b"GET /openapi.json HTTP/1.1\r\nhost: t\r\n\r\n".repeat(64);
    // Without reading a reply, until the server has given up on this client.
    while deaf.write_all(&request).is_ok() {}
    assert_eq!(server.get("/healthz").status, 200);
}

#[test]
fn connections_over_the_limit_are_told() {
    let limits = HttpLimits { connections_max: 1, ..HttpLimits::default() };
    let server = Server::start_with(limits, Duration::from_secs(30), &[]);
    let mut first = TcpStream::connect(server.address).unwrap();
    first.write_all(b"GET /healthz HTTP/1.1\r\nhost: t\r\n\r\n").unwrap();
    assert!(first.read(&mut [0; 512]).unwrap() > 0);
    let mut second = TcpStream::connect(server.address).unwrap();
    Reply::read(&mut second).is(503, "OVERLOADED", "too many HTTP connections");
}

#[test]
fn stopping_ends_resting_connections() {
    let mut server = Server::start();
    let mut resting = TcpStream::connect(server.address).unwrap();
    resting.write_all(b"GET /healthz HTTP/1.1\r\nhost: t\r\n\r\n").unwrap();
    assert!(resting.read(&mut [0; 512]).unwrap() > 0);
    server.desk.take().unwrap().stop().unwrap();
    assert_eq!(resting.read(&mut [0; 1]).unwrap(), 0);
    assert!(TcpStream::connect(server.address).is_err());
}

#[test]
fn a_port_in_use_is_named_with_the_flag() {
    let server = Server::start();
    let error = FrontDesk::bind(server.address, HttpLimits::default()).unwrap_err().to_string();
    assert!(error.contains(&server.address.to_string()) && error.contains("--http"), "{error}");
}

#[test]
fn the_description_matches_the_routes_and_replies() {
    let document: Value = serde_json::from_str(openapi::DOCUMENT).unwrap();
    let server = Server::start();
    for (path, operations) in document["paths"].as_object().unwrap() {
        let path = path.replace("{tenant}", "nobody").replace("{name}", "nobody");
        for (method, operation) in operations.as_object().unwrap() {
            let reply = server.send(&method.to_ascii_uppercase(), &path, &[], b"");
            let described = operation["responses"].get(reply.status.to_string());
            assert!(described.is_some(), "{method} {path}: {}", reply.status);
            assert_ne!(reply.status, 405, "{method} {path}");
            assert!(!reply.body.contains("no such path"), "{method} {path} is no route");
        }
    }
    let sources = [include_str!("routes.rs"), include_str!("programs.rs")];
    let routes: usize = sources.iter().map(|text| text.matches(".route(\"").count()).sum();
    assert_eq!(document["paths"].as_object().unwrap().len(), routes);
    assert_eq!(server.get("/openapi.json").json(), document);
    server.post("/v1/tenants/t/events", &[], "{\"topic\":\"a\"}");
    let answer = server.get("/v1/tenants/t/trending").json();
    let page = server.get("/v1/tenants").json();
    let uploaded = server.put("/v1/programs/mine", "wasm").json();
    let status = server.put("/v1/tenants/t/program", "{\"program\":\"mine\"}").json();
    let program = server.get("/v1/programs/mine").json();
    let schemas = &document["components"]["schemas"];
    let line = &schemas["TenantPage"]["properties"]["tenants"]["items"];
    for (name, schema, value) in [
        ("answer", &schemas["Answer"], &answer),
        ("topic", &schemas["Topic"], &answer["topics"][0]),
        ("tenant", line, &page["tenants"][0]),
        ("uploaded", &schemas["Uploaded"], &uploaded),
        ("program", &schemas["Program"], &program),
        ("tenant's program", &schemas["TenantProgram"], &status),
    ] {
        let keys =
            |value: &Value| -> Vec<String> { value.as_object().unwrap().keys().cloned().collect() };
        assert_eq!(keys(&schema["properties"]), keys(value), "{name}");
        assert_eq!(schema["required"].as_array().unwrap().len(), keys(value).len(), "{name}");
    }
}
