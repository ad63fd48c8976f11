//! What the server's data lies on, and what goes wrong with it.

#[cfg(feature = "fuse")]
use super::mount::Mount;
#[cfg(feature = "fuse")]
use rand::Rng as _;
use rand::rngs::StdRng;
use std::path::PathBuf;

/// The kinds of disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Kind {
    /// A folder; the server is killed.
    Plain,
    /// One that forgets what was not synced when the server is killed.
    PowerCut,
    /// One whose writes or syncs fail.
    Failing,
    /// One that has no room left.
    Full,
}

/// See the module header.
pub(super) struct Disk {
    kind: Kind,
    #[cfg(feature = "fuse")]
    mount: Option<Mount>,
    refusals: u64,
}

impl Disk {
    /// A disk without trouble yet.
    ///
    /// # Errors
    /// When it cannot be mounted here.
    #[cfg(feature = "fuse")]
    pub(super) fn new(kind: Kind) -> anyhow::Result<Self> {
        let mount = if kind == Kind::Plain { None } else { Some(Mount::new()?) };
        Ok(Self { kind, mount, refusals: 0 })
    }

    /// A disk without trouble yet.
    ///
    /// # Errors
    /// When it needs a file system of its own.
    #[cfg(not(feature = "fuse"))]
    pub(super) fn new(kind: Kind) -> anyhow::Result<Self> {
        if kind != Kind::Plain {
            anyhow::bail!("this loadgen cannot mount: build it with `--features fuse`");
        }
        Ok(Self { kind, refusals: 0 })
    }

    /// Its kind.
    pub(super) const fn kind(&self) -> Kind {
        self.kind
    }

    /// Counts what the server refused because of it.
    pub(super) const fn note_refusals(&mut self, count: u64) {
        self.refusals += count;
    }

    /// What its trouble should have shown and did not.
    pub(super) fn unproven(&self) -> Option<String> {
        let nothing = self.kind == Kind::Full && self.refusals == 0;
        nothing.then(|| "no frame was refused with DISK_FULL: nothing was proven".to_owned())
    }
}

#[cfg(feature = "fuse")]
impl Disk {
    /// Where the data goes, if not into any folder.
    pub(super) fn folder(&self) -> Option<PathBuf> {
        Some(self.mount.as_ref()?.path().join("data"))
    }

    /// Its trouble begins.
    pub(super) fn trouble(&self, rng: &mut StdRng) {
        let Some(mount) = &self.mount else { return };
        let mut volume = mount.volume();
        let (soon, room) = (rng.random_range(0..100), rng.random_range(0..6 << 20));
        match self.kind {
            Kind::Plain | Kind::PowerCut => {}
            Kind::Failing if rng.random() => volume.faults.writes_left = Some(soon),
            Kind::Failing => volume.faults.syncs_left = Some(soon),
            Kind::Full => volume.faults.capacity = Some(volume.used() + room),
        }
    }

    /// Its trouble ends.
    pub(super) fn heal(&self) {
        if let Some(mount) = &self.mount {
            mount.volume().faults = super::volume::Faults::default();
        }
    }

    /// The server is gone, the power too, and back again.
    pub(super) fn cut_power(&self, rng: &mut StdRng) {
        if let Some(mount) = &self.mount {
            mount.volume().cut_power(rng);
        }
        self.heal();
    }
}

#[cfg(not(feature = "fuse"))]
#[expect(clippy::unused_self, reason = "a plain folder has no trouble")]
impl Disk {
    /// Where the data goes, if not into any folder.
    pub(super) const fn folder(&self) -> Option<PathBuf> {
        None
    }

    /// Its trouble begins.
    pub(super) const fn trouble(&self, _: &mut StdRng) {}

    /// Its trouble ends.
    pub(super) const fn heal(&self) {}

    /// The server is gone, the power too, and back again.
    pub(super) const fn cut_power(&self, _: &mut StdRng) {}
}
