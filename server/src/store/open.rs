//! The whole data directory at the start of a server.
//!
//! ```text
//!   generation 0, no shards ─▶ generation 1 ─(another number of shards)─▶ generation 2 …
//! ```
//!
//! Invariants:
//! - [`Store::open`] only reads, and so does every recovery it hands out;
//! - the manifest of the directory names the generation that holds: another generation's directory
//!   is what a crash left of a beginning, or of an end, and is removed by the next start.

use super::disk::Disk;
use super::error::StoreError;
use super::layout::{LOCK, MANIFEST, PROGRAMS, TEMPORARY, generation_dir, generation_of};
use super::limits::{BLOCK_BYTES, SEGMENT_BYTES_MIN};
use super::manifest::{Manifest, Settings};
use super::recover::ShardRecovery;

/// See the module header.
#[derive(Debug)]
pub struct Store<D> {
    disk: D,
    settings: Settings,
    manifest: Manifest,
    is_made: bool,
}

impl<D: Disk> Store<D> {
    /// Reads what the directory says of itself.
    ///
    /// # Errors
    /// When it is none of ours, of a newer version, of other settings, or damaged.
    ///
    /// # Panics
    /// With no shards or segments of a strange size: the configuration has checked them.
    pub fn open(disk: D, settings: Settings) -> Result<Self, StoreError> {
        let bytes = settings.segment_bytes;
        assert!(bytes >= SEGMENT_BYTES_MIN && bytes.is_multiple_of(BLOCK_BYTES), "{bytes}");
        assert!(settings.shards > 0, "no shards");
        let Some(manifest) = Manifest::read(&disk)? else {
            check_empty(&disk)?;
            let manifest = Manifest::new(&settings);
            return Ok(Self { disk, settings, manifest, is_made: false });
        };
        manifest.check(&settings)?;
        Ok(Self { disk, settings, manifest, is_made: true })
    }

    /// What each shard of this server needs.
    #[must_use]
    pub fn shards(&self) -> Vec<ShardRecovery<D>> {
        let recovery = |shard| ShardRecovery {
            disk: self.disk.clone(),
            shard,
            shards: self.settings.shards,
            segment_bytes: self.settings.segment_bytes,
            manifest: self.manifest.clone(),
        };
        (0..self.settings.shards).map(recovery).collect()
    }

    /// The generation of the map of shards that this server writes.
    #[must_use]
    pub const fn generation(&self) -> u32 {
        if self.keeps_generation() {
            self.manifest.generation
        } else {
            self.manifest.generation + 1
        }
    }

    /// What the directory says.
    #[must_use]
    pub const fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The first write, after every shard has recovered.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn prepare(&mut self) -> Result<(), StoreError> {
        if !self.is_made {
            self.disk.create_dir("").map_err(StoreError::io("make", "the directory"))?;
            self.manifest.write(&self.disk)?;
            self.is_made = true;
        }
        self.remove_others(self.manifest.generation)?;
        if !self.keeps_generation() {
            let dir = generation_dir(self.generation());
            self.disk.create_dir(&dir).map_err(StoreError::io("make", &dir))?;
        }
        Ok(())
    }

    /// The last write of a start, after every shard has begun: the generation holds from here on.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn finish(mut self) -> Result<(), StoreError> {
        if self.keeps_generation() {
            return Ok(());
        }
        let dir = generation_dir(self.generation());
        self.disk.sync_dir(&dir).map_err(StoreError::sync(&dir))?;
        self.disk.sync_dir("").map_err(StoreError::sync("the directory"))?;
        self.manifest.generation = self.generation();
        self.manifest.shards = self.settings.shards;
        self.manifest.write(&self.disk)?;
        self.remove_others(self.manifest.generation)
    }

    const fn keeps_generation(&self) -> bool {
        self.manifest.generation != 0 && self.manifest.shards == self.settings.shards
    }

    fn remove_others(&self, generation: u32) -> Result<(), StoreError> {
        let disk = &self.disk;
        let failed = |path: &str| StoreError::io("remove", path);
        for name in disk.list("").map_err(StoreError::io("list", "the directory"))? {
            if generation_of(&name).is_none_or(|other| other == generation) {
                continue;
            }
            for shard in disk.list(&name).map_err(StoreError::io("list", &name))? {
                let dir = format!("{name}/{shard}");
                for file in disk.list(&dir).map_err(StoreError::io("list", &dir))? {
                    let path = format!("{dir}/{file}");
                    disk.remove(&path).map_err(failed(&path))?;
                }
                disk.remove_dir(&dir).map_err(failed(&dir))?;
            }
            disk.remove_dir(&name).map_err(failed(&name))?;
        }
        disk.sync_dir("").map_err(StoreError::sync("the directory"))
    }
}

/// Whether a directory without a manifest may become a data directory.
fn check_empty<D: Disk>(disk: &D) -> Result<(), StoreError> {
    let names = match disk.list("") {
        Ok(names) => names,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(StoreError::io("list", "the directory")(error)),
    };
    let new_manifest = format!("{MANIFEST}{TEMPORARY}");
    if let Some(name) = names.iter().find(|name| generation_of(name).is_some()) {
        let what = format!("it is not there, but {name} is");
        return Err(StoreError::damaged(MANIFEST, 0, what));
    }
    let ours = [LOCK, PROGRAMS, new_manifest.as_str()];
    match names.into_iter().find(|name| !ours.contains(&name.as_str())) {
        Some(found) => Err(StoreError::NotOurs { manifest: MANIFEST, found }),
        None => Ok(()),
    }
}
