//! The server's machine: starts, recoveries, turns, and the work of its disks.

use super::{Due, Flip, World};
use crate::disk::SimDisk;
use crate::plan::{Plan, Planted};
use crate::server::{Server, shard_of};
use crate::storage::{self, Recovered};
use trendsrv_server::store::{StoreError, inspect};
use trendsrv_shard::Grid;

impl World {
    pub(super) fn start(&mut self) -> Result<(), String> {
        if self.server.is_some() {
            return Ok(());
        }
        let grid = self.server_grid();
        let (shards, logs, generation) = match self.disk.clone() {
            Some(disk) => match self.recover(&disk, grid)? {
                Some(found) => (found.shards, found.logs, found.generation),
                None => return Ok(()),
            },
            None => {
                let shards = (0..self.shards).map(|_| {
                    let secret = self.dice.any();
                    shard_of(&self.plan, grid, secret)
                });
                (shards.collect(), Vec::new(), 1)
            }
        };
        self.life += 1;
        self.draining = false;
        self.upset_us = self.now_us;
        let server = Server::new(&self.plan, (shards, logs), generation, self.now_ms());
        self.server = Some(server);
        self.note("start", [self.life.into(), self.shards as u64, generation.into()]);
        self.wake_shards();
        Ok(())
    }

    /// Opens the directory; `None` when that has to be tried again.
    pub(super) fn recover(
        &mut self,
        disk: &SimDisk,
        grid: Grid,
    ) -> Result<Option<Recovered>, String> {
        if self.life > 0 && !self.healing && self.dice.percent(self.plan.disk.reshards) {
            self.shards = self.dice.size(1..=4);
            self.summary.reshards += 1;
        }
        let looked = self.flip.is_some() || self.life.is_multiple_of(3);
        let seen = looked.then(|| look(disk));
        if !self.healing && self.dice.percent(self.plan.disk.dies_starting) {
            disk.stop_after(self.dice.of(0..=120));
        }
        let at = (grid, self.shards, self.now_ms());
        let recovered = storage::recover(&self.plan, disk, at, &mut self.dice);
        if let Some(Ok(seen)) = &seen
            && !disk.is_dead()
        {
            agree(seen, disk, recovered.as_ref().err())?;
        }
        let again_us = self.dice.of(10_000..=1_000_000);
        match recovered {
            Ok(recovered) => {
                self.summary.recoveries += 1;
                for facts in &recovered.facts {
                    let notes = &facts.notes;
                    self.trace.tell(self.now_us, format_args!("{facts:?}"));
                    self.summary.replayed += facts.events;
                    self.summary.torn +=
                        notes.iter().any(|note| note.contains("unfinished")) as u64;
                }
                self.flip = None;
                return Ok(Some(recovered));
            }
            Err(_) if disk.is_dead() => {
                self.note("dies starting", [0; 3]);
                let seed = self.dice.any();
                disk.cut_power(seed);
            }
            Err(error) => match self.flip.take() {
                Some(Flip { path, offset, bit }) => {
                    self.trace.tell(self.now_us, format_args!("refused: {error}"));
                    self.note("flip refused", [offset, bit.into(), 0]);
                    self.summary.flips_refused += 1;
                    disk.flip(&path, offset, bit);
                }
                None if error.is_full() => {
                    self.note("no room to start", [0; 3]);
                    self.make_room();
                }
                None => return Err(format!("the server does not start: {error}")),
            },
        }
        self.queue_in(again_us, Due::Start);
        Ok(None)
    }

    /// The grid of the server, with the planted fault if any.
    pub(super) fn server_grid(&self) -> Grid {
        let Plan { window_ms, slide_ms, .. } = self.plan;
        let window_ms = match self.plan.planted {
            Some(Planted::PaneTooMany) => window_ms + slide_ms,
            Some(Planted::PaneTooFew) => window_ms - slide_ms,
            _ => window_ms,
        };
        Grid::new(window_ms, slide_ms).expect("a pane more or less is a good grid, too")
    }

    pub(super) fn wake_shards(&mut self) {
        let count = self.server.as_ref().map_or(0, |server| server.nodes.len());
        for shard in 0..count {
            let after_us = self.dice.of(5..=500);
            self.turn_at(shard, self.now_us + after_us);
        }
    }

