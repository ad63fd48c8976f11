//! From what was read to a server that writes.
//!
//! ```text
//!   same generation: sync what was read ─▶ remove leftovers ─▶ a fresh segment ─▶ superblock
//!   a new one:       its directory ─▶ a full snapshot ─▶ manifest ─▶ a segment ─▶ superblock
//!                    (nothing of it holds before the directory's manifest says so)
//! ```

use super::block::Identity;
use super::chore::{Mark, Section, SectionOf, Segment};
use super::chores::{Chores, ChoresStart, KeptSegment};
use super::committer::{Committer, CommitterStart};
use super::disk::Disk;
use super::error::StoreError;
use super::layout::{ShardFile, shard_dir, snapshot_name, spare_name};
use super::log_reader::LogReader;
use super::manifest::ShardManifest;
use super::old_log::OldLog;
use super::recover::{RecoveryFacts, ShardRecovery};
use super::segment::SegmentHeader;
use super::snapshot_file::SnapshotWriter;
use super::spares::Spares;
use super::superblock::Superblock;
use trendsrv_proto::limits::VNODES;
use trendsrv_shard::log::LogStart;
use trendsrv_shard::{Memory, Programs, Shard};

/// A shard that has read all it needs.
#[derive(Debug)]
pub struct Recovered<D> {
    recovery: ShardRecovery<D>,
    facts: RecoveryFacts,
    own: Option<OwnLog>,
}

/// A shard whose log may be written.
#[derive(Debug)]
pub struct Opened<D> {
    /// Says what to write, on the shard's thread.
    pub committer: Committer,
    /// Does the blocking work, on a helper's.
    pub chores: Chores<D>,
    /// What was found.
    pub facts: RecoveryFacts,
}

/// The log that goes on.
#[derive(Debug)]
struct OwnLog {
    superblock: Superblock,
    manifest: ShardManifest,
    last_lsn: u64,
    last_crc: u32,
    /// Segments that hold needed records.
    segments: Vec<KeptSegment>,
    number: u64,
}

impl<D: Disk> Recovered<D> {
    pub(super) fn new(
        recovery: ShardRecovery<D>,
        mut facts: RecoveryFacts,
        own: Option<(OldLog<D>, LogReader<D>)>,
    ) -> Self {
        let own = own.map(|(files, reader)| {
            let (last_lsn, last_crc) = reader.last();
            let kept =
                |segment: &&super::log_reader::SegmentFile| segment.header.first_lsn <= last_lsn;
            let segments = reader.segments().iter().filter(kept).map(|segment| KeptSegment {
                path: segment.path.clone(),
                first_lsn: segment.header.first_lsn,
                bytes: segment.bytes,
            });
            let numbers = reader.segments().iter().map(|segment| segment.header.number);
            OwnLog {
                last_lsn,
                last_crc,
                segments: segments.collect(),
                number: numbers.max().unwrap_or(0),
                superblock: files.superblock,
                manifest: files.manifest,
            }
        });
        facts.last_lsn = own.as_ref().map_or(0, |own| own.last_lsn);
        Self { recovery, facts, own }
    }

    /// What was found.
    #[must_use]
    pub const fn facts(&self) -> &RecoveryFacts {
        &self.facts
    }

    /// Begins to write, after `Store::prepare`, and starts the shard's log.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn begin<P: Programs, M: Memory>(
        self,
        shard: &mut Shard<P, M>,
    ) -> Result<Opened<D>, StoreError> {
        let Self { recovery, facts, own } = self;
        let (start, chores) = match own {
            Some(own) => go_on(&recovery, own)?,
            None => start_generation(&recovery, shard)?,
        };
        let CommitterStart { last_lsn, last_crc: prev_crc, identity, .. } = start;
        let next_lsn = last_lsn + 1;
        shard.start_log(LogStart { generation: identity.generation, next_lsn, prev_crc });
        Ok(Opened { committer: Committer::new(start), chores: Chores::new(chores), facts })
    }
}

/// The same generation goes on.
fn go_on<D: Disk>(
    recovery: &ShardRecovery<D>,
    own: OwnLog,
) -> Result<(CommitterStart, ChoresStart<D>), StoreError> {
    let (disk, segment_bytes) = (&recovery.disk, recovery.segment_bytes);
    let identity = recovery.manifest.identity(recovery.shard);
    let dir = shard_dir(identity.generation, recovery.shard);
    let OwnLog { mut superblock, manifest, last_lsn, last_crc, segments, number } = own;
    for segment in &segments {
        disk.sync(&segment.path).map_err(StoreError::sync(&segment.path))?;
    }
    let header = SegmentHeader { number: number + 1, first_lsn: last_lsn + 1, prev_crc: last_crc };
    let round = remove_leftovers(disk, &dir, &manifest, (&segments, header.first_lsn))?;
    let spares = Spares::open(disk, &dir, identity, segment_bytes)?;
    let (spares, segment) = first_segment(spares, &header)?;
    superblock.write(disk, Mark { durable: last_lsn, clean: false })?;
    let begun = Begun { identity, dir, superblock, manifest, round, spares, segments };
    Ok(begun.join(recovery, &header, segment))
}

