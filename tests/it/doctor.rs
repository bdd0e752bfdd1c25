//! What is found wrong with stores, file systems and limits, and that looking changes nothing.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use ipfs_accelerate::{
    AddOptions, Block, Examination, ExamineOptions, HashFunction, Health, HealthCheck, Profile,
    RAW, Store, VerifyOptions, examine,
};

use super::store_kit::*;

pub(crate) fn look(path: impl AsRef<Path>) -> Examination {
    examine(path, &ExamineOptions::default())
}

#[track_caller]
pub(crate) fn check<'e>(examined: &'e Examination, name: &str) -> &'e HealthCheck {
    let found = examined.checks.iter().find(|check| check.name == name);
    found.unwrap_or_else(|| panic!("no {name} in {examined:?}"))
}

/// The names of the checks with that outcome; whoever runs the tests may have a full disk or little memory.
pub(crate) fn with(examined: &Examination, status: Health) -> Vec<&'static str> {
    let of_the_machine = [
        "memory",
        "open_files",
        "huge_pages",
        "map_count",
        "space",
        "file_system",
    ];
    let checks = examined
        .checks
        .iter()
        .filter(|check| check.status == status);
    checks
        .map(|check| check.name)
        .filter(|name| !of_the_machine.contains(name))
        .collect()
}

/// Every file and folder below a path, with what of it must not change.
pub(crate) fn tree(path: &Path) -> Vec<(PathBuf, u64, u32, i64)> {
    let mut found = Vec::new();
    let mut open = vec![path.to_path_buf()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let metadata = fs::symlink_metadata(&path).unwrap();
            if metadata.is_dir() {
                // Its time tells that a scratch file came and went.
                found.push((path.clone(), 0, metadata.mode(), 0));
                open.push(path);
            } else {
                found.push((path, metadata.len(), metadata.mode(), metadata.mtime_nsec()));
            }
        }
    }
    found.sort();
    found
}

pub(crate) fn store_with_content(path: &Path) -> Store {
    let store = Store::create(path).unwrap();
    for content in [bytes(1, 200_000), bytes(2, 100)] {
        store
            .add_reader(&content[..], &AddOptions::default())
            .unwrap();
    }
    store
}

#[test]
fn a_sound_store_is_found_sound_and_stays_as_it_is() {
    let stage = Stage::new();
    drop(store_with_content(&stage.store_path()));
    let before = tree(&stage.path("."));
    let examined = look(stage.store_path());
    assert_eq!(tree(&stage.path(".")), before);
    assert_eq!(with(&examined, Health::Problem), [""; 0], "{examined:#?}");
    assert_eq!(
        (&examined.store, &examined.looked_at),
        (&stage.store_path(), &stage.store_path())
    );

    let names: Vec<_> = examined.checks.iter().map(|check| check.name).collect();
    let expected = [
        "store",
        "reading",
        "folders",
        "writer",
        "index",
        "contents",
        "foreign_files",
        "unfinished",
        "packs",
        "roots",
        "damage",
        "references",
        "quota",
        "file_system",
        "access",
        "space",
        "inodes",
        "locks",
        "holes",
        "copies",
        "maps",
        "memory",
        "cores",
        "page_size",
        "huge_pages",
        "map_count",
        "open_files",
        "kernel",
        "versions",
    ];
    assert_eq!(names, expected);
    for check in &examined.checks {
        assert_eq!(
            check.advice.is_some(),
            check.status != Health::Ok,
            "{check:?}"
        );
        assert!(
            !check.found.is_empty() && !check.found.contains('\n'),
            "{check:?}"
        );
    }
    let contents = &check(&examined, "contents").figures;
    assert_eq!(
        (contents["objects"], contents["pins"], contents["packs"]),
        (2, 2, 2)
    );
    assert_eq!(check(&examined, "writer").found, "not open for writing");
    let store = check(&examined, "store");
    assert!(
        store.found.ends_with(", format 1, profile unixfs-v1-2025"),
        "{store:?}"
    );
    assert_eq!(
        check(&examined, "page_size").figures["bytes"],
        rustix::param::page_size() as u64
    );
    let memory = &check(&examined, "memory").figures;
    assert!(memory["total_bytes"] > memory["available_bytes"]);
    assert!(
        check(&examined, "versions")
            .found
            .contains(env!("CARGO_PKG_VERSION"))
    );

    let json = serde_json::to_value(&examined).unwrap();
    assert_eq!(json["checks"][3]["name"], "writer");
    assert_eq!(json["checks"][3]["status"], "ok");
    assert!(json["checks"][3]["advice"].is_null());
    assert_eq!(json["checks"][5]["figures"]["objects"], 2);
}

