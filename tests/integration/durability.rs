//! What was acknowledged `durable` survives the end of the process, however it ends, and counts
//! once whatever is sent again.

use crate::harness::{
    DEADLINE, Event, Exit, Http, Peer, Server, command, escape, hello, named_frame, text_frame,
};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;
use trendsrv_client::proto::{AckMode, Refusal as Code, Welcome};
use trendsrv_client::{Client, Options};

const T: u64 = 1_442_016_000_000;
const TENANTS: usize = 40;

/// A data directory of one test; gone at the end.
struct Data(PathBuf);

impl Data {
    fn new() -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("data-{}-{count}", std::process::id());
        Self(PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name))
    }

    fn flags<'a>(&'a self, more: &[&'a str]) -> Vec<&'a str> {
        let mut flags = vec!["--data-dir", self.0.to_str().unwrap(), "--clock", "event"];
        flags.extend(["--log-segment-bytes", "8MiB"]);
        flags.extend(more);
        flags
    }

    fn start(&self, more: &[&str]) -> Server {
        let mut server = Server::start(&self.flags(more));
        // What a kill interrupted may be told of.
        server.allow("none of which was acknowledged as durable");
        server
    }

    /// What `inspect` says of it.
    fn inspected(&self) -> Value {
        let mut command = Command::new(env!("CARGO_BIN_EXE_trendsrv"));
        let out = command.args(["inspect", "--json"]).arg(&self.0).output().unwrap();
        assert_eq!(out.status.code(), Some(0), "{out:?}");
        serde_json::from_slice(&out.stdout).unwrap()
    }

    /// How a server ends that must not start here.
    fn refused(&self, more: &[&str]) -> Exit {
        let exit = Server::spawn(command(&self.flags(more))).unwrap_err();
        assert_eq!(exit.code, Some(1), "{exit:?}");
        exit
    }
}

