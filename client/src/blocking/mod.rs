//! A small client that blocks: one connection per shard, driven by the caller's thread.
//!
//! Owns: sockets, the clock, reconnecting. What to send, and when, is the sessions' matter.
//! Nothing happens between calls: a caller that sends rarely calls [`Client::turn`] or
//! [`Client::flush`] so that batches leave and pings are answered.

mod error;
mod lane;

pub use error::ClientError;

use crate::answer::Answer;
use crate::limits::{
    BATCH_EVENTS, IN_FLIGHT_BYTES_MAX, LINGER_MS, NAMES_MAX, QUERIES_MAX, REPORTS_MAX, UPDATES_MAX,
};
use crate::names::Names;
use crate::router::Router;
use crate::session::{Counts, PushError, Refused, SessionConfig, SessionEvent, State};
use crate::topology::Topology;
use lane::Lane;
use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::{Duration, Instant};
use trendsrv_proto::{AckMode, Rank, TenantId, TopicId};

/// Settings of a client.
#[derive(Clone, Debug)]
pub struct Options {
    /// The producer's id; `None` draws one, so that nothing counts twice over reconnections
    /// while this client lives. 0 is anonymous.
    pub producer: Option<u64>,
    /// Grows when a producer starts anew under the same id.
    pub epoch: u32,
    /// When frames are acknowledged.
    pub ack: AckMode,
    /// Events in one frame.
    pub batch_events: usize,
    /// How long a batch waits for more events.
    pub linger_ms: u64,
    /// Bytes of unacknowledged frames per shard.
    pub in_flight_bytes_max: usize,
    /// Names the dictionary holds.
    pub names_max: usize,
    /// How long a connection, an answer or an acknowledgement may take.
    pub timeout: Duration,
    /// Name and version of the program, for people who read logs.
    pub software: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            producer: None,
            epoch: 0,
            ack: AckMode::Applied,
            batch_events: BATCH_EVENTS,
            linger_ms: LINGER_MS,
            in_flight_bytes_max: IN_FLIGHT_BYTES_MAX,
            names_max: NAMES_MAX,
            timeout: Duration::from_secs(30),
            software: SessionConfig::default().software,
        }
    }
}

/// A connected client; see the module.
#[derive(Debug)]
pub struct Client {
    address: SocketAddr,
    options: Options,
    router: Router,
    lanes: Vec<Lane>,
    poll: mio::Poll,
    ready: mio::Events,
    clock: Instant,
    scratch: Vec<u8>,
    answers: HashMap<(usize, u32), Result<Answer, Option<Refused>>>,
    updates: VecDeque<Answer>,
    reports: VecDeque<Refused>,
    last_trouble: Option<String>,
    names_missing: u64,
}

impl Client {
    /// Connects, learns the map of the shards, and opens a lane to each.
    ///
    /// # Errors
    /// When the address is wrong, nobody listens, or it is not trendsrv.
    pub fn connect(address: &str, options: Options) -> Result<Self, ClientError> {
        let address = resolve(address)?;
        let config = SessionConfig {
            producer: options.producer.unwrap_or_else(|| rand::random::<u64>().max(1)),
            epoch: options.epoch,
            lane: 0,
            ack: options.ack,
            batch_events: options.batch_events,
            in_flight_bytes_max: options.in_flight_bytes_max,
            linger_ms: options.linger_ms,
            seed: rand::random(),
            software: options.software.clone(),
        };
        let topology = lane::probe(address, &config, options.timeout)?;
        let names = Names::new(options.names_max);
        let router = Router::new(&config, Arc::new(topology), names)?;
        let io = |cause| ClientError::Io { what: "starting to poll sockets", cause };
        let poll = mio::Poll::new().map_err(io)?;
        let lanes = (0..router.lanes()).map(Lane::new).collect();
        let mut client = Self {
            address,
            options,
            router,
            lanes,
            poll,
            ready: mio::Events::with_capacity(64),
            clock: Instant::now(),
            scratch: vec![0; 64 << 10],
            answers: HashMap::new(),
            updates: VecDeque::new(),
            reports: VecDeque::new(),
            last_trouble: None,
            names_missing: 0,
        };
        client.wait("connecting to every shard", |client| {
            (0..client.lanes.len()).all(|lane| client.router.lane(lane).state() == State::Open)
        })?;
        Ok(client)
    }

    /// Remembers a name, so that the server learns it when it asks. Returns its id.
    ///
    /// # Errors
    /// When the name breaks the rule for names or the dictionary is full.
    pub fn define(&mut self, name: &str) -> Result<u64, ClientError> {
        self.remember("tenant or topic", name)
    }

