//! Reads a shard's log front to back, and decides what its end means.
//!
//! ```text
//!   segments ─▶ commits ─▶ records, each of which must be the expected one
//!                  └─ the first that is not ─▶ known to be durable? ─▶ damaged: refuse
//!                                                                  └▶ torn tail: cut, and said
//! ```
//!
//! Known to be durable is what a mark says (superblock, snapshot, the records themselves), and
//! whatever lies before a later commit: one write is in flight at most, so that commit could not
//! begin before.
//!
//! Invariant: reads only. Cutting is what the next segment's first LSN does: records of an older
//! segment from there on are not read any more.

use super::block::{BLOCK, BlockError, Identity};
use super::chunk::ChunkReader;
use super::commit::{CommitHead, HEAD};
use super::disk::Disk;
use super::error::{Damage, StoreError};
use super::layout::ShardFile;
use super::segment::{self, SegmentHeader};
use trendsrv_proto::limits::VNODES;
use trendsrv_shard::log::{Expect, Parsed, RECORD_BYTES_MAX, Record, RecordHead, parse};

/// See the module header.
#[derive(Debug)]
pub(super) struct LogReader<D> {
    disk: D,
    identity: Identity,
    segments: Vec<SegmentFile>,
    /// Which of them is read, and where.
    at: usize,
    chunks: ChunkReader<D>,
    commit: Option<OpenCommit>,
    expect: Expect,
    current: Option<RecordHead>,
    known: u64,
    /// The log ended in good order behind this record.
    clean_at: Option<u64>,
    ended: bool,
    notes: Vec<String>,
    torn: Option<TornTail>,
    read: ReadCounts,
}

/// A segment whose header is good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SegmentFile {
    pub(super) path: String,
    pub(super) header: SegmentHeader,
    pub(super) bytes: u64,
}

#[derive(Debug)]
struct OpenCommit {
    head: CommitHead,
    offset: u64,
    left: usize,
}

/// An end that a crash explains.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct TornTail {
    /// The segment.
    pub path: String,
    /// Where in it.
    pub offset: u64,
    /// Bytes that are not read.
    pub bytes: u64,
    /// The record that should stand there.
    pub lsn: u64,
    /// What stands there.
    pub what: String,
}

impl std::fmt::Display for TornTail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { path, offset, bytes, lsn, what } = self;
        write!(
            f,
            "{path}: the log ends with an unfinished write at offset {offset}: {bytes} bytes are \
             left out from LSN {lsn} on, none of which was acknowledged as durable ({what})"
        )
    }
}

/// What was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ReadCounts {
    pub(super) commits: u64,
    pub(super) records: u64,
    pub(super) events: u64,
    pub(super) bytes: u64,
}

/// What is known of a log before it is read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    /// The first record that is needed.
    pub(super) replay_from: u64,
    /// The last one known to be durable.
    pub(super) durable: u64,
    /// The log ended in good order behind this record.
    pub(super) clean_at: Option<u64>,
}

impl<D: Disk> LogReader<D> {
    /// Finds the segments that hold the needed records.
    pub(super) fn open(
        disk: &D,
        dir: &str,
        identity: Identity,
        known: Known,
    ) -> Result<Self, StoreError> {
        let segments = needed_segments(disk, dir, &identity, known.replay_from)?;
        let Some(first) = segments.first() else {
            return Err(StoreError::damaged(dir, 0, "it has no segment of the log"));
        };
        let SegmentHeader { first_lsn: lsn, prev_crc, .. } = first.header;
        let mut chunks = ChunkReader::open(disk, &first.path)?;
        chunks.skip(BLOCK as u64);
        Ok(Self {
            disk: disk.clone(),
            identity,
            at: 0,
            chunks,
            commit: None,
            expect: Expect { generation: identity.generation, lsn, prev_crc },
            current: None,
            known: known.durable.max(known.replay_from - 1),
            clean_at: known.clean_at,
            ended: false,
            notes: Vec::new(),
            torn: None,
            read: ReadCounts::default(),
            segments,
        })
    }

