//! Two nodes, a client that does whatever the input says, and a calm one that must not notice.
//!
//! ```text
//! input: steps, one behind the other, until it ends
//!   0 n bytes…            n raw bytes to the server
//!   1 kind n body…        a frame with right checksums around any body
//!   2 t                   t² ms pass (50 s in all at most), then a turn
//!   3 ack producer        HELLO
//!   4 seq n (t p w o)…    n events of few tenants and topics; seq from the expected one; with bit 3
//!                         of the step as texts
//!   5 what                close, half-close, hold or release mail, stop or go on reading, drain
//!   6 tenant k rank       QUERY
//!   7 tenant on           SUBSCRIBE
//! ```
//!
//! What must hold: nobody panics; whatever the server sends is a frame of the server; HELLO_OK
//! comes once; acknowledgements and credit never go back; memory stays in its bounds; the calm
//! client's frames are acknowledged, and its answers are exact.

use std::collections::BTreeSet;
use trendsrv_proto::{
    AckMode, Clock, EventRecord, EventsHead, Frame, FrameWriter, Hello, Kind, Query, Rank,
    ShardAddress, Split, Subscribe, TenantId, TextEvent, TextWriter, TopicId, encode_events, split,
};
use trendsrv_server::node::{Node, NodeConfig, PeerId, Vnodes};
use trendsrv_shard::{
    Grid, HeapMemory, Shard, ShardConfig, Trending, WindowConfig, index_words, topics_words,
};

const START_MS: u64 = 1_442_016_000_500;
/// Less than the window, so that nothing of the calm client's leaves it.
const PASSES_MS_MAX: u64 = 50_000;
const WINDOW_MS: u64 = 60_000;
const SLIDE_MS: u64 = 5_000;
const TENANTS_MAX: usize = 6;
const CALM_TENANTS: [&str; 2] = ["calm tenant 0", "calm tenant 1"];
const WILD: u32 = 0;
const CALM: u32 = 1;

/// What the wild client was sent: kinds of frames, codes of refusals.
pub(crate) type Seen = BTreeSet<&'static str>;

/// Runs the steps and checks what must hold.
///
/// # Panics
/// When something does not hold.
pub(crate) fn check_steps(input: &[u8]) -> Seen {
    let mut world = World::new();
    world.calm_sends();
    let mut steps = Steps { rest: input };
    while world.step(&mut steps).is_some() {}
    world.holds_mail = false;
    world.calm_sends();
    world.seen
}

struct World {
    nodes: [Node<Trending, HeapMemory>; 2],
    now_ms: u64,
    wild: Peer,
    calm: Peer,
    calm_sent: u64,
    holds_mail: bool,
    drains: bool,
    seen: Seen,
}

/// A client's end of a connection.
struct Peer {
    node: usize,
    id: PeerId,
    open: bool,
    paused: bool,
    reads: bool,
    greeted: bool,
    acked: u64,
    next_seq: u64,
    credit_until: u64,
    received: Vec<u8>,
    summary: Option<(u64, bool)>,
}

struct Steps<'a> {
    rest: &'a [u8],
}

impl<'a> Steps<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (&byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(byte)
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let size = usize::from(self.byte()?).min(self.rest.len());
        let (now, rest) = self.rest.split_at(size);
        self.rest = rest;
        Some(now)
    }
}

impl World {
    fn new() -> Self {
        let nodes = [0, 1].map(node);
        let mut world = Self {
            nodes,
            now_ms: START_MS,
            wild: Peer::new(0, WILD, 0),
            calm: Peer::new(1, CALM, 0),
            calm_sent: 0,
            holds_mail: false,
            drains: false,
            seen: Seen::new(),
        };
        world.nodes[0].on_accept(world.wild.id);
        world.nodes[1].on_accept(world.calm.id);
        let mut hello = Vec::new();
        hello_of(AckMode::Applied, 0).encode(&mut hello);
        world.nodes[1].on_bytes(world.calm.id, &hello);
        world.settle();
        assert!(world.calm.greeted, "the calm client was not greeted");
        world
    }

