//! Frames made ahead, so that sending one is a patch of its head and a write.
//!
//! ```text
//! pool   | frame 0 | frame 1 | ... | frame n-1 |     one piece of memory per connection
//! frame  0 length  6 check  12 crc32c | 16 seq  24 base_ms  32 generation | 40 records
//!          same    patched  patched     patched                            | same for ever
//! ```
//!
//! The checksum of a patched frame needs 24 fresh bytes only: CRC32C is linear, so the body's is
//! the head's moved over the records' length (four table look-ups) xor the records' own.
//!
//! Invariants: a patched frame is byte for byte what proto's encoder writes; a slot is patched
//! again only when its last frame is acknowledged.

use crate::population::Population;
use crate::sample::Sample;
use crate::scenario::{Scenario, TenantDistribution};
use rand::rngs::SmallRng;
use rand::seq::SliceRandom as _;
use rand::{Rng as _, SeedableRng as _};
use trendsrv_client::limits::{EVENTS_HEAD_BYTES, RECORD_BYTES};
use trendsrv_proto::{EventRecord, EventsHead, encode_events};

/// An event of a sampled tenant inside a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SampleEvent {
    /// Which sampled tenant.
    pub(crate) sampled: u32,
    /// Place in the vocabulary.
    pub(crate) topic: u32,
    /// Weight.
    pub(crate) weight: u32,
    /// Milliseconds from the frame's base.
    pub(crate) offset_ms: i32,
}

/// The frames of one connection.
#[derive(Debug)]
pub(crate) struct Pool {
    bytes: Vec<u8>,
    frame_bytes: usize,
    frames: usize,
    /// CRC32C of each frame's records.
    record_crcs: Vec<u32>,
    /// Where each frame's sampled events begin; one more than frames.
    starts: Vec<usize>,
    sampled: Vec<SampleEvent>,
    shift: Shift,
}

/// Which connection a pool is for, how many frames it holds, and which of its shard's connections
/// it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) connection: usize,
    pub(crate) frames: usize,
    /// Its number among so many.
    pub(crate) of_shard: (usize, usize),
}

impl Pool {
    /// Draws frames of events for the tenants that `owned` says are this connection's, and notes
    /// in `drawn` who comes.
    ///
    /// Where all tenants are alike, each comes once before any comes again, its shard's connections
    /// sharing them, so that a load soon has its whole population.
    pub(crate) fn new(
        scenario: &Scenario,
        population: &Population,
        sample: &Sample,
        place: Place,
        owned: impl Fn(u32) -> bool,
        drawn: &mut [bool],
    ) -> Self {
        let Place { connection, frames, of_shard } = place;
        let frame_bytes = EVENTS_HEAD_BYTES + RECORD_BYTES * scenario.frame_events;
        let mut pool = Self {
            bytes: Vec::with_capacity(frames * frame_bytes),
            frame_bytes,
            frames,
            record_crcs: Vec::with_capacity(frames),
            starts: vec![0],
            sampled: Vec::new(),
            shift: Shift::over(frame_bytes - EVENTS_HEAD_BYTES),
        };
        let seed = scenario.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ connection as u64;
        let mut random = SmallRng::seed_from_u64(seed);
        let mut first = match scenario.tenant_distribution {
            TenantDistribution::Uniform => {
                let all = (0..population.probe_tenant()).filter(|tenant| owned(*tenant));
                all.skip(of_shard.0).step_by(of_shard.1).collect()
            }
            TenantDistribution::Zipf => Vec::new(),
        };
        first.shuffle(&mut random);
        let mut next_tenant = |random: &mut SmallRng| {
            let mut tenant = first.pop().unwrap_or_else(|| population.tenant(random));
            while !owned(tenant) {
                tenant = population.tenant(random);
            }
            drawn[tenant as usize] = true;
            tenant
        };
        let mut records = Vec::with_capacity(scenario.frame_events);
        let (mut tenant, mut left) = (0, 0);
        for _ in 0..frames {
            records.clear();
            for _ in 0..scenario.frame_events {
                if left == 0 {
                    left = scenario.run_length;
                    tenant = next_tenant(&mut random);
                }
                left -= 1;
                let topic = population.topic(tenant, &mut random);
                let spread = random.random_range(0..=scenario.spread_ms);
                let offset_ms = -i32::try_from(spread).unwrap_or(0);
                let (tenant_id, topic_id) =
                    (population.tenant_id(tenant), population.topic_id(topic));
                let weight = scenario.weight;
                records.push(EventRecord::new(tenant_id, topic_id, weight, offset_ms));
                if let Some(sampled) = sample.place(tenant) {
                    pool.sampled.push(SampleEvent { sampled, topic, weight, offset_ms });
                }
            }
            encode_events(&mut pool.bytes, EventsHead::new(0, 0, 0), &records);
            let body = &pool.bytes[pool.bytes.len() - frame_bytes + EVENTS_HEAD_BYTES..];
            pool.record_crcs.push(crc32c::crc32c(body));
            pool.starts.push(pool.sampled.len());
        }
        pool
    }

