//! HELLO and HELLO_OK: who is there, and where each tenant lives.
//!
//! ```text
//! HELLO     16 magic u32 | 20 version u16 | 22 ack u8 | 23 zero u8 | 24 features u64
//!           32 producer u64 | 40 epoch u32 | 44 lane u16 | 46 software_len u16 | 48 software
//! HELLO_OK  16 version u16 | 18 ack u8 | 19 clock u8 | 20 generation u32 | 24 features u64
//!           32 server_time_ms u64 | 40 credit_until u64 | 48 next_seq u64
//!           56 slide_ms u32 | 60 panes u32 | 64 frame_bytes_max u32 | 68 frame_events_max u32
//!           72 shard u16 | 74 shard_count u16 | 76 vnode_count u16 | 78 zero u16
//!           80 shard of each vnode u16[vnode_count] | addresses[shard_count]
//! address    0 family u8 (4 or 6) | 1 zero u8 | 2 port u16 | 4 ip u8[16] (IPv4: the first 4)
//! ```

use crate::cursor::Cursor;
use crate::header::{FrameWriter, Kind};
use crate::id::TenantId;
use crate::limits::{SHARDS_MAX, SOFTWARE_BYTES_MAX, VNODES};
use crate::malformed::Malformed;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// When a frame is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum AckMode {
    /// Never.
    None = 0,
    /// In the owner shard's bounded queue.
    Received = 1,
    /// Later queries see it.
    Applied = 2,
    /// Its log bytes and a covering fdatasync have completed.
    Durable = 3,
}

impl AckMode {
    /// The mode with this number.
    #[must_use]
    pub const fn from_u8(n: u8) -> Option<Self> {
        match n {
            0 => Some(Self::None),
            1 => Some(Self::Received),
            2 => Some(Self::Applied),
            3 => Some(Self::Durable),
            _ => None,
        }
    }
}

/// What moves windows forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Clock {
    /// The server's wall clock.
    Wall = 0,
    /// Each tenant's largest event time.
    Event = 1,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct HelloHead {
    magic: U32,
    version: U16,
    ack: u8,
    zero: u8,
    features: U64,
    producer: U64,
    epoch: U32,
    lane: U16,
    software_len: U16,
}

/// The first frame of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello<'a> {
    /// When the client wants acknowledgements.
    pub ack: AckMode,
    /// Bits both sides must know to use; none yet.
    pub features: u64,
    /// The producer's id; 0 is anonymous: no marks outlive the connection.
    pub producer: u64,
    /// Grows when the producer starts anew; a newer epoch fences the older.
    pub epoch: u32,
    /// One of the producer's parallel sequences.
    pub lane: u16,
    /// Name and version of the client, for people who read logs.
    pub software: &'a str,
}

impl<'a> Hello<'a> {
    pub(crate) fn parse(body: &'a [u8]) -> Result<Self, Malformed> {
        let mut cursor = Cursor::new(body);
        let head: &HelloHead = cursor.view("HELLO")?;
        if head.magic.get() != MAGIC {
            return Err(Malformed::Magic(head.magic.get()));
        }
        if head.version.get() != VERSION {
            return Err(Malformed::Version(head.version.get()));
        }
        let ack = ack_of(head.ack)?;
        range("software_len", head.software_len.get(), 0, SOFTWARE_BYTES_MAX)?;
        range("reserved byte 23", u16::from(head.zero), 0, 0)?;
        let software = cursor.text(usize::from(head.software_len.get()), "the software name")?;
        cursor.end()?;
        Ok(Self {
            ack,
            features: head.features.get(),
            producer: head.producer.get(),
            epoch: head.epoch.get(),
            lane: head.lane.get(),
            software,
        })
    }

