//! The limits that end the starting of threads, and which of them is reached.
//!
//! Owns: where Linux tells its limits and how much of each is used. A thread that cannot be
//! started fails with EAGAIN whatever the reason; this says which.
//!
//! ```text
//! clone, mmap -> EAGAIN     kernel.threads-max  kernel.pid_max  vm.max_map_count  RLIMIT_NPROC
//!                           RLIMIT_AS  pids.max and memory of each cgroup  memory of the machine
//! ```

use std::fmt;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// One limit and how much of it is used.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Ceiling {
    name: String,
    /// What is counted, and where more can be had.
    what: &'static str,
    used: u64,
    max: u64,
    /// It counts as reached from this far below on: what is used changes while it is read.
    slack: u64,
}

impl Ceiling {
    const fn is_reached(&self) -> bool {
        self.used.saturating_add(self.slack) >= self.max
    }
}

impl fmt::Display for Ceiling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {}, {} in use", self.name, self.max, self.used)
    }
}

/// The limits that could be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ceilings(Vec<Ceiling>);

impl fmt::Display for Ceilings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (reached, others): (Vec<_>, Vec<_>) = self.0.iter().partition(|c| c.is_reached());
        if reached.is_empty() {
            f.write_str("No limit known here is reached.")?;
        }
        for ceiling in &reached {
            write!(f, "At its limit: {ceiling} ({}).", ceiling.what)?;
        }
        let others: Vec<_> = others.iter().map(ToString::to_string).collect();
        write!(f, " Not reached: {}.", others.join("; "))
    }
}

impl Ceilings {
    /// Of this machine and process.
    pub(crate) fn read() -> Self {
        Self::read_below(Path::new("/"))
    }

    /// As [`Ceilings::read`], where `root` holds `proc` and `sys`.
    fn read_below(root: &Path) -> Self {
        let proc = Proc(root.join("proc"));
        let all = [
            proc.mappings(),
            proc.threads(),
            proc.pids(),
            proc.threads_of_user(),
            proc.address_space(),
            proc.memory(),
        ];
        let mut ceilings: Vec<_> = all.into_iter().flatten().collect();
        for group in groups(&proc.text("self/cgroup"), &root.join("sys/fs/cgroup")) {
            ceilings.extend(group);
        }
        Self(ceilings)
    }
}

/// The folder `/proc`.
struct Proc(PathBuf);

impl Proc {
    fn text(&self, path: &str) -> String {
        fs::read_to_string(self.0.join(path)).unwrap_or_default()
    }

    /// Counted through a small buffer: where no mapping is left, no large one can be had.
    fn lines(&self, path: &str) -> Option<u64> {
        let (mut file, mut bytes) = (File::open(self.0.join(path)).ok()?, [0; 4_096]);
        let mut lines = 0;
        loop {
            match file.read(&mut bytes).ok()? {
                0 => return Some(lines),
                read => lines += bytes[..read].iter().filter(|byte| **byte == b'\n').count() as u64,
            }
        }
    }

    fn number(&self, path: &str) -> Option<u64> {
        self.text(path).trim().parse().ok()
    }

    fn mappings(&self) -> Option<Ceiling> {
        Some(Ceiling {
            name: "vm.max_map_count".to_owned(),
            what: "memory mappings of a process; a thread has a stack and a signal stack, each \
                   with a guard page: four; raise it with sysctl",
            used: self.lines("self/maps")?,
            max: self.number("sys/vm/max_map_count")?,
            slack: 8,
        })
    }

    /// Threads of the whole machine.
    fn running(&self) -> Option<u64> {
        let loadavg = self.text("loadavg");
        loadavg.split_whitespace().nth(3)?.split_once('/')?.1.parse().ok()
    }

    fn threads(&self) -> Option<Ceiling> {
        Some(Ceiling {
            name: "kernel.threads-max".to_owned(),
            what: "threads of the machine; raise it with sysctl",
            used: self.running()?,
            max: self.number("sys/kernel/threads-max")?,
            slack: OTHERS,
        })
    }

