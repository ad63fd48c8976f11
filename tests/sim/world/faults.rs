//! What goes wrong: each fault, and how often it is drawn.

use super::{Death, Due, World};
use crate::plan::Plan;
use crate::wire::Wire;

impl World {
    pub(super) fn fault(&mut self) -> Result<(), String> {
        let faults = self.plan.faults;
        if self.healing || faults.gap_us == 0 {
            return Ok(());
        }
        let after_us = self.dice.of(1..=2 * faults.gap_us);
        self.queue_in(after_us, Due::Fault);
        let shares = [
            faults.cut,
            faults.half_close,
            faults.stall,
            faults.jump,
            faults.crash,
            faults.drain,
            faults.begin_anew,
            faults.power_cut,
            faults.dies_at_call,
            faults.disk_error,
            faults.disk_full,
            faults.short_write,
        ];
        let sum: u64 = shares.iter().sum();
        if sum == 0 {
            return Ok(());
        }
        let (mut at, mut kind) = (self.dice.below(sum), 0);
        while at >= shares[kind] {
            at -= shares[kind];
            kind += 1;
        }
        match kind {
            0 => self.cut(),
            1 => self.half_close(),
            2 => self.stall(),
            3 => self.jump(),
            4 => self.end(Death::Killed, "killed"),
            5 => self.drain(),
            6 => self.begin_anew()?,
            7 => self.end(Death::PowerCut, "power cut"),
            11 => self.short = true,
            kind => self.disk_fault(kind),
        }
        Ok(())
    }

    pub(super) fn disk_fault(&mut self, kind: usize) {
        let Some(disk) = self.disk.clone().filter(|_| self.server.is_some()) else { return };
        self.note("disk fault", [kind as u64, 0, 0]);
        match kind {
            8 => disk.stop_after(self.dice.of(0..=40)),
            9 => {
                let left = Some(self.dice.of(0..=20));
                disk.fail_after(if self.dice.percent(50) { (left, None) } else { (None, left) });
            }
            10 => {
                let room = self.dice.of(0..=3 * self.plan.disk.segment_bytes);
                disk.set_capacity(Some(disk.used() + room));
                let after_us = self.dice.of(100_000..=20_000_000);
                self.queue_in(after_us, Due::Room);
            }
            _ => {}
        }
    }

    pub(super) fn any_wire(&mut self) -> Option<u64> {
        let open = |wire: &&Wire| wire.at_client && wire.at_server;
        let open: Vec<u64> =
            self.wires.iter().filter(|(_, wire)| open(wire)).map(|(key, _)| *key).collect();
        (!open.is_empty()).then(|| self.dice.pick(&open))
    }

    pub(super) fn cut(&mut self) {
        let Some(key) = self.any_wire() else { return };
        self.note("cut", [key, 0, 0]);
        self.summary.cuts += 1;
        let wire = self.wires.get_mut(&key).expect("it is open");
        wire.up.cut(&mut self.net);
        wire.down.cut(&mut self.net);
        // Otherwise only its own patience tells the client.
        if self.dice.percent(80) {
            let after_us = self.dice.of(0..=1_000_000);
            self.queue_in(after_us, Due::Lost(key));
        }
        let longest_us = self.dice.pick(&[1_000, 500_000, 20_000_000]);
        let after_us = self.dice.of(0..=longest_us);
        self.queue_in(after_us, Due::Gone(key));
    }

    pub(super) fn half_close(&mut self) {
        let Some(key) = self.any_wire() else { return };
        self.note("half-close", [key, 0, 0]);
        let wire = self.wires.get_mut(&key).expect("it is open");
        let weather = wire.weather;
        let at_us = wire.up.end(self.now_us, &weather, &mut self.net);
        self.queue_at(at_us, Due::LandUp(key));
    }

    pub(super) fn stall(&mut self) {
        let Some(key) = self.any_wire() else { return };
        let longest_us = self.dice.pick(&[50_000, 2_000_000, 12_000_000]);
        let until_us = self.now_us + self.dice.of(1..=longest_us);
        let which = self.dice.below(3);
        self.note("stall", [key, which, until_us]);
        let wire = self.wires.get_mut(&key).expect("it is open");
        match which {
            0 => {
                for at_us in wire.up.stall(until_us) {
                    self.queue_at(at_us, Due::LandUp(key));
                }
            }
            1 => {
                for at_us in wire.down.stall(until_us) {
                    self.queue_at(at_us, Due::LandDown(key));
                }
            }
            _ => wire.unread_until_us = until_us,
        }
    }

    pub(super) fn jump(&mut self) {
        let Plan { window_ms, slide_ms, .. } = self.plan;
        let far_ms = [300, 5_000, 31_000, 3 * slide_ms, window_ms / 2, window_ms + slide_ms];
        let ms = self.dice.pick(&far_ms);
        self.note("jump", [ms, 0, 0]);
        self.jumped_ms += ms;
        self.upset_us = self.now_us;
        self.wake_shards();
        for index in 0..self.clients.len() {
            self.wake(index, 1);
        }
    }

    pub(super) fn drain(&mut self) {
        let Some(server) = self.server.as_mut().filter(|_| !self.draining) else { return };
        server.nodes.iter_mut().for_each(trendsrv_server::node::Node::drain);
        self.draining = true;
        self.note("drain", [self.life.into(), 0, 0]);
        self.wake_shards();
        self.queue_in(1_000_000, Due::EndIdle(self.life));
        let after_us = self.dice.of(1_100_000..=3_000_000);
        self.queue_in(after_us, Due::Stop(self.life));
    }

    /// A producer's program starts anew with the next epoch.
    pub(super) fn begin_anew(&mut self) -> Result<(), String> {
        let index = self.plan.readers + self.dice.index(self.plan.producers.len());
        self.note("begin anew", [index as u64, 0, 0]);
        self.close_by_client(index);
        self.clients[index].begin_anew(&mut self.oracle)?;
        self.wake(index, 1);
        Ok(())
    }
}
