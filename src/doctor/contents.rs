//! The store: whether it opens, who writes to it, what lies in it.

use std::path::PathBuf;

use super::{Health, HealthCheck};
use crate::error::Explain;
use crate::store::{Counts, Holder, StoreError, Survey, Writer};

/// More are counted only.
const SHOWN: usize = 8;

pub(super) fn checks(survey: &Survey) -> Vec<HealthCheck> {
    let store = identity(survey);
    if survey.identity.is_err() {
        return vec![store];
    }
    let mut checks = vec![
        store,
        reading(survey),
        folders(survey),
        writer(survey),
        index(survey),
    ];
    match &survey.counts {
        Ok(counts) => checks.extend([contents(counts), foreign(&counts.foreign)]),
        Err(e) => checks.push(HealthCheck::error("contents", e)),
    }
    checks
}

fn identity(survey: &Survey) -> HealthCheck {
    let path = survey.folder.path().display();
    match &survey.identity {
        Ok((format, profile)) => HealthCheck::ok(
            "store",
            format!("{path}, format {format}, profile {profile}"),
        )
        .with_figures(&[("format", u64::from(*format))]),
        Err(e @ StoreError::Absent { .. }) => HealthCheck {
            status: Health::Note,
            advice: e.hint(),
            ..HealthCheck::ok("store", format!("none yet at {path}"))
        },
        Err(e) => HealthCheck::error("store", e),
    }
}

fn reading(survey: &Survey) -> HealthCheck {
    match &survey.reading {
        Ok(()) => HealthCheck::ok("reading", "opens"),
        Err(e) => HealthCheck::error("reading", e),
    }
}

/// The folders that are made with a store and never go by themselves; `db` may.
fn folders(survey: &Survey) -> HealthCheck {
    if let Err(e) = &survey.folders {
        return HealthCheck::error("folders", e);
    }
    let folder = &survey.folder;
    let needed = [folder.packs(), folder.roots(), folder.names()];
    let missing = needed.iter().find(|path| !path.is_dir());
    match missing {
        None => HealthCheck::ok("folders", "packs, roots and names are there"),
        Some(path) => HealthCheck::problem(
            "folders",
            format!("{} is not there", path.display()),
            "if it was moved, move it back; what stood in it is missing from the store",
        ),
    }
}

fn writer(survey: &Survey) -> HealthCheck {
    match &survey.writer {
        Ok(Writer::Nobody) => HealthCheck::ok("writer", "not open for writing"),
        Ok(Writer::Somebody(holder)) => held(holder, &survey.folder.lock().display().to_string()),
        Err(e) => HealthCheck::error("writer", e),
    }
}

fn held(holder: &Holder, lock: &str) -> HealthCheck {
    let Holder {
        pid, host, since, ..
    } = holder;
    let open = format!("open for writing by process {pid} on {host} since {since}");
    let named = rustix::system::uname().nodename().to_string_lossy() == host.as_str();
    let lives = named && pid.parse().is_ok_and(is_alive);
    let check = match lives {
        true => HealthCheck::ok("writer", open),
        // The lock is held, whoever holds it: a child of that process, or one that has another number here.
        false => HealthCheck::note(
            "writer",
            format!("{open}, which is not to be seen from here"),
            format!(
                "it may run in a container or on another machine, or have left a child; `fuser {lock}` tells"
            ),
        ),
    };
    check.with_figures(&[("held", 1), ("holder_is_alive", u64::from(lives))])
}

/// Whether there is such a process, one of another user's too.
fn is_alive(pid: i32) -> bool {
    use rustix::io::Errno;
    let pid = rustix::process::Pid::from_raw(pid).filter(|pid| pid.as_raw_nonzero().get() > 0);
    pid.is_some_and(|pid| {
        matches!(
            rustix::process::test_kill_process(pid),
            Ok(()) | Err(Errno::PERM)
        )
    })
}

fn index(survey: &Survey) -> HealthCheck {
    match survey.has_index {
        true => HealthCheck::ok("index", "db/ is there"),
        // Nothing to do: it is no more than a hint.
        false => HealthCheck::ok(
            "index",
            "no db/; the next opening for writing makes it from the packs",
        ),
    }
}

fn contents(counts: &Counts) -> HealthCheck {
    let counted = |number: u64, one: &str| match number {
        1 => format!("1 {one}"),
        _ => format!("{number} {one}s"),
    };
    let mut found = vec![
        counted(counts.objects, "object"),
        counted(counts.names, "pin"),
        counted(counts.packs, "pack"),
    ];
    let rarer = [
        (counts.retired, "removed object that is not collected yet"),
        (counts.loose, "unfinished import or session"),
        (counts.unfinished, "file of work in progress in tmp/"),
    ];
    for (number, what) in rarer.into_iter().filter(|(number, _)| *number > 0) {
        found.push(format!("{what}: {number}"));
    }
    let check = match counts.damaged.first() {
        None => HealthCheck::ok("contents", found.join(", ")),
        Some(e) => HealthCheck::error("contents", e),
    };
    check.with_figures(&[
        ("objects", counts.objects),
        ("pins", counts.names),
        ("packs", counts.packs),
        ("retired", counts.retired),
        ("loose", counts.loose),
        ("unfinished", counts.unfinished),
        ("damaged_pins", counts.damaged.len() as u64),
    ])
}

fn foreign(files: &[PathBuf]) -> HealthCheck {
    let check = match files {
        [] => HealthCheck::ok("foreign_files", "none"),
        files => {
            let mut shown: Vec<String> = files
                .iter()
                .take(SHOWN)
                .map(|path| path.display().to_string())
                .collect();
            if files.len() > SHOWN {
                shown.push(format!("and {} more", files.len() - SHOWN));
            }
            HealthCheck::note(
                "foreign_files",
                shown.join(", "),
                "the store neither reads nor deletes them; move them elsewhere",
            )
        }
    };
    check.with_figures(&[("files", files.len() as u64)])
}
