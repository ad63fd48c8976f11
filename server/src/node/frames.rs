//! What each frame of a client does.

use super::inbox::{Stop, Then};
use super::ledger::Place;
use super::peer::{Life, Peer, Reading};
use super::{AskMail, MeshMail, Node, PeerId};
use trendsrv_proto::limits::SUBSCRIPTIONS_MAX;
use trendsrv_proto::{
    Define, Frame, Header, Kind, Malformed, NameKind, Ping, Query, Refusal, Refuse, Subscribe,
    TenantId,
};
use trendsrv_shard::{Ask, Memory, Programs, Refused, ReplyTo};

impl<P: Programs, M: Memory> Node<P, M> {
    /// Bytes have come in, cut anywhere.
    pub fn on_bytes(&mut self, id: PeerId, bytes: &[u8]) {
        let Some(peer) = self.peer(id) else { return };
        if peer.life == Life::Ending {
            return;
        }
        let was_held = peer.inbox.is_held();
        let mut inbox = std::mem::take(&mut peer.inbox);
        let now_ms = self.now_ms;
        let fed = inbox.feed(now_ms, bytes, |header, body| self.on_frame(id, header, body));
        if let Some(peer) = self.peer(id) {
            peer.inbox = inbox;
            if was_held && !peer.inbox.is_held() && peer.half_closed {
                peer.life = Life::Ending;
            }
        }
        match fed {
            Ok(()) | Err(Stop::Ended) => {}
            Err(Stop::Lost(lost)) => {
                self.counts.framing_lost += 1;
                let why = refusal(Refusal::Malformed, lost.to_string());
                self.end(id, (0, 0), &why);
            }
        }
        self.touch(id.index);
    }

    fn on_frame(&mut self, id: PeerId, header: &Header, body: &[u8]) -> Then {
        self.counts.frames += 1;
        let which = (header.kind_number(), header.tag());
        match Frame::parse(header, body) {
            Ok(frame) => self.on_parsed(id, header, &frame),
            Err(error) => self.on_malformed(id, which, header.length(), body, &error),
        }
        match self.peer(id) {
            Some(peer) if peer.life == Life::Ending => Then::End,
            Some(peer) if peer.is_choked() => Then::Hold,
            Some(_) => Then::Go,
            None => Then::End,
        }
    }

    fn on_parsed(&mut self, id: PeerId, header: &Header, frame: &Frame<'_>) {
        let which = (header.kind_number(), header.tag());
        let Some(life) = self.peer(id).map(|peer| peer.life) else { return };
        match (frame, life) {
            (Frame::Hello(hello), Life::Accepted) => self.on_hello(id, which, hello),
            (_, Life::Accepted) => {
                let message = "the first frame must be HELLO".to_owned();
                self.end(id, which, &refusal(Refusal::Malformed, message));
            }
            (Frame::Hello(_), _) => {
                let message = "HELLO came again: it is the first frame only".to_owned();
                self.refuse(id, which, 0, &refusal(Refusal::Malformed, message));
            }
            (Frame::Events(events), _) => self.on_events(id, header, events),
            (Frame::EventsNamed(events), _) => self.on_named(id, header, events),
            (Frame::Text(texts), _) => self.on_texts(id, header, texts),
            (Frame::Define(define), _) => self.on_define(id, which, define),
            (Frame::Query(query), _) => self.on_query(id, header.tag(), query),
            (Frame::Subscribe(subscribe), _) => self.on_subscribe(id, which, subscribe),
            (Frame::Ping(ping), _) => {
                if let Some(peer) = self.peer(id) {
                    Ping::new(ping.nonce()).encode(&mut peer.out, Kind::Pong, header.tag());
                }
            }
            (Frame::Pong(_), _) => {}
            (
                Frame::HelloOk(_)
                | Frame::Need(_)
                | Frame::Ack(_)
                | Frame::Refuse(_)
                | Frame::Summary(_)
                | Frame::Update(_)
                | Frame::GoAway(_),
                _,
            ) => {
                let message = format!("frames of kind {} come from the server only", which.0);
                self.refuse(id, which, 0, &refusal(Refusal::Malformed, message));
            }
        }
    }

    fn on_malformed(
        &mut self,
        id: PeerId,
        which: (u8, u32),
        length: usize,
        body: &[u8],
        error: &Malformed,
    ) {
        let why = Refused {
            index: error.index(),
            ..refusal(error.refusal(), format!("frame of kind {}: {error}", which.0))
        };
        let is_events = Kind::from_u8(which.0).is_some_and(Kind::carries_events);
        let is_first = self.peer(id).is_some_and(|peer| peer.life == Life::Accepted);
        if is_first {
            return self.end(id, which, &why);
        }
        let mut seq = 0;
        if is_events {
            if let Some(peer) = self.peer(id) {
                peer.ledger.receive(length);
            }
            // With a wrong checksum not even the number can be believed.
            let readable = !matches!(error, Malformed::Crc { .. });
            if let (true, Some(bytes)) = (readable, body.first_chunk::<8>()) {
                seq = u64::from_le_bytes(*bytes);
            }
            if let Some(peer) = self.peer(id)
                && peer.ledger.is_unstarted()
            {
                if seq == 0 || peer.ledger.place(seq) != Place::Next {
                    // Nobody can tell which frame is meant: the next connection says.
                    return self.end(id, which, &Refused { expected_seq: Some(0), ..why });
                }
                peer.ledger.start_at(seq);
            }
        }
        self.refuse(id, which, seq, &why);
    }

    pub(super) fn refuse(&mut self, id: PeerId, which: (u8, u32), seq: u64, why: &Refused) {
        self.counts.frames_refused += 1;
        if let Some(peer) = self.peer(id) {
            peer.refuse(which, seq, why);
        }
    }

