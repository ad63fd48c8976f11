//! A few nodes, the mail between them, and their clients.

use crate::node::{MeshMail, Node, NodeConfig, PeerId, Vnodes};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::collections::{BTreeMap, VecDeque};
use trendsrv_proto::{
    AckMode, Clock, EventRecord, EventsHead, Frame, Hello, NameKind, NamedEvent, NamedWriter,
    Query, Rank, Refusal, ShardAddress, Split, Subscribe, TenantId, TextEvent, TextWriter, TopicId,
    Welcome, encode_define, encode_events, split,
};
use trendsrv_shard::log::LogStart;
use trendsrv_shard::{
    Grid, HeapMemory, Shard, ShardConfig, Trending, WindowConfig, index_words, topics_words,
};

pub(super) const START_MS: u64 = 1_442_016_000_500;
const WINDOW_MS: u64 = 320_000;
const SLIDE_MS: u64 = 5_000;

/// What one shard may hold.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    pub(super) tenants_max: usize,
    pub(super) early_max: usize,
    pub(super) subscriptions_max: usize,
}

pub(super) const AMPLE: Room = Room { tenants_max: 64, early_max: 4_096, subscriptions_max: 64 };

pub(super) struct Net {
    pub(super) nodes: Vec<Node<Trending, HeapMemory>>,
    mail: BTreeMap<(u16, u16), VecDeque<MeshMail>>,
    /// By node and connection.
    clients: BTreeMap<(usize, u32), Wire>,
    next_index: u32,
    pub(super) now_ms: u64,
    pub(super) random: SmallRng,
}

/// The client's end of a connection.
#[derive(Debug, Default)]
struct Wire {
    generation: u32,
    received: Vec<u8>,
    ended: bool,
    paused: bool,
    stuck: bool,
}

/// A connection, as a test names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Conn {
    pub(super) node: usize,
    pub(super) id: PeerId,
}

/// A frame of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Got {
    HelloOk(Welcome),
    Ack { seq: u64, credit_until: u64 },
    Refuse { seq: u64, expected_seq: u64, code: Refusal, kind: u8, tag: u32 },
    Summary { tag: u32, total: u64, names: Vec<String> },
    Update { tag: u32, total: u64, version: u64 },
    Need(Vec<(NameKind, u64)>),
    Pong(u64),
    GoAway,
}

impl Net {
    pub(super) fn new(shards: usize, room: Room, seed: u64) -> Self {
        let nodes = (0..shards).map(|shard| node(shard, shards, room)).collect();
        Self {
            nodes,
            mail: BTreeMap::new(),
            clients: BTreeMap::new(),
            next_index: 0,
            now_ms: START_MS,
            random: SmallRng::seed_from_u64(seed),
        }
    }

    pub(super) fn connect(&mut self, node: usize) -> Conn {
        let id = PeerId { index: self.next_index % 8, generation: self.next_index };
        // A slot is used again only once its connection has gone.
        self.next_index += 1;
        let wire = Wire { generation: id.generation, ..Wire::default() };
        if let Some(old) = self.clients.insert((node, id.index), wire) {
            self.nodes[node].on_close(PeerId { index: id.index, generation: old.generation });
        }
        self.nodes[node].on_accept(id);
        Conn { node, id }
    }

    /// As [`Net::new`], with a log in every node.
    pub(super) fn with_logs(shards: usize, room: Room, seed: u64) -> Self {
        let mut net = Self::new(shards, room, seed);
        for (index, node) in net.nodes.iter_mut().enumerate() {
            let mut shard = shard_of(room);
            shard.start_log(LogStart { generation: 1, next_lsn: 1, prev_crc: 0 });
            *node = Node::new(config_of(index, shards), shard, START_MS);
        }
        net
    }

    /// Whatever a node has logged is on its disk.
    pub(super) fn sync(&mut self, node: usize) {
        while let Some(batch) = self.nodes[node].take_log_batch(1 << 20) {
            self.nodes[node].on_durable(batch.last_lsn);
        }
    }

    /// Connects and says HELLO.
    pub(super) fn greet(&mut self, node: usize, producer: u64, epoch: u32) -> Conn {
        self.greet_for(node, producer, epoch, AckMode::Applied)
    }

    /// As [`Net::greet`], with a mode of acknowledgement.
    pub(super) fn greet_for(
        &mut self,
        node: usize,
        producer: u64,
        epoch: u32,
        ack: AckMode,
    ) -> Conn {
        let conn = self.connect(node);
        let mut bytes = Vec::new();
        Hello { ack, features: 0, producer, epoch, lane: 0, software: "test" }.encode(&mut bytes);
        self.send(conn, &bytes);
        conn
    }

    /// Connects, says HELLO and is welcomed.
    pub(super) fn open(&mut self, node: usize, producer: u64) -> (Conn, Welcome) {
        let conn = self.greet(node, producer, 1);
        self.settle();
        let got = self.take(conn);
        let [Got::HelloOk(welcome)] = got[..] else { panic!("{got:?}") };
        (conn, welcome)
    }

