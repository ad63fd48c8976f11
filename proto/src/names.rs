//! DEFINE and NEED: names travel once.
//!
//! ```text
//! DEFINE  16 count u32 | 20 zero u32 | 24 entries: kind u8 | len u8 | zero u16 | id u64 | name
//! NEED    16 count u32 | 20 zero u32 | 24 entries: id u64 | kind u8 | zero u8[7]
//! ```

use crate::cursor::Cursor;
use crate::header::{FrameWriter, Kind};
use crate::id::{TenantId, check_name};
use crate::limits::NAMES_PER_FRAME_MAX;
use crate::malformed::Malformed;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// What an id names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum NameKind {
    /// A tenant.
    Tenant = 1,
    /// A topic.
    Topic = 2,
}

impl NameKind {
    const fn from_u8(n: u8) -> Option<Self> {
        match n {
            1 => Some(Self::Tenant),
            2 => Some(Self::Topic),
            _ => None,
        }
    }
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct ListHead {
    count: U32,
    zero: U32,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct DefineHead {
    kind: u8,
    len: u8,
    zero: U16,
    id: U64,
}

/// Names of ids; each name is checked and hashes to its id.
#[derive(Clone, Copy, Debug)]
pub struct Define<'a> {
    count: u32,
    entries: &'a [u8],
}

impl<'a> Define<'a> {
    pub(crate) fn parse(body: &'a [u8]) -> Result<Self, Malformed> {
        let mut cursor = Cursor::new(body);
        let count = list_count(&mut cursor)?;
        let entries = cursor.rest();
        for index in 0..count {
            let (_, id, name) = read_define(&mut cursor, index)?;
            let name = check_name(name).map_err(|source| Malformed::Name { index, source })?;
            let want = TenantId::of(name).0;
            if id != want {
                return Err(Malformed::WrongId { index, got: id, want });
            }
        }
        cursor.end()?;
        Ok(Self { count, entries })
    }

    /// How many.
    #[must_use]
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// Kind, id and name of each.
    pub fn iter(&self) -> impl Iterator<Item = (NameKind, u64, &'a str)> + use<'a> {
        let mut cursor = Cursor::new(self.entries);
        // The parse has read every entry once, so reading them again cannot fail.
        (0..self.count).map_while(move |index| {
            let (kind, id, name) = read_define(&mut cursor, index).ok()?;
            Some((kind, id, std::str::from_utf8(name).ok()?))
        })
    }
}

fn read_define<'a>(
    cursor: &mut Cursor<'a>,
    index: u32,
) -> Result<(NameKind, u64, &'a [u8]), Malformed> {
    let head: &DefineHead = cursor.view("a definition")?;
    let kind = kind_of(head.kind, index)?;
    reserved(u64::from(head.zero.get()), index)?;
    let name = cursor.bytes(usize::from(head.len), "a name")?;
    Ok((kind, head.id.get(), name))
}

fn kind_of(number: u8, index: u32) -> Result<NameKind, Malformed> {
    let got = u64::from(number);
    let bad = Malformed::Entry { what: "kind of name", index, got, min: 1, max: 2 };
    NameKind::from_u8(number).ok_or(bad)
}

const fn reserved(got: u64, index: u32) -> Result<(), Malformed> {
    if got == 0 {
        return Ok(());
    }
    Err(Malformed::Entry { what: "reserved", index, got, min: 0, max: 0 })
}

fn list_count(cursor: &mut Cursor<'_>) -> Result<u32, Malformed> {
    let head: &ListHead = cursor.view("a list of names")?;
    let max = NAMES_PER_FRAME_MAX as u64;
    let got = u64::from(head.count.get());
    if got > max {
        return Err(Malformed::TooMany { what: "name count", got, max });
    }
    reserved(u64::from(head.zero.get()), 0)?;
    Ok(head.count.get())
}

/// Writes a DEFINE frame; returns how many of the names it holds: as many as fit one frame.
///
/// # Panics
/// With a name over 255 bytes: the caller checks names where they come in.
pub fn encode_define<'n>(
    out: &mut Vec<u8>,
    names: impl IntoIterator<Item = (NameKind, &'n str)>,
) -> u32 {
    let mut frame = FrameWriter::new(out, Kind::Define, 0);
    frame.put(&ListHead { count: U32::ZERO, zero: U32::ZERO });
    let mut count = 0_u32;
    for (kind, name) in names.into_iter().take(NAMES_PER_FRAME_MAX) {
        assert!(name.len() <= crate::limits::NAME_BYTES_MAX, "name of {} bytes", name.len());
        if frame.len() + size_of::<DefineHead>() + name.len() > crate::limits::FRAME_BYTES_MAX {
            break;
        }
        let len = u8::try_from(name.len()).unwrap_or(u8::MAX);
        let id = U64::new(TenantId::of(name).0);
        frame.put(&DefineHead { kind: kind as u8, len, zero: U16::ZERO, id });
        frame.put(name.as_bytes());
        count += 1;
    }
    frame.body_mut()[..4].copy_from_slice(&count.to_le_bytes());
    frame.finish();
    count
}

/// One id whose name the server lacks.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct NeedEntry {
    id: U64,
    kind: u8,
    zero: [u8; 7],
}

impl NeedEntry {
    /// An entry.
    #[must_use]
    pub const fn new(kind: NameKind, id: u64) -> Self {
        Self { id: U64::new(id), kind: kind as u8, zero: [0; 7] }
    }

    /// The id.
    #[must_use]
    pub const fn id(&self) -> u64 {
        self.id.get()
    }

    /// What it names.
    #[must_use]
    pub fn kind(&self) -> NameKind {
        // The parse has let only known kinds pass.
        NameKind::from_u8(self.kind).unwrap_or(NameKind::Topic)
    }
}

/// Ids whose names the server lacks.
#[derive(Clone, Copy, Debug)]
pub struct Need<'a> {
    /// The ids.
    pub entries: &'a [NeedEntry],
}

impl<'a> Need<'a> {
    pub(crate) fn parse(body: &'a [u8]) -> Result<Self, Malformed> {
        let mut cursor = Cursor::new(body);
        let count = list_count(&mut cursor)?;
        let entries = cursor.slice::<NeedEntry>(count as usize, "needed ids")?;
        cursor.end()?;
        for (index, entry) in (0_u32..).zip(entries) {
            kind_of(entry.kind, index)?;
            reserved(u64::from(entry.zero.iter().fold(0, |all, b| all | b)), index)?;
        }
        Ok(Self { entries })
    }
}

/// Writes a NEED frame.
///
/// # Panics
/// With more than 4,096 entries: the caller's bug.
pub fn encode_need(out: &mut Vec<u8>, entries: &[NeedEntry]) -> usize {
    assert!(entries.len() <= NAMES_PER_FRAME_MAX, "{} names needed", entries.len());
    let count = U32::new(u32::try_from(entries.len()).unwrap_or(u32::MAX));
    let mut frame = FrameWriter::new(out, Kind::Need, 0);
    frame.put(&ListHead { count, zero: U32::ZERO }).put(entries);
    frame.finish()
}

const _: () = assert!(size_of::<DefineHead>() == 12);
const _: () = assert!(size_of::<NeedEntry>() == 16);
