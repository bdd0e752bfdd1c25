//! What machine this is, from what the kernel says.

use std::fs;

use serde::Serialize;

/// The machine that the process runs on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SystemInfo {
    /// System, release and machine in one line.
    pub platform: String,
    /// The kernel: `Linux`.
    pub system: String,
    /// The kernel's release.
    pub release: String,
    /// The processor's architecture: `x86_64`, `aarch64`.
    pub machine: String,
    /// The processor's model, or its architecture where the kernel names none.
    pub processor: String,
    /// What a tensor can be placed on: `cpu`, and `cuda` or `rocm` where a driver shows devices.
    pub available_hardware: Vec<String>,
    /// Processors that this process may run on.
    pub cores: usize,
    /// Bytes of memory, used or not; zero where the kernel does not say.
    pub memory_bytes: u64,
}

impl SystemInfo {
    pub(crate) fn read() -> Self {
        let uname = rustix::system::uname();
        let text = |part: &std::ffi::CStr| part.to_string_lossy().into_owned();
        let (system, release, machine) = (
            text(uname.sysname()),
            text(uname.release()),
            text(uname.machine()),
        );
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        Self {
            platform: format!("{system}-{release}-{machine}"),
            processor: processor(&cpuinfo).unwrap_or_else(|| machine.clone()),
            available_hardware: hardware(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_bytes: memory_bytes(&meminfo).unwrap_or(0),
            system,
            release,
            machine,
        }
    }
}

fn processor(cpuinfo: &str) -> Option<String> {
    let model = cpuinfo
        .lines()
        .find(|line| line.starts_with("model name"))?;
    Some(model.split_once(':')?.1.trim().to_owned())
}

fn memory_bytes(meminfo: &str) -> Option<u64> {
    let total = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    total
        .trim()
        .strip_suffix("kB")?
        .trim()
        .parse::<u64>()
        .ok()?
        .checked_mul(1024)
}

fn hardware() -> Vec<String> {
    let listed = |folder: &str| fs::read_dir(folder).is_ok_and(|mut d| d.next().is_some());
    let mut found = vec!["cpu".to_owned()];
    if listed("/proc/driver/nvidia/gpus") {
        found.push("cuda".into());
    }
    if listed("/sys/class/kfd/kfd/topology/nodes") && fs::metadata("/dev/kfd").is_ok() {
        found.push("rocm".into());
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_and_the_memory_are_what_proc_says() {
        let cpuinfo = "processor\t: 0\nmodel name\t: AMD EPYC 9555 64-Core Processor\n";
        assert_eq!(
            processor(cpuinfo).as_deref(),
            Some("AMD EPYC 9555 64-Core Processor")
        );
        assert_eq!(processor("Features\t: fp asimd\n"), None);
        assert_eq!(memory_bytes("MemTotal:  24000 kB\n"), Some(24_000 * 1024));
    }

    #[test]
    fn this_machine_is_described() {
        let info = SystemInfo::read();
        assert_eq!(info.system, "Linux");
        assert!(info.cores > 0 && info.memory_bytes > 0, "{info:?}");
        assert_eq!(info.available_hardware[0], "cpu");
        assert!(info.platform.contains(&info.release));
    }
}
