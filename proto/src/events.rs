//! EVENTS and EVENTS_NAMED: what producers send.
//!
//! ```text
//! EVENTS        16 seq u64 | 24 base_ms u64 | 32 generation u32 | 36 count u32 | 40 records
//! record         0 tenant u64 | 8 topic u64 | 16 weight u32 | 20 offset_ms i32          (24 bytes)
//! EVENTS_NAMED  the same head, then per event
//!                0 tenant_len u8 | 1 topic_len u8 | 2 zero u16 | 4 weight u32 | 8 offset_ms i32
//!               12 tenant | topic
//! ```
//!
//! An event's time is `base_ms + offset_ms`. A frame with `count` 0 is a filler for its `seq`.

use crate::cursor::Cursor;
use crate::header::{FrameWriter, Kind};
use crate::id::{TenantId, TopicId, check_name};
use crate::limits::{FRAME_EVENTS_MAX, TIME_MS_MAX, WEIGHT_MAX};
use crate::malformed::Malformed;
use zerocopy::little_endian::{I32, U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The head of every kind of event frames.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct EventsHead {
    seq: U64,
    base_ms: U64,
    generation: U32,
    count: U32,
}

impl EventsHead {
    /// A head; `count` is filled in by the writers.
    #[must_use]
    pub const fn new(seq: u64, base_ms: u64, generation: u32) -> Self {
        Self {
            seq: U64::new(seq),
            base_ms: U64::new(base_ms),
            generation: U32::new(generation),
            count: U32::ZERO,
        }
    }

    /// Sequence number of the frame in its (producer, lane).
    #[must_use]
    pub const fn seq(&self) -> u64 {
        self.seq.get()
    }

    /// Milliseconds since the epoch that offsets count from.
    #[must_use]
    pub const fn base_ms(&self) -> u64 {
        self.base_ms.get()
    }

    /// Generation of the vnode map the producer routed by.
    #[must_use]
    pub const fn generation(&self) -> u32 {
        self.generation.get()
    }

    /// Events in the frame.
    #[must_use]
    pub const fn count(&self) -> u32 {
        self.count.get()
    }

    /// The sequence number in an EVENTS body that may be malformed behind it, for its REFUSE.
    #[must_use]
    pub fn seq_in(body: &[u8]) -> Option<u64> {
        U64::read_from_prefix(body).ok().map(|(seq, _)| seq.get())
    }

    pub(crate) fn parse<'a>(cursor: &mut Cursor<'a>) -> Result<&'a Self, Malformed> {
        let head: &Self = cursor.view("the head of events")?;
        if head.count() as usize > FRAME_EVENTS_MAX {
            let (got, max) = (u64::from(head.count()), FRAME_EVENTS_MAX as u64);
            return Err(Malformed::TooMany { what: "event count", got, max });
        }
        within("base_ms", head.base_ms(), 0, TIME_MS_MAX)?;
        Ok(head)
    }

    /// Writes the count into a body that begins with a head.
    pub(crate) fn set_count(body: &mut [u8], count: u32) {
        body[20..24].copy_from_slice(&count.to_le_bytes());
    }
}

/// One event of an EVENTS frame.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct EventRecord {
    tenant: U64,
    topic: U64,
    weight: U32,
    offset_ms: I32,
}

impl EventRecord {
    /// A record; the weight must be 1 to [`WEIGHT_MAX`] to be accepted.
    #[must_use]
    pub const fn new(tenant: TenantId, topic: TopicId, weight: u32, offset_ms: i32) -> Self {
        Self {
            tenant: U64::new(tenant.0),
            topic: U64::new(topic.0),
            weight: U32::new(weight),
            offset_ms: I32::new(offset_ms),
        }
    }

    /// Whose event.
    #[must_use]
    pub const fn tenant(&self) -> TenantId {
        TenantId(self.tenant.get())
    }

    /// What about.
    #[must_use]
    pub const fn topic(&self) -> TopicId {
        TopicId(self.topic.get())
    }

    /// How much it counts.
    #[must_use]
    pub const fn weight(&self) -> u32 {
        self.weight.get()
    }

    /// Milliseconds from the frame's `base_ms`.
    #[must_use]
    pub const fn offset_ms(&self) -> i32 {
        self.offset_ms.get()
    }
}

