//! What the server says, frame by frame.
//!
//! Bytes from a peer never panic: a frame that cannot be read, or that says something impossible,
//! costs the connection, and the session goes on with the next one.

use super::queue::Settled;
use super::state::Input;
use super::{Refused, Session, SessionEvent, State};
use crate::answer::Answer;
use crate::names::Names;
use crate::topology::Topology;
use std::sync::Arc;
use trendsrv_proto::{
    Ack, Frame, HelloOk, Kind, NameKind, Need, Ping, Refusal, Refuse, RetryClass, Split, Summary,
    encode_define, split,
};

impl Session {
    /// Reads what came from the server, in any pieces.
    pub fn handle_bytes(&mut self, now_ms: u64, bytes: &[u8], names: &Names) {
        if matches!(self.state, State::Disconnected | State::Closed) {
            return;
        }
        self.heard_at_ms = now_ms;
        let mut inbox = std::mem::take(&mut self.inbox);
        inbox.extend_from_slice(bytes);
        let mut at = 0;
        while !matches!(self.state, State::Disconnected | State::Closed) {
            match split(&inbox[at..]) {
                Split::Incomplete(_) => break,
                Split::Lost(lost) => self.break_off(now_ms, 0, lost.to_string()),
                Split::Frame(header, body) => {
                    at += header.length();
                    match Frame::parse(header, body) {
                        Ok(frame) => self.handle_frame(now_ms, header.tag(), &frame, names),
                        Err(malformed) => self.break_off(now_ms, 0, malformed.to_string()),
                    }
                }
            }
        }
        inbox.drain(..at);
        if !matches!(self.state, State::Disconnected | State::Closed) {
            self.inbox = inbox;
        }
    }

    fn handle_frame(&mut self, now_ms: u64, tag: u32, frame: &Frame<'_>, names: &Names) {
        match frame {
            Frame::HelloOk(hello_ok) => self.handle_welcome(now_ms, hello_ok),
            Frame::Refuse(refuse) => self.handle_refuse(now_ms, tag, refuse),
            Frame::GoAway(goaway) => self.handle_goaway(now_ms, goaway.message),
            Frame::Ping(ping) => {
                Ping::new(ping.nonce()).encode(&mut self.control, Kind::Pong, tag);
            }
            // Before HELLO_OK nothing else means anything.
            Frame::Ack(_)
            | Frame::Need(_)
            | Frame::Summary(_)
            | Frame::Update(_)
            | Frame::Pong(_)
                if self.state == State::Greeting =>
            {
                self.break_off(now_ms, 0, "a frame came before HELLO_OK".to_owned());
            }
            Frame::Ack(ack) => self.handle_ack(now_ms, ack),
            Frame::Need(need) => self.handle_need(need, names),
            Frame::Summary(summary) => self.handle_summary(tag, summary),
            Frame::Update(summary) => {
                if self.subscriptions.iter().any(|(t, _)| *t == tag) {
                    let answer = Box::new(Answer::of(summary));
                    self.events.push_back(SessionEvent::Update(tag, answer));
                }
            }
            Frame::Pong(pong) => self.handle_pong(now_ms, pong.nonce()),
            Frame::Hello(_)
            | Frame::Events(_)
            | Frame::EventsNamed(_)
            | Frame::Text(_)
            | Frame::Define(_)
            | Frame::Query(_)
            | Frame::Subscribe(_) => {
                self.break_off(now_ms, 0, "a client's frame came from the server".to_owned());
            }
        }
    }

