//! The Rust side of docs/protocol-vectors.json; clients/python/tests is the other.

mod mirror;

use mirror::{Mirror, Named, Refused, Said, Topic, read};
use serde_json::{Value, json};
use trendsrv_proto::{
    Ack, AckMode, Clock, EventRecord, Frame, Lost, Malformed, NameKind, NeedEntry, Ping, Query,
    Rank, Refusal, RetryClass, ShardAddress, Split, Subscribe, SummaryFlags, SummaryHead, TenantId,
    TopicId, TopicRow, Trend, Welcome, limits, split,
};

fn document() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/protocol-vectors.json");
    let text = std::fs::read_to_string(path).expect("docs/protocol-vectors.json is there");
    serde_json::from_str(&text).expect("it is JSON")
}

fn rows(list: &str) -> Vec<Value> {
    let rows = document()[list].as_array().expect("a list").clone();
    assert!(rows.len() > 20, "{list} has {} vectors", rows.len());
    rows
}

fn bytes_of(row: &Value) -> Vec<u8> {
    let hex = text(&row["hex"]);
    let digits = |i: usize| u8::from_str_radix(&hex[i..i + 2], 16).expect("hexadecimal digits");
    (0..hex.len()).step_by(2).map(digits).collect()
}

#[test]
fn ids_and_vnodes_are_those_of_the_file() {
    for row in rows("ids") {
        let id = TenantId::of(text(&row["name"]));
        assert_eq!(hex(id.0), row["id"], "{row}");
        assert_eq!(json!(id.vnode()), row["vnode"], "{row}");
        assert_eq!(TopicId::of(text(&row["name"])).0, id.0);
    }
}

#[test]
fn bytes_decode_to_the_fields() {
    for row in rows("frames") {
        let bytes = bytes_of(&row);
        let Split::Frame(header, body) = split(&bytes) else { panic!("no frame: {row}") };
        let frame = Frame::parse(header, body).unwrap_or_else(|e| panic!("{e}: {row}"));
        assert_eq!(json!(header.tag()), row["tag"]);
        assert_eq!(fields_of(&Mirror::of(&frame), &frame), row["fields"], "{}", row["name"]);
    }
}

#[test]
fn fields_encode_to_the_bytes() {
    for row in rows("frames") {
        let tag = u32::try_from(number(&row["tag"])).expect("a tag has 32 bits");
        let mirror = mirror_of(text(&row["kind"]), &row["fields"]);
        let bytes = bytes_of(&row);
        assert_eq!(mirror.encode(tag), bytes, "{}", row["name"]);
        assert_eq!(read(&bytes), Ok((tag, mirror)), "{}", row["name"]);
    }
}

#[test]
fn every_kind_and_every_refusal_has_its_vectors() {
    let rows = rows("frames");
    for kind in KINDS {
        assert!(rows.iter().filter(|row| row["kind"] == kind).count() >= 2, "{kind}");
    }
    for refusal in Refusal::ALL {
        let of = |row: &&Value| row["fields"]["code"] == refusal.name();
        let row = rows.iter().find(of).unwrap_or_else(|| panic!("{}", refusal.name()));
        assert_eq!(row["fields"]["class"], word_of_class(refusal.class()), "{}", refusal.name());
    }
}

#[test]
fn malformed_frames_are_refused_by_the_rule_they_break() {
    for row in rows("malformed") {
        let bytes = bytes_of(&row);
        let (rule, refusal, index) = match split(&bytes) {
            Split::Lost(Lost::Check { .. }) => ("check", Refusal::Malformed, None),
            Split::Lost(Lost::Length(_)) => ("length", Refusal::Malformed, None),
            Split::Incomplete(_) => panic!("a malformed vector is a whole frame: {row}"),
            Split::Frame(header, body) => match Frame::parse(header, body) {
                Ok(frame) => panic!("{}: {frame:?}", row["name"]),
                Err(malformed) => (rule(&malformed), malformed.refusal(), malformed.index()),
            },
        };
        let want = (&row["rule"], &row["refusal"], &row["index"]);
        assert_eq!((&json!(rule), &json!(refusal.name()), &json!(index)), want, "{}", row["name"]);
    }
}

