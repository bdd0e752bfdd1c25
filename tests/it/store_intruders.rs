//! Something else in the place of a file: pipes, sockets and folders are never waited for, in a store and in what it
//! is healed from.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc;
use std::time::Duration;

use ipfs_accelerate::{
    Cid, Defect, Explain, HealOptions, PinOptions, Remedy, RepairOptions, Store, StoreError,
    StoreReader, apply_repair, plan_repair,
};

use super::store_kit::*;
use super::verify::{damage, verify};

const KINDS: [&str; 5] = ["pipe", "socket", "dangling", "circle", "folder"];

/// Puts something in a file's place.
fn intrude(path: &Path, kind: &str) {
    let _ = fs::remove_file(path);
    let _ = fs::remove_dir_all(path);
    match kind {
        "pipe" => {
            let made = Command::new("mkfifo").arg(path).status().unwrap();
            assert!(made.success());
        }
        // The path of a socket is short.
        "socket" => {
            let bound = path.parent().unwrap().parent().unwrap().join("s");
            drop(UnixListener::bind(&bound).unwrap());
            fs::rename(bound, path).unwrap();
        }
        "dangling" => symlink("/nowhere/at/all", path).unwrap(),
        "circle" => symlink(path, path).unwrap(),
        "file" => fs::write(path, b"x").unwrap(),
        _ => fs::create_dir(path).unwrap(),
    }
}

/// Fails where something waits.
fn in_time<T: Send + 'static>(what: &str, work: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, wait) = mpsc::channel();
    std::thread::spawn(move || done.send(work()));
    let waited = wait.recv_timeout(Duration::from_secs(60));
    waited.unwrap_or_else(|e| panic!("{what}: {e}"))
}

fn filled(stage: &Stage) -> (Cid, Vec<u8>) {
    let store = stage.create();
    let content = bytes(1, 300_000);
    let cid = add_bytes(&store, &content).cid;
    store.pin(&of(cid), &PinOptions::named("n")).unwrap();
    (cid, content)
}

fn is_refused(error: &StoreError) -> bool {
    matches!(error, StoreError::Damaged { what: "type", expected, .. } if expected == "a file")
        && error.hint().unwrap().contains("out of the store")
}

/// What a reader and a writer say, and a repair that is tried on it.
fn use_all(path: &Path, cid: Cid) -> Vec<StoreError> {
    let mut errors = Vec::new();
    let mut note = |result: Result<(), StoreError>| errors.extend(result.err());
    match StoreReader::open(path) {
        Ok(reader) => {
            note(reader.read(&of(cid)).map(drop));
            note(reader.read(&target("n")).map(drop));
            note(reader.list_objects().map(drop));
            note(reader.list_pins().map(drop));
            note(reader.totals().map(drop));
            note(reader.verify(&Default::default()).map(drop));
        }
        Err(e) => note(Err(e)),
    }
    match Store::open(path) {
        Ok(store) => {
            note(store.add_reader(&b"more"[..], &unpinned()).map(drop));
            note(store.verify(&Default::default()).map(drop));
            note(store.plan_gc(&Default::default()).map(drop));
            note(store.unpin(&target("n")).map(drop));
        }
        Err(e) => note(Err(e)),
    }
    errors
}

#[test]
fn what_stands_in_a_files_place_is_refused_at_once() {
    for place in ["FORMAT", "gone", "lock", "names/n", "roots/CID", "packs"] {
        for kind in KINDS {
            let stage = Stage::new();
            let (cid, _) = filled(&stage);
            let store = stage.store_path();
            let path = match place {
                "packs" => stage.stored("packs").remove(0),
                place => store.join(place.replace("CID", &cid.to_string())),
            };
            intrude(&path, kind);
            let errors = in_time(&format!("{kind} for {place}"), move || use_all(&store, cid));
            assert!(
                errors.iter().any(is_refused),
                "{kind} for {place}: {errors:?}"
            );
        }
    }
}

