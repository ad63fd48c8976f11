//! Takes away from the calling process what compiling a stranger's program does not need.
//!
//! ```text
//!   CPU    seconds, then SIGXCPU        files  a few descriptors, none of them written
//!   memory address space                core   none
//!   rights no new ones                  parent gone: killed
//! ```
#![expect(unsafe_code, reason = "system calls without a safe wrapper; numbers go in and out")]

use crate::config::limits::ARTEFACT_BYTES_MAX;
use std::io;

/// What is left.
#[derive(Clone, Copy, Debug)]
pub(super) struct Confines {
    pub(super) cpu_seconds_max: u64,
    pub(super) memory_bytes_max: u64,
}

/// Confines the process that calls; nothing of it can be taken back.
///
/// # Errors
/// When the kernel refuses one of the limits.
pub(super) fn confine(confines: &Confines) -> io::Result<()> {
    let Confines { cpu_seconds_max, memory_bytes_max } = *confines;
    for (resource, soft, hard) in [
        // The signal of the soft limit says why; the hard one is for a process that ignores it.
        (libc::RLIMIT_CPU, cpu_seconds_max, cpu_seconds_max + 1),
        (libc::RLIMIT_AS, memory_bytes_max, memory_bytes_max),
        (libc::RLIMIT_NOFILE, OPEN_FILES_MAX, OPEN_FILES_MAX),
        (libc::RLIMIT_FSIZE, FILE_BYTES_MAX, FILE_BYTES_MAX),
        (libc::RLIMIT_CORE, 0, 0),
    ] {
        lower(resource, soft, hard)?;
    }
    let (on, off): (libc::c_ulong, libc::c_ulong) = (1, 0);
    let kill = libc::c_ulong::from(libc::SIGKILL.unsigned_abs());
    // SAFETY: these calls take and return numbers only.
    let results = unsafe {
        [
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, on, off, off, off),
            libc::prctl(libc::PR_SET_PDEATHSIG, kill, off, off, off),
            libc::setpriority(libc::PRIO_PROCESS, 0, NICE),
        ]
    };
    if results.contains(&-1) { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The user whose rights this process has.
pub(super) fn effective_user() -> u32 {
    // SAFETY: the call takes nothing, returns a number and cannot fail.
    unsafe { libc::geteuid() }
}

/// Lowers a limit, or leaves one that is lower already.
fn lower(resource: libc::__rlimit_resource_t, soft: u64, hard: u64) -> io::Result<()> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is to a live rlimit that the kernel fills.
    if unsafe { libc::getrlimit(resource, &raw mut limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    limit.rlim_max = limit.rlim_max.min(hard);
    limit.rlim_cur = limit.rlim_cur.min(soft).min(limit.rlim_max);
    // SAFETY: the pointer is to a live, fully initialised rlimit.
    match unsafe { libc::setrlimit(resource, &raw const limit) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Standard input, output and error, and what a library opens on the way.
const OPEN_FILES_MAX: u64 = 8;
/// Its output, if that is a file.
const FILE_BYTES_MAX: u64 = ARTEFACT_BYTES_MAX as u64;
/// Compiling yields to everything else.
const NICE: libc::c_int = 19;
