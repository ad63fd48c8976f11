//! Everything that can go wrong when shards are started, with the way out in the message.

use std::io;

/// Why a shard could not be started or did not end well.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// The soft limit on locked memory is below what the rings of all shards pin.
    #[error(
        "the limit on locked memory is {limit_bytes} bytes (RLIMIT_MEMLOCK, soft), but \
         {shards} shard(s) need {need_bytes}; raise it with `ulimit -l {}`, with LimitMEMLOCK={} \
         in the systemd unit, or start fewer shards with --shards",
        need_bytes.div_ceil(1024), need_bytes
    )]
    MemlockTooSmall {
        /// The soft limit found.
        limit_bytes: u64,
        /// What the shards need together.
        need_bytes: u64,
        /// How many shards were asked for.
        shards: usize,
    },

    /// The kernel refused to lock more memory in the middle of starting.
    #[error(
        "no memory left to lock in {at} (ENOMEM); the limit is {limit_bytes} bytes \
         (RLIMIT_MEMLOCK, soft) and counts all processes of this user; raise it with `ulimit -l`, \
         with LimitMEMLOCK= in the systemd unit, or start fewer shards with --shards"
    )]
    MemlockRanOut {
        /// The step that failed.
        at: &'static str,
        /// The soft limit found.
        limit_bytes: u64,
    },

    /// The kernel knows no io_uring at all.
    #[error(
        "this kernel has no io_uring (io_uring_setup: ENOSYS); Linux 6.1 or newer, built with \
         CONFIG_IO_URING, is needed; some sandboxes (gVisor) hide it as well"
    )]
    NoIoUring,

    /// The kernel has io_uring but refuses it to this process.
    #[error(
        "io_uring is forbidden here (io_uring_setup: EPERM); either `sysctl \
         kernel.io_uring_disabled` is not 0 (now: {sysctl}), or the container's seccomp profile \
         blocks it: allow io_uring_setup, io_uring_enter and io_uring_register in that profile \
         (Docker: --security-opt seccomp=FILE)"
    )]
    IoUringForbidden {
        /// The value of `kernel.io_uring_disabled`, or `unknown`.
        sysctl: String,
    },

    /// The kernel's io_uring lacks what the ring is built on.
    #[error(
        "this kernel's io_uring is too old: {missing} is missing; Linux 6.1 or newer is needed, \
         this is {kernel}"
    )]
    IoUringTooOld {
        /// The feature that is missing.
        missing: &'static str,
        /// The running kernel's release.
        kernel: String,
    },

    /// A core was named that this process may not run on.
    #[error(
        "core {core} is not available to this process; it may run on cores {allowed}; correct \
         --cores, or the CPU set of the container or service"
    )]
    WrongCore {
        /// The core asked for.
        core: usize,
        /// The cores of the process, as a list.
        allowed: String,
    },

    /// File descriptors ran out, or are sure to.
    #[error(
        "the limit on open files is {limit} (RLIMIT_NOFILE, hard), but {need} are needed; raise \
         it with `ulimit -n {need}`, with LimitNOFILE={need} in the systemd unit, or lower \
         --connections-max"
    )]
    TooFewOpenFiles {
        /// The highest limit this process may set.
        limit: u64,
        /// What the configuration needs.
        need: u64,
    },

    /// A descriptor was refused in the middle of starting.
    #[error(
        "out of file descriptors in {at}: {source}; raise `ulimit -n` (LimitNOFILE), or \
         fs.file-max if the whole machine is out"
    )]
    OutOfFiles {
        /// The step that failed.
        at: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },

    /// Address space for a shard's memory was refused.
    #[error(
        "cannot reserve {bytes} bytes of memory: {source}; lower --window-memory or raise \
         `ulimit -v`"
    )]
    Memory {
        /// The size asked for.
        bytes: usize,
        /// The kernel's answer.
        source: io::Error,
    },

    /// A system call failed for a reason with no advice of its own.
    #[error("{at}: {source}")]
    System {
        /// The step that failed.
        at: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },

    /// A shard's thread panicked.
    #[error("thread {name} panicked: {message}")]
    Panicked {
        /// The thread's name.
        name: String,
        /// The panic's text.
        message: String,
    },
}

impl RuntimeError {
    /// Sorts the failure of a step that makes rings or descriptors into the variant with the
    /// right advice.
    pub fn from_setup(at: &'static str, source: io::Error) -> Self {
        match source.raw_os_error() {
            Some(libc::ENOSYS) => Self::NoIoUring,
            Some(libc::EPERM | libc::EACCES) => Self::IoUringForbidden { sysctl: sysctl() },
            Some(libc::ENOMEM) => {
                let limit_bytes = super::preflight::memlock_limit_bytes().unwrap_or(0);
                Self::MemlockRanOut { at, limit_bytes }
            }
            Some(libc::EMFILE | libc::ENFILE) => Self::OutOfFiles { at, source },
            _ => Self::System { at, source },
        }
    }
}

fn sysctl() -> String {
    std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled")
        .map_or_else(|_| "unknown".to_owned(), |text| text.trim().to_owned())
}