#[test]
fn a_repair_replaces_what_is_no_file_and_no_folder() {
    for kind in KINDS {
        let stage = Stage::new();
        let (cid, content) = filled(&stage);
        let store = stage.open();
        // Its name tells what it points to.
        store.pin(&of(cid), &PinOptions::default()).unwrap();
        drop(store);
        let path = stage.store_path();
        for file in ["FORMAT", "gone", "names/CID", "roots/CID"] {
            let file = path.join(file.replace("CID", &cid.to_string()));
            let whole = fs::read(&file).unwrap();
            intrude(&file, kind);
            let repaired = {
                let path = path.clone();
                in_time("repair", move || {
                    let plan = plan_repair(&path, &RepairOptions::default())?;
                    apply_repair(&plan)
                })
            };
            if kind == "folder" {
                match repaired {
                    Err(e) => assert!(is_refused(&e), "{e}"),
                    Ok(report) => {
                        assert_eq!(report.left(), 1, "{report:?}");
                        assert!(report.findings[0].advice.unwrap().contains("out of"));
                    }
                }
                fs::remove_dir(&file).unwrap();
                fs::write(&file, whole).unwrap();
                continue;
            }
            let report = repaired.unwrap();
            let remedies: Vec<_> = report.findings.iter().map(|f| f.remedy).collect();
            assert!(
                matches!(remedies[..], [Remedy::Made | Remedy::Restored]),
                "{kind} for {file:?}: {report:?}"
            );
            let store = stage.open();
            assert_eq!(read(&store, &of(cid)), content);
            assert_eq!(store.pins().unwrap().len(), 2);
        }
    }
}

#[test]
fn a_repair_says_what_stands_in_a_packs_place() {
    for kind in KINDS {
        let stage = Stage::new();
        filled(&stage);
        let path = stage.store_path();
        let pack = stage.stored("packs").remove(0);
        intrude(&pack, kind);
        let plan = in_time(kind, move || plan_repair(path, &RepairOptions::default()));
        let plan = plan.unwrap();
        let of_it = plan.findings.iter().find(|finding| finding.path == pack);
        let found = of_it.unwrap_or_else(|| panic!("{kind}: {plan:?}"));
        assert_eq!(
            (found.defect, found.remedy),
            (Defect::Foreign, Remedy::Left)
        );
    }
}

#[test]
fn what_stands_in_a_folders_place_is_said_by_whoever_writes_and_read_beside() {
    for folder in ["tmp", "packs", "roots", "names", "db"] {
        for kind in ["file", "pipe", "dangling", "circle"] {
            let what = format!("{kind} for {folder}");
            let stage = Stage::new();
            let (cid, content) = filled(&stage);
            let path = stage.store_path();
            intrude(&path.join(folder), kind);
            let reading = StoreReader::open(&path).and_then(|reader| {
                reader.totals()?;
                reader.plan_gc(&Default::default())?;
                reader.read(&of(cid))
            });
            match folder {
                "tmp" | "db" => assert!(reading.unwrap() == content, "{what}"),
                _ => assert!(is_no_folder(&reading.unwrap_err()), "{what}"),
            }
            let opened = in_time(&what, {
                let path = path.clone();
                move || {
                    let made = Store::open_or_create(&path, Default::default());
                    let repair = plan_repair(&path, &RepairOptions::default());
                    [
                        made.map(drop),
                        Store::open(&path).map(drop),
                        repair.map(drop),
                    ]
                }
            });
            for opened in opened {
                match folder {
                    // It is made anew.
                    "db" => opened.unwrap(),
                    _ => {
                        let error = opened.unwrap_err();
                        assert!(is_no_folder(&error), "{what}: {error}");
                    }
                }
            }
        }
    }
}

fn is_no_folder(error: &StoreError) -> bool {
    let is_said = matches!(
        error,
        StoreError::Damaged {
            what: "kind of file",
            ..
        }
    );
    is_said && error.hint().unwrap().contains("put the folder itself")
}

#[test]
fn what_is_no_file_in_tmp_is_left_alone_whatever_it_is_called() {
    for kind in KINDS {
        for name in ["f".repeat(32), format!("{}.pack", "f".repeat(32))] {
            let stage = Stage::new();
            let (cid, content) = filled(&stage);
            let path = stage.store_path();
            let foreign = path.join("tmp").join(name);
            intrude(&foreign, kind);
            let store = in_time(kind, move || Store::open(path)).unwrap();
            add_bytes(&store, b"more");
            assert_eq!(
                store
                    .to_reader()
                    .plan_gc(&Default::default())
                    .unwrap()
                    .unfinished_bytes,
                0
            );
            drop(store);
            let plan = plan_repair(stage.store_path(), &RepairOptions::default()).unwrap();
            assert_eq!(apply_repair(&plan).unwrap().findings, [], "{kind}");
            assert!(fs::symlink_metadata(&foreign).is_ok(), "{kind}");
            assert!(read(&stage.open(), &of(cid)) == content);
        }
    }
}

