//! The marks of a shard's log: up to where it is durable, and whether it ended in good order.
//!
//! ```text
//!   superblock: | copy 0, 4 KiB | copy 1, 4 KiB |    written in turn, by the counter's last bit
//!   copy:       block head | shards u16 | counter u64 | durable u64 | clean u8 | … | crc
//! ```
//!
//! Invariants:
//! - a copy is written only while the other one is safe: a torn write costs one mark, never both;
//! - of two good copies the one with the larger counter holds.

use super::block::{BLOCK, BlockError, BlockReader, BlockWriter, Identity};
use super::chore::Mark;
use super::disk::Disk;
use super::error::StoreError;
use super::layout::{SUPERBLOCK, TEMPORARY};
use super::limits::BLOCK_BYTES;

/// See the module header.
#[derive(Debug)]
pub(super) struct Superblock {
    identity: Identity,
    shards: u16,
    path: String,
    counter: u64,
    mark: Mark,
}

/// A superblock that was read.
#[derive(Debug)]
pub(super) struct ReadSuperblock {
    pub(super) superblock: Superblock,
    /// What is wrong with the copy that is not good.
    pub(super) note: Option<String>,
}

impl Superblock {
    /// Makes the file, with both copies; safe when this returns, and so is its name.
    pub(super) fn create<D: Disk>(
        disk: &D,
        dir: &str,
        identity: Identity,
        shards: u16,
        mark: Mark,
    ) -> Result<Self, StoreError> {
        let path = format!("{dir}/{SUPERBLOCK}");
        let new = format!("{path}{TEMPORARY}");
        let superblock = Self { identity, shards, path, counter: 1, mark };
        let mut bytes = superblock.encode(1).to_vec();
        bytes.extend_from_slice(&superblock.encode(0));
        let io = || {
            disk.create(&new, 0)?;
            disk.write_at(&new, 0, &bytes)?;
            disk.sync(&new)?;
            disk.rename(&new, &superblock.path)?;
            disk.sync_dir(dir)
        };
        io().map_err(StoreError::io("write", &superblock.path))?;
        Ok(superblock)
    }

    /// Reads the file; one good copy is enough.
    pub(super) fn read<D: Disk>(
        disk: &D,
        dir: &str,
        identity: Identity,
        shards: u16,
    ) -> Result<ReadSuperblock, StoreError> {
        let path = format!("{dir}/{SUPERBLOCK}");
        let mut bytes = vec![0; 2 * BLOCK];
        let count = disk.read_at(&path, 0, &mut bytes).map_err(StoreError::io("read", &path))?;
        let copies = [0, 1].map(|copy| {
            let (from, to) = (copy * BLOCK, count.min((copy + 1) * BLOCK));
            decode(bytes.get(from..to).unwrap_or_default(), copy as u64, &identity, shards)
        });
        let (counter, mark, note) = match copies {
            [Ok(first), Ok(second)] => {
                let (counter, mark) = if first.0 >= second.0 { first } else { second };
                (counter, mark, None)
            }
            [Ok((counter, mark)), Err(error)] | [Err(error), Ok((counter, mark))] => {
                if let CopyError::Block(BlockError::Newer { found }) = error {
                    return Err(StoreError::Newer { path, found, known: VERSION });
                }
                let note = format!(
                    "{path}: one of the two copies is damaged ({error}); the other \
                                    one is good and holds"
                );
                (counter, mark, Some(note))
            }
            [Err(first), Err(second)] => {
                if let CopyError::Block(BlockError::Newer { found }) = first {
                    return Err(StoreError::Newer { path, found, known: VERSION });
                }
                let what = format!("both copies are damaged: {first}; {second}");
                return Err(StoreError::damaged(&path, 0, what));
            }
        };
        let len = disk.len(&path).map_err(StoreError::io("read", &path))?;
        let note = note.or_else(|| {
            (len > 2 * BLOCK_BYTES)
                .then(|| format!("{path}: {len} bytes, {} too many", len - 2 * BLOCK_BYTES))
        });
        Ok(ReadSuperblock { superblock: Self { identity, shards, path, counter, mark }, note })
    }

    /// Keeps a mark.
    pub(super) fn write<D: Disk>(&mut self, disk: &D, mark: Mark) -> Result<(), StoreError> {
        let next = Self {
            identity: self.identity,
            shards: self.shards,
            path: std::mem::take(&mut self.path),
            counter: self.counter + 1,
            mark,
        };
        let offset = (next.counter % 2) * BLOCK_BYTES;
        let written = disk
            .write_at(&next.path, offset, &next.encode(0))
            .and_then(|()| disk.sync(&next.path))
            .map_err(StoreError::io("write", &next.path));
        match written {
            Ok(()) => {
                *self = next;
                Ok(())
            }
            Err(error) => {
                // The copy that may be torn is the one to be written next.
                self.path = next.path;
                Err(error)
            }
        }
    }

    /// What it says.
    pub(super) const fn mark(&self) -> Mark {
        self.mark
    }

    fn encode(&self, back: u64) -> [u8; BLOCK] {
        let mut writer = BlockWriter::new(MAGIC, VERSION, &self.identity);
        writer.put(&self.shards.to_le_bytes());
        writer.put(&(self.counter - back).to_le_bytes());
        writer.put(&self.mark.durable.to_le_bytes());
        writer.put(&[u8::from(self.mark.clean)]);
        writer.seal()
    }
}

#[derive(Debug, thiserror::Error)]
enum CopyError {
    #[error(transparent)]
    Block(#[from] BlockError),
    #[error("it is of {found} shards, not of {expected}")]
    Shards { expected: u16, found: u16 },
    #[error("it is a copy of the other one")]
    Place,
}

fn decode(
    bytes: &[u8],
    copy: u64,
    identity: &Identity,
    shards: u16,
) -> Result<(u64, Mark), CopyError> {
    let mut reader = BlockReader::open(bytes, MAGIC, VERSION, identity)?;
    let found = reader.u16();
    if found != shards {
        return Err(CopyError::Shards { expected: shards, found });
    }
    let counter = reader.u64();
    if counter % 2 != copy {
        return Err(CopyError::Place);
    }
    let durable = reader.u64();
    let clean = reader.u8() != 0;
    Ok((counter, Mark { durable, clean }))
}

const MAGIC: &[u8; 8] = b"TSRVMARK";
const VERSION: u32 = 1;