    /// Writes the frame; a software name over 64 bytes is cut at a character.
    pub fn encode(&self, out: &mut Vec<u8>) -> usize {
        let software = &self.software[..self.software.floor_char_boundary(SOFTWARE_BYTES_MAX)];
        let mut frame = FrameWriter::new(out, Kind::Hello, 0);
        frame.put(&HelloHead {
            magic: U32::new(MAGIC),
            version: U16::new(VERSION),
            ack: self.ack as u8,
            zero: 0,
            features: U64::new(self.features),
            producer: U64::new(self.producer),
            epoch: U32::new(self.epoch),
            lane: U16::new(self.lane),
            software_len: U16::new(u16::try_from(software.len()).unwrap_or(0)),
        });
        frame.put(software.as_bytes());
        frame.finish()
    }
}

#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct HelloOkHead {
    version: U16,
    ack: u8,
    clock: u8,
    generation: U32,
    features: U64,
    server_time_ms: U64,
    credit_until: U64,
    next_seq: U64,
    slide_ms: U32,
    panes: U32,
    frame_bytes_max: U32,
    frame_events_max: U32,
    shard: U16,
    shard_count: U16,
    vnode_count: U16,
    zero: U16,
}

/// Where one shard listens for producers that send straight to it.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct ShardAddress {
    family: u8,
    zero: u8,
    port: U16,
    ip: [u8; 16],
}

impl ShardAddress {
    /// The address on the wire.
    #[must_use]
    pub fn new(address: SocketAddr) -> Self {
        let mut ip = [0; 16];
        let family = match address.ip() {
            IpAddr::V4(v4) => {
                ip[..4].copy_from_slice(&v4.octets());
                4
            }
            IpAddr::V6(v6) => {
                ip = v6.octets();
                6
            }
        };
        Self { family, zero: 0, port: U16::new(address.port()), ip }
    }

    /// The address for a socket; `None` for an unknown family.
    #[must_use]
    pub fn socket(&self) -> Option<SocketAddr> {
        let ip = match self.family {
            4 => IpAddr::V4(Ipv4Addr::new(self.ip[0], self.ip[1], self.ip[2], self.ip[3])),
            6 => IpAddr::V6(Ipv6Addr::from(self.ip)),
            _ => return None,
        };
        Some(SocketAddr::new(ip, self.port.get()))
    }
}

/// Which shard owns each vnode.
#[derive(Clone, Copy, Debug)]
pub struct VnodeMap<'a>(&'a [U16]);

impl<'a> VnodeMap<'a> {
    /// The shard that owns a tenant.
    #[must_use]
    pub fn owner(&self, tenant: TenantId) -> u16 {
        self.0.get(tenant.vnode()).map_or(0, |shard| shard.get())
    }

    /// The shard of each vnode in turn.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = u16> + use<'a> {
        self.0.iter().map(|shard| shard.get())
    }
}

/// The first frame of the server.
#[derive(Clone, Copy, Debug)]
pub struct HelloOk<'a> {
    head: &'a HelloOkHead,
    /// Which shard owns each vnode.
    pub vnodes: VnodeMap<'a>,
    /// Where each shard listens.
    pub addresses: &'a [ShardAddress],
}

/// The plain numbers of HELLO_OK, for writing one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// The acknowledgement mode in force.
    pub ack: AckMode,
    /// What moves windows.
    pub clock: Clock,
    /// Generation of the vnode map.
    pub generation: u32,
    /// The server's clock, milliseconds since the epoch.
    pub server_time_ms: u64,
    /// Bytes of EVENTS frames the client may have sent on this connection in all.
    pub credit_until: u64,
    /// The sequence number the next EVENTS frame must carry.
    pub next_seq: u64,
    /// How far the window moves at a time.
    pub slide_ms: u32,
    /// Slides in a window.
    pub panes: u32,
    /// The shard this connection ended at.
    pub shard: u16,
}