/// The earliest and latest event time of a frame, milliseconds since the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Earliest event.
    pub min_ms: u64,
    /// Latest event.
    pub max_ms: u64,
}

impl Span {
    /// The span of what came before, if anything, and one more event.
    pub(crate) fn around(before: Option<Self>, time_ms: u64) -> Self {
        let Self { min_ms, max_ms } = before.unwrap_or(Self { min_ms: time_ms, max_ms: time_ms });
        Self { min_ms: min_ms.min(time_ms), max_ms: max_ms.max(time_ms) }
    }
}

/// A frame of records.
#[derive(Clone, Copy, Debug)]
pub struct Events<'a> {
    /// Sequence, base time, generation.
    pub head: &'a EventsHead,
    /// The events.
    pub records: &'a [EventRecord],
    /// Their times, from the check of every record.
    pub span: Span,
}

impl<'a> Events<'a> {
    pub(crate) fn parse(body: &'a [u8]) -> Result<Self, Malformed> {
        let mut cursor = Cursor::new(body);
        let head = EventsHead::parse(&mut cursor)?;
        let records = cursor.slice::<EventRecord>(head.count() as usize, "records")?;
        cursor.end()?;
        let span = check_records(head.base_ms(), records)?;
        Ok(Self { head, records, span })
    }
}

/// One pass without branches over all records; the record at fault is looked for only when one is.
fn check_records(base_ms: u64, records: &[EventRecord]) -> Result<Span, Malformed> {
    let (mut bad, mut min, mut max) = (false, 0_i32, 0_i32);
    if let Some(first) = records.first() {
        (min, max) = (first.offset_ms(), first.offset_ms());
    }
    for record in records {
        bad |= record.weight().wrapping_sub(1) >= WEIGHT_MAX;
        min = min.min(record.offset_ms());
        max = max.max(record.offset_ms());
    }
    let span = span_of(base_ms, min, max);
    if let (false, Some(span)) = (bad, span) {
        return Ok(span);
    }
    for (index, record) in (0_u32..).zip(records) {
        check_event(index, base_ms, record.weight(), record.offset_ms())?;
    }
    unreachable!("the slow check finds what the fast one saw")
}

fn span_of(base_ms: u64, min: i32, max: i32) -> Option<Span> {
    let min_ms = base_ms.checked_add_signed(i64::from(min))?;
    let max_ms = base_ms.checked_add_signed(i64::from(max))?;
    (max_ms <= TIME_MS_MAX).then_some(Span { min_ms, max_ms })
}

pub(crate) fn check_event(
    index: u32,
    base_ms: u64,
    weight: u32,
    offset_ms: i32,
) -> Result<u64, Malformed> {
    let entry = |what, got, min, max| Malformed::Entry { what, index, got, min, max };
    if weight.wrapping_sub(1) >= WEIGHT_MAX {
        return Err(entry("weight", u64::from(weight), 1, u64::from(WEIGHT_MAX)));
    }
    match base_ms.checked_add_signed(i64::from(offset_ms)) {
        Some(time_ms) if time_ms <= TIME_MS_MAX => Ok(time_ms),
        time => Err(entry("event time in ms", time.unwrap_or(0), 0, TIME_MS_MAX)),
    }
}

fn within(what: &'static str, got: u64, min: u64, max: u64) -> Result<(), Malformed> {
    if (min..=max).contains(&got) { Ok(()) } else { Err(Malformed::Range { what, got, min, max }) }
}

/// Writes an EVENTS frame. Returns its length in bytes.
///
/// # Panics
/// With more than [`FRAME_EVENTS_MAX`] records: the caller's bug.
pub fn encode_events(out: &mut Vec<u8>, mut head: EventsHead, records: &[EventRecord]) -> usize {
    assert!(records.len() <= FRAME_EVENTS_MAX, "{} records in one frame", records.len());
    head.count = U32::new(u32::try_from(records.len()).unwrap_or(u32::MAX));
    let mut frame = FrameWriter::new(out, Kind::Events, 0);
    frame.put(&head).put(records);
    frame.finish()
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct NamedHead {
    tenant_len: u8,
    topic_len: u8,
    zero: U16,
    weight: U32,
    offset_ms: I32,
}

/// One event with its names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NamedEvent<'a> {
    /// Whose event.
    pub tenant: &'a str,
    /// What about.
    pub topic: &'a str,
    /// How much it counts.
    pub weight: u32,
    /// Milliseconds from the frame's `base_ms`.
    pub offset_ms: i32,
}

