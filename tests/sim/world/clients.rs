//! Clients and their connections: who wakes, what lands, what is pushed.

use super::{Due, World};
use crate::client::{Heard, Speaker};
use crate::oracle::Moment;
use crate::wire::Wire;

impl World {
    pub(super) fn connect(&mut self, index: usize) -> Result<(), String> {
        let now_ms = self.now_ms();
        if !self.clients[index].connects || self.clients[index].wire.is_some() {
            return Ok(());
        }
        self.clients[index].connects = false;
        let Some(server) = self.server.as_mut().filter(|_| !self.draining) else {
            self.note("no server", [index as u64, 0, 0]);
            self.clients[index].session.handle_disconnect(now_ms);
            return self.on_wake(index);
        };
        let shard = self.net.index(server.nodes.len());
        let key = self.wires.keys().next_back().map_or(1, |last| last + 1);
        let mut wire = Wire::new(index, (self.life, shard), self.plan.weather);
        server.accept(key, &mut wire);
        self.wires.insert(key, wire);
        self.summary.connections += 1;
        self.note("connect", [index as u64, key, shard as u64]);
        let client = &mut self.clients[index];
        client.wire = Some(key);
        client.session.handle_connected(now_ms);
        self.turn_at(shard, self.now_us + 10);
        self.on_wake(index)
    }

    pub(super) fn land_up(&mut self, key: u64) {
        let Some(wire) = self.wires.get_mut(&key) else { return };
        if wire.up.land(self.now_us) && wire.at_server {
            let shard = wire.shard;
            self.note("land up", [key, 0, 0]);
            let after_us = self.dice.of(5..=100);
            self.turn_at(shard, self.now_us + after_us);
        }
    }

    pub(super) fn land_down(&mut self, key: u64) -> Result<(), String> {
        let now_us = self.now_us;
        let Some(wire) = self.wires.get_mut(&key) else { return Ok(()) };
        if !wire.down.land(now_us) || !wire.at_client {
            return Ok(());
        }
        if now_us < wire.unread_until_us {
            let at_us = wire.unread_until_us;
            self.queue_at(at_us, Due::LandDown(key));
            return Ok(());
        }
        let bytes = std::mem::take(&mut wire.down.arrived);
        let (index, shard, ended) = (wire.client, wire.shard, wire.down.ended);
        let writable = wire.wants_writable && wire.at_server;
        let life = wire.life;
        let speaker = self.speaker(life);
        let living = matches!(speaker, Speaker::Living);
        self.note("land down", [key, bytes.len() as u64, ended.into()]);
        if writable {
            self.turn_at(shard, now_us + 10);
        }
        let now_ms = self.now_ms();
        let trace = &mut self.trace;
        let mut heard = |frame: &[u8]| trace.frames(now_us, &format!("{index} hears"), frame);
        self.clients[index].hear(now_ms, &bytes, speaker, (&mut self.oracle, &mut heard))?;
        self.act(index, living)?;
        if ended && self.clients[index].wire == Some(key) {
            return self.lose(key);
        }
        self.on_wake(index)
    }

    /// Does what a client has heard.
    pub(super) fn act(&mut self, index: usize, living: bool) -> Result<(), String> {
        while let Some(heard) = self.clients[index].next_heard()? {
            match heard {
                Heard::Close => self.close_by_client(index),
                // Whoever said it is gone, and what it knew with it.
                _ if !living => {}
                Heard::Answer(question, answer) => {
                    if question.moment.at_ms.is_none() {
                        self.oracle.told(index, question.tenant, answer.head.version)?;
                    }
                    self.answered(&question, &answer)?;
                }
                Heard::Unknown(question) => self.unknown(&question)?,
                Heard::Stale(question) => {
                    self.judging.push((question.tenant, question.ahead_ms));
                }
                Heard::Update(tenant, answer) => {
                    let now_ms = self.now_ms();
                    let moment = Moment { acks: 0, asked_ms: 0, now_ms, at_ms: None, opened_ms: 0 };
                    self.summary.answers += 1;
                    self.oracle.judge(tenant, &answer, &moment)?;
                }
            }
        }
        Ok(())
    }