    /// Goes to the next record; `false` at the end of the log.
    pub(super) fn advance(&mut self) -> Result<bool, StoreError> {
        if let Some(head) = self.current.take() {
            self.chunks.skip(head.len as u64);
            self.expect = Expect::after(&head);
        }
        loop {
            if self.ended {
                return Ok(false);
            }
            let cut = self.next_begins();
            match &self.commit {
                // A start before this one has cut the commit here.
                Some(commit) if commit.left > 0 && cut => self.next_segment()?,
                Some(commit) if commit.left > 0 => {
                    if self.read_record()? {
                        return Ok(true);
                    }
                }
                Some(_) => self.end_commit()?,
                None if cut => self.next_segment()?,
                None => self.begin_commit()?,
            }
        }
    }

    /// The head of the record that [`Self::advance`] has found.
    pub(super) const fn head(&self) -> Option<&RecordHead> {
        self.current.as_ref()
    }

    /// The record that [`Self::advance`] has found.
    pub(super) fn record(&self) -> Option<(RecordHead, Record<'_>)> {
        let head = self.current.as_ref()?;
        match parse(self.chunks.filled().get(..head.len)?, &self.expect) {
            Parsed::Record(head, record) => Some((head, record)),
            Parsed::Padding | Parsed::Bad(_) => None,
        }
    }

    /// The last record there is, and its checksum.
    pub(super) const fn last(&self) -> (u64, u32) {
        (self.expect.lsn - 1, self.expect.prev_crc)
    }

    /// The segments that hold needed records, oldest first.
    pub(super) fn segments(&self) -> &[SegmentFile] {
        &self.segments
    }

    /// What was strange and is healed.
    pub(super) fn notes(&self) -> &[String] {
        &self.notes
    }

    pub(super) const fn torn(&self) -> Option<&TornTail> {
        self.torn.as_ref()
    }

    pub(super) const fn counts(&self) -> ReadCounts {
        self.read
    }

    /// Bytes of all segments, and how many of them lie behind.
    pub(super) fn progress(&self) -> (u64, u64) {
        let behind: u64 = self.segments[..self.at].iter().map(|segment| segment.bytes).sum();
        let all = self.segments.iter().map(|segment| segment.bytes).sum();
        (if self.ended { all } else { behind + self.chunks.offset() }, all)
    }

    /// Reads a record of the commit; `false` when the log ends here.
    fn read_record(&mut self) -> Result<bool, StoreError> {
        let left = self.commit.as_ref().map_or(0, |commit| commit.left);
        let len = self.chunks.fill(left.min(4))?.first_chunk::<4>();
        let len = len.map_or(0, |len| u32::from_le_bytes(*len) as usize);
        let bytes = self.chunks.fill(len.clamp(1, RECORD_BYTES_MAX).min(left))?;
        let bytes = &bytes[..bytes.len().min(left)];
        let what = match parse(bytes, &self.expect) {
            Parsed::Record(head, record) => {
                self.read.records += 1;
                self.read.events += record.events();
                self.read.bytes += head.len as u64;
                self.known = self.known.max(head.durable.min(head.lsn - 1));
                if let Some(commit) = &mut self.commit {
                    commit.left -= head.len;
                }
                self.current = Some(head);
                return Ok(true);
            }
            Parsed::Padding => "the commit ends before its last record".to_owned(),
            Parsed::Bad(bad) => bad.to_string(),
        };
        let vnodes = vnodes_of(bytes);
        self.end_at(what, vnodes)?;
        Ok(false)
    }

