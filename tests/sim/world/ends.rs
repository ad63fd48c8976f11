//! Ends of servers: in good order, by a kill, by a power cut; and what each leaves behind.

use super::{Death, Due, Flip, World};
use crate::client::Speaker;
use crate::disk::SimDisk;
use crate::oracle::Heir;
use trendsrv_server::store::StoreError;

impl World {
    /// The disk has failed: the process ends, and perhaps the machine.
    pub(super) fn failed(&mut self, error: &StoreError) -> Result<(), String> {
        self.trace.tell(self.now_us, format_args!("failed: {error}"));
        // What was broken before healing began may show behind it.
        self.failures_healing += u64::from(self.healing);
        if self.failures_healing > FAILURES_HEALING_MAX {
            return Err(format!("a good disk fails: {error}"));
        }
        let dead = self.disk.as_ref().is_some_and(SimDisk::is_dead);
        let cut = dead || self.dice.percent(60);
        self.end(if cut { Death::PowerCut } else { Death::Killed }, "failed");
        Ok(())
    }

    pub(super) fn make_room(&mut self) {
        if let Some(disk) = &self.disk {
            disk.set_capacity(None);
        }
        self.note("room", [0; 3]);
    }

    /// The server ends, one way or the other; another one starts later.
    pub(super) fn end(&mut self, death: Death, why: &'static str) {
        let Some(mut server) = self.server.take() else { return };
        self.note(why, [self.life.into(), death as u64, 0]);
        self.draining = false;
        self.summary.crashes += 1;
        let unlogged: u64 =
            server.nodes.iter_mut().map(|node| node.shard_mut().stats().log_unlogged_parts).sum();
        self.summary.unlogged += unlogged;
        for log in &server.logs {
            self.summary.commits += log.commits;
            self.summary.snapshots += log.published;
        }
        let mut all = death == Death::Stopped && unlogged == 0;
        for (log, node) in server.logs.iter_mut().zip(&mut server.nodes) {
            match death {
                Death::Stopped => match log.finish(node, self.now_us) {
                    Ok(finished) => all &= finished,
                    Err(error) => {
                        self.trace.tell(self.now_us, format_args!("no clean end: {error}"));
                        all = false;
                    }
                },
                Death::Killed if self.net.percent(50) => log.write(&mut self.net, false),
                Death::Killed | Death::PowerCut => log.tear(&mut self.net),
            }
        }
        let heir = match &self.disk {
            None => Heir::Nothing,
            Some(_) if all => Heir::All,
            Some(_) => Heir::Log,
        };
        self.heirs.push(heir);
        match heir {
            Heir::Nothing => self.oracle.forgotten(),
            Heir::Log => self.oracle.crashed(unlogged > 0),
            Heir::All => {}
        }
        if let Some(disk) = self.disk.clone() {
            if death == Death::PowerCut || disk.is_dead() || self.dice.percent(50) {
                disk.cut_power(self.dice.any());
            } else {
                disk.restart();
            }
            if all && self.dice.percent(self.plan.disk.flips) {
                self.flip_a_bit(&disk);
            }
        }
        self.cut_all();
        let after_us = self.dice.of(10_000..=3_000_000);
        self.queue_in(after_us, Due::Start);
    }

    /// Turns a bit over, where there is something rather than nothing.
    pub(super) fn flip_a_bit(&mut self, disk: &SimDisk) {
        let mut files = disk.files();
        files.retain(|(_, bytes)| !bytes.is_empty());
        let segments: Vec<usize> =
            (0..files.len()).filter(|&at| is_segment(&files[at].0)).collect();
        let at = if self.dice.percent(50) && !segments.is_empty() {
            self.dice.pick(&segments)
        } else if files.is_empty() {
            return;
        } else {
            self.dice.index(files.len())
        };
        let (path, bytes) = &files[at];
        let end = bytes.iter().rposition(|byte| *byte != 0).unwrap_or(0) + 1;
        let from = if self.dice.percent(50) { end.saturating_sub(400) } else { 0 };
        // Somewhere behind the last byte that is something, at times.
        let to = if self.dice.percent(20) { bytes.len() } else { end };
        let offset = from + self.dice.index(to - from);
        let bit = u8::try_from(self.dice.below(8)).expect("below 8");
        let flip = Flip { path: path.clone(), offset: offset as u64, bit };
        self.note("flip", [flip.offset, bit.into(), 0]);
        self.trace.tell(self.now_us, format_args!("{flip:?}"));
        disk.flip(&flip.path, flip.offset, bit);
        self.summary.flips += 1;
        self.flip = Some(flip);
    }

    /// All connections of a server that is gone.
    pub(super) fn cut_all(&mut self) {
        let open: Vec<u64> =
            self.wires.iter().filter(|(_, wire)| wire.at_server).map(|(key, _)| *key).collect();
        for key in open {
            let wire = self.wires.get_mut(&key).expect("it was listed");
            wire.at_server = false;
            wire.up.close();
            wire.down.cut(&mut self.net);
            let after_us = self.dice.of(1..=200_000);
            self.queue_in(after_us, Due::Lost(key));
        }
    }

    /// What is left of what a server said.
    pub(super) fn speaker(&self, life: u32) -> Speaker {
        let index = usize::try_from(life).expect("few lives") - 1;
        let since = self.heirs.get(index..).unwrap_or_default();
        if since.is_empty() {
            Speaker::Living
        } else if since.contains(&Heir::Nothing) {
            Speaker::Dead(Heir::Nothing)
        } else if since.contains(&Heir::Log) {
            Speaker::Dead(Heir::Log)
        } else {
            Speaker::Dead(Heir::All)
        }
    }
}

fn is_segment(path: &str) -> bool {
    path.contains("/seg-")
}

/// Failures of the disk that may show when nothing breaks any more: one a shard.
const FAILURES_HEALING_MAX: u64 = 4;
