//! What one shard of a generation has left on the disk: superblock, manifest, snapshot, log.
//!
//! Owns the order in which they are read and what each says of the others. Never touches a shard,
//! and never writes.

use super::block::Identity;
use super::chore::SectionOf;
use super::disk::Disk;
use super::error::StoreError;
use super::layout::shard_dir;
use super::log_reader::{Known, LogReader};
use super::manifest::{Manifest, ShardManifest};
use super::snapshot_file::SnapshotReader;
use super::superblock::{ReadSuperblock, Superblock};
use trendsrv_proto::TenantId;
use trendsrv_proto::limits::VNODES;

/// See the module header.
#[derive(Debug)]
pub(super) struct OldLog<D> {
    pub(super) disk: D,
    pub(super) identity: Identity,
    pub(super) dir: String,
    pub(super) superblock: Superblock,
    pub(super) manifest: ShardManifest,
    pub(super) notes: Vec<String>,
}

/// Up to where the log is in the snapshot.
#[derive(Clone, Debug)]
pub(super) struct SnapshotLsns {
    vnodes: Vec<u64>,
    marks: u64,
    /// The largest of them all.
    pub(super) lsn_max: u64,
    pub(super) sections: u64,
    pub(super) bytes: u64,
}

/// A section, as it is read.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReadSection<'a> {
    pub(super) of: SectionOf,
    pub(super) body: &'a [u8],
    /// Bytes of the file that lie behind, and all.
    pub(super) progress: (u64, u64),
}

impl<D: Disk> OldLog<D> {
    /// Reads superblock and manifest.
    pub(super) fn open(disk: &D, of: &Manifest, shard: u16) -> Result<Self, StoreError> {
        let identity = of.identity(shard);
        let dir = shard_dir(of.generation, shard);
        let ReadSuperblock { superblock, note } =
            match Superblock::read(disk, &dir, identity, of.shards) {
                Err(StoreError::Io { path, source, .. })
                    if source.kind() == std::io::ErrorKind::NotFound =>
                {
                    return Err(StoreError::damaged(&path, 0, "it is not there"));
                }
                read => read?,
            };
        let manifest = ShardManifest::read(disk, &dir, &identity)?;
        let notes = note.into_iter().collect();
        Ok(Self { disk: disk.clone(), identity, dir, superblock, manifest, notes })
    }

    /// Reads the snapshot; `visit` says in words what it does not like of a section.
    pub(super) fn read_snapshot(
        &self,
        visit: &mut dyn FnMut(&ReadSection<'_>) -> Result<(), String>,
    ) -> Result<SnapshotLsns, StoreError> {
        let mut lsns =
            SnapshotLsns { vnodes: vec![0; VNODES], marks: 0, lsn_max: 0, sections: 0, bytes: 0 };
        let round = self.manifest.round;
        if round == 0 {
            return Ok(lsns);
        }
        let mut reader = SnapshotReader::open(&self.disk, &self.dir, &self.identity, round)?;
        if reader.begin_lsn() + 1 != self.manifest.replay_from {
            let what = format!(
                "it begins with LSN {}, and the manifest says that the log is needed from {} on",
                reader.begin_lsn(),
                self.manifest.replay_from
            );
            return Err(StoreError::damaged(reader.path(), 0, what));
        }
        let mut seen = vec![false; VNODES + 1];
        while let Some(head) = reader.next()? {
            let (index, lsn) = match head.of {
                SectionOf::Marks => (VNODES, &mut lsns.marks),
                SectionOf::Vnode(vnode) => {
                    (usize::from(vnode), &mut lsns.vnodes[usize::from(vnode)])
                }
            };
            *lsn = head.lsn;
            if std::mem::replace(&mut seen[index], true) {
                let what = format!("there are two sections of {}", head.of);
                return Err(StoreError::damaged(reader.path(), head.offset, what));
            }
            let progress = (reader.offset(), reader.bytes());
            let section = ReadSection { of: head.of, body: reader.body(), progress };
            visit(&section).map_err(|what| {
                let (path, section) = (reader.path().to_owned(), head.of.to_string());
                StoreError::Restore { path, section, what }
            })?;
            lsns.sections += 1;
        }
        if !seen[VNODES] {
            let end = reader.bytes();
            return Err(StoreError::damaged(reader.path(), end, "it has no producers' marks"));
        }
        (lsns.lsn_max, lsns.bytes) = (reader.lsn_max(), reader.bytes());
        Ok(lsns)
    }

    /// The log that follows the snapshot.
    pub(super) fn log(&self, lsns: &SnapshotLsns) -> Result<LogReader<D>, StoreError> {
        let mark = self.superblock.mark();
        let known = Known {
            replay_from: self.manifest.replay_from,
            durable: mark.durable.max(lsns.lsn_max),
            clean_at: mark.clean.then_some(mark.durable),
        };
        LogReader::open(&self.disk, &self.dir, self.identity, known)
    }
}

impl SnapshotLsns {
    /// Without a snapshot.
    pub(super) fn none() -> Self {
        Self { vnodes: vec![0; VNODES], marks: 0, lsn_max: 0, sections: 0, bytes: 0 }
    }

    /// Whether a record is not in the snapshot of its tenant's vnode.
    pub(super) fn is_above(&self, tenant: TenantId, lsn: u64) -> bool {
        lsn > self.vnodes[tenant.vnode()]
    }

    /// Whether a record is not in the snapshot of the marks.
    pub(super) const fn is_above_marks(&self, lsn: u64) -> bool {
        lsn > self.marks
    }
}
