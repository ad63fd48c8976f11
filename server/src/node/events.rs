//! The way of events to the owners of their tenants.

use super::durable::Held;
use super::frames::refusal;
use super::ledger::Place;
use super::{MeshMail, Node, PartMail, PeerId};
use trendsrv_proto::{
    EventRecord, Events, EventsHead, EventsNamed, Header, NameKind, Refusal, Span, TenantId,
    TopicId,
};
use trendsrv_shard::{
    Effect, Memory, Origin, Part, Programs, Refused, ReplyTo, Sequence, check_future,
};

/// A frame of events whose place in its sequence was checked.
#[derive(Clone, Copy)]
struct Incoming<'a> {
    id: PeerId,
    seq: u64,
    part: Part<'a>,
    /// The names, where they came along.
    named: Option<&'a EventsNamed<'a>>,
}

/// A part from another shard that was applied or refused.
#[derive(Clone, Copy)]
pub(super) struct Turned {
    pub(super) from: ReplyTo,
    pub(super) sequence: Sequence,
    pub(super) durable: bool,
}

impl<P: Programs, M: Memory> Node<P, M> {
    pub(super) fn on_events(&mut self, id: PeerId, header: &Header, events: &Events<'_>) {
        if !self.takes(id, header, events.head) {
            return;
        }
        let base_ms = events.head.base_ms();
        let part = Part { base_ms, span: events.span, records: events.records };
        let seq = events.head.seq();
        self.accept(header, &Incoming { id, seq, part, named: None });
    }

    pub(super) fn on_named(&mut self, id: PeerId, header: &Header, events: &EventsNamed<'_>) {
        if !self.takes(id, header, events.head) {
            return;
        }
        let mut records = self.spare_records();
        records.extend(events.iter().map(|event| {
            let (tenant, topic) = (TenantId::of(event.tenant), TopicId::of(event.topic));
            EventRecord::new(tenant, topic, event.weight, event.offset_ms)
        }));
        let base_ms = events.head.base_ms();
        let part = Part { base_ms, span: events.span, records: &records };
        let seq = events.head.seq();
        self.accept(header, &Incoming { id, seq, part, named: Some(events) });
        self.keep_records(records);
    }

    /// Checks credit and sequence. What does not pass is answered here.
    pub(super) fn takes(&mut self, id: PeerId, header: &Header, head: &EventsHead) -> bool {
        let which = (header.kind_number(), header.tag());
        let Some(peer) = self.peer(id) else { return false };
        let within = peer.ledger.receive(header.length());
        peer.produces = true;
        let seq = head.seq();
        let place = peer.ledger.place(seq);
        let begins = peer.ledger.begins(seq).then_some((peer.lane, peer.epoch));
        if place == Place::Next {
            peer.ledger.start_at(seq);
        }
        let expected = peer.ledger.next();
        let why = if !peer.takes_events() {
            let message = "events must wait for HELLO_OK, which says next_seq".to_owned();
            refusal(Refusal::SeqGap, message)
        } else if !within {
            let credit = peer.ledger.credit_until();
            let message = format!("this frame passes the credit of {credit} bytes; wait for ACK");
            refusal(Refusal::CreditExceeded, message)
        } else {
            match place {
                // Sent before the peer could know of the refusal: it will come again.
                Place::Next | Place::Gap if peer.ledger.is_rewinding() => return false,
                Place::Next => {
                    peer.ledger.note_check(seq, header.body_crc());
                    if let Some((lane, epoch)) = begins {
                        self.tell_others(|| MeshMail::Begin { lane, epoch });
                        self.shard.on_begin(lane, epoch);
                    }
                    return true;
                }
                Place::Duplicate if peer.ledger.is_reused(seq, header.body_crc()) => {
                    let message = format!(
                        "frame {seq} came again with other bytes: every frame has a number of its \
                         own; begin anew with another epoch"
                    );
                    refusal(Refusal::SeqReused, message)
                }
                Place::Duplicate => {
                    peer.ledger.repeat();
                    return false;
                }
                Place::Gap => {
                    let message = format!("frame {seq} came, {expected} is next");
                    refusal(Refusal::SeqGap, message)
                }
                Place::Unknown => unknown_producer(),
            }
        };
        self.refuse(id, which, seq, &why);
        false
    }