    pub(super) fn send(&mut self, conn: Conn, bytes: &[u8]) {
        self.nodes[conn.node].set_now(self.now_ms);
        self.nodes[conn.node].on_bytes(conn.id, bytes);
    }

    pub(super) fn close(&mut self, conn: Conn) {
        self.nodes[conn.node].on_close(conn.id);
    }

    /// The peer stops reading, or goes on.
    pub(super) fn set_stuck(&mut self, conn: Conn, stuck: bool) {
        let wire = self.clients.get_mut(&(conn.node, conn.id.index)).unwrap();
        wire.stuck = stuck;
        if !stuck {
            self.nodes[conn.node].on_writable(conn.id);
        }
    }

    /// One turn of every node: bytes reach clients, mail leaves.
    pub(super) fn turn(&mut self) {
        let shards = u16::try_from(self.nodes.len()).unwrap();
        for (index, node) in self.nodes.iter_mut().enumerate() {
            node.set_now(self.now_ms);
            node.on_turn();
            let clients = &mut self.clients;
            let mut ended = Vec::new();
            node.end_turn(|output| {
                let wire = clients.get_mut(&(index, output.id.index)).unwrap();
                assert_eq!(wire.generation, output.id.generation, "output for who has gone");
                if !wire.stuck {
                    wire.received.append(output.bytes);
                }
                if let Some(pause) = output.pause {
                    wire.paused = pause;
                }
                if output.ends && output.bytes.is_empty() && !wire.ended {
                    wire.ended = true;
                    ended.push(output.id);
                }
            });
            ended.into_iter().for_each(|id| node.on_close(id));
            let from = u16::try_from(index).unwrap();
            for to in 0..shards {
                while let Some(batch) = node.take_batch(to) {
                    self.mail.entry((from, to)).or_default().extend(batch);
                }
            }
        }
    }

    /// Delivers one mail of a random pair; `false` when there is none.
    pub(super) fn deliver(&mut self) -> bool {
        let waiting: Vec<_> = self.mail.iter().filter(|m| !m.1.is_empty()).map(|m| *m.0).collect();
        if waiting.is_empty() {
            return false;
        }
        let pair = waiting[self.random.random_range(0..waiting.len())];
        self.deliver_from(pair)
    }

    /// Delivers the next mail of one pair.
    pub(super) fn deliver_from(&mut self, pair: (u16, u16)) -> bool {
        let mail = self.mail.get_mut(&pair).and_then(VecDeque::pop_front);
        mail.map(|mail| self.nodes[usize::from(pair.1)].on_mail(mail)).is_some()
    }

    /// Turns and deliveries until nothing moves.
    pub(super) fn settle(&mut self) {
        for _ in 0..10_000 {
            self.turn();
            let held = self.nodes.iter().any(Node::has_held);
            if !self.deliver() && !held {
                return;
            }
        }
        panic!("the nodes never stop writing to each other");
    }

    pub(super) fn pass(&mut self, ms: u64) {
        self.now_ms += ms;
        self.settle();
    }

    /// The frames a client has received since it was asked last.
    pub(super) fn take(&mut self, conn: Conn) -> Vec<Got> {
        let Some(wire) = self.clients.get_mut(&(conn.node, conn.id.index)) else {
            return Vec::new();
        };
        if wire.generation != conn.id.generation {
            return Vec::new();
        }
        let received = std::mem::take(&mut wire.received);
        let (mut rest, mut frames) = (received.as_slice(), Vec::new());
        while !rest.is_empty() {
            let Split::Frame(header, body) = split(rest) else { panic!("no frame: {rest:02x?}") };
            frames.push(got(header.tag(), &Frame::parse(header, body).unwrap()));
            rest = &rest[header.length()..];
        }
        frames
    }

    pub(super) fn ended(&self, conn: Conn) -> bool {
        self.clients[&(conn.node, conn.id.index)].ended
    }

    pub(super) fn paused(&self, conn: Conn) -> bool {
        self.clients[&(conn.node, conn.id.index)].paused
    }

    /// What the owner counts for a tenant, asked through a connection.
    pub(super) fn total(&mut self, conn: Conn, tenant: TenantId) -> Option<u64> {
        let mut bytes = Vec::new();
        Query::new(tenant, None, 10, Rank::Count).encode(&mut bytes, 99);
        self.send(conn, &bytes);
        self.settle();
        self.take(conn).into_iter().find_map(|got| match got {
            Got::Summary { tag: 99, total, .. } => Some(total),
            _ => None,
        })
    }
}

fn got(tag: u32, frame: &Frame<'_>) -> Got {
    match frame {
        Frame::HelloOk(ok) => Got::HelloOk(ok.welcome()),
        Frame::Ack(ack) => Got::Ack { seq: ack.seq(), credit_until: ack.credit_until() },
        Frame::Refuse(refuse) => Got::Refuse {
            seq: refuse.seq,
            expected_seq: refuse.expected_seq,
            code: refuse.code,
            kind: refuse.kind,
            tag,
        },
        Frame::Summary(summary) => Got::Summary {
            tag,
            total: summary.head.total,
            names: summary.topics().map(|row| row.name.to_owned()).collect(),
        },
        Frame::Update(summary) => {
            Got::Update { tag, total: summary.head.total, version: summary.head.version }
        }
        Frame::Need(need) => {
            Got::Need(need.entries.iter().map(|entry| (entry.kind(), entry.id())).collect())
        }
        Frame::Pong(pong) => Got::Pong(pong.nonce()),
        Frame::GoAway(_) => Got::GoAway,
        other => panic!("not a frame of the server: {other:?}"),
    }
}

