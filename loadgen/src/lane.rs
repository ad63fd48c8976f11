//! One connection of the load: frames of its pool, written as they lie.
//!
//! ```text
//!  seq   front            cursor             next
//!         | unacknowledged | admitted, unsent |
//!         +----------------+------------------+        slot = (seq - first) mod frames
//! ```
//!
//! Honours sequence numbers, credit, ACK and REFUSE like the client's session, without a record
//! ever being touched. After a refusal nothing starts until a PONG has come back: then one rewind
//! serves every frame that was in flight behind the refused one.
//!
//! Invariants: `front <= cursor <= next`, `next - front` is at most the frames in the pool;
//! control bytes are written between frames only.

use crate::limits::CONTROL_BYTES_MAX;
use crate::pool::Pool;
use crate::population::Population;
use crate::tally::Tally;
use crate::wire::{greet, take};
use anyhow::{Context as _, bail};
use mio::net::TcpStream;
use std::collections::{BTreeSet, VecDeque};
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use trendsrv_client::limits::EVENTS_HEAD_BYTES;
use trendsrv_proto::{
    Ack, AckMode, EventsHead, Frame, Kind, Need, Ping, Refuse, RetryClass, Split, encode_define,
    encode_events, split,
};

/// A frame that is not acknowledged.
#[derive(Clone, Copy, Debug)]
struct Flight {
    intended_ns: u64,
    base_ms: u64,
    measured: bool,
}

/// Whether frames may start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    Open,
    /// Waiting for the PONG after a refusal.
    Mending,
    /// Waiting for the time the server asked for.
    Pausing,
}

/// One connection; see the module.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) stream: TcpStream,
    pool: Pool,
    events_per_frame: u64,
    frames_max: usize,
    generation: u32,
    first: u64,
    front: u64,
    cursor: u64,
    offset: usize,
    next: u64,
    flights: VecDeque<Flight>,
    fillers: BTreeSet<u64>,
    credit_sent: u64,
    credit_until: u64,
    flow: Flow,
    nonce: u64,
    rewind_to: u64,
    resume_ns: u64,
    control: Vec<u8>,
    inbox: Vec<u8>,
    readable: bool,
    writable: bool,
}

impl Lane {
    /// Connects, says HELLO as lane `lane` of `producer` and waits for HELLO_OK.
    pub(crate) fn connect(
        address: SocketAddr,
        (producer, lane, ack): (u64, u16, AckMode),
        pool: Pool,
        (events_per_frame, in_flight_bytes_max): (usize, usize),
    ) -> anyhow::Result<Self> {
        let (stream, welcome, inbox) = greet(address, (producer, lane, ack))?;
        let frames_max = (in_flight_bytes_max / pool.frame_bytes()).clamp(1, pool.frames());
        Ok(Self {
            stream,
            events_per_frame: events_per_frame as u64,
            frames_max,
            generation: welcome.generation,
            // 0 is told where marks were given up: a lane that is new begins at 1 there, too.
            first: welcome.next_seq.max(1),
            front: welcome.next_seq.max(1),
            cursor: welcome.next_seq.max(1),
            offset: 0,
            next: welcome.next_seq.max(1),
            flights: VecDeque::with_capacity(frames_max),
            fillers: BTreeSet::new(),
            credit_sent: 0,
            credit_until: welcome.credit_until,
            flow: Flow::Open,
            nonce: 0,
            rewind_to: 0,
            resume_ns: 0,
            control: Vec::new(),
            inbox,
            readable: true,
            writable: true,
            pool,
        })
    }

    /// Whether another frame may be admitted.
    pub(crate) fn has_room(&self) -> bool {
        self.flights.len() < self.frames_max
    }

    /// Whether another frame would be written at once.
    pub(crate) fn wants_frames(&self) -> bool {
        let waiting = (self.next - self.cursor) * self.pool.frame_bytes() as u64;
        self.has_room()
            && self.writable
            && self.flow == Flow::Open
            && self.credit_sent + waiting + self.pool.frame_bytes() as u64 <= self.credit_until
    }

    /// Takes the next frame of the pool; the caller has asked `has_room`.
    pub(crate) fn admit(
        &mut self,
        intended_ns: u64,
        base_ms: u64,
        measured: bool,
        tally: &mut Tally,
    ) {
        let slot = self.slot(self.next);
        self.pool.patch(slot, self.next, base_ms, self.generation);
        self.flights.push_back(Flight { intended_ns, base_ms, measured });
        self.next += 1;
        tally.all.admitted += self.events_per_frame;
        tally.measured.admitted += if measured { self.events_per_frame } else { 0 };
    }

