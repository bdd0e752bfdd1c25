//! The machine and the process: what loading goes by.

use std::fs;

use rustix::process::Resource;

use super::HealthCheck;
use crate::checkpoint::MemoryFigures;
use crate::config::ByteSize;
use crate::fsio;
use crate::store::{FORMAT_VERSION, Survey};

/// What Linux has unless somebody set it.
const USUAL_MAP_COUNT: u64 = 65_530;
/// Runs of leaves begin at its multiples in a pack.
const LARGEST_PAGE: u64 = 65_536;
/// Beside those of objects and packs: what a process has anyway.
const OTHER_FILES: u64 = 64;
const LITTLE_MEMORY: u64 = 256 << 20;
/// What the crate is built with; the minor version is the one that cannot differ.
const SLED: &str = "0.34";
const SAFETENSORS: &str = "0.8";

pub(super) fn checks(survey: &Survey) -> Vec<HealthCheck> {
    let counted = survey.counts.as_ref().ok();
    let held = counted.map_or(0, |counts| counts.objects + counts.packs);
    let map_count = read("/proc/sys/vm/max_map_count").and_then(|text| text.trim().parse().ok());
    vec![
        memory(&MemoryFigures::read()),
        cores(),
        page_size(rustix::param::page_size() as u64),
        huge_pages(read("/sys/kernel/mm/transparent_hugepage/enabled").as_deref()),
        maps(map_count, fsio::map_budget() as u64),
        open_files(rustix::process::getrlimit(Resource::Nofile), held),
        kernel(),
        versions(),
    ]
}

fn read(path: &str) -> Option<String> {
    fs::read_to_string(path).ok()
}

fn memory(figures: &MemoryFigures) -> HealthCheck {
    let size =
        |bytes: Option<u64>| bytes.map_or("unknown".to_owned(), |b| ByteSize::new(b).to_string());
    let mut found = format!(
        "{} available of {}",
        size(figures.available),
        size(figures.total)
    );
    let mut numbers = Vec::new();
    numbers.extend(figures.total.map(|bytes| ("total_bytes", bytes)));
    numbers.extend(figures.available.map(|bytes| ("available_bytes", bytes)));
    if let Some(group) = figures.group {
        let (left, limit) = (ByteSize::new(group.left), ByteSize::new(group.limit));
        found.push_str(&format!(
            "; the control group's limit is {limit}, {left} are left of it"
        ));
        numbers.extend([
            ("group_limit_bytes", group.limit),
            ("group_left_bytes", group.left),
        ]);
    }
    let check = match figures.obtainable() {
        Some(little) if little < LITTLE_MEMORY => HealthCheck::note(
            "memory",
            found,
            "a load that copies or brings pages into memory will not get far: --residency lazy maps only",
        ),
        _ => HealthCheck::ok("memory", found),
    };
    check.with_figures(&numbers)
}

fn cores() -> HealthCheck {
    let cores = fsio::thread_count(0) as u64;
    HealthCheck::ok("cores", cores.to_string()).with_figures(&[("cores", cores)])
}

fn page_size(bytes: u64) -> HealthCheck {
    let found = ByteSize::new(bytes).to_string();
    let check = match LARGEST_PAGE.is_multiple_of(bytes) {
        true => HealthCheck::ok("page_size", found),
        false => HealthCheck::note(
            "page_size",
            found,
            "tensors are copied instead of mapped where pages are larger than 64 KiB",
        ),
    };
    check.with_figures(&[("bytes", bytes)])
}

/// The chosen one stands in brackets: `always [madvise] never`.
fn huge_pages(setting: Option<&str>) -> HealthCheck {
    let chosen = setting
        .and_then(|text| text.split_once('[')?.1.split_once(']'))
        .map(|(chosen, _)| chosen);
    match chosen {
        Some("never") => HealthCheck::note(
            "huge_pages",
            "never",
            "`echo madvise > /sys/kernel/mm/transparent_hugepage/enabled` lets loads read and map in steps of 2 MiB",
        ),
        Some(chosen) => HealthCheck::ok("huge_pages", chosen),
        None => HealthCheck::ok("huge_pages", "the kernel does not say"),
    }
}

