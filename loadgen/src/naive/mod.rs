//! `loadgen naive`: the foil, a server as people write it who trust threads and locks.
//!
//! Owns: one OS thread per tenant fed by a channel, maps behind mutexes, blocking sockets with a
//! thread per connection. Never touches the server's code: it shares the protocol and nothing else.
//! Same wire, same answers, checked by the same load.
//!
//! ```text
//! socket ──▶ connection's thread ──▶ RwLock<map of tenants> ──▶ channel ──▶ tenant's thread
//!                │      ▲                                                     │ window
//!                │      └── latch: the frame's last run has counted ◀─────────┤
//!                ▼                                                            │
//!           Mutex<marks>, Mutex<names> ◀──────────────────────────────────────┘ answers
//! ```
//!
//! It is not made worse than its design: events in a row for a tenant travel as one message,
//! windows are sparse, nothing is logged, and a lock is held for a lookup only. Its channels are
//! flume's: the standard library's wakes a receiver while it holds the receiver's lock, which on one
//! core costs further context switches with every message.
#![allow(
    clippy::disallowed_types,
    reason = "threads that share maps behind locks are what this server is made of"
)]

mod apply;
mod ceiling;
mod connection;
mod front;
mod latch;
mod marks;
mod names;
mod talk;
mod tenant;
mod tenants;
mod window;

use crate::limits::{NAIVE_STACK_BYTES_MIN, TENANTS_MAX};
use crate::os;
use crate::population::tenant_name;
use anyhow::{Context as _, bail};
use ceiling::Ceilings;
use marks::Marks;
use names::Names;
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use tenant::Shared;
use tenants::Tenants;
use trendsrv_proto::{Refusal, Refuse, TenantId};
use window::Grid;

/// Serves with a thread per tenant and locks around shared maps, for comparison
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct NaiveArgs {
    /// Address of the binary protocol
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:7171")]
    listen: SocketAddr,
    /// Address of the HTTP side: /readyz, /v1/shards, /v1/programs
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:7172")]
    http: SocketAddr,
    /// Tenants of the load whose threads are started before it is ready; others get theirs with
    /// their first event
    #[arg(long, value_name = "N", default_value_t = 0)]
    tenants: u32,
    /// Taken so that it is started like trendsrv, and must be the number of --cores: it has no
    /// shards
    #[arg(long, value_name = "N")]
    shards: Option<usize>,
    /// Cores to pin all threads to
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    cores: Vec<usize>,
    /// Length of a pane
    #[arg(long, value_name = "MS", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=3_600_000))]
    slide_ms: u32,
    /// Panes of a window
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u32).range(2..=1_024))]
    panes: u32,
    /// Stack of a tenant's thread: 64 KiB hold an answer of some thousand topics; the usual 8 MiB
    /// would reserve 800 GB of address space for 100,000 threads and use no more memory
    #[arg(long, value_name = "BYTES", default_value_t = 64 << 10)]
    stack_bytes: usize,
    /// Slots of this process's futex table, a power of two; without it the kernel's own number,
    /// which is 16 on a small machine since Linux 6.16: far too few for so many threads
    #[arg(long, value_name = "N")]
    futex_slots: Option<u32>,
}

/// The whole server, shared by all its threads.
#[derive(Debug)]
pub(crate) struct Foil {
    /// Where it listens.
    address: SocketAddr,
    tenants: Tenants,
    marks: Marks,
    shared: Arc<Shared>,
    connections: AtomicU64,
}

impl Foil {
    fn new(args: &NaiveArgs, address: SocketAddr) -> Arc<Self> {
        let grid = Grid { slide_ms: args.slide_ms, panes: args.panes };
        let (names, window_bytes) = (Names::default(), AtomicU64::new(0));
        let shared = Arc::new(Shared { grid, names, window_bytes });
        Arc::new(Self {
            address,
            tenants: Tenants::new(args.stack_bytes, Arc::clone(&shared)),
            marks: Marks::default(),
            shared,
            connections: AtomicU64::new(0),
        })
    }

    fn names(&self) -> &Names {
        &self.shared.names
    }
}

