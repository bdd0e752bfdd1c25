//! Making and opening stores: one writer, and folders that are none.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use ipfs_accelerate::{Explain, Store, StoreError, StoreOptions, StoreReader};

use super::store_kit::*;

#[test]
fn a_second_writer_is_told_who_the_first_one_is() {
    let stage = Stage::new();
    let store = stage.create();
    let before = stage.on_disk();
    let error = Store::open(stage.store_path()).unwrap_err();
    let StoreError::Locked {
        pid,
        host,
        since,
        path,
        waited,
        ..
    } = &error
    else {
        panic!("{error}")
    };
    assert_eq!(*pid, std::process::id().to_string());
    assert_eq!(host, &*rustix::system::uname().nodename().to_string_lossy());
    assert!(since.len() == 20 && since.ends_with('Z'), "{since}");
    assert_eq!((path, waited), (&stage.store_path(), &Duration::ZERO));
    assert_eq!(stage.on_disk(), before);
    assert!(matches!(
        Store::create(stage.store_path()),
        Err(StoreError::Exists { .. })
    ));
    let again = Store::open_or_create(stage.store_path(), StoreOptions::default());
    assert!(matches!(again, Err(StoreError::Locked { .. })));
    // A clone is the same writer, and the lock goes with the last of them.
    let clone = store.clone();
    drop(store);
    assert!(matches!(
        Store::open(stage.store_path()),
        Err(StoreError::Locked { .. })
    ));
    drop(clone);
    stage.open();
}

#[test]
fn what_an_abandoned_lock_says_does_not_matter() {
    let stage = Stage::new();
    drop(stage.create());
    for text in [
        &b"pid 1\nhost other\nsince never\n"[..],
        b"",
        &[0xff; 10_000],
    ] {
        fs::write(stage.store_path().join("lock"), text).unwrap();
        stage.open();
    }
    fs::remove_file(stage.store_path().join("lock")).unwrap();
    stage.open();
}

#[test]
fn absent_stores_and_foreign_folders_are_told_apart_and_left_alone() {
    let stage = Stage::new();
    let absent = stage.path("absent");
    assert!(matches!(Store::open(&absent), Err(StoreError::Absent { path }) if path == absent));
    assert!(matches!(
        StoreReader::open(&absent),
        Err(StoreError::Absent { .. })
    ));
    assert!(!absent.exists());

    fs::create_dir(stage.path("empty")).unwrap();
    assert!(matches!(
        Store::open(stage.path("empty")),
        Err(StoreError::Absent { .. })
    ));
    assert_eq!(fs::read_dir(stage.path("empty")).unwrap().count(), 0);

    stage.file("foreign/thesis.txt", b"mine");
    let open = |path: &str| -> Vec<StoreError> {
        let path = stage.path(path);
        vec![
            Store::open(&path).unwrap_err(),
            Store::create(&path).unwrap_err(),
            Store::open_or_create(&path, StoreOptions::default()).unwrap_err(),
            StoreReader::open(&path).unwrap_err(),
        ]
    };
    for error in open("foreign") {
        assert!(
            matches!(&error, StoreError::NotAStore { found, .. } if found == "thesis.txt"),
            "{error}"
        );
        assert!(error.hint().is_some());
    }
    assert_eq!(fs::read_dir(stage.path("foreign")).unwrap().count(), 1);
    // Folders with our names and somebody's files in them are not ours either.
    for inside in ["packs/x", "db/x", "tmp/notes.txt", "roots/x", "names/x"] {
        stage.file(&format!("half/{inside}"), b"mine");
        for error in open("half") {
            assert!(
                matches!(error, StoreError::NotAStore { .. }),
                "{inside}: {error}"
            );
        }
        assert_eq!(fs::read(stage.path("half").join(inside)).unwrap(), b"mine");
        fs::remove_dir_all(stage.path("half")).unwrap();
    }
    let file = stage.file("a-file", b"mine");
    for error in open("a-file") {
        assert!(matches!(&error, StoreError::NotAStore { .. }), "{error}");
    }
    assert_eq!(fs::read(file).unwrap(), b"mine");
}

#[test]
fn a_creation_that_was_cut_off_is_begun_again() {
    let stage = Stage::new();
    for folder in ["packs", "roots", "names", "db", "tmp"] {
        fs::create_dir_all(stage.store_path().join(folder)).unwrap();
        // What is there so far is no store, and no obstacle.
        assert!(matches!(
            StoreReader::open(stage.store_path()),
            Err(StoreError::Absent { .. })
        ));
    }
    fs::write(stage.store_path().join("lock"), b"pid 1\n").unwrap();
    fs::write(
        stage.store_path().join("tmp").join("0".repeat(32)),
        b"half a FORMAT",
    )
    .unwrap();
    let store = Store::open_or_create(stage.store_path(), StoreOptions::default()).unwrap();
    assert!(stage.stored("tmp").is_empty());
    add_bytes(&store, b"works");
}

