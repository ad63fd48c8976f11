//! The native generator's events, in the file that the job's source reads.
//!
//! ```text
//! file   "TSEV0001" | u32 events | u32 0 | events x (u32 tenant, u32 topic, u32 weight)
//! share  subtask s of p goes round in events s*n/p to (s+1)*n/p of the file
//! ```
//!
//! Invariants: the events are those of the native load's frames, one frame of each connection in
//! turn. A topic's number is its place among all names in the order of their bytes, so that the
//! query breaks ties by number as trendsrv breaks them by name.

use crate::pool::{Place, Pool};
use crate::population::{Named, Population, topic_name};
use crate::sample::Sample;
use crate::scenario::Scenario;
use anyhow::{Context as _, bail};
use std::io::Write as _;
use std::path::Path;
use trendsrv_proto::{Frame, Split, split};

/// One event of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) tenant: u32,
    pub(super) topic: u32,
    pub(super) weight: u32,
}

/// The events of a scenario, in the order of the file.
#[derive(Debug)]
pub(super) struct Events(Vec<Event>);

impl Events {
    /// Draws them as the native load does on one shard.
    pub(super) fn draw(
        scenario: &Scenario,
        population: &Population,
        sample: &Sample,
    ) -> anyhow::Result<Self> {
        let frame_bytes = 40 + 24 * scenario.frame_events;
        let connections = scenario.connections;
        let frames = (scenario.pool_bytes / connections / frame_bytes).max(1);
        let mut drawn = vec![false; scenario.tenants as usize];
        let mut pools: Vec<_> = (0..connections)
            .map(|connection| {
                let place = Place { connection, frames, of_shard: (connection, connections) };
                Pool::new(scenario, population, sample, place, |_| true, &mut drawn)
            })
            .collect();
        let numbers = Numbers::new(scenario.vocabulary);
        let mut events = Vec::with_capacity(frames * connections * scenario.frame_events);
        for slot in 0..frames {
            for pool in &mut pools {
                // A frame can be read once it has its head.
                pool.patch(slot, 1, 0, 0);
                let frame = pool.bytes(slot, 0, slot + 1);
                push(&mut events, frame, population, &numbers)?;
            }
        }
        Ok(Self(events))
    }

    /// Writes the file.
    pub(super) fn write(&self, path: &Path) -> anyhow::Result<()> {
        let count = u32::try_from(self.0.len()).context("too many events for one file")?;
        let write = || {
            let mut file = std::io::BufWriter::new(std::fs::File::create(path)?);
            file.write_all(b"TSEV0001")?;
            file.write_all(&count.to_le_bytes())?;
            file.write_all(&0_u32.to_le_bytes())?;
            for event in &self.0 {
                for number in [event.tenant, event.topic, event.weight] {
                    file.write_all(&number.to_le_bytes())?;
                }
            }
            file.flush()
        };
        write().with_context(|| format!("cannot write the events to {}", path.display()))
    }

    /// What one subtask of several goes round in.
    pub(super) fn share(&self, subtask: usize, of: usize) -> &[Event] {
        let count = self.0.len();
        &self.0[count * subtask / of..count * (subtask + 1) / of]
    }
}

fn push(
    events: &mut Vec<Event>,
    frame: &[u8],
    population: &Population,
    numbers: &Numbers,
) -> anyhow::Result<()> {
    let Split::Frame(header, body) = split(frame) else { bail!("a frame of the pool is torn") };
    let Frame::Events(frame) = Frame::parse(header, body).context("a frame of the pool")? else {
        bail!("a frame of the pool holds no events");
    };
    for record in frame.records {
        let (tenant, topic) = (record.tenant().0, record.topic().0);
        let (Some(Named::Tenant(tenant)), Some(Named::Topic(topic))) =
            (population.named(tenant), population.named(topic))
        else {
            bail!("an event of the pool has ids that are nobody's: {tenant}, {topic}");
        };
        events.push(Event { tenant, topic: numbers.of(topic), weight: record.weight() });
    }
    Ok(())
}

/// Topics by the order of their names.
#[derive(Debug)]
pub(super) struct Numbers(Vec<u32>);

impl Numbers {
    fn new(vocabulary: u32) -> Self {
        let mut names: Vec<_> = (0..vocabulary).map(|topic| (topic_name(topic), topic)).collect();
        names.sort_unstable();
        let mut numbers = vec![0; names.len()];
        for (number, (_, topic)) in (0..).zip(&names) {
            numbers[*topic as usize] = number;
        }
        Self(numbers)
    }

    fn of(&self, topic: u32) -> u32 {
        self.0[topic as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(scenario: &Scenario) -> Events {
        let (population, sample) = (Population::new(scenario), Sample::new(scenario));
        Events::draw(scenario, &population, &sample).unwrap()
    }

    fn scenario() -> Scenario {
        Scenario {
            tenants: 20,
            connections: 3,
            frame_events: 7,
            pool_bytes: 4_000,
            vocabulary: 300,
            sample: 15,
            weight: 5,
            ..Scenario::default()
        }
    }

    #[test]
    fn the_file_has_the_layout_that_the_source_reads() {
        let path = std::env::temp_dir().join(format!("loadgen-events-{}", std::process::id()));
        let events = events(&scenario());
        events.write(&path).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(&bytes[..8], b"TSEV0001");
        let number = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        assert_eq!((number(8) as usize, number(12)), (events.0.len(), 0));
        assert_eq!(bytes.len(), 16 + 12 * events.0.len());
        for (place, event) in events.0.iter().enumerate() {
            let at = 16 + 12 * place;
            assert_eq!(
                (number(at), number(at + 4), number(at + 8)),
                (event.tenant, event.topic, event.weight)
            );
        }
    }

    #[test]
    fn the_events_are_those_of_the_native_frames_and_spare_the_probe() {
        let (events, scenario) = (events(&scenario()), scenario());
        assert!(events.0.iter().all(|event| event.tenant < 19 && event.weight == 5));
        let (population, sample) = (Population::new(&scenario), Sample::new(&scenario));
        let place = Place { connection: 1, frames: 6, of_shard: (1, 3) };
        let pool = Pool::new(&scenario, &population, &sample, place, |_| true, &mut [false; 20]);
        let numbers = Numbers::new(scenario.vocabulary);
        // The second frame of the second connection is the fifth of the file.
        let frame = &events.0[4 * 7..5 * 7];
        let got: Vec<_> = frame
            .iter()
            .filter_map(|event| Some((sample.place(event.tenant)?, event.topic)))
            .collect();
        let native = pool.sampled(1).iter();
        let want: Vec<_> = native.map(|event| (event.sampled, numbers.of(event.topic))).collect();
        assert!(!want.is_empty());
        assert_eq!(got, want);
    }

    #[test]
    fn shares_cover_all_events_once() {
        let events = events(&scenario());
        for of in 1..5 {
            let shares: Vec<_> = (0..of).flat_map(|s| events.share(s, of)).copied().collect();
            assert_eq!(shares, events.0);
        }
    }

    #[test]
    fn a_smaller_number_is_an_earlier_name() {
        let numbers = Numbers::new(500);
        for (a, b) in (0..500).zip((0..500).rev()) {
            assert_eq!(numbers.of(a) < numbers.of(b), topic_name(a) < topic_name(b), "{a} {b}");
        }
    }
}
