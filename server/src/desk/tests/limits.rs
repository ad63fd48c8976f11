//! Facts about connections that take too long, or are too many.

use super::*;

#[test]
fn a_silent_client_is_cut_and_others_are_served() {
    let limits = HttpLimits { head_max: Duration::from_millis(50), ..HttpLimits::default() };
    let server = Server::start_with(limits, Duration::from_secs(30), &[]);
    let mut silent = TcpStream::connect(server.address).unwrap();
    let mut half = TcpStream::connect(server.address).unwrap();
    half.write_all(b"GET /healthz HTTP/1.1\r\nhost:").unwrap();
    let mut resting = TcpStream::connect(server.address).unwrap();
    resting.write_all(b"GET /healthz HTTP/1.1\r\nhost: t\r\n\r\n").unwrap();
    assert_eq!(server.get("/healthz").status, 200);
    // Each read ends only because the server closes.
    for stream in [&mut silent, &mut half, &mut resting] {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
    }
}

#[test]
fn a_slow_body_is_cut() {
    let limits = HttpLimits { body_max: Duration::from_millis(50), ..HttpLimits::default() };
    let server = Server::start_with(limits, Duration::from_secs(30), &[]);
    let mut slow = TcpStream::connect(server.address).unwrap();
    let head =
        "POST /v1/events HTTP/1.1\r\nhost: t\r\nconnection: close\r\ncontent-length: 100\r\n";
    slow.write_all(format!("{head}\r\n{{").as_bytes()).unwrap();
    Reply::read(&mut slow).is(408, "MALFORMED", "did not arrive within 50 ms");
}

#[test]
fn a_client_that_reads_nothing_is_cut() {
    let limits = HttpLimits { stall_max: Duration::from_millis(50), ..HttpLimits::default() };
    let server = Server::start_with(limits, Duration::from_secs(30), &[]);
    let mut deaf = TcpStream::connect(server.address).unwrap();
    let request = b"GET /openapi.json HTTP/1.1\r\nhost: t\r\n\r\n".repeat(64);
    // Without reading a reply, until the server has given up on this client.
    while deaf.write_all(&request).is_ok() {}
    assert_eq!(server.get("/healthz").status, 200);
}

#[test]
fn connections_over_the_limit_are_told() {
    let limits = HttpLimits { connections_max: 1, ..HttpLimits::default() };
    let server = Server::start_with(limits, Duration::from_secs(30), &[]);
    let mut first = TcpStream::connect(server.address).unwrap();
    first.write_all(b"GET /healthz HTTP/1.1\r\nhost: t\r\n\r\n").unwrap();
    assert!(first.read(&mut [0; 512]).unwrap() > 0);
    let mut second = TcpStream::connect(server.address).unwrap();
    Reply::read(&mut second).is(503, "OVERLOADED", "too many HTTP connections");
}

#[test]
fn stopping_ends_resting_connections() {
    let mut server = Server::start();
    let mut resting = TcpStream::connect(server.address).unwrap();
    resting.write_all(b"GET /healthz HTTP/1.1\r\nhost: t\r\n\r\n").unwrap();
    assert!(resting.read(&mut [0; 512]).unwrap() > 0);
    server.desk.take().unwrap().stop().unwrap();
    assert_eq!(resting.read(&mut [0; 1]).unwrap(), 0);
    assert!(TcpStream::connect(server.address).is_err());
}
