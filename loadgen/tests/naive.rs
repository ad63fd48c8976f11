//! `loadgen naive` as its users meet it: a process on free ports, spoken to over the wire.
#![allow(clippy::unwrap_used, reason = "the helpers of a test fail it")]

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use trendsrv_client::{Answer, Client, ClientError, Options};
use trendsrv_proto::{
    AckMode, EventRecord, EventsHead, Frame, Hello, Query, Rank, Refusal, Refuse, RetryClass,
    Split, Subscribe, TenantId, TextEvent, TextWriter, TopicId, encode_events, split,
};

/// A foil that runs, gone with its value.
struct Foil {
    child: Child,
    listen: String,
    http: String,
}

impl Foil {
    fn start(more: &[&str]) -> Self {
        let (listen, http) = (free_address(), free_address());
        let child = Command::new(env!("CARGO_BIN_EXE_loadgen"))
            .args(["naive", "--listen", &listen, "--http", &http])
            .args(more)
            .spawn()
            .expect("it starts");
        let mut foil = Self { child, listen, http };
        // The first request waits in the backlog until every thread runs.
        while foil.get("/readyz").is_none() {
            if let Some(status) = foil.child.try_wait().unwrap() {
                panic!("it ended before it was ready: {status}");
            }
            std::thread::yield_now();
        }
        foil
    }

    fn get(&self, path: &str) -> Option<String> {
        let mut stream = TcpStream::connect(&self.http).ok()?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").ok()?;
        let mut reply = String::new();
        stream.read_to_string(&mut reply).ok()?;
        let (head, body) = reply.split_once("\r\n\r\n")?;
        head.starts_with("HTTP/1.1 200").then(|| body.to_owned())
    }

    fn client(&self) -> Client {
        Client::connect(&self.listen, Options::default()).expect("it welcomes a client")
    }

    /// Asks it to end.
    fn end(mut self) -> ExitStatus {
        let kill = format!("kill -TERM {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
        self.child.wait().unwrap()
    }
}

impl Drop for Foil {
    fn drop(&mut self) {
        // It has ended already where the test went well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis().try_into().unwrap()
}

/// The answer with every name: names travel on demand.
fn named(client: &mut Client, tenant: &str, rank: Rank) -> Answer {
    loop {
        let answer = client.query(tenant, 100, rank, None).unwrap();
        if answer.topics.iter().all(|topic| !topic.name.is_empty()) {
            return answer;
        }
        client.turn(Duration::from_millis(5)).unwrap();
    }
}

#[test]
fn events_of_fifty_tenants_are_counted_exactly() {
    let foil = Foil::start(&["--tenants", "50"]);
    let mut client = foil.client();
    let mut truth: HashMap<(String, String), u64> = HashMap::new();
    let at_ms = now_ms();
    for event in 0_u32..6_000 {
        // Some tenants are unknown to it at the start.
        let tenant = format!("tenant-{:06}", event * 7 % 60);
        let (topic, weight) = (format!("topic-{}", event % 13), 1 + event % 3);
        client.send(&tenant, &topic, weight, at_ms).unwrap();
        *truth.entry((tenant, topic)).or_default() += u64::from(weight);
    }
    client.flush().unwrap();
    assert_eq!(client.counts().acked, 6_000);
    for tenant in (0..60).map(|tenant| format!("tenant-{tenant:06}")) {
        let mut want: Vec<_> = truth
            .iter()
            .filter(|((of, _), _)| *of == tenant)
            .map(|((_, topic), weight)| (topic.clone(), *weight))
            .collect();
        want.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        let answer = named(&mut client, &tenant, Rank::Count);
        let got: Vec<_> = answer.topics.iter().map(|t| (t.name.clone(), t.count)).collect();
        assert_eq!(got, want, "{tenant}");
        assert_eq!(answer.head.events, 100, "{tenant}");
        assert!(
            answer.head.flags.exact && answer.head.total == want.iter().map(|t| t.1).sum::<u64>()
        );
    }
    let by_score = named(&mut client, "tenant-000000", Rank::Score);
    assert!(by_score.topics.is_sorted_by(|a, b| a.score_milli >= b.score_milli));
    let told = foil.get("/v1/shards").unwrap();
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    assert_eq!(told["shards"][0]["levels"]["tenants"]["now"], 60);
    assert!(told["shards"][0]["levels"]["window_bytes"]["now"].as_u64().unwrap() > 60 * 100);
    assert_eq!(told["pid"], foil.child.id());
    drop(client);
    assert!(foil.end().success());
}

#[test]
fn a_tenant_without_events_and_a_log_are_refused() {
    let foil = Foil::start(&["--tenants", "2"]);
    let mut client = foil.client();
    for tenant in ["tenant-000000", "nobody"] {
        let error = client.query(tenant, 10, Rank::Count, None).unwrap_err();
        assert!(matches!(&error, ClientError::Refused(r) if r.code == Refusal::UnknownTenant));
    }
    let durable = Options { ack: AckMode::Durable, ..Options::default() };
    let error = Client::connect(&foil.listen, durable).unwrap_err().to_string();
    assert!(error.contains("keeps no log"), "{error}");
    assert!(foil.end().success());
}

/// A connection without the client's help.
struct Raw {
    stream: TcpStream,
    inbox: Vec<u8>,
}

impl Raw {
    fn connect(foil: &Foil) -> Self {
        let stream = TcpStream::connect(&foil.listen).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let (ack, producer, software) = (AckMode::Applied, 7, "test");
        let mut hello = Vec::new();
        Hello { ack, features: 0, producer, epoch: 0, lane: 0, software }.encode(&mut hello);
        let mut raw = Self { stream, inbox: Vec::new() };
        raw.send(&hello);
        raw.next(|frame| assert!(matches!(frame, Frame::HelloOk(_)), "{frame:?}"));
        raw
    }

    fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// The next frame that is not about names.
    fn next<T>(&mut self, read: impl Fn(&Frame<'_>) -> T) -> T {
        loop {
            if let Split::Frame(header, body) = split(&self.inbox) {
                let frame = Frame::parse(header, body).unwrap();
                let is_need = matches!(frame, Frame::Need(_));
                let (length, told) = (header.length(), (!is_need).then(|| read(&frame)));
                self.inbox.drain(..length);
                match told {
                    Some(told) => return told,
                    None => continue,
                }
            }
            let mut bytes = [0; 4_096];
            let count = self.stream.read(&mut bytes).unwrap();
            assert!(count > 0, "the connection ended");
            self.inbox.extend_from_slice(&bytes[..count]);
        }
    }

    fn acknowledged(&mut self) -> u64 {
        self.next(|frame| match frame {
            Frame::Ack(ack) => ack.seq(),
            other => panic!("no ACK: {other:?}"),
        })
    }

    fn refused(&mut self) -> (Refusal, u64, u64, Option<u32>) {
        self.next(|frame| match frame {
            Frame::Refuse(Refuse { code, seq, expected_seq, index, .. }) => {
                (*code, *seq, *expected_seq, *index)
            }
            other => panic!("no REFUSE: {other:?}"),
        })
    }
}

fn events(seq: u64, base_ms: u64, weights: &[u32]) -> Vec<u8> {
    let record = |weight: &u32| EventRecord::new(TenantId::of("t"), TopicId::of("a"), *weight, 0);
    let records: Vec<_> = weights.iter().map(record).collect();
    let mut out = Vec::new();
    encode_events(&mut out, EventsHead::new(seq, base_ms, 1), &records);
    out
}

#[test]
fn a_wrong_frame_costs_itself_only() {
    let foil = Foil::start(&[]);
    let mut raw = Raw::connect(&foil);
    let at_ms = now_ms();
    raw.send(&events(1, at_ms, &[5]));
    assert_eq!(raw.acknowledged(), 1);

    let mut damaged = events(2, at_ms, &[5]);
    *damaged.last_mut().unwrap() ^= 1;
    let cases = [
        (damaged, (Refusal::Malformed, 0, 2, None)),
        (events(2, at_ms, &[5, 0]), (Refusal::Malformed, 2, 2, Some(1))),
        (events(2, at_ms + 60_000, &[5]), (Refusal::Future, 2, 2, Some(0))),
        (events(4, at_ms, &[5]), (Refusal::SeqGap, 4, 2, None)),
    ];
    for (frame, refusal) in cases {
        raw.send(&frame);
        assert_eq!(raw.refused(), refusal);
        assert_eq!(raw.acknowledged(), 1, "credit comes back");
    }
    let mut text = Vec::new();
    let mut writer = TextWriter::new(&mut text, EventsHead::new(2, at_ms, 1));
    writer.push(TextEvent { tenant: "t", text: "hello", weight: 1, offset_ms: 0 }).unwrap();
    writer.finish();
    raw.send(&text);
    assert_eq!(raw.refused(), (Refusal::Unsupported, 2, 2, None));
    assert_eq!(raw.acknowledged(), 1);

    let mut subscribe = Vec::new();
    Subscribe::new(TenantId::of("t"), 10, Rank::Count, true).encode(&mut subscribe, 3);
    raw.send(&subscribe);
    assert_eq!(raw.refused().0, Refusal::Unsupported);

    raw.send(&events(1, at_ms, &[5]));
    assert_eq!(raw.acknowledged(), 1, "a duplicate");
    raw.send(&events(2, at_ms, &[7]));
    assert_eq!(raw.acknowledged(), 2);
    let mut query = Vec::new();
    Query::new(TenantId::of("t"), None, 10, Rank::Count).encode(&mut query, 9);
    raw.send(&query);
    let total = raw.next(|frame| match frame {
        Frame::Summary(summary) => summary.head.total,
        other => panic!("no SUMMARY: {other:?}"),
    });
    assert_eq!(total, 12, "nothing of the refused frames counts, and the duplicate once");

    raw.send(b"GET / HTTP/1.1\r\n\r\n");
    assert_eq!(raw.refused().0, Refusal::Malformed);
    assert_eq!(raw.stream.read(&mut [0]).unwrap_or(0), 0, "framing is lost, so it closes");
    assert!(foil.end().success());
}

#[test]
fn a_lane_goes_on_where_it_was_and_credit_is_held() {
    let foil = Foil::start(&[]);
    let at_ms = now_ms();
    let mut raw = Raw::connect(&foil);
    raw.send(&events(1, at_ms, &[1]));
    assert_eq!(raw.acknowledged(), 1);
    drop(raw);
    let mut raw = Raw::connect(&foil);
    raw.send(&events(1, at_ms, &[1]));
    assert_eq!(raw.acknowledged(), 1, "counted before");
    raw.send(&events(2, at_ms, &[1]));
    assert_eq!(raw.acknowledged(), 2);
    drop(raw);
    let mut raw = Raw::connect(&foil);
    raw.send(&events(3, at_ms, &[1; 1_000]));
    assert_eq!(raw.refused(), (Refusal::CreditExceeded, 3, 3, None));
    assert_eq!(raw.acknowledged(), 0);
    raw.send(&events(3, at_ms, &[1; 1_000]));
    assert_eq!(raw.acknowledged(), 3, "with the credit told it may go");
    assert_eq!(Refusal::CreditExceeded.class(), RetryClass::Resend);
    assert!(foil.end().success());
}

/// What it says and how it ends when it cannot start.
fn fails(shell: &str, more: &str) -> String {
    let foil = env!("CARGO_BIN_EXE_loadgen");
    let (listen, http) = (free_address(), free_address());
    let line = format!("{shell} exec {foil} naive --listen {listen} --http {http} {more}");
    let mut child = Command::new("sh").args(["-c", &line]).stderr(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let said: Vec<_> = lines.map(Result::unwrap).collect();
    assert_eq!(child.wait().unwrap().code(), Some(1), "{said:?}");
    said.join("\n")
}

#[test]
fn the_limit_that_ends_the_starting_of_threads_is_named() {
    // Large stacks: the last of them fails while there is room for words.
    let said = fails("ulimit -v 400000;", "--tenants 100 --stack-bytes 16777216");
    assert!(said.contains("At its limit: RLIMIT_AS = 409600000"), "{said}");
    assert!(said.contains("vm.max_map_count = ") && said.contains("beyond"), "{said}");
}

#[test]
fn what_cannot_be_is_told() {
    let said = fails("", "--futex-slots 3");
    assert!(said.contains("power of two"), "{said}");
    let said = fails("", "--shards 2 --cores 0");
    assert!(said.contains("--shards is 2"), "{said}");
    let said = fails("", "--stack-bytes 100");
    assert!(said.contains("--stack-bytes is 100"), "{said}");
}