const fn rule(malformed: &Malformed) -> &'static str {
    match malformed {
        Malformed::Crc { .. } => "crc",
        Malformed::Kind(_) => "kind",
        Malformed::Flags(_) => "flags",
        Malformed::Short { .. } => "short",
        Malformed::Trailing { .. } => "trailing",
        Malformed::NotUtf8 { .. } => "utf8",
        Malformed::Name { .. } => "name",
        Malformed::Text { .. } => "text",
        Malformed::WrongId { .. } => "wrong_id",
        Malformed::Range { .. } => "range",
        Malformed::Entry { .. } => "entry",
        Malformed::TooMany { .. } => "too_many",
        Malformed::Magic(_) => "magic",
        Malformed::Version(_) => "version",
    }
}

const KINDS: [&str; 16] = [
    "hello",
    "hello_ok",
    "events",
    "events_named",
    "define",
    "need",
    "ack",
    "refuse",
    "query",
    "summary",
    "subscribe",
    "update",
    "ping",
    "pong",
    "goaway",
    "text",
];
const ACKS: [(&str, AckMode); 4] = [
    ("none", AckMode::None),
    ("received", AckMode::Received),
    ("applied", AckMode::Applied),
    ("durable", AckMode::Durable),
];
const FLAGS: [&str; 4] = ["known", "exact", "distinct_exact", "certified"];

// --- From a frame to the fields of the file -------------------------------------------------

fn fields_of(mirror: &Mirror, frame: &Frame<'_>) -> Value {
    match mirror {
        Mirror::Hello { ack, features, producer, epoch, lane, software } => json!({
            "ack": word_of_ack(*ack), "features": hex(*features), "producer": hex(*producer),
            "epoch": epoch, "lane": lane, "software": software,
        }),
        Mirror::HelloOk { welcome, vnodes, addresses } => {
            let Frame::HelloOk(ok) = frame else { panic!("not HELLO_OK") };
            hello_ok_fields(welcome, vnodes, addresses, ok.frame_limits())
        }
        Mirror::Events { head: (seq, base_ms, generation), records } => json!({
            "seq": seq, "base_ms": base_ms, "generation": generation,
            "events": records.iter().map(|r| json!({
                "tenant": hex(r.tenant().0), "topic": hex(r.topic().0),
                "weight": r.weight(), "offset_ms": r.offset_ms(),
            })).collect::<Vec<_>>(),
        }),
        Mirror::EventsNamed { head: (seq, base_ms, generation), events } => json!({
            "seq": seq, "base_ms": base_ms, "generation": generation,
            "events": events.iter().map(|e| json!({
                "tenant": e.tenant, "topic": e.topic, "weight": e.weight, "offset_ms": e.offset_ms,
            })).collect::<Vec<_>>(),
        }),
        Mirror::Define { names } => json!({ "names": names.iter().map(|(kind, id, name)| json!({
            "kind": word_of_name_kind(*kind), "id": hex(*id), "name": name,
        })).collect::<Vec<_>>() }),
        Mirror::Need { entries } => json!({ "ids": entries.iter().map(|entry| json!({
            "kind": word_of_name_kind(entry.kind()), "id": hex(entry.id()),
        })).collect::<Vec<_>>() }),
        Mirror::Ack(ack) => json!({ "seq": ack.seq(), "credit_until": ack.credit_until() }),
        Mirror::Refuse(r) => json!({
            "seq": r.seq, "expected_seq": r.expected_seq, "code": r.code.name(),
            "class": word_of_class(r.class), "kind": r.kind, "retry_after_ms": r.retry_after_ms,
            "index": r.index, "message": r.message,
        }),
        Mirror::Query(q) => json!({
            "tenant": hex(q.tenant().0), "at_ms": q.at_ms(), "k": q.k(),
            "rank": word_of_rank(q.rank()),
        }),
        Mirror::Subscribe(s) => json!({
            "tenant": hex(s.tenant().0), "k": s.k(), "rank": word_of_rank(s.rank()), "on": s.on(),
        }),
        Mirror::Summary { head, tldr, program, topics, .. } => {
            summary_fields(head, tldr, program, topics)
        }
        Mirror::Ping(ping) | Mirror::Pong(ping) => json!({ "nonce": hex(ping.nonce()) }),
        Mirror::GoAway { drain_ms, message } => {
            json!({ "drain_ms": drain_ms, "message": message })
        }
        Mirror::Text { head: (seq, base_ms, generation), texts } => json!({
            "seq": seq, "base_ms": base_ms, "generation": generation,
            "events": texts.iter().map(|e| json!({
                "tenant": e.tenant, "text": e.text, "weight": e.weight, "offset_ms": e.offset_ms,
            })).collect::<Vec<_>>(),
        }),
    }
}

