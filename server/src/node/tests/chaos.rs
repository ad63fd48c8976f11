//! Producers that follow the protocol and nothing else, over nodes that refuse, lose connections
//! and deliver mail in any order: every event counts exactly once.

use super::net::{Conn, Got, Net, Room, events, tenant_of, texts};
use rand::Rng;
use std::collections::BTreeMap;
use trendsrv_proto::{Kind, TenantId};

const SHARDS: usize = 3;
const FRAMES: u64 = 60;

/// A client as docs/protocol.md has it: keeps frames until they are acknowledged, goes back where a
/// REFUSE says so.
struct Producer {
    id: u64,
    conn: Conn,
    greeted: bool,
    frames: Vec<Vec<u8>>,
    next: u64,
    acked: u64,
    went_back_to: u64,
    sent_bytes: u64,
    credit_until: u64,
    refusals: u64,
}

impl Producer {
    fn new(net: &mut Net, id: u64) -> Self {
        let conn = net.greet(0, id, 1);
        let (next, acked, went_back_to, sent_bytes, credit_until) = (0, 0, 0, 0, 0);
        Self {
            id,
            conn,
            greeted: false,
            frames: Vec::new(),
            next,
            acked,
            went_back_to,
            sent_bytes,
            credit_until,
            refusals: 0,
        }
    }

    fn reconnect(&mut self, net: &mut Net) {
        if net.random.random_range(0..2) == 0 {
            // Otherwise the server notices much later.
            net.close(self.conn);
        }
        let node = net.random.random_range(0..SHARDS);
        self.conn = net.greet(node, self.id, 1);
        (self.greeted, self.went_back_to, self.sent_bytes) = (false, 0, 0);
    }

    fn read(&mut self, net: &mut Net) {
        for got in net.take(self.conn) {
            match got {
                Got::HelloOk(welcome) => {
                    assert!(welcome.next_seq > self.acked, "{} was acknowledged", self.acked);
                    // It says what some owner has, not what all have.
                    (self.greeted, self.next) = (true, self.acked + 1);
                    self.credit_until = welcome.credit_until;
                }
                Got::Ack { seq, credit_until } => {
                    // Before the first frame an ACK of 0 may bring credit.
                    let told = seq >= self.acked || seq == 0;
                    assert!(seq < self.next && told, "{seq} after {}", self.acked);
                    (self.acked, self.credit_until) = (seq.max(self.acked), credit_until);
                }
                Got::Refuse { seq, expected_seq, kind, .. } => {
                    assert!(Kind::from_u8(kind).is_some_and(Kind::carries_events), "{kind}");
                    assert!(expected_seq > self.acked, "{expected_seq} was acknowledged");
                    self.refusals += 1;
                    if seq == expected_seq || expected_seq != self.went_back_to {
                        (self.next, self.went_back_to) = (expected_seq, expected_seq);
                    }
                }
                Got::Need(_) => {}
                other => panic!("unasked: {other:?}"),
            }
        }
    }

    fn send(&mut self, net: &mut Net) {
        let index = usize::try_from(self.next).unwrap().wrapping_sub(1);
        let Some(frame) = self.frames.get(index).filter(|_| self.greeted) else { return };
        let bytes = self.sent_bytes + frame.len() as u64;
        if bytes <= self.credit_until {
            let frame = frame.clone();
            net.send(self.conn, &frame);
            (self.sent_bytes, self.next) = (bytes, self.next + 1);
        }
    }
}

#[test]
fn every_event_counts_once_whatever_is_refused_lost_and_late() {
    let mut refusals = 0;
    let seeds = std::env::var("CHAOS_SEEDS").map_or(60, |n| n.parse().unwrap());
    for seed in 0..seeds {
        println!("seed {seed}");
        refusals += run(seed);
    }
    assert!(refusals > seeds, "{refusals} refusals: nothing was tried");
}

fn run(seed: u64) -> u64 {
    let room = Room { tenants_max: 64, early_max: 6, subscriptions_max: 8 };
    let mut net = Net::new(SHARDS, room, seed);
    let mut producers: Vec<Producer> = (1..=2).map(|id| Producer::new(&mut net, id)).collect();
    let mut totals: BTreeMap<String, u64> = BTreeMap::new();
    let owners = [0, 1, 2].map(|shard| [0, 1].map(|nth| tenant_of(shard, SHARDS, nth)));
    for producer in &mut producers {
        for seq in 1..=FRAMES {
            producer.frames.push(frame(&mut net, seq, &owners, &mut totals));
        }
    }
    let mut steps = 0;
    while producers.iter().any(|producer| producer.acked < FRAMES) {
        steps += 1;
        assert!(steps < 200_000, "seed {seed}: no end in sight");
        let which = net.random.random_range(0..producers.len());
        let producer = &mut producers[which];
        match net.random.random_range(0..100) {
            0..40 => producer.send(&mut net),
            40..75 => {
                net.deliver();
            }
            75..96 => {
                net.turn();
                producers.iter_mut().for_each(|producer| producer.read(&mut net));
            }
            96..99 => net.now_ms += 40,
            _ if steps < 20_000 => producer.reconnect(&mut net),
            _ => {}
        }
    }
    // What still waits for its pane opens.
    net.pass(6_000);
    let (reader, _) = net.open(1, 0);
    for (tenant, wanted) in totals {
        assert_eq!(net.total(reader, TenantId::of(&tenant)), Some(wanted), "{tenant}, seed {seed}");
    }
    producers.iter().map(|producer| producer.refusals).sum()
}

/// A few events or texts for any owners, some events ahead of the clock, where few may wait.
fn frame(
    net: &mut Net,
    seq: u64,
    owners: &[[String; 2]; SHARDS],
    totals: &mut BTreeMap<String, u64>,
) -> Vec<u8> {
    let said = net.random.random_range(0..3) == 0;
    let mut list = Vec::new();
    for _ in 0..net.random.random_range(0..5) {
        let tenant = &owners[net.random.random_range(0..SHARDS)][net.random.random_range(0..2)];
        let weight = net.random.random_range(1..100);
        // A text ahead of the clock asks for room for all topics it might have.
        let early = !said && net.random.random_range(0..3) == 0;
        let offset_ms = if early { 4_900 } else { 0 };
        *totals.entry(tenant.clone()).or_default() += u64::from(weight);
        list.push((tenant.as_str(), "#topic of the day", weight, offset_ms));
    }
    if said { texts(seq, net.now_ms, &list) } else { events(seq, net.now_ms, &list) }
}