    /// Frames in the pool.
    pub(crate) const fn frames(&self) -> usize {
        self.frames
    }

    /// Bytes of one frame.
    pub(crate) const fn frame_bytes(&self) -> usize {
        self.frame_bytes
    }

    /// Gives a frame its sequence number and time.
    pub(crate) fn patch(&mut self, slot: usize, seq: u64, base_ms: u64, generation: u32) {
        let at = slot * self.frame_bytes;
        let frame = &mut self.bytes[at..at + EVENTS_HEAD_BYTES];
        frame[16..24].copy_from_slice(&seq.to_le_bytes());
        frame[24..32].copy_from_slice(&base_ms.to_le_bytes());
        frame[32..36].copy_from_slice(&generation.to_le_bytes());
        let head = crc32c::crc32c(&frame[16..]);
        let body = self.shift.apply(head) ^ self.record_crcs[slot];
        frame[12..16].copy_from_slice(&body.to_le_bytes());
        let check = crc32c::crc32c_append(crc32c::crc32c(&frame[..6]), &frame[8..16]);
        frame[6..8].copy_from_slice(&check.to_le_bytes()[..2]);
    }

    /// The bytes from `offset` inside frame `slot` to the end of the frame before `end`.
    pub(crate) fn bytes(&self, slot: usize, offset: usize, end: usize) -> &[u8] {
        &self.bytes[slot * self.frame_bytes + offset..end * self.frame_bytes]
    }

    /// The sampled events of a frame.
    pub(crate) fn sampled(&self, slot: usize) -> &[SampleEvent] {
        &self.sampled[self.starts[slot]..self.starts[slot + 1]]
    }
}

/// Moves a CRC32C over a fixed number of zero bytes.
struct Shift {
    tables: Box<[[u32; 256]; 4]>,
}

impl std::fmt::Debug for Shift {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Shift")
    }
}

impl Shift {
    fn over(bytes: usize) -> Self {
        let mut tables = Box::new([[0; 256]; 4]);
        for (byte, table) in tables.iter_mut().enumerate() {
            for (value, cell) in (0_u32..).zip(table.iter_mut()) {
                *cell = crc32c::crc32c_combine(value << (8 * byte), 0, bytes);
            }
        }
        Self { tables }
    }

