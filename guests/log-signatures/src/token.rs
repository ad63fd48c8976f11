//! Masks for what differs from line to line.
//!
//! ```text
//! <id>    550e8400-e29b-41d4-a716-446655440000   0x7ffe12   deadbeef01   00:1a:2b:3c:4d:5e
//!         16 letters and digits or more, 4 of them digits
//! <addr>  10.0.0.1   10.0.0.1:80   ::1   fe80::1   db.example.org:5432   localhost:8080
//! <n>     7   30.5 (of 30.5ms)   3 (of worker-3)   1.2.3
//! ```

use crate::bytes::{BITS, DIGIT, HEX, JOINT, LETTER, bits, run_end};
use crate::template::Template;

/// Writes a token: a run of letters, digits, and `.` `:` `-` `_`.
pub(crate) fn write(token: &[u8], out: &mut Template) {
    // What ends a sentence or a clause is no part of the value before it.
    let end = token.iter().rposition(|byte| !b".:-_".contains(byte)).map_or(0, |last| last + 1);
    let Some((value, tail)) = token.split_at_checked(end) else { return };
    match Shape::of(value.get(..SHAPE_BYTES_MAX).unwrap_or(value)).mask() {
        Some(mask) => out.text(mask),
        None => write_numbers(value, out),
    }
    write_numbers(tail, out);
}

/// What a token is made of.
#[derive(Default)]
struct Shape<'a> {
    value: &'a [u8],
    digits: usize,
    letters: usize,
    hex_letters: usize,
    colons: usize,
    dots: usize,
    dashes: usize,
    underscores: usize,
}

impl<'a> Shape<'a> {
    fn of(value: &'a [u8]) -> Self {
        let mut shape = Self { value, ..Self::default() };
        for byte in value {
            let of = BITS[usize::from(*byte)];
            if of & LETTER != 0 {
                shape.letters += 1;
                shape.hex_letters += usize::from(of & HEX != 0);
            } else if of & DIGIT != 0 {
                shape.digits += 1;
            } else {
                match byte {
                    b':' => shape.colons += 1,
                    b'.' => shape.dots += 1,
                    b'-' => shape.dashes += 1,
                    _ => shape.underscores += 1,
                }
            }
        }
        shape
    }

    fn mask(&self) -> Option<&'static [u8]> {
        if self.digits == 0 && self.colons < 2 {
            return None;
        }
        if self.is_id() {
            Some(b"<id>")
        } else if self.is_address() {
            Some(b"<addr>")
        } else {
            None
        }
    }

    fn is_id(&self) -> bool {
        let joints = self.colons + self.dots + self.dashes + self.underscores;
        let is_hex = self.letters == self.hex_letters;
        let len = self.value.len();
        match joints {
            0 if self.value.starts_with(b"0x") => self.letters == self.hex_letters + 1 && len > 2,
            0 if is_hex && len >= HEX_BYTES_MIN => self.letters > 0 && self.digits > 0,
            0 => len >= 16 && self.digits >= 4 && self.letters > 0,
            4 => is_hex && len == 36 && self.has_joint_at(b'-', &[8, 13, 18, 23]),
            5 => is_hex && len == 17 && self.has_joint_at(b':', &[2, 5, 8, 11, 14]),
            _ => false,
        }
    }

    fn is_address(&self) -> bool {
        if self.dashes + self.underscores + self.letters == 0 && self.dots == 3 && self.colons <= 1
        {
            return self.is_ipv4();
        }
        let is_hex = self.letters == self.hex_letters && self.dashes + self.underscores == 0;
        if is_hex && (2..=7).contains(&self.colons) && (self.dots == 0 || self.dots == 3) {
            let groups = self.value.split(|byte| *byte == b':');
            let is_short = self.dots > 0 || groups.clone().all(|group| group.len() <= 4);
            let has_gap = self.value.windows(2).any(|two| two == b"::");
            return is_short && (has_gap || self.colons == 7);
        }
        self.colons == 1 && self.is_host_and_port()
    }

    fn is_ipv4(&self) -> bool {
        let mut parts = self.value.split(|byte| *byte == b':');
        let address = parts.next().unwrap_or_default();
        let port = parts.next().unwrap_or(b"0");
        let is_part = |part: &[u8]| (1..=3).contains(&part.len());
        address.split(|byte| *byte == b'.').all(is_part)
            && address.iter().filter(|byte| **byte == b'.').count() == 3
            && (1..=5).contains(&port.len())
    }

    fn is_host_and_port(&self) -> bool {
        let mut parts = self.value.split(|byte| *byte == b':');
        let (host, port) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let is_port = (1..=5).contains(&port.len()) && run_end(port, 0, DIGIT) == port.len();
        let has_letter = (0..host.len()).any(|at| bits(host, at) & LETTER != 0);
        is_port && has_letter && (host == b"localhost" || host.contains(&b'.'))
    }

    fn has_joint_at(&self, joint: u8, places: &[usize]) -> bool {
        places.iter().all(|place| self.value.get(*place) == Some(&joint))
    }
}

/// Writes a token with its numbers masked; `1.2.3` is one number.
fn write_numbers(token: &[u8], out: &mut Template) {
    let mut at = 0;
    while at < token.len() && !out.is_full() {
        let start = at;
        let of = bits(token, at);
        if of & DIGIT != 0 {
            at = run_end(token, at, DIGIT);
            while token.get(at) == Some(&b'.') && bits(token, at + 1) & DIGIT != 0 {
                at = run_end(token, at + 1, DIGIT);
            }
            out.text(b"<n>");
        } else {
            at = run_end(token, at, LETTER | JOINT).max(at + 1);
            out.text(token.get(start..at).unwrap_or_default());
        }
    }
}

/// Shortest run of hex digits that is an id.
const HEX_BYTES_MIN: usize = 8;

/// How much of a token decides what it is.
const SHAPE_BYTES_MAX: usize = 64;
