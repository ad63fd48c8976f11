//! The ring and its shards in a process with tight limits, each test in a child of its own.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]
#![allow(unsafe_code, reason = "limits and capabilities of a child are set between fork and exec")]

mod ring_support;

use std::io;
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::{Duration, Instant};

use ring_support::{DEADLINE, EchoServer, connect, echo};
use trendsrv_server::ring::{ConnId, Connections, Ring, RingConfig, RingEvent, WakeBy};
use trendsrv_server::runtime::{
    Doorbell, DoorbellListener, Placement, Preflight, RuntimeError, Woken, raise_open_files,
    run_shard,
};
use trendsrv_server::socket::{listen, listen_shared, local_address};

const CHILD: &str = "TRENDSRV_RING_CHILD";

/// Runs the test `name` again in a child without CAP_IPC_LOCK and with a memlock limit, and says
/// whether this is the child.
fn in_child(name: &str, memlock_bytes: u64) -> bool {
    if std::env::var_os(CHILD).is_some() {
        return true;
    }
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", name, "--nocapture", "--test-threads=1"]).env(CHILD, "1");
    // SAFETY: the closure makes system calls only, no allocation, as code between fork and exec
    // must.
    unsafe { command.pre_exec(move || limit_memlock(memlock_bytes)) };
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"), "the child ran nothing");
    false
}

