//! How much memory this process may take.

use std::fs;
use std::path::Path;

/// Bytes that are available: what the kernel would hand out without swapping, or what the control groups of
/// this process leave, whichever is less. None where neither can be read.
pub(super) fn available_memory() -> Option<u64> {
    let kernel = fs::read_to_string("/proc/meminfo")
        .ok()
        .and_then(|text| mem_available(&text));
    let group = fs::read_to_string("/proc/self/cgroup")
        .ok()
        .and_then(|text| group_left(&text));
    [kernel, group].into_iter().flatten().min()
}

fn mem_available(meminfo: &str) -> Option<u64> {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// Version 2 only: the tightest limit on the way from this process's group to the root.
fn group_left(cgroup: &str) -> Option<u64> {
    let own = cgroup.lines().find_map(|line| line.strip_prefix("0::"))?;
    let mount = Path::new("/sys/fs/cgroup");
    let mut folder = mount.join(own.trim_start_matches('/'));
    let mut least = None;
    loop {
        let number = |name: &str| -> Option<u64> {
            fs::read_to_string(folder.join(name))
                .ok()?
                .trim()
                .parse()
                .ok()
        };
        if let Some(limit) = number("memory.max") {
            // What the page cache holds for the group is given back when memory runs short.
            let used = number("memory.current")
                .unwrap_or(0)
                .saturating_sub(cached(&folder));
            let left = limit.saturating_sub(used);
            least = Some(least.map_or(left, |least: u64| least.min(left)));
        }
        if folder == mount || !folder.pop() {
            return least;
        }
    }
}

fn cached(group: &Path) -> u64 {
    let text = fs::read_to_string(group.join("memory.stat")).unwrap_or_default();
    let file = text.lines().find_map(|line| line.strip_prefix("file "));
    file.and_then(|bytes| bytes.trim().parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meminfo_is_read_in_kibibytes() {
        let text = "MemTotal:       24000000 kB\nMemAvailable:   23000000 kB\n";
        assert_eq!(mem_available(text), Some(23_000_000 * 1024));
        assert_eq!(mem_available("MemTotal: 1 kB\n"), None);
    }

    #[test]
    fn this_machine_says_how_much_there_is() {
        let bytes = available_memory().expect("Linux has /proc/meminfo");
        assert!(bytes > 1 << 20, "{bytes}");
    }
}
