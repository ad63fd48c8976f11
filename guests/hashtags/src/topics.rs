//! The topics found in one text: each once, folded, and not more than there may be.

use crate::fold;
use crate::scan::eight;
use trend_guest::limits::NAME_BYTES_MAX;

/// Most topics of one text.
pub const TOPICS_MAX: usize = 8;

/// The topics found in one text so far.
pub struct Found {
    /// Where a name is put together; the folding writes eight bytes at a time.
    name: [u8; NAME_BYTES_MAX + 9],
    /// What was found, as hashes: the host compares the names themselves.
    hashes: [u64; TOPICS_MAX],
    len: usize,
}

impl Found {
    /// None so far.
    #[must_use]
    pub const fn new() -> Self {
        Self { name: [0; NAME_BYTES_MAX + 9], hashes: [0; TOPICS_MAX], len: 0 }
    }

    /// Begins another text.
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// Whether nothing was found.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds a name with an optional sign before it. A name that is too long is no topic. Returns
    /// whether there is room for more.
    pub(crate) fn add(
        &mut self,
        sign: Option<u8>,
        name: &[u8],
        add: &mut impl FnMut(&[u8]) -> bool,
    ) -> bool {
        let mut len = 0;
        if let Some(sign) = sign {
            self.name[0] = sign;
            len = 1;
        }
        if len + name.len() > NAME_BYTES_MAX {
            return true;
        }
        fold::write(name, &mut self.name, len);
        len += name.len();
        let mut hash = len as u64;
        let mut at = 0;
        while at + 8 < len {
            hash = mix(hash, eight(&self.name, at));
            at += 8;
        }
        let last = eight(&self.name, at) & u64::MAX >> (64 - 8 * (len - at).clamp(1, 8));
        self.add_new(mix(hash, last), len, add)
    }

    /// Adds a word of at most 8 bytes of ASCII, folded, low byte first.
    #[inline]
    pub(crate) fn add_short(
        &mut self,
        word: u64,
        len: usize,
        add: &mut impl FnMut(&[u8]) -> bool,
    ) -> bool {
        if let Some(name) = self.name.first_chunk_mut() {
            *name = word.to_le_bytes();
        }
        self.add_new(mix(len as u64, word), len, add)
    }

    /// Adds the name that was put together, unless it is known.
    #[inline]
    fn add_new(&mut self, hash: u64, len: usize, add: &mut impl FnMut(&[u8]) -> bool) -> bool {
        for known in self.hashes.iter().take(self.len) {
            if *known == hash {
                return true;
            }
        }
        let name = self.name.get(..len).unwrap_or_default();
        match self.hashes.get_mut(self.len) {
            Some(slot) if add(name) => *slot = hash,
            _ => return false,
        }
        self.len += 1;
        self.len < TOPICS_MAX
    }
}

impl Default for Found {
    fn default() -> Self {
        Self::new()
    }
}

fn mix(hash: u64, bytes: u64) -> u64 {
    (hash ^ bytes).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29)
}
