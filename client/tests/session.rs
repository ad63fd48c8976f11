//! The session against a peer built on proto: time and bytes are arguments, nothing waits.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod peer;

use peer::{Connection, Peer};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use trendsrv_client::{ConfigError, Names, PushError, Session, SessionConfig, SessionEvent, State};
use trendsrv_proto::{AckMode, NameError, Rank, Refusal, TenantId, TextError, TopicId};

fn config() -> SessionConfig {
    SessionConfig { producer: 7, batch_events: 4, seed: 1, ..SessionConfig::default() }
}

/// A session, its peer, and the clock between them.
struct Pair {
    session: Session,
    peer: Peer,
    connection: Option<Connection>,
    names: Names,
    now_ms: u64,
    events: Vec<SessionEvent>,
}

impl Pair {
    fn new(config: SessionConfig) -> Self {
        let session = Session::new(config).unwrap();
        let (peer, names, events) = (Peer::new(), Names::new(1_000), Vec::new());
        let mut pair = Self { session, peer, connection: None, names, now_ms: 0, events };
        pair.connect();
        pair
    }

    fn connect(&mut self) {
        self.connection = Some(self.peer.accept());
        self.session.handle_connected(self.now_ms);
    }

    fn disconnect(&mut self) {
        self.connection = None;
        self.session.handle_disconnect(self.now_ms);
    }

    /// An event that the peer applies with topic `n`, as a text.
    fn push_text(&mut self, n: u64) {
        let tenant = format!("tenant {}", n % 5);
        self.session.push_text(self.now_ms, &tenant, &n.to_string(), 1, 1_000 + n).unwrap();
    }

    fn push(&mut self, n: u64) {
        let (tenant, topic) = (TenantId(n % 5), TopicId(n));
        self.session.push(self.now_ms, tenant, topic, 1, 1_000 + n).unwrap();
    }

    /// One exchange in both directions. Returns whether anything moved.
    fn exchange(&mut self) -> bool {
        let Some(bytes) = self.session.poll_transmit(self.now_ms) else { return false };
        let connection = self.connection.as_mut().expect("only a connected session transmits");
        let answer = self.peer.handle(connection, bytes);
        self.session.handle_bytes(self.now_ms, &answer, &self.names);
        self.take_events();
        true
    }

    fn take_events(&mut self) {
        while let Some(event) = self.session.poll_event() {
            if matches!(event, SessionEvent::Close(_)) {
                self.connection = None;
            }
            self.events.push(event);
        }
    }

    /// Exchanges, lets time pass and reconnects until everything pushed is settled.
    fn settle(&mut self) {
        for _ in 0..10_000 {
            while self.exchange() {}
            self.session.flush();
            if self.session.is_idle() {
                return;
            }
            if let Some(due) = self.session.next_timeout() {
                self.now_ms = self.now_ms.max(due);
                self.session.handle_timeout(self.now_ms);
                self.take_events();
            }
            if self.session.reconnect_at().is_some_and(|due| due <= self.now_ms) {
                self.connect();
            }
        }
        panic!("not settled: {:?}", self.session.counts());
    }

    fn applied_topics(&self) -> Vec<u64> {
        let mut topics: Vec<u64> = self.peer.applied.iter().map(|event| event.1).collect();
        topics.sort_unstable();
        topics
    }
}

#[test]
fn every_event_arrives_once_within_the_credit() {
    let mut pair = Pair::new(SessionConfig { batch_events: 100, ..config() });
    for n in 0..5_000 {
        pair.push(n);
    }
    pair.settle();
    assert_eq!(pair.applied_topics(), (0..5_000).collect::<Vec<_>>());
    assert_eq!(pair.session.counts().acked, 5_000);
    assert_eq!(pair.peer.applied[17], (17 % 5, 17, 1, 1_017));
}

#[test]
fn a_small_batch_waits_for_its_linger_and_no_longer() {
    let mut pair = Pair::new(SessionConfig { linger_ms: 20, ..config() });
    while pair.exchange() {}
    pair.push(1);
    assert!(!pair.exchange(), "the batch left at once");
    assert_eq!(pair.session.next_timeout(), Some(20));
    pair.now_ms = 20;
    assert!(pair.exchange());
    assert!(pair.session.is_idle());
}

