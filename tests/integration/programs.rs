//! Tenant programs on the real process: uploaded, assigned, replaced, failing, kept over a restart.

use crate::harness::{Http, Peer, Reply, Server, command, escape, named_frame};
use crate::wasm::{self, module, saying, with_body};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const T: u64 = 1_442_016_000_000;

/// A directory of its own for one test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let name = format!("{name}-{}", std::process::id());
        Self(PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name))
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }

    fn files_with(&self, end: &str) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(&self.0).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        paths.filter(|path| path.extension().is_some_and(|e| e == end)).collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn put(http: Http, name: &str, wasm: &[u8]) -> Reply {
    http.request("PUT", &format!("/v1/programs/{name}"), &[], wasm)
}

fn assign(http: Http, tenant: &str, program: &str) -> Reply {
    let path = format!("/v1/tenants/{}/program", escape(tenant));
    http.request("PUT", &path, &[], json!({ "program": program }).to_string().as_bytes())
}

fn status(http: Http, tenant: &str) -> Value {
    let reply = http.get(&format!("/v1/tenants/{}/program", escape(tenant)));
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.body
}

fn send(http: Http, tenant: &str, topics: &[&str]) {
    let lines: String =
        topics.iter().map(|topic| format!("{}\n", json!({ "topic": topic }))).collect();
    let reply = http.post(&format!("/v1/tenants/{}/events", escape(tenant)), &[], lines.as_bytes());
    assert_eq!((reply.status, &reply.body["accepted"]), (200, &json!(topics.len())), "{reply:?}");
}

fn trending(http: Http, tenant: &str) -> Value {
    let reply = http.get(&format!("/v1/tenants/{}/trending", escape(tenant)));
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.body
}

/// The answer once its TL;DR is this: instances follow a replacement over some turns.
fn told(http: Http, tenant: &str, tldr: &str) -> Value {
    let until = std::time::Instant::now() + crate::harness::DEADLINE;
    loop {
        let answer = trending(http, tenant);
        if answer["tldr"] == tldr || std::time::Instant::now() > until {
            assert_eq!(answer["tldr"], tldr, "{answer:#}");
            return answer;
        }
    }
}

fn metric(http: Http, name: &str) -> u64 {
    let text = http.get("/metrics").body;
    let text = text.as_str().unwrap();
    let values = text.lines().filter_map(|line| {
        let (key, value) = line.split_once(' ')?;
        (key.split('{').next() == Some(name)).then(|| value.parse::<u64>().unwrap())
    });
    let values: Vec<u64> = values.collect();
    assert!(!values.is_empty(), "no {name} in {text}");
    values.iter().sum()
}

#[test]
fn a_program_is_uploaded_assigned_replaced_and_removed_and_the_window_stays() {
    let server = Server::start(&["--shards", "2"]);
    let http = server.http();
    send(http, "acme", &["a", "a", "b"]);
    let before = trending(http, "acme");
    assert_eq!((&before["program"], &before["program_fault"]), (&json!("trending"), &Value::Null));
    let uploaded = put(http, "mine", &saying("version1"));
    assert_eq!((uploaded.status, &uploaded.body["exports"]), (201, &json!(["summarise"])));
    assert_eq!(assign(http, "acme", "mine").status, 200);
    // Before it has a single event.
    assert_eq!(assign(http, "globex", "mine").status, 200);
    assert_eq!(status(http, "globex")["state"], "idle");
    send(http, "globex", &["x"]);
    for tenant in ["acme", "globex"] {
        assert_eq!(told(http, tenant, "version1")["program"], "mine");
    }
    assert_eq!(trending(http, "acme")["total"], before["total"], "an assignment keeps the window");
    assert_eq!(put(http, "mine", &saying("version2")).status, 200);
    for (tenant, total) in [("acme", 3), ("globex", 1)] {
        let answer = told(http, tenant, "version2");
        assert_eq!(answer["total"], total, "a replacement keeps the window");
        let running = status(http, tenant);
        assert_eq!((&running["state"], &running["assigned"]), (&json!("running"), &json!(true)));
        assert!(running["fuel_used"].as_u64() > Some(0), "{running}");
    }
    let lines = http.get("/v1/tenants").body["tenants"].clone();
    let programs: Vec<&Value> = lines.as_array().unwrap().iter().map(|l| &l["program"]).collect();
    assert_eq!(programs, ["mine", "mine"]);
    let line = http.get("/v1/programs/mine").body;
    assert_eq!((&line["assigned"], &line["instances"]), (&json!(2), &json!(2)));
    let in_use = http.request("DELETE", "/v1/programs/mine", &[], b"");
    assert_eq!(in_use.status, 409, "{in_use:?}");
    for tenant in ["acme", "globex"] {
        let path = format!("/v1/tenants/{tenant}/program");
        assert_eq!(http.request("DELETE", &path, &[], b"").status, 200);
        assert_eq!(trending(http, tenant)["program"], "trending");
    }
    assert_eq!(http.request("DELETE", "/v1/programs/mine", &[], b"").status, 200);
    assert_eq!(assign(http, "acme", "mine").status, 404);
    assert_eq!(put(http, "mine", &saying("version3")).status, 201, "the name is free again");
    assert_eq!(assign(http, "acme", "mine").status, 200);
    told(http, "acme", "version3");
    server.stop();
}

