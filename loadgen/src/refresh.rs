//! Asks for the top 10 of every tenant, again and again, beside the load.
//!
//! ```text
//! round 1   | ask … ask … ask … ask |          questions spread over the period, a step at a time,
//! answers     . ..  . .. . .. . . .  .|        so many at most without an answer per connection
//! round 2                             | ask …  the next begins when the last answer has come
//! ```
//!
//! One connection to each shard, which asks for that shard's tenants only; answers may come in any
//! order. A server that is too slow for the period gets the next round as soon as it has answered
//! the last; so the shortest period measures how fast a round can be.

use crate::limits::{REFRESH_IN_FLIGHT_MAX, REFRESH_STEP_NS};
use crate::probe::Now;
use crate::process::float;
use crate::report::Refresh;
use crate::wire::{greet, take};
use anyhow::{Context as _, bail};
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use trendsrv_proto::{
    AckMode, Frame, Kind, Ping, Query, Rank, Refusal, RetryClass, Split, TenantId, split,
};

/// The rounds.
#[derive(Debug)]
pub(crate) struct Refresher {
    askers: Vec<Asker>,
    tenants: usize,
    period_ns: u64,
    /// When the next round begins, if the last one has been answered by then.
    due_ns: u64,
    round: Option<Round>,
    /// Rounds that have begun; the tag of the newest one's questions.
    begun: u32,
    /// Lengths of the rounds that began in the measurement and were finished.
    lengths_ns: Vec<u64>,
    answered: u64,
    refused: u64,
}

#[derive(Clone, Copy, Debug)]
struct Round {
    began_ns: u64,
    /// How long its questions are spread over.
    span_ns: u64,
    measured: bool,
    unanswered: usize,
}

/// The connection to one shard.
#[derive(Debug)]
struct Asker {
    stream: TcpStream,
    tenants: Vec<TenantId>,
    /// How many of them were asked for in the newest round.
    asked: usize,
    in_flight: usize,
    outbox: Vec<u8>,
    inbox: Vec<u8>,
    readable: bool,
    writable: bool,
}

/// What an answer was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reply {
    Answer,
    /// Too busy to answer.
    Refused,
}

impl Refresher {
    /// Connects to each shard; `shards` are their addresses and tenants.
    pub(crate) fn connect(
        shards: Vec<(SocketAddr, Vec<TenantId>)>,
        period_ms: u32,
        (registry, first): (&Registry, Token),
    ) -> anyhow::Result<Self> {
        let tenants = shards.iter().map(|(_, tenants)| tenants.len()).sum();
        let mut askers = Vec::with_capacity(shards.len());
        for (index, (address, tenants)) in shards.into_iter().enumerate() {
            let (mut stream, _, inbox) = greet(address, (0, 0, AckMode::Applied))?;
            let interest = Interest::READABLE | Interest::WRITABLE;
            registry.register(&mut stream, Token(first.0 + index), interest)?;
            askers.push(Asker {
                stream,
                // Nothing is asked before the first round.
                asked: tenants.len(),
                tenants,
                in_flight: 0,
                outbox: Vec::new(),
                inbox,
                readable: true,
                writable: true,
            });
        }
        Ok(Self {
            askers,
            tenants,
            period_ns: u64::from(period_ms) * 1_000_000,
            due_ns: 0,
            round: None,
            begun: 0,
            lengths_ns: Vec::new(),
            answered: 0,
            refused: 0,
        })
    }

    /// Notes that a shard's connection can be read or written.
    pub(crate) fn mark_ready(&mut self, shard: usize, readable: bool, writable: bool) {
        if let Some(asker) = self.askers.get_mut(shard) {
            asker.readable |= readable;
            asker.writable |= writable;
        }
    }

    /// Whether no question waits for its answer.
    pub(crate) fn is_idle(&self) -> bool {
        self.askers.iter().all(|asker| asker.in_flight == 0)
    }

    /// Asks what is due and takes the answers that came.
    pub(crate) fn drive(&mut self, now: Now, scratch: &mut [u8]) -> anyhow::Result<()> {
        if now.active {
            self.begin_round(now);
            self.ask(now.ns);
        }
        for index in 0..self.askers.len() {
            let asker = &mut self.askers[index];
            asker.write()?;
            asker.read(scratch)?;
            for (tag, reply) in asker.replies()? {
                self.note(now, tag, reply)?;
            }
        }
        Ok(())
    }

    /// What became of the rounds.
    pub(crate) fn report(mut self) -> Refresh {
        self.lengths_ns.sort_unstable();
        let seconds = |ns: Option<&u64>| ns.map_or(0.0, |ns| float(*ns) / 1e9);
        Refresh {
            tenants: self.tenants as u64,
            rounds: self.lengths_ns.len() as u64,
            answers: self.answered,
            refused: self.refused,
            seconds_p50: seconds(self.lengths_ns.get(self.lengths_ns.len() / 2)),
            seconds_max: seconds(self.lengths_ns.last()),
            cpu_ns: 0,
        }
    }

