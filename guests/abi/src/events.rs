//! Events on their way to the window: what `observe` rewrites.

use crate::bytes::{put, size_at, u32_at, u64_at};

/// One event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// XXH3-64 of the topic's name.
    pub topic: u64,
    /// How much it counts.
    pub weight: u32,
    /// Milliseconds from [`Events::base_ms`].
    pub offset_ms: i32,
}

/// A run of the tenant's events.
pub struct Events<'a> {
    bytes: &'a mut [u8],
    len: usize,
}

impl<'a> Events<'a> {
    /// The events in a buffer.
    #[must_use]
    pub fn new(buffer: &'a mut [u8]) -> Self {
        let len = size_at(buffer, 8);
        Self { bytes: buffer, len }
    }

    /// Does the work of the export.
    pub fn run(buffer: &mut [u8], observe: impl FnOnce(&mut Events<'_>)) -> u32 {
        let mut events = Events::new(buffer);
        observe(&mut events);
        events.len.try_into().unwrap_or(u32::MAX)
    }

    /// What offsets count from.
    #[must_use]
    pub fn base_ms(&self) -> u64 {
        u64_at(self.bytes, 0)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Looks at each event in turn; what `change` returns takes its place, `None` drops it.
    pub fn retain_map(&mut self, mut change: impl FnMut(Event) -> Option<Event>) {
        let mut kept = 0;
        for place in 0..self.len {
            if let Some(event) = change(self.event(place)) {
                self.put(kept, event);
                kept += 1;
            }
        }
        self.len = kept;
    }

    fn event(&self, place: usize) -> Event {
        let at = HEADER_BYTES + place * EVENT_BYTES;
        Event {
            topic: u64_at(self.bytes, at),
            weight: u32_at(self.bytes, at + 8),
            offset_ms: u32_at(self.bytes, at + 12).cast_signed(),
        }
    }

    fn put(&mut self, place: usize, event: Event) {
        let at = HEADER_BYTES + place * EVENT_BYTES;
        put(self.bytes, at, event.topic.to_le_bytes());
        put(self.bytes, at + 8, event.weight.to_le_bytes());
        put(self.bytes, at + 12, event.offset_ms.to_le_bytes());
    }
}

/// Bytes before the first event.
const HEADER_BYTES: usize = 16;

/// Bytes of an event.
const EVENT_BYTES: usize = 16;