#[test]
fn programs_that_come_with_the_server_are_there_and_stay() {
    let server = Server::start(&[]);
    let http = server.http();
    let list = http.get("/v1/programs").body;
    assert_eq!(list["default"], "trending");
    let names: Vec<&str> =
        list["programs"].as_array().unwrap().iter().map(|p| p["name"].as_str().unwrap()).collect();
    assert!(names.contains(&"trending"), "{names:?}");
    let reply = put(http, "trending", &saying("version1"));
    assert_eq!(reply.status, 409, "{reply:?}");
    assert_eq!(http.request("DELETE", "/v1/programs/trending", &[], b"").status, 409);
    send(http, "acme", &["a"]);
    assert_eq!(told(http, "acme", "\"a\" (1 in 60 s); 1 topic")["program"], "trending");
    assert_eq!(status(http, "acme")["state"], "running");
    assert_eq!(metric(http, "trendsrv_programs_live"), 1);
    server.stop();
}

#[test]
fn without_a_sandbox_the_default_is_plain_rust_and_programs_still_work() {
    let server = Server::start(&["--default-program", "native"]);
    let http = server.http();
    send(http, "acme", &["a"]);
    let answer = trending(http, "acme");
    assert_eq!(answer["tldr"], "\"a\" (1 in 60 s); 1 topic");
    assert_eq!(status(http, "acme")["state"], "native");
    assert_eq!(metric(http, "trendsrv_programs_live"), 0);
    put(http, "mine", &saying("version1"));
    assign(http, "acme", "mine");
    told(http, "acme", "version1");
    server.stop();
}

#[test]
fn a_component_is_a_program_like_any_other() {
    let example = include_bytes!("../../guests/wasm/examples/component.wasm");
    let server = Server::start(&[]);
    let http = server.http();
    let uploaded = put(http, "movers", example);
    let stages = json!(["observe", "observe_text", "summarise", "state"]);
    assert_eq!((uploaded.status, &uploaded.body["exports"]), (201, &stages));
    assert_eq!(assign(http, "acme", "movers").status, 200);
    let lines = b"{\"topic\":\"mars rover\",\"weight\":5000}\n{\"text\":\"look #eclipse\"}\n";
    assert_eq!(http.post("/v1/tenants/acme/events", &[], lines).body["accepted"], 2);
    let line = "\"mars rover\" moves at 100, \"eclipse\" moves at 1; busiest window so far";
    let answer = told(http, "acme", line);
    assert_eq!((&answer["program"], &answer["program_fault"]), (&json!("movers"), &Value::Null));
    assert_eq!(answer["total"], 101, "the program caps what one event counts");
    // A component of no interface of ours.
    let empty = put(http, "empty", b"\0asm\x0d\0\x01\0");
    assert_eq!(empty.status, 422);
    let message = empty.body["message"].as_str().unwrap();
    assert!(message.contains("does not export trend:program/summariser@1.0.0"), "{message}");
}

