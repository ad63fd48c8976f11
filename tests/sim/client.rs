//! One client: a real [`Session`], what it pushed and asked, and what it was told.
//!
//! Owns the session and the order of what it holds. Never touches the network: [`crate::world`]
//! carries its bytes.
//!
//! A session counts acknowledged and given-up events in the order they were pushed; so a queue of
//! what was pushed tells which they are. It is fed one frame at a time, because between two frames
//! only one of the counts moves.

use crate::oracle::{EventId, Heir, Moment, Oracle};
use std::collections::{BTreeMap, VecDeque};
use trendsrv_client::{Answer, Counts, Names, Session, SessionConfig, SessionEvent};
use trendsrv_proto::{AckMode, Refusal, Split, split};

/// See the module header.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) session: Session,
    pub(crate) config: SessionConfig,
    pub(crate) names: Names,
    held: VecDeque<EventId>,
    counts: Counts,
    /// Its connection.
    pub(crate) wire: Option<u64>,
    /// It is being made, until then.
    pub(crate) connects: bool,
    pub(crate) wakes_us: u64,
    /// Bytes of a frame that has not come whole.
    partial: Vec<u8>,
    pub(crate) questions: BTreeMap<u32, Question>,
    /// Tag and tenant of each subscription.
    pub(crate) subscriptions: BTreeMap<u32, usize>,
    pub(crate) opened: u64,
    /// Codes of refusals it was told.
    pub(crate) refusals: BTreeMap<&'static str, u64>,
}

/// A question on its way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Question {
    pub(crate) tenant: usize,
    /// How far ahead it asks.
    pub(crate) ahead_ms: u64,
    pub(crate) moment: Moment,
}

/// What a client has heard that the world must act on.
#[derive(Debug)]
pub(crate) enum Heard {
    /// An answer to a question.
    Answer(Question, Box<Answer>),
    /// The tenant of a question is not known.
    Unknown(Question),
    /// The time a question asked for has passed.
    Stale(Question),
    /// A changed answer of a subscription.
    Update(usize, Box<Answer>),
    /// The connection must be closed.
    Close,
}

/// Who hears of each frame: the oracle, and the trace.
pub(crate) type Listeners<'a> = (&'a mut Oracle, &'a mut dyn FnMut(&[u8]));

/// What stands between a server and the news of it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Speaker {
    Living,
    Dead(Heir),
}

impl Client {
    pub(crate) fn new(config: SessionConfig) -> Result<Self, String> {
        Ok(Self {
            session: Session::new(config.clone()).map_err(|error| error.to_string())?,
            config,
            names: Names::new(1 << 16),
            held: VecDeque::new(),
            counts: Counts::default(),
            wire: None,
            connects: false,
            wakes_us: u64::MAX,
            partial: Vec::new(),
            questions: BTreeMap::new(),
            subscriptions: BTreeMap::new(),
            opened: 0,
            refusals: BTreeMap::new(),
        })
    }

    /// Pushes a draft's event and books it; `false` when the session is full.
    pub(crate) fn push(
        &mut self,
        now_ms: u64,
        tenant: usize,
        topics: Vec<usize>,
        (ts_ms, as_text): (u64, bool),
        oracle: &mut Oracle,
    ) -> Result<bool, String> {
        let Some(draft) = oracle.draft(tenant, topics, ts_ms) else { return Ok(false) };
        let book = &oracle.tenants[tenant];
        let topics = || draft.topics.iter().map(|&topic| &book.topics[topic]);
        let pushed = if as_text {
            let words: Vec<&str> = topics().map(|topic| topic.name.as_str()).collect();
            let text = format!("said: {} !", words.join(" and "));
            self.session.push_text(now_ms, &book.name, &text, draft.weight, draft.ts_ms)
        } else {
            self.names.insert(book.id.0, &book.name).map_err(|error| error.to_string())?;
            let topic = &book.topics[draft.topics[0]];
            self.names.insert(topic.id.0, &topic.name).map_err(|error| error.to_string())?;
            self.session.push(now_ms, book.id, topic.id, draft.weight, draft.ts_ms)
        };
        match pushed {
            Ok(()) => {
                self.held.push_back(oracle.pushed(draft, now_ms));
                Ok(true)
            }
            Err(trendsrv_client::PushError::Full(_)) => Ok(false),
            Err(error) => Err(format!("an event was not taken: {error}")),
        }
    }