    /// A commit's records were read: the padding behind them, and whether all are there.
    fn end_commit(&mut self) -> Result<(), StoreError> {
        let Some(commit) = self.commit.take() else { return Ok(()) };
        let (lsn, crc) = self.last();
        if (lsn, crc) != (commit.head.last_lsn, commit.head.last_crc) {
            let what = format!(
                "the commit at offset {} ends with LSN {lsn}, and its head says {}",
                commit.offset, commit.head.last_lsn
            );
            return Err(StoreError::damaged(self.chunks.path(), commit.offset, what));
        }
        let offset = self.chunks.offset();
        let padding = self.chunks.offset().next_multiple_of(BLOCK as u64) - offset;
        let count = usize::try_from(padding).unwrap_or(0);
        let zeros = self.chunks.fill(count)?;
        let zeros = zeros[..count.min(zeros.len())].iter().all(|byte| *byte == 0);
        if !zeros {
            let path = self.chunks.path();
            self.notes.push(format!(
                "{path}: bytes behind offset {offset} should be zero and are not; no record is \
                 there, so nothing is lost"
            ));
        }
        self.chunks.skip(padding);
        Ok(())
    }

    /// At a block's boundary: the next commit, or the end.
    fn begin_commit(&mut self) -> Result<(), StoreError> {
        let offset = self.chunks.offset();
        let room = self.chunks.bytes().saturating_sub(offset);
        let found = CommitHead::decode(self.chunks.fill(HEAD)?, &self.identity);
        let number = self.segments[self.at].header.number;
        let what = match found {
            None if room == 0 => "the segment ends".to_owned(),
            None => "no commit begins here".to_owned(),
            Some(head) if head.segment != number => {
                format!("a commit of segment {} stands here, from before", head.segment)
            }
            Some(head) if head.first_lsn != self.expect.lsn => {
                format!("a commit begins with LSN {}, not {}", head.first_lsn, self.expect.lsn)
            }
            Some(head) if head.prev_crc != self.expect.prev_crc => {
                "a commit follows another record than the one before".to_owned()
            }
            Some(head) if head.bytes > room.saturating_sub(HEAD as u64) => {
                "a commit is longer than its segment".to_owned()
            }
            Some(head) => {
                self.read.commits += 1;
                let left = usize::try_from(head.bytes).unwrap_or(usize::MAX);
                self.commit = Some(OpenCommit { head, offset, left });
                self.chunks.skip(HEAD as u64);
                return Ok(());
            }
        };
        self.end_at(what, None)
    }

    /// Whether the expected record is the next segment's first.
    fn next_begins(&self) -> bool {
        let next = self.segments.get(self.at + 1);
        next.is_some_and(|next| next.header.first_lsn == self.expect.lsn)
    }

    fn next_segment(&mut self) -> Result<(), StoreError> {
        self.commit = None;
        self.at += 1;
        let next = &self.segments[self.at];
        if next.header.prev_crc != self.expect.prev_crc {
            let what = "its first record follows another one than the last of the segment before";
            return Err(StoreError::damaged(&next.path, 0, what));
        }
        self.chunks = ChunkReader::open(&self.disk, &next.path)?;
        self.chunks.skip(BLOCK as u64);
        Ok(())
    }

    /// The expected record is not here: the end of the log, or damage.
    fn end_at(&mut self, what: String, vnodes: Option<(u16, u16)>) -> Result<(), StoreError> {
        let (lsn, offset) = (self.expect.lsn, self.chunks.offset());
        if self.clean_at == Some(lsn - 1) {
            // Whoever writes on takes this word back first.
            self.ended = true;
            return Ok(());
        }
        let path = self.chunks.path().to_owned();
        // What there is of an unfinished write: the commit's rest, or blocks that hold anything.
        let bytes = match &self.commit {
            Some(commit) => commit.left as u64,
            None => self.strange_bytes()?,
        };
        let later = self.later_commit()?;
        let known = self.known.max(later);
        if lsn <= known {
            let lsns = Some((lsn, known));
            let damage = Damage { path, offset, what, lsns, vnodes, concerned: None };
            return Err(StoreError::Damaged(damage));
        }
        if bytes > 0 {
            self.torn = Some(TornTail { path, offset, bytes, lsn, what });
        }
        self.ended = true;
        Ok(())
    }