#[test]
fn a_store_is_made_with_the_folders_above_it_and_in_the_current_one() {
    let stage = Stage::new();
    let deep = stage.path("a/b/c/store");
    drop(Store::create(&deep).unwrap());
    drop(Store::open_or_create(&deep, StoreOptions::default()).unwrap());
    assert!(matches!(
        Store::create(&deep),
        Err(StoreError::Exists { .. })
    ));
}

#[test]
fn of_several_that_make_a_store_at_once_one_has_it_and_the_others_are_told() {
    for round in 0..40 {
        let stage = Stage::new();
        let barrier = Barrier::new(4);
        std::thread::scope(|scope| {
            let makers: Vec<_> = (0..4)
                .map(|maker| {
                    let (stage, barrier) = (&stage, &barrier);
                    scope.spawn(move || {
                        barrier.wait();
                        let made = match (round + maker) % 2 {
                            0 => Store::create(stage.store_path()),
                            _ => Store::open_or_create(stage.store_path(), StoreOptions::default()),
                        };
                        match &made {
                            Ok(store) => {
                                add_bytes(store, b"first");
                            }
                            Err(StoreError::Locked { .. } | StoreError::Exists { .. }) => {}
                            Err(e) => panic!("{e}"),
                        }
                        made
                    })
                })
                .collect();
            let made: Vec<_> = makers.into_iter().map(|m| m.join().unwrap()).collect();
            assert_eq!(made.iter().filter(|m| m.is_ok()).count(), 1);
        });
        assert_eq!(stage.open().objects().unwrap().len(), 1);
    }
}

#[test]
fn opening_empties_tmp_and_deletes_nothing_else() {
    let stage = Stage::new();
    let store = stage.create();
    store
        .add_reader(&bytes(1, 10_000)[..], &Default::default())
        .unwrap();
    drop(store);
    let before = stage.on_disk();
    let left_over = "0123456789abcdef".repeat(2);
    fs::write(stage.store_path().join("tmp").join(&left_over), b"x").unwrap();
    fs::write(
        stage
            .store_path()
            .join("tmp")
            .join(format!("{left_over}.pack")),
        b"y",
    )
    .unwrap();
    stage.file("store/roots/notes.txt", b"not ours");
    stage.file("store/packs/readme", b"not ours");
    stage.file("store/tmp/notes.txt", b"not ours");
    stage.file("store/extra", b"not ours");
    let store = stage.open();
    assert_eq!(stage.stored("tmp").len(), 1);
    assert_eq!(store.objects().unwrap().len(), 1);
    assert_eq!(store.totals().unwrap().packs, 1);
    for foreign in ["roots/notes.txt", "packs/readme", "tmp/notes.txt", "extra"] {
        let path = stage.store_path().join(foreign);
        assert_eq!(fs::read(&path).unwrap(), b"not ours");
        fs::remove_file(path).unwrap();
    }
    assert_eq!(stage.on_disk(), before);
}

#[test]
fn a_store_with_links_in_it_is_refused_and_nothing_behind_them_changes() {
    for linked in ["tmp", "packs", "roots", "names", "db", "lock"] {
        let stage = Stage::new();
        drop(stage.create());
        fs::create_dir(stage.path("victim")).unwrap();
        fs::write(
            stage.path("victim/0123456789abcdef0123456789abcdef"),
            b"precious",
        )
        .unwrap();
        let path = stage.store_path().join(linked);
        let behind = match linked {
            "lock" => {
                fs::remove_file(&path).unwrap();
                stage.path("victim/0123456789abcdef0123456789abcdef")
            }
            _ => {
                fs::remove_dir_all(&path).unwrap();
                stage.path("victim")
            }
        };
        std::os::unix::fs::symlink(behind, &path).unwrap();
        match Store::open(stage.store_path()) {
            // The database is made anew beside the link's target.
            Ok(_) => assert_eq!(linked, "db"),
            Err(e) => assert!(
                e.to_string().contains(path.to_str().unwrap()),
                "{linked}: {e}"
            ),
        }
        let kept = fs::read(stage.path("victim/0123456789abcdef0123456789abcdef")).unwrap();
        assert_eq!(kept, b"precious", "{linked}");
        assert_eq!(
            fs::read_dir(stage.path("victim")).unwrap().count(),
            1,
            "{linked}"
        );
    }
}

fn patient(timeout: Duration) -> StoreOptions {
    let mut options = StoreOptions::default();
    options.lock_timeout = timeout;
    options
}