fn node(shard: usize, shards: usize, room: Room) -> Node<Trending, HeapMemory> {
    Node::new(config_of(shard, shards), shard_of(room), START_MS)
}

fn shard_of(room: Room) -> Shard<Trending, HeapMemory> {
    let grid = Grid::new(WINDOW_MS, SLIDE_MS).unwrap();
    let config = ShardConfig {
        grid,
        clock: Clock::Wall,
        tenants_max: room.tenants_max,
        topics_max: 1_024,
        producers_max: 64,
        early_max: room.early_max,
        subscriptions_max: room.subscriptions_max,
        sample_bytes_max: trendsrv_shard::SAMPLE_BYTES_MAX_DEFAULT,
        secret: [3, 5],
    };
    let windows = WindowConfig {
        tenants_max: u32::try_from(room.tenants_max).unwrap(),
        chunk_bytes_min: 4 << 10,
        ..WindowConfig::new(grid, [7, 11])
    };
    let bytes = windows.memory_bytes(4 * windows.chunk_bytes());
    let memory = HeapMemory::new(usize::try_from(bytes).unwrap() / 8);
    let index = HeapMemory::new(index_words(room.tenants_max));
    let names = HeapMemory::new(topics_words(config.topics_max));
    let programs = Trending { recent_ms: 10_000, window_ms: WINDOW_MS };
    Shard::new(config, &windows, memory, index, names, programs).unwrap()
}

fn config_of(shard: usize, shards: usize) -> NodeConfig {
    let address = ShardAddress::new(([127, 0, 0, 1], 7_171).into());
    NodeConfig {
        shard: u16::try_from(shard).unwrap(),
        vnodes: Vnodes::even(shards),
        addresses: vec![address; shards],
        credit_bytes_max: 1 << 20,
    }
}

/// A frame of texts: tenant, text, weight, offset from `base_ms`.
pub(super) fn texts(seq: u64, base_ms: u64, list: &[(&str, &str, u32, i32)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = TextWriter::new(&mut bytes, EventsHead::new(seq, base_ms, 1));
    for &(tenant, text, weight, offset_ms) in list {
        writer.push(TextEvent { tenant, text, weight, offset_ms }).unwrap();
    }
    writer.finish();
    bytes
}

/// The n-th name of a tenant that a shard owns.
pub(super) fn tenant_of(shard: u16, shards: usize, nth: usize) -> String {
    let map = Vnodes::even(shards);
    let names = (0..).map(|n| format!("tenant {n}"));
    let mut theirs = names.filter(|name| map.owner(TenantId::of(name)) == shard);
    theirs.nth(nth).unwrap()
}

/// A frame of ids: tenant, topic, weight, offset from `base_ms`.
pub(super) fn events(seq: u64, base_ms: u64, list: &[(&str, &str, u32, i32)]) -> Vec<u8> {
    let record = |&(tenant, topic, weight, offset): &(&str, &str, u32, i32)| {
        EventRecord::new(TenantId::of(tenant), TopicId::of(topic), weight, offset)
    };
    let records: Vec<EventRecord> = list.iter().map(record).collect();
    let mut bytes = Vec::new();
    encode_events(&mut bytes, EventsHead::new(seq, base_ms, 1), &records);
    bytes
}

/// The same with names.
pub(super) fn named(seq: u64, base_ms: u64, list: &[(&str, &str, u32, i32)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = NamedWriter::new(&mut bytes, EventsHead::new(seq, base_ms, 1));
    for &(tenant, topic, weight, offset_ms) in list {
        writer.push(NamedEvent { tenant, topic, weight, offset_ms }).unwrap();
    }
    writer.finish();
    bytes
}

pub(super) fn query(tenant: &str, tag: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    Query::new(TenantId::of(tenant), None, 100, Rank::Count).encode(&mut bytes, tag);
    bytes
}

pub(super) fn subscribe(tenant: &str, tag: u32, on: bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    Subscribe::new(TenantId::of(tenant), 10, Rank::Count, on).encode(&mut bytes, tag);
    bytes
}

pub(super) fn define(names: &[(NameKind, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_define(&mut bytes, names.iter().copied());
    bytes
}

pub(super) fn acked(got: &[Got]) -> Option<u64> {
    let seqs = got.iter().filter_map(|got| match got {
        Got::Ack { seq, .. } => Some(*seq),
        _ => None,
    });
    seqs.max()
}

/// The codes of all refusals, in their order.
pub(super) fn codes(got: &[Got]) -> Vec<Refusal> {
    let code = |got: &Got| match got {
        Got::Refuse { code, .. } => Some(*code),
        _ => None,
    };
    got.iter().filter_map(code).collect()
}
