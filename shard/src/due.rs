//! Whether a part comes in its turn, and what of it an earlier owner has counted.
//!
//! Owns the answers to parts out of turn. Never touches what windows count.
//!
//! After the number of shards has changed, a frame may come again whose events lay with several
//! owners, of which some had applied it and others not: each event is passed over when the owner
//! it had then was further than this frame.

use crate::effect::{Effects, Refused};
use crate::limits::SEQ_MAX;
use crate::marks::{Sequence, Turn};
use crate::memory::Memory;
use crate::programs::{Programs, Text};
use crate::shard::{Origin, Part, Shard, TextPart, fenced};
use trendsrv_proto::{EventRecord, Refusal};

/// A part whose turn it is.
pub(crate) struct Due {
    /// Its place in its producer's sequence, when earlier owners may have counted some of it.
    sift: Option<Sequence>,
}

impl<P: Programs, M: Memory> Shard<P, M> {
    /// Whether a part comes in its turn; one that does not is answered here.
    pub(crate) fn due(&mut self, from: &Origin, fx: &mut Effects) -> Option<Due> {
        let Some(at) = from.sequence else { return Some(Due { sift: None }) };
        if !(1..=SEQ_MAX).contains(&at.seq) {
            self.tell_refused(from, beyond(at.seq), fx);
            return None;
        }
        match self.marks.turn(&at) {
            Turn::Apply => return Some(Due { sift: None }),
            Turn::Sift => return Some(Due { sift: Some(at) }),
            Turn::Duplicate => self.accept_duplicate(from, fx),
            Turn::Gap { expected } => {
                let message = format!("frame {expected} was refused and must come again first");
                let expected_seq = Some(expected);
                let why = Refused { expected_seq, ..Refused::new(Refusal::SeqGap, message) };
                self.tell_refused(from, why, fx);
            }
            Turn::Fenced { epoch } => self.tell_refused(from, fenced(epoch), fx),
            Turn::Unknown => self.tell_refused(from, unknown(at.seq), fx),
        }
        None
    }

    /// The part without the events that an earlier owner has counted, and how many those are.
    pub(crate) fn sift<'a>(
        &self,
        due: &Due,
        part: &Part<'a>,
        kept: &'a mut Vec<EventRecord>,
    ) -> (Part<'a>, u64) {
        let Some(at) = &due.sift else { return (*part, 0) };
        let new = |record: &&EventRecord| !self.marks.counted_before(at, record.tenant());
        kept.extend(part.records.iter().filter(new));
        let before = part.records.len() - kept.len();
        (Part { records: kept, ..*part }, before as u64)
    }

    /// The texts without those that an earlier owner has counted, and how many those are.
    pub(crate) fn sift_texts<'a>(
        &self,
        due: &Due,
        part: &TextPart<'a>,
        kept: &'a mut Vec<Text<'a>>,
    ) -> (TextPart<'a>, u64) {
        let Some(at) = &due.sift else { return (*part, 0) };
        let new = |text: &&Text<'_>| !self.marks.counted_before(at, text.tenant);
        kept.extend(part.texts.iter().filter(new));
        let before = part.texts.len() - kept.len();
        (TextPart { texts: kept, ..*part }, before as u64)
    }
}

/// The refusal of a frame with a number that no sequence reaches.
fn beyond(seq: u64) -> Refused {
    let message = format!("frame number {seq}: 1 to {SEQ_MAX} are possible, one by one");
    Refused::new(Refusal::Malformed, message)
}

/// The refusal of a frame whose producer's mark was given up.
fn unknown(seq: u64) -> Refused {
    let message = format!(
        "this producer's marks were given up to make room, so whether frame {seq} was counted is \
         unknown: begin a new epoch at frame 1"
    );
    Refused::new(Refusal::ProducerUnknown, message)
}
