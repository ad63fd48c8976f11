//! The way of texts to the owners of their tenants: that of events, with mail that owns its bytes.
//!
//! ```text
//! TEXT ─▶ credit, sequence, time, names ─┬─▶ shard (own tenants)
//!                                        └─▶ TextMail: a TEXT frame of one owner's texts ─▶ mesh
//! ```

use super::events::Turned;
use super::{MeshMail, Node, PeerId, TextMail};
use trendsrv_proto::{
    EventsHead, Frame, Header, NameKind, Split, TenantId, TextEvents, TextWriter, split,
};
use trendsrv_shard::{Memory, Origin, Programs, Sequence, Text, TextPart, check_future_texts};

impl<P: Programs, M: Memory> Node<P, M> {
    pub(super) fn on_texts(&mut self, id: PeerId, header: &Header, events: &TextEvents<'_>) {
        if !self.takes(id, header, events.head) {
            return;
        }
        let texts = texts_of(events);
        let part = part_of(events, &texts);
        let checked = check_future_texts(self.clock, self.now_ms, &part)
            .and_then(|()| self.shard.check_names(tenants_of(events)));
        let seq = events.head.seq();
        if let Err(why) = checked {
            return self.refuse(id, (header.kind_number(), header.tag()), seq, &why);
        }
        let Some(sequence) = self.sequence_of(id, seq) else { return };
        let mut waiting = self.waiting_owners(id, seq);
        let mine = self.config.shard;
        let map = &self.config.vnodes;
        let is_mine = |text: &Text<'_>| map.owner(text.tenant) == mine;
        if self.is_alone() || waiting.is_empty() && texts.iter().all(is_mine) {
            self.begin(id, seq, 1);
            return self.apply_own_texts(id, sequence, &part, events);
        }
        let owns = |shard: u16| texts.iter().any(|text| map.owner(text.tenant) == shard);
        let owners: Vec<u16> = (0..map.shards()).filter(|&shard| owns(shard)).collect();
        waiting.retain(|owner| !owners.contains(owner));
        let parts = owners.len() + waiting.len();
        self.begin(id, seq, u16::try_from(parts).unwrap_or(u16::MAX));
        self.set_forwards(id);
        for shard in owners {
            if shard == mine {
                let map = &self.config.vnodes;
                let own = |text: &&Text<'_>| map.owner(text.tenant) == mine;
                let own: Vec<Text<'_>> = texts.iter().filter(own).copied().collect();
                self.apply_own_texts(id, sequence, &part_of(events, &own), events);
            } else {
                self.forward_texts(shard, id, sequence, events);
            }
        }
        for shard in waiting {
            if shard == mine {
                self.apply_own_texts(id, sequence, &part_of(events, &[]), events);
            } else {
                self.turn_again(shard, id, sequence, (part.base_ms, part.span));
            }
        }
    }

    fn apply_own_texts(
        &mut self,
        id: PeerId,
        sequence: Sequence,
        part: &TextPart<'_>,
        events: &TextEvents<'_>,
    ) {
        let (to, seq) = (self.reply_to(id), sequence.seq);
        let durable = self.asks_durable(id);
        let origin = Origin { to, seq, sequence: Some(sequence), ask_names: false, durable };
        let (map, mine) = (&self.config.vnodes, self.config.shard);
        let names = tenants_of(events).filter(|&(_, id, _)| map.owner(TenantId(id)) == mine);
        self.shard.on_texts(self.now_ms, &origin, part, names, &mut self.fx);
        self.run_effects();
    }

    fn forward_texts(
        &mut self,
        shard: u16,
        id: PeerId,
        sequence: Sequence,
        events: &TextEvents<'_>,
    ) {
        self.departures.leaves(sequence.lane);
        let map = &self.config.vnodes;
        let mut frame = Vec::new();
        let head = EventsHead::new(sequence.seq, events.head.base_ms(), events.head.generation());
        let mut writer = TextWriter::new(&mut frame, head);
        let mut count = 0;
        for event in events.iter().filter(|e| map.owner(TenantId::of(e.tenant)) == shard) {
            writer.push(event).expect("a part of a frame that was checked keeps its rules");
            count += 1;
        }
        writer.finish();
        self.counts.events_forwarded += count;
        let (from, durable) = (self.reply_to(id), self.asks_durable(id));
        let mail = TextMail { from, sequence, span: events.span, durable, frame };
        self.post(shard, MeshMail::Texts(Box::new(mail)));
    }

    /// Texts from another shard.
    pub(super) fn on_text_mail(&mut self, mail: &TextMail) {
        let TextMail { from, sequence, span, durable, ref frame } = *mail;
        let Split::Frame(header, body) = split(frame) else {
            unreachable!("another shard wrote a whole frame")
        };
        let Ok(Frame::Text(mut events)) = Frame::parse(header, body) else {
            unreachable!("another shard wrote a frame of texts")
        };
        // The times of the whole frame decide, as for events.
        events.span = span;
        let texts = texts_of(&events);
        let origin = Origin {
            to: from,
            seq: sequence.seq,
            sequence: Some(sequence),
            ask_names: false,
            durable,
        };
        let (part, names) = (part_of(&events, &texts), tenants_of(&events));
        self.shard.on_texts(self.now_ms, &origin, &part, names, &mut self.fx);
        self.answer_part(Turned { from, sequence, durable }, Vec::new());
    }
}

fn texts_of<'a>(events: &TextEvents<'a>) -> Vec<Text<'a>> {
    let text = |event: trendsrv_proto::TextEvent<'a>| Text {
        tenant: TenantId::of(event.tenant),
        text: event.text,
        weight: event.weight,
        offset_ms: event.offset_ms,
    };
    events.iter().map(text).collect()
}

const fn part_of<'a>(events: &TextEvents<'_>, texts: &'a [Text<'a>]) -> TextPart<'a> {
    TextPart { base_ms: events.head.base_ms(), span: events.span, texts }
}

/// The tenant of every text in turn.
fn tenants_of<'a>(
    events: &TextEvents<'a>,
) -> impl Iterator<Item = (NameKind, u64, &'a str)> + Clone + use<'a> {
    events.iter().map(|event| (NameKind::Tenant, TenantId::of(event.tenant).0, event.tenant))
}