#[test]
fn a_refusal_for_good_costs_its_frame_and_nothing_behind_it() {
    let mut pair = Pair::new(config());
    while pair.exchange() {}
    pair.peer.plan = [None, Some((Refusal::Future, 0))].into();
    for n in 0..20 {
        pair.push(n);
    }
    pair.settle();
    let want: Vec<u64> = (0..4).chain(8..20).collect();
    assert_eq!(pair.applied_topics(), want);
    let counts = pair.session.counts();
    assert_eq!((counts.acked, counts.refused), (16, 4));
    let refused: Vec<_> = pair
        .events
        .iter()
        .filter_map(|event| match event {
            SessionEvent::Refused(r) => Some((r.code, r.events, r.message.as_str())),
            _ => None,
        })
        .collect();
    assert_eq!(refused, [(Refusal::Future, 4, "as planned")]);
    assert_eq!(pair.peer.gaps, 3, "frames in flight behind the refused one");
    assert_eq!(pair.peer.duplicates, 0, "one rewind serves every gap");
}

#[test]
fn a_refusal_for_now_waits_as_long_as_the_server_asked() {
    let mut pair = Pair::new(config());
    while pair.exchange() {}
    pair.peer.plan = [Some((Refusal::Overloaded, 400))].into();
    for n in 0..8 {
        pair.push(n);
    }
    while pair.exchange() {}
    assert_eq!(pair.session.state(), State::Pausing);
    let due = pair.session.next_timeout().unwrap();
    assert!((400..=800).contains(&due), "{due}");
    pair.now_ms = due - 1;
    assert!(!pair.exchange());
    pair.settle();
    assert_eq!(pair.applied_topics(), (0..8).collect::<Vec<_>>());
}

#[test]
fn frames_lost_with_the_connection_are_sent_again_and_count_once() {
    let mut pair = Pair::new(config());
    while pair.exchange() {}
    for n in 0..12 {
        pair.push(n);
    }
    // The peer applies the frames, but its acknowledgements are lost.
    let bytes = pair.session.poll_transmit(0).unwrap().to_vec();
    pair.peer.handle(pair.connection.as_mut().unwrap(), &bytes[..bytes.len() - 30]);
    pair.disconnect();
    pair.settle();
    assert_eq!(pair.applied_topics(), (0..12).collect::<Vec<_>>());
    assert_eq!(pair.session.counts().acked, 12);
}

#[test]
fn an_anonymous_producer_gives_up_what_may_have_counted() {
    let mut pair = Pair::new(SessionConfig { producer: 0, ..config() });
    while pair.exchange() {}
    for n in 0..6 {
        pair.push(n);
    }
    let bytes = pair.session.poll_transmit(0).unwrap().to_vec();
    pair.peer.handle(pair.connection.as_mut().unwrap(), &bytes);
    pair.disconnect();
    pair.settle();
    assert_eq!(pair.applied_topics(), (0..6).collect::<Vec<_>>());
    let counts = pair.session.counts();
    assert_eq!((counts.acked, counts.uncertain), (2, 4));
}

#[test]
fn a_server_that_forgot_the_producer_gets_the_rest_under_new_numbers() {
    let mut pair = Pair::new(config());
    (0..8).for_each(|n| pair.push(n));
    pair.settle();
    pair.disconnect();
    pair.peer = Peer::new();
    (8..16).for_each(|n| pair.push(n));
    pair.settle();
    assert_eq!(pair.applied_topics(), (8..16).collect::<Vec<_>>());
    assert!(pair.events.contains(&SessionEvent::ServerForgot));
}

#[test]
fn what_an_owner_has_counted_acknowledges_nothing() {
    let mut pair = Pair::new(config());
    while pair.exchange() {}
    (0..12).for_each(|n| pair.push(n));
    let bytes = pair.session.poll_transmit(0).unwrap().to_vec();
    pair.peer.handle(pair.connection.as_mut().unwrap(), &bytes);
    pair.disconnect();
    pair.connect();
    while pair.session.state() != State::Open {
        assert!(pair.exchange());
    }
    assert_eq!(pair.session.counts().acked, 0, "HELLO_OK told 4");
    pair.settle();
    assert_eq!((pair.session.counts().acked, pair.peer.duplicates), (12, 3));
    assert_eq!(pair.applied_topics(), (0..12).collect::<Vec<_>>());
}

