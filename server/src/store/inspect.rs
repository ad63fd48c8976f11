//! Reads a data directory to its last byte and says what it found: `trendsrv inspect`.
//!
//! Never writes, and never takes the directory's lock: a directory in use is read as it is, which
//! may show a tail that is being written.
//!
//! Invariant: damage of one file does not hide that of another: what can be read is read.

use super::chore::SectionOf;
use super::disk::Disk;
use super::error::StoreError;
use super::findings::{Findings, LogFindings, SegmentFindings, ShardFindings, SnapshotFindings};
use super::layout::{
    LOCK, MANIFEST, PROGRAMS, ShardFile, generation_dir, generation_of, shard_dir,
};
use super::limits::TENANTS_TOLD_MAX;
use super::log_reader::LogReader;
use super::manifest::Manifest;
use super::old_log::{OldLog, SnapshotLsns};
use std::collections::BTreeMap;
use trendsrv_proto::{NameKind, TenantId};
use trendsrv_shard::log::Record;
use trendsrv_shard::snapshot::{check_marks, check_vnode};

/// Reads everything.
///
/// # Errors
/// When there is no data directory to be read.
pub fn inspect<D: Disk>(disk: &D) -> Result<Findings, StoreError> {
    let mut findings = Findings::default();
    let names = disk.list("").map_err(StoreError::io("list", "the directory"))?;
    let has_generation = names.iter().any(|name| generation_of(name).is_some());
    let manifest = match Manifest::read(disk) {
        Ok(Some(manifest)) => manifest,
        Ok(None) if has_generation => {
            findings.damage.push(error_words(&StoreError::damaged(MANIFEST, 0, "it is not there")));
            return Ok(findings);
        }
        Ok(None) => {
            let found = names.first().cloned().unwrap_or_else(|| "nothing".to_owned());
            return Err(StoreError::NotOurs { manifest: MANIFEST, found });
        }
        Err(error) => {
            findings.damage.push(error_words(&error));
            return Ok(findings);
        }
    };
    let generation = generation_dir(manifest.generation);
    for name in names {
        let ours = [LOCK, MANIFEST, PROGRAMS].contains(&name.as_str());
        if !ours && (manifest.generation == 0 || name != generation) {
            findings.leftovers.push(name);
        }
    }
    findings.leftovers.sort_unstable();
    let shards = if manifest.generation == 0 { 0 } else { manifest.shards };
    for shard in 0..shards {
        findings.shards.push(inspect_shard(disk, &manifest, shard));
    }
    findings.manifest = Some(manifest);
    findings.sound = findings.is_sound();
    Ok(findings)
}

fn inspect_shard<D: Disk>(disk: &D, manifest: &Manifest, shard: u16) -> ShardFindings {
    let mut found = ShardFindings { shard, ..ShardFindings::default() };
    let dir = shard_dir(manifest.generation, shard);
    match disk.list(&dir) {
        Ok(names) => list_others(&names, &dir, &mut found),
        Err(error) => found.damage.push(format!("cannot list {dir}: {error}")),
    }
    let files = match OldLog::open(disk, manifest, shard) {
        Ok(files) => files,
        Err(error) => {
            found.damage.push(error_words(&error));
            return found;
        }
    };
    let mark = files.superblock.mark();
    (found.durable, found.clean) = (mark.durable, mark.clean);
    found.replay_from = files.manifest.replay_from;
    found.notes.extend(files.notes.iter().cloned());
    let mut tenants = Tenants::default();
    let lsns = match inspect_snapshot(&files, &mut tenants) {
        Ok((snapshot, lsns)) => {
            found.snapshot = snapshot;
            Some(lsns)
        }
        Err(error) => {
            found.damage.push(error_words(&error));
            None
        }
    };
    // Without the snapshot, its marks are missing; the log is read for what it says itself.
    let lsns = lsns.unwrap_or_else(SnapshotLsns::none);
    match inspect_log(&files, &lsns, &mut found, &mut tenants) {
        Ok(()) => {}
        Err(StoreError::Damaged(mut damage)) => {
            damage.concerned = Some(tenants.words(damage.vnodes));
            found.damage.push(damage.to_string());
            found.lost_lsns = damage.lsns;
        }
        Err(error) => found.damage.push(error_words(&error)),
    }
    found
}

fn list_others(names: &[String], dir: &str, found: &mut ShardFindings) {
    for name in names {
        match ShardFile::of(name) {
            ShardFile::Spare(_) => found.spares += 1,
            ShardFile::Temporary | ShardFile::Foreign => {
                found.notes.push(format!("{dir}/{name} is no part of it"));
            }
            ShardFile::Superblock
            | ShardFile::Manifest
            | ShardFile::Segment(_)
            | ShardFile::Snapshot(_) => {}
        }
    }
}

