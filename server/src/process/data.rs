//! The data directory around the shards' recoveries: held, opened, and brought to this server's
//! map of shards.

use super::serve::StartError;
use crate::config::{Config, LogConfig};
use crate::drive::ShardLog;
use crate::folder_lock::FolderLock;
use crate::store::{RealDisk, Settings, Store, StoreError};
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A data directory that this process holds.
#[derive(Debug)]
pub(super) struct Data {
    folder: PathBuf,
    snapshot_interval: Duration,
    lock: FolderLock,
    store: Store<RealDisk>,
}

impl Data {
    /// Takes the directory and reads what it says of itself; `None` without a log.
    pub(super) fn open(config: &Config) -> Result<Option<Self>, StartError> {
        let Some(log) = &config.log else { return Ok(None) };
        let LogConfig { dir, snapshot_interval_ms, segment_bytes } = log;
        let folder = dir.clone();
        let io = |what, source| {
            let path = folder.display().to_string();
            failed(&folder)(StoreError::Io { what, path, source })
        };
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&folder);
        made.map_err(|source| io("make", source))?;
        let lock = FolderLock::take(&folder).map_err(|source| io("lock", source))?;
        let lock = lock.ok_or_else(|| failed(&folder)(StoreError::InUse))?;
        let settings = Settings {
            window_ms: config.window_ms,
            slide_ms: config.slide_ms,
            clock: config.clock,
            shards: u16::try_from(config.shards).expect("checked: at most shards_max"),
            segment_bytes: *segment_bytes,
            uuid: rand::random(),
        };
        let store = Store::open(RealDisk::new(&folder), settings).map_err(failed(&folder))?;
        let snapshot_interval = Duration::from_millis(*snapshot_interval_ms);
        Ok(Some(Self { folder, snapshot_interval, lock, store }))
    }

    /// The generation of the map of shards that this server writes.
    pub(super) const fn generation(&self) -> u32 {
        self.store.generation()
    }

    /// What each shard needs.
    pub(super) fn logs(&self) -> Vec<ShardLog> {
        let (folder, snapshot_interval) = (&self.folder, self.snapshot_interval);
        let log = |recovery| ShardLog { folder: folder.clone(), recovery, snapshot_interval };
        self.store.shards().into_iter().map(log).collect()
    }

    /// The first write, once every shard has recovered.
    pub(super) fn prepare(&mut self) -> Result<(), StartError> {
        self.store.prepare().map_err(failed(&self.folder))
    }

    /// The last write of the start, once every shard has begun.
    pub(super) fn finish(self) -> Result<FolderLock, StartError> {
        self.store.finish().map_err(failed(&self.folder))?;
        Ok(self.lock)
    }
}

fn failed(folder: &Path) -> impl FnOnce(StoreError) -> StartError {
    let folder = folder.to_owned();
    move |source| StartError::Data { folder, source: Box::new(source) }
}
