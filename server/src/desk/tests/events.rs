//! Facts about events that are posted.

use super::*;

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
