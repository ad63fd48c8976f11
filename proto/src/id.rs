//! Identity: how names become ids and where an id lives.

use crate::limits::{NAME_BYTES_MAX, VNODES};
use thiserror::Error;
use xxhash_rust::xxh3::xxh3_64;

/// A tenant's id: XXH3-64 (seed 0) of its UTF-8 name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TenantId(pub u64);

/// A topic's id: XXH3-64 (seed 0) of its UTF-8 name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicId(pub u64);

impl TenantId {
    /// The id of a tenant's name.
    #[must_use]
    pub fn of(name: &str) -> Self {
        Self(xxh3_64(name.as_bytes()))
    }

    /// The vnode that owns this tenant: the top 12 bits of `fmix64(id)`.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "12 bits are left after the shift")]
    pub const fn vnode(self) -> usize {
        (fmix64(self.0) >> (64 - VNODES.trailing_zeros())) as usize
    }
}

impl TopicId {
    /// The id of a topic's name.
    #[must_use]
    pub fn of(name: &str) -> Self {
        Self(xxh3_64(name.as_bytes()))
    }
}

/// The 64-bit finaliser of MurmurHash3 (Austin Appleby, public domain): every input bit reaches
/// every output bit.
#[must_use]
pub const fn fmix64(mut x: u64) -> u64 {
    x ^= x >> 33;
    x = x.wrapping_mul(0xff51_afd7_ed55_8ccd);
    x ^= x >> 33;
    x = x.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    x ^ (x >> 33)
}

/// Why a name is not one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NameError {
    /// No bytes at all.
    #[error("name is empty; 1 to {NAME_BYTES_MAX} bytes of UTF-8 are allowed")]
    Empty,
    /// Too many bytes.
    #[error("name has {0} bytes; at most {NAME_BYTES_MAX} are allowed")]
    TooLong(usize),
    /// Not UTF-8.
    #[error("name is not UTF-8 at byte {0}")]
    NotUtf8(usize),
    /// A control character, such as a line feed.
    #[error("name has a control character at byte {0}")]
    Control(usize),
}

/// Checks the rule for names: 1 to 255 bytes of UTF-8 without control characters.
///
/// # Errors
/// Says which part of the rule is broken, and where.
pub fn check_name(bytes: &[u8]) -> Result<&str, NameError> {
    if bytes.is_empty() {
        return Err(NameError::Empty);
    }
    if bytes.len() > NAME_BYTES_MAX {
        return Err(NameError::TooLong(bytes.len()));
    }
    let name = std::str::from_utf8(bytes).map_err(|e| NameError::NotUtf8(e.valid_up_to()))?;
    match find_control(name) {
        Some(at) => Err(NameError::Control(at)),
        None => Ok(name),
    }
}

/// Where the first control character of a text lies.
///
/// Most texts have no byte that one could begin with; only others are gone through by characters.
#[must_use]
pub fn find_control(text: &str) -> Option<usize> {
    let begins_one = |byte: u8| byte < b' ' || byte == DELETE || byte == C1_LEAD;
    if !text.bytes().fold(false, |so_far, byte| so_far | begins_one(byte)) {
        return None;
    }
    text.char_indices().find(|(_, c)| c.is_control()).map(|(at, _)| at)
}

const DELETE: u8 = 0x7f;
/// The first byte of U+0080 to U+00BF in UTF-8; those below U+00A0 are control characters.
const C1_LEAD: u8 = 0xc2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_control_character_is_found_and_nothing_else() {
        for c in (0..=0x2_ffff).filter_map(char::from_u32) {
            let found = find_control(&format!("a{c}b"));
            assert_eq!(found, c.is_control().then_some(1), "{c:?}");
        }
    }

    #[test]
    fn ids_are_xxh3_of_the_name() {
        // Reference value of XXH3-64 with seed 0 for the empty input, from the xxHash project.
        assert_eq!(xxh3_64(b""), 0x2d06_8005_38d3_94c2);
        assert_eq!(TenantId::of("#en.wikipedia").0, xxh3_64(b"#en.wikipedia"));
        assert_eq!(TopicId::of("a").0, TenantId::of("a").0);
    }

    #[test]
    fn vnodes_spread_evenly() {
        let mut hits = vec![0_u32; VNODES];
        for i in 0..VNODES * 64 {
            hits[TenantId::of(&format!("tenant-{i}")).vnode()] += 1;
        }
        assert!(hits.iter().all(|&n| (16..160).contains(&n)), "uneven: {hits:?}");
    }

    #[test]
    fn names_are_checked_with_a_place() {
        assert_eq!(check_name(b""), Err(NameError::Empty));
        assert_eq!(check_name(&[b'a'; 256]), Err(NameError::TooLong(256)));
        assert_eq!(check_name(b"ab\xff"), Err(NameError::NotUtf8(2)));
        assert_eq!(check_name("é\n".as_bytes()), Err(NameError::Control(2)));
        assert_eq!(check_name("naïve café".as_bytes()), Ok("naïve café"));
    }
}
