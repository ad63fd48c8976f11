//! The section of marks: which frames were applied, and what else belongs to the whole shard.
//!
//! ```text
//! marks     | producer, lane, epoch, next, …, how many old | …      old | shards, shard, next | …
//! given up  | the words of the filter of lanes whose marks were given up, none while none were
//! ```

use super::section::{Kind, open, write};
use super::versions::VERSION_MAX;
use super::write::believable;
use super::{MarksFacts, SnapshotError};
use crate::marks::{GivenUp, Lane, MarkRow, OldMark, OldOwner, Sequence};
use crate::memory::Memory;
use crate::programs::Programs;
use crate::shard::Shard;
use rkyv::{Archive, Serialize};
use trendsrv_proto::limits::{SHARDS_MAX, TIME_MS_MAX};

#[derive(Archive, Serialize)]
struct Marks {
    lsn: u64,
    version_floor: u64,
    event_time_max_ms: u64,
    evicted: u64,
    given_up: Vec<u64>,
    rows: Vec<Row>,
    old: Vec<OldRow>,
}

#[derive(Archive, Serialize)]
struct Row {
    producer: u64,
    next: u64,
    used: u64,
    epoch: u32,
    lane: u16,
    old: u16,
    known: u8,
}

#[derive(Archive, Serialize)]
struct OldRow {
    next: u64,
    shards: u16,
    shard: u16,
}

/// Checks a section of marks and says what it holds.
///
/// # Errors
/// When it is damaged, or newer than this program.
pub fn check_marks(bytes: &[u8]) -> Result<MarksFacts, SnapshotError> {
    read(bytes, &mut |_| ())
}

impl<P: Programs, M: Memory> Shard<P, M> {
    /// Appends the section of marks to `out` and returns the LSN it is of.
    ///
    /// The marks come after the vnodes: a part that is applied meanwhile and not logged is then
    /// never in a vnode's section and missing in that of the marks.
    pub fn snapshot_marks(&self, out: &mut Vec<u8>) -> u64 {
        let mut marks = Marks {
            lsn: self.snapshot_lsn(),
            version_floor: believable(self.version_floor),
            event_time_max_ms: self.stats.event_time_max_ms,
            evicted: believable(self.marks.evicted),
            given_up: self.marks.given_up().words().to_vec(),
            rows: Vec::with_capacity(self.marks.len()),
            old: Vec::new(),
        };
        let mut rows: Vec<MarkRow> = self.marks.dump().collect();
        // Longest unused first: they come back in this order, and leave in it when room is needed.
        rows.sort_unstable_by_key(|row| row.used);
        for row in rows {
            let old = u16::try_from(row.old.len()).expect("a lane has few earlier owners");
            marks.old.extend(row.old.iter().map(|old| OldRow {
                next: believable(old.next),
                shards: old.owner.shards,
                shard: old.owner.shard,
            }));
            let known = row.known && self.is_whole(&row);
            marks.evicted = marks.evicted.max(u64::from(!known));
            let MarkRow { producer, next, used, epoch, lane, .. } = row;
            let (next, used) = (believable(next), believable(used));
            marks.rows.push(Row { producer, next, used, epoch, lane, old, known: known.into() });
        }
        write(Kind::Marks, &marks, out);
        marks.lsn
    }

    /// Takes a section of marks in: this shard's own, or those of an owner under an earlier map
    /// whose tenants are this shard's now. Returns how many there were.
    ///
    /// # Errors
    /// When the section is damaged or newer than this program; nothing of it is restored then.
    pub fn restore_marks(
        &mut self,
        bytes: &[u8],
        from: Option<OldOwner>,
    ) -> Result<usize, SnapshotError> {
        let facts = check_marks(bytes)?;
        let marks = &mut self.marks;
        read(bytes, &mut |row| marks.restore(row, from))?;
        let section: &ArchivedMarks = open(Kind::Marks, bytes)?;
        self.marks.restore_given_up(section.evicted.to_native(), given_up(section)?, from);
        self.version_floor = self.version_floor.max(section.version_floor.to_native());
        let event_time_ms = section.event_time_max_ms.to_native();
        self.stats.event_time_max_ms = self.stats.event_time_max_ms.max(event_time_ms);
        Ok(facts.marks)
    }

    /// Whether all that was applied of a lane is in the log or in a snapshot. What was applied
    /// when there was no room for either may be in some vnodes' sections and not in others: after a
    /// crash nobody knows, and its producer is told so.
    fn is_whole(&self, row: &MarkRow) -> bool {
        let lane = Lane { producer: row.producer, lane: row.lane, anonymous: false };
        let any = Sequence { lane, epoch: row.epoch, seq: 0 };
        self.marks.unlogged(&any) <= self.log.unlogged_kept
    }

    /// The last record that is in all there is now.
    pub(super) fn snapshot_lsn(&self) -> u64 {
        self.log.writer.as_ref().map_or(0, |log| log.last_lsn())
    }
}

fn read(bytes: &[u8], take: &mut dyn FnMut(MarkRow)) -> Result<MarksFacts, SnapshotError> {
    let section: &ArchivedMarks = open(Kind::Marks, bytes)?;
    if section.version_floor.to_native() > VERSION_MAX
        || section.event_time_max_ms.to_native() > TIME_MS_MAX
        || section.evicted.to_native() > VERSION_MAX
    {
        return Err(SnapshotError::Value { what: "its version, time or count cannot be" });
    }
    given_up(section)?;
    let mut old = section.old.iter();
    for row in section.rows.iter() {
        let count = usize::from(row.old.to_native());
        let old: Vec<OldMark> = old.by_ref().take(count).map(old_mark).collect::<Result<_, _>>()?;
        let uses = row.used.to_native() <= VERSION_MAX;
        if old.len() < count || row.known > 1 || !uses || !is_count(row.next.to_native()) {
            return Err(SnapshotError::Value { what: "a mark that cannot be" });
        }
        take(MarkRow {
            producer: row.producer.to_native(),
            lane: row.lane.to_native(),
            epoch: row.epoch.to_native(),
            next: row.next.to_native(),
            known: row.known == 1,
            used: row.used.to_native(),
            old,
        });
    }
    match old.next() {
        None => Ok(MarksFacts { lsn: section.lsn.to_native(), marks: section.rows.len() }),
        Some(_) => Err(SnapshotError::Value { what: "more earlier owners than marks have" }),
    }
}

fn given_up(section: &ArchivedMarks) -> Result<GivenUp, SnapshotError> {
    let words = section.given_up.iter().map(|word| word.to_native()).collect();
    let wrong = SnapshotError::Value { what: "a filter of lanes that cannot be" };
    GivenUp::from_words(words).ok_or(wrong)
}

fn old_mark(row: &ArchivedOldRow) -> Result<OldMark, SnapshotError> {
    let owner = OldOwner { shards: row.shards.to_native(), shard: row.shard.to_native() };
    let next = row.next.to_native();
    let exists = owner.shard < owner.shards && usize::from(owner.shards) <= SHARDS_MAX;
    if !exists || !is_count(next) {
        return Err(SnapshotError::Value { what: "a mark of an earlier owner that cannot be" });
    }
    Ok(OldMark { owner, next })
}

/// Sequence numbers begin at 1 and do not come near the end.
const fn is_count(next: u64) -> bool {
    next >= 1 && next <= VERSION_MAX
}
