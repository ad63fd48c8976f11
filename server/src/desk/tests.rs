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

mod events;
mod fake;
mod limits;
mod programs;

use fake::{Fake, library};

const SHARDS: usize = 2;

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
