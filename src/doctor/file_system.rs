//! The file system that a store lies on, or would.

use std::path::Path;

use rustix::fs::Access;

use super::HealthCheck;
use crate::config::ByteSize;
use crate::fsio::{self, Mount};
use crate::store::{StoreError, Survey};

/// With less, an add of any size may fail.
const LITTLE_SPACE: u64 = 64 << 20;
const FEW_INODES: u64 = 1_000;

pub(super) fn checks(survey: &Survey, folder: &Path) -> Vec<HealthCheck> {
    let mount = Mount::of(folder);
    let mut checks = vec![
        kind(folder, mount.as_ref()),
        access(survey, folder, mount.as_ref()),
    ];
    match rustix::fs::statvfs(folder) {
        Ok(figures) => {
            let unit = figures.f_frsize;
            let (all, left) = (figures.f_blocks, figures.f_bavail);
            checks.push(space(all.saturating_mul(unit), left.saturating_mul(unit)));
            checks.push(inodes(figures.f_files, figures.f_favail));
        }
        Err(e) => {
            let e = std::io::Error::from(e);
            let advice = "check that it is mounted and in reach";
            checks.push(HealthCheck::problem(
                "space",
                format!("cannot be told: {e}"),
                advice,
            ));
        }
    }
    checks
}

fn kind(folder: &Path, mount: Option<&Mount>) -> HealthCheck {
    let found = match mount {
        Some(mount) => {
            let (kind, point) = (&mount.kind, mount.point.display());
            format!("{kind}, mounted at {point} ({})", mount.source)
        }
        None => "cannot be told without /proc".to_owned(),
    };
    let kind = mount.map_or("", |mount| mount.kind.as_str());
    let is_remote = std::fs::File::open(folder).is_ok_and(|folder| fsio::is_remote(&folder));
    if fsio::is_overlay(folder) {
        return HealthCheck::note(
            "file_system",
            found,
            "locks taken through an overlay file system are not seen below it, what is removed from a lower \
             layer frees nothing, and what is changed of it is copied first: put the store on a volume of its \
             own, or mount its folder (a bind mount)",
        );
    }
    if is_remote {
        return HealthCheck::note(
            "file_system",
            format!("{found}; its pages come over a network or from another process"),
            "load with --residency copy or auto: a map is slow there, and a lost connection ends the process \
             (SIGBUS)",
        );
    }
    match kind {
        "tmpfs" | "ramfs" => HealthCheck::note(
            "file_system",
            format!("{found}; it is memory"),
            "nothing of it is left after a restart: keep what has to last on a disk",
        ),
        _ => HealthCheck::ok("file_system", found),
    }
}

/// What this user may do with the store; without one, whether it could be made.
fn access(survey: &Survey, looked_at: &Path, mount: Option<&Mount>) -> HealthCheck {
    let uid = rustix::process::geteuid().as_raw();
    let may = |path: &Path, access: Access| rustix::fs::access(path, access).is_ok();
    let is_read_only = mount.is_some_and(|mount| mount.read_only);
    let why = match is_read_only {
        true => "the file system is mounted read-only".to_owned(),
        false => format!("this user (uid {uid}) may not"),
    };
    let is_absent = matches!(&survey.identity, Err(StoreError::Absent { .. }));
    if is_absent || !survey.folder.path().is_dir() {
        return match may(looked_at, Access::WRITE_OK | Access::EXEC_OK) {
            true => HealthCheck::ok(
                "access",
                format!("{} can be written to", looked_at.display()),
            ),
            false => HealthCheck::problem(
                "access",
                format!("no store can be made in {}: {why}", looked_at.display()),
                "name another folder with --store, or ask its owner",
            ),
        };
    }
    let folder = &survey.folder;
    let within = [folder.packs(), folder.roots(), folder.names(), folder.tmp()];
    let own = folder.path();
    let search = Access::READ_OK | Access::EXEC_OK;
    if let Some(path) = [own]
        .into_iter()
        .chain(within[..3].iter().map(|path| path.as_path()))
        .find(|path| path.exists() && !may(path, search))
    {
        return HealthCheck::problem(
            "access",
            format!("{} cannot be read: {why}", path.display()),
            "ask its owner, or run as a user who may",
        );
    }
    let write = Access::WRITE_OK | Access::EXEC_OK;
    let lock = folder.lock();
    // What is missing is made again (`tmp/`, `lock`), or is told by another check.
    let may_write = |path: &Path, access| !path.exists() || may(path, access);
    let writable = may(own, write)
        && within.iter().all(|path| may_write(path, write))
        && may_write(&lock, Access::READ_OK | Access::WRITE_OK);
    match writable {
        true => HealthCheck::ok(
            "access",
            format!("this user (uid {uid}) may read and write"),
        ),
        false => HealthCheck::note(
            "access",
            format!("can be read and not written: {why}"),
            "reading (get, cat, ls, load) works; the rest is for a user who may write",
        ),
    }
}

fn space(total: u64, available: u64) -> HealthCheck {
    let found = format!(
        "{} of {} available",
        ByteSize::new(available),
        ByteSize::new(total)
    );
    let check = match available {
        few if few < LITTLE_SPACE => HealthCheck::problem(
            "space",
            found,
            "adding may fail: free space, or put the store on a larger file system",
        ),
        few if few < total / 20 => {
            HealthCheck::note("space", found, "free space before it runs out")
        }
        _ => HealthCheck::ok("space", found),
    };
    check.with_figures(&[("total_bytes", total), ("available_bytes", available)])
}

fn inodes(total: u64, available: u64) -> HealthCheck {
    // Btrfs and its like make them as they are needed, and say 0.
    let check = match (total, available) {
        (0, _) => HealthCheck::ok("inodes", "made as they are needed"),
        (_, few) if few < FEW_INODES => HealthCheck::problem(
            "inodes",
            format!("{available} of {total} available"),
            "each pack, object and pin takes one: remove files there, or make the file system with more",
        ),
        _ => HealthCheck::ok("inodes", format!("{available} of {total} available")),
    };
    check.with_figures(&[("total", total), ("available", available)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Health;

    #[test]
    fn little_space_is_a_problem_and_the_last_twentieth_is_noted() {
        for (total, available, status) in [
            (1 << 40, 1 << 39, Health::Ok),
            (1 << 40, 1 << 35, Health::Note),
            (1 << 40, 1 << 25, Health::Problem),
            (128 << 20, 100 << 20, Health::Ok),
            (0, 0, Health::Problem),
        ] {
            let check = space(total, available);
            assert_eq!(check.status, status, "{check:?}");
            assert_eq!(check.advice.is_some(), status != Health::Ok);
            assert_eq!(check.figures["available_bytes"], available);
        }
    }

    #[test]
    fn a_file_system_without_a_number_of_inodes_does_not_run_out_of_them() {
        assert_eq!(inodes(0, 0).status, Health::Ok);
        assert_eq!(inodes(10_000, 10).status, Health::Problem);
        assert_eq!(inodes(10_000, 9_000).status, Health::Ok);
    }
}