impl<'a> HelloOk<'a> {
    pub(crate) fn parse(body: &'a [u8]) -> Result<Self, Malformed> {
        let mut cursor = Cursor::new(body);
        let head: &HelloOkHead = cursor.view("HELLO_OK")?;
        if head.version.get() != VERSION {
            return Err(Malformed::Version(head.version.get()));
        }
        ack_of(head.ack)?;
        range("clock", u16::from(head.clock), 0, 1)?;
        range("shard_count", head.shard_count.get(), 1, SHARDS_MAX)?;
        range("vnode_count", head.vnode_count.get(), VNODES, VNODES)?;
        range("shard", head.shard.get(), 0, usize::from(head.shard_count.get()) - 1)?;
        let vnodes = cursor.slice::<U16>(VNODES, "the vnode map")?;
        for shard in vnodes {
            range("shard of a vnode", shard.get(), 0, usize::from(head.shard_count.get()) - 1)?;
        }
        let addresses = cursor.slice(usize::from(head.shard_count.get()), "shard addresses")?;
        cursor.end()?;
        Ok(Self { head, vnodes: VnodeMap(vnodes), addresses })
    }

    /// The plain numbers.
    #[must_use]
    pub fn welcome(&self) -> Welcome {
        Welcome {
            ack: AckMode::from_u8(self.head.ack).unwrap_or(AckMode::None),
            clock: if self.head.clock == 0 { Clock::Wall } else { Clock::Event },
            generation: self.head.generation.get(),
            server_time_ms: self.head.server_time_ms.get(),
            credit_until: self.head.credit_until.get(),
            next_seq: self.head.next_seq.get(),
            slide_ms: self.head.slide_ms.get(),
            panes: self.head.panes.get(),
            shard: self.head.shard.get(),
        }
    }

    /// Largest frame and most events a frame that the server takes.
    #[must_use]
    pub const fn frame_limits(&self) -> (u32, u32) {
        (self.head.frame_bytes_max.get(), self.head.frame_events_max.get())
    }
}

impl Welcome {
    /// Writes HELLO_OK; `vnodes` holds the shard of each of the 4,096 vnodes.
    ///
    /// # Panics
    /// When the map or the addresses have the wrong size: the caller's bug.
    pub fn encode(&self, out: &mut Vec<u8>, vnodes: &[u16], addresses: &[ShardAddress]) -> usize {
        assert_eq!(vnodes.len(), VNODES, "a map has every vnode");
        assert!((1..=SHARDS_MAX).contains(&addresses.len()), "{} shards", addresses.len());
        let count = |n: usize| U16::new(u16::try_from(n).unwrap_or(u16::MAX));
        let limit = |n: usize| U32::new(u32::try_from(n).unwrap_or(u32::MAX));
        let mut frame = FrameWriter::new(out, Kind::HelloOk, 0);
        frame.put(&HelloOkHead {
            version: U16::new(VERSION),
            ack: self.ack as u8,
            clock: self.clock as u8,
            generation: U32::new(self.generation),
            features: U64::ZERO,
            server_time_ms: U64::new(self.server_time_ms),
            credit_until: U64::new(self.credit_until),
            next_seq: U64::new(self.next_seq),
            slide_ms: U32::new(self.slide_ms),
            panes: U32::new(self.panes),
            frame_bytes_max: limit(crate::limits::FRAME_BYTES_MAX),
            frame_events_max: limit(crate::limits::FRAME_EVENTS_MAX),
            shard: U16::new(self.shard),
            shard_count: count(addresses.len()),
            vnode_count: count(VNODES),
            zero: U16::ZERO,
        });
        for &shard in vnodes {
            frame.put(&U16::new(shard));
        }
        frame.put(addresses);
        frame.finish()
    }
}

fn ack_of(number: u8) -> Result<AckMode, Malformed> {
    let range = Malformed::Range { what: "ack mode", got: u64::from(number), min: 0, max: 3 };
    AckMode::from_u8(number).ok_or(range)
}

fn range(what: &'static str, got: u16, min: usize, max: usize) -> Result<(), Malformed> {
    if (min..=max).contains(&usize::from(got)) {
        return Ok(());
    }
    Err(Malformed::Range { what, got: u64::from(got), min: min as u64, max: max as u64 })
}

const MAGIC: u32 = u32::from_le_bytes(*b"TRND");
const VERSION: u16 = 1;
const _: () = assert!(size_of::<HelloHead>() == 32);
const _: () = assert!(size_of::<HelloOkHead>() == 64);
const _: () = assert!(size_of::<ShardAddress>() == 20);