    fn remember(&mut self, kind: &'static str, name: &str) -> Result<u64, ClientError> {
        let id = Names::id_of(name).map_err(|cause| ClientError::Name {
            kind,
            name: name.to_owned(),
            cause,
        })?;
        self.router.names_mut().insert(id, name)?;
        Ok(id)
    }

    /// Takes an event; it leaves with its batch. Blocks while too much is unacknowledged.
    ///
    /// # Errors
    /// When it breaks a rule, or the server takes nothing for longer than the timeout.
    pub fn send(
        &mut self,
        tenant: &str,
        topic: &str,
        weight: u32,
        ts_ms: u64,
    ) -> Result<(), ClientError> {
        let tenant = TenantId(self.remember("tenant", tenant)?);
        let topic = TopicId(self.remember("topic", topic)?);
        self.send_ids(tenant, topic, weight, ts_ms)
    }

    /// As [`Client::send`], with ids whose names were given to [`Client::define`].
    ///
    /// # Errors
    /// As [`Client::send`].
    pub fn send_ids(
        &mut self,
        tenant: TenantId,
        topic: TopicId,
        weight: u32,
        ts_ms: u64,
    ) -> Result<(), ClientError> {
        self.push(self.router.lane_of(tenant), |router, now_ms| {
            router.push(now_ms, tenant, topic, weight, ts_ms)
        })
    }