    fn accept(&mut self, header: &Header, frame: &Incoming<'_>) {
        let which = (header.kind_number(), header.tag());
        let mut checked = check_future(self.clock, self.now_ms, &frame.part);
        if let (Ok(()), Some(events)) = (&checked, frame.named) {
            checked = self.shard.check_names(names_of(events)).map_err(|why| {
                // Two names an event.
                Refused { index: why.index.map(|index| index / 2), ..why }
            });
        }
        if let Err(why) = checked {
            return self.refuse(frame.id, which, frame.seq, &why);
        }
        let Some(sequence) = self.sequence_of(frame.id, frame.seq) else { return };
        let mine = self.config.shard;
        let mut waiting = self.waiting_owners(frame.id, frame.seq);
        if self.is_alone() || waiting.is_empty() && self.all_mine(frame.part.records) {
            self.begin(frame.id, frame.seq, 1);
            return self.apply_own(frame, sequence, &frame.part);
        }
        let mut routed = std::mem::take(&mut self.routed);
        for record in frame.part.records {
            routed[usize::from(self.config.vnodes.owner(record.tenant()))].push(*record);
        }
        waiting.retain(|&owner| routed[usize::from(owner)].is_empty());
        let owners = routed.iter().filter(|records| !records.is_empty()).count() + waiting.len();
        self.begin(frame.id, frame.seq, u16::try_from(owners).unwrap_or(u16::MAX));
        self.set_forwards(frame.id);
        for (shard, records) in (0_u16..).zip(&mut routed) {
            if records.is_empty() && !waiting.contains(&shard) {
            } else if shard == mine {
                let part = Part { records, ..frame.part };
                self.apply_own(frame, sequence, &part);
                records.clear();
            } else {
                let records = std::mem::replace(records, self.spare_records());
                self.forward(shard, frame, sequence, records);
            }
        }
        self.routed = routed;
    }

    /// Where a frame stands in its producer's sequence.
    pub(super) fn sequence_of(&mut self, id: PeerId, seq: u64) -> Option<Sequence> {
        let peer = self.peer(id)?;
        Some(Sequence { lane: peer.lane, epoch: peer.epoch, seq })
    }

    /// The peer has events of tenants that live elsewhere.
    pub(super) fn set_forwards(&mut self, id: PeerId) {
        if let Some(peer) = self.peer(id) {
            peer.forwards = true;
        }
    }

    /// Owners that may have turned this frame away: they hear of it again, events for them or not.
    pub(super) fn waiting_owners(&mut self, id: PeerId, seq: u64) -> Vec<u16> {
        let Some(peer) = self.peer(id) else { return Vec::new() };
        let waiting = peer.refused_by.iter().map(|(owner, _)| *owner).collect();
        peer.refused_by.retain(|(_, last)| *last > seq);
        waiting
    }

    pub(super) fn begin(&mut self, id: PeerId, seq: u64, owners: u16) {
        if let Some(peer) = self.peer(id) {
            peer.ledger.begin(seq, owners);
        }
    }

    fn all_mine(&self, records: &[EventRecord]) -> bool {
        let (map, mine) = (&self.config.vnodes, self.config.shard);
        records.iter().all(|record| map.owner(record.tenant()) == mine)
    }

    fn apply_own(&mut self, frame: &Incoming<'_>, sequence: Sequence, part: &Part<'_>) {
        let to = self.reply_to(frame.id);
        let (ask_names, durable) = (frame.named.is_none(), self.asks_durable(frame.id));
        let origin = Origin { to, seq: frame.seq, sequence: Some(sequence), ask_names, durable };
        match frame.named {
            None => self.shard.on_events(self.now_ms, &origin, part, &mut self.fx),
            Some(events) => {
                let named = names_of(events);
                self.shard.on_events_named(self.now_ms, &origin, part, named, &mut self.fx);
            }
        }
        self.run_effects();
    }

    fn forward(
        &mut self,
        shard: u16,
        frame: &Incoming<'_>,
        sequence: Sequence,
        records: Vec<EventRecord>,
    ) {
        self.counts.events_forwarded += records.len() as u64;
        self.departures.leaves(sequence.lane);
        let map = &self.config.vnodes;
        let named = frame.named.into_iter().flat_map(|events| events.iter());
        let theirs = named.filter(|event| map.owner(TenantId::of(event.tenant)) == shard);
        let names = theirs
            .flat_map(|event| {
                [(NameKind::Tenant, event.tenant.into()), (NameKind::Topic, event.topic.into())]
            })
            .collect();
        let mail = PartMail {
            from: self.reply_to(frame.id),
            seq: frame.seq,
            sequence,
            durable: self.asks_durable(frame.id),
            base_ms: frame.part.base_ms,
            span: frame.part.span,
            records,
            names,
        };
        self.post(shard, MeshMail::Part(Box::new(mail)));
    }