#[test]
fn a_bad_module_is_refused_and_told_what_is_wrong_with_it() {
    let server = Server::start(&[]);
    let http = server.http();
    let start = module(wasm::SUMMARISE_NOTHING, "(func $s) (start $s)");
    let import = wasm::wat("(module (import \"env\" \"now\" (func (result i64))))");
    let two_pages = wasm::wat(&wasm::text(wasm::SUMMARISE_NOTHING, "").replace("1 1)", "2 2)"));
    let missing = wasm::wat("(module (memory (export \"memory\") 1 1))");
    let abi = wasm::text(wasm::SUMMARISE_NOTHING, "");
    let abi = wasm::wat(&abi.replace("(;abi;) i32.const 1", "i32.const 7"));
    let looping = wasm::text(wasm::SUMMARISE_NOTHING, "");
    let looping = wasm::wat(&looping.replace("(;abi;) i32.const 1", "(loop (br 0)) i32.const 1"));
    let cases: [(&[u8], &str); 8] = [
        (b"not wasm at all", "not a valid WebAssembly 2.0 module"),
        (b"", "not a valid WebAssembly 2.0 module"),
        (&start, "it has a start function"),
        (&import, "it imports \"env\" \"now\""),
        (&two_pages, "its memory has 2 pages"),
        (&missing, "does not export"),
        (&abi, "trend_abi() says 7"),
        (&looping, "trend_abi() failed"),
    ];
    for (wasm, words) in cases {
        let reply = put(http, "mine", wasm);
        assert_eq!(
            (reply.status, &reply.body["code"]),
            (422, &json!("PROGRAM_FAILED")),
            "{reply:?}"
        );
        let message = reply.body["message"].as_str().unwrap();
        assert!(message.starts_with("program mine: ") && message.contains(words), "{message}");
    }
    assert_eq!(http.get("/v1/programs/mine").status, 404);
    server.stop();
}

#[test]
fn a_program_that_fails_costs_its_tenant_the_tldr_and_nobody_else_anything() {
    let server = Server::start(&[]);
    let http = server.http();
    put(http, "bad", &with_body("unreachable"));
    put(http, "endless", &with_body("(loop (br 0)) i32.const 0"));
    for (tenant, program, words) in [("acme", "bad", "unreachable"), ("globex", "endless", "fuel")]
    {
        assign(http, tenant, program);
        send(http, tenant, &["a"]);
        let answer = told(http, tenant, "\"a\" (1 in 60 s); 1 topic");
        assert_eq!(answer["program"], "trending", "the default answers");
        let fault = &answer["program_fault"];
        assert_eq!(fault["code"], "PROGRAM_FAILED", "{answer}");
        assert!(fault["message"].as_str().unwrap().contains(words), "{fault}");
        assert!(fault["retry_at_ms"].as_u64() > Some(0) && fault["faults"].as_u64() > Some(0));
        assert_eq!(status(http, tenant)["state"], "failed");
    }
    send(http, "initech", &["a"]);
    let well = told(http, "initech", "\"a\" (1 in 60 s); 1 topic");
    assert_eq!(
        (&well["program_fault"], &status(http, "initech")["faults"]),
        (&Value::Null, &json!(0))
    );
    assert!(metric(http, "trendsrv_program_faults_total") >= 2);
    // A better version need not wait for the old one's backoff.
    put(http, "bad", &saying("mended!!"));
    assert_eq!(told(http, "acme", "mended!!")["program_fault"], Value::Null);
    server.stop();
}

