//! Mail from other shards, and the effects of the own one.

use super::durable::Held;
use super::frames::write_refusal;
use super::peer::Life;
use super::peer_ref::peer_of;
use super::{MeshMail, Node};
use trendsrv_proto::limits::NAMES_PER_FRAME_MAX;
use trendsrv_proto::{Kind, NeedEntry, TenantId, encode_need};
use trendsrv_shard::{Effect, Memory, Programs, ReplyTo};

impl<P: Programs, M: Memory> Node<P, M> {
    /// A message from another shard.
    pub fn on_mail(&mut self, mail: MeshMail) {
        match mail {
            MeshMail::Begin { lane, epoch } => self.shard.on_begin(lane, epoch),
            MeshMail::Settle { from, lane } => self.on_settle(from, lane),
            MeshMail::Settled { to } => self.on_settled(peer_of(to).1),
            MeshMail::Greet { from, lane, epoch } => self.on_greet(from, lane, epoch),
            MeshMail::Greeted { to, owner, standing } => {
                self.on_greeted(peer_of(to).1, owner, standing);
            }
            MeshMail::Part(part) => self.on_part(*part),
            MeshMail::Texts(mail) => self.on_text_mail(&mail),
            MeshMail::PartDone { to, lane, owner, seq, outcome, records } => {
                self.keep_records(records);
                self.on_part_done(peer_of(to).1, owner, seq, outcome);
                self.on_return(lane);
            }
            MeshMail::Forget(lane) => self.shard.on_forget(lane),
            MeshMail::Define(names) => {
                // The shard that took the frame has told the producer of a collision it knew; one
                // known only here leaves the name as it is.
                for (kind, name) in &names {
                    let named = || std::iter::once((*kind, TenantId::of(name).0, &**name));
                    if self.shard.check_names(named()).is_ok() {
                        self.shard.define(named());
                    }
                }
            }
            MeshMail::Need { to, entries } => self.ask_for_names(to, &entries),
            MeshMail::NeedAny(entries) => {
                self.ask_any_for_names(&entries);
            }
            MeshMail::Ask(mail) => {
                let mut bytes = Vec::new();
                self.answer(&mail, &mut bytes);
                let (to, answers) = (mail.from, Kind::Query);
                self.post(peer_of(to).0, MeshMail::Frame { to, answers, bytes });
            }
            MeshMail::Subscribe(mail) => {
                if let Err(why) = self.subscribe(&mail) {
                    let mut bytes = Vec::new();
                    write_refusal(&mut bytes, (Kind::Subscribe as u8, mail.tag), (0, 0), &why);
                    let (to, answers) = (mail.from, Kind::Subscribe);
                    self.post(peer_of(to).0, MeshMail::Frame { to, answers, bytes });
                }
            }
            MeshMail::Unsubscribe { from, tag, tenant } => {
                self.shard.unsubscribe(from, tag, tenant);
            }
            MeshMail::Frame { to, answers, bytes } => {
                if let Some(peer) = self.peer(peer_of(to).1) {
                    if answers == Kind::Query {
                        peer.asked -= 1;
                    }
                    peer.out.extend_from_slice(&bytes);
                    self.touch(peer_of(to).1.index);
                }
            }
            MeshMail::Update { to, tag, bytes } => self.update(to, tag, &bytes),
        }
    }

    /// Does what the shard asks for.
    pub(super) fn run_effects(&mut self) {
        let mut fx = std::mem::take(&mut self.fx);
        let mut needs: Vec<NeedEntry> = Vec::new();
        let mut asked: Option<ReplyTo> = None;
        for effect in fx.list.drain(..) {
            match effect {
                Effect::Accepted { to, seq, lsn, .. } => {
                    let id = peer_of(to).1;
                    if self.must_wait(id, lsn) {
                        self.hold_back(lsn, Held::Frame { id, seq });
                    } else {
                        self.on_part_done(id, self.config.shard, seq, Ok(()));
                    }
                }
                Effect::Refused { to, seq, why } => {
                    self.on_part_done(peer_of(to).1, self.config.shard, seq, Err(why));
                }
                Effect::Need { to, kind, id } => {
                    if asked != to || needs.len() >= NAMES_PER_FRAME_MAX {
                        self.send_needs(asked, &mut needs);
                        asked = to;
                    }
                    needs.push(NeedEntry::new(kind, id));
                }
                Effect::Publish { to, tag, start, len, .. } => {
                    let frame = &fx.bytes[start..start + len];
                    if peer_of(to).0 == self.config.shard {
                        self.update(to, tag, frame);
                    } else {
                        let bytes = frame.to_vec();
                        self.post(peer_of(to).0, MeshMail::Update { to, tag, bytes });
                    }
                }
            }
        }
        self.send_needs(asked, &mut needs);
        fx.clear();
        self.fx = fx;
    }

    fn send_needs(&mut self, to: Option<ReplyTo>, needs: &mut Vec<NeedEntry>) {
        if needs.is_empty() {
            return;
        }
        match to {
            Some(to) if peer_of(to).0 == self.config.shard => self.ask_for_names(to, needs),
            Some(to) => {
                let entries = std::mem::take(needs);
                self.post(peer_of(to).0, MeshMail::Need { to, entries });
            }
            None => {
                if !self.ask_any_for_names(needs) {
                    self.tell_others(|| MeshMail::NeedAny(needs.clone()));
                }
            }
        }
        needs.clear();
    }

    fn ask_for_names(&mut self, to: ReplyTo, needs: &[NeedEntry]) {
        let id = peer_of(to).1;
        if let Some(peer) = self.peer(id)
            && peer.life == Life::Open
        {
            encode_need(&mut peer.out, needs);
            self.touch(id.index);
        }
    }

    /// Asks the producers connected here, a bounded number of them; returns whether there is one.
    fn ask_any_for_names(&mut self, needs: &[NeedEntry]) -> bool {
        let mut asked = 0;
        for index in 0..self.peers.len() {
            let Some(peer) = self.peers[index].as_deref_mut() else { continue };
            if peer.produces && peer.life == Life::Open && !peer.is_choked() {
                encode_need(&mut peer.out, needs);
                self.touch(u32::try_from(index).unwrap_or(u32::MAX));
                asked += 1;
                if asked == ASKED_MAX {
                    break;
                }
            }
        }
        asked > 0
    }

    fn update(&mut self, to: ReplyTo, tag: u32, frame: &[u8]) {
        let id = peer_of(to).1;
        if let Some(peer) = self.peer(id)
            && peer.subscriptions.contains_key(&tag)
        {
            peer.update(tag, frame);
            self.touch(id.index);
        }
    }
}

/// Producers asked for the same names at once.
const ASKED_MAX: usize = 16;