    /// Tells an owner that turned this frame away that it has come again without events for it.
    pub(super) fn turn_again(
        &mut self,
        shard: u16,
        id: PeerId,
        sequence: Sequence,
        (base_ms, span): (u64, Span),
    ) {
        self.departures.leaves(sequence.lane);
        let (from, seq, durable) = (self.reply_to(id), sequence.seq, self.asks_durable(id));
        let (records, names) = (Vec::new(), Vec::new());
        let mail = PartMail { from, seq, sequence, base_ms, span, durable, records, names };
        self.post(shard, MeshMail::Part(Box::new(mail)));
    }

    /// A part from another shard.
    pub(super) fn on_part(&mut self, mail: PartMail) {
        let PartMail { from, seq, sequence, base_ms, span, durable, mut records, names } = mail;
        let named = names.iter().map(|(kind, name)| (*kind, TenantId::of(name).0, &**name));
        let ask_names = names.is_empty();
        let origin = Origin { to: from, seq, sequence: Some(sequence), ask_names, durable };
        let part = Part { base_ms, span, records: &records };
        self.shard.on_events_named(self.now_ms, &origin, &part, named, &mut self.fx);
        records.clear();
        self.answer_part(Turned { from, sequence, durable }, records);
    }

    /// Tells the shard that sent a part what the effects say became of it.
    pub(super) fn answer_part(&mut self, part: Turned, records: Vec<EventRecord>) {
        let Turned { from, sequence, durable } = part;
        let mut held = None;
        // The answer travels with the part's memory, not as an effect.
        let outcome = match self.fx.list.remove(0) {
            Effect::Accepted { lsn, .. } if durable && lsn > self.waiters.durable => {
                held = Some(lsn);
                Ok(())
            }
            // An index within the part means nothing to who sent the frame.
            Effect::Refused { why, .. } => Err(Refused { index: None, ..why }),
            Effect::Accepted { .. } | Effect::Need { .. } | Effect::Publish { .. } => Ok(()),
        };
        self.run_effects();
        let (owner, lane, seq) = (self.config.shard, sequence.lane, sequence.seq);
        if let Some(lsn) = held {
            self.keep_records(records);
            return self.hold_back(lsn, Held::Part { to: from, lane, seq });
        }
        let (shard, _) = super::peer_ref::peer_of(from);
        let done = MeshMail::PartDone { to: from, lane, owner, seq, outcome, records };
        self.post(shard, done);
    }

    /// An owner has answered.
    pub(super) fn on_part_done(
        &mut self,
        id: PeerId,
        owner: u16,
        seq: u64,
        outcome: Result<(), Refused>,
    ) {
        let Some(peer) = self.peer(id) else { return };
        match outcome {
            Ok(()) => peer.ledger.part_done(seq),
            Err(why) => {
                match peer.refused_by.iter_mut().find(|(before, _)| *before == owner) {
                    Some((_, last)) => *last = seq.max(*last),
                    None => peer.refused_by.push((owner, seq)),
                }
                if peer.ledger.part_refused(seq) {
                    // The connection knows best what it expects.
                    peer.refusal = Some(Refused { expected_seq: None, ..why });
                }
            }
        }
        if peer.ledger.rewind()
            && let Some(why) = peer.refusal.take()
        {
            let seq = peer.ledger.next();
            self.refuse(id, (trendsrv_proto::Kind::Events as u8, 0), seq, &why);
        }
        self.touch(id.index);
    }

    fn spare_records(&mut self) -> Vec<EventRecord> {
        self.spare.pop().unwrap_or_default()
    }

    /// Keeps a part's memory for the next one.
    pub(super) fn keep_records(&mut self, mut records: Vec<EventRecord>) {
        records.clear();
        // A part of texts brings no memory.
        if self.spare.len() < SPARE_MAX && records.capacity() > 0 {
            self.spare.push(records);
        }
    }
}

/// The refusal of a lane that an owner may have given up.
fn unknown_producer() -> Refused {
    let message = "the marks of this producer's lane may have been given up to make room: take a \
                   larger epoch and begin at 1; what was sent may or may not have counted";
    refusal(Refusal::ProducerUnknown, message.to_owned())
}

/// Tenant and topic of every event in turn.
fn names_of<'a>(
    events: &EventsNamed<'a>,
) -> impl Iterator<Item = (NameKind, u64, &'a str)> + Clone + use<'a> {
    events.iter().flat_map(|event| {
        let tenant = (NameKind::Tenant, TenantId::of(event.tenant).0, event.tenant);
        [tenant, (NameKind::Topic, TopicId::of(event.topic).0, event.topic)]
    })
}

/// Parts' memory kept for reuse.
const SPARE_MAX: usize = 64;