#[test]
fn a_second_writer_waits_for_the_first_one_as_long_as_it_was_told() {
    let stage = Stage::new();
    let first = stage.create();
    let short = Duration::from_millis(300);
    for opened in [
        Store::open_with(stage.store_path(), patient(short)),
        Store::open_or_create(stage.store_path(), patient(short)),
    ] {
        let error = opened.unwrap_err();
        assert!(
            matches!(&error, StoreError::Locked { waited, .. } if *waited == short),
            "{error}"
        );
        assert!(
            error.to_string().ends_with("; waited 300ms for it"),
            "{error}"
        );
    }
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let second = scope.spawn(|| {
            Store::open_with(stage.store_path(), patient(Duration::from_secs(60))).map(|store| {
                add_bytes(&store, b"second");
            })
        });
        std::thread::sleep(short);
        assert!(!second.is_finished());
        add_bytes(&first, b"first");
        drop(first);
        second.join().unwrap().unwrap();
    });
    // Noticed long before the time is up.
    assert!(begun.elapsed() < Duration::from_secs(30));
    assert_eq!(stage.open().objects().unwrap().len(), 2);
}

#[test]
fn a_wait_ends_when_it_is_cancelled() {
    let stage = Stage::new();
    let _first = stage.create();
    let cancel = Arc::new(AtomicBool::new(false));
    let mut options = patient(Duration::from_secs(600));
    options.cancel = Some(Arc::clone(&cancel));
    std::thread::scope(|scope| {
        let second = scope.spawn(|| Store::open_with(stage.store_path(), options));
        std::thread::sleep(Duration::from_millis(100));
        assert!(!second.is_finished());
        cancel.store(true, Ordering::Relaxed);
        let error = second.join().unwrap().unwrap_err();
        assert!(matches!(error, StoreError::Cancelled), "{error}");
    });
}

#[test]
fn a_writer_that_waited_has_the_store_that_stands_there_then() {
    let stage = Stage::new();
    let first = stage.create();
    add_bytes(&first, b"of the first store");
    std::thread::scope(|scope| {
        let second =
            scope.spawn(|| Store::open_with(stage.store_path(), patient(Duration::from_secs(60))));
        std::thread::sleep(Duration::from_millis(100));
        let again = Store::create(stage.path("again")).unwrap();
        let of_the_second = add_bytes(&again, b"of the second store").cid;
        drop(again);
        // The lock that it waits for is in another folder now, and still held.
        let (here, there) = (stage.store_path(), stage.path("again"));
        let swap = rustix::fs::RenameFlags::EXCHANGE;
        rustix::fs::renameat_with(rustix::fs::CWD, &here, rustix::fs::CWD, &there, swap).unwrap();
        let second = second.join().unwrap().unwrap();
        assert_eq!(second.objects().unwrap().len(), 1);
        assert_eq!(read(&second, &of(of_the_second)), b"of the second store");
        assert_eq!(second.pins().unwrap(), []);
    });
    drop(first);
}

#[test]
fn a_look_at_the_lock_does_not_turn_a_writer_away() {
    let stage = Stage::new();
    drop(stage.create());
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let lock = fs::File::open(stage.store_path().join("lock")).unwrap();
            while !stop.load(Ordering::Relaxed) {
                rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockShared).unwrap();
                std::thread::sleep(Duration::from_millis(30));
                rustix::fs::flock(&lock, rustix::fs::FlockOperation::Unlock).unwrap();
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        let opened: Vec<_> = (0..10)
            .map(|_| Store::open(stage.store_path()).map(drop))
            .collect();
        stop.store(true, Ordering::Relaxed);
        for result in opened {
            result.unwrap();
        }
    });
}

/// As `flock STORE/lock cp -a STORE COPY` does, after the process that is noted in the lock has ended.
#[test]
fn a_lock_that_no_writer_holds_is_not_said_to_be_the_last_ones() {
    let stage = Stage::new();
    drop(stage.create());
    let path = stage.store_path().join("lock");
    let lock = fs::File::open(&path).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let host = rustix::system::uname();
    let host = host.nodename().to_string_lossy().into_owned();
    let (own, nobody) = (std::process::id(), i32::MAX);
    for (pid, on, said) in [
        (nobody as u32, host.clone(), "has not opened it for writing"),
        (
            own,
            host.clone(),
            &*format!("open for writing by process {own} on "),
        ),
        // What runs there cannot be seen from here.
        (
            nobody as u32,
            format!("not-{host}"),
            &*format!("open for writing by process {nobody} on "),
        ),
    ] {
        fs::write(&path, format!("pid {pid}\nhost {on}\nsince then\n")).unwrap();
        let error = Store::open(stage.store_path()).unwrap_err();
        assert_eq!(error.kind(), "locked");
        let StoreError::Locked { holder, .. } = &error else {
            panic!("{error}")
        };
        assert!(holder.is_none_or(|holder| holder == own), "{error}");
        assert!(error.to_string().contains(said), "{error}");
        let examined = super::doctor::look(stage.store_path());
        let writer = super::doctor::check(&examined, "writer");
        assert!(writer.found.contains(said), "{writer:?}");
    }
}