#[test]
fn where_there_is_no_store_the_nearest_folder_is_looked_at() {
    let stage = Stage::new();
    let before = tree(&stage.path("."));
    let examined = look(stage.path("a/b/store"));
    assert_eq!(tree(&stage.path(".")), before);
    assert_eq!(
        examined.looked_at,
        stage.path(".").components().collect::<PathBuf>()
    );
    assert_eq!(with(&examined, Health::Problem), [""; 0], "{examined:#?}");
    assert_eq!(with(&examined, Health::Note), ["store"]);
    assert!(check(&examined, "store").found.starts_with("none yet at "));
    assert!(check(&examined, "holes").figures["freed_bytes"] > 0);
    assert!(examined.checks.iter().all(|check| check.name != "writer"));

    // A folder of somebody else's, and a file.
    stage.file("thesis/chapter.txt", b"mine");
    for path in ["thesis", "thesis/chapter.txt"] {
        let examined = look(stage.path(path));
        assert_eq!(with(&examined, Health::Problem), ["store"], "{examined:#?}");
        assert_eq!(fs::read_dir(stage.path("thesis")).unwrap().count(), 1);
    }
}

#[test]
fn whoever_has_the_store_open_for_writing_is_named() {
    let stage = Stage::new();
    let store = store_with_content(&stage.store_path());
    let examined = look(stage.store_path());
    let writer = check(&examined, "writer");
    assert_eq!(writer.status, Health::Ok);
    let pid = std::process::id();
    assert!(
        writer.found.contains(&format!("by process {pid} on ")),
        "{writer:?}"
    );
    assert_eq!(
        (writer.figures["held"], writer.figures["holder_is_alive"]),
        (1, 1)
    );
    // The look took nothing from it.
    add_bytes(&store, b"more");
    drop(store);
    assert_eq!(
        check(&look(stage.store_path()), "writer").found,
        "not open for writing"
    );

    // Held, by somebody other than the process that is noted: its child, or one of another machine.
    let lock = stage.store_path().join("lock");
    let held = fs::File::open(&lock).unwrap();
    rustix::fs::flock(&held, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let host = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned();
    let of_nobody = i32::MAX;
    for note in [
        format!("pid {of_nobody}\nhost {host}\nsince then\n"),
        format!("pid {pid}\nhost not-{host}\nsince then\n"),
        "pid -1\n".to_owned(),
        "pid 0\n".to_owned(),
        String::new(),
    ] {
        fs::write(&lock, &note).unwrap();
        let examined = look(stage.store_path());
        let writer = check(&examined, "writer");
        assert_eq!(
            (writer.status, writer.figures["holder_is_alive"]),
            (Health::Note, 0),
            "{note}"
        );
        assert!(
            writer.advice.as_ref().unwrap().contains("fuser"),
            "{writer:?}"
        );
    }
}

#[test]
fn what_is_missing_or_damaged_is_a_problem() {
    let problems = |change: &dyn Fn(&Path)| {
        let stage = Stage::new();
        drop(store_with_content(&stage.store_path()));
        change(&stage.store_path());
        let before = tree(&stage.store_path());
        let examined = look(stage.store_path());
        assert_eq!(tree(&stage.store_path()), before);
        with(&examined, Health::Problem)
    };
    assert_eq!(
        problems(&|store| fs::write(store.join("FORMAT"), b"x").unwrap()),
        ["store"]
    );
    assert_eq!(
        problems(&|store| fs::remove_file(store.join("FORMAT")).unwrap()),
        ["store"]
    );
    for folder in ["packs", "roots", "names"] {
        let found = problems(&|store| fs::remove_dir_all(store.join(folder)).unwrap());
        assert_eq!(found, ["reading", "folders"], "{folder}");
        let found = problems(&|store| {
            fs::rename(store.join(folder), store.join("elsewhere")).unwrap();
            std::os::unix::fs::symlink("elsewhere", store.join(folder)).unwrap();
        });
        assert_eq!(found, ["folders"], "{folder}");
    }
    let first_pin = |store: &Path| {
        let mut names = fs::read_dir(store.join("names")).unwrap();
        names.next().unwrap().unwrap().path()
    };
    let found = problems(&|store| {
        let pin = first_pin(store);
        let mut content = fs::read(&pin).unwrap();
        *content.last_mut().unwrap() ^= 1;
        fs::write(pin, content).unwrap();
    });
    assert_eq!(found, ["contents"]);
    // The index may vanish.
    assert_eq!(
        problems(&|store| fs::remove_dir_all(store.join("db")).unwrap()),
        [""; 0]
    );
}

/// A store with one pinned and named object of two packs, damaged in some way.
fn damaged(damage: impl FnOnce(&Stage)) -> Examination {
    let stage = Stage::new();
    let store = stage.create_with(small_packs(100_000));
    let options = AddOptions::default().named("model");
    let options = options.with_profile(Profile::default().with_chunk_bytes(50_000).unwrap());
    let added = store.add_reader(&bytes(3, 200_000)[..], &options).unwrap();
    assert!(stage.stored("packs").len() > 1, "{added:?}");
    drop(store);
    damage(&stage);
    look(stage.store_path())
}

fn patch(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut content = fs::read(path).unwrap();
    change(&mut content);
    fs::remove_file(path).unwrap();
    fs::write(path, content).unwrap();
}

#[test]
fn a_file_that_is_damaged_or_missing_is_a_problem_with_its_path_and_the_objects() {
    type Damage = fn(&Stage);
    let cases: [(&str, &str, &str, Damage); 9] = [
        ("a pack is missing", "packs", ".pack is missing", |stage| {
            fs::remove_file(&stage.stored("packs")[0]).unwrap();
        }),
        (
            "a pack is shortened",
            "packs",
            "length: expected",
            |stage| {
                patch(&stage.stored("packs")[0], |pack| {
                    pack.truncate(pack.len() - 10)
                });
            },
        ),
        (
            "the header of a pack",
            "packs",
            ".pack is damaged",
            |stage| {
                patch(&stage.stored("packs")[1], |pack| pack[30] ^= 1);
            },
        ),
        ("the table of a pack", "packs", "table", |stage| {
            patch(&stage.stored("packs")[1], |pack| {
                *pack.last_mut().unwrap() ^= 1
            });
        }),
        (
            "no pack at all",
            "packs",
            "/00000000000000000000000000000000.pack",
            |stage| {
                fs::write(
                    stage
                        .store_path()
                        .join("packs")
                        .join(format!("{:032}.pack", 0)),
                    "x",
                )
                .unwrap();
            },
        ),
        ("the root is damaged", "roots", "is damaged", |stage| {
            patch(&stage.stored("roots")[0], |root| {
                let middle = root.len() / 2;
                root[middle] ^= 1;
            });
        }),
        ("the root is missing", "roots", " is missing", |stage| {
            fs::remove_file(&stage.stored("roots")[0]).unwrap();
        }),
        ("no root at all", "roots", "is no root", |stage| {
            fs::write(stage.store_path().join("roots/notes.txt"), "x").unwrap();
        }),
        ("a name that is no more", "roots", "(model)", |stage| {
            fs::remove_file(&stage.stored("roots")[0]).unwrap();
        }),
    ];
    for (what, expected, said, damage) in cases {
        let examined = damaged(damage);
        assert_eq!(
            with(&examined, Health::Problem),
            [expected],
            "{what}: {examined:#?}"
        );
        let check = check(&examined, expected);
        assert!(check.found.contains(said), "{what}: {check:?}");
        assert!(
            check.advice.as_ref().unwrap().contains("`repair`"),
            "{check:?}"
        );
        let concerns_it = !what.starts_with("no ");
        assert_eq!(
            check.found.contains("(model)"),
            concerns_it,
            "{what}: {check:?}"
        );
    }
}

#[test]
fn packs_without_a_root_are_a_problem() {
    for is_opened in [false, true] {
        let stage = Stage::new();
        drop(store_with_content(&stage.store_path()));
        for path in stage.stored("roots").iter().chain(&stage.stored("names")) {
            fs::remove_file(path).unwrap();
        }
        if is_opened {
            add_bytes(&stage.open(), &bytes(5, 60_000));
        }
        let examined = look(stage.store_path());
        assert_eq!(with(&examined, Health::Problem), ["roots"]);
        let check = check(&examined, "roots");
        assert!(check.found.contains("roots are lost"), "{}", check.found);
        assert!(check.advice.as_ref().unwrap().contains("`repair`"));
    }
}

#[test]
fn damage_on_record_is_a_problem() {
    let stage = Stage::new();
    drop(store_with_content(&stage.store_path()));
    let pack = stage.stored("packs").into_iter();
    let pack = pack
        .max_by_key(|path| fs::metadata(path).unwrap().len())
        .unwrap();
    patch(&pack, |pack| pack[100_000] ^= 1);
    assert_eq!(with(&look(stage.store_path()), Health::Problem), [""; 0]);
    let report = stage.open().verify(&VerifyOptions::default()).unwrap();
    assert_eq!(report.findings.len(), 1);
    let examined = look(stage.store_path());
    assert_eq!(with(&examined, Health::Problem), ["damage"]);
    let check = check(&examined, "damage");
    assert_eq!(check.figures["damaged_bytes"], 200_000);
    assert!(
        check
            .found
            .contains(&report.findings[0].affected[0].object.to_string())
    );
    assert!(check.advice.as_ref().unwrap().contains("`verify --heal"));
}

#[test]
fn a_file_added_by_reference_that_is_gone_or_changed_is_a_problem() {
    let stage = Stage::new();
    let store = stage.create();
    let file = stage.file("weights.bin", &bytes(1, 5_000));
    let mut options = AddOptions::default();
    options.reference = true;
    store.add_path(&file, &options).unwrap();
    drop(store);
    assert_eq!(with(&look(stage.store_path()), Health::Problem), [""; 0]);
    for (content, said) in [
        (Some(bytes(2, 4_000)), "is changed: it has 4000 bytes"),
        (None, "is gone"),
    ] {
        match content {
            Some(content) => fs::write(&file, content).unwrap(),
            None => fs::remove_file(&file).unwrap(),
        }
        let examined = look(stage.store_path());
        assert_eq!(with(&examined, Health::Problem), ["references"]);
        let check = check(&examined, "references");
        assert!(
            check.found.contains(&format!("{} {said}", file.display())),
            "{check:?}"
        );
    }
}

#[test]
fn what_a_killed_writer_left_and_a_quota_that_is_passed_are_told() {
    let stage = Stage::new();
    let store = store_with_content(&stage.store_path());
    let left = stage.store_path().join("tmp").join("0".repeat(32));
    fs::write(&left, bytes(1, 100_000)).unwrap();
    // Of a writer that lives it is nothing to be told.
    assert_eq!(with(&look(stage.store_path()), Health::Note), [""; 0]);
    drop(store);
    let mut options = ExamineOptions::default();
    options.max_bytes = Some(100_000);
    let examined = examine(stage.store_path(), &options);
    assert_eq!(with(&examined, Health::Note), ["unfinished"]);
    assert!(check(&examined, "unfinished").figures["bytes"] >= 100_000);
    assert_eq!(with(&examined, Health::Problem), ["quota"]);
    for path in stage.stored("names") {
        fs::remove_file(path).unwrap();
    }
    let examined = examine(stage.store_path(), &options);
    assert_eq!(with(&examined, Health::Note), ["unfinished", "quota"]);
    drop(stage.open());
    assert!(!left.exists());
}

#[test]
fn foreign_files_are_named() {
    let stage = Stage::new();
    let not_ours = [b'x'; 100];
    drop(store_with_content(&stage.store_path()));
    for name in [
        "notes.txt",
        "packs/readme",
        "roots/x",
        "names/.hidden",
        "names/y",
        "tmp/z",
    ] {
        stage.file(&format!("store/{name}"), &not_ours);
    }
    // These are the store's: of a writer that was killed, and of a fresh file system.
    stage.file(&format!("store/tmp/{}", "0".repeat(32)), b"ours");
    fs::create_dir(stage.path("store/lost+found")).unwrap();
    // No folder is.
    fs::create_dir(stage.path("store/tmp").join("1".repeat(32))).unwrap();
    let examined = look(stage.store_path());
    let foreign = check(&examined, "foreign_files");
    assert_eq!(foreign.status, Health::Note);
    assert_eq!(
        foreign.found,
        format!(
            "names/.hidden, notes.txt, packs/readme, roots/x, tmp/{}, tmp/z",
            "1".repeat(32)
        )
    );
    assert_eq!(check(&examined, "contents").figures["unfinished"], 1);
    for extra in 0..9 {
        stage.file(&format!("store/packs/{extra}"), &not_ours);
    }
    let examined = look(stage.store_path());
    let foreign = check(&examined, "foreign_files");
    assert!(foreign.found.ends_with(", and 7 more"), "{foreign:?}");
    assert_eq!(foreign.figures["files"], 15);
    // What may be a name or a root stops every collection, whatever it is.
    assert_eq!(
        with(&examined, Health::Problem),
        ["contents", "roots"],
        "{examined:#?}"
    );
    fs::write(stage.path("store/names/y"), b"x").unwrap();
    assert_eq!(
        with(&look(stage.store_path()), Health::Problem),
        ["contents", "roots"]
    );
}

#[test]
fn looking_over_and_over_and_opening_over_and_over_disturb_each_other_not() {
    let stage = Stage::new();
    drop(store_with_content(&stage.store_path()));
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let looks = scope.spawn(|| {
            let mut looks = 0;
            while !stop.load(Ordering::Relaxed) {
                let examined = look(stage.store_path());
                assert_eq!(with(&examined, Health::Problem), [""; 0], "{examined:#?}");
                looks += 1;
            }
            looks
        });
        let opened: Vec<_> = (0..40)
            .map(|_| Store::open(stage.store_path()).map(drop))
            .collect();
        stop.store(true, Ordering::Relaxed);
        assert!(looks.join().unwrap() > 0);
        for result in opened {
            result.unwrap();
        }
    });
    assert!(stage.stored("tmp").is_empty());
}