    fn handle_welcome(&mut self, now_ms: u64, hello_ok: &HelloOk<'_>) {
        if self.state != State::Greeting {
            return self.break_off(now_ms, 0, "a second HELLO_OK came".to_owned());
        }
        let welcome = hello_ok.welcome();
        match self.queue.settle(welcome.next_seq, self.config.producer == 0) {
            Settled::GoOn { uncertain: 0 } => {}
            Settled::GoOn { uncertain } => {
                self.counts.uncertain += uncertain;
                self.events.push_back(SessionEvent::Uncertain(uncertain));
            }
            Settled::Forgotten => self.events.push_back(SessionEvent::ServerForgot),
            Settled::Unknown => {
                let why = "the server may have given up this producer's marks".to_owned();
                return self.start_new_epoch(now_ms, why);
            }
            Settled::Foreign => return self.close_as_foreign(welcome.next_seq),
        }
        self.step(Input::Welcome);
        self.attempts = 0;
        self.credit.until = welcome.credit_until;
        let topology = Arc::new(Topology::of(hello_ok));
        self.topology = Some(Arc::clone(&topology));
        for (tag, subscribe) in &self.subscriptions {
            subscribe.encode(&mut self.control, *tag);
        }
        self.events.push_back(SessionEvent::Opened(topology));
    }

    fn handle_ack(&mut self, now_ms: u64, ack: &Ack) {
        let Some(events) = self.queue.ack(ack.seq()) else {
            let why = format!("ACK of frame {}, which was not sent here", ack.seq());
            return self.break_off(now_ms, 0, why);
        };
        if events > 0 {
            self.mend.later = 0;
        }
        self.counts.acked += events;
        self.credit.until = self.credit.until.max(ack.credit_until());
        self.finish_draining(now_ms);
    }

    fn handle_need(&mut self, need: &Need<'_>, names: &Names) {
        let mut missing: Option<(usize, (NameKind, u64))> = None;
        let mut found = Vec::with_capacity(need.entries.len());
        for entry in need.entries {
            match names.get(entry.id()) {
                Some(name) => found.push((entry.kind(), name)),
                None => {
                    let first = missing.map_or((entry.kind(), entry.id()), |(_, first)| first);
                    missing = Some((missing.map_or(0, |(n, _)| n) + 1, first));
                }
            }
        }
        let mut rest = found.as_slice();
        while !rest.is_empty() {
            let written = encode_define(&mut self.control, rest.iter().copied());
            rest = &rest[written as usize..];
        }
        if let Some((count, first)) = missing {
            self.events.push_back(SessionEvent::NamesMissing { count, first });
        }
    }

    fn handle_summary(&mut self, tag: u32, summary: &Summary<'_>) {
        // The answer to a query of an earlier connection cannot come here: its tag is gone.
        if self.queries.remove(&tag) {
            let answer = Box::new(Answer::of(summary));
            self.events.push_back(SessionEvent::Answer(tag, answer));
        }
    }

    fn handle_pong(&mut self, now_ms: u64, nonce: u64) {
        if self.state != State::Mending || nonce != self.mend.nonce {
            return;
        }
        if now_ms < self.mend.resume_at_ms {
            self.step(Input::PongEarly);
        } else {
            self.resume(Input::PongResume);
        }
    }

    fn handle_goaway(&mut self, now_ms: u64, message: &str) {
        if self.state == State::Greeting {
            return self.break_off(now_ms, 0, format!("the server is going away: {message}"));
        }
        self.step(Input::GoAway);
        self.events.push_back(SessionEvent::GoingAway(message.to_owned()));
        self.finish_draining(now_ms);
    }

    /// A drained connection is left before the server cuts it.
    fn finish_draining(&mut self, now_ms: u64) {
        if self.state == State::Draining && self.queue.in_flight() == 0 && self.queries.is_empty() {
            self.break_off(now_ms, 0, "drained after GOAWAY".to_owned());
        }
    }

    fn handle_refuse(&mut self, now_ms: u64, tag: u32, refuse: &Refuse<'_>) {
        let refused = Refused {
            code: refuse.code,
            message: refuse.message.to_owned(),
            events: 0,
            index: refuse.index,
        };
        match Kind::from_u8(refuse.kind) {
            Some(kind) if kind.carries_events() => self.refused_frame(now_ms, refuse, refused),
            Some(Kind::Query | Kind::Subscribe) => {
                self.queries.remove(&tag);
                self.subscriptions.retain(|(t, _)| *t != tag);
                self.events.push_back(SessionEvent::RequestRefused(tag, refused));
            }
            Some(Kind::Define) => self.events.push_back(SessionEvent::Refused(refused)),
            _ => self.refused_connection(now_ms, refuse),
        }
    }

