//! Facts about the routes of programs.

use super::*;

const BODY: &str = "{\"program\":\"mine\"}";

#[test]
fn a_program_is_uploaded_listed_replaced_and_removed() {
    let server = Server::start();
    let first = server.put("/v1/programs/mine", "wasm");
    assert_eq!(first.status, 201, "{first:?}");
    let hash = blake3::hash(b"wasm").to_hex().to_string();
    let told =
        json!({ "name": "mine", "hash": hash, "bytes": 4, "artefact_bytes": 4, "exports": [] });
    assert_eq!(first.json(), told);
    let again = server.put("/v1/programs/mine", "other wasm");
    assert_eq!((again.status, &again.json()["bytes"]), (200, &json!(10)));
    let list = server.get("/v1/programs").json();
    assert_eq!(list["default"], "trending");
    assert_eq!(list["programs"].as_array().unwrap().len(), 1);
    assert_eq!(list["programs"][0], server.get("/v1/programs/mine").json());
    assert_eq!(server.delete("/v1/programs/mine").json(), json!({ "removed": "mine" }));
    server.delete("/v1/programs/mine").is(404, "NOT_FOUND", "no program is called mine");
    server.get("/v1/programs/mine").is(404, "NOT_FOUND", "GET /v1/programs");
    assert_eq!(server.get("/v1/programs").json()["programs"], json!([]));
}

#[test]
fn a_bad_program_is_told_what_is_wrong() {
    let server = Server::start();
    let reply = server.put("/v1/programs/mine", "bad wasm");
    reply.is(422, "PROGRAM_FAILED", "program mine: no memory (at byte 7)");
    server.get("/v1/programs/mine").is(404, "NOT_FOUND", "mine");
    for name in ["Mine", "-x", "a%20b", "%C3%A4", "x%2Fy"] {
        server.put(&format!("/v1/programs/{name}"), "wasm").is(400, "MALFORMED", "a-z");
    }
    let large = vec![b' '; HTTP_BODY_BYTES_MAX + 1];
    server.send("PUT", "/v1/programs/mine", &[], &large).is(413, "TOO_LARGE", "at most");
    let packed = server.send("PUT", "/v1/programs/mine", &[("Content-Encoding", "gzip")], b"");
    packed.is(415, "UNSUPPORTED", "Content-Encoding");
}

#[test]
fn a_tenant_gets_a_program_before_it_has_events_and_gives_it_back() {
    let server = Server::start();
    let path = "/v1/tenants/t/program";
    server.put(path, BODY).is(404, "NOT_FOUND", "no program is called mine");
    server.put("/v1/programs/mine", "wasm");
    let told = server.put(path, BODY);
    assert_eq!(told.status, 200, "{told:?}");
    assert_eq!(told.json()["program"], "mine");
    assert_eq!(told.json()["assigned"], true);
    assert_eq!(told.json()["last_error"], "no fuel left");
    assert_eq!(server.get(path).json(), told.json());
    let program = server.get("/v1/programs/mine").json();
    assert_eq!((&program["assigned"], &program["faults"]), (&json!(1), &json!(2)));
    server.delete("/v1/programs/mine").is(409, "MALFORMED", "1 tenants run mine");
    let back = server.delete(path).json();
    assert_eq!((&back["program"], &back["assigned"]), (&json!("trending"), &json!(false)));
    assert_eq!(server.delete("/v1/programs/mine").status, 200);
}

#[test]
fn assignments_are_bounded() {
    let server = Server::start();
    server.put("/v1/programs/mine", "wasm");
    let assign = |tenant: &str| server.put(&format!("/v1/tenants/{tenant}/program"), BODY);
    assert_eq!((assign("a").status, assign("b").status), (200, 200));
    assign("c").is(409, "TOO_LARGE", "2 tenants are assigned programs already");
    assert_eq!(assign("a").status, 200, "not one more");
    assert_eq!(server.delete("/v1/tenants/a/program").status, 200);
    assert_eq!(assign("c").status, 200);
}

#[test]
fn an_assignment_that_says_nothing_is_malformed() {
    let server = Server::start();
    for (body, words) in [
        ("", "the body must be"),
        ("{}", "missing field `program`"),
        ("{\"program\":\"x\",\"tenant\":\"t\"}", "unknown field `tenant`"),
        ("{\"program\":\"No\"}", "program: \"No\""),
    ] {
        server.put("/v1/tenants/t/program", body).is(400, "MALFORMED", words);
    }
    server.put("/v1/tenants/%00/program", BODY).is(400, "MALFORMED", "tenant");
}

#[test]
fn a_draining_server_changes_no_programs() {
    let server = Server::start();
    server.put("/v1/programs/mine", "wasm");
    server.phase.set(Phase::Draining);
    server.put("/v1/programs/mine", "wasm").is(503, "GOAWAY", "draining");
    server.put("/v1/tenants/t/program", BODY).is(503, "GOAWAY", "draining");
    server.delete("/v1/programs/mine").is(503, "GOAWAY", "draining");
}

#[test]
fn compilations_show_in_the_metrics() {
    let server = Server::start();
    server.put("/v1/programs/mine", "wasm");
    server.put("/v1/programs/mine", "bad");
    let metrics = server.get("/metrics").body;
    for line in [
        "trendsrv_programs_compiled_total 1",
        "trendsrv_programs_not_compiled_total 1",
        "trendsrv_programs_compiling 0",
        "trendsrv_programs_compiling_max 16",
        "trendsrv_programs_compiling_high_water 1",
        "trendsrv_program_cache_hits_total 0",
    ] {
        assert!(metrics.lines().any(|l| l == line), "{line} is missing: {metrics}");
    }
}