#[test]
fn a_file_that_is_far_too_long_is_damaged() {
    let stage = Stage::new();
    let (cid, content) = filled(&stage);
    for (file, defect) in [("FORMAT", Defect::Format), ("gone", Defect::Gone)] {
        let path = stage.store_path().join(file);
        let long = fs::File::options().write(true).open(path).unwrap();
        long.set_len(1 << 40).unwrap();
        let error = StoreReader::open(stage.store_path()).unwrap_err();
        assert!(
            matches!(&error, StoreError::Damaged { what: "length", .. }),
            "{error}"
        );
        assert!(error.hint().unwrap().contains("repair"));
        let plan = plan_repair(stage.store_path(), &RepairOptions::default()).unwrap();
        let report = apply_repair(&plan).unwrap();
        assert_eq!(report.findings[0].defect, defect);
        assert_eq!(report.left(), 0);
        assert_eq!(read(&stage.open(), &of(cid)), content);
    }
}

/// sled waits for a pipe, and reads a file of any length.
#[test]
fn what_was_appended_to_a_file_is_seen_and_not_read() {
    let stage = Stage::new();
    let (cid, content) = filled(&stage);
    let root = format!("roots/{cid}");
    for name in ["gone", "FORMAT", &root] {
        let path = stage.store_path().join(name);
        let file = fs::File::options().write(true).open(&path).unwrap();
        // Far more than there is memory for, if the limit of its kind lets it be.
        let len = file.metadata().unwrap().len();
        for more in [1, 3 << 30] {
            file.set_len(len + more).unwrap();
            let read = StoreReader::open(stage.store_path());
            let error = read.and_then(|reader| reader.read(&of(cid))).unwrap_err();
            assert!(
                matches!(&error, StoreError::Damaged { what: "length", .. }),
                "{name}: {error}"
            );
        }
        let plan = plan_repair(stage.store_path(), &RepairOptions::default()).unwrap();
        let report = apply_repair(&plan).unwrap();
        assert_eq!(report.left(), 0, "{name}: {:#?}", report.findings);
        let reader = StoreReader::open(stage.store_path()).unwrap();
        assert!(reader.read(&of(cid)).unwrap() == content);
    }
}

#[test]
fn a_database_that_cannot_be_one_is_made_anew() {
    for damage in ["long", "pipe", "socket", "folder", "long conf"] {
        let stage = Stage::new();
        let (cid, content) = filled(&stage);
        let db = stage.store_path().join("db");
        let long = |name: &str| {
            let file = fs::File::options().write(true).open(db.join(name));
            file.unwrap().set_len(1 << 40).unwrap();
        };
        match damage {
            "long" => long("db"),
            "long conf" => long("conf"),
            kind => {
                intrude(&db.join("db"), kind);
                intrude(&db.join("conf"), kind);
            }
        }
        let path = stage.store_path();
        let plan = plan_repair(&path, &RepairOptions::default()).unwrap();
        let found: Vec<_> = plan.findings.iter().map(|f| f.defect).collect();
        assert_eq!(found, [Defect::Index], "{damage}");
        let store = in_time(damage, move || Store::open(path)).unwrap();
        assert_eq!(add_bytes(&store, &content).new_bytes, 0, "{damage}");
        assert_eq!(read(&store, &of(cid)), content);
        assert!(fs::metadata(db.join("db")).unwrap().len() < 1 << 30);
    }
}

#[test]
fn a_folder_that_is_healed_from_may_hold_anything() {
    use std::os::unix::ffi::OsStrExt;
    let stage = Stage::new();
    let (cid, content) = filled(&stage);
    let from = stage.path("from");
    stage.file("from/sub/good", &content);
    intrude(&from.join("pipe"), "pipe");
    intrude(&from.join("sub/socket"), "socket");
    let no_text = std::ffi::OsStr::from_bytes(b"\xff");
    fs::write(from.join(no_text), b"x").unwrap();
    damage(&stage, &content[100_000..101_000]);
    let healed = in_time("heal", move || {
        let store = stage.open();
        let report = verify(&store);
        let healed = store.heal(
            &report,
            std::slice::from_ref(&from),
            &HealOptions::default(),
        );
        assert_eq!(read(&store, &of(cid)), content);
        // A pipe by itself is no source.
        let pipe = store.heal(&report, &[from.join("pipe")], &HealOptions::default());
        (healed, pipe)
    });
    let report = healed.0.unwrap();
    assert_eq!((report.healed.len(), report.remaining.len()), (1, 0));
    if let Err(e) = healed.1 {
        assert!(matches!(e, StoreError::UnsupportedFile { .. }), "{e}");
    }
}