    fn step(&mut self, steps: &mut Steps<'_>) -> Option<()> {
        let mut out = Vec::new();
        let step = steps.byte()?;
        match step & 7 {
            0 => out.extend_from_slice(steps.bytes()?),
            1 => {
                let kind = steps.byte()?;
                out = sealed(kind, steps.bytes()?);
            }
            2 => {
                let t = u64::from(steps.byte()?);
                self.now_ms = (self.now_ms + t * t).min(START_MS + PASSES_MS_MAX);
            }
            3 => {
                let ack = [AckMode::None, AckMode::Received, AckMode::Applied, AckMode::Durable];
                let ack = ack[usize::from(steps.byte()? & 3)];
                hello_of(ack, steps.byte()?.into()).encode(&mut out);
            }
            4 if step & 8 != 0 => out = self.texts(steps)?,
            4 => out = self.events(steps)?,
            5 => self.change(steps.byte()?),
            6 => {
                let tenant = tenant_of(steps.byte()?);
                let k = u16::from(steps.byte()?);
                let rank = if steps.byte()? & 1 == 0 { Rank::Score } else { Rank::Count };
                Query::new(tenant, None, k, rank).encode(&mut out, 3);
            }
            _ => {
                let tenant = tenant_of(steps.byte()?);
                let on = steps.byte()?;
                let tag = u32::from(on >> 1);
                Subscribe::new(tenant, 10, Rank::Score, on & 1 == 1).encode(&mut out, tag);
            }
        }
        if self.wild.open && !self.wild.paused && !out.is_empty() {
            self.nodes[self.wild.node].on_bytes(self.wild.id, &out);
        }
        self.settle();
        Some(())
    }

    fn events(&self, steps: &mut Steps<'_>) -> Option<Vec<u8>> {
        let off = i64::from(steps.byte()?.cast_signed());
        let seq = self.wild.next_seq.saturating_add_signed(off);
        let fours = steps.bytes()?;
        let record = |four: &[u8]| {
            let topic = TopicId::of(&format!("topic {}", four[1]));
            let offset_ms = i32::from(four[3].cast_signed()) * 1_000;
            EventRecord::new(tenant_of(four[0]), topic, four[2].into(), offset_ms)
        };
        let records: Vec<EventRecord> = fours.chunks_exact(4).map(record).collect();
        let mut out = Vec::new();
        encode_events(&mut out, EventsHead::new(seq, self.now_ms, 1), &records);
        Some(out)
    }

    fn texts(&self, steps: &mut Steps<'_>) -> Option<Vec<u8>> {
        let off = i64::from(steps.byte()?.cast_signed());
        let seq = self.wild.next_seq.saturating_add_signed(off);
        let mut out = Vec::new();
        let mut writer = TextWriter::new(&mut out, EventsHead::new(seq, self.now_ms, 1));
        for four in steps.bytes()?.chunks_exact(4) {
            let tenant = format!("tenant {}", four[0] & 15);
            let text = format!("topic\n#{} and @{}", four[1], four[1] / 2);
            let offset_ms = i32::from(four[3].cast_signed()) * 1_000;
            let weight = four[2].into();
            let event = TextEvent { tenant: &tenant, text: &text, weight, offset_ms };
            writer.push(event).expect("names and texts keep their rules");
        }
        writer.finish();
        Some(out)
    }

    fn change(&mut self, what: u8) {
        match what & 7 {
            0 | 1 => self.connect_again(),
            2 => self.nodes[self.wild.node].on_half_close(self.wild.id),
            3 => self.holds_mail = true,
            4 => self.holds_mail = false,
            5 => self.wild.reads = false,
            6 => {
                self.wild.reads = true;
                self.nodes[self.wild.node].on_writable(self.wild.id);
            }
            // A drain ends the calm client, too: it is the last thing to happen.
            _ => self.drains = true,
        }
    }

    fn connect_again(&mut self) {
        self.nodes[self.wild.node].on_close(self.wild.id);
        let node = usize::from(self.wild.id.generation & 1 == 1);
        self.wild = Peer::new(node, WILD, self.wild.id.generation + 1);
        self.nodes[node].on_accept(self.wild.id);
    }

