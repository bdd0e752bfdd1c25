//! How much memory this process may take.

use std::fs;
use std::path::{Path, PathBuf};

/// What the kernel says of memory, in bytes; none for what it does not say.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct MemoryFigures {
    /// Memory of the machine.
    pub(crate) total: Option<u64>,
    /// What the kernel would hand out without swapping.
    pub(crate) available: Option<u64>,
    /// The tightest of the control groups' limits.
    pub(crate) group: Option<GroupMemory>,
}

/// A limit of a control group, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct GroupMemory {
    /// What is left of it; the order goes by this.
    pub(crate) left: u64,
    pub(crate) limit: u64,
}

impl MemoryFigures {
    pub(crate) fn read() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let meminfo = read("/proc/meminfo");
        let groups = Groups {
            own: &read("/proc/self/cgroup"),
            mounts: &read("/proc/self/mountinfo"),
            root: Path::new("/"),
        };
        Self {
            total: meminfo_bytes(&meminfo, "MemTotal:"),
            available: meminfo_bytes(&meminfo, "MemAvailable:"),
            group: groups.tightest(),
        }
    }

    /// What this process may take: what is available, or what its control groups leave, whichever is less.
    pub(crate) fn obtainable(&self) -> Option<u64> {
        let left = self.group.map(|group| group.left);
        [self.available, left].into_iter().flatten().min()
    }
}

/// Bytes that are available: what the kernel would hand out without swapping, or what the control groups of
/// this process leave, whichever is less. None where neither can be read.
pub(super) fn available_memory() -> Option<u64> {
    MemoryFigures::read().obtainable()
}

/// Of what is available, what copies may take: the rest is for the process itself, and for the pages that the copies
/// are read through.
pub(super) fn memory_for_copies() -> Option<u64> {
    available_memory().map(|available| (available - available / 10).saturating_sub(RESERVE))
}

const RESERVE: u64 = 16 << 20;

fn meminfo_bytes(meminfo: &str, field: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix(field))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// The control groups of this process: `/proc/self/cgroup`, `/proc/self/mountinfo`, and where `/` is.
struct Groups<'g> {
    own: &'g str,
    mounts: &'g str,
    root: &'g Path,
}

/// How a version of control groups calls its files
/// (<https://docs.kernel.org/admin-guide/cgroup-v2.html>, <https://docs.kernel.org/admin-guide/cgroup-v1/memory.html>).
struct Names {
    limit: &'static str,
    used: &'static str,
    /// Lines of `memory.stat` that count what the page cache holds, which is given back when memory runs
    /// short.
    cached: [&'static str; 2],
}

const NO_LIMIT: u64 = 1 << 60;

const V2: Names = Names {
    limit: "memory.max",
    used: "memory.current",
    cached: ["active_file", "inactive_file"],
};
const V1: Names = Names {
    limit: "memory.limit_in_bytes",
    used: "memory.usage_in_bytes",
    cached: ["total_active_file", "total_inactive_file"],
};

impl Groups<'_> {
    /// The limit on the way from this process's group to the root that leaves least.
    fn tightest(&self) -> Option<GroupMemory> {
        let unified = self.own.lines().find_map(|line| line.strip_prefix("0::"));
        let memory = self.own.lines().find_map(|line| {
            let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
            controllers
                .split(',')
                .any(|c| c == "memory")
                .then_some(path)
        });
        let v2 = unified.and_then(|path| {
            let mounted = self.mounted(path, |kind, _| kind == "cgroup2")?;
            self.least(&mounted, &V2)
        });
        let v1 = memory.and_then(|path| {
            let is_memory = |kind: &str, options: &str| {
                kind == "cgroup" && options.split(',').any(|option| option == "memory")
            };
            self.least(&self.mounted(path, is_memory)?, &V1)
        });
        [v2, v1].into_iter().flatten().min()
    }

    /// The mount of a hierarchy, and the folder of a group in it.
    fn mounted(
        &self,
        group: &str,
        is_wanted: impl Fn(&str, &str) -> bool,
    ) -> Option<(PathBuf, PathBuf)> {
        self.mounts.lines().find_map(|line| {
            let (mount, system) = line.split_once(" - ")?;
            let mut system = system.split(' ');
            let (kind, options) = (system.next()?, system.nth(1)?);
            let mut mount = mount.split(' ').skip(3);
            let (shown, point) = (mount.next()?, mount.next()?);
            is_wanted(kind, options).then(|| {
                let point = self.root.join(point.trim_start_matches('/'));
                // A container sees its own group as the top, or by the name that it has outside.
                let below = match shown {
                    "/" => group,
                    shown => group.strip_prefix(shown).unwrap_or(""),
                };
                let below = below.trim_start_matches('/');
                let folder = match below.split('/').any(|part| part == "..") {
                    true => point.clone(),
                    false => point.join(below),
                };
                (point, folder)
            })
        })
    }