    fn pids(&self) -> Option<Ceiling> {
        Some(Ceiling {
            name: "kernel.pid_max".to_owned(),
            what: "ids of threads, of which the first 300 are never given out again; raise it \
                   with sysctl",
            used: self.running()? + PIDS_RESERVED,
            max: self.number("sys/kernel/pid_max")?,
            slack: OTHERS,
        })
    }

    /// A soft limit of this process.
    fn limit(&self, name: &str) -> Option<u64> {
        let limits = self.text("self/limits");
        let line = limits.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse().ok()
    }

    /// Nothing for the superuser, who may start more.
    fn threads_of_user(&self) -> Option<Ceiling> {
        let user = user(&self.text("self/status")).filter(|user| *user != 0)?;
        let processes = fs::read_dir(&self.0).ok()?.flatten().filter(|entry| {
            entry.file_name().to_str().is_some_and(|name| name.parse::<u32>().is_ok())
        });
        let status = processes.map(|entry| fs::read_to_string(entry.path().join("status")));
        let own = status.flatten().filter(|status| self::user(status) == Some(user));
        Some(Ceiling {
            name: "RLIMIT_NPROC".to_owned(),
            what: "threads of this user; raise it with ulimit -u",
            used: own.filter_map(|status| field(&status, "Threads")).sum(),
            max: self.limit("Max processes")?,
            slack: OTHERS,
        })
    }

    fn address_space(&self) -> Option<Ceiling> {
        Some(Ceiling {
            name: "RLIMIT_AS".to_owned(),
            what: "bytes of address space of this process; raise it with ulimit -v",
            used: field(&self.text("self/status"), "VmSize")? << 10,
            max: self.limit("Max address space")?,
            slack: 32 << 20,
        })
    }

    fn memory(&self) -> Option<Ceiling> {
        let meminfo = self.text("meminfo");
        let total = field(&meminfo, "MemTotal")? << 10;
        Some(Ceiling {
            name: "memory".to_owned(),
            what: "bytes of the machine",
            used: total.saturating_sub(field(&meminfo, "MemAvailable")? << 10),
            max: total,
            slack: 128 << 20,
        })
    }
}

/// The real user id in a `status` file.
fn user(status: &str) -> Option<u64> {
    field(status, "Uid")
}

/// The first number behind a name and a colon.
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The limits of each control group that this process is in, from its own to the outermost.
fn groups(cgroup: &str, mount: &Path) -> Vec<Vec<Ceiling>> {
    let mut found = Vec::new();
    for line in cgroup.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let base = if controllers.is_empty() { mount.to_owned() } else { mount.join(controllers) };
        let mut path = Path::new(path);
        loop {
            let below = path.strip_prefix("/").unwrap_or(path);
            found.push(group(&base.join(below), &path.display().to_string()));
            let Some(parent) = path.parent() else { break };
            path = parent;
        }
    }
    found
}

/// The limits of one group, in the files of either version of control groups.
fn group(folder: &Path, name: &str) -> Vec<Ceiling> {
    // Without a limit the word `max` stands in the file.
    let number = |file: &str| -> Option<u64> {
        fs::read_to_string(folder.join(file)).ok()?.trim().parse().ok()
    };
    let ceiling = |(max, used): (&str, &str), what, slack| {
        let (used, limit) = (number(used)?, number(max)?);
        Some(Ceiling { name: format!("{max} of cgroup {name}"), what, used, max: limit, slack })
    };
    let memory = "bytes of the control group";
    let all = [
        ceiling(("pids.max", "pids.current"), "threads of the control group", 4),
        ceiling(("memory.max", "memory.current"), memory, 16 << 20),
        ceiling(("memory.limit_in_bytes", "memory.usage_in_bytes"), memory, 16 << 20),
    ];
    // The first version writes a number near 2^63 where there is no limit.
    all.into_iter().flatten().filter(|ceiling| ceiling.max < 1 << 62).collect()
}

