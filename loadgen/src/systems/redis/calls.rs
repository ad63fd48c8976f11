//! Commands made ahead, so that sending a call is a look at its buckets and a copy.
//!
//! ```text
//! call   EVALSHA sha n | t:TENANT:BUCKET … n times | weight | topic … n times      with Lua
//!        ZINCRBY t:TENANT:BUCKET weight topic … n times                            plain
//!                         ^ 9 digits, written anew when time has moved on
//! ```
//!
//! A bucket is 5 s of time, counted from the epoch; a window is 12 of them with the current one.
//! Topics are told as the numbers of their names: the shortest that Redis can hold, which it packs
//! into bytes; a user who stored names would pay more.
//!
//! Invariants: call `i` holds the events of frame `i` of the same pool that trendsrv gets; all
//! marks of a call are the places of buckets, nothing else.

use crate::pool::{Pool, SampleEvent};
use crate::population::{Named, Population};
use anyhow::{Context as _, bail};
use trendsrv_proto::{Frame, Split, split};

/// Length of a bucket.
pub(super) const BUCKET_MS: u32 = 5_000;
/// Buckets of a window, the current one among them.
pub(super) const BUCKETS: u32 = 12;
/// Digits of a bucket's number, enough for 150 years.
const DIGITS: usize = 9;
/// Stands for a bucket in a call under construction; nothing else of a call holds its letter.
const PLACEHOLDER: &str = "?????????";

/// Counts the events of a call, each in its own bucket. A bucket's first event gives it a life of a
/// window and one bucket more, for clocks that differ. An event is the first of its topic when the
/// count is its weight, and the first of its bucket when there is no other topic.
pub(super) const SCRIPT: &str = "\
local call, weight = redis.call, ARGV[1]
for i = 1, #KEYS do
  local key = KEYS[i]
  if call('ZINCRBY', key, weight, ARGV[i + 1]) == weight and call('ZCARD', key) == 1 then
    call('EXPIRE', key, 65)
  end
end
return #KEYS
";

/// How events are told to Redis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// One call of the script that was loaded under this hash.
    Lua(String),
    /// One ZINCRBY an event, without an end.
    Plain,
}

/// Where a bucket is written, and whose.
#[derive(Clone, Copy, Debug)]
struct Mark {
    /// From the beginning of its call.
    at: u32,
    tenant: u32,
    offset_ms: i32,
}

/// One call.
#[derive(Debug, Default)]
struct Call {
    /// Its end in the bytes, the marks and the sampled events; it begins where the last one ends.
    bytes: usize,
    marks: usize,
    sampled: usize,
    /// The base of the buckets it holds now.
    bucket: Option<u64>,
}

/// The calls of one connection.
#[derive(Debug)]
pub(super) struct Calls {
    form: Form,
    bytes: Vec<u8>,
    marks: Vec<Mark>,
    sampled: Vec<SampleEvent>,
    calls: Vec<Call>,
    /// Whether every event has its call's own time.
    same_time: bool,
    first_round: usize,
}

impl Calls {
    /// Makes the calls for the frames of a pool, and notes in `seen` whose events they hold. The
    /// first round is over when all tenants have come that were not noted before.
    pub(super) fn new(
        form: &Form,
        mut pool: Pool,
        population: &Population,
        seen: &mut [bool],
    ) -> anyhow::Result<Self> {
        let mut calls = Self {
            form: form.clone(),
            bytes: Vec::new(),
            marks: Vec::new(),
            sampled: Vec::new(),
            calls: Vec::with_capacity(pool.frames()),
            same_time: true,
            first_round: 0,
        };
        for slot in 0..pool.frames() {
            // Any sequence number, and any time that leaves room before it: only the records are
            // read.
            pool.patch(slot, 1, 3_600_000, 0);
            let events = events(pool.bytes(slot, 0, slot + 1), population)?;
            for event in &events {
                calls.same_time &= event.offset_ms == 0;
                let seen = seen.get_mut(event.tenant as usize).context("a tenant out of range")?;
                if !std::mem::replace(seen, true) {
                    calls.first_round = slot + 1;
                }
            }
            calls.encode(&events)?;
            calls.sampled.extend_from_slice(pool.sampled(slot));
            calls.calls.push(Call {
                bytes: calls.bytes.len(),
                marks: calls.marks.len(),
                sampled: calls.sampled.len(),
                bucket: None,
            });
        }
        Ok(calls)
    }