    /// Whether everything admitted is acknowledged or refused.
    pub(crate) fn is_idle(&self) -> bool {
        self.flights.is_empty()
    }

    /// Events admitted and never sent: all, and of measured frames.
    pub(crate) fn unsent(&self) -> (u64, u64) {
        let sent = usize::try_from(self.cursor - self.front).unwrap_or(usize::MAX);
        let unsent = self.flights.iter().skip(sent);
        let measured = unsent.clone().filter(|flight| flight.measured).count() as u64;
        (unsent.count() as u64 * self.events_per_frame, measured * self.events_per_frame)
    }

    pub(crate) const fn mark_ready(&mut self, readable: bool, writable: bool) {
        self.readable |= readable;
        self.writable |= writable;
    }

    fn slot(&self, seq: u64) -> usize {
        usize::try_from((seq - self.first) % self.pool.frames() as u64).unwrap_or(0)
    }

    /// Writes as much as socket, credit and flow allow.
    pub(crate) fn pump(&mut self, now_ns: u64) -> anyhow::Result<()> {
        if self.flow == Flow::Pausing && now_ns >= self.resume_ns {
            self.resume();
        }
        while self.writable {
            if self.offset == 0 && !self.control.is_empty() {
                let Some(bytes) = take(|| self.stream.write(&self.control))? else { break };
                self.control.drain(..bytes);
                continue;
            }
            if self.offset == 0 && self.flow == Flow::Open && self.start_filler() {
                continue;
            }
            let Some(end) = self.writable_end() else { return Ok(()) };
            let slot = self.slot(self.cursor);
            let frames = usize::try_from(end - self.cursor).unwrap_or(usize::MAX);
            let end_slot = slot.saturating_add(frames).min(self.pool.frames());
            let bytes = self.pool.bytes(slot, self.offset, end_slot);
            let Some(written) = take(|| self.stream.write(bytes))? else { break };
            self.advance(written);
        }
        self.writable = false;
        Ok(())
    }

    /// The first frame that may not be written yet; none when there is nothing to write.
    fn writable_end(&self) -> Option<u64> {
        let begun = u64::from(self.offset > 0);
        let allowed = if self.flow == Flow::Open {
            self.credit_until.saturating_sub(self.credit_sent) / self.pool.frame_bytes() as u64
        } else {
            0
        };
        let filler = self.fillers.range(self.cursor + begun..).next();
        let end = self.next.min(self.cursor + begun + allowed);
        let end = filler.map_or(end, |filler| end.min(*filler));
        (end > self.cursor).then_some(end)
    }

    fn advance(&mut self, written: usize) {
        let frame_bytes = self.pool.frame_bytes();
        let total = self.offset + written;
        let begun = u64::from(self.offset > 0);
        let (whole, rest) = ((total / frame_bytes) as u64, total % frame_bytes);
        let started = whole + u64::from(rest > 0) - begun;
        self.credit_sent += started * frame_bytes as u64;
        self.cursor += whole;
        self.offset = rest;
    }

    /// Sends the filler of a refused frame when its turn has come.
    fn start_filler(&mut self) -> bool {
        let due = self.cursor < self.next && self.fillers.contains(&self.cursor);
        let credit = self.credit_sent + EVENTS_HEAD_BYTES as u64 <= self.credit_until;
        if due && credit {
            let head = EventsHead::new(self.cursor, 0, self.generation);
            encode_events(&mut self.control, head, &[]);
            self.credit_sent += EVENTS_HEAD_BYTES as u64;
            self.cursor += 1;
        }
        due && credit
    }

    fn resume(&mut self) {
        self.flow = Flow::Open;
        self.cursor = self.rewind_to.clamp(self.front, self.cursor);
    }

    /// Reads what came and acts on it.
    pub(crate) fn read(
        &mut self,
        now_ns: u64,
        scratch: &mut [u8],
        population: &Population,
        tally: &mut Tally,
    ) -> anyhow::Result<()> {
        while self.readable {
            let Some(bytes) = take(|| self.stream.read(scratch))? else {
                self.readable = false;
                break;
            };
            if bytes == 0 {
                bail!("the server closed the connection");
            }
            if self.inbox.is_empty() {
                let used = self.frames(now_ns, &scratch[..bytes], population, tally)?;
                self.inbox.extend_from_slice(&scratch[used..bytes]);
            } else {
                let mut inbox = std::mem::take(&mut self.inbox);
                inbox.extend_from_slice(&scratch[..bytes]);
                let used = self.frames(now_ns, &inbox, population, tally)?;
                inbox.drain(..used);
                self.inbox = inbox;
            }
        }
        Ok(())
    }

