//! One connection between a client and a shard, as two streams of bytes that may be slow, cut
//! anywhere, stalled or dead.
//!
//! ```text
//! writer ─▶ flying: pieces with the time they arrive, in order ─▶ arrived ─▶ reader
//!             '─ then, perhaps, the end of the stream (`ends_us`)
//! ```
//!
//! Invariant: bytes of a stream arrive in order and once, or not at all: it is TCP. What a broken
//! connection loses is everything behind some byte.

use crate::dice::Dice;
use std::collections::VecDeque;

/// One direction.
#[derive(Debug, Default)]
pub(crate) struct Pipe {
    flying: VecDeque<(u64, Vec<u8>)>,
    pub(crate) arrived: Vec<u8>,
    /// When the writer's end of the stream arrives.
    ends_us: Option<u64>,
    /// It has arrived.
    pub(crate) ended: bool,
    last_us: u64,
    stalled_until_us: u64,
    dead: bool,
}

/// How a connection behaves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weather {
    /// Longest ordinary way of a piece, microseconds.
    pub(crate) delay_us_max: u64,
    /// Largest piece, bytes.
    pub(crate) piece_bytes_max: usize,
    /// Bytes on their way or unread, past which the server's socket takes no more.
    pub(crate) capacity_bytes: usize,
}

impl Pipe {
    /// Sends bytes. Returns when to look whether they have arrived.
    pub(crate) fn send(
        &mut self,
        now_us: u64,
        bytes: &[u8],
        weather: &Weather,
        dice: &mut Dice,
    ) -> Vec<u64> {
        let (mut rest, mut times) = (bytes, Vec::new());
        while !rest.is_empty() && !self.dead && self.ends_us.is_none() {
            let whole = dice.percent(60);
            let size = if whole { rest.len() } else { dice.size(1..=weather.piece_bytes_max) };
            let (piece, behind) = rest.split_at(size.min(rest.len()));
            let at_us = self.arrival(now_us, weather, dice);
            self.flying.push_back((at_us, piece.to_vec()));
            times.push(at_us);
            rest = behind;
        }
        times
    }

    /// The writer is done. Returns when the reader hears of it.
    pub(crate) fn end(&mut self, now_us: u64, weather: &Weather, dice: &mut Dice) -> u64 {
        let at_us = self.arrival(now_us, weather, dice);
        self.ends_us.get_or_insert(at_us);
        at_us
    }

    fn arrival(&mut self, now_us: u64, weather: &Weather, dice: &mut Dice) -> u64 {
        let delay_us = if dice.percent(70) { 30 } else { dice.of(30..=weather.delay_us_max) };
        let at_us = (now_us + delay_us).max(self.last_us).max(self.stalled_until_us);
        self.last_us = at_us;
        at_us
    }

    /// Moves what has arrived by now; returns whether there is anything to hear.
    pub(crate) fn land(&mut self, now_us: u64) -> bool {
        while self.flying.front().is_some_and(|(at_us, _)| *at_us <= now_us) {
            let (_, piece) = self.flying.pop_front().expect("it was looked at");
            self.arrived.extend_from_slice(&piece);
        }
        let ends = self.ends_us.is_some_and(|at_us| at_us <= now_us);
        self.ended |= ends && self.flying.is_empty();
        !self.arrived.is_empty() || self.ended
    }

    /// Bytes sent and not read.
    pub(crate) fn unread(&self) -> usize {
        self.arrived.len() + self.flying.iter().map(|(_, piece)| piece.len()).sum::<usize>()
    }

    /// Nothing more arrives before this time. Returns the times to look again.
    pub(crate) fn stall(&mut self, until_us: u64) -> Vec<u64> {
        self.stalled_until_us = until_us;
        for (at_us, _) in &mut self.flying {
            *at_us = until_us.max(*at_us);
        }
        if let Some(at_us) = &mut self.ends_us {
            *at_us = until_us.max(*at_us);
        }
        self.last_us = self.last_us.max(until_us);
        vec![until_us, self.last_us]
    }

    /// The reader is gone.
    pub(crate) fn close(&mut self) {
        self.flying.clear();
        self.arrived.clear();
        self.dead = true;
    }

    /// The connection breaks: some of what is on its way still arrives, nothing behind it.
    pub(crate) fn cut(&mut self, dice: &mut Dice) {
        let kept = dice.size(0..=self.flying.len());
        self.flying.truncate(kept);
        if dice.percent(30)
            && let Some((_, piece)) = self.flying.back_mut()
        {
            piece.truncate(dice.size(0..=piece.len()));
        }
        self.dead = true;
    }
}

/// A connection; see the module header.
#[derive(Debug)]
pub(crate) struct Wire {
    pub(crate) client: usize,
    pub(crate) shard: usize,
    /// Which of the servers one after another.
    pub(crate) life: u32,
    /// To the server.
    pub(crate) up: Pipe,
    /// To the client.
    pub(crate) down: Pipe,
    pub(crate) weather: Weather,
    /// The shard has its end open.
    pub(crate) at_server: bool,
    /// The client has its end open.
    pub(crate) at_client: bool,
    /// The server wants to hear when there is room to write.
    pub(crate) wants_writable: bool,
    /// The server reads nothing for now.
    pub(crate) paused: bool,
    /// The server has been told that the client sends no more.
    pub(crate) half_closed: bool,
    /// The client reads nothing before this time.
    pub(crate) unread_until_us: u64,
}

impl Wire {
    pub(crate) fn new(client: usize, (life, shard): (u32, usize), weather: Weather) -> Self {
        Self {
            client,
            shard,
            life,
            up: Pipe::default(),
            down: Pipe::default(),
            weather,
            at_server: false,
            at_client: true,
            wants_writable: false,
            paused: false,
            half_closed: false,
            unread_until_us: 0,
        }
    }

    /// Bytes the server's socket takes now.
    pub(crate) fn room_down(&self) -> usize {
        self.weather.capacity_bytes.saturating_sub(self.down.unread())
    }
}