fn limit_memlock(bytes: u64) -> io::Result<()> {
    const CAP_IPC_LOCK: libc::c_ulong = 14;
    let limit = libc::rlimit { rlim_cur: bytes, rlim_max: bytes };
    // SAFETY: the pointer is to a live rlimit; the prctl takes numbers only. Without privileges
    // there is no capability to drop, and the call fails for that reason alone.
    unsafe {
        libc::prctl(libc::PR_CAPBSET_DROP, CAP_IPC_LOCK, 0, 0, 0);
        if libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const limit) != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

fn small() -> RingConfig {
    RingConfig { connections_max: 64, ..RingConfig::default() }
}

fn shards_echo(count: usize) {
    let sockets = listen_shared("127.0.0.1:0".parse().unwrap(), count, "--listen").unwrap();
    let address = local_address(&sockets[0]).unwrap();
    let servers: Vec<EchoServer> = sockets
        .into_iter()
        .map(|socket| {
            EchoServer::start(Placement::Floating, "shard", RingConfig::default(), socket)
        })
        .collect();
    let mut clients: Vec<TcpStream> = (0..16).map(|_| connect(address)).collect();
    for client in &mut clients {
        echo(client, &[3; 50_000]);
    }
    drop(clients);
    let accepted: u64 = servers.into_iter().map(|server| server.finish().stats.accepted).sum();
    assert_eq!(accepted, 16);
}

#[test]
fn four_shards_run_unprivileged_inside_8_mib_of_memlock() {
    if !in_child("four_shards_run_unprivileged_inside_8_mib_of_memlock", 8 << 20) {
        return;
    }
    Preflight::new(4).check().unwrap();
    shards_echo(4);
}

#[test]
fn says_the_limit_the_need_and_the_remedy_when_memlock_is_too_small() {
    let name = "says_the_limit_the_need_and_the_remedy_when_memlock_is_too_small";
    if !in_child(name, 256 << 10) {
        return;
    }
    let error = Preflight::new(2).check().unwrap_err();
    assert!(matches!(error, RuntimeError::MemlockTooSmall { shards: 2, .. }), "{error}");
    let text = error.to_string();
    for part in ["262144", "2097152", "ulimit -l 2048", "LimitMEMLOCK=2097152"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let error = run_shard(Placement::Floating, "shard", |_| async {}).unwrap_err();
    assert!(matches!(error, RuntimeError::MemlockTooSmall { shards: 1, .. }), "{error}");
}

#[test]
fn out_of_descriptors_waits_without_spinning_and_goes_on_when_some_are_free() {
    let name = "out_of_descriptors_waits_without_spinning_and_goes_on_when_some_are_free";
    if !in_child(name, 8 << 20) {
        return;
    }
    let socket = listen("127.0.0.1:0".parse().unwrap(), "--listen").unwrap();
    let address = local_address(&socket).unwrap();
    let doorbell = Doorbell::new().unwrap();
    let mut ring = Ring::new(small(), &doorbell).unwrap();
    ring.add_listener(socket).unwrap();
    let clients: Vec<TcpStream> = (0..8).map(|_| connect(address)).collect();
    let next = std::os::fd::AsRawFd::as_raw_fd(&clients[7]) + 1;
    limit_open_files(u64::try_from(next).unwrap() + 3);
    let mut accepted: Vec<ConnId> = Vec::new();
    let mut failures: Vec<(i32, u32)> = Vec::new();
    let mut sleep_and_poll = |ring: &mut Ring, accepted: &mut Vec<ConnId>| {
        if ring.prepare_sleep(WakeBy::Doorbell).unwrap() {
            wait_for_ring(&doorbell);
        }
        ring.poll(&mut |_: &mut Connections, event: RingEvent<'_>| match event {
            RingEvent::Accepted { conn, .. } => accepted.push(conn),
            RingEvent::AcceptFailed { errno, retry_ms, .. } => failures.push((errno, retry_ms)),
            event => panic!("{event:?}"),
        })
        .unwrap();
        failures.clone()
    };
    let since = Instant::now();
    while sleep_and_poll(&mut ring, &mut accepted).len() < 5 {
        assert!(since.elapsed() < DEADLINE, "{ring:?}");
    }
    assert_eq!(accepted.len(), 3);
    // Each try came after a pause, and a pause is twice as long as the one before.
    assert!(since.elapsed() >= Duration::from_millis(10 + 20 + 40 + 80), "{:?}", since.elapsed());
    ring.connections_mut().close(accepted[0]);
    let mut failures = Vec::new();
    while accepted.len() < 4 {
        assert!(since.elapsed() < DEADLINE, "{ring:?}");
        failures = sleep_and_poll(&mut ring, &mut accepted);
    }
    assert!(failures.iter().all(|&(errno, _)| errno == libc::EMFILE), "{failures:?}");
    let pauses: Vec<u32> = failures.iter().map(|&(_, pause)| pause).collect();
    assert_eq!(pauses[..5], [10, 20, 40, 80, 160]);
    assert!(ring.stats().enters < 100, "{ring:?}");
    let error = raise_open_files(1 << 40).unwrap_err();
    assert!(matches!(error, RuntimeError::TooFewOpenFiles { .. }), "{error}");
}

fn limit_open_files(count: u64) {
    let limit = libc::rlimit { rlim_cur: count, rlim_max: count };
    // SAFETY: the pointer is to a live rlimit.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }, 0);
}

/// Blocks until the eventfd counts, and takes the count.
fn wait_for_ring(doorbell: &Doorbell) {
    use std::os::fd::{AsFd, AsRawFd};
    let mut count = [0u8; 8];
    let fd = doorbell.as_fd().as_raw_fd();
    // SAFETY: reads 8 bytes into a live buffer of 8 bytes.
    assert_eq!(unsafe { libc::read(fd, count.as_mut_ptr().cast(), 8) }, 8);
}

#[test]
fn a_core_that_is_not_ours_is_named() {
    let error = run_shard(Placement::Pinned(4_095), "shard", |_| async {}).unwrap_err();
    assert!(matches!(error, RuntimeError::WrongCore { core: 4_095, .. }), "{error}");
    assert!(error.to_string().contains("core 4095"), "{error}");
}

#[test]
fn a_panic_of_a_shard_comes_out_of_its_join() {
    let shard = run_shard(Placement::Floating, "shard-9", |_| async {
        assert!(std::env::var_os("NEVER_SET").is_some(), "because of the test");
    });
    let error = shard.unwrap().join().unwrap_err();
    let text = error.to_string();
    assert!(text.contains("shard-9") && text.contains("because of the test"), "{text}");
}

#[test]
fn a_pinned_shard_stays_on_its_core_and_sleeps_as_long_as_told() {
    let core = trendsrv_server::runtime::allowed_cores().unwrap()[0];
    let shard = run_shard(Placement::Pinned(core), "pinned", |runtime| async move {
        let before = Instant::now();
        runtime.sleep(Duration::from_millis(2)).await;
        runtime.yield_now().await;
        let allowed = trendsrv_server::runtime::allowed_cores().unwrap();
        (before.elapsed(), allowed, runtime.name().to_owned())
    });
    let (slept, allowed, name) = shard.unwrap().join().unwrap();
    assert!(slept >= Duration::from_millis(2), "{slept:?}");
    assert_eq!((allowed, name.as_str()), (vec![core], "pinned"));
}

#[test]
fn no_ring_of_the_doorbell_is_lost_between_two_shards() {
    const ROUNDS: u64 = 5_000;
    let (ping, pong) = (Doorbell::new().unwrap(), Doorbell::new().unwrap());
    let (ring_ping, ring_pong) = (ping.ringer(), pong.ringer());
    let (to_ponger, from_pinger) = std::sync::mpsc::sync_channel(1);
    let (to_pinger, from_ponger) = std::sync::mpsc::sync_channel(1);
    let player = |bell: Doorbell, inbox: std::sync::mpsc::Receiver<u64>| async move {
        let bell = DoorbellListener::new(&bell);
        move |rounds: u64, send: Box<dyn Fn(u64)>| async move {
            for round in 0..rounds {
                loop {
                    bell.arm();
                    if let Ok(got) = inbox.try_recv() {
                        bell.disarm();
                        assert_eq!(got, round);
                        break;
                    }
                    assert_eq!(bell.wait_or(DEADLINE).unwrap(), Woken::Rung, "{round}");
                }
                send(round);
            }
        }
    };
    let pinger = run_shard(Placement::Floating, "pinger", move |_| async move {
        let play = player(ping, from_ponger).await;
        to_ponger.send(0).unwrap();
        ring_pong.ring();
        let send = Box::new(move |round| {
            // The last answer finds nobody who waits for it.
            let _ = to_ponger.send(round + 1);
            ring_pong.ring();
        });
        play(ROUNDS, send).await;
    });
    let ponger = run_shard(Placement::Floating, "ponger", move |_| async move {
        let play = player(pong, from_pinger).await;
        let send = Box::new(move |round| {
            to_pinger.send(round).unwrap();
            ring_ping.ring();
        });
        play(ROUNDS, send).await;
    });
    pinger.unwrap().join().unwrap();
    ponger.unwrap().join().unwrap();
}
