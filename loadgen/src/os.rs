//! What the operating system offers only through C: pinning, a signal, another process's CPU time.

use anyhow::{Context as _, bail};
use std::io;

/// Pins the calling thread, and every thread it starts later, to some cores.
pub(crate) fn pin_to(cores: &[usize]) -> anyhow::Result<()> {
    // SAFETY: an all-zero cpu_set_t is the empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    for &core in cores {
        if core >= libc::CPU_SETSIZE as usize {
            bail!("core {core} does not exist; cores count from 0");
        }
        // SAFETY: `core` is below CPU_SETSIZE, so the bit lies inside the set.
        unsafe { libc::CPU_SET(core, &mut set) };
    }
    // SAFETY: the set outlives the call and its size is its own; pid 0 is the calling thread.
    let failed = unsafe { libc::sched_setaffinity(0, size_of_val(&set), &raw const set) } != 0;
    if failed {
        return Err(io::Error::last_os_error())
            .with_context(|| format!("pinning to cores {cores:?}; do they exist? See nproc"));
    }
    Ok(())
}

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
}
