//! The machine, as the reports name it.

use super::field;

/// What the figures were measured on.
#[derive(Default, Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Machine {
    pub(crate) cpu: String,
    pub(crate) cores: u64,
    pub(crate) kernel: String,
    pub(crate) memory_bytes: u64,
}

impl Machine {
    /// This machine.
    pub(crate) fn read() -> Self {
        let text = |path| std::fs::read_to_string(path).unwrap_or_default();
        let cpuinfo = text("/proc/cpuinfo");
        let model = cpuinfo.lines().find(|line| line.starts_with("model name"));
        let cpu = model.and_then(|line| line.split_once(':')).map_or("unknown", |(_, m)| m.trim());
        let cores = cpuinfo.lines().filter(|line| line.starts_with("processor")).count();
        Self {
            cpu: cpu.to_owned(),
            cores: cores as u64,
            kernel: text("/proc/sys/kernel/osrelease").trim().to_owned(),
            memory_bytes: field(&text("/proc/meminfo"), "MemTotal").unwrap_or(0) * 1024,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_has_cores_and_memory() {
        let machine = Machine::read();
        assert!(machine.cores > 0 && machine.memory_bytes > 0, "{machine:?}");
    }
}