    /// Turns of both nodes until neither has mail for the other.
    fn settle(&mut self) {
        for _ in 0..100 {
            for node in &mut self.nodes {
                node.set_now(self.now_ms);
                node.on_turn();
            }
            self.end_turns();
            if self.holds_mail || !self.deliver() {
                self.check_bounds();
                return;
            }
        }
        panic!("the nodes never stop writing to each other");
    }

    fn deliver(&mut self) -> bool {
        let mut moved = false;
        for from in 0..2 {
            let to = 1 - from;
            while let Some(batch) = self.nodes[from].take_batch(u16::from(to == 1)) {
                moved = true;
                for mail in batch {
                    self.nodes[to].on_mail(mail);
                }
            }
        }
        moved
    }

    fn end_turns(&mut self) {
        let Self { nodes, wild, calm, seen, .. } = self;
        let mut ended = Vec::new();
        for (index, node) in nodes.iter_mut().enumerate() {
            node.end_turn(|output| {
                let peer = if output.id.index == CALM { &mut *calm } else { &mut *wild };
                assert_eq!((peer.node, peer.id), (index, output.id), "output for nobody");
                if peer.reads {
                    peer.received.append(output.bytes);
                }
                if let Some(pause) = output.pause {
                    peer.paused = pause;
                }
                if output.ends && output.bytes.is_empty() {
                    peer.open = false;
                    ended.push((index, output.id));
                }
            });
        }
        wild.take_frames(seen);
        calm.take_frames(&mut Seen::new());
        for (index, id) in ended {
            self.nodes[index].on_close(id);
        }
    }

    fn check_bounds(&mut self) {
        for node in &mut self.nodes {
            let stats = node.stats();
            assert!(stats.buffered_bytes <= stats.buffered_max, "{stats:?}");
            let (used, high, max) = stats.credit;
            assert!(used <= high && high <= max, "{stats:?}");
        }
    }

    /// One event for a tenant of each shard, then both answers.
    fn calm_sends(&mut self) {
        let mut out = Vec::new();
        let seq = self.calm.next_seq;
        let records = CALM_TENANTS
            .map(|name| EventRecord::new(TenantId::of(name), TopicId::of("calm topic"), 3, 0));
        encode_events(&mut out, EventsHead::new(seq, self.now_ms, 1), &records);
        self.nodes[1].on_bytes(self.calm.id, &out);
        self.settle();
        assert!(self.calm.open, "the calm client was cut off");
        assert_eq!(self.calm.acked, seq, "the calm client's frame was not acknowledged");
        self.calm_sent += 3;
        for name in CALM_TENANTS {
            self.calm.summary = None;
            out.clear();
            Query::new(TenantId::of(name), None, 10, Rank::Count).encode(&mut out, 9);
            self.nodes[1].on_bytes(self.calm.id, &out);
            self.settle();
            assert_eq!(self.calm.summary, Some((self.calm_sent, true)), "{name}");
        }
        self.calm.next_seq += 1;
        if self.drains {
            self.nodes.iter_mut().for_each(Node::drain);
            self.settle();
            self.nodes.iter_mut().for_each(Node::end_idle);
            self.settle();
            assert!(!self.calm.open, "a drained node lets its connections go");
        }
    }
}

impl Peer {
    fn new(node: usize, index: u32, generation: u32) -> Self {
        Self {
            node,
            id: PeerId { index, generation },
            open: true,
            paused: false,
            reads: true,
            greeted: false,
            acked: 0,
            next_seq: 1,
            credit_until: 0,
            received: Vec::new(),
            summary: None,
        }
    }

    /// Reads what the server has sent; only whole frames of the server may be there.
    fn take_frames(&mut self, seen: &mut Seen) {
        let received = std::mem::take(&mut self.received);
        let mut rest = received.as_slice();
        while !rest.is_empty() {
            let Split::Frame(header, body) = split(rest) else { panic!("no frame: {rest:02x?}") };
            let frame = Frame::parse(header, body).expect("the server's frames are well-formed");
            seen.insert(self.take(&frame));
            rest = &rest[header.length()..];
        }
    }