    /// A round begins when it is due and the one before has been answered.
    fn begin_round(&mut self, now: Now) {
        if self.round.is_some() || now.ns < self.due_ns {
            return;
        }
        // A little delay is made up for within the round, more is not.
        let late = now.ns - self.due_ns > self.period_ns / 2;
        self.due_ns = if late { now.ns } else { self.due_ns } + self.period_ns;
        self.begun += 1;
        self.round = Some(Round {
            began_ns: now.ns,
            span_ns: self.due_ns - now.ns,
            measured: now.measured,
            unanswered: self.tenants,
        });
        for asker in &mut self.askers {
            asker.asked = 0;
        }
    }

    /// Asks the part of the round whose time has come.
    fn ask(&mut self, now_ns: u64) {
        let Some(round) = self.round else { return };
        let steps = (now_ns - round.began_ns) / REFRESH_STEP_NS + 1;
        for asker in &mut self.askers {
            asker.ask(self.begun, (steps * REFRESH_STEP_NS, round.span_ns));
        }
    }

    fn note(&mut self, now: Now, tag: u32, reply: Reply) -> anyhow::Result<()> {
        let round = self.round.as_mut().filter(|_| tag == self.begun);
        let round = round.with_context(|| format!("an answer to round {tag}, which has ended"))?;
        round.unanswered = round.unanswered.saturating_sub(1);
        let counted = match reply {
            Reply::Answer => &mut self.answered,
            Reply::Refused => &mut self.refused,
        };
        *counted += u64::from(now.measured);
        if round.unanswered == 0 {
            if round.measured {
                self.lengths_ns.push(now.ns.saturating_sub(round.began_ns));
            }
            self.round = None;
        }
        Ok(())
    }
}

impl Asker {
    /// Asks so far into the list as so much of the span goes, as far as answers keep up.
    fn ask(&mut self, round: u32, (passed_ns, span_ns): (u64, u64)) {
        let all = self.tenants.len();
        let due = u128::from(passed_ns) * all as u128 / u128::from(span_ns);
        let due = usize::try_from(due).map_or(all, |due| due.min(all));
        while self.asked < due && self.in_flight < REFRESH_IN_FLIGHT_MAX {
            Query::new(self.tenants[self.asked], None, 10, Rank::Count)
                .encode(&mut self.outbox, round);
            self.asked += 1;
            self.in_flight += 1;
        }
    }

    fn write(&mut self) -> anyhow::Result<()> {
        while self.writable && !self.outbox.is_empty() {
            match take(|| self.stream.write(&self.outbox))? {
                Some(bytes) => drop(self.outbox.drain(..bytes)),
                None => self.writable = false,
            }
        }
        Ok(())
    }

    fn read(&mut self, scratch: &mut [u8]) -> anyhow::Result<()> {
        while self.readable {
            match take(|| self.stream.read(scratch))? {
                Some(0) => bail!("the server closed the connection that refreshes all tenants"),
                Some(bytes) => self.inbox.extend_from_slice(&scratch[..bytes]),
                None => self.readable = false,
            }
        }
        Ok(())
    }

    /// The answers that have come, each with its round.
    fn replies(&mut self) -> anyhow::Result<Vec<(u32, Reply)>> {
        let (mut at, mut replies) = (0, Vec::new());
        loop {
            let (header, body) = match split(&self.inbox[at..]) {
                Split::Incomplete(_) => break,
                Split::Lost(lost) => bail!("the server's bytes make no sense: {lost}"),
                Split::Frame(header, body) => (header, body),
            };
            at += header.length();
            let asked = header.tag() != 0;
            match Frame::parse(header, body).context("a frame from the server")? {
                Frame::Summary(_) => replies.push((header.tag(), Reply::Answer)),
                // An answer, too: none of this tenant's events has come yet.
                Frame::Refuse(r) if asked && r.code == Refusal::UnknownTenant => {
                    replies.push((header.tag(), Reply::Answer));
                }
                Frame::Refuse(r) if asked && r.class == RetryClass::Later => {
                    replies.push((header.tag(), Reply::Refused));
                }
                Frame::Refuse(r) => {
                    bail!("a question was refused: {}: {}", r.code.name(), r.message)
                }
                Frame::Ping(ping) => {
                    Ping::new(ping.nonce()).encode(&mut self.outbox, Kind::Pong, header.tag());
                }
                Frame::GoAway(goaway) => bail!("the server is going away: {}", goaway.message),
                other => bail!("the server sent {other:?} to a connection that only asks"),
            }
        }
        self.inbox.drain(..at);
        self.in_flight = self.in_flight.saturating_sub(replies.len());
        Ok(replies)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::Peer;
    use mio::Poll;
    use std::net::TcpListener;
    use std::thread::JoinHandle;
    use std::time::{Duration, Instant};

    /// A shard that answers and notes who was asked for. A tenant it is too busy for is refused.
    fn shard(busy_for: Option<TenantId>) -> (SocketAddr, JoinHandle<Vec<TenantId>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let serve = move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut peer = Peer::new();
            let mut connection = peer.accept();
            let (mut bytes, mut inbox, mut asked) = (vec![0; 1_500], Vec::new(), Vec::new());
            while let Ok(n @ 1..) = stream.read(&mut bytes) {
                inbox.extend_from_slice(&bytes[..n]);
                let mut out = Vec::new();
                while let Split::Frame(header, body) = split(&inbox) {
                    let length = header.length();
                    let query = match Frame::parse(header, body).unwrap() {
                        Frame::Query(query) => Some(query.tenant()),
                        _ => None,
                    };
                    asked.extend(query);
                    if query.is_some() && query == busy_for {
                        busy(header.tag(), &mut out);
                    } else {
                        out.extend(peer.handle(&mut connection, &inbox[..length]));
                    }
                    inbox.drain(..length);
                }
                stream.write_all(&out).unwrap();
            }
            asked
        };
        (address, std::thread::Builder::new().spawn(serve).unwrap())
    }