    fn apply(&self, crc: u32) -> u32 {
        let bytes = crc.to_le_bytes();
        let parts = self.tables.iter().zip(bytes);
        parts.fold(0, |sum, (table, byte)| sum ^ table[usize::from(byte)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use trendsrv_proto::{Frame, Split, split};

    fn scenario() -> Scenario {
        Scenario { tenants: 40, frame_events: 30, spread_ms: 90, sample: 5, ..Scenario::default() }
    }

    fn pool(scenario: &Scenario) -> Pool {
        let population = Population::new(scenario);
        let sample = Sample::new(scenario);
        let place = Place { connection: 3, frames: 8, of_shard: (0, 1) };
        let mut drawn = vec![false; scenario.tenants as usize];
        Pool::new(scenario, &population, &sample, place, |tenant| tenant % 2 == 0, &mut drawn)
    }

    #[test]
    fn connections_of_a_shard_share_its_tenants_and_each_comes_before_any_comes_again() {
        let scenario = Scenario { tenants: 41, frame_events: 10, sample: 5, ..Scenario::default() };
        let (population, sample) = (Population::new(&scenario), Sample::new(&scenario));
        let mut drawn = vec![false; 41];
        for number in 0..2 {
            let place = Place { connection: number, frames: 1, of_shard: (number, 2) };
            let even = |tenant: u32| tenant.is_multiple_of(2);
            Pool::new(&scenario, &population, &sample, place, even, &mut drawn);
        }
        let came: Vec<usize> = (0..41).filter(|tenant| drawn[*tenant]).collect();
        assert_eq!(came, (0..40).step_by(2).collect::<Vec<_>>(), "without the probe's");
    }

    #[test]
    fn a_patched_frame_is_what_the_encoder_writes() {
        let mut pool = pool(&scenario());
        for (slot, seq) in [(0, 1), (7, u64::MAX), (0, 9)] {
            pool.patch(slot, seq, 1_700_000_000_123, 42);
            let bytes = pool.bytes(slot, 0, slot + 1).to_vec();
            let Split::Frame(header, body) = split(&bytes) else { panic!("no frame") };
            let Ok(Frame::Events(events)) = Frame::parse(header, body) else { panic!("bad") };
            assert_eq!((events.head.seq(), events.records.len()), (seq, 30));
            let mut want = Vec::new();
            let head = EventsHead::new(seq, 1_700_000_000_123, 42);
            encode_events(&mut want, head, events.records);
            assert_eq!(bytes, want);
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_bytes_and_another_seed_does_not() {
        let (one, two) = (pool(&scenario()), pool(&scenario()));
        assert_eq!(one.bytes, two.bytes);
        let other = pool(&Scenario { seed: 2, ..scenario() });
        assert_ne!(one.bytes, other.bytes);
    }

    #[test]
    fn only_owned_tenants_are_drawn_and_sampled_events_are_all_noted() {
        let scenario = scenario();
        let (population, sample) = (Population::new(&scenario), Sample::new(&scenario));
        let mut pool = pool(&scenario);
        for slot in 0..pool.frames() {
            pool.patch(slot, 1, 1_700_000_000_000, 0);
            let bytes = pool.bytes(slot, 0, slot + 1);
            let Split::Frame(header, body) = split(bytes) else { panic!("no frame") };
            let Ok(Frame::Events(events)) = Frame::parse(header, body) else { panic!("bad") };
            let mut noted = Vec::new();
            for record in events.records {
                let tenant = (0..40).find(|t| population.tenant_id(*t) == record.tenant());
                let tenant = tenant.unwrap();
                assert!(tenant % 2 == 0 && tenant != population.probe_tenant());
                if let Some(sampled) = sample.place(tenant) {
                    noted.push((sampled, record.topic(), record.offset_ms()));
                }
            }
            let kept: Vec<_> = pool
                .sampled(slot)
                .iter()
                .map(|s| (s.sampled, population.topic_id(s.topic), s.offset_ms))
                .collect();
            assert_eq!(kept, noted);
        }
    }

    #[test]
    fn runs_have_their_length() {
        let scenario = Scenario { run_length: 5, ..scenario() };
        let mut pool = pool(&scenario);
        pool.patch(0, 1, 1_700_000_000_000, 0);
        let bytes = pool.bytes(0, 0, 1);
        let Split::Frame(header, body) = split(bytes) else { panic!("no frame") };
        let Ok(Frame::Events(events)) = Frame::parse(header, body) else { panic!("bad") };
        for run in events.records.chunks(5) {
            assert!(run.iter().all(|record| record.tenant() == run[0].tenant()));
        }
    }
}
