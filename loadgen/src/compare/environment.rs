//! What the machine tells about itself that may change a figure.

use std::collections::BTreeMap;

/// Names and values; what is not told is said to be not told.
pub(crate) fn read() -> BTreeMap<String, String> {
    let text = |path: &str| std::fs::read_to_string(path).ok().map(|text| text.trim().to_owned());
    let or_not = |value: Option<String>| value.unwrap_or_else(|| "not told here".to_owned());
    let cpuinfo = text("/proc/cpuinfo").unwrap_or_default();
    let virtual_machine = cpuinfo
        .lines()
        .find(|line| line.starts_with("flags"))
        .is_some_and(|flags| flags.split_whitespace().any(|flag| flag == "hypervisor"));
    let virtual_machine = if virtual_machine { "yes" } else { "no, as the processor tells" };
    let governor = text("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor");
    let fields = [
        ("frequency governor", or_not(governor)),
        ("virtual machine", virtual_machine.to_owned()),
        ("huge pages", or_not(text("/sys/kernel/mm/transparent_hugepage/enabled"))),
        ("clock source", {
            or_not(text("/sys/devices/system/clocksource/clocksource0/current_clocksource"))
        }),
        ("load average", or_not(text("/proc/loadavg"))),
        ("vm.max_map_count", or_not(text("/proc/sys/vm/max_map_count"))),
        ("kernel.pid_max", or_not(text("/proc/sys/kernel/pid_max"))),
        ("kernel.threads-max", or_not(text("/proc/sys/kernel/threads-max"))),
        ("vm.overcommit_memory", or_not(text("/proc/sys/vm/overcommit_memory"))),
        ("network", "loopback".to_owned()),
    ];
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_field_has_a_value() {
        let told = super::read();
        assert!(told.len() == 10 && told.values().all(|value| !value.is_empty()), "{told:?}");
    }
}