    fn take(&mut self, frame: &Frame<'_>) -> &'static str {
        match frame {
            Frame::HelloOk(ok) => {
                assert!(!self.greeted, "HELLO_OK came twice");
                let welcome = ok.welcome();
                self.greeted = true;
                // 0 is for those whose marks may have been given up.
                self.next_seq = welcome.next_seq.max(1);
                self.credit_until = welcome.credit_until;
                "HELLO_OK"
            }
            Frame::Ack(ack) => {
                assert!(self.greeted && ack.seq() >= self.acked, "{ack:?} after {}", self.acked);
                assert!(ack.credit_until() >= self.credit_until, "credit was taken back");
                (self.acked, self.credit_until) = (ack.seq(), ack.credit_until());
                if self.id.index == WILD {
                    self.next_seq = self.next_seq.max(ack.seq().saturating_add(1));
                }
                "ACK"
            }
            Frame::Refuse(refuse) => {
                assert!(!refuse.message.is_empty(), "a refusal says why");
                assert!(self.id.index == WILD, "the calm client was refused: {refuse:?}");
                refuse.code.name()
            }
            Frame::Summary(summary) | Frame::Update(summary) => {
                let head = &summary.head;
                self.summary = Some((head.total, head.flags.exact));
                let fits = |t: trendsrv_proto::TopicRow<'_>| t.low <= t.count && t.count <= t.high;
                assert!(summary.topics().all(fits));
                if matches!(frame, Frame::Update(_)) { "UPDATE" } else { "SUMMARY" }
            }
            Frame::Need(_) => "NEED",
            Frame::Pong(_) => "PONG",
            Frame::GoAway(_) => "GOAWAY",
            Frame::Hello(_)
            | Frame::Events(_)
            | Frame::EventsNamed(_)
            | Frame::Text(_)
            | Frame::Define(_)
            | Frame::Query(_)
            | Frame::Subscribe(_)
            | Frame::Ping(_) => panic!("not a frame of this server: {frame:?}"),
        }
    }
}

fn node(shard: u16) -> Node<Trending, HeapMemory> {
    let grid = Grid::new(WINDOW_MS, SLIDE_MS).expect("a grid");
    let config = ShardConfig {
        grid,
        clock: Clock::Wall,
        tenants_max: TENANTS_MAX,
        topics_max: 16,
        producers_max: 8,
        early_max: 16,
        subscriptions_max: 8,
        sample_bytes_max: trendsrv_shard::SAMPLE_BYTES_MAX_DEFAULT,
        secret: [3, 5],
    };
    let windows = WindowConfig {
        tenants_max: 6,
        tiers_max: 2,
        chunk_bytes_min: 4 << 10,
        ..WindowConfig::new(grid, [7, 11])
    };
    let bytes = windows.memory_bytes(windows.chunk_bytes());
    let memory = HeapMemory::new(usize::try_from(bytes).expect("small") / 8);
    let index = HeapMemory::new(index_words(TENANTS_MAX));
    let names = HeapMemory::new(topics_words(config.topics_max));
    let programs = Trending { recent_ms: 10_000, window_ms: WINDOW_MS };
    let shard_made =
        Shard::new(config, &windows, memory, index, names, programs).expect("the memory fits");
    let address = ShardAddress::new(([127, 0, 0, 1], 7_171).into());
    let node_config = NodeConfig {
        shard,
        vnodes: Vnodes::even(2),
        addresses: vec![address; 2],
        credit_bytes_max: 64 << 10,
    };
    Node::new(node_config, shard_made, START_MS)
}

fn hello_of(ack: AckMode, producer: u64) -> Hello<'static> {
    Hello { ack, features: 0, producer, epoch: 1, lane: 0, software: "steps" }
}

/// Few tenants, so that steps meet each other's, of both shards.
fn tenant_of(number: u8) -> TenantId {
    TenantId::of(&format!("tenant {}", number & 15))
}

/// A frame of any kind around any body, with right length and checksums.
fn sealed(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    let kind = Kind::from_u8(kind % 17).unwrap_or(Kind::Ping);
    let mut writer = FrameWriter::new(&mut frame, kind, 5);
    writer.put(body);
    writer.finish();
    frame
}