fn hello_ok_fields(
    welcome: &Welcome,
    vnodes: &[u16],
    addresses: &[ShardAddress],
    (frame_bytes_max, frame_events_max): (u32, u32),
) -> Value {
    let runs = vnodes.chunk_by(|a, b| a == b).map(|run| json!([run[0], run.len()]));
    let sockets = addresses.iter().map(|a| a.socket().expect("a known family").to_string());
    json!({
        "ack": word_of_ack(welcome.ack),
        "clock": if welcome.clock == Clock::Wall { "wall" } else { "event" },
        "generation": welcome.generation,
        "features": hex(0),
        "server_time_ms": welcome.server_time_ms,
        "credit_until": welcome.credit_until,
        "next_seq": welcome.next_seq,
        "slide_ms": welcome.slide_ms,
        "panes": welcome.panes,
        "frame_bytes_max": frame_bytes_max,
        "frame_events_max": frame_events_max,
        "shard": welcome.shard,
        "addresses": sockets.collect::<Vec<_>>(),
        "vnode_runs": runs.collect::<Vec<_>>(),
    })
}

fn summary_fields(head: &SummaryHead, tldr: &str, program: &str, topics: &[Topic]) -> Value {
    let SummaryFlags { known, exact, distinct_exact, certified } = head.flags;
    let set = [known, exact, distinct_exact, certified];
    let words = FLAGS.iter().zip(set).filter(|(_, is_set)| *is_set);
    let topic = |t: &Topic| {
        json!({
            "topic": hex(t.row.topic.0), "count": t.row.count, "low": t.row.low,
            "high": t.row.high, "velocity_milli": t.row.velocity_milli,
            "score_milli": t.row.score_milli, "trend": t.row.trend.name(),
            "name": t.name, "sample": t.sample,
        })
    };
    json!({
        "tenant": hex(head.tenant.0), "as_of_ms": head.as_of_ms, "version": head.version,
        "total": head.total, "events": head.events, "distinct": head.distinct,
        "error_bound": head.error_bound, "late": head.late, "dropped": head.dropped,
        "shed": head.shed, "window_ms": head.window_ms, "slide_ms": head.slide_ms,
        "flags": words.map(|(word, _)| word).collect::<Vec<_>>(),
        "tldr": tldr, "program": program,
        "topics": topics.iter().map(topic).collect::<Vec<_>>(),
    })
}

// --- From the fields of the file to a frame --------------------------------------------------

fn mirror_of(kind: &str, f: &Value) -> Mirror {
    match kind {
        "hello" => Mirror::Hello {
            ack: ack_of(&f["ack"]),
            features: id(&f["features"]),
            producer: id(&f["producer"]),
            epoch: small(&f["epoch"]),
            lane: small(&f["lane"]),
            software: owned(&f["software"]),
        },
        "hello_ok" => hello_ok_of(f),
        "events" => Mirror::Events { head: head_of(f), records: list(&f["events"], record_of) },
        "events_named" => {
            Mirror::EventsNamed { head: head_of(f), events: list(&f["events"], named_of) }
        }
        "define" => Mirror::Define {
            names: list(&f["names"], |n| {
                (name_kind_of(&n["kind"]), id(&n["id"]), owned(&n["name"]))
            }),
        },
        "need" => Mirror::Need {
            entries: list(&f["ids"], |n| NeedEntry::new(name_kind_of(&n["kind"]), id(&n["id"]))),
        },
        "ack" => Mirror::Ack(Ack::new(number(&f["seq"]), number(&f["credit_until"]))),
        "refuse" => Mirror::Refuse(refuse_of(f)),
        "query" => {
            let tenant = TenantId(id(&f["tenant"]));
            Mirror::Query(Query::new(tenant, f["at_ms"].as_u64(), small(&f["k"]), rank_of(f)))
        }
        "subscribe" => {
            let (tenant, on) = (TenantId(id(&f["tenant"])), f["on"] == true);
            Mirror::Subscribe(Subscribe::new(tenant, small(&f["k"]), rank_of(f), on))
        }
        "summary" => summary_of(f, false),
        "update" => summary_of(f, true),
        "ping" => Mirror::Ping(Ping::new(id(&f["nonce"]))),
        "pong" => Mirror::Pong(Ping::new(id(&f["nonce"]))),
        "goaway" => {
            Mirror::GoAway { drain_ms: small(&f["drain_ms"]), message: owned(&f["message"]) }
        }
        "text" => Mirror::Text { head: head_of(f), texts: list(&f["events"], said_of) },
        _ => panic!("no kind is called {kind}"),
    }
}