    pub(super) fn turn_at(&mut self, shard: usize, at_us: u64) {
        let Some(server) = &mut self.server else { return };
        if at_us < server.turn_at_us[shard] {
            server.turn_at_us[shard] = at_us;
            self.queue_at(at_us, Due::Turn(shard));
        }
    }

    pub(super) fn turn(&mut self, shard: usize) -> Result<(), String> {
        let now = (self.now_us, self.now_ms());
        let Some(server) = &mut self.server else { return Ok(()) };
        if server.turn_at_us.get(shard) != Some(&self.now_us) {
            return Ok(());
        }
        server.turn_at_us[shard] = u64::MAX;
        let turned = match server.turn(shard, now, &mut self.wires, &mut self.net) {
            Ok(turned) => turned,
            Err(error) => return self.failed(&error),
        };
        self.note("turn", [shard as u64, turned.bytes, turned.lands.len() as u64]);
        for (key, at_us) in turned.lands {
            self.queue_at(at_us, Due::LandDown(key));
        }
        for (to, at_us) in turned.mails {
            self.turn_at(to, at_us);
        }
        if turned.log.writes {
            self.note("commit", [shard as u64, 0, 0]);
            let after_us = self.dice.of(20..=self.plan.disk.write_us_max);
            self.queue_in(after_us, Due::Written(self.life, shard));
        }
        if turned.log.works {
            self.work_soon(shard);
        }
        let more = turned.more || turned.log.more;
        let mut after_us = if more { self.dice.of(5..=300) } else { IDLE_TURN_US };
        if let Some(within_us) = turned.log.within_us {
            // A shard that waits for its disk sleeps all the same.
            after_us = after_us.min(within_us.max(50));
        }
        self.turn_at(shard, self.now_us + after_us);
        Ok(())
    }

    pub(super) fn work_soon(&mut self, shard: usize) {
        let Some(server) = &mut self.server else { return };
        if std::mem::replace(&mut server.logs[shard].at_work, true) {
            return;
        }
        let after_us = self.dice.of(20..=self.plan.disk.write_us_max);
        self.queue_in(after_us, Due::Work(self.life, shard));
    }

    pub(super) fn written(&mut self, life: u32, shard: usize) {
        let Some(server) = self.server.as_mut().filter(|_| life == self.life) else { return };
        server.logs[shard].write(&mut self.net, std::mem::take(&mut self.short));
        self.note("written", [shard as u64, 0, 0]);
        let after_us = self.dice.of(1..=200);
        self.turn_at(shard, self.now_us + after_us);
    }

    pub(super) fn work(&mut self, life: u32, shard: usize) -> Result<(), String> {
        let Some(server) = self.server.as_mut().filter(|_| life == self.life) else {
            return Ok(());
        };
        server.logs[shard].at_work = false;
        let (more, done) = match server.logs[shard].work() {
            Ok(more) => (more, server.logs[shard].has_done()),
            Err(error) => return self.failed(&error),
        };
        self.note("work", [shard as u64, more.into(), done.into()]);
        if more {
            self.work_soon(shard);
        }
        if done {
            let after_us = self.dice.of(1..=200);
            self.turn_at(shard, self.now_us + after_us);
        }
        Ok(())
    }
}

/// What `inspect` says of a directory, and the files it was asked about.
struct Seen {
    is_sound: bool,
    files: Vec<(String, Vec<u8>)>,
}

fn look(disk: &SimDisk) -> Result<Seen, StoreError> {
    Ok(Seen { is_sound: inspect(disk)?.is_sound(), files: disk.files() })
}

/// Holds what `inspect` said against what a start made of the same directory.
fn agree(seen: &Seen, disk: &SimDisk, refused: Option<&StoreError>) -> Result<(), String> {
    match refused {
        None if seen.is_sound => Ok(()),
        None => Err("inspect finds damage in a directory that opens".to_owned()),
        Some(error) if error.is_full() => Ok(()),
        Some(error) if seen.is_sound => {
            Err(format!("inspect finds a directory sound that does not open: {error}"))
        }
        Some(_) if seen.files == disk.files() => Ok(()),
        Some(error) => Err(format!("a start that was refused changed files: {error}")),
    }
}

/// A shard with nothing to do looks at its clock this often.
const IDLE_TURN_US: u64 = 50_000;