#[test]
fn a_server_that_lost_acknowledged_frames_is_gone_on_with() {
    let mut pair = Pair::new(config());
    (0..12).for_each(|n| pair.push(n));
    pair.settle();
    pair.disconnect();
    // A crash took frames 2 and 3, which were acknowledged as applied only.
    pair.peer.next_seq.insert((7, 0), 2);
    pair.peer.recovered = true;
    pair.peer.applied.truncate(4);
    (12..20).for_each(|n| pair.push(n));
    pair.settle();
    assert_eq!(pair.applied_topics(), (0..4).chain(12..20).collect::<Vec<_>>());
    assert_eq!(pair.session.counts().acked, 20);
}

#[test]
fn marks_that_may_have_been_given_up_cost_what_was_sent_and_a_new_epoch() {
    let mut pair = Pair::new(config());
    (0..4).for_each(|n| pair.push(n));
    pair.settle();
    (4..8).for_each(|n| pair.push(n));
    let bytes = pair.session.poll_transmit(0).unwrap().to_vec();
    pair.peer.handle(pair.connection.as_mut().unwrap(), &bytes);
    pair.disconnect();
    pair.peer.next_seq.clear();
    pair.peer.evicted = true;
    (8..12).for_each(|n| pair.push(n));
    pair.settle();
    assert_eq!(pair.applied_topics(), (0..12).collect::<Vec<_>>(), "each counted once");
    let counts = pair.session.counts();
    assert_eq!((counts.acked, counts.uncertain), (8, 4));
    assert!(pair.events.contains(&SessionEvent::Uncertain(4)));
    assert_eq!(pair.peer.epochs[&(7, 0)], 1);
}

#[test]
fn a_frame_refused_for_an_unknown_producer_costs_what_was_sent_and_a_new_epoch() {
    let mut pair = Pair::new(config());
    while pair.exchange() {}
    pair.peer.plan = [None, Some((Refusal::ProducerUnknown, 0))].into();
    (0..12).for_each(|n| pair.push(n));
    pair.exchange();
    (12..16).for_each(|n| pair.push(n));
    pair.settle();
    let counts = pair.session.counts();
    assert_eq!((counts.acked, counts.uncertain), (8, 8));
    let want: Vec<u64> = (0..4).chain(12..16).collect();
    assert_eq!(pair.applied_topics(), want);
    assert_eq!(pair.peer.epochs[&(7, 0)], 1);
}

#[test]
fn another_program_with_the_same_id_ends_the_session() {
    for (its_next, behind) in [(40, false), (3, true)] {
        let mut pair = Pair::new(config());
        (0..40).for_each(|n| pair.push(n));
        pair.settle();
        pair.disconnect();
        pair.peer.next_seq.insert((7, 0), its_next);
        pair.push(40);
        pair.connect();
        for _ in 0..10 {
            pair.exchange();
            pair.session.flush();
        }
        assert_eq!(pair.session.state(), State::Closed, "behind: {behind}");
        let Some(SessionEvent::Closed(why)) = pair.events.last() else { panic!() };
        assert!(why.contains("another program"), "{why}");
    }
}

#[test]
fn names_travel_when_asked_for_and_a_missing_one_is_reported() {
    let mut pair = Pair::new(config());
    let (known, unknown) = (Names::id_of("known").unwrap(), 99);
    pair.names.insert(known, "known").unwrap();
    pair.session.push(0, TenantId(known), TopicId(unknown), 1, 5).unwrap();
    pair.settle();
    while pair.exchange() {}
    assert_eq!(pair.peer.names.get(&known).map(String::as_str), Some("known"));
    let missing = pair
        .events
        .iter()
        .any(|event| matches!(event, SessionEvent::NamesMissing { count: 1, first: (_, 99) }));
    assert!(missing, "{:?}", pair.events);
}

#[test]
fn a_draining_server_is_left_once_everything_sent_is_answered() {
    let mut pair = Pair::new(config());
    while pair.exchange() {}
    let goaway = pair.peer.goaway();
    (0..4).for_each(|n| pair.push(n));
    let bytes = pair.session.poll_transmit(0).unwrap().to_vec();
    pair.session.handle_bytes(0, &goaway, &pair.names);
    assert_eq!(pair.session.state(), State::Draining);
    (4..8).for_each(|n| pair.push(n));
    assert_eq!(pair.session.poll_transmit(0), None, "no new frames");
    let answer = pair.peer.handle(pair.connection.as_mut().unwrap(), &bytes);
    pair.session.handle_bytes(0, &answer, &pair.names);
    assert_eq!(pair.session.state(), State::Disconnected);
    pair.take_events();
    pair.settle();
    assert_eq!(pair.applied_topics(), (0..8).collect::<Vec<_>>());
}