    /// HELLO, or the connection as a whole.
    fn refused_connection(&mut self, now_ms: u64, refuse: &Refuse<'_>) {
        let why = format!("{}: {}", refuse.code.name(), refuse.message);
        if refuse.code == Refusal::ProducerUnknown {
            return self.start_new_epoch(now_ms, why);
        }
        match refuse.class {
            RetryClass::Never => self.close(why),
            RetryClass::Later | RetryClass::Resend | RetryClass::Reconnect => {
                self.break_off(now_ms, u64::from(refuse.retry_after_ms), why);
            }
        }
    }

    /// A frame of events. It stays in the queue, as it is or emptied, until it is acknowledged.
    fn refused_frame(&mut self, now_ms: u64, refuse: &Refuse<'_>, mut refused: Refused) {
        match (refuse.code, refuse.class) {
            (Refusal::Fenced | Refusal::SeqReused | Refusal::Unauthorised, _)
            | (Refusal::ProducerUnknown, _)
            | (_, RetryClass::Reconnect) => return self.refused_connection(now_ms, refuse),
            (_, RetryClass::Never) => {
                // A frame too damaged to tell its number, or of a kind that the server does not
                // know, is the one it expects.
                let seq = if refuse.seq == 0 { refuse.expected_seq } else { refuse.seq };
                let Some(events) = self.queue.make_filler(seq) else {
                    let why = format!("frame {} was refused, which is not in flight", refuse.seq);
                    return self.break_off(now_ms, 0, why);
                };
                if events > 0 {
                    refused.events = events;
                    self.counts.refused += events;
                    self.events.push_back(SessionEvent::Refused(refused));
                }
            }
            (_, RetryClass::Later) => {
                let at_least_ms = u64::from(refuse.retry_after_ms);
                let wait_ms = self.jitter.wait_ms(self.mend.later, at_least_ms);
                self.mend.later = self.mend.later.saturating_add(1);
                self.mend.resume_at_ms = self.mend.resume_at_ms.max(now_ms + wait_ms);
            }
            (Refusal::SeqGap, _) if refuse.expected_seq < self.queue.front_seq() => {
                // Acknowledged already: a server that lost it would have said so in HELLO_OK.
                return self.close_as_foreign(refuse.expected_seq);
            }
            (_, RetryClass::Resend) => {}
        }
        if self.state == State::Greeting {
            return self.break_off(now_ms, 0, "a frame was refused before HELLO_OK".to_owned());
        }
        if self.state == State::Draining {
            // Nothing is sent again here; the next connection's HELLO_OK says where to go on.
            return self.break_off(now_ms, 0, "a frame was refused while draining".to_owned());
        }
        if self.state != State::Mending {
            self.ping();
            self.mend.rewind_to = refuse.expected_seq;
        }
        self.mend.rewind_to = self.mend.rewind_to.max(refuse.expected_seq);
        self.step(Input::Refused);
    }

    /// The server expects a number that this producer is not at, and cannot go to.
    fn close_as_foreign(&mut self, expected_seq: u64) {
        self.close(format!(
            "the server expects sequence number {expected_seq}, where this producer is not: \
             another program uses the same producer id"
        ));
    }

    /// The server no longer knows the marks: what was sent may have counted, so it is given up
    /// rather than counted twice, and the producer goes on under a new epoch.
    fn start_new_epoch(&mut self, now_ms: u64, why: String) {
        let uncertain = self.queue.drop_sent();
        self.counts.uncertain += uncertain;
        if uncertain > 0 {
            self.events.push_back(SessionEvent::Uncertain(uncertain));
        }
        self.queue.restart();
        self.epoch = self.epoch.saturating_add(1);
        self.break_off(now_ms, 0, why);
    }
}