    pub(super) fn close_by_client(&mut self, index: usize) {
        let Some(key) = self.clients[index].wire else { return };
        self.note("close", [index as u64, key, 0]);
        self.clients[index].forget_connection();
        let Some(wire) = self.wires.get_mut(&key) else { return };
        wire.at_client = false;
        wire.down.close();
        let weather = wire.weather;
        let at_us = wire.up.end(self.now_us, &weather, &mut self.net);
        self.queue_at(at_us, Due::LandUp(key));
    }

    /// A client hears that its connection is gone.
    pub(super) fn lose(&mut self, key: u64) -> Result<(), String> {
        let now_ms = self.now_ms();
        let Some(wire) = self.wires.get_mut(&key) else { return Ok(()) };
        let index = wire.client;
        if self.clients[index].wire != Some(key) {
            return Ok(());
        }
        self.note("lost", [index as u64, key, 0]);
        self.close_by_client(index);
        self.clients[index].session.handle_disconnect(now_ms);
        self.clients[index].settle(Speaker::Living, &mut self.oracle)?;
        self.act(index, false)?;
        self.on_wake(index)
    }

    pub(super) fn wake(&mut self, index: usize, after_us: u64) {
        let at_us = self.now_us + after_us;
        if at_us < self.clients[index].wakes_us {
            self.clients[index].wakes_us = at_us;
            self.queue_at(at_us, Due::Wake(index));
        }
    }

    pub(super) fn on_wake(&mut self, index: usize) -> Result<(), String> {
        let (now_us, now_ms) = (self.now_us, self.now_ms());
        let client = &mut self.clients[index];
        if client.wakes_us <= now_us {
            client.wakes_us = u64::MAX;
        }
        client.session.handle_timeout(now_ms);
        client.settle(Speaker::Living, &mut self.oracle)?;
        self.act(index, true)?;
        let client = &mut self.clients[index];
        let wants = client.session.reconnect_at().is_some_and(|at_ms| at_ms <= now_ms);
        if wants && !client.connects && client.wire.is_none() {
            client.connects = true;
            let after_us = self.dice.of(20..=5_000);
            self.queue_in(after_us, Due::Connect(index));
        }
        let client = &mut self.clients[index];
        while let Some(bytes) = client.session.poll_transmit(now_ms) {
            let Some(key) = client.wire else { break };
            self.trace.frames(now_us, "sends", bytes);
            let wire = self.wires.get_mut(&key).expect("wires are kept");
            let weather = wire.weather;
            for at_us in wire.up.send(now_us, bytes, &weather, &mut self.net) {
                self.queued += 1;
                self.queue.insert((at_us, self.queued), Due::LandUp(key));
            }
        }
        if !client.connects
            && let Some(at_ms) = client.session.next_timeout()
        {
            let after_ms = at_ms.saturating_sub(now_ms).max(1);
            self.wake(index, after_ms * 1_000);
        }
        Ok(())
    }

    pub(super) fn push(&mut self) -> Result<(), String> {
        if self.pushes_left == 0 {
            return Ok(());
        }
        self.pushes_left -= 1;
        let index = self.plan.readers + self.dice.index(self.plan.producers.len());
        let now_ms = self.now_ms();
        for _ in 0..self.dice.of(1..=6) {
            let tenant = self.dice.index(self.plan.tenants);
            let as_text = self.dice.percent(30);
            let topic = self.dice.index(self.plan.topics);
            let other = self.dice.index(self.plan.topics);
            let mut topics = vec![topic];
            if as_text && other != topic {
                topics.push(other);
            }
            let ts_ms = match self.dice.below(10) {
                0 => now_ms + self.dice.below(4_900),
                1..=4 => now_ms,
                _ => now_ms - self.dice.below(self.plan.behind_ms_max + 1),
            };
            let client = &mut self.clients[index];
            client.push(now_ms, tenant, topics, (ts_ms, as_text), &mut self.oracle)?;
        }
        if self.dice.percent(10) {
            self.clients[index].session.flush();
        }
        self.note("push", [index as u64, self.oracle.events.len() as u64, 0]);
        self.on_wake(index)?;
        let after_us = self.dice.of(1..=self.plan.push_gap_us_max);
        self.queue_in(after_us, Due::Push);
        Ok(())
    }
}
