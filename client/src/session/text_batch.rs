//! Text events on their way, in one piece of memory.
//!
//! ```text
//! bytes    tenant text tenant text …
//! entries  lengths, weight, offset of each, in that order
//! ```

use trendsrv_proto::{EventsHead, TextEvent, TextWriter};

/// The texts of one frame.
#[derive(Debug, Default)]
pub(super) struct TextBatch {
    bytes: String,
    entries: Vec<Entry>,
    frame_bytes: usize,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    tenant_len: usize,
    text_len: usize,
    weight: u32,
    offset_ms: i32,
}

impl TextBatch {
    /// Appends a text whose tenant and message were checked.
    pub(super) fn push(&mut self, event: &TextEvent<'_>) {
        self.frame_bytes += event.bytes();
        self.bytes.push_str(event.tenant);
        self.bytes.push_str(event.text);
        self.entries.push(Entry {
            tenant_len: event.tenant.len(),
            text_len: event.text.len(),
            weight: event.weight,
            offset_ms: event.offset_ms,
        });
    }

    /// Texts in it.
    pub(super) const fn len(&self) -> usize {
        self.entries.len()
    }

    /// Bytes they take in a frame.
    pub(super) const fn frame_bytes(&self) -> usize {
        self.frame_bytes
    }

    /// Writes the frame behind what `out` holds.
    pub(super) fn encode(&self, out: &mut Vec<u8>, head: EventsHead) {
        let mut writer = TextWriter::new(out, head);
        for event in self.iter() {
            writer.push(event).expect("names and texts were checked when they came in");
        }
        writer.finish();
    }

    fn iter(&self) -> impl Iterator<Item = TextEvent<'_>> {
        let mut rest = self.bytes.as_str();
        self.entries.iter().map(move |entry| {
            let (tenant, behind) = rest.split_at(entry.tenant_len);
            let (text, behind) = behind.split_at(entry.text_len);
            rest = behind;
            TextEvent { tenant, text, weight: entry.weight, offset_ms: entry.offset_ms }
        })
    }
}