    /// Acts on the whole frames at the front. Returns their bytes.
    fn frames(
        &mut self,
        now_ns: u64,
        bytes: &[u8],
        population: &Population,
        tally: &mut Tally,
    ) -> anyhow::Result<usize> {
        let mut at = 0;
        loop {
            let (header, body) = match split(&bytes[at..]) {
                Split::Incomplete(_) => return Ok(at),
                Split::Lost(lost) => bail!("the server's bytes make no sense: {lost}"),
                Split::Frame(header, body) => (header, body),
            };
            at += header.length();
            match Frame::parse(header, body).context("a frame from the server")? {
                Frame::Ack(ack) => self.handle_ack(now_ns, ack, tally)?,
                Frame::Refuse(refuse) => self.handle_refuse(now_ns, &refuse, tally)?,
                Frame::Need(need) => self.handle_need(&need, population, tally)?,
                Frame::Pong(pong) if pong.nonce() == self.nonce => match self.flow {
                    Flow::Mending if now_ns < self.resume_ns => self.flow = Flow::Pausing,
                    Flow::Mending => self.resume(),
                    Flow::Open | Flow::Pausing => {}
                },
                Frame::Pong(_) => {}
                Frame::Ping(ping) => {
                    Ping::new(ping.nonce()).encode(&mut self.control, Kind::Pong, header.tag());
                }
                Frame::GoAway(goaway) => bail!("the server is going away: {}", goaway.message),
                other => bail!("the server sent {other:?} to a producer"),
            }
        }
    }

    fn handle_ack(&mut self, now_ns: u64, ack: &Ack, tally: &mut Tally) -> anyhow::Result<()> {
        if ack.seq() >= self.cursor {
            bail!("ACK of frame {}, which was not sent", ack.seq());
        }
        self.credit_until = self.credit_until.max(ack.credit_until());
        while self.front <= ack.seq() {
            let Some(flight) = self.flights.pop_front() else { break };
            let slot = self.slot(self.front);
            let filler = !self.fillers.is_empty() && self.fillers.remove(&self.front);
            self.front += 1;
            if filler {
                continue;
            }
            tally.all.acked += self.events_per_frame;
            tally.ledger.count(flight.base_ms, self.pool.sampled(slot));
            if flight.measured {
                tally.measured.acked += self.events_per_frame;
                tally.ack.record(now_ns.saturating_sub(flight.intended_ns));
            }
        }
        Ok(())
    }

    fn handle_refuse(
        &mut self,
        now_ns: u64,
        refuse: &Refuse<'_>,
        tally: &mut Tally,
    ) -> anyhow::Result<()> {
        tally.refused_frame(refuse.code, refuse.message);
        if refuse.kind != Kind::Events as u8 {
            bail!("{}: {}", refuse.code.name(), refuse.message);
        }
        match refuse.class {
            RetryClass::Never => {
                let index = refuse.seq.checked_sub(self.front);
                let index = index.and_then(|index| usize::try_from(index).ok());
                let flight = index.and_then(|index| self.flights.get(index));
                let flight = flight.context("a frame was refused that is not in flight")?;
                if self.fillers.insert(refuse.seq) {
                    tally.all.refused += self.events_per_frame;
                    tally.measured.refused +=
                        if flight.measured { self.events_per_frame } else { 0 };
                }
            }
            RetryClass::Later => {
                let wait_ns = u64::from(refuse.retry_after_ms) * 1_000_000;
                self.resume_ns = self.resume_ns.max(now_ns + wait_ns);
            }
            RetryClass::Resend => {}
            RetryClass::Reconnect => bail!("{}: {}", refuse.code.name(), refuse.message),
        }
        if self.flow != Flow::Mending {
            self.flow = Flow::Mending;
            self.nonce += 1;
            self.rewind_to = 0;
            Ping::new(self.nonce).encode(&mut self.control, Kind::Ping, 0);
        }
        self.rewind_to = self.rewind_to.max(refuse.expected_seq);
        Ok(())
    }

