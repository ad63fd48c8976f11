//! Parts of a slice and little-endian numbers in it. What lies outside of the slice is a trap.
//!
//! Indexing would trap as well, but brings its message and the machinery that prints it into every
//! program, and the message into every instance's memory.

/// Ends the call: the program, or what the host wrote, is wrong.
#[cold]
pub(crate) fn trap() -> ! {
    #[cfg(target_arch = "wasm32")]
    core::arch::wasm32::unreachable();
    #[cfg(not(target_arch = "wasm32"))]
    panic!("a program trapped");
}

#[inline]
pub(crate) fn part(bytes: &[u8], at: usize, len: usize) -> &[u8] {
    bytes.get(at..).and_then(|rest| rest.get(..len)).unwrap_or_else(|| trap())
}

#[inline]
pub(crate) fn part_mut(bytes: &mut [u8], at: usize, len: usize) -> &mut [u8] {
    bytes.get_mut(at..).and_then(|rest| rest.get_mut(..len)).unwrap_or_else(|| trap())
}

#[inline]
pub(crate) fn split_mut(bytes: &mut [u8], at: usize) -> (&mut [u8], &mut [u8]) {
    bytes.split_at_mut_checked(at).unwrap_or_else(|| trap())
}

#[inline]
pub(crate) fn chunk<const N: usize>(bytes: &[u8], at: usize) -> &[u8; N] {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).unwrap_or_else(|| trap())
}

#[inline]
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(*chunk(bytes, at))
}

#[inline]
pub(crate) fn size_at(bytes: &[u8], at: usize) -> usize {
    u32_at(bytes, at) as usize
}

#[inline]
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(*chunk(bytes, at))
}

/// Writes `value` at `at`.
#[inline]
pub(crate) fn put<const N: usize>(bytes: &mut [u8], at: usize, value: [u8; N]) {
    match bytes.get_mut(at..).and_then(|rest| rest.first_chunk_mut()) {
        Some(chunk) => *chunk = value,
        None => trap(),
    }
}

/// Copies `from` into `bytes` at `at`, eight bytes at a time: a bulk copy's fixed price is too high for names.
/// The last eight may overlap those before them. Traps when it does not fit.
#[inline]
pub fn copy(bytes: &mut [u8], at: usize, from: &[u8]) {
    let to = part_mut(bytes, at, from.len());
    let eights = to.as_chunks_mut::<8>().0.iter_mut().zip(from.as_chunks::<8>().0);
    eights.for_each(|(to, from)| *to = *from);
    if let (Some(to), Some(from)) = (to.last_chunk_mut::<8>(), from.last_chunk()) {
        *to = *from;
    } else if let (Some(first), Some(last)) = (from.first_chunk::<4>(), from.last_chunk::<4>()) {
        put(to, 0, *first);
        put(to, from.len() - 4, *last);
    } else {
        to.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
    }
}

/// The low 8 bits of a number that is known to fit.
#[inline]
pub(crate) fn low_u8(number: u64) -> u8 {
    number.to_le_bytes()[0]
}

/// The low 16 bits of a number that is known to fit.
#[inline]
pub(crate) fn low_u16(number: usize) -> u16 {
    let bytes = number.to_le_bytes();
    u16::from_le_bytes([bytes[0], bytes[1]])
}
