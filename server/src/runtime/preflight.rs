//! Checks made before the first shard starts, so that a machine that cannot run us says why.

use std::fs;
use std::io;
use std::time::{Duration, Instant};

use io_uring::IoUring;

use super::RuntimeError;

/// What the shards will need, gathered first and checked at once.
#[derive(Debug, Clone)]
#[must_use = "nothing is checked before check()"]
pub struct Preflight {
    shards: usize,
    cores: Vec<usize>,
    open_files: u64,
}

impl Preflight {
    /// For `shards` shards, floating unless cores are named.
    pub fn new(shards: usize) -> Self {
        Self { shards, cores: Vec::new(), open_files: 0 }
    }

    /// Also checks that each of `cores` is one this process may run on.
    pub fn cores(mut self, cores: &[usize]) -> Self {
        self.cores = cores.to_vec();
        self
    }

    /// Also checks that `count` descriptors can be open at a time.
    pub fn open_files(mut self, count: u64) -> Self {
        self.open_files = count;
        self
    }

    /// Runs all checks, cheapest first.
    ///
    /// # Errors
    /// The first that fails, as a [`RuntimeError`] with its remedy.
    pub fn check(&self) -> Result<(), RuntimeError> {
        self.check_cores()?;
        self.check_memlock()?;
        if self.open_files > 0 {
            raise_open_files(self.open_files)?;
        }
        check_io_uring()
    }

    fn check_cores(&self) -> Result<(), RuntimeError> {
        if self.cores.is_empty() {
            return Ok(());
        }
        let allowed = allowed_cores()?;
        match self.cores.iter().find(|core| !allowed.contains(core)) {
            None => Ok(()),
            Some(&core) => Err(RuntimeError::WrongCore { core, allowed: list(&allowed) }),
        }
    }

    fn check_memlock(&self) -> Result<(), RuntimeError> {
        let limit_bytes = memlock_limit_bytes()?;
        let shards = u64::try_from(self.shards).unwrap_or(u64::MAX);
        let need_bytes = if may_lock_without_limit() {
            // glommio looks at the limit even when the kernel would not.
            MEMLOCK_FLOOR_BYTES
        } else {
            shards.saturating_mul(MEMLOCK_PER_SHARD_BYTES).max(MEMLOCK_FLOOR_BYTES)
        };
        if limit_bytes < need_bytes {
            return Err(RuntimeError::MemlockTooSmall {
                limit_bytes,
                need_bytes,
                shards: self.shards,
            });
        }
        Ok(())
    }
}

/// The cores this process may run on, ascending.
///
/// # Errors
/// When the kernel does not say.
pub fn allowed_cores() -> Result<Vec<usize>, RuntimeError> {
    const AT: &str = "sched_getaffinity";
    // SAFETY: cpu_set_t is a plain bit array; all zeroes is its empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer and its size describe `set`, which outlives the call.
    let result = unsafe { libc::sched_getaffinity(0, size_of_val(&set), &raw mut set) };
    if result != 0 {
        return Err(RuntimeError::System { at: AT, source: io::Error::last_os_error() });
    }
    let limit = usize::try_from(libc::CPU_SETSIZE).unwrap_or(0);
    // SAFETY: every core asked for is below CPU_SETSIZE, the width of the set.
    Ok((0..limit).filter(|&core| unsafe { libc::CPU_ISSET(core, &set) }).collect())
}

/// Raises the soft limit on open files to at least `need`, and returns the limit then in force.
///
/// # Errors
/// [`RuntimeError::TooFewOpenFiles`] when the hard limit is below `need`.
pub fn raise_open_files(need: u64) -> Result<u64, RuntimeError> {
    let mut limit = limit_of(libc::RLIMIT_NOFILE)?;
    if limit.rlim_cur >= need {
        return Ok(limit.rlim_cur);
    }
    if limit.rlim_max < need {
        return Err(RuntimeError::TooFewOpenFiles { limit: limit.rlim_max, need });
    }
    limit.rlim_cur = need;
    // SAFETY: the pointer is to a live, fully initialised rlimit.
    if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) } != 0 {
        return Err(RuntimeError::System {
            at: "setrlimit(RLIMIT_NOFILE)",
            source: io::Error::last_os_error(),
        });
    }
    Ok(need)
}

/// The soft limit on locked memory.
pub(super) fn memlock_limit_bytes() -> Result<u64, RuntimeError> {
    limit_of(libc::RLIMIT_MEMLOCK).map(|limit| limit.rlim_cur)
}

fn limit_of(resource: libc::__rlimit_resource_t) -> Result<libc::rlimit, RuntimeError> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is to a live rlimit that the kernel fills.
    if unsafe { libc::getrlimit(resource, &raw mut limit) } != 0 {
        return Err(RuntimeError::System { at: "getrlimit", source: io::Error::last_os_error() });
    }
    Ok(limit)
}

/// Makes a ring exactly as the shards will, and lets it go again.
fn check_io_uring() -> Result<(), RuntimeError> {
    match patiently(|| crate::ring::builder(8).build(4)) {
        Ok(ring) => check_features(&ring),
        // The flags are the only thing an old kernel can object to in these arguments.
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            Err(RuntimeError::IoUringTooOld {
                missing: "IORING_SETUP_DEFER_TASKRUN",
                kernel: kernel_release(),
            })
        }
        Err(error) => Err(RuntimeError::from_setup("io_uring_setup", error)),
    }
}

fn check_features(ring: &IoUring) -> Result<(), RuntimeError> {
    if ring.params().is_feature_nodrop() {
        return Ok(());
    }
    Err(RuntimeError::IoUringTooOld { missing: "IORING_FEAT_NODROP", kernel: kernel_release() })
}

fn kernel_release() -> String {
    fs::read_to_string("/proc/sys/kernel/osrelease")
        .map_or_else(|_| "an unknown release".to_owned(), |text| text.trim().to_owned())
}

/// Whether this process has CAP_IPC_LOCK, which lifts the kernel's limit on locked memory.
fn may_lock_without_limit() -> bool {
    const CAP_IPC_LOCK: u32 = 14;
    fs::read_to_string("/proc/thread-self/status")
        .ok()
        .and_then(|status| {
            let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
            u64::from_str_radix(line.trim(), 16).ok()
        })
        .is_some_and(|effective| effective >> CAP_IPC_LOCK & 1 == 1)
}

/// Tries `setup` again for a while when locked memory has run out or an address is in use: the
/// kernel gives back what a closed ring had locked, and closes the sockets it listened on, of this
/// process or of one that was killed before it, only some milliseconds later.
pub(crate) fn patiently<T>(mut setup: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    let since = Instant::now();
    loop {
        match setup() {
            Err(error) if is_passing(&error) && since.elapsed() < PATIENCE => {
                std::thread::sleep(PAUSE);
            }
            result => return result,
        }
    }
}

fn is_passing(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOMEM | libc::EADDRINUSE))
}

fn list(cores: &[usize]) -> String {
    let names: Vec<String> = cores.iter().map(ToString::to_string).collect();
    names.join(",")
}

/// glommio refuses to start below this soft limit, even as root.
pub const MEMLOCK_FLOOR_BYTES: u64 = 512 << 10;

/// What the rings of one shard lock: half of this with the default sizes, measured as the limit
/// below which 8 shards did not start. The other half is for rings being torn down meanwhile.
pub const MEMLOCK_PER_SHARD_BYTES: u64 = 1 << 20;

const PATIENCE: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(10);