fn maps(count: Option<u64>, budget: u64) -> HealthCheck {
    let Some(count) = count else {
        return HealthCheck::ok("map_count", "the kernel does not say");
    };
    let found = format!("vm.max_map_count is {count}, of which tensors take up to {budget}");
    let check = match count < USUAL_MAP_COUNT {
        true => HealthCheck::note(
            "map_count",
            found,
            format!(
                "tensors beyond that are copied: `sysctl vm.max_map_count={USUAL_MAP_COUNT}` is the usual value"
            ),
        ),
        false => HealthCheck::ok("map_count", found),
    };
    check.with_figures(&[("max_map_count", count), ("budget", budget)])
}

/// `held` is how many a process needs that has every object open.
fn open_files(limit: rustix::process::Rlimit, held: u64) -> HealthCheck {
    let text = |limit: Option<u64>| limit.map_or("unlimited".to_owned(), |limit| limit.to_string());
    let now = limit.current.unwrap_or(u64::MAX);
    let found = format!(
        "{}, can be raised to {}",
        text(limit.current),
        text(limit.maximum)
    );
    let needed = held.saturating_add(OTHER_FILES);
    let check = match now < needed {
        true => HealthCheck::note(
            "open_files",
            found,
            format!(
                "a process that has all {held} objects and packs open needs more: `ulimit -n {}`, or LimitNOFILE= \
                 of a service",
                needed.next_power_of_two()
            ),
        ),
        false => HealthCheck::ok("open_files", found),
    };
    let limits = [("limit", limit.current), ("highest_limit", limit.maximum)];
    let limits: Vec<_> = limits
        .into_iter()
        .filter_map(|(name, limit)| Some((name, limit?)))
        .collect();
    check.with_figures(&limits)
}

fn kernel() -> HealthCheck {
    let name = rustix::system::uname();
    let text = |part: &std::ffi::CStr| part.to_string_lossy().into_owned();
    let parts = [name.sysname(), name.release(), name.machine()];
    HealthCheck::ok("kernel", parts.map(text).join(" "))
}

fn versions() -> HealthCheck {
    let own = env!("CARGO_PKG_VERSION");
    let found = format!(
        "ipfs-accelerate {own}, reads stores up to format {FORMAT_VERSION}, sled {SLED}, safetensors {SAFETENSORS}"
    );
    HealthCheck::ok("versions", found).with_figures(&[("newest_format", u64::from(FORMAT_VERSION))])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Health;

    #[test]
    fn the_limits_that_a_load_meets_are_noted() {
        let limit = |current| rustix::process::Rlimit {
            current,
            maximum: Some(4_096),
        };
        assert_eq!(open_files(limit(Some(1_024)), 100).status, Health::Ok);
        assert_eq!(open_files(limit(None), 1 << 40).status, Health::Ok);
        let tight = open_files(limit(Some(1_024)), 1_000);
        assert_eq!(tight.status, Health::Note);
        assert!(tight.advice.unwrap().contains("ulimit -n 2048"));
        assert_eq!(tight.figures["highest_limit"], 4_096);

        assert_eq!(maps(Some(65_530), 16_382).status, Health::Ok);
        assert_eq!(maps(Some(1_000), 250).status, Health::Note);
        assert_eq!(maps(None, 16_382).status, Health::Ok);
        assert_eq!(
            huge_pages(Some("always madvise [never]\n")).status,
            Health::Note
        );
        assert_eq!(
            huge_pages(Some("always [madvise] never\n")).found,
            "madvise"
        );
        assert_eq!(huge_pages(None).status, Health::Ok);
        assert_eq!(page_size(4_096).status, Health::Ok);
        assert_eq!(page_size(1 << 20).status, Health::Note);
    }

    #[test]
    fn the_versions_are_those_that_the_crate_is_built_with() {
        let lock = include_str!("../../Cargo.lock");
        for (name, version) in [("sled", SLED), ("safetensors", SAFETENSORS)] {
            let entry = format!("name = \"{name}\"\nversion = \"{version}.");
            assert!(lock.contains(&entry), "{name}");
        }
    }
}