fn hello_ok_of(f: &Value) -> Mirror {
    let run = |run: &Value| vec![small::<u16>(&run[0]); small::<u16>(&run[1]).into()];
    Mirror::HelloOk {
        welcome: Welcome {
            ack: ack_of(&f["ack"]),
            clock: if f["clock"] == "wall" { Clock::Wall } else { Clock::Event },
            generation: small(&f["generation"]),
            server_time_ms: number(&f["server_time_ms"]),
            credit_until: number(&f["credit_until"]),
            next_seq: number(&f["next_seq"]),
            slide_ms: small(&f["slide_ms"]),
            panes: small(&f["panes"]),
            shard: small(&f["shard"]),
        },
        vnodes: list(&f["vnode_runs"], run).concat(),
        addresses: list(&f["addresses"], |a| {
            ShardAddress::new(text(a).parse().expect("an address with a port"))
        }),
    }
}

fn head_of(f: &Value) -> mirror::Head {
    (number(&f["seq"]), number(&f["base_ms"]), small(&f["generation"]))
}

fn record_of(e: &Value) -> EventRecord {
    let (tenant, topic) = (TenantId(id(&e["tenant"])), TopicId(id(&e["topic"])));
    EventRecord::new(tenant, topic, small(&e["weight"]), signed(&e["offset_ms"]))
}

fn named_of(e: &Value) -> Named {
    Named {
        tenant: owned(&e["tenant"]),
        topic: owned(&e["topic"]),
        weight: small(&e["weight"]),
        offset_ms: signed(&e["offset_ms"]),
    }
}

fn said_of(e: &Value) -> Said {
    Said {
        tenant: owned(&e["tenant"]),
        text: owned(&e["text"]),
        weight: small(&e["weight"]),
        offset_ms: signed(&e["offset_ms"]),
    }
}

fn refuse_of(f: &Value) -> Refused {
    let code = Refusal::ALL.iter().find(|r| f["code"] == r.name()).expect("a known code");
    let class = (0..4).filter_map(RetryClass::from_u8);
    Refused {
        seq: number(&f["seq"]),
        expected_seq: number(&f["expected_seq"]),
        code: *code,
        class: class.into_iter().find(|c| f["class"] == word_of_class(*c)).expect("a class"),
        kind: small(&f["kind"]),
        retry_after_ms: small(&f["retry_after_ms"]),
        index: f["index"].as_u64().map(|n| u32::try_from(n).expect("32 bits")),
        message: owned(&f["message"]),
    }
}

fn summary_of(f: &Value, update: bool) -> Mirror {
    let flag = |word| f["flags"].as_array().expect("a list").contains(&json!(word));
    Mirror::Summary {
        update,
        head: SummaryHead {
            tenant: TenantId(id(&f["tenant"])),
            as_of_ms: number(&f["as_of_ms"]),
            version: number(&f["version"]),
            total: number(&f["total"]),
            events: number(&f["events"]),
            distinct: number(&f["distinct"]),
            error_bound: number(&f["error_bound"]),
            late: number(&f["late"]),
            dropped: number(&f["dropped"]),
            shed: number(&f["shed"]),
            window_ms: small(&f["window_ms"]),
            slide_ms: small(&f["slide_ms"]),
            flags: SummaryFlags {
                known: flag("known"),
                exact: flag("exact"),
                distinct_exact: flag("distinct_exact"),
                certified: flag("certified"),
            },
        },
        tldr: owned(&f["tldr"]),
        program: owned(&f["program"]),
        topics: list(&f["topics"], topic_of),
    }
}

fn topic_of(t: &Value) -> Topic {
    let trend = (0..4).filter_map(Trend::from_u8).find(|trend| t["trend"] == trend.name());
    Topic {
        row: TopicRow {
            topic: TopicId(id(&t["topic"])),
            count: number(&t["count"]),
            low: number(&t["low"]),
            high: number(&t["high"]),
            velocity_milli: t["velocity_milli"].as_i64().expect("an i64"),
            score_milli: t["score_milli"].as_i64().expect("an i64"),
            trend: trend.expect("a known trend"),
            name: "",
            sample: "",
        },
        name: owned(&t["name"]),
        sample: owned(&t["sample"]),
    }
}

