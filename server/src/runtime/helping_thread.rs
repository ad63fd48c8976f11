//! How the threads that help a shard share its machine when every core is busy.
//!
//! Linux picks the runnable thread whose slice ends first (EEVDF, since 6.6; slices can be set
//! since 6.12). A thread with a slice of 3 ms that wakes beside one that spins waits until that
//! one's slice is over; a thread with a slice of 100 µs goes first, and gives way as soon. It gets no
//! larger share of the core by this, and needs no privilege.

use std::io;
use std::time::Duration;

/// Makes the calling thread go first when it wakes, and for a short while only, on any core of the
/// process.
///
/// A kernel that refuses leaves it where it is: only its latency is worse, and the log says so.
pub(crate) fn serve_at_once() {
    leave_the_core();
    if let Err(error) = set_slice(SLICE) {
        tracing::info!("no short time slice for commits, durable answers take longer: {error}");
    }
}

/// Lets the calling thread run on any core of the process: it inherits the one core of the shard
/// that starts it. The main thread is never pinned.
pub(crate) fn leave_the_core() {
    // SAFETY: an all-zero cpu_set_t is the empty set.
    let mut cores: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    let (bytes, process) = (size_of_val(&cores), std::process::id().cast_signed());
    // SAFETY: the set outlives the call and its size is its own.
    if unsafe { libc::sched_getaffinity(process, bytes, &raw mut cores) } == 0 {
        // SAFETY: as above. Refused, the thread shares the shard's core.
        unsafe { libc::sched_setaffinity(0, bytes, &raw const cores) };
    }
}

fn set_slice(slice: Duration) -> io::Result<()> {
    // SAFETY: a sched_attr is a plain struct of integers.
    let mut attributes: libc::sched_attr = unsafe { std::mem::zeroed() };
    let (bytes, thread, flags) = (size_of_val(&attributes), 0, 0);
    // SAFETY: the kernel writes at most as many bytes as it is told. Policy and priority stay.
    let asked = unsafe {
        libc::syscall(libc::SYS_sched_getattr, thread, &raw mut attributes, bytes, flags)
    };
    if asked != 0 {
        return Err(io::Error::last_os_error());
    }
    attributes.sched_runtime = u64::try_from(slice.as_nanos()).unwrap_or_default();
    // SAFETY: the kernel reads as many bytes as `size` says, which it has just written.
    let set =
        unsafe { libc::syscall(libc::SYS_sched_setattr, thread, &raw const attributes, flags) };
    if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The shortest that the kernel takes.
const SLICE: Duration = Duration::from_micros(100);
