//! Bytes that no client should send, over a raw socket: each is refused with what and where, nothing
//! of it counts, and the connection lives unless framing is lost.

use crate::harness::{
    DEADLINE, Http, Peer, Refusal, Server, Witness, events_frame, hello, named_frame, resealed,
};
use std::time::{Duration, Instant};
use trendsrv_client::proto::limits::FRAME_BYTES_MAX;
use trendsrv_client::proto::{
    Ack, AckMode, Clock, Frame, GoAway, Kind, NeedEntry, Ping, Refusal as Code, Refuse, RetryClass,
    ShardAddress, SummaryHead, Welcome, encode_define, encode_need, encode_summary,
};

/// Event time of these tests: the servers run by event clock unless a test says otherwise.
const T: u64 = 1_442_016_000_000;

fn server() -> Server {
    Server::start(&["--clock", "event", "--shards", "2"])
}

/// Events counted in windows since the start, over all shards.
fn events_applied(server: &Server) -> u64 {
    let shards = Http(server.http).get("/v1/shards").body;
    let of = |shard: &serde_json::Value| shard["counters"]["events_applied"].as_u64().unwrap();
    shards["shards"].as_array().unwrap().iter().map(of).sum()
}

/// A connection that sends bad frames, and good ones between them to show that it lives.
struct Abused {
    peer: Peer,
    seq: u64,
}

impl Abused {
    fn connect(server: &Server) -> Self {
        Self { peer: Peer::greeted(server.tcp), seq: 1 }
    }

    /// Sends one event that counts.
    fn good(&mut self) {
        self.peer.send(&named_frame(self.seq, &[("good", "t", 1, T)]));
        self.peer.acked(self.seq);
        self.seq += 1;
    }

    /// Sends a frame that is refused and costs nothing but itself.
    fn bad(&mut self, what: &str, frame: &[u8], code: Code) -> Refusal {
        self.peer.send(frame);
        let refused = self.peer.refused();
        assert_eq!(refused.code, code, "{what}: {refused:?}");
        assert_eq!(refused.class, code.class(), "{what}: {refused:?}");
        assert!(!refused.message.is_empty(), "{what}");
        self.good();
        refused
    }
}

#[test]
fn every_malformed_vector_is_refused_as_documented() {
    let server = server();
    let mut witness = Witness::new(&server, T);
    let vectors = include_str!("../../docs/protocol-vectors.json");
    let vectors: serde_json::Value = serde_json::from_str(vectors).unwrap();
    let malformed = vectors["malformed"].as_array().unwrap();
    let mut abused = Abused::connect(&server);
    let mut good_events = 0;
    for vector in malformed {
        let name = vector["name"].as_str().unwrap();
        let frame = from_hex(vector["hex"].as_str().unwrap());
        let lost = ["check", "length"].contains(&vector["rule"].as_str().unwrap());
        let first = frame[4] == Kind::Hello as u8 && !lost;
        let refused = if first || lost {
            let mut peer = Peer::silent(server.tcp);
            if lost {
                peer.send(&hello(0, 0, AckMode::Applied));
                peer.welcome();
            }
            peer.send(&frame);
            let refused = peer.refused();
            peer.closed();
            refused
        } else {
            abused.peer.send(&frame);
            let refused = abused.peer.refused();
            abused.good();
            good_events += 1;
            refused
        };
        assert_eq!(refused.code.name(), vector["refusal"].as_str().unwrap(), "{name}");
        let index = vector["index"].as_u64().and_then(|index| u32::try_from(index).ok());
        assert_eq!(refused.index, index, "{name}: {refused:?}");
        let tag = u32::from_le_bytes(frame[8..12].try_into().unwrap());
        let named = if lost { (0, 0) } else { (frame[4], tag) };
        assert_eq!((refused.kind, refused.tag), named, "{name}: {refused:?}");
        witness.works();
    }
    assert!(good_events > 40, "the vectors are read");
    assert_eq!(events_applied(&server), good_events + witness.events);
    drop((witness, abused));
    server.stop();
}

