//! What the operating system offers only through C: pinning, a signal, another process's CPU time.

use anyhow::{Context as _, bail};
use std::io;
use std::sync::OnceLock;

/// Pins the calling thread, and every thread and process it starts later, to some cores.
pub(crate) fn pin_to(cores: &[usize]) -> anyhow::Result<()> {
    let before = affinity()?;
    BEFORE.get_or_init(|| before);
    // SAFETY: an all-zero cpu_set_t is the empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    for &core in cores {
        if core >= libc::CPU_SETSIZE as usize {
            bail!("core {core} does not exist; cores count from 0");
        }
        // SAFETY: `core` is below CPU_SETSIZE, so the bit lies inside the set.
        unsafe { libc::CPU_SET(core, &mut set) };
    }
    set_affinity(&set)
        .with_context(|| format!("pinning to cores {cores:?}; do they exist? See nproc"))
}

/// Lets the calling thread run wherever it might before it was pinned first: a process that is
/// started now may choose among the same cores as the first one.
pub(crate) fn unpin() -> anyhow::Result<()> {
    BEFORE.get().map_or(Ok(()), set_affinity).context("giving up the pinning")
}

fn affinity() -> anyhow::Result<libc::cpu_set_t> {
    // SAFETY: an all-zero cpu_set_t is the empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the set outlives the call and its size is its own; pid 0 is the calling thread.
    if unsafe { libc::sched_getaffinity(0, size_of_val(&set), &raw mut set) } != 0 {
        return Err(io::Error::last_os_error()).context("asking for the cores of this process");
    }
    Ok(set)
}

fn set_affinity(set: &libc::cpu_set_t) -> anyhow::Result<()> {
    // SAFETY: the set outlives the call and its size is its own; pid 0 is the calling thread.
    if unsafe { libc::sched_setaffinity(0, size_of_val(set), set) } != 0 {
        return Err(io::Error::last_os_error().into());
    }
    Ok(())
}

/// Where this process might run before it was pinned.
static BEFORE: OnceLock<libc::cpu_set_t> = OnceLock::new();

/// Asks a process to end.
pub(crate) fn terminate(pid: u32) -> anyhow::Result<()> {
    let pid = libc::pid_t::try_from(pid).context("process id out of range")?;
    // SAFETY: kill takes plain numbers; a wrong pid is an error value.
    if unsafe { libc::kill(pid, libc::SIGTERM) } != 0 {
        return Err(io::Error::last_os_error()).with_context(|| format!("SIGTERM to {pid}"));
    }
    Ok(())
}

/// CPU time that all threads of a process have used, ended ones too, nanoseconds.
pub(crate) fn process_cpu_ns(pid: u32) -> anyhow::Result<u64> {
    let what = || format!("reading the CPU time of process {pid}; is it still running?");
    let pid = libc::pid_t::try_from(pid).context("process id out of range")?;
    let (mut clock, mut time) = (0, libc::timespec { tv_sec: 0, tv_nsec: 0 });
    // SAFETY: `clock` is a valid place for the one value written.
    let error = unsafe { libc::clock_getcpuclockid(pid, &raw mut clock) };
    if error != 0 {
        return Err(io::Error::from_raw_os_error(error)).with_context(what);
    }
    // SAFETY: `time` is a valid place for the one value written.
    if unsafe { libc::clock_gettime(clock, &raw mut time) } != 0 {
        return Err(io::Error::last_os_error()).with_context(what);
    }
    let seconds = u64::try_from(time.tv_sec).context("negative CPU time")?;
    Ok(seconds * 1_000_000_000 + u64::try_from(time.tv_nsec).context("negative CPU time")?)
}

/// Gives this process a futex table of its own with so many slots.
///
/// Linux 6.16 and later give a process a small table, sized by its cores: with tens of thousands
/// of sleeping threads each wake-up then walks thousands of entries of one slot.
pub(crate) fn set_futex_slots(slots: u32) -> anyhow::Result<()> {
    let (want, none) = (libc::c_ulong::from(slots), libc::c_ulong::from(0_u32));
    // SAFETY: these arguments are plain numbers; a kernel that lacks the call returns an error.
    let done = unsafe { libc::prctl(PR_FUTEX_HASH, PR_FUTEX_HASH_SET_SLOTS, want, none, none) };
    if done != 0 {
        return Err(io::Error::last_os_error()).with_context(|| {
            format!(
                "the kernel refuses {slots} futex slots: it takes a power of two, from Linux 6.16 on"
            )
        });
    }
    Ok(())
}

/// Slots of this process's futex table; 0 is the table that all processes share, nothing a kernel
/// that does not tell.
pub(crate) fn futex_slots() -> Option<u32> {
    let none: libc::c_ulong = 0;
    // SAFETY: these arguments are plain numbers; a kernel that lacks the call returns an error.
    let slots = unsafe { libc::prctl(PR_FUTEX_HASH, PR_FUTEX_HASH_GET_SLOTS, none, none, none) };
    u32::try_from(slots).ok()
}

/// `prctl` of Linux 6.16, not yet in libc: `include/uapi/linux/prctl.h`.
const PR_FUTEX_HASH: libc::c_int = 78;
const PR_FUTEX_HASH_SET_SLOTS: libc::c_ulong = 1;
const PR_FUTEX_HASH_GET_SLOTS: libc::c_ulong = 2;

#[cfg(test)]
mod tests {
    use super::*;

    /// Beyond the largest process id Linux gives out.
    const NOBODY: u32 = 4_194_305;

    #[test]
    fn our_own_cpu_time_grows_with_work() {
        let before = process_cpu_ns(std::process::id()).unwrap();
        let mut sum = 0_u64;
        while process_cpu_ns(std::process::id()).unwrap() < before + 1_000_000 {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        assert!(process_cpu_ns(NOBODY).is_err());
    }

    #[test]
    fn a_core_that_does_not_exist_is_told() {
        let error = pin_to(&[1_000_000]).unwrap_err().to_string();
        assert!(error.contains("core 1000000"), "{error}");
    }

    #[test]
    fn a_pinned_thread_can_be_let_go() {
        let cores = |set: &libc::cpu_set_t| {
            // SAFETY: the set is initialised.
            unsafe { libc::CPU_COUNT(set) }
        };
        let before = affinity().unwrap();
        // SAFETY: the core is below CPU_SETSIZE.
        let allowed = (0..1_024).find(|&core| unsafe { libc::CPU_ISSET(core, &before) }).unwrap();
        pin_to(&[allowed]).unwrap();
        assert_eq!(cores(&affinity().unwrap()), 1);
        unpin().unwrap();
        assert_eq!(cores(&affinity().unwrap()), cores(&before));
    }
}
