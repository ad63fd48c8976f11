//! The file of a snapshot.
//!
//! ```text
//!   header:  block head | zero u16 | zero u32 | round u64 | begin_lsn u64 | … | crc
//!   section: 0 magic u32 | 4 crc u32 (of this head) | 8 kind u8 | 9 zero u8 | 10 vnode u16
//!           12 body_crc u32 | 16 lsn u64 | 24 len u64 | 32 index u64 | 40 zero u64
//!           48 body, with zeros up to a multiple of 16
//!   kinds:   1 marks | 2 vnode | 3 the end: its index is the number of sections, its LSN their largest
//! ```
//!
//! Invariants:
//! - sections are numbered, the end is one of them and nothing follows it: no missing, doubled,
//!   moved or cut section is read;
//! - `body_crc` covers the zeros behind the body, too;
//! - every section's LSN is at least `begin_lsn`.

use super::block::{BLOCK, BlockError, BlockReader, BlockWriter, Identity};
use super::chore::{Section, SectionOf};
use super::chunk::ChunkReader;
use super::disk::Disk;
use super::error::StoreError;
use super::layout::{TEMPORARY, snapshot_name};
use super::limits::{READ_BYTES, SECTION_BYTES_MAX, SYNC_BYTES};
use trendsrv_proto::limits::VNODES;

/// A snapshot on its way to the disk, under another name.
#[derive(Debug)]
pub(super) struct SnapshotWriter {
    path: String,
    round: u64,
    begin_lsn: u64,
    lsn_max: u64,
    sections: u64,
    offset: u64,
    synced: u64,
    buffer: Vec<u8>,
}

/// A snapshot that is complete and safe, and has not got its name yet.
#[derive(Clone, Debug)]
pub(super) struct SealedSnapshot {
    pub(super) path: String,
    pub(super) round: u64,
    pub(super) begin_lsn: u64,
    /// The log must hold up to here before the snapshot may be believed.
    pub(super) lsn_max: u64,
    pub(super) sections: u64,
    pub(super) bytes: u64,
}

impl SnapshotWriter {
    pub(super) fn start<D: Disk>(
        disk: &D,
        dir: &str,
        identity: &Identity,
        round: u64,
        begin_lsn: u64,
    ) -> Result<Self, StoreError> {
        let path = format!("{dir}/{}{TEMPORARY}", snapshot_name(round));
        disk.create(&path, 0).map_err(StoreError::io("write", &path))?;
        let mut header = BlockWriter::new(MAGIC, VERSION, identity);
        header.put(&[0; 6]).put(&round.to_le_bytes()).put(&begin_lsn.to_le_bytes());
        let buffer = header.seal().to_vec();
        let (lsn_max, sections, offset, synced) = (begin_lsn, 0, 0, 0);
        Ok(Self { path, round, begin_lsn, lsn_max, sections, offset, synced, buffer })
    }

    pub(super) fn section<D: Disk>(
        &mut self,
        disk: &D,
        section: &Section,
    ) -> Result<(), StoreError> {
        let (kind, vnode) = match section.of {
            SectionOf::Marks => (MARKS, 0),
            SectionOf::Vnode(vnode) => (VNODE, vnode),
        };
        let bytes = section.bytes.len() as u64;
        assert!(bytes <= SECTION_BYTES_MAX, "a section of {bytes} bytes could not be read again");
        self.lsn_max = self.lsn_max.max(section.lsn);
        self.put(kind, vnode, section.lsn, &section.bytes);
        if self.buffer.len() >= READ_BYTES {
            self.flush(disk)?;
        }
        Ok(())
    }