/// Threads of others that may come and go while we count.
const OTHERS: u64 = 128;
/// Ids that Linux keeps for the processes that started with it.
const PIDS_RESERVED: u64 = 300;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::programs::Folder;

    /// A machine on which nothing is reached.
    fn machine() -> Vec<(&'static str, String)> {
        let limits = "Limit                     Soft Limit           Hard Limit           Units\n\
                      Max processes             96365                96365                processes\n\
                      Max address space         unlimited            unlimited            bytes\n";
        let status = "Name:\tx\nVmSize:\t  400 kB\nUid:\t7\t7\t7\t7\nThreads:\t9\n";
        let cgroup = "8:pids:/a/b\n3:cpu,cpuacct:/\n0::/unified\n";
        [
            ("proc/sys/vm/max_map_count", "65530\n"),
            ("proc/sys/kernel/threads-max", "192730\n"),
            ("proc/sys/kernel/pid_max", "32768\n"),
            ("proc/self/maps", "one\ntwo\n"),
            ("proc/self/limits", limits),
            ("proc/self/status", status),
            ("proc/self/cgroup", cgroup),
            ("proc/12/status", status),
            ("proc/13/status", "Uid:\t8\nThreads:\t1000\n"),
            ("proc/loadavg", "0.1 0.2 0.3 2/400 999\n"),
            ("proc/meminfo", "MemTotal: 24000000 kB\nMemAvailable: 20000000 kB\n"),
            ("sys/fs/cgroup/pids/a/pids.max", "max\n"),
            ("sys/fs/cgroup/pids/a/b/pids.max", "5000\n"),
            ("sys/fs/cgroup/pids/a/b/pids.current", "11\n"),
            ("sys/fs/cgroup/unified/memory.max", "1000000000\n"),
            ("sys/fs/cgroup/unified/memory.current", "1000000\n"),
        ]
        .map(|(path, text)| (path, text.to_owned()))
        .to_vec()
    }

    /// What is said where some files hold something else.
    fn said(changed: &[(&'static str, String)]) -> String {
        let folder = Folder::new().unwrap();
        for (path, text) in machine().iter().chain(changed) {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        Ceilings::read_below(folder.path()).to_string()
    }

    #[test]
    fn every_limit_is_named_with_what_is_used_of_it() {
        let said = said(&[]);
        assert!(said.starts_with("No limit known here is reached. Not reached: "), "{said}");
        for limit in [
            "vm.max_map_count = 65530, 2 in use",
            "kernel.threads-max = 192730, 400 in use",
            "kernel.pid_max = 32768, 700 in use",
            "RLIMIT_NPROC = 96365, 9 in use",
            "memory = 24576000000, 4096000000 in use",
            "pids.max of cgroup /a/b = 5000, 11 in use",
            "memory.max of cgroup /unified = 1000000000, 1000000 in use",
        ] {
            assert!(said.contains(limit), "{limit} is not in {said}");
        }
        assert!(!said.contains("RLIMIT_AS") && !said.contains("/a ="), "no limit: {said}");
    }

    #[test]
    fn the_limit_that_is_reached_is_told_first() {
        let maps = "x\n".repeat(65_528);
        let limits = "Max processes 40 96365 processes\nMax address space 500000 x bytes\n";
        for (changed, first) in [
            (("proc/self/maps", maps.as_str()), "vm.max_map_count = 65530, 65528 in use"),
            (("proc/sys/kernel/pid_max", "720"), "kernel.pid_max = 720, 700 in use"),
            (("proc/sys/kernel/threads-max", "401"), "kernel.threads-max = 401, 400 in use"),
            (("proc/self/limits", limits), "RLIMIT_NPROC = 40, 9 in use"),
            (("proc/meminfo", "MemTotal: 9 kB\nMemAvailable: 1 kB"), "memory = 9216, 8192 in use"),
            (("sys/fs/cgroup/pids/a/b/pids.current", "5000"), "pids.max of cgroup /a/b = 5000"),
        ] {
            let said = said(&[(changed.0, changed.1.to_owned())]);
            assert!(said.starts_with(&format!("At its limit: {first}")), "{said}");
        }
    }

    #[test]
    fn this_machine_tells_its_limits() {
        let said = Ceilings::read().to_string();
        assert!(said.contains("vm.max_map_count") && said.contains("kernel.pid_max"), "{said}");
    }
}