/// A frame of events with inline names, all checked.
#[derive(Clone, Copy, Debug)]
pub struct EventsNamed<'a> {
    /// Sequence, base time, generation.
    pub head: &'a EventsHead,
    /// Their times.
    pub span: Span,
    entries: &'a [u8],
}

impl<'a> EventsNamed<'a> {
    pub(crate) fn parse(body: &'a [u8]) -> Result<Self, Malformed> {
        let mut cursor = Cursor::new(body);
        let head = EventsHead::parse(&mut cursor)?;
        let entries = cursor.rest();
        let mut span: Option<Span> = None;
        for index in 0..head.count() {
            let (_, time_ms) = read_named(&mut cursor, index, head.base_ms())?;
            span = Some(Span::around(span, time_ms));
        }
        cursor.end()?;
        let base = Span { min_ms: head.base_ms(), max_ms: head.base_ms() };
        Ok(Self { head, span: span.unwrap_or(base), entries })
    }

    /// The events in their order.
    pub fn iter(&self) -> impl Iterator<Item = NamedEvent<'a>> + Clone + use<'a> {
        let mut cursor = Cursor::new(self.entries);
        let base_ms = self.head.base_ms();
        // The parse has read every entry once, so reading them again cannot fail.
        (0..self.head.count()).map_while(move |index| {
            read_named(&mut cursor, index, base_ms).ok().map(|(event, _)| event)
        })
    }
}

fn read_named<'a>(
    cursor: &mut Cursor<'a>,
    index: u32,
    base_ms: u64,
) -> Result<(NamedEvent<'a>, u64), Malformed> {
    let head: &NamedHead = cursor.view("a named event")?;
    if head.zero.get() != 0 {
        let got = u64::from(head.zero.get());
        return Err(Malformed::Entry { what: "reserved", index, got, min: 0, max: 0 });
    }
    let time_ms = check_event(index, base_ms, head.weight.get(), head.offset_ms.get())?;
    let mut name = |len, what| {
        check_name(cursor.bytes(usize::from(len), what)?)
            .map_err(|source| Malformed::Name { index, source })
    };
    let tenant = name(head.tenant_len, "a tenant name")?;
    let topic = name(head.topic_len, "a topic name")?;
    let (weight, offset_ms) = (head.weight.get(), head.offset_ms.get());
    Ok((NamedEvent { tenant, topic, weight, offset_ms }, time_ms))
}

/// Writes an EVENTS_NAMED frame event by event.
#[derive(Debug)]
pub struct NamedWriter<'a> {
    frame: FrameWriter<'a>,
    count: u32,
}

impl<'a> NamedWriter<'a> {
    /// Starts the frame.
    pub fn new(out: &'a mut Vec<u8>, head: EventsHead) -> Self {
        let mut frame = FrameWriter::new(out, Kind::EventsNamed, 0);
        frame.put(&head);
        Self { frame, count: 0 }
    }

    /// Appends one event.
    ///
    /// # Errors
    /// When a name breaks the rule for names.
    pub fn push(&mut self, event: NamedEvent<'_>) -> Result<(), crate::NameError> {
        check_name(event.tenant.as_bytes())?;
        check_name(event.topic.as_bytes())?;
        let head = NamedHead {
            tenant_len: u8::try_from(event.tenant.len()).unwrap_or(u8::MAX),
            topic_len: u8::try_from(event.topic.len()).unwrap_or(u8::MAX),
            zero: U16::ZERO,
            weight: U32::new(event.weight),
            offset_ms: I32::new(event.offset_ms),
        };
        self.frame.put(&head).put(event.tenant.as_bytes()).put(event.topic.as_bytes());
        self.count += 1;
        Ok(())
    }

    /// Bytes of the frame so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.frame.len()
    }

    /// Whether no event is in it yet.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Completes the frame. Returns its length in bytes.
    pub fn finish(mut self) -> usize {
        EventsHead::set_count(self.frame.body_mut(), self.count);
        self.frame.finish()
    }
}

const _: () = assert!(size_of::<EventRecord>() == 24);
const _: () = assert!(size_of::<EventsHead>() == 24);
const _: () = assert!(size_of::<NamedHead>() == 12);