    /// Refuses for the last time.
    pub(super) fn end(&mut self, id: PeerId, which: (u8, u32), why: &Refused) {
        self.refuse(id, which, 0, why);
        if let Some(peer) = self.peer(id) {
            peer.life = Life::Ending;
        }
    }

    fn on_define(&mut self, id: PeerId, which: (u8, u32), define: &Define<'_>) {
        if let Err(why) = self.shard.check_names(define.iter()) {
            return self.refuse(id, which, 0, &why);
        }
        let map = &self.config.vnodes;
        let mine = self.config.shard;
        let is_mine = |kind, tenant| match kind {
            NameKind::Tenant => map.owner(TenantId(tenant)) == mine,
            NameKind::Topic => true,
        };
        self.shard.define(define.iter().filter(|&(kind, tenant, _)| is_mine(kind, tenant)));
        if !self.is_alone() && self.peer(id).is_some_and(|peer| peer.forwards) {
            let names: Vec<(NameKind, Box<str>)> =
                define.iter().map(|(kind, _, name)| (kind, name.into())).collect();
            self.tell_others(|| MeshMail::Define(names.clone()));
        }
    }

    fn on_query(&mut self, id: PeerId, tag: u32, query: &Query) {
        let mail = AskMail {
            from: self.reply_to(id),
            tag,
            tenant: query.tenant(),
            at_ms: query.at_ms(),
            k: query.k(),
            rank: query.rank(),
        };
        let owner = self.config.vnodes.owner(mail.tenant);
        if owner == self.config.shard {
            let mut out = Vec::new();
            if let Some(peer) = self.peer(id) {
                std::mem::swap(&mut out, &mut peer.out);
            }
            self.answer(&mail, &mut out);
            if let Some(peer) = self.peer(id) {
                peer.out = out;
            }
        } else {
            if let Some(peer) = self.peer(id) {
                peer.asked += 1;
            }
            self.post(owner, MeshMail::Ask(mail));
        }
    }

    /// Writes SUMMARY, or REFUSE for a question that cannot be answered.
    pub(super) fn answer(&mut self, mail: &AskMail, out: &mut Vec<u8>) {
        let AskMail { tag, tenant, at_ms, k, rank, .. } = *mail;
        let ask = Ask { tenant, name: None, at_ms, k, rank };
        match self.shard.ask(self.now_ms, &ask) {
            Ok(answer) => {
                answer.encode(out, Kind::Summary, tag);
            }
            Err(why) => write_refusal(out, (Kind::Query as u8, tag), (0, 0), &why),
        }
    }

    fn on_subscribe(&mut self, id: PeerId, which: (u8, u32), subscribe: &Subscribe) {
        let from = self.reply_to(id);
        let (tag, tenant) = (which.1, subscribe.tenant());
        let Some(peer) = self.peer(id) else { return };
        if !subscribe.on() {
            if let Some(reading) = peer.subscriptions.remove(&tag) {
                peer.updates.remove(&tag);
                self.unsubscribe(from, tag, reading.tenant);
            }
            return;
        }
        if peer.subscriptions.len() >= SUBSCRIPTIONS_MAX && !peer.subscriptions.contains_key(&tag) {
            let message = format!("a connection has at most {SUBSCRIPTIONS_MAX} subscriptions");
            return self.refuse(id, which, 0, &refusal(Refusal::TooLarge, message));
        }
        let reading = Reading { tenant, rank: subscribe.rank(), k: subscribe.k() };
        let before = peer.subscriptions.insert(tag, reading);
        if let Some(before) = before.filter(|before| before.tenant != tenant) {
            self.unsubscribe(from, tag, before.tenant);
        }
        let mail = AskMail { from, tag, tenant, at_ms: None, k: reading.k, rank: reading.rank };
        let owner = self.config.vnodes.owner(tenant);
        if owner != self.config.shard {
            return self.post(owner, MeshMail::Subscribe(mail));
        }
        if let Err(why) = self.subscribe(&mail) {
            if let Some(peer) = self.peer(id) {
                peer.subscriptions.remove(&tag);
            }
            self.refuse(id, which, 0, &why);
        }
    }

    pub(super) fn subscribe(&mut self, mail: &AskMail) -> Result<(), Refused> {
        let AskMail { from, tag, tenant, k, rank, .. } = *mail;
        self.shard.subscribe(from, tag, &Ask { tenant, name: None, at_ms: None, k, rank })
    }

    pub(super) fn unsubscribe(&mut self, from: ReplyTo, tag: u32, tenant: TenantId) {
        let owner = self.config.vnodes.owner(tenant);
        if owner == self.config.shard {
            self.shard.unsubscribe(from, tag, tenant);
        } else {
            self.post(owner, MeshMail::Unsubscribe { from, tag, tenant });
        }
    }
}

impl Peer {
    /// Whether EVENTS may come.
    pub(super) const fn takes_events(&self) -> bool {
        matches!(self.life, Life::Open)
    }
}

pub(super) fn refusal(code: Refusal, message: String) -> Refused {
    Refused { code, index: None, retry_after_ms: 0, expected_seq: None, message }
}

/// Writes the refusal of a frame of this kind and tag; `(0, 0)` for one without sequence number.
pub(super) fn write_refusal(
    out: &mut Vec<u8>,
    (kind, tag): (u8, u32),
    (seq, expected_seq): (u64, u64),
    why: &Refused,
) {
    let refuse = Refuse {
        seq,
        expected_seq,
        code: why.code,
        class: why.code.class(),
        kind,
        retry_after_ms: why.retry_after_ms,
        index: why.index,
        message: &why.message,
    };
    refuse.encode(out, tag);
}