    fn busy(tag: u32, out: &mut Vec<u8>) {
        let refuse = trendsrv_proto::Refuse {
            code: Refusal::Overloaded,
            class: RetryClass::Later,
            kind: Kind::Query as u8,
            seq: 0,
            expected_seq: 0,
            retry_after_ms: 1,
            index: None,
            message: "busy",
        };
        refuse.encode(out, tag);
    }

    /// Drives rounds over virtual time, a millisecond a turn, until so many have ended.
    fn drive(refresher: &mut Refresher, rounds: usize) {
        let (began, mut scratch, mut ms) = (Instant::now(), vec![0; 4_096], 1_000);
        let mut turn = |refresher: &mut Refresher, active: bool| {
            assert!(began.elapsed() < Duration::from_secs(60), "stuck: {refresher:?}");
            let now = Now { ns: ms * 1_000_000, wall_ms: ms, active, measured: true };
            ms += 1;
            // Readiness is asked for without a poll here: every call may find nothing.
            for shard in 0..refresher.askers.len() {
                refresher.mark_ready(shard, true, true);
            }
            refresher.drive(now, &mut scratch).unwrap();
        };
        while refresher.lengths_ns.len() < rounds {
            turn(refresher, true);
        }
        while !refresher.is_idle() {
            turn(refresher, false);
        }
    }

    fn tenants(count: u64, shards: u64, shard: u64) -> Vec<TenantId> {
        (1..=count).filter(|id| id % shards == shard).map(TenantId).collect()
    }

    #[test]
    fn each_tenant_is_asked_for_once_a_round_on_its_own_shard() {
        let poll = Poll::new().unwrap();
        let all: Vec<_> = (0..2).map(|index| (shard(None), tenants(5_000, 2, index))).collect();
        let shards = all.iter().map(|((address, _), of)| (*address, of.clone())).collect();
        let mut refresher = Refresher::connect(shards, 20, (poll.registry(), Token(7))).unwrap();
        drive(&mut refresher, 2);
        let (begun, report) = (refresher.begun as usize, refresher.report());
        assert_eq!((report.tenants, report.refused), (5_000, 0));
        assert!(report.rounds >= 2 && report.answers >= 10_000, "{report:?}");
        // A round that began late is spread over half of the period at least: ten steps.
        assert!(report.seconds_p50 >= 0.009 && report.seconds_max >= report.seconds_p50);
        for ((_, server), of) in all {
            let asked = server.join().unwrap();
            for round in asked.chunks(of.len()) {
                assert_eq!(round, &of[..round.len()]);
            }
            assert!(asked.len() > (begun - 1) * of.len() && asked.len() <= begun * of.len());
        }
    }

    #[test]
    fn a_refused_question_is_counted_and_ends_its_round_all_the_same() {
        let poll = Poll::new().unwrap();
        let (address, server) = shard(Some(TenantId(3)));
        let shards = vec![(address, tenants(10, 1, 0))];
        let mut refresher = Refresher::connect(shards, 1, (poll.registry(), Token(7))).unwrap();
        drive(&mut refresher, 3);
        let report = refresher.report();
        assert!(report.refused >= 3 && report.answers == 9 * report.refused, "{report:?}");
        server.join().unwrap();
    }

    #[test]
    fn a_round_that_is_late_is_not_caught_up_with() {
        let poll = Poll::new().unwrap();
        let (address, server) = shard(None);
        let shards = vec![(address, tenants(4, 1, 0))];
        let mut refresher = Refresher::connect(shards, 10, (poll.registry(), Token(7))).unwrap();
        let at = |ms: u64| Now { ns: ms * 1_000_000, wall_ms: ms, active: true, measured: true };
        let mut began = Vec::new();
        for ms in [100, 105, 110, 115, 170, 175, 180] {
            refresher.begin_round(at(ms));
            // It has been answered when the next turn comes.
            refresher.round = None;
            began.push(refresher.begun);
        }
        assert_eq!(began, [1, 1, 2, 2, 3, 3, 4]);
        drop(refresher);
        server.join().unwrap();
    }
}