impl Drop for Data {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Ends the process as a crash does, at once.
fn kill(server: Server) {
    drop(server);
}

fn names() -> Vec<String> {
    (0..TENANTS).map(|n| format!("tenant {n}")).collect()
}

/// A durable producer's connection that has been greeted.
fn durable(server: &Server, producer: u64) -> (Peer, Welcome) {
    let mut peer = Peer::silent(server.tcp);
    peer.send(&hello(producer, 1, AckMode::Durable));
    let welcome = peer.welcome();
    (peer, welcome)
}

/// Frame `seq`: an event of every third tenant or so, with a topic of its own.
fn frame(seq: u64, names: &[String]) -> Vec<u8> {
    let topic = format!("topic {}", seq % 7);
    let mine = |n: &usize| (*n as u64 + seq).is_multiple_of(3);
    let of = |n: usize| (names[n].as_str(), topic.as_str(), 1, T + seq);
    let events: Vec<Event<'_>> = (0..names.len()).filter(mine).map(of).collect();
    named_frame(seq, &events)
}

/// Weight that every tenant has after frames `1..=last`.
fn totals(last: u64) -> Vec<u64> {
    let of = |n: u64| (1..=last).filter(|seq| (n + seq).is_multiple_of(3)).count() as u64;
    (0..TENANTS as u64).map(of).collect()
}

/// What a server says of every tenant, but for what differs from start to start.
fn answers(http: Http, names: &[String]) -> Vec<Value> {
    let ask = |name: &String| {
        let path = format!("/v1/tenants/{}/trending?rank=count&k=100", escape(name));
        let reply = http.get(&path);
        assert_eq!(reply.status, 200, "{name}: {reply:?}");
        let mut answer = reply.body;
        assert!(answer.as_object_mut().unwrap().remove("version").is_some());
        answer
    };
    names.iter().map(ask).collect()
}

fn totals_of(server: &Server, names: &[String]) -> Vec<u64> {
    let mut reader = Peer::greeted(server.tcp);
    names.iter().map(|name| reader.total(name)).collect()
}

/// A counter of all shards together.
fn counter(http: Http, name: &str) -> u64 {
    let shards = http.get("/v1/shards").body;
    let shards = shards["shards"].as_array().unwrap();
    shards.iter().map(|shard| shard["counters"][name].as_u64().unwrap()).sum()
}

#[test]
fn durable_events_survive_a_kill_and_what_is_sent_again_counts_once() {
    let (data, names) = (Data::new(), names());
    let server = data.start(&["--shards", "2"]);
    let (mut peer, welcome) = durable(&server, 7);
    assert_eq!((welcome.next_seq, welcome.ack), (1, AckMode::Durable));
    (1..=20).for_each(|seq| peer.send(&frame(seq, &names)));
    peer.acked(20);
    let before = answers(server.http(), &names);
    kill(server);

    let server = data.start(&["--shards", "2"]);
    assert_eq!(answers(server.http(), &names), before);
    let (mut peer, welcome) = durable(&server, 7);
    assert_eq!(welcome.next_seq, 21);
    (1..=25).for_each(|seq| peer.send(&frame(seq, &names)));
    peer.acked(25);
    assert_eq!(totals_of(&server, &names), totals(25));
    drop(peer);
    server.stop();
}

#[test]
fn frames_that_a_kill_interrupts_count_once_when_they_come_again() {
    let (data, names) = (Data::new(), names());
    let mut acked = 0;
    for round in 1..=6_u64 {
        let server = data.start(&["--shards", "2"]);
        let (mut peer, welcome) = durable(&server, 7);
        assert!(welcome.next_seq > acked, "{} after {acked}", welcome.next_seq);
        // From the oldest that is not acknowledged, whatever next_seq says.
        let mut sent = 0;
        for seq in acked + 1..=round * 40 {
            let bytes = frame(seq, &names);
            sent += bytes.len() as u64;
            if sent > welcome.credit_until {
                break;
            }
            peer.send(&bytes);
        }
        // Some of it is acknowledged, and the rest of it is on its way when the end comes.
        acked += 1 + round;
        peer.acked(acked);
        kill(server);
    }
    let server = data.start(&["--shards", "2"]);
    let (mut peer, _) = durable(&server, 7);
    for seq in acked + 1..=120 {
        peer.send(&frame(seq, &names));
        peer.acked(seq);
    }
    assert_eq!(totals_of(&server, &names), totals(120));
    drop(peer);
    server.stop();
}

/// A client that knows nothing of the end of its server, of which there are several.
fn a_client_goes_on_over_kills(ack: AckMode) -> (Client, Server, Data, u64) {
    let data = Data::new();
    let mut server = data.start(&["--shards", "2"]);
    let address = server.tcp.to_string();
    let options = Options { producer: Some(7), ack, batch_events: 16, ..Options::default() };
    let mut client = Client::connect(&address, options).unwrap();
    let mut pushed = 0;
    for round in 1..=4_u64 {
        for _ in 0..1_500 {
            let tenant = format!("tenant {}", pushed % TENANTS as u64);
            client.send(&tenant, "topic", 1, T + pushed).unwrap();
            pushed += 1;
        }
        if round < 4 {
            kill(server);
            server = data.start(&["--shards", "2", "--listen", &address]);
        }
    }
    client.flush().unwrap();
    (client, server, data, pushed)
}

#[test]
fn a_durable_client_goes_on_over_kills_and_each_event_counts_once() {
    let (client, server, _data, pushed) = a_client_goes_on_over_kills(AckMode::Durable);
    let counts = client.counts();
    assert_eq!((counts.acked, counts.refused, counts.uncertain), (pushed, 0, 0));
    drop(client);
    let mut reader = Peer::greeted(server.tcp);
    let totals: Vec<u64> = names().iter().map(|name| reader.total(name)).collect();
    assert_eq!(totals, vec![pushed / TENANTS as u64; TENANTS]);
    drop(reader);
    server.stop();
}

#[test]
fn an_applied_client_goes_on_over_kills_and_no_event_counts_twice() {
    let (client, server, _data, pushed) = a_client_goes_on_over_kills(AckMode::Applied);
    let counts = client.counts();
    assert_eq!((counts.acked, counts.refused, counts.uncertain), (pushed, 0, 0));
    drop(client);
    let mut reader = Peer::greeted(server.tcp);
    for name in names() {
        let total = reader.total(&name);
        assert!(total <= pushed / TENANTS as u64, "{name}: {total} counted twice");
        assert!(total > 0, "{name}: the log has none of it");
    }
    drop(reader);
    server.stop();
}

#[test]
fn another_number_of_shards_finds_everything_and_counts_it_once() {
    let (data, names) = (Data::new(), names());
    let mut last = 0;
    let mut before: Option<Vec<Value>> = None;
    for shards in ["1", "2", "3", "2"] {
        let server = data.start(&["--shards", shards]);
        if let Some(before) = &before {
            assert_eq!(&answers(server.http(), &names), before, "with {shards} shards");
        }
        let (mut peer, welcome) = durable(&server, 7);
        assert_eq!(welcome.next_seq, last + 1, "with {shards} shards");
        // The last five come again, under other owners.
        let first = last.saturating_sub(4).max(1);
        last += 10;
        (first..=last).for_each(|seq| peer.send(&frame(seq, &names)));
        peer.acked(last);
        assert_eq!(totals_of(&server, &names), totals(last), "with {shards} shards");
        before = Some(answers(server.http(), &names));
        kill(server);
    }
}

#[test]
fn a_snapshot_and_the_log_behind_it_give_back_what_was_there() {
    let (data, names) = (Data::new(), names());
    let more = ["--shards", "2", "--snapshot-interval", "1s"];
    let server = data.start(&more);
    let (mut peer, _) = durable(&server, 7);
    let until = Instant::now() + DEADLINE;
    let mut last = 0;
    // Frames before, while and after snapshots are taken.
    while last < 20 || counter(server.http(), "snapshots") < 4 {
        assert!(Instant::now() < until, "no snapshot");
        last += 1;
        peer.send(&frame(last, &names));
        peer.acked(last);
    }
    (last + 1..=last + 5).for_each(|seq| peer.send(&frame(seq, &names)));
    last += 5;
    peer.acked(last);
    let before = answers(server.http(), &names);
    kill(server);
    let server = data.start(&more);
    assert_eq!(answers(server.http(), &names), before);
    let (mut peer, welcome) = durable(&server, 7);
    assert_eq!(welcome.next_seq, last + 1);
    (1..=last + 1).for_each(|seq| {
        peer.send(&frame(seq, &names));
        peer.acked(seq);
    });
    assert_eq!(totals_of(&server, &names), totals(last + 1));
    drop(peer);
    server.stop();
}

#[test]
fn texts_samples_and_names_survive_a_kill() {
    let data = Data::new();
    let server = data.start(&["--shards", "2"]);
    let names: Vec<String> = (0..12).map(|n| format!("tenant {n}")).collect();
    let said: Vec<Event<'_>> =
        names.iter().map(|name| (name.as_str(), "rain over #Berlin tonight", 2, T)).collect();
    let (mut peer, _) = durable(&server, 9);
    peer.send(&text_frame(1, &said));
    peer.send(&named_frame(2, &[("tenant 3", "a topic named once", 7, T)]));
    peer.acked(2);
    let before = answers(server.http(), &names);
    assert_eq!(before[3]["topics"][0]["topic"], "a topic named once", "{}", before[3]);
    assert_eq!(before[5]["topics"][0]["sample"], "rain over #Berlin tonight", "{}", before[5]);
    kill(server);
    let server = data.start(&["--shards", "3"]);
    assert_eq!(answers(server.http(), &names), before);
    server.stop();
}

#[test]
fn a_durable_request_survives_a_kill() {
    let data = Data::new();
    let server = data.start(&["--shards", "2"]);
    let mark = [("Trend-Ack", "durable"), ("Trend-Producer", "curl"), ("Trend-Seq", "1")];
    let line = |n: u64| format!("{{\"tenant\":\"tenant {n}\",\"topic\":\"t\",\"ts\":{T}}}\n");
    let body: String = (0..50).map(line).collect();
    let reply = server.http().post("/v1/events", &mark, body.as_bytes());
    assert_eq!((reply.status, &reply.body["accepted"]), (200, &json!(50)), "{reply:?}");
    kill(server);
    let server = data.start(&["--shards", "2"]);
    let reply = server.http().post("/v1/events", &mark, body.as_bytes());
    assert_eq!((reply.status, &reply.body["duplicates"]), (200, &json!(50)), "{reply:?}");
    let mut reader = Peer::greeted(server.tcp);
    assert!((0..50).all(|n| reader.total(&format!("tenant {n}")) == 1));
    let stages = &server.http().get("/v1/latency").body["stages"];
    assert!(stages["log_commit"]["count"].is_u64(), "{stages}");
    assert!(stages["durable_ack"]["p99"].is_u64(), "{stages}");
    drop(reader);
    server.stop();
}

#[test]
fn an_end_in_good_order_keeps_what_was_only_applied() {
    let (data, names) = (Data::new(), names());
    for round in 0..3 {
        let server = data.start(&["--shards", "2"]);
        let (mut peer, welcome) = Peer::producer(server.tcp, 7, 1);
        assert_eq!(welcome.next_seq, round * 10 + 1);
        (round * 10 + 1..=round * 10 + 10).for_each(|seq| peer.send(&frame(seq, &names)));
        peer.acked(round * 10 + 10);
        drop(peer);
        assert_eq!(data.inspected()["in_use"], true);
        server.stop();
        let found = data.inspected();
        assert_eq!((&found["in_use"], &found["sound"]), (&json!(false), &json!(true)), "{found}");
        let shards = found["shards"].as_array().unwrap();
        assert!(shards.len() == 2 && shards.iter().all(|shard| shard["clean"] == true), "{found}");
    }
    let server = data.start(&["--shards", "2"]);
    assert_eq!(totals_of(&server, &names), totals(30));
    server.stop();
}

#[test]
fn a_commit_that_fails_ends_the_server_and_is_never_acknowledged() {
    let (data, names) = (Data::new(), names());
    let plain = command(&data.flags(&["--shards", "1"]));
    // Beyond its limit a write fails, and does not kill the process by a signal.
    let mut shell = Command::new("sh");
    shell.args(["-c", "trap '' XFSZ && exec \"$0\" \"$@\""]);
    shell.arg(plain.get_program()).args(plain.get_args()).env("NO_COLOR", "1");
    let server = Server::spawn(shell).unwrap();
    let (mut peer, _) = durable(&server, 7);
    // Each of these is a commit of a block at least.
    for seq in 1..=20 {
        peer.send(&frame(seq, &names));
        peer.acked(seq);
    }
    let pid = server.pid().to_string();
    let limit = Command::new("prlimit").args(["--pid", &pid, "--fsize=65536:65536"]).status();
    assert!(limit.unwrap().success());
    // In one piece: what is sent after the first commit failed may find the server gone.
    peer.send(&(21..=25).flat_map(|seq| frame(seq, &names)).collect::<Vec<u8>>());
    let exit = server.failed();
    assert_eq!(exit.code, Some(1), "{exit:?}");
    for words in ["shard 0 failed", "seg-", "File too large"] {
        assert!(exit.log.contains(words), "no {words:?} in {}", exit.log);
    }
    assert!(!exit.log.contains("panicked"), "{}", exit.log);
    assert_eq!(peer.acked_until_its_end(), 0, "20 was acknowledged before");
    let server = data.start(&["--shards", "1"]);
    let (mut peer, welcome) = durable(&server, 7);
    assert_eq!(welcome.next_seq, 21);
    (21..=25).for_each(|seq| peer.send(&frame(seq, &names)));
    peer.acked(25);
    assert_eq!(totals_of(&server, &names), totals(25));
    drop(peer);
    server.stop();
}

#[test]
fn one_server_at_a_time_has_a_directory() {
    let data = Data::new();
    let server = data.start(&["--shards", "1"]);
    let exit = data.refused(&["--shards", "1"]);
    assert!(exit.log.contains("in use by another server"), "{}", exit.log);
    server.stop();
    data.start(&["--shards", "1"]).stop();
}

#[test]
fn a_directory_of_other_windows_is_refused_and_left_as_it_is() {
    let data = Data::new();
    data.start(&["--shards", "1"]).stop();
    let exit = data.refused(&["--shards", "1", "--window", "30s"]);
    for words in ["data directory", "was made with", "60000", "30000", "another directory"] {
        assert!(exit.log.contains(words), "no {words:?} in {}", exit.log);
    }
    data.start(&["--shards", "1"]).stop();
}

#[test]
fn a_server_without_a_log_refuses_durable_and_says_what_to_do() {
    let data = Data::new();
    let server = data.start_without_log();
    let mut peer = Peer::silent(server.tcp);
    peer.send(&hello(7, 1, AckMode::Durable));
    let refused = peer.refused();
    assert_eq!(refused.code, Code::Unsupported);
    assert!(refused.message.contains("--data-dir"), "{refused:?}");
    let ack = [("Trend-Ack", "durable")];
    let reply = server.http().post("/v1/tenants/t/events", &ack, b"{\"topic\":\"a\"}");
    assert_eq!((reply.status, &reply.body["code"]), (400, &json!("UNSUPPORTED")), "{reply:?}");
    drop(peer);
    server.stop();
    assert!(data.0.join("programs").is_dir(), "programs are kept all the same");
    assert!(!data.0.join("MANIFEST").exists());
}

impl Data {
    fn start_without_log(&self) -> Server {
        Server::start(&["--data-dir", self.0.to_str().unwrap(), "--no-log", "--shards", "1"])
    }
}