#[test]
fn answers_come_back_under_their_tags_and_lost_ones_are_told() {
    let mut pair = Pair::new(config());
    assert_eq!(pair.session.query(TenantId(1), None, 10, Rank::Count), None, "not greeted yet");
    while pair.exchange() {}
    (0..10).for_each(|n| pair.push(n));
    pair.settle();
    let tag = pair.session.query(TenantId(1), Some(9_000), 10, Rank::Count).unwrap();
    while pair.exchange() {}
    let answer = pair.events.iter().find_map(|event| match event {
        SessionEvent::Answer(t, answer) if *t == tag => Some(answer),
        _ => None,
    });
    let head = answer.expect("an answer").head;
    assert_eq!((head.total, head.distinct, head.as_of_ms), (2, 2, 9_000));
    let lost = pair.session.query(TenantId(1), None, 10, Rank::Count).unwrap();
    pair.disconnect();
    pair.take_events();
    assert!(pair.events.contains(&SessionEvent::RequestLost(lost)));
}

#[test]
fn garbage_costs_the_connection_and_nothing_else() {
    let mut pair = Pair::new(config());
    while pair.exchange() {}
    (0..4).for_each(|n| pair.push(n));
    pair.session.handle_bytes(0, &[0x55; 64], &pair.names);
    assert_eq!(pair.session.state(), State::Disconnected);
    pair.take_events();
    assert!(matches!(pair.events.last(), Some(SessionEvent::Close(_))), "{:?}", pair.events);
    pair.settle();
    assert_eq!(pair.applied_topics(), (0..4).collect::<Vec<_>>());
}

#[test]
fn texts_and_topics_arrive_once_in_their_order() {
    let mut pair = Pair::new(SessionConfig { batch_events: 100, ..config() });
    for n in 0..3_000 {
        if n % 7 < 3 { pair.push_text(n) } else { pair.push(n) }
    }
    pair.settle();
    let topics: Vec<u64> = pair.peer.applied.iter().map(|event| event.1).collect();
    assert_eq!(topics, (0..3_000).collect::<Vec<_>>());
    assert_eq!(pair.session.counts().acked, 3_000);
    assert_eq!(pair.peer.applied[1], (TenantId::of("tenant 1").0, 1, 1, 1_001));
    assert_eq!(pair.session.in_flight_bytes(), 0);
}

#[test]
fn a_frame_of_texts_fits_the_first_credit() {
    let mut pair = Pair::new(SessionConfig { batch_events: 100, ..config() });
    let (tenant, text) = ("n".repeat(255), "ß".repeat(2_048));
    for n in 0..40 {
        pair.session.push_text(0, &tenant, &text, 1, n).unwrap();
    }
    // The peer panics when its credit is overrun.
    pair.settle();
    assert_eq!((pair.peer.applied.len(), pair.session.counts().acked), (40, 40));
}

#[test]
fn a_server_that_does_not_know_texts_costs_them_alone() {
    let mut pair = Pair::new(config());
    pair.peer.unknown = Some(trendsrv_proto::Kind::Text);
    pair.push(0);
    pair.push_text(1);
    pair.push_text(2);
    pair.push(3);
    pair.settle();
    assert_eq!(pair.applied_topics(), [0, 3]);
    let counts = pair.session.counts();
    assert_eq!((counts.acked, counts.refused, counts.uncertain), (2, 2, 0));
    let code = pair.events.iter().find_map(|event| match event {
        SessionEvent::Refused(r) => Some((r.code, r.events)),
        _ => None,
    });
    assert_eq!(code, Some((Refusal::Malformed, 2)));
}