    fn encode(&mut self, events: &[Event]) -> anyhow::Result<()> {
        let begin = self.bytes.len();
        encode(&self.form, PLACEHOLDER, events, &mut self.bytes);
        let (mut at, mut of) = (0, events.iter());
        while let Some(found) = self.bytes[begin + at..].iter().position(|byte| *byte == b'?') {
            at += found;
            let event = of.next().context("more buckets than events in a call")?;
            let (tenant, offset_ms) = (event.tenant, event.offset_ms);
            self.marks.push(Mark { at: u32::try_from(at)?, tenant, offset_ms });
            at += DIGITS;
        }
        if of.next().is_some() {
            bail!("fewer buckets than events in a call");
        }
        Ok(())
    }

    /// How many there are.
    pub(super) const fn len(&self) -> usize {
        self.calls.len()
    }

    /// After so many calls every tenant that this connection sees has been seen.
    pub(super) const fn first_round(&self) -> usize {
        self.first_round
    }

    /// The bytes of a call for events of this time.
    pub(super) fn at(&mut self, slot: usize, base_ms: u64) -> &[u8] {
        let begin = self.begin(slot);
        let end = &mut self.calls[slot];
        let base = base_ms / u64::from(BUCKET_MS);
        let bytes = &mut self.bytes[begin.bytes..end.bytes];
        if !self.same_time || end.bucket != Some(base) {
            let (mut bucket, mut digits) = (base, digits(base));
            for mark in &self.marks[begin.marks..end.marks] {
                let ts_ms = base_ms.saturating_add_signed(i64::from(mark.offset_ms));
                let its = ts_ms / u64::from(BUCKET_MS);
                if its != bucket {
                    (bucket, digits) = (its, self::digits(its));
                }
                bytes[mark.at as usize..][..DIGITS].copy_from_slice(digits.as_bytes());
            }
            end.bucket = Some(base);
        }
        bytes
    }

    /// Events of a call.
    pub(super) fn events(&self, slot: usize) -> u64 {
        (self.calls[slot].marks - self.begin(slot).marks) as u64
    }

    /// Replies to a call.
    pub(super) fn replies(&self, slot: usize) -> u64 {
        match self.form {
            Form::Lua(_) => 1,
            Form::Plain => self.events(slot),
        }
    }

    /// The sampled events of a call.
    pub(super) fn sampled(&self, slot: usize) -> &[SampleEvent] {
        &self.sampled[self.begin(slot).sampled..self.calls[slot].sampled]
    }

    /// Notes the tenants of the first `count` calls.
    pub(super) fn note_tenants(&self, count: u64, seen: &mut [bool]) {
        let calls = usize::try_from(count).unwrap_or(usize::MAX).min(self.len());
        let marks = calls.checked_sub(1).map_or(0, |last| self.calls[last].marks);
        for mark in &self.marks[..marks] {
            seen[mark.tenant as usize] = true;
        }
    }

    /// Where a call begins: at the end of the one before.
    fn begin(&self, slot: usize) -> Call {
        let before = slot.checked_sub(1).map(|before| &self.calls[before]);
        before.map_or_else(Call::default, |call| Call { bucket: None, ..*call })
    }
}

/// An event as Redis is told it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) tenant: u32,
    pub(super) topic: u32,
    pub(super) weight: u32,
    pub(super) offset_ms: i32,
}

/// The events of a frame.
fn events(frame: &[u8], population: &Population) -> anyhow::Result<Vec<Event>> {
    let Split::Frame(header, body) = split(frame) else { bail!("a frame of the pool is cut") };
    let Frame::Events(events) = Frame::parse(header, body)? else {
        bail!("a frame of the pool holds no events")
    };
    let event = |record: &trendsrv_proto::EventRecord| {
        let named = (population.named(record.tenant().0), population.named(record.topic().0));
        let (Some(Named::Tenant(tenant)), Some(Named::Topic(topic))) = named else {
            bail!("an event of the pool is about {named:?}, not about a tenant and its topic")
        };
        Ok(Event { tenant, topic, weight: record.weight(), offset_ms: record.offset_ms() })
    };
    events.records.iter().map(event).collect()
}

/// Writes the commands for some events of one bucket; the script takes one weight for all.
pub(super) fn encode(form: &Form, bucket: &str, events: &[Event], out: &mut Vec<u8>) {
    let key = |event: &Event| key(event.tenant, bucket);
    match form {
        Form::Lua(sha) => {
            let mut call = redis::cmd("EVALSHA");
            call.arg(sha).arg(events.len());
            for event in events {
                call.arg(key(event));
            }
            call.arg(events.first().map_or(0, |event| event.weight));
            for event in events {
                call.arg(event.topic);
            }
            call.write_packed_command(out);
        }
        Form::Plain => {
            for event in events {
                let mut call = redis::cmd("ZINCRBY");
                call.arg(key(event)).arg(event.weight).arg(event.topic).write_packed_command(out);
            }
        }
    }
}

