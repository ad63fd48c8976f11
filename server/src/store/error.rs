//! What can go wrong with a data directory, in words for its operator.

use std::fmt;
use std::io;

/// Why a data directory cannot be used, or no longer. Paths are relative to it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk refuses.
    #[error("cannot {what} {path}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// With which file.
        path: String,
        /// Why not.
        source: io::Error,
    },
    /// What was written is not safe.
    #[error(
        "cannot sync {path}: {source}. The server ends, because what a disk holds after a failed \
         sync is not known: look after the disk, then start again"
    )]
    Sync {
        /// Which file or directory.
        path: String,
        /// Why not.
        source: io::Error,
    },
    /// A write of the log failed: what the disk holds is not known, so nothing goes on.
    #[error(
        "writing the log failed at {path}, offset {offset}, LSN {first_lsn} to {last_lsn}: \
         {source}; nothing of it was acknowledged as durable. The server ends, because what a disk \
         holds after a failed write is not known: look after the disk, then start again"
    )]
    LogWrite {
        /// The segment.
        path: String,
        /// Where in it.
        offset: u64,
        /// The first record of the write.
        first_lsn: u64,
        /// The last record of the write.
        last_lsn: u64,
        /// Why.
        source: io::Error,
    },
    /// A record that no segment holds.
    #[error(
        "records up to LSN {last_lsn} need {bytes} bytes and a segment of the log has \
         {segment_bytes}: raise --log-segment-bytes"
    )]
    RecordTooLarge {
        /// The last record of the batch.
        last_lsn: u64,
        /// Its bytes.
        bytes: u64,
        /// What a segment holds.
        segment_bytes: u64,
    },
    /// The directory holds something else.
    #[error(
        "it is not empty and has no {manifest}, so it is no data directory ({found} is in it): \
         name another directory, or an empty one"
    )]
    NotOurs {
        /// The missing file.
        manifest: &'static str,
        /// What is there.
        found: String,
    },
    /// Written by a newer version.
    #[error(
        "{path} has format version {found} and this server knows {known}: start the version that \
         wrote it, or name another directory"
    )]
    Newer {
        /// Which file.
        path: String,
        /// Its version.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// Written with other settings.
    #[error(
        "it was made with {made} and this server is told {told}: windows cannot be changed \
         afterwards. Start with the settings it was made with, or name another directory"
    )]
    OtherSettings {
        /// Those it was made with.
        made: String,
        /// Those of this server.
        told: String,
    },
    /// Another server is at work there.
    #[error("it is in use by another server: stop that one, or name another directory")]
    InUse,
    /// What was acknowledged is damaged. Nothing was changed.
    #[error(
        "{0}. The server does not start, and nothing was changed: `trendsrv inspect` says what \
         is left. Restore the directory from a copy, or move it away to start without it"
    )]
    Damaged(Damage),
    /// A snapshot does not fit this server.
    #[error("{path}, section of {section}: {what}")]
    Restore {
        /// The snapshot.
        path: String,
        /// Which section.
        section: String,
        /// Why not.
        what: String,
    },
    /// It broke before.
    #[error("the log was broken before: restart the server")]
    Broken,
}

impl StoreError {
    pub(crate) fn io(what: &'static str, path: &str) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::Io { what, path, source }
    }

    pub(crate) fn sync(path: &str) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::Sync { path, source }
    }

    pub(crate) fn damaged(path: &str, offset: u64, what: impl Into<String>) -> Self {
        let what = what.into();
        Self::Damaged(Damage {
            path: path.to_owned(),
            offset,
            what,
            lsns: None,
            vnodes: None,
            concerned: None,
        })
    }

    /// Whether it says that there is no room left; it may pass.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Io { source, .. } if super::disk::is_full(source))
    }
}

/// Damage that no crash explains.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Damage {
    /// The file.
    pub path: String,
    /// Where in it.
    pub offset: u64,
    /// What is wrong.
    pub what: String,
    /// The acknowledged records that cannot be read, first to last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lsns: Option<(u64, u64)>,
    /// The vnodes that the first of them concerns, as far as it can be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vnodes: Option<(u16, u16)>,
    /// Whose they are, as far as it can be known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concerned: Option<String>,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, offset, what, .. } = self;
        write!(f, "{path} is damaged at offset {offset}: {what}")?;
        if let Some((first, last)) = self.lsns {
            write!(f, "; records that were acknowledged are lost: LSN {first} to {last}")?;
        }
        match self.vnodes {
            Some((low, high)) => {
                write!(f, ", the first of vnodes {low} to {high} as far as it can be read")?;
            }
            None if self.lsns.is_some() => write!(f, ", of any vnodes of this shard")?,
            None => {}
        }
        if let Some(concerned) = &self.concerned {
            write!(f, ", {concerned}")?;
        }
        Ok(())
    }
}