#[test]
fn a_damaged_cache_is_not_believed_and_heals() {
    let cache = Folder::new("damaged-cache");
    let flags = ["--program-cache", cache.path()];
    let server = Server::start(&flags);
    let shipped = metric(server.http(), "trendsrv_programs_compiled_total");
    assert!(shipped > 0 && metric(server.http(), "trendsrv_program_cache_misses_total") == shipped);
    server.stop();
    let again = Server::start(&flags);
    assert_eq!(metric(again.http(), "trendsrv_programs_compiled_total"), 0);
    assert_eq!(metric(again.http(), "trendsrv_program_cache_hits_total"), shipped);
    again.stop();
    for path in cache.files_with("artefact") {
        let mut bytes = std::fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&path, bytes).unwrap();
    }
    let mut damaged = Server::start(&flags);
    damaged.allow("a compiled program is not what was kept: compiled again");
    assert_eq!(metric(damaged.http(), "trendsrv_program_cache_rejected_total"), shipped);
    assert_eq!(metric(damaged.http(), "trendsrv_programs_compiled_total"), shipped);
    send(damaged.http(), "acme", &["a"]);
    told(damaged.http(), "acme", "\"a\" (1 in 60 s); 1 topic");
    damaged.stop();
    let healed = Server::start(&flags);
    assert_eq!(metric(healed.http(), "trendsrv_program_cache_hits_total"), shipped);
    healed.stop();
}

#[test]
fn a_cache_that_was_asked_for_and_is_open_to_others_refuses_the_start() {
    let cache = Folder::new("open-cache");
    std::fs::create_dir_all(&cache.0).unwrap();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&cache.0, open).unwrap();
    let exit = Server::spawn(command(&["--program-cache", cache.path()])).unwrap_err();
    assert_eq!(exit.code, Some(1), "{exit:?}");
    assert!(exit.log.contains("--program-cache") && exit.log.contains("chmod 700"), "{}", exit.log);
}

#[test]
fn programs_and_assignments_survive_a_restart() {
    let folder = Folder::new("programs");
    let flags = ["--programs-dir", folder.path(), "--shards", "2"];
    let server = Server::start(&flags);
    let http = server.http();
    put(http, "mine", &saying("version1"));
    put(http, "mine", &saying("version2"));
    put(http, "other", &saying("another!"));
    for tenant in ["acme", "globex", "initech"] {
        assert_eq!(assign(http, tenant, "mine").status, 200);
    }
    assign(http, "globex", "other");
    http.request("DELETE", "/v1/tenants/initech/program", &[], b"");
    let other = Server::spawn(command(&flags)).unwrap_err();
    assert!(other.log.contains("in use by another server"), "{}", other.log);
    server.stop();

    let server = Server::start(&[&flags[..], &["--default-program", "other"]].concat());
    let http = server.http();
    for (tenant, program, tldr) in [
        ("acme", "mine", "version2"),
        ("globex", "other", "another!"),
        ("initech", "other", "another!"),
    ] {
        send(http, tenant, &["a"]);
        assert_eq!(told(http, tenant, tldr)["program"], program);
    }
    let is_default = http.request("DELETE", "/v1/programs/other", &[], b"");
    assert_eq!(is_default.status, 409, "{is_default:?}");
    server.stop();

    let exit = Server::spawn(command(&["--default-program", "other"])).unwrap_err();
    assert!(exit.log.contains("no program is called other"), "{}", exit.log);
    let program = folder.files_with("wasm").pop().unwrap();
    std::fs::write(&program, b"changed").unwrap();
    let exit = Server::spawn(command(&flags)).unwrap_err();
    assert!(exit.log.contains("its bytes have changed"), "{}", exit.log);
    let journal = folder.0.join("journal");
    let text = std::fs::read_to_string(&journal).unwrap();
    std::fs::write(&journal, text.replacen("mine", "nine", 1)).unwrap();
    let exit = Server::spawn(command(&flags)).unwrap_err();
    assert!(exit.log.contains("journal:1: its checksum is another"), "{}", exit.log);
}