    /// Bytes of blocks from here on that are neither zero nor a commit from before.
    fn strange_bytes(&mut self) -> Result<u64, StoreError> {
        let offset = self.chunks.offset();
        let mut chunks = ChunkReader::open(&self.disk, self.chunks.path())?;
        chunks.skip(offset);
        while chunks.offset() - offset < RECORD_BYTES_MAX as u64 {
            let block = chunks.fill(BLOCK)?;
            let block = &block[..block.len().min(BLOCK)];
            let zeros = block.iter().all(|byte| *byte == 0);
            if zeros || CommitHead::decode(block, &self.identity).is_some() {
                break;
            }
            chunks.skip(BLOCK as u64);
        }
        Ok(chunks.offset() - offset)
    }

    /// The last record before the last commit that stands behind this place; 0 when none does.
    fn later_commit(&self) -> Result<u64, StoreError> {
        let mut known = 0;
        let mut from = self.chunks.offset().next_multiple_of(BLOCK as u64);
        for segment in &self.segments[self.at..] {
            let mut chunks = ChunkReader::open(&self.disk, &segment.path)?;
            chunks.skip(from);
            while chunks.offset() < chunks.bytes() {
                let head = CommitHead::decode(chunks.fill(BLOCK)?, &self.identity);
                if let Some(head) = head
                    && head.segment == segment.header.number
                    && head.first_lsn > self.expect.lsn
                {
                    known = known.max(head.first_lsn - 1);
                }
                chunks.skip(BLOCK as u64);
            }
            from = BLOCK as u64;
        }
        Ok(known)
    }
}

/// The segments from the one with the first needed record on, each with a good header.
fn needed_segments<D: Disk>(
    disk: &D,
    dir: &str,
    identity: &Identity,
    replay_from: u64,
) -> Result<Vec<SegmentFile>, StoreError> {
    let names = disk.list(dir).map_err(StoreError::io("list", dir))?;
    let mut firsts: Vec<(u64, String)> = Vec::new();
    for name in names {
        if let ShardFile::Segment(first_lsn) = ShardFile::of(&name) {
            firsts.push((first_lsn, format!("{dir}/{name}")));
        }
    }
    firsts.sort_unstable();
    let Some(start) = firsts.iter().rposition(|(first_lsn, _)| *first_lsn <= replay_from) else {
        let what = match firsts.first() {
            Some((first, path)) => format!(
                "the log is needed from LSN {replay_from} on, and begins with {first} ({path})"
            ),
            None => format!("the log is needed from LSN {replay_from} on, and no segment is there"),
        };
        return Err(StoreError::damaged(dir, 0, what));
    };
    let mut segments = Vec::new();
    for (first_lsn, path) in firsts.drain(start..) {
        let mut chunks = ChunkReader::open(disk, &path)?;
        let bytes = chunks.bytes();
        let header = match SegmentHeader::decode(chunks.fill(BLOCK)?, identity) {
            Ok(header) => header,
            Err(BlockError::Newer { found }) => {
                return Err(StoreError::Newer { path, found, known: segment::VERSION });
            }
            Err(error) => {
                let mut damage = StoreError::damaged(&path, 0, format!("its header: {error}"));
                if let StoreError::Damaged(damage) = &mut damage {
                    damage.concerned = Some(format!("records from LSN {first_lsn} on"));
                }
                return Err(damage);
            }
        };
        if header.first_lsn != first_lsn {
            let what = format!("its header says that it begins with LSN {}", header.first_lsn);
            return Err(StoreError::damaged(&path, 0, what));
        }
        segments.push(SegmentFile { path, header, bytes });
    }
    Ok(segments)
}

/// The vnodes of a record that cannot be read, if its head may be right.
fn vnodes_of(bytes: &[u8]) -> Option<(u16, u16)> {
    let vnode = |at: usize| Some(u16::from_le_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]));
    let (low, high) = (vnode(6)?, vnode(8)?);
    let may_be = low <= high && usize::from(high) < VNODES && (low, high) != (0, 0);
    may_be.then_some((low, high))
}
