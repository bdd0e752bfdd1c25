//! The store: whether it opens, who writes to it, what lies in it.

use std::path::PathBuf;

use super::{Health, HealthCheck};
use crate::block::canonical;
use crate::config::ByteSize;
use crate::error::{Explain, FileError};
use crate::store::{Counts, Fault, Holder, RepairObject, Sight, StoreError, Survey, Writer};

/// More are counted only.
const SHOWN: usize = 8;

pub(super) fn checks(survey: &Survey, max_bytes: Option<u64>) -> Vec<HealthCheck> {
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
    let counts = match &survey.counts {
        Ok(counts) => counts,
        Err(e) => {
            checks.push(HealthCheck::error("contents", e));
            return checks;
        }
    };
    checks.extend([
        contents(counts),
        foreign(&counts.foreign),
        unfinished(counts, &survey.writer),
    ]);
    match &survey.sight {
        // Everything in a folder that is not there is missing; that was said.
        _ if folders(survey).status == Health::Problem => {}
        Ok(sight) => checks.extend([
            packs(&sight.packs),
            roots(sight),
            damage(sight),
            references(sight),
            quota(sight, max_bytes),
        ]),
        Err(e) => checks.push(HealthCheck::error("files", e)),
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
        Ok(Writer::Somebody(holder)) => held(holder, survey),
        Err(e) => HealthCheck::error("writer", e),
    }
}

fn held(noted: &Holder, survey: &Survey) -> HealthCheck {
    let lock = survey.folder.lock();
    let lock = lock.display();
    let (is_writer, open) = noted.said(&survey.folder);
    let lives = is_writer && noted.is_seen();
    let check = match lives {
        true => HealthCheck::ok("writer", open),
        false if !is_writer => HealthCheck::note(
            "writer",
            open,
            format!(
                "writers wait for it, as `--lock-timeout` says; `fuser {lock}` tells who it is"
            ),
        ),
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
    ];
    for (number, what) in rarer.into_iter().filter(|(number, _)| *number > 0) {
        found.push(format!("{what}: {number}"));
    }
    let check = match counts.damaged.as_slice() {
        [] => HealthCheck::ok("contents", found.join(", ")),
        [first, ..] => HealthCheck {
            found: shortened(counts.damaged.iter().map(StoreError::to_string), "; "),
            ..HealthCheck::error("contents", first)
        },
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
            let shown = shortened(files.iter().map(|path| path.display().to_string()), ", ");
            HealthCheck::note(
                "foreign_files",
                shown,
                "the store neither reads nor deletes them; move them elsewhere",
            )
        }
    };
    check.with_figures(&[("files", files.len() as u64)])
}

/// What a writer that was killed left in `tmp/`, or one at work has there.
fn unfinished(counts: &Counts, writer: &Result<Writer, FileError>) -> HealthCheck {
    let (files, bytes) = (counts.unfinished, counts.unfinished_bytes);
    let size = ByteSize::new(bytes);
    let check = match (files, writer) {
        (0, _) => HealthCheck::ok("unfinished", "nothing in tmp/"),
        (_, Ok(Writer::Nobody)) => HealthCheck::note(
            "unfinished",
            format!("{size} in tmp/, left by a writer that was killed"),
            "the next opening for writing removes it, `gc` for one",
        ),
        _ => HealthCheck::ok("unfinished", format!("{size} of work in progress in tmp/")),
    };
    check.with_figures(&[("files", files), ("bytes", bytes)])
}

fn packs(faults: &[Fault]) -> HealthCheck {
    faulty("packs", faults, || {
        "`repair` makes headers and tables again and says what is lost (`repair --dry-run` beforehand); bring back \
         what is missing, or add the objects again"
    })
}

fn roots(sight: &Sight) -> HealthCheck {
    faulty(
        "roots",
        &sight.roots,
        || "`repair` puts roots together again from the blocks, as far as these are here; `repair --dry-run` says how far, and `gc` leaves alone what no root names",
    )
}

/// A check of files: the first of those that are not good, and the objects that they concern.
fn faulty(name: &'static str, faults: &[Fault], advice: impl Fn() -> &'static str) -> HealthCheck {
    let check = match faults {
        [] => HealthCheck::ok(name, "none is damaged or missing"),
        _ => HealthCheck::problem(name, told(faults), advice()),
    };
    check.with_figures(&[("faulty", faults.len() as u64)])
}

