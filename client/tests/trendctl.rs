//! What `trendctl` asks of a server and says on the terminal, against a server that only listens.
#![cfg(feature = "trendctl")]
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::process::{Command, Output, Stdio};
use std::thread::JoinHandle;

/// A server that answers one request with this, and tells what it was asked.
fn server(status: &str, body: &str) -> (String, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let length = body.len();
    let reply = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{body}");
    let answer = move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut asked = Vec::new();
        loop {
            let mut chunk = [0; 4_096];
            let count = stream.read(&mut chunk).unwrap();
            asked.extend_from_slice(&chunk[..count]);
            let text = String::from_utf8_lossy(&asked).into_owned();
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let head = head.to_ascii_lowercase();
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
                if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
                    stream.write_all(reply.as_bytes()).unwrap();
                    return text;
                }
            }
            assert!(count > 0, "half a request: {text}");
        }
    };
    let thread = std::thread::Builder::new().spawn(answer).unwrap();
    (address, thread)
}

fn trendctl(http: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_trendctl"));
    command.args(["--http", http]).args(arguments).env_remove("TRENDSRV").stdin(Stdio::null());
    command.output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn each_command_asks_its_route() {
    let file = std::env::temp_dir().join(format!("trendctl-{}.wasm", std::process::id()));
    std::fs::write(&file, b"wasm bytes").unwrap();
    let file_name = file.to_str().unwrap();
    let cases: [(&[&str], &str, &str); 6] = [
        (&["program", "list"], "GET /v1/programs HTTP", ""),
        (&["program", "put", "mine", file_name], "PUT /v1/programs/mine HTTP", "wasm bytes"),
        (&["program", "remove", "mine"], "DELETE /v1/programs/mine HTTP", ""),
        (
            &["program", "assign", "#en.wikipedia", "mine"],
            "PUT /v1/tenants/%23en%2Ewikipedia/program HTTP",
            r#"{"program":"mine"}"#,
        ),
        (&["program", "unassign", "t"], "DELETE /v1/tenants/t/program HTTP", ""),
        (&["program", "status", "t"], "GET /v1/tenants/t/program HTTP", ""),
    ];
    for (arguments, start, body) in cases {
        let (address, asked) = server("200 OK", r#"{"removed":"mine","programs":[]}"#);
        let output = trendctl(&address, arguments);
        let asked = asked.join().unwrap();
        assert!(asked.starts_with(start), "{arguments:?}: {asked}");
        assert_eq!(asked.split_once("\r\n\r\n").unwrap().1, body, "{arguments:?}");
        assert!(output.status.success(), "{output:?}");
        assert!(!output.stdout.is_empty() && output.stderr.is_empty(), "{output:?}");
    }
    std::fs::remove_file(&file).unwrap();
}

#[test]
fn json_comes_out_as_it_came_in() {
    let (address, asked) = server("200 OK", r#"{"tenant":"t","calls":5}"#);
    let output = trendctl(&address, &["program", "status", "t", "--json"]);
    asked.join().unwrap();
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(told, serde_json::json!({ "tenant": "t", "calls": 5 }));
}

#[test]
fn a_refusal_is_told_in_the_servers_words() {
    let body = r#"{"code":"PROGRAM_FAILED","message":"program mine: it has a start function"}"#;
    let (address, asked) = server("422 Unprocessable Entity", body);
    let output = trendctl(&address, &["program", "remove", "mine"]);
    asked.join().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let words = "trendctl: program mine: it has a start function (PROGRAM_FAILED, HTTP 422)\n";
    assert_eq!(text(&output.stderr), words);
}

#[test]
fn a_server_that_is_not_there_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let output = trendctl(&address, &["program", "list"]);
    assert_eq!(output.status.code(), Some(1));
    let told = text(&output.stderr);
    assert!(told.contains(&address) && told.contains("is trendsrv running"), "{told}");
}

#[test]
fn a_file_that_cannot_be_a_program_is_not_sent() {
    let output = trendctl("127.0.0.1:1", &["program", "put", "mine", "/nowhere.wasm"]);
    assert!(text(&output.stderr).contains("cannot read /nowhere.wasm"), "{output:?}");
    let file = std::env::temp_dir().join(format!("trendctl-large-{}.wasm", std::process::id()));
    std::fs::write(&file, vec![0; (1 << 20) + 1]).unwrap();
    let output = trendctl("127.0.0.1:1", &["program", "put", "mine", file.to_str().unwrap()]);
    assert!(text(&output.stderr).contains("at most 1048576"), "{output:?}");
    std::fs::remove_file(&file).unwrap();
}

#[test]
fn a_trial_is_the_servers_work() {
    let folder = std::env::temp_dir().join(format!("trendctl-trial-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let server = folder.join("trendsrv");
    std::fs::write(&server, "#!/bin/sh\necho \"$@\"\nexit 7\n").unwrap();
    std::fs::set_permissions(&server, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_trendctl"));
    command.args(["program", "test", "a.wasm", "--events", "e.tsv", "--k", "3", "--json"]);
    let output = command.env("TRENDSRV", &server).output().unwrap();
    let asked = "program-test a.wasm --events e.tsv --k 3 --window 60s --slide 1s --json\n";
    assert_eq!((text(&output.stdout), output.status.code()), (asked, Some(1)));
    std::fs::remove_dir_all(&folder).unwrap();
}