#[test]
fn a_module_that_compiles_for_ever_is_killed_by_its_own_limit() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_trendsrv"));
    child.args(["compile-program", "--cpu-seconds", "1"]);
    let mut child = child.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    std::io::Write::write_all(&mut stdin, &wasm::slow_to_compile()).unwrap();
    drop(stdin);
    let status = child.wait().unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(libc::SIGXCPU));
}

#[test]
fn while_a_module_compiles_for_ever_others_are_served_and_its_process_ends_with_the_server() {
    let server = Server::start(&[]);
    let http = server.http();
    let body = wasm::slow_to_compile();
    let upload = std::thread::Builder::new().spawn(move || {
        let mut stream = std::net::TcpStream::connect(http.0).unwrap();
        let head = format!(
            "PUT /v1/programs/slow HTTP/1.1\r\nhost: t\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        std::io::Write::write_all(&mut stream, &[head.as_bytes(), &body].concat()).unwrap();
        stream
    });
    let stream = upload.unwrap().join().unwrap();
    let until = std::time::Instant::now() + crate::harness::DEADLINE;
    while metric(http, "trendsrv_programs_compiling") == 0 {
        assert!(std::time::Instant::now() < until, "it is not compiled at all");
    }
    let children = server.children();
    assert_eq!(children.len(), 1, "{children:?}");
    send(http, "acme", &["a"]);
    told(http, "acme", "\"a\" (1 in 60 s); 1 topic");
    // The client that asked for it goes away; the compilation goes on, then ends with the server.
    drop(stream);
    server.stop();
    let gone = || !Path::new(&format!("/proc/{}", children[0])).exists();
    while !gone() {
        assert!(std::time::Instant::now() < until, "process {} lives on", children[0]);
    }
}

/// A recording of three tenants over ten seconds.
fn recording(texts: bool) -> String {
    let mut lines = String::new();
    for n in 0..600_u64 {
        let tenant = ["acme", "globex", "initech"][(n % 3) as usize];
        let topic = format!("topic {}", n * n % 17);
        lines.push_str(&format!("{tenant}\t{}\t{topic}\t{}", T + n * 17, 1 + n % 5));
        lines.push_str(&if texts { format!("\tabout #tag{} now\n", n % 7) } else { "\n".into() });
    }
    lines
}

#[test]
fn a_trial_gives_the_answers_of_a_server() {
    let folder = Folder::new("trial");
    std::fs::create_dir_all(&folder.0).unwrap();
    let (events, program) = (folder.0.join("events.tsv"), folder.0.join("mine.wasm"));
    std::fs::write(&events, recording(false)).unwrap();
    std::fs::write(&program, wasm::odd_topics_only()).unwrap();

    let mut trial = command(&["program-test", program.to_str().unwrap()]);
    let output = trial.args(["--events", events.to_str().unwrap(), "--json"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["records"], 600);
    assert!(
        report["filtered"].as_u64() > Some(0) && report["program"]["faults"] == 0,
        "{report:#}"
    );

    let server = Server::start(&["--clock", "event"]);
    let http = server.http();
    put(http, "mine", &std::fs::read(&program).unwrap());
    for tenant in ["acme", "globex", "initech"] {
        assign(http, tenant, "mine");
    }
    let text = recording(false);
    let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split('\t').collect()).collect();
    let mut peer = Peer::greeted(server.tcp);
    for (seq, rows) in (1..).zip(rows.chunks(100)) {
        let events: Vec<_> = rows
            .iter()
            .map(|row| (row[0], row[2], row[3].parse().unwrap(), row[1].parse().unwrap()))
            .collect();
        peer.send(&named_frame(seq, &events));
        peer.acked(seq);
    }
    for tenant in report["tenants"].as_array().unwrap() {
        let mut offline = tenant["answer"].clone();
        let mut online = trending(http, offline["tenant"].as_str().unwrap());
        // How often it was read is nobody's promise.
        for answer in [&mut offline, &mut online] {
            answer["version"] = Value::Null;
        }
        assert_eq!(offline, online);
    }
    assert_eq!(report["tenants"].as_array().unwrap().len(), 3);
    drop(peer);
    server.stop();
}

#[test]
fn a_trial_shows_faults_filtered_events_and_what_is_wrong_with_its_files() {
    let folder = Folder::new("trial-faults");
    std::fs::create_dir_all(&folder.0).unwrap();
    let events = folder.0.join("events.tsv");
    std::fs::write(&events, recording(true)).unwrap();
    let run = |wasm: &[u8], more: &[&str]| {
        let program = folder.0.join("mine.wasm");
        std::fs::write(&program, wasm).unwrap();
        let mut trial = command(&["program-test", program.to_str().unwrap()]);
        let output =
            trial.args(["--events", events.to_str().unwrap()]).args(more).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let (code, out, _) = run(&with_body("unreachable"), &[]);
    assert_eq!(code, Some(0));
    assert!(out.contains("fault at ") && out.contains("unreachable"), "{out}");
    assert!(out.contains("acme: \"topic"), "the default answers: {out}");
    let (code, out, error) = run(&saying("my words"), &["--texts"]);
    assert_eq!(code, Some(0), "{error}");
    assert!(error.contains("mine exports no observe_text"), "{error}");
    assert!(out.contains("acme: my words") && out.contains("#tag1"), "{out}");
    let (code, _, error) = run(b"junk", &[]);
    assert_eq!(code, Some(1));
    assert!(error.contains("program mine") && error.contains("not a valid WebAssembly"), "{error}");
    std::fs::write(&events, "acme\t1\n").unwrap();
    let (code, _, error) = run(&saying("my words"), &[]);
    assert_eq!(code, Some(1));
    assert!(error.contains("events.tsv:1: 2 columns"), "{error}");
}

#[test]
fn trendctl_does_all_of_it_from_the_command_line() {
    let folder = Folder::new("trendctl");
    std::fs::create_dir_all(&folder.0).unwrap();
    let file = folder.0.join("mine.wasm");
    std::fs::write(&file, saying("from ctl")).unwrap();
    let server = Server::start(&[]);
    let address = server.http.to_string();
    let trendctl = trendctl();
    let run = |arguments: &[&str]| {
        let mut command = Command::new(&trendctl);
        let output =
            command.args(["--http", &address, "program"]).args(arguments).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.success(), text(output.stdout), text(output.stderr))
    };
    let says = |arguments: &[&str], words: &str| {
        let (success, out, error) = run(arguments);
        assert!(success && out.contains(words), "{arguments:?}: {out}{error}");
    };
    says(&["put", "mine", file.to_str().unwrap()], "mine: ");
    says(&["assign", "#acme", "mine"], "#acme: mine (assigned), idle");
    send(server.http(), "#acme", &["a"]);
    told(server.http(), "#acme", "from ctl");
    says(&["status", "#acme"], "running");
    says(&["list"], "mine");
    let (success, _, error) = run(&["remove", "mine"]);
    assert!(!success && error.contains("1 tenants run mine"), "{error}");
    says(&["unassign", "#acme"], "#acme: trending (the default)");
    says(&["remove", "mine"], "removed mine");
    let events = folder.0.join("events.tsv");
    std::fs::write(&events, recording(false)).unwrap();
    let trial = ["test", file.to_str().unwrap(), "--events", events.to_str().unwrap(), "--k", "2"];
    says(&trial, "acme: from ctl");
    server.stop();
}

/// The tool, built like the server, beside it.
fn trendctl() -> PathBuf {
    let server = PathBuf::from(env!("CARGO_BIN_EXE_trendsrv"));
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml");
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "-q", "--offline", "-p", "trendsrv-client", "--bin", "trendctl"]);
    build.args(["--manifest-path", manifest]);
    let folder = server.parent().unwrap();
    build.arg("--target-dir").arg(folder.parent().unwrap());
    match folder.file_name().and_then(|name| name.to_str()).unwrap() {
        "debug" => {}
        profile => {
            build.args(["--profile", profile]);
        }
    }
    assert!(build.status().unwrap().success(), "trendctl is not built");
    server.with_file_name("trendctl")
}