fn from_hex(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

#[test]
fn a_frame_of_events_with_one_fault_counts_nothing() {
    let server = server();
    let mut witness = Witness::new(&server, T);
    let mut abused = Abused::connect(&server);
    let victim = [("victim", "a", 1, T), ("victim", "b", 1, T), ("other", "c", 1, T)];
    let spoil = |at: usize, bytes: &[u8]| {
        let mut frame = events_frame(abused.seq, &victim);
        frame[at..at + bytes.len()].copy_from_slice(bytes);
        resealed(3, 0, 0, &frame[16..])
    };
    // The weight of record 2, the count, and the base time of a frame of three records.
    let (weight, count, base) = (40 + 2 * 24 + 16, 36, 24);
    let cases = [
        ("weight 0", spoil(weight, &0_u32.to_le_bytes()), Some(2), "weight is 0"),
        ("weight", spoil(weight, &1_000_000_001_u32.to_le_bytes()), Some(2), "1000000001"),
        ("count high", spoil(count, &4_u32.to_le_bytes()), None, "records"),
        ("count low", spoil(count, &2_u32.to_le_bytes()), None, "too many"),
        ("base_ms", spoil(base, &u64::MAX.to_le_bytes()), None, "base_ms"),
    ];
    for (what, mut frame, index, words) in cases {
        frame[16..24].copy_from_slice(&abused.seq.to_le_bytes());
        let frame = resealed(3, 0, 0, &frame[16..]);
        let seq = abused.seq;
        let refused = abused.bad(what, &frame, Code::Malformed);
        assert_eq!((refused.index, refused.seq, refused.expected_seq), (index, seq, seq), "{what}");
        assert!(refused.message.contains(words), "{what}: {}", refused.message);
        assert_eq!(abused.peer.total("victim") + abused.peer.total("other"), 0, "{what}");
        witness.works();
    }
    let mut frame = events_frame(abused.seq, &victim);
    frame[50] ^= 1;
    let refused = abused.bad("a flipped bit", &frame, Code::Malformed);
    // With a wrong checksum not even its number is believed.
    assert_eq!((refused.kind, refused.seq), (3, 0), "{refused:?}");
    assert!(refused.message.contains("CRC32C"), "{}", refused.message);
    assert_eq!(abused.peer.total("victim"), 0);
    drop((witness, abused));
    server.stop();
}

#[test]
fn too_many_events_are_refused_and_the_credit_comes_back() {
    let server = server();
    let mut abused = Abused::connect(&server);
    let many: Vec<_> = (0..4_096).map(|_| ("victim", "a", 1, T)).collect();
    let mut body = events_frame(1, &many)[16..].to_vec();
    body.extend_from_within(body.len() - 24..);
    body[20..24].copy_from_slice(&4_097_u32.to_le_bytes());
    let refused = abused.bad("4097 events", &resealed(3, 0, 0, &body), Code::TooLarge);
    assert_eq!(refused.seq, 1);
    assert_eq!(abused.peer.total("victim"), 0);
    drop(abused);
    server.stop();
}

#[test]
fn names_that_are_none_and_ids_of_other_names_are_refused() {
    let server = server();
    let mut abused = Abused::connect(&server);
    for (what, name) in [("utf8", &b"\xff\xfe"[..]), ("control", b"\x07x"), ("empty", b"")] {
        let mut body = named_frame(abused.seq, &[("victim", "xx", 1, T)])[16..].to_vec();
        let topic = body.len() - 2;
        body.truncate(topic);
        body.extend(name);
        body[25] = u8::try_from(name.len()).unwrap();
        let refused = abused.bad(what, &resealed(4, 0, 0, &body), Code::Malformed);
        assert_eq!(refused.index, Some(0), "{what}: {refused:?}");
        assert_eq!(abused.peer.total("victim"), 0, "{what}");
    }
    let mut frame = Vec::new();
    let names = [(trendsrv_client::proto::NameKind::Topic, "t"); 2];
    encode_define(&mut frame, names);
    let second = frame.len() - 9;
    frame[second] ^= 1;
    let frame = resealed(5, 0, 0, &frame[16..]);
    let refused = abused.bad("wrong id", &frame, Code::Malformed);
    assert_eq!((refused.index, refused.seq), (Some(1), 0), "{refused:?}");
    let answer = abused.peer.query("good", None).unwrap();
    assert_eq!(answer.topics[0].name, "t");
    drop(abused);
    server.stop();
}

#[test]
fn frames_of_the_server_and_a_second_hello_are_refused() {
    let server = server();
    let mut abused = Abused::connect(&server);
    let mut frames: Vec<Vec<u8>> = (0..8).map(|_| Vec::new()).collect();
    encode_need(&mut frames[0], &[NeedEntry::new(trendsrv_client::proto::NameKind::Topic, 1)]);
    Ack::new(9, 1 << 40).encode(&mut frames[1]);
    let refuse = Refuse {
        seq: 1,
        expected_seq: 1,
        code: Code::Malformed,
        class: RetryClass::Never,
        kind: 3,
        retry_after_ms: 0,
        index: None,
        message: "",
    };
    refuse.encode(&mut frames[2], 0);
    for (frame, kind) in [(3, Kind::Summary), (4, Kind::Update)] {
        let head = SummaryHead::default();
        encode_summary(&mut frames[frame], kind, 0, &head, ("", ""), std::iter::empty());
    }
    GoAway { drain_ms: 1, message: "" }.encode(&mut frames[5]);
    let welcome = Welcome {
        ack: AckMode::Applied,
        clock: Clock::Event,
        generation: 1,
        server_time_ms: T,
        credit_until: 1 << 40,
        next_seq: 1,
        slide_ms: 1_000,
        panes: 60,
        shard: 0,
    };
    welcome.encode(&mut frames[6], &[0; 4_096], &[ShardAddress::new(server.tcp)]);
    frames[7] = hello(0, 0, AckMode::Applied);
    for frame in &frames {
        let refused = abused.bad("direction", frame, Code::Malformed);
        assert_eq!(refused.kind, frame[4], "{refused:?}");
    }
    drop(abused);
    server.stop();
}

/// Bytes after which the connection ends, on a new connection or behind a greeting.
#[test]
fn lost_framing_and_a_bad_start_close_the_connection_and_no_other() {
    let server = server();
    let mut witness = Witness::new(&server, T);
    let header = |length: u32| {
        let mut frame = resealed(13, 0, 0, &7_u64.to_le_bytes());
        frame[..4].copy_from_slice(&length.to_le_bytes());
        let check = crc32c::crc32c_append(crc32c::crc32c(&frame[..6]), &frame[8..16]);
        frame[6..8].copy_from_slice(&check.to_le_bytes()[..2]);
        frame
    };
    let too_long = u32::try_from(FRAME_BYTES_MAX + 1).unwrap();
    let event = named_frame(1, &[("victim", "a", 1, T)]);
    let mut cut = event.clone();
    cut[1] ^= 1;
    let cases = [
        ("an event before HELLO", false, event, Code::Malformed, 4),
        ("a ping before HELLO", false, resealed(13, 0, 0, &[0; 8]), Code::Malformed, 13),
        ("HTTP", false, b"GET / HTTP/1.1\r\nhost: x\r\n\r\n".to_vec(), Code::Malformed, 0),
        ("durable", false, hello(0, 0, AckMode::Durable), Code::Unsupported, 1),
        ("a bad check", true, cut, Code::Malformed, 0),
        ("too short", true, header(15), Code::Malformed, 0),
        ("too long", true, header(too_long), Code::Malformed, 0),
        ("zeroes", true, vec![0; 64], Code::Malformed, 0),
    ];
    for (what, greets, mut bytes, code, kind) in cases {
        let mut peer = Peer::silent(server.tcp);
        if greets {
            peer.send(&hello(0, 0, AckMode::Applied));
            peer.welcome();
        }
        // What follows lost framing is never looked at.
        bytes.extend(named_frame(1, &[("victim", "a", 1, T)]));
        peer.send(&bytes);
        let refused = peer.refused();
        assert_eq!((refused.code, refused.kind), (code, kind), "{what}: {refused:?}");
        peer.closed();
        witness.works();
    }
    assert_eq!(witness.total("victim"), 0);
    drop(witness);
    server.stop();
}

#[test]
fn sequence_faults_change_nothing_and_duplicates_count_once() {
    let server = server();
    let mut abused = Abused::connect(&server);
    abused.good();
    let victim = [("victim", "a", 5, T)];
    let refused = abused.bad("a gap", &named_frame(9, &victim), Code::SeqGap);
    assert_eq!((refused.seq, refused.expected_seq), (9, 2), "{refused:?}");
    assert_eq!(abused.peer.total("victim"), 0);
    // The same number again: acknowledged, not counted; with other bytes refused.
    abused.peer.send(&named_frame(1, &[("good", "t", 1, T)]));
    abused.peer.acked(1);
    let reused = abused.bad("a number twice", &named_frame(1, &victim), Code::SeqReused);
    assert_eq!((reused.seq, reused.expected_seq), (1, 3), "{reused:?}");
    assert_eq!(abused.peer.total("victim"), 0);
    assert_eq!(abused.peer.total("good"), 3);
    // A filler takes its place and does nothing.
    abused.peer.send(&events_frame(abused.seq, &[]));
    abused.peer.acked(abused.seq);
    abused.seq += 1;
    abused.good();
    assert_eq!(abused.peer.total("good"), 4);
    drop(abused);
    server.stop();
}

#[test]
fn a_frame_beyond_the_credit_is_refused_and_may_come_again() {
    let server = server();
    let mut abused = Abused::connect(&server);
    let many: Vec<_> = (0..700).map(|_| ("victim", "a", 1, T)).collect();
    let frame = events_frame(1, &many);
    assert!(frame.len() > 16 << 10, "beyond the first credit");
    let refused = abused.bad("beyond the credit", &frame, Code::CreditExceeded);
    assert_eq!((refused.seq, refused.expected_seq), (1, 1));
    assert_eq!(abused.peer.total("victim"), 0);
    // By now more credit was granted, for what was sent counts as sent.
    let mut frame = frame;
    frame[16..24].copy_from_slice(&abused.seq.to_le_bytes());
    abused.peer.send(&resealed(3, 0, 0, &frame[16..]));
    abused.peer.acked(abused.seq);
    assert_eq!(abused.peer.total("victim"), 700);
    drop(abused);
    server.stop();
}

#[test]
fn an_event_too_far_ahead_of_the_wall_clock_refuses_its_frame() {
    let server = Server::start(&["--shards", "2"]);
    let (mut peer, welcome) = Peer::producer(server.tcp, 0, 0);
    let now_ms = welcome.server_time_ms;
    assert_eq!(welcome.clock, Clock::Wall);
    let ahead = [("victim", "a", 1, now_ms), ("victim", "b", 1, now_ms + 60_000)];
    for frame in [events_frame(1, &ahead), named_frame(1, &ahead)] {
        peer.send(&frame);
        let refused = peer.refused();
        assert_eq!((refused.code, refused.index), (Code::Future, Some(1)), "{refused:?}");
        assert_eq!((refused.class, refused.expected_seq), (RetryClass::Never, 1));
    }
    peer.send(&named_frame(1, &[("good", "a", 1, now_ms)]));
    peer.acked(1);
    assert_eq!((peer.total("victim"), peer.total("good")), (0, 1));
    let line = format!("{{\"tenant\":\"victim\",\"topic\":\"a\",\"ts\":{}}}", now_ms + 60_000);
    let reply = Http(server.http).post("/v1/events", &[], line.as_bytes());
    assert_eq!((reply.status, &reply.body["rejected"][0]["code"]), (400, &"FUTURE".into()));
    assert_eq!(peer.total("victim"), 0);
    drop(peer);
    server.stop();
}

#[test]
fn a_half_closed_peer_gets_all_its_answers() {
    let server = server();
    let mut peer = Peer::greeted(server.tcp);
    let tenants: Vec<String> = (0..32).map(|n| format!("tenant {n}")).collect();
    let events: Vec<_> = tenants.iter().map(|tenant| (tenant.as_str(), "a", 1, T)).collect();
    let mut bytes = named_frame(1, &events);
    for tag in 1..=4 {
        Ping::new(tag.into()).encode(&mut bytes, Kind::Ping, tag);
    }
    peer.send(&bytes);
    peer.half_close();
    let (mut acked, mut pongs) = (0, 0);
    while let Some(got) = peer.next() {
        match got.frame() {
            Frame::Ack(ack) => acked = ack.seq(),
            Frame::Pong(_) => pongs += 1,
            _ => {}
        }
    }
    assert_eq!((acked, pongs), (1, 4));
    assert_eq!(events_applied(&server), 32);
    drop(peer);
    server.stop();
}

/// All peers wait at once: the slowest limit is 5 s.
#[test]
fn silent_and_slow_peers_are_cut_after_their_time_and_no_other() {
    let server = server();
    let mut witness = Witness::new(&server, T);
    let mut idle = Peer::greeted(server.tcp);
    let start = Instant::now();
    let mut silent = Peer::silent(server.tcp);
    let mut half_hello = Peer::silent(server.tcp);
    half_hello.send(&hello(0, 0, AckMode::Applied)[..20]);
    let frame = named_frame(1, &[("victim", "a", 1, T)]);
    let (mut half_head, mut half_body) = (Peer::greeted(server.tcp), Peer::greeted(server.tcp));
    half_head.send(&frame[..7]);
    half_body.send(&frame[..frame.len() - 1]);
    let mut drips = Peer::greeted(server.tcp);
    let (mut dripped, mut closed) = (0, None);
    while closed.is_none() {
        assert!(dripped < 30 && start.elapsed() < DEADLINE, "{dripped} bytes in 30 drips");
        drips.send(&frame[dripped..=dripped]);
        dripped += 1;
        closed = drips.next_within(Duration::from_millis(400));
        witness.works();
    }
    for (what, peer) in [("silent", &mut silent), ("half a hello", &mut half_hello)] {
        let refused = peer.refused();
        assert_eq!((refused.code, refused.class), (Code::Overloaded, RetryClass::Later), "{what}");
        assert!(refused.message.contains("2000 ms"), "{what}: {}", refused.message);
        peer.closed();
    }
    for (what, peer) in [("half a header", &mut half_head), ("half a body", &mut half_body)] {
        let refused = peer.refused();
        assert!(refused.message.contains("5000 ms"), "{what}: {}", refused.message);
        peer.closed();
    }
    assert!(start.elapsed() >= Duration::from_secs(5), "{:?}", start.elapsed());
    // Between frames a connection may be silent.
    assert_eq!(idle.total("victim"), 0);
    drop((witness, idle, silent, half_hello, drips, half_head, half_body));
    server.stop();
}

#[test]
fn announced_frames_that_never_come_cost_no_memory() {
    let server = server();
    let before = server.resident_bytes();
    let largest = u32::try_from(FRAME_BYTES_MAX).unwrap();
    let mut header = named_frame(1, &[]);
    header[..4].copy_from_slice(&largest.to_le_bytes());
    let check = crc32c::crc32c_append(crc32c::crc32c(&header[..6]), &header[8..16]);
    header[6..8].copy_from_slice(&check.to_le_bytes()[..2]);
    let mut peers: Vec<Peer> = (0..200).map(|_| Peer::greeted(server.tcp)).collect();
    for peer in &mut peers {
        peer.send(&header);
    }
    // An answer behind the last of them shows that all have been read.
    let mut witness = Witness::new(&server, T);
    witness.works();
    let grown = server.resident_bytes().saturating_sub(before);
    assert!(grown < 32 << 20, "{grown} bytes for 200 announced frames");
    drop((peers, witness));
    server.stop();
}

/// Method, path, headers and body.
type Request<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)], &'a [u8]);

