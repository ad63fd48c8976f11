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
//! the last; so the shortest period measures how fast a round can be. When what is due is for
//! [`crate::schedule`] to say.

use crate::limits::REFRESH_IN_FLIGHT_MAX;
use crate::probe::Now;
use crate::report::Refresh;
use crate::schedule::{List, Reply, Schedule};
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
    schedule: Schedule,
}

/// The connection to one shard.
#[derive(Debug)]
struct Asker {
    stream: TcpStream,
    tenants: Vec<TenantId>,
    list: List,
    outbox: Vec<u8>,
    inbox: Vec<u8>,
    readable: bool,
    writable: bool,
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
                list: List::new(tenants.len()),
                tenants,
                outbox: Vec::new(),
                inbox,
                readable: true,
                writable: true,
            });
        }
        Ok(Self { askers, schedule: Schedule::new(tenants, period_ms) })
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
        self.askers.iter().all(|asker| asker.list.in_flight == 0)
    }

    /// Whether all that was due has been asked, and few questions wait for their answers.
    pub(crate) fn is_on_schedule(&self) -> bool {
        self.schedule.is_on_schedule(self.askers.iter().map(|asker| asker.list))
    }

    /// Takes the answers that came and asks what is due: in this order, so that a place that an
    /// answer leaves is not empty until the next turn.
    pub(crate) fn drive(&mut self, now: Now, scratch: &mut [u8]) -> anyhow::Result<()> {
        for asker in &mut self.askers {
            asker.read(scratch)?;
            for (tag, reply) in asker.replies()? {
                self.schedule.note(now, tag, reply)?;
            }
        }
        let begins = now.active && self.schedule.turn(now);
        for asker in &mut self.askers {
            if begins {
                asker.list.restart();
            }
            if now.active {
                asker.ask(&self.schedule);
            }
            asker.write()?;
        }
        Ok(())
    }

    /// What became of the rounds.
    pub(crate) fn report(self) -> Refresh {
        self.schedule.report()
    }
}

impl Asker {
    /// Asks what is due, as far as answers keep up.
    fn ask(&mut self, schedule: &Schedule) {
        while let Some(index) = schedule.next(&mut self.list, REFRESH_IN_FLIGHT_MAX) {
            Query::new(self.tenants[index], None, 10, Rank::Count)
                .encode(&mut self.outbox, schedule.round());
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
        self.list.in_flight = self.list.in_flight.saturating_sub(replies.len());
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
        while refresher.schedule.finished() < rounds {
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
        let (begun, report) = (refresher.schedule.round() as usize, refresher.report());
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
}
