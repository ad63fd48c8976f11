//! A child for which `io_uring_setup` fails, as in a container whose profile forbids it, or on a
//! kernel without it.
#![allow(unsafe_code, reason = "a seccomp filter of a child is set between fork and exec")]

use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// Lets `io_uring_setup` of this command's process fail with `errno`.
pub(crate) fn without_io_uring(command: &mut Command, errno: i32) {
    let errno = u32::try_from(errno).unwrap();
    // SAFETY: the closure makes system calls only, no allocation, as code between fork and exec
    // must.
    unsafe { command.pre_exec(move || install(errno)) };
}

/// The filter: load the number of the call; if it is io_uring_setup, fail; else allow.
fn install(errno: u32) -> io::Result<()> {
    let step = |code: u32, k: u32, jf: u8| libc::sock_filter {
        code: u16::try_from(code).unwrap_or(0),
        jt: 0,
        jf,
        k,
    };
    let call = u32::try_from(libc::SYS_io_uring_setup).unwrap_or(u32::MAX);
    let mut steps = [
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0),
        step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, call, 1),
        step(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ERRNO | errno, 0),
        step(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW, 0),
    ];
    let program = libc::sock_fprog { len: 4, filter: steps.as_mut_ptr() };
    let on: libc::c_ulong = 1;
    let off: libc::c_ulong = 0;
    // SAFETY: the first call takes numbers only; the second copies the program, which outlives it
    // together with its steps, of which there are as many as it says.
    let result = unsafe {
        if libc::prctl(libc::PR_SET_NO_NEW_PRIVS, on, off, off, off) != 0 {
            return Err(io::Error::last_os_error());
        }
        let filter = libc::c_ulong::from(libc::SECCOMP_MODE_FILTER);
        libc::prctl(libc::PR_SET_SECCOMP, filter, &raw const program)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