    /// Reads bytes of the server, one frame after another.
    pub(crate) fn hear(
        &mut self,
        now_ms: u64,
        bytes: &[u8],
        speaker: Speaker,
        (oracle, heard): Listeners<'_>,
    ) -> Result<(), String> {
        let mut all = std::mem::take(&mut self.partial);
        // Of these the session has seen the front part of a frame.
        let mut seen = all.len();
        all.extend_from_slice(bytes);
        let mut rest = all.as_slice();
        loop {
            let whole = match split(rest) {
                Split::Frame(header, _) => header.length(),
                Split::Incomplete(_) => break,
                Split::Lost(lost) => return Err(format!("the server's frames are lost: {lost}")),
            };
            heard(&rest[..whole]);
            self.session.handle_bytes(now_ms, &rest[seen..whole], &self.names);
            self.settle(speaker, oracle)?;
            (rest, seen) = (&rest[whole..], 0);
        }
        self.session.handle_bytes(now_ms, &rest[seen..], &self.names);
        self.partial = rest.to_vec();
        Ok(())
    }

    /// Takes notice of what the session's counts say.
    pub(crate) fn settle(&mut self, speaker: Speaker, oracle: &mut Oracle) -> Result<(), String> {
        let (before, now) = (self.counts, self.session.counts());
        self.counts = now;
        let (acked, uncertain) = (now.acked - before.acked, now.uncertain - before.uncertain);
        if now.refused != before.refused {
            return Err("events were refused for good, though all keep the rules".into());
        }
        if acked > 0 && uncertain > 0 {
            return Err(format!("one frame acknowledged {acked} and gave up {uncertain} events"));
        }
        let durable = self.config.ack == AckMode::Durable;
        for _ in 0..acked {
            let id = self.held.pop_front().ok_or("more was acknowledged than pushed")?;
            match speaker {
                Speaker::Living => oracle.acked(id, durable),
                Speaker::Dead(heir) => oracle.acked_by_the_dead(id, heir, durable),
            }
        }
        for _ in 0..uncertain {
            let id = self.held.pop_front().ok_or("more was given up than pushed")?;
            oracle.uncertain(id);
        }
        Ok(())
    }

    /// What the session has to tell, one thing at a time.
    pub(crate) fn next_heard(&mut self) -> Result<Option<Heard>, String> {
        while let Some(event) = self.session.poll_event() {
            match event {
                SessionEvent::Opened(_) => self.opened += 1,
                // A server that lacks a name asks producers that never used it, too.
                SessionEvent::NamesMissing { .. }
                | SessionEvent::Uncertain(_)
                | SessionEvent::ServerForgot
                | SessionEvent::GoingAway(_) => {}
                SessionEvent::Answer(tag, answer) => {
                    if let Some(question) = self.questions.remove(&tag) {
                        return Ok(Some(Heard::Answer(question, answer)));
                    }
                }
                SessionEvent::RequestRefused(tag, refused) => {
                    *self.refusals.entry(refused.code.name()).or_default() += 1;
                    let question = self.questions.remove(&tag);
                    match (question, refused.code) {
                        (Some(question), Refusal::UnknownTenant) => {
                            return Ok(Some(Heard::Unknown(question)));
                        }
                        (Some(question), Refusal::Malformed) if question.moment.at_ms.is_some() => {
                            return Ok(Some(Heard::Stale(question)));
                        }
                        _ if self.subscriptions.remove(&tag).is_some() => {}
                        _ => return Err(format!("a question was refused: {refused:?}")),
                    }
                }
                SessionEvent::RequestLost(tag) => {
                    self.questions.remove(&tag);
                }
                SessionEvent::Update(tag, answer) => {
                    if let Some(&tenant) = self.subscriptions.get(&tag) {
                        return Ok(Some(Heard::Update(tenant, answer)));
                    }
                }
                SessionEvent::Close(_) => return Ok(Some(Heard::Close)),
                SessionEvent::Refused(_) | SessionEvent::Closed(_) => {
                    return Err(format!("the session of a healthy client says {event:?}"));
                }
            }
        }
        Ok(None)
    }

    /// The client's program starts anew under the same producer id.
    pub(crate) fn begin_anew(&mut self, oracle: &mut Oracle) -> Result<(), String> {
        for id in self.held.drain(..) {
            oracle.uncertain(id);
        }
        // Above whatever the session went on to by itself.
        self.config.epoch += 1_000;
        self.session = Session::new(self.config.clone()).map_err(|error| error.to_string())?;
        self.counts = Counts::default();
        self.questions.clear();
        self.subscriptions.clear();
        self.forget_connection();
        Ok(())
    }

    /// The connection is gone, with what came of a frame.
    pub(crate) fn forget_connection(&mut self) {
        self.partial.clear();
        self.wire = None;
        self.connects = false;
    }

    /// Events pushed and neither acknowledged nor given up.
    pub(crate) fn holds(&self) -> usize {
        self.held.len()
    }
}
