//! #hashtags and @mentions.
//!
//! A tag is a sign and the letters, digits, marks and underscores behind it, one of them not a
//! digit. The sign stands at the beginning or behind something that no link, address or entity
//! is made of (`a@b.org`, `x.org/#top` and `&#39;` hold no tags). `#北京#` is one tag: a second sign closes it.

use crate::scan::{DIGIT, Kind, NO_TAG, UNDERSCORE, WIDE, WORD, bits, eight, wide_unit};
use crate::topics::Found;

/// Adds the tags of a text.
pub(crate) fn find(text: &[u8], found: &mut Found, add: &mut impl FnMut(&[u8]) -> bool) {
    let mut at = 0;
    while let Some(sign_at) = next_sign(text, at) {
        at = sign_at + 1;
        if sign_at > 0 && bits(text, sign_at - 1) & NO_TAG != 0 {
            continue;
        }
        let (end, is_name) = tag_end(text, at);
        let name = text.get(at..end).unwrap_or_default();
        at = end;
        let sign = text.get(sign_at).copied();
        if is_name && !found.add(sign, name, add) {
            return;
        }
        if end > sign_at + 1 && text.get(end).copied() == sign {
            at += 1;
        }
    }
}

/// Where the next `#` or `@` is: eight bytes at a time.
fn next_sign(text: &[u8], mut at: usize) -> Option<usize> {
    while at < text.len() {
        let bytes = eight(text, at);
        let signs = zeros(bytes ^ (ONES * 0x23)) | zeros(bytes ^ (ONES * 0x40));
        if signs != 0 {
            return Some(at + (signs.trailing_zeros() / 8) as usize);
        }
        at += 8;
    }
    None
}

/// The high bit of each zero byte; the lowest bit set is right, those above it may not be.
fn zeros(bytes: u64) -> u64 {
    bytes.wrapping_sub(ONES) & !bytes & (ONES << 7)
}

/// Where the name behind a sign ends, and whether it is one.
fn tag_end(text: &[u8], mut at: usize) -> (usize, bool) {
    let mut is_name = false;
    loop {
        let of = bits(text, at);
        if of & (WORD | UNDERSCORE) != 0 {
            is_name |= of & (DIGIT | UNDERSCORE) == 0;
            at += 1;
        } else if of & WIDE != 0 {
            let (kind, size) = wide_unit(text, at);
            if kind == Kind::Gap {
                return (at, is_name);
            }
            is_name = true;
            at += size;
        } else {
            return (at, is_name);
        }
    }
}

const ONES: u64 = 0x0101_0101_0101_0101;
