//! One connection's conversation, without the connection: a sans-IO producer and reader session.
//!
//! Owns: batching, sequence numbers, credit, what is sent again and when, requests in flight.
//! Never touches: sockets, clocks, randomness (a seed comes with the configuration).
//!
//! The owner's loop:
//!
//! ```text
//! connect at reconnect_at() -> handle_connected(now)
//! while let Some(bytes) = poll_transmit(now) { write all of them }
//! read -> handle_bytes(now, bytes, names); then poll_event() until None
//! at next_timeout() -> handle_timeout(now);      connection gone -> handle_disconnect(now)
//! ```
//!
//! After a refusal nothing is sent until a PONG has come back: by then every refusal of frames
//! that were in flight behind the refused one has arrived, and one rewind serves them all.

mod config;
mod inbox;
mod queue;
mod state;
mod text_batch;

pub use config::{ConfigError, Counts, PushError, Refused, SessionConfig, SessionEvent};
pub use state::State;

use crate::jitter::Jitter;
use crate::limits::{
    GREETING_MS_MAX, QUERIES_MAX, RECORD_BYTES, SILENCE_MS_MAX, TEXT_HEAD_BYTES, TRANSMIT_BYTES_MAX,
};
use crate::topology::Topology;
use queue::Queue;
use state::Input;
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use trendsrv_proto::limits::{SUBSCRIPTIONS_MAX, TIME_MS_MAX, WEIGHT_MAX};
use trendsrv_proto::{
    Hello, Kind, Ping, Query, Rank, Subscribe, TenantId, TopicId, check_name, check_text,
};

/// One lane of a producer; see the module.
#[derive(Debug)]
pub struct Session {
    config: SessionConfig,
    state: State,
    epoch: u32,
    queue: Queue,
    jitter: Jitter,
    counts: Counts,
    topology: Option<Arc<Topology>>,
    // What the next transmission starts with: frames that need no credit.
    control: Vec<u8>,
    out: Vec<u8>,
    inbox: Vec<u8>,
    events: VecDeque<SessionEvent>,
    credit: Credit,
    mend: Mend,
    reconnect_at_ms: u64,
    attempts: u32,
    heard_at_ms: u64,
    next_tag: u32,
    queries: BTreeSet<u32>,
    subscriptions: Vec<(u32, Subscribe)>,
}

/// Bytes of event frames on this connection.
#[derive(Debug, Default)]
struct Credit {
    sent: u64,
    until: u64,
}

/// What a refusal left to do.
#[derive(Debug, Default)]
struct Mend {
    /// The nonce of the PING that closes the refusals; also the last one used.
    nonce: u64,
    rewind_to: u64,
    resume_at_ms: u64,
    /// Refusals of class Later since the last acknowledgement.
    later: u32,
}

impl Session {
    /// A session without a connection; one is wanted at once.
    ///
    /// # Errors
    /// When a setting cannot work.
    pub fn new(config: SessionConfig) -> Result<Self, ConfigError> {
        config.check()?;
        Ok(Self {
            queue: Queue::new(&config),
            jitter: Jitter::new(config.seed),
            state: State::Disconnected,
            epoch: config.epoch,
            counts: Counts::default(),
            topology: None,
            control: Vec::new(),
            out: Vec::new(),
            inbox: Vec::new(),
            events: VecDeque::new(),
            credit: Credit::default(),
            mend: Mend::default(),
            reconnect_at_ms: 0,
            attempts: 0,
            heard_at_ms: 0,
            next_tag: 1,
            queries: BTreeSet::new(),
            subscriptions: Vec::new(),
            config,
        })
    }

    /// Takes an event.
    ///
    /// # Errors
    /// When it breaks a rule, when too much is unacknowledged, or when the session is over.
    pub fn push(
        &mut self,
        now_ms: u64,
        tenant: TenantId,
        topic: TopicId,
        weight: u32,
        ts_ms: u64,
    ) -> Result<(), PushError> {
        self.check_push(weight, ts_ms, RECORD_BYTES)?;
        self.queue.push(now_ms, (tenant, topic), weight, ts_ms);
        self.counts.pushed += 1;
        Ok(())
    }

    /// Takes a text of 1 to 4,096 bytes: the tenant's program finds its topics. Texts and topics
    /// keep their order, so a batch ends when the other kind comes.
    ///
    /// # Errors
    /// As [`Session::push`].
    pub fn push_text(
        &mut self,
        now_ms: u64,
        tenant: &str,
        text: &str,
        weight: u32,
        ts_ms: u64,
    ) -> Result<(), PushError> {
        check_name(tenant.as_bytes()).map_err(PushError::Tenant)?;
        check_text(text.as_bytes()).map_err(PushError::Text)?;
        self.check_push(weight, ts_ms, TEXT_HEAD_BYTES + tenant.len() + text.len())?;
        self.queue.push_text(now_ms, (tenant, text), weight, ts_ms);
        self.counts.pushed += 1;
        Ok(())
    }

