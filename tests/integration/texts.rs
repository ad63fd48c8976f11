//! Texts end as topics with a sample message, however they come: HTTP, the wire, both clients.

use crate::harness::{DEADLINE, Event, Http, Peer, Server, named_frame, resealed, text_frame};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::process::Command;
use trendsrv_client::proto::{Kind, Rank, Refusal as Code};
use trendsrv_client::{Answer, Client, Options};

const T: u64 = 1_442_016_000_000;

fn server(shards: &str) -> Server {
    Server::start(&["--clock", "event", "--shards", shards])
}

/// Name, count and sample of the topics of an answer over HTTP, largest first.
fn topics(body: &Value) -> Vec<(String, u64, Option<String>)> {
    let rows = body["topics"].as_array().unwrap_or_else(|| panic!("{body}"));
    let word = |value: &Value| value.as_str().map(str::to_owned);
    rows.iter()
        .map(|row| {
            let count = row["count"].as_u64().unwrap();
            (word(&row["topic"]).unwrap(), count, word(&row["sample"]))
        })
        .collect()
}

fn counts(answer: &Answer) -> BTreeMap<&str, u64> {
    answer.topics.iter().map(|topic| (topic.name.as_str(), topic.count)).collect()
}

#[test]
fn texts_over_http_become_topics_with_a_sample() {
    let server = server("2");
    let http = Http(server.http);
    let said = "RT @NASA: the #MarsRover lands!";
    let lines = [
        json!({ "text": said, "weight": 3, "ts": T }),
        json!({ "topic": "#marsrover", "ts": T + 1 }),
        json!({ "text": "", "ts": T }),
        json!({ "topic": "a", "text": "b", "ts": T }),
        json!({ "text": "president announced budget", "ts": T + 2 }),
        json!({ "text": "1 2 3", "ts": T + 2 }),
    ];
    let body: Vec<u8> = lines.iter().flat_map(|line| format!("{line}\n").into_bytes()).collect();
    let headers = [("trend-producer", "p"), ("trend-seq", "1")];
    let path = "/v1/tenants/acme/events";
    let reply = http.post(path, &headers, &body);
    assert_eq!((reply.status, &reply.body["accepted"]), (200, &json!(4)), "{reply:?}");
    let rejected: Vec<_> = reply.body["rejected"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| (line["line"].as_u64(), line["code"].as_str()))
        .collect();
    assert_eq!(rejected, [(Some(3), Some("MALFORMED")), (Some(4), Some("MALFORMED"))]);
    // The same request again counts nothing, topics and texts alike.
    let again = http.post(path, &headers, &body);
    assert_eq!((&again.body["accepted"], &again.body["duplicates"]), (&json!(0), &json!(4)));
    let answer = http.get("/v1/tenants/acme/trending?rank=count").body;
    let want = |name: &str, count, sample: Option<&str>| {
        (name.to_owned(), count, sample.map(str::to_owned))
    };
    let words = Some("president announced budget");
    assert_eq!(
        topics(&answer),
        [
            want("#marsrover", 4, Some(said)),
            want("@nasa", 3, Some(said)),
            want("announced", 1, words),
            want("budget", 1, words),
            want("president", 1, words),
        ]
    );
    let tldr = answer["tldr"].as_str().unwrap();
    assert!(tldr.contains("#marsrover"), "{answer}");
    server.stop();
}

#[test]
fn texts_of_many_tenants_over_http_reach_their_shards() {
    let server = server("2");
    let http = Http(server.http);
    let line = |n: usize| {
        let text = format!("event {n} of #tag{}", n % 3);
        json!({ "tenant": format!("tenant {}", n % 20), "text": text, "ts": T }).to_string()
    };
    let body = (0..200).map(line).collect::<Vec<_>>().join("\n");
    let reply = http.post("/v1/events", &[], body.as_bytes());
    assert_eq!((reply.status, &reply.body["accepted"]), (200, &json!(200)), "{reply:?}");
    for tenant in 0..20 {
        let answer = http.get(&format!("/v1/tenants/tenant%20{tenant}/trending?rank=count")).body;
        assert_eq!(answer["total"], 10, "{answer}");
        assert_eq!(topics(&answer).iter().map(|topic| topic.1).sum::<u64>(), 10, "{answer}");
    }
    server.stop();
}