    /// Takes a text of 1 to 4,096 bytes, in which the tenant's program finds the topics; otherwise
    /// as [`Client::send`], in one order with it.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub fn send_text(
        &mut self,
        tenant: &str,
        text: &str,
        weight: u32,
        ts_ms: u64,
    ) -> Result<(), ClientError> {
        self.push(self.router.lane_of(TenantId::of(tenant)), |router, now_ms| {
            router.push_text(now_ms, tenant, text, weight, ts_ms)
        })
    }

    /// Pushes on a lane, waiting for room if need be; writes once per full batch.
    fn push(
        &mut self,
        lane: usize,
        push: impl Fn(&mut Router, u64) -> Result<(), (usize, PushError)>,
    ) -> Result<(), ClientError> {
        let now_ms = self.now_ms();
        match push(&mut self.router, now_ms) {
            Ok(()) => {}
            Err((lane, PushError::Full(_))) => {
                let room = self.options.in_flight_bytes_max / 2;
                self.wait("an acknowledgement", |client| {
                    client.router.lane(lane).in_flight_bytes() <= room
                })?;
                let now_ms = self.now_ms();
                push(&mut self.router, now_ms).map_err(|e| e.1)?;
            }
            Err((_, error)) => return Err(error.into()),
        }
        if self.lanes[lane].count_push(self.options.batch_events) {
            self.turn(Duration::ZERO)?;
        }
        Ok(())
    }

    /// Sends what is batched and waits until every event is acknowledged, refused or given up;
    /// see [`Client::counts`] and [`Client::refused`] for which.
    ///
    /// # Errors
    /// When that takes longer than the timeout.
    pub fn flush(&mut self) -> Result<(), ClientError> {
        self.router.flush();
        self.wait("acknowledgement of every event", |client| client.router.is_idle())
    }

    /// Asks for a tenant's answer as of now, or of the window that ends at `at_ms`. Requests
    /// overtake batches: events are sure to be in the answer after [`Client::flush`] only.
    ///
    /// # Errors
    /// When the query is refused or takes longer than the timeout.
    pub fn query(
        &mut self,
        tenant: &str,
        k: u16,
        rank: Rank,
        at_ms: Option<u64>,
    ) -> Result<Answer, ClientError> {
        let tenant = TenantId(self.remember("tenant", tenant)?);
        self.query_id(tenant, k, rank, at_ms)
    }

    /// As [`Client::query`], by id.
    ///
    /// # Errors
    /// As [`Client::query`].
    pub fn query_id(
        &mut self,
        tenant: TenantId,
        k: u16,
        rank: Rank,
        at_ms: Option<u64>,
    ) -> Result<Answer, ClientError> {
        let key = self.ask(tenant, k, rank, at_ms)?;
        self.answer_of(tenant, key, (k, rank, at_ms))?.map_err(ClientError::Refused)
    }

    /// Asks for many tenants' answers at once; they come back in the order of `tenants`, each with
    /// its answer or its refusal: a tenant that the server does not hold is one of many here.
    ///
    /// # Errors
    /// When an answer takes longer than the timeout.
    pub fn query_many(
        &mut self,
        tenants: &[TenantId],
        k: u16,
        rank: Rank,
        at_ms: Option<u64>,
    ) -> Result<Vec<Result<Answer, Refused>>, ClientError> {
        let mut answers = Vec::with_capacity(tenants.len());
        for some in tenants.chunks(QUERIES_MAX) {
            let mut keys = Vec::with_capacity(some.len());
            for &tenant in some {
                keys.push(self.ask(tenant, k, rank, at_ms)?);
            }
            for (&tenant, key) in some.iter().zip(keys) {
                answers.push(self.answer_of(tenant, key, (k, rank, at_ms))?);
            }
        }
        Ok(answers)
    }

    /// Sends one query on its tenant's lane, waiting for a connection if there is none.
    fn ask(
        &mut self,
        tenant: TenantId,
        k: u16,
        rank: Rank,
        at_ms: Option<u64>,
    ) -> Result<(usize, u32), ClientError> {
        let lane = self.router.lane_of(tenant);
        let mut tag = None;
        self.wait("sending a query", |client| {
            tag = client.router.lane_mut(lane).query(tenant, at_ms, k, rank);
            tag.is_some()
        })?;
        Ok((lane, tag.unwrap_or(0)))
    }

    /// Waits for one answer; a query that went with its connection is asked again.
    fn answer_of(
        &mut self,
        tenant: TenantId,
        mut key: (usize, u32),
        (k, rank, at_ms): (u16, Rank, Option<u64>),
    ) -> Result<Result<Answer, Refused>, ClientError> {
        loop {
            self.wait("the answer to a query", |client| client.answers.contains_key(&key))?;
            match self.answers.remove(&key) {
                Some(Ok(answer)) => return Ok(Ok(answer)),
                Some(Err(Some(refused))) => return Ok(Err(refused)),
                Some(Err(None)) | None => key = self.ask(tenant, k, rank, at_ms)?,
            }
        }
    }

    /// Asks for a tenant's answers as they change. Returns the subscription.
    ///
    /// # Errors
    /// When the name breaks the rule or every subscription is taken.
    pub fn subscribe(
        &mut self,
        tenant: &str,
        k: u16,
        rank: Rank,
    ) -> Result<Subscription, ClientError> {
        let tenant = TenantId(self.remember("tenant", tenant)?);
        let lane = self.router.lane_of(tenant);
        let tag = self.router.lane_mut(lane).subscribe(tenant, k, rank);
        Ok(Subscription { lane, tag: tag.ok_or(ClientError::Subscriptions)? })
    }

    /// Ends a subscription.
    pub fn unsubscribe(&mut self, subscription: Subscription) {
        self.router.lane_mut(subscription.lane).unsubscribe(subscription.tag);
    }

    /// The next changed answer of any subscription; `None` when none comes within `timeout`.
    ///
    /// # Errors
    /// When the server is lost for good.
    pub fn next_update(&mut self, timeout: Duration) -> Result<Option<Answer>, ClientError> {
        let until = Instant::now() + timeout;
        loop {
            if let Some(update) = self.updates.pop_front() {
                return Ok(Some(update));
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            self.turn(left)?;
        }
    }

    /// What became of the events sent.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.router.counts()
    }

    /// Reports of refusals since the last call, at most the newest 256; all are counted.
    pub fn refused(&mut self) -> Vec<Refused> {
        self.reports.drain(..).collect()
    }

    /// Names the server asked for that the dictionary lacks, ever.
    #[must_use]
    pub const fn names_missing(&self) -> u64 {
        self.names_missing
    }

    /// The map of the shards and the window's grid.
    #[must_use]
    pub fn topology(&self) -> &Topology {
        self.router.topology()
    }

    /// The lane and so the shard of a tenant.
    #[must_use]
    pub fn lane_of(&self, tenant: TenantId) -> usize {
        self.router.lane_of(tenant)
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.clock.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Turns until `done` holds.
    fn wait(
        &mut self,
        what: &'static str,
        mut done: impl FnMut(&mut Self) -> bool,
    ) -> Result<(), ClientError> {
        let until = Instant::now() + self.options.timeout;
        loop {
            if done(self) {
                return Ok(());
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let after_ms = u64::try_from(self.options.timeout.as_millis()).unwrap_or(u64::MAX);
                let last = self.last_trouble.as_ref().map_or(String::new(), |t| format!(" ({t})"));
                return Err(ClientError::Timeout { what, after_ms, last });
            }
            self.turn(left)?;
        }
    }

    /// Writes what is due, waits at most `timeout` for bytes or the next due time, reads.
    ///
    /// # Errors
    /// When a lane is over for good or the operating system fails.
    pub fn turn(&mut self, timeout: Duration) -> Result<(), ClientError> {
        let now_ms = self.now_ms();
        let mut due_ms: Option<u64> = None;
        for lane in 0..self.lanes.len() {
            self.drive(lane, now_ms)?;
            let next = self.router.lane(lane).next_timeout();
            due_ms = due_ms.into_iter().chain(next).min();
        }
        let due = due_ms.map(|due| Duration::from_millis(due.saturating_sub(now_ms)));
        let pause = due.map_or(timeout, |due| timeout.min(due));
        if let Err(cause) = self.poll.poll(&mut self.ready, Some(pause))
            && cause.kind() != io::ErrorKind::Interrupted
        {
            return Err(ClientError::Io { what: "waiting for the server", cause });
        }
        for event in &self.ready {
            self.lanes[event.token().0].mark_ready();
        }
        for lane in 0..self.lanes.len() {
            self.drive(lane, self.now_ms())?;
        }
        Ok(())
    }

    /// Connects, reads and writes one lane as far as that goes without waiting.
    fn drive(&mut self, index: usize, now_ms: u64) -> Result<(), ClientError> {
        self.router.lane_mut(index).handle_timeout(now_ms);
        let due = self.router.lane(index).reconnect_at();
        if due.is_some_and(|due| now_ms >= due) {
            self.connect_lane(index, now_ms);
        }
        let lane = &mut self.lanes[index];
        while let Some(read) = lane.read(&mut self.scratch) {
            match read {
                Ok(bytes) => self.router.handle_bytes(now_ms, index, &self.scratch[..bytes]),
                Err(error) => {
                    self.last_trouble = Some(format!("lane {index}: {error}"));
                    self.router.lane_mut(index).handle_disconnect(now_ms);
                    lane.close();
                }
            }
        }
        self.take_events(index)?;
        let lane = &mut self.lanes[index];
        while lane.write_pending() {
            match self.router.lane_mut(index).poll_transmit(now_ms) {
                Some(bytes) => lane.write(bytes),
                None => break,
            }
        }
        Ok(())
    }

    /// Makes a lane's connection: to its shard when the server still has that shard, else to
    /// the common address.
    fn connect_lane(&mut self, index: usize, now_ms: u64) {
        let direct = self.router.topology().addresses.get(index).copied().flatten();
        // After a restart the shards may listen elsewhere; the common address stays.
        let address = if self.lanes[index].has_failed() {
            self.address
        } else {
            direct.unwrap_or(self.address)
        };
        let registry = self.poll.registry();
        match self.lanes[index].connect(address, registry, self.options.timeout) {
            Ok(()) => self.router.lane_mut(index).handle_connected(now_ms),
            Err(cause) => {
                let error = ClientError::Connect { address, cause };
                self.last_trouble = Some(error.to_string());
                self.router.lane_mut(index).handle_disconnect(now_ms);
            }
        }
    }

    fn take_events(&mut self, index: usize) -> Result<(), ClientError> {
        while let Some(event) = self.router.poll_event(index) {
            match event {
                SessionEvent::Opened(_) => self.lanes[index].opened(),
                SessionEvent::Refused(refused) => {
                    keep_newest(&mut self.reports, refused, REPORTS_MAX);
                }
                SessionEvent::Uncertain(events) => {
                    self.last_trouble = Some(format!("{events} events are uncertain"));
                }
                SessionEvent::ServerForgot => {
                    self.last_trouble = Some("the server has lost its state".to_owned());
                }
                SessionEvent::NamesMissing { count, .. } => self.names_missing += count as u64,
                SessionEvent::Answer(tag, answer) => {
                    self.answers.insert((index, tag), Ok(*answer));
                }
                SessionEvent::RequestRefused(tag, refused) => {
                    self.answers.insert((index, tag), Err(Some(refused)));
                }
                SessionEvent::RequestLost(tag) => {
                    self.answers.insert((index, tag), Err(None));
                }
                SessionEvent::Update(_, answer) => {
                    keep_newest(&mut self.updates, *answer, UPDATES_MAX);
                }
                SessionEvent::GoingAway(why) => self.last_trouble = Some(why),
                SessionEvent::Close(why) => {
                    self.last_trouble = Some(why);
                    self.lanes[index].close();
                }
                SessionEvent::Closed(why) => {
                    self.lanes[index].close();
                    return Err(ClientError::Closed { address: self.address, why });
                }
            }
        }
        Ok(())
    }
}

/// A subscription of a [`Client`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscription {
    lane: usize,
    tag: u32,
}

fn keep_newest<T>(queue: &mut VecDeque<T>, item: T, max: usize) {
    if queue.len() >= max {
        queue.pop_front();
    }
    queue.push_back(item);
}

fn resolve(address: &str) -> Result<SocketAddr, ClientError> {
    let bad = |cause| ClientError::Address { address: address.to_owned(), cause };
    let mut found = address.to_socket_addrs().map_err(bad)?;
    found.next().ok_or_else(|| bad(io::Error::other("the name has no address")))
}
