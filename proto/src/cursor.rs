//! Reads a body front to back; every step says where it failed.

use crate::limits::HEADER_BYTES;
use crate::malformed::Malformed;
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

/// A place in a frame's body.
#[derive(Clone)]
pub(crate) struct Cursor<'a> {
    rest: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    /// Starts at the first byte of the body.
    pub(crate) const fn new(body: &'a [u8]) -> Self {
        Self { rest: body, at: HEADER_BYTES }
    }

    /// Bytes not read yet.
    pub(crate) const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// A fixed-size part.
    pub(crate) fn view<T>(&mut self, what: &'static str) -> Result<&'a T, Malformed>
    where
        T: FromBytes + KnownLayout + Immutable + Unaligned,
    {
        let bytes = self.bytes(size_of::<T>(), what)?;
        T::ref_from_bytes(bytes).map_err(|_| Malformed::Short { what, at: self.at })
    }

    /// A run of `count` fixed-size parts.
    pub(crate) fn slice<T>(
        &mut self,
        count: usize,
        what: &'static str,
    ) -> Result<&'a [T], Malformed>
    where
        T: FromBytes + Immutable + Unaligned + KnownLayout,
    {
        let size = count.saturating_mul(size_of::<T>());
        let bytes = self.bytes(size, what)?;
        <[T]>::ref_from_bytes(bytes).map_err(|_| Malformed::Short { what, at: self.at })
    }

    /// `size` bytes as they are.
    pub(crate) fn bytes(&mut self, size: usize, what: &'static str) -> Result<&'a [u8], Malformed> {
        let Some((head, rest)) = self.rest.split_at_checked(size) else {
            return Err(Malformed::Short { what, at: self.at });
        };
        self.rest = rest;
        self.at += size;
        Ok(head)
    }

    /// `size` bytes that must be UTF-8.
    pub(crate) fn text(&mut self, size: usize, what: &'static str) -> Result<&'a str, Malformed> {
        let at = self.at;
        std::str::from_utf8(self.bytes(size, what)?)
            .map_err(|e| Malformed::NotUtf8 { what, at: at + e.valid_up_to() })
    }

    /// Nothing may follow.
    pub(crate) const fn end(&self) -> Result<(), Malformed> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(Malformed::Trailing { bytes: self.rest.len(), at: self.at })
        }
    }
}
