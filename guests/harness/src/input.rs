//! What a host writes into the buffer (`docs/programs.md`).

/// A window to be summed up.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// Topics in the window.
    pub distinct: u32,
    /// Length of the window.
    pub window_ms: u32,
    /// Length of the recent span.
    pub recent_ms: u32,
    /// The topics shown.
    pub rows: Vec<Row>,
}

/// One topic.
#[derive(Clone, Debug, Default)]
pub struct Row {
    /// Its id.
    pub topic: u64,
    /// Its weight in the window.
    pub count: u64,
    /// Its weight in the recent span.
    pub recent: u64,
    /// How far it is from what was to be expected, in thousandths.
    pub score_milli: i64,
    /// 0 new, 1 rising, 2 steady, 3 falling.
    pub trend: u8,
    /// Its name.
    pub name: String,
    /// A message about it.
    pub sample: String,
}

/// One event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its topic's id.
    pub topic: u64,
    /// How much it counts.
    pub weight: u32,
    /// Milliseconds from the base time.
    pub offset_ms: i32,
}

impl View {
    /// The bytes; their length is the offset of the output.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let mut rows = Vec::new();
        for row in &self.rows {
            rows.extend(row.bytes());
        }
        let mut bytes = Vec::new();
        let total: u64 = self.rows.iter().fold(0, |sum, row| sum.saturating_add(row.count));
        for field in [1_442_016_000_000, total, total] {
            bytes.extend(field.to_le_bytes());
        }
        let out = 48 + size(rows.len());
        let count = size(self.rows.len());
        for field in [self.distinct, count, self.window_ms, self.recent_ms, 1, out] {
            bytes.extend(field.to_le_bytes());
        }
        bytes.extend(rows);
        bytes
    }
}

impl Row {
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for field in [self.topic, self.count, self.count, self.recent, 0] {
            bytes.extend(field.to_le_bytes());
        }
        bytes.extend(self.score_milli.to_le_bytes());
        bytes.push(self.trend);
        bytes.push(u8::try_from(self.name.len()).expect("a name has at most 255 bytes"));
        bytes.extend(u16::try_from(self.sample.len()).expect("a sample is short").to_le_bytes());
        let len = 56 + self.name.len() + self.sample.len();
        bytes.extend(size(len.next_multiple_of(8)).to_le_bytes());
        bytes.extend(self.name.bytes().chain(self.sample.bytes()));
        bytes.resize(len.next_multiple_of(8), 0);
        bytes
    }
}

/// The bytes of texts; their length is the offset of the output.
#[must_use]
pub fn texts<T: AsRef<[u8]>>(texts: &[T]) -> Vec<u8> {
    let mut bytes = vec![0; 16];
    for text in texts {
        let text = text.as_ref();
        bytes.extend(size(text.len()).to_le_bytes());
        bytes.extend(1_u32.to_le_bytes());
        bytes.extend([0; 8]);
        bytes.extend(text);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
    }
    let out = size(bytes.len());
    bytes[8..12].copy_from_slice(&size(texts.len()).to_le_bytes());
    bytes[12..16].copy_from_slice(&out.to_le_bytes());
    bytes
}

/// The bytes of events.
#[must_use]
pub fn events(base_ms: u64, events: &[Event]) -> Vec<u8> {
    let mut bytes = Vec::from(base_ms.to_le_bytes());
    bytes.extend(size(events.len()).to_le_bytes());
    bytes.extend([0; 4]);
    for event in events {
        bytes.extend(event.topic.to_le_bytes());
        bytes.extend(event.weight.to_le_bytes());
        bytes.extend(event.offset_ms.to_le_bytes());
    }
    bytes
}

fn size(size: usize) -> u32 {
    u32::try_from(size).expect("a buffer is small")
}