#[test]
fn http_refuses_bad_requests_and_says_where() {
    let server = server();
    let http = Http(server.http);
    let big = vec![b'x'; (1 << 20) + 1];
    let one = br#"{"topic":"a"}"#;
    let path = "/v1/tenants/victim/events";
    let cases: [(Request<'_>, u16, &str, &str); 12] = [
        (("POST", path, &[], &big), 413, "TOO_LARGE", "1048576"),
        (("GET", "/v1/nothing", &[], b""), 404, "NOT_FOUND", "/v1/nothing"),
        (("DELETE", path, &[], b""), 405, "METHOD_NOT_ALLOWED", "DELETE"),
        (("GET", "/v1/tenants/nobody/trending", &[], b""), 404, "UNKNOWN_TENANT", "nobody"),
        (("GET", "/v1/tenants/x/trending?k=0", &[], b""), 400, "MALFORMED", "k: "),
        (("GET", "/v1/tenants/x/trending?k=101", &[], b""), 400, "MALFORMED", "100"),
        (("GET", "/v1/tenants/x/trending?rank=best", &[], b""), 400, "MALFORMED", "best"),
        (("GET", "/v1/tenants/x/trending?of=1", &[], b""), 400, "MALFORMED", "of"),
        (("GET", "/v1/tenants/%07/trending", &[], b""), 400, "MALFORMED", "tenant"),
        (("POST", path, &[("trend-ack", "durable")], one), 400, "UNSUPPORTED", "durable"),
        (("POST", path, &[("trend-ack", "soon")], one), 400, "MALFORMED", "soon"),
        (("POST", path, &[("trend-seq", "1")], one), 400, "MALFORMED", "Trend-Producer"),
    ];
    for ((method, path, headers, body), status, code, words) in cases {
        let reply = http.request(method, path, headers, body);
        let what = format!("{method} {path} {headers:?}");
        assert_eq!(reply.status, status, "{what}: {reply:?}");
        assert_eq!(reply.body["code"], code, "{what}: {reply:?}");
        assert!(reply.body["message"].as_str().unwrap().contains(words), "{what}: {reply:?}");
    }
    assert_eq!(http.get("/v1/tenants/victim/trending").status, 404);
    let lines =
        b"{\"topic\":\"a\"}\nnonsense\n\n{\"topic\":\"\"}\n{\"topic\":\"b\",\"weight\":0}\n";
    let reply = http.post(path, &[], lines);
    let rejected = reply.body["rejected"].as_array().unwrap();
    let at: Vec<u64> = rejected.iter().map(|line| line["line"].as_u64().unwrap()).collect();
    assert_eq!((reply.status, at), (200, vec![2, 4, 5]), "{reply:?}");
    assert_eq!(http.post(path, &[], b"nonsense").status, 400);
    let answer = http.get("/v1/tenants/victim/trending").body;
    assert_eq!((&answer["total"], &answer["topics"][0]["topic"]), (&1.into(), &"a".into()));
    server.stop();
}

#[test]
fn a_request_with_a_sequence_number_counts_once() {
    let server = server();
    let http = Http(server.http);
    let mut body = String::new();
    for tenant in ["a", "b", "c", "d", "e", "f", "g", "h"] {
        body.push_str(&format!("{{\"tenant\":\"{tenant}\",\"topic\":\"t\",\"ts\":{T}}}\n"));
    }
    let headers = [("trend-producer", "importer"), ("trend-seq", "1")];
    for (accepted, duplicates) in [(8, 0), (0, 8), (0, 8)] {
        let reply = http.post("/v1/events", &headers, body.as_bytes());
        assert_eq!(reply.status, 200, "{reply:?}");
        assert_eq!(reply.body["accepted"], accepted, "{reply:?}");
        assert_eq!(reply.body["duplicates"], duplicates, "{reply:?}");
    }
    assert_eq!(events_applied(&server), 8);
    server.stop();
}