/// Serves until SIGTERM.
pub(crate) fn naive(args: &NaiveArgs) -> anyhow::Result<()> {
    check(args)?;
    if let Some(slots) = args.futex_slots {
        os::set_futex_slots(slots)?;
    }
    if !args.cores.is_empty() {
        os::pin_to(&args.cores)?;
    }
    let bind = |address: SocketAddr, flag: &str| {
        let what = || format!("cannot listen on {address}; choose another address with {flag}");
        TcpListener::bind(address).with_context(what)
    };
    let (listener, http) = (bind(args.listen, "--listen")?, bind(args.http, "--http")?);
    let foil = Foil::new(args, listener.local_addr()?);
    explain_panics(foil.tenants.counter());
    for index in 0..args.tenants {
        let id = TenantId::of(&tenant_name(index));
        if let Err(not_started) = foil.tenants.find_or_start(id) {
            bail!("{} tenants were asked for; {}", args.tenants, not_started.explained());
        }
    }
    let acceptor = Arc::clone(&foil);
    thread::Builder::new()
        .name("accept".to_owned())
        .spawn(move || accept(&listener, &acceptor))
        .with_context(|| format!("no thread that accepts connections. {}", Ceilings::read()))?;
    front::serve(http, foil)
}

fn check(args: &NaiveArgs) -> anyhow::Result<()> {
    if args.tenants > TENANTS_MAX {
        bail!("--tenants is {}, must be at most {TENANTS_MAX}", args.tenants);
    }
    if args.stack_bytes < NAIVE_STACK_BYTES_MIN {
        bail!("--stack-bytes is {}, must be at least {NAIVE_STACK_BYTES_MIN}", args.stack_bytes);
    }
    let cores = args.cores.len();
    if let Some(shards) = args.shards.filter(|shards| *shards != cores) {
        bail!("--shards is {shards}, but --cores names {cores}: they must agree");
    }
    Ok(())
}

/// A thread that gets no memory for its signal stack panics before its first line, so that nobody
/// could say why the server ended.
fn explain_panics(live: Arc<AtomicU64>) {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let said = panic.payload_as_str().unwrap_or_default();
        if !said.contains("alternative stack") {
            return before(panic);
        }
        let live = live.load(Ordering::Relaxed);
        eprintln!("loadgen: no thread beyond {live} tenants: {said}. {}", Ceilings::read());
        std::process::exit(1);
    }));
}

/// Gives each connection its thread.
fn accept(listener: &TcpListener, foil: &Arc<Foil>) {
    loop {
        let stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) => {
                eprintln!("loadgen: a connection could not be accepted: {error}");
                // Out of descriptors, most likely: others must close first.
                thread::sleep(ACCEPT_PAUSE);
                continue;
            }
        };
        let kept = stream.try_clone();
        let foil = Arc::clone(foil);
        let serve = move || {
            foil.connections.fetch_add(1, Ordering::Relaxed);
            connection::serve(stream, &foil);
            foil.connections.fetch_sub(1, Ordering::Relaxed);
        };
        let thread = thread::Builder::new().name("connection".to_owned());
        if let (Err(why), Ok(stream)) = (thread.stack_size(STACK_BYTES).spawn(serve), kept) {
            turn_away(stream, &why);
        }
    }
}

/// Tells a client that there is no thread for it.
fn turn_away(mut stream: TcpStream, why: &std::io::Error) {
    let message = format!("no thread for this connection: {why}. {}", Ceilings::read());
    eprintln!("loadgen: {message}");
    let (code, mut out) = (Refusal::Overloaded, Vec::new());
    let (class, kind, index) = (code.class(), 0, None);
    let (seq, expected_seq, retry_after_ms) = (0, 0, 1_000);
    let message = message.as_str();
    Refuse { seq, expected_seq, code, class, kind, retry_after_ms, index, message }
        .encode(&mut out, 0);
    // A client that has gone already need not be told.
    let _ = stream.write_all(&out);
}

/// Stack of a connection's thread; its buffers lie elsewhere.
const STACK_BYTES: usize = 256 << 10;
/// After a connection that could not be accepted.
const ACCEPT_PAUSE: std::time::Duration = std::time::Duration::from_millis(100);