/// A generation begins: with what the shard has, or with nothing.
fn start_generation<D: Disk, P: Programs, M: Memory>(
    recovery: &ShardRecovery<D>,
    shard: &mut Shard<P, M>,
) -> Result<(CommitterStart, ChoresStart<D>), StoreError> {
    let (disk, segment_bytes) = (&recovery.disk, recovery.segment_bytes);
    let identity = Identity {
        generation: recovery.manifest.generation + 1,
        ..recovery.manifest.identity(recovery.shard)
    };
    let dir = shard_dir(identity.generation, recovery.shard);
    disk.create_dir(&dir).map_err(StoreError::io("make", &dir))?;
    let round = if recovery.is_new() { 0 } else { 1 };
    if round > 0 {
        write_snapshot(disk, &dir, &identity, round, shard)?;
    }
    let manifest = ShardManifest::new(&identity, round, 1);
    manifest.write(disk, &dir)?;
    let spares = Spares::open(disk, &dir, identity, segment_bytes)?;
    let header = SegmentHeader { number: 1, first_lsn: 1, prev_crc: 0 };
    let (spares, segment) = first_segment(spares, &header)?;
    let mark = Mark { durable: 0, clean: false };
    let superblock = Superblock::create(disk, &dir, identity, recovery.shards, mark)?;
    let segments = Vec::new();
    let begun = Begun { identity, dir, superblock, manifest, round, spares, segments };
    Ok(begun.join(recovery, &header, segment))
}

/// A shard's directory that is ready but for what its first segment says.
struct Begun<D> {
    identity: Identity,
    dir: String,
    superblock: Superblock,
    manifest: ShardManifest,
    round: u64,
    spares: Spares<D>,
    /// Those before the first one to be written.
    segments: Vec<KeptSegment>,
}

impl<D: Disk> Begun<D> {
    /// With the segment that goes on from the record before it.
    fn join(
        mut self,
        recovery: &ShardRecovery<D>,
        header: &SegmentHeader,
        segment: Segment,
    ) -> (CommitterStart, ChoresStart<D>) {
        let (last_lsn, last_crc) = (header.first_lsn - 1, header.prev_crc);
        let (path, first_lsn) = (segment.path.to_string(), segment.first_lsn);
        self.segments.push(KeptSegment { path, first_lsn, bytes: segment.bytes });
        let chores = ChoresStart {
            disk: recovery.disk.clone(),
            dir: self.dir,
            identity: self.identity,
            superblock: self.superblock,
            manifest: self.manifest,
            round: self.round,
            spares: self.spares,
            segments: self.segments,
            number: header.number,
            durable: last_lsn,
        };
        let (segment_bytes, identity) = (recovery.segment_bytes, self.identity);
        (CommitterStart { segment, last_lsn, last_crc, segment_bytes, identity }, chores)
    }
}

/// Everything the shard has, before its log begins.
fn write_snapshot<D: Disk, P: Programs, M: Memory>(
    disk: &D,
    dir: &str,
    identity: &Identity,
    round: u64,
    shard: &mut Shard<P, M>,
) -> Result<(), StoreError> {
    let mut writer = SnapshotWriter::start(disk, dir, identity, round, 0)?;
    let mut section = Section { of: SectionOf::Marks, lsn: 0, bytes: Vec::new() };
    section.lsn = shard.snapshot_marks(&mut section.bytes);
    writer.section(disk, &section)?;
    for vnode in (0..VNODES).filter_map(|vnode| u16::try_from(vnode).ok()) {
        section.bytes.clear();
        let Some(lsn) = shard.snapshot_vnode(vnode, &mut section.bytes) else { continue };
        (section.of, section.lsn) = (SectionOf::Vnode(vnode), lsn);
        writer.section(disk, &section)?;
    }
    let sealed = writer.finish(disk)?;
    let path = format!("{dir}/{}", snapshot_name(round));
    disk.rename(&sealed.path, &path).map_err(StoreError::io("rename", &sealed.path))?;
    disk.sync_dir(dir).map_err(StoreError::sync(dir))
}

/// A segment for the first records; a spare is made when there is none.
fn first_segment<D: Disk>(
    mut spares: Spares<D>,
    header: &SegmentHeader,
) -> Result<(Spares<D>, super::chore::Segment), StoreError> {
    loop {
        if let Some(segment) = spares.activate(header)? {
            return Ok((spares, segment));
        }
        spares.make_piece()?;
    }
}

/// Removes what an earlier end has left; returns the largest number of any snapshot.
///
/// A segment that holds nothing becomes a spare: without any room left, a start still needs one.
/// The only one there is stays, to be replaced by the next one of its name: without any segment
/// the directory would not open.
fn remove_leftovers<D: Disk>(
    disk: &D,
    dir: &str,
    manifest: &ShardManifest,
    (segments, next_lsn): (&[KeptSegment], u64),
) -> Result<u64, StoreError> {
    let names = disk.list(dir).map_err(StoreError::io("list", dir))?;
    let spare = |name: &String| {
        if let ShardFile::Spare(number) = ShardFile::of(name) { Some(number) } else { None }
    };
    let mut spare_next = names.iter().filter_map(spare).max().unwrap_or(0) + 1;
    let mut round_max = manifest.round;
    for name in names {
        let path = format!("{dir}/{name}");
        let needless = match ShardFile::of(&name) {
            ShardFile::Segment(_) if segments.iter().any(|segment| segment.path == path) => false,
            ShardFile::Segment(first_lsn) if segments.is_empty() && first_lsn == next_lsn => false,
            ShardFile::Segment(_) => {
                let spare = format!("{dir}/{}", spare_name(spare_next));
                spare_next += 1;
                disk.rename(&path, &spare).map_err(StoreError::io("rename", &path))?;
                false
            }
            ShardFile::Snapshot(round) => {
                round_max = round_max.max(round);
                round != manifest.round
            }
            ShardFile::Temporary => true,
            ShardFile::Superblock
            | ShardFile::Manifest
            | ShardFile::Spare(_)
            | ShardFile::Foreign => false,
        };
        if needless {
            disk.remove(&path).map_err(StoreError::io("remove", &path))?;
        }
    }
    disk.sync_dir(dir).map_err(StoreError::sync(dir))?;
    Ok(round_max)
}