    /// The rules that topics and texts share.
    fn check_push(&self, weight: u32, ts_ms: u64, bytes: usize) -> Result<(), PushError> {
        if self.state == State::Closed {
            return Err(PushError::Closed);
        }
        if !(1..=WEIGHT_MAX).contains(&weight) {
            return Err(PushError::Weight(weight));
        }
        if ts_ms > TIME_MS_MAX {
            return Err(PushError::Time(ts_ms));
        }
        if !self.queue.has_room(bytes) {
            return Err(PushError::Full(self.queue.bytes()));
        }
        Ok(())
    }

    /// Ends the open batch: its events are sent without waiting for more.
    pub fn flush(&mut self) {
        self.queue.seal();
    }

    /// Asks for a tenant's answer; `None` when too many queries wait or no connection is open.
    /// The answer comes as [`SessionEvent::Answer`] with the tag returned.
    pub fn query(
        &mut self,
        tenant: TenantId,
        at_ms: Option<u64>,
        k: u16,
        rank: Rank,
    ) -> Option<u32> {
        if self.queries.len() >= QUERIES_MAX || !self.is_connected() {
            return None;
        }
        let tag = self.new_tag();
        Query::new(tenant, at_ms, k, rank).encode(&mut self.control, tag);
        self.queries.insert(tag);
        Some(tag)
    }

    /// Asks for a tenant's answers as they change, over reconnections too; `None` when the
    /// connection's 64 subscriptions are taken.
    pub fn subscribe(&mut self, tenant: TenantId, k: u16, rank: Rank) -> Option<u32> {
        if self.subscriptions.len() >= SUBSCRIPTIONS_MAX {
            return None;
        }
        let tag = self.new_tag();
        let subscribe = Subscribe::new(tenant, k, rank, true);
        self.subscriptions.push((tag, subscribe));
        if self.is_connected() {
            subscribe.encode(&mut self.control, tag);
        }
        Some(tag)
    }

    /// Ends a subscription.
    pub fn unsubscribe(&mut self, tag: u32) {
        let Some(at) = self.subscriptions.iter().position(|(t, _)| *t == tag) else { return };
        let (_, old) = self.subscriptions.swap_remove(at);
        if self.is_connected() {
            Subscribe::new(old.tenant(), old.k(), old.rank(), false).encode(&mut self.control, tag);
        }
    }

    /// The owner has a connection: HELLO is the first thing on it.
    pub fn handle_connected(&mut self, now_ms: u64) {
        self.step(Input::Connected);
        if self.state != State::Greeting {
            return;
        }
        self.forget_connection();
        self.heard_at_ms = now_ms;
        let hello = Hello {
            ack: self.config.ack,
            features: 0,
            producer: self.config.producer,
            epoch: self.epoch,
            lane: self.config.lane,
            software: &self.config.software,
        };
        hello.encode(&mut self.control);
    }

    /// The connection is gone, or could not be made.
    pub fn handle_disconnect(&mut self, now_ms: u64) {
        self.lose(now_ms, 0);
    }

    /// The bytes to write now, all of them, in this order; `None` when there is nothing.
    pub fn poll_transmit(&mut self, now_ms: u64) -> Option<&[u8]> {
        self.out.clear();
        self.out.append(&mut self.control);
        if self.state == State::Pausing && now_ms >= self.mend.resume_at_ms {
            self.resume(Input::PauseOver);
        }
        if self.state == State::Open {
            let since = self.queue.batch_since_ms();
            if since.is_some_and(|since| now_ms >= since + self.config.linger_ms) {
                self.queue.seal();
            }
            self.gather();
        }
        (!self.out.is_empty()).then_some(&self.out)
    }

    fn gather(&mut self) {
        let generation = self.topology.as_ref().map_or(0, |topology| topology.generation);
        while let Some(bytes) = self.queue.next_bytes() {
            let sent = self.credit.sent + bytes as u64;
            if sent > self.credit.until || self.out.len() >= TRANSMIT_BYTES_MAX {
                break;
            }
            self.queue.send_next(generation, &mut self.out);
            self.credit.sent = sent;
        }
    }

    /// What happened since the last call, oldest first.
    pub fn poll_event(&mut self) -> Option<SessionEvent> {
        self.events.pop_front()
    }