/// The sorted set of a tenant's bucket.
pub(super) fn key(tenant: u32, bucket: &str) -> String {
    format!("t:{tenant}:{bucket}")
}

/// A bucket as it stands in a key.
pub(super) fn digits(bucket: u64) -> String {
    format!("{bucket:0DIGITS$}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::Place;
    use crate::sample::Sample;
    use crate::scenario::Scenario;
    use crate::systems::redis::wire::reply_bytes;

    fn calls(form: &Form, scenario: &Scenario) -> (Calls, Vec<bool>) {
        let (population, sample) = (Population::new(scenario), Sample::new(scenario));
        let place = Place { connection: 0, frames: 4, of_shard: (0, 1) };
        let mut drawn = vec![false; scenario.tenants as usize];
        let pool = Pool::new(scenario, &population, &sample, place, |_| true, &mut drawn);
        let mut seen = vec![false; scenario.tenants as usize];
        let calls = Calls::new(form, pool, &population, &mut seen).unwrap();
        assert_eq!(seen, drawn);
        (calls, seen)
    }

    fn scenario() -> Scenario {
        Scenario { tenants: 10, frame_events: 4, sample: 9, weight: 3, ..Scenario::default() }
    }

    /// The arguments of each command, as Redis's library reads them.
    fn commands(mut bytes: &[u8]) -> Vec<Vec<String>> {
        let mut commands = Vec::new();
        while let Some(length) = reply_bytes(bytes).unwrap().filter(|length| *length > 0) {
            let value = redis::parse_redis_value(&bytes[..length]).unwrap();
            commands.push(redis::from_redis_value(value).unwrap());
            bytes = &bytes[length..];
        }
        assert!(bytes.is_empty());
        commands
    }

    #[test]
    fn a_call_holds_its_frames_events_in_the_bucket_of_their_time() {
        for form in [Form::Lua("5eed".to_owned()), Form::Plain] {
            let (mut calls, _) = calls(&form, &scenario());
            for (slot, base_ms) in [(0, 4_999), (3, 1_790_000_004_999), (0, 1_790_000_005_000)] {
                let sampled = calls.sampled(slot).to_vec();
                assert_eq!(sampled.len(), 4, "every tenant but the probe's is sampled");
                let told = commands(calls.at(slot, base_ms));
                let bucket = format!("{:09}", base_ms / 5_000);
                let topics: Vec<_> = sampled.iter().map(|event| event.topic.to_string()).collect();
                if form == Form::Plain {
                    assert_eq!((told.len(), calls.replies(slot)), (4, 4));
                    for (command, topic) in told.iter().zip(&topics) {
                        assert!(command[1].ends_with(&format!(":{bucket}")), "{command:?}");
                        assert_eq!(
                            (&*command[0], &*command[2], topic),
                            ("ZINCRBY", "3", &command[3])
                        );
                    }
                } else {
                    assert_eq!((told.len(), calls.replies(slot)), (1, 1));
                    assert_eq!(told[0][..3], ["EVALSHA", "5eed", "4"]);
                    assert!(told[0][3..7].iter().all(|key| key.ends_with(&format!(":{bucket}"))));
                    assert_eq!((&*told[0][7], &told[0][8..]), ("3", &topics[..]));
                }
                assert_eq!(calls.events(slot), 4);
            }
        }
    }

    #[test]
    fn an_event_before_its_calls_time_may_be_in_the_bucket_before() {
        let (mut calls, _) = calls(&Form::Plain, &Scenario { spread_ms: 4_000, ..scenario() });
        let base_ms = 1_790_000_002_000;
        let told = commands(calls.at(1, base_ms));
        for (command, event) in told.iter().zip(calls.sampled(1)) {
            let ts_ms = base_ms.saturating_add_signed(i64::from(event.offset_ms));
            assert!(command[1].ends_with(&format!(":{:09}", ts_ms / 5_000)), "{command:?}");
        }
        assert!(calls.sampled(1).iter().any(|event| event.offset_ms < -2_000));
    }

    #[test]
    fn the_first_round_is_over_when_the_last_tenant_has_come() {
        let (calls, seen) = calls(&Form::Plain, &scenario());
        assert_eq!(seen.iter().filter(|seen| **seen).count(), 9, "all but the probe's");
        assert_eq!(calls.first_round(), 3, "9 tenants, 4 to a call");
        let mut noted = vec![false; 10];
        calls.note_tenants(2, &mut noted);
        assert_eq!(noted.iter().filter(|seen| **seen).count(), 8);
        calls.note_tenants(u64::MAX, &mut noted);
        assert_eq!(noted, seen);
    }
}