    fn handle_need(
        &mut self,
        need: &Need<'_>,
        population: &Population,
        tally: &mut Tally,
    ) -> anyhow::Result<()> {
        let mut names = Vec::with_capacity(need.entries.len());
        for entry in need.entries {
            match population.name_of(entry.id()) {
                Some(name) => names.push((entry.kind(), name)),
                None => tally.names_missing += 1,
            }
        }
        let mut rest = names.as_slice();
        while !rest.is_empty() {
            let some = rest.iter().map(|(kind, name)| (*kind, name.as_str()));
            let written = encode_define(&mut self.control, some);
            rest = &rest[written as usize..];
        }
        if self.control.len() > CONTROL_BYTES_MAX {
            bail!("the server asks for names and does not read them");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::Peer;
    use crate::pool::Place;
    use crate::sample::{Ledger, Sample};
    use crate::scenario::Scenario;
    use std::net::TcpListener;
    use std::time::{Duration, Instant};
    use trendsrv_proto::{Refusal, ShardAddress};

    /// Sends `frames` frames to a peer with this plan of refusals. Returns the tally and what the
    /// peer applied; the peer itself asserts that credit is never overrun.
    fn drive(frames: usize, plan: &[Option<(Refusal, u32)>]) -> (Tally, Peer, Scenario) {
        let scenario =
            Scenario { tenants: 20, frame_events: 50, sample: 19, ..Scenario::default() };
        let (population, sample) = (Population::new(&scenario), Sample::new(&scenario));
        let place = Place { connection: 0, frames: 32, of_shard: (0, 1) };
        let mut drawn = vec![false; scenario.tenants as usize];
        let pool = Pool::new(&scenario, &population, &sample, place, |_| true, &mut drawn);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mut peer = Peer::new();
        peer.addresses = vec![ShardAddress::new(address)];
        peer.plan = plan.iter().copied().collect();
        let serve = move || {
            let (mut stream, _) = listener.accept().unwrap();
            let (mut connection, mut bytes) = (peer.accept(), vec![0; 1_500]);
            while let Ok(n @ 1..) = stream.read(&mut bytes) {
                stream.write_all(&peer.handle(&mut connection, &bytes[..n])).unwrap();
            }
            peer
        };
        let server = std::thread::Builder::new().spawn(serve).unwrap();
        let identity = (9, 0, AckMode::Applied);
        let mut lane = Lane::connect(address, identity, pool, (50, 1 << 20)).unwrap();
        let mut tally = Tally::new(Ledger::new(1_000, 60)).unwrap();
        let (began, mut scratch, mut admitted) = (Instant::now(), vec![0; 4_096], 0);
        while admitted < frames || !lane.is_idle() {
            assert!(began.elapsed() < Duration::from_secs(60), "stuck: {:?}", tally.all);
            let now_ns = u64::try_from(began.elapsed().as_nanos()).unwrap();
            while admitted < frames && lane.has_room() {
                lane.admit(now_ns, 5_000_000, true, &mut tally);
                admitted += 1;
            }
            // Readiness is asked for without a poll here: every call may find nothing.
            lane.mark_ready(true, true);
            lane.pump(now_ns).unwrap();
            lane.read(now_ns, &mut scratch, &population, &mut tally).unwrap();
            std::thread::yield_now();
        }
        assert_eq!(lane.unsent(), (0, 0));
        drop(lane);
        (tally, server.join().unwrap(), scenario)
    }

    /// The exact counts of acknowledged events are what the peer applied.
    fn agree(tally: &Tally, peer: &Peer, scenario: &Scenario) {
        let (population, sample) = (Population::new(scenario), Sample::new(scenario));
        let expected = tally.ledger.expected(&population, &[5_000_000; 19]);
        for (tenant, expected) in sample.tenants().iter().zip(expected) {
            let id = population.tenant_id(*tenant).0;
            let applied = peer.applied.iter().filter(|event| event.0 == id).count();
            assert_eq!(expected.events, applied as u64, "tenant {tenant}");
        }
        assert_eq!(tally.all.acked, peer.applied.len() as u64);
        assert_eq!(tally.all.acked + tally.all.refused, tally.all.admitted);
        assert_eq!(tally.measured, tally.all);
        assert_eq!(tally.ack.percentiles().count * 50, tally.all.acked);
    }

    #[test]
    fn frames_arrive_once_in_order_through_a_pool_that_wraps() {
        let (tally, peer, scenario) = drive(300, &[]);
        assert_eq!(tally.all.acked, 15_000);
        assert_eq!(peer.duplicates + peer.gaps, 0);
        assert_eq!(tally.names_missing, 0);
        agree(&tally, &peer, &scenario);
    }

    #[test]
    fn refusals_of_every_class_cost_what_they_say_and_no_more() {
        let plan = [
            None,
            Some((Refusal::Future, 0)),
            Some((Refusal::Overloaded, 3)),
            None,
            Some((Refusal::CreditExceeded, 0)),
            Some((Refusal::Malformed, 0)),
            Some((Refusal::TenantsFull, 1)),
        ];
        let (tally, peer, scenario) = drive(200, &plan);
        assert_eq!((tally.all.acked, tally.all.refused), (9_900, 100));
        assert_eq!((tally.refusals["FUTURE"], tally.refusals["OVERLOADED"]), (1, 1));
        assert_eq!(peer.duplicates, 0, "a rewind goes to where the server is, not before");
        agree(&tally, &peer, &scenario);
    }
}