    /// When `handle_timeout` and `poll_transmit` are due next.
    #[must_use]
    pub fn next_timeout(&self) -> Option<u64> {
        let batch = self.queue.batch_since_ms().map(|since| since + self.config.linger_ms);
        let silence = self.owed().then_some(self.heard_at_ms + SILENCE_MS_MAX);
        match self.state {
            State::Disconnected => Some(self.reconnect_at_ms),
            State::Greeting => Some(self.heard_at_ms + GREETING_MS_MAX),
            State::Open => [batch, silence].into_iter().flatten().min(),
            State::Pausing => Some(self.mend.resume_at_ms),
            State::Mending | State::Draining => silence,
            State::Closed => None,
        }
    }

    /// Gives up a peer that is silent for too long.
    pub fn handle_timeout(&mut self, now_ms: u64) {
        let (waited, max) = match self.state {
            State::Greeting => ("HELLO_OK", GREETING_MS_MAX),
            State::Open | State::Mending | State::Draining if self.owed() => {
                ("an answer", SILENCE_MS_MAX)
            }
            State::Open
            | State::Mending
            | State::Pausing
            | State::Draining
            | State::Disconnected
            | State::Closed => return,
        };
        if now_ms >= self.heard_at_ms + max {
            self.break_off(now_ms, 0, format!("no {waited} for {max} ms"));
        }
    }

    /// When the owner should make a connection, milliseconds; `None` while there is one or none
    /// is wanted.
    #[must_use]
    pub fn reconnect_at(&self) -> Option<u64> {
        (self.state == State::Disconnected).then_some(self.reconnect_at_ms)
    }

    /// Where the session stands.
    #[must_use]
    pub const fn state(&self) -> State {
        self.state
    }

    /// What became of the events pushed.
    #[must_use]
    pub const fn counts(&self) -> Counts {
        self.counts
    }

    /// Whether every event pushed is acknowledged, refused or given up.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.queue.is_empty()
    }

    /// Bytes of events not acknowledged yet.
    #[must_use]
    pub const fn in_flight_bytes(&self) -> usize {
        self.queue.bytes()
    }

    /// What the last HELLO_OK told.
    #[must_use]
    pub fn topology(&self) -> Option<&Arc<Topology>> {
        self.topology.as_ref()
    }

    /// HELLO_OK has come and the connection lives.
    const fn is_connected(&self) -> bool {
        matches!(self.state, State::Open | State::Mending | State::Pausing | State::Draining)
    }

    /// The peer owes an answer.
    fn owed(&self) -> bool {
        self.queue.in_flight() > 0 || !self.queries.is_empty() || self.state == State::Mending
    }

    fn step(&mut self, input: Input) {
        self.state = self.state.after(input);
    }

    fn new_tag(&mut self) -> u32 {
        let tag = self.next_tag;
        // 0 is the tag of frames nobody asked for.
        self.next_tag = self.next_tag.checked_add(1).unwrap_or(1);
        tag
    }

    /// Sends again from where the server is.
    fn resume(&mut self, input: Input) {
        self.step(input);
        self.queue.rewind(self.mend.rewind_to);
    }

    fn forget_connection(&mut self) {
        self.queue.disconnect();
        self.control.clear();
        self.inbox.clear();
        self.credit = Credit::default();
        for tag in std::mem::take(&mut self.queries) {
            self.events.push_back(SessionEvent::RequestLost(tag));
        }
    }

    /// Goes to `Disconnected` and plans the next attempt.
    fn lose(&mut self, now_ms: u64, at_least_ms: u64) {
        self.step(Input::Lost);
        if self.state == State::Closed {
            return;
        }
        self.forget_connection();
        self.reconnect_at_ms = now_ms + self.jitter.wait_ms(self.attempts, at_least_ms);
        self.attempts = self.attempts.saturating_add(1);
    }

    /// Loses a connection that still stands: the owner has to close it.
    fn break_off(&mut self, now_ms: u64, at_least_ms: u64, why: String) {
        self.lose(now_ms, at_least_ms);
        if self.state == State::Disconnected {
            self.events.push_back(SessionEvent::Close(why));
        }
    }

    /// Ends the session; what it still holds is uncertain where it was sent.
    fn close(&mut self, why: String) {
        self.step(Input::Fatal);
        self.forget_connection();
        let given_up = self.queue.drop_all();
        if given_up > 0 {
            self.counts.uncertain += given_up;
            self.events.push_back(SessionEvent::Uncertain(given_up));
        }
        self.events.push_back(SessionEvent::Closed(why));
    }

    fn ping(&mut self) {
        self.mend.nonce += 1;
        Ping::new(self.mend.nonce).encode(&mut self.control, Kind::Ping, 0);
    }
}