/// What is wrong with files, and which objects that concerns.
fn told(faults: &[Fault]) -> String {
    let told = faults.iter().map(|fault| match fault.objects.as_slice() {
        [] => fault.what.clone(),
        objects => format!("{} (concerns {})", fault.what, objects_text(objects)),
    });
    shortened(told, "; ")
}

fn damage(sight: &Sight) -> HealthCheck {
    let bytes = sight.damaged_bytes;
    let check = match bytes {
        0 => HealthCheck::ok("damage", "none on record"),
        _ if sight.damaged.is_empty() => HealthCheck::note(
            "damage",
            format!(
                "{} are on record as damaged, and no object has them",
                ByteSize::new(bytes)
            ),
            "nothing needs them: `gc` gives them back with the rest of what was left, once its grace time is over",
        ),
        _ => HealthCheck::problem(
            "damage",
            format!(
                "{} are on record as damaged, of {}",
                ByteSize::new(bytes),
                objects_text(&sight.damaged)
            ),
            "`verify --heal FROM` takes good bytes from a file, a folder or another store, and `verify --heal` those \
             that the store has itself",
        ),
    };
    check.with_figures(&[
        ("damaged_bytes", bytes),
        ("objects", sight.damaged.len() as u64),
    ])
}

fn references(sight: &Sight) -> HealthCheck {
    let check = match (&*sight.sources, &*sight.touched) {
        ([], []) => HealthCheck::ok(
            "references",
            "no file that was added by reference is gone or changed",
        ),
        ([], touched) => HealthCheck::note(
            "references",
            told(touched),
            "`verify TARGET` says whether the bytes are the same; `add --reference` again then notes the new time",
        ),
        (lost, _) => HealthCheck::problem(
            "references",
            told(lost),
            "put the files back as they were, or add good copies again; `absorb` makes an object independent of such files",
        ),
    };
    check.with_figures(&[
        ("faulty", sight.sources.len() as u64),
        ("touched", sight.touched.len() as u64),
    ])
}

fn quota(sight: &Sight, max_bytes: Option<u64>) -> HealthCheck {
    let used = ByteSize::new(sight.used_bytes);
    let Some(max_bytes) = max_bytes else {
        return HealthCheck::ok("quota", format!("none; the packs take {used}"))
            .with_figures(&[("used_bytes", sight.used_bytes)]);
    };
    let found = format!("the packs take {used} of {}", ByteSize::new(max_bytes));
    let pinned = ByteSize::new(sight.pinned_bytes);
    let check = match sight.used_bytes > max_bytes {
        false => HealthCheck::ok("quota", found),
        true if sight.pinned_bytes >= max_bytes => HealthCheck::problem(
            "quota",
            format!("{found}, and {pinned} of it is pinned"),
            "nothing more can be added: unpin or remove something (`df`), or raise `max_size` in [store]",
        ),
        true => HealthCheck::note(
            "quota",
            format!("{found}; {pinned} of it is pinned"),
            "`gc` takes unpinned objects until it is kept",
        ),
    };
    check.with_figures(&[
        ("used_bytes", sight.used_bytes),
        ("max_bytes", max_bytes),
        ("pinned_bytes", sight.pinned_bytes),
    ])
}

/// The first of several, and how many there are besides.
fn shortened(all: impl ExactSizeIterator<Item = String>, between: &str) -> String {
    let more = all.len().saturating_sub(SHOWN);
    let mut shown: Vec<String> = all.take(SHOWN).collect();
    if more > 0 {
        shown.push(format!("and {more} more"));
    }
    shown.join(between)
}

fn objects_text(objects: &[RepairObject]) -> String {
    let named = objects.iter().map(|object| {
        let (cid, own) = (object.cid.to_string(), canonical(&object.cid).to_string());
        let pin = object.pins.iter().find(|pin| **pin != own);
        match pin.map_or(object.name.as_str(), String::as_str) {
            "" => cid,
            name => format!("{cid} ({name})"),
        }
    });
    shortened(named, ", ")
}