#[test]
fn a_copy_without_its_folder_for_work_in_progress_can_be_written() {
    let stage = Stage::new();
    drop(store_with_content(&stage.store_path()));
    fs::remove_dir(stage.store_path().join("tmp")).unwrap();
    let examined = look(stage.store_path());
    assert_eq!(check(&examined, "access").status, Health::Ok);
    for name in ["holes", "copies"] {
        let check = check(&examined, name);
        assert!(check.found.contains("tmp"), "{check:?}");
        assert!(
            check
                .advice
                .as_ref()
                .unwrap()
                .contains("makes the folder anew"),
            "{check:?}"
        );
    }
    drop(stage.open());
    assert_eq!(with(&look(stage.store_path()), Health::Note), [""; 0]);
}

#[test]
fn damage_that_no_object_has_is_a_note() {
    let stage = Stage::new();
    let store = stage.create();
    let content = bytes(7, 200_000);
    let block = Block::new(RAW, HashFunction::Sha2_256, &content[..]);
    let mut session = store.session();
    session.put_block(&block).unwrap();
    session.commit().unwrap();
    super::verify::damage(&stage, &content);
    store.verify(&VerifyOptions::default()).unwrap();
    drop(store);
    let examined = look(stage.store_path());
    assert_eq!(with(&examined, Health::Problem), [""; 0]);
    let check = check(&examined, "damage");
    assert_eq!((check.status, check.figures["objects"]), (Health::Note, 0));
    assert!(check.found.contains("no object has them"), "{check:?}");
}