    /// Everything was written: it is safe when this returns.
    pub(super) fn finish<D: Disk>(mut self, disk: &D) -> Result<SealedSnapshot, StoreError> {
        let sections = self.sections;
        self.put(END, 0, self.lsn_max, &[]);
        self.flush(disk)?;
        disk.sync(&self.path).map_err(StoreError::io("sync", &self.path))?;
        let Self { path, round, begin_lsn, lsn_max, offset: bytes, .. } = self;
        Ok(SealedSnapshot { path, round, begin_lsn, lsn_max, sections, bytes })
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    fn put(&mut self, kind: u8, vnode: u16, lsn: u64, body: &[u8]) {
        let start = self.buffer.len();
        self.buffer.resize(start + HEAD, 0);
        self.buffer.extend_from_slice(body);
        self.buffer.resize(start + HEAD + padded(body.len()), 0);
        let body_crc = crc32c::crc32c(&self.buffer[start + HEAD..]);
        let head = &mut self.buffer[start..start + HEAD];
        head[..4].copy_from_slice(SECTION_MAGIC);
        head[8] = kind;
        head[10..12].copy_from_slice(&vnode.to_le_bytes());
        head[12..16].copy_from_slice(&body_crc.to_le_bytes());
        head[16..24].copy_from_slice(&lsn.to_le_bytes());
        head[24..32].copy_from_slice(&(body.len() as u64).to_le_bytes());
        head[32..40].copy_from_slice(&self.sections.to_le_bytes());
        let crc = head_crc(head);
        head[4..8].copy_from_slice(&crc.to_le_bytes());
        self.sections += 1;
    }

    fn flush<D: Disk>(&mut self, disk: &D) -> Result<(), StoreError> {
        let written = disk.write_at(&self.path, self.offset, &self.buffer);
        written.map_err(StoreError::io("write", &self.path))?;
        self.offset += self.buffer.len() as u64;
        self.buffer.clear();
        if self.offset - self.synced >= SYNC_BYTES {
            // Bit by bit, so that a segment that is wanted meanwhile never waits for all of it.
            disk.sync(&self.path).map_err(StoreError::io("write", &self.path))?;
            self.synced = self.offset;
        }
        Ok(())
    }
}

/// A snapshot that is read section by section.
#[derive(Debug)]
pub(super) struct SnapshotReader<D> {
    chunks: ChunkReader<D>,
    begin_lsn: u64,
    lsn_max: u64,
    sections: u64,
    body: Option<usize>,
    ended: bool,
}

/// What a section's head says.
#[derive(Clone, Copy, Debug)]
pub(super) struct SectionHead {
    pub(super) of: SectionOf,
    pub(super) lsn: u64,
    pub(super) offset: u64,
}

impl<D: Disk> SnapshotReader<D> {
    pub(super) fn open(
        disk: &D,
        dir: &str,
        identity: &Identity,
        round: u64,
    ) -> Result<Self, StoreError> {
        let path = format!("{dir}/{}", snapshot_name(round));
        let mut chunks = match ChunkReader::open(disk, &path) {
            Err(StoreError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                return Err(StoreError::damaged(&path, 0, "it is not there"));
            }
            opened => opened?,
        };
        let header = match BlockReader::open(chunks.fill(BLOCK)?, MAGIC, VERSION, identity) {
            Ok(mut reader) => {
                reader.u16();
                reader.u32();
                Ok((reader.u64(), reader.u64()))
            }
            Err(error) => Err(error),
        };
        let (found, begin_lsn) = header.map_err(|error| header_error(&path, &error))?;
        if found != round {
            return Err(StoreError::damaged(&path, 0, format!("it is number {found}")));
        }
        chunks.skip(BLOCK as u64);
        Ok(Self { chunks, begin_lsn, lsn_max: begin_lsn, sections: 0, body: None, ended: false })
    }

    /// The next section; its bytes are then in [`Self::body`].
    pub(super) fn next(&mut self) -> Result<Option<SectionHead>, StoreError> {
        if let Some(body) = self.body.take() {
            self.chunks.skip((HEAD + padded(body)) as u64);
        }
        if self.ended {
            return Ok(None);
        }
        let offset = self.chunks.offset();
        let head = *match self.chunks.fill(HEAD)?.first_chunk::<HEAD>() {
            Some(head) => head,
            None => return Err(self.damaged(offset, "it ends before its end section")),
        };
        let head = Head::read(&head).map_err(|what| self.damaged(offset, what))?;
        if head.index != self.sections {
            let what = format!("section {} stands where {} should", head.index, self.sections);
            return Err(self.damaged(offset, &what));
        }
        let len = usize::try_from(head.len).unwrap_or(usize::MAX);
        if head.len > SECTION_BYTES_MAX.min(self.chunks.bytes()) {
            return Err(self.damaged(offset, "a section is longer than the file"));
        }
        let all = HEAD + padded(len);
        let Some(body) = self.chunks.fill(all)?.get(HEAD..all) else {
            return Err(self.damaged(offset, "it ends inside a section"));
        };
        let crc = crc32c::crc32c(body);
        if crc != head.body_crc {
            let what = format!(
                "the section of {} has checksum {crc:#010x} and should have {:#010x}",
                head.words(),
                head.body_crc
            );
            return Err(self.damaged(offset, &what));
        }
        if head.kind == END {
            return self.end(&head, offset, all);
        }
        if head.lsn < self.begin_lsn {
            return Err(self.damaged(offset, "a section is older than the snapshot"));
        }
        let of = head.of().map_err(|what| self.damaged(offset, what))?;
        self.lsn_max = self.lsn_max.max(head.lsn);
        self.sections += 1;
        self.body = Some(len);
        Ok(Some(SectionHead { of, lsn: head.lsn, offset }))
    }