fn inspect_snapshot<D: Disk>(
    files: &OldLog<D>,
    tenants: &mut Tenants,
) -> Result<(Option<SnapshotFindings>, SnapshotLsns), StoreError> {
    let mut snapshot = SnapshotFindings { round: files.manifest.round, ..Default::default() };
    let lsns = files.read_snapshot(&mut |section| {
        match section.of {
            SectionOf::Marks => {
                let facts = check_marks(section.body).map_err(|error| error.to_string())?;
                snapshot.marks = facts.marks as u64;
            }
            SectionOf::Vnode(vnode) => {
                let facts = check_vnode(section.body).map_err(|error| error.to_string())?;
                if facts.vnode != vnode {
                    return Err(format!("its bytes are of vnode {}", facts.vnode));
                }
                snapshot.tenants += facts.tenants as u64;
                snapshot.windows += facts.windows as u64;
                snapshot.events = snapshot.events.saturating_add(facts.events);
                snapshot.states += facts.states as u64;
                tenants.snapshot.insert(vnode, facts.tenants as u64);
            }
        }
        Ok(())
    })?;
    (snapshot.sections, snapshot.bytes) = (lsns.sections, lsns.bytes);
    snapshot.lsn_max = lsns.lsn_max;
    Ok(((snapshot.round > 0).then_some(snapshot), lsns))
}

fn inspect_log<D: Disk>(
    files: &OldLog<D>,
    lsns: &SnapshotLsns,
    found: &mut ShardFindings,
    tenants: &mut Tenants,
) -> Result<(), StoreError> {
    let mut reader = files.log(lsns)?;
    let read = read_log(&mut reader, tenants);
    let counts = reader.counts();
    let (last_lsn, _) = reader.last();
    let mut log = LogFindings {
        last_lsn,
        commits: counts.commits,
        records: counts.records,
        events: counts.events,
        bytes: counts.bytes,
        ..LogFindings::default()
    };
    let nexts = reader.segments().iter().skip(1).map(|next| next.header.first_lsn - 1);
    let lasts = nexts.chain(std::iter::once(u64::MAX));
    for (segment, last) in reader.segments().iter().zip(lasts) {
        let header = segment.header;
        log.segments.push(SegmentFindings {
            path: segment.path.clone(),
            number: header.number,
            first_lsn: header.first_lsn,
            last_lsn: last.min(last_lsn).max(header.first_lsn - 1),
            bytes: segment.bytes,
        });
    }
    log.first_lsn = log.segments.first().map_or(0, |segment| segment.first_lsn);
    found.log = Some(log);
    found.torn = reader.torn().cloned();
    found.notes.extend(reader.notes().iter().cloned());
    read
}

fn read_log<D: Disk>(reader: &mut LogReader<D>, tenants: &mut Tenants) -> Result<(), StoreError> {
    while reader.advance()? {
        if let Some((_, Record::Names(names))) = reader.record() {
            for (kind, id, name) in names.iter() {
                if kind == NameKind::Tenant {
                    tenants.note(TenantId(id), name);
                }
            }
        }
    }
    Ok(())
}

/// Who may be concerned by damage.
#[derive(Default)]
struct Tenants {
    /// Tenants of each vnode in the snapshot.
    snapshot: BTreeMap<u16, u64>,
    /// Names that the log has told, of each vnode a few.
    names: BTreeMap<u16, Vec<String>>,
}

impl Tenants {
    fn note(&mut self, tenant: TenantId, name: &str) {
        let Ok(vnode) = u16::try_from(tenant.vnode()) else { return };
        let names = self.names.entry(vnode).or_default();
        if names.len() < TENANTS_TOLD_MAX && !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    }

    fn words(&self, vnodes: Option<(u16, u16)>) -> String {
        let (low, high) = vnodes.unwrap_or((0, u16::MAX));
        let count: u64 = self.snapshot.range(low..=high).map(|(_, count)| count).sum();
        let names = self.names.range(low..=high).flat_map(|(_, names)| names);
        let names: Vec<&str> = names.take(TENANTS_TOLD_MAX).map(String::as_str).collect();
        let mut words = format!("where the snapshot has {count} tenants");
        if !names.is_empty() {
            words.push_str(" and the log names ");
            words.push_str(&names.join(", "));
        }
        words
    }
}

/// What is wrong, without what a server would do about it.
fn error_words(error: &StoreError) -> String {
    match error {
        StoreError::Damaged(damage) => damage.to_string(),
        other => other.to_string(),
    }
}
