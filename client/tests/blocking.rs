//! The blocking client against a peer on a real socket.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod peer;

use peer::Peer;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;
use trendsrv_client::{Client, ClientError, Options};
use trendsrv_proto::{Clock, Rank, Refusal, ShardAddress};

/// Serves `connections` connections one after the other per listener, then gives the peer back.
fn serve(listeners: Vec<TcpListener>, mut peer: Peer, connections: usize) -> JoinHandle<Peer> {
    let (send, receive): (SyncSender<_>, Receiver<_>) = sync_channel(64);
    for (index, listener) in listeners.into_iter().enumerate() {
        let send = send.clone();
        let accept = move || {
            for connection in 0.. {
                let Ok((stream, _)) = listener.accept() else { return };
                let key = (index, connection);
                let reader = stream.try_clone().unwrap();
                if send.send((key, Ok(stream))).is_err() {
                    return;
                }
                let send = send.clone();
                std::thread::Builder::new()
                    .spawn(move || {
                        let mut reader = reader;
                        let mut bytes = vec![0; 4_096];
                        while let Ok(n) = reader.read(&mut bytes) {
                            if send.send((key, Err(bytes[..n].to_vec()))).is_err() || n == 0 {
                                return;
                            }
                        }
                    })
                    .unwrap();
            }
        };
        std::thread::Builder::new().spawn(accept).unwrap();
    }
    let run = move || {
        let mut open = std::collections::HashMap::new();
        let mut ended = 0;
        while ended < connections {
            match receive.recv().unwrap() {
                (key, Ok(stream)) => drop(open.insert(key, (stream, peer.accept()))),
                (key, Err(bytes)) if bytes.is_empty() => {
                    open.remove(&key);
                    ended += 1;
                }
                (key, Err(bytes)) => {
                    let (stream, connection) = open.get_mut(&key).unwrap();
                    let answer = peer.handle(connection, &bytes);
                    // A client that has left does not read its answer.
                    let _ = stream.write_all(&answer);
                }
            }
        }
        peer
    };
    std::thread::Builder::new().spawn(run).unwrap()
}

fn listen(count: usize, peer: &mut Peer) -> (Vec<TcpListener>, SocketAddr) {
    let listeners: Vec<_> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let addresses: Vec<_> = listeners.iter().map(|l| l.local_addr().unwrap()).collect();
    peer.addresses = addresses.iter().map(|a| ShardAddress::new(*a)).collect();
    (listeners, addresses[0])
}

fn options() -> Options {
    Options { timeout: Duration::from_secs(20), batch_events: 50, ..Options::default() }
}

#[test]
fn sends_flushes_and_asks_over_one_lane_per_shard() {
    let mut peer = Peer::new();
    let (listeners, address) = listen(3, &mut peer);
    let server = serve(listeners, peer, 4);
    let mut client = Client::connect(&address.to_string(), options()).unwrap();
    assert_eq!(client.topology().clock, Clock::Event);
    for n in 0..3_000_u64 {
        let (tenant, topic) = (format!("tenant {}", n % 10), format!("topic {}", n % 7));
        client.send(&tenant, &topic, 2, 1_000 + n).unwrap();
    }
    client.flush().unwrap();
    let counts = client.counts();
    assert_eq!((counts.pushed, counts.acked), (3_000, 3_000));
    let answer = client.query("tenant 3", 10, Rank::Count, Some(4_000)).unwrap();
    assert_eq!((answer.head.total, answer.head.events, answer.head.distinct), (600, 300, 7));
    drop(client);
    let peer = server.join().unwrap();
    assert_eq!(peer.applied.len(), 3_000);
    let mut lanes: Vec<u16> = peer.next_seq.keys().map(|key| key.1).collect();
    lanes.sort_unstable();
    assert_eq!(lanes, [0, 1, 2], "each shard has its lane");
    assert!(peer.names.values().any(|name| name == "topic 6"), "names travel on demand");
}

#[test]
fn texts_go_to_the_lanes_of_their_tenants() {
    let mut peer = Peer::new();
    let (listeners, address) = listen(2, &mut peer);
    let server = serve(listeners, peer, 3);
    let mut client = Client::connect(&address.to_string(), options()).unwrap();
    for n in 0..600_u64 {
        let tenant = format!("tenant {}", n % 10);
        client.send_text(&tenant, &format!("said {}", n % 3), 2, 1_000 + n).unwrap();
        if n % 50 == 0 {
            client.send(&tenant, "said 0", 1, 1_000 + n).unwrap();
        }
    }
    client.flush().unwrap();
    assert_eq!((client.counts().pushed, client.counts().acked), (612, 612));
    let answer = client.query("tenant 3", 10, Rank::Count, None).unwrap();
    assert_eq!((answer.head.total, answer.head.events, answer.head.distinct), (120, 60, 3));
    let error = client.send_text("tenant 3", "a\0b", 1, 1).unwrap_err().to_string();
    assert!(error.contains("NUL at byte 1"), "{error}");
    drop(client);
    let peer = server.join().unwrap();
    assert_eq!(peer.applied.len(), 612);
    assert_eq!(peer.next_seq.len(), 2, "each shard has its lane");
}

#[test]
fn refused_events_are_reported_with_code_and_count() {
    let mut peer = Peer::new();
    peer.plan = [None, Some((Refusal::Future, 0)), Some((Refusal::Overloaded, 20))].into();
    let (listeners, address) = listen(1, &mut peer);
    let server = serve(listeners, peer, 2);
    let mut client = Client::connect(&address.to_string(), options()).unwrap();
    for n in 0..500_u64 {
        client.send("a", "b", 1, n).unwrap();
    }
    client.flush().unwrap();
    let reports = client.refused();
    let told: Vec<_> = reports.iter().map(|r| (r.code, r.events)).collect();
    assert_eq!(told, [(Refusal::Future, 50)]);
    assert_eq!((client.counts().acked, client.counts().refused), (450, 50));
    drop(client);
    assert_eq!(server.join().unwrap().applied.len(), 450);
}

#[test]
fn errors_say_what_and_where() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = Client::connect(&closed.to_string(), options()).unwrap_err();
    assert!(matches!(error, ClientError::Connect { .. }));
    assert!(error.to_string().contains(&closed.to_string()), "{error}");
    let error = Client::connect("nonsense", options()).unwrap_err().to_string();
    assert!(error.contains("127.0.0.1:7171"), "{error}");

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let http = move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
    };
    let server = std::thread::Builder::new().spawn(http).unwrap();
    let error = Client::connect(&address.to_string(), options()).unwrap_err();
    assert!(matches!(error, ClientError::Greeting { .. }), "{error}");
    server.join().unwrap();
}

#[test]
fn a_bad_name_or_weight_is_told_before_anything_is_sent() {
    let mut peer = Peer::new();
    let (listeners, address) = listen(1, &mut peer);
    let server = serve(listeners, peer, 2);
    let mut client = Client::connect(&address.to_string(), options()).unwrap();
    let error = client.send("a\n", "b", 1, 1).unwrap_err().to_string();
    assert!(error.contains("tenant name") && error.contains("byte 1"), "{error}");
    let error = client.send("a", "b", 0, 1).unwrap_err().to_string();
    assert!(error.contains("weight is 0"), "{error}");
    drop(client);
    assert!(server.join().unwrap().applied.is_empty());
}