// --- Words and numbers ------------------------------------------------------------------------

fn word_of_ack(ack: AckMode) -> &'static str {
    ACKS.iter().find(|(_, mode)| *mode == ack).expect("every mode").0
}

fn ack_of(word: &Value) -> AckMode {
    ACKS.iter().find(|(name, _)| word == name).expect("a known mode").1
}

const fn word_of_name_kind(kind: NameKind) -> &'static str {
    match kind {
        NameKind::Tenant => "tenant",
        NameKind::Topic => "topic",
    }
}

fn name_kind_of(word: &Value) -> NameKind {
    if word == "tenant" { NameKind::Tenant } else { NameKind::Topic }
}

const fn word_of_rank(rank: Rank) -> &'static str {
    match rank {
        Rank::Score => "score",
        Rank::Count => "count",
    }
}

fn rank_of(f: &Value) -> Rank {
    if f["rank"] == "count" { Rank::Count } else { Rank::Score }
}

const fn word_of_class(class: RetryClass) -> &'static str {
    match class {
        RetryClass::Never => "never",
        RetryClass::Later => "later",
        RetryClass::Resend => "resend",
        RetryClass::Reconnect => "reconnect",
    }
}

fn hex(id: u64) -> String {
    format!("{id:016x}")
}

fn id(value: &Value) -> u64 {
    u64::from_str_radix(text(value), 16).expect("16 hexadecimal digits")
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a string")
}

fn owned(value: &Value) -> String {
    text(value).to_owned()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("not a number of 64 bits: {value}"))
}

fn small<T: TryFrom<u64>>(value: &Value) -> T {
    T::try_from(number(value)).unwrap_or_else(|_| panic!("too large: {value}"))
}

fn signed(value: &Value) -> i32 {
    let number = value.as_i64().expect("a number");
    i32::try_from(number).expect("32 bits")
}

fn list<T>(value: &Value, each: impl FnMut(&Value) -> T) -> Vec<T> {
    value.as_array().expect("a list").iter().map(each).collect()
}

#[test]
fn limits_are_those_of_the_document() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/protocol.md");
    let text = std::fs::read_to_string(path).expect("docs/protocol.md is there");
    let rows = [
        ("whole frame", limits::FRAME_BYTES_MAX as u64, " bytes"),
        ("events in a frame", limits::FRAME_EVENTS_MAX as u64, ""),
        ("entries of DEFINE or NEED", limits::NAMES_PER_FRAME_MAX as u64, ""),
        ("name of a tenant or topic", limits::NAME_BYTES_MAX as u64, " bytes"),
        ("text of an event", limits::TEXT_BYTES_MAX as u64, " bytes"),
        ("ahead of the server's clock", limits::FUTURE_MS_MAX, " ms"),
        ("software in HELLO", limits::SOFTWARE_BYTES_MAX as u64, " bytes"),
        ("topics in an answer, `k`", limits::TOP_K_MAX as u64, ""),
        ("subscriptions of a connection", limits::SUBSCRIPTIONS_MAX as u64, ""),
        ("sample", limits::TEXT_BYTES_MAX as u64, " bytes"),
        ("one-line summary", limits::TLDR_BYTES_MAX as u64, " bytes"),
        ("message of REFUSE, GOAWAY", limits::MESSAGE_BYTES_MAX as u64, " bytes"),
        ("credit at first", limits::CREDIT_INITIAL, " bytes"),
        ("vnodes", limits::VNODES as u64, ""),
        ("shards", limits::SHARDS_MAX as u64, ""),
    ];
    for (what, value, unit) in rows {
        let row = format!("| {what} | {}{unit} |", grouped(value));
        assert!(text.contains(&row), "docs/protocol.md lacks `{row}`");
    }
    assert!(text.contains(&format!("1 to {} ", grouped(limits::WEIGHT_MAX.into()))));
    assert!(text.contains(&format!("{} ms, the year 9999", grouped(limits::TIME_MS_MAX))));
    for refusal in Refusal::ALL {
        let class = format!("{:?}", refusal.class());
        let row = format!("| {} | {} | {class} |", *refusal as u16, refusal.name());
        assert!(text.contains(&row), "docs/protocol.md lacks `{row}`");
    }
}

/// 1048576 as 1,048,576.
fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}