#[test]
fn texts_that_break_the_rule_are_not_taken() {
    let mut session = Session::new(config()).unwrap();
    let mut push = |tenant: &str, text: &str, weight| session.push_text(0, tenant, text, weight, 1);
    assert_eq!(push("", "x", 1), Err(PushError::Tenant(NameError::Empty)));
    assert_eq!(push("t", "", 1), Err(PushError::Text(TextError::Empty)));
    assert_eq!(push("t", "a\0", 1), Err(PushError::Text(TextError::Nul(1))));
    assert_eq!(push("t", &"x".repeat(4_097), 1), Err(PushError::Text(TextError::TooLong(4_097))));
    assert_eq!(push("t", "x", 0), Err(PushError::Weight(0)));
    assert_eq!(push("t", "two\nlines", 1), Ok(()));
    assert_eq!(session.counts().pushed, 1);
}

#[test]
fn a_silent_peer_is_given_up() {
    let mut session = Session::new(config()).unwrap();
    session.handle_connected(100);
    let due = session.next_timeout().unwrap();
    session.handle_timeout(due - 1);
    assert_eq!(session.state(), State::Greeting);
    session.handle_timeout(due);
    assert_eq!(session.state(), State::Disconnected);
}

#[test]
fn what_breaks_a_rule_is_not_taken() {
    let small = SessionConfig { in_flight_bytes_max: 4_403, ..config() };
    let mut session = Session::new(small).unwrap();
    let mut push = |weight, ts_ms| session.push(0, TenantId(1), TopicId(1), weight, ts_ms);
    assert_eq!(push(0, 0), Err(PushError::Weight(0)));
    assert_eq!(push(1_000_000_001, 0), Err(PushError::Weight(1_000_000_001)));
    assert_eq!(push(1, u64::MAX), Err(PushError::Time(u64::MAX)));
    let taken = (0..).take_while(|n| push(1, *n).is_ok()).count();
    assert!((100..=180).contains(&taken), "{taken}");
    assert!(session.in_flight_bytes() <= 4_403);
    let (got, min) = (4_402, 4_403);
    for (bad, want) in [
        (SessionConfig { ack: AckMode::None, ..config() }, ConfigError::AckNone),
        (SessionConfig { batch_events: 681, ..config() }, ConfigError::BatchEvents(681)),
        (
            SessionConfig { in_flight_bytes_max: got, ..config() },
            ConfigError::InFlight { got, min },
        ),
    ] {
        assert_eq!(Session::new(bad).err(), Some(want));
    }
}

/// Refusals of every class, lost connections and lost answers at random: each event is counted
/// once by the peer or reported as refused, never both, never twice.
#[test]
fn whatever_happens_every_event_counts_once_or_is_reported() {
    for seed in 0..200 {
        let mut random = StdRng::seed_from_u64(seed);
        let mut pair = Pair::new(SessionConfig { seed, ..config() });
        let mut pushed = 0;
        for _ in 0..40 {
            for _ in 0..random.random_range(0..30) {
                if random.random_bool(0.3) {
                    pair.push_text(pushed)
                } else {
                    pair.push(pushed)
                }
                pushed += 1;
            }
            let plan = match random.random_range(0..8) {
                0 => Some((Refusal::Malformed, 0)),
                1 => Some((Refusal::Overloaded, random.random_range(0..500))),
                2 => Some((Refusal::TenantsFull, 1)),
                3 => Some((Refusal::CreditExceeded, 0)),
                _ => None,
            };
            pair.peer.plan.push_back(plan);
            match random.random_range(0..4) {
                0 => drop(pair.exchange()),
                1 => pair.now_ms += random.random_range(0..600),
                2 if pair.connection.is_some() => {
                    // Half of what was sent arrives, no answer comes back.
                    if let Some(bytes) = pair.session.poll_transmit(pair.now_ms) {
                        let cut = random.random_range(0..=bytes.len());
                        let connection = pair.connection.as_mut().unwrap();
                        pair.peer.handle(connection, &bytes[..cut]);
                    }
                    pair.disconnect();
                    pair.take_events();
                }
                _ => {}
            }
            if pair.session.reconnect_at().is_some_and(|due| due <= pair.now_ms) {
                pair.connect();
            }
        }
        pair.settle();
        let counts = pair.session.counts();
        assert_eq!(counts.pushed, pushed, "seed {seed}");
        assert_eq!(counts.acked + counts.refused, pushed, "seed {seed}: {counts:?}");
        let mut topics = pair.applied_topics();
        assert_eq!(topics.len() as u64, counts.acked, "seed {seed}");
        topics.dedup();
        assert_eq!(topics.len() as u64, counts.acked, "seed {seed}: something counted twice");
    }
}