#[test]
fn texts_on_the_wire_count_once_beside_events_over_three_shards() {
    let server = server("3");
    let names: Vec<String> = (0..30).map(|n| format!("tenant {n}")).collect();
    let said: Vec<Event<'_>> =
        names.iter().map(|name| (name.as_str(), "the #eclipse\nseen from #Berlin", 2, T)).collect();
    let events: Vec<Event<'_>> =
        names.iter().map(|name| (name.as_str(), "#berlin", 5, T)).collect();
    let (mut peer, _) = Peer::producer(server.tcp, 7, 1);
    peer.send(&text_frame(1, &said));
    peer.send(&named_frame(2, &events));
    peer.send(&text_frame(3, &[]));
    peer.acked(3);
    // Duplicates, a gap, and a frame with one fault change nothing.
    peer.send(&text_frame(1, &said));
    peer.send(&text_frame(5, &said));
    let gap = peer.refused();
    let kind = Kind::Text as u8;
    assert_eq!((gap.code, gap.seq, gap.expected_seq, gap.kind), (Code::SeqGap, 5, 4, kind));
    let mut bad = text_frame(4, &said);
    let last = bad.len() - 1;
    bad[last] = 0;
    peer.send(&resealed(kind, 0, 0, &bad[16..]));
    let refused = peer.refused();
    assert_eq!((refused.code, refused.seq, refused.index), (Code::Malformed, 4, Some(29)));
    assert!(refused.message.contains("NUL"), "{refused:?}");
    drop(peer);
    // Another connection of the same producer is told where it stands.
    let (mut again, welcome) = Peer::producer(server.tcp, 7, 1);
    assert_eq!(welcome.next_seq, 4);
    again.send(&text_frame(1, &said));
    again.send(&named_frame(2, &events));
    again.send(&text_frame(3, &[]));
    again.send(&text_frame(4, &said[..1]));
    again.acked(4);
    for (place, name) in names.iter().enumerate() {
        let answer = again.query(name, None).unwrap();
        let twice = if place == 0 { 4 } else { 2 };
        let want = BTreeMap::from([("#berlin", 5 + twice), ("#eclipse", twice)]);
        assert_eq!(counts(&answer), want, "{name}");
        let sample = |name| &answer.topics.iter().find(|t| t.name == name).unwrap().sample;
        assert_eq!(sample("#eclipse"), "the #eclipse seen from #Berlin");
        assert_eq!(sample("#berlin"), "the #eclipse seen from #Berlin");
    }
    drop(again);
    server.stop();
}

#[test]
fn the_client_sends_texts_and_topics_in_one_order() {
    let server = server("2");
    let options = Options { timeout: DEADLINE, batch_events: 50, ..Options::default() };
    let mut client = Client::connect(&server.tcp.to_string(), options).unwrap();
    for n in 0..2_000_u64 {
        let tenant = format!("tenant {}", n % 40);
        let text = format!("message {n} about #topic{}", n % 5);
        client.send_text(&tenant, &text, 1, T + n).unwrap();
        if n % 100 < 40 {
            client.send(&tenant, "#topic0", 10, T + n).unwrap();
        }
    }
    client.flush().unwrap();
    let sent = client.counts();
    assert_eq!((sent.pushed, sent.acked), (2_800, 2_800));
    for tenant in 0..40_u64 {
        let name = format!("tenant {tenant}");
        let answer = client.query(&name, 10, Rank::Count, None).unwrap();
        // 50 texts a tenant of one topic each, as 40 is a multiple of 5; 20 events of weight 10.
        let topic = format!("#topic{}", tenant % 5);
        let mut want = BTreeMap::from([(topic.as_str(), 50)]);
        *want.entry("#topic0").or_insert(0) += 200;
        assert_eq!(counts(&answer), want, "{name}");
        let told = answer.topics.iter().find(|row| row.name == topic).unwrap();
        assert!(told.sample.ends_with(&topic), "{:?}", told.sample);
    }
    drop(client);
    server.stop();
}

#[test]
fn the_python_client_sends_texts() {
    let python = |arguments: &[&str]| {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../clients/python");
        Command::new("python3").args(arguments).current_dir(folder).output()
    };
    if python(&["--version"]).is_err() {
        eprintln!("python3 is not installed: not tested");
        return;
    }
    let server = server("2");
    let address = server.tcp.to_string();
    let ts = T.to_string();
    for (tenant, text) in [("acme", "Lift-off of #Ariane 5"), ("zeta", "#ariane\nagain")] {
        let done = python(&[
            "-m", "trendsrv", "send", "--server", &address, "--tenant", tenant, "--text", text,
            "--ts", &ts, "--weight", "4",
        ])
        .unwrap();
        assert!(done.status.success(), "{done:?}");
        assert_eq!(String::from_utf8_lossy(&done.stdout), "1 events acknowledged, 0 refused\n");
        let told = python(&["-m", "trendsrv", "top", tenant, "--server", &address, "--json"]);
        let told: Value = serde_json::from_slice(&told.unwrap().stdout).unwrap();
        assert_eq!(told["topics"][0]["name"], "#ariane", "{told}");
        assert_eq!(told["topics"][0]["count"], 4, "{told}");
        assert_eq!(told["topics"][0]["sample"], text.replace('\n', " "), "{told}");
    }
    let done =
        python(&["-m", "trendsrv", "send", "--server", &address, "--tenant", "t", "--text", ""])
            .unwrap();
    let told = String::from_utf8_lossy(&done.stderr);
    assert!(!done.status.success() && told.contains("text is empty"), "{told}");
    server.stop();
}