    fn least(&self, (mount, folder): &(PathBuf, PathBuf), names: &Names) -> Option<GroupMemory> {
        let mut folder = folder.clone();
        let mut least: Option<GroupMemory> = None;
        loop {
            let number = |name: &str| -> Option<u64> {
                let text = fs::read_to_string(folder.join(name)).ok()?;
                text.trim().parse().ok()
            };
            // "max" is no number; version 1 says a number beyond all memory instead, and the counts are dear.
            if let Some(limit) = number(names.limit).filter(|limit| *limit < NO_LIMIT) {
                let used = number(names.used).unwrap_or(0);
                let left = limit.saturating_sub(used.saturating_sub(cached(&folder, names)));
                let found = GroupMemory { left, limit };
                least = Some(least.map_or(found, |least| least.min(found)));
            }
            if folder == *mount || !folder.pop() {
                return least;
            }
        }
    }
}

fn cached(group: &Path, names: &Names) -> u64 {
    let text = fs::read_to_string(group.join("memory.stat")).unwrap_or_default();
    let lines = text.lines().filter_map(|line| line.split_once(' '));
    let counted = lines.filter(|(name, _)| names.cached.contains(name));
    counted
        .filter_map(|(_, bytes)| bytes.trim().parse::<u64>().ok())
        .fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meminfo_is_read_in_kibibytes() {
        let text = "MemTotal:       24000000 kB\nMemAvailable:   23000000 kB\n";
        let available = |text| meminfo_bytes(text, "MemAvailable:");
        assert_eq!(available(text), Some(23_000_000 * 1024));
        assert_eq!(available("MemTotal: 1 kB\n"), None);
    }

    #[test]
    fn this_machine_says_how_much_there_is() {
        let figures = MemoryFigures::read();
        let bytes = available_memory().expect("Linux has /proc/meminfo");
        assert!(
            bytes > 1 << 20 && figures.total > figures.available,
            "{bytes} of {figures:?}"
        );
    }

    fn left(own: &str, mounts: &str, files: &[(&str, &str)]) -> Option<u64> {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let groups = Groups {
            own,
            mounts,
            root: root.path(),
        };
        groups.tightest().map(|group| group.left)
    }

    const UNIFIED: &str =
        "31 23 0:27 / /sys/fs/cgroup rw shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";

    #[test]
    fn the_tightest_limit_of_version_2_counts_and_the_page_cache_is_given_back() {
        let files = [
            ("sys/fs/cgroup/a/memory.max", "1000\n"),
            ("sys/fs/cgroup/a/memory.current", "900\n"),
            (
                "sys/fs/cgroup/a/memory.stat",
                "anon 100\nfile 700\nactive_file 300\ninactive_file 400\n",
            ),
            ("sys/fs/cgroup/a/b/memory.max", "max\n"),
            ("sys/fs/cgroup/memory.max", "5000\n"),
        ];
        assert_eq!(left("0::/a/b\n", UNIFIED, &files), Some(800));
        assert_eq!(left("0::/\n", UNIFIED, &files), Some(5_000));
        assert_eq!(left("0::/../c\n", UNIFIED, &files), Some(5_000));
        assert_eq!(left("0::/a/b\n", "", &files), None);
    }

    #[test]
    fn version_1_has_a_hierarchy_for_memory_alone() {
        let mounts = "30 24 0:26 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                      31 24 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";
        let files = [
            ("sys/fs/cgroup/memory/x/memory.limit_in_bytes", "1000\n"),
            ("sys/fs/cgroup/memory/x/memory.usage_in_bytes", "600\n"),
            (
                "sys/fs/cgroup/memory/x/memory.stat",
                "cache 9\ntotal_active_file 100\ntotal_inactive_file 50\n",
            ),
            (
                "sys/fs/cgroup/memory/memory.limit_in_bytes",
                "9223372036854771712\n",
            ),
        ];
        let own = "9:name=systemd:/\n4:cpu,cpuacct:/y\n3:memory:/x\n0::/\n";
        assert_eq!(left(own, mounts, &files), Some(550));
    }

    #[test]
    fn a_container_that_sees_its_group_by_its_outer_name_finds_it() {
        let mounts = "31 23 0:27 /docker/7 /sys/fs/cgroup ro - cgroup2 cgroup rw\n";
        let files = [("sys/fs/cgroup/memory.max", "77\n")];
        assert_eq!(left("0::/docker/7\n", mounts, &files), Some(77));
        assert_eq!(left("0::/elsewhere\n", mounts, &files), Some(77));
    }
}
