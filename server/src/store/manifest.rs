//! The two kinds of manifest: of the directory, and of a shard. One line: JSON, a tab, CRC32C of
//! the JSON in hex.
//!
//! Invariant: a manifest is replaced whole (another file, sync, rename, sync of the directory), so
//! a crash leaves the old one or the new one.

use super::block::Identity;
use super::disk::Disk;
use super::error::StoreError;
use super::layout::{MANIFEST, SHARD_MANIFEST, TEMPORARY};
use super::limits::MANIFEST_BYTES_MAX;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use trendsrv_proto::Clock;
use trendsrv_proto::limits::VNODES;

/// What must stay as it was when the directory was made, and what a server is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Length of the window.
    pub window_ms: u64,
    /// Step of the window.
    pub slide_ms: u64,
    /// What moves it.
    pub clock: Clock,
    /// Shards of this server; they may be others than last time.
    pub shards: u16,
    /// Bytes of a segment that is yet to be made, a multiple of 4 KiB.
    pub segment_bytes: u64,
    /// The name of the directory, if it has none yet: anything random.
    pub uuid: u128,
}

/// The manifest of the directory.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Of the format.
    pub version: u32,
    /// Of the directory, in hex.
    pub uuid: String,
    /// Length of the window.
    pub window_ms: u64,
    /// Step of the window.
    pub slide_ms: u64,
    /// `wall` or `event`.
    pub clock: String,
    /// Vnodes of every map.
    pub vnodes: usize,
    /// The generation that holds; 0 before the first one is there.
    pub generation: u32,
    /// Its shards.
    pub shards: u16,
}

impl Manifest {
    /// Of a directory without any shard yet.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        Self {
            version: VERSION,
            uuid: format!("{:032x}", settings.uuid),
            window_ms: settings.window_ms,
            slide_ms: settings.slide_ms,
            clock: clock_name(settings.clock).to_owned(),
            vnodes: VNODES,
            generation: 0,
            shards: 0,
        }
    }

    /// Reads it; `None` when it is not there.
    pub(super) fn read<D: Disk>(disk: &D) -> Result<Option<Self>, StoreError> {
        let Some(manifest) = read_line::<D, Self>(disk, MANIFEST)? else { return Ok(None) };
        if u128::from_str_radix(&manifest.uuid, 16).is_err() || manifest.vnodes != VNODES {
            return Err(StoreError::damaged(MANIFEST, 0, "its values cannot be"));
        }
        Ok(Some(manifest))
    }

    pub(super) fn write<D: Disk>(&self, disk: &D) -> Result<(), StoreError> {
        replace_line(disk, "", MANIFEST, self)
    }

    /// Whether a server may use the directory.
    ///
    /// # Errors
    /// When it was made with other settings.
    pub fn check(&self, settings: &Settings) -> Result<(), StoreError> {
        let told = Self::new(settings).flags();
        let made = self.flags();
        if made == told { Ok(()) } else { Err(StoreError::OtherSettings { made, told }) }
    }

    /// To which log a shard's files belong.
    #[must_use]
    pub fn identity(&self, shard: u16) -> Identity {
        // Checked when it was read.
        let uuid = u128::from_str_radix(&self.uuid, 16).unwrap_or_default();
        Identity { uuid, generation: self.generation, shard }
    }

    fn flags(&self) -> String {
        let Self { window_ms, slide_ms, clock, .. } = self;
        format!("--window {window_ms}ms --slide {slide_ms}ms --clock {clock}")
    }
}

/// The manifest of a shard.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ShardManifest {
    /// Of the format.
    pub version: u32,
    /// Of the directory, in hex.
    pub uuid: String,
    /// Of the map of shards.
    pub generation: u32,
    /// Which shard.
    pub shard: u16,
    /// The number of the snapshot that holds; 0 when there is none.
    pub round: u64,
    /// The first record that the snapshot lacks, or 1.
    pub replay_from: u64,
}

impl ShardManifest {
    pub(super) fn new(identity: &Identity, round: u64, replay_from: u64) -> Self {
        Self {
            version: VERSION,
            uuid: format!("{:032x}", identity.uuid),
            generation: identity.generation,
            shard: identity.shard,
            round,
            replay_from,
        }
    }

    pub(super) fn read<D: Disk>(
        disk: &D,
        dir: &str,
        identity: &Identity,
    ) -> Result<Self, StoreError> {
        let path = format!("{dir}/{SHARD_MANIFEST}");
        let manifest = read_line::<D, Self>(disk, &path)?
            .ok_or_else(|| StoreError::damaged(&path, 0, "it is not there"))?;
        if manifest != Self::new(identity, manifest.round, manifest.replay_from) {
            return Err(StoreError::damaged(&path, 0, "it belongs to another log"));
        }
        if manifest.replay_from == 0 {
            return Err(StoreError::damaged(&path, 0, "its values cannot be"));
        }
        Ok(manifest)
    }

    pub(super) fn write<D: Disk>(&self, disk: &D, dir: &str) -> Result<(), StoreError> {
        replace_line(disk, dir, &format!("{dir}/{SHARD_MANIFEST}"), self)
    }
}

pub(super) const fn clock_name(clock: Clock) -> &'static str {
    match clock {
        Clock::Wall => "wall",
        Clock::Event => "event",
    }
}

fn read_line<D: Disk, T: DeserializeOwned>(disk: &D, path: &str) -> Result<Option<T>, StoreError> {
    let len = match disk.len(path) {
        Ok(len) => len,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StoreError::io("read", path)(error)),
    };
    let wrong = |what: &str| StoreError::damaged(path, 0, what);
    if len > MANIFEST_BYTES_MAX {
        return Err(wrong("it is too long"));
    }
    let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
    let count = disk.read_at(path, 0, &mut bytes).map_err(StoreError::io("read", path))?;
    bytes.truncate(count);
    let text = std::str::from_utf8(&bytes).map_err(|_| wrong("it is no text"))?;
    let line = text.strip_suffix('\n').ok_or_else(|| wrong("its line has no end"))?;
    let (json, check) = line.rsplit_once('\t').ok_or_else(|| wrong("it has no checksum"))?;
    if check != format!("{:08x}", crc32c::crc32c(json.as_bytes())) {
        return Err(wrong("its checksum is another"));
    }
    let found: Version = serde_json::from_str(json).map_err(|error| wrong(&error.to_string()))?;
    if found.version != VERSION {
        let (path, found, known) = (path.to_owned(), found.version, VERSION);
        return Err(StoreError::Newer { path, found, known });
    }
    serde_json::from_str(json).map(Some).map_err(|error| wrong(&error.to_string()))
}

fn replace_line<D: Disk, T: Serialize>(
    disk: &D,
    dir: &str,
    path: &str,
    value: &T,
) -> Result<(), StoreError> {
    let json = serde_json::to_string(value).expect("a manifest is plain text");
    let line = format!("{json}\t{:08x}\n", crc32c::crc32c(json.as_bytes()));
    let new = format!("{path}{TEMPORARY}");
    let io = || {
        disk.create(&new, 0)?;
        disk.write_at(&new, 0, line.as_bytes())?;
        disk.sync(&new)?;
        disk.rename(&new, path)?;
        disk.sync_dir(dir)
    };
    io().map_err(StoreError::io("write", path))
}

/// What every version of a manifest says.
#[derive(Deserialize)]
struct Version {
    version: u32,
}

/// The format version of a data directory.
pub(super) const VERSION: u32 = 1;