    /// The bytes of the section that [`Self::next`] has found.
    pub(super) fn body(&self) -> &[u8] {
        let len = self.body.unwrap_or(0);
        self.chunks.filled().get(HEAD..HEAD + len).unwrap_or_default()
    }

    /// The log holds, or held, records up to here at least.
    pub(super) const fn lsn_max(&self) -> u64 {
        self.lsn_max
    }

    pub(super) const fn begin_lsn(&self) -> u64 {
        self.begin_lsn
    }

    pub(super) const fn bytes(&self) -> u64 {
        self.chunks.bytes()
    }

    pub(super) const fn offset(&self) -> u64 {
        self.chunks.offset()
    }

    pub(super) fn path(&self) -> &str {
        self.chunks.path()
    }

    fn end(
        &mut self,
        head: &Head,
        offset: u64,
        all: usize,
    ) -> Result<Option<SectionHead>, StoreError> {
        if head.lsn != self.lsn_max || head.len != 0 {
            return Err(self.damaged(offset, "the end section does not fit the others"));
        }
        if offset + all as u64 != self.chunks.bytes() {
            return Err(self.damaged(offset + all as u64, "something follows the end section"));
        }
        self.ended = true;
        Ok(None)
    }

    fn damaged(&self, offset: u64, what: &str) -> StoreError {
        StoreError::damaged(self.chunks.path(), offset, what)
    }
}

fn header_error(path: &str, error: &BlockError) -> StoreError {
    match *error {
        BlockError::Newer { found } => {
            StoreError::Newer { path: path.to_owned(), found, known: VERSION }
        }
        BlockError::Short
        | BlockError::Magic
        | BlockError::Checksum { .. }
        | BlockError::Other(_) => StoreError::damaged(path, 0, format!("its header: {error}")),
    }
}

struct Head {
    kind: u8,
    vnode: u16,
    body_crc: u32,
    lsn: u64,
    len: u64,
    index: u64,
}

impl Head {
    fn read(head: &[u8; HEAD]) -> Result<Self, &'static str> {
        if head[..4] != *SECTION_MAGIC {
            return Err("a section does not begin as it should");
        }
        if u32_at(head, 4) != head_crc(head) {
            return Err("the checksum of a section's head is another");
        }
        Ok(Self {
            kind: head[8],
            vnode: u16::from_le_bytes([head[10], head[11]]),
            body_crc: u32_at(head, 12),
            lsn: u64_at(head, 16),
            len: u64_at(head, 24),
            index: u64_at(head, 32),
        })
    }

    fn of(&self) -> Result<SectionOf, &'static str> {
        match self.kind {
            MARKS => Ok(SectionOf::Marks),
            VNODE if usize::from(self.vnode) < VNODES => Ok(SectionOf::Vnode(self.vnode)),
            _ => Err("a section is of no known kind"),
        }
    }

    fn words(&self) -> String {
        match self.of() {
            Ok(of) => of.to_string(),
            Err(_) => "the end".to_owned(),
        }
    }
}

impl std::fmt::Display for SectionOf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Marks => f.write_str("producers' marks"),
            Self::Vnode(vnode) => write!(f, "vnode {vnode}"),
        }
    }
}

/// CRC32C of a head, but for the checksum itself.
fn head_crc(head: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&head[..4]), &head[8..HEAD])
}

fn u32_at(head: &[u8; HEAD], at: usize) -> u32 {
    u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]])
}

fn u64_at(head: &[u8; HEAD], at: usize) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&head[at..at + 8]);
    u64::from_le_bytes(bytes)
}

/// Sections begin on a multiple of 16 bytes.
const fn padded(len: usize) -> usize {
    len.next_multiple_of(16)
}

const MAGIC: &[u8; 8] = b"TSRVSNAP";
const VERSION: u32 = 1;
const SECTION_MAGIC: &[u8; 4] = b"TSSE";
const HEAD: usize = 48;
const MARKS: u8 = 1;
const VNODE: u8 = 2;
const END: u8 = 3;
const _: () = assert!(HEAD.is_multiple_of(16) && BLOCK.is_multiple_of(16));
